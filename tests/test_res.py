"""RES: which of its methods are known ones, what gamma must solve, and the release's slip."""

from __future__ import annotations

from typing import Any

import pytest
import sympy
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from semilinear.integrators.diffusion import grids
from semilinear.integrators.diffusion.schedule import vp_linear
from semilinear.integrators.plans.compile import Plan, compile_plan
from semilinear.integrators.plans.files import difference
from semilinear.integrators.solver import Solver
from semilinear.integrators.solvers import make, res
from semilinear.integrators.tableaux.tableau import Tableau, adams, at_zero, omega, phi, phi1, phi2
from semilinear.verification.studies.flow import Experiment, run
from semilinear.verification.studies.ladders import half_octaves
from sympy import Expr, Rational

from tests.roundings import SOME_ULP
from tests.slow import slow

VP = vp_linear()
ABSCISSA = st.fractions(Rational(1, 10), 1, max_denominator=20)
GAP = st.fractions(Rational(1, 5), 3, max_denominator=20)


def plan(solver: Solver, **options: Any) -> Plan:
    defaults: dict[str, Any] = {"steps": 7, "t_start": 1.0, "t_end": 1e-3, "final": "full"}
    return compile_plan(solver, VP, **defaults | options)


def usable(c2: Any, c3: Any, released: bool = False) -> tuple[Rational, Rational]:
    """Exact abscissae for which RES-3S exists."""
    a, b = Rational(c2), Rational(c3)
    assume(a != b and a != Rational(2, 3))
    assume(res.gamma(a, b, released=released) * a + b != 0)
    return a, b


def zero(tableau: Tableau) -> tuple[list[Expr], list[Expr], Expr]:
    """b, c and the one a_ij beside the first column, at z = 0."""
    b = [at_zero(sympy.expand(tableau.b.get(j, sympy.Integer(0)))) for j in range(3)]
    return b, [sympy.Integer(0), *tableau.c], at_zero(sympy.expand(tableau.a[1][1]))


# --- known methods ---


def test_2s_is_dpm_solver_pp_2s_of_type_taylor() -> None:
    assert difference(plan(res.singlestep(2)), plan(make("dpm-solver++-2s-taylor"))).value == 0


def test_2s_at_c_2_equal_1_is_etdrk2() -> None:
    assert difference(plan(res.singlestep(2, 1)), plan(make("etdrk2"))).value < SOME_ULP


def test_2m_is_dpm_solver_pp_2m_of_type_taylor() -> None:
    assert difference(plan(res.multistep(2)), plan(make("dpm-solver++-2m-taylor"))).value < SOME_ULP


def test_2m_is_the_output_of_2s_with_the_last_evaluation_for_its_stage() -> None:
    b = adams(2).b
    assert sympy.expand(b[-1] - phi2 / -omega(1)) == 0
    assert sympy.expand(b[0] - (phi1 - phi2 / -omega(1))) == 0


def test_3s_at_c_3_equal_two_thirds_is_dpm_solver_pp_3s() -> None:
    """gamma = 0: Hochbruck & Ostermann's eq. 5.9 inside their eq. 5.8."""
    solver = res.singlestep(3, Rational(1, 3), Rational(2, 3))
    assert difference(plan(solver), plan(make("dpm-solver++-3s"))).value < SOME_ULP


# --- order conditions ---


@settings(max_examples=20)
@given(c2=ABSCISSA, c3=ABSCISSA)
def test_3s_satisfies_the_conditions_of_order_three_at_any_abscissae(c2: Any, c3: Any) -> None:
    """Exactly, at z = 0; sum b_i = phi_1 and sum b_i c_i = phi_2 for every z."""
    a, c = usable(c2, c3)
    tableau = res.third(a, c)
    b, nodes, a32 = zero(tableau)
    moments = [sum(w * n**m for w, n in zip(b, nodes, strict=True)) for m in range(3)]
    assert moments == [1, Rational(1, 2), Rational(1, 3)]
    assert b[2] * a32 * a == Rational(1, 6)
    assert sympy.expand(sum(tableau.b.values()) - phi1) == 0
    assert sympy.expand(tableau.b.get(1, 0) * a + tableau.b[2] * c - phi2) == 0


@settings(max_examples=20)
@given(c2=ABSCISSA, c3=ABSCISSA)
def test_the_release_s_gamma_satisfies_them_at_c_3_equal_1_alone(c2: Any, c3: Any) -> None:
    a, c = usable(c2, c3, released=True)
    b, nodes, _ = zero(res.third(a, c, released=True))
    assert b[1] * nodes[1] + b[2] * nodes[2] == Rational(1, 2)
    assert (b[1] * nodes[1] ** 2 + b[2] * nodes[2] ** 2 == Rational(1, 3)) == (c == 1)


