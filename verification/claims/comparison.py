"""Claims of the form "A is more accurate than B at equal evaluations", on problems with an exact flow.

Every cell, a problem and a budget, is decided by itself: the claim holds where the intervals of the errors'
ratio, of the RMS and of a typical state, lie above the factor, fails where they lie below, and is open else.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
from semilinear.analysis.text.named_parts import grid_of, schedule_of
from semilinear.integrators.numerics.arrays import rms
from semilinear.integrators.solver import FinalChoice

from ..equal_nfe.entrants import entrants
from ..equal_nfe.errors import carriers, final_errors, ratio
from ..equal_nfe.experiment import NoiseToData
from ..problems.named import problem
from .cells import Cell, above, finite, judged
from .claim import Decision, Kind

PROBLEMS = ("golden-mixture", "rotated-product-2d", "digits-0.2")
"""Separate modes; data of unit variance, where the drift of a variance-preserving flow nearly vanishes; and
data near many points, as images are.
"""
FEW = (5, 6, 8, 10, 12, 15, 20)
"""Evaluations of the papers' tables."""
BATCH, LARGE = 256, 64
"""States of a batch, fewer where they have as many components."""


@dataclass(frozen=True)
class Side:
    """A solver or baseline by name, the grid it runs on, and how it ends."""

    name: str
    grid: str
    final: FinalChoice = "released"

    def __str__(self) -> str:
        return self.name + ("" if self.final == "released" else f" ({self.final})")


Pair = tuple[Side, Side]
"""(better, worse), as the claim has it."""


def pairs(better: str, worse: str, *grids: str, final: FinalChoice = "released") -> tuple[Pair, ...]:
    """Two samplers on the same grid, for every grid."""
    return tuple((Side(better, grid, final), Side(worse, grid, final)) for grid in grids)


@lru_cache(maxsize=32)
def _from_noise(name: str, schedule: str) -> NoiseToData:
    law = problem(name)
    batch = BATCH if law.dimension < LARGE else LARGE
    return NoiseToData(law, schedule=schedule_of(schedule), batch=batch)


@lru_cache(maxsize=128)
def experiment_of(name: str, schedule: str, grid: str) -> NoiseToData:
    """A named problem from a schedule's own start to almost data; schedule, grid: texts for `named_parts`.
    All grids share the initial states and the reference.
    """
    return _from_noise(name, schedule).on(grid_of(grid))


@lru_cache(maxsize=512)
def errors_of(
    name: str, experiment: NoiseToData, nfe: int, final: FinalChoice = "released"
) -> tuple[np.ndarray, int]:
    """`final_errors` of a sampler by name, on the statistics of the problem where it takes some."""
    (entrant,) = entrants(name, experiment)
    return final_errors(entrant, experiment, nfe, final)


def _errors(side: Side, problem: str, schedule: str, nfe: int) -> np.ndarray:
    errors, made = errors_of(side.name, experiment_of(problem, schedule, side.grid), nfe, side.final)
    if made != nfe:
        raise ValueError(f"{side.name} makes {made} evaluations, not {nfe}: no equal budget")
    return errors


@dataclass(frozen=True)
class EqualNfe:
    """For every pair, problem and budget: error(worse) > factor error(better)."""

    pairs: tuple[Pair, ...]
    budgets: tuple[int, ...] = FEW
    problems: tuple[str, ...] = PROBLEMS
    schedule: str = "vp-linear"
    factor: float = 1.0
    kind: ClassVar[Kind] = "equal NFE"

    def decide(self) -> Decision:
        """All cells, and the verdict that follows from them."""
        cells = [
            self._cell(better, worse, problem, nfe)
            for better, worse in self.pairs
            for problem in self.problems
            for nfe in self.budgets
        ]
        return judged(cells)

    def _cell(self, better: Side, worse: Side, problem: str, nfe: int) -> Cell:
        a, b = (_errors(side, problem, self.schedule, nfe) for side in (worse, better))
        grids = list(dict.fromkeys([better.grid, worse.grid]))
        return above(
            f"{problem}, {nfe} evaluations, grid {' against '.join(grids)}: "
            f"{better} {rms(b):.3g}, {worse} {rms(a):.3g}",
            ratio(a, b),
            self.factor,
            data={
                "problem": problem,
                "nfe": nfe,
                "better": str(better),
                "worse": str(worse),
                "grids": [better.grid, worse.grid],
                "errors": [finite(rms(b)), finite(rms(a))],
                "carriers": [finite(carriers(e)) if np.all(np.isfinite(e)) else None for e in (b, a)],
            },
            at={"problem": problem, "nfe": nfe, "better": str(better), "grid": better.grid},
        )


def chain(names: Iterable[str], *grids: str) -> tuple[Pair, ...]:
    """Every sampler claimed to be better than the one before it."""
    listed = list(names)
    return tuple(p for worse, better in itertools.pairwise(listed) for p in pairs(better, worse, *grids))
