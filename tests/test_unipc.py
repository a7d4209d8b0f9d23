"""UniPC: its rows are exponential Adams, proved exactly; its orders, measured; its evaluations, counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import sympy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from semilinear.integrators.diffusion import grids
from semilinear.integrators.diffusion.schedule import vp_linear
from semilinear.integrators.forms.form import data_in_lambda
from semilinear.integrators.plans.compile import Plan, compile_plan
from semilinear.integrators.plans.files import difference
from semilinear.integrators.plans.program import Evaluation
from semilinear.integrators.run.sampler import sample
from semilinear.integrators.solver import Ramp, Solver
from semilinear.integrators.solvers import dpm_solver, make
from semilinear.integrators.solvers.unipc import (
    VARIANTS,
    Variant,
    corrector,
    inverse,
    predictor,
    tableau,
    unipc,
)
from semilinear.integrators.tableaux.tableau import (
    N,
    P,
    Stage,
    Tableau,
    adams,
    at_zero,
    interpolate,
    omega,
    phi,
    phi1,
    weights_of,
)
from semilinear.verification.studies.flow import Experiment, Study, run
from semilinear.verification.studies.ladders import half_octaves
from sympy import Expr, Integer, Rational, factorial

from tests.roundings import SOME_ULP

VP = vp_linear()
RANGE: dict[str, Any] = {"t_start": 1.0, "t_end": 1e-3}
SOLVED = [v for v in VARIANTS if v != "vary-released"]
RATIOS = st.lists(st.fractions(Rational(1, 5), 3, max_denominator=30), min_size=4, max_size=4)


def plan(solver: Solver, steps: int = 8, **options: Any) -> Plan:
    return compile_plan(solver, VP, steps=steps, **RANGE | options)


def weights(row: Expr, ratios: list[Any] | None = None) -> dict[Expr, Expr]:
    """Weight by node: 0, 1 for the new evaluation, -omega_j; omega_j is the sum of the first j ratios."""
    values = {} if ratios is None else {omega(j): Rational(sum(ratios[:j])) for j in range(1, 5)}
    nodes = {0: Integer(0), 1: Integer(1)} | {-j: -omega(j) for j in range(1, 5)}
    return {nodes[k].subs(values): w.subs(values) for k, w in weights_of(row, "row", available=2).items()}


def defect(row: Mapping[Expr, Expr], m: int) -> Expr:
    """sum_i w_i theta_i^m - m! phi_{m+1}: 0 where the row integrates theta^m."""
    return sympy.expand(sum(w * node**m for node, w in row.items()) - factorial(m) * phi(m + 1, 1))


# --- rows ---


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
@settings(max_examples=5)
@given(ratios=RATIOS)
def test_the_corrector_satisfies_its_order_conditions_for_any_ratios(order: int, ratios: list[Any]) -> None:
    """Exactly, as polynomials in phi_k: theta^m for m = 0 .. p, so that UniC-p has order p + 1."""
    row = weights(corrector(order, "vary-corrected"), ratios)
    assert all(defect(row, m) == 0 for m in range(order + 1))
    assert defect(row, order + 1) != 0


@pytest.mark.parametrize("order", [2, 3, 4, 5])
@settings(max_examples=5)
@given(ratios=RATIOS)
def test_the_released_varying_corrector_violates_the_condition_of_order_two(
    order: int, ratios: list[Any]
) -> None:
    """Issue 10 of the release: not even sum b_i c_i = phi_2 holds, and at z = 0 it is not 1/2."""
    row = weights(corrector(order, "vary-released"), ratios)
    assert defect(row, 0) == 0
    assert at_zero(defect(row, 1)) != 0


def test_the_conditions_hold_and_fail_symbolically_at_order_two() -> None:
    w = omega(1)
    assert all(sympy.simplify(defect(weights(corrector(2, "vary-corrected")), m)) == 0 for m in range(3))
    missing = at_zero(defect(weights(corrector(2, "vary-released")), 1))
    assert sympy.simplify(missing + w / (3 * (1 + w))) == 0
    assert missing.subs(w, 1) == Rational(1, 3) - Rational(1, 2)


def test_at_order_one_the_release_reads_its_solution_rightly() -> None:
    assert sympy.expand(corrector(1, "vary-released") - corrector(1, "vary-corrected")) == 0


MOULTON: dict[int, list[Any]] = {
    1: ["1/2", "1/2"],
    2: ["5/12", "2/3", "-1/12"],
    3: ["3/8", "19/24", "-5/24", "1/24"],
    4: ["251/720", "646/720", "-264/720", "106/720", "-19/720"],
}


@pytest.mark.parametrize("order", MOULTON)
def test_at_z_zero_and_equal_steps_the_corrector_is_adams_moulton(order: int) -> None:
    row = weights(corrector(order, "vary-corrected"), [1, 1, 1, 1])
    nodes = [1, 0, -1, -2, -3][: order + 1]
    assert [at_zero(row[Integer(n)]) for n in nodes] == [Rational(w) for w in MOULTON[order]]


@pytest.mark.parametrize("order", [2, 3, 4])
@pytest.mark.parametrize("corrected", [False, True])
@settings(max_examples=5)
@given(ratios=RATIOS)
def test_the_rows_solve_the_release_s_system_whatever_its_b(
    order: int, corrected: bool, ratios: list[Any]
) -> None:
    """B R rho = b with R[k][m] = r_m^k, b_k = (k + 1)! phi_{k+2}/B: B is a symbol, and cancels."""
    if not corrected and order == 2:
        return  # the release does not solve this one
    b = sympy.Symbol("B")
    past = [-Rational(sum(ratios[:j])) for j in range(1, order)]
    nodes = [*past, Integer(1)] if corrected else past
    system = sympy.Matrix(len(nodes), len(nodes), lambda k, m: nodes[m] ** k)
    right = sympy.Matrix([factorial(k + 1) * phi(k + 2, 1) / b for k in range(len(nodes))])
    beta = b * system.LUsolve(right)
    expected = {node: value / node for node, value in zip(nodes, beta, strict=True)}
    row = corrector(order) if corrected else predictor(order)
    ours = weights(row, ratios)
    assert all(sympy.expand(ours[node] - expected[node]) == 0 for node in nodes)
    assert sympy.expand(ours[Integer(0)] - phi1 + sum(expected.values())) == 0


@given(nodes=st.sets(st.fractions(-3, 1, max_denominator=12), min_size=1, max_size=4))
def test_differences_are_taken_to_derivatives_by_the_inverse_matrix(nodes: set[Any]) -> None:
    r = [Rational(v) for v in nodes]
    c = sympy.Matrix(len(r), len(r), lambda m, k: r[m] ** k / factorial(k + 1))
    assert sympy.Matrix(inverse(list(r))) == c.inv()


def test_the_b2_predictor_of_order_two_is_dpm_solver_2m() -> None:
    ours = weights_of(predictor(2, "bh2"), "row", available=1)
    theirs = dpm_solver.multistep_second("dpmsolver").b
    assert ours.keys() == theirs.keys()
    assert all(sympy.simplify(ours[k] - theirs[k]) == 0 for k in ours)
    made = unipc(2, "bh2", corrections=0)
    assert difference(plan(made), plan(make("dpm-solver++-2m"))).value < SOME_ULP
    noise = unipc(2, "bh2", "noise", corrections=0)
    assert difference(plan(noise), plan(make("dpm-solver-2m"))).value < SOME_ULP


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
def test_the_solved_predictor_is_exponential_adams_bashforth(order: int) -> None:
    assert sympy.expand(predictor(order, "vary-corrected") - adams(order).output) == 0


def test_b1_and_b2_differ_only_where_the_release_does_not_solve() -> None:
    for p in (1, 2, 3, 4):
        assert (predictor(p, "bh1") == predictor(p, "bh2")) == (p != 2)
        assert (corrector(p, "bh1") == corrector(p, "bh2")) == (p != 1)


# --- plans ---


@pytest.mark.parametrize("prediction", ["data", "noise"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_unip_1_is_ddim(variant: Variant, prediction: Any) -> None:
    assert difference(plan(unipc(1, variant, prediction, corrections=0)), plan(make("ddim"))).value < SOME_ULP


@pytest.mark.parametrize("steps", range(1, 21))
def test_evaluations_follow_from_the_number_of_corrections(steps: int) -> None:
    for order in range(1, 6):
        counts = [plan(unipc(order, corrections=k), steps).nfe for k in range(3)]
        assert counts == [steps, *(1 + k * (steps - 1) for k in (1, 2))]
        lowered = plan(unipc(order), steps, final="lower")
        assert lowered.nfe == steps
        assert len(lowered.steps[-1].operations) == 1 + (steps == 1)


def test_corrected_states_are_not_evaluated() -> None:
    """Every evaluation but the first is at a predicted state, and so is the history."""
    for step in plan(unipc(3, corrections=2)).steps[1:-1]:
        predicted, first, corrected, second, output = step.operations
        assert isinstance(first, Evaluation)
        assert isinstance(second, Evaluation)
        assert (first.state, second.state) == (predicted.state, corrected.state)
        assert first.t == second.t == step.t1
        assert output.state == step.output != second.state


def test_an_exact_start_holds_the_history_at_the_given_states() -> None:
    made = plan(unipc(3), start="exact")
    first = made.steps[0].operations
    given_states = [op.state for op in first if isinstance(op, Evaluation)][:3]
    assert given_states == [0, 1, 2]
    assert made.nfe == plan(unipc(3)).nfe


@pytest.mark.parametrize(("order", "steps"), [(4, 4), (5, 5), (5, 6), (3, 9)])
def test_a_start_on_the_ramp_is_not_lowered_by_a_lower_final_order(order: int, steps: int) -> None:
    """The release climbs to order p - 1 and then takes min(p, steps left)."""
    expected = [n if n < order else min(order, steps + 1 - n) for n in range(1, steps + 1)]
    made = unipc(order).sequence.at(steps, "lower")
    assert [t.past + 1 for t in made] == expected


def test_too_few_steps_for_the_ramp_still_end_at_order_one() -> None:
    assert [t.past + 1 for t in unipc(5).sequence.at(3, "lower")] == [1, 2, 1]


@pytest.mark.parametrize("order", [3, 5])
def test_plans_have_all_their_digits(order: int) -> None:
    times = plan(unipc(order)).times
    a, b = (compile_plan(unipc(order), VP, times=times, digits=d) for d in (50, 65))
    assert difference(a, b).value < 1e-48  # of 50 digits


def test_it_starts_at_pure_noise_and_ends_at_sigma_zero() -> None:
    made = compile_plan(unipc(3), VP, steps=9, t_start=1.0, t_end=0.0, grid=grids.uniform_t(), final="lower")
    x = torch.randn(3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    to_point = lambda x, t: (x - 0.7 * VP.alpha(t)) / VP.sigma(t)  # noqa: E731
    found = sample(made, to_point, x).x
    torch.testing.assert_close(found, torch.full_like(x, 0.7), rtol=1e-11, atol=0)  # 1/alpha(1) = 150


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"order": 0}, "order must be an integer from 1 to 8, got 0"),
        ({"order": True}, "order must be an integer"),
        ({"order": 2, "corrections": -1}, "corrections must be an integer from 0 to 63, got -1"),
        ({"order": 2, "variant": "bh3"}, "variant must be one of bh1, .*'bh3'"),
        ({"order": 2, "prediction": "eps"}, "prediction must be one of data, noise, got 'eps'"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        unipc(**arguments)


# --- measured orders ---


@cache
def experiment() -> Experiment:
    return Experiment(schedule=VP, grid=grids.uniform_t(2.0), batch=16, ladder=half_octaves(8, 192))


def order_of(solver: Solver, start: Any = "exact", final: Any = None) -> Study:
    return run(solver, experiment(), start=start, final=final)


@pytest.mark.parametrize("variant", SOLVED)
@pytest.mark.parametrize("prediction", ["data", "noise"])
def test_the_short_cut_one_half_costs_no_order_where_the_release_takes_it(
    variant: Variant, prediction: Any
) -> None:
    """With it (bh1, bh2) and with the system solved: the predictor of order 2 may err by O(h^3)."""
    assert order_of(unipc(2, variant, prediction)).against(3) == "consistent"


def test_the_short_cut_in_a_corrector_of_order_two_costs_an_order() -> None:
    """What huggingface/diffusers, pull request 11612, fears of the release: it does so at order 1 alone."""
    good = tableau(2, "bh2", 1)
    cut = phi1 * N(0) + phi1 / 2 * (N(1) - N(0))
    bad = Tableau(good.stages, cut, carry=1)
    solver = replace(unipc(2), sequence=Ramp((tableau(1, "bh2", 1), bad), unipc(2).sequence.last))  # type: ignore[attr-defined]
    assert order_of(solver).against(2) == "consistent"
    assert order_of(solver).against(3) == "lower"


@pytest.mark.parametrize(("order", "own"), [(1, 2), (2, 3), (3, 3), (4, 3)])
def test_the_order_is_p_plus_one_and_the_own_start_allows_three(order: int, own: int) -> None:
    """In noise prediction, where the first step's error shows early."""
    solver = unipc(order, prediction="noise")
    assert order_of(solver).against(order + 1) == "consistent"
    assert order_of(solver, "own", "full").against(own) == "consistent"


