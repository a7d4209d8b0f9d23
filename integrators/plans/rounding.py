"""Weights rounded once: sums of phi-functions, whose terms may cancel, in exact arithmetic.

A weight such as  phi_1 - 3 phi_2 + 4 phi_3  has zeros, and  phi_1(z/2)/2 - phi_2(z/2)  vanishes with z: added
in float64, a weight that is 1000 times smaller than its terms is 1000 units of the last place off, however
accurate these are.  Here z and the step ratios, which are float64 numbers, are taken as the rational numbers
that they are, phi_k from its series in integers with `BITS` binary places, and the result is rounded.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import sympy
from sympy import Expr, Symbol

from ..forms.form import Exponential
from ..numerics.arithmetic import FLOAT64, Arithmetic, Value
from ..numerics.germ import GERMS, Diverges, X, germ
from ..numerics.messages import shown
from ..tableaux.evaluate import evaluator
from ..tableaux.tableau import z
from .scope import Scope

BITS = 320
LARGEST = 128.0
"""The largest |z| that the series is summed for: beyond, float64 has to do."""


def _refuse(*_: Value) -> Value:
    raise TypeError("exact arithmetic has no transcendental functions but exp")


def _fraction(value: Any) -> Fraction:
    if isinstance(value, sympy.Rational):
        return Fraction(int(value.p), int(value.q))
    if isinstance(value, Expr):
        raise TypeError(f"{value} is not rational")
    return Fraction(value)


def _exp(x: Fraction) -> Fraction:
    return phis(0, x)[0]


RATIONAL = Arithmetic(
    name="rational",
    exp=_exp,
    number=_fraction,
    divide=lambda a, b: a / b,
    pi=None,
    expm1=_refuse,
    log=_refuse,
    log1p=_refuse,
    sqrt=_refuse,
    sin=_refuse,
    cos=_refuse,
    sinh=_refuse,
    arcsinh=_refuse,
    arctan2=_refuse,
    where=_refuse,
    maximum=_refuse,
)
"""Fractions; e^x is one to `BITS` binary places."""


def phis(most: int, x: Fraction) -> list[Fraction]:
    """phi_0(x) .. phi_most(x) to `BITS` binary places, for |x| <= LARGEST.

    The series of phi_most, then  phi_(k-1) = x phi_k + 1/(k-1)!,  which loses nothing of them.
    """
    guard = 64 + 4 * math.ceil(abs(x)) + 8 * most  # terms grow to e^|x|, the recurrence multiplies by |x|
    one = 1 << (BITS + guard)
    fixed = (x.numerator * one) // x.denominator
    total = term = one // math.factorial(most)
    j = 0
    while term not in (0, -1):
        j += 1
        term = term * fixed // (one * (j + most))
        total += term
    values = [total]
    for k in range(most, 0, -1):
        values.append(values[-1] * fixed // one + one // math.factorial(k - 1))
    return [Fraction(value, one) for value in reversed(values)]


class RationalScope:
    """The symbols of a step's weights as rational numbers."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._z = Fraction(float(scope.step.z))
        self._phis: dict[Fraction, list[Fraction]] = {}

    def symbol(self, symbol: Symbol) -> Fraction:
        """z, a step ratio or a parameter."""
        return self._z if symbol == z else Fraction(float(self._scope.symbol(symbol)))

    def phi(self, k: int, c: Fraction) -> Fraction:
        """phi_k(c z).  Raises TypeError for an irrational c, a root of a fraction."""
        if not isinstance(c, Fraction):
            raise TypeError(f"c must be rational, got {shown(c)}")
        known = self._phis.get(c)
        if known is None or len(known) <= k:
            known = self._phis[c] = phis(max(k, self._scope.step.moments), c * self._z)
        return known[k]


class FarScope:
    """The symbols of a step with a step ratio that is infinite, as germs: of X = |tau_n - tau_(n-j)|."""

    def __init__(self, scope: Scope, exact: RationalScope | None) -> None:
        self._scope, self._exact = scope, exact

    def symbol(self, symbol: Symbol) -> Any:
        """z, a step ratio or a parameter."""
        if symbol in self._scope.far:
            return X / abs(self._scope.step.h)
        return GERMS.number(self._scope.symbol(symbol))

    def phi(self, k: int, c: Fraction) -> Fraction:
        """phi(k, c), a number."""
        if self._exact is not None:
            return self._exact.phi(k, c)
        step = self._scope.step
        return GERMS.number(step.phi(k, step.xp.number(c)))  # type: ignore[no-any-return]


class RoundedWeights:
    """The weights of one step's rows."""

    def __init__(self, scope: Scope, xp: Arithmetic) -> None:
        self._scope, self._xp = scope, xp
        self._exact = RationalScope(scope) if _applies(scope, xp) else None
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


def _applies(scope: Scope, xp: Arithmetic) -> bool:
    """In float64, where phi-functions are neither numbers (L = 0) nor measured moments."""
    step, weight = scope.step, scope.step.form.weight
    if xp is not FLOAT64 or step.infinite or not isinstance(weight, Exponential):
        return False
    return isinstance(weight.rate, (int, float)) and 0 < abs(step.z) <= LARGEST
