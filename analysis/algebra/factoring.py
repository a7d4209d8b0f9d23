"""Rational functions as expressions with numerator and denominator in irreducible factors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import sympy
from sympy import Expr, Rational

from .fractions import NotRational, Quotient, fractions
from .polynomials import Poly, factor_list
from .ring import Field, NotInRing


def factored(expression: Expr) -> Expr:
    """The expression with numerator and denominator in irreducible factors over Q.

    Over the field of its square roots where it holds some; what is no rational function of its symbols is
    left to sympy.
    """
    if expression.is_Rational:
        return expression
    symbols = sorted(expression.free_symbols, key=lambda s: s.name)
    try:
        return written(fractions(tuple(symbols)).from_sympy(expression))
    except NotRational:
        pass
    parts = sympy.fraction(sympy.together(expression))
    if not all(part.is_rational_function(*symbols) for part in parts):
        return sympy.factor(expression)
    return _over_roots(expression)


def written(value: Quotient) -> Expr:
    """A rational function as an expression, numerator and denominator in irreducible factors."""
    field = value.field
    under = [(field.prime(i), n) for i, n in value.primes]
    return _product(value.numer, factor_list(value.numer), under, Rational(1, value.unit))


def quotient(over: Poly, under: Poly) -> Expr:
    """A fraction of polynomials in lowest terms as an expression, both in irreducible factors."""
    found = factor_list(under)
    unit = under.LC / math.prod(f.LC**n for f, n in found)
    return _product(over, factor_list(over), found, 1 / under.ring.domain.to_sympy(unit))


def _product(
    over: Poly, factors: Sequence[tuple[Poly, int]], under: Sequence[tuple[Poly, int]], coefficient: Expr
) -> Expr:
    """The numerator `over`, in factors, over others, times a number."""
    if not over:
        return sympy.S.Zero
    to = over.ring.domain.to_sympy
    leading = math.prod((f.LC**n for f, n in factors), start=over.ring.domain.one)
    coefficient *= to(over.LC) / to(leading)
    product = sympy.Mul(*(_expression(f) ** n for f, n in factors))
    product *= sympy.Mul(*(_expression(f) ** -n for f, n in under))
    if product.is_Add and coefficient not in (1, -1):
        return sympy.Mul(coefficient, product, evaluate=False)  # else sympy multiplies the sum out
    return coefficient * product


@lru_cache(maxsize=2048)
def _expression(factor: Poly) -> Expr:
    """A factor as an expression; the weights of a method share theirs."""
    return factor.as_expr()


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
    return written(value) if isinstance(value, Quotient) else quotient(value.numer, value.denom)
