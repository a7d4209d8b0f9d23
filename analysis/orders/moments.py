"""What a quadrature rule makes of the moments of a weight, exactly, as an expansion in h.

A form without constant linear operator has moments phi(k, c) = int_0^1 w(c s) s^(k-1)/(k-1)! ds of a smooth
weight.  With w expanded, a rule enters through what it makes of s^(k-1+m); released rules through sums of
powers, which are polynomials in 1/K, K the number of points: an integer, or a symbol.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sympy
from semilinear.integrators.common import checks
from semilinear.integrators.forms.extended import ByParts, Relative
from semilinear.integrators.forms.form import Form, Measured
from semilinear.integrators.numerics.quadrature import LeftRiemann
from sympy import Expr, Integer, Rational, Symbol

POINTS = Symbol("K", positive=True, integer=True)
"""The number of points of a rule, left open."""


@dataclass(frozen=True)
class Moments:
    """The moments by some rule.

    moment: (k, m) -> (k-1)! m! times the coefficient of h^m w^(m) in phi(k, 1): 1/(k + m) if exact.
    free: k -> (k-1)! times the part of phi(k, 1) that no w multiplies, one power of h below: 0 if exact.
    """

    name: str
    moment: Callable[[int, int], Expr]
    free: Callable[[int], Expr]


def _zero(k: int) -> Expr:
    return Integer(0)


EXACT = Moments("exact", lambda k, m: Rational(1, k + m), _zero)


def left_mean(p: int, points: Any = POINTS) -> Expr:
    """(1/K) sum_{i=0}^{K-1} (i/K)^p, by Faulhaber's formula for a symbol K."""
    points = checks.expression("points", points)
    total = (sympy.bernoulli(p + 1, points) - sympy.bernoulli(p + 1, Integer(0))) / (p + 1)
    return sympy.expand(total / points ** (p + 1))


def left_riemann(points: Any = POINTS) -> Moments:
    """Every moment by the left Riemann sum (DEIS as released)."""
    return Moments(f"left Riemann sum of {points}", lambda k, m: left_mean(k - 1 + m, points), _zero)


def by_parts(points: Any = POINTS) -> Moments:
    """The first moment exact, the others by parts: int (1/phi)' s^j/j! = 1/j! - int phi_1/phi s^(j-1)/(j-1)!,
    the integral by the Riemann sum on s = 1, .., 1/K (ER-SDE-Solver as released).

    With V = phi_1/phi, V(1) = 1 and V' = w, the constant part of V leaves 1/j! minus the sum of s^(j-1):
    what no w multiplies.
    """
    points = checks.expression("points", points)

    def right(p: int) -> Expr:
        return Integer(1) if p == 0 else left_mean(p, points) + 1 / points

    def moment(k: int, m: int) -> Expr:
        return Rational(1, m + 1) if k == 1 else (k - 1) * (right(k - 2) - right(k + m - 1)) / (m + 1)

    def free(k: int) -> Expr:
        return Integer(0) if k == 1 else 1 - (k - 1) * right(k - 2)

    return Moments(f"by parts, Riemann sum of {points}", moment, free)


def moments_of(form: Form, points: Any = None) -> Moments:
    """The moments of a form without a constant linear operator.

    points: in place of a release's own number of points, such as `POINTS`.
    """
    weight = form.weight
    rule = weight.rule if isinstance(weight, Measured) else None
    if isinstance(rule, LeftRiemann):
        return left_riemann(rule.points if points is None else points)
    if isinstance(weight, Relative) and isinstance(weight.moments, ByParts):
        return by_parts(weight.moments.rule.points if points is None else points)
    return EXACT
