"""Reference solutions: exact where a problem has an exact flow, else DOP853 with its own error estimate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
import scipy.integrate
from semilinear.integrators.diffusion.prediction import Model
from semilinear.integrators.diffusion.schedule import Schedule
from semilinear.integrators.numerics.arithmetic import Value, choose
from semilinear.integrators.numerics.arrays import rms

from .cache import remembered

EXACT_DIGITS = 30
GUARD_DIGITS = 10
TIGHTEST = 2.5e-14
"""scipy's smallest relative tolerance is 100 units of rounding."""
MODEL_NOISE = 64
"""Units of a model's own rounding that the tolerance of a numerical reference stays above: below, its error
estimates are noise, and its steps shrink for nothing.  In float64 that is below the tightest tolerance.
"""


@dataclass(frozen=True)
class Reference:
    """The flow through x (n, d) at t_start, at later times: states (n, d) by time, and their error.

    bound: an estimate of the error, 0 for an exact flow; else the distance of two runs of DOP853 at different
    tolerances (the tighter one is returned), which estimates the looser one's error, plus 64 units of
    rounding of the largest component.
    """

    states: dict[Value, np.ndarray]
    bound: float
    exact: bool


def reference(
    problem: Any,
    schedule: Schedule,
    x: np.ndarray,
    t_start: Value,
    times: list[Value],
    digits: int | None = None,
    tolerance: float = TIGHTEST,
) -> Reference:
    """The exact or reference states at `times` (all below t_start), each by itself: what others are asked for
    changes none of its digits.  In float64 they are `remembered`.

    tolerance: of the numerical reference, where there is no exact flow.
    Raises ValueError when more than float64 is asked of a problem without an exact flow.
    """
    what = (problem, schedule.kind, schedule.parameters, x, float(t_start))
    if problem.exact_flow:
        guarded = EXACT_DIGITS if digits is None else digits + GUARD_DIGITS

        def exact(t: Value) -> np.ndarray:
            state: np.ndarray = choose(digits).number(problem.flow(schedule, x, t_start, t, guarded))
            return state

        if digits is not None:
            return Reference({t: exact(t) for t in times}, 0.0, True)
        states = {t: remembered((*what, float(t)), partial(exact, t), x.shape) for t in times}
        return Reference(states, 0.0, True)
    if digits is not None:
        raise ValueError(f"digits needs a problem with an exact flow; {problem.name!r} has none")

    def runs(t: Value) -> np.ndarray:
        ends = float(t_start), float(t)
        return np.array([_dop853(problem, schedule, x, *ends, k * tolerance) for k in (1, 4)])

    both = {t: remembered((*what, float(t), tolerance), partial(runs, t), (2, *x.shape)) for t in times}
    apart = max(float(np.max(np.abs(tight - loose))) for tight, loose in both.values())
    bound = apart + 64 * 2.0**-53 * float(np.max(np.abs(x)))
    return Reference({t: tight for t, (tight, _) in both.items()}, bound, False)


def _dop853(
    problem: Any, schedule: Schedule, x: np.ndarray, t_start: float, t_end: float, tolerance: float
) -> np.ndarray:
    """Integrate d(x/alpha)/dlambda = -e^-lambda eps."""
    model, f = problem.model(schedule), schedule.formulas

    def slope(lam: float, y: np.ndarray) -> np.ndarray:
        t = float(f.t_of_lam(lam))
        state = (y * float(f.alpha(t))).reshape(x.shape)
        derivative: np.ndarray = -np.exp(-lam) * np.asarray(model(state, t)).ravel()
        return derivative

    result = scipy.integrate.solve_ivp(
        slope,
        (float(f.lam(t_start)), float(f.lam(t_end))),
        (x / float(f.alpha(t_start))).ravel(),
        method="DOP853",
        rtol=tolerance,
        atol=tolerance * 1e-2,
    )
    if not result.success:
        raise ArithmeticError(f"the reference solution failed at t = {t_end}: {result.message}")
    end: np.ndarray = (result.y[:, -1] * float(f.alpha(t_end))).reshape(x.shape)
    return end


@dataclass(frozen=True, eq=False)
class Solution:
    """The flow of a problem from a batch x (n, d) at t_start: the states at later times, each computed once.

    x: float64.  digits, tolerance: as in `reference`.  What it gives cannot be written to: runs share it.
    """

    problem: Any
    schedule: Schedule
    x: np.ndarray
    t_start: float
    digits: int | None = None
    tolerance: float = TIGHTEST
    _known: dict[Value, tuple[np.ndarray, float]] = field(default_factory=dict, init=False, repr=False)
    """By time, a state and the bound of its error."""

    @cached_property
    def model(self) -> Model:
        """The exact noise prediction, for states (.., d)."""
        return self.problem.model(self.schedule)  # type: ignore[no-any-return]

    @property
    def model_unit(self) -> float:
        """Of rounding of a model that computes in a dtype of its own (`NetworkProblem.unit`); else 0."""
        return float(getattr(self.problem, "unit", 0.0))

    def states(self, times: Sequence[Value]) -> list[np.ndarray]:
        """The reference states at some times."""
        missing = [t for t in times if t not in self._known]
        if missing:
            tolerance = max(self.tolerance, MODEL_NOISE * self.model_unit)
            found = reference(
                self.problem, self.schedule, self.x, self.t_start, missing, self.digits, tolerance
            )
            for t, state in found.states.items():
                state.flags.writeable = False
                self._known[t] = state, found.bound
        return [self._known[t][0] for t in times]

    @property
    def bound(self) -> float:
        """Of the error of all states so far."""
        return max((bound for _, bound in self._known.values()), default=0.0)

    @cached_property
    def size(self) -> float:
        """The RMS norm of the initial states."""
        return rms(self.x)
