from __future__ import annotations

import math
import re
from typing import Any

import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st
from semilinear.integrators.diffusion.schedule import vp_linear
from semilinear.integrators.forms.form import data_in_lambda, noise_in_lambda, noise_in_rho, noise_in_time
from semilinear.integrators.numerics.arithmetic import FLOAT64, multiprecision
from semilinear.integrators.numerics.phi import phi as numeric_phi
from semilinear.integrators.plans.scope import Scope
from semilinear.integrators.solver import Repeat
from semilinear.integrators.solvers import SOLVERS, make
from semilinear.integrators.tableaux import tableau as module
from semilinear.integrators.tableaux.catalogue import CATALOGUE
from semilinear.integrators.tableaux.evaluate import AtZ, evaluator
from semilinear.integrators.tableaux.tableau import (
    N,
    P,
    Stage,
    Tableau,
    adams,
    at_zero,
    evaluation,
    interpolate,
    key_of,
    nested_collocation,
    omega,
    phi,
    phi1,
    phi2,
    phi3,
    ratio_of,
    z,
)
from sympy import Integer, Rational, Symbol

from tests.roundings import AMPLIFIED, SOME_ULP, THIRTY_DIGITS

VP = vp_linear()
FORMS = (noise_in_lambda, data_in_lambda, noise_in_rho, noise_in_time)


INCONSISTENT = {"dpm++-2m-v2": ["output: weights sum to omega1/2 + 1/2 at z = 0, not to 1"]}
"""What its author wrote; in the sum of all steps it telescopes (tests/test_interfaces.py)."""


@pytest.mark.parametrize("name", SOLVERS)
def test_every_listed_tableau_integrates_a_constant(name: str) -> None:
    defects = [defect for tableau in make(name).sequence.tableaux for defect in tableau.consistency_defects()]
    assert defects == INCONSISTENT.get(name, [])


@pytest.mark.parametrize("name", SOLVERS)
def test_every_solver_names_its_source_and_a_positive_claim(name: str) -> None:
    solver = make(name)
    assert solver.name == name
    assert solver.claimed >= 1
    assert re.search(r"arXiv:\d{4}\.\d{4,5}|(18|19|20)\d\d", solver.paper), solver.paper
    assert solver.source != solver.paper
    assert re.search(r"[A-Za-z]{2}", solver.source)


@given(st.integers(1, 4), st.lists(st.floats(0.2, 3.0), min_size=3, max_size=3), st.sampled_from(FORMS))
def test_adams_rows_integrate_polynomials_exactly_on_any_grid(k: int, gaps: list[float], form: Any) -> None:
    """With N = tau^m, m < k, the row equals the m-th moment, whatever the step ratios."""
    step = form(VP).step(0.5, 0.44)
    h, taus, position = step.h, [], step.tau0
    for gap in gaps:
        position = position - gap * h
        taus.append(position)
    scope = Scope(step, tuple(taus), {})
    weights = {j: evaluator(w, FLOAT64)(scope) for j, w in adams(k).b.items()}
    nodes = {0: 0.0} | {-j: (taus[j - 1] - step.tau0) / h for j in range(1, k)}
    for m in range(k):
        quadrature = sum(w * nodes[j] ** m for j, w in weights.items())
        size = sum(abs(w * nodes[j] ** m) for j, w in weights.items())
        assert quadrature == pytest.approx(
            math.factorial(m) * step.phi(m + 1, 1.0), abs=AMPLIFIED * max(size, 1)
        )


def test_adams_2_and_3_are_the_written_formulas() -> None:
    w = omega(1)
    assert sympy.simplify(adams(2).b[0] - (phi1 + phi2 / w)) == 0
    assert sympy.simplify(adams(2).b[-1] + phi2 / w) == 0
    constant = {omega(1): 1, omega(2): 2}
    b = adams(3).b
    assert sympy.expand(b[0].subs(constant) - (phi1 + Rational(3, 2) * phi2 + phi3)) == 0
    assert sympy.expand(b[-1].subs(constant) - (-2 * phi2 - 2 * phi3)) == 0
    assert sympy.expand(b[-2].subs(constant) - (phi2 / 2 + phi3)) == 0


def test_corrected_3m_is_exponential_adams_bashforth_3() -> None:
    a, b = make("dpm-solver++-3m-corrected").sequence.tableaux[-1].b, adams(3).b
    assert all(sympy.simplify(a[j] - b[j]) == 0 for j in (0, -1, -2))


def test_released_3m_has_half_the_second_difference() -> None:
    released, exact = make("dpm-solver++-3m-released").sequence.tableaux[-1].b, adams(3).b
    constant = {omega(1): 1, omega(2): 2}
    for j, share in ((0, 1), (-1, -2), (-2, 1)):
        assert sympy.expand((exact[j] - released[j]).subs(constant) - share * phi3 / 2) == 0


