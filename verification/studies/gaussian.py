"""Weak and strong orders of stochastic solvers, exactly: no Monte Carlo.

On Gaussian data the model is affine, so a plan maps (start, increments) to the final state affinely: a run
without noise gives its mean, and the transposed plan what every increment adds to it.  Against the exact law
of the form's SDE (`linear_law.py`), in float64 or in multiprecision:

    weak errors    |mean_n - mean|, |variance_n - variance|,
    strong error   E |x_n - x|^2 = (mean_n - mean)^2 + sum_k int (M - g_k Phi_k/(Phi std_k))^2 g^2 dlambda,

the second over each increment k = [t_k, t_k+1] with response g_k, standard deviation std_k and M the exact
propagator: both runs are driven by the same Brownian path.  Written as one square, nothing cancels.

Gaussian data see only the linear part of an order condition: a solver may have a lower order on other data,
never a higher one (`coupled.py` measures on mixtures).  Independent components are enough: a row of a plan
adds multiples of whole states, so that a run commutes with rotations and that on any Gaussian is, in its
principal axes, one on independent components, whose covariances stay 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from semilinear.analysis.convergence import OrderEstimate, Verdict, extrapolate_order, usable_points
from semilinear.integrators.common import checks
from semilinear.integrators.diffusion.grids import Grid, uniform_t
from semilinear.integrators.diffusion.prediction import Model, convert
from semilinear.integrators.forms.form import FormOf
from semilinear.integrators.numerics.arrays import rms
from semilinear.integrators.plans.program import Plan, Row
from semilinear.integrators.run.sampler import sample
from semilinear.integrators.solver import FinalChoice, Solver

from ..problems.linear_law import Gaussians, LinearLaw
from .findings import Finding
from .judged import Judged, observed
from .ladders import GAUSSIAN, settled
from .progress import Progress, counted
from .records import ladder_json, points_json
from .setup import OrderSetup

CASES = Gaussians(
    mean=np.array([0.7, -0.4, 0.0, 1.0, -1.2, 0.3]),
    variance=np.array([0.25, 0.6, 0.05, 1.5, 0.1, 0.9]),
    start=np.array([1.5, -2.0, 0.8, -0.7, 1.1, 2.2]),
)
"""Several laws and starts at once: an error that changes sign in one of them does not fool the slope."""

NODES = 4
"""Of the quadrature over each increment."""
RATE = 0.4
"""Least power of n with which coefficients that are off add up: chance alone gives 1/2, less some scatter."""
SLOWING = 0.1
"""By how much that power may fall from one octave to the next: where it falls faster, errors tend to a limit.
"""


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
    """Run a plan without noise, and its transpose: from the weight of the final state back to those of the
    start and of every increment, in as many operations as the run itself.

    model: affine in the state, acting on every row and component by itself.  start: (d,), float64 or mpmath
    numbers.  Raises ValueError for a plan with more than one input.
    """
    if len(plan.inputs) != 1:
        raise ValueError(f"plan must have one input, its own start, got {len(plan.inputs)}")
    mean = sample(plan, model, start[None], noise=lambda index, like: 0 * like).x[0]
    zero = 0 * mean
    probe = np.stack([zero, zero + 1])
    weights: dict[int, np.ndarray] = {2 * plan.steps[-1].output: zero + 1}
    impulses = np.stack([zero] * max(len(plan.increments), 1))[: len(plan.increments)]
    for op in (op for step in reversed(plan.steps) for op in reversed(step.operations)):
        if isinstance(op, Row):
            own = weights.pop(2 * op.state, zero)
            for key, coefficient in op.keyed:
                weights[key] = weights.get(key, zero) + own * coefficient
            for which, weight in op.noise:
                impulses[which] += own * weight
        else:
            offset, moved = model(probe, op.t)
            output = weights.pop(2 * op.state + 1, zero)
            weights[2 * op.state] = weights.get(2 * op.state, zero) + output * (moved - offset)
    return Response(mean, impulses, weights[0])


@dataclass(frozen=True)
class StochasticStudy(Judged):
    """The observed weak orders (of mean and variance) and strong order of a solver.

    mean, variance, strong: estimates by `extrapolate_order`.  exact: which of them show no error of the
    method's, such as the mean of data prediction at tau = 1 (the denoiser is a martingale there): none beyond
    rounding, or one that is small and grows with the number of steps (`drifting`), under which no order would
    be seen.  bound: the error of the exact law.  nfe: evaluations of each run.  marginal: mean and variance
    are those from the exact marginal at the start, instead of from a point.  findings: what was seen besides.
    """

    solver: str
    mean: OrderEstimate
    variance: OrderEstimate
    strong: OrderEstimate
    exact: frozenset[str]
    bound: float
    nfe: tuple[int, ...]
    marginal: bool
    claimed: float | None = None
    findings: tuple[Finding, ...] = ()

    @property
    def told(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """`studies` holds the ladders of mean, variance and strong error."""
        kinds = {"mean": self.mean, "variance": self.variance, "strong": self.strong}
        studies = {name: ladder_json(e, self.nfe) for name, e in kinds.items()}
        return {}, {
            "points": points_json(self.weak, self.nfe),
            "strong": studies["strong"],
            "without_error": sorted(self.exact),
            "findings": [{"kind": f.kind, "n": list(f.n), "text": f.text} for f in self.findings],
            "studies": studies,
        }

    @property
    def weak(self) -> OrderEstimate:
        """The lower of the orders of mean and variance, those without error set aside, and one that could not
        be told, if the other could.
        """
        parts = [e for name, e in self._weak if name not in self.exact] or [self.mean]
        return min(parts, key=lambda e: e.order if np.isfinite(e.order) else np.inf)

    @property
    def headline(self) -> OrderEstimate:
        """The weak order."""
        return self.weak

    @property
    def kind(self) -> str:
        """Which order `headline` is."""
        return "marginals of " if self.marginal else "weak "

    @property
    def ladders(self) -> dict[str, OrderEstimate]:
        """Of mean, variance and strong error, as far as there is one."""
        found = {"mean": self.mean, "variance": self.variance, "strong": self.strong}
        none = self.exact | ({"strong"} if self.marginal else set())
        return {name: e for name, e in found.items() if name not in none}

    @property
    def drifting(self) -> dict[str, float]:
        """By name, the largest of errors that grow with the number of steps: those of coefficients which are
        off by a fixed amount each, or lose digits as steps get shorter.
        """
        found = {"mean": self.mean, "variance": self.variance, "strong": self.strong}
        seen = {name: found[name].points for name in found if name in self.exact}
        return {
            name: max(p.error for p in points)
            for name, points in seen.items()
            if any(p.error > p.floor for p in points)
        }

    @property
    def besides(self) -> str:
        """The strong order, and what stops or hides the errors of mean and variance."""
        strong = "strong order: none" if self.marginal else f"strong {observed(self.strong)}"
        seen = [f"{name}: {e.note}" for name, e in self._weak if e.note and math.isfinite(e.order)]
        if self.claimed is None or self.verdict != "inconclusive":  # else it is the reason
            seen.append(self._hidden)
        seen += [*map(str, self.findings), "on Gaussian data"]
        return "".join(f"; {text}" for text in (strong, *seen) if text)

    @property
    def _weak(self) -> tuple[tuple[str, OrderEstimate], ...]:
        return ("mean", self.mean), ("variance", self.variance)

    def against(self, order: float) -> Verdict:
        """On a weak order: "lower" where mean or variance is, "consistent" where the lower of them is, and
        "higher" where both are, or have no error; one whose errors drift may be of any order.
        """
        verdicts = {e.verdict(order) for name, e in self._weak if name not in self.exact}
        ranked: tuple[Verdict, ...] = ("lower", "inconclusive", "consistent")
        for verdict in ranked:
            if verdict in verdicts:
                return verdict
        return "inconclusive" if self._hidden else "higher"

    def reason(self, order: float) -> str:
        """Why that verdict is inconclusive; empty where it is not."""
        if self.against(order) != "inconclusive":
            return ""
        doubts = ((name, e.doubt(order)) for name, e in self._weak if name not in self.exact)
        return "; ".join(f"{name}: {doubt}" for name, doubt in doubts if doubt) or self._hidden

    @property
    def _hidden(self) -> str:
        """What drifting errors of mean and variance hide."""
        return "; ".join(
            f"{name}: errors of up to {error:.1e} grow with the number of steps, as those of coefficients do"
            for name, error in self.drifting.items()
            if name in dict(self._weak)
        )

    def strong_verdict(self, order: float) -> Verdict:
        """On a strong order."""
        if "strong" in self.exact:
            return "inconclusive" if "strong" in self.drifting else "higher"
        return self.strong.verdict(order)


@dataclass(frozen=True)
class Exact:
    """Mean and variance, each (d,), at the start of the runs and at their end, known to `bound`."""

    start: tuple[np.ndarray, np.ndarray]
    end: tuple[np.ndarray, np.ndarray]
    bound: float

    @property
    def size(self) -> float:
        """Of the states."""
        return float(abs(self.start[0]).max()) + math.sqrt(float(self.end[1].max()))

    def errors(self, response: Response) -> dict[str, np.ndarray]:
        """Weak errors of a run, (d,), by name, in float64."""
        mean, variance = response.mean - self.end[0], response.variance(self.start[1]) - self.end[1]
        return {"mean": abs(mean).astype(float), "variance": abs(variance).astype(float)}

    def distance(self, response: Response) -> float:
        """RMS of the errors of mean and variance together."""
        return rms(np.concatenate(list(self.errors(response).values())))


@dataclass(frozen=True, kw_only=True)
class StochasticExperiment(OrderSetup):
    """What stochastic solvers are measured on; the defaults are the interval and grid of the main studies.

    data: the Gaussian laws.
    Raises TypeError or ValueError, naming the argument.
    """

    grid: Grid = field(default_factory=lambda: uniform_t(2.0))
    ladder: tuple[int, ...] = GAUSSIAN
    data: Gaussians = CASES

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.instance("data", self.data, Gaussians)

    @property
    def place(self) -> str:
        """Where is measured, in words."""
        return "Gaussian data"

    @cached_property
    def model(self) -> Model:
        """The exact noise prediction."""
        return self.data.model(self.schedule)

    def law(self, form: FormOf) -> LinearLaw:
        """The exact law of a form's SDE."""
        return LinearLaw(form(self.schedule), self.data, *self.times)

    def exact(self, law: LinearLaw | None, marginal: bool) -> Exact:
        """What runs must give: the moments of a law, or the marginals from the exact one at the start."""
        if marginal or law is None:
            start, end = (self.data.marginal(self.schedule, t) for t in self.times)
            return Exact(start, end, 0.0)
        point = self.xp.number(self.data.start)
        return Exact((point, 0 * point), law.moments, law.error)

    def floor(self, n: int, exact: Exact) -> float:
        """The smallest meaningful error after n steps: rounding, or ten times that of what is exact."""
        return max(60 * self.unit() * exact.size * math.sqrt(n), 10 * exact.bound)

    def small(self, exact: Exact) -> float:
        """Up to where errors may be those of coefficients: half of the digits, which they may lose (a system
        that is nearly singular) or never had (a constant that keeps a quotient from 0/0).
        """
        return math.sqrt(2 * self.unit()) * exact.size


