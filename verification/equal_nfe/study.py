"""Work-precision: the error of samplers from noise to data over their model evaluations.

An order says what happens as the steps become small; a sampler is used at 5 to 20 evaluations.  Here every
sampler is given a budget of evaluations, takes the most steps that it affords, and is measured against the
exact flow from the schedule's own start, where little but noise is left, to t = 1e-3.

The error of a run is the RMS over the batch of the distances of final states.  Its interval is the 95 %
percentile interval of a bootstrap over the batch, with the same resamples for all runs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from semilinear.analysis.text.named_parts import GRIDS, grid_of
from semilinear.integrators.diffusion.grids import Grid
from semilinear.integrators.numerics import checks, limits
from semilinear.integrators.numerics.files import Written, json_number
from semilinear.integrators.solver import FINAL_CHOICES, FinalChoice

from ..problems.interval import BUDGETS
from ..studies.progress import Progress
from ..targets import named
from .entrants import OWN_END, Entrant, Ours, Ran, Saved, entrants
from .errors import distances, resampled, rms
from .experiment import NoiseToData
from .released import released

RESAMPLES, LEVEL = 1000, 95
"""Of the bootstrap, and of its interval in percent."""
SEARCHED = tuple(name for name in GRIDS if name not in ("rho", "exponential", "lu-lambda", "optimised"))
"""Where the best grid is looked for: all by name with their defaults, but other names of the same, and the
one whose search takes longer than the runs.
"""


@dataclass(frozen=True)
class Row:
    """One sampler at one budget.

    nfe: evaluations made, None where nothing was run.  steps: of the run.  error: RMS over the batch, None
    where it is not finite or nothing was run; low, high: its 95 % interval.  grid: as named.  final: how the
    run ended.  asked: how it was asked to end.  budget: evaluations allowed.  note: what is to be said.
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


@dataclass(frozen=True)
class WorkPrecision(Written):
    """What was measured: a row for every sampler, grid, ending and budget; it prints as a table, writes
    and plots itself.
    """

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
        """What the intervals are."""
        return f"{LEVEL} % percentile bootstrap over the batch, {RESAMPLES} resamples"

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
        lines = [f"{self.place}: RMS error, {LEVEL} % interval"]
        lines += [f"{r.solver}, {r.grid}, {r.final}, NFE {r.nfe} of {r.budget}: {told(r)}" for r in self.rows]
        return "\n".join(lines)


def _error(row: Row) -> float:
    return math.inf if row.error is None else row.error


