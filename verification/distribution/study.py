"""How far a solver's samples lie from the exact law at few evaluations, and which of two lies closer.

Every run starts from pure noise and ends at the data; its distances stand beside what exact samples show by
chance.  Two solvers see the same starts and the same draws.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from semilinear.integrators.common import checks, limits
from semilinear.integrators.common.files import Written
from semilinear.integrators.common.messages import shown
from semilinear.integrators.plans.program import Plan
from semilinear.integrators.solver import FINAL_CHOICES, FinalChoice, Solver

from ..equal_nfe.entrants import check_plan
from ..problems.interval import NFE
from ..studies.own_statistics import suited
from ..studies.progress import Progress
from ..targets.named import Target, is_function
from ..targets.named import target as named_target
from .experiment import SampledExperiment
from .floor import LEVEL, NOTHING, POWER, REPLICATES, Floor
from .metrics import has_modes
from .records import floors_json, rows_json
from .results import Comparison, Distance, Row, compared
from .runs import Outcome, Task, mapping, run
from .tables import aligned, explanation, table

MAIN_METRIC = "energy"
"""By which solvers are put in order, unless another is asked for: zero only where the law along every
direction is the exact one.
"""

T = TypeVar("T")


@dataclass(frozen=True)
class SampledStudy(Written):
    """A solver in distribution; it prints as a table.

    experiment: on which it was measured.  exact: the law of its samples was computed.  floors: by metric.
    """

    solver: str
    experiment: SampledExperiment
    exact: bool
    rows: tuple[Row, ...]
    floors: Mapping[str, Floor]

    @property
    def place(self) -> str:
        """Where it was measured, in words."""
        return self.experiment.described(self.exact)

    @property
    def weights(self) -> tuple[float, ...]:
        """Of the law's modes, where it has some."""
        law = self.experiment.law
        return tuple(map(float, law.weights)) if has_modes(law) else ()

    @property
    def failed(self) -> bool:
        """Whether a run has no samples."""
        return any(row.failed for row in self.rows)

    def against(
        self, other: SampledStudy, metric: str = MAIN_METRIC, *, across: bool = False
    ) -> tuple[Comparison, ...]:
        """Which of two studies lies closer, within the evaluations that were asked of both.

        Samples are compared one by one, since both start alike; with a law that was computed by what they
        show beyond their floor.  A run that failed lies further than any.  across: compare each with its own
        law, where schedules or ends differ and the problem is one.
        Raises ValueError for a metric that a study lacks, and for studies of different laws, seeds or numbers
        of samples.
        """
        if not isinstance(other, SampledStudy):
            raise TypeError(f"other must be a study in distribution, got {shown(other)}")
        checks.flag("across", across)
        for study in (self, other):
            checks.one_of("metric", metric, study.floors)
        self._check_pairs(other, across)
        theirs = {row.nfe: row for row in other.rows}
        return tuple(
            Comparison(
                self.solver,
                other.solver,
                a.nfe,
                metric,
                *compared(a, b, metric),
                () if a.made == b.made == a.nfe else (a.made, b.made),
            )
            for a, b in ((row, theirs[row.nfe]) for row in self.rows if row.nfe in theirs)
        )

    def _check_pairs(self, other: SampledStudy, across: bool) -> None:
        """Refuse what is no pair: distances are from one law, samples that start alike are of one seed."""
        ours, theirs = self.experiment, other.experiment
        if across:
            if not ours.has_problem_of(theirs):
                raise ValueError(f"other must be of one problem, got {self.place} and {other.place}")
        elif not ours.has_law_of(theirs):
            raise ValueError(f"other must be of one law and end, got {self.place} and {other.place}")
        if not (self.exact or other.exact) and ours.seed != theirs.seed:
            raise ValueError(f"other must be of one seed, got {ours.seed} and {theirs.seed}")

    @property
    def data(self) -> dict[str, Any]:
        """As JSON data: the keys of `semilinear distance --json`."""
        return studies_json([self])

    def plot(self, path: str | Path, metric: str = MAIN_METRIC) -> None:
        """Draw distances over evaluations, with the floor (PNG or SVG)."""
        from ..reporting.distance_plot import plot_distances

        checks.one_of("metric", metric, self.floors)
        plot_distances(self.data, metric, Path(path))

    def __str__(self) -> str:
        lines = table(self.rows, self.floors, MAIN_METRIC)
        own = [self.solver]
        reading = explanation(own if self.exact else (), () if self.exact else own, MAIN_METRIC)
        return "\n".join([f"{self.solver} on {self.place}", *aligned(lines), reading])


def studies_json(studies: Sequence[SampledStudy]) -> dict[str, Any]:
    """Studies on one experiment: the keys of `semilinear distance --json`."""
    drawn = next((study for study in studies if not study.exact), studies[0])
    return {
        "place": drawn.place,
        "level": LEVEL,
        "power": POWER,
        "weights": list(drawn.weights),
        "floors": floors_json(drawn.floors),
        "rows": [row for study in studies for row in rows_json(study.solver, study.rows)],
    }


# --- measuring ---


