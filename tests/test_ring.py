"""The ring of coefficient functions: axioms, canonical form, Taylor coefficients against mpmath, refusals."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import mpmath
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from semilinear.analysis.algebra.ring import Element, Field, NotInRing, Ring
from semilinear.analysis.orders.expansion import expressions
from semilinear.integrators.solvers import SOLVERS, make
from semilinear.integrators.tableaux.tableau import omega, phi, phi1, phi2, phi3, z
from sympy import E, Float, I, Rational, Symbol, exp, pi, sin, sqrt

from tests.slow import MANY_TERMS, slow

A, Q = Symbol("a", positive=True), Symbol("q")
FIELDS = {
    "Q": Field(),
    "Q(a)": Field([A]),
    "Q(sqrt 6)": Field([sqrt(6)]),
    "Q(sqrt 2, a)": Field([sqrt(2) * A]),
    "Q(q^(1/4))": Field([Q ** Rational(1, 4)]),
    "Q(e)": Field([E]),
}
CONSTANTS: dict[str, list[Any]] = {
    "Q": [1, -2, Rational(1, 3)],
    "Q(a)": [1, A, 1 / (1 - A), -A / 2],
    "Q(sqrt 6)": [1, sqrt(6), (1 - sqrt(6)) / 3],
    "Q(sqrt 2, a)": [1, sqrt(2) * A, A / (sqrt(2) * A + 1), sqrt(2) * A / (2 * A + sqrt(2))],
    "Q(q^(1/4))": [1, sqrt(Q), Q ** Rational(1, 4) / (1 + Q)],
    "Q(e)": [1, (E - 1) / E, exp(-2)],
}
GIVEN = {A: Rational(7, 5), Q: Rational(3, 2)}


@st.composite
def elements(draw: Any, name: str) -> Element:
    field = FIELDS[name]
    constants = st.sampled_from([field(c) for c in CONSTANTS[name]])
    terms = draw(st.lists(st.tuples(st.integers(-2, 3), constants, constants, st.booleans()), max_size=3))
    total = Element(field, {})
    for p, q, v, plain in terms:
        total = total + Element(field, {(p, field.zero if plain else q): v})
    return total


@st.composite
def several(draw: Any, count: int = 3) -> tuple[Element, ...]:
    name = draw(st.sampled_from(sorted(FIELDS)))
    return tuple(draw(elements(name)) for _ in range(count))


def value_of(element: Element, at: str = "0.7") -> Any:
    expression = element.expression().subs(GIVEN)
    return expression.subs(z, sympy.Rational(at)).evalf(60)


def close(a: Any, b: Any) -> bool:
    return abs(a - b) <= 10 ** sympy.Integer(-48) * (1 + abs(a) + abs(b))


@settings(max_examples=30)
@given(several())
def test_it_is_a_commutative_ring(elements: tuple[Element, ...]) -> None:
    a, b, c = elements
    one = Ring(a.field).constant(a.field.one)
    assert not (a + b) - (b + a)
    assert not a * b - b * a
    assert not (a + b) + c - (a + (b + c))
    assert not (a * b) * c - a * (b * c)
    assert not a * (b + c) - (a * b + a * c)
    assert not a * one - a
    assert not a + -a


@settings(max_examples=30)
@given(several(2))
def test_operations_agree_with_evaluation_at_50_digits(elements: tuple[Element, ...]) -> None:
    a, b = elements
    assert close(value_of(a + b), value_of(a) + value_of(b))
    assert close(value_of(a * b), value_of(a) * value_of(b))
    assert close(value_of(-a), -value_of(a))


@settings(max_examples=30)
@given(several(2))
def test_an_element_is_zero_exactly_where_its_values_are(elements: tuple[Element, ...]) -> None:
    a, b = elements
    difference = a - b
    points = ("0.7", "-1.3", "2.1", "0.11")
    assert bool(difference) == (not all(close(value_of(a, p), value_of(b, p)) for p in points))


def test_equal_exponents_over_an_algebraic_field_are_one_key() -> None:
    """sympy's fractions over Q(sqrt 2)(a) are unique only up to a factor; the exponents are not."""
    ring = Ring(FIELDS["Q(sqrt 2, a)"])
    assert not ring(exp(z * A / (sqrt(2) * A + 1))) - ring(exp(z * sqrt(2) * A / (2 * A + sqrt(2))))


