"""Work-precision: the error of samplers from noise to data over their model evaluations.

An order says what happens as the steps become small; a sampler is used at 5 to 20 evaluations.  Here every
sampler is given a budget of evaluations, takes the most steps that it affords, and is measured against the
exact flow from the schedule's own start, where little but noise is left, to t = 1e-3.

The error of a run is the RMS over the batch of the distances of final states.  Its interval is the 95 %
percentile interval of a bootstrap over the batch, with the same resamples for all runs.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from semilinear.analysis.lookup import is_program, is_solver, solver_of
from semilinear.analysis.text.named_parts import GRIDS, grid_of, solver_parameters
from semilinear.integrators.diffusion.grids import Grid
from semilinear.integrators.numerics import checks
from semilinear.integrators.numerics.files import json_number
from semilinear.integrators.numerics.messages import shown
from semilinear.integrators.plans.program import Plan
from semilinear.integrators.run.sampler import NonFiniteError, sample
from semilinear.integrators.solver import FINAL_CHOICES, FinalChoice, Solver

from ..problems.named import problem
from ..targets import named
from .experiment import Experiment, Sampler
from .findings import Outcome, repeated, run_once
from .flow import norms
from .own_statistics import on_experiment, takes_statistics
from .progress import Progress
from .released import released

BUDGETS = (5, 6, 8, 10, 12, 15, 20, 50, 100)
PROBLEM = "golden-mixture"
GRID = "t"
"""Uniform in time, on which most released pipelines run."""
RESAMPLES, LEVEL = 1000, 95
"""Of the bootstrap, and of its interval in percent."""
SEARCHED = tuple(name for name in GRIDS if name not in ("rho", "exponential", "lu-lambda", "optimised"))
"""Where the best grid is looked for: all by name with their defaults, but other names of the same, and the
one whose search takes longer than the runs.
"""
INSIDE = 1e-3
"""Of the interval of times: where a run starts on a schedule that has no signal at all at its end."""


@dataclass(eq=False, kw_only=True)
class NoiseToData(Experiment):
    """An experiment from a schedule's own start, or the times given, to almost data.

    t_start: the last time of the schedule; where alpha is 0 there, a thousandth of the interval before.
    t_end: 1e-3, the first index of a thousand training steps.  `lam_start` and `lam_end` follow.  The
    reference is integrated to 1e-10 where there is no exact flow.
    """

    grid: Grid = field(default_factory=lambda: grid_of(GRID))
    problem: Any = field(default_factory=lambda: problem(PROBLEM), kw_only=False)
    ladder: tuple[int, ...] = BUDGETS
    batch: int = 256
    tolerance: float = 1e-10
    t_start: float | None = None
    t_end: float = 1e-3

    def __post_init__(self) -> None:
        s = self.schedule
        if self.t_start is None:
            silent = not float(s.alpha(s.t_max)) > 0
            self.t_start = s.t_max - (INSIDE * (s.t_max - s.t_min) if silent else 0.0)
        for name in ("t_start", "t_end"):
            checks.number(name, getattr(self, name))
            s.check_time(getattr(self, name), name)
        self.lam_start, self.lam_end = float(s.lam(self.t_start)), float(s.lam(self.t_end))
        super().__post_init__()

    @cached_property
    def times(self) -> tuple[float, float]:
        """Start and end of the runs, as they are given."""
        assert self.t_start is not None
        return float(self.t_start), float(self.t_end)

    def on(self, grid: Grid) -> Self:
        """The same on another grid; what is computed once is shared."""
        other = copy.copy(self)
        other.grid = grid
        return other


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
class WorkPrecision:
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


# --- samplers ---


@dataclass(frozen=True)
class Ran:
    """One run: final states or None, evaluations, steps, how it ended, what went wrong."""

    states: np.ndarray | None
    nfe: int
    steps: int
    final: str
    note: str = ""


class Entrant(Protocol):
    """A sampler that takes part."""

    @property
    def name(self) -> str:
        """As it was asked for."""

    def most(self, experiment: NoiseToData, budget: int, final: FinalChoice) -> int:
        """The most steps (or evaluations, of a solver made to a number of them) within a budget; 0: none."""

    def run(self, experiment: NoiseToData, n: int, final: FinalChoice) -> Ran:
        """A run.  Raises ValueError for one that cannot be made."""


def most(cost: Callable[[int], int], budget: int) -> int:
    """The largest n with cost(n) <= budget, 0 where there is none; cost(n) >= n/2, and never falls."""
    n = budget
    while n and (made := cost(n)) > budget:
        n = min(n - 1, n * budget // made)
    while cost(n + 1) <= budget and n < 2 * budget:
        n += 1
    return n


def evaluations(solver: Solver, n: int, final: FinalChoice) -> int:
    """Of a run of n steps that ends above sigma = 0; N(0) is one unless the step before carries it over."""
    ending = solver.final.final(solver.sequence.steps(n), False) if final == "released" else final
    tableaux = solver.sequence.at(n, ending)
    return 1 + sum(len(t.stages) for t in tableaux) + sum(t.carry is None for t in tableaux[:-1])


@dataclass(frozen=True)
class Ours:
    """A solver of the project's kind; its plans serve every problem."""

    name: str
    solver: Solver
    _plans: dict[Any, Plan] = field(default_factory=dict, compare=False, repr=False)

    def most(self, experiment: NoiseToData, budget: int, final: FinalChoice) -> int:
        """As counted from the tableaux."""
        return most(lambda n: evaluations(self.solver, n, final), budget)

    def run(self, experiment: NoiseToData, n: int, final: FinalChoice) -> Ran:
        """Compiled, and run in the one loop."""
        key = experiment.schedule, experiment.grid, experiment.times, n, final
        if key not in self._plans:
            self._plans[key] = experiment.plan(self.solver, n, final)
        return _planned(self._plans[key], experiment)