def in_distribution(
    target: Any,
    experiment: SampledExperiment | None = None,
    *,
    nfe: Sequence[int] = NFE,
    final: FinalChoice = "released",
    name: str | None = None,
    convention: str | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> SampledStudy:
    """Measure how far a solver's samples lie from the exact law; the study prints itself.

    target: what runs as `targets.named.target` finds it: a listed name, NAME[:KEY=VALUE,..],
    FILE.py:function, PACKAGE:NAME, a `Solver`, a function of a run (`targets.run.Run`: its number of steps,
    run.x, run.times, run.model, run.noise), a `Plan` or its file, from the experiment's start to its end on
    times of its own.  nfe: evaluations; a run makes the most steps that need no more, a plan its own.
    final: how a solver's runs end, as in `compile_plan`.  name, convention: of a function.  workers:
    processes, to which what is your own must be picklable; no number depends on them.  progress: called with
    (done, of all).
    Raises TypeError for another kind of target or experiment, ValueError naming the argument.
    """
    names = None if name is None else [checks.text("name", name)]
    (study,) = studies(
        [target],
        experiment,
        nfe=nfe,
        final=final,
        names=names,
        convention=convention,
        workers=workers,
        progress=progress,
    )
    return study


def studies(
    targets: Sequence[Any],
    experiment: SampledExperiment | None = None,
    *,
    nfe: Sequence[int] = NFE,
    final: FinalChoice = "released",
    names: Sequence[str] | None = None,
    convention: str | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> tuple[SampledStudy, ...]:
    """Several targets on one experiment, as `in_distribution` each; names: of them, in place of their own."""
    e = SampledExperiment() if experiment is None else experiment
    checks.instance("experiment", e, SampledExperiment)
    checks.one_of("final", final, FINAL_CHOICES)
    workers = checks.integer("workers", workers, 1, limits.WORKERS)
    budgets = _budgets(nfe)
    if not targets:
        raise ValueError("targets must hold at least one solver")
    made = [_made(target, e, convention) for target in targets]
    labels = _names(names, targets, made)
    tasks = [Task(one, budget, final) for one in map(_run_as, made) for budget in budgets]
    drawn = e.gaussian is None or any(one.kind == "sampler" for one in made)
    with mapping(e, workers) as mapped:
        tell = _counting(progress, len(tasks) + (REPLICATES if drawn else 0))
        found = list(tell(mapped(run, tasks)))
        if not all(raw.exact for raw in found):
            e.floors(lambda: tell(mapped(SampledExperiment.exact_squares, range(REPLICATES))))
    count = len(budgets)
    return tuple(_study(name, e, found[i * count : (i + 1) * count]) for i, name in enumerate(labels))


def _study(name: str, e: SampledExperiment, found: Sequence[Outcome]) -> SampledStudy:
    exact = all(raw.exact for raw in found)
    floors = dict.fromkeys(e.metrics, NOTHING) if exact else e.floors()
    rows = tuple(
        Row(
            raw.nfe,
            raw.made,
            raw.steps,
            {metric: Distance(squared, floors[metric]) for metric, squared in raw.squares.items()},
            raw.weights,
            raw.failed,
        )
        for raw in found
    )
    return SampledStudy(name, e, exact, rows, floors)


# --- targets ---


def _budgets(nfe: Any) -> tuple[int, ...]:
    counts = list(nfe) if isinstance(nfe, Sequence) and not isinstance(nfe, str | bytes) else []
    found = tuple(checks.integer("nfe", n, 1, limits.EVALUATIONS) for n in counts)
    if not found or any(b <= a for a, b in itertools.pairwise(found)):
        raise ValueError(f"nfe must be increasing positive integers, got {shown(nfe)}")
    return found


def _made(given: Any, e: SampledExperiment, convention: str | None) -> Target:
    """What runs, a listed solver on the statistics of the experiment's problem."""
    told = convention if is_function(given) else None
    found = named_target(given, convention=told)
    if isinstance(found.made, Plan):
        check_plan(found.name, found.made, e)
    if found.kind in ("plan", "sampler"):
        return found
    solver = suited(found, e)
    if solver.own_grid:
        raise ValueError(f"target must be a solver of any grid, got {found.name!r}: {solver.own_grid}")
    return replace(found, made=solver)


def _run_as(found: Target) -> Solver | Plan | Target:
    return found if found.made is None else found.made


def _names(names: Any, targets: Sequence[Any], made: Sequence[Target]) -> tuple[str, ...]:
    """Of the studies: as they are given, or the targets' own."""
    if names is None:
        return tuple(t if isinstance(t, str) else one.name for t, one in zip(targets, made, strict=True))
    given = list(names) if isinstance(names, Sequence) and not isinstance(names, str) else []
    if len(given) != len(made) or not all(isinstance(name, str) for name in given):
        raise ValueError(f"names must be a text for each of {len(made)} targets, got {shown(names)}")
    return tuple(given)


def _counting(progress: Progress | None, total: int) -> Callable[[Iterable[T]], Iterator[T]]:
    """What passes items on and tells of each."""
    done = itertools.count(1)

    def tell(items: Iterable[T]) -> Iterator[T]:
        for item in items:
            yield item
            if progress is not None:
                progress(min(next(done), total), total)

    return tell
