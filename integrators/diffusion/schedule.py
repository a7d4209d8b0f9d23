"""Noise schedules: x_t = alpha_t x_0 + sigma_t eps, as functions of the model's time t.

A schedule is a record of formulas.  rho = sigma/alpha is the noise-to-signal ratio and lambda = -log(rho)
the half log-SNR; sampling runs from large t to small t, that is from small lambda to large lambda.  Every
formula is written so that nothing cancels near t = 0 (expm1, log1p) nor near t = 1.

Tables of betas, which these formulas cannot express, are in `discrete.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ..common import checks
from ..common.messages import shown
from ..common.ranges import NonNegative, Positive
from ..common.remaking import Remade, remade
from ..numerics.arithmetic import Arithmetic, Fn, Value, of, squared
from ..numerics.tensors import is_tensor

if TYPE_CHECKING:
    import torch


class DomainError(ValueError):
    """A time at which a schedule is none."""


@dataclass(frozen=True)
class Schedule(Remade):
    """alpha, sigma, their ratio and the inverses, for one noise schedule.

    `kind` and `parameters` identify it (equality, hashing, JSON).  `t_min` <= t <= `t_max` is the domain.
    The public methods take t (or lambda, rho) as a float, numpy array, torch tensor or mpmath number,
    elementwise, and return the same kind; float32 and half tensors are computed in float64. Raises
    ValueError, naming the argument, outside the domain (host numbers only: a tensor is not read back).
    One that a factory of this room made can be pickled; one of your own where its formulas can.
    """

    kind: str
    parameters: tuple[tuple[str, Any], ...]
    t_min: float
    t_max: float
    formulas: Formulas = field(compare=False, repr=False)
    breakpoints: tuple[float, ...] = field(default=(), compare=False, repr=False)
    """Times where the schedule is continuous but not smooth."""

    def log_alpha(self, t: Value) -> Value:
        """log alpha_t."""
        return self._on_domain(self.formulas.log_alpha, t)

    def alpha(self, t: Value) -> Value:
        """alpha_t, the signal's scale."""
        return self._on_domain(self.formulas.alpha, t)

    def sigma(self, t: Value) -> Value:
        """sigma_t, the noise's standard deviation."""
        return self._on_domain(self.formulas.sigma, t)

    def rho(self, t: Value) -> Value:
        """rho_t = sigma_t/alpha_t."""
        return self._on_domain(self.formulas.rho, t)

    def lam(self, t: Value) -> Value:
        """lambda_t = log(alpha_t/sigma_t), the half log-SNR."""
        return self._on_domain(self.formulas.lam, t)

    def rho_dot(self, t: Value) -> Value:
        """d rho/dt, at a kink the derivative from the right."""
        return self._on_domain(self.formulas.rho_dot, t)

    def t_of_lam(self, lam: Value) -> Value:
        """The time at which lambda_t = lam."""
        return self._inverse(self.formulas.t_of_lam, lam, "lam")

    def t_of_rho(self, rho: Value) -> Value:
        """The time at which rho_t = rho."""
        if not is_tensor(rho) and np.any(_host(rho) < 0):
            raise ValueError(f"rho must be non-negative, got {shown(rho)}")
        return self._inverse(self.formulas.t_of_rho, rho, "rho")

    def _on_domain(self, formula: Fn, t: Value) -> Value:
        if is_tensor(t):
            return _in_float64(formula, t)
        self.check_time(t, "t")
        return _quietly(formula, _host(t))

    def _inverse(self, formula: Fn, value: Value, name: str) -> Value:
        if is_tensor(value):
            return _in_float64(formula, value)
        host = _host(value)
        if np.any(host != host):  # works for object arrays of mpmath numbers too
            raise ValueError(f"{name} must not be NaN, got {shown(value)}")
        t = _quietly(formula, host)
        slack = 1e-9 * (abs(self.t_max) + 1e-3)
        if not (np.all(t >= self.t_min - slack) and np.all(t <= self.t_max + slack)):
            raise ValueError(
                f"{name} must be reached on t in [{self.t_min:g}, {self.t_max:g}] of {self.kind}, "
                f"got {shown(value)}"
            )
        xp = of(t)
        within = xp.maximum(
            xp.where(t > self.t_max, 0 * t + self.t_max, t), 0 * t + self.t_min
        )  # within the rounding
        return float(within) if isinstance(value, (int, float)) else within

    def check_time(self, t: Value, name: str) -> None:
        """Raise DomainError (a ValueError) unless every t lies in the domain."""
        host = _host(t)
        if not (np.all(host >= self.t_min) and np.all(host <= self.t_max)):
            raise DomainError(
                f"{name} must lie in [{self.t_min:g}, {self.t_max:g}] for {self.kind}, got {shown(t)}"
            )


