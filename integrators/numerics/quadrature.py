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

import numpy as np
import sympy

from ..common import checks
from .arithmetic import Arithmetic, Value, multiprecision, uniform

Integrand = Callable[[Value], Value]
"""Nodes of shape (m,) -> values of shape (k, m)."""


@cache
def legendre(n: int) -> tuple[Any, Any]:
    """n nodes on [0, 1] and their weights, float64."""
    nodes, weights = np.polynomial.legendre.leggauss(n)
    return (nodes + 1) / 2, weights / 2


DIGITS_A_NODE = 4.5
"""What the first rule in multiprecision reaches on a step that is short beside its distance to the nearest
singularity: the error of n nodes falls like r^(-2 n), and r = 180 where that distance is 45 steps.
"""
LONGEST = 8
"""How many times the nodes of the first rule are taken before panels are halved."""


@cache
def legendre_mp(n: int, xp: Arithmetic) -> tuple[Any, Any]:
    """n nodes on [0, 1] and their weights, in xp's digits.

    Newton's iteration for the zeros of P_n, from those in float64.
    """
    finer = multiprecision(xp.context.dps + 10)
    x, digits = finer.number(np.polynomial.legendre.leggauss(n)[0][n // 2 :]), 12  # the others mirror them
    while True:
        before, value = 1 + 0 * x, x
        for k in range(2, n + 1):
            before, value = value, ((2 * k - 1) * x * value - (k - 1) * before) / k
        slope = n * (x * value - (before if n > 1 else 1)) / (x * x - 1)
        if digits > finer.context.dps:
            weights = 1 / ((1 - x * x) * slope * slope)
            nodes = np.concatenate([(1 - x)[::-1][: n // 2], 1 + x]) / 2
            return xp.number(nodes), xp.number(np.concatenate([weights[::-1][: n // 2], weights]))
        x, digits = x - value / slope, 2 * digits


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

    coarse, fine: the rules in float64.  In multiprecision the first two have as many nodes as a short step
    needs; what they differ by says how many more a longer one asks for.
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
        tolerance = self.tolerance if xp.context is None else 100 * xp.context.eps
        # Below it float64 has no relative accuracy that halving could reach.
        floor = np.finfo(np.float64).tiny if xp.context is None else 0
        many = np.ndim(a) > 0 or np.ndim(b) > 0
        panels = [
            self._measured(f, lo, hi, 0, xp, tolerance) for lo, hi in itertools.pairwise([a, *kinks, b])
        ]
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
                    self._measured(f, panel.lo, middle, deeper, xp, tolerance),
                    self._measured(f, middle, panel.hi, deeper, xp, tolerance),
                ]
                panels += halves
                scale = scale - panel.size + sum(h.size for h in halves)
        return total

    def _measured(
        self, f: Integrand, lo: Value, hi: Value, depth: int, xp: Arithmetic, tolerance: Value
    ) -> _PanelValue:
        if xp.context is None:
            return self._by_two(f, lo, hi, depth, legendre(self.coarse), legendre(self.fine))
        first = max(4, math.ceil(xp.context.dps / DIGITS_A_NODE))
        panel = self._of_so_many(f, lo, hi, depth, xp, first)
        if np.all(panel.error <= tolerance * panel.size.max()):
            return panel
        # The logarithm of the error is proportional to the number of nodes.
        reached, asked = (xp.context.mag(v) for v in (panel.error.max() / panel.size.max(), tolerance))
        times = 1.1 * asked / reached if reached < 0 else math.inf
        if times > LONGEST:
            return panel
        return self._of_so_many(f, lo, hi, depth, xp, first * 2 ** math.ceil(math.log2(times)))

    def _of_so_many(
        self, f: Integrand, lo: Value, hi: Value, depth: int, xp: Arithmetic, n: int
    ) -> _PanelValue:
        """By n nodes, and by a third more."""
        return self._by_two(f, lo, hi, depth, legendre_mp(n, xp), legendre_mp(n + -(-n // 3), xp))

    @staticmethod
    def _by_two(f: Integrand, lo: Value, hi: Value, depth: int, coarse: Any, fine: Any) -> _PanelValue:
        weighted = [f(nodes * (hi - lo) + lo) * (weights * (hi - lo)) for nodes, weights in (coarse, fine)]
        value, better = (values.sum(axis=-1) for values in weighted)
        return _PanelValue(lo, hi, depth, better, abs(better - value), abs(weighted[1]).sum(axis=-1))


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
