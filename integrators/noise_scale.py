"""The extended reverse SDE of a noise-scale function phi(rho), as a form.

With y = x/alpha, rho = sigma/alpha and the data prediction D, every phi gives a reverse SDE with the same
marginals (ER-SDE-Solver, arXiv:2309.06169):

    dy = (phi'/phi)(y - D) drho + g dw,    g^2 = 2 rho (dln(phi/rho)/dln rho)  >= 0,

so phi(rho)/rho must not decrease.  phi = rho is the probability flow, phi = rho^2 the plain reverse SDE.  In the
language of forms Phi = alpha phi(rho), w = (1/phi)' and tau = rho: over a step from rho_0 to rho_1,

    y_1 = r y_0 + phi_1 int (1/phi)' D drho + sqrt(rho_1^2 - rho_0^2 r^2) z,    r = phi_1/phi_0,

where the linear part and the noise are exact and only D is interpolated.  Everything is written in
growth(x) = dln(phi(x)/x)/dln x, the part of phi that makes noise: it is 0 for the probability flow.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import sympy
from sympy import Expr, Integer, Mul, Rational, Symbol
from sympy.codegen.cfunctions import log1p

from .arithmetic import Arithmetic, Value, of
from .evaluate import function
from .form import INFINITY, Form, Step, no_limit
from .quadrature import GAUSS, LeftRiemann
from .schedule import Schedule

x = Symbol("x", positive=True)
"""The argument of a noise-scale function, rho = sigma/alpha."""


@dataclass(frozen=True)
class NoiseScale:
    """A noise-scale function phi, an exact expression in `x`, known by a name.

    phi may hold powers, exp, log, expm1 and log1p; what else is needed follows from it by differentiation.  A
    constant factor has no effect.  Where phi(x)/x decreases there is no such SDE: `log_ratio` refuses the step.
    Raises ValueError for an expression in other symbols, or whose phi(x)/x decreases everywhere.
    """

    name: str
    phi: Expr
    relative: Expr = field(init=False, repr=False, compare=False)
    """phi(x)/x."""
    growth: Expr = field(init=False, repr=False, compare=False)
    """dln(phi(x)/x)/dln x, half of the squared noise intensity per unit of ln x, relative to x^2."""

    def __post_init__(self) -> None:
        phi = sympy.sympify(self.phi)
        if not isinstance(phi, Expr) or phi.free_symbols != {x}:
            raise ValueError(f"phi must be an expression in noise_scale.x, got {self.phi!r}")
        relative = sympy.factor_terms(phi) / x
        # Factor by factor: a power of x gives its exponent, exactly.
        growth = sum((x * sympy.diff(f, x) / f for f in Mul.make_args(relative)), Integer(0))
        if growth.is_number and not growth >= 0:
            raise ValueError(f"phi(x)/x must not decrease, got phi(x) = {phi}")
        for key, value in (("phi", phi), ("relative", relative), ("growth", growth)):
            object.__setattr__(self, key, value)

    @property
    def deterministic(self) -> bool:
        """Whether phi is a multiple of x: the SDE is the probability flow and has no noise."""
        return bool(self.growth == 0)

    def over_x(self, rho: Value) -> Value:
        """phi(rho)/rho; raises ValueError where it is not a positive number."""
        value = function(self.relative, of(rho))(rho)
        if not np.all(value > 0):
            raise ValueError(f"phi(x) = {self.phi} must be positive, got {value} times x at x = {rho}")
        return value

    def log_ratio(self, path: Path) -> Value:
        """ln(q(rho_0)/q(rho_1)) >= 0, q = phi(x)/x, as the integral of growth: no difference of logarithms.

        Raises ValueError, saying where, if q decreases between rho_1 and rho_0.
        """
        xp, growth = path.xp, function(self.growth, path.xp)
        if path.infinite:
            value = xp.log(self.over_x(path.rho0) / self.over_x(path.rho1))
            self._refuse(np.stack([value]), np.stack([path.rho0]))
            return value

        def rows(s: Value) -> Value:
            rho = path.rho(s)
            values = growth(rho) + 0 * rho
            self._refuse(values, rho)
            return values[None]

        rows(np.stack([xp.number(0), path.length]))  # the ends are no nodes
        return GAUSS.integrate(rows, xp.number(0), path.length, xp)[0]

    def _refuse(self, growth: Value, rho: Value) -> None:
        bad = ~(growth >= 0)
        if np.any(bad):
            at = int(np.argmax(bad))
            raise ValueError(
                f"phi(x)/x must not decrease, or there is no such SDE: phi(x) = {self.phi} has "
                f"dln(phi(x)/x)/dln x = {float(growth[at]):.3g} at x = {float(rho[at]):.6g}"
            )


class Path:
    """The way from rho_0 to rho_1 in s = ln(rho_0/rho); nodes and offsets keep their relative accuracy.

    `length` is infinite where rho_0 is, and where rho_1 = 0.
    """

    def __init__(self, rho0: Value, rho1: Value) -> None:
        self.xp: Arithmetic = of(rho1)
        self.rho0, self.rho1 = rho0, rho1
        self.infinite: bool = not abs(rho0) < INFINITY
        ends = self.infinite or rho1 == 0
        self.length: Value = self.xp.number(INFINITY) if ends else self.xp.log1p((rho0 - rho1) / rho1)

    def rho(self, s: Value) -> Value:
        """rho = rho_0 e^-s."""
        return self.rho0 * self.xp.exp(-s)

    def offset(self, s: Value) -> Value:
        """rho - rho_0."""
        return self.rho0 * self.xp.expm1(-s)


Moments = Callable[[NoiseScale, Path, Value, int], Value]
"""(scale, path, h, n) -> phi_1 int (1/phi)' ((rho - rho_0)/h)^k/k! drho, k = 0 .. n - 1, where h = rho_1 - rho_0."""


