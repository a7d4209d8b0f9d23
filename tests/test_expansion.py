"""Error coefficients against an oracle that knows no trees: power series of the local error over Q."""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction
from typing import Any

import mpmath
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from semilinear.analysis.algebra.ring import Field, NotInRing
from semilinear.analysis.algebra.trees import trees
from semilinear.analysis.orders.defects import Defects
from semilinear.analysis.orders.expansion import Expansion, duhamel, unweighted, weighted
from semilinear.analysis.orders.proof import leading_terms, local_order, prove
from semilinear.integrators.tableaux.catalogue import CATALOGUE
from semilinear.integrators.tableaux.catalogue.entry import from_columns
from semilinear.integrators.tableaux.tableau import (
    N,
    P,
    Stage,
    Tableau,
    adams,
    nested_collocation,
    omega,
    phi,
    phi1,
    phi2,
    phi3,
    phi4,
    z,
)
from sympy import Integer, Rational, exp

from tests.roundings import SOME_ULP
from tests.slow import slow

from .local_error import System, add, duhamel_system, fraction, scale, weighted_system

H = Rational(1, 2)
RATIOS = (Fraction(3, 2), Fraction(7, 3), Fraction(4))
UNSOUND = Tableau(
    (Stage(H, phi(1, H) / 3 * N(0)), Stage(Integer(1), exp(z) * N(0) / 5 + z * phi2 * N(1) + 2 * N(1))),
    phi1 * N(0) / 4 + phi3 * N(1) + exp(z / 3) * N(2),
)
"""Rows that sum to nothing in particular: neither to c nor to c phi_1."""
MULTISTEP = Tableau(
    (Stage(H, phi(1, H) * N(0) / 3 + phi(2, H) * P(1)), Stage(Integer(1), phi2 * N(1) + phi1 * P(2) / 2)),
    phi1 * N(0) / 2 + phi2 * P(1) / omega(1) + omega(2) * phi3 * N(1) + N(2) / 5,
)


def series_of(expansion: Expansion, system: System, q: int) -> Any:
    total = scale(Fraction(0), system.start)
    classes = [(tree, value) for tree, value in expansion.errors(q).items()]
    for tree, value in classes:
        total = add(total, scale(rational(expansion, value), system.differential(tree)))
    return total


def rational(expansion: Expansion, value: Any) -> Fraction:
    given = {omega(j): Rational(r.numerator, r.denominator) for j, r in enumerate(RATIOS, 1)}
    return fraction(expansion.field.expression(value).subs(given))


def timed(expansion: Expansion) -> Expansion:
    """With the leaf tau, where the tableau's rows made it unnecessary."""
    return dataclasses.replace(expansion, kind=expansion.kind._replace(time=True))


EXPRB43 = from_columns(
    [Integer(0), H, Integer(1)], {(3, 2): phi1}, {2: 16 * phi3 - 48 * phi4, 3: -2 * phi3 + 12 * phi4}
)
"""Hochbruck, Ostermann & Schweitzer 2009."""


@pytest.mark.parametrize("tableau", [EXPRB43, UNSOUND], ids=["exprb43", "unsound"])
def test_the_trees_sum_to_the_local_error_where_l_is_the_jacobian(tableau: Tableau) -> None:
    """Of Rosenbrock type: N' = 0 at the start; in general the same tableau is of a lower order."""
    system, expansion = duhamel_system(8, linearised=True), duhamel(tableau, 6, linearised=True)
    (slope,) = system.nonlinear([system.start], Fraction(0), [(Fraction(1), Fraction(2), Fraction(0))])
    assert not any(slope)
    error = system.error(tableau, 6)
    for q in range(1, 6):
        assert series_of(expansion, system, q) == error[q]


def test_a_rosenbrock_method_has_its_order_only_where_l_is_the_jacobian() -> None:
    assert duhamel(EXPRB43, 6, linearised=True).order(5) == 4
    assert prove(EXPRB43, linearised=True).classical == prove(EXPRB43, linearised=True).stiff == 4
    assert duhamel(EXPRB43, 6).order(5) == 2


SMALL = ["etdrk2", "etdrk3", "etdrk4", "krogstad4", "lawson4", "hochbruck-ostermann4"]
TABLEAUX = [CATALOGUE[name].tableau for name in SMALL] + [adams(2), adams(3), UNSOUND, MULTISTEP]


