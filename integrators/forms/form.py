"""Forms: the semilinear views of one diffusion ODE or SDE.  Parametrisation lives here and nowhere else.

A form writes the sampling equation as   x = Phi(t) y,   dy = w(tau) (N + B) dtau + dW,   so that over a
step

    x(t_c) = Phi(t_c)/Phi(t_0) x(t_0) + Phi(t_c) int_{tau_0}^{tau_0 + c h} w(tau) (N + B) dtau + noise.

`tau` is the variable in which the integrand N is interpolated, N = p x + q m + u is affine in the state and
a model value m (a `Prediction`: noise, data, ..), and the weight w enters only through its moments.  They are
reported as phi-functions in the normalisation of exponential Runge-Kutta tableaux,

    Phi(t_c) int_0^{ch} w(tau_0 + s) s^(k-1)/(k-1)! ds = weight(c) h^(k-1) c^k phi(k, c),

which for an exponential weight are the classical phi_k(c z), z = h L, and for w = 1 are 1/k!.  So
Runge-Kutta, exponential Runge-Kutta and Adams methods share one language, whatever the form.

| form               | tau    | Phi   | w           | N   | L  | used by                        |
|--------------------|--------|-------|-------------|-----|----|--------------------------------|
| noise_in_lambda    | lambda | alpha | -e^-lambda  | eps | +1 | DPM-Solver, DEIS lambda-AB     |
| data_in_lambda     | lambda | sigma | e^lambda    | x_0 | -1 | DPM-Solver++                   |
| noise_in_rho       | rho    | alpha | 1           | eps |  0 | DEIS rho-AB, rho-RK, EDM       |
| data_in_inverse_rho| 1/rho  | sigma | 1           | x_0 |  0 | SciRE V2                       |
| noise_in_time      | t      | alpha | d rho/dt    | eps |  - | DEIS t-AB                      |

B is a known function of tau, integrated exactly (`forcing`), 0 in these; `model_statistics.py` has one.
Reverse SDEs stand in `reverse.py`, the extended ones in `extended.py`, forms without a linear part in
`whole.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any, Protocol, TypeVar

import numpy as np

from ..diffusion.prediction import Prediction
from ..diffusion.schedule import Schedule, edm, rectified_flow, ve, vp_linear
from ..numerics.arithmetic import Arithmetic, Fn, Value, finite, of, uniform
from ..numerics.phi import phi
from ..numerics.quadrature import GAUSS, GaussLegendre, LeftRiemann

INFINITY = float("inf")
T = TypeVar("T")


class Weight(Protocol):
    """How a form computes the moments of its weight, over a step of that form."""

    @property
    def rate(self) -> Value | None:
        """L of an exponential weight, or None when there is no constant linear operator."""

    def weight(self, step: Step, c: Value) -> Value:
        """The factor of a tableau entry in the row at abscissa c: Phi times h times what normalises w."""

    def phi(self, step: Step, k: int, c: Value) -> Value:
        """The normalised moment phi(k, c)."""


@dataclass(frozen=True)
class Exponential:
    """w proportional to e^(-L tau): moments are phi_k(c h L), `scale(t)` = Phi(t) w(tau(t)).  L = 0 is w
    constant.
    """

    scale: Fn
    rate: Value
    limit: Callable[[Value, Value], Value] | None = None
    """The whole first moment over (t_0, t_1) when h is infinite."""

    def weight(self, step: Step, c: Value) -> Value:
        if step.infinite:
            return self._limit(step)
        return self.scale(step.time(c)) * step.h

    def phi(self, step: Step, k: int, c: Value) -> Value:
        if step.infinite:
            if k != 1 or c != 1:
                raise ValueError(no_limit(step))
            return step.xp.number(1)
        if self.rate == 0:
            return step.xp.number(Fraction(1, math.factorial(k)))
        return phi(k, self.rate * step.h * c)

    def _limit(self, step: Step) -> Value:
        if self.limit is None:
            raise ValueError(no_limit(step))
        return self.limit(step.t0, step.t1)


@dataclass(frozen=True)
class Variable:
    """A variable s to integrate over: s = node(t), tau - tau_0 = offset(s), w dtau = density(s) ds."""

    node: Fn
    offset: Fn
    density: Fn


def beside_nodes(values: Value) -> Value:
    """Of many steps at once: a column, beside which a rule's nodes are a row."""
    return values[:, None] if isinstance(values, np.ndarray) and values.ndim else values