def strong_error(law: LinearLaw, plan: Plan, response: Response) -> np.ndarray:
    """sqrt E |x_n - x|^2 on one Brownian path, (d,).

    The plan's normalised increments are taken to be those of the form's noise; what a kernel driven by the
    increments of W itself makes of them differs in the constant, not in the order.
    Noise that a stage draws for itself counts in full.  The integrals are Gauss-Legendre sums over each
    increment, of squares: their error, less than 1e-6 where the noise level does not jump inside one, is
    relative to the squares, so that float64's nodes do for any number of digits.
    Raises ValueError for a plan whose own increments do not make up the path.
    """
    own = np.array([pair is not None for pair in plan.increments], dtype=bool)
    squares = (response.mean - law.moments[0]) ** 2 + np.sum(response.impulses[~own] ** 2, axis=0)
    form, xp, f = law.form, law.xp, law.form.schedule.formulas
    if form.std is None:  # runs that converge to a flow: all of their noise is an error
        return _root(squares + np.sum(response.impulses[own] ** 2, axis=0))
    spans = [pair for pair in plan.increments if pair is not None]
    start, end = (np.array([[f.lam(pair[i])] for pair in spans]).reshape(-1, 1) for i in (0, 1))
    rounding = 1e-9 if xp.digits is None else 10.0 ** (3 - xp.digits)
    if not abs(float(np.sum(end - start) / (law.end - law.start)) - 1) < rounding:
        raise ValueError(f"plan of {plan.solver} adds noise that is not its SDE's: it has no path")
    nodes, weights = (xp.number(v) for v in np.polynomial.legendre.leggauss(NODES))
    half = (end - start) / 2
    lams = start + half * (nodes + 1)
    exact, noise = (v.reshape(*lams.shape, -1) for v in law.at(lams.ravel()))
    # What the plan makes of noise at time s: its response to the increment that carries it to the end.
    units = [form.std(a, b) for a, b in spans]
    carried = np.array([[form.factor(b) / s if s > 0 else 0 * s] for (_, b), s in zip(spans, units)])
    to_end = carried / np.array([[form.factor(f.t_of_lam(v)) for v in row] for row in lams])
    kernel = to_end[:, :, None] * response.impulses[own][:, None, :]
    measure = (half * weights)[:, :, None] * noise
    return _root(squares + np.sum((exact - kernel) ** 2 * measure, axis=(0, 1)))


