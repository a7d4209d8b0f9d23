"""Mixtures of Gaussians as laws: moments, projections, characteristic functions and draws in closed form.

What a problem's marginal, a posterior and the output of a linear plan on Gaussian data all are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from scipy.special import ndtr
from semilinear.integrators.common.messages import shown
from semilinear.integrators.diffusion.schedule import Schedule

from .mixtures import EmpiricalMixture, GaussianMixture
from .products import RotatedProduct

FREQUENCIES = 64
"""Of a characteristic function at once: what bounds memory where there are thousands of components."""


@dataclass(frozen=True, eq=False)
class MixtureLaw:
    """sum_k w_k N(m_k, C_k), where C_k may be singular.

    weights: (K,).  means: (K, d).  covariances: (K, d, d), or (1, d, d) where all components share one.
    """

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray

    @property
    def dimension(self) -> int:
        """d."""
        return int(self.means.shape[1])

    @property
    def mean(self) -> np.ndarray:
        """E x."""
        average: np.ndarray = self.weights @ self.means
        return average

    @property
    def covariance(self) -> np.ndarray:
        """Cov x."""
        centred = self.means - self.mean
        shared = self.covariances[0] if len(self.covariances) == 1 else None
        within = np.einsum("k,kij->ij", self.weights, self.covariances) if shared is None else shared
        total: np.ndarray = within + (centred.T * self.weights) @ centred
        return total

    def along(self, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The law of direction . x: weights, means and variances of a mixture on the line, each (K,)."""
        v = np.asarray(direction, float)
        variances = np.einsum("i,kij,j->k", v, self.covariances, v)
        return self.weights, self.means @ v, np.broadcast_to(variances, self.weights.shape)

    def probability_above(self, direction: np.ndarray, threshold: float) -> float:
        """P(direction . x > threshold)."""
        w, m, variance = self.along(direction)
        return float(w @ ndtr((m - threshold) / np.sqrt(variance)))

    def characteristic(self, frequencies: np.ndarray) -> np.ndarray:
        """E exp(i omega . x) for frequencies omega (n, d), complex, (n,)."""
        found = []
        for start in range(0, len(frequencies), FREQUENCIES):
            omega = frequencies[start : start + FREQUENCIES]
            spread = np.einsum("ni,kij,nj->nk", omega, self.covariances, omega, optimize=True)
            found.append(np.exp(1j * (omega @ self.means.T) - spread / 2) @ self.weights)
        return np.concatenate(found)

    def moved(self, scale: float, shift: np.ndarray) -> Self:
        """The law of scale x + shift."""
        return replace(self, means=scale * self.means + shift, covariances=scale**2 * self.covariances)

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """n samples, (n, d): one uniform number for the component and d normal ones each."""
        k = np.searchsorted(np.cumsum(self.weights)[:-1], rng.random(n), side="right")
        z = rng.standard_normal((n, self.dimension))
        values, vectors = np.linalg.eigh(self.covariances)
        roots = vectors * np.sqrt(np.maximum(values, 0))[:, None, :]
        if len(roots) == 1:
            return np.asarray(self.means[k] + z @ roots[0].T)
        return np.asarray(self.means[k] + np.einsum("nij,nj->ni", roots[k], z))


def law_of(problem: Any, schedule: Schedule, t: float) -> MixtureLaw:
    """The law of x_t = alpha x_0 + sigma eps, x_0 from a problem.

    Raises TypeError for a problem whose law is no mixture of Gaussians in closed form.
    """
    alpha, sigma = float(schedule.alpha(t)), float(schedule.sigma(t))
    mixture = problem.mixture() if isinstance(problem, RotatedProduct) else problem
    if isinstance(mixture, GaussianMixture):
        weights, means, covariances = mixture.weights, mixture.means, mixture.covariances
    elif isinstance(mixture, EmpiricalMixture):
        n, means = len(mixture.points), mixture.points
        weights, covariances = np.full(n, 1 / n), mixture.bandwidth**2 * np.eye(mixture.dimension)[None]
    else:
        raise TypeError(f"problem must be a mixture of Gaussians in closed form, got {shown(problem)}")
    identity = np.eye(mixture.dimension)
    return MixtureLaw(weights, alpha * means, alpha**2 * covariances + sigma**2 * identity)
