"""What chance does to a distance: the floor that exact samples show, and the least difference above it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import scipy.optimize
import scipy.stats

from ..problems.law import MixtureLaw
from .metrics import Metric, Squared, has_modes
from .slices import Samples

REPLICATES = 100
"""Draws of exact samples: they give the floor to a tenth of its deviation, and that to 10 %."""
LEVEL, POWER = 0.01, 0.95
"""How often exact samples are taken for others, since dozens of distances are looked at; how often the
difference that is stated is seen."""
SIZES = (0.2, 0.4, 0.8)
"""Of the differences that are tried; one that is not clear at the last is not stated."""
CLEAR = 4.0
"""Deviations of the floor from which on a difference is measured well enough to be scaled down."""
DRAWS = 4
"""Of samples from a law that differs."""


@dataclass(frozen=True)
class Floor:
    """The squared distance of n exact samples: its mean, its standard deviation, and what it exceeds with
    probability `LEVEL`.

    power: for each way in which a law may differ (`differences`), the least size that n samples show with
    probability `POWER`; infinite where none does.
    """

    mean: float
    deviation: float
    most: float
    power: Mapping[str, float]


NOTHING = Floor(0.0, 0.0, 2.0**-42, {})
"""Of laws that are known: a square is a difference of numbers up to 32, to 64 units of their rounding."""


@dataclass(frozen=True)
class Difference:
    """A way in which a law may be another: the law that differs by a size, and the largest that there is."""

    law: Callable[[float], MixtureLaw]
    most: float = math.inf

    def __call__(self, size: float) -> MixtureLaw:
        """Raises ValueError for a size that no law differs by."""
        if size > self.most:
            raise ValueError(f"size must be at most {self.most:g}, got {size:g}")
        return self.law(size)


def differences(law: MixtureLaw) -> dict[str, Difference]:
    """Ways in which a law in its own units may be another, by name.

    shift: moved along its widest axis, by a multiple of its deviation there.  spread: all distances from the
    mean longer by a fraction.  modes: so much of the heaviest mode's probability in the lightest one, at most
    half of it.
    """
    values, vectors = np.linalg.eigh(law.covariance)
    along = math.sqrt(values[-1]) * vectors[:, -1]
    found: dict[str, Difference] = {
        "shift": Difference(lambda size: law.moved(1.0, size * along)),
        "spread": Difference(lambda size: law.moved(1 + size, -size * law.mean)),
    }
    if has_modes(law):
        heaviest, lightest = int(np.argmax(law.weights)), int(np.argmin(law.weights))

        def moved(size: float) -> MixtureLaw:
            weights = law.weights.copy()
            weights[heaviest] -= size
            weights[lightest] += size
            return MixtureLaw(weights, law.means, law.covariances)

        if heaviest != lightest:
            found["modes"] = Difference(moved, float(law.weights[heaviest]) / 2)
    return found


def exact_draws(law: MixtureLaw, n: int, seed: int, replicate: int) -> Samples:
    """n samples of a law, of a stream that nothing else draws from."""
    return Samples(law.draw(n, np.random.default_rng([seed, 2, replicate])))


def squares(
    metrics: Mapping[str, Metric], law: MixtureLaw, n: int, seed: int, replicate: int
) -> dict[str, float]:
    """The squared distances of exact samples, by metric."""
    samples = exact_draws(law, n, seed, replicate)
    return {name: metric.sample(samples).value for name, metric in metrics.items()}


def floor_of(metric: Metric, found: np.ndarray, law: MixtureLaw, n: int, seed: int) -> Floor:
    """The floor of a metric.

    found: the squared distances of exact samples.  Such a square is nearly a sum of squares of normal
    numbers; its quantile is that of the gamma law of the same mean and variance (Satterthwaite 1946).
    """
    mean, deviation = float(found.mean()), float(found.std(ddof=1))
    most = float(scipy.stats.gamma.isf(LEVEL, (mean / deviation) ** 2, scale=deviation**2 / mean))
    floor = Floor(mean, deviation, most, {})
    power = {name: _least(metric, floor, of, n, seed) for name, of in differences(law).items()}
    return Floor(mean, deviation, most, power)


def _least(metric: Metric, floor: Floor, difference: Difference, n: int, seed: int) -> float:
    """The size at which a distance exceeds `floor.most` with probability `POWER`.

    The excess over the floor and the variance of the influence grow like the square of a small size: both are
    measured where they are clear, and once more at the size that follows.
    """
    for size in sorted({min(size, difference.most) for size in SIZES}):
        excess, variance = _shown(metric, floor, difference(size), n, seed)
        if excess >= CLEAR * floor.deviation:
            break
    else:
        return math.inf
    size *= _ratio(floor, excess, variance / n)
    if size > difference.most:
        return math.inf
    excess, variance = _shown(metric, floor, difference(size), n, seed)
    if excess > 0:
        size *= _ratio(floor, excess, variance / n)
    return size if size <= min(SIZES[-1], difference.most) else math.inf


def _shown(metric: Metric, floor: Floor, law: MixtureLaw, n: int, seed: int) -> tuple[float, float]:
    """The mean excess over the floor of samples from a law, and the variance of their influences."""
    drawn: list[Squared] = [metric.sample(exact_draws(law, n, seed, REPLICATES + k)) for k in range(DRAWS)]
    excess = float(np.mean([found.value for found in drawn])) - floor.mean
    return excess, float(np.mean([found.influence.var() for found in drawn]))


def _ratio(floor: Floor, excess: float, variance: float) -> float:
    """r with  mean + r^2 excess - z sqrt(deviation^2 + r^2 variance) = most,  z the quantile of POWER."""
    z = float(scipy.stats.norm.isf(1 - POWER))

    def short(r: float) -> float:
        return floor.mean + r * r * excess - z * math.sqrt(floor.deviation**2 + r * r * variance) - floor.most

    high = 1.0
    while short(high) < 0:
        high *= 2
    return float(scipy.optimize.brentq(short, 0.0, high))
