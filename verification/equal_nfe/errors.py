"""Errors of final states at a number of evaluations, sample by sample, and what resampling the batch says.

Samplers run from the same states, so that what their errors are to each other is resolved far better than
each of them: `ratio` resamples the batch in pairs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from scipy.stats import binom
from semilinear.integrators.common import checks
from semilinear.integrators.numerics.arrays import rms
from semilinear.integrators.solver import FinalChoice

from ..studies.flow import norms
from .entrants import Entrant, Ran
from .experiment import NoiseToData, resampled

RESAMPLES, LEVEL = 4000, 0.999
"""Of a ratio, and what its interval holds: a claim is looked at on dozens of problems and budgets."""
ALIKE = 1.02
"""Up to this factor nobody would choose between two errors."""
Held = Literal["yes", "no", "apart", "alike", "open"]
"""Of a claim that a ratio lies above a factor: it does, by both measures; it lies below; one measure lies
above and the other below; both lie within `ALIKE` of it; none of these is known.
"""


def distances(ran: Ran, experiment: NoiseToData) -> np.ndarray:
    """Of a run's final states from the exact ones, (batch,); infinite where a state is not finite."""
    if ran.states is None:
        return np.full(experiment.batch, np.inf)
    (exact,) = experiment.states([experiment.times[1]])
    found = norms(ran.states, exact)
    return np.where(np.isfinite(found), found, np.inf)


def final_errors(
    entrant: Entrant, experiment: NoiseToData, nfe: int, final: FinalChoice = "released"
) -> tuple[np.ndarray, int]:
    """`distances` of the longest run that makes at most `nfe` evaluations, and how many it makes.

    Raises ValueError where one step takes more evaluations than that, or every run fails.
    """
    runs = entrant.on(experiment, final)
    steps = runs.most(checks.integer("nfe", nfe, 1))
    if not steps:
        why = f" ({runs.failed})" if runs.failed else ""
        raise ValueError(f"nfe must be at least what one step of {entrant.name} takes, got {nfe}{why}")
    ran = runs.run(steps)
    return distances(ran, experiment), ran.nfe


def carriers(errors: np.ndarray) -> float:
    """By how many states an RMS is carried: (sum e^2)^2 / sum e^4, the batch's size where all are alike.

    A path that changes its basin ends a hundred times further off than the others; few of these, or one that
    the batch happens to lack, make the RMS, and no resampling of the batch knows of those that it lacks.
    """
    squares = (errors / errors.max()) ** 2 if errors.max() > 0 else np.ones_like(errors)
    return float(np.sum(squares) ** 2 / np.sum(squares**2))


@lru_cache(maxsize=64)
def _below(n: int, level: float) -> int:
    """Of n draws: fewer under the law's median are less likely than half of what the level leaves."""
    return int(binom.ppf((1 - level) / 2, n, 0.5))


def middle(values: np.ndarray, level: float) -> tuple[float, float, float]:
    """The median of independent draws and its interval: exact for any law, by order statistics.

    The interval is infinite on both sides where so few draws have none of that level.
    """
    ordered, n = np.sort(values), len(values)
    below = _below(n, level)
    if below < 1:
        return float(np.median(ordered)), -math.inf, math.inf
    return float(np.median(ordered)), float(ordered[below - 1]), float(ordered[n - below])


@dataclass(frozen=True)
class Ratio:
    """How many times larger one sampler's errors are than another's from the same states.

    value: of the RMS errors; low, high: the bootstrap's interval of `LEVEL`.  typical: the median of the
    states' own ratios; typical_low, typical_high: its interval of `LEVEL`, which is exact.  NaN between 0
    and infinity where neither run is finite: nothing is known of them.
    """

    value: float
    low: float
    high: float
    typical: float
    typical_low: float
    typical_high: float

    def against(self, factor: float) -> Held:
        """Whether the ratio lies above a factor: by the RMS and for most states, which must agree.

        A few states carry an RMS (`carriers`), so that its interval alone decides too often; the median
        alone does not see them.
        """
        if min(self.low, self.typical_low) > factor:
            return "yes"
        if max(self.high, self.typical_high) < factor:
            return "no"
        if self.low > factor > self.typical_high or self.typical_low > factor > self.high:
            return "apart"
        least, most = min(self.low, self.typical_low), max(self.high, self.typical_high)
        return "alike" if factor / ALIKE < least and most < factor * ALIKE else "open"


def ratio(a: np.ndarray, b: np.ndarray, seed: int = 0) -> Ratio:
    """How many times larger the errors a are than b, of the same samples, (batch,) each."""
    lost = [not np.all(np.isfinite(errors)) for errors in (a, b)]
    if all(lost) or not (np.any(a) or np.any(b)):
        return Ratio(math.nan, 0.0, math.inf, math.nan, 0.0, math.inf)
    if any(lost):
        value = math.inf if lost[0] else 0.0
        return Ratio(*[value] * 6)
    weights = resampled(len(a), RESAMPLES, seed)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.sqrt((weights @ a**2) / (weights @ b**2))
        each = np.where(a == b, 1.0, a / b)
    low, high = np.quantile(ratios, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    value = math.inf if not np.any(b) else rms(a) / rms(b)
    typical, typical_low, typical_high = middle(each, LEVEL)
    return Ratio(value, float(low), float(high), typical, max(typical_low, 0.0), typical_high)
