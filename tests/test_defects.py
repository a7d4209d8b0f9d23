"""The local error by derivatives along the solution, against power series of actual steps."""

from __future__ import annotations

from fractions import Fraction

import pytest
from semilinear.analysis.orders.defects import Defects, residuals
from semilinear.analysis.orders.expansion import Expansion, duhamel, unweighted, weighted
from semilinear.analysis.orders.proof import local_order, prove
from semilinear.analysis.orders.stiff import stiff_conditions
from semilinear.integrators.tableaux.catalogue import CATALOGUE
from semilinear.integrators.tableaux.catalogue.entry import from_columns
from semilinear.integrators.tableaux.tableau import (
    N,
    P,
    Stage,
    Tableau,
    adams,
    interpolate,
    nested_collocation,
    omega,
    phi,
    phi1,
    phi2,
    phi3,
    z,
)
from sympy import Integer, Rational, Symbol, simplify

from .local_error import System, Vector, add, duhamel_system, fraction, scale, weighted_system

H = Rational(1, 2)
RATIOS = (Fraction(3, 2), Fraction(7, 3), Fraction(4))
PEC = Tableau(
    (Stage(Integer(1), adams(2).output),),
    interpolate({Integer(1): N(1), Integer(0): N(0), -omega(1): P(1)}),
    carry=1,
)
WRONG = from_columns([0, H, Integer(1)], {(3, 2): phi2 + z * phi1}, {2: phi1 / 3 + z * phi2, 3: phi3 * 2})
"""Row sums as they should be, and nothing else."""
CASES = {
    "krogstad4": CATALOGUE["krogstad4"].tableau,
    "etdrk4": CATALOGUE["etdrk4"].tableau,
    "exprk5s8": CATALOGUE["exprk5s8"].tableau,
    "adams3": adams(3),
    "pec": PEC,
    "wrong": WRONG,
    "collocation3": nested_collocation(3),
}


def along(expansion: Expansion, system: System, q: int) -> Vector:
    given = {omega(j): Rational(r.numerator, r.denominator) for j, r in enumerate(RATIOS, 1)}
    total = scale(Fraction(0), system.start)
    for defect in Defects(expansion).terms(q):
        value = fraction(expansion.field.expression(defect.value).subs(given))
        total = add(total, scale(value, system.along(defect.tree, list(defect.powers))))
    return total


@pytest.mark.parametrize("timed", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_the_first_terms_are_the_local_error(name: str, timed: bool) -> None:
    """At the order where the error begins, L a full matrix, N of time or not."""
    tableau = CASES[name]
    expansion = duhamel(tableau, 8)
    assert Defects(expansion).applicable
    q = local_order(expansion, 7) + 1
    system = duhamel_system(11, timed=timed)
    error = system.error(tableau, q + 1, RATIOS)
    assert any(error[q])
    assert not any(x for v in error[:q] for x in v)
    assert along(expansion, system, q) == error[q]


LINEAR = {name: CASES[name] for name in ("adams3", "pec", "collocation3")} | {
    "wrong": from_columns([0, H, Integer(1)], {(3, 2): phi2}, {2: phi1 / 3 + phi2, 3: phi3 * 2}),
}


@pytest.mark.parametrize("scalar", [False, True])
@pytest.mark.parametrize("name", LINEAR)
def test_the_first_terms_are_the_local_error_for_any_weight(name: str, scalar: bool) -> None:
    tableau = LINEAR[name]
    expansion = weighted(tableau, 7)
    q = local_order(expansion, 6, scalar=scalar) + 1
    system = weighted_system(12, scalar=scalar, timed=True)
    error = system.error(tableau, q + 1, RATIOS)
    assert any(error[q])
    assert along(expansion, system, q) == error[q]


def test_merged_terms_are_the_local_error_where_stems_commute() -> None:
    for system, expansion in (
        (duhamel_system(13, scalar=True), duhamel(WRONG, 5)),
        (weighted_system(13, scalar=True), weighted(LINEAR["wrong"], 5)),
    ):
        tableau = WRONG if system.linear else LINEAR["wrong"]
        q = local_order(expansion, 4, scalar=True) + 1
        total = scale(Fraction(0), system.start)
        for defect in Defects(expansion).classes(q):
            value = fraction(expansion.field.expression(defect.value))
            total = add(total, scale(value, system.along(defect.tree, list(defect.powers))))
        assert total == system.error(tableau, q + 1)[q]


def test_pec_with_a_second_order_predictor_is_of_order_3() -> None:
    """Variable steps; the leading terms are the corrector's D^3 N and the predictor's under N'."""
    proof = prove(PEC)
    assert proof.classical == proof.stiff == 3
    assert {"D^3 N", "N'(D^2 N)"} <= {term.differential for term in proof.leading_error}


def test_a_stage_that_does_not_integrate_constants_has_no_such_terms() -> None:
    lawson = CATALOGUE["lawson4"].tableau
    assert not Defects(duhamel(lawson, 4)).applicable
    assert Defects(unweighted(lawson, 4)).applicable
    assert not Defects(unweighted(Tableau((Stage(H, N(0) / 3),), phi1 * N(1)), 4)).applicable


def test_the_lowest_term_of_a_condition_that_fails() -> None:
    """Krogstad: sum b_i J sum a_ij J psi_2,j fails, and not at z = 0 (weak order 3, zero order 4)."""
    tableau = CATALOGUE["krogstad4"].tableau
    found = residuals(stiff_conditions(tableau), Defects(duhamel(tableau, 8)), 4)
    assert list(found) == stiff_conditions(tableau).violated(4)
    assert all(r is not None and sum(r.powers) >= 1 for r in found.values())


def test_the_local_error_of_the_two_stage_family_written_out() -> None:
    """b_2 = phi_2/c: (c/4 - 1/6) D^2 N - (c/4) N'(D N)."""
    c = Symbol("c", positive=True)
    terms = prove(from_columns([Integer(0), c], {}, {2: phi2 / c})).leading_error
    found = {term.differential: term.coefficient for term in terms}
    assert set(found) == {"D^2 N", "N'(D N)"}
    assert simplify(found["D^2 N"] - (c / 4 - Rational(1, 6))) == 0
    assert simplify(found["N'(D N)"] + c / 4) == 0


def test_phi_of_the_wrong_argument_is_found_among_the_defects() -> None:
    good = CATALOGUE["hochbruck-ostermann3"].tableau
    third = Rational(1, 3)
    bad = from_columns(
        [Integer(0), third, 2 * third], {(3, 2): Rational(4, 3) * phi(2, third)}, {3: 3 * phi2 / 2}
    )
    assert (local_order(duhamel(good, 6), 5), local_order(duhamel(bad, 6), 5)) == (3, 3)
    assert prove(bad).weak_stiff == 2 < prove(good).weak_stiff