def exact(scale: NoiseScale, path: Path, h: Value, count: int) -> Value:
    """The moments to rounding: Gauss-Legendre in ln rho, where every integrand is positive.

    At rho_1 = 0 their limits 1/k!: D is extrapolated to the end.
    """
    if path.rho1 == 0:
        return np.stack([1 / path.xp.number(math.factorial(k)) for k in range(count)])
    growth, end = function(scale.growth, path.xp), path.rho1 * scale.over_x(path.rho1)

    def rows(s: Value) -> Value:
        rho, offset = path.rho(s), path.offset(s) / h
        values = [end / (rho * scale.over_x(rho)) * (1 + growth(rho))]
        for k in range(1, count):
            values.append(values[-1] * offset / k)
        return np.stack(values)

    return GAUSS.integrate(rows, path.xp.number(0), path.length, path.xp)


def by_parts(rule: LeftRiemann) -> Moments:
    """The moments as released: integrated by parts, and the integrals of 1/phi by a rule that starts at rho_1.

    1 - r is exact.  With N points the second moment keeps a relative error of -1/N and the third one of
    -h^2/(2 N), which is less by one power of h than the moment itself.  At rho_1 = 0 a first-order step.
    QinpengCui/ER-SDE-Solver, er_sde_solver.py (s_int, s_d_int, and the branch on sigmas[i + 1] == 0, which its
    VP functions lack: they return NaN).
    """

    def moments(scale: NoiseScale, path: Path, h: Value, count: int) -> Value:
        first = exact(scale, path, h, 1)
        if count == 1 or path.rho1 == 0:
            return np.concatenate([first, *[0 * first] * (count - 1)])
        end = path.rho1 * scale.over_x(path.rho1)

        def rows(rho: Value) -> Value:
            values, offset = [end / (rho * scale.over_x(rho)) / h], (rho - path.rho0) / h
            for k in range(1, count - 1):
                values.append(values[-1] * offset / k)
            return np.stack(values)

        sums = rule.integrate(rows, path.rho1, path.rho0, path.xp)
        ends = np.stack([1 / path.xp.number(math.factorial(k)) for k in range(1, count)])
        return np.concatenate([first, ends + sums])

    return moments