@dataclass(frozen=True)
class Measured:
    """Any other weight: moments by a quadrature rule, in the variable that `variable(t_0, t_c)` chooses."""

    variable: Callable[[Value, Value], Variable]
    rule: GaussLegendre | LeftRiemann
    kinks: tuple[float, ...] = ()
    """Times at which the integrand is not smooth."""
    total: Callable[[Value, Value], Value] | None = None
    """The first moment in closed form, where it has one."""
    constant: bool = False
    """Whether w is constant."""
    rate: None = None

    def weight(self, step: Step, c: Value) -> Value:
        return step.form.factor(step.time(c)) * step.h

    def phi(self, step: Step, k: int, c: Value) -> Value:
        moments = step.once("moments", c, lambda: self._moments(step, c))
        return moments[k - 1] / (step.h * c)

    def _moments(self, step: Step, c: Value) -> Value:
        t_c, count = step.time(c), step.moments
        if count == 1 and self.total is not None:
            return [self.total(step.t0, t_c)]
        start, end, length = beside_nodes(step.t0), beside_nodes(t_c), beside_nodes(step.h * c)
        s = self.variable(start, end)

        def integrand(nodes: Value) -> Value:
            offset, rows = s.offset(nodes) / length, [s.density(nodes) + 0 * nodes]
            for k in range(1, count):
                rows.append(rows[-1] * offset / k)
            return np.stack(rows)

        kinks = [s.node(t) for t in self._inside(step, t_c)] if self.kinks else []
        moments = self.rule.integrate(integrand, s.node(start), s.node(end), step.xp, kinks)
        if self.total is not None:
            moments[0] = self.total(step.t0, t_c)
        return moments

    def _inside(self, step: Step, t_c: Value) -> list[Value]:
        """The kinks between the ends, in the direction of the step."""
        inside = [step.xp.number(t) for t in self.kinks if min(step.t0, t_c) < t < max(step.t0, t_c)]
        return inside[::-1] if t_c < step.t0 else inside


@dataclass(frozen=True)
class Form:
    """One semilinear view of the sampling equation under one schedule; see the table above.

    name: for plans and reports.  tau, time: the interpolation variable and its inverse.  factor: Phi.
    target: the model value in N.  affine: t -> (p, q, u) with N = p x + q target + u, or None for N =
    target; p, q, u may be numpy arrays of the state's trailing shape (elementwise linear operators), as may
    factor and the moments. std: (t_0, t_c) -> standard deviation of the noise that a step adds, None for an
    ODE. linear: (t_0, t_c) -> what multiplies the state, where it is not Phi(t_c)/Phi(t_0) (a discretised
    kernel). forcing: (step, c) -> Phi(t_c) int w B dtau over [0, c h], the part of a row that no evaluation
    enters; None for B = 0. table: N -> the form of a run of N steps, where coefficients come from a table of
    that length. equation: d(Phi^-1 x) = .. in plain text, for printing; empty where nobody wrote it.
    """

    name: str
    schedule: Schedule
    tau: Fn
    time: Fn
    factor: Fn
    weight: Weight
    target: Prediction
    affine: Callable[[Value], tuple[Value, Value, Value]] | None = None
    std: Callable[[Value, Value], Value] | None = None
    linear: Callable[[Value, Value], Value] | None = None
    forcing: Callable[[Step, Value], Value] | None = None
    table: Callable[[int], Form] | None = None
    equation: str = ""

    def for_steps(self, count: int) -> Form:
        """The form of a run of `count` steps: itself, unless its coefficients come from a table."""
        return self if self.table is None else self.table(count)

    def ratio(self, t0: Value, t1: Value) -> Value:
        """Phi(t_1)/Phi(t_0), or the kernel's own factor."""
        return self.factor(t1) / self.factor(t0) if self.linear is None else self.linear(t0, t1)

    def step(self, t0: Value, t1: Value, moments: int = 4) -> Step:
        """The geometry and moments of one step; `moments` is the largest k that will be asked for."""
        return Step(self, t0, t1, moments)


