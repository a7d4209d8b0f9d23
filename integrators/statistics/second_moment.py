"""The second moment of a model's noise predictions, E|eps|^2/d, a function of lambda.

For an exact model 1 - E|eps|^2/d is the mean variance of a component of x_0 once x_t is known, over rho^2:
what the optimal variance of a Gaussian reverse kernel is made of.  Bao et al. 2022 (Analytic-DPM),
arXiv:2201.06503, Theorem 1, where it stands as sigma^2 E|score|^2/d.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..common import checks
from ..common.remaking import Remade, remade
from ..diffusion.prediction import Model, convert, in_own_dtype
from ..diffusion.schedule import Schedule
from ..numerics.arithmetic import Value, of
from ..numerics.series import Series, interpolate
from .smooth import check_range

if TYPE_CHECKING:
    from .estimation import Draws  # which loads torch

DEGREE = 24
"""Of the series of an estimate: it varies over lambda as slowly as the data have scales."""


@dataclass(frozen=True, eq=False)
class SecondMoment(Remade):
    """E|eps|^2/d as a function of lambda, in any arithmetic, known on [low, high]."""

    value: Callable[[Value], Value]
    low: float = -math.inf
    high: float = math.inf

    def at(self, lam: Value) -> Value:
        """The moment at one lambda, or at an array of them; raises ValueError outside of [low, high]."""
        for end in (np.min(lam), np.max(lam)) if isinstance(lam, np.ndarray) else (lam,):
            check_range(end, self.low, self.high)
        return self.value(lam)


def _absent(lam: Value) -> Value:
    raise ValueError(
        "moment must be given for a solver that takes it, that of the model that it samples: "
        "make(name, moment=...) with what `second_moment.estimate(model, ..)` finds, or a closed form"
    )


ABSENT = SecondMoment(_absent)
"""Not given: a solver can be made without it, but no step computed."""


@remade
def gaussian(std: float = 1.0) -> SecondMoment:
    """Of data N(m, std^2 I): rho^2/(std^2 + rho^2)."""
    s = checks.number("std", std, above=0)

    def value(lam: Value) -> Value:
        xp = of(lam)
        return 1 / (1 + xp.number(s) ** 2 * xp.exp(2 * lam))

    return SecondMoment(value)


def of_series(series: Series) -> SecondMoment:
    """Of a series of numbers on its own interval."""
    return SecondMoment(series, float(series.knots[0]), float(series.knots[-1]))


def estimate(
    model: Model,
    schedule: Schedule,
    draws: Draws,
    low: float,
    high: float,
    *,
    prediction: str = "eps",
    degree: int = DEGREE,
) -> SecondMoment:
    """The mean of a model's squared noise predictions over states of each lambda, as a Chebyshev series.

    draws: the states, as `estimation.noised` makes them from data.  low, high: of lambda.  prediction: what
    the model returns.  Raises ValueError, naming the argument.
    """
    low, high = (float(checks.number(name, v)) for name, v in (("low", low), ("high", high)))
    if high <= low:
        raise ValueError(f"high must exceed low = {low:g}, got {high:g}")
    degree = checks.integer("degree", degree, 1)
    eps = convert(schedule, in_own_dtype(model), prediction, "eps")

    def mean(lams: np.ndarray) -> np.ndarray:
        found = []
        for i, lam in enumerate(lams.tolist()):
            t = float(schedule.t_of_lam(lam))
            draw = draws(i, t)
            squares = eps(draw.x, t).detach().double() ** 2
            found.append(float(draw.mean(squares.flatten(1).mean(1, keepdim=True))))
        return np.array(found)

    return of_series(interpolate(mean, np.array([low, high]), degree))
