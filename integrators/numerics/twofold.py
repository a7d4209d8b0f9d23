"""Arrays of float64 numbers in twice the precision, with a bound of what they miss.

A value stands as  high + low,  an unevaluated sum of two float64 numbers (Dekker 1971), and `error` bounds,
component by component, how far the exact value is from that sum.  The bound is carried through every
operation, so that a component can be rounded to float64 *for certain* or be named as one that cannot
(`Twofold.rounded`; Ziv 1991): what is certain is the same number that exact arithmetic gives.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import sympy

from .arithmetic import Value, limited

UNIT = 2.0**-103
"""What a sum may miss, relative to the sizes of its two terms, and a product relative to itself, with u =
2^-53: the low parts, at most u each, are added with three roundings (4 u^2), or are two rounded products, two
rounded sums and one product left out (8 u^2).
"""
TINY = 1e-290
"""What a product may miss where its low part is below the smallest numbers."""
SLACK = 1 + 2.0**-40
"""What the rounding of the bounds themselves needs, for formulas of up to a thousand operations."""
LARGEST = 1e290
"""Above, a number may overflow where it is split: it is never certain."""


def _split(v: Value) -> tuple[Value, Value]:
    big = 134217729.0 * v  # 2^27 + 1
    high = big - (big - v)
    return high, v - high


def two_sum(a: Value, b: Value) -> tuple[Value, Value]:
    """a + b exactly, as its rounded value and what that misses.  Knuth."""
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


def two_product(a: Value, b: Value) -> tuple[Value, Value]:
    """a b exactly, as its rounded value and what that misses.  Dekker 1971."""
    p = a * b
    (ah, al), (bh, bl) = _split(a), _split(b)
    return p, ((ah * bh - p) + ah * bl + al * bh) + al * bl


class Twofold:
    """An array as  high + low,  within `error`; the operations that weights are made of."""

    __slots__ = ("error", "high", "low")

    def __init__(self, high: Value, low: Value = 0.0, error: Value = 0.0) -> None:
        self.high, self.low, self.error = high, low, error

    @property
    def parts(self) -> tuple[Value, Value]:
        """Both numbers; of a constant, what it can be found by."""
        return self.high, self.low

    def __add__(self, other: Any) -> Twofold:
        other = _twofold(other)
        s, e = two_sum(self.high, other.high)
        high, low = two_sum(s, e + (self.low + other.low))
        size = abs(self.high) + abs(other.high)
        return Twofold(high, low, self.error + other.error + UNIT * size)

    def __mul__(self, other: Any) -> Twofold:
        other = _twofold(other)
        p, e = two_product(self.high, other.high)
        high, low = two_sum(p, e + (self.high * other.low + self.low * other.high))
        a, b = abs(self.high) + abs(self.low), abs(other.high) + abs(other.low)
        error = a * other.error + b * self.error + self.error * other.error
        return Twofold(high, low, error + UNIT * abs(p) + TINY)

    __radd__, __rmul__ = __add__, __mul__

    def __rtruediv__(self, one: int) -> Twofold:
        """one / self: the rounded quotient q, corrected by what q self misses of one.

        The correction is at most 3 u |q|, made with four roundings, and leaves 9 u^2 of second order.
        """
        quotient = one / self.high
        p, e = two_product(quotient, self.high)
        high, low = two_sum(quotient, (((one - p) - e) - quotient * self.low) / self.high)
        room = abs(self.high) - abs(self.low) - self.error
        relative = np.where(room > 0, self.error / np.where(room > 0, room, 1.0), np.inf)  # it may be zero
        return Twofold(high, low, abs(high) * (relative + 4 * UNIT) + TINY)

    def __pow__(self, exponent: Any) -> Twofold:
        if isinstance(exponent, Twofold):
            raise TypeError("a power must have an integer exponent")
        base = self if exponent > 0 else 1 / self
        result = base
        for bit in bin(abs(exponent))[3:]:
            result = result * result
            if bit == "1":
                result = result * base
        return result

    def rounded(self) -> tuple[Value, Value]:
        """The float64 numbers nearest to the exact values, and where this is certain: nowhere near a tie."""
        error = SLACK * self.error
        below = self.high + np.nextafter(self.low - error, -np.inf)
        above = self.high + np.nextafter(self.low + error, np.inf)
        return below, (below == above) & (abs(self.high) < LARGEST)


def _twofold(value: Any) -> Twofold:
    if isinstance(value, Twofold):
        return value
    if isinstance(value, np.ndarray):
        return Twofold(value, np.zeros_like(value), np.zeros_like(value))
    return _number(value)


@cache
def _constant(value: Fraction) -> tuple[float, float, float]:
    high = float(value)
    low = float(value - Fraction(high))
    return high, low, float(abs(value - Fraction(high) - Fraction(low)))


def _number(value: Any) -> Twofold:
    if isinstance(value, np.ndarray):
        return _twofold(value)
    if isinstance(value, sympy.Expr):
        if not isinstance(value, sympy.Rational):
            raise TypeError(f"{value} is not rational")
        value = Fraction(int(value.p), int(value.q))
    return Twofold(*_constant(Fraction(value)))


def phis(most: int, x: Twofold) -> list[Twofold]:
    """phi_0(x) .. phi_most(x): the series of phi_most, then  phi_(k-1) = x phi_k + 1/(k-1)!.

    As many terms as the largest |x| asks for.  What cancels for negative x stands in the bound.
    """
    size = float(np.max(abs(x.high), initial=0.0))
    count, term = 1, 1.0  # the last of `count` terms, times most!
    while term > 2.0**-112 or count < 2 * size:
        term *= size / (count + most)
        count += 1
    total = _number(Fraction(1, math.factorial(count - 1 + most)))
    for j in range(count - 2, -1, -1):
        total = total * x + _number(Fraction(1, math.factorial(j + most)))
    # From there on each term is at most half of the one before: what is left out, at most the last.
    total = Twofold(total.high, total.low, total.error + term / math.factorial(most))
    values = [total]
    for k in range(most, 0, -1):
        values.append(values[-1] * x + _number(Fraction(1, math.factorial(k - 1))))
    return values[::-1]


TWOFOLD = limited(
    "twofold",
    "twofold arithmetic has no transcendental functions but exp",
    exp=lambda x: phis(0, _twofold(x))[0],
    number=_number,
    divide=lambda a, b: a * (1 / b),
)
"""Arrays in twice the precision; integer powers, and e^x by its series."""
