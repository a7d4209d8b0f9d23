"""Squared distances of samples from an exact law, each with its influence function.

Every distance D here is the root of a smooth functional T of the law that samples show, zero at the exact
one.  Of n samples x_i

    T_n = T + (1/n) sum_i influence(x_i) + O(1/n),

so that the influences give the standard error of T_n, and those of two samplers that started alike that of
the difference (docs/mathematics.md, 11).  On the exact law the influence vanishes, and what is left is the
floor (`floor.py`).  The samples and the law are given in the law's own units: mean 0, mean variance 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from scipy.integrate import cumulative_trapezoid

from ..problems.law import MixtureLaw
from ..problems.mixtures import GaussianMixture
from .slices import Samples, Slices, directions, mean_projection

PAIRS = 16
"""Pairs of features, a cosine and a sine each: at least, and one a dimension; on the line, as many as there
are frequencies.
"""
FREQUENCIES = (0.5, 1.0, 2.0, 4.0)
"""Of the features in turn, in units of 1/deviation along their direction."""
MODES = 16
"""Most components whose weights are looked at one by one."""


@dataclass(frozen=True)
class Squared:
    """A squared distance of n samples from the law, and their influences on it, (n,), whose mean is 0.

    Of a law that is known there are none: a difference from it has those of the other's samples.
    """

    value: float
    influence: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        if len(self.influence):
            object.__setattr__(self, "influence", self.influence - np.mean(self.influence))

    @property
    def error(self) -> float:
        """The standard error that the influences tell."""
        return float(np.linalg.norm(self.influence)) / max(len(self.influence), 1)

    @property
    def drawn(self) -> bool:
        """Whether it is one of samples."""
        return len(self.influence) > 0

    def __sub__(self, other: Squared) -> Squared:
        """The difference of two squares, of samples that belong together one by one, or of a known law.

        Raises ValueError for other numbers of samples.
        """
        n, m = len(self.influence), len(other.influence)
        if self.drawn and other.drawn and n != m:
            raise ValueError(f"other must be of as many samples, got {n} and {m}")
        ours, theirs = (one.influence if one.drawn else 0.0 for one in (self, other))
        influence = ours - theirs if self.drawn or other.drawn else self.influence
        return Squared(self.value - other.value, np.asarray(influence))


@dataclass(frozen=True)
class Metric:
    """A distance from one law.

    sample: of n samples.  gaussian: of another law, of one component, exactly.
    """

    name: str
    sample: Callable[[Samples], Squared]
    gaussian: Callable[[MixtureLaw], float]


# --- along directions ---


def sliced_wasserstein(slices: Slices) -> Metric:
    """The mean over directions of int (Q_n - Q)^2 du, Q the quantiles (Bonneel et al. 2015)."""

    def sample(samples: Samples) -> Squared:
        exact = slices.quantiles(len(samples))
        total, influence = 0.0, np.zeros(len(samples))
        for (values, whose), quantiles in zip(samples.sorted, exact, strict=True):
            away = values - quantiles
            total += float(np.mean(away**2))
            influence[whose] += cumulative_trapezoid(2 * away, values, initial=0)  # the transport potential
        return Squared(total / len(exact), influence / len(exact))

    def gaussian(law: MixtureLaw) -> float:
        pairs = _normals(law, slices.law)
        return float(np.mean([(m - m0) ** 2 + (s - s0) ** 2 for (m, s), (m0, s0) in pairs]))

    return Metric("sliced-wasserstein", sample, gaussian)


def energy(slices: Slices) -> Metric:
    """2 E|X - Y| - E|X - X'| - E|Y - Y'| (Szekely & Rizzo 2013), |x| as a mean over the directions."""
    per_unit = 1 / mean_projection(slices.law.dimension)

    def sample(samples: Samples) -> Squared:
        n, total, influence = len(samples), 0.0, np.zeros(len(samples))
        rank = np.arange(1, n + 1)
        for (values, whose), line in zip(samples.sorted, slices.lines, strict=True):
            sums = np.cumsum(values)
            among = ((2 * rank - n) * values + sums[-1] - 2 * sums) / n  # the mean distance from the samples
            across = line.distance_from(values)
            total += float(np.mean(2 * across - among)) - line.within
            influence[whose] += 2 * (across - among)
        scale = per_unit / len(slices.lines)
        return Squared(total * scale, influence * scale)

    def gaussian(law: MixtureLaw) -> float:
        terms = [
            2 * _mean_size(m - m0, math.hypot(s, s0))
            - _mean_size(0.0, s * math.sqrt(2))
            - _mean_size(0.0, s0 * math.sqrt(2))
            for (m, s), (m0, s0) in _normals(law, slices.law)
        ]
        return per_unit * float(np.mean(terms))

    return Metric("energy", sample, gaussian)


def _normals(law: MixtureLaw, exact: MixtureLaw) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """(mean, deviation) of both along every direction.  Raises ValueError unless both are Gaussian."""
    both = (law, exact)
    if any(len(one.weights) != 1 for one in both):
        raise ValueError(f"laws must be Gaussian, got {len(law.weights)} and {len(exact.weights)} components")
    found = []
    for theta in directions(exact.dimension):
        (_, m, v), (_, m0, v0) = (one.along(theta) for one in both)
        found.append(((float(m[0]), math.sqrt(v[0])), (float(m0[0]), math.sqrt(v0[0]))))
    return found


def _mean_size(mean: float, deviation: float) -> float:
    """E |N(mean, deviation^2)|."""
    if deviation == 0:
        return abs(mean)
    z = mean / deviation
    return deviation * math.sqrt(2 / math.pi) * math.exp(-z * z / 2) + mean * math.erf(z / math.sqrt(2))


# --- moments of features ---


@dataclass(frozen=True, eq=False)
class Features:
    """sqrt 2 cos(omega_j . x) and sqrt 2 sin(omega_j . x), j < J (Rahimi & Recht 2007): omega_j points along
    one of the fixed directions, its size is one of `FREQUENCIES` over the law's deviation there.
    """

    law: MixtureLaw

    @cached_property
    def omega(self) -> np.ndarray:
        """(J, d)."""
        along = directions(self.law.dimension)
        pairs = len(FREQUENCIES) if len(along) < PAIRS else max(PAIRS, self.law.dimension)
        theta = along[np.arange(pairs) % len(along)]
        deviation = np.sqrt(np.einsum("ji,ik,jk->j", theta, self.law.covariance, theta))
        frequencies: np.ndarray = theta * (np.resize(FREQUENCIES, pairs) / deviation)[:, None]
        return frequencies

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """(n, d) -> (n, 2 J)."""
        phase = x @ self.omega.T
        return math.sqrt(2) * np.concatenate([np.cos(phase), np.sin(phase)], 1)

    def moments(self, law: MixtureLaw) -> tuple[np.ndarray, np.ndarray]:
        """Mean (2 J,) and covariance (2 J, 2 J) of the features of a law, exactly: by its characteristic
        function at omega_j and omega_j +- omega_k.
        """
        omega = self.omega
        j, d = omega.shape
        one = law.characteristic(omega)
        plus, minus = (
            law.characteristic((omega[:, None] + sign * omega[None]).reshape(j * j, d)).reshape(j, j)
            for sign in (1, -1)
        )
        mean = math.sqrt(2) * np.concatenate([one.real, one.imag])
        mixed = plus.imag - minus.imag  # E 2 cos(omega_j x) sin(omega_k x)
        second = np.block([[(minus + plus).real, mixed], [mixed.T, (minus - plus).real]])
        return mean, second - np.outer(mean, mean)


def frechet(law: MixtureLaw) -> Metric:
    """|m - m_0|^2 + tr (C + C_0 - 2 (C_0^1/2 C C_0^1/2)^1/2) of the features (Dowson & Landau 1982; Heusel et
    al. 2017 with those of a network).
    """
    features = Features(law)
    mean_0, covariance_0 = features.moments(law)
    root_0 = _power(covariance_0, 0.5)

    def distance(mean: np.ndarray, covariance: np.ndarray) -> float:
        # tr (root_0 C root_0)^1/2 by singular values: the product's own root would cost half the digits
        cross = np.linalg.norm(_power(covariance, 0.5) @ root_0, "nuc")
        return float(np.sum((mean - mean_0) ** 2) + np.trace(covariance) + np.trace(covariance_0) - 2 * cross)

    def sample(samples: Samples) -> Squared:
        f = features(samples.x)
        mean = f.mean(0)
        centred = f - mean
        covariance = centred.T @ centred / len(f)
        transport = root_0 @ _power(root_0 @ covariance @ root_0, -0.5) @ root_0
        gradient = np.eye(len(mean)) - transport  # of the trace by C (Bhatia, Jain & Lim 2019)
        influence = 2 * centred @ (mean - mean_0) + np.sum((centred @ gradient) * centred, 1)
        return Squared(distance(mean, covariance), influence)

    return Metric("frechet", sample, lambda other: distance(*features.moments(other)))


def _power(matrix: np.ndarray, exponent: float) -> np.ndarray:
    """Of a symmetric positive semidefinite matrix, what rounding leaves of its null space left out."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    kept = values > 1e-14 * values[-1]
    powers = np.where(kept, np.where(kept, values, 1) ** exponent, 0)
    result: np.ndarray = (vectors * powers) @ vectors.T
    return result


