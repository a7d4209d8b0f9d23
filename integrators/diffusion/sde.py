"""The SDE behind a schedule, dx = f(t) x dt + g(t) dw, and its discretisations.

x_t = alpha_t x_0 + sigma_t eps is its law if   f = d log alpha/dt,   g^2 = alpha^2 d(rho^2)/dt   (rho =
sigma/alpha), as Ito's formula for E[x_t] and Var[x_t] says.  With the score s = grad log p_t, time runs
backwards along

    reverse SDE         dx = [f x - g^2 s] dt + g dw_bar
    probability flow    dx = [f x - g^2 s/2] dt

(Song et al. 2021, arXiv:2011.13456, eqs. 6 and 13).  VP, sub-VP and VE are `schedule.vp_linear`, `sub_vp`
and `ve`.  VE has sigma(0) = sigma_min: the law is that of x_0 + sigma_t eps, although the SDE started at the
data would only add sigma_t^2 - sigma_min^2.

A `Transition` is one step of a Markov chain that discretises the SDE, from the less noisy time t_1 to the
noisier t_0; the predictors of `solvers/score_sde.py` are made from it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..common import checks
from ..numerics.arithmetic import FLOAT64, Arithmetic, Value, of, uniform
from . import schedule as schedules
from .prediction import Model, convert, in_own_dtype
from .schedule import Schedule

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class DiffusionSDE:
    """dx = f(t) x dt + g(t) dw on (0, T], with the prior N(0, prior_std^2 I) that stands for p_T.

    Times are the schedule's, T = schedule.t_max; sigma_t must be > 0 (g^2 is a limit 0 * infinity where it is
    not).  Raises ValueError, naming the argument, for times outside the domain or a prior_std that is not
    positive.
    """

    schedule: Schedule
    prior_std: float

    def __post_init__(self) -> None:
        checks.instance("schedule", self.schedule, Schedule)
        checks.number("prior_std", self.prior_std, above=0)

    def f(self, t: Value) -> Value:
        """d log alpha/dt, the coefficient of the drift f(t) x."""
        self._check(t)
        return drift(self.schedule, t)

    def g2(self, t: Value) -> Value:
        """g(t)^2 = 2 alpha sigma d rho/dt."""
        self._check(t)
        return diffusion_squared(self.schedule, t)

    def marginal(self, x0: Any, t: Value) -> tuple[Any, Value]:
        """Mean alpha_t x_0 and standard deviation sigma_t of x_t given x_0."""
        return x0 * self.schedule.alpha(t), self.schedule.sigma(t)

    def prior_log_density(self, z: torch.Tensor) -> torch.Tensor:
        """log N(z; 0, prior_std^2 I), z of shape (batch, ...), shape (batch,); in float32 at least: a sum
        over the components leaves half precision no digits.
        """
        import torch

        flat = z.flatten(1).to(torch.promote_types(z.dtype, torch.float32))
        variance = self.prior_std**2
        return -(flat * flat).sum(1) / (2 * variance) - flat.shape[1] / 2 * math.log(2 * math.pi * variance)

    def probability_flow(self, model: Model, prediction: str = "eps") -> Model:
        """(x, t) -> f x - g^2 s/2, the velocity of the probability flow.

        It raises ValueError where the model's output has another shape than x.
        """
        called = in_own_dtype(model)

        def checked(x: Any, t: Any) -> Any:
            output = called(x, t)
            if output.shape != x.shape:
                raise ValueError(f"model must return shape {tuple(x.shape)}, got {tuple(output.shape)}")
            return output

        score = convert(self.schedule, checked, prediction, "score")
        return lambda x, t: x * self.f(t) - score(x, t) * (self.g2(t) / 2)

    def _check(self, t: Value) -> None:
        self.schedule.check_time(t, "t")
        if not self.schedule.formulas.sigma(t) > 0:
            raise ValueError(f"t must have sigma_t > 0, got {t}")


def vp(beta_0: float = 0.1, beta_1: float = 20.0) -> DiffusionSDE:
    """dx = -beta x/2 dt + sqrt(beta) dw.  Song et al. 2021; sde_lib.VPSDE."""
    return DiffusionSDE(schedules.vp_linear(beta_0, beta_1), 1.0)


def sub_vp(beta_0: float = 0.1, beta_1: float = 20.0) -> DiffusionSDE:
    """dx = -beta x/2 dt + sqrt(beta (1 - alpha^4)) dw.  Song et al. 2021; sde_lib.subVPSDE."""
    return DiffusionSDE(schedules.sub_vp(beta_0, beta_1), 1.0)


def ve(sigma_min: float = 0.01, sigma_max: float = 50.0) -> DiffusionSDE:
    """dx = sigma_t sqrt(2 log(sigma_max/sigma_min)) dw.  Song et al. 2021; sde_lib.VESDE."""
    return DiffusionSDE(schedules.ve(sigma_min, sigma_max), float(sigma_max))


def drift(schedule: Schedule, t: Value) -> Value:
    """f(t) = d log alpha/dt, for a time that has been checked."""
    return schedule.formulas.alpha_dot(t) / schedule.formulas.alpha(t)


def diffusion_squared(schedule: Schedule, t: Value) -> Value:
    """g(t)^2 = alpha^2 d(rho^2)/dt, for a time with sigma_t > 0 that has been checked."""
    f = schedule.formulas
    return 2 * f.alpha(t) * f.sigma(t) * f.rho_dot(t)


# --- discretisations ---


@dataclass(frozen=True)
class Transition:
    """x_0 = a x_1 + sqrt(b2) z: one step of the forward chain, from time t_1 to the noisier t_0.

    keep: sigma_1^2/sigma_0^2, the part of b2 that is the variance of x_1 once x_0 and the data are known;
    None where only ancestral sampling's larger variance b2 is wanted.
    """

    a: Value
    b2: Value
    keep: Value = None


Discretisation = Callable[[Schedule, Value, Value], Transition]
"""(schedule, t_0, t_1) -> the transition between them."""


def euler(schedule: Schedule, t0: Value, t1: Value) -> Transition:
    """Euler-Maruyama: a = 1 + f h, b2 = g^2 h, with f and g at t_0 and h = t_0 - t_1."""
    return _euler(schedule, t0, t0 - t1)


def exact(schedule: Schedule, t0: Value, t1: Value) -> Transition:
    """The SDE's own law: a = alpha_0/alpha_1, b2 = alpha_0^2 (rho_0^2 - rho_1^2)."""
    f = schedule.formulas
    rho0, rho1, alpha0 = f.rho(t0), f.rho(t1), f.alpha(t0)
    b2 = alpha0 * alpha0 * (rho0 - rho1) * (rho0 + rho1)
    ratio = f.sigma(t1) / f.sigma(t0)
    return Transition(alpha0 / f.alpha(t1), b2, ratio * ratio)


