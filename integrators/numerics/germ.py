"""Functions of one number that tends to infinity, exactly: sums of e^(a x) x^b over sums of such.

Where alpha or sigma is 0, lambda is infinite, and the weights of a step are limits of expressions in which
infinities meet zeros.  Evaluated over this field, with x the distance in lambda (or rho), they give the whole
function of x: it is zero exactly where it cancels, and its limit is read off its leading terms.  The
coefficients are rational numbers.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import sympy

from .arithmetic import Arithmetic, NotFinite, limited

Power = tuple[Fraction, int]
"""(a, b) for e^(a x) x^b; the larger in lexicographic order dominates."""
Terms = dict[Power, Fraction]

ONE: Power = (Fraction(0), 0)
DIGITS = 110
"""To which irrational constants are taken."""


class Diverges(NotFinite):
    """A germ without a finite limit."""


class Germ:
    """(sum c e^(a x) x^b)/(sum c e^(a x) x^b) for x -> infinity, a and c rational, b an integer >= 0.

    Takes part in sums, products, quotients and powers with rational numbers and floats, which it takes as
    the rational numbers that they are.  Equality with a number is that of functions.
    """

    __slots__ = ("bottom", "top")
    __array_ufunc__ = None  # numpy's scalars leave products to this class
    arithmetic: Arithmetic

    def __init__(self, top: Terms, bottom: Terms | None = None) -> None:
        bottom = {ONE: Fraction(1)} if bottom is None else bottom
        # A common factor e^(a x) x^b and the leading coefficient are taken out, so that sums meet alike.
        lead = bottom[max(bottom)]
        a = min(p[0] for p in bottom)
        b = min(p[1] for p in (*bottom, *top))
        self.top = {(p - a, q - b): v / lead for (p, q), v in top.items()}
        self.bottom = {(p - a, q - b): v / lead for (p, q), v in bottom.items()}

    def __add__(self, other: Any) -> Germ:
        o = germ(other)
        if self.bottom == o.bottom:
            return Germ(_sum(self.top, o.top), self.bottom)
        top = _sum(_product(self.top, o.bottom), _product(o.top, self.bottom))
        return Germ(top, _product(self.bottom, o.bottom))

    __radd__ = __add__

    def __mul__(self, other: Any) -> Germ:
        o = germ(other)
        return Germ(_product(self.top, o.top), _product(self.bottom, o.bottom))

    __rmul__ = __mul__

    def __neg__(self) -> Germ:
        return self * -1

    def __pos__(self) -> Germ:
        return self

    def __sub__(self, other: Any) -> Germ:
        return self + -germ(other)

    def __rsub__(self, other: Any) -> Germ:
        return germ(other) + -self

    def __truediv__(self, other: Any) -> Germ:
        o = germ(other)
        if not o.top:
            raise ZeroDivisionError("division by zero")
        return Germ(_product(self.top, o.bottom), _product(self.bottom, o.top))

    def __rtruediv__(self, other: Any) -> Germ:
        return germ(other).__truediv__(self)

    def __pow__(self, exponent: Any) -> Germ:
        power = Fraction(exponent)
        if power.denominator == 1:
            base = self if power >= 0 else 1 / self
            whole: Germ = math.prod([base] * abs(int(power)), start=germ(1))
            return whole
        if len(self.top) != 1 or len(self.bottom) != 1:
            raise TypeError("a sum has no rational power here")
        ((a, b), c), ((p, q), _) = (next(iter(terms.items())) for terms in (self.top, self.bottom))
        if b != q or not c > 0:
            raise TypeError("a power of the variable has no rational power here")
        return Germ({((a - p) * power, 0): Fraction(float(c) ** float(power))})

    def __eq__(self, other: object) -> bool:
        return not (self - other).top

    __hash__ = None  # type: ignore[assignment]

    @property
    def growth(self) -> Power | None:
        """(a, b) where it grows like e^(a x) x^b; None for 0."""
        if not self.top:
            return None
        (a, b), (p, q) = max(self.top), max(self.bottom)
        return a - p, b - q

    @property
    def limit(self) -> Fraction:
        """The limit.  Raises Diverges where there is none."""
        growth = self.growth
        if growth is None or growth < ONE:
            return Fraction(0)
        if growth > ONE:
            raise Diverges(f"has no limit, it grows like {_law(*growth)} with the distance x")
        return self.top[max(self.top)] / self.bottom[max(self.bottom)]

    @property
    def rises(self) -> bool:
        """Whether it tends to +infinity."""
        growth = self.growth
        return growth is not None and growth > ONE and self.top[max(self.top)] > 0

    def __repr__(self) -> str:
        return f"Germ({self.top}, {self.bottom})"


def _sum(a: Terms, b: Terms) -> Terms:
    total = dict(a)
    for power, value in b.items():
        total[power] = total.get(power, Fraction(0)) + value
    return {power: value for power, value in total.items() if value != 0}


def _product(a: Terms, b: Terms) -> Terms:
    total: Terms = {}
    for (p, q), v in a.items():
        for (r, s), w in b.items():
            key = (p + r, q + s)
            total[key] = total.get(key, Fraction(0)) + v * w
    return {power: value for power, value in total.items() if value != 0}


def _law(a: Fraction, b: int) -> str:
    factors = ["e^x" if a == 1 else f"e^({a} x)"] * bool(a) + ["x" if b == 1 else f"x^{b}"] * bool(b)
    return " ".join(factors)


def germ(value: Any) -> Germ:
    """A number as a constant function."""
    if isinstance(value, Germ):
        return value
    number = _rational(value)
    return Germ({ONE: number} if number else {})


X = Germ({(Fraction(0), 1): Fraction(1)})
"""The variable itself."""


def _rational(value: Any) -> Any:
    if isinstance(value, Germ):
        return value
    if isinstance(value, sympy.Rational):
        return Fraction(int(value.p), int(value.q))
    if isinstance(value, sympy.Expr):
        return _rational(sympy.Rational(sympy.N(value, DIGITS)))
    context = getattr(value, "context", None)
    if context is not None:
        sign, mantissa, exponent, _ = value._mpf_
        return Fraction((-1) ** sign * int(mantissa)) * Fraction(2) ** exponent
    return Fraction(value)


def _exp(value: Any) -> Any:
    """e^value for a rational number, or a germ a x + b: to `DIGITS` digits of e^b."""
    if not isinstance(value, Germ):
        return _rational(sympy.exp(sympy.Rational(value.numerator, value.denominator)))
    if value.bottom != {ONE: Fraction(1)} or any(p not in (ONE, (Fraction(0), 1)) for p in value.top):
        raise TypeError("exp is known of linear functions alone")
    slope, constant = (value.top.get(power, Fraction(0)) for power in ((Fraction(0), 1), ONE))
    return Germ({(slope, 0): _exp(constant) if constant else Fraction(1)})


def _sqrt(value: Any) -> Any:
    """The root of a number, or of what a germ tends to, which must not be 0: its leading term."""
    number = value.limit if isinstance(value, Germ) else value
    if not number > 0:
        raise TypeError("a square root at 0 has no leading term here")
    return _rational(sympy.sqrt(sympy.Rational(number.numerator, number.denominator)))


GERMS = limited(
    "germs",
    "of a function that grows without bound only exp and roots are known",
    exp=_exp,
    expm1=lambda value: _exp(value) - 1,
    number=_rational,
    sqrt=_sqrt,
    divide=lambda a, b: a / b,
    exact=True,
)
"""Germs, and fractions for what is constant."""
Germ.arithmetic = GERMS
