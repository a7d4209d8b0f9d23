"""The principal error norm of a family, and its minima in many parameters by least squares.

The norm is the 2-norm of the error coefficients of order p + 1, which are rational functions of the
parameters.  Minima are found by least squares from many starts, without randomness, and Newton's method on
the exact gradient in multiprecision.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import mpmath
import numpy as np
import sympy
from scipy import optimize
from semilinear.integrators.tableaux.tableau import omega
from sympy import Expr, Integer, Rational, Symbol

from ..orders.expansion import Expansion
from .family import Family

DIGITS = 40
ABSCISSA = (Rational(1, 100), Rational(1))
"""Where free abscissae are looked for: at 0 every method that uses them ends."""
NEWTON = 6
FLAT = 1e-10
"""Eigenvalues of the Hessian below this times the largest are those of directions without a minimum."""
STARTS = 40
WIDE = 8.0
"""Starts of weights lie between -WIDE and WIDE."""


class NoMinimum(ValueError):
    """A norm that has no minimum within reach."""


@dataclass(frozen=True)
class ErrorNorm:
    """The principal error norm of a family as a function of its parameters."""

    family: Family

    @cached_property
    def order(self) -> int:
        """The order of the error: one more than that of a generic member."""
        order = self.family.order + 1
        while not self._errors(order)[1]:
            order += 1
        return order

    @cached_property
    def errors(self) -> tuple[Expr, ...]:
        """The error coefficients, exactly; on equal steps, for a multistep method."""
        expansion, values = self._errors(self.order)
        equal = {omega(j): Integer(j) for j in range(1, self.family.tableau.past + 1)}
        found = (expansion.field.expression(v).xreplace(equal) for v in values)
        return tuple(e for e in found if e != 0)

    @property
    def parameters(self) -> tuple[Symbol, ...]:
        """The parameters that the norm depends on."""
        found = set().union(*(e.free_symbols for e in self.errors))
        return tuple(s for s in self.family.parameters if s in found)

    def __call__(self, values: Mapping[Symbol, Any]) -> Any:
        """The norm, to `DIGITS` digits, as an mpmath number; infinity at a pole."""
        with mpmath.workdps(DIGITS):
            try:
                return mpmath.sqrt(mpmath.fsum(r * r for r in self._numeric([values[s] for s in self._all])))
            except ZeroDivisionError:
                return mpmath.inf

    @property
    def _all(self) -> tuple[Symbol, ...]:
        return self.family.parameters

    @cached_property
    def _numeric(self) -> Callable[[Sequence[Any]], list[Any]]:
        function = sympy.lambdify([self._all], list(self.errors), modules="mpmath", cse=True)
        return lambda values: function([mpmath.mpmathify(v) for v in map(_number, values)])

    def _errors(self, order: int) -> tuple[Expansion, list[Any]]:
        expansion = self.family.expansion(order)
        if self.family.conditions == "scalar":
            return expansion, [value for _, value in expansion.classes(order).values()]
        return expansion, list(expansion.errors(order).values())


def default(family: Family, symbol: Symbol) -> Rational:
    """What a parameter is set to where nothing depends on it."""
    return Rational(1, 2) if symbol in family.ansatz.abscissae else Rational(0)


def _number(value: Any) -> Any:
    return sympy.N(value, DIGITS) if isinstance(value, Expr) else value


def least_norm(norm: ErrorNorm, free: Sequence[Symbol]) -> dict[Symbol, Expr]:
    """Least squares from many starts, then Newton's method in multiprecision."""
    squares = _Squares(norm, free)
    found = [f for start in _starts(squares.ranges) if (f := squares.least(start)) is not None]
    if not found:
        raise NoMinimum("the norm was infinite at every start")
    best = min(found, key=lambda f: f.cost).x
    inside = [bool(a < v < b) for v, (a, b) in zip(best, squares.ranges, strict=True)]
    values = dict(zip(free, map(_exactly, best), strict=True))
    others = {s: default(norm.family, s) for s in norm.family.parameters}
    bound = norm(others | values) * (1 + mpmath.mpf(10) ** -12)
    values |= {s: v for s, v in modest(norm, free, others | values, bound).items() if s in free}
    return _polished(norm, values, [s for s, i in zip(free, inside, strict=True) if i])


