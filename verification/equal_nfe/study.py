"""Work-precision: the error of samplers from noise to data over their model evaluations.

An order says what happens as the steps become small; a sampler is used at 5 to 20 evaluations.  Here every
sampler is given a budget of evaluations, takes the most steps that it affords, and is measured against the
exact flow from the schedule's own start, where little but noise is left, to t = 1e-3.

The error of a run is the RMS over the batch of the distances of final states.  Beside it stands the spread of
the batch, the middle 95 % of resamples of it, the same for all runs: no confidence interval where a few paths
that change their mode carry the sum.  The median's interval is one, and exact.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from semilinear.analysis.text.named_parts import GRIDS, grid_of
from semilinear.integrators.common import checks, limits
from semilinear.integrators.common.files import Written, json_number
from semilinear.integrators.diffusion.grids import Grid
from semilinear.integrators.numerics.arrays import rms
from semilinear.integrators.solver import FINAL_CHOICES, FinalChoice

from ..problems.interval import BUDGETS
from ..studies.progress import Progress
from ..targets.named import CONVENTIONS
from .entrants import OWN_END, Entrant, Runs, entrants
from .errors import carriers, distances, middle
from .experiment import RESAMPLES, NoiseToData
from .released import released

LEVEL = 95
"""Of the spread and the median's interval, in percent."""
LEFT_OUT = ("rho", "exponential", "lu-lambda", "optimised", "alternating", "kinked", "rounded")
SEARCHED = tuple(name for name in GRIDS if name not in LEFT_OUT)
"""Where the best grid is looked for: all by name with their defaults, but other names of the same, the one
whose search takes longer than the runs, and those that are rough on purpose.
"""


@dataclass(frozen=True)
class Row:
    """One sampler at one budget.

    nfe: evaluations made, None where nothing was run.  steps: of the run.  error: RMS over the batch, None
    where it is not finite or nothing was run; low, high: the spread of the batch.  grid: as named.
    final: how the run ended.  asked: how it was asked to end.  budget: evaluations allowed.  note: what is
    to be said.  median: of the states' errors; median_low, median_high: its exact 95 % interval, None where
    so few states have none.  carriers: about how many states the RMS is made by (`errors.carriers`).
    """

    solver: str
    nfe: int | None
    error: float | None
    low: float | None
    high: float | None
    grid: str
    final: str
    budget: int
    steps: int | None = None
    asked: str = ""
    note: str = ""
    median: float | None = None
    median_low: float | None = None
    median_high: float | None = None
    carriers: float | None = None


@dataclass(frozen=True)
class WorkPrecision(Written):
    """What was measured: a row for every sampler, grid, ending and budget; it prints as a table."""

    place: str
    rows: tuple[Row, ...]

    @property
    def best(self) -> tuple[Row, ...]:
        """Of every sampler and budget the row with the smallest error, chosen on the same batch."""
        found: dict[tuple[str, int], Row] = {}
        for row in self.rows:
            key = row.solver, row.budget
            if row.error is not None and (key not in found or row.error < _error(found[key])):
                found[key] = row
        return tuple(found.values())

    @property
    def interval(self) -> str:
        """What low and high are."""
        return (
            f"the spread of this batch: the middle {LEVEL} % of {RESAMPLES} resamples of it. Of paths that "
            "the batch lacks it knows nothing: of errors with heavy tails it often misses the law's RMS"
        )

    @property
    def data(self) -> dict[str, Any]:
        """As JSON data: place, interval, rows, best."""
        return {
            "place": self.place,
            "interval": self.interval,
            "rows": [asdict(row) for row in self.rows],
            "best": [asdict(row) for row in self.best],
        }

    def plot(self, path: Path | str, *, best: bool = False) -> None:
        """Errors over evaluations, PNG or SVG by the suffix; best: of the best rows alone."""
        from ..reporting.work_precision import plot

        plot([asdict(row) for row in (self.best if best else self.rows)], self.place, Path(path))

    def __str__(self) -> str:
        lines = [f"{self.place}: RMS error, spread of the batch"]
        lines += [f"{r.solver}, {r.grid}, {r.final}, NFE {r.nfe} of {r.budget}: {told(r)}" for r in self.rows]
        return "\n".join(lines)


def _error(row: Row) -> float:
    return math.inf if row.error is None else row.error


def told(row: Row) -> str:
    """An error in words: with the spread of the batch, and the note."""
    if row.error is None:
        return row.note
    return f"{row.error:.3g} [{row.low:.3g}, {row.high:.3g}]" + (f" ({row.note})" if row.note else "")