@dataclass(frozen=True, eq=False)
class Step:
    """One step of a form from t0 to t1: everything a tableau's symbols mean there.

    tau is infinite where sigma or alpha is 0, which numpy warns of unless the caller says otherwise.
    """

    form: Form
    t0: Value
    t1: Value
    moments: int
    _known: dict[tuple[str, Value], Any] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if uniform(self.h == 0):
            raise ValueError(
                f"the interpolation variable of form {self.form.name!r} does not change from t = {self.t0} "
                f"to t = {self.t1}: the schedule is flat there, or the step is below rounding"
            )

    @cached_property
    def xp(self) -> Arithmetic:
        """That of the times."""
        return of(self.t0)

    @cached_property
    def tau0(self) -> Value:
        """The interpolation variable at the start."""
        return self.form.tau(self.t0)

    @cached_property
    def tau1(self) -> Value:
        """The interpolation variable at the end."""
        return self.form.tau(self.t1)

    @cached_property
    def h(self) -> Value:
        """The length of the step in it."""
        return self.tau1 - self.tau0

    @cached_property
    def infinite(self) -> bool:
        """Whether the step begins or ends where sigma or alpha is 0."""
        return not finite(self.h)

    @property
    def z(self) -> Value:
        """h L, for a form with a constant linear operator; raises ValueError for the others."""
        rate = self.form.weight.rate
        if rate is None:
            raise ValueError(
                f"form {self.form.name!r} has no constant linear operator: a tableau with z or exp(c z) "
                "needs noise_in_lambda, data_in_lambda, noise_in_rho or data_in_inverse_rho"
            )
        if self.infinite:
            raise ValueError(no_limit(self))
        return self.xp.number(rate) * self.h

    def time(self, c: Value) -> Value:
        """t at abscissa c, exactly t0 and t1 at c = 0 and 1."""
        if c == 0:
            return self.t0
        if c == 1:
            return self.t1
        if self.infinite:
            raise ValueError(no_limit(self))
        return self.once("time", c, lambda: self.form.time(self.tau0 + c * self.h))

    def linear(self, c: Value) -> Value:
        """Phi(t_c)/Phi(t_0)."""
        return self.form.ratio(self.t0, self.time(c))

    def weight(self, c: Value) -> Value:
        """The factor of a tableau entry in the row at abscissa c."""
        return self.once("weight", c, lambda: self.form.weight.weight(self, c))

    def phi(self, k: int, c: Value) -> Value:
        """phi(k, c), the normalised k-th moment of the weight on [0, c]."""
        return self.once(f"phi_{k}", c, lambda: self.form.weight.phi(self, k, c))

    def once(self, what: str, c: Value, compute: Callable[[], T]) -> T:
        """What `compute` returns, kept by the name of the quantity and its abscissa: rows ask again."""
        if (what, c) not in self._known:
            self._known[what, c] = compute()
        found: T = self._known[what, c]
        return found


def no_limit(step: Step) -> str:
    """Why a row has no limit where h is infinite, and what to do."""
    form = step.form
    variable, starts = form.name.split("_in_")[-1], not finite(step.tau0)
    advice = (
        "begin with a first-order step in data prediction, or start later"
        if starts
        else "use final='lower' (first order at the end), or end earlier with denoise=True"
    )
    return (
        f"form {form.name!r} is at {variable} = infinity at t = {step.t0 if starts else step.t1}, where only "
        f"a first-order row has a limit: {advice}"
    )


FormOf = Callable[[Schedule], Form]

EXAMPLES = (vp_linear(), ve(), edm(), rectified_flow())
"""Schedules of every kind: a form's name, its equation and whether it has noise are the same under all."""


def example(form: FormOf) -> Form:
    """The form under the first of `EXAMPLES` that it takes.  Raises ValueError where it takes none."""
    for schedule in EXAMPLES:
        try:
            return form(schedule)
        except (ValueError, LookupError) as refusal:
            reason = refusal
    raise ValueError(f"form must take one of the schedules {', '.join(s.kind for s in EXAMPLES)}: {reason}")


def is_sde(form: FormOf) -> bool:
    """Whether it is the form of an SDE, whose steps draw noise."""
    return example(form).std is not None


def noise_in_lambda(schedule: Schedule) -> Form:
    """d(x/alpha) = -e^-lambda eps dlambda.  Lu et al. 2022 (DPM-Solver), eq. 3.4."""
    f = schedule.formulas
    limit = lambda t0, t1: f.sigma(t1) - f.alpha(t1) * f.rho(t0)  # noqa: E731
    weight = Exponential(lambda t: -f.sigma(t), +1, limit)
    equation = "d(x/alpha) = -e^-lambda eps dlambda"
    return Form("noise_in_lambda", schedule, f.lam, f.t_of_lam, f.alpha, weight, "eps", equation=equation)


