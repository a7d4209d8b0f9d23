"""Step counts at which a solver's runs can be compared: all end by one rule."""

from __future__ import annotations

from collections.abc import Sequence

from semilinear.integrators.solver import FinalChoice, Solver


def settled(ladder: Sequence[int], solver: Solver, final: FinalChoice) -> tuple[int, ...]:
    """The steps of a ladder from which on all runs end alike: shorter ones, which a release ends at lower
    order, are not on one line with them.

    Raises ValueError where none is left.
    """
    least = solver.final.settled if final == "released" else 1
    if left := tuple(n for n in ladder if n >= least):
        return left
    raise ValueError(
        f"ladder must reach {least} steps, below which {solver.name} ends at lower order by default "
        f"(final='full' or 'lower' end all runs alike), got {max(ladder, default=0)}"
    )
