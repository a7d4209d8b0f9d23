"""Factors of polynomials in many variables, most of which occur linearly.

A polynomial A x + B, linear in x, is gcd(A, B) times an irreducible one.  So variables that occur linearly,
as the weights of a method do in its order conditions, are split off by a greatest common divisor each, and
what is left over, in the few others, is factored by sympy.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import sympy
from sympy import Expr

from .ring import Field, NotInRing

Poly = Any
"""An element of a sympy polynomial ring over Q or an algebraic field: a table {exponents: coefficient}."""


def factor_list(polynomial: Poly) -> list[tuple[Poly, int]]:
    """The irreducible factors with their multiplicities; constants are left out.

    Over Q, factors are primitive over the integers, with a positive leading coefficient; else they are monic.
    """
    counts: dict[Poly, int] = {}
    rest = polynomial
    while not rest.is_ground:
        x = next((i for i, degree in enumerate(rest.degrees()) if degree == 1), None)
        if x is None:
            found = rest.factor_list()[1]
            rest = polynomial.ring.one
        else:
            a, b = linear(rest, x)
            common = a.gcd(b)
            found = [(rest.quo(common), 1)]
            rest = common
        for factor, n in found:
            unit = _normal(factor)
            counts[unit] = counts.get(unit, 0) + n
    return sorted(counts.items(), key=lambda item: (len(item[0]), item[0].leading_expv(), str(item[0])))


def without(polynomial: Poly, factors: Iterable[Poly]) -> Poly:
    """The polynomial, which is not 0, divided by the given factors as often as each divides it."""
    for factor in factors:
        quotient, rest = polynomial.div(factor)
        while not rest:
            polynomial = quotient
            quotient, rest = polynomial.div(factor)
    return polynomial


def linear(polynomial: Poly, x: int) -> tuple[Poly, Poly]:
    """A and B of a polynomial A x + B, x the generator of that index."""
    ring = polynomial.ring
    a, b = {}, {}
    for powers, value in polynomial.terms():
        if powers[x]:
            a[(*powers[:x], 0, *powers[x + 1 :])] = value
        else:
            b[powers] = value
    return ring.from_dict(a), ring.from_dict(b)


def factored(expression: Expr) -> Expr:
    """The expression with numerator and denominator in irreducible factors over Q.

    Over the field of its square roots where it holds some; what is no rational function of its symbols is
    left to sympy.
    """
    if expression.is_Rational:
        return expression
    parts = sympy.fraction(sympy.together(expression))
    symbols = sorted(expression.free_symbols, key=lambda s: s.name)
    if not all(part.is_rational_function(*symbols) for part in parts):
        return sympy.factor(expression)
    if not symbols:
        return _over_roots(expression)
    ring = sympy.ring(symbols, sympy.QQ)[0]
    try:
        over, under = (ring.from_expr(part) for part in parts)
    except ValueError:  # numbers that are not rational
        return _over_roots(expression)
    return quotient(*over.cancel(under))


def quotient(over: Poly, under: Poly) -> Expr:
    """A fraction in lowest terms as an expression, numerator and denominator in irreducible factors."""
    if not over:
        return sympy.S.Zero
    coefficient = sympy.S.One
    product = sympy.S.One
    for part, sign in ((over, 1), (under, -1)):
        found = factor_list(part)
        unit = part.LC / math.prod(f.LC**n for f, n in found)
        coefficient *= part.ring.domain.to_sympy(unit) ** sign
        product *= sympy.Mul(*(f.as_expr() ** (sign * n) for f, n in found))
    if product.is_Add and coefficient not in (1, -1):
        return sympy.Mul(coefficient, product, evaluate=False)  # else sympy multiplies the sum out
    return coefficient * product


def _over_roots(expression: Expr) -> Expr:
    if expression.has(sympy.E):
        return sympy.factor(expression)
    try:
        field = Field([expression])
        value = field(expression)
    except NotInRing:
        return sympy.factor(expression)
    if not field.symbols or field.symbols != tuple(sorted(expression.free_symbols, key=lambda s: s.name)):
        return field.expression(value)
    return quotient(value.numer, value.denom)


def _normal(factor: Poly) -> Poly:
    """What a factor is among its multiples: see `factor_list`."""
    if not factor.ring.domain.is_QQ:
        return factor.monic()
    integral = factor.clear_denoms()[1].primitive()[1]
    return integral if integral.LC > 0 else -integral
