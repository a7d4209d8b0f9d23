"""Weak and strong orders of stochastic solvers on any problem with an exact score: coupled Brownian paths.

On a mixture the model is not affine and there is no exact law.  What is measured is a mean over paths, with
its standard error: every step count n and the reference, a fine run of the form's own SDE, start from the
same points and see the same Brownian path, so that most of the noise cancels in

    weak errors    E[f(x_n) - f(x_ref)] / sd f(x_ref)   for smooth f (components, their products, modes),
    strong error   (E |x_n - x_ref|^2)^(1/2),           beside the median of |x_n - x_ref|.

Paths come in antithetic pairs, W and -W from one start: the leading part of x_n - x_ref is odd in W, and its
mean 0 no longer hides the weak error.  All statistics are means over batches of pairs; batches drawn again
with replacement give the spread of every error and of every fitted order.

The RMS error on a mixture is ruled by the few paths that change mode (`CoupledStudy.share` is what the
hundredth part of the paths with the largest errors adds to the mean square): while they make most of it, its
slope is that of their number, about 1/2, and there is no verdict on the strong order; that of the median
stands beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from semilinear.analysis.convergence import OrderEstimate, Verdict, estimate_noisy_order
from semilinear.integrators.common import checks, limits
from semilinear.integrators.common.messages import shown
from semilinear.integrators.diffusion.grids import Grid, uniform_t
from semilinear.integrators.diffusion.prediction import Model
from semilinear.integrators.diffusion.schedule import Schedule
from semilinear.integrators.forms.form import FormOf
from semilinear.integrators.plans.program import Plan
from semilinear.integrators.run.noise import BrownianPath
from semilinear.integrators.run.sampler import NonFiniteError, sample
from semilinear.integrators.solver import FinalChoice, Ramp, Solver
from semilinear.integrators.tableaux.tableau import adams

from ..problems.named import Problem, marginal_samples, problem
from .judged import Judged, observed
from .ladders import PATHS, settled
from .progress import Progress, counted
from .records import ladder_json
from .setup import OrderSetup, check_problem

REFINE = 16
"""Steps of the reference for each of the finest run's, at least; half as many give its own error."""
FINEST = 2**16
"""Most steps of a reference."""
BATCHES = 64
REPLICATES = 400
TAIL = 0.01
MAX_HALF_WIDTH = 0.25
"""An interval that is wider does not tell half orders apart."""
SIGNIFICANT = 3.0
"""A weak error counts from that many standard errors."""
RESOLVED = 3.0
"""A strong error counts from that many errors of the reference."""


