"""The best member of a family: parameters that minimise its principal error norm, or any error.

Where the error coefficients are affine in the parameters, or there is one parameter, the minimum of the norm
is found exactly; elsewhere numerically (`error_norm.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import mpmath
import sympy
from scipy import optimize
from sympy import Expr, Rational, Symbol

from .error_norm import ABSCISSA, DIGITS, ErrorNorm, NoMinimum, default, least_norm, modest
from .family import Family

NEAR = 1.01
"""A rational point is taken when its norm is at most this times the minimum."""
MODEST = 1.005
"""Smaller weights are taken when the norm is at most this times the minimum."""


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


def minimise_norm(family: Family) -> Minimum:
    """The member of a family with the smallest principal error norm; free abscissae in [1/100, 1].

    The norm of a multistep method is that on equal steps.  Raises ValueError for a family without parameters,
    or with equations left to solve; NoMinimum where none is found.
    """
    _check(family)
    norm = ErrorNorm(family)
    free, exact = norm.parameters, True
    found: dict[Symbol, Expr] = {}
    if _affine(norm, free):
        found = _linear(norm, free)
    elif len(free) == 1:
        found = _univariate(norm, free[0])
    else:
        found, exact = least_norm(norm, free), False
    undetermined = tuple(s for s in family.parameters if s not in found)
    values = {s: found.get(s, default(family, s)) for s in family.parameters}
    error = norm(values)
    near = values if exact else values | modest(norm, free, values, MODEST * error)
    rational = _rational(family, near, norm, error)
    gradient = 0.0 if exact else _gradient(norm, values, free)
    return Minimum(values, float(error), rational, float(norm(rational)), exact, gradient, undetermined)


def minimise_error(
    family: Family, error: Callable[[Family], float], start: Mapping[Symbol, Any] | None = None
) -> Minimum:
    """The member of a family with the smallest error of any kind, by the simplex method of Nelder and Mead.

    error: of a member without parameters, such as that of a sampler on a problem at so many steps; any number
    that is not finite counts as large.  start: by default near the minimum of the principal error norm.
    What is found is a local minimum.  Raises ValueError as `minimise_norm`.
    """
    _check(family)
    if family.tableau.past:
        raise ValueError("the family must be of one step, as a run of it begins without past values")
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
    if family.implicit:
        raise ValueError(f"the parameters must be free, got the condition {family.implicit[0]} = 0")


# --- exact minima ---


def _affine(norm: ErrorNorm, free: Sequence[Symbol]) -> bool:
    """Whether every error coefficient is affine in the parameters, all together."""
    return all(sympy.diff(e, s, t) == 0 for e in map(sympy.cancel, norm.errors) for s in free for t in free)


def _linear(norm: ErrorNorm, free: Sequence[Symbol]) -> dict[Symbol, Expr]:
    """Affine error coefficients: the normal equations; what they leave free is 0."""
    if not free:
        return {}
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
    others = {s: default(norm.family, s) for s in norm.family.parameters}
    ranked = [(norm(others | {x: c}), i) for i, c in enumerate(candidates)]
    if not ranked or not mpmath.isfinite(min(ranked)[0]):
        raise NoMinimum(f"the norm has no minimum over {x}")
    best = candidates[min(ranked)[1]]
    if x not in norm.family.ansatz.abscissae:
        ends = [sympy.limit(squared, x, end) for end in (sympy.oo, -sympy.oo)]
        if any(end < squared.subs(x, best) for end in ends if end.is_finite):
            raise NoMinimum(f"the norm is smallest for {x} at infinity")
    return {x: best}


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
