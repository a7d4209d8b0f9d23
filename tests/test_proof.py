"""What a proof says, and what it refuses to say."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from semilinear.analysis.orders.expansion import unweighted
from semilinear.analysis.orders.proof import CAP, Proof, Violation, local_order, prove
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
from sympy import E, Integer, Rational, Symbol, exp, sqrt

from tests.roundings import SOME_ULP

H = Rational(1, 2)
# Orders (classical, scalar, strong, weak, zero) and principal error norm (docs/mathematics.md, 3 and 4).
KNOWN: dict[str, tuple[Tableau, tuple[int, ...], float]] = {
    "euler": (Tableau((), phi1 * N(0)), (1, 1, 1, 1, 1), 0.707),
    "lawson-euler": (Tableau((), exp(z) * N(0)), (1, 1, 0, 1, 1), 0.866),
    "ho2": (from_columns([Integer(0), H], {}, {2: 2 * phi2}), (2, 2, 2, 2, 2), 0.264),
    "dpm-solver-2": (from_columns([Integer(0), H], {}, {2: phi1}), (2, 2, 1, 2, 2), 0.289),
    "rkmk2e": (from_columns([Integer(0), Integer(1)], {}, {2: phi1 / 2}), (2, 2, 1, 2, 2), 0.354),
    "lawson2a": (
        Tableau((Stage(H, exp(z / 2) * N(0) / 2),), exp(z / 2) * N(1)),
        (2, 2, 0, 1, 1),
        0.30,
    ),
    "lawson2b": (
        Tableau((Stage(Integer(1), exp(z) * N(0)),), exp(z) * N(0) / 2 + N(1) / 2),
        (2, 2, 0, 1, 1),
        0.53,
    ),
    "etd2cf3": (
        from_columns(
            [Integer(0), Rational(1, 3), Rational(2, 3)],
            {(3, 2): Rational(4, 3) * phi(2, Rational(2, 3))},
            {2: 6 * phi2 - 18 * phi3, 3: -Rational(3, 2) * phi2 + 9 * phi3},
        ),
        (3, 3, 2, 3, 3),
        0.086,
    ),
    "strehmel-weiner4": (
        from_columns(
            [Integer(0), H, H, Integer(1)],
            {(3, 2): phi(2, H) / 2, (4, 2): -2 * phi2, (4, 3): 4 * phi2},
            {3: 4 * phi2 - 8 * phi3, 4: -phi2 + 4 * phi3},
        ),
        (4, 4, 3, 3, 4),
        0.0363,
    ),
    "friedli4": (
        from_columns(
            [Integer(0), H, H, Integer(1)],
            {
                (3, 2): phi(2, H) / 2,
                (4, 2): -Rational(26, 25) * phi1 + Rational(2, 25) * phi2,
                (4, 3): Rational(26, 25) * phi1 + Rational(48, 25) * phi2,
            },
            {3: 4 * phi2 - 8 * phi3, 4: -phi2 + 4 * phi3},
        ),
        (4, 4, 3, 3, 4),
        0.0378,
    ),
    "generalised-lawson41": (
        Tableau(
            (
                Stage(H, H * phi(1, H) * N(0)),
                Stage(H, (H * phi(1, H) - H) * N(0) + N(1) / 2),
                Stage(Integer(1), (phi1 - exp(z / 2)) * N(0) + exp(z / 2) * N(2)),
            ),
            (phi1 - Rational(2, 3) * exp(z / 2) - Rational(1, 6)) * N(0)
            + exp(z / 2) / 3 * (N(1) + N(2))
            + N(3) / 6,
        ),
        (4, 4, 1, 2, 2),
        0.0489,
    ),
    "rkmk4t": (
        Tableau(
            (
                Stage(H, H * phi(1, H) * N(0)),
                Stage(H, z / 8 * phi(1, H) * N(0) + H * phi(1, H) * (1 - z / 4) * N(1)),
                Stage(Integer(1), phi1 * N(2)),
            ),
            phi1 * ((1 + z / 2) * N(0) + 2 * N(1) + 2 * N(2) + (1 - z / 2) * N(3)) / 6,
        ),
        (4, 4, 1, 2, 2),
        0.0489,
    ),
}


def orders(proof: Proof) -> tuple[int, ...]:
    return proof.classical, proof.scalar, proof.stiff, proof.weak_stiff, proof.zero_stiff


@pytest.mark.parametrize("name", KNOWN)
def test_the_known_orders_and_principal_error_norm(name: str) -> None:
    tableau, expected, norm = KNOWN[name]
    proof = prove(tableau)
    assert orders(proof) == expected
    digits = len(str(norm)) - 2
    assert round(proof.principal_error_norm or 0, digits) == norm


# --- theorems ---

METHODS = ("etdrk4", "krogstad4", "hochbruck-ostermann4", "lawson4", "exprk5s8", "genlawson43", "eglm332")

WEIGHTS = [Integer(0), Integer(1), phi1, phi2, phi3, phi(1, H), exp(z / 2), z * phi2]


@st.composite
def tableaux(draw: Any) -> Tableau:
    """Random rows: with psi_1 = 0, consistent at z = 0 only, or neither."""

    def row(c: Any, keys: list[Any]) -> Any:
        total, formula = Integer(0), Integer(0)
        for key in keys:
            w = draw(st.sampled_from(WEIGHTS)) * draw(st.sampled_from([Integer(1), Integer(-1), H]))
            total, formula = total + w, formula + w * key
        kind = draw(st.integers(0, 3))
        first = {0: Integer(0), 1: c * exp(z) - total, 2: c * phi(1, c) - total, 3: c * phi(1, c) - total}[
            kind
        ]
        return formula + first * N(0)

    stages, keys = [], [P(1)] if draw(st.booleans()) else []
    for i in range(draw(st.integers(0, 2))):
        c = draw(st.sampled_from([H, Integer(1), Integer(0)]))
        stages.append(Stage(c, row(c, keys)))
        keys = [*keys, N(i + 1)]
    return Tableau(tuple(stages), row(Integer(1), keys))


def check_inequalities(tableau: Tableau) -> None:
    proof = prove(tableau)
    assert proof.stiff <= proof.weak_stiff <= proof.zero_stiff <= proof.classical <= proof.scalar
    assert proof.scalar <= local_order(unweighted(tableau, CAP + 1), CAP)
    assert proof.weak_stiff <= proof.stiff + 1
    assert proof.zero_stiff <= proof.stiff + 1


@given(tableaux())
@settings(max_examples=40)
def test_the_orders_are_ordered(tableau: Tableau) -> None:
    """Strong conditions imply weak ones, these those at z = 0; and those of order p at z = 0 with strong ones
    below are all that the classical order p needs.
    """
    check_inequalities(tableau)


@pytest.mark.parametrize("name", [*METHODS, *KNOWN, "adams3"])
def test_the_orders_of_known_methods_are_ordered(name: str) -> None:
    known = KNOWN[name][0] if name in KNOWN else adams(3) if name == "adams3" else CATALOGUE[name].tableau
    check_inequalities(known)


@given(tableaux())
@settings(max_examples=25)
def test_no_order_without_its_conditions(tableau: Tableau) -> None:
    """Nothing is violated through the order, something at the next; asked for more, nothing disappears."""
    proof = prove(tableau)
    last = 4
    found = proof.violated(last)
    for kind, order in (("classical", proof.classical), ("stiff", proof.stiff)):
        failing = [v.order for v in found if v.kind == kind]
        assert not [q for q in failing if q <= order]
        assert order >= last or order + 1 in failing
    assert all(v in found for q in range(1, last) for v in proof.violated(q))
    assert {(v.kind, v.order) for v in proof.violated()} == {
        ("classical", proof.classical + 1),
        ("stiff", proof.stiff + 1),
    }


# --- mutations ---


def mutated(tableau: Tableau, row: int, key: int, change: Any) -> Tableau:
    """With `change` added to one weight; row -1 is the output."""
    if row < 0:
        return Tableau(tableau.stages, tableau.output + change * N(key))
    stages = list(tableau.stages)
    stages[row] = Stage(stages[row].c, stages[row].formula + change * N(key))
    return Tableau(tuple(stages), tableau.output)


@pytest.mark.parametrize("name", ["etdrk3", "krogstad4", "hochbruck-ostermann3", "lawson4"])
def test_a_changed_weight_lowers_the_order_and_is_named(name: str) -> None:
    """By 10^-6, every weight of the output and every one of a stage that has a row sum."""
    tableau = CATALOGUE[name].tableau
    order = prove(tableau).classical
    places = [(-1, key) for key in tableau.b]
    places += [(i, key) for i, row in enumerate(tableau.a) for key in row]
    for row, key in places:
        proof = prove(mutated(tableau, row, key, Rational(1, 10**6)))
        assert proof.classical < order
        assert [v for v in proof.violated() if v.kind == "classical" and v.residual != 0]


def test_a_swapped_index_or_argument_is_noticed() -> None:
    for b in ({3: Rational(3, 2) * phi3}, {3: Rational(3, 2) * phi(2, H)}):
        proof = prove(from_columns([0, Rational(1, 3), Rational(2, 3)], {}, b))
        assert proof.classical < 3
        assert proof.violated()


def test_a_change_that_lowers_nothing_keeps_the_order() -> None:
    """Of stiff order alone: phi_1/2 for phi_2 (DPM-Solver++ 2M)."""
    w = omega(1)
    proof = prove(Tableau((), phi1 * N(0) + phi1 / (2 * w) * (N(0) - P(1))))
    assert orders(proof) == (2, 2, 1, 2, 2)
    assert [v.condition for v in proof.violated() if v.kind == "stiff"] == ["psi_2"]


# --- multistep, parameters, algebraic numbers ---


def test_step_ratios_are_symbols_of_one_proof() -> None:
    proof = prove(adams(3))
    assert orders(proof) == (3, 3, 3, 3, 3)
    assert proof.principal_error_norm is None
    assert proof.principal_error.free_symbols == {omega(1), omega(2)}


def test_dpm_solver_3m_as_released_is_of_order_2() -> None:
    """Half of the second difference."""
    first, second = (N(0) - P(1)) / omega(1), (P(1) - P(2)) / (omega(2) - omega(1))
    bent = (first - second) / omega(2)
    slope = first + omega(1) * bent
    assert prove(Tableau((), phi1 * N(0) + phi2 * slope + 2 * phi3 * bent)).classical == 3
    assert prove(Tableau((), phi1 * N(0) + phi2 * slope + phi3 * bent)).classical == 2


def test_numbers_that_are_not_rational_are_exact() -> None:
    """Radau-like abscissae with sqrt 6: b meets phi_1, phi_2, phi_3 at both, so psi_3 = 0."""
    c2, c3 = (6 - sqrt(6)) / 10, (6 + sqrt(6)) / 10
    b2 = (2 * phi3 - c3 * phi2) / (c2 * (c2 - c3))
    b3 = (2 * phi3 - c2 * phi2) / (c3 * (c3 - c2))
    proof = prove(from_columns([Integer(0), c2, c3], {(3, 2): c3**2 / c2 * phi(2, c3)}, {2: b2, 3: b3}))
    assert (proof.stiff, proof.classical) == (2, 2)
    assert not proof.conditions.psi(3)
    assert proof.conditions.psi(4)


def test_scire_2_with_its_estimator_is_of_order_1() -> None:
    """phi_1(m) -> (e - 1)/e: the leading error is D N/(2 (e - 1)) at L = 0."""
    proof = prove(from_columns([Integer(0), H], {}, {2: 2 * phi2 / ((E - 1) / E)}))
    assert proof.classical == 1
    (term,) = proof.leading_error
    assert term.differential == "D N"
    assert float(term.coefficient) == pytest.approx(1 / (2 * (math.e - 1)), rel=SOME_ULP, abs=0)


def test_repeated_abscissae_and_abscissae_at_0_are_no_special_case() -> None:
    a, b = Symbol("a"), Symbol("b")
    stages = (Stage(Integer(0), Integer(0)), Stage(H, H * phi(1, H) * N(1)), Stage(H, H * phi(1, H) * N(0)))
    output = phi1 * N(0) + a * (N(1) - N(0)) + 2 * phi2 * ((1 - b) * N(2) + b * N(3) - N(0))
    proof = prove(Tableau(stages, output))
    assert orders(proof) == (2, 2, 2, 2, 2)


@settings(max_examples=20)
@given(st.fractions("1/4", 1, max_denominator=5))
def test_special_values_never_lower_an_order(c: Any) -> None:
    x, at = Symbol("c", positive=True), Rational(c.numerator, c.denominator)
    generic = prove(from_columns([Integer(0), x], {}, {2: phi2 / x}))
    special = prove(from_columns([Integer(0), at], {}, {2: phi2 / at}))
    assert all(s >= g for s, g in zip(orders(special), orders(generic), strict=True))


def test_past_values_in_stages_and_pec() -> None:
    """A predicted stage at abscissa 1 and `carry`: the formula's order, whatever is carried."""
    for carry in (None, 1):
        tableau = Tableau(
            (Stage(Integer(1), adams(2).output),), phi1 * N(0) + phi2 * (N(1) - N(0)), carry=carry
        )
        assert orders(prove(tableau)) == (2, 2, 2, 2, 2)


