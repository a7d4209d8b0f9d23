"""Order studies: one solver on one problem over a ladder of step counts.

An `Experiment` fixes what is measured on (problem, schedule, interval, grid, batch) and holds its reference
solutions, so that many solvers share them.  `run` measures one solver with its own start or with exact
starting values: the order of the method as released, and the order of its formula.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from semilinear.analysis.convergence import (
    OrderEstimate,
    Richardson,
    Statistic,
    Verdict,
    estimate_order,
    richardson,
)
from semilinear.integrators.arithmetic import Value, choose
from semilinear.integrators.grids import Grid, uniform_lambda
from semilinear.integrators.plan import compile_plan
from semilinear.integrators.program import FinalChoice, Start
from semilinear.integrators.sampler import NonFiniteError, sample
from semilinear.integrators.schedule import Schedule
from semilinear.integrators.solver import Solver

from .ladders import settled
from .problems import marginal_samples
from .progress import Progress, counted
from .reference import TIGHTEST, reference

LADDER = (4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)

LONG_LADDER = (*LADDER, 768, 1024, 1536, 2048, 3072, 4096)


@dataclass(eq=False)
class Experiment:
    """What solvers are measured on.

    t_start, t_end: the interval; a start where the state is informative (lambda about -0.7) shows what a
    low-order first step costs, which the usual start at pure noise hides.  batch: number of initial states,
    drawn from the exact marginal at t_start.  digits: None for float64 in torch, else mpmath.
    """

    problem: Any
    schedule: Schedule
    t_start: float
    t_end: float
    grid: Grid = field(default_factory=uniform_lambda)
    batch: int = 64
    seed: int = 0
    ladder: tuple[int, ...] = LADDER
    digits: int | None = None
    tolerance: float = TIGHTEST
    """Of the numerical reference, where the problem has no exact flow."""

    def __post_init__(self) -> None:
        for name, kind in (("schedule", Schedule), ("grid", Grid)):
            if not isinstance(getattr(self, name), kind):
                raise TypeError(f"{name} must be a {kind.__name__}, got {getattr(self, name)!r}")
        if not all(hasattr(self.problem, part) for part in ("model", "data", "exact_flow", "dimension")):
            raise TypeError(f"problem must be a Problem (see `problems.problem`), got {self.problem!r}")
        if not all(b > a for a, b in itertools.pairwise((0, *self.ladder))):
            raise ValueError(f"ladder must be increasing positive integers, got {self.ladder}")
        if not (math.isfinite(self.tolerance) and self.tolerance > 0):
            raise ValueError(f"tolerance must be a positive number, got {self.tolerance!r}")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise ValueError(f"seed must be a non-negative integer, got {self.seed!r}")
        if isinstance(self.batch, bool) or not isinstance(self.batch, int) or self.batch < 1:
            raise ValueError(f"batch must be an integer >= 1, got {self.batch!r}")
        if self.digits is not None and not self.problem.exact_flow:
            raise ValueError(f"digits needs a problem with an exact flow; {self.problem.name!r} has none")
        self._references: dict[Value, np.ndarray] = {}
        self._bound = 0.0

    @cached_property
    def x(self) -> np.ndarray:
        """The initial states, (batch, d)."""
        x = marginal_samples(self.problem, self.schedule, self.t_start, self.batch, self.seed)
        x.flags.writeable = False  # every run starts from it
        return x

    def states(self, times: list[Value]) -> list[np.ndarray]:
        """The reference states at some times, computed once each."""
        missing = [t for t in times if t not in self._references]
        if missing:
            found = reference(
                self.problem, self.schedule, self.x, self.t_start, missing, self.digits, self.tolerance
            )
            self._references |= found.states
            self._bound = max(self._bound, found.bound)
        return [self._references[t] for t in times]

    def floor(self, n: int) -> float:
        """The smallest meaningful RMS error after n steps: rounding, or ten times the reference's error."""
        unit = 2.0**-53 if self.digits is None else 10.0 ** (1 - self.digits)
        size = math.sqrt(float(np.mean(np.sum(self.x**2, axis=1))))
        return max(30 * unit * size * math.sqrt(n), 10 * self._bound * math.sqrt(self.problem.dimension))


@dataclass(frozen=True)
class Study:
    """One solver measured: the estimate, the verdict on the claim, and the cross-check without a reference.

    nfe: evaluations of each run.  exact: the reference is an exact flow.  When the cross-check disagrees,
    `verdict` is "inconclusive" whatever the fit says; only against an exact flow does a "lower" stand: the
    runs converge, elsewhere.
    """

    solver: str
    claimed: int
    start: Start
    estimate: OrderEstimate
    check: Richardson | None
    nfe: tuple[int, ...]
    exact: bool
    statistics: Mapping[Statistic, OrderEstimate]

    @property
    def verdict(self) -> Verdict:
        """On the claimed order."""
        return self.against(self.claimed)

    def against(self, order: float) -> Verdict:
        """The verdict on any order."""
        verdict = self.estimate.verdict(order)
        if self.check is None or self.check.supports(verdict, order) or (verdict == "lower" and self.exact):
            return verdict
        return "inconclusive"

    def reason(self, order: float) -> str:
        """Why the verdict on an order is inconclusive, or that the runs converge elsewhere; else empty."""
        verdict = self.against(order)
        if verdict == "lower" and self.check is not None and not self.check.supports(verdict, order):
            return f"the runs converge with slope {self.check.reference_free:.2f}, but not to the solution"
        if verdict != "inconclusive":
            return ""
        if doubt := self.estimate.doubt(order):
            return doubt
        assert self.check is not None
        return (
            f"runs with {self.check.n}, {2 * self.check.n}, {4 * self.check.n} steps converge with slope "
            f"{self.check.reference_free:.2f}, their errors fall with {self.check.measured:.2f}"
        )


