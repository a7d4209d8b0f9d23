"""Probability flow by a black-box adaptive solver (scipy), and the log-likelihood that comes with it.

Along dx/dt = v(x, t) = f x - g^2 s/2 the density obeys d log p_t(x_t)/dt = -div v, so

    log p_a(x_a) = log p_b(x_b) + int_a^b div v(x_t, t) dt      for any times a, b

(Song et al. 2021, arXiv:2011.13456; likelihood.get_likelihood_fn).  The whole batch is one system for the
solver, as released: samples share the steps, and the error norm is taken over all of them, so a sample's
result depends on its batch mates to within the tolerance.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import scipy.integrate
import torch

from ..common import checks
from ..diffusion.prediction import Model
from ..diffusion.sde import DiffusionSDE
from .noise import per_sample
from .sampler import Sample

METHODS = ("RK45", "RK23", "DOP853")
"""scipy's explicit Runge-Kutta methods."""


@dataclass(frozen=True)
class Solve:
    """How scipy integrates: relative and absolute tolerance, and the method.

    Raises ValueError for tolerances that are not positive or an unknown method.
    """

    rtol: float = 1e-5
    atol: float = 1e-5
    method: str = "RK45"

    def __post_init__(self) -> None:
        for name in ("rtol", "atol"):
            checks.number(name, getattr(self, name), above=0)
        checks.one_of("method", self.method, METHODS)

    def run(
        self, slope: Callable[[float, np.ndarray], np.ndarray], start: float, end: float, y: np.ndarray
    ) -> tuple[np.ndarray, int]:
        """y at the end, and how often the slope was asked for.  Raises ArithmeticError if scipy gives up."""
        result = scipy.integrate.solve_ivp(
            slope, (start, end), y, rtol=self.rtol, atol=self.atol, method=self.method
        )
        if not result.success:
            raise ArithmeticError(f"the probability flow from t = {start} to {end} failed: {result.message}")
        return result.y[:, -1], int(result.nfev)