@pytest.mark.parametrize(
    "tableau",
    slow(TABLEAUX, lambda t: t in TABLEAUX[3:6:2]),  # explicit of order 4, as etdrk4 is
    ids=[*SMALL, "adams2", "adams3", "unsound", "multistep"],
)
def test_the_trees_sum_to_the_local_error_for_a_full_matrix(tableau: Tableau) -> None:
    """Every order <= 5, not only the leading one, L and N' not commuting."""
    system, expansion = duhamel_system(1), duhamel(tableau, 6)
    error = system.error(tableau, 6, RATIOS)
    for q in range(1, 6):
        assert series_of(expansion, system, q) == error[q]


@pytest.mark.parametrize("tableau", [UNSOUND, MULTISTEP, adams(2)], ids=["unsound", "multistep", "adams2"])
def test_the_trees_sum_to_the_local_error_where_n_depends_on_time(tableau: Tableau) -> None:
    system, expansion = duhamel_system(2, timed=True), timed(duhamel(tableau, 5))
    error = system.error(tableau, 5, RATIOS)
    for q in range(1, 5):
        assert series_of(expansion, system, q) == error[q]


@pytest.mark.parametrize("tableau", TABLEAUX[:5] + TABLEAUX[-2:])
def test_the_classes_sum_to_the_local_error_for_a_scalar_l(tableau: Tableau) -> None:
    system, expansion = duhamel_system(3, scalar=True), duhamel(tableau, 6)
    error = system.error(tableau, 6, RATIOS)
    for q in range(1, 6):
        total = scale(Fraction(0), system.start)
        for tree, value in expansion.classes(q).values():
            total = add(total, scale(rational(expansion, value), system.differential(tree)))
        assert total == error[q]


WEIGHTED = [
    Tableau((Stage(H, H * phi(1, H) * N(0)),), phi1 * N(0) + phi2 * 2 * (N(1) - N(0))),
    Tableau((Stage(H, phi(1, 1) / 3 * N(0)), Stage(1, phi2 * N(1))), phi1 * N(1) / 2 + phi3 * N(2)),
    Tableau((Stage(H, phi(2, H) * P(1)),), phi1 * N(0) + phi2 * (N(1) - P(1)) / omega(1)),
    adams(3),
    nested_collocation(3),
]


@pytest.mark.parametrize("scalar", [False, True])
@pytest.mark.parametrize("tableau", WEIGHTED)
def test_the_trees_sum_to_the_local_error_for_any_weight(tableau: Tableau, scalar: bool) -> None:
    system, expansion = weighted_system(4, scalar=scalar), weighted(tableau, 6)
    error = system.error(tableau, 6, RATIOS)
    for q in range(1, 6):
        if not scalar:
            assert series_of(expansion, system, q) == error[q]
            continue
        total = scale(Fraction(0), system.start)
        for tree, value in expansion.classes(q).values():
            total = add(total, scale(rational(expansion, value), system.differential(tree)))
        assert total == error[q]


@pytest.mark.parametrize("tableau", WEIGHTED)
def test_a_weight_and_an_integrand_that_depend_on_time(tableau: Tableau) -> None:
    system, expansion = weighted_system(5, timed=True), timed(weighted(tableau, 5))
    error = system.error(tableau, 5, RATIOS)
    for q in range(1, 5):
        assert series_of(expansion, system, q) == error[q]


@pytest.mark.parametrize("scalar", [False, True])
@pytest.mark.parametrize("make", [duhamel, weighted, unweighted])
@pytest.mark.parametrize("tableau", WEIGHTED)
def test_no_order_depends_on_whether_n_depends_on_time(tableau: Tableau, make: Any, scalar: bool) -> None:
    expansion = make(tableau, 6)
    assert expansion.order(5, scalar=scalar) == timed(expansion).order(5, scalar=scalar)


@given(st.lists(st.sampled_from([0, 1, -1, H, Rational(1, 3)]), min_size=6, max_size=6), st.booleans())
@settings(max_examples=30)
def test_no_order_of_a_random_tableau_depends_on_whether_n_depends_on_time(
    c: list[Any], scalar: bool
) -> None:
    """Stages that integrate a constant at z = 0 only, where L or w moves between a node and its child."""
    first = Stage(H, (H + c[0] * z + c[1] * z**2) * N(0))
    tableau = Tableau((first,), (c[2] * z + c[3] * z**2) * N(0) + (1 + c[4] * z + c[5] * z**2) * N(1))
    expansion = duhamel(tableau, 6)
    assert expansion.order(5, scalar=scalar) == timed(expansion).order(5, scalar=scalar)