def _planned(plan: Plan, experiment: NoiseToData) -> Ran:
    try:
        result = sample(plan, experiment.model, experiment.given(experiment.x))
        states = np.asarray(result.x.double().numpy()).reshape(experiment.x.shape)
        return Ran(states, result.nfe, len(plan.steps), plan.final)
    except NonFiniteError as error:
        return Ran(None, plan.nfe, len(plan.steps), plan.final, f"not finite: {error}")


@dataclass(frozen=True)
class Saved:
    """A plan of a file: it has its own grid, end and number of steps."""

    name: str
    plan: Plan

    def most(self, experiment: NoiseToData, budget: int, final: FinalChoice) -> int:
        """Its own number, where the budget affords it."""
        return len(self.plan.steps) if self.plan.nfe <= budget else 0

    def run(self, experiment: NoiseToData, n: int, final: FinalChoice) -> Ran:
        """In the one loop."""
        return _planned(self.plan, experiment)

    def check(self, experiment: NoiseToData) -> None:
        """Raise ValueError for a plan of another schedule or interval."""
        where = experiment.schedule.kind, experiment.schedule.parameters
        ends = tuple(float(t) for t in (self.plan.inputs[0], self.plan.times[-1]))
        if self.plan.schedule != where or ends != experiment.times or len(self.plan.inputs) > 1:
            raise ValueError(
                f"plan {self.name} must start from one state and run on {where[0]} from t = "
                f"{experiment.times[0]:g} to {experiment.times[1]:g}, got {self.plan.schedule[0]} from "
                f"{ends[0]:g} to {ends[1]:g}"
            )
        if self.plan.prediction != "eps" or self.plan.stochastic:
            raise ValueError(f"plan {self.name} must be deterministic and for noise prediction")


OWN_END = "own"
"""How another's sampler ends a run."""


@dataclass(frozen=True)
class Theirs:
    """Any function of a run; what it costs is seen when it is run."""

    name: str
    sampler: Sampler
    _made: dict[tuple[int, int], Outcome] = field(default_factory=dict, compare=False, repr=False)

    def most(self, experiment: NoiseToData, budget: int, final: FinalChoice) -> int:
        """As counted in runs; one that raises costs more than the budget."""

        def cost(n: int) -> int:
            outcome = self._run(experiment, n)
            return outcome.nfe if outcome.states is not None else budget + 1

        return most(cost, budget)

    def run(self, experiment: NoiseToData, n: int, final: FinalChoice) -> Ran:
        """As a study runs it, twice: one that draws noise has no error against a flow."""
        outcome = self._run(experiment, n)
        noise = repeated(self.sampler, experiment, outcome)
        if noise is not None:
            return Ran(None, outcome.nfe, n, OWN_END, str(noise))
        return Ran(outcome.states, outcome.nfe, n, OWN_END, outcome.error)

    def _run(self, experiment: NoiseToData, n: int) -> Outcome:
        key = id(experiment), n
        if key not in self._made:
            self._made[key] = run_once(self.sampler, experiment.run(n), experiment.x.shape)
        return self._made[key]


