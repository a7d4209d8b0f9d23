"""Rational functions with their denominators in factors, against sympy's field of fractions."""

from __future__ import annotations

from typing import Any

import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from semilinear.analysis.algebra.fractions import Fractions, NotRational
from semilinear.analysis.algebra.polynomials import coprime, divided, normal
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