# --- moments of the states ---


def mean(law: MixtureLaw) -> Metric:
    """|E x - mean|^2."""

    def sample(samples: Samples) -> Squared:
        away = samples.x.mean(0) - law.mean
        return Squared(float(away @ away), 2 * samples.x @ away)

    return Metric("mean", sample, lambda other: float(np.sum((other.mean - law.mean) ** 2)))


def covariance(law: MixtureLaw) -> Metric:
    """|Cov x - covariance|^2, the Frobenius norm."""

    def sample(samples: Samples) -> Squared:
        x = samples.x
        centred = x - x.mean(0)
        away = centred.T @ centred / len(x) - law.covariance
        return Squared(float(np.sum(away**2)), 2 * np.sum((centred @ away) * centred, 1))

    return Metric("covariance", sample, lambda other: float(np.sum((other.covariance - law.covariance) ** 2)))


@dataclass(frozen=True, eq=False)
class Weights:
    """The weights of the modes that samples show: the means of the components' posterior probabilities, which
    on the exact law are the weights themselves.
    """

    law: MixtureLaw
    _mixture: GaussianMixture = field(init=False, repr=False)

    def __post_init__(self) -> None:
        made = GaussianMixture(self.law.weights, self.law.means, self.law.covariances)
        object.__setattr__(self, "_mixture", made)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """(n, d) -> (n, K)."""
        probabilities: np.ndarray = self._mixture.responsibilities(x, 1.0, 0.0).T
        return probabilities


def modes(law: MixtureLaw) -> Metric:
    """|weights - those of the law|^2."""
    weights = Weights(law)

    def sample(samples: Samples) -> Squared:
        probabilities = weights(samples.x)
        away = probabilities.mean(0) - law.weights
        return Squared(float(away @ away), 2 * probabilities @ away)

    def gaussian(other: MixtureLaw) -> float:
        raise ValueError(f"laws must have several components, got {len(other.weights)}")

    return Metric("modes", sample, gaussian)


def has_modes(law: MixtureLaw) -> bool:
    """Whether a law has several modes, and few enough to be looked at one by one."""
    return 2 <= len(law.weights) <= MODES


def metrics(law: MixtureLaw) -> Mapping[str, Metric]:
    """All of them, by name, for a law in its own units."""
    slices = Slices(law)
    made = [sliced_wasserstein(slices), energy(slices), frechet(law), mean(law), covariance(law)]
    if has_modes(law):
        made.append(modes(law))
    return {metric.name: metric for metric in made}