@dataclass(frozen=True)
class Relative:
    """The weight (1/phi)': phi(k, c) is the k-th moment over the first, which is alpha_c (1 - phi_c/phi_0)."""

    scale: NoiseScale
    moments: Moments
    rate: None = None

    def weight(self, form: Form, step: Step, c: Value) -> Value:
        return form.schedule.formulas.alpha(step.time(c)) * self._moments(form, step, c)[0] / c

    def phi(self, form: Form, step: Step, k: int, c: Value) -> Value:
        moments = self._moments(form, step, c)
        if k > len(moments):
            raise ValueError(no_limit(form, step))
        return moments[k - 1] / moments[0]

    def _moments(self, form: Form, step: Step, c: Value) -> Value:
        key = ("moments", c)
        if key not in step.cache:
            path = Path(step.tau0, form.tau(step.time(c)))
            if path.infinite:  # r = 0
                step.cache[key] = np.stack([path.xp.number(1)])
            else:
                step.cache[key] = self.moments(self.scale, path, step.h * c, step.moments)
        return step.cache[key]


def extended_reverse_sde(
    schedule: Schedule, scale: NoiseScale, moments: Moments = exact, clip: float = 0.0
) -> Form:
    """d(x/(alpha phi)) = (1/phi)' x_0 drho + noise, the reverse SDE of a noise scale; Cui et al. 2025 (ER-SDE).

    The noise of a step has the variance alpha_1^2 rho_1^2 (1 - (q_1/q_0)^2), q = phi(rho)/rho: 0 for phi = x,
    which is an ODE and draws none.  moments, clip: as released, for reproducing it: rho_1^2 - rho_0^2 r^2 below
    `clip` counts as 0.
    """
    f = schedule.formulas

    def factor(t: Value) -> Value:
        rho = f.rho(t)
        return f.sigma(t) * scale.over_x(rho) if rho != 0 else f.sigma(t)

    def std(t0: Value, t1: Value) -> Value:
        rho1, xp = f.rho(t1), of(t1)
        if rho1 == 0:
            return xp.number(0)
        variance = -rho1 * rho1 * xp.expm1(-2 * scale.log_ratio(Path(f.rho(t0), rho1)))
        return f.alpha(t1) * xp.sqrt(variance) if variance >= clip else xp.number(0)

    weight = Relative(scale, moments)
    name = "extended_reverse_sde_in_rho"
    noise = None if scale.deterministic else std
    return Form(name, schedule, f.rho, f.t_of_rho, factor, weight, "x0", std=noise)


# --- the functions of the release ---


def power(exponent: Any) -> NoiseScale:
    """phi = x^q, q >= 1: 1 is the probability flow, 2 the reverse SDE, 3/2 and 5/2 the release's SDE_2 and SDE_3."""
    q = _exact("exponent", exponent)
    return NoiseScale(f"power-{q}", x**q)


def sde_1(eta: Any = 0) -> NoiseScale:
    """phi = x (e^(x^(eta - 1)/(eta - 1)) + 10): without the 10 the noise would have g^2 = 2 x^eta."""
    e = _exact("eta", eta)
    if e == 1:
        raise ValueError("eta must differ from 1, where the exponent is infinite")
    name = "sde-1" if e == 0 else f"sde-1-eta-{e}"
    return NoiseScale(name, x * (sympy.exp(x ** (e - 1) / (e - 1)) + 10))


def _exact(name: str, value: Any) -> Rational:
    number = isinstance(value, (numbers.Real, Rational, sympy.Float)) and not isinstance(value, bool)
    if not number or not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, got {value!r}")
    return Rational(value)


ODE = NoiseScale("ode", x)
REVERSE_SDE = NoiseScale("reverse-sde", x**2)
SDE_1 = sde_1()
SDE_2 = NoiseScale("sde-2", x ** Rational(3, 2))
SDE_3 = NoiseScale("sde-3", x ** Rational(5, 2))
SDE_4 = NoiseScale("sde-4", x ** Rational(9, 10) * log1p(100 * x ** Rational(3, 2)))
SDE_5 = NoiseScale("sde-5", x * (sympy.exp(x ** Rational(3, 10)) + 10))
NOISE_SCALES: tuple[NoiseScale, ...] = (ODE, REVERSE_SDE, SDE_1, SDE_2, SDE_3, SDE_4, SDE_5)
"""The functions of the release in its order (func_type 1 to 7, the last is its default).

SDE_4, x^0.9 log(1 + 100 x^1.5) up to a constant factor, makes no SDE above x = 1022.35.
"""
