"""Numbers known within a rounding, and the field of them: proofs of tables that were printed in decimals.

A coefficient that was rounded lies within half a unit of its last place.  An algebraic quantity x of such
coefficients r_i carries the errors

    e_i = (dx/dr_i) h_i,     h_i half the unit of r_i,

and is zero *within rounding* if |x| <= sum |e_i|: some table whose coefficients round to the given ones has
x = 0, to first order in the h_i.  That is all that a number needs to be told apart from zero, so that the
expansions and conditions of exact coefficients run unchanged over `RoundedField`.

Which numbers are rounded (`half_unit`) is read off the table:

    decimals     of at least `DECIMALS` places: half a unit of the last; and 2^-53 of the number besides,
                 where it has at most 17 significant digits: it may have been a double
    fractions    p/q with q >= `DENOMINATOR`, a best approximation among fractions of its size: 2/q^2
    floats       2^-53 of the number

Every other number is exact: no short fraction and no short decimal is ever excused, and a number that is the
only fraction of its size within its rounding, as 0.0009765625 is 1/1024, is that fraction.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import sympy
from semilinear.integrators.tableau import Stage, Tableau, omega
from sympy import Expr, Rational, Symbol

from .ring import Field, NotInRing, Scalar

DECIMALS = 10
DENOMINATOR = 10**8
DOUBLE = Fraction(1, 2**53)
DOUBLE_DIGITS = 17
COARSEST = Fraction(1, 10**3)
"""The largest rounding that may be stated of a table."""
SURE = 1e-6
"""Nothing larger counts as zero within rounding, whatever the coefficients' errors add up to."""
CLEAR = 1000
"""How many times its own error a number must be to be divided by."""
_GUARD = 1e-6
"""Of terms of second order in the roundings."""


class TooCoarse(ValueError):
    """A rounding within which a number that is divided by cannot be told from zero."""


@dataclass(frozen=True)
class Decimal:
    """A decimal as it was typed: its value, and how many places stand behind the point."""

    value: Rational
    places: int


@dataclass(frozen=True)
class Typed:
    """A tableau with a symbol for each decimal in it, as it was typed."""

    tableau: Tableau
    decimals: Mapping[Symbol, Decimal] = field(default_factory=dict)

    @property
    def exact(self) -> Tableau:
        """The tableau, decimals taken for the fractions that they are."""
        return with_values(self.tableau, {s: d.value for s, d in self.decimals.items()})

    @property
    def embedded(self) -> Typed:
        """The same with the second output row for the first."""
        return replace(self, tableau=replace(self.tableau, output=self.tableau.low, low=None))


@dataclass(frozen=True)
class Rounding:
    """Which coefficients of a tableau are rounded.

    tableau: with a symbol for each of them.  values, halves: what they were rounded to, and within how much.
    """

    tableau: Tableau
    values: Mapping[Symbol, Rational]
    halves: Mapping[Symbol, Fraction]

    @property
    def largest(self) -> float:
        """The largest of the `halves`."""
        return float(max(self.halves.values()))


def half_unit(number: Expr, stated: Fraction | None = None, places: int | None = None) -> Fraction:
    """Within how much a number is known; 0 for one that is exact.

    stated: of every number that is no short fraction.  places: behind the point of a decimal, as typed; by
    default as many as the number needs.
    """
    value = Rational(number)
    p, q = abs(value.p), value.q
    own = Fraction(p, q) * DOUBLE if isinstance(number, sympy.Float) else _own_half(p, q, places)
    found = stated or own
    return found if 2 * found * q * q >= 1 else Fraction(0)


def _own_half(p: int, q: int, places: int | None) -> Fraction:
    if places is None:
        if q & (q - 1) == 0 and q > 2**30 and p < 2**53:
            return Fraction(p, q) * DOUBLE
        places = _places(q)
    if places is None:
        return Fraction(2, q * q) if q >= DENOMINATOR else Fraction(0)
    if places < DECIMALS:
        return Fraction(0)
    half = Fraction(1, 2 * 10**places)
    double = p * 10**places // q < 10**DOUBLE_DIGITS
    return half + Fraction(p, q) * DOUBLE if double else half


