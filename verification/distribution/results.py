"""What is known of one run in distribution, and which of two runs lies closer to the exact law."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from semilinear.analysis.extrapolation import STANDARD_ERRORS

from .floor import NOTHING, Floor
from .metrics import Squared

SIGNIFICANT = 3.0
"""Standard errors from which on two distances are in order."""

Order = Literal["closer", "further", "not distinguishable"]


@dataclass(frozen=True)
class Distance:
    """One distance of one run, squared, and what chance does to it.

    squared: with the influence of every sample; of an exact law none.  chance: the floor.
    """

    squared: Squared
    chance: Floor

    @property
    def value(self) -> float:
        """As the samples show it."""
        return _root(self.squared.value)

    @property
    def floor(self) -> float:
        """What exact samples show, root mean square."""
        return _root(self.chance.mean)

    @property
    def error(self) -> float:
        """The standard error of the square."""
        return math.hypot(self.squared.error, self.chance.deviation)

    @property
    def excess(self) -> float:
        """The square without what chance adds: of the laws."""
        return self.squared.value - self.chance.mean

    @property
    def interval(self) -> tuple[float, float]:
        """Of the distance of the laws, 95 %."""
        middle = self.excess
        return _root(middle - STANDARD_ERRORS * self.error), _root(middle + STANDARD_ERRORS * self.error)

    @property
    def seen(self) -> bool:
        """Whether it is more than exact samples show by chance, but once in a hundred times."""
        return self.squared.value > self.chance.most


def _root(square: float) -> float:
    return math.sqrt(max(square, 0.0))


@dataclass(frozen=True)
class Row:
    """One run.

    nfe: evaluations that were asked for; made: those that a run of so many steps makes, no more.  distances:
    by metric; none where the run failed.  weights: of the modes that the samples show, where the law has
    some.  failed: why there are no samples.
    """

    nfe: int
    made: int
    steps: int
    distances: Mapping[str, Distance]
    weights: tuple[float, ...] = ()
    failed: str = ""


@dataclass(frozen=True)
class Comparison:
    """Two solvers within as many evaluations, nfe: which lies closer to the exact law.

    made: evaluations of each, where one makes fewer.  values: their distances.  deviations: the difference of
    the squares, in standard errors; negative where the first is smaller; infinite where both laws are known,
    or a run failed.
    """

    first: str
    second: str
    nfe: int
    metric: str
    values: tuple[float, float]
    deviations: float
    made: tuple[int, ...] = ()

    @property
    def order(self) -> Order:
        """What the first is, of the two."""
        if not abs(self.deviations) > SIGNIFICANT:
            return "not distinguishable"
        return "closer" if self.deviations < 0 else "further"

    def __str__(self) -> str:
        a, b = self.values
        between = "not distinguishable from" if self.order == "not distinguishable" else f"{self.order} than"
        apart = f", {self.deviations:+.1f} standard errors" if math.isfinite(self.deviations) else ""
        both = f"{self.first} ({a:.3g}) {between} {self.second} ({b:.3g})"
        counts = " and ".join(map(str, self.made))
        where = f"within {self.nfe} evaluations ({counts} made)" if counts else f"{self.nfe} evaluations"
        return f"{where}, {self.metric}: {both}{apart}"


def compared(a: Row, b: Row, metric: str) -> tuple[tuple[float, float], float]:
    """The distances of two rows, and the difference of their squares in standard errors."""
    x, y = (None if row.failed else row.distances[metric] for row in (a, b))
    values = (math.inf if x is None else x.value, math.inf if y is None else y.value)
    if x is None or y is None:
        return values, 0.0 if x is y else math.copysign(math.inf, values[0] - values[1])
    difference = x.squared - y.squared
    value = difference.value
    if x.squared.drawn != y.squared.drawn:  # else chance adds as much to both
        value = x.excess - y.excess
    error = math.hypot(difference.error, x.chance.deviation, y.chance.deviation)
    if error == 0:  # both laws are known
        return values, math.copysign(math.inf, value) if abs(value) > NOTHING.most else 0.0
    return values, value / error
