"""Factors of polynomials that are linear in most variables, against sympy's."""

from __future__ import annotations

from typing import Any

import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from semilinear.analysis.algebra.factoring import factored
from semilinear.analysis.algebra.polynomials import factor_list, linear, without
from sympy import QQ, Rational, Symbol

RING, B1, B2, C2, C3 = sympy.ring("b1, b2, c2, c3", QQ)
b1, b2, c2, c3 = RING.symbols

terms = st.tuples(st.integers(-4, 4), st.tuples(*(st.integers(0, 1),) * 2, *(st.integers(0, 2),) * 2))
polynomials = st.lists(terms, min_size=1, max_size=4).map(
    lambda found: sum((RING.from_dict({powers: QQ(value, 3)}) for value, powers in found if value), RING.zero)
)


@settings(max_examples=60, deadline=None)
@given(st.lists(polynomials, min_size=1, max_size=3))
def test_factors_are_those_of_sympy(parts: list[Any]) -> None:
    product = sympy.prod(parts, start=RING.one)
    if not product:
        return
    unit, expected = product.factor_list()
    found = factor_list(product)
    assert dict(found) == dict(expected)
    assert sympy.prod((f**n for f, n in found), start=RING.one) * unit == product


@settings(max_examples=60, deadline=None)
@given(polynomials, polynomials, polynomials)
def test_a_quotient_is_written_as_sympy_writes_it(a: Any, b: Any, divisor: Any) -> None:
    if not divisor:
        return
    expression = sympy.expand((a * b).as_expr()) / divisor.as_expr()
    found = factored(expression)
    assert found == sympy.factor(expression)
    assert str(found) == str(sympy.factor(expression))


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (c2 - c3, "c2 - c3"),
        (c3 - c2, "-c2 + c3"),
        ((c2 - c3) * 2, "2*(c2 - c3)"),
        ((c2**2 - c3**2) / (2 * c2 + 2 * c3), "(c2 - c3)/2"),
        (b1 * c2 + b1 * c3 + b2 * c2 + b2 * c3, "(b1 + b2)*(c2 + c3)"),
        (c2 - c2, "0"),
        (Rational(3, 2) + 0 * c2, "3/2"),
    ],
)
def test_numbers_stay_before_a_sum(expression: Any, expected: str) -> None:
    assert str(factored(expression)) == expected


@pytest.mark.parametrize("number", [sympy.sqrt(3), sympy.E])
def test_numbers_that_are_not_rational_are_left_to_sympy(number: Any) -> None:
    assert factored(number * b1 + number * b2) == sympy.factor(number * b1 + number * b2)


@pytest.mark.parametrize("expression", [sympy.exp(Symbol("z")) * b1 + b1, sympy.sqrt(c2) * b1 + b1])
def test_what_is_no_rational_function_is_left_to_sympy(expression: Any) -> None:
    assert factored(expression) == sympy.factor(expression)


def test_factors_are_taken_out_as_often_as_they_divide() -> None:
    polynomial = (B1 * C2 + 1) ** 2 * (C2 - C3) * (B2 + C3)
    assert without(polynomial, [B1 * C2 + 1, C2 - C3, B1]) == B2 + C3


def test_a_polynomial_that_is_linear_in_a_variable_is_split() -> None:
    assert linear(3 * B1 * C2 - B1 + C3, 0) == (3 * C2 - 1, C3)
