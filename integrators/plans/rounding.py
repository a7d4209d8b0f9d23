"""Weights rounded once: sums of phi-functions, whose terms may cancel, in exact arithmetic.

A weight such as  phi_1 - 3 phi_2 + 4 phi_3  has zeros, and  phi_1(z/2)/2 - phi_2(z/2)  vanishes with z: added
in float64, a weight that is 1000 times smaller than its terms is 1000 units of the last place off, however
accurate these are.  Here z and the step ratios, which are float64 numbers, are taken as the rational numbers
that they are, phi_k from its series in integers with `BITS` binary places, and the result is rounded.

The weights of many steps at once, arrays, are computed in twice the precision with a bound of their error;
what that leaves open is computed exactly, so that a step's weights do not depend on the company it keeps.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import sympy
from sympy import Expr, Symbol

from ..common.messages import shown
from ..forms.form import Exponential
from ..numerics import twofold
from ..numerics.arithmetic import EACH, FLOAT64, Arithmetic, Fn, Value, limited, uniform
from ..numerics.germ import GERMS, Diverges, X, germ
from ..numerics.twofold import TWOFOLD
from ..tableaux.evaluate import evaluator
from ..tableaux.tableau import z
from .scope import Scope

BITS = 320
Phis = Callable[[int, Any], list[Any]]
"""phi_0 .. phi_k of a number."""
LARGEST = 128.0
"""The largest |z| that the series is summed for: beyond, float64 has to do."""


class Exact:
    """A rational number, not in lowest terms: the few operations of a weight cost less than the greatest
    common divisors of numbers of a hundred digits.  With a float it gives a float.
    """

    __slots__ = ("down", "up")

    def __init__(self, up: int, down: int = 1) -> None:
        self.up, self.down = up, down

    def __add__(self, other: Any) -> Any:
        if type(other) is not Exact:
            return float(self) + other
        if self.down == other.down:
            return Exact(self.up + other.up, self.down)
        return Exact(self.up * other.down + other.up * self.down, self.down * other.down)

    def __mul__(self, other: Any) -> Any:
        if type(other) is not Exact:
            return float(self) * other
        return Exact(self.up * other.up, self.down * other.down)

    __radd__, __rmul__ = __add__, __mul__

    def __rtruediv__(self, one: int) -> Exact:
        if not self.up:
            raise ZeroDivisionError("division by zero")
        return Exact(one * self.down, self.up)

    def __pow__(self, exponent: Any) -> Any:
        if isinstance(exponent, Exact):
            whole, rest = divmod(exponent.up, exponent.down)
            return float(self) ** float(exponent) if rest else self**whole
        if exponent < 0:
            return (1 / self) ** -exponent
        return Exact(self.up**exponent, self.down**exponent)

    @property
    def parts(self) -> tuple[int, int]:
        """Numerator and denominator."""
        return self.up, self.down

    def __float__(self) -> float:
        return self.up / self.down if self.up else 0.0  # integers are divided with one rounding

    @property
    def fraction(self) -> Fraction:
        """In lowest terms."""
        return Fraction(self.up, self.down)


def _exact(value: Any) -> Exact:
    if isinstance(value, sympy.Rational):
        return Exact(int(value.p), int(value.q))
    if isinstance(value, Expr):
        raise TypeError(f"{value} is not rational")
    return Exact(*value.as_integer_ratio())


def _exp(x: Exact) -> Exact:
    return phis(0, x)[0]


RATIONAL = limited(
    "rational",
    "exact arithmetic has no transcendental functions but exp",
    exp=_exp,
    number=_exact,
    divide=lambda a, b: a / b,
)
"""Exact numbers; e^x is one to `BITS` binary places."""


def phis(most: int, x: Exact) -> list[Exact]:
    """phi_0(x) .. phi_most(x) to `BITS` binary places, for |x| <= LARGEST.

    The series of phi_most, then  phi_(k-1) = x phi_k + 1/(k-1)!,  which loses nothing of them.
    """
    size = -(-abs(x.up) // abs(x.down))
    guard = 64 + 4 * size + 8 * most  # terms grow to e^|x|, the recurrence multiplies by |x|
    one = 1 << (BITS + guard)
    fixed = (x.up * one) // x.down
    total = term = one // math.factorial(most)
    j = 0
    while term not in (0, -1):
        j += 1
        term = term * fixed // (one * (j + most))
        total += term
    values = [total]
    for k in range(most, 0, -1):
        values.append(values[-1] * fixed // one + one // math.factorial(k - 1))
    return [Exact(value, one) for value in reversed(values)]


class AtStep:
    """The symbols of a step's weights and its phi-functions in `xp`: z and the step ratios as the rational
    numbers that they are, or arrays of them in twice the precision.
    """

    def __init__(self, z_of_step: Value, symbol: Fn, moments: int, xp: Arithmetic, phis: Phis) -> None:
        self._z, self._value, self._moments = xp.number(z_of_step), symbol, moments
        self._number, self._all = xp.number, phis
        self._symbols: dict[Symbol, Value] = {z: self._z}
        self._phis: dict[tuple[Any, Any], list[Value]] = {}

    def symbol(self, symbol: Symbol) -> Value:
        """z, a step ratio or a parameter."""
        known = self._symbols.get(symbol)
        if known is None:
            known = self._symbols[symbol] = self._number(self._value(symbol))
        return known

    def phi(self, k: int, c: Value) -> Value:
        """phi_k(c z).  Raises TypeError for an irrational c, a root of a fraction."""
        if isinstance(c, float):
            raise TypeError(f"c must be rational, got {shown(c)}")
        known = self._phis.get(c.parts)
        if known is None or len(known) <= k:
            known = self._phis[c.parts] = self._all(max(k, self._moments), c * self._z)
        return known[k]


class FarScope:
    """The symbols of a step with a step ratio that is infinite, as germs: of X = |tau_n - tau_(n-j)|."""

    def __init__(self, scope: Scope, exact: AtStep | None) -> None:
        self._scope, self._exact = scope, exact

    def symbol(self, symbol: Symbol) -> Any:
        """z, a step ratio or a parameter."""
        if symbol in self._scope.far:
            return X / abs(self._scope.step.h)
        return GERMS.number(self._scope.symbol(symbol))

    def phi(self, k: int, c: Fraction) -> Fraction:
        """phi(k, c), a number."""
        if self._exact is not None:
            value: Exact = self._exact.phi(k, _exact(c))
            return value.fraction
        step = self._scope.step
        return GERMS.number(step.phi(k, step.xp.number(c)))  # type: ignore[no-any-return]


class RoundedWeights:
    """The weights of one step's rows."""

    def __init__(self, scope: Scope, xp: Arithmetic) -> None:
        self._scope, self._xp = scope, xp
        step, symbol = scope.step, scope.symbol
        self._exact = AtStep(step.z, symbol, step.moments, RATIONAL, phis) if applies(scope, xp) else None
        self._far = FarScope(scope, self._exact)

    def __call__(self, weight: Expr) -> Value:
        """The weight's value, rounded once."""
        if self._scope.far and weight.free_symbols & self._scope.far:
            return self._limit(weight)
        if self._exact is not None:
            try:
                return float(evaluator(weight, RATIONAL)(self._exact))
            except (TypeError, ValueError, ArithmeticError):
                pass  # irrational constants, infinite step ratios: float64 decides what they are
        return evaluator(weight, self._xp)(self._scope)

    def _limit(self, weight: Expr) -> Value:
        try:
            return self._xp.number(germ(evaluator(weight, GERMS)(self._far)).limit)
        except Diverges as error:
            raise Diverges(
                f"a weight {error} to an earlier evaluation where alpha or sigma is 0: keep the grid away "
                "from there, use a solver in the other prediction, or one without earlier evaluations"
            ) from None