def forward(schedule: Schedule, t: Value, noisier: Value) -> tuple[Value, Value]:
    """The weight of x_t and the standard deviation of the noise with which the SDE's law at time t becomes
    that of a noisier time: alpha' / alpha and sqrt(b2) of `exact`.

    Raises ValueError where rho is not larger there.
    """
    f, xp = schedule.formulas, of(noisier)
    ratio, low = f.rho(noisier), f.rho(t)
    if not uniform(ratio > low):
        raise ValueError(f"noise can only be added towards larger rho, got t = {t} to {noisier}")
    return f.alpha(noisier) / f.alpha(t), f.alpha(noisier) * xp.sqrt((ratio - low) * (ratio + low))


def _euler(schedule: Schedule, t0: Value, h: Value) -> Transition:
    return Transition(1 + drift(schedule, t0) * h, diffusion_squared(schedule, t0) * h)


# --- the release's tables ---


def table_index(schedule: Schedule, t: Value, n: int) -> int:
    """floor(t (n - 1)/T), the entry of a table of length n that the release uses at time t."""
    return int(t * (n - 1) / schedule.t_max)


def table_beta(schedule: Schedule, i: int, n: int, xp: Arithmetic = FLOAT64) -> Value:
    """beta_i of the n betas spaced evenly from beta_0/n to beta_1/n.

    Raises ValueError for a schedule without beta_0 and beta_1, or if beta_i > 1: n is too small.
    """
    beta_0, beta_1 = _parameters(schedule, xp, "beta_0", "beta_1")
    beta = (beta_0 + (beta_1 - beta_0) * i / max(n - 1, 1)) / n
    if not beta <= 1:
        raise ValueError(
            f"steps must be at least beta_1 = {float(beta_1):g} for a table of betas below 1, got {n}: "
            f"beta_{i} = {float(beta):g}"
        )
    return beta


def table_sigma(schedule: Schedule, i: int, n: int, xp: Arithmetic = FLOAT64) -> Value:
    """sigma_i of the n sigmas in geometric progression from sigma_min to sigma_max; sigma_{-1} = 0."""
    low, high = _parameters(schedule, xp, "sigma_min", "sigma_max")
    return low * xp.exp(xp.log(high / low) * i / max(n - 1, 1)) if i >= 0 else xp.number(0)


def ddpm_table(schedule: Schedule, t0: Value, n: int) -> Transition:
    """a = sqrt(1 - beta_i), b2 = beta_i.  sde_lib.VPSDE.discretize ("DDPM discretization")."""
    xp = of(t0)
    beta = table_beta(schedule, table_index(schedule, t0, n), n, xp)
    return Transition(xp.sqrt(1 - beta), beta)


def smld_table(schedule: Schedule, t0: Value, n: int) -> Transition:
    """a = 1, b2 = sigma_i^2 - sigma_{i-1}^2.  sde_lib.VESDE.discretize ("SMLD(NCSN) discretization")."""
    xp, i = of(t0), table_index(schedule, t0, n)
    sigma, below = (table_sigma(schedule, k, n, xp) for k in (i, i - 1))
    return Transition(xp.number(1), (sigma - below) * (sigma + below), (below / sigma) ** 2)


def euler_table(schedule: Schedule, t0: Value, n: int) -> Transition:
    """Euler-Maruyama with step T/n, whatever the times are.  sde_lib.SDE.discretize, the default."""
    return _euler(schedule, t0, of(t0).number(schedule.t_max) / n)


def _parameters(schedule: Schedule, xp: Arithmetic, *names: str) -> list[Value]:
    known = dict(schedule.parameters)
    if not all(name in known for name in names):
        raise ValueError(f"schedule must have {' and '.join(names)}, which {schedule.kind} has not")
    return [xp.number(known[name]) for name in names]