def test_defects_and_trees_agree_on_every_order() -> None:
    """Where both apply: two routes to one number."""
    for tableau in [*TABLEAUX, *WEIGHTED, nested_collocation(3), adams(4)]:
        for expansion in (duhamel(tableau, 5), unweighted(tableau, 5)):
            for scalar in (False, True):
                assert local_order(expansion, 4, scalar=scalar) == expansion.order(4, scalar=scalar)
    for tableau in [*WEIGHTED, adams(4)]:
        expansion = weighted(tableau, 6)
        for scalar in (False, True):
            assert local_order(expansion, 5, scalar=scalar) == timed(expansion).order(5, scalar=scalar)


def test_a_stage_that_ignores_its_abscissa_is_first_order_at_l_0() -> None:
    """Weight 1/3 at abscissa 1/2: the quadrature is the midpoint rule, the stage is not at the midpoint."""
    tableau = Tableau((Stage(H, phi(1, 1) * N(0) / 3),), phi1 * N(1))
    expansion = unweighted(tableau, 4)
    assert local_order(expansion, 3) == expansion.order(3) == 1
    assert [term.differential for term in leading_terms(Defects(expansion), 2)] == ["N'(N)"]


def test_a_weight_moved_from_a_node_to_its_child_is_seen_where_n_depends_on_time() -> None:
    """Two errors of order 3 that cancel in w' N'(w N) + w N'(w' N), but not in w' N'(tau)."""
    third, shift = Rational(1, 3), phi(1, 1) - phi(1, H)
    a32, first = Rational(4, 3) * phi(2, 2 * third), third * phi(1, third) * N(0)
    row = (2 * third * phi(1, 2 * third) - a32) * N(0) + a32 * N(1)
    output = phi1 * N(0) + Rational(3, 2) * phi2 * (N(2) - N(0))
    sound = Tableau((Stage(third, first), Stage(2 * third, row)), output)
    moved = Tableau(
        (Stage(third, first), Stage(2 * third, row - 8 * shift * N(0))), output + 9 * shift * (N(2) - N(0))
    )
    assert weighted(sound, 5).order(4, scalar=True) == 3
    expansion = weighted(moved, 5)
    blind = dataclasses.replace(expansion, kind=expansion.kind._replace(time=False))
    assert (expansion.order(4, scalar=True), blind.order(4, scalar=True)) == (2, 3)
    error = weighted_system(7, scalar=True, timed=True).error(moved, 4)
    assert any(error[3])


def test_mpmath_confirms_the_principal_error_of_an_actual_step() -> None:
    """One step of Krogstad's method with matrix phi-functions at 80 digits, h = 1e-10."""
    system, tableau = duhamel_system(6), CATALOGUE["krogstad4"].tableau
    with mpmath.workdps(80):
        h = mpmath.mpf(10) ** -10
        error = mpmath.matrix(_step(system, tableau, h)) - mpmath.matrix(_flow(system, h))
        expansion = duhamel(tableau, 6)
        predicted = mpmath.matrix(
            [mpmath.mpf(x.numerator) / x.denominator for x in series_of(expansion, system, 5)]
        )
        # the next term's share, O(h)
        assert mpmath.norm(error / h**5 - predicted) < 1e-5 * mpmath.norm(predicted)


def _flow(system: System, h: Any) -> list[Any]:
    terms = system.solution(16)
    return [
        sum(mpmath.mpf(v[i].numerator) / v[i].denominator * h**k for k, v in enumerate(terms)) for i in (0, 1)
    ]


def _step(system: System, tableau: Tableau, h: Any) -> list[Any]:
    """exp by mpmath; phi_k(A) as the corner of the exponential of [[A, I], [0, 0]]-like blocks."""
    real = lambda x: mpmath.mpf(x.numerator) / x.denominator  # noqa: E731
    matrix = mpmath.matrix([[real(x) for x in row] for row in system.operators[1]]) * h

    def phi_of(k: int, c: Any) -> Any:
        size = 2 * (k + 1)
        block = mpmath.zeros(size)
        block[0:2, 0:2] = matrix * c
        for i in range(size - 2):
            block[i, i + 2] += 1
        return mpmath.expm(block, method="taylor")[0:2, size - 2 : size]

    def weight(e: Any) -> Any:
        total = mpmath.zeros(2)
        for part in sympy.Add.make_args(sympy.expand(e)):
            (function,) = part.atoms(phi)
            total += phi_of(int(function.args[0]), real(fraction(function.args[1]))) * real(
                fraction(part / function)
            )
        return total

    def nonlinear(u: Any) -> Any:
        out = []
        for forms in system.forms:
            out.append(mpmath.fprod(real(a) + real(v[0]) * u[0] + real(v[1]) * u[1] for a, v in forms))
        return mpmath.matrix(out)

    start = mpmath.matrix([real(x) for x in system.start])
    values = [nonlinear(start)]
    for c, row in [*zip(tableau.c, tableau.a, strict=True), (Integer(1), tableau.b)]:
        u = phi_of(0, real(fraction(c))) * start if c != 1 else mpmath.expm(matrix, method="taylor") * start
        for j, e in row.items():
            u += h * (weight(e) * values[j])
        values.append(nonlinear(u))
    return [u[0], u[1]]


