"""Rational functions over Q whose denominators are kept in factors.

What is divided by is a few irreducible polynomials again and again: abscissae, their differences, the
determinants of small linear systems.  So a fraction is

    numerator / (unit * prod prime^n),      numerator over Z, unit a positive integer,

in lowest terms, and arithmetic divides by these primes and takes no greatest common divisor of polynomials.
Primes are factors that `factor_list` found, so that equal fractions are equal tables.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any

import sympy
from sympy import ZZ, Expr, Symbol
from sympy.polys.rings import PolyElement, PolyRing

from .polynomials import Poly, at, divided_out, factor_list

Powers = tuple[tuple[int, int], ...]
"""A product of primes: (which, exponent) in order."""


class NotRational(ValueError):
    """An expression that is no rational function of the symbols; the message names the part."""


class Quotient:
    """An element of `Fractions`: see the module."""

    __slots__ = ("field", "numer", "primes", "unit")

    def __init__(self, field: Fractions, numer: Poly, unit: int, primes: Powers) -> None:
        self.field, self.numer, self.unit, self.primes = field, numer, unit, primes

    def __bool__(self) -> bool:
        return bool(self.numer)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, int):
            return self.unit == 1 and not self.primes and bool(self.numer == other)
        return (
            isinstance(other, Quotient)
            and self.primes == other.primes
            and self.unit == other.unit
            and bool(self.numer == other.numer)
        )

    def __hash__(self) -> int:
        return hash((self.numer, self.unit, self.primes))

    def __repr__(self) -> str:
        return str(self.field.to_sympy(self))

    def __neg__(self) -> Quotient:
        return Quotient(self.field, -self.numer, self.unit, self.primes)

    def __add__(self, other: Any) -> Quotient:
        other = self.field.convert(other)
        return self.field.total([(self.numer, *self.under), (other.numer, *other.under)])

    __radd__ = __add__

    def __sub__(self, other: Any) -> Quotient:
        negative: Quotient = -other
        return self + negative

    def __rsub__(self, other: Any) -> Quotient:
        return (-self).__add__(other)

    def __mul__(self, other: Any) -> Quotient:
        other = self.field.convert(other)
        return self.field.dot([(self, other)])

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Quotient:
        if isinstance(other, int):
            sign = 1 if other > 0 else -1
            return self.field.lowest(self.numer * sign, self.unit * abs(other), self.primes, ())
        return self.__mul__(other.inverse())

    def __rtruediv__(self, other: Any) -> Quotient:
        return self.inverse().__mul__(other)

    def __pow__(self, exponent: int) -> Quotient:
        base = self if exponent >= 0 else self.inverse()
        n = abs(exponent)
        primes = tuple((i, m * n) for i, m in base.primes) if n else ()
        return Quotient(self.field, base.numer**n, base.unit**n, primes)

    def inverse(self) -> Quotient:
        """1/x.  Raises ZeroDivisionError."""
        if not self:
            raise ZeroDivisionError("a rational function that is zero has no inverse")
        field = self.field
        constant, primes = field.factors(self.numer)
        over = field.product(self.primes) * (self.unit if constant > 0 else -self.unit)
        return field.lowest(over, abs(constant), primes, ())

    @property
    def under(self) -> tuple[int, Powers]:
        """The denominator."""
        return self.unit, self.primes

    @property
    def denom(self) -> Poly:
        """The denominator as a polynomial."""
        return self.field.product(self.primes) * self.unit


class Fractions:
    """The field of rational functions over Q in some symbols."""

    is_QQ = False

    def __init__(self, symbols: Sequence[Symbol]) -> None:
        self.symbols = tuple(symbols)
        self.ring = PolyRing(self.symbols, ZZ)
        self.zero = Quotient(self, self.ring.zero, 1, ())
        self.one = Quotient(self, self.ring.one, 1, ())
        self._at = {s: i for i, s in enumerate(self.symbols)}
        self._primes: list[Poly] = []
        self._place: dict[Poly, int] = {}
        self._factors: dict[Poly, tuple[int, Powers]] = {}
        self._products: dict[Powers, Poly] = {(): self.ring.one}
        self._known: dict[Expr, Quotient] = {}

    def convert(self, value: Any) -> Quotient:
        """An element, integer, fraction or polynomial of the ring as an element."""
        if isinstance(value, Quotient):
            return value
        if isinstance(value, PolyElement):
            return Quotient(self, value, 1, ())
        if isinstance(value, int):
            return Quotient(self, self.ring.ground_new(ZZ(value)), 1, ())
        return Quotient(self, self.ring.ground_new(ZZ(value.numerator)), int(value.denominator), ())

    __call__ = convert

    def numer(self, value: Quotient) -> Poly:
        """An element's numerator."""
        return value.numer

    # --- denominators ---

    def factors(self, polynomial: Poly) -> tuple[int, Powers]:
        """A polynomial as a number times primes."""
        if polynomial not in self._factors:
            found = factor_list(polynomial)
            leading = math.prod(int(prime.LC) ** n for prime, n in found)
            powers = tuple(sorted((self._prime(prime), n) for prime, n in found))
            self._factors[polynomial] = int(polynomial.LC) // leading, powers
        return self._factors[polynomial]

    def _prime(self, prime: Poly) -> int:
        if prime not in self._place:
            self._place[prime] = len(self._primes)
            self._primes.append(prime)
        return self._place[prime]

    def prime(self, index: int) -> Poly:
        """The prime of that index."""
        return self._primes[index]

    def product(self, powers: Powers) -> Poly:
        """A product of primes as a polynomial."""
        if powers not in self._products:
            *rest, (i, n) = powers
            shorter = (*rest, (i, n - 1)) if n > 1 else tuple(rest)
            self._products[powers] = self.product(shorter) * self._primes[i]
        return self._products[powers]

    def lowest(self, numerator: Poly, unit: int, primes: Powers, may: Iterable[int]) -> Quotient:
        """A fraction in lowest terms: without the primes of `may` that divide its numerator too."""
        if not numerator:
            return self.zero
        if primes and may:
            left = dict(primes)
            tried = list(may)
            numerator, counts = divided_out(numerator, [(self._primes[i], left[i]) for i in tried])
            for i, n in zip(tried, counts, strict=True):
                left[i] -= n
            primes = tuple((i, n) for i, n in left.items() if n)
        if unit != 1:
            common = unit
            for value in numerator.values():
                common = math.gcd(common, int(value))
                if common == 1:
                    break
            else:
                numerator, unit = numerator.quo_ground(ZZ(common)), unit // common
        return Quotient(self, numerator, unit, primes)

    # --- sums ---

    def dot(self, pairs: Iterable[tuple[Quotient, Quotient]]) -> Quotient:
        """The sum of products a b."""
        return self.total((a.numer * b.numer, a.unit * b.unit, _times(a.primes, b.primes)) for a, b in pairs)

    def total(self, parts: Iterable[tuple[Poly, int, Powers]]) -> Quotient:
        """The sum of fractions, numerator and denominator each, that need not be in lowest terms.

        Numerators over one denominator are added before anything is divided.
        """
        over: dict[tuple[int, Powers], Poly] = {}
        for numerator, unit, primes in parts:
            if numerator:
                key = unit, primes
                over[key] = over[key] + numerator if key in over else numerator
        unit = math.lcm(*(u for u, _ in over))
        most: dict[int, int] = {}
        for _, primes in over:
            for i, n in primes:
                most[i] = max(most.get(i, 0), n)
        sum_ = self.ring.zero
        for (u, primes), numerator in over.items():
            own = dict(primes)
            missing = tuple((i, n - own.get(i, 0)) for i, n in sorted(most.items()) if n > own.get(i, 0))
            if missing:
                numerator = numerator * self.product(missing)
            sum_ = sum_ + (numerator if u == unit else numerator.mul_ground(ZZ(unit // u)))
        return self.lowest(sum_, unit, tuple(sorted(most.items())), most)

    def at(self, value: Quotient, point: Sequence[Fraction]) -> Fraction:
        """An element's value at a point.  Raises ZeroDivisionError where its denominator vanishes."""
        under = math.prod((at(self._primes[i], point) ** n for i, n in value.primes), start=Fraction(1))
        return at(value.numer, point) / (value.unit * under)

    # --- expressions ---

    def to_sympy(self, value: Quotient) -> Expr:
        """An element as an expression, numerator and denominator multiplied out."""
        return value.numer.as_expr() / value.denom.as_expr()

    def from_sympy(self, expression: Expr) -> Quotient:
        """A rational function of the symbols as an element.

        Raises NotRational, and ZeroDivisionError.
        """
        if expression.is_Rational:
            return self.convert(Fraction(expression.p, expression.q))
        if expression not in self._known:
            self._known[expression] = self._convert(expression)
        return self._known[expression]

    def _convert(self, e: Expr) -> Quotient:
        if e in self._at:
            return Quotient(self, self.ring.gens[self._at[e]], 1, ())
        if e.is_Add:
            return self.total(self._parts(e.args))
        if e.is_Mul:
            return self._product(e.args)
        if e.is_Pow and e.exp.is_Integer:
            return self.from_sympy(e.base) ** int(e.exp)
        raise NotRational(f"{e} is no rational function of {', '.join(map(str, self.symbols)) or 'numbers'}")

    def _product(self, args: Sequence[Expr]) -> Quotient:
        """Primes of one factor may divide another factor's numerator, and are looked for once."""
        numerator, unit = self.ring.one, 1
        primes: Powers = ()
        for part in map(self.from_sympy, args):
            numerator, unit = numerator * part.numer, unit * part.unit
            primes = _times(primes, part.primes)
        return self.lowest(numerator, unit, primes, [i for i, _ in primes])

    def _parts(self, args: Sequence[Expr]) -> Iterable[tuple[Poly, int, Powers]]:
        """The terms of a sum; its monomials as one polynomial."""
        table: dict[tuple[int, ...], Fraction] = {}
        for e in args:
            monomial = self._monomial(e)
            if monomial is None:
                part = self.from_sympy(e)
                yield part.numer, part.unit, part.primes
            else:
                powers, value = monomial
                table[powers] = table.get(powers, Fraction(0)) + value
        if table:
            unit = math.lcm(*(v.denominator for v in table.values()))
            yield self.ring.from_dict({p: ZZ(int(v * unit)) for p, v in table.items() if v}), unit, ()

    def _monomial(self, e: Expr) -> tuple[tuple[int, ...], Fraction] | None:
        """A number times powers of symbols, as exponents and the number; None for anything else."""
        powers, value = [0] * len(self.symbols), Fraction(1)
        for factor in e.args if e.is_Mul else (e,):
            if factor.is_Rational:
                value *= Fraction(factor.p, factor.q)
                continue
            base, exponent = factor.args if factor.is_Pow else (factor, sympy.S.One)
            if base not in self._at or not exponent.is_Integer or exponent < 0:
                return None
            powers[self._at[base]] += int(exponent)
        return tuple(powers), value


def inner(pairs: Iterable[tuple[Any, Any]], zero: Any) -> Any:
    """The sum of products a b of elements of a field, its zero given."""
    if isinstance(zero, Quotient):
        return zero.field.dot(pairs)
    return sum((a * b for a, b in pairs), zero)


@lru_cache(maxsize=256)
def fractions(symbols: tuple[Symbol, ...]) -> Fractions:
    """The field of rational functions in the symbols, with what it has factored and read before."""
    return Fractions(symbols)


def _times(first: Powers, second: Powers) -> Powers:
    """The product of two products of primes."""
    if not first or not second:
        return first or second
    total = dict(first)
    for i, n in second:
        total[i] = total.get(i, 0) + n
    return tuple(sorted(total.items()))
