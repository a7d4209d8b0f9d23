"""Error constants: the proofs predict the errors of runs, not only their order."""

from __future__ import annotations

import pytest
from semilinear.analysis.orders.solver_proof import prove_solver
from semilinear.integrators.solvers import make
from semilinear.verification.claims.expectations import EXPECTATIONS
from semilinear.verification.predictions.error_constants import Run, Setting, error_constant, projected
from semilinear.verification.predictions.quadrature_effect import RULES, Rule, effect
from semilinear.verification.studies.own_statistics import generic

from tests.slow import slow

FAST = (
    "ddim",
    "dpm-solver-2",
    "deis-tab1",
    "er-sde-ode-2-corrected",
    "unipc-1-bh2",
    "fireflow",
    "dpm-solver-v3-2m",
)


def check(name: str, steps: int, tolerance: float) -> None:
    constant = error_constant(generic(name), steps)
    first, second = (abs(r - 1) for r in constant.ratios)
    assert abs(constant.limit - 1) < tolerance  # what is left is O(h^2)
    assert second < max(0.7 * first, 0.01)  # as O(h) or better, or there
    assert constant.distances[1] < 0.65 * constant.distances[0]  # no component is left: O(h)


@pytest.mark.parametrize(
    "name", slow(FAST, lambda name: name in ("deis-tab1", "fireflow", "dpm-solver-v3-2m"))
)
def test_the_error_of_a_run_is_the_predicted_one(name: str) -> None:
    check(name, 12, 0.02)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["dpm-solver-3", "unipc-2-bh2", "dpm-solver-v3-2m-c3", "deis-rhork-3kutta", "krogstad4"]
)
def test_the_error_of_a_run_of_high_order_is_the_predicted_one(name: str) -> None:
    check(name, 24, 0.02)


@pytest.mark.slow
def test_terms_that_vanish_on_equal_steps_count_on_smooth_grids() -> None:
    """iPNDM: its error O(h^2) (omega_1 - 1) is O(h^3) there, the leading one."""
    constant = error_constant(make("deis-ipndm"), 64)
    assert constant.order == 2
    assert constant.distances[1] < min(0.5 * constant.distances[0], 0.03)  # as h^2 would, and small


def test_another_methods_constant_shows() -> None:
    """DPM-Solver-2 has b_2 = phi_1/(2 r), the Taylor type phi_2/r: equal order, another constant."""
    solver, other = make("dpm-solver-2"), make("dpm-solver-2-taylor")
    measured = Run(solver, prove_solver(solver), Setting.default(), 24).measured()
    predicted = Run(other, prove_solver(other), Setting.default(), 24).predicted()
    assert abs(projected(measured, predicted) - 1) > 0.2


@pytest.mark.parametrize("rule", slow([RULES[0], RULES[-2]], lambda r: r is RULES[0]), ids=lambda r: r.name)
@pytest.mark.parametrize("points", slow([10, 20], lambda points: points == 10))
def test_the_effect_of_a_riemann_sum_is_the_predicted_one(rule: Rule, points: int) -> None:
    constant = effect(rule, points, 12)
    assert abs(constant.limit - 1) < 0.02  # what is left is O(h^2)
    assert constant.distances[1] < 0.65 * constant.distances[0]


def test_a_stage_that_does_not_integrate_constants_is_refused() -> None:
    with pytest.raises(ValueError, match="does not integrate a constant"):
        error_constant(make("lawson4"), 8)


def test_every_fast_name_is_known_to_the_claims() -> None:
    assert {"ddim", *FAST} <= {e.solver for e in EXPECTATIONS}
