"""Quadrature rules as values, for the coefficients that have no closed form.

A rule integrates a vector of functions over one step.  `GAUSS` reaches rounding error; `LeftRiemann` is the
rule of released code, kept so that a release can be reproduced under its own name.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import mpmath
import numpy as np
import sympy

from . import checks
from .arithmetic import Arithmetic, Value, multiprecision, uniform

Integrand = Callable[[Value], Value]
"""Nodes of shape (m,) -> values of shape (k, m)."""


@cache
def _legendre(n: int) -> tuple[Any, Any]:
    nodes, weights = np.polynomial.legendre.leggauss(n)
    return (nodes + 1) / 2, weights / 2


@cache
def _legendre_mp(degree: int, xp: Arithmetic) -> tuple[Any, Any]:
    """mpmath's nodes, 3 2^(degree-1) of them, on [0, 1]."""
    finer = multiprecision(
        max(xp.context.dps, 20) + 10
    ).context  # mpmath's Newton does not end at a few digits
    pairs = sorted(mpmath.calculus.quadrature.GaussLegendre(finer).calc_nodes(degree, finer.prec))
    nodes, weights = ([shift + pair[i] / 2 for pair in pairs] for i, shift in ((0, 0.5), (1, 0)))
    return xp.number(np.array(nodes, dtype=object)), xp.number(np.array(weights, dtype=object))


def _generic(*branches: Any) -> sympy.Expr:
    """The branch for symbols in general position: a != b of an antiderivative that distinguishes a = b.

    Raises ValueError for cases of another kind, of which none is general.
    """
    (value, condition), *_ = branches
    if not isinstance(condition, sympy.Ne):
        raise ValueError(f"an integral has no closed form in general position, but cases: {condition}")
    return value


@dataclass(frozen=True)
class _PanelValue:
    """A panel: its integral, how far two rules differ, and the integral of the absolute value."""

    lo: Value
    hi: Value
    depth: int
    value: Value
    error: Value
    size: Value


@dataclass(frozen=True)
class GaussLegendre:
    """Gauss-Legendre on panels that are halved until two rules agree, in float64 and in multiprecision.

    What an integrand row may err by is relative to the largest row: they are rows of one step's coefficients.
    """

    tolerance: float = 1e-15
    """Agreement asked of two rules on a panel, relative to the integral of the absolute value."""
    coarse: int = 20
    fine: int = 28
    max_depth: int = 40

    def integrate(
        self, f: Integrand, a: Value, b: Value, xp: Arithmetic, kinks: Sequence[Value] = ()
    ) -> Value:
        """int_a^b f, shape (k,); `kinks` are points between a and b where f is not smooth.  Expressions are
        integrated in closed form.

        a and b may be columns, of n integrals: f is then asked at nodes of shape (n, m), and the result is of
        shape (k, n).  Raises ValueError for n integrals of which some need smaller panels (one by one, they
        get them), ArithmeticError if halving panels `max_depth` times does not reach the tolerance.
        """
        if xp.exact:
            s = sympy.Symbol("s", real=True)
            if any(row.has(sympy.Piecewise) for row in np.ravel(f(s))):
                raise ValueError("an integrand with cases has no closed form in general position")
            rows = [sympy.integrate(sympy.expand(row), (s, a, b)) for row in np.ravel(f(s))]
            return np.array([row.replace(sympy.Piecewise, _generic) for row in rows], dtype=object)
        coarse, fine, tolerance = self._rules(xp)
        # Below it float64 has no relative accuracy that halving could reach.
        floor = np.finfo(np.float64).tiny if xp.context is None else 0
        many = np.ndim(a) > 0 or np.ndim(b) > 0
        panels = [self._measured(f, lo, hi, 0, coarse, fine) for lo, hi in itertools.pairwise([a, *kinks, b])]
        total: Value = 0
        scale: Value = sum(p.size for p in panels)  # of the whole, better with every halving
        while panels:
            # The largest first: by the time that a small one is judged, the whole is known.
            panel = panels.pop(max(range(len(panels)), key=lambda k: panels[k].size.max()))
            # A panel that is not the whole may err by its share of the whole.
            largest = scale.max(axis=0) if many else scale.max()
            within = panel.error <= tolerance * largest + floor
            if uniform(within.all(axis=0)) if many else np.all(within):
                total = total + panel.value
            elif many:
                raise ValueError("the panels of many integrals are halved one by one")
            elif panel.depth == self.max_depth:
                raise ArithmeticError(
                    f"quadrature from {a} to {b} does not converge near [{panel.lo}, {panel.hi}]"
                )
            else:
                middle, deeper = (panel.lo + panel.hi) / 2, panel.depth + 1
                halves = [
                    self._measured(f, panel.lo, middle, deeper, coarse, fine),
                    self._measured(f, middle, panel.hi, deeper, coarse, fine),
                ]
                panels += halves
                scale = scale - panel.size + sum(h.size for h in halves)
        return total

    def _measured(
        self, f: Integrand, lo: Value, hi: Value, depth: int, coarse: Any, fine: Any
    ) -> _PanelValue:
        value, _ = self._panel(f, lo, hi, coarse)
        better, size = self._panel(f, lo, hi, fine)
        return _PanelValue(lo, hi, depth, better, abs(better - value), size)

    def _rules(self, xp: Arithmetic) -> tuple[Any, Any, Value]:
        if xp.context is None:
            return _legendre(self.coarse), _legendre(self.fine), self.tolerance
        degree = max(
            3, math.ceil(math.log2(xp.context.dps / 3)) + 1
        )  # 3 2^(degree-1) nodes: about one per digit
        tolerance = 100 * xp.context.eps
        return _legendre_mp(degree, xp), _legendre_mp(degree + 1, xp), tolerance

    @staticmethod
    def _panel(f: Integrand, lo: Value, hi: Value, rule: tuple[Any, Any]) -> tuple[Value, Value]:
        nodes, weights = rule
        values = f(nodes * (hi - lo) + lo) * (weights * (hi - lo))
        return values.sum(axis=-1), abs(values).sum(axis=-1)


MANY_POINTS = 1000
"""Of a left Riemann sum for several integrals at once."""


@dataclass(frozen=True)
class LeftRiemann:
    """The left Riemann sum with `points` equal sub-intervals: first order, as released by DEIS (10,000
    points).
    """

    points: int = 10_000

    def __post_init__(self) -> None:
        checks.integer("points", self.points, 1)

    def integrate(
        self, f: Integrand, a: Value, b: Value, xp: Arithmetic, kinks: Sequence[Value] = ()
    ) -> Value:
        """The sum on the nodes a + (b - a) i/points, i = 0 .. points - 1; kinks are ignored, as in the
        release.

        a and b may be columns, as for Gauss-Legendre.  Raises TypeError for so many points of so many
        integrals that one by one takes as long, and less memory.
        """
        if np.size(a) > 1 and self.points > MANY_POINTS:
            raise TypeError("sums of so many points are made for one step at a time")
        fraction = xp.number(np.arange(self.points)) / self.points
        nodes = a * (1 - fraction) + b * fraction
        return f(nodes).sum(axis=-1) * np.ravel((b - a) / self.points)


GAUSS = GaussLegendre()
