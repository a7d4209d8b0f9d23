"""The exact ring of coefficient functions: K[z, 1/z, e^(q z)], q in K.

Every coefficient of a published exponential method lies here: phi_k(c z), their products, Lawson's e^(c z).
K is Q, an algebraic extension of it, or a field of rational functions in parameters (step ratios, free
abscissae).  z and the e^(q z) for distinct q are algebraically independent over K, so the sum

    sum v z^p e^(q z)      as a table {(p, q): v} without zeros

is a canonical form: an element is zero exactly where its table is empty.  No simplification is needed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sympy
from semilinear.integrators.tableau import phi, z
from sympy import QQ, Expr, Symbol
from sympy.polys.polyerrors import BasePolynomialError

Scalar = Any
"""An element of the field K, a sympy domain element: it supports + - * / == and hash."""

EULER = Symbol("e", positive=True)
"""Stands for Euler's number, which is transcendental: as independent over Q as any parameter."""


class NotInRing(ValueError):
    """An expression outside the ring; the message names the part."""


class Field:
    """K = Q(parameters), with the square roots that the given expressions contain adjoined.

    Elements are those of the sympy domain `domain`.  Raises NotInRing for numbers that are not algebraic (e,
    which is a parameter, excepted) and for roots of parameters.
    """

    def __init__(self, expressions: Iterable[Expr] = ()) -> None:
        symbols: set[Symbol] = set()
        roots: set[Expr] = set()
        for expression in map(sympy.sympify, expressions):
            symbols |= expression.free_symbols - {z}
            for part in sympy.preorder_traversal(expression):
                if isinstance(part, sympy.Pow) and part.base.is_Rational and part.exp.is_Rational:
                    roots |= set() if part.is_rational else {part}
                elif part is sympy.E or (isinstance(part, sympy.exp) and part.args[0].is_Integer):
                    symbols.add(EULER)
        self.symbols = tuple(sorted(symbols, key=lambda s: s.name))
        base = QQ.algebraic_field(*sorted(roots, key=str)) if roots else QQ
        self.domain = base.frac_field(*self.symbols) if self.symbols else base
        self.zero, self.one = self.domain.zero, self.domain.one

    def __call__(self, value: Any) -> Scalar:
        """A number or expression without z as an element."""
        if isinstance(value, int):
            return self.domain.convert(value)
        value = sympy.sympify(value)
        if self.symbols and value.has(sympy.E, sympy.exp):
            value = value.replace(
                lambda e: e is sympy.E or isinstance(e, sympy.exp),
                lambda e: EULER ** (1 if e is sympy.E else e.args[0]),
            )
        try:
            return self.domain.from_sympy(value)
        except (BasePolynomialError, ValueError, TypeError, NotImplementedError) as error:
            raise NotInRing(
                f"{value} is not a rational function of {', '.join(map(str, self.symbols)) or 'numbers'}"
            ) from error

    def power(self, value: Scalar, exponent: int) -> Scalar:
        """value^exponent; 0^0 is 1."""
        return value**exponent if value or exponent else self.one

    def expression(self, value: Scalar) -> Expr:
        """An element as a sympy expression."""
        return self.domain.to_sympy(value).xreplace({EULER: sympy.E})

    def fraction(self, numerator: int, denominator: int) -> Scalar:
        """A rational number as an element."""
        return self.domain.convert(QQ(numerator, denominator))


Key = tuple[int, Scalar]


