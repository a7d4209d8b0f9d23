"""Work-precision of every solver of the probability flow, as part of a verification run.

A task is one solver on all problems, so that a plan is compiled once for all of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, ClassVar

from semilinear.integrators.solver import FinalChoice

from ..claims.expectations import EXPECTATIONS
from ..equal_nfe.entrants import entrants
from ..equal_nfe.experiment import NoiseToData
from ..equal_nfe.released import released
from ..equal_nfe.study import Row, work_precision
from ..problems.named import problem
from ..studies.own_statistics import generic, takes_statistics
from .runner import Named, Task
from .runner import Row as Decided

SCHEMA = "semilinear-work-precision/1"
PART = "work_precision"
BUDGETS = (5, 8, 10, 15, 20, 50)
COMPARED = 10
"""Evaluations within which solvers are ranked, and at which endings are compared."""
LEAST = 8
"""Evaluations of a run that is ranked: one far below the budget shows what a step costs, not the solver."""
GRIDS = (
    *("t", "lambda", "karras", "nsr", "kl-optimal", "beta", "shift"),
    *("diffusers-linspace", "ays-sd1", "gits"),
)
FEW = ("t", "lambda", "kl-optimal", "ays-sd1")
FEWEST = ("t", "lambda", "karras")


@dataclass(frozen=True)
class Place:
    """A problem, the grids of its runs, how they end besides as released, and initial states."""

    problem: str
    grids: tuple[str, ...]
    batch: int
    endings: tuple[FinalChoice, ...] = ()
    statistics: bool = False
    """Whether solvers with statistics of the model run there, on a few grids: where these are exact."""


TRAP: tuple[FinalChoice, ...] = ("full", "lower")
PLACES = (
    Place("golden-mixture", GRIDS, 256, TRAP, statistics=True),
    Place("rotated-product-2d", FEW, 256),
    Place("rotated-product-8d", FEW, 128),
    Place("digits-0.8", FEWEST, 32),
    Place("digits-0.2", FEWEST, 32),
)
TRAP_GRIDS = ("t", "lambda")


@dataclass(frozen=True)
class WorkTask(Named):
    """One solver at all places."""

    part: ClassVar[str] = PART

    def run(self) -> Decided:
        """Its rows, as JSON data."""
        rows = [row | {"problem": place.problem} for place in PLACES for row in self._rows(place)]
        default = released(self.name)
        return {
            "solver": self.name,
            "policy": str(generic(self.name).final),
            "default": None if default is None else asdict(default),
            "rows": rows,
        }

    def _rows(self, place: Place) -> Iterable[dict[str, Any]]:
        own = takes_statistics(self.name)
        if own and not place.statistics:
            return
        grids = FEWEST if own else place.grids
        where = _experiment(place)
        runner: Any = self.name if own else _solver(self.name)
        default = released(self.name)
        more = () if default is None or default.grid in grids else (default.grid,)
        rows = work_precision(runner, where, nfe=BUDGETS, grids=(*grids, *more)).rows
        if place.endings:
            rows += work_precision(runner, where, nfe=[COMPARED], grids=TRAP_GRIDS, finals=place.endings).rows
        yield from map(_shortened, rows)


@lru_cache(maxsize=2)
def _solver(name: str) -> Any:
    """An entrant's plans are kept while its task runs."""
    (entrant,) = entrants(name, _experiment(PLACES[0]))
    return entrant


def _shortened(row: Row) -> dict[str, Any]:
    """A row with four digits, which is more than its interval holds, without what says nothing."""
    kept = {key: value for key, value in asdict(row).items() if key != "solver" and value not in (None, "")}
    for key in kept.keys() & {"median_low", "median_high"}:
        del kept[key]
    numbers = {key: float(f"{value:.4g}") for key, value in kept.items() if isinstance(value, float)}
    return {"error": None, "nfe": None, "note": ""} | kept | numbers


@lru_cache(maxsize=len(PLACES))
def _experiment(place: Place) -> NoiseToData:
    return NoiseToData(problem(place.problem), batch=place.batch)


def tasks(quick: bool) -> list[Task]:
    """Every solver of the probability flow that is measured; none in a quick run."""
    return [] if quick else [WorkTask(name) for name in dict.fromkeys(e.solver for e in EXPECTATIONS)]


def work_json(decided: Sequence[tuple[Task, Decided]]) -> dict[str, Any]:
    """What was measured, and what it says: endings compared, and solvers ranked.

    endings: at `COMPARED` evaluations on golden-mixture.  ranking: by problem, each solver on its best grid.
    """
    rows = [row for task, row in decided if task.part == PART]
    return {
        "schema": SCHEMA,
        "budgets": list(BUDGETS),
        "compared": COMPARED,
        "places": [asdict(place) | {"where": _where(place)} for place in PLACES],
        "endings": [ending for row in rows for grid in TRAP_GRIDS if (ending := _ending(row, grid))],
        "ranking": {p.problem: _ranking(rows, p.problem) for p in PLACES},
        "rows": rows,
    }


def _where(place: Place) -> str:
    schedule, (start, end) = _experiment(place).schedule.kind, _experiment(place).times
    return f"{schedule}, t = {start:g} to {end:g}"


def _ending(row: Decided, grid: str) -> dict[str, Any] | None:
    """A solver's errors by ending where these differ, of runs of the same steps and evaluations."""
    at = [
        r
        for r in row["rows"]
        if (r["problem"], r["grid"], r["budget"]) == (PLACES[0].problem, grid, COMPARED)
    ]
    by = {r["asked"]: r for r in at}
    if not {"full", "lower", "released"} <= by.keys():
        return None
    full, lower = (by[ending]["error"] for ending in TRAP)
    if full is None or lower is None or full == lower or _length(by["full"]) != _length(by["lower"]):
        return None
    return {
        "solver": row["solver"],
        "grid": grid,
        "full": by["full"],
        "lower": by["lower"],
        "factor": float(f"{full / lower:.3g}"),
        "released": by["released"]["final"],
        "policy": row["policy"],
    }


def _length(row: Mapping[str, Any]) -> tuple[int, int]:
    return row["steps"], row["nfe"]


def _ranking(rows: Sequence[Decided], name: str) -> list[dict[str, Any]]:
    """Solvers within `COMPARED` evaluations, and at least `LEAST`, the best first: best grid, and the
    release's default where known.
    """
    found = []
    for row in rows:
        at = [
            r
            for r in row["rows"]
            if (r["problem"], r["asked"]) == (name, "released") and r["error"] is not None
        ]
        here = [r for r in at if r["budget"] == COMPARED and r["nfe"] >= LEAST]
        if not here:
            continue
        best = min(here, key=_error)
        grid = None if row["default"] is None else row["default"]["grid"]
        default = next((r for r in here if r["grid"] == grid), None)
        others = {
            str(b): min((r for r in at if r["budget"] == b), key=_error, default=None)
            for b in BUDGETS
            if b != COMPARED
        }
        found.append({"solver": row["solver"], "best": best, "default": default, "others": others})
    return sorted(found, key=lambda entry: _error(entry["best"]))


def _error(row: Mapping[str, Any]) -> float:
    return math.inf if row["error"] is None else float(row["error"])