def _places(q: int) -> int | None:
    """How many decimal places a denominator needs; None if no number of them is enough."""
    twos = (q & -q).bit_length() - 1
    rest, fives = q >> twos, 0
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    return max(twos, fives) if rest == 1 else None


def rounding_of(table: Tableau | Typed, stated: Fraction | None = None) -> Rounding | None:
    """Which coefficients of a tableau are rounded; None where all are exact.

    stated: the rounding of every coefficient that is no short fraction, in place of what the table shows.
    Raises ValueError for a stated rounding that is not positive, or larger than `COARSEST`.
    """
    if stated is not None and not 0 < stated <= COARSEST:
        raise ValueError(f"rounding must be positive and at most {float(COARSEST)}, got {float(stated)}")
    typed = table if isinstance(table, Typed) else Typed(table)
    values: dict[Symbol, Rational] = {}
    halves: dict[Symbol, Fraction] = {}
    symbols: dict[Expr, Expr] = {}

    def add(number: Expr, half: Fraction) -> Expr:
        symbol = Symbol(f"r{len(values)}~", real=True)
        values[symbol], halves[symbol] = Rational(number), half
        return symbol

    for symbol, decimal in typed.decimals.items():
        half = half_unit(decimal.value, stated, decimal.places)
        symbols[symbol] = add(decimal.value, half) if half else decimal.value
    numbers = {n for e in _expressions(typed.tableau) for n in e.atoms(Rational, sympy.Float)}
    for number in sorted(numbers, key=str):
        if half := half_unit(number, stated):
            symbols[number] = add(number, half)
    return Rounding(with_values(typed.tableau, symbols), values, halves) if values else None


def _expressions(tableau: Tableau) -> Iterator[Expr]:
    for stage in tableau.stages:
        yield from (stage.c, stage.formula)
    yield from (row for row in (tableau.output, tableau.low) if row is not None)


def with_values(tableau: Tableau, values: Mapping[Any, Any]) -> Tableau:
    """A tableau with something else in place of some of its symbols and numbers."""
    if not values:
        return tableau
    low = None if tableau.low is None else tableau.low.xreplace(values)
    stages = tuple(Stage(s.c.xreplace(values), s.formula.xreplace(values)) for s in tableau.stages)
    return Tableau(stages, tableau.output.xreplace(values), low, tableau.carry, tableau.stage_noise)


class Rounded:
    """A number with its errors, by coefficient: dx/dr_i times half a unit of r_i."""

    __slots__ = ("errors", "floor", "value")

    def __init__(self, value: Any, errors: Any, floor: Any) -> None:
        self.value, self.errors, self.floor = value, errors, floor

    @property
    def bound(self) -> float:
        """Within how much it is known, to first order."""
        return 0.0 if self.errors is None else float(np.abs(self.errors).sum())

    def __bool__(self) -> bool:
        """Whether it is not zero within rounding."""
        if self.value == 0:
            return False
        return bool(abs(self.value) > min(self.bound * (1 + _GUARD), SURE) + self.floor)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rounded) and bool(self.value == other.value)

    def __hash__(self) -> int:
        return hash(self.value)

    def __neg__(self) -> Rounded:
        return Rounded(-self.value, _scaled(self.errors, -1.0), self.floor)

    def __add__(self, other: Any) -> Rounded:
        if not isinstance(other, Rounded):
            return Rounded(self.value + other, self.errors, self.floor)
        return Rounded(self.value + other.value, _sum(self.errors, other.errors), self.floor)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Rounded:
        negative: Rounded | Any = -other
        return self.__add__(negative)

    def __rsub__(self, other: Any) -> Rounded:
        return (-self).__add__(other)

    def __mul__(self, other: Any) -> Rounded:
        if not isinstance(other, Rounded):
            return Rounded(self.value * other, _scaled(self.errors, float(other)), self.floor)
        errors = _sum(_scaled(self.errors, float(other.value)), _scaled(other.errors, float(self.value)))
        return Rounded(self.value * other.value, errors, self.floor)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Rounded:
        if not isinstance(other, Rounded):
            return Rounded(self.value / other, _scaled(self.errors, 1 / float(other)), self.floor)
        return self.__mul__(other.inverse())

    def __rtruediv__(self, other: Any) -> Rounded:
        return self.inverse().__mul__(other)

    def inverse(self) -> Rounded:
        """1/x.

        Raises TooCoarse for a number that could be zero.
        """
        if not abs(self.value) > CLEAR * (self.bound + self.floor):
            raise TooCoarse("the rounding is too coarse: a number that is divided by could be zero")
        return Rounded(1 / self.value, _scaled(self.errors, -1 / float(self.value) ** 2), self.floor)

    def __pow__(self, exponent: int) -> Rounded:
        base = self if exponent >= 0 else self.inverse()
        if exponent == 0:
            return Rounded(self.value**0, None, self.floor)
        n = abs(exponent)
        slope = float(n * base.value ** (n - 1))
        return Rounded(base.value**n, _scaled(base.errors, slope), self.floor)