@settings(max_examples=10)
@given(first=GAP, second=GAP)
def test_3m_is_adams_bashforth_3_at_z_zero_and_not_elsewhere(first: Any, second: Any) -> None:
    values = {omega(1): Rational(first), omega(2): Rational(first + second)}

    def row(tableau: Tableau) -> list[Expr]:
        return [tableau.b[j].subs(values) for j in (0, -1, -2)]

    corrected, released, reference = (
        row(t) for t in (res.multistep_third(released=False), res.multistep_third(released=True), adams(3))
    )
    assert [at_zero(w) for w in corrected] == [at_zero(w) for w in reference]
    assert [at_zero(w) for w in released] != [at_zero(w) for w in reference]
    assert not corrected[1].has(phi(3, 1))
    assert reference[1].has(phi(3, 1))


def test_the_weights_of_3m_on_equal_steps() -> None:
    equal = {omega(1): 1, omega(2): 2}
    corrected, released = (res.multistep_third(released=r).b for r in (False, True))
    assert [at_zero(corrected[j].subs(equal)) for j in (0, -1, -2)] == [
        Rational(23, 12),
        Rational(-4, 3),
        Rational(5, 12),
    ]
    assert [at_zero(released[j].subs(equal)) for j in (-1, -2)] == [Rational(-1, 3), Rational(-1, 12)]


def test_the_non_monotonic_gammas() -> None:
    assert res.gamma(1, Rational(1, 2), released=True) == Rational(5, 8)
    assert res.gamma(1, Rational(1, 2)) == Rational(1, 4)


# --- plans and measured orders ---


def test_3m_starts_with_three_steps_of_3s() -> None:
    made = plan(res.multistep(3, released=False))
    assert [sum(hasattr(op, "t") for op in s.operations) for s in made.steps] == [3, 3, 3, 1, 1, 1, 1]
    ends = plan(res.multistep(3, released=False), t_end=0.0, grid=grids.uniform_t(), final="lower")
    assert len(ends.steps[-1].operations) == 2


def test_plans_have_all_their_digits() -> None:
    for solver in (res.singlestep(3, Rational(2, 5), Rational(4, 5)), res.multistep(3, released=False)):
        times = plan(solver).times
        a, b = (compile_plan(solver, VP, times=times, digits=d) for d in (50, 65))
        assert difference(a, b).value < 1e-48  # of 50 digits


@pytest.mark.parametrize(
    ("solver", "order"),
    slow(
        [
            (res.singlestep(3, Rational(2, 5), Rational(4, 5)), 3),
            (res.singlestep(3, Rational(2, 5), Rational(4, 5), released=True), 2),
            (res.non_monotonic(released=True), 2),
            (res.non_monotonic(released=False), 3),
            (res.multistep(3, released=True), 2),
            (res.multistep(3, released=False), 3),
        ],
        lambda case: "non-monotonic" in case[0].name,  # singlestep at other abscissae
    ),
    ids=lambda v: v.name if isinstance(v, Solver) else str(v),
)
def test_the_release_s_gamma_costs_an_order(solver: Solver, order: int) -> None:
    grid, ladder = grids.uniform_t(2.0), half_octaves(8, 192)
    experiment = Experiment(schedule=VP, grid=grid, batch=24, ladder=ladder)
    study = run(solver, experiment)
    assert study.against(order) == "consistent"
    assert study.verdict == ("consistent" if order == 3 else "lower")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: res.singlestep(4), "order must be an integer from 2 to 3, got 4"),
        (lambda: res.singlestep(2, c3=1), "order 2 takes neither c3 nor released, got 1"),
        (lambda: res.multistep(1), "order must be an integer from 2 to 3, got 1"),
        (lambda: res.singlestep(2, 0), r"c2 must be a number in \(0, 1\], got 0"),
        (lambda: res.singlestep(3, Rational(1, 2), Rational(3, 2)), r"c3 must be a number in \(0, 1\]"),
        (lambda: res.singlestep(3, Rational(2, 3)), "c2 and c3 must be such that RES-3S has a solution"),
        (lambda: res.singlestep(3, Rational(1, 2), Rational(1, 2)), "has a solution, got 1/2 and 1/2"),
    ],
)
def test_bad_arguments_are_named(build: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