@dataclass(frozen=True)
class Formulas:
    """The functions of a schedule without checks, for code that has validated its times once."""

    log_alpha: Fn
    alpha: Fn
    sigma: Fn
    rho: Fn
    lam: Fn
    rho_dot: Fn
    alpha_dot: Fn
    sigma_dot: Fn
    t_of_lam: Fn
    t_of_rho: Fn


def remembering(schedule: Schedule) -> Schedule:
    """The same schedule, whose formulas know their last few values: a step asks for alpha and sigma at its
    two ends again and again.  Raises TypeError for what is none.
    """
    checks.instance("schedule", schedule, Schedule)
    made = {f.name: _with_memory(getattr(schedule.formulas, f.name)) for f in fields(Formulas)}
    return replace(schedule, formulas=Formulas(**made))


def _with_memory(formula: Fn) -> Fn:
    known = lru_cache(maxsize=8, typed=True)(formula)  # numbers of each precision are of a type of their own
    return lambda t: known(t) if isinstance(t, float) or hasattr(t, "_mpf_") else formula(t)


def _host(t: Value) -> Value:
    return np.asarray(t, dtype=np.float64)[()] if isinstance(t, (int, list, tuple)) else t


def _quietly(formula: Fn, value: Value) -> Value:
    """Limits are infinities, not errors: at sigma = 0 or alpha = 0 every quotient here tends to +infinity."""
    try:
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            result = formula(value)
    except ZeroDivisionError:  # mpmath's way of saying so
        if isinstance(value, np.ndarray):
            return np.frompyfunc(lambda v: _quietly(formula, v), 1, 1)(value)
        return of(value).number("inf")
    return float(result) if isinstance(result, np.floating) and isinstance(value, float) else result


def _in_float64(formula: Fn, t: torch.Tensor) -> torch.Tensor:
    import torch

    if not t.is_floating_point():
        raise TypeError(f"t must be a floating-point tensor, got dtype {t.dtype}")
    result = formula(t.to(torch.float64))
    assert is_tensor(result)
    return result.to(t.dtype)


# --- the variance-preserving family: everything follows from log alpha ---


def variance_preserving(log_alpha: Fn, dlog_alpha: Fn, t_of_log_alpha: Fn) -> Formulas:
    """The formulas of a schedule with alpha^2 + sigma^2 = 1, from log alpha, its derivative, its inverse."""

    def alpha(t: Value) -> Value:
        return of(t).exp(log_alpha(t))

    def sigma(t: Value) -> Value:
        xp = of(t)
        return xp.sqrt(-xp.expm1(2 * log_alpha(t)))

    def rho(t: Value) -> Value:
        xp = of(t)
        return xp.sqrt(xp.expm1(-2 * log_alpha(t)))

    def lam(t: Value) -> Value:
        xp = of(t)
        return -xp.log(xp.expm1(-2 * log_alpha(t))) / 2

    return Formulas(
        log_alpha=log_alpha,
        alpha=alpha,
        sigma=sigma,
        rho=rho,
        lam=lam,
        rho_dot=lambda t: -dlog_alpha(t) / (sigma(t) * alpha(t)),
        alpha_dot=lambda t: dlog_alpha(t) * alpha(t),
        sigma_dot=lambda t: -dlog_alpha(t) * squared(alpha(t)) / sigma(t),
        t_of_lam=lambda lam: t_of_log_alpha(-of(lam).softplus(-2 * lam) / 2),
        t_of_rho=lambda rho: t_of_log_alpha(-of(rho).log1p(rho * rho) / 2),
    )