class _Squares:
    """The squared norm as a sum for scipy, with the squares of weights times a factor added."""

    def __init__(self, norm: ErrorNorm, free: Sequence[Symbol]) -> None:
        derivatives = [[sympy.diff(e, s) for s in free] for e in norm.errors]
        self._errors = sympy.lambdify([list(free)], list(norm.errors), modules="numpy", cse=True)
        self._jacobian = sympy.lambdify([list(free)], derivatives, modules="numpy", cse=True)
        self._weights = np.diag([float(s not in norm.family.ansatz.abscissae) for s in free])
        everywhere = (-math.inf, math.inf)
        low, high = map(float, ABSCISSA)
        self.ranges = [(low, high) if s in norm.family.ansatz.abscissae else everywhere for s in free]

    def least(self, start: np.ndarray, factor: float = 0.0) -> Any:
        """scipy's result from a start, or None at a pole."""
        added = factor * self._weights
        try:
            found = optimize.least_squares(
                lambda v: np.concatenate([np.array(self._errors(v), dtype=float), added @ v]),
                start,
                lambda v: np.concatenate([np.array(self._jacobian(v), dtype=float), added]),
                bounds=tuple(zip(*self.ranges, strict=True)),
                xtol=1e-15,
                ftol=1e-15,
                gtol=1e-15,
                max_nfev=2000,
            )
        except (ValueError, ZeroDivisionError, FloatingPointError):
            return None
        return found if np.isfinite(found.cost) else None


def modest(
    norm: ErrorNorm, free: Sequence[Symbol], values: Mapping[Symbol, Expr], bound: Any
) -> dict[Symbol, Expr]:
    """Smaller weights whose norm is within a bound: many weights hardly matter to it."""
    squares = _Squares(norm, free)
    start = np.array([float(values[s]) for s in free])
    for factor in (10.0**-k for k in range(1, 10)):
        for guess in (start, np.clip(start, -1, 1)):
            found = squares.least(guess, factor)
            if found is None:
                continue
            point = dict(zip(free, map(_exactly, found.x), strict=True))
            if norm({**values, **point}) <= bound:
                return point
    return {}


def _exactly(value: float) -> Rational:
    return Rational(Fraction(float(value)))


def _starts(ranges: Sequence[tuple[float, float]]) -> list[np.ndarray]:
    """A lattice without randomness: multiples of irrational numbers, modulo 1."""
    roots = [math.sqrt(p) for p in itertools.islice(sympy.primerange(2, 1000), len(ranges))]
    points = []
    for n in range(1, STARTS + 1):
        unit = [(n * r) % 1.0 for r in roots]
        points.append(
            np.array(
                [
                    a + u * (b - a) if math.isfinite(a) else WIDE * (2 * u - 1)
                    for u, (a, b) in zip(unit, ranges, strict=True)
                ]
            )
        )
    return points


def _polished(norm: ErrorNorm, values: dict[Symbol, Expr], inner: Sequence[Symbol]) -> dict[Symbol, Expr]:
    """Newton's method on the gradient over the parameters that are at no bound; no step along directions in
    which the norm does not change.
    """
    if not inner:
        return values
    fixed = {s: v for s, v in values.items() if s not in inner}
    squared = sympy.Add(*(e.xreplace(fixed) ** 2 for e in norm.errors))
    first = [sympy.diff(squared, s) for s in inner]
    second = [[sympy.diff(g, s) for s in inner] for g in first]
    with mpmath.workdps(DIGITS):
        both = sympy.lambdify([list(inner)], [first, second], modules="mpmath", cse=True)
        point = mpmath.matrix([mpmath.mpf(values[s].p) / values[s].q for s in inner])
        for _ in range(NEWTON):
            gradient, hessian = map(mpmath.matrix, both(list(point)))
            sizes, directions = mpmath.eigsy(hessian)
            along = directions.T * gradient
            floor = FLAT * max(map(abs, sizes))
            steps = [a / e if abs(e) > floor else mpmath.mpf(0) for a, e in zip(along, sizes, strict=True)]
            point -= directions * mpmath.matrix(steps)
        exact = [sympy.Float(str(v), 30) for v in point]
    moved = values | dict(zip(inner, exact, strict=True))
    full = {s: default(norm.family, s) for s in norm.family.parameters}
    return moved if norm(full | moved) <= norm(full | values) * (1 + mpmath.mpf(10) ** -12) else values
