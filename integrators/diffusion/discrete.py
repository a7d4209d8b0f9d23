"""Schedules of discrete-time models: a table of betas, made continuous by piecewise linear interpolation.

Two conventions are in use and give different solvers: `discrete` interpolates log alpha at t_i = (i+1)/N
(DPM-Solver and its successors), `discrete_alpha_squared` interpolates alpha^2 at t_i = i (DEIS).  Tables
are summed in multiprecision and rounded once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Annotated, Any

import numpy as np

from ..common import checks, limits
from ..common.messages import shown
from ..common.ranges import NonNegative, Proper, Range
from ..common.remaking import remade
from ..numerics.arithmetic import FLOAT64, Arithmetic, Value, multiprecision, of, squared
from ..numerics.tensors import is_tensor
from .schedule import Formulas, Schedule, variance_preserving

Entries = Annotated[int, Range(least=2, most=limits.TABLE)]
"""The length of a table."""
Table = Callable[[Arithmetic], Any]
"""The knots in a given arithmetic: a list of numbers of that kind."""


def _knots(exact: Table) -> Table:
    """Cache a table per arithmetic; float64 is rounded once from 30 digits."""

    @lru_cache(maxsize=8)
    def table(xp: Arithmetic) -> Any:
        if xp.digits is None:
            return np.array([float(v) for v in exact(multiprecision(30))])
        return np.array(exact(xp), dtype=object)

    return table


def _interpolant(xs: Table, ys: Table) -> tuple[Callable[[Value], Value], Callable[[Value], Value]]:
    """The piecewise linear function through increasing xs, continued linearly, and its right slope."""

    def divided_differences(xp: Arithmetic) -> list[Value]:
        x, y = xs(xp), ys(xp)
        return [(y[i + 1] - y[i]) / (x[i + 1] - x[i]) for i in range(len(x) - 1)]

    slopes = _knots(divided_differences)  # rounded once too: a difference of rounded knots would lose digits

    def segment(x: Value) -> tuple[Value, Value, Value]:
        xp = of(x)
        knots, values, steepness = xs(xp), ys(xp), slopes(xp)
        if is_tensor(x):
            import torch

            knots, values, steepness = (
                torch.as_tensor(v, device=x.device) for v in (knots, values, steepness)
            )
            index: Any = torch.searchsorted(knots, x.detach().contiguous(), right=True)
            index = index.clamp(1, len(knots) - 1)
        else:
            index = np.clip(np.searchsorted(knots, x, side="right"), 1, len(knots) - 1)
        return knots[index - 1], values[index - 1], steepness[index - 1]

    def value(x: Value) -> Value:
        left, base, slope = segment(x)
        return base + slope * (x - left)

    return value, lambda x: segment(x)[2]


def _flip(table: Table) -> Table:
    return _knots(lambda xp: list(table(xp))[::-1])


def _check_betas(betas: Sequence[float]) -> tuple[float, ...]:
    values = tuple(float(checks.number("betas[..]", b)) for b in checks.sequence("betas", betas))
    if len(values) < 2:
        raise ValueError(f"betas must hold at least 2 values, got {len(values)}")
    for i, b in enumerate(values):
        if not 0 < b < 1:
            raise ValueError(f"betas must lie strictly between 0 and 1, got betas[{i}] = {shown(b)}")
    return values


def linear_betas(beta_start: Proper = 1e-4, beta_end: Proper = 0.02, n: Entries = 1000) -> tuple[float, ...]:
    """n betas spaced evenly from beta_start to beta_end.  Ho et al. 2020, Sec. 4."""
    return _check_betas(np.linspace(beta_start, beta_end, checks.integer("n", n, 2, limits.TABLE)).tolist())


def scaled_linear_betas(
    beta_start: Proper = 0.00085, beta_end: Proper = 0.012, n: Entries = 1000
) -> tuple[float, ...]:
    """n betas whose square roots are spaced evenly (latent diffusion).  Rombach et al. 2022."""
    checks.number("beta_start", beta_start, above=0)
    checks.number("beta_end", beta_end, above=0)
    roots = np.linspace(beta_start**0.5, beta_end**0.5, checks.integer("n", n, 2, limits.TABLE))
    return _check_betas((roots**2).tolist())


def cosine_betas(
    n: Entries = 1000, *, offset: NonNegative = 0.008, max_beta: Proper = 0.999
) -> tuple[float, ...]:
    """n betas of the cosine schedule, each at most max_beta.  Nichol & Dhariwal 2021, eq. 17."""
    checks.number("offset", offset, least=0)
    checks.number("max_beta", max_beta, above=0, below=1)
    steps = np.arange(checks.integer("n", n, 2, limits.TABLE) + 1) / n
    alpha_bar = np.cos((steps + offset) / (1 + offset) * np.pi / 2) ** 2
    return _check_betas(np.minimum(1 - alpha_bar[1:] / alpha_bar[:-1], max_beta).tolist())


def _log_alpha_table(betas: tuple[float, ...]) -> Table:
    def exact(xp: Arithmetic) -> list[Value]:
        total, out = xp.number(0), []
        for b in betas:
            total = total + xp.log1p(-xp.number(b)) / 2
            out.append(total)
        return out

    return _knots(exact)


def discrete(betas: Sequence[float], *, clip_lambda: float | None = -5.1) -> Schedule:
    """log alpha piecewise linear through log alpha_i = sum_{j<=i} log(1 - beta_j)/2 at t_i = (i+1)/N, t_N =
    1.

    betas: N numbers in (0, 1).  Entries whose half log-SNR is below `clip_lambda` are cut off and the
    remaining N' are spread over (0, 1] again, as DPM-Solver does for cosine tables; None keeps all.  Below
    t_1 = 1/N log alpha is continued linearly, as long as it stays negative. Raises ValueError for betas
    outside (0, 1) or a table that the clipping leaves with fewer than two entries. Source:
    LuChengTHU/dpm-solver, NoiseScheduleVP.
    """
    clip = None if clip_lambda is None else float(checks.number("clip_lambda", clip_lambda))
    return _discrete(_check_betas(betas), clip)


@remade
def _discrete(values: tuple[float, ...], clip_lambda: float | None) -> Schedule:
    log_alpha = _log_alpha_table(values)(FLOAT64)
    kept = len(values)
    if clip_lambda is not None:
        lam = -np.log(np.expm1(-2 * log_alpha)) / 2
        kept = int(np.count_nonzero(lam >= clip_lambda))
        if kept < 2:
            raise ValueError(
                f"betas must leave at least 2 entries with lambda >= {clip_lambda:g}, got {kept}"
            )
    table = _log_alpha_table(values[:kept])
    times = _knots(lambda xp: [xp.number(i + 1) / kept for i in range(kept)])
    between, slope = _interpolant(times, table)
    inverse_between, _ = _interpolant(_flip(table), _flip(times))

    @lru_cache(maxsize=8)
    def extension(xp: Arithmetic) -> tuple[Value, Value, Value, Value]:
        """Where the line below the first knot reaches alpha = 1, the rounding error of that, and the knot."""
        exact = multiprecision(40) if xp.context is None else xp
        x, y = times(exact), table(exact)
        root = x[0] - y[0] * (x[1] - x[0]) / (y[1] - y[0])
        if xp.context is not None:
            return root, xp.number(0), x[0], y[0]
        return float(root), float(root - float(root)), float(x[0]), float(y[0])

    def log_alpha_t(t: Value) -> Value:
        root, error, knot, _ = extension(of(t))
        return of(t).where(t < knot, slope(t) * ((t - root) - error), between(t))

    def t_of_log_alpha(la: Value) -> Value:
        xp = of(la)
        root, error, knot, first = extension(xp)
        return xp.where(la > first, root + (error + la * (knot - root) / first), inverse_between(la))

    formulas = variance_preserving(log_alpha_t, slope, t_of_log_alpha)
    knots = times(FLOAT64)
    t_min = max(0.0, float(np.nextafter(extension(FLOAT64)[0], 1.0)))
    parameters = (("betas", values), ("clip_lambda", clip_lambda))
    return Schedule("discrete", parameters, t_min, 1.0, formulas, tuple(float(t) for t in knots))


def discrete_alpha_squared(
    betas: Sequence[float], *, clip: Annotated[float, Range(above=0, below=0.5)] = 1e-7
) -> Schedule:
    """alpha^2 piecewise linear through prod_{j<=i} (1 - beta_j) at t_i = i, kept within [clip, 1 - clip].

    betas: N numbers in (0, 1); times run from 0 to N - 1.
    Where alpha^2 is clipped the schedule is flat: a step within is refused when a plan is compiled.
    Raises ValueError for betas outside (0, 1).  Source: qsh-zh/deis, DiscreteVPSDE.
    """
    values = _check_betas(betas)
    return _discrete_alpha_squared(values, float(checks.number("clip", clip, above=0, below=0.5)))


@remade
def _discrete_alpha_squared(values: tuple[float, ...], clip: float) -> Schedule:
    log_alpha = _log_alpha_table(values)
    of_signal = _knots(lambda xp: [xp.exp(2 * v) for v in log_alpha(xp)])
    noise = _knots(
        lambda xp: [-xp.expm1(2 * v) for v in log_alpha(xp)]
    )  # sigma^2, small at the start: not 1 - alpha^2
    times = _knots(lambda xp: [xp.number(i) for i in range(len(values))])
    alpha_squared, slope = _interpolant(times, of_signal)
    sigma_squared, _ = _interpolant(times, noise)
    by_noise, _ = _interpolant(noise, times)
    by_signal, _ = _interpolant(_flip(of_signal), _flip(times))

    def clipped(interpolant: Callable[[Value], Value], t: Value) -> Value:
        xp = of(t)
        low, high = xp.number(clip), 1 - xp.number(clip)
        return -xp.maximum(-xp.maximum(interpolant(t), low), -high)

    def alpha(t: Value) -> Value:
        return of(t).sqrt(clipped(alpha_squared, t))

    def sigma(t: Value) -> Value:
        return of(t).sqrt(clipped(sigma_squared, t))

    def dlog_alpha(t: Value) -> Value:
        value = alpha_squared(t)
        flat = (value <= clip) | (value >= 1 - clip)
        return of(t).where(flat, 0 * t, slope(t) / (2 * clipped(alpha_squared, t)))

    def t_of_rho(rho: Value) -> Value:
        xp = of(rho)
        noisy = rho > 1  # invert whichever of alpha^2, sigma^2 is small: the other has lost the digits
        return xp.where(noisy, by_signal(1 / (1 + rho * rho)), by_noise(rho * rho / (1 + rho * rho)))

    def log_alpha_t(t: Value) -> Value:
        xp = of(t)
        squared_t, noise_t = clipped(alpha_squared, t), clipped(sigma_squared, t)
        early = noise_t < 0.5
        return xp.where(early, xp.log1p(-xp.where(early, noise_t, 0 * t)), xp.log(squared_t)) / 2

    formulas = Formulas(
        log_alpha=log_alpha_t,
        alpha=alpha,
        sigma=sigma,
        rho=lambda t: sigma(t) / alpha(t),
        lam=lambda t: of(t).log(alpha(t) / sigma(t)),
        rho_dot=lambda t: -dlog_alpha(t) / (sigma(t) * alpha(t)),
        alpha_dot=lambda t: dlog_alpha(t) * alpha(t),
        sigma_dot=lambda t: -dlog_alpha(t) * squared(alpha(t)) / sigma(t),
        t_of_lam=lambda lam: t_of_rho(of(lam).exp(-lam)),
        t_of_rho=t_of_rho,
    )
    parameters = (("betas", values), ("clip", float(clip)))
    last = float(len(values) - 1)
    low, high = float(by_signal(clip)), float(by_noise(clip))
    crossings = [t for t in (low, high) if 0 < t < last]
    kinks = sorted({*(float(t) for t in times(FLOAT64)), *crossings})
    return Schedule("discrete-alpha-squared", parameters, 0.0, last, formulas, tuple(kinks))