def test_dpm_solver_3_is_hochbruck_ostermann_5_9() -> None:
    tableau = make("dpm-solver-3").sequence.tableaux[-1]
    at = Rational(2, 3)
    assert sympy.simplify(tableau.a[1][1] - Rational(4, 9) / Rational(1, 3) * phi(2, at)) == 0
    assert sympy.simplify(tableau.b[2] - Rational(3, 2) * phi2) == 0
    assert 1 not in tableau.b


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
def test_nested_collocation_satisfies_its_quadrature_conditions(order: int) -> None:
    """sum_i b_i c_i^(m-1)/(m-1)! = phi_m for m <= order: the stiff conditions psi_m = 0."""
    tableau = nested_collocation(order)
    assert tableau.evaluations == 1 + order * (order - 1) // 2
    c = [Integer(0), *tableau.c]
    for m in range(1, order + 1):
        total = sum(w * c[j] ** (m - 1) / sympy.factorial(m - 1) for j, w in tableau.b.items())
        assert sympy.expand(total - phi(m, 1)) == 0


@given(st.integers(0, 6), st.fractions(0, 1, max_denominator=8), st.floats(-20, 8))
def test_the_symbolic_phi_is_the_numeric_one(k: int, c: Any, at: float) -> None:
    from semilinear.integrators.numerics.phi import phi as numeric

    step = data_in_lambda(VP).step(0.5, 0.3)
    vars(step)["h"] = -at  # z = -h
    value = evaluator(phi(k, Rational(c.numerator, c.denominator)), FLOAT64)(Scope(step, (), {}))
    assert value == pytest.approx(numeric(k, float(c) * at), rel=SOME_ULP, abs=0)


def test_products_powers_and_exponentials_evaluate() -> None:
    xp = multiprecision(30)
    step = data_in_lambda(VP).step(xp.number(0.5), xp.number(0.3))
    scope = Scope(step, (), {sympy.Symbol("r"): xp.number(2)})
    expression = z * phi(1, Rational(1, 2)) ** 2 / 4 + sympy.exp(z / 3) - sympy.Symbol("r") ** Rational(1, 2)
    half = (xp.exp(step.z / 2) - 1) / (step.z / 2)
    expected = step.z * half**2 / 4 + xp.exp(step.z / 3) - xp.sqrt(xp.number(2))
    assert abs(evaluator(expression, xp)(scope) - expected) < THIRTY_DIGITS / 10


