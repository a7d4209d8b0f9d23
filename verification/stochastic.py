"""Weak and strong orders of stochastic solvers, exactly: no Monte Carlo.

On Gaussian data the model is affine, so a plan maps (start, increments) to the final state affinely: one run
over a batch of rows (no noise; then a unit impulse in each increment) gives its mean and variance.  Against
the exact law of the form's SDE (`linear_law.py`):

    weak errors    |mean_n - mean|, |variance_n - variance|,
    strong error   E |x_n - x|^2 = (mean_n - mean)^2 + sum_k int (M - g_k Phi_k/(Phi std_k))^2 g^2 dlambda,

the second over each increment k = [t_k, t_k+1] with response g_k, standard deviation std_k and M the exact
propagator: both runs are driven by the same Brownian path.  Written as one square, nothing cancels.

Gaussian data see only the linear part of an order condition: a solver may have a lower order on other data,
never a higher one.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from semilinear.analysis.convergence import OrderEstimate, Verdict, estimate_order
from semilinear.integrators.form import Form, FormOf
from semilinear.integrators.grids import Grid, uniform_t
from semilinear.integrators.plan import compile_plan
from semilinear.integrators.prediction import Model
from semilinear.integrators.program import Plan
from semilinear.integrators.sampler import sample
from semilinear.integrators.schedule import Schedule, vp_linear
from semilinear.integrators.solver import Solver

from .constants import Array
from .linear_law import Gaussians, LinearLaw

LADDER = (8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
LONG_LADDER = (*LADDER, 384, 512, 768, 1024, 1536)

CASES = Gaussians(
    mean=np.array([0.7, -0.4, 0.0, 1.0, -1.2, 0.3]),
    variance=np.array([0.25, 0.6, 0.05, 1.5, 0.1, 0.9]),
    start=np.array([1.5, -2.0, 0.8, -0.7, 1.1, 2.2]),
)
"""Several laws and starts at once: an error that changes sign in one of them does not fool the slope."""


@dataclass(frozen=True)
class Response:
    """A plan on an affine model: its final state without noise, (d,), and what a unit of each increment adds
    to it, (increments, d), as does a unit of the start, (d,).
    """

    mean: np.ndarray
    impulses: np.ndarray
    slope: np.ndarray

    def variance(self, start: np.ndarray | float = 0.0) -> np.ndarray:
        """Of the final state, (d,), from a start of that variance."""
        total: np.ndarray = np.sum(self.impulses**2, axis=0) + self.slope**2 * start
        return total


def respond(plan: Plan, model: Model, start: np.ndarray) -> Response:
    """Run a plan once over a batch of rows: no noise, the start shifted by 1, an impulse in each increment.

    model: affine in the state, acting on every row and component by itself.  start: (d,), float64.
    Raises ValueError for a plan with more than one input.
    """
    if len(plan.inputs) != 1:
        raise ValueError(f"plan must have one input, its own start, got {len(plan.inputs)}")
    asked = len(plan.increments)
    rows = np.tile(start, (asked + 2, 1))
    rows[1] += 1.0

    def impulse(index: int, like: Array) -> Array:
        value = np.zeros_like(like)
        value[index + 2] = 1.0
        return value

    final = sample(plan, model, rows, noise=impulse).x
    return Response(final[0], final[2:] - final[0], final[1] - final[0])


@dataclass(frozen=True)
class StochasticStudy:
    """The observed weak orders (of mean and variance) and strong order of a solver.

    mean, variance, strong: estimates as `estimate_order` makes them.  exact: which of them have no error at
    all beyond rounding, such as the mean of data prediction at tau = 1 (the denoiser is a martingale there).
    bound: the error of the exact law.  nfe: evaluations of each run.  marginal: mean and variance are those
    from the exact marginal at the start, instead of from a point.
    """

    solver: str
    mean: OrderEstimate
    variance: OrderEstimate
    strong: OrderEstimate
    exact: frozenset[str]
    bound: float
    nfe: tuple[int, ...]
    marginal: bool

    @property
    def weak(self) -> OrderEstimate:
        """The lower of the orders of mean and variance, those without error set aside."""
        parts = [e for name, e in self._weak if name not in self.exact] or [self.mean]
        return min(parts, key=lambda e: e.order if np.isfinite(e.order) else -np.inf)

    @property
    def _weak(self) -> tuple[tuple[str, OrderEstimate], ...]:
        return ("mean", self.mean), ("variance", self.variance)

    def weak_verdict(self, order: float) -> Verdict:
        """On a weak order: "lower" where mean or variance is, "consistent" where the lower of them is."""
        verdicts = {e.verdict(order) for name, e in self._weak if name not in self.exact}
        ranked: tuple[Verdict, ...] = ("lower", "inconclusive", "consistent")
        for verdict in ranked:
            if verdict in verdicts:
                return verdict
        return "higher"

    def strong_verdict(self, order: float) -> Verdict:
        """On a strong order."""
        return "higher" if "strong" in self.exact else self.strong.verdict(order)


@dataclass(eq=False)
class StochasticExperiment:
    """What stochastic solvers are measured on; the defaults are the interval and grid of the main studies.

    lam_start, lam_end: the interval in lambda.  data: the Gaussian laws.  ladder: step counts.
    Raises TypeError or ValueError, naming the argument.
    """

    schedule: Schedule = field(default_factory=vp_linear)
    grid: Grid = field(default_factory=lambda: uniform_t(2.0))
    lam_start: float = -0.7
    lam_end: float = 1.75
    data: Gaussians = CASES
    ladder: tuple[int, ...] = LADDER

    def __post_init__(self) -> None:
        for name, kind in (("schedule", Schedule), ("grid", Grid), ("data", Gaussians)):
            if not isinstance(getattr(self, name), kind):
                raise TypeError(f"{name} must be a {kind.__name__}, got {getattr(self, name)!r}")
        if not self.lam_start < self.lam_end:
            raise ValueError(f"lam_start must be below lam_end, got {self.lam_start} and {self.lam_end}")
        if not all(b > a for a, b in itertools.pairwise((0, *self.ladder))):
            raise ValueError(f"ladder must be increasing positive integers, got {self.ladder}")

    @cached_property
    def times(self) -> tuple[float, float]:
        """Start and end of the runs."""
        start, end = (float(self.schedule.t_of_lam(v)) for v in (self.lam_start, self.lam_end))
        return start, end

    @cached_property
    def model(self) -> Model:
        """The exact noise prediction."""
        return self.data.model(self.schedule)

    def marginal(self, t: float) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of x_t, each (d,)."""
        alpha, sigma = float(self.schedule.alpha(t)), float(self.schedule.sigma(t))
        return alpha * self.data.mean, alpha**2 * self.data.variance + sigma**2

    def law(self, form: FormOf) -> LinearLaw:
        """The exact law of a form's SDE."""
        return LinearLaw(form(self.schedule), self.data, *self.times)