def _root(squares: np.ndarray) -> np.ndarray:
    """As float64: the rounding of an error, not of what it is the difference of."""
    roots: np.ndarray = np.sqrt(squares.astype(float))
    return roots


def study(
    solver: Solver,
    experiment: StochasticExperiment | None = None,
    *,
    form: FormOf | None = None,
    final: FinalChoice = "released",
    progress: Progress | None = None,
) -> StochasticStudy:
    """Measure the weak and strong orders of a solver with its own start.

    A solver that goes back to a noisier time between steps has no SDE of its own: what is measured are its
    marginals, from the exact one at the start.  It has no strong order: "inconclusive".
    form: whose SDE is solved; where absent that of `Solver.sde`, or of the solver's own form.  final: how
    runs end, as in `compile_plan`; step counts below which the release ends at lower order are left out.
    progress: called with (runs done, runs) on the way.
    Raises TypeError for another kind of solver, ValueError for a form that is no SDE's.
    """
    checks.instance("solver", solver, Solver)
    e = StochasticExperiment() if experiment is None else experiment
    form = solver.sde if form is None else form
    marginal, on_path = solver.noising is not None and form is None, solver.noising is None
    law = e.law(solver.form if form is None else form)
    found = of_plans(
        solver.name,
        lambda n: e.plan(solver, n, final),
        settled(e.ladder, solver, final),
        e,
        law=law,
        marginal=marginal,
        on_path=on_path,
        progress=progress,
    )
    return replace(found, claimed=solver.claimed)