@settings(max_examples=30)
@given(several(1), st.integers(0, 6))
def test_taylor_coefficients_agree_with_sympy_series(elements: tuple[Element, ...], m: int) -> None:
    """Of z^3 times the element, which has no pole."""
    (a,) = elements
    whole = a * Element(a.field, {(3, a.field.zero): a.field.one})
    expression = whole.expression().subs(GIVEN)
    expected = sympy.diff(expression, z, m).subs(z, 0) / math.factorial(m)
    assert close(a.field.expression(whole.taylor(m)).subs(GIVEN).evalf(60), expected.evalf(60))


@pytest.mark.parametrize(
    "expression", [phi3, phi(2, Rational(1, 3)) * phi1, exp(-z / 2) * phi2, z * phi1**2, phi(5, -2)]
)
def test_taylor_coefficients_agree_with_mpmath(expression: Any) -> None:
    element = Ring(Field())(expression)
    with mpmath.workdps(80):
        function = sympy.lambdify(z, element.expression(), "mpmath")
        # Around 0, by the coefficients of values on a circle: the removable pole at 0 is never met.
        n, radius = 64, mpmath.mpf(1) / 2
        nodes = [radius * mpmath.expjpi(mpmath.mpf(2 * k) / n) for k in range(n)]
        values = [function(x) for x in nodes]
        for m in range(8):
            mean = mpmath.fsum(v / x**m for v, x in zip(values, nodes, strict=True)) / n
            exact = element.taylor(m)
            assert (
                abs(mean - mpmath.mpf(int(exact.numerator)) / int(exact.denominator)) < mpmath.mpf(10) ** -19
            )


PHI = st.fractions(-2, 2, max_denominator=6)


@given(st.integers(0, 6), PHI)
def test_the_recurrence_of_phi(k: int, c: Any) -> None:
    """z phi_{k+1}(c z) c = phi_k(c z) - 1/k!, at c = 0 too."""
    ring = Ring(Field())
    c = ring.field(Rational(c.numerator, c.denominator))
    shift = Element(ring.field, {(1, ring.field.zero): ring.field.one})
    left = (ring.phi(k + 1, c) * shift).scaled(c)
    assert not left - (ring.phi(k, c) - ring.constant(ring.field.fraction(1, math.factorial(k))))


@given(st.integers(0, 6), st.integers(0, 6), PHI)
def test_the_series_of_phi_and_of_its_derivative(k: int, m: int, c: Any) -> None:
    """[z^m] phi_k = c^m/(k+m)!; z phi_k' = phi_{k-1} - k phi_k, so (m + k) [z^m] phi_k = [z^m] phi_{k-1}."""
    ring = Ring(Field())
    at = ring.field(Rational(c.numerator, c.denominator))
    assert ring.phi(k, at).taylor(m) == at**m / math.factorial(k + m)
    if k:
        assert (m + k) * ring.phi(k, at).taylor(m) == ring.phi(k - 1, at).taylor(m)


@given(st.integers(0, 5), PHI, st.integers(1, 4))
def test_poles_are_what_is_left_of_them(k: int, c: Any, p: int) -> None:
    """phi_k has none, phi_k/z^p one of order p, and z^p times that none again."""
    ring = Ring(Field())
    at = Rational(c.numerator, c.denominator)
    assert ring(phi(k, at)).pole == 0
    assert ring(phi(k, at) / z**p).pole == p
    assert ring(z**p * (phi(k, at) / z**p)).pole == 0


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1 / (1 + z * phi1), exp(-z)),
        (phi1**2 * z, phi1 * (exp(z) - 1)),
        (phi(2, Rational(1, 2)) * z, 2 * phi(1, Rational(1, 2)) - 2),
        (phi(1, A) * A + exp(A * z) * phi1, (1 + A) * phi(1, 1 + A)),
        (phi(1, sqrt(6)) * sqrt(6) * z, exp(sqrt(6) * z) - 1),
        (
            phi(1, omega(2) - omega(1)) / omega(1),
            phi(1, (omega(2) ** 2 - omega(1) ** 2) / (omega(1) + omega(2))) / omega(1),
        ),
        (Q ** Rational(1, 4) * phi(1, sqrt(Q)) * Q ** Rational(1, 4) * z, exp(sqrt(Q) * z) - 1),
        ((E - 1) / E * phi1, phi1 - exp(-1) * phi1),
        (sqrt(E) * phi1, E / exp(Rational(1, 2)) * phi1),
        (z / exp(z), z * exp(z) ** -1),
    ],
)
def test_identities(one: Any, other: Any) -> None:
    ring = Ring(Field([one, other]))
    assert not ring(one) - ring(other)