# --- known methods ---

KNOWN = {
    "etdrk2": (2, 0.333),
    "etdrk3": (3, 0.132),
    "etdrk4": (4, 0.0390),
    "krogstad4": (4, 0.0393),
    "hochbruck-ostermann3": (3, 0.095),
    "hochbruck-ostermann4": (4, 0.0289),
    "lawson4": (4, 0.0570),
    "exprk5s8": (5, 0.0043),
}
"""Classical order and principal error norm (docs/mathematics.md, 3)."""


@pytest.mark.parametrize("name", KNOWN)
def test_the_known_classical_order_and_principal_error_norm(name: str) -> None:
    order, norm = KNOWN[name]
    proof = prove(CATALOGUE[name].tableau)
    assert proof.classical == proof.scalar == order
    digits = 4 if norm < 0.1 and name != "hochbruck-ostermann3" else 3
    assert round(proof.principal_error_norm or 0, digits) == norm


def rk4(changed: Any = 0) -> Tableau:
    stages = (Stage(H, N(0) / 2), Stage(H, N(1) / 2), Stage(Integer(1), N(2)))
    return Tableau(stages, (N(0) + 2 * N(1) + 2 * N(2) + N(3)) / 6 + changed * (N(3) - N(2)))


def test_runge_kutta_4_at_l_0() -> None:
    """Order 4 with the known residuals of order 5 (sum b Phi - 1/gamma): NodePy prints the same nine."""
    errors = unweighted(rk4(), 6)
    assert errors.order(5) == 4
    found = sorted(Fraction(str(v)) for v in errors.errors(5).values())
    assert len(trees(5, errors.kind)) == 9
    norm = math.sqrt(sum(float(v) ** 2 for v in found))
    assert norm == pytest.approx(0.014504582343198208, rel=SOME_ULP, abs=0)


def test_a_changed_weight_lowers_the_order() -> None:
    assert unweighted(rk4(Rational(1, 10**6)), 6).order(5) == 1


@pytest.mark.parametrize("k", slow(range(1, 6), lambda k: k == 5))
def test_adams_has_its_order_in_every_setting(k: int) -> None:
    for make in (duhamel, unweighted, weighted):
        assert make(adams(k), k + 1).order(k + 1) == k


def test_the_leading_error_of_adams_bashforth_2_with_variable_steps() -> None:
    """phi_3 + phi_2 omega/2 at z = 0: 1/6 + omega/4, times -D^2 N."""
    w = omega(1)
    (term,) = leading_terms(Defects(unweighted(adams(2), 4)), 3)
    assert sympy.simplify(term.coefficient + Rational(1, 6) + w / 4) == 0
    assert term.differential == "D^2 N"


# --- limits ---


@pytest.mark.parametrize("through", [0, -1, 13, True, 2.0, "3"])
def test_an_order_outside_1_to_12_is_refused_by_name(through: Any) -> None:
    for make in (duhamel, unweighted, weighted):
        with pytest.raises(ValueError, match="through must be an integer from 1 to 12"):
            make(adams(2), through)


@pytest.mark.parametrize("row", [z * phi1 * N(0), phi1**2 * N(0), exp(z) * N(0), N(0), phi1 * phi2 * N(0)])
def test_a_row_that_is_not_linear_in_the_moments_is_refused(row: Any) -> None:
    with pytest.raises(NotInRing):
        weighted(Tableau((), row), 3)


def test_a_row_without_evaluations_is_the_state_at_its_abscissa() -> None:
    """A stage at abscissa 0 repeats the start; its value is N(0)."""
    repeated = Tableau(
        (Stage(Integer(0), Integer(0)), Stage(H, H * phi(1, H) * N(1))),
        phi1 * N(0) + 2 * phi2 * (N(2) - N(1)),
    )
    plain = Tableau((Stage(H, H * phi(1, H) * N(0)),), phi1 * N(0) + 2 * phi2 * (N(1) - N(0)))
    for make in (duhamel, unweighted, weighted):
        assert make(repeated, 4).errors(3) == make(plain, 4).errors(3)


def test_zero_weights_and_zero_nodes_are_powers_of_0() -> None:
    assert Field().power(Field().zero, 0) == 1
    tableau = Tableau((Stage(Integer(0), z * N(0) - z * N(0)),), phi1 * N(1))
    assert prove(tableau).classical == 1