def data_in_lambda(schedule: Schedule) -> Form:
    """d(x/sigma) = e^lambda x_0 dlambda.  Lu et al. 2022 (DPM-Solver++), eq. 8."""
    f = schedule.formulas
    limit = lambda t0, t1: f.alpha(t1) - f.sigma(t1) / f.rho(t0)  # noqa: E731
    weight = Exponential(f.alpha, -1, limit)
    equation = "d(x/sigma) = e^lambda x_0 dlambda"
    return Form("data_in_lambda", schedule, f.lam, f.t_of_lam, f.sigma, weight, "x0", equation=equation)


def noise_in_rho(schedule: Schedule, rule: LeftRiemann | None = None) -> Form:
    """d(x/alpha) = eps drho.  Zhang & Chen 2023 (DEIS, rhoAB and rhoRK); Li et al. 2023 (SciRE).

    rule: a quadrature rule in place of the closed forms, for reproducing a release.
    """
    f = schedule.formulas

    def variable(t0: Value, t1: Value) -> Variable:
        return Variable(f.rho, lambda r: r - f.rho(t0), lambda r: 1 + 0 * r)

    weight = Exponential(f.alpha, 0) if rule is None else Measured(variable, rule, constant=True)
    equation = "d(x/alpha) = eps drho"
    return Form("noise_in_rho", schedule, f.rho, f.t_of_rho, f.alpha, weight, "eps", equation=equation)


def data_in_inverse_rho(schedule: Schedule) -> Form:
    """d(x/sigma) = x_0 d(1/rho).  Li et al. 2023 (SciRE), data prediction."""
    f = schedule.formulas

    def tau(t: Value) -> Value:
        rho = f.rho(t)
        return of(t).number(INFINITY) if uniform(rho == 0) else 1 / rho

    limit = lambda t0, t1: f.alpha(t1) - f.sigma(t1) / f.rho(t0)  # noqa: E731
    weight = Exponential(f.sigma, 0, limit)
    time = lambda v: f.t_of_rho(1 / v)  # noqa: E731
    equation = "d(x/sigma) = x_0 d(1/rho)"
    return Form("data_in_inverse_rho", schedule, tau, time, f.sigma, weight, "x0", equation=equation)


def in_time(schedule: Schedule) -> Callable[[Value, Value], Variable]:
    """The variable over which moments int (t - t_0)^(k-1) d rho are integrated: s = t - t_0, which has no
    rounding error; or log rho (rho, where it ends at 0) on a step that changes rho more than fourfold,
    because rho(t) starts like sqrt t at t = 0 and has a pole at alpha = 0.
    """
    f = schedule.formulas

    def variable(t0: Value, t1: Value) -> Variable:
        xp = of(t0)
        if xp.exact:
            return Variable(lambda t: t - t0, lambda s: s, lambda s: f.rho_dot(t0 + s))
        low, high = f.rho(t0), f.rho(t1)
        if uniform(low > high):
            low, high = high, low
        if uniform(low == 0):
            return Variable(f.rho, lambda r: f.t_of_rho(r) - t0, lambda r: 1 + 0 * r)
        if uniform(high > 4 * low):
            return Variable(lambda t: xp.log(f.rho(t)), lambda s: f.t_of_rho(xp.exp(s)) - t0, xp.exp)
        return Variable(lambda t: t - t0, lambda s: s, lambda s: f.rho_dot(t0 + s))

    return variable


def noise_in_time(schedule: Schedule, rule: LeftRiemann | None = None) -> Form:
    """d(x/alpha) = (d rho/dt) eps dt, eps interpolated in t.  Zhang & Chen 2023 (DEIS, tAB).

    rule: integrate over t by this rule instead, for reproducing a release.
    """
    f = schedule.formulas

    def release(t0: Value, t1: Value) -> Variable:
        return Variable(lambda t: t, lambda t: t - t0, f.rho_dot)

    if rule is None:
        weight = Measured(
            in_time(schedule), GAUSS, schedule.breakpoints, lambda t0, t1: f.rho(t1) - f.rho(t0)
        )
    else:
        weight = Measured(release, rule)
    same, equation = lambda t: t, "d(x/alpha) = (d rho/dt) eps dt"
    return Form("noise_in_time", schedule, same, same, f.alpha, weight, "eps", equation=equation)