def of_plans(
    name: str,
    planned: Callable[[int], Plan],
    ladder: Sequence[int],
    experiment: StochasticExperiment,
    *,
    law: LinearLaw | None = None,
    marginal: bool = False,
    on_path: bool = False,
    progress: Progress | None = None,
) -> StochasticStudy:
    """The orders of plans with n steps between the experiment's times, wherever they are from.

    law: that the runs approximate; not needed for marginals.  marginal: compare those from the exact one at
    the start, instead of moments from a point.  on_path: whether increments are those of the law's path.
    Raises ValueError where there is nothing to compare with.
    """
    e = experiment
    if law is None and (on_path or not marginal):
        raise ValueError("law must be given, unless marginals are compared and no paths")
    exact = e.exact(law, marginal)
    start = exact.start[0]
    errors: list[dict[str, np.ndarray]] = []
    floors: list[float] = []
    nfe: list[int] = []
    for n in counted(ladder, progress):
        plan = planned(n)
        model = convert(e.schedule, e.model, "eps", plan.prediction)
        response = respond(plan, model, start)
        away = np.full(len(start), np.inf)
        strong = away if law is None or not on_path else strong_error(law, plan, response)
        errors.append(exact.errors(response) | {"strong": strong})
        floors.append(e.floor(n, exact))
        nfe.append(plan.nfe)
    found, none = estimates(ladder, errors, floors, small=e.small(exact))
    mean, variance, strong_order = (found[kind] for kind in ("mean", "variance", "strong"))
    return StochasticStudy(name, mean, variance, strong_order, none, exact.bound, tuple(nfe), marginal)


def estimates(
    ladder: Sequence[int],
    errors: Sequence[Mapping[str, np.ndarray]],
    floors: Sequence[float],
    small: float | None = None,
) -> tuple[dict[str, OrderEstimate], frozenset[str]]:
    """The orders of every kind of error, (d,) for each run, and which kinds show none: no error beyond their
    floors, or a drift.

    small: up to where an error may be the coefficients' and not the method's; beyond it the floors are all
    there is to stop errors.  Absent: they may stop anywhere.
    """
    found, none = {}, set()
    for kind in errors[0]:
        values = np.array([run[kind] for run in errors])
        size = np.sqrt(np.mean(values**2, axis=1))
        used = [p.error for p in usable_points(ladder, size, floors) if p.usable]
        known = small is not None and not (used and used[-1] <= small)
        found[kind] = extrapolate_order(ladder, values, floors, known_floors=known)
        if np.all(size <= floors) or (small is not None and _drifts(ladder, size, floors, small)):
            none.add(kind)
    return found, frozenset(none)


def _drifts(ladder: Sequence[int], errors: np.ndarray, floors: Sequence[float], small: float) -> bool:
    """Whether errors, (n,), are what coefficients that are off add up to: least with the longest steps,
    largest with the shortest, small, and growing like a power of n over the last two octaves.

    Errors that tend to a limit instead are those of another law, however near it is.
    """
    above, octaves = np.maximum(errors, floors), np.log2(ladder)
    if octaves[-1] - octaves[0] < 2:
        return False
    grown = above[0] == above.min() and max(floors[-1], above[:-1].max()) < errors[-1] <= small
    if not grown:
        return False
    before, last = np.diff(np.interp(octaves[-1] - np.array([2.0, 1.0, 0.0]), octaves, np.log2(above)))
    return bool(last >= max(RATE, before - SLOWING))
