"""Products of one-dimensional mixtures, turned by a rotation: exact nonlinear flows in any dimension.

In one dimension the probability flow carries quantiles to quantiles, F_t(x_t) = const, so x_0 follows to any
number of digits by root finding.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property, lru_cache

import numpy as np
import scipy.special
from semilinear.integrators.common import checks
from semilinear.integrators.common.messages import shown
from semilinear.integrators.diffusion.prediction import Model
from semilinear.integrators.diffusion.schedule import Schedule
from semilinear.integrators.numerics.arithmetic import Arithmetic, Value, choose, of
from semilinear.integrators.numerics.arrays import fixed

from .constants import Array, Constants, alpha_sigma, check_weights, responsibilities, states_of
from .mixtures import GaussianMixture


def rational_rotation(d: int) -> list[list[Fraction]]:
    """A rotation with rational entries: the product of two Householder reflections (1 for d = 1)."""

    def reflection(v: list[int]) -> np.ndarray:
        size = sum(a * a for a in v)
        return np.array(
            [
                [Fraction(int(i == j)) - Fraction(2 * a * b, size) for j, b in enumerate(v)]
                for i, a in enumerate(v)
            ]
        )

    if d == 1:
        return [[Fraction(1)]]
    rotation = reflection([1] * d) @ reflection([i + 2 for i in range(d)])
    return [list(row) for row in rotation]


@dataclass(frozen=True, eq=False)
class RotatedProduct:
    """x = R y with independent y_i, each a one-dimensional Gaussian mixture: an exact nonlinear flow in d
    dimensions.

    weights, means, variances: (d, K).  rotation: (d, d) of Fractions, exactly orthogonal (see
    `rational_rotation`: a rotation rounded to float64 would spoil the exact flow at 1e-16), or None for the
    identity. Raises ValueError, naming the argument, for anything else.
    """

    weights: np.ndarray
    means: np.ndarray
    variances: np.ndarray
    rotation: Sequence[Sequence[Fraction]] | None = None
    name: str = "rotated-product"
    _constants: Constants = field(init=False, repr=False)

    def __post_init__(self) -> None:
        w, m, v = (
            np.atleast_2d(np.asarray(a, dtype=np.float64)) for a in (self.weights, self.means, self.variances)
        )
        w = np.stack([check_weights(row) for row in w])
        if m.shape != w.shape or v.shape != w.shape:
            raise ValueError(
                f"means and variances must have the shape of weights {w.shape}, got {m.shape}, {v.shape}"
            )
        if not np.all((v > 0) & np.isfinite(v)):
            raise ValueError(f"variances must be positive numbers, got {shown(v)}")
        if not np.all(np.isfinite(m)):
            raise ValueError(f"means must be finite, got {shown(m)}")
        identity = np.array(
            [[Fraction(int(i == j)) for j in range(len(w))] for i in range(len(w))], dtype=object
        )
        r = (
            identity
            if self.rotation is None
            else np.array([[Fraction(v) for v in row] for row in self.rotation])
        )
        if r.shape != identity.shape or not np.all(r @ r.T == identity):
            raise ValueError(f"rotation must be an exactly orthogonal matrix of {identity.shape} Fractions")
        for key, value in (("weights", w), ("means", m), ("variances", v), ("rotation", r)):
            object.__setattr__(self, key, fixed(value, value.dtype))
        object.__setattr__(self, "_constants", Constants(w.T.copy(), m.T.copy(), v.T.copy(), r))

    def mixture(self) -> GaussianMixture:
        """The same law as a mixture of all combinations of components, K^d of them, in float64."""
        d, k = self.means.shape
        choice = np.array(list(itertools.product(range(k), repeat=d)))
        turn, axes = np.asarray(self.rotation, dtype=float), np.arange(d)
        means = self.means[axes, choice] @ turn.T
        covariances = (turn * self.variances[axes, choice][:, None, :]) @ turn.T
        return GaussianMixture(self.weights[axes, choice].prod(1), means, covariances, self.name)

    @property
    def dimension(self) -> int:
        return int(self.means.shape[0])

    @property
    def exact_flow(self) -> bool:
        return True

    def data(self, n: int, seed: int) -> np.ndarray:
        rng = np.random.default_rng([seed, 0])
        y = np.empty((n, self.dimension))
        for i in range(self.dimension):
            k = rng.choice(self.weights.shape[1], size=n, p=self.weights[i] / self.weights[i].sum())
            y[:, i] = self.means[i, k] + np.sqrt(self.variances[i, k]) * rng.standard_normal(n)
        samples: np.ndarray = y @ self._constants.like(y)[3].T
        return samples

    def model(self, schedule: Schedule) -> Model:
        checks.instance("schedule", schedule, Schedule)

        def eps(x: Array, t: Value) -> Array:
            alpha, sigma = alpha_sigma(schedule, t, x)
            log_w, means, variances, rotation = self._constants.like(x)
            xp = of(x)
            y = states_of(x, self.dimension) @ rotation
            variance = (variances * (alpha * alpha) + sigma * sigma)[:, None, :]
            z = y[None] - (means * alpha)[:, None, :]
            r = responsibilities(log_w[:, None, :] - (z * z / variance + xp.log(variance)) / 2, xp)
            return (((r * z / variance).sum(0) * sigma) @ rotation.T).reshape(x.shape)

        return eps

    def flow(self, schedule: Schedule, x: Array, t: Value, t_end: Value, digits: int | None) -> np.ndarray:
        """Quantile transport in each coordinate: F_end(y_end) = F_t(y); without digits in float64."""
        xp = choose(digits)
        rotation = xp.number(self.rotation)
        f = schedule.formulas
        (a0, s0), (a1, s1) = ((f.alpha(xp.number(u)), f.sigma(xp.number(u))) for u in (t, t_end))
        y = xp.number(np.asarray(x)) @ rotation
        moved = np.empty_like(y)
        for i in range(self.dimension):
            before, after = (_law(self, i, a, s, xp) for a, s in ((a0, s0), (a1, s1)))
            moved[:, i] = after.quantiles_of(before, y[:, i])
        result: np.ndarray = moved @ rotation.T
        return result


BISECTIONS = 64
"""Of 120 deviations and the means' distance, to rounding."""
NEAR = 1e-3
"""Of the tolerance: how much closer a square is asked to be than what it must be below."""


