"""Numbers known within a rounding, and the field of them: proofs of tables that were printed in decimals.

A coefficient that was rounded lies within half a unit of its last place (`typed.py` says which are).  An
algebraic quantity x of such coefficients r_i carries the errors

    e_i = (dx/dr_i) h_i,     h_i half the unit of r_i,

and is zero *within rounding* if |x| <= sum |e_i|: some table whose coefficients round to the given ones has
x = 0, to first order in the h_i.  That is all that a number needs to be told apart from zero, so that the
expansions and conditions of exact coefficients run unchanged over `RoundedField`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import sympy
from sympy import Expr, Rational, Symbol

from ..algebra.ring import Field, NotInRing, Scalar
from .typed import Rounding

SURE = 1e-6
MANY = 1000
"""Nothing counts as zero that is larger than SURE and than MANY times the largest rounding of a coefficient,
whatever the errors of all of them add up to.
"""
CLEAR = 1000
"""How many times its own error a number must be to be divided by."""
_GUARD = 1e-6
"""Of terms of second order in the roundings."""


class TooCoarse(ValueError):
    """A rounding within which a number that is divided by cannot be told from zero."""


@dataclass(frozen=True)
class Limits:
    """floor: below which a number is zero, as far as it was computed.  most: above which none is."""

    floor: Any
    most: float


class Rounded:
    """A number with its errors, by coefficient: dx/dr_i times half a unit of r_i; None for none."""

    __slots__ = ("_near", "_nonzero", "errors", "limits", "value")

    def __init__(self, value: Any, errors: Any, limits: Limits) -> None:
        self.value, self.errors, self.limits = value, errors, limits
        self._near: float | None = None
        self._nonzero: bool | None = None

    @property
    def near(self) -> float:
        """The value in float64, which is asked for again and again."""
        if self._near is None:
            self._near = float(self.value)
        return self._near

    @property
    def bound(self) -> float:
        """Within how much it is known, to first order."""
        return 0.0 if self.errors is None else float(np.abs(self.errors).sum())

    def __bool__(self) -> bool:
        """Whether it is not zero within rounding; kept, since sums ask it of their terms again and again."""
        if self._nonzero is None:
            self._nonzero = self._exceeds()
        return self._nonzero

    def _exceeds(self) -> bool:
        near = self.near
        if abs(near) > 2 * self.limits.most:  # most numbers are told so
            return True
        if near == 0 and self.value == 0:
            return False
        within = min(self.bound * (1 + _GUARD), self.limits.most)
        return bool(abs(self.value) > within + self.limits.floor)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rounded) and bool(self.value == other.value)

    def __hash__(self) -> int:
        return hash(self.value)

    def __neg__(self) -> Rounded:
        return Rounded(-self.value, _scaled(self.errors, -1.0), self.limits)

    def __add__(self, other: Any) -> Rounded:
        if not isinstance(other, Rounded):
            return Rounded(self.value + other, self.errors, self.limits)
        return Rounded(self.value + other.value, _sum(self.errors, other.errors), self.limits)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Rounded:
        negative: Rounded | Any = -other
        return self.__add__(negative)

    def __rsub__(self, other: Any) -> Rounded:
        return (-self).__add__(other)

    def __mul__(self, other: Any) -> Rounded:
        if not isinstance(other, Rounded):
            return Rounded(self.value * other, _scaled(self.errors, float(other)), self.limits)
        first = None if self.errors is None else self.errors * other.near
        second = None if other.errors is None else other.errors * self.near
        return Rounded(self.value * other.value, _sum(first, second), self.limits)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Rounded:
        if not isinstance(other, Rounded):
            return Rounded(self.value / other, _scaled(self.errors, 1 / float(other)), self.limits)
        return self.__mul__(other.inverse())

    def __rtruediv__(self, other: Any) -> Rounded:
        return self.inverse().__mul__(other)

    def inverse(self) -> Rounded:
        """1/x.

        Raises TooCoarse for a number that could be zero.
        """
        if not abs(self.value) > CLEAR * (self.bound + self.limits.floor):
            raise TooCoarse("the rounding is too coarse: a number that is divided by could be zero")
        return Rounded(1 / self.value, _scaled(self.errors, -1 / self.near**2), self.limits)

    def __pow__(self, exponent: int) -> Rounded:
        base = self if exponent >= 0 else self.inverse()
        if exponent == 0:
            return Rounded(self.value**0, None, self.limits)
        n = abs(exponent)
        slope = float(n * base.value ** (n - 1))
        return Rounded(base.value**n, _scaled(base.errors, slope), self.limits)


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
        floor = self._context.mpf(10) ** (30 - self._context.dps)
        self._limits = Limits(floor, max(SURE, MANY * rounding.largest))
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
        near = value.near
        for key in self._keys:
            apart = abs(key.near - near)  # with the rounding of both, which is far below a part in 1e15
            if apart > 2 * self._limits.most + 1e-15 * (abs(near) + abs(key.near)):
                continue
            if abs(key.value - value.value) < self._limits.most and not key - value:
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
        return Rounded(number, None, self._limits)

    def _element(self, e: Expr) -> Rounded:
        if e in self._place:
            errors = np.zeros(len(self._place))
            errors[self._place[e]] = float(self._rounding.halves[e])
            value = self._rounding.values[e]
            return Rounded(self._context.mpf(value.p) / value.q, errors, self._limits)
        if isinstance(e, Rational):
            return self._exact(Fraction(e.p, e.q))
        if e is sympy.E:
            return Rounded(self._context.e + 0, None, self._limits)
        if e.is_Add or e.is_Mul:
            return _fold(map(self._element, e.args), product=e.is_Mul)
        if e.is_Pow and e.exp.is_Integer:
            return self._element(e.base) ** int(e.exp)
        if e.is_Pow and e.exp.is_Rational and e.base.is_Rational and e.base > 0:
            base = self._context.mpf(e.base.p) / e.base.q
            return Rounded(base ** (self._context.mpf(e.exp.p) / e.exp.q), None, self._limits)
        raise NotInRing(f"{e} is no number: rounding is not followed through parameters")


def _fold(parts: Iterable[Rounded], product: bool) -> Rounded:
    first, *others = parts
    for part in others:
        first = first * part if product else first + part
    return first