# --- limits ---


def test_through_its_order_nothing_is_violated() -> None:
    proof = prove(nested_collocation(3))
    assert proof.violated(3) == []
    assert {v.order for v in proof.violated(4)} == {4}


def test_what_lies_beyond_the_cap_is_not_silently_left_out() -> None:
    with pytest.raises(ValueError, match=f"through must be an integer from 1 to {CAP}, got {CAP + 1}"):
        prove(adams(1)).violated(CAP + 1)


@pytest.mark.parametrize("through", [0, True, 2.5, "2"])
def test_an_order_that_is_none_is_refused(through: Any) -> None:
    with pytest.raises(ValueError, match="through must be an integer"):
        prove(adams(1)).violated(through)


def test_poles_are_refused_by_row_and_evaluation() -> None:
    with pytest.raises(ValueError, match=r"output: the weight of N\(0\) has a pole of order 2 at z = 0"):
        prove(Tableau((), phi1 / z**2 * N(0)))
    with pytest.raises(ValueError, match=r"stage 2: the weight of P\(1\) has a pole of order 1 at z = 0"):
        prove(Tableau((Stage(H, phi(1, H) * N(0) + phi4 / z * P(1)),), phi1 * N(1)))
    assert prove(Tableau((), (exp(z) - 1) / z * N(0))).classical == 1


def test_only_a_tableau_is_proved() -> None:
    with pytest.raises(TypeError, match="tableau must be a Tableau"):
        prove("krogstad4")  # type: ignore[arg-type]


def test_a_violation_says_what_fails_by_how_much() -> None:
    assert prove(Tableau((), phi1 * N(0))).violated() == [
        Violation("classical", 2, "N'(L u)", -H),
        Violation("classical", 2, "N'(N)", -H),
        Violation("stiff", 2, "psi_2", -H),
    ]