@pytest.mark.parametrize("order", [2, 3])
def test_the_released_varying_corrector_is_first_order(order: int) -> None:
    study = order_of(unipc(order, "vary-released"))
    assert study.against(1) == "consistent"
    assert study.verdict == "lower"


@pytest.mark.parametrize("order", [2, 3])
def test_a_lower_final_order_makes_it_second_order(order: int) -> None:
    """The release's default: one last DDIM step, a local error O(h^2)."""
    study = order_of(unipc(order), "own")
    assert study.against(2) == "consistent"
    assert study.verdict == "lower"


@pytest.mark.parametrize("corrections", [0, 2, 3])
def test_more_corrections_do_not_raise_the_order_and_none_lowers_it(corrections: int) -> None:
    assert order_of(unipc(2, corrections=corrections)).against(3 if corrections else 2) == "consistent"


@pytest.mark.parametrize("change", [Rational(99, 100), Rational(101, 100)])
def test_a_perturbed_corrector_loses_its_order(change: Rational) -> None:
    good = tableau(2, "bh2", 1)
    exact = interpolate({Integer(0): N(0), -omega(1): P(1), Integer(1): N(1)})
    slope = N(1) - N(0)
    bad = Tableau((Stage(1, good.stages[0].formula),), exact + (change - 1) * phi1 / 3 * slope, carry=1)
    solver = Solver(
        name="perturbed",
        form=data_in_lambda,
        sequence=Ramp((tableau(1, "bh2", 1), bad)),
        claimed=3,
        source="test",
    )
    assert order_of(solver).against(3) == "lower"
