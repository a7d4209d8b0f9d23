"""DPM-Solver: the orders of its fast runs, and order one in every mode."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from semilinear.integrators.diffusion.schedule import vp_linear
from semilinear.integrators.plans.compile import compile_plan
from semilinear.integrators.plans.files import difference
from semilinear.integrators.run.sampler import sample
from semilinear.integrators.solvers import dpm_solver, make

from tests.roundings import SOME_ULP

VP = vp_linear()


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("nfe", range(1, 31))
def test_fast_order_lists_are_the_released_rule(order: int, nfe: int) -> None:
    """diffusers #6953, #3413, dpm-solver #44: order lists and evaluations for every budget.

    The rule written with DPM-Solver's own K: the number of steps is nfe // order + 1, or one less.
    """
    steps = nfe // order + 1
    by_rest = {
        1: {0: [1] * nfe},
        2: {0: [2] * (steps - 1), 1: [2] * (steps - 1) + [1]},
        3: {
            0: [3] * (steps - 2) + [2, 1],
            1: [3] * (steps - 1) + [1],
            2: [3] * (steps - 1) + [2],
        },
    }
    expected = by_rest[order][nfe % order]
    assert list(dpm_solver.fast_orders(order, nfe)) == expected
    assert sum(expected) == nfe
    plan = compile_plan(dpm_solver.fast(order), VP, steps=nfe, t_start=1.0, t_end=1e-3)
    assert plan.nfe == nfe


@pytest.mark.parametrize("family", ["dpm-solver", "dpm-solver++"])
@pytest.mark.parametrize("mode", ["singlestep", "multistep", "fast"])
def test_order_one_is_ddim_in_every_mode(family: Any, mode: str) -> None:
    """dpm-solver #44: singlestep order 1 raised an IndexError."""
    plan = compile_plan(getattr(dpm_solver, mode)(1, family), VP, steps=7, t_start=1.0, t_end=1e-2)
    ddim = compile_plan(make("ddim"), VP, steps=7, t_start=1.0, t_end=1e-2)
    assert difference(plan, ddim).value <= 1e-13  # coefficients of e^h - 1 in two forms: some ulp
    assert plan.nfe == 7


def test_a_stage_of_the_midpoint_kind_is_a_step_of_second_order() -> None:
    """diffusers, solver_type="midpoint": the second stage is a step of second order; on any grid."""
    s, t = 0.5, 0.3
    lam = [VP.lam(s) + part * (VP.lam(t) - VP.lam(s)) for part in (0, 0.4, 0.75, 1)]
    times = [VP.t_of_lam(value) for value in lam]
    alpha, sigma = ([f(u) for u in times] for f in (VP.alpha, VP.sigma))

    def x0(x: np.ndarray, at: float) -> np.ndarray:
        return np.sin(3 * x) + at

    def moved(x: np.ndarray, end: int, slope: np.ndarray) -> np.ndarray:
        return sigma[end] / sigma[0] * x - alpha[end] * math.expm1(lam[0] - lam[end]) * slope

    x = np.array([[0.3, -0.7]])
    m0 = x0(x, times[0])
    m1 = x0(moved(x, 1, m0), times[1])
    m2 = x0(moved(x, 2, m0 + (m1 - m0) / (0.4 / 0.75) / 2), times[2])
    h = lam[3] - lam[0]
    first = (m2 - m0) / 0.75
    wanted = moved(x, 3, m0) + alpha[3] * (math.expm1(-h) / h + 1) * first
    plan = compile_plan(make("dpm-solver++-3s-on-grid"), VP, times=times, prediction="x0")
    assert abs(sample(plan, x0, x).x - wanted).max() < SOME_ULP