def entrants(target: Any, experiment: NoiseToData, convention: str | None = None) -> tuple[Entrant, ...]:
    """What a name, a solver, a plan or a function of a run stands for; PACKAGE:* is all of a package.

    Raises TypeError for anything else, ValueError for names that name nothing and for stochastic solvers,
    whose runs follow no path of the flow.
    """
    if isinstance(target, Ours | Saved | Theirs):
        return (target,)
    if isinstance(target, Plan):
        return (_saved(target.solver, target, experiment),)
    if isinstance(target, Solver):
        return (_ours(target.name, target),)
    if callable(target):
        return (Theirs(str(getattr(target, "__name__", "sampler")), target),)
    if not isinstance(target, str):
        raise TypeError(
            f"target must be a name, a Solver, a Plan or a function of a run, got {shown(target)}"
        )
    if is_solver(target) and (not is_program(target) or convention == "solver"):
        if takes_statistics(target):
            listed, parameters = solver_parameters(target)
            return (_ours(target, on_experiment(listed, experiment, **parameters)),)
        return (_ours(target, solver_of(target)),)
    return tuple(_named(found, experiment) for found in named.targets(target, convention=convention))


def _named(found: named.Target, experiment: NoiseToData) -> Entrant:
    made = found.made
    if isinstance(made, Solver):
        return _ours(found.name, made)
    if isinstance(made, Plan):
        return _saved(found.name, made, experiment)
    return Theirs(found.name, found.sampler)


def _ours(name: str, solver: Solver) -> Ours:
    if solver.stochastic:
        raise ValueError(f"solver {name!r} is stochastic: its runs follow no path of the probability flow")
    return Ours(name, solver)


def _saved(name: str, plan: Plan, experiment: NoiseToData) -> Saved:
    made = Saved(name, plan)
    made.check(experiment)
    return made


# --- the study ---


def work_precision(
    targets: Any,
    experiment: NoiseToData | None = None,
    *,
    nfe: Sequence[int] = BUDGETS,
    grids: Sequence[str] | None = None,
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
    absent.  nfe: budgets.  grids: names with parameters; that of the experiment where absent.  finals: how
    runs of our solvers end (`compile_plan`).  as_released: besides, or where no grids are given instead, on
    the grid that the release of each solver has by default (`released.RELEASED`), ended as it ends.
    convention: of a file's function, as in `targets.named.target`; "run" where absent.  progress: called with
    (curves done, curves in all).
    A budget that a sampler cannot use, and a grid that does not make its steps, are rows with a note.
    Raises TypeError or ValueError, naming the argument, before any run.
    """
    e = NoiseToData() if experiment is None else experiment
    checks.instance("experiment", e, NoiseToData)
    budgets = tuple(checks.integer("nfe", n, 1) for n in nfe)
    if not budgets:
        raise ValueError("nfe must hold at least one budget")
    for final in finals:
        checks.one_of("final", final, FINAL_CHOICES)
    asked = [targets] if isinstance(targets, str) or not isinstance(targets, Sequence) else list(targets)
    taking_part = [entrant for target in asked for entrant in entrants(target, e, convention)]
    if not taking_part:
        raise ValueError("targets must hold at least one sampler")
    fixed: list[tuple[str, Grid]] = [(text, grid_of(text)) for text in grids or ()]
    if grids is None and not as_released:
        fixed = [(_written(e.grid), e.grid)]
    exact, resamples = e.states([e.times[1]])[0], _resamples(e.batch, e.seed)
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
        rows += _curve(entrant, text, where, final, budgets, exact, resamples)
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
    exact: np.ndarray,
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
        error, low, high, note = _errors(ran, exact, where, resamples)
        note = ran.note or note
        yield Row(entrant.name, ran.nfe, error, low, high, text, ran.final, budget, ran.steps, asked, note)


def _errors(
    ran: Ran, exact: np.ndarray, experiment: NoiseToData, resamples: np.ndarray
) -> tuple[Any, Any, Any, str]:
    """Error, low and high, None where there is none, and what is to be said."""
    if ran.states is None:
        return None, None, None, ""
    squares = norms(ran.states, exact) ** 2
    if bad := int(np.sum(~np.isfinite(squares))):
        return None, None, None, f"{bad} of {len(squares)} final states are not finite"
    error = math.sqrt(float(np.mean(squares)))
    low, high = np.percentile(np.sqrt(resamples @ squares), [50 - LEVEL / 2, 50 + LEVEL / 2])
    floor = experiment.floor(ran.steps)
    note = f"at the floor of the reference, {floor:.0e}" if error <= floor else ""
    return json_number(error), json_number(float(low)), json_number(float(high)), note


def _resamples(batch: int, seed: int) -> np.ndarray:
    """Weights of the batch in each resample of a bootstrap, (resamples, batch)."""
    counts = np.random.default_rng([seed, 2]).multinomial(batch, np.full(batch, 1 / batch), size=RESAMPLES)
    weights: np.ndarray = counts / batch
    return weights


def _written(grid: Grid) -> str:
    parameters = ",".join(f"{key}={value:g}" for key, value in grid.parameters)
    return f"{grid.name}:{parameters}" if parameters else grid.name