def _linear_beta(beta_0: float, beta_1: float) -> tuple[Fn, Fn, Fn]:
    """log alpha = -(beta_1 - beta_0) t^2/4 - beta_0 t/2, its derivative and its inverse."""

    def log_alpha(t: Value) -> Value:
        b0, b1 = (of(t).number(b) for b in (beta_0, beta_1))
        return -t * ((b1 - b0) * t / 4 + b0 / 2)

    def dlog_alpha(t: Value) -> Value:
        b0, b1 = (of(t).number(b) for b in (beta_0, beta_1))
        return -((b1 - b0) * t + b0) / 2

    def t_of_log_alpha(la: Value) -> Value:
        xp = of(la)
        b0, b1 = xp.number(beta_0), xp.number(beta_1)
        x = -2 * la
        root = b0 + xp.sqrt(b0 * b0 + 2 * (b1 - b0) * x)
        return 2 * x / xp.where(root > 0, root, 1 + 0 * x)  # 0/0 at t = 0 where beta_0 = 0

    return log_alpha, dlog_alpha, t_of_log_alpha


def _check_betas(beta_0: float, beta_1: float) -> tuple[float, float]:
    b0 = float(checks.number("beta_0", beta_0, least=0))
    b1 = float(checks.number("beta_1", beta_1, above=0))
    if b1 < b0:
        raise ValueError(f"beta_1 must not be less than beta_0 = {b0:g}, got {shown(beta_1)}")
    return b0, b1


@remade
def vp_linear(beta_0: NonNegative = 0.1, beta_1: Positive = 20.0) -> Schedule:
    """beta(t) = beta_0 + (beta_1 - beta_0) t on [0, 1]; alpha^2 + sigma^2 = 1.  Song et al. 2021, App. C."""
    b0, b1 = _check_betas(beta_0, beta_1)
    formulas = variance_preserving(*_linear_beta(b0, b1))
    return Schedule("vp-linear", (("beta_0", b0), ("beta_1", b1)), 0.0, 1.0, formulas)


@remade
def sub_vp(beta_0: NonNegative = 0.1, beta_1: Positive = 20.0) -> Schedule:
    """alpha as in `vp_linear`, sigma = 1 - alpha^2 on [0, 1].  Song et al. 2021, eq. 29."""
    b0, b1 = _check_betas(beta_0, beta_1)
    log_alpha, dlog_alpha, t_of_log_alpha = _linear_beta(b0, b1)

    def alpha(t: Value) -> Value:
        return of(t).exp(log_alpha(t))

    def sigma(t: Value) -> Value:
        return -of(t).expm1(2 * log_alpha(t))

    def rho(t: Value) -> Value:  # 1/alpha - alpha
        return 2 * of(t).sinh(-log_alpha(t))

    def t_of_rho(rho: Value) -> Value:
        return t_of_log_alpha(-of(rho).arcsinh(rho / 2))

    formulas = Formulas(
        log_alpha=log_alpha,
        alpha=alpha,
        sigma=sigma,
        rho=rho,
        lam=lambda t: -of(t).log(rho(t)),
        rho_dot=lambda t: -dlog_alpha(t) * (alpha(t) + 1 / alpha(t)),
        alpha_dot=lambda t: dlog_alpha(t) * alpha(t),
        sigma_dot=lambda t: -2 * dlog_alpha(t) * squared(alpha(t)),
        t_of_lam=lambda lam: t_of_rho(of(lam).exp(-lam)),
        t_of_rho=t_of_rho,
    )
    return Schedule("sub-vp", (("beta_0", b0), ("beta_1", b1)), 0.0, 1.0, formulas)


