"""Gaussian mixtures with exact scores: full covariances, and data points smoothed by a bandwidth."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from semilinear.integrators.common import checks
from semilinear.integrators.diffusion.prediction import Model
from semilinear.integrators.diffusion.schedule import Schedule
from semilinear.integrators.numerics.arithmetic import Value, multiprecision, of
from semilinear.integrators.numerics.arrays import fixed

from .constants import (
    Array,
    Constants,
    alpha_sigma,
    check_weights,
    in_blocks,
    largest,
    responsibilities,
    states_of,
)


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
    _constants: Constants = field(init=False, repr=False)
    _mp: dict[Any, tuple[Array, ...]] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        w, m, c = fixed(check_weights(self.weights)), fixed(self.means), fixed(self.covariances)
        if m.ndim != 2 or m.shape[0] != w.size or not np.all(np.isfinite(m)):
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
        object.__setattr__(self, "_constants", Constants(w, m, values, vectors))

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
        return responsibilities(log_density, of(x)), scaled, variance, vectors

    def responsibilities(self, x: Array, alpha: Value, sigma: Value) -> Array:
        """The posterior probability of each component at x (n, d) under the law of alpha x_0 + sigma eps,
        (K, n).
        """
        return self._components(x, alpha, sigma)[0]

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
        top = largest(terms)
        return top + xp.log(xp.exp(terms - top).sum(0))

    def model(self, schedule: Schedule) -> Model:
        checks.instance("schedule", schedule, Schedule)

        def eps(x: Array, t: Value) -> Array:
            alpha, sigma = alpha_sigma(schedule, t, x)
            flat = states_of(x, self.dimension)
            made = in_blocks(lambda s: self.score(s, alpha, sigma) * -sigma, flat, self.means.size)
            return made.reshape(x.shape)

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
class EmpiricalMixture:
    """(1/n) sum_i N(x_i, s^2 I) over data points x_i: real data with an exact score.  s = 0 is the data
    themselves.

    points: (n, d).  bandwidth: s >= 0.  torch and numpy float64 only.
    """

    points: np.ndarray
    bandwidth: float
    name: str = "empirical"
    _constants: Constants = field(init=False, repr=False)

    def __post_init__(self) -> None:
        p = fixed(self.points)
        if p.ndim != 2 or p.size == 0 or not np.all(np.isfinite(p)):
            raise ValueError(f"points must be a finite array of shape (n, d), got shape {p.shape}")
        checks.number("bandwidth", self.bandwidth, least=0)
        object.__setattr__(self, "points", p)
        object.__setattr__(self, "_constants", Constants(None, p, (p * p).sum(1)))

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

    def log_density(self, x: Array, alpha: Any, sigma: Any) -> Array:
        """log of the density of alpha x_0 + sigma eps at x (n, d), shape (n,); alpha s or sigma is not 0."""
        states = x if isinstance(x, torch.Tensor) else torch.tensor(x)
        points, _ = self._constants.like(states)
        variance = float(alpha * self.bandwidth) ** 2 + float(sigma) ** 2
        squares = torch.cdist(states, float(alpha) * points) ** 2
        constant = math.log(len(points)) + self.dimension * math.log(2 * math.pi * variance) / 2
        made = torch.logsumexp(-squares / (2 * variance), 1) - constant
        return made if states is x else made.numpy()

    def model(self, schedule: Schedule) -> Model:
        checks.instance("schedule", schedule, Schedule)

        def eps(x: Array, t: Value) -> Array:
            # arrays, too: numpy's exp takes three times as long as torch's
            states = x if isinstance(x, torch.Tensor) else torch.tensor(x)
            alpha, sigma = alpha_sigma(schedule, t, states)
            points, norms = self._constants.like(states)
            variance = (alpha * self.bandwidth) ** 2 + sigma * sigma

            def block(states: torch.Tensor) -> torch.Tensor:
                # -|x - alpha p|^2 / (2 variance) up to a term that does not depend on p
                apart = norms * (-alpha * alpha / (2 * variance))
                r = torch.softmax(torch.addmm(apart, states * (alpha / variance), points.T), 1)
                made: torch.Tensor = (states - (r @ points) * alpha) * (sigma / variance)
                return made

            made = in_blocks(block, states_of(states, self.dimension), max(points.shape)).reshape(x.shape)
            return made if states is x else made.numpy()

        return eps