def flow(
    sde: DiffusionSDE,
    model: Model,
    x: torch.Tensor,
    *,
    t_start: float,
    t_end: float,
    prediction: str = "eps",
    solve: Solve = Solve(),
) -> Sample:
    """x_{t_start} carried to t_end along the probability flow.

    x: (batch, ...), a floating tensor; integrated in float64, returned in its dtype.  Sample.nfe counts the
    right-hand sides, each one call of the model.  The release's last denoising step is a plan:
    `reverse_diffusion_released(n=N)` over the times (t_end, 0) with noise_at_end=False.
    Raises ValueError or TypeError, naming the argument; ArithmeticError if the integration fails.
    """
    _check(sde, x, t_start, t_end)
    velocity = sde.probability_flow(model, prediction)

    def slope(t: float, y: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return _numpy(velocity(_state(y, x), t))

    final, calls = solve.run(slope, t_start, t_end, _numpy(x))
    return Sample(_state(final, x), calls)


# --- divergences ---

Field = Callable[[torch.Tensor], torch.Tensor]
Divergence = Callable[[Field, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
"""(field, x) -> the field's value at x (batch, ...), and its divergence or an estimate of it, (batch,)."""


def exact_divergence(field: Field, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """sum_i e_i^T J e_i over the unit vectors: one backward pass per component of a sample; summed in float32
    at least.
    """
    value, pull = _vjp(field, x)
    total = torch.zeros(x.shape[0], dtype=_wide(x), device=x.device)
    for i in range(x[0].numel()):
        unit = torch.zeros_like(x)
        unit.flatten(1)[:, i] = 1
        total = total + pull(unit)[0].flatten(1)[:, i]
    return value, total


def _vjp(field: Field, x: torch.Tensor) -> tuple[torch.Tensor, Callable[..., tuple[torch.Tensor]]]:
    value, pull = torch.func.vjp(field, x)[:2]
    return value, pull


def hutchinson(probes: torch.Tensor) -> Divergence:
    """The mean of z^T J z over given probes, (m, batch, ...): Skilling-Hutchinson, unbiased if E[z z^T] = I.

    Probes stay the same along the path, so that the solver sees a smooth function.
    Raises ValueError for probes without the two leading axes.
    """
    if not isinstance(probes, torch.Tensor) or probes.ndim < 3 or probes.shape[0] == 0:
        raise ValueError(f"probes must be a tensor of shape (m, batch, ...), got {_shape(probes)}")

    def divergence(field: Field, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if probes.shape[1:] != x.shape:
            raise ValueError(
                f"probes must have shape (m, {', '.join(map(str, x.shape))}), got {_shape(probes)}"
            )
        value, pull = _vjp(field, x)
        estimates = [(pull(z)[0].to(_wide(x)) * z).flatten(1).sum(1) for z in probes.to(x)]
        return value, torch.stack(estimates).mean(0)

    return divergence


Probe = Literal["rademacher", "gaussian"]
PROBES: tuple[Probe, ...] = get_args(Probe)


def draw_probes(kind: Probe, m: int, like: torch.Tensor, seed: int) -> torch.Tensor:
    """m probes for each sample of the batch, each a function of (seed, sample, probe) alone.

    Raises ValueError for another kind, m < 1 or a seed outside [0, 2^64).
    """
    checks.one_of("kind", kind, PROBES)
    m = checks.integer("m", m, 1)
    noise = per_sample(seed, stream=3)  # 0 is a plan's own; correctors and projections take 1 and 2
    normal = torch.stack([noise(i, like) for i in range(m)])
    return normal if kind == "gaussian" else torch.where(normal < 0, -1.0, 1.0).to(normal)


# --- likelihood ---


@dataclass(frozen=True)
class LogLikelihood:
    """log p at t_start for every sample, and what it is made of: log_density = terminal + divergence.

    latent: the state at t_end.  terminal: the terminal log density there.  divergence: int div v dt.
    nfe: right-hand sides, each a forward pass and as many backward passes as there are probes.
    Densities are in the dtype of x, or in float32 where that is half precision, whose three digits are none
    of a sum over many components.
    """

    log_density: torch.Tensor
    latent: torch.Tensor
    terminal: torch.Tensor
    divergence: torch.Tensor
    nfe: int


def log_likelihood(
    sde: DiffusionSDE,
    model: Model,
    x: torch.Tensor,
    *,
    t_start: float = 1e-5,
    t_end: float | None = None,
    divergence: Divergence = exact_divergence,
    terminal: Callable[[torch.Tensor], torch.Tensor] | None = None,
    prediction: str = "eps",
    solve: Solve = Solve(),
) -> LogLikelihood:
    """log p_{t_start}(x) = log p_{t_end}(latent) + int div v dt along the probability flow.

    x: (batch, ...) at t_start, which the release takes for data.  t_end: T when absent.  model: of torch
    operations, each sample by itself.  terminal: a log density at t_end, z (batch, ...) -> (batch,); the
    SDE's prior when absent, as released: its mismatch with p_T is then the error that remains.
    Raises ValueError or TypeError, naming the argument; ArithmeticError if the integration fails.
    """
    end = _check(sde, x, t_start, t_end)
    velocity, batch = sde.probability_flow(model, prediction), x.shape[0]

    def slope(t: float, y: np.ndarray) -> np.ndarray:
        value, trace = divergence(lambda at: velocity(at, t), _state(y[:-batch], x))
        return np.concatenate([_numpy(value), _numpy(trace)])

    final, calls = solve.run(slope, t_start, end, np.concatenate([_numpy(x), np.zeros(batch)]))
    latent, total = _state(final[:-batch], x), torch.from_numpy(final[-batch:]).to(x.device, _wide(x))
    last = (sde.prior_log_density if terminal is None else terminal)(latent)
    if last.shape != (batch,):
        raise ValueError(f"terminal must return shape ({batch},), got {tuple(last.shape)}")
    return LogLikelihood(last + total, latent, last, total, calls)


def bits_per_dim(log_density: torch.Tensor, dimension: int, offset: float = 0.0) -> torch.Tensor:
    """-log_2 p/d + offset.

    offset: 8 for images of 8 bits scaled to [0, 1], 7 for [-1, 1]: the logarithm of the bins' width.
    Raises ValueError for a dimension < 1.
    """
    dimension = checks.integer("dimension", dimension, 1)
    return -log_density / (dimension * math.log(2)) + offset


def _check(sde: DiffusionSDE, x: Any, t_start: float, t_end: float | None) -> float:
    """The end time: T when absent."""
    checks.instance("sde", sde, DiffusionSDE)
    if not isinstance(x, torch.Tensor) or not x.is_floating_point():
        raise TypeError(f"x must be a floating-point tensor, got {_shape(x)}")
    if x.ndim < 2 or x.numel() == 0:
        raise ValueError(f"x must have shape (batch, ...) and not be empty, got {tuple(x.shape)}")
    end = sde.schedule.t_max if t_end is None else t_end
    for name, t in (("t_start", t_start), ("t_end", end)):
        sde.schedule.check_time(t, name)
    if t_start == end:
        raise ValueError(f"t_end must differ from t_start = {t_start}, got {end}")
    return end


def _wide(x: torch.Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def _shape(x: Any) -> str:
    return f"shape {tuple(x.shape)}" if isinstance(x, torch.Tensor) else type(x).__name__


def _numpy(x: torch.Tensor) -> np.ndarray:
    flat: np.ndarray = x.detach().cpu().double().numpy().ravel()
    return flat


def _state(y: np.ndarray, like: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(np.array(y)).to(like).reshape(like.shape)