@settings(max_examples=30)
@given(several(1))
def test_an_expression_comes_back_as_the_element(elements: tuple[Element, ...]) -> None:
    (a,) = elements
    assert not Ring(a.field)(a.expression()) - a


@pytest.mark.parametrize("name", slow(SOLVERS, lambda name: name in MANY_TERMS))
def test_every_weight_of_every_listed_solver_is_in_the_ring(name: str) -> None:
    for tableau in make(name).sequence.tableaux:
        weights = list(expressions(tableau))
        ring = Ring(Field(weights))
        for weight in weights:
            assert ring(weight).field is ring.field


def test_a_root_of_a_parameter_is_a_parameter() -> None:
    field = Field([Q ** Rational(1, 4), Q ** Rational(1, 6)])
    root = field(Q ** Rational(1, 12))
    assert root**12 == field(Q)
    assert field.expression(root**3) == Q ** Rational(1, 4)


def test_a_float_is_the_fraction_that_it_is() -> None:
    """0.1 is not 1/10: a proof of rounded coefficients is one of rounded coefficients."""
    assert Field()(0.5) == Field().fraction(1, 2)
    assert Field()(0.1) - Field().fraction(1, 10) == Field()(Rational(0.1) - Rational(1, 10)) != 0
    assert Ring(Field())(exp(Float(0.25) * z)).terms == Ring(Field())(exp(z / 4)).terms


@pytest.mark.parametrize(
    "expression",
    [
        sin(z),
        sqrt(z),
        1 / (1 + z),
        1 / phi1,
        exp(z**2),
        exp(z + 1),
        exp(1 / z),
        2**z,
        A**z,
        phi(1, z),
        sqrt(exp(z)),
        pi * phi1,
        I * phi1,
        exp(A) * phi1,
        sqrt(1 + A) * phi1,
        sqrt(2 + sqrt(2)) * phi1,
        sympy.nan,
        sympy.oo,
        sympy.zoo,
    ],
    ids=str,
)
def test_what_is_not_in_the_ring_is_refused_by_name(expression: Any) -> None:
    with pytest.raises(NotInRing) as caught:
        Ring(Field([expression]))(expression)
    assert any(
        str(part) in str(caught.value).replace("e**", "exp") for part in sympy.preorder_traversal(expression)
    )


def test_a_parameter_that_the_field_lacks_is_refused() -> None:
    with pytest.raises(NotInRing, match="is not a rational function of a"):
        FIELDS["Q(a)"](Symbol("b"))


def test_text_is_not_parsed() -> None:
    with pytest.raises(ValueError, match="Sympify"):
        Ring(Field())("__import__('os')")
    with pytest.raises(ValueError, match="Sympify"):
        Field(["z"])


def test_an_element_at_a_point_is_that_of_the_expression_there() -> None:
    """Where two rates meet, or a coefficient vanishes, too."""
    c, d = Symbol("c"), Symbol("d")
    expression = phi(2, c) / (c + d) + (c - 2 * d) * exp(d * z) * z + exp(c * z) - exp(2 * d * z) + c**2 / 3
    point = [Fraction(2, 3), Fraction(1, 3)]  # c = 2 d
    values = {c: Rational(2, 3), d: Rational(1, 3)}
    ring, there = Ring(Field([c, d])), Ring(Field(at=values))
    assert ring(expression).at(there, point).terms == there(expression.xreplace(values)).terms
    with pytest.raises(ZeroDivisionError):
        ring(1 / (c - 2 * d)).at(there, point)