@remade
def vp_cosine(offset: NonNegative = 0.008, *, normalized: bool = True) -> Schedule:
    """alpha = cos(theta)/cos(theta_0), theta = (t + offset)/(1 + offset) pi/2 on [0, 1]; alpha^2 + sigma^2
    = 1.

    Nichol & Dhariwal 2021, eq. 17.  normalized=False drops cos(theta_0): DEIS's convention, where sigma_0 >
    0.
    """
    checks.flag("normalized", normalized)
    s = float(checks.number("offset", offset, least=0))
    if normalized and s == 0:
        raise ValueError(
            f"offset must be positive, got {shown(offset)}; normalized=False takes 0, the same there"
        )

    def angles(t: Value) -> tuple[Value, Value, Value, Arithmetic]:
        xp = of(t)
        unit = xp.pi / (2 * (1 + xp.number(s)))
        return unit, unit * xp.number(s), unit * t, xp

    def cos_theta(t: Value) -> Value:  # as a sine of the distance to pi/2 where t is near 1
        unit, _, _, xp = angles(t)
        return xp.sin(unit * (1 - t))

    if not normalized:

        def t_of_rho(rho: Value) -> Value:
            xp = of(rho)
            unit = xp.pi / (2 * (1 + xp.number(s)))
            return xp.arctan2(rho, 1 + 0 * rho) / unit - xp.number(s)

        def sin_theta(t: Value) -> Value:
            _, theta_0, delta, xp = angles(t)
            return xp.sin(theta_0 + delta)

        def log_cos_theta(t: Value) -> Value:
            _, theta_0, delta, xp = angles(t)
            early = t < 0.5
            half = xp.where(early, xp.sin((theta_0 + delta) / 2), 0 * t)
            return xp.where(early, xp.log1p(-2 * half * half), xp.log(cos_theta(t)))

        formulas = Formulas(
            log_alpha=log_cos_theta,
            alpha=cos_theta,
            sigma=sin_theta,
            rho=lambda t: of(t).divide(sin_theta(t), cos_theta(t)),
            lam=lambda t: of(t).log(cos_theta(t) / sin_theta(t)),
            rho_dot=lambda t: angles(t)[0] / squared(cos_theta(t)),
            alpha_dot=lambda t: -angles(t)[0] * sin_theta(t),
            sigma_dot=lambda t: angles(t)[0] * cos_theta(t),
            t_of_lam=lambda lam: t_of_rho(of(lam).exp(-lam)),
            t_of_rho=t_of_rho,
        )
        return Schedule("vp-cosine", (("offset", s), ("normalized", False)), 0.0, 1.0, formulas)

    def log_alpha(t: Value) -> Value:
        _, theta_0, delta, xp = angles(t)
        half = xp.sin(delta / 2)
        tan_0 = xp.sin(theta_0) / xp.cos(theta_0)
        near = 2 * half * half + tan_0 * xp.sin(delta)  # 1 - alpha, without cancellation
        early = t < 0.5
        return xp.where(
            early,
            xp.log1p(-xp.where(early, near, 0 * near)),
            xp.log(cos_theta(t) / xp.cos(theta_0)),
        )

    def t_of_log_alpha(la: Value) -> Value:
        # No difference of angles: sin(theta - theta_0) follows from
        # sin^2(theta) - sin^2(theta_0) = cos^2(theta_0) (1 - alpha^2).
        xp = of(la)
        unit = xp.pi / (2 * (1 + xp.number(s)))
        sin_0, cos_0 = xp.sin(unit * xp.number(s)), xp.cos(unit * xp.number(s))
        cos_t = xp.exp(la) * cos_0
        gain = -xp.expm1(2 * la) * cos_0 * cos_0
        sin_t = xp.sqrt(sin_0 * sin_0 + gain)
        return xp.arctan2(gain / (sin_t * cos_0 + cos_t * sin_0), cos_t * cos_0 + sin_t * sin_0) / unit

    def dlog_alpha(t: Value) -> Value:
        unit, theta_0, delta, xp = angles(t)
        return -unit * xp.sin(theta_0 + delta) / cos_theta(t)

    formulas = variance_preserving(log_alpha, dlog_alpha, t_of_log_alpha)
    return Schedule("vp-cosine", (("offset", s), ("normalized", True)), 0.0, 1.0, formulas)