@dataclass(frozen=True, eq=False)
class _Mixture1:
    """A one-dimensional mixture in multiprecision: its distribution function, inverted."""

    weights: np.ndarray
    means: np.ndarray
    deviations: np.ndarray
    xp: Arithmetic

    def tail(self, y: Value, upper: bool) -> Value:
        """P(Y > y) if upper else P(Y < y), to full relative accuracy."""
        context = self.xp.context
        sign = 1 if upper else -1
        return sum(
            w * context.erfc(sign * (y - m) / s) / 2
            for w, m, s in zip(self.weights, self.means, self._scaled[0], strict=True)
        )

    def density(self, y: Value) -> Value:
        context = self.xp.context
        return sum(
            w * context.exp(-(((y - m) / s) ** 2) / 2) / size
            for w, m, s, size in zip(self.weights, self.means, self.deviations, self._scaled[1], strict=True)
        )

    @cached_property
    def _scaled(self) -> tuple[list[Value], list[Value]]:
        """Deviations times sqrt(2), and times sqrt(2 pi)."""
        context = self.xp.context
        roots = context.sqrt(2), context.sqrt(2 * context.pi)
        erf, exp = ([s * root for s in self.deviations] for root in roots)
        return erf, exp

    @cached_property
    def _floats(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        w, m, s = (np.array([float(v) for v in a]) for a in (self.weights, self.means, self.deviations))
        with np.errstate(divide="ignore"):  # a component may have no weight
            return np.log(w), m, s

    def _float_log_tails(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        log_w, m, s = self._floats
        z = (y[:, None] - m) / s
        lower, upper = (np.logaddexp.reduce(log_w + scipy.special.log_ndtr(v), axis=1) for v in (z, -z))
        return lower, upper

    def quantiles_of(self, other: _Mixture1, y: np.ndarray) -> np.ndarray:
        """The points where this distribution function equals `other`'s at y: bisection in float64, then
        Newton.

        Both work on the smaller tail, so that far tails lose no digits.
        """
        floats = np.array([float(v) for v in y])
        lower, upper = other._float_log_tails(floats)
        is_upper = upper < lower
        spread = max(float(s) for s in self.deviations)
        low = np.full_like(floats, min(float(m) for m in self.means) - 60 * spread)
        high = np.full_like(floats, max(float(m) for m in self.means) + 60 * spread)
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            own_lower, own_upper = self._float_log_tails(middle)
            too_far = np.where(is_upper, own_upper < upper, own_lower > lower)
            low, high = np.where(too_far, low, middle), np.where(too_far, middle, high)
        start = (low + high) / 2
        if self.xp.context is None:
            return np.asarray(start)
        found = [
            self._newton(v, _tail(other, t, bool(u)), bool(u))
            for v, t, u in zip(start, y, is_upper, strict=True)
        ]
        return np.array(found, dtype=object)

    def _newton(self, start: float, target: Value, upper: bool) -> Value:
        """Each step squares the error, up to a factor of order 1: the last one is told by its own size."""
        context, y = self.xp.context, self.xp.number(start)
        tolerance = context.mpf(10) ** (4 - int(self.xp.digits or 0))
        for _ in range(60):
            slope = self.density(y) * (-1 if upper else 1)
            change = (self.tail(y, upper) - target) / slope
            y = y - change
            if change * change <= tolerance * NEAR * (1 + abs(y)):
                return y
        raise ArithmeticError(f"the quantile near {start} was not found to {self.xp.digits} digits")


@lru_cache(maxsize=2**4)
def _law(problem: RotatedProduct, i: int, alpha: Value, sigma: Value, xp: Arithmetic) -> _Mixture1:
    """Of coordinate i; flows of one batch to many times have the start's in common."""
    w, m, v = (xp.number(a[i]) for a in (problem.weights, problem.means, problem.variances))
    return _Mixture1(w, m * alpha, xp.sqrt(v * (alpha * alpha) + sigma * sigma), xp)


@lru_cache(maxsize=2**12)
def _tail(law: _Mixture1, y: Value, upper: bool) -> Value:
    """Where a state stands in its law: the same for every time that it is carried to."""
    return law.tail(y, upper)
