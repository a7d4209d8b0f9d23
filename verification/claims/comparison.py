"""Claims of the form "A is more accurate than B at equal evaluations", on problems with an exact flow.

Every cell, a problem and a budget, is decided by itself: the claim holds where the intervals of the errors'
ratio, of the RMS and of a typical state, lie above the factor, fails where they lie below, and is open else.
One cell that fails is a counterexample to "always": the claim is then conditional on the cells named with it,
or on the widest range of them in which it always holds, and refuted where there is none.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
from semilinear.analysis.text.named_parts import grid_of, schedule_of
from semilinear.integrators.solver import FinalChoice

from ..equal_nfe.entrants import entrants
from ..equal_nfe.errors import carriers, final_errors, ratio, rms
from ..equal_nfe.experiment import NoiseToData
from ..problems.named import problem
from .claim import Decision, Kind, rounded

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


@dataclass(frozen=True)
class Where:
    """Cells: those of some grids and problems (all, where empty) and of budgets from `least` to `most`.

    names: of the samplers that the claim says are better.
    """

    grids: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    least: float = 0
    most: float = math.inf
    names: tuple[str, ...] = ()

    def holds(self, cell: dict[str, Any]) -> bool:
        """Whether a cell is one of them."""
        return (
            (not self.grids or cell["grids"][0] in self.grids)
            and (not self.problems or cell["problem"] in self.problems)
            and (not self.names or cell["better"] in self.names)
            and self.least <= cell["nfe"] <= self.most
        )

    def __str__(self) -> str:
        budget = [f"from {self.least:g}"] if self.least > 0 else []
        budget += [f"up to {self.most:g}"] if self.most < math.inf else []
        said = [
            *(["for " + " and ".join(self.names)] if self.names else []),
            *(["on " + " and ".join(self.problems)] if self.problems else []),
            *(["on the grid " + " and ".join(self.grids)] if self.grids else []),
            *([f"{' '.join(budget)} evaluations"] if budget else []),
        ]
        return ", ".join(said)


def widest(cells: Sequence[dict[str, Any]]) -> Where | None:
    """The condition of one grid, problem, sampler and range of budgets, or fewer of these, under which a
    claim holds in all cells, and in the most of them.

    None where a claim fails in more cells than it holds in, or no condition has `FEWEST` of them: then it
    would say less for the claim than the others say against it.
    """
    budgets = sorted({cell["nfe"] for cell in cells})
    grids = dict.fromkeys(cell["grids"][0] for cell in cells)
    problems, names = (dict.fromkeys(cell[key] for cell in cells) for key in ("problem", "better"))
    choices = [[(), *((value,) for value in values)] for values in (grids, problems, names)]
    held, failed = (sum(cell["holds"] == word for cell in cells) for word in ("yes", "no"))
    best, most = None, FEWEST - 1 if held >= failed else len(cells)
    for on, of, by in itertools.product(*choices):
        for low, high in itertools.combinations_with_replacement(range(len(budgets)), 2):
            least = 0 if low == 0 else budgets[low]
            where = Where(on, of, least, math.inf if high == len(budgets) - 1 else budgets[high], by)
            inside = [cell["holds"] for cell in cells if where.holds(cell)]
            if len(inside) > most and set(inside) == {"yes"}:
                best, most = where, len(inside)
    return best


FEWEST = 3
"""Cells of a condition that was looked for."""


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
    """For every pair, problem and budget: error(worse) > factor error(better).

    where: the cells to which the claim is confined if it does not hold on all; the `widest` where none are
    named.  A claim that holds on these and fails elsewhere is conditional on them.
    """

    pairs: tuple[Pair, ...]
    budgets: tuple[int, ...] = FEW
    problems: tuple[str, ...] = PROBLEMS
    schedule: str = "vp-linear"
    factor: float = 1.0
    where: Where | None = None
    kind: ClassVar[Kind] = "equal NFE"

    def decide(self) -> Decision:
        """All cells, and the verdict that follows from them."""
        cells = [
            self._cell(better, worse, problem, nfe)
            for better, worse in self.pairs
            for problem in self.problems
            for nfe in self.budgets
        ]
        return self.judge(cells)

    def judge(self, cells: list[dict[str, Any]]) -> Decision:
        """The verdict on cells."""
        table, holds = tuple(cells), [c for c in cells if c["holds"] == "yes"]
        fails = sorted((c for c in cells if c["holds"] == "no"), key=lambda c: c["high"])
        count = f"{len(holds)} of {len(cells)} cells hold, {len(fails)} fail"
        if len(holds) == len(cells):
            low, high = min(c["ratio"] for c in cells), max(c["ratio"] for c in cells)
            return Decision("confirmed", f"{count}: error ratios {low:.3g} to {high:.3g}", table)
        if not fails:
            least = min(cells, key=lambda c: c["low"])
            return Decision("inconclusive", f"{count}; open: {_say(least)}", table)
        for where in (self.where, widest(cells)):
            inside = [] if where is None else [c for c in cells if where.holds(c)]
            if inside and all(c["holds"] == "yes" for c in inside):
                least = min(inside, key=lambda c: c["ratio"])
                text = f"{count}; {where}: all {len(inside)} hold, the least: {_say(least)}"
                return Decision("conditional", f"{text}; without it: {_say(fails[0])}", table)
        return Decision("refuted", f"{count}; counterexample: {_say(fails[0])}", table)

    def _cell(self, better: Side, worse: Side, problem: str, nfe: int) -> dict[str, Any]:
        a, b = (_errors(side, problem, self.schedule, nfe) for side in (worse, better))
        found = ratio(a, b)
        return {
            "problem": problem,
            "nfe": nfe,
            "better": str(better),
            "worse": str(worse),
            "grids": [better.grid, worse.grid],
            "errors": [_finite(rms(b)), _finite(rms(a))],
            "carriers": [_finite(carriers(e)) if np.all(np.isfinite(e)) else None for e in (b, a)],
            "ratio": _finite(found.value),
            "low": _finite(found.low),
            "high": _finite(found.high),
            "typical": [_finite(v) for v in (found.typical, found.typical_low, found.typical_high)],
            "holds": found.against(self.factor),
        }


HUGE = 1e300
"""For an error that left the numbers, which JSON has no word for."""


def _finite(value: float) -> float | None:
    if math.isnan(value):
        return None
    return rounded(value) if math.isfinite(value) else math.copysign(HUGE, value)


def _say(cell: dict[str, Any]) -> str:
    grids = cell["grids"][0] if len(set(cell["grids"])) == 1 else " against ".join(cell["grids"])
    errors, (typical, low, high) = cell["errors"], cell["typical"]
    if cell["ratio"] is None:
        return f"{cell['problem']}, {cell['nfe']} evaluations, grid {grids}: neither run is finite"
    return (
        f"{cell['problem']}, {cell['nfe']} evaluations, grid {grids}: "
        f"{cell['better']} {errors[0]:.3g}, {cell['worse']} {errors[1]:.3g}, "
        f"ratio {cell['ratio']:.3g} in [{cell['low']:.3g}, {cell['high']:.3g}], "
        f"of a typical state {typical:.3g} in [{low:.3g}, {high:.3g}]"
    )


def chain(names: Iterable[str], *grids: str) -> tuple[Pair, ...]:
    """Every sampler claimed to be better than the one before it."""
    listed = list(names)
    return tuple(p for worse, better in itertools.pairwise(listed) for p in pairs(better, worse, *grids))
