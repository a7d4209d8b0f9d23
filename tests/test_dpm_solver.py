"""DPM-Solver: the orders of its fast runs, and order one in every mode."""

from __future__ import annotations

from typing import Any

import pytest
from semilinear.integrators.diffusion.schedule import vp_linear
from semilinear.integrators.plans.compile import compile_plan
from semilinear.integrators.plans.files import difference
from semilinear.integrators.solvers import dpm_solver, make

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
