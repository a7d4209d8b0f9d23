"""Samplers that take part: each says how many steps a budget of evaluations affords it, and makes a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
from semilinear.integrators.diffusion.schedule import Schedule
from semilinear.integrators.plans.program import Plan
from semilinear.integrators.run.sampler import NonFiniteError, sample
from semilinear.integrators.solver import FinalChoice, Solver

from ..studies.experiment import Sampler
from ..studies.findings import Outcome, repeated, run_once
from ..studies.own_statistics import suited
from ..targets import named
from .experiment import NoiseToData


@dataclass(frozen=True)
class Ran:
    """One run: final states or None, evaluations, steps, how it ended, what went wrong."""

    states: np.ndarray | None
    nfe: int
    steps: int
    final: str
    note: str = ""


class Runs(Protocol):
    """The runs of one sampler on one experiment, ended in one way; each is made once."""

    def most(self, budget: int) -> int:
        """The most steps (or evaluations, of a solver made to a number of them) within a budget; 0: none."""

    def run(self, n: int) -> Ran:
        """A run.  Raises ValueError for one that cannot be made."""

    @property
    def failed(self) -> str:
        """What went wrong in a run that made none of the budgets; "" where nothing did."""


class Entrant(Protocol):
    """A sampler that takes part.

    endings: whether it is asked how to end.  placed: whether it brings a grid of its own.
    """

    endings: ClassVar[bool]
    placed: ClassVar[bool]

    @property
    def name(self) -> str:
        """As it was asked for."""

    def on(self, experiment: NoiseToData, final: FinalChoice) -> Runs:
        """Its runs there."""


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


# --- solvers of the project's kind ---


@dataclass(frozen=True)
class Ours:
    """A solver of the project's kind; its plans serve every problem."""

    name: str
    solver: Solver
    endings: ClassVar[bool] = True
    placed: ClassVar[bool] = False
    _plans: dict[Any, Plan] = field(default_factory=dict, compare=False, repr=False)

    def on(self, experiment: NoiseToData, final: FinalChoice) -> Runs:
        """Compiled, and run in the one loop."""
        return _OurRuns(self, experiment, final)

    def plan(self, experiment: NoiseToData, n: int, final: FinalChoice) -> Plan:
        """Of n steps; made once for the times of its steps, whatever the grid is called."""
        schedule, grid = experiment.schedule, experiment.grid
        times = self.solver.sequence.times(grid, schedule, *experiment.times, n)
        key = schedule, times, n, final
        if key not in self._plans:
            self._plans[key] = experiment.plan(self.solver, n, final)
        return self._plans[key]


@dataclass(frozen=True)
class _OurRuns:
    entrant: Ours
    experiment: NoiseToData
    final: FinalChoice
    failed: ClassVar[str] = ""

    def most(self, budget: int) -> int:
        """As counted from the tableaux."""
        return most(lambda n: evaluations(self.entrant.solver, n, self.final), budget)

    def run(self, n: int) -> Ran:
        return _planned(self.entrant.plan(self.experiment, n, self.final), self.experiment)


def _planned(plan: Plan, experiment: NoiseToData) -> Ran:
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # a run that diverges is told as such
            result = sample(plan, experiment.model, experiment.inputs(experiment.x))
        states = np.asarray(result.x, dtype=np.float64)
        return Ran(states, result.nfe, len(plan.steps), plan.final)
    except NonFiniteError as error:
        return Ran(None, plan.nfe, len(plan.steps), plan.final, f"not finite: {error}")


# --- plans of files ---


class Place(Protocol):
    """Where runs are held against each other."""

    @property
    def schedule(self) -> Schedule:
        """What they run under."""

    @property
    def times(self) -> tuple[float, float]:
        """Where they start and end."""


def check_plan(name: str, plan: Plan, place: Place) -> None:
    """Raise ValueError for a plan that is not one from the start to the end of an experiment."""
    where = place.schedule.kind, place.schedule.parameters
    ends = tuple(float(t) for t in (plan.inputs[0], plan.times[-1]))
    if plan.schedule != where or ends != place.times or len(plan.inputs) > 1:
        raise ValueError(
            f"plan {name} must start from one state and run on {where[0]} from t = "
            f"{place.times[0]:g} to {place.times[1]:g}, got {plan.schedule[0]} from "
            f"{ends[0]:g} to {ends[1]:g}"
        )


