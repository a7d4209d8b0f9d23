"""The law of a stochastic run on Gaussian data, exactly: how far it is from the exact marginal.

Between two laws on the line the distance is Wasserstein's, sqrt((m - m')^2 + (s - s')^2); over the laws of
`gaussian.CASES` its root mean square.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from semilinear.integrators.diffusion.grids import Grid
from semilinear.integrators.diffusion.prediction import convert
from semilinear.integrators.diffusion.schedule import Schedule
from semilinear.integrators.plans.compile import compile_plan
from semilinear.integrators.run.sampler import Interlude, sample
from semilinear.integrators.solver import Solver

from ..studies.gaussian import CASES

Between = Callable[[Callable[[int, Any], Any]], Interlude]
"""What runs between the steps, given its noise: (use, like) -> increments."""


def distance(
    solver: Solver,
    schedule: Schedule,
    grid: Grid,
    steps: int,
    t_end: float,
    between: Between | None = None,
    uses: int = 0,
) -> float:
    """Of the final law from the exact one, started from the exact marginal at the schedule's own start.

    between: affine in the state; uses: how often it draws noise.  A run is an affine map, so it is read off
    one batch: no noise, a start shifted by 1, and a unit of every increment.
    """
    plan = compile_plan(solver, schedule, steps=steps, grid=grid, t_start=schedule.t_max, t_end=t_end)
    mean, variance = (np.asarray(v, dtype=float) for v in CASES.marginal(schedule, plan.times[0]))
    own = len(plan.increments)
    start = np.tile(mean, (2 + own + uses, 1))
    start[1] += 1

    def unit(first: int) -> Callable[[int, Any], Any]:
        def noise(index: int, like: Any) -> Any:
            increments = np.zeros(like.shape)
            increments[first + index] = 1
            return increments

        return noise

    model = convert(schedule, CASES.model(schedule), "eps", plan.prediction)
    interlude = None if between is None else between(unit(2 + own))
    states = sample(plan, model, start, noise=unit(2) if own else None, between=interlude).x
    slopes = states[1:] - states[0]
    found = slopes[0] ** 2 * variance + np.sum(slopes[1:] ** 2, axis=0)
    exact_mean, exact_variance = (np.asarray(v, dtype=float) for v in CASES.marginal(schedule, t_end))
    squares = (states[0] - exact_mean) ** 2 + (np.sqrt(found) - np.sqrt(exact_variance)) ** 2
    return math.sqrt(float(np.mean(squares)))
