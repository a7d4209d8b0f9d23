"""Problems whose score is known exactly: what every claim is measured on.

A problem is a law of x_0; under any schedule, x_t = alpha x_0 + sigma eps has an exact noise prediction
eps(x, t) = -sigma grad log p_t(x), in torch and in multiprecision.  Some have an exact solution of the
probability-flow ODE too: a Gaussian's flow is affine, and in one dimension the flow carries quantiles to
quantiles, F_t(x_t) = const, so products of one-dimensional mixtures, turned by a rotation, have exact
nonlinear flows in any dimension.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from typing import Any, Protocol

import numpy as np
import scipy.special
import torch
from semilinear.integrators.arithmetic import Arithmetic, Value, multiprecision, of
from semilinear.integrators.prediction import Model
from semilinear.integrators.schedule import Schedule

Array = Any
"""A torch tensor, or a numpy array of float64 or mpmath numbers, of shape (..., d)."""


class Problem(Protocol):
    """A law with an exact score."""

    @property
    def name(self) -> str:
        """As listed."""

    @property
    def dimension(self) -> int:
        """Number of components of x."""

    @property
    def exact_flow(self) -> bool:
        """Whether `flow` is exact (to any number of digits)."""

    def model(self, schedule: Schedule) -> Model:
        """The exact noise prediction eps(x, t) for x of shape (..., d)."""

    def data(self, n: int, seed: int) -> np.ndarray:
        """n samples of x_0, shape (n, d), float64."""


class ExactProblem(Problem, Protocol):
    """A problem with an exact probability flow."""

    def flow(self, schedule: Schedule, x: Array, t: Value, t_end: Value, digits: int) -> np.ndarray:
        """The exact solution at t_end of the flow through x (n, d) at t, as mpmath numbers of `digits`
        digits.
        """


def marginal_samples(problem: Problem, schedule: Schedule, t: float, n: int, seed: int) -> np.ndarray:
    """n samples of x_t, shape (n, d), float64: alpha x_0 + sigma eps, reproducible from the seed."""
    eps = np.random.default_rng([seed, 1]).standard_normal((n, problem.dimension))
    return float(schedule.alpha(t)) * problem.data(n, seed) + float(schedule.sigma(t)) * eps


def _check_weights(weights: Any) -> np.ndarray:
    w = np.asarray(weights, dtype=np.float64)
    if w.ndim != 1 or w.size == 0 or not np.all(w > 0) or not abs(w.sum() - 1) < 1e-3:
        raise ValueError(
            f"weights must be positive and sum to 1 (up to 1e-3, then normalized), got {weights!r}"
        )
    normalized: np.ndarray = w / w.sum()
    return normalized


def _largest(values: Array) -> Array:
    return torch.amax(values, 0) if isinstance(values, torch.Tensor) else values.max(0)


def _responsibilities(log_weights: Array, xp: Arithmetic) -> Array:
    """Softmax over the first axis, by subtracting the largest exponent."""
    terms = xp.exp(log_weights - _largest(log_weights))
    return terms / terms.sum(0)


class _Constants:
    """Constants of a problem, converted once per number system and device.

    The first are weights, of which the logarithm is taken after the conversion: a rounded logarithm would
    limit a run in 50 digits to 17.
    """

    def __init__(self, weights: np.ndarray | None, *arrays: np.ndarray) -> None:
        self._arrays = arrays if weights is None else (weights, *arrays)
        self._has_weights = weights is not None
        self._cache: dict[Any, tuple[Array, ...]] = {}

    def like(self, x: Array) -> tuple[Array, ...]:
        """The constants in the number system of x."""
        key = (x.dtype, x.device) if isinstance(x, torch.Tensor) else (of(x).name, of(x).context)
        if key not in self._cache:
            if isinstance(x, torch.Tensor):
                made = tuple(
                    torch.as_tensor(a.astype(float), dtype=x.dtype, device=x.device) for a in self._arrays
                )
            else:
                made = tuple(of(x).number(a) for a in self._arrays)
            self._cache[key] = (of(made[0]).log(made[0]), *made[1:]) if self._has_weights else made
        return self._cache[key]


def _host_pair(schedule: Schedule, t: Value, x: Array) -> tuple[Value, Value]:
    """alpha and sigma at t, as numbers that combine with x."""
    f = schedule.formulas
    if isinstance(x, torch.Tensor):
        return float(f.alpha(float(t))), float(f.sigma(float(t)))
    number = of(x).number(t)
    return f.alpha(number), f.sigma(number)


@dataclass(frozen=True, eq=False)
class GaussianMixture:
    """sum_k w_k N(m_k, C_k), full covariances, any dimension; one component is a Gaussian with an affine
    exact flow.

    weights: (K,), positive, sum 1.  means: (K, d).  covariances: (K, d, d), symmetric positive definite.
    Raises ValueError, naming the argument, for other shapes or a covariance that is not positive definite.
    """

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray
    name: str = "mixture"
    _spectrum: tuple[np.ndarray, np.ndarray] = field(init=False, repr=False)
    _constants: _Constants = field(init=False, repr=False)
    _mp: dict[Any, tuple[Array, ...]] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        w, m = _check_weights(self.weights), np.asarray(self.means, dtype=np.float64)
        c = np.asarray(self.covariances, dtype=np.float64)
        if m.ndim != 2 or m.shape[0] != w.size:
            raise ValueError(f"means must have shape ({w.size}, d), got {m.shape}")
        if c.shape != (w.size, m.shape[1], m.shape[1]):
            raise ValueError(f"covariances must have shape {(w.size, m.shape[1], m.shape[1])}, got {c.shape}")
        if not np.allclose(c, np.swapaxes(c, 1, 2), rtol=0, atol=1e-12):
            raise ValueError("covariances must be symmetric")
        values, vectors = np.linalg.eigh(c)
        if not np.all(values > 0):
            raise ValueError(
                f"covariances must be positive definite, got a smallest eigenvalue of {values.min():g}"
            )
        for key, value in (
            ("weights", w),
            ("means", m),
            ("covariances", c),
            ("_spectrum", (values, vectors)),
        ):
            object.__setattr__(self, key, value)
        object.__setattr__(self, "_constants", _Constants(w, m, values, vectors))

    @property
    def dimension(self) -> int:
        return int(self.means.shape[1])

    @property
    def exact_flow(self) -> bool:
        return len(self.weights) == 1

    def data(self, n: int, seed: int) -> np.ndarray:
        rng = np.random.default_rng([seed, 0])
        k = rng.choice(len(self.weights), size=n, p=self.weights / self.weights.sum())
        values, vectors = self._spectrum
        z = rng.standard_normal((n, self.dimension)) * np.sqrt(values[k])
        samples: np.ndarray = self.means[k] + np.einsum("nij,nj->ni", vectors[k], z)
        return samples

    def _like(self, x: Array) -> tuple[Array, ...]:
        """log w (K,), means (K, d), eigenvalues (K, d), eigenvectors (K, d, d) in the number system of x."""
        context = None if isinstance(x, torch.Tensor) else of(x).context
        if context is None:
            return self._constants.like(x)
        if context not in self._mp:  # a float64 spectrum would limit the digits
            xp = of(x)
            pairs = [context.eigsy(context.matrix(c.tolist())) for c in self.covariances]
            to_array: Any = lambda m: np.array(m.tolist(), dtype=object).reshape(m.rows, m.cols)  # noqa: E731
            self._mp[context] = (
                xp.log(xp.number(self.weights)),
                xp.number(self.means),
                np.stack([to_array(values).ravel() for values, _ in pairs]),
                np.stack([to_array(vectors) for _, vectors in pairs]),
            )
        return self._mp[context]

    def _components(self, x: Array, alpha: Value, sigma: Value) -> tuple[Array, Array, Array, Array]:
        """Responsibilities (K, n), whitened coordinates y/var and their variances (K, n, d), eigenvectors
        (K, d, d).
        """
        log_w, means, values, vectors = self._like(x)
        variance = (values * (alpha * alpha) + sigma * sigma)[:, None, :]
        y = (x[None] - alpha * means[:, None, :]) @ vectors
        scaled = y / variance
        log_density = log_w[:, None] - (y * scaled + of(x).log(variance)).sum(-1) / 2
        return _responsibilities(log_density, of(x)), scaled, variance, vectors

    def score(self, x: Array, alpha: Value, sigma: Value) -> Array:
        """grad log of the law of alpha x_0 + sigma eps, at x of shape (n, d)."""
        r, scaled, _, vectors = self._components(x, alpha, sigma)
        return -((r[..., None] * scaled) @ vectors.swapaxes(-1, -2)).sum(0)

    def log_density(self, x: Array, alpha: Value, sigma: Value) -> Array:
        """log of the density of alpha x_0 + sigma eps, at x of shape (n, d), shape (n,)."""
        log_w, means, values, vectors = self._like(x)
        xp = of(x)
        variance = (values * (alpha * alpha) + sigma * sigma)[:, None, :]
        y = (x[None] - alpha * means[:, None, :]) @ vectors
        terms = log_w[:, None] - (y * y / variance + xp.log(2 * xp.pi * variance)).sum(-1) / 2
        top = _largest(terms)
        return top + xp.log(xp.exp(terms - top).sum(0))

    def score_jacobian(self, x: Array, alpha: Value, sigma: Value) -> Array:
        """The exact Jacobian of the score, shape (n, d, d): sum r_k (g_k g_k^T - P_k) - s s^T."""
        r, scaled, variance, vectors = self._components(x, alpha, sigma)
        transposed = vectors.swapaxes(-1, -2)
        g = -(scaled @ transposed)
        s = (r[..., None] * g).sum(0)
        precision = (vectors / variance) @ transposed  # (K, d, d); variance is (K, 1, d)
        outer = (r[..., None, None] * (g[..., :, None] * g[..., None, :] - precision[:, None])).sum(0)
        return outer - s[..., :, None] * s[..., None, :]

    def score_jvp(self, x: Array, v: Array, alpha: Value, sigma: Value) -> Array:
        """The Jacobian of the score times v (n, d), without forming it."""
        r, scaled, variance, vectors = self._components(x, alpha, sigma)
        transposed = vectors.swapaxes(-1, -2)
        g = -(scaled @ transposed)
        s = (r[..., None] * g).sum(0)
        curvature = ((v[None] @ vectors) / variance) @ transposed
        along = (g * v[None]).sum(-1)[..., None]
        return (r[..., None] * (g * along - curvature)).sum(0) - s * (s * v).sum(-1)[..., None]

    def model(self, schedule: Schedule) -> Model:
        def eps(x: Array, t: Value) -> Array:
            alpha, sigma = _host_pair(schedule, t, x)
            flat = x.reshape(-1, self.dimension)
            return (self.score(flat, alpha, sigma) * -sigma).reshape(x.shape)

        return eps

    def flow(self, schedule: Schedule, x: Array, t: Value, t_end: Value, digits: int) -> np.ndarray:
        """Exact for one component: each principal coordinate scales with its standard deviation."""
        if not self.exact_flow:
            raise ValueError(
                f"flow of {self.name!r} is not known in closed form: it has {len(self.weights)} components"
            )
        xp = multiprecision(digits)
        _, means, values, vectors = self._like(xp.number(np.zeros((1, 1))))
        f = schedule.formulas
        (a0, s0), (a1, s1) = ((f.alpha(xp.number(u)), f.sigma(xp.number(u))) for u in (t, t_end))
        ratio = xp.sqrt((values[0] * (a1 * a1) + s1 * s1) / (values[0] * (a0 * a0) + s0 * s0))
        centred = (xp.number(np.asarray(x)) - means[0] * a0) @ vectors[0]
        result: np.ndarray = (centred * ratio) @ vectors[0].T + means[0] * a1
        return result


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
    _constants: _Constants = field(init=False, repr=False)

    def __post_init__(self) -> None:
        w, m, v = (
            np.atleast_2d(np.asarray(a, dtype=np.float64)) for a in (self.weights, self.means, self.variances)
        )
        w = np.stack([_check_weights(row) for row in w])
        if m.shape != w.shape or v.shape != w.shape:
            raise ValueError(
                f"means and variances must have the shape of weights {w.shape}, got {m.shape}, {v.shape}"
            )
        if not np.all(v > 0):
            raise ValueError(f"variances must be positive, got {v.min():g}")
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
            object.__setattr__(self, key, value)
        object.__setattr__(self, "_constants", _Constants(w.T.copy(), m.T.copy(), v.T.copy(), r))

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
        def eps(x: Array, t: Value) -> Array:
            alpha, sigma = _host_pair(schedule, t, x)
            log_w, means, variances, rotation = self._constants.like(x)
            xp = of(x)
            y = x.reshape(-1, self.dimension) @ rotation
            variance = (variances * (alpha * alpha) + sigma * sigma)[:, None, :]
            z = y[None] - (means * alpha)[:, None, :]
            r = _responsibilities(log_w[:, None, :] - (z * z / variance + xp.log(variance)) / 2, xp)
            return (((r * z / variance).sum(0) * sigma) @ rotation.T).reshape(x.shape)

        return eps

    def flow(self, schedule: Schedule, x: Array, t: Value, t_end: Value, digits: int) -> np.ndarray:
        """Quantile transport in each coordinate: F_end(y_end) = F_t(y)."""
        xp = multiprecision(digits)
        rotation = xp.number(self.rotation)
        f = schedule.formulas
        (a0, s0), (a1, s1) = ((f.alpha(xp.number(u)), f.sigma(xp.number(u))) for u in (t, t_end))
        y = xp.number(np.asarray(x)) @ rotation
        moved = np.empty_like(y)
        for i in range(self.dimension):
            w = xp.number(self.weights[i])
            m, v = xp.number(self.means[i]), xp.number(self.variances[i])
            before = _Mixture1(w, m * a0, xp.sqrt(v * (a0 * a0) + s0 * s0), xp)
            after = _Mixture1(w, m * a1, xp.sqrt(v * (a1 * a1) + s1 * s1), xp)
            moved[:, i] = after.quantiles_of(before, y[:, i])
        result: np.ndarray = moved @ rotation.T
        return result


@dataclass(frozen=True)
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
        root = context.sqrt(2)
        return sum(
            w * context.erfc(sign * (y - m) / (s * root)) / 2
            for w, m, s in zip(self.weights, self.means, self.deviations, strict=True)
        )

    def density(self, y: Value) -> Value:
        context = self.xp.context
        root = context.sqrt(2 * context.pi)
        return sum(
            w * context.exp(-(((y - m) / s) ** 2) / 2) / (s * root)
            for w, m, s in zip(self.weights, self.means, self.deviations, strict=True)
        )

    def _float_log_tails(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        w, m, s = (np.array([float(v) for v in a]) for a in (self.weights, self.means, self.deviations))
        z = (y[:, None] - m) / s
        lower = scipy.special.logsumexp(scipy.special.log_ndtr(z), axis=1, b=w)
        return lower, scipy.special.logsumexp(scipy.special.log_ndtr(-z), axis=1, b=w)

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
        for _ in range(200):
            middle = (low + high) / 2
            own_lower, own_upper = self._float_log_tails(middle)
            too_far = np.where(is_upper, own_upper < upper, own_lower > lower)
            low, high = np.where(too_far, low, middle), np.where(too_far, middle, high)
        start = (low + high) / 2
        found = [
            self._newton(v, other.tail(t, bool(u)), bool(u))
            for v, t, u in zip(start, y, is_upper, strict=True)
        ]
        return np.array(found, dtype=object)

    def _newton(self, start: float, target: Value, upper: bool) -> Value:
        context, y = self.xp.context, self.xp.number(start)
        tolerance = context.mpf(10) ** (4 - int(self.xp.digits or 0))
        for _ in range(60):
            slope = self.density(y) * (-1 if upper else 1)
            change = (self.tail(y, upper) - target) / slope
            y = y - change
            if abs(change) <= tolerance * (1 + abs(y)):
                return y
        raise ArithmeticError(f"the quantile near {start} was not found to {self.xp.digits} digits")


@dataclass(frozen=True, eq=False)
class EmpiricalMixture:
    """(1/n) sum_i N(x_i, s^2 I) over data points x_i: real data with an exact score.  s = 0 is the data
    themselves.

    points: (n, d).  bandwidth: s >= 0.  torch and numpy float64 only.
    """

    points: np.ndarray
    bandwidth: float
    name: str = "empirical"
    _constants: _Constants = field(init=False, repr=False)

    def __post_init__(self) -> None:
        p = np.asarray(self.points, dtype=np.float64)
        if p.ndim != 2 or p.size == 0 or not np.all(np.isfinite(p)):
            raise ValueError(f"points must be a finite array of shape (n, d), got shape {p.shape}")
        if not (np.isfinite(self.bandwidth) and self.bandwidth >= 0):
            raise ValueError(f"bandwidth must be a non-negative number, got {self.bandwidth!r}")
        object.__setattr__(self, "points", p)
        object.__setattr__(self, "_constants", _Constants(None, p, (p * p).sum(1)))

    @property
    def dimension(self) -> int:
        return int(self.points.shape[1])

    @property
    def exact_flow(self) -> bool:
        return False

    def data(self, n: int, seed: int) -> np.ndarray:
        rng = np.random.default_rng([seed, 0])
        chosen: np.ndarray = self.points[rng.integers(len(self.points), size=n)]
        return chosen + self.bandwidth * rng.standard_normal((n, self.dimension))

    def model(self, schedule: Schedule) -> Model:
        def eps(x: Array, t: Value) -> Array:
            alpha, sigma = _host_pair(schedule, t, x)
            points, norms = self._constants.like(x)
            variance = (alpha * self.bandwidth) ** 2 + sigma * sigma
            flat = x.reshape(-1, self.dimension)
            # |x - alpha p|^2 up to a term that does not depend on p
            exponent = (flat @ points.T * (2 * alpha) - norms * (alpha * alpha)) / (2 * variance)
            r = _responsibilities(exponent.T, of(x)).T
            return ((flat - (r @ points) * alpha) * (sigma / variance)).reshape(x.shape)

        return eps


# --- the named problems ---


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


def gaussian() -> GaussianMixture:
    """A correlated Gaussian in two dimensions: affine exact flow, so never the only evidence for an order."""
    covariance = [[[0.5, 0.2], [0.2, 0.3]]]
    return GaussianMixture(np.ones(1), np.array([[0.7, -0.4]]), np.array(covariance), "gaussian")


def mixture_1d() -> RotatedProduct:
    """Three components on the line, exact flow by quantile transport."""
    return RotatedProduct(
        np.array([[0.3, 0.45, 0.25]]),
        np.array([[-1.1, 0.2, 1.3]]),
        np.array([[0.12, 0.2, 0.09]]),
        name="mixture-1d",
    )


def rotated_product(d: int = 2) -> RotatedProduct:
    """A product of d different one-dimensional mixtures, turned: a nonlinear exact flow that couples all
    components.
    """
    weights = np.array([[0.3, 0.45, 0.25], [0.5, 0.2, 0.3]])
    means = np.array([[-1.1, 0.2, 1.3], [-0.8, 0.5, 1.0]])
    variances = np.array([[0.12, 0.2, 0.09], [0.15, 0.1, 0.18]])
    index = np.arange(d) % 2
    shift = 0.1 * (np.arange(d) // 2)[:, None]
    return RotatedProduct(
        weights[index],
        means[index] + shift,
        variances[index],
        rational_rotation(d),
        name=f"rotated-product-{d}d",
    )


def golden_mixture() -> GaussianMixture:
    """The public mixture of the golden files: three components in two dimensions."""
    return GaussianMixture(
        np.array([0.2, 0.5, 0.3]),
        np.array([[-2.0, 0.0], [1.0, 1.5], [2.0, -1.0]]),
        np.array([[[0.3, 0.1], [0.1, 0.2]], [[0.05, 0.0], [0.0, 0.05]], [[0.1, -0.05], [-0.05, 0.4]]]),
        "golden-mixture",
    )


def digits(bandwidth: float = 0.8) -> EmpiricalMixture:
    """scikit-learn's handwritten digits (1797 x 64, scaled to [-1, 1]), smoothed by `bandwidth`."""
    from sklearn.datasets import load_digits

    return EmpiricalMixture(load_digits().data / 8.0 - 1.0, bandwidth, f"digits-{bandwidth:g}")


PROBLEMS: dict[str, Callable[[], Any]] = {
    "gaussian": gaussian,
    "mixture-1d": mixture_1d,
    "rotated-product-2d": rotated_product,
    "rotated-product-8d": lambda: rotated_product(8),
    "golden-mixture": golden_mixture,
    "digits-0.8": digits,
    "digits-0.2": lambda: digits(0.2),
    "digits-0": lambda: digits(0.0),
}
"""Constructors by name."""


@cache
def problem(name: str) -> Any:
    """A problem by name.  Raises ValueError, listing the nearest names, for an unknown one."""
    if name not in PROBLEMS:
        near = difflib.get_close_matches(str(name), PROBLEMS, n=3, cutoff=0.3) or list(PROBLEMS)
        raise ValueError(f"problem must be a listed name, got {name!r}; the nearest are {', '.join(near)}")
    return PROBLEMS[name]()
