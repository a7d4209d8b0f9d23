"""Reverse SDEs of any noise level: tau = 0 is the probability flow, tau = 1 the usual reverse SDE.

Every SDE of the family

    dx = [f x - (1 + tau^2)/2 g^2 grad log p_t] dt + tau g dW   (t running down)

has the marginals of the forward process (arXiv:2309.05019, SA-Solver; arXiv:2206.05564, gDDIM).  In lambda,
where g^2 dt = -2 sigma^2 dlambda, and with A(lambda) = int tau^2 dlambda,

    data prediction:   d(x e^A/sigma) = (1 + tau^2) e^(lambda + A) x_0 dlambda + noise,
                       std^2 = sigma_1^2 (1 - e^(-2 (A_1 - A_0))),
    noise prediction:  d(x/alpha) = -(1 + tau^2) e^-lambda eps dlambda + noise,
                       std^2 = 2 alpha_1^2 int tau^2 e^(-2 lambda) dlambda.

For a constant tau these are exponential forms of rates -(1 + tau^2) and +1.  tau = 0 gives the ODE forms
themselves, which draw no noise.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any

from ..common import checks
from ..common.messages import shown
from ..diffusion.schedule import Schedule
from ..numerics.arithmetic import Arithmetic, Fn, Value, of
from ..numerics.quadrature import GAUSS
from .form import Exponential, Form, FormOf, Measured, Step, Variable, data_in_lambda, noise_in_lambda

DATA = "d(x e^A/sigma) = (1 + tau^2) e^(lambda + A) x_0 dlambda + noise, dA = tau^2 dlambda"
NOISE = "d(x/alpha) = -(1 + tau^2) e^-lambda eps dlambda + noise"
"""The equations, of any tau."""

Tau = Any
"""A real number >= 0 whose square is rational, or a `NoiseLevel`."""


@dataclass(frozen=True)
class NoiseLevel:
    """tau as a step function of time: `levels[k]` between `times[k - 1]` and `times[k]`.

    times: decreasing; levels: one more, the first from the noisiest time on.  NoiseLevel((0.8, 0.2), (0, 1,
    0)) is SA-Solver's noise in the middle only, NoiseLevel((t,), (1, 0)) its last step without noise from t.
    Raises ValueError for other lengths, times that do not decrease, or levels that are not as `Tau` says.
    """

    times: tuple[float, ...]
    levels: tuple[Any, ...]

    def __post_init__(self) -> None:
        if len(self.levels) != len(self.times) + 1:
            raise ValueError(
                f"levels must hold one value more than times, got {len(self.levels)} for {len(self.times)}"
            )
        if not all(a > b for a, b in itertools.pairwise(self.times)):
            raise ValueError(f"times must decrease, got {shown(self.times)}")
        _ = self.squares

    @property
    def squares(self) -> tuple[Fraction, ...]:
        """tau^2 of each level, exactly."""
        return tuple(square(level) for level in self.levels)


def square(tau: Any) -> Fraction:
    """tau^2 as an exact fraction.  Raises ValueError unless tau is a number >= 0 with a rational square."""
    if checks.is_number(tau) and 0 <= tau < math.inf:
        squared = checks.exact("tau", tau) ** 2
        if squared.is_Rational:
            return Fraction(int(squared.p), int(squared.q))
    raise ValueError(f"tau must be a number >= 0 with a rational square, got {shown(tau)}")


def sde_data(tau: Tau = 1) -> FormOf:
    """The reverse SDE of level tau in data prediction, as a form of a schedule; see above."""
    constant = _constant(tau)
    return partial(_varying_data, level=tau) if constant is None else of_square("x0", constant)


def sde_noise(tau: Tau = 1) -> FormOf:
    """The reverse SDE of level tau in noise prediction, as a form of a schedule; see above."""
    constant = _constant(tau)
    return partial(_varying_noise, level=tau) if constant is None else of_square("eps", constant)


def of_square(prediction: str, level: Fraction) -> FormOf:
    """The reverse SDE of a level whose square, >= 0, is known.

    prediction: "x0" or "eps".  level: tau^2.
    """
    flow, reverse = {
        "x0": (data_in_lambda, _constant_data),
        "eps": (noise_in_lambda, _constant_noise),
    }[prediction]
    return partial(reverse, level=level) if level else flow


def sde_data_in_lambda(schedule: Schedule) -> Form:
    """d(x e^(2 lambda)/alpha) = 2 e^(2 lambda) x_0 dlambda + noise, the reverse SDE.  Lu et al. 2022
    (DPM-Solver++; huggingface/diffusers, algorithm_type "sde-dpmsolver++").
    """
    return _constant_data(schedule, Fraction(1))


def sde_noise_in_lambda(schedule: Schedule) -> Form:
    """d(x/alpha) = -2 e^-lambda eps dlambda + noise, the reverse SDE.  huggingface/diffusers,
    algorithm_type "sde-dpmsolver".
    """
    return _constant_noise(schedule, Fraction(1))


def _constant(tau: Tau) -> Fraction | None:
    """tau^2 where it does not vary, else None."""
    if not isinstance(tau, NoiseLevel):
        return square(tau)
    return tau.squares[0] if len(set(tau.squares)) == 1 else None


def _constant_data(schedule: Schedule, level: Fraction) -> Form:
    f = schedule.formulas

    def factor(t: Value) -> Value:
        return f.sigma(t) * f.rho(t) ** of(t).number(level)

    def std(t0: Value, t1: Value) -> Value:
        xp = of(t0)
        return f.sigma(t1) * xp.sqrt(-xp.expm1(-2 * xp.number(level) * (f.lam(t1) - f.lam(t0))))

    def limit(t0: Value, t1: Value) -> Value:
        return f.alpha(t1) - f.sigma(t1) * (f.rho(t1) / f.rho(t0)) ** of(t0).number(level) / f.rho(t0)

    weight = Exponential(lambda t: of(t).number(1 + level) * f.alpha(t), -(1 + level), limit)
    name = "sde_data_in_lambda"
    return Form(
        name, schedule, f.lam, f.t_of_lam, factor, weight, "x0", std=std, equation=f"{DATA}, tau^2 = {level}"
    )


def _constant_noise(schedule: Schedule, level: Fraction) -> Form:
    f = schedule.formulas

    def std(t0: Value, t1: Value) -> Value:
        xp = of(t0)
        return f.alpha(t1) * f.rho(t0) * xp.sqrt(-xp.number(level) * xp.expm1(-2 * (f.lam(t1) - f.lam(t0))))

    def limit(t0: Value, t1: Value) -> Value:
        return of(t0).number(1 + level) * (f.sigma(t1) - f.alpha(t1) * f.rho(t0))

    weight = Exponential(lambda t: -of(t).number(1 + level) * f.sigma(t), +1, limit)
    name = "sde_noise_in_lambda"
    return Form(
        name,
        schedule,
        f.lam,
        f.t_of_lam,
        f.alpha,
        weight,
        "eps",
        std=std,
        equation=f"{NOISE}, tau^2 = {level}",
    )


@dataclass(frozen=True)
class _Squares:
    """tau^2 in lambda: `values[k]` between `breaks[k - 1]` and `breaks[k]`."""

    xp: Arithmetic
    breaks: tuple[Value, ...]
    values: tuple[Value, ...]

    @staticmethod
    def of(level: NoiseLevel, schedule: Schedule, xp: Arithmetic) -> _Squares:
        breaks = tuple(schedule.formulas.lam(xp.number(t)) for t in level.times)
        return _Squares(xp, breaks, tuple(xp.number(v) for v in level.squares))

    def at(self, lam: Value) -> Value:
        """tau^2; at a break the level before it, which is that of a step that ends there."""
        value = self.values[0]
        for start, after in zip(self.breaks, self.values[1:], strict=True):
            value = self.xp.where(lam > start, after, value)
        return value

    def sum(self, lam0: Value, lam1: Value, primitive: Callable[[Value], Value]) -> Value:
        """int tau^2 d primitive(lambda) over [lam0, lam1]; 0 where lam1 <= lam0."""
        total: Value = self.xp.number(0)
        for k, value in enumerate(self.values):
            if value == 0:
                continue
            start = lam0 if k == 0 else self.xp.maximum(lam0, self.breaks[k - 1])
            end = lam1 if k == len(self.breaks) else -self.xp.maximum(-lam1, -self.breaks[k])
            part = value * (primitive(end) - primitive(start))
            total = total + self.xp.where(end > start, part, 0 * value)
        return total


@dataclass(frozen=True)
class _Varying:
    """A weight without constant rate, normalised like an exponential one: by its value at the end of the
    row.
    """

    ends: Exponential
    """The weight there, and its limit; the rate is not used."""
    measured: Measured
    rate: None = None

    def weight(self, step: Step, c: Value) -> Value:
        return self.ends.weight(step, c)

    def phi(self, step: Step, k: int, c: Value) -> Value:
        if step.infinite:
            return self.ends.phi(step, k, c)
        t = step.time(c)
        return self.measured.phi(step, k, c) * (step.form.factor(t) / self.ends.scale(t))

    @property
    def kinks(self) -> tuple[float, ...]:
        """Times at which the weight jumps."""
        return self.measured.kinks


def _varying_data(schedule: Schedule, level: NoiseLevel) -> Form:
    f = schedule.formulas

    def area(lam: Value) -> Value:
        """A, from the first break."""
        s = _Squares.of(level, schedule, of(lam))
        first = s.breaks[0]
        return s.sum(first, lam, lambda v: v) - s.sum(lam, first, lambda v: v)

    def factor(t: Value) -> Value:
        return f.sigma(t) * of(t).exp(-area(f.lam(t)))

    def std(t0: Value, t1: Value) -> Value:
        xp = of(t0)
        between = _Squares.of(level, schedule, xp).sum(f.lam(t0), f.lam(t1), lambda v: v)
        return f.sigma(t1) * xp.sqrt(-xp.expm1(-2 * between))

    def density(lam: Value) -> Value:
        xp = of(lam)
        return (1 + _Squares.of(level, schedule, xp).at(lam)) * xp.exp(lam + area(lam))

    def scale(t: Value) -> Value:
        return (1 + _Squares.of(level, schedule, of(t)).at(f.lam(t))) * f.alpha(t)

    def limit(t0: Value, t1: Value) -> Value:
        return f.alpha(t1) - factor(t1) / factor(t0) * f.alpha(t0)

    weight = _Varying(Exponential(scale, 0, limit), _measured(schedule, level, density))
    name = "sde_data_in_lambda"
    return Form(name, schedule, f.lam, f.t_of_lam, factor, weight, "x0", std=std, equation=DATA)


def _varying_noise(schedule: Schedule, level: NoiseLevel) -> Form:
    f = schedule.formulas

    def std(t0: Value, t1: Value) -> Value:
        xp = of(t0)
        start = f.lam(t0)
        parts = _Squares.of(level, schedule, xp).sum(start, f.lam(t1), lambda v: -xp.expm1(-2 * (v - start)))
        return f.alpha(t1) * f.rho(t0) * xp.sqrt(parts)

    def density(lam: Value) -> Value:
        xp = of(lam)
        return -(1 + _Squares.of(level, schedule, xp).at(lam)) * xp.exp(-lam)

    def scale(t: Value) -> Value:
        return -(1 + _Squares.of(level, schedule, of(t)).at(f.lam(t))) * f.sigma(t)

    def limit(t0: Value, t1: Value) -> Value:
        xp = of(t0)
        extra = _Squares.of(level, schedule, xp).sum(f.lam(t0), f.lam(t1), lambda v: -xp.exp(-v))
        return f.sigma(t1) - f.alpha(t1) * (f.rho(t0) + extra)

    weight = _Varying(Exponential(scale, 0, limit), _measured(schedule, level, density))
    name = "sde_noise_in_lambda"
    return Form(name, schedule, f.lam, f.t_of_lam, f.alpha, weight, "eps", std=std, equation=NOISE)


def _measured(schedule: Schedule, level: NoiseLevel, density: Fn) -> Measured:
    f = schedule.formulas

    def variable(t0: Value, t1: Value) -> Variable:
        start = f.lam(t0)
        return Variable(f.lam, lambda v: v - start, density)

    return Measured(variable, GAUSS, level.times[::-1])