def _sum(a: Any, b: Any) -> Any:
    return b if a is None else a if b is None else a + b


def _scaled(errors: Any, factor: float) -> Any:
    return None if errors is None else errors * factor


class RoundedField(Field):
    """The field of numbers known within the rounding of some coefficients; it has no parameters.

    Numbers that agree within their rounding are one key where a table looks them up.
    """

    def __init__(self, rounding: Rounding, at: Mapping[Symbol, Expr]) -> None:
        digits = max(-math.log10(h) for h in rounding.halves.values())
        self._context = mpmath.MPContext()
        self._context.dps = 60 + 2 * math.ceil(max(digits, 0))
        self._floor = self._context.mpf(10) ** (30 - self._context.dps)
        super().__init__()
        self._at = dict(at)
        self._place = {s: i for i, s in enumerate(rounding.values)}
        self._rounding = rounding
        self.zero, self.one = self._exact(0), self._exact(1)
        self._keys: list[Rounded] = [self.zero]

    def __call__(self, value: Any) -> Scalar:
        """A number or expression in the rounded coefficients as an element."""
        return self.normal(self._element(sympy.sympify(value, strict=True).xreplace(self._at)))

    def normal(self, value: Scalar) -> Scalar:
        """The element that stands for all that agree with this one within rounding."""
        for key in self._keys:
            if abs(key.value - value.value) < SURE and not key - value:
                return key
        self._keys.append(value)
        return value

    def power(self, value: Scalar, exponent: int) -> Scalar:
        """value^exponent, exponent >= 0; 0^0 is 1."""
        return value**exponent

    def expression(self, value: Scalar) -> Expr:
        """An element's number, without its error."""
        return sympy.Float(str(value.value), 30)

    def fraction(self, numerator: int, denominator: int) -> Scalar:
        """A rational number as an element."""
        return self._exact(Fraction(numerator, denominator))

    def _exact(self, value: Fraction | int) -> Rounded:
        number = self._context.mpf(value.numerator) / value.denominator
        return Rounded(number, None, self._floor)

    def _element(self, e: Expr) -> Rounded:
        if e in self._place:
            errors = np.zeros(len(self._place))
            errors[self._place[e]] = float(self._rounding.halves[e])
            value = self._rounding.values[e]
            return Rounded(self._context.mpf(value.p) / value.q, errors, self._floor)
        if isinstance(e, Rational):
            return self._exact(Fraction(e.p, e.q))
        if e is sympy.E:
            return Rounded(self._context.e + 0, None, self._floor)
        if e.is_Add or e.is_Mul:
            return _fold(map(self._element, e.args), product=e.is_Mul)
        if e.is_Pow and e.exp.is_Integer:
            return self._element(e.base) ** int(e.exp)
        if e.is_Pow and e.exp.is_Rational and e.base.is_Rational and e.base > 0:
            base = self._context.mpf(e.base.p) / e.base.q
            return Rounded(base ** (self._context.mpf(e.exp.p) / e.exp.q), None, self._floor)
        raise NotInRing(f"{e} is no number: rounding is not followed through parameters")


def _fold(parts: Iterable[Rounded], product: bool) -> Rounded:
    first, *others = parts
    for part in others:
        first = first * part if product else first + part
    return first


def is_number(tableau: Tableau, at: Mapping[Symbol, Expr]) -> bool:
    """Whether a tableau has no parameters but those with values."""
    steps = {omega(j) for j in range(1, tableau.past + 1)}
    return not (tableau.parameters | steps) - set(at)