def told(row: Row) -> str:
    """An error in words: with its interval, and the note."""
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

    targets: one or several: a listed name with parameters, FILE.py:function, a .json file of a tableau or a
    plan, PACKAGE:NAME, PACKAGE:*, a `Solver`, a `Plan`, a function of a run (`flow.measure` says what that
    holds), or an entrant of an earlier study (`entrants`).
    experiment: problem, schedule, batch and interval; golden-mixture on vp_linear from noise to 1e-3 where
    absent.  nfe: budgets.  grids: names with parameters, or grids; that of the experiment where absent.
    finals: how runs of our solvers end (`compile_plan`).  as_released: besides, or where no grids are given
    instead, on the grid that the release of each solver has by default (`released.RELEASED`), ended as it
    ends.
    convention: of a file's function, as in `targets.named.target`; "run" where absent.  progress: called with
    (curves done, curves in all).
    A budget that a sampler cannot use, and a grid that does not make its steps, are rows with a note.
    Raises TypeError or ValueError, naming the argument, before any run.
    """
    e = NoiseToData() if experiment is None else experiment
    checks.instance("experiment", e, NoiseToData)
    budgets = tuple(
        checks.integer("nfe", n, 1, limits.EVALUATIONS) for n in checks.sequence("nfe", nfe, least=1)
    )
    finals = checks.sequence("finals", finals, least=1)
    for final in finals:
        checks.one_of("finals", final, FINAL_CHOICES)
    checks.flag("as_released", as_released)
    if convention is not None:
        checks.one_of("convention", convention, tuple(named.CONVENTIONS))
    if progress is not None:
        checks.function("progress", progress)
    asked = list(targets) if isinstance(targets, list | tuple) else [targets]
    taking_part = [entrant for target in asked for entrant in entrants(target, e, convention)]
    if not taking_part:
        raise ValueError("targets must hold at least one sampler")
    fixed = [] if grids is None else [_on(grid) for grid in checks.sequence("grids", grids, least=1)]
    if grids is None and not as_released:
        fixed = [(_written(e.grid), e.grid)]
    resamples = resampled(e.batch, RESAMPLES, [e.seed, 2])
    runs: list[tuple[Entrant, str, NoiseToData, FinalChoice]] = []
    for entrant in taking_part:
        runs += [
            (entrant, text, e.on(grid), final)
            for text, grid in fixed
            for final in (finals if isinstance(entrant, Ours) else ("released",))
        ]
        if as_released and (default := released(entrant.name)) is not None:
            runs.append((entrant, default.grid, e.on(grid_of(default.grid)), default.final))
    unknown = [t.name for t in taking_part if as_released and released(t.name) is None]
    nothing = "what its release does by default is not known here"
    rows = [Row(name, None, None, None, None, "", "", b, note=nothing) for name in unknown for b in budgets]
    for done, (entrant, text, where, final) in enumerate(_once(runs), 1):
        rows += _curve(entrant, text, where, final, budgets, resamples)
        if progress is not None:
            progress(done, len(runs))
    place = f"{e.problem.name} on {e.schedule.kind}, t = {e.times[0]:g} to {e.times[1]:g}"
    return WorkPrecision(place, tuple(rows))


def _once(
    runs: Sequence[tuple[Entrant, str, NoiseToData, FinalChoice]],
) -> Iterator[tuple[Entrant, str, NoiseToData, FinalChoice]]:
    """A plan of a file runs once, on whatever grid."""
    seen: set[int] = set()
    for run in runs:
        if isinstance(run[0], Saved):
            if id(run[0]) in seen:
                continue
            seen.add(id(run[0]))
        yield run


def _curve(
    entrant: Entrant,
    text: str,
    where: NoiseToData,
    final: FinalChoice,
    budgets: Sequence[int],
    resamples: np.ndarray,
) -> Iterator[Row]:
    """The rows of one sampler on one grid, ended in one way; runs of one length are made once."""
    made: dict[int, Ran | str] = {}
    asked = final if isinstance(entrant, Ours) else OWN_END
    text = "own" if isinstance(entrant, Saved) else text
    for budget in budgets:
        n = entrant.most(where, budget, final)
        if not n:
            note = f"no run is made within {budget} evaluations"
            yield Row(entrant.name, None, None, None, None, text, asked, budget, None, asked, note)
            continue
        if n not in made:
            try:
                made[n] = entrant.run(where, n, final)
            except ValueError as refusal:
                made[n] = str(refusal)
        ran = made[n]
        if isinstance(ran, str):
            yield Row(entrant.name, None, None, None, None, text, asked, budget, n, asked, ran)
            continue
        error, low, high, note = _errors(ran, where, resamples)
        note = ran.note or note
        yield Row(entrant.name, ran.nfe, error, low, high, text, ran.final, budget, ran.steps, asked, note)


def _errors(ran: Ran, experiment: NoiseToData, resamples: np.ndarray) -> tuple[Any, Any, Any, str]:
    """Error, low and high, None where there is none, and what is to be said."""
    if ran.states is None:
        return None, None, None, ""
    errors = distances(ran, experiment)
    if bad := int(np.sum(~np.isfinite(errors))):
        return None, None, None, f"{bad} of {len(errors)} final states are not finite"
    error = rms(errors)
    low, high = np.percentile(np.sqrt(resamples @ errors**2), [50 - LEVEL / 2, 50 + LEVEL / 2])
    floor = experiment.floor(ran.steps)
    note = f"at the floor of the reference, {floor:.0e}" if error <= floor else ""
    return json_number(error), json_number(float(low)), json_number(float(high)), note


def _on(grid: str | Grid) -> tuple[str, Grid]:
    """A grid and how it is named."""
    if isinstance(grid, Grid):
        return _written(grid), grid
    return checks.text("grids", grid), grid_of(grid)


def _written(grid: Grid) -> str:
    parameters = ",".join(f"{key}={value:g}" for key, value in grid.parameters)
    return f"{grid.name}:{parameters}" if parameters else grid.name
