"""How far a solver's samples lie from the exact law at few evaluations, and which of two lies closer.

Every run starts from pure noise and ends at the data; its distances stand beside what exact samples show by
chance.  Two solvers see the same starts and the same draws.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import numpy as np
from semilinear.analysis.lookup import solver_of
from semilinear.analysis.text.named_parts import solver_parameters
from semilinear.integrators.numerics import checks
from semilinear.integrators.numerics.messages import shown
from semilinear.integrators.run.sampler import NonFiniteError
from semilinear.integrators.solver import FINAL_CHOICES, FinalChoice, Solver

from ..claims.stochastic import UNMEASURED
from ..studies.own_statistics import for_problem, takes_statistics
from ..studies.progress import Progress
from ..targets.run import Sampler
from .experiment import SampledExperiment, one_thread
from .floor import NOTHING, REPLICATES, Floor
from .metrics import Squared, Weights, has_modes
from .slices import Samples

NFE = (5, 10, 20, 50)
"""Evaluations, unless others are asked for."""
INTERVAL = 1.96
SIGNIFICANT = 3.0
"""Standard errors from which on two distances are in order."""
MAIN_METRIC = "energy"
"""By which solvers are put in order, unless another is asked for: zero for the exact law alone, whatever part
of it is missed.
"""

Order = Literal["closer", "further", "not distinguishable"]
Target = str | Solver | Sampler
T = TypeVar("T")


@dataclass(frozen=True)
class Distance:
    """One distance of one run, squared, and what chance does to it.

    squared: with the influence of every sample; of an exact law none.  chance: the floor.
    """

    squared: Squared
    chance: Floor

    @property
    def value(self) -> float:
        """As the samples show it."""
        return _root(self.squared.value)

    @property
    def floor(self) -> float:
        """What exact samples show, root mean square."""
        return _root(self.chance.mean)

    @property
    def error(self) -> float:
        """The standard error of the square."""
        return math.hypot(self.squared.error, self.chance.deviation)

    @property
    def interval(self) -> tuple[float, float]:
        """Of the distance of the laws, 95 %: without what chance adds."""
        middle = self.squared.value - self.chance.mean
        return _root(middle - INTERVAL * self.error), _root(middle + INTERVAL * self.error)

    @property
    def seen(self) -> bool:
        """Whether it is more than exact samples show by chance, but once in a hundred times."""
        return self.squared.value > self.chance.most


def _root(square: float) -> float:
    return math.sqrt(max(square, 0.0))


@dataclass(frozen=True)
class Row:
    """One run.

    nfe: evaluations that were asked for; made: those that a run of so many steps makes, no more.  distances:
    by metric; none where the run failed.  weights: of the modes that the samples show, where the law has
    some.  failed: why there are no samples.
    """

    nfe: int
    made: int
    steps: int
    distances: Mapping[str, Distance]
    weights: tuple[float, ...] = ()
    failed: str = ""


@dataclass(frozen=True)
class Comparison:
    """Two solvers at as many evaluations: which lies closer to the exact law.

    values: their distances.  deviations: the difference of the squares, in standard errors; negative where
    the first is smaller; infinite where both laws are known, or a run failed.
    """

    first: str
    second: str
    nfe: int
    metric: str
    values: tuple[float, float]
    deviations: float

    @property
    def order(self) -> Order:
        """What the first is, of the two."""
        if not abs(self.deviations) > SIGNIFICANT:
            return "not distinguishable"
        return "closer" if self.deviations < 0 else "further"

    def __str__(self) -> str:
        a, b = self.values
        between = "not distinguishable from" if self.order == "not distinguishable" else f"{self.order} than"
        apart = f", {self.deviations:+.1f} standard errors" if math.isfinite(self.deviations) else ""
        both = f"{self.first} ({a:.3g}) {between} {self.second} ({b:.3g})"
        return f"{self.nfe} evaluations, {self.metric}: {both}{apart}"


@dataclass(frozen=True)
class SampledStudy:
    """A solver in distribution; it prints as a table.

    place: where it was measured.  exact: the law of its samples was computed.  floors: by metric.
    weights: of the law's modes, where it has some.
    """

    solver: str
    place: str
    exact: bool
    rows: tuple[Row, ...]
    floors: Mapping[str, Floor]
    weights: tuple[float, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether a run has no samples."""
        return any(row.failed for row in self.rows)

    def against(self, other: SampledStudy, metric: str = MAIN_METRIC) -> tuple[Comparison, ...]:
        """Which of two studies lies closer, at the evaluations that both have.

        Samples are compared one by one, since both start alike.  A run that failed lies further than any.
        Raises ValueError for a metric that a study lacks, and for studies of different numbers of samples.
        """
        if not isinstance(other, SampledStudy):
            raise TypeError(f"other must be a study in distribution, got {shown(other)}")
        for study in (self, other):
            checks.one_of("metric", metric, study.floors)
        theirs = {row.nfe: row for row in other.rows}
        pairs = [(row, theirs[row.nfe]) for row in self.rows if row.nfe in theirs]
        return tuple(
            Comparison(self.solver, other.solver, a.nfe, metric, *_compared(a, b, metric)) for a, b in pairs
        )

    @property
    def data(self) -> list[dict[str, Any]]:
        """The rows as JSON data (`records.rows_json`)."""
        from .records import rows_json

        return rows_json(self)

    def write(self, path: str | Path) -> None:
        """Write the study as JSON; the file is replaced whole."""
        from .records import write

        write(path, [self])

    def plot(self, path: str | Path, metric: str = MAIN_METRIC) -> None:
        """Draw distances over evaluations, with the floor (PNG or SVG)."""
        from ..reporting.distance_plot import plot_distances
        from .records import studies_json

        checks.one_of("metric", metric, self.floors)
        plot_distances(studies_json([self]), metric, Path(path))

    def __str__(self) -> str:
        from .records import text

        return text(self)