def run(
    solver: Solver,
    experiment: Experiment,
    *,
    start: Start = "own",
    final: FinalChoice | None = None,
    residue: tuple[int, int] | None = None,
    statistics: tuple[Statistic, ...] = ("rms",),
    progress: Progress | None = None,
) -> Study:
    """Measure the order of a solver.

    start: "own", "exact" or "high-order" as in `compile_plan`.  final: how runs end, as there; absent, as
    released where the start is the solver's own, at full order where the formula is measured.  Step counts
    below which the release ends at lower order are left out.  residue: (m, r) restricts the ladder to
    n = r mod m; absent, solvers whose last steps depend on the budget run at multiples of their period.
    statistics: ways to sum up the batch;
    the first is reported.  progress: called with (runs done, runs at most) on the way.
    Raises ValueError for a stochastic solver.
    """
    if solver.stochastic:
        raise ValueError(
            f"solver {solver.name!r} is stochastic: its order is not that of a path of the probability flow"
        )
    final = final or ("released" if start == "own" else "full")
    ladder = _ladder(experiment.ladder, solver, start, residue or (solver.sequence.period, 0))
    return measure(
        solver.name,
        solver.claimed,
        lambda n: _final_state(solver, experiment, n, start, final),
        experiment,
        ladder=settled(ladder, solver, final),
        start=start,
        statistics=statistics,
        progress=progress,
    )


def measure(
    name: str,
    claimed: int,
    sampler: Callable[[int], tuple[Any, int]],
    experiment: Experiment,
    *,
    ladder: Sequence[int] | None = None,
    start: Start = "own",
    statistics: tuple[Statistic, ...] = ("rms",),
    progress: Progress | None = None,
) -> Study:
    """Measure the order of any sampler, yours or a library's, on an experiment.

    sampler: n -> (final states, evaluations made), starting from `experiment.x` at `experiment.t_start` with
    the model `experiment.problem.model(experiment.schedule)` and ending at `experiment.t_end` in n steps.
    States are an array or tensor of shape (batch, d).
    The ladder stops at the first run below the floor.  Runs that are not finite count as infinite errors.
    progress: called with (runs done, runs at most) on the way.
    Raises ValueError for states of another shape.
    """
    (final,) = experiment.states([experiment.t_end])
    counts: list[int] = []
    errors: list[np.ndarray] = []
    floors: list[float] = []
    nfe: list[int] = []
    states: dict[int, np.ndarray] = {}
    planned = experiment.ladder if ladder is None else ladder
    for n in counted(planned, progress):
        x, calls = _returned(sampler(n), final.shape, n)
        counts.append(n)
        errors.append(_norms(x, final))
        floors.append(experiment.floor(n))
        nfe.append(calls)
        states[n] = x
        if math.sqrt(float(np.mean(errors[-1] ** 2))) <= floors[-1]:
            break
    estimates = {s: estimate_order(counts, np.array(errors), floors, statistic=s) for s in statistics}
    main = estimates[statistics[0]]
    check = richardson(main, states)
    return Study(name, claimed, start, main, check, tuple(nfe), experiment.problem.exact_flow, estimates)


def _returned(result: Any, shape: tuple[int, ...], n: int) -> tuple[np.ndarray, int]:
    if not (isinstance(result, tuple) and len(result) == 2):
        raise ValueError(
            f"sampler must return (states, evaluations made), got {type(result).__name__} at n = {n}"
        )
    states, calls = result
    x = states.detach().cpu().double().numpy() if isinstance(states, torch.Tensor) else np.asarray(states)
    if x.shape != shape or x.dtype.kind not in "fO":
        raise ValueError(
            f"sampler must return real states of shape {shape}, got {x.dtype} of {x.shape} at n = {n}"
        )
    if calls != int(calls) or calls < 0:
        raise ValueError(f"sampler must return how many evaluations it made, got {calls!r} at n = {n}")
    return x, int(calls)


def _ladder(ladder: tuple[int, ...], solver: Solver, start: Start, residue: tuple[int, int]) -> list[int]:
    m, r = residue
    counts = sorted({n - (n - r) % m for n in ladder})
    least = max(0, solver.history if start == "exact" else 0)
    if usable := [n for n in counts if n > least]:
        return usable
    raise ValueError(f"residue must leave step counts from {least + 1} to {ladder[-1]}, got {r} mod {m}")


def _final_state(
    solver: Solver, experiment: Experiment, n: int, start: Start, final: FinalChoice
) -> tuple[Any, int]:
    e = experiment
    plan = compile_plan(
        solver,
        e.schedule,
        steps=n,
        grid=e.grid,
        t_start=e.t_start,
        t_end=e.t_end,
        start=start,
        final=final,
        digits=e.digits,
    )
    given = [e.x, *(e.states(list(plan.inputs[1:])) if len(plan.inputs) > 1 else [])]
    number = choose(e.digits).number
    inputs = [torch.tensor(s) if e.digits is None else number(s) for s in given]
    try:
        result = sample(plan, e.problem.model(e.schedule), inputs)
    except NonFiniteError:
        return np.full(e.x.shape, np.inf), plan.nfe
    return result.x, result.nfe


def _norms(x: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """Euclidean error of every sample, as floats (mpmath differences are taken before rounding)."""
    with np.errstate(invalid="ignore", over="ignore"):
        difference = (x - exact).astype(np.float64)
    norms: np.ndarray = np.sqrt(np.sum(difference**2, axis=1))
    return np.where(np.isnan(norms), np.inf, norms)