@dataclass(frozen=True, eq=False)
class Element:
    """sum v z^p e^(q z) over `terms`, a table {(p, q): v}."""

    field: Field
    terms: Mapping[Key, Scalar]

    def __add__(self, other: Element) -> Element:
        total = dict(self.terms)
        for key, value in other.terms.items():
            total[key] = total[key] + value if key in total else value
        return Element(self.field, {k: v for k, v in total.items() if v})

    def __neg__(self) -> Element:
        return Element(self.field, {k: -v for k, v in self.terms.items()})

    def __sub__(self, other: Element) -> Element:
        return self + -other

    def __mul__(self, other: Element) -> Element:
        total: dict[Key, Scalar] = {}
        for (p, q), v in self.terms.items():
            for (r, s), w in other.terms.items():
                key = (p + r, q + s)
                total[key] = total[key] + v * w if key in total else v * w
        return Element(self.field, {k: v for k, v in total.items() if v})

    def scaled(self, factor: Scalar) -> Element:
        """factor times the element."""
        return Element(self.field, {k: v * factor for k, v in self.terms.items()} if factor else {})

    def inverse(self) -> Element:
        """1/v z^-p e^(-q z) of a single term; nothing else has an inverse in the ring."""
        if len(self.terms) != 1:
            raise NotInRing(f"{self.expression()} is divided by, which is not a single power or exponential")
        (((p, q), v),) = self.terms.items()
        return Element(self.field, {(-p, -q): self.field.one / v})

    def __bool__(self) -> bool:
        return bool(self.terms)

    def taylor(self, m: int) -> Scalar:
        """[z^m], exact; for negative m the coefficient of a pole."""
        total = self.field.zero
        for (p, q), v in self.terms.items():
            if m == p:
                total += v
            elif m > p and q:
                total += v * q ** (m - p) / math.factorial(m - p)
        return total

    @property
    def pole(self) -> int:
        """The order of the pole at z = 0; 0 where it is removable."""
        lowest = min((p for p, _ in self.terms), default=0)
        return next((-m for m in range(lowest, 0) if self.taylor(m)), 0)

    def expression(self) -> Expr:
        """The element as a sympy expression in z and exponentials."""
        to = self.field.expression
        return sympy.Add(*(to(v) * z**p * sympy.exp(to(q) * z) for (p, q), v in self.terms.items()))


class Ring:
    """Coefficient functions over a field; converts sympy expressions, each subexpression once."""

    def __init__(self, field: Field) -> None:
        self.field = field
        self.zero = Element(field, {})
        self._known: dict[Expr, Element] = {}

    def constant(self, value: Scalar) -> Element:
        """A field element as a function of z."""
        return Element(self.field, {(0, self.field.zero): value} if value else {})

    def phi(self, k: int, c: Scalar) -> Element:
        """phi_k(c z) = (e^(c z) - sum_{j<k} (c z)^j/j!)/(c z)^k."""
        if not c:
            return self.constant(self.field.fraction(1, math.factorial(k)))
        terms = {(-k, c): c**-k} if k else {(0, c): self.field.one}
        for j in range(k):
            terms[j - k, self.field.zero] = -(c ** (j - k)) / math.factorial(j)
        return Element(self.field, terms)

    def __call__(self, expression: Any) -> Element:
        """An expression in z, phi(k, c), exp(c z) and the field's constants.

        Raises NotInRing naming the part that is none of these.
        """
        expression = sympy.sympify(expression)
        if expression not in self._known:
            self._known[expression] = self._convert(expression)
        return self._known[expression]

    def _convert(self, e: Expr) -> Element:
        if e is z:
            return Element(self.field, {(1, self.field.zero): self.field.one})
        if isinstance(e, phi):
            return self.phi(int(e.args[0]), self.field(e.args[1]))
        if isinstance(e, sympy.exp) and e.has(z):
            rate = sympy.expand(e.args[0] / z)
            if rate.has(z):
                raise NotInRing(f"{e} is not the exponential of a multiple of z")
            return Element(self.field, {(0, self.field(rate)): self.field.one})
        if not e.has(z, phi):
            return self.constant(self.field(e))
        if e.is_Add:
            total: dict[Key, Scalar] = {}
            for part in e.args:
                for key, value in self(part).terms.items():
                    total[key] = total[key] + value if key in total else value
            return Element(self.field, {k: v for k, v in total.items() if v})
        if e.is_Mul:
            constants, functions = e.as_independent(z, phi, as_Add=False)
            product = self.constant(self.field(constants))
            for part in sympy.Mul.make_args(functions):
                product = product * self(part)
            return product
        if e.is_Pow and e.exp.is_Integer:
            base = self(e.base) if e.exp > 0 else self(e.base).inverse()
            power = self.constant(self.field.one)
            for _ in range(abs(int(e.exp))):
                power = power * base
            return power
        raise NotInRing(f"{e} is not built from z, phi(k, c), exp(c*z) and constants")