def work_precision(
    targets: Any,
    experiment: NoiseToData | None = None,
    *,
    nfe: Sequence[int] = BUDGETS,
    grids: Sequence[str | Grid] | None = None,
    finals: Sequence[FinalChoice] = ("released",),
    as_released: bool = False,
    convention: str | None = None,
    progress: Progress | None = None,
) -> WorkPrecision:
    """Errors of samplers from noise to data at budgets of evaluations; the study prints and plots itself.

    targets: one or several of what `targets.named.target` finds: a listed name with parameters,
    FILE.py:function, a .json file of a tableau or a plan, PACKAGE:NAME, PACKAGE:*, a `Solver`, a `Plan`, a
    function of a run (`flow.measure` says what that holds).
    experiment: problem, schedule, batch and interval; golden-mixture on vp_linear from noise to 1e-3 where
    absent.  nfe: budgets.  grids: Grids, or names with parameters; that of the experiment where absent.
    finals: how runs of our solvers end (`compile_plan`).  as_released: besides, or where no grids are given
    instead, on the grid that the release of each solver has by default (`released.RELEASED`), ended as it
    ends.  convention: of files' functions, as in `targets.named.target`.  progress: called with (curves done,
    curves in all).
    A budget that a sampler cannot use, a grid that does not make its steps, and a sampler that fails are rows
    with a note.  Raises TypeError or ValueError, naming the argument, before any run.
    """
    e = NoiseToData() if experiment is None else experiment
    checks.instance("experiment", e, NoiseToData)
    budgets = tuple(
        checks.integer("nfe", n, 1, limits.EVALUATIONS) for n in checks.sequence("nfe", nfe, least=1)
    )
    for final in (asked := checks.sequence("finals", finals, least=1)):
        checks.one_of("finals", final, FINAL_CHOICES)
    checks.flag("as_released", as_released)
    if convention is not None:
        checks.one_of("convention", convention, CONVENTIONS)
    if progress is not None:
        checks.function("progress", progress)
    several = targets if isinstance(targets, list | tuple) else [targets]
    taking_part = [x for target in several for x in entrants(target, e, convention)]
    if not taking_part:
        raise ValueError("targets must hold at least one sampler")
    places = [] if grids is None else [_place(grid) for grid in checks.sequence("grids", grids, least=1)]
    if grids is None and not as_released:
        places = [_place(e.grid)]
    curves = [c for entrant in taking_part for c in _curves(entrant, e, places, asked, as_released)]
    rows = [row for t in taking_part if as_released for row in _unknown(t.name, budgets)]
    for done, curve in enumerate(curves, 1):
        rows += curve.rows(budgets, e.resamples)
        if progress is not None:
            progress(done, len(curves))
    place = f"{e.problem.name} on {e.schedule.kind}, t = {e.times[0]:g} to {e.times[1]:g}"
    return WorkPrecision(place, tuple(rows))


Place = tuple[str, Grid]


def _place(grid: Any) -> Place:
    """A grid as it is named, and as it is made."""
    if isinstance(grid, Grid):
        parameters = ",".join(f"{key}={value:g}" for key, value in grid.parameters)
        return (f"{grid.name}:{parameters}" if parameters else grid.name), grid
    return checks.text("grids", grid), grid_of(grid)


def _unknown(name: str, budgets: Sequence[int]) -> list[Row]:
    if released(name) is not None:
        return []
    nothing = "what its release does by default is not known here"
    return [Row(name, None, None, None, None, "", "", b, note=nothing) for b in budgets]


def _curves(
    entrant: Entrant,
    e: NoiseToData,
    places: Sequence[Place],
    finals: Sequence[FinalChoice],
    as_released: bool,
) -> Iterator[Curve]:
    """Where and how a sampler runs: one that brings a grid of its own runs on no other."""
    if entrant.placed:
        yield Curve(entrant, OWN_GRID, e, "released")
        return
    for text, grid in places:
        for final in finals if entrant.endings else finals[:1]:
            yield Curve(entrant, text, e.on(grid), final)
    if as_released and (default := released(entrant.name)) is not None:
        yield Curve(entrant, default.grid, e.on(grid_of(default.grid)), default.final)


OWN_GRID = "own"
"""Of a plan of a file."""


@dataclass(frozen=True)
class Curve:
    """A sampler on a grid, ended in one way: its rows are those of the budgets."""

    entrant: Entrant
    grid: str
    experiment: NoiseToData
    final: FinalChoice

    def rows(self, budgets: Sequence[int], resamples: np.ndarray) -> Iterator[Row]:
        """The longest run of each budget, and its error."""
        runs = self.entrant.on(self.experiment, self.final)
        asked = self.final if self.entrant.endings else OWN_END
        made: dict[int, Row] = {}
        for budget in budgets:
            row = Row(self.entrant.name, None, None, None, None, self.grid, asked, budget, None, asked)
            steps = 0
            try:
                steps = runs.most(budget)
                if steps not in made:
                    made[steps] = self._measured(row, runs, steps, resamples)
                yield replace(made[steps], budget=budget)
            except ValueError as refusal:
                yield replace(row, steps=steps or None, note=str(refusal))

    def _measured(self, row: Row, runs: Runs, steps: int, resamples: np.ndarray) -> Row:
        if not steps:
            why = f": {runs.failed}" if runs.failed else ""
            raise ValueError(f"no run is made within {row.budget} evaluations{why}")
        ran = runs.run(steps)
        row = replace(row, nfe=ran.nfe, final=ran.final, steps=ran.steps, note=ran.note)
        if ran.states is None:
            return row
        errors = distances(ran, self.experiment)
        if bad := int(np.sum(~np.isfinite(errors))):
            return replace(row, note=f"{bad} of {len(errors)} final states are not finite")
        error = rms(errors)
        low, high = np.percentile(np.sqrt(resamples @ errors**2), [50 - LEVEL / 2, 50 + LEVEL / 2])
        floor = self.experiment.floor(ran.steps)
        note = f"at the floor of the reference, {floor:.0e}" if error <= floor else ran.note
        median, median_low, median_high = middle(errors, LEVEL / 100)
        return replace(
            row,
            error=json_number(error),
            low=json_number(float(low)),
            high=json_number(float(high)),
            median=median,
            median_low=json_number(median_low),
            median_high=json_number(median_high),
            carriers=carriers(errors),
            note=note,
        )