@dataclass(frozen=True)
class Saved:
    """A plan of a file: it has its own grid, end and number of steps."""

    name: str
    plan: Plan
    endings: ClassVar[bool] = False
    placed: ClassVar[bool] = True

    def on(self, experiment: NoiseToData, final: FinalChoice) -> Runs:
        """In the one loop."""
        return _SavedRuns(self.plan, experiment)

    def check(self, experiment: NoiseToData) -> None:
        """Raise ValueError for a plan of another schedule or interval, and one that draws noise."""
        check_plan(self.name, self.plan, experiment)
        if self.plan.prediction != "eps" or self.plan.stochastic:
            raise ValueError(f"plan {self.name} must be deterministic and for noise prediction")


@dataclass(frozen=True)
class _SavedRuns:
    plan: Plan
    experiment: NoiseToData
    failed: ClassVar[str] = ""

    def most(self, budget: int) -> int:
        """Its own number, where the budget affords it."""
        return len(self.plan.steps) if self.plan.nfe <= budget else 0

    def run(self, n: int) -> Ran:
        return _planned(self.plan, self.experiment)


# --- anything else that runs ---

OWN_END = "own"
"""How another's sampler ends a run."""


@dataclass(frozen=True)
class Theirs:
    """Any function of a run; what it costs is seen when it is run."""

    name: str
    sampler: Sampler
    endings: ClassVar[bool] = False
    placed: ClassVar[bool] = False

    def on(self, experiment: NoiseToData, final: FinalChoice) -> Runs:
        """As a study runs it, twice: one that draws noise has no error against a flow."""
        return _TheirRuns(self.sampler, experiment)


@dataclass
class _TheirRuns:
    sampler: Sampler
    experiment: NoiseToData
    failed: str = ""
    _made: dict[int, Outcome] = field(default_factory=dict)

    def most(self, budget: int) -> int:
        """As counted in runs; one that raises costs more than the budget."""

        def cost(n: int) -> int:
            outcome = self._run(n)
            self.failed = outcome.error
            return outcome.nfe if outcome.states is not None else budget + 1

        return most(cost, budget)

    def run(self, n: int) -> Ran:
        outcome = self._run(n)
        noise = repeated(self.sampler, self.experiment, outcome)
        if noise is not None:
            return Ran(None, outcome.nfe, n, OWN_END, str(noise))
        return Ran(outcome.states, outcome.nfe, n, OWN_END, outcome.error)

    def _run(self, n: int) -> Outcome:
        if n not in self._made:
            self._made[n] = run_once(self.sampler, self.experiment.run(n), self.experiment.x.shape)
        return self._made[n]


def entrants(target: Any, experiment: NoiseToData, convention: str | None = None) -> tuple[Entrant, ...]:
    """Whatever runs (`targets.named.target`), and itself; PACKAGE:* is all of a package.

    convention: of a file's function.
    Raises TypeError or ValueError for what is no target, and for stochastic solvers, whose runs follow no
    path of the flow.
    """
    if isinstance(target, Ours | Saved | Theirs):
        return (target,)
    return tuple(_entrant(found, experiment) for found in named.targets(target, convention=convention))


def _entrant(found: named.Target, experiment: NoiseToData) -> Entrant:
    if isinstance(found.made, Plan):
        return _saved(found.name, found.made, experiment)
    if found.kind == "sampler":
        return Theirs(found.name, found.sampler)
    return _ours(found.name, suited(found, experiment))


def _ours(name: str, solver: Solver) -> Ours:
    if solver.stochastic:
        raise ValueError(f"solver {name!r} is stochastic: its runs follow no path of the probability flow")
    return Ours(name, solver)


def _saved(name: str, plan: Plan, experiment: NoiseToData) -> Saved:
    made = Saved(name, plan)
    made.check(experiment)
    return made
