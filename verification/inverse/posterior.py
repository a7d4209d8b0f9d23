"""Linear inverse problems with a known answer: x from y = A x + N(0, R), x from a Gaussian mixture.

Given y, component k is N(m_k + K_k (y - A m_k), (I - K_k A) C_k), K_k = C_k A^T S_k^-1, S_k = A C_k A^T + R,
with weight proportional to w_k N(y; A m_k, S_k): the posterior is a mixture again.  So is the law of (x_t, y)
at every noise level, which gives the exact likelihood log p_t(y|x_t) that guided samplers need.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.special import logsumexp
from semilinear.integrators.diffusion.schedule import Schedule
from semilinear.integrators.numerics.arrays import fixed

from ..problems.law import MixtureLaw
from ..problems.mixtures import GaussianMixture


@dataclass(frozen=True, eq=False)
class Observation:
    """y = A x + N(0, R).

    operator: A, (m, d), of full rank m.  value: y, (m,).  covariance: R, (m, m), symmetric and positive
    semidefinite; None for exact data.
    Raises ValueError, naming the argument.
    """

    operator: np.ndarray
    value: np.ndarray
    covariance: np.ndarray | None = None

    def __post_init__(self) -> None:
        a, y = np.asarray(self.operator, float), np.asarray(self.value, float)
        if a.ndim != 2 or not np.all(np.isfinite(a)) or np.linalg.matrix_rank(a) < a.shape[0]:
            raise ValueError(f"operator must be a finite matrix of full row rank, got shape {a.shape}")
        if y.shape != (a.shape[0],) or not np.all(np.isfinite(y)):
            raise ValueError(f"value must be finite and of shape ({a.shape[0]},), got shape {y.shape}")
        r = np.zeros((y.size, y.size)) if self.covariance is None else np.asarray(self.covariance, float)
        if r.shape != (y.size, y.size) or not np.allclose(r, r.T, rtol=0, atol=1e-12):
            raise ValueError(f"covariance must be symmetric of shape {(y.size, y.size)}, got shape {r.shape}")
        if np.linalg.eigvalsh(r).min() < 0:
            raise ValueError("covariance must be positive semidefinite")
        for name, array in (("operator", a), ("value", y), ("covariance", r)):
            object.__setattr__(self, name, fixed(array))

    @property
    def noise(self) -> np.ndarray:
        """R, zero for exact data."""
        assert self.covariance is not None
        return self.covariance


@dataclass(frozen=True, eq=False)
class Posterior(MixtureLaw):
    """The law of x given y; its covariances are singular in the directions that exact data determine.

    log_evidence: log p(y).
    """

    log_evidence: float


def posterior(law: GaussianMixture, observation: Observation) -> Posterior:
    """The law of x given y.  Raises ValueError for an operator of another dimension than the mixture's."""
    a, y, r = observation.operator, observation.value, observation.noise
    _check(law, a)
    log_weights, means, covariances = [], [], []
    for w, m, c in zip(law.weights, law.means, law.covariances, strict=True):
        s = a @ c @ a.T + r
        gain = np.linalg.solve(s, a @ c).T
        left = np.eye(law.dimension) - gain @ a
        residual = y - a @ m
        exponent = residual @ np.linalg.solve(s, residual) + np.linalg.slogdet(2 * np.pi * s)[1]
        log_weights.append(np.log(w) - exponent / 2)
        means.append(m + gain @ residual)
        covariances.append(left @ c @ left.T + gain @ r @ gain.T)  # Joseph's form: symmetric, never negative
    evidence = float(logsumexp(log_weights))
    return Posterior(
        np.exp(np.array(log_weights) - evidence), np.array(means), np.array(covariances), evidence
    )


def log_likelihood_given(
    law: GaussianMixture, schedule: Schedule, observation: Observation
) -> Callable[[torch.Tensor, Any], torch.Tensor]:
    """(x, t) -> log p_t(y | x_t = x) for x of shape (n, d), by torch: what `models.classifier` needs.

    log p(x_t, y) - log p(x_t), both Gaussian mixtures.  Where t is so small that y follows from x_t the
    difference loses its digits: sigma_t should not be far below 1e-4 for exact data.
    """
    a, r = observation.operator, observation.noise
    _check(law, a)
    f, identity = schedule.formulas, np.eye(law.dimension)

    def log_p(x: torch.Tensor, t: Any) -> torch.Tensor:
        alpha, sigma = float(f.alpha(float(t))), float(f.sigma(float(t)))
        both = np.concatenate([alpha * identity, a])  # (x_t, y) = both x_0 + noise
        spread = np.zeros((len(both), len(both)))
        spread[: law.dimension, : law.dimension] = sigma**2 * identity
        spread[law.dimension :, law.dimension :] = r
        joint = GaussianMixture(
            law.weights, law.means @ both.T, both @ law.covariances @ both.T + spread, "joint"
        )
        y = torch.tensor(observation.value, dtype=x.dtype, device=x.device).expand(len(x), -1)
        value: torch.Tensor = joint.log_density(torch.cat([x, y], 1), 1.0, 0.0)
        value = value - law.log_density(x, alpha, sigma)
        return value

    return log_p


def _check(law: GaussianMixture, operator: np.ndarray) -> None:
    if operator.shape[1] != law.dimension:
        raise ValueError(f"operator must have {law.dimension} columns, got {operator.shape[1]}")