# --- variance exploding and flow ---


def _one(t: Value) -> Value:
    return 1 + 0 * t


def _unit_alpha(log_sigma: Fn, sigma: Fn, sigma_dot: Fn, t_of_sigma: Fn, t_of_log_sigma: Fn) -> Formulas:
    """alpha = 1."""
    return Formulas(
        log_alpha=lambda t: 0 * t,
        alpha=_one,
        sigma=sigma,
        rho=sigma,
        lam=lambda t: -log_sigma(t),
        rho_dot=sigma_dot,
        alpha_dot=lambda t: 0 * t,
        sigma_dot=sigma_dot,
        t_of_lam=lambda lam: t_of_log_sigma(-lam),
        t_of_rho=t_of_sigma,
    )


@remade
def ve(sigma_min: Positive = 0.01, sigma_max: Positive = 50.0) -> Schedule:
    """alpha = 1, sigma = sigma_min (sigma_max/sigma_min)^t on [0, 1].  Song et al. 2021, eq. 31."""
    low = float(checks.number("sigma_min", sigma_min, above=0))
    high = float(checks.number("sigma_max", sigma_max, above=0))
    if high <= low:
        raise ValueError(f"sigma_max must exceed sigma_min = {low:g}, got {shown(sigma_max)}")

    def rate(xp: Arithmetic) -> Value:
        return xp.log(xp.number(high) / xp.number(low))

    def sigma(t: Value) -> Value:
        xp = of(t)
        return xp.number(low) * xp.exp(t * rate(xp))

    def t_of_log_sigma(value: Value) -> Value:
        xp = of(value)
        return (value - xp.log(xp.number(low))) / rate(xp)

    formulas = _unit_alpha(
        log_sigma=lambda t: of(t).log(of(t).number(low)) + t * rate(of(t)),
        sigma=sigma,
        sigma_dot=lambda t: sigma(t) * rate(of(t)),
        t_of_sigma=lambda value: t_of_log_sigma(of(value).log(value)),
        t_of_log_sigma=t_of_log_sigma,
    )
    return Schedule("ve", (("sigma_min", low), ("sigma_max", high)), 0.0, 1.0, formulas)


@remade
def edm(sigma_max: Positive = 80.0) -> Schedule:
    """alpha = 1, sigma = t on [0, sigma_max].  Karras et al. 2022, Sec. 4."""
    high = float(checks.number("sigma_max", sigma_max, above=0))
    formulas = _unit_alpha(
        log_sigma=lambda t: of(t).log(t),
        sigma=lambda t: 1 * t,
        sigma_dot=_one,
        t_of_sigma=lambda value: 1 * value,
        t_of_log_sigma=lambda value: of(value).exp(value),
    )
    return Schedule("edm", (("sigma_max", high),), 0.0, high, formulas)


@remade
def rectified_flow() -> Schedule:
    """alpha = 1 - t, sigma = t on [0, 1].  Liu et al. 2023; Lipman et al. 2023."""

    def t_of_rho(rho: Value) -> Value:
        return rho / (1 + rho)

    formulas = Formulas(
        log_alpha=lambda t: of(t).log1p(-t),
        alpha=lambda t: 1 - t,
        sigma=lambda t: 1 * t,
        rho=lambda t: of(t).divide(t, 1 - t),
        lam=lambda t: of(t).log1p(-t) - of(t).log(t),
        rho_dot=lambda t: 1 / squared(1 - t),
        alpha_dot=lambda t: -_one(t),
        sigma_dot=_one,
        t_of_lam=lambda lam: of(lam).exp(-of(lam).softplus(lam)),
        t_of_rho=t_of_rho,
    )
    return Schedule("rectified-flow", (), 0.0, 1.0, formulas)