@dataclass(frozen=True, kw_only=True)
class CoupledExperiment(OrderSetup):
    """What is measured on: a problem, and how many paths.

    problem: with an exact score (`problems.named.problem`).  paths: a multiple of 128, in antithetic pairs.
    seed: of the starts, drawn from the exact marginal, and of the paths; path i is the same for any number of
    them.  The reference makes 16 times the ladder's last step count, or the next number that twice each of
    them divides.  digits: None, paths are drawn in float64.
    Raises TypeError or ValueError, naming the argument.
    """

    problem: Problem = field(default_factory=lambda: problem("golden-mixture"), kw_only=False)
    grid: Grid = field(default_factory=lambda: uniform_t(2.0))
    ladder: tuple[int, ...] = PATHS
    paths: int = 8192
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_problem(self.problem)
        if self.digits is not None:
            raise ValueError(f"digits must be None over paths, which are drawn in float64, got {self.digits}")
        paths = checks.integer("paths", self.paths, 2 * BATCHES, limits.STATES)
        object.__setattr__(self, "paths", paths)
        object.__setattr__(self, "seed", checks.integer("seed", self.seed, 0))
        if self.paths % (2 * BATCHES):
            raise ValueError(f"paths must be a multiple of {2 * BATCHES}, got {self.paths}")
        if len(self.ladder) < 2:
            raise ValueError(f"ladder must hold at least 2 step counts over paths, got {shown(self.ladder)}")
        if self.fine > FINEST:
            needs = f"{shown(self.ladder)}: {self.fine}"
            raise ValueError(f"ladder must need a reference of at most {FINEST} steps, got {needs}")

    @property
    def place(self) -> str:
        """Where is measured, in words."""
        return f"{self.problem.name}, {self.paths} coupled paths"

    @property
    def fine(self) -> int:
        """Steps of the reference."""
        common = math.lcm(*(2 * n for n in self.ladder))
        return common * math.ceil(REFINE * self.ladder[-1] / common)

    @cached_property
    def model(self) -> Model:
        """The exact noise prediction."""
        return self.problem.model(self.schedule)

    @cached_property
    def x(self) -> np.ndarray:
        """The starts, (paths, d): each twice, for a path and its mirror image."""
        half = marginal_samples(self.problem, self.schedule, self.times[0], self.paths // 2, self.seed)
        return np.concatenate([half, half])


@dataclass(frozen=True)
class CoupledStudy(Judged):
    """The observed weak and strong orders of a solver on a problem, each with a 95% interval.

    weak: of all functionals together (root mean square of their errors in units of their deviations).
    parts: of the "mean", the "second" moments and the "modes" alone.  strong: RMS.  typical: of the median
    distance.  share: for each run the part of the mean square that the largest hundredth of the errors makes.
    nfe: evaluations of each run.  paths: how many.
    """

    solver: str
    weak: OrderEstimate
    parts: dict[str, OrderEstimate]
    strong: OrderEstimate
    typical: OrderEstimate
    share: tuple[float, ...]
    nfe: tuple[int, ...]
    paths: int
    claimed: float | None = None

    @property
    def told(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """`studies` holds the ladders of the weak errors (of all functionals, and of each kind), of the RMS
        ("strong") and of the median distance; share as the study's.
        """
        kinds = {"weak": self.weak, **self.parts, "strong": self.strong, "median": self.typical}
        studies = {name: ladder_json(e, self.nfe) | {"reason": e.reason} for name, e in kinds.items()}
        return {"paths": self.paths}, {"share": list(self.share), "studies": studies}

    @property
    def headline(self) -> OrderEstimate:
        """The weak order."""
        return self.weak

    @property
    def kind(self) -> str:
        """Which order `headline` is."""
        return "weak "

    @property
    def ladders(self) -> dict[str, OrderEstimate]:
        """Of the weak errors, the RMS and the median."""
        return {"weak": self.weak, "strong": self.strong, "median": self.typical}

    @property
    def besides(self) -> str:
        """The strong order, that of the median, and what few paths make of the mean square."""
        return (
            f"; strong {observed(self.strong)}, median {observed(self.typical)}; the largest hundredth of "
            f"the errors makes {100 * self.share[-1]:.0f} % of the mean square"
        )

    def against(self, order: float) -> Verdict:
        """On a weak order."""
        return self.weak.verdict(order, MAX_HALF_WIDTH)

    def reason(self, order: float) -> str:
        """Why that verdict is inconclusive; empty where it is not."""
        return self.weak.doubt(order, MAX_HALF_WIDTH)

    def strong_verdict(self, order: float) -> Verdict:
        """On a strong order: none while few paths make most of the mean square."""
        shares = [s for p, s in zip(self.strong.points, self.share, strict=True) if p.n in self.strong.window]
        return "inconclusive" if max(shares, default=1) > 0.5 else self.strong.verdict(order, MAX_HALF_WIDTH)


Functionals = Callable[[np.ndarray], dict[str, np.ndarray]]


def functionals(problem: Any, schedule: Schedule, t: float) -> Functionals:
    """States (n, d) -> smooth functions of each, (n, k) by name: "mean", "second", "modes".

    The last are the components' posterior probabilities at time t where the problem has several and knows
    them, else tanh of every component of the state.
    """
    posterior = None if problem.exact_flow else getattr(problem, "responsibilities", None)
    alpha, sigma = float(schedule.alpha(t)), float(schedule.sigma(t))

    def of(x: np.ndarray) -> dict[str, np.ndarray]:
        i, j = np.triu_indices(x.shape[1])
        modes = np.tanh(x) if posterior is None else posterior(x, alpha, sigma)[:-1].T
        return {"mean": x, "second": x[:, i] * x[:, j], "modes": modes}

    return of


def study(
    solver: Solver,
    experiment: CoupledExperiment | None = None,
    *,
    form: FormOf | None = None,
    final: FinalChoice = "released",
    progress: Progress | None = None,
) -> CoupledStudy:
    """Measure the weak and strong orders of a solver with its own start, from the exact marginal.

    form: whose SDE is solved; as in `gaussian.study` where absent.  final: how runs end, as in
    `compile_plan`; step counts below which the release ends at lower order are left out.  progress: called
    with (runs done, runs) on the way, the two of the reference among them.
    Raises TypeError for another kind of solver; ValueError for one that is not stochastic, or that goes back
    to a noisier time between steps: it has no path.
    """
    checks.instance("solver", solver, Solver)
    if not solver.stochastic:
        raise ValueError(f"solver {solver.name!r} is not stochastic: measure it with `flow.run`")
    if solver.noising is not None:
        raise ValueError(f"solver {solver.name!r} goes back to a noisier time between steps: it has no path")
    e = CoupledExperiment() if experiment is None else experiment
    sde = form or solver.sde or solver.form
    ladder = settled(e.ladder, solver, final)
    plans = [e.plan(solver, n, final) for n in ladder]
    exact = Solver(
        name="reference", form=sde, sequence=Ramp((adams(1), adams(2))), claimed=2, source="adams(2)"
    )
    fine, half = (e.plan(exact, n) for n in (e.fine, e.fine // 2))
    path = BrownianPath.through(sde(e.schedule), [*plans, half, fine], e.seed)
    reference, *states = (_run(e, plan, path) for plan in counted((fine, half, *plans), progress))
    own, *errors = (_Errors(e, x, reference) for x in states)
    again = np.random.default_rng([e.seed, 2]).multinomial(
        BATCHES, np.full(BATCHES, 1 / BATCHES), size=REPLICATES
    )
    resample = np.concatenate([np.ones((1, BATCHES)), again]) / BATCHES

    def order(values: Callable[[_Errors], np.ndarray], floor: Callable[[_Errors], float]) -> OrderEstimate:
        """values: of the whole and of every replicate."""
        rows = np.array([values(x) for x in errors])
        return estimate_noisy_order(ladder, rows[:, 0], rows[:, 1:], [floor(x) for x in errors])

    def weak(names: tuple[str, ...]) -> OrderEstimate:
        known_to = own.bias(names, resample)[0] + own.noise(names)
        return order(
            lambda x: x.bias(names, resample), lambda x: max(SIGNIFICANT * x.noise(names), 10 * known_to)
        )

    def distance(mean: Callable[[_Errors], np.ndarray]) -> OrderEstimate:
        known_to = RESOLVED * float(mean(own)[0])
        return order(mean, lambda x: known_to)

    names = tuple(own.differences)
    return CoupledStudy(
        solver.name,
        weak(names),
        {name: weak((name,)) for name in names},
        distance(lambda x: np.asarray(np.sqrt(resample @ x.squares))),
        distance(lambda x: np.asarray(resample @ x.medians)),
        tuple(x.share for x in errors),
        tuple(plan.nfe for plan in plans),
        e.paths,
        solver.claimed,
    )


def _run(e: CoupledExperiment, plan: Plan, path: BrownianPath) -> np.ndarray:
    """Final states, (paths, d); infinite where a run diverges."""
    one = path.noise(plan, apart=True)

    def mirrored(index: int, like: np.ndarray) -> np.ndarray:
        drawn = one(index, like[: e.paths // 2])
        return np.concatenate([drawn, -drawn])

    try:
        result: np.ndarray = sample(plan, e.model, e.x, noise=mirrored).x
    except NonFiniteError:
        return np.full(e.x.shape, np.inf)
    return result


class _Errors:
    """One run against the reference, as means over batches.

    differences: f(x_n) - f(x_ref) in units of sd f, (batches, k) by name.  squares, medians: of the
    distance, (batches,).  share: of the largest hundredth in the mean square.
    """

    def __init__(self, e: CoupledExperiment, x: np.ndarray, reference: np.ndarray) -> None:
        of = functionals(e.problem, e.schedule, e.times[1])
        with np.errstate(invalid="ignore"):
            self.differences = {
                name: _batches(value - exact) / exact.std(axis=0)
                for (name, value), exact in zip(of(x).items(), of(reference).values(), strict=True)
            }
            distance = np.sqrt(np.sum((x - reference) ** 2, axis=1))
            self.squares = _batches(distance[:, None] ** 2)[:, 0]
            self.medians = np.median(_grouped(distance[:, None]), axis=1)[:, 0]
            largest = np.sort(distance)[-math.ceil(TAIL * len(distance)) :]
            self.share = float(np.sum(largest**2) / np.sum(distance**2))

    def _together(self, names: tuple[str, ...]) -> np.ndarray:
        return np.concatenate([self.differences[name] for name in names], axis=1)

    def _variance(self, names: tuple[str, ...]) -> np.ndarray:
        """Of the mean over all batches, for each functional."""
        return np.asarray(self._together(names).var(axis=0, ddof=1) / BATCHES)

    def noise(self, names: tuple[str, ...]) -> float:
        """The standard error of `bias` where there is none."""
        return float(np.sqrt(np.mean(self._variance(names))))

    def bias(self, names: tuple[str, ...], resample: np.ndarray) -> np.ndarray:
        """The RMS over functionals of |mean difference|, of the whole and of every replicate.

        What the means' own variance adds to their squares is taken off: once, and twice from a replicate.
        """
        variance = self._variance(names)
        counted = np.where(np.arange(len(resample)) == 0, 1, 2)[:, None]
        squares = np.mean((resample @ self._together(names)) ** 2 - counted * variance, axis=1)
        return np.asarray(np.sqrt(np.maximum(squares, np.mean(variance) * 1e-4)))


def _grouped(values: np.ndarray) -> np.ndarray:
    """(paths, k) -> (batches, paths of a batch, k), a path beside its mirror image."""
    pairs = values.reshape(2, BATCHES, -1, values.shape[1])
    return np.concatenate([pairs[0], pairs[1]], axis=1)


def _batches(values: np.ndarray) -> np.ndarray:
    """Means over the paths of each batch, (batches, k)."""
    return np.asarray(_grouped(values).mean(axis=1))