def strong_error(law: LinearLaw, plan: Plan, response: Response) -> np.ndarray:
    """sqrt E |x_n - x|^2 on one Brownian path, (d,).

    The plan's normalised increments are taken to be those of the form's noise; what a kernel driven by the
    increments of W itself makes of them differs in the constant, not in the order.
    Noise that a stage draws for itself counts in full.  The integrals are Gauss-Legendre sums over each
    increment, exact to rounding where the noise level does not jump inside one.
    Raises ValueError for a plan whose own increments do not make up the path.
    """
    own = np.array([pair is not None for pair in plan.increments], dtype=bool)
    squares = (response.mean - law.moments[0]) ** 2 + np.sum(response.impulses[~own] ** 2, axis=0)
    form, lam = law.form, law.form.schedule.formulas.lam
    if form.std is None:
        return _root(squares)
    spans = [(float(pair[0]), float(pair[1])) for pair in plan.increments if pair is not None]
    start, end = np.array([[float(lam(a)), float(lam(b))] for a, b in spans]).reshape(-1, 2).T[:, :, None]
    if not np.isclose(np.sum(end - start), law.end - law.start, rtol=1e-9):
        raise ValueError(f"plan of {plan.solver} adds noise that is not its SDE's: it has no path")
    nodes, weights = np.polynomial.legendre.leggauss(8)
    lams = (start + end) / 2 + (end - start) / 2 * nodes
    exact, _, noise = (v.reshape(*lams.shape, -1) for v in law.at(lams.ravel()))
    # What the plan makes of noise at time s: its response to the increment that carries it to the end.
    unit = np.array([float(form.std(a, b)) for a, b in spans])
    ends = np.array([b for _, b in spans])[:, None]
    to_end = _factors(form, ends) / _factors(form, form.schedule.formulas.t_of_lam(lams))
    carried = np.where(unit > 0, 1 / np.where(unit > 0, unit, 1), 0)[:, None] * to_end
    kernel = carried[:, :, None] * response.impulses[own][:, None, :]
    measure = ((end - start) / 2 * weights)[:, :, None] * noise
    return _root(squares + np.sum((exact - kernel) ** 2 * measure, axis=(0, 1)))


