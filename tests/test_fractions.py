"""Rational functions with their denominators in factors, against sympy's field of fractions."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from semilinear.analysis.algebra.fractions import Fractions, NotRational
from semilinear.analysis.algebra.polynomials import at, coprime, divided, divided_out, normal
from sympy import QQ, ZZ, Rational, Symbol

SYMBOLS = sympy.symbols("a b c")
A, B, C = SYMBOLS
FIELD, EXPECTED = Fractions(SYMBOLS), QQ.frac_field(*SYMBOLS)
RING = sympy.ring(SYMBOLS, ZZ)[0]

parts = st.sampled_from([A, B, C, A - B, 2 * C - 1, A * C + B, A**2 + 1, A**2 - B**2, Rational(-2, 3), 6])
fractions = st.tuples(st.lists(parts, max_size=3), st.lists(parts, max_size=3), parts).map(
    lambda found: (sympy.Mul(*found[0]) + found[2]) / sympy.Mul(*found[1])
)
polynomials = st.lists(parts, min_size=1, max_size=3).map(
    lambda found: RING.from_expr(sympy.expand(27 * sympy.Mul(*found)))
)


def both(expression: Any) -> tuple[Any, Any]:
    return FIELD.from_sympy(expression), EXPECTED.from_sympy(expression)


@settings(max_examples=25, deadline=None)
@given(fractions, fractions)
def test_arithmetic_is_that_of_sympys_fractions(x: Any, y: Any) -> None:
    (a, u), (b, v) = both(x), both(y)
    pairs = [(a + b, u + v), (a - b, u - v), (a * b, u * v), (a * a - a, u * u - u), (a / 3 + 1, u / 3 + 1)]
    pairs += [(a / b, u / v), (1 / b, 1 / v), (b**-2, v**-2)] if v else []
    for own, expected in pairs:
        assert FIELD.to_sympy(own) == EXPECTED.to_sympy(expected)
        assert bool(own) == bool(expected)


@settings(max_examples=25, deadline=None)
@given(fractions, fractions)
def test_equal_fractions_are_one_key(x: Any, y: Any) -> None:
    a, b = FIELD.from_sympy(x), FIELD.from_sympy(y)
    assert {(a + b) - b, a} == {a}
    if b:
        assert {a * b / b, a} == {a}
    assert FIELD.from_sympy(FIELD.to_sympy(a)) == a


@settings(max_examples=25, deadline=None)
@given(polynomials, polynomials)
def test_a_quotient_is_exact_or_none(p: Any, q: Any) -> None:
    divisor = normal(q)
    if divisor.is_ground:
        return
    assert divided(p * divisor, divisor) == p
    rational = RING.clone(domain=QQ)
    found, (quotient, rest) = divided(p, divisor), p.set_ring(rational).div(divisor.set_ring(rational))
    assert (found is None) == bool(rest)
    assert found is None or found.set_ring(rational) == quotient


@settings(max_examples=25, deadline=None)
@given(polynomials, st.lists(polynomials, max_size=3))
def test_a_long_polynomial_is_divided_as_often_as_it_can_be(p: Any, others: list[Any]) -> None:
    """Its value where a factor vanishes tells the factors that do not divide it, and no others."""
    a, b, c = RING.gens
    factors = [normal(q) for q in (p, a, a - b, 2 * c - 1, *others) if not normal(q).is_ground]
    most = [2, *(3 for _ in factors[1:])] if factors else []
    left = product = (a + b * c + 7) ** 5 * p**2 * (a - b)
    assert len(left) >= 24  # fewer are divided without a look
    expected = []
    for factor, limit in zip(factors, most, strict=True):
        n = 0
        while n < limit and (quotient := divided(left, factor)) is not None:
            left, n = quotient, n + 1
        expected.append(n)
    assert divided_out(product, list(zip(factors, most, strict=True))) == (left, expected)


@settings(max_examples=25, deadline=None)
@given(fractions)
def test_a_value_is_that_of_the_expression(x: Any) -> None:
    numbers = [Fraction(2, 3), Fraction(-5), Fraction(7, 4)]
    values = {s: Rational(v.numerator, v.denominator) for s, v in zip(SYMBOLS, numbers, strict=True)}
    value, expected = FIELD.from_sympy(x), x.xreplace(values)
    found = FIELD.at(value, numbers)
    assert Rational(found.numerator, found.denominator) == expected
    assert at(value.numer, numbers) == found * at(value.denom, numbers)


@settings(max_examples=25, deadline=None)
@given(polynomials, polynomials)
def test_what_is_said_to_be_coprime_is(p: Any, q: Any) -> None:
    """One point may fail to show it, and never shows what is not so."""
    if coprime(p, q):
        assert p.gcd(q).is_ground


def test_a_point_shows_most_coprime_polynomials() -> None:
    a, b, c = RING.gens
    assert coprime(a * b + c, a * b - c)
    assert coprime(a**2 - b, (a - b) * c + 1)
    assert not coprime((a - b) * c, (a - b) * a)
    assert not coprime(RING.zero, a)


@pytest.mark.parametrize("expression", [sympy.sqrt(A), sympy.E * A, Symbol("d"), sympy.sin(A)])
def test_what_is_no_rational_function_of_the_symbols_is_refused(expression: Any) -> None:
    with pytest.raises(NotRational, match=r"is no rational function of a, b, c"):
        FIELD.from_sympy(expression + 1)


def test_nothing_is_divided_by_zero() -> None:
    with pytest.raises(ZeroDivisionError):
        FIELD.one / FIELD.zero
    with pytest.raises(ZeroDivisionError):
        FIELD.from_sympy(1 / (A**2 - B**2 - (A - B) * (A + B)))


def test_no_value_where_a_denominator_vanishes() -> None:
    with pytest.raises(ZeroDivisionError):
        FIELD.at(FIELD.from_sympy(1 / (A - B)), [Fraction(1), Fraction(1), Fraction(2)])
