"""The best member of a family: parameters that minimise its principal error norm, or any error.

The principal error norm is the 2-norm of the error coefficients of order p + 1, rational functions of the
parameters.  Where they are affine, or there is one parameter, the minimum is found exactly; elsewhere by
least squares from many starts, and Newton's method on the exact gradient in multiprecision.
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
from sympy import Expr, Rational, Symbol

from .derive import Family, expand
from .expansion import Expansion

DIGITS = 40
NEAR = 1.01
"""A rational point is taken when its norm is at most this times the minimum."""
MODEST = 1.005
"""Smaller weights are taken when the norm is at most this times the minimum."""
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
class Minimum:
    """Where an error is smallest.

    values: exact numbers where they could be found (`exact`), else rounded to 30 digits.  error: there.
    rational: simple numbers nearby, and the error there.  gradient: the largest component of the gradient of
    the squared norm, relative to that, 0 where it is exact; None for an error that is not the norm.
    undetermined: parameters that the error does not depend on there, set to 0.
    """

    values: dict[Symbol, Expr]
    error: float
    rational: dict[Symbol, Rational]
    rational_error: float
    exact: bool
    gradient: float | None
    undetermined: tuple[Symbol, ...] = ()


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
        """The error coefficients, exactly."""
        expansion, values = self._errors(self.order)
        return tuple(expansion.field.expression(v) for v in values)

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
        expansion = expand(self.family.tableau, order, self.family.form)
        if self.family.conditions == "scalar":
            return expansion, [value for _, value in expansion.classes(order).values()]
        return expansion, list(expansion.errors(order).values())


def minimise_norm(family: Family) -> Minimum:
    """The member of a family with the smallest principal error norm; free abscissae in [1/100, 1].

    Raises ValueError for a family without parameters, with step ratios, or with equations left to solve;
    NoMinimum where none is found.
    """
    _check(family)
    norm = ErrorNorm(family)
    free = norm.parameters
    undetermined = tuple(s for s in family.parameters if s not in free)
    if not free:
        values, exact = {}, True
    elif all(sympy.Poly(sympy.numer(sympy.together(e)), *free).total_degree() <= 1 for e in norm.errors) and (
        not any(sympy.denom(sympy.together(e)).free_symbols for e in norm.errors)
    ):
        values, exact = _linear(norm, free), True
    elif len(free) == 1:
        values, exact = _univariate(norm, free[0]), True
    else:
        values, exact = _numerical(norm, free), False
    undetermined = tuple(s for s in family.parameters if s not in values or s in undetermined)
    values = {s: values.get(s, _default(family, s)) for s in family.parameters}
    error = norm(values)
    modest = values if exact else values | _modest(norm, free, values, MODEST * error)
    rational = _rational(family, modest, norm, error)
    gradient = 0.0 if exact else _gradient(norm, values, free)
    return Minimum(values, float(error), rational, float(norm(rational)), exact, gradient, undetermined)


def minimise_error(
    family: Family, error: Callable[[Family], float], start: Mapping[Symbol, Any] | None = None
) -> Minimum:
    """The member of a family with the smallest error of any kind, by the simplex method of Nelder and Mead.

    error: of a member without parameters, such as that of a sampler on a problem at so many steps; any number
    that is not finite counts as large.  start: by default near the minimum of the principal error norm; a local
    minimum is found.  Raises ValueError as `minimise_norm`.
    """
    _check(family)
    first = minimise_norm(family).rational if start is None else dict(start)
    names = family.parameters

    def member(point: Sequence[float]) -> dict[Symbol, Rational]:
        return {s: Rational(Fraction(float(v)).limit_denominator(10**6)) for s, v in zip(names, point)}

    def at(point: Sequence[float]) -> float:
        values = member(point)
        if any(
            s in family.ansatz.abscissae and not ABSCISSA[0] <= v <= ABSCISSA[1] for s, v in values.items()
        ):
            return math.inf
        try:
            found = float(error(family.at(values)))
        except ValueError:
            return math.inf
        return found if math.isfinite(found) else math.inf

    if not math.isfinite(at([float(first[s]) for s in names])):
        raise NoMinimum("the error is infinite at the start")
    found = optimize.minimize(
        at, [float(first[s]) for s in names], method="Nelder-Mead", options={"xatol": 1e-4, "fatol": 0}
    )
    values = member(found.x)
    smallest = at([float(v) for v in values.values()])
    rational = values
    for size in (*range(1, 100), 200, 500, 1000):
        near = {s: Rational(Fraction(float(v)).limit_denominator(size)) for s, v in values.items()}
        if at([float(v) for v in near.values()]) <= NEAR * smallest:
            rational = near
            break
    return Minimum(dict(values), smallest, rational, at([float(v) for v in rational.values()]), False, None)


def _check(family: Family) -> None:
    if not family.parameters:
        raise ValueError("the family must have a parameter to be minimised over, got none")
    if family.tableau.past:
        raise ValueError("the family must be of one step: the norm of a multistep method has step ratios")
    if family.implicit:
        raise ValueError(f"the parameters must be free, got the condition {family.implicit[0]} = 0")


def _default(family: Family, symbol: Symbol) -> Rational:
    return Rational(1, 2) if symbol in family.ansatz.abscissae else Rational(0)


def _number(value: Any) -> Any:
    return sympy.N(value, DIGITS) if isinstance(value, Expr) else value


# --- exact minima ---


def _linear(norm: ErrorNorm, free: Sequence[Symbol]) -> dict[Symbol, Expr]:
    """Affine error coefficients: the normal equations; what they leave free is 0."""
    matrix, right = sympy.linear_eq_to_matrix(list(norm.errors), *free)
    (solution,) = sympy.linsolve((matrix.T * matrix, matrix.T * right), *free)
    zero = dict.fromkeys(free, sympy.S.Zero)
    return {s: v.xreplace(zero) for s, v in zip(free, solution, strict=True) if v != s}


def _univariate(norm: ErrorNorm, x: Symbol) -> dict[Symbol, Expr]:
    """One parameter: the best of all real zeros of the derivative, and of the ends of an abscissa."""
    squared = sympy.together(sympy.Add(*(e**2 for e in norm.errors)))
    numerator = sympy.numer(sympy.cancel(sympy.diff(squared, x)))
    places = list(sympy.Poly(numerator, x).real_roots(multiple=False)) if numerator.has(x) else []
    candidates = [root for root, _ in places]
    if x in norm.family.ansatz.abscissae:
        low, high = ABSCISSA
        candidates = [c for c in candidates if low <= c <= high] + [low, high]
    others = {s: _default(norm.family, s) for s in norm.family.parameters}
    ranked = [(norm(others | {x: c}), i) for i, c in enumerate(candidates)]
    if not ranked or not mpmath.isfinite(min(ranked)[0]):
        raise NoMinimum(f"the norm has no minimum over {x}")
    best = candidates[min(ranked)[1]]
    if x not in norm.family.ansatz.abscissae:
        ends = [sympy.limit(squared, x, end) for end in (sympy.oo, -sympy.oo)]
        if any(end < squared.subs(x, best) for end in ends if end.is_finite):
            raise NoMinimum(f"the norm is smallest for {x} at infinity")
    return {x: best}


# --- numerical minima ---


def _numerical(norm: ErrorNorm, free: Sequence[Symbol]) -> dict[Symbol, Expr]:
    """Least squares from many starts, then Newton's method in multiprecision."""
    squares = _Squares(norm, free)
    found = [f for start in _starts(squares.ranges) if (f := squares.least(start)) is not None]
    if not found:
        raise NoMinimum("the norm was infinite at every start")
    best = min(found, key=lambda f: f.cost).x
    inside = [bool(a < v < b) for v, (a, b) in zip(best, squares.ranges, strict=True)]
    values = dict(zip(free, map(_exactly, best), strict=True))
    others = {s: _default(norm.family, s) for s in norm.family.parameters}
    bound = norm(others | values) * (1 + mpmath.mpf(10) ** -12)
    values |= {s: v for s, v in _modest(norm, free, others | values, bound).items() if s in free}
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


