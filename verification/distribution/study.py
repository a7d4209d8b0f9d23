"""How far a solver's samples lie from the exact law at few evaluations, and which of two lies closer.

Every run starts from pure noise and ends at the data; its distances stand beside what exact samples show by
chance.  Two solvers see the same starts and the same draws.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from semilinear.analysis.lookup import solver_of
from semilinear.analysis.text.named_parts import solver_parameters
from semilinear.integrators.numerics import checks, limits
from semilinear.integrators.numerics.files import write_atomically
from semilinear.integrators.numerics.messages import shown
from semilinear.integrators.solver import FINAL_CHOICES, FinalChoice, Solver

from ..problems.interval import NFE
from ..reporting.distance_plot import plot_distances
from ..studies.own_statistics import for_problem, takes_statistics
from ..studies.progress import Progress
from ..studies.unmeasured import UNMEASURED
from ..targets.run import Sampler
from .experiment import SampledExperiment
from .floor import LEVEL, NOTHING, POWER, REPLICATES, Floor
from .metrics import has_modes
from .records import aligned, explanation, floors_json, rows_json, table
from .results import Comparison, Distance, Row, compared
from .runs import Outcome, Task, mapping, run

MAIN_METRIC = "energy"
"""By which solvers are put in order, unless another is asked for: zero for the exact law alone, whatever part
of it is missed.
"""

Target = str | Solver | Sampler
T = TypeVar("T")


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
            Comparison(self.solver, other.solver, a.nfe, metric, *compared(a, b, metric)) for a, b in pairs
        )

    @property
    def data(self) -> list[dict[str, Any]]:
        """The rows as JSON data."""
        return rows_json(self.solver, self.rows)

    def write(self, path: str | Path) -> None:
        """Write the study as JSON; the file is replaced whole."""
        write_atomically(Path(path), json.dumps(studies_json([self]), indent=1, allow_nan=False) + "\n")

    def plot(self, path: str | Path, metric: str = MAIN_METRIC) -> None:
        """Draw distances over evaluations, with the floor (PNG or SVG)."""
        checks.one_of("metric", metric, self.floors)
        plot_distances(studies_json([self]), metric, Path(path))

    def __str__(self) -> str:
        lines = table(self.rows, self.floors, MAIN_METRIC)
        reading = explanation(self.exact, MAIN_METRIC)
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
        "rows": [row for study in studies for row in study.data],
    }


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
    function.  workers: processes, to which what is your own must be picklable; no number depends on them.
    progress: called with (done, of all).
    Raises TypeError for another kind of target or experiment, ValueError naming the argument.
    """
    names = None if name is None else [checks.text("name", name)]
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
    workers = checks.integer("workers", workers, 1, limits.WORKERS)
    budgets = _budgets(nfe)
    if not targets:
        raise ValueError("targets must hold at least one solver")
    made = [_made(target, e) for target in targets]
    if names is None:
        names = [_label(target, one) for target, one in zip(targets, made, strict=True)]
    tasks = [Task(one, budget, final) for one in made for budget in budgets]
    drawn = e.gaussian is None or not all(isinstance(one, Solver) for one in made)
    with mapping(e, workers) as mapped:
        tell = _counting(progress, len(tasks) + (REPLICATES if drawn else 0))
        found = list(tell(mapped(run, tasks)))
        if not all(raw.exact for raw in found):
            e.floors(lambda: tell(mapped(SampledExperiment.exact_squares, range(REPLICATES))))
    weights = tuple(map(float, e.law.weights)) if has_modes(e.law) else ()
    return tuple(
        _study(label, e, found[i * len(budgets) : (i + 1) * len(budgets)], weights)
        for i, label in enumerate(names)
    )


def _study(
    label: str, e: SampledExperiment, found: Sequence[Outcome], weights: tuple[float, ...]
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


# --- targets ---


def _budgets(nfe: Any) -> tuple[int, ...]:
    counts = list(nfe) if isinstance(nfe, Sequence) and not isinstance(nfe, str | bytes) else []
    found = tuple(checks.integer("nfe", n, 1, limits.EVALUATIONS) for n in counts)
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


def _counting(progress: Progress | None, total: int) -> Callable[[Iterable[T]], Iterator[T]]:
    """What passes items on and tells of each."""
    done = itertools.count(1)

    def tell(items: Iterable[T]) -> Iterator[T]:
        for item in items:
            yield item
            if progress is not None:
                progress(min(next(done), total), total)

    return tell
