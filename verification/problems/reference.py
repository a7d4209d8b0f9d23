"""Reference solutions: exact where a problem has an exact flow, else DOP853 with its own error estimate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.integrate
from semilinear.integrators.diffusion.schedule import Schedule
from semilinear.integrators.numerics.arithmetic import Value, choose

EXACT_DIGITS = 30
GUARD_DIGITS = 10
TIGHTEST = 2.5e-14
"""scipy's smallest relative tolerance is 100 units of rounding."""


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
    """The exact or reference states at `times` (all below t_start).

    tolerance: of the numerical reference, where there is no exact flow.
    Raises ValueError when more than float64 is asked of a problem without an exact flow.
    """
    if problem.exact_flow:
        guarded = EXACT_DIGITS if digits is None else digits + GUARD_DIGITS
        exact = {t: problem.flow(schedule, x, t_start, t, guarded) for t in times}
        rounded = choose(digits).number
        exact = {t: rounded(state) for t, state in exact.items()}
        return Reference(exact, 0.0, True)
    if digits is not None:
        raise ValueError(f"digits needs a problem with an exact flow; {problem.name!r} has none")
    tight = _dop853(problem, schedule, x, float(t_start), times, tolerance)
    loose = _dop853(problem, schedule, x, float(t_start), times, 4 * tolerance)
    size = float(np.max(np.abs(x)))
    bound = max(float(np.max(np.abs(tight[t] - loose[t]))) for t in times) + 64 * 2.0**-53 * size
    return Reference(tight, bound, False)


def _dop853(
    problem: Any, schedule: Schedule, x: np.ndarray, t_start: float, times: list[Value], tolerance: float
) -> dict[Value, np.ndarray]:
    """Integrate d(x/alpha)/dlambda = -e^-lambda eps from time to time, so that no state is interpolated."""
    model, f = problem.model(schedule), schedule.formulas

    def slope(lam: float, y: np.ndarray) -> np.ndarray:
        t = float(f.t_of_lam(lam))
        state = (y * float(f.alpha(t))).reshape(x.shape)
        derivative: np.ndarray = -np.exp(-lam) * np.asarray(model(state, t)).ravel()
        return derivative

    y, lam, states = (x / float(f.alpha(t_start))).ravel(), float(f.lam(t_start)), {}
    for t in sorted(times, reverse=True):
        stop = float(f.lam(float(t)))
        result = scipy.integrate.solve_ivp(
            slope, (lam, stop), y, method="DOP853", rtol=tolerance, atol=tolerance * 1e-2
        )
        if not result.success:
            raise ArithmeticError(f"the reference solution failed at t = {t}: {result.message}")
        y, lam = result.y[:, -1], stop
        states[t] = (y * float(f.alpha(float(t)))).reshape(x.shape)
    return states
