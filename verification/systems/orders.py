"""The measured orders of a catalogue entry: classical, and on the two parabolic problems."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from semilinear.analysis.convergence import OrderEstimate
from semilinear.integrators.tableaux.catalogue import Entry

from .linearised import linearised_order
from .parabolic import Kind, linearised_slope, parabolic, stiff_slopes
from .semilinear import coupled_system, measured

KINDS: tuple[Kind, ...] = ("local", "nonlocal")


@dataclass(frozen=True)
class MeasuredOrders:
    """classical: on a system of three equations.  stiff: by parabolic problem."""

    entry: Entry
    classical: OrderEstimate
    stiff: Mapping[Kind, OrderEstimate]


def measure_entry(entry: Entry, digits: int | None = 40, proved: int | None = None) -> MeasuredOrders:
    """Measure an entry from exact starting values.

    digits: of the system of three equations, None for float64; a linearised entry is measured in float64.
    proved: the classical order that is; runs of that system end where they show it.
    """
    if entry.linearised:
        stiff = {kind: linearised_slope(entry.tableau, kind) for kind in KINDS}
        return MeasuredOrders(entry, linearised_order(entry.tableau), stiff)
    _, classical = measured(entry.tableau, coupled_system(digits), proved=proved)
    stiff = {kind: stiff_slopes(entry.tableau, parabolic(kind))[2] for kind in KINDS}
    return MeasuredOrders(entry, classical, stiff)