def _modest(
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
    full = {s: _default(norm.family, s) for s in norm.family.parameters}
    return moved if norm(full | moved) <= norm(full | values) * (1 + mpmath.mpf(10) ** -12) else values


def _gradient(norm: ErrorNorm, values: Mapping[Symbol, Expr], free: Sequence[Symbol]) -> float:
    """The largest component of the gradient of the squared norm that is at no bound, relative to it."""
    inner = [
        s for s in free if s not in norm.family.ansatz.abscissae or ABSCISSA[0] < values[s] < ABSCISSA[1]
    ]
    squared = norm(values) ** 2
    parts = [sum(2 * e * sympy.diff(e, s) for e in norm.errors).xreplace(dict(values)) for s in inner]
    largest = max((abs(sympy.N(p, DIGITS)) for p in parts), default=sympy.S.Zero)
    return float(largest / squared) if squared else float(largest)


def _rational(
    family: Family, values: Mapping[Symbol, Expr], norm: ErrorNorm, error: Any
) -> dict[Symbol, Rational]:
    """The simplest rational point whose norm is near the minimum."""
    numbers = {s: Fraction(str(sympy.N(v, 20))) for s, v in values.items()}
    bound = error * NEAR + mpmath.mpf(10) ** -15
    for size in (*range(1, 100), 200, 500, 1000, 10**4, 10**6):
        near = {s: Rational(v.limit_denominator(size)) for s, v in numbers.items()}
        if norm(near) <= bound and _exists(family, near):
            return near
    return {s: Rational(v) for s, v in numbers.items()}


def _exists(family: Family, values: Mapping[Symbol, Rational]) -> bool:
    return all(e.xreplace(dict(values)) != 0 for e in family.nonzero)