def test_other_functions_are_refused() -> None:
    with pytest.raises(TypeError, match="sin"):
        evaluator(sympy.sin(z), FLOAT64)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Tableau((), N(0) * N(0)), "linear"),
        (lambda: Tableau((), phi1 * N(0) + phi1), "combination"),
        (lambda: Tableau((), N(1)), "not evaluated yet"),
        (lambda: Tableau((Stage(Rational(1, 2), N(1)),), N(1)), "not evaluated yet"),
        (lambda: Tableau((Stage(Rational(1, 2), N(0) + P(1)),), N(1), carry=1), "abscissa 1 where"),
        (lambda: Tableau((Stage(Rational(1, 2), N(0) / omega(1)),), N(1), carry=1), "abscissa 1 where"),
        (lambda: Tableau((Stage(sympy.Symbol("c"), N(0)),), N(1), carry=1), r"in \(0, 1\], got c = c"),
        (lambda: Tableau((Stage(2, N(0)),), N(1), carry=1), r"in \(0, 1\], got c = 2"),
        (lambda: Tableau((), N(0), carry=1), "carry must name"),
        (lambda: Tableau.from_arrays([0, 1], [[], [1]], [1]), "same length"),
        (lambda: Tableau.from_arrays([1], [[]], [1]), "start with 0"),
        (lambda: Tableau.from_arrays([0, 1], [[1], [1]], [1, 0]), r"a\[0\]\[0\]"),
        (lambda: phi(-1, 1), "non-negative"),
        (lambda: adams(0), "k must"),
        (lambda: nested_collocation(True), "order must"),
    ],
)
def test_malformed_tableaux_are_refused(build: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize("build", [adams, nested_collocation])
def test_a_tableau_that_is_kept_stands_for_its_number_alone(build: Any) -> None:
    assert build(1) is build(1)
    with pytest.raises(ValueError, match="must be an integer"):
        build(True)  # equal to 1, and of the same hash


def test_every_row_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read, weights_of = list[str](), module.weights_of

    def noted(formula: Any, name: str, available: int) -> Any:
        read.append(name)
        return weights_of(formula, name, available)

    monkeypatch.setattr(module, "weights_of", noted)
    tableau = Tableau((Stage(1, phi1 * N(0)),), phi1 * N(1), low=phi1 * N(0))
    assert (tableau.a, tableau.b, tableau.past) == (({0: phi1},), {1: phi1}, 0)
    assert read == ["stage 1", "output", "low"]


def test_facts_are_derived_from_the_formula() -> None:
    tableau = Tableau((Stage(1, phi1 * N(0)),), phi1 * N(0) + phi3 * (N(1) - P(2)) / omega(2), carry=1)
    assert (tableau.past, tableau.evaluations, tableau.moments) == (2, 1, 3)
    assert tableau.parameters == frozenset()
    assert tableau.known == {0: 0, -1: -omega(1), -2: -omega(2)}
    free = sympy.Symbol("r")
    assert Tableau((Stage(free, free * phi(1, free) * N(0)),), phi1 * N(1)).parameters == {free}


def test_what_is_carried_from_inside_a_step_lies_that_far_before_the_next() -> None:
    """FireFlow's N(0): half of the last step back, in units of this one."""
    third = Tableau((Stage(Rational(1, 3), phi(1, Rational(1, 3)) * N(0) / 3),), phi1 * N(1), carry=1)
    assert (third.lag, third.known, third.ratios) == (Rational(2, 3), {0: -2 * omega(1) / 3}, (omega(1),))
    assert (third.evaluations, third.past, third.parameters) == (1, 0, frozenset())


def test_interpolation_through_one_node_is_the_euler_row() -> None:
    assert interpolate({Integer(0): N(0)}, Rational(1, 3)) == Rational(1, 3) * phi(1, Rational(1, 3)) * N(0)


def test_inconsistent_weights_are_reported() -> None:
    defects = Tableau(
        (Stage(Rational(1, 2), phi1 * N(0)),), phi1 * N(0) * Rational(9, 10)
    ).consistency_defects()
    assert len(defects) == 2
    assert "9/10" in defects[1]


ONE_STEP = [
    name
    for name in SOLVERS
    if isinstance(make(name).sequence, Repeat) and "released" not in name and name != "dpm-2-ancestral-rf"
]
"""Its middle is the geometric mean of two times, half-way in the limit alone."""


@pytest.mark.parametrize("name", ONE_STEP)
def test_one_step_tableaux_satisfy_the_classical_order_conditions_of_their_claim(name: str) -> None:
    """At z = 0 every method is a Runge-Kutta method of at least its claimed order (to order 4)."""
    tableau, p = make(name).sequence.tableaux[-1], make(name).claimed
    s = len(tableau.c) + 1
    c = [sympy.Integer(0), *tableau.c]
    b = [at_zero(tableau.b.get(j, sympy.Integer(0))) for j in range(s)]
    a = [
        [at_zero(tableau.a[i - 1].get(j, sympy.Integer(0))) if i and j < i else 0 for j in range(s)]
        for i in range(s)
    ]
    ac = [sum(a[i][j] * c[j] for j in range(s)) for i in range(s)]
    conditions = {
        1: [(sum(b), 1)],
        2: [(sum(x * y for x, y in zip(b, c)), Rational(1, 2))],
        3: [
            (sum(x * y**2 for x, y in zip(b, c)), Rational(1, 3)),
            (sum(x * y for x, y in zip(b, ac)), Rational(1, 6)),
        ],
        4: [
            (sum(x * y**3 for x, y in zip(b, c)), Rational(1, 4)),
            (sum(b[i] * c[i] * ac[i] for i in range(s)), Rational(1, 8)),
            (sum(b[i] * a[i][j] * c[j] ** 2 for i in range(s) for j in range(s)), Rational(1, 12)),
            (sum(b[i] * a[i][j] * ac[j] for i in range(s) for j in range(s)), Rational(1, 24)),
        ],
    }
    for order in range(1, min(p, 4) + 1):
        for value, wanted in conditions[order]:
            assert sympy.simplify(value - wanted) == 0, (order, value, wanted)


@pytest.mark.parametrize("value", ["nonsense", 1, None])
def test_stage_noise_is_the_paths_or_the_stages_own(value: Any) -> None:
    with pytest.raises(ValueError, match="stage_noise must be False, True or 'independent'"):
        Tableau((), N(0), stage_noise=value)


@pytest.mark.parametrize(
    ("name", "order"),
    [("genlawson42", 4), ("modgenlawson45", 6), ("pec524", 5), ("pecec433", 4), ("ab-norsett5", 5)],
)
def test_the_quadrature_order_is_that_of_the_output_whatever_is_claimed(name: str, order: int) -> None:
    tableau = CATALOGUE[name].tableau
    assert tableau.quadrature_order == order
    assert nested_collocation(max(tableau.past + 1, order)).quadrature_order >= order


def test_every_symbol_of_a_formula_tells_what_it_belongs_to() -> None:
    for key in (*range(5), *range(-4, 0)):
        assert key_of(evaluation(key)) == key
        assert ratio_of(evaluation(key)) is None
    for j in range(1, 5):
        assert ratio_of(omega(j)) == j
        assert key_of(omega(j)) is None
    assert ratio_of(z) is key_of(z) is None


def test_a_formula_has_its_value_at_one_z_and_given_step_ratios_alone() -> None:
    weight = omega(2) * phi(2, Rational(1, 2)) + z
    value, own = evaluator(weight, FLOAT64), numeric_phi(2, -0.25)
    rounding = 1e-15  # of a product and a sum
    assert value(AtZ(-0.5, (0.75, 1.5))) == pytest.approx(1.5 * own - 0.5, abs=rounding)
    assert value(AtZ(-0.5)) == pytest.approx(2 * own - 0.5, abs=rounding)  # equal steps: omega(2) = 2
    with pytest.raises(ValueError, match="parameter r has no value"):
        evaluator(Symbol("r") * z, FLOAT64)(AtZ(-0.5))
