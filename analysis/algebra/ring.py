"""The exact ring of coefficient functions: K[z, 1/z, e^(q z)], q in K.

Every coefficient of a published exponential method lies here: phi_k(c z), their products, Lawson's e^(c z).
K is Q, an algebraic extension of it, or a field of rational functions in parameters (step ratios, free
abscissae).  z and the e^(q z) for distinct q are algebraically independent over K, so the sum

    sum v z^p e^(q z)      as a table {(p, q): v} without zeros

is a canonical form: an element is zero exactly where its table is empty.  No simplification is needed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import sympy
from semilinear.integrators.tableaux.tableau import phi, z
from sympy import QQ, Expr, Rational, Symbol
from sympy.polys.polyerrors import BasePolynomialError

from .fractions import Fractions, fractions
from .polynomials import Poly

Scalar = Any
"""An element of the field K, a sympy domain element: it supports + - * / == and hash."""

EULER = Symbol("e", positive=True)
"""Stands for Euler's number, which is transcendental: as independent over Q as any parameter."""


class NotInRing(ValueError):
    """An expression outside the ring; the message names the part."""


class Field:
    """K = Q(parameters), with the roots of rational numbers and of parameters that the given expressions
    contain adjoined.

    at: values of parameters, which are put in wherever these occur.
    Elements are those of the sympy domain `domain`.  A parameter q under roots is written r^n, r = q^(1/n) a
    parameter in its place.  A float stands for the binary fraction that it is.  Raises NotInRing for numbers
    that are not algebraic (e, which is a parameter, excepted) and for other roots.
    """

    def __init__(self, expressions: Iterable[Expr] = (), at: Mapping[Symbol, Expr] | None = None) -> None:
        self._at = dict(at or {})
        symbols: set[Symbol] = set()
        numbers: set[Expr] = set()
        degrees: dict[Symbol, int] = {}
        for expression in (_plain(e).xreplace(self._at) for e in expressions):
            symbols |= expression.free_symbols - {z}
            for power in expression.atoms(sympy.Pow):
                base, exponent = power.args
                if exponent.is_Rational and not exponent.is_Integer:
                    if base.is_Rational:
                        numbers.add(power)
                    elif base.is_Symbol and base != z:
                        degrees[base] = math.lcm(degrees.get(base, 1), exponent.q)
        roots = {q: Symbol(f"{q}^(1/{n})", positive=True) for q, n in degrees.items()}
        self._powers = {q: r ** degrees[q] for q, r in roots.items()}
        self._roots = {r: q ** Rational(1, degrees[q]) for q, r in roots.items()}
        self.symbols = tuple(sorted((roots.get(s, s) for s in symbols), key=lambda s: s.name))
        base = QQ.algebraic_field(*sorted(numbers, key=str)) if numbers else QQ
        self._ambiguous = bool(numbers and self.symbols)
        if self._ambiguous or not self.symbols:
            self.domain = base.frac_field(*self.symbols) if self.symbols else base
        else:
            self.domain = fractions(self.symbols)
        self.zero, self.one = self.domain.zero, self.domain.one
        self._known_powers: dict[Scalar, list[Scalar]] = {}

    def __call__(self, value: Any) -> Scalar:
        """A number or expression without z as an element."""
        if isinstance(value, int):
            return self.domain.convert(value)
        value = _plain(value).xreplace(self._at)
        try:
            return self.normal(self.domain.from_sympy(value.xreplace(self._powers)))
        except (BasePolynomialError, ValueError, TypeError, NotImplementedError) as error:
            names = ", ".join(str(self._roots.get(s, s)) for s in self.symbols) or "numbers"
            raise NotInRing(f"{value} is not a rational function of {names}") from error

    def normal(self, value: Scalar) -> Scalar:
        """The element in the form in which equal ones are equal keys.

        Over an algebraic field, sympy's fractions are unique up to a common factor only.
        """
        if not self._ambiguous:
            return value
        if not value:
            return self.zero
        unit = self.domain.domain.one / value.denom.LC
        return value.field.raw_new(value.numer.mul_ground(unit), value.denom.mul_ground(unit))

    def power(self, value: Scalar, exponent: int) -> Scalar:
        """value^exponent, exponent >= 0; 0^0 is 1.  Powers are kept: Taylor coefficients use them in turn."""
        known = self._known_powers.setdefault(value, [self.one])
        while len(known) <= exponent:
            known.append(known[-1] * value)
        return known[exponent]

    def combination(self, terms: Iterable[tuple[Scalar, Scalar, int]]) -> Scalar:
        """The sum of  a b/n  over terms (a, b, n)."""
        if isinstance(self.domain, Fractions):
            return self.domain.dot((a, b / n) for a, b, n in terms)
        return sum((a * b / n for a, b, n in terms), self.zero)

    @property
    def rational(self) -> bool:
        """Whether there are parameters, and rational functions of these alone."""
        return bool(self.symbols) and not self._ambiguous and not self._roots

    def numerator(self, value: Scalar) -> Poly:
        """The numerator of an element of a field with symbols, a polynomial in these."""
        return self.domain.numer(value)

    def expression(self, value: Scalar) -> Expr:
        """An element as a sympy expression."""
        return self.domain.to_sympy(value).xreplace({EULER: sympy.E} | self._roots)

    def fraction(self, numerator: int, denominator: int) -> Scalar:
        """A rational number as an element."""
        return self.domain.convert(QQ(numerator, denominator))

    def number(self, value: Fraction) -> Scalar:
        """The same."""
        return self.fraction(value.numerator, value.denominator)


def _plain(value: Any) -> Expr:
    """An expression with floats as the fractions that they are, and e as a symbol; text is not parsed."""
    value = sympy.sympify(value, strict=True)
    if value.has(sympy.Float):
        value = value.xreplace({number: Rational(number) for number in value.atoms(sympy.Float)})
    if value.has(sympy.E, sympy.exp):
        value = value.replace(
            lambda e: e is sympy.E or (isinstance(e, sympy.exp) and not e.has(z)),
            lambda e: EULER ** (1 if e is sympy.E else e.args[0]),
        )
    return value


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
                key = (p + r, self.field.normal(q + s))
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
        power = self.field.power
        return self.field.combination(
            (v, power(q, m - p), math.factorial(m - p))
            for (p, q), v in self.terms.items()
            if m == p or (m > p and q)
        )

    @property
    def pole(self) -> int:
        """The order of the pole at z = 0; 0 where it is removable."""
        lowest = min((p for p, _ in self.terms), default=0)
        return next((-m for m in range(lowest, 0) if self.taylor(m)), 0)

    def at(self, ring: Ring, point: Sequence[Fraction]) -> Element:
        """The element of a ring over Q at numbers for the parameters, in the order of `Field.symbols`, of a
        field that is `rational`.  Raises ZeroDivisionError where it does not exist there.
        """
        number = self.field.domain.at
        total: dict[Key, Scalar] = {}
        for (p, q), v in self.terms.items():
            key = p, ring.field.number(number(q, point))
            total[key] = total.get(key, ring.field.zero) + ring.field.number(number(v, point))
        return Element(ring.field, {k: v for k, v in total.items() if v})

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
        expression = sympy.sympify(expression, strict=True)
        if expression not in self._known:
            self._known[expression] = self._convert(expression)
        return self._known[expression]

    def learn(self, expression: Expr, element: Element) -> None:
        """Take an expression for what it is known to be, which is not converted again."""
        self._known[expression] = element

    def _convert(self, e: Expr) -> Element:
        if e == z:
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