def _compared(a: Row, b: Row, metric: str) -> tuple[tuple[float, float], float]:
    """The distances of two rows, and the difference of their squares in standard errors."""
    x, y = (None if row.failed else row.distances[metric] for row in (a, b))
    values = (math.inf if x is None else x.value, math.inf if y is None else y.value)
    if x is None or y is None:
        return values, 0.0 if x is y else math.copysign(math.inf, values[0] - values[1])
    difference = x.squared - y.squared
    error = math.hypot(difference.error, x.chance.deviation, y.chance.deviation)
    if error == 0:  # both laws are known
        apart = abs(difference.value) > NOTHING.most
        return values, math.copysign(math.inf, difference.value) if apart else 0.0
    return values, difference.value / error


# --- measuring ---


def in_distribution(
    target: Target,
    experiment: SampledExperiment | None = None,
    *,
    nfe: Sequence[int] = NFE,
    final: FinalChoice = "released",
    name: str | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> SampledStudy:
    """Measure how far a solver's samples lie from the exact law; the study prints itself.

    target: a listed name, NAME[:KEY=VALUE,..], FILE.py:function, a `Solver`, or a function of a run
    (`targets.run.Run`: its number of steps, run.x, run.times, run.model, run.noise).  nfe: evaluations; a run
    makes the most steps that need no more.  final: how a solver's runs end, as in `compile_plan`.  name: of a
    function.  workers: processes; the numbers do not depend on them.  progress: called with (done, of all).
    Raises TypeError for another kind of target or experiment, ValueError naming the argument.
    """
    names = None if name is None else [name]
    (study,) = studies(
        [target], experiment, nfe=nfe, final=final, names=names, workers=workers, progress=progress
    )
    return study


def studies(
    targets: Sequence[Target],
    experiment: SampledExperiment | None = None,
    *,
    nfe: Sequence[int] = NFE,
    final: FinalChoice = "released",
    names: Sequence[str] | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> tuple[SampledStudy, ...]:
    """Several targets on one experiment, as `in_distribution` each; names: of them, in place of their own."""
    e = SampledExperiment() if experiment is None else experiment
    checks.instance("experiment", e, SampledExperiment)
    checks.one_of("final", final, FINAL_CHOICES)
    workers = checks.integer("workers", workers, 1)
    budgets = _budgets(nfe)
    if not targets:
        raise ValueError("targets must hold at least one solver")
    made = [_made(target, e) for target in targets]
    if names is None:
        names = [_label(target, one) for target, one in zip(targets, made, strict=True)]
    tasks = [_Task(one, budget, final) for one in made for budget in budgets]
    drawn = e.gaussian is None or not all(isinstance(one, Solver) for one in made)
    with _mapped(e, workers) as mapped:
        tell = _counting(progress, len(tasks) + (REPLICATES if drawn else 0))
        found = list(tell(mapped(_run, tasks)))
        if not all(raw.exact for raw in found):
            e.floors(tell(mapped(SampledExperiment.exact_squares, range(REPLICATES))))
    weights = tuple(map(float, e.law.weights)) if has_modes(e.law) else ()
    return tuple(
        _study(label, e, found[i * len(budgets) : (i + 1) * len(budgets)], weights)
        for i, label in enumerate(names)
    )


def _study(
    label: str, e: SampledExperiment, found: Sequence[_Raw], weights: tuple[float, ...]
) -> SampledStudy:
    exact = all(raw.exact for raw in found)
    floors = dict.fromkeys(e.metrics, NOTHING) if exact else e.floors()
    rows = tuple(
        Row(
            raw.nfe,
            raw.made,
            raw.steps,
            {name: Distance(squared, floors[name]) for name, squared in raw.squares.items()},
            raw.weights,
            raw.failed,
        )
        for raw in found
    )
    return SampledStudy(label, e.place, exact, rows, floors, weights)


@dataclass(frozen=True)
class _Task:
    made: Solver | Sampler
    nfe: int
    final: FinalChoice


@dataclass(frozen=True)
class _Raw:
    """A run, before it is known what chance does.  exact: the law was computed."""

    nfe: int
    made: int
    steps: int
    exact: bool
    squares: Mapping[str, Squared]
    weights: tuple[float, ...] = ()
    failed: str = ""


def _run(e: SampledExperiment, task: _Task) -> _Raw:
    if isinstance(task.made, Solver):
        return _run_solver(e, task.made, task)
    return _run_function(e, task.made, task)


def _run_solver(e: SampledExperiment, solver: Solver, task: _Task) -> _Raw:
    steps = most_steps(lambda n: e.plan(solver, n, task.final).nfe, task.nfe, solver.name)
    plan = e.plan(solver, steps, task.final)
    if e.gaussian is not None and not plan.arrays:
        law = e.output(plan)
        if np.all(np.isfinite(law.means)) and np.all(np.isfinite(law.covariances)):
            squares = {name: Squared(m.gaussian(law)) for name, m in e.metrics.items()}
            return _Raw(task.nfe, plan.nfe, steps, True, squares)
        return _Raw(task.nfe, plan.nfe, steps, True, {}, failed="the law is not finite")
    try:
        x, made = e.states(plan)
    except NonFiniteError as error:
        return _Raw(task.nfe, plan.nfe, steps, False, {}, failed=str(error))
    return _measured(e, x, task.nfe, made, steps)


def _run_function(e: SampledExperiment, sampler: Sampler, task: _Task) -> _Raw:
    label = str(getattr(sampler, "__name__", "sampler"))
    steps = most_steps(lambda n: e.states_of(sampler, n, samples=1)[1], task.nfe, label)
    x, made = e.states_of(sampler, steps)
    if not np.all(np.isfinite(x)):
        return _Raw(task.nfe, made, steps, False, {}, failed="a state is not finite")
    return _measured(e, x, task.nfe, made, steps)


def _measured(e: SampledExperiment, x: np.ndarray, nfe: int, made: int, steps: int) -> _Raw:
    samples = Samples(x)
    with one_thread():
        squares = {name: metric.sample(samples) for name, metric in e.metrics.items()}
        weights = tuple(map(float, Weights(e.law)(x).mean(0))) if has_modes(e.law) else ()
    return _Raw(nfe, made, steps, False, squares, weights)


def most_steps(evaluations: Callable[[int], int], nfe: int, name: str) -> int:
    """The most steps whose run makes at most nfe evaluations.

    evaluations: of a run with n steps; they grow with n, and are at least n.
    Raises ValueError where one step makes more.
    """
    if (least := evaluations(1)) > nfe:
        raise ValueError(f"nfe must be at least {least}, what one step of {name} makes, got {nfe}")
    low, high = 1, nfe + 1
    while high - low > 1:
        middle = (low + high) // 2 if high <= nfe else nfe  # one evaluation a step is what most make
        low, high = (middle, high) if evaluations(middle) <= nfe else (low, middle)
    return low


# --- targets ---


def _budgets(nfe: Any) -> tuple[int, ...]:
    counts = list(nfe) if isinstance(nfe, Sequence) and not isinstance(nfe, str) else []
    found = tuple(checks.integer("nfe", n, 1) for n in counts)
    if not found or any(b <= a for a, b in itertools.pairwise(found)):
        raise ValueError(f"nfe must be increasing positive integers, got {shown(nfe)}")
    return found


def _made(target: Any, e: SampledExperiment) -> Solver | Sampler:
    if isinstance(target, str):
        return _named(target, e)
    if isinstance(target, Solver):
        return target
    if callable(target):
        return cast(Sampler, target)
    raise TypeError(f"target must be a name, a Solver or a function of a run, got {shown(target)}")


def _named(text: str, e: SampledExperiment) -> Solver:
    if takes_statistics(text):
        listed, parameters = solver_parameters(text)
        low, high = (float(e.schedule.lam(t)) for t in e.times)
        return for_problem(listed, e.problem, low, high, **parameters)
    solver = solver_of(text)
    if solver.name in UNMEASURED:
        raise ValueError(f"target must be a solver of any grid, got {text!r}: {UNMEASURED[solver.name]}")
    return solver


def _label(target: Any, made: Solver | Sampler) -> str:
    if isinstance(target, str):
        return target
    return made.name if isinstance(made, Solver) else str(getattr(made, "__name__", "sampler"))


# --- processes ---

Mapped = Callable[[Callable[[SampledExperiment, Any], Any], Sequence[Any]], Iterator[Any]]

_experiment: list[SampledExperiment] = []
"""Of a worker: sent once."""


@contextmanager
def _mapped(e: SampledExperiment, workers: int) -> Iterator[Mapped]:
    """`map` over a function of the experiment and an item, here or in other processes."""
    if workers == 1:
        yield lambda function, items: map(partial(function, e), items)
        return
    with ProcessPoolExecutor(workers, initializer=_experiment.append, initargs=(e,)) as pool:
        yield lambda function, items: pool.map(partial(_there, function), items)


def _there(function: Callable[[SampledExperiment, Any], Any], item: Any) -> Any:
    return function(_experiment[-1], item)


def _counting(progress: Progress | None, total: int) -> Callable[[Iterable[T]], Iterator[T]]:
    """What passes items on and tells of each."""
    done = itertools.count(1)

    def tell(items: Iterable[T]) -> Iterator[T]:
        for item in items:
            yield item
            if progress is not None:
                progress(min(next(done), total), total)

    return tell