def _factors(form: Form, times: np.ndarray) -> np.ndarray:
    """Phi at many times, one by one: forms are written for single steps."""
    return np.array([float(form.factor(t)) for t in times.ravel()]).reshape(times.shape)


def _root(squares: np.ndarray) -> np.ndarray:
    roots: np.ndarray = np.sqrt(squares)
    return roots


def study(
    solver: Solver, experiment: StochasticExperiment | None = None, *, form: FormOf | None = None
) -> StochasticStudy:
    """Measure the weak and strong orders of a solver with its own start.

    A solver that goes back to a noisier time between steps has no SDE of its own: what is measured are its
    marginals, from the exact one at the start.  It has no strong order: "inconclusive".
    form: whose SDE is solved, where it is not the solver's own form (a release with quirks of its own; the
    reverse SDE, for an ancestral sampler from a point).
    Raises TypeError for another kind of solver, ValueError for a form that is no SDE's.
    """
    if not isinstance(solver, Solver):
        raise TypeError(f"solver must be a Solver, got {solver!r}")
    e = StochasticExperiment() if experiment is None else experiment
    marginal, on_path = solver.noising is not None and form is None, solver.noising is None
    law = e.law(solver.form if form is None else form)
    start, spread = e.marginal(e.times[0]) if marginal else (e.data.start, np.zeros_like(e.data.start))
    mean, variance = e.marginal(e.times[1]) if marginal else law.moments
    bound = 0.0 if marginal else law.error
    size = float(np.abs(start).max() + np.sqrt(variance).max())
    errors: dict[str, list[np.ndarray]] = {"mean": [], "variance": [], "strong": []}
    floors: list[float] = []
    nfe: list[int] = []
    for n in e.ladder:
        plan = compile_plan(
            solver, e.schedule, steps=n, grid=e.grid, t_start=e.times[0], t_end=e.times[1], prediction="eps"
        )
        response = respond(plan, e.model, np.asarray(start, dtype=float))
        errors["mean"].append(np.abs(response.mean - mean))
        errors["variance"].append(np.abs(response.variance(spread) - variance))
        errors["strong"].append(strong_error(law, plan, response) if on_path else np.full_like(mean, np.inf))
        floors.append(max(60 * 2.0**-53 * size * np.sqrt(n), 10 * bound))
        nfe.append(plan.nfe)
    estimates = {key: estimate_order(e.ladder, np.array(v), floors) for key, v in errors.items()}
    exact = frozenset(
        key
        for key, v in errors.items()
        if all(np.sqrt(np.mean(x**2)) <= floor for x, floor in zip(v, floors, strict=True))
    )
    return StochasticStudy(
        solver.name,
        estimates["mean"],
        estimates["variance"],
        estimates["strong"],
        exact,
        bound,
        tuple(nfe),
        marginal,
    )
