"""Model statistics estimated from any model by Jacobian-vector products.

Over the law of the states at a given lambda, elementwise (Zheng et al. 2023, arXiv:2310.13268, eqs 5 and 11),

    l = E[diag(sigma d eps/dx)],   s = Cov(f, f')/Var(f),   b = E[f'] - s E[f],

with f = rho eps - l y, y = x/alpha, and f' its derivative along the ODE,
f' = rho ((l - 1) eps + eps') - l' y, eps' = d_lambda eps + (d eps/dx) x'.  The diagonal is estimated by
random signs v, E[(J v) v] = diag J; eps' is one forward-mode derivative along (x', 1) in (x, lambda).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import reduce
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from ..common import checks
from ..diffusion.prediction import Model, check_prediction, conversion, in_own_dtype
from ..diffusion.schedule import Schedule
from ..numerics.tensors import is_half
from .table import Tabulated

Tensor = torch.Tensor
Slope = Literal["central", "smoothed"]
Moments = Literal["centred", "uncentred"]
TimeDerivative = Literal["forward", "difference"]
SLOPES: tuple[Slope, ...] = get_args(Slope)
MOMENTS: tuple[Moments, ...] = get_args(Moments)
TIME_DERIVATIVES: tuple[TimeDerivative, ...] = get_args(TimeDerivative)

REACH = 5
"""Nodes on either side in the moving average of l' in a public script."""
STENCIL, SPACING = 7, 0.02
"""Points, and their distance in lambda, of the difference that replaces forward mode."""
ROUNDING = 64
"""A spread of f below so many units of rounding of the terms that it is a difference of is no spread."""


UNDIFFERENTIABLE = (
    "model must depend on t in a way that forward mode can differentiate; it {}: "
    "use time='difference' if it turns t into a float"
)
READINGS = ("__float__", "__int__", "item", "tolist", "numpy", "detach")


class _Unread(TorchFunctionMode):
    """Refuses a model that reads the number out of the tensor t, whose derivative is lost there."""

    def __init__(self, t: Tensor) -> None:
        super().__init__()
        self._t = t

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(function, "__name__", "") in READINGS and args and args[0] is self._t:
            raise ValueError(UNDIFFERENTIABLE.format(f"calls {function.__name__} on it"))
        return function(*args, **(kwargs or {}))


class Draw(NamedTuple):
    """States x (n, *shape) at one lambda, probes (k, n, *shape) of signs or None for the whole diagonal, and
    weights (n,) of a quadrature rule or None for samples.
    """

    x: Tensor
    probes: Tensor | None = None
    weights: Tensor | None = None

    def mean(self, values: Tensor) -> Tensor:
        """The expectation over the states."""
        if self.weights is None:
            return values.mean(0)
        weighted: Tensor = torch.tensordot((self.weights / self.weights.sum()).to(values), values, 1)
        return weighted

    def parts(self, batch: int) -> Iterator[tuple[Draw, float]]:
        """The states, at most `batch` of them at once, and what share of the whole each part is."""
        for first in range(0, len(self.x), batch):
            cut = slice(first, first + batch)
            x, probes = self.x[cut], None if self.probes is None else self.probes[:, cut]
            if self.weights is None:
                yield Draw(x, probes), len(x) / len(self.x)
            else:
                weights = self.weights[cut]
                yield Draw(x, probes, weights), float(weights.sum() / self.weights.sum())


Draws = Callable[[int, float], Draw]
"""(index of the node, its time) -> the states there; asked twice for every node."""


