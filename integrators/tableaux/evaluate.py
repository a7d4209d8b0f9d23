"""Numbers from exact expressions: a sympy weight compiled to a closure over one step.

No code is generated or executed from text: the expression tree becomes nested Python functions, cached per
expression and arithmetic, because a plan evaluates the same few weights at every step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import sympy
from sympy import Expr, Symbol
from sympy.codegen.cfunctions import expm1, log1p

from ..common.messages import shown
from ..numerics.arithmetic import Arithmetic, Fn, Value
from ..numerics.phi import phi as phi_of
from .tableau import MAX_STAGES, phi, ratio_of, z


class Symbols(Protocol):
    """What the symbols of an expression mean."""

    def symbol(self, symbol: Symbol) -> Value:
        """The value of a symbol."""

    def phi(self, k: int, c: Value) -> Value:
        """The value of phi(k, c)."""


class AtZ:
    """What the symbols of a formula mean at one z = h L, or an array of them: phi(k, c) is phi_k(c z).

    ratios: omega(1), omega(2), ..; those of equal steps, j, when absent.  Each phi_k is computed once.
    """

    def __init__(self, z: Value, ratios: Sequence[Value] | None = None) -> None:
        self.z = z
        self.ratios = range(1, MAX_STAGES) if ratios is None else ratios
        self._phi: dict[Any, Value] = {}

    def symbol(self, symbol: Symbol) -> Value:
        """z, or a step ratio; raises ValueError for a parameter."""
        if symbol == z:
            return self.z
        j = ratio_of(symbol)
        if j is None:
            raise ValueError(f"the tableau's parameter {symbol} has no value here")
        return self.ratios[j - 1]

    def phi(self, k: int, c: Value) -> Value:
        """phi_k(c z), component by component."""
        if (k, c) not in self._phi:
            self._phi[k, c] = phi_of(k, c * self.z)
        return self._phi[k, c]


class _Point:
    """A value for the one symbol of a function."""

    def __init__(self, value: Value) -> None:
        self._value = value

    def symbol(self, symbol: Symbol) -> Value:
        return self._value

    def phi(self, k: int, c: Value) -> Value:
        raise TypeError("phi(k, c) has a value in a step only")


Evaluator = Callable[[Symbols], Value]

_FUNCTIONS: dict[Any, Callable[[Arithmetic], Fn]] = {
    sympy.exp: lambda xp: xp.exp,
    sympy.log: lambda xp: xp.log,
    expm1: lambda xp: xp.expm1,
    log1p: lambda xp: xp.log1p,
}


def function(expression: Expr, xp: Arithmetic) -> Fn:
    """An expression in one symbol as a function of numbers and arrays of the given arithmetic.

    Raises TypeError for nodes that are no function of a number, as `evaluator` does.
    """
    run = evaluator(expression, xp)
    return lambda value: run(_Point(value))


@lru_cache(maxsize=4096)
def evaluator(expression: Expr, xp: Arithmetic) -> Evaluator:
    """A function of `Symbols` that returns the expression's value in the given arithmetic.

    Raises TypeError for a node that is not a number, symbol, sum, product, power, exp, expm1, log, log1p or
    phi.
    """
    if isinstance(expression, (sympy.Rational, sympy.Float)) or (
        expression.is_number and not expression.args
    ):
        constant = xp.number(expression)
        return lambda scope: constant
    if isinstance(expression, Symbol):
        return lambda scope: scope.symbol(expression)
    if isinstance(expression, phi):
        k, at = int(expression.args[0]), evaluator(expression.args[1], xp)
        return lambda scope: scope.phi(k, at(scope))
    parts = [evaluator(a, xp) for a in expression.args]
    if isinstance(expression, sympy.Add):
        return _sum(*parts)
    if isinstance(expression, sympy.Mul):
        return _product(*parts)
    if expression.func in _FUNCTIONS:
        apply = _FUNCTIONS[expression.func](xp)
        return lambda scope: apply(parts[0](scope))
    if isinstance(expression, sympy.Pow):
        _base, exponent = expression.args
        if exponent == -1:
            return lambda scope: 1 / parts[0](scope)
        if isinstance(exponent, sympy.Integer):
            power = int(exponent)
            return lambda scope: xp.power(parts[0](scope), power)
        return lambda scope: xp.power(parts[0](scope), parts[1](scope))
    raise TypeError(
        "an expression may hold numbers, symbols, sums, products, powers, exp, expm1, log, log1p and phi; "
        f"got {shown(expression)}"
    )


# In both, arrays stand first: mpmath prints one that it is asked to convert, to say that it cannot.


def _sum(first: Evaluator, *others: Evaluator) -> Evaluator:
    def run(scope: Symbols) -> Value:
        total = first(scope)
        for part in others:
            value = part(scope)
            total = value + total if isinstance(value, np.ndarray) else total + value
        return total

    return run


def _product(first: Evaluator, *others: Evaluator) -> Evaluator:
    def run(scope: Symbols) -> Value:
        total = first(scope)
        for part in others:
            value = part(scope)
            total = value * total if isinstance(value, np.ndarray) else total * value
        return total

    return run
