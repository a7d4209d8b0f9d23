"""A sampler under audit: its traces and runs, each made once."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache, cached_property

import torch
from semilinear.integrators.diffusion.grids import Grid, alternating, karras, uniform_lambda
from semilinear.integrators.diffusion.prediction import convert
from semilinear.integrators.diffusion.schedule import Schedule, edm
from semilinear.integrators.numerics.arrays import rms
from semilinear.integrators.plans.program import Plan
from semilinear.integrators.run.sampler import sample

from ..studies.experiment import Experiment
from ..studies.gaussian import Exact, StochasticExperiment, respond
from ..studies.ladders import half_octaves
from ..studies.neighbours import even
from ..targets.named import Target, target
from ..targets.run import ending
from ..tracing.linearity import shares_noise
from ..tracing.local import Steps, steps_of, suited
from ..tracing.trace import SCALES, NotLinearError, Trace, again, certified, joined
from ..tracing.witness import Scene

SIGMA_START, SIGMA_END = 2.0, 0.15
"""The noise levels between which orders are measured, where the state is informative."""
WHOLE_START, WHOLE_END = 80.0, 0.002
"""Those of whole runs (Karras et al. 2022): a sampler may do otherwise at levels above, or below."""
GRIDS: dict[str, Callable[[], Grid]] = {
    "lambda": uniform_lambda,
    "karras": karras,
    "alternating": lambda: alternating(uniform_lambda()),
}
"""Uniform in lambda, smooth and warped, and not smooth: every second step is twice as long."""
WARPED, WHOLE = "karras", "whole"
KNOWN = 20
"""Steps of the run by which it is known whether, and how, a sampler can be read off."""
SHARED = 10
"""Steps of the run by which it is known whether samples share noise."""
LEVELS = {WHOLE: (WHOLE_START, WHOLE_END)} | dict.fromkeys(GRIDS, (SIGMA_START, SIGMA_END))
"""Noise levels of runs, by grid."""
SMOOTH = ("lambda", WARPED)
PERIODS = (1, 2, 3, 4)
BEYOND = 8
"""Steps that runs go on beyond the end, where what a release lowers at the end must not count."""


@dataclass(frozen=True)
class Profile:
    """How much is run for an order.

    grids: names of `GRIDS`.  ladder, formula, weak: step counts of runs from the sampler's own start, from
    exact values, and of runs with noise.  counts: step counts at which the ends of runs are compared.
    """

    grids: tuple[str, ...]
    ladder: tuple[int, ...]
    formula: tuple[int, ...]
    weak: tuple[int, ...]
    counts: tuple[int, ...]


FULL = Profile(SMOOTH, half_octaves(4, 192), half_octaves(4, 128), half_octaves(8, 128), tuple(range(4, 25)))
FAST = Profile((WARPED,), half_octaves(6, 64), half_octaves(4, 32), half_octaves(8, 48), tuple(range(4, 15)))
"""One grid and short ladders, which leave more undecided."""


LAMBDAS = -math.log(SIGMA_START), -math.log(SIGMA_END)


@cache
def experiment(grid: str) -> Experiment:
    """The main problem on a grid, its states shaped as images, which many samplers expect; all subjects share
    its exact states.
    """
    start, end = LAMBDAS
    return Experiment(schedule=edm(), grid=GRIDS[grid](), lam_start=start, lam_end=end, shape=(1, 1, 2))


@cache
def gaussian() -> StochasticExperiment:
    """Gaussian data on the smooth and warped grid."""
    return StochasticExperiment(schedule=edm(), grid=karras(), lam_start=LAMBDAS[0], lam_end=LAMBDAS[1])


@dataclass(eq=False)
class Subject:
    """What is known of a target, computed when it is asked for.

    Traces are in float64, on the VE schedule (t = sigma) from sigma = 2 to 0.15 unless they are whole.
    counts: of steps, at which the ends of runs are compared.
    """

    target: Target
    schedule: Schedule = field(default_factory=edm)
    counts: tuple[int, ...] = FULL.counts
    _traces: dict[tuple[str, int], Trace] = field(default_factory=dict)
    _rows: dict[tuple[str, int], Trace] = field(default_factory=dict)
    _steps: dict[tuple[str, int], Steps] = field(default_factory=dict)
    _formulas: dict[tuple[float, ...], Plan] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.target = replace(self.target, sampler=ending(self.target.sampler))

    @cached_property
    def own(self) -> Target:
        """The target in its package's own arithmetic, where it is otherwise made to compute in float64."""
        if self.target.own is not None:
            return replace(self.target, sampler=ending(self.target.own))
        if not self.target.package:
            return self.target
        try:
            found = target(self.target.name, settings={"exact": False})
        except ValueError:
            return self.target
        return replace(found, sampler=ending(found.sampler))

    def grid(self, name: str, n: int) -> tuple[float, ...]:
        """n + 1 times of a grid of `GRIDS`, or of the warped one over all levels of a whole run."""
        start, end = (float(self.schedule.t_of_rho(s)) for s in LEVELS[name])
        return tuple(float(t) for t in GRIDS.get(name, GRIDS[WARPED])()(self.schedule, start, end, n))

    def on(self, schedule: Schedule) -> Subject:
        """The same on another schedule, of which nothing is known yet."""
        return Subject(self.target, schedule, self.counts)

    def traced(self, n: int, grid: str = WARPED) -> Trace:
        """The trace of a run with n steps.  Raises what `trace` does, and what the sampler raises."""
        key = grid, n
        if key not in self._traces:
            scene = replace(self._scene(self.grid(grid, n)), scales=SCALES)
            found = self._read(n, grid) if self._traces else None
            self._traces[key] = certified(self.target.sampler, scene, found)
        return self._traces[key]

    def read(self, n: int, grid: str = WARPED) -> Trace:
        """The same, held against no run of that many steps, where it has not been yet."""
        if not self._traces:
            self.traced(KNOWN)
        found = self._traces.get((grid, n))
        return joined(self._read(n, grid)) if found is None else found

    def _read(self, n: int, grid: str) -> Trace:
        key = grid, n
        if key not in self._rows:
            known = next(iter(self._traces.values()))
            self._rows[key] = again(self.target.sampler, self._scene(self.grid(grid, n)), known)
        return self._rows[key]

    def between(self, times: tuple[float, ...]) -> Trace:
        """The same on other times than those of a grid of `GRIDS`."""
        return joined(again(self.target.sampler, self._scene(times), self.traced(KNOWN)))

    def _scene(self, times: tuple[float, ...]) -> Scene:
        return Scene(self.schedule, times, torch.float64)

    def steps(self, n: int, grid: str = WARPED) -> Steps:
        """The same, as steps in the prediction that suits it."""
        key = grid, n
        if key not in self._steps:
            self._steps[key] = suited(self.traced(n, grid))
        return self._steps[key]

    @cached_property
    def bent(self) -> NotLinearError | None:
        """Why the sampler cannot be read off; None where it can."""
        try:
            self.traced(KNOWN)
        except NotLinearError as error:
            return error
        return None

    @property
    def linear(self) -> bool:
        """Whether the sampler can be read off at all."""
        return self.bent is None

    @cached_property
    def noisy(self) -> bool:
        """Whether noise has a weight in it; of what cannot be read off, whether it draws any."""
        if self.linear:
            return self.traced(KNOWN).noisy
        return self._scene(self.grid(WARPED, KNOWN)).run(self.target.sampler).script.draws

    @cached_property
    def shares_noise(self) -> bool:
        """Whether samples of a batch share noise, which coefficients do not show."""
        return shares_noise(self.target.sampler, self._scene(self.grid(WARPED, SHARED)))

    @cached_property
    def ends(self) -> dict[int, tuple[object, ...]]:
        """By number of steps, which formulas the last steps run; without counts that the sampler refuses."""
        found = {}
        for n in self.counts:
            with suppress(Exception):  # which `measure` finds, and says
                found[n] = steps_of(self.read(n)).tail()
        return found

    @cached_property
    def residues(self) -> tuple[int, int]:
        """(m, n_0): from n_0 steps on, runs are alike where their numbers of steps differ by m: they end by
        the same formulas, and their errors fall from one to the next.

        (1, 1) where nothing is known, or where runs end in yet another way.
        """
        if not self.linear:
            return 1, 1
        for period in PERIODS:
            for least in self.counts[: len(self.counts) // 2 + 1]:
                later = [n for n in self.ends if n >= least and n + period in self.ends]
                if later and all(self.ends[n] == self.ends[n + period] for n in later):
                    return self._even(period, least), least
        return 1, 1

    def _even(self, period: int, least: int) -> int:
        """The least multiple of a period with which errors fall evenly; the period where none does."""
        errors = {n: self.error(n) for n in self.ends if n >= least}
        chosen = (k for k in PERIODS if k % period == 0 and even(errors, k))
        return next(chosen, period)

    def error(self, n: int) -> float:
        """Of a run with n steps as it is read off, relative: on the main problem, or with noise of the
        marginals of Gaussian data, which runs have in common whatever their SDE.
        """
        plan = steps_of(self.read(n)).plan()
        return _marginal_error(plan) if self.noisy else _path_error(plan)

    def formula(self, times: tuple[float, ...]) -> Plan:
        """The formula between times from exact values, as a plan: read off on times that go on beyond.

        Raises ValueError where it has no exact start.
        """
        if times not in self._formulas:
            ratio = times[-1] / times[-2]
            beyond = [times[-1] * ratio**k for k in range(1, BEYOND + 1)]
            found = self.between((*times, *beyond))
            found = found.predicting(self.steps(KNOWN).trace.prediction)
            self._formulas[times] = steps_of(found).formula(self.target.name, until=times[-1])
        return self._formulas[times]


def _path_error(plan: Plan) -> float:
    where = experiment(WARPED)
    model = convert(where.schedule, where.model, "eps", plan.prediction)
    (exact,) = where.states([where.times[1]])
    found = sample(plan, model, where.x, check="off").x if plan.steps else where.x
    return rms(found - exact) / rms(exact)


def _marginal_error(plan: Plan) -> float:
    where, exact = gaussian(), _marginals()
    model = convert(where.schedule, where.model, "eps", plan.prediction)
    return exact.distance(respond(plan, model, exact.start[0])) / exact.size


@cache
def _marginals() -> Exact:
    return gaussian().exact(None, True)