def noised(data: Tensor, schedule: Schedule, seed: int, *, probes: int | None = 1) -> Draws:
    """alpha x_0 + sigma z for data (n, *shape), with `probes` random signs each (None: the whole diagonal).

    z and the signs are the same at every lambda: the estimates then vary smoothly with lambda, and their
    differences are not those of independent errors.  z is drawn in float64 and rounded: the same numbers in
    every dtype and on every device.  Raises ValueError, naming the argument.
    """
    if data.ndim < 1 or not data.is_floating_point():
        raise ValueError(f"data must be a floating tensor (n, ...), got {data.dtype} {tuple(data.shape)}")
    _refuse_half("data", data)
    if probes is not None:
        probes = checks.integer("probes", probes, 1)
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(data.shape, generator=generator, dtype=torch.float64).to(data)
    signs = None
    if probes is not None:
        bits = torch.randint(0, 2, (probes, *data.shape), generator=generator)
        signs = (2 * bits - 1).to(data)

    def draw(_: int, t: float) -> Draw:
        return Draw(float(schedule.alpha(t)) * data + float(schedule.sigma(t)) * z, signs)

    return draw


@dataclass(frozen=True)
class Derivatives:
    """eps(x, lambda) of a model under a schedule, and its derivatives.

    prediction: what the model returns.  time: "forward" asks the model for a derivative in t, given as a
    tensor without dimensions; "difference" calls it with floats at seven neighbouring times.
    """

    model: Model
    schedule: Schedule
    prediction: str = "eps"
    time: TimeDerivative = "forward"

    def __post_init__(self) -> None:
        check_prediction(self.prediction)
        checks.one_of("time", self.time, TIME_DERIVATIVES)
        object.__setattr__(self, "model", in_own_dtype(self.model))

    def eps(self, x: Tensor, t: Any) -> Tensor:
        """The noise prediction at time t, a float or a tensor without dimensions.

        Raises ValueError for states in half precision, or a model that changes their shape.
        """
        _refuse_half("x", x)
        output: Tensor = self.model(x, t)
        if output.shape != x.shape:
            raise ValueError(
                f"model must return shape {tuple(x.shape)}, got {tuple(output.shape)} at t = {t}"
            )
        if self.prediction != "eps":
            p, q = conversion(self.schedule, self.prediction, "eps", t)
            output = p * x + q * output
        return output

    def diagonal(self, x: Tensor, t: float, probes: Tensor | None) -> Tensor:
        """diag d eps/dx, (n, *shape): the mean of (J v) v over the probes, or exactly; one direction at a
        time.
        """

        def along(v: Tensor) -> Tensor:
            product: Tensor = torch.func.jvp(lambda x: self.eps(x, t), (x,), (v,))[1]
            return product * v

        if probes is not None:
            return reduce(torch.add, (along(v) for v in probes)) / len(probes)
        basis = torch.eye(x[0].numel(), dtype=x.dtype, device=x.device)
        return reduce(torch.add, (along(e.reshape(x.shape[1:]).expand_as(x)) for e in basis))

    def total(self, x: Tensor, lam: float) -> tuple[Tensor, Tensor]:
        """eps, and eps' along the ODE.

        Raises ValueError when the model turns t into a float, or forward mode finds no dependence on time at
        all: the derivative would be lost, or a part of it, without a word.
        """
        f, t = self.schedule.formulas, float(self.schedule.t_of_lam(lam))
        eps = self.eps(x, t)
        growth = -float(f.alpha_dot(t) / f.alpha(t) * f.rho(t) / f.rho_dot(t))  # d log alpha/d lambda
        tangent = growth * x - float(f.sigma(t)) * eps
        if self.time == "difference":
            along = torch.func.jvp(lambda x: self.eps(x, t), (x,), (tangent,))[1]
            return eps, along + self._difference(x, lam)
        at = torch.tensor(lam, dtype=torch.float64, device=x.device)

        def moving(x: Tensor, lam: Tensor) -> Tensor:
            t = f.t_of_lam(lam).to(x.dtype)
            with _Unread(t):
                return self.eps(x, t)

        def depends(x: Tensor) -> bool:
            alone = torch.func.jvp(lambda lam: moving(x, lam), (at,), (torch.ones_like(at),))[1]
            return bool(torch.any(alone != 0))

        if not depends(x[:1]) and not depends(x):  # one state tells, unless the model ignores t there alone
            raise ValueError(UNDIFFERENTIABLE.format("shows no dependence"))
        return eps, torch.func.jvp(moving, (x, at), (tangent, torch.ones_like(at)))[1]

    def _difference(self, x: Tensor, lam: float) -> Tensor:
        """d_lambda eps at fixed x, by the polynomial through seven points, shifted to stay in the domain."""
        ends = (float(self.schedule.lam(t)) for t in (self.schedule.t_max, self.schedule.t_min))
        low, high = sorted(ends)
        first = max(-(STENCIL // 2), -_steps(lam - low))
        first = min(first, _steps(high - lam) - STENCIL + 1)
        offsets = np.arange(first, first + STENCIL)
        weights = np.linalg.solve(np.vander(offsets, increasing=True).T, np.eye(STENCIL)[1]) / SPACING
        times = [float(self.schedule.t_of_lam(lam + k * SPACING)) for k in offsets]
        return torch.stack([float(w) * self.eps(x, t) for w, t in zip(weights, times, strict=True)]).sum(0)


def _refuse_half(name: str, x: Tensor) -> None:
    if is_half(x.dtype):
        raise ValueError(
            f"{name} must be float32 or float64, got {x.dtype}: the statistics are made of differences of "
            "the model's outputs, of which half precision leaves no digits. A network in half precision "
            "casts by itself: lambda x, t: network(x.half(), t).float()"
        )


def _steps(length: float) -> int:
    return int(np.floor(min(length / SPACING, 1e6)))


BATCH = 512
"""States at once: what an estimate needs of memory does not grow with their number beyond it."""


def diagonal_mean(derivatives: Derivatives, draw: Draw, t: float, batch: int = BATCH) -> Tensor:
    """l at one node."""
    sigma = float(derivatives.schedule.sigma(t))
    means = (
        (part.mean(sigma * derivatives.diagonal(part.x, t, part.probes)), share)
        for part, share in draw.parts(batch)
    )
    return _mean_of_parts(means)


def _mean_of_parts(means: Iterator[tuple[Tensor, float]]) -> Tensor:
    total, whole = next(means)
    for mean, share in means:
        whole += share
        total = total + (mean - total) * (share / whole)
    return total


class _Moments(NamedTuple):
    """E[f], E[f'], E[f f], E[f f'], Var f, Cov(f, f'), and the size of the terms that f is a difference of,
    squared; over a share of the states.
    """

    share: float
    f: Tensor
    f_dot: Tensor
    ff: Tensor
    ff_dot: Tensor
    variance: Tensor
    covariance: Tensor
    size: Tensor

    def __add__(self, other: Any) -> _Moments:
        """Over both shares: variances gain that of the means (Chan, Golub & LeVeque 1983)."""
        whole = self.share + other.share
        w, apart = other.share / whole, other.f - self.f
        f, f_dot, ff, ff_dot, variance, covariance, size = (
            a + (b - a) * w for a, b in zip(self[1:], other[1:], strict=True)
        )
        between = w * (1 - w) * apart
        variance, covariance = variance + between * apart, covariance + between * (other.f_dot - self.f_dot)
        return _Moments(whole, f, f_dot, ff, ff_dot, variance, covariance, size)


class Regression(NamedTuple):
    """E[f], E[f'], E[f f], E[f f'] and the s, b of f' = s f + b."""

    f: Tensor
    f_dot: Tensor
    ff: Tensor
    ff_dot: Tensor
    s: Tensor
    b: Tensor


def regress(
    derivatives: Derivatives,
    draw: Draw,
    lam: float,
    l: Tensor,
    l_dot: Tensor,
    moments: Moments = "centred",
    batch: int = BATCH,
) -> Regression:
    """f' regressed on f at one node.  moments: "centred", or "uncentred", E[f f'] - E[f] E[f'], which loses
    digits where f hardly varies.

    Where f does not vary at all (a Gaussian) s is 0, and b = E[f'].
    """
    parts = (_moments(derivatives, part, share, lam, l, l_dot) for part, share in draw.parts(batch))
    found = reduce(operator.add, parts)
    _, m, m_dot, mm, mm_dot, variance, covariance, size = found
    if moments == "uncentred":
        variance, covariance = mm - m * m, mm_dot - m * m_dot
    rounding = ROUNDING * torch.finfo(m.dtype).eps
    flat = variance <= rounding**2 * size
    s = torch.where(flat, torch.zeros_like(m), covariance / torch.where(flat, torch.ones_like(m), variance))
    return Regression(m, m_dot, mm, mm_dot, s, m_dot - s * m)


def _moments(
    derivatives: Derivatives, draw: Draw, share: float, lam: float, l: Tensor, l_dot: Tensor
) -> _Moments:
    t = float(derivatives.schedule.t_of_lam(lam))
    alpha, rho = float(derivatives.schedule.alpha(t)), float(derivatives.schedule.rho(t))
    eps, eps_dot = derivatives.total(draw.x, lam)
    noise, y = rho * eps, draw.x / alpha
    f = noise - l * y
    f_dot = (l - 1) * noise + rho * eps_dot - l_dot * y
    m, m_dot, mm, mm_dot = (draw.mean(v) for v in (f, f_dot, f * f, f * f_dot))
    variance, covariance = draw.mean((f - m) ** 2), draw.mean((f - m) * (f_dot - m_dot))
    size = draw.mean(noise**2 + (l * y) ** 2)
    return _Moments(share, m, m_dot, mm, mm_dot, variance, covariance, size)


def slope_on_grid(l: np.ndarray, spacing: float, slope: Slope = "central") -> np.ndarray:
    """l' at the nodes: central differences, one-sided at the ends; "smoothed" averages them over the nodes
    within `REACH`.
    """
    central = np.empty_like(l)
    central[1:-1] = (l[2:] - l[:-2]) / (2 * spacing)
    central[0], central[-1] = (l[1] - l[0]) / spacing, (l[-1] - l[-2]) / spacing
    if slope == "central":
        return central
    windows = [central[max(i - REACH, 0) : i + REACH + 1] for i in range(len(l))]
    return np.stack([w.mean(0) for w in windows])


def estimate(
    model: Model,
    schedule: Schedule,
    draws: Draws,
    lam_start: float,
    lam_end: float,
    intervals: int,
    *,
    prediction: str = "eps",
    time: TimeDerivative = "forward",
    slope: Slope = "central",
    moments: Moments = "centred",
    batch: int = BATCH,
) -> Tabulated:
    """The statistics of a model on a uniform grid in lambda.

    draws: the states at every node (`noised` makes them from data).  prediction: what the model returns.
    time: see `Derivatives`.  slope: of l, "central", or "smoothed" by a moving average, and moments:
    "centred", or "uncentred", as in a public script of the method's authors; neither is in the paper.
    batch: states that the model is given at once, which bounds the memory.
    Raises ValueError, naming the argument, before the model is called.
    """
    intervals = checks.integer("intervals", intervals, 1)
    checks.one_of("slope", slope, SLOPES)
    checks.one_of("moments", moments, MOMENTS)
    batch = checks.integer("batch", batch, 1)
    if not lam_start < lam_end:
        raise ValueError(f"lam_end must exceed lam_start = {lam_start}, got {lam_end}")
    derivatives = Derivatives(model, schedule, prediction, time)
    nodes = np.linspace(float(lam_start), float(lam_end), intervals + 1)
    times = [float(schedule.t_of_lam(float(lam))) for lam in nodes]
    with torch.no_grad():
        l = [diagonal_mean(derivatives, draws(i, t), t, batch) for i, t in enumerate(times)]
        values = np.stack([v.double().cpu().numpy() for v in l])
        l_dot = slope_on_grid(values, (lam_end - lam_start) / intervals, slope)
        slopes = torch.as_tensor(l_dot).to(l[0])
        fits = [
            regress(derivatives, draws(i, t), float(lam), l[i], slopes[i], moments, batch)
            for i, (lam, t) in enumerate(zip(nodes, times, strict=True))
        ]
    s, b = (np.stack([getattr(fit, k).double().cpu().numpy() for fit in fits]) for k in ("s", "b"))
    return Tabulated(float(lam_start), float(lam_end), values, s, b)