class RoundedArrays:
    """The weights of the rows of many steps at once, arrays: the same numbers as one by one.

    Raises TypeError for steps and weights that have to be computed one by one.
    """

    def __init__(self, scope: Scope, xp: Arithmetic) -> None:
        if scope.far:
            raise TypeError("limits are taken one by one")
        self._scope, self._xp, self._moments = scope, xp, scope.step.moments
        self._pairs, self._steps = None, dict[int, AtStep]()
        if applies(scope, xp):
            self._pairs = AtStep(scope.step.z, scope.symbol, self._moments, TWOFOLD, twofold.phis)

    def __call__(self, weight: Expr) -> Value:
        """The weight's values."""
        if self._pairs is None:
            return evaluator(weight, EACH if self._xp is FLOAT64 else self._xp)(self._scope)
        count = len(self._scope.step.h)
        try:
            found, certain = evaluator(weight, TWOFOLD)(self._pairs).rounded()
        except TypeError:  # a root of a step ratio, which twice the precision has not
            return np.array([self._one(weight, i) for i in range(count)])
        if np.all(certain):
            return found
        values, open_ = (
            np.array(np.broadcast_to(found, count)),
            np.flatnonzero(~np.broadcast_to(certain, count)),
        )
        for i in open_.tolist():
            values[i] = self._one(weight, i)
        return values

    def _one(self, weight: Expr, i: int) -> float:
        """The weight at one of the steps, as exactly as one by one."""
        if i not in self._steps:
            step, symbol = self._scope.step, self._scope.symbol
            self._steps[i] = AtStep(step.z[i], lambda s: symbol(s)[i], self._moments, RATIONAL, phis)
        return float(evaluator(weight, RATIONAL)(self._steps[i]))


def applies(scope: Scope, xp: Arithmetic) -> bool:
    """Whether weights are rounded once: in float64, where phi-functions are no measured moments."""
    step, weight = scope.step, scope.step.form.weight
    if xp is not FLOAT64 or step.infinite or not isinstance(weight, Exponential):
        return False
    return isinstance(weight.rate, (int, float, Fraction)) and uniform(abs(step.z) <= LARGEST)
