"""A law seen along fixed directions: on each of them it is a mixture on the line, known in closed form."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from scipy.integrate import trapezoid
from scipy.interpolate import CubicHermiteSpline
from scipy.special import ndtr

from ..problems.law import MixtureLaw

PLANE, SPACE = 16, 32
"""How many directions in two dimensions, and at least in more; there is one on the line."""
SEED = 20231119
"""Of the directions in three dimensions and more."""
NODES, REACH = 1024, 9.0
"""At which a law on the line is tabulated, up to so many deviations beyond its outermost components."""
AT_ONCE = 1 << 21
"""Nodes times components: what bounds memory."""


@lru_cache(maxsize=16)
def directions(d: int) -> np.ndarray:
    """Unit vectors, (D, d), the same in every study: all of them on the line and in the plane (equal angles),
    beyond it the rows of whole random rotations, drawn once and for all.  A part of a rotation would be blind
    to what lies across it: in 64 dimensions, 32 directions do not see half of the space.
    """
    if d == 1:
        return np.ones((1, 1))
    if d == 2:
        angles = math.pi * (np.arange(PLANE) + 0.5) / PLANE
        return np.stack([np.cos(angles), np.sin(angles)], 1)
    rng = np.random.default_rng([SEED, d])
    turns = []
    for _ in range(math.ceil(SPACE / d)):
        q, r = np.linalg.qr(rng.standard_normal((d, d)))
        turns.append((q * np.sign(np.diag(r))).T)  # the signs make it uniform: Mezzadri 2007
    return np.concatenate(turns)


def mean_projection(d: int) -> float:
    """E |theta_1| of a uniform unit vector in d dimensions: |x| = E |theta . x| / E |theta_1|."""
    return math.exp(math.lgamma(d / 2) - math.lgamma((d + 1) / 2)) / math.sqrt(math.pi)


@dataclass(frozen=True)
class Line:
    """A law Y on the line at nodes y: its distribution function, and E |y - Y|; E |Y - Y'| and E Y besides.

    The distribution function is analytic, so that the trapezoidal rule gives E |Y - Y'| = 2 int F (1 - F) to
    rounding once nodes are closer than half a component's deviation.
    """

    nodes: np.ndarray
    cumulative: np.ndarray
    distance: np.ndarray
    within: float
    mean: float

    @staticmethod
    def of(weights: np.ndarray, means: np.ndarray, variances: np.ndarray) -> Line:
        """Of a mixture of normal laws, (K,) each."""
        deviations = np.sqrt(variances)
        low, high = (means - REACH * deviations).min(), (means + REACH * deviations).max()
        nodes = np.linspace(low, high, NODES)
        parts = [
            _at(nodes[a : a + size], weights, means, deviations)
            for size in [max(1, AT_ONCE // len(weights))]
            for a in range(0, NODES, size)
        ]
        cumulative, distance = (np.concatenate(part) for part in zip(*parts, strict=True))
        within = 2 * trapezoid(cumulative * (1 - cumulative), nodes)
        return Line(nodes, cumulative, distance, float(within), float(weights @ means))

    def quantiles(self, u: np.ndarray) -> np.ndarray:
        """The points where the distribution function is u, linear between nodes."""
        found: np.ndarray = np.interp(u, self.cumulative, self.nodes)
        return found

    @cached_property
    def _spline(self) -> CubicHermiteSpline:
        return CubicHermiteSpline(self.nodes, self.distance, 2 * self.cumulative - 1)

    def distance_from(self, x: np.ndarray) -> np.ndarray:
        """E |x - Y|."""
        inside = (x >= self.nodes[0]) & (x <= self.nodes[-1])
        return np.where(inside, self._spline(np.where(inside, x, self.mean)), np.abs(x - self.mean))


def _at(
    x: np.ndarray, weights: np.ndarray, means: np.ndarray, deviations: np.ndarray
) -> tuple[np.ndarray, ...]:
    """P(Y < x) and E |x - Y|, (n,) each."""
    away = x[:, None] - means
    z = away / deviations
    below = ndtr(z)
    density = np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    return below @ weights, (away * (2 * below - 1) + 2 * deviations * density) @ weights


@dataclass(frozen=True, eq=False)
class Slices:
    """A law along the directions of its dimension."""

    law: MixtureLaw

    @cached_property
    def lines(self) -> tuple[Line, ...]:
        """Of every direction."""
        return tuple(Line.of(*self.law.along(theta)) for theta in directions(self.law.dimension))

    def quantiles(self, n: int) -> np.ndarray:
        """At (i + 1/2)/n, i < n: (D, n); kept for the last n."""
        if n not in self._kept:
            self._kept.clear()
            u = (np.arange(n) + 0.5) / n
            self._kept[n] = np.stack([line.quantiles(u) for line in self.lines])
        return self._kept[n]

    @cached_property
    def _kept(self) -> dict[int, np.ndarray]:
        return {}


@dataclass(frozen=True, eq=False)
class Samples:
    """States x, (n, d), and what several distances ask of them."""

    x: np.ndarray

    def __len__(self) -> int:
        return len(self.x)

    @cached_property
    def sorted(self) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
        """(values in increasing order, the sample of each) along every direction."""
        found = []
        for values in np.ascontiguousarray((self.x @ directions(self.x.shape[1]).T).T):
            order = np.argsort(values)
            found.append((values[order], order))
        return tuple(found)
