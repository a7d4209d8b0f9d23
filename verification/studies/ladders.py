"""Ladders: the step counts of a study, and which of them are on one line for one solver."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import numpy as np
from semilinear.analysis.convergence import POINTS
from semilinear.integrators.common import checks
from semilinear.integrators.common.messages import shown
from semilinear.integrators.solver import FinalChoice, Solver


def half_octaves(least: int, most: int) -> tuple[int, ...]:
    """The counts 2^k and 3 2^k from `least` to `most`, about sqrt 2 apart."""
    return tuple(sorted(n for k in range(most.bit_length()) for n in (1 << k, 3 << k) if least <= n <= most))


FLOW, FLOW_LONG = half_octaves(4, 512), half_octaves(4, 4096)
GAUSSIAN, GAUSSIAN_LONG = half_octaves(8, 256), half_octaves(8, 1536)
PATHS, PATHS_LONG = half_octaves(4, 48), half_octaves(4, 256)
"""Of every kind of study: what it runs unless others are asked for, and all that it may."""


def checked(ladder: Sequence[int]) -> tuple[int, ...]:
    """The step counts as ints.  Raises ValueError unless there are some, positive and increasing."""
    counts = tuple(ladder) if isinstance(ladder, Iterable) and not isinstance(ladder, bytes) else ()
    whole = all(isinstance(n, int | np.integer) and checks.is_number(n) for n in counts)
    if not (counts and whole and all(b > a for a, b in itertools.pairwise((0, *counts)))):
        raise ValueError(f"ladder must be increasing positive integers, got {shown(ladder)}")
    return tuple(map(int, counts))


def shortest(solver: Solver, final: FinalChoice) -> int:
    """The least count from which on all runs of a solver end alike."""
    return solver.final.settled if final == "released" else 1


def settled(ladder: Sequence[int], solver: Solver, final: FinalChoice) -> tuple[int, ...]:
    """The steps of a ladder from which on all runs end alike: shorter ones, which a release ends at lower
    order, are not on one line with them.

    Raises ValueError where none is left.
    """
    least = shortest(solver, final)
    if left := tuple(n for n in ladder if n >= least):
        return left
    raise ValueError(
        f"ladder must reach {least} steps, below which {solver.name} ends at lower order by default "
        f"(final='full' or 'lower' end all runs alike), got {max(ladder, default=0)}"
    )


def restricted(ladder: Sequence[int], residue: tuple[int, int], least: int) -> tuple[int, ...]:
    """The counts of a ladder lowered to n = r mod m, residue = (m, r), from `least` on.

    Raises ValueError for a residue that is none, and for one that leaves too few to tell an order.
    """
    m, r = (checks.integer("each of residue", part, 0) for part in checks.pair("residue", residue))
    if not 0 <= r < m:
        raise ValueError(f"residue must be (m, r) with 0 <= r < m, got {shown(residue)}")
    usable = tuple(sorted({k for n in ladder if (k := n - (n - r) % m) >= least}))
    if not usable:
        raise ValueError(f"residue must leave step counts from {least} to {ladder[-1]}, got {r} mod {m}")
    if len(usable) < POINTS:
        raise ValueError(
            f"ladder must hold at least {POINTS} step counts from {least} on, {r} mod {m}, got {list(usable)}"
        )
    return usable
