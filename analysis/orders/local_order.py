"""The order of a tableau's local error, measured in multiprecision: what a proof can be held against.

One step on  u' = L u + N(t, u)  with exact past values, at h = 2^-60, 2^-61 and 2^-62, against the Taylor
series of the solution: steps so small that the slopes of the error are integers to two digits even for a
coefficient that is wrong by 1e-6, and digits enough to see it.  Nothing is shared with the proofs: no trees,
no ring, no Taylor coefficients of weights, but the numbers that a plan would use.

    N_i(t, u) = sum_j A_ij exp(W_j . (t, u)),   two components

is generic: every derivative of N is different from zero, and L (diagonal, without loss of generality)
commutes with none of them.  For Rosenbrock-type methods, linearised at u_n, N is without its linear part.
Forms without a constant linear operator have  u' = w(t) N(t, u)  with w = 1, or a sum of two exponentials,
whose moments are phi-functions again.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

from semilinear.integrators.common import checks
from semilinear.integrators.numerics.arithmetic import Value, multiprecision
from semilinear.integrators.numerics.phi import phi as numeric_phi
from semilinear.integrators.tableaux.evaluate import evaluator
from semilinear.integrators.tableaux.tableau import Tableau, Weights, ratio_of, z
from sympy import Expr, Rational, Symbol

from .expansion import FORMS, FormName

DIGITS = 300
SIZES = (60, 61, 62)
TERMS = 16
"""Of the solution's Taylor series: what is left of it is below h^16 of the error."""
TOLERANCE = 0.01

_L = (Rational(-7, 5), Rational(11, 13))
_A = ((Rational(5, 7), Rational(-3, 11)), (Rational(2, 3), Rational(9, 17)))
_W = ((Rational(3, 8), Rational(-4, 9), Rational(7, 6)), (Rational(-5, 12), Rational(8, 7), Rational(2, 5)))
_START = (Rational(2, 7), Rational(-5, 9))
_STEPS = (Rational(13, 17), Rational(19, 14), Rational(10, 11), Rational(23, 18), Rational(15, 19))

_DENSITY = ((Rational(4, 7), Rational(6, 5)), (Rational(8, 9), Rational(-9, 10)))
"""(factor, rate) of the exponentials whose sum is w."""

Vector = list[Value]


class LocalError:
    """The local error of tableaux on one generic problem.

    form: whose equation ("lambda" for u' = L u + N, "rho" for u' = N, "t" for u' = w(t) N).  linearised: L is
    the Jacobian at u_n.
    """

    def __init__(self, form: FormName = "lambda", *, linearised: bool = False) -> None:
        checks.one_of("form", form, FORMS)
        self._xp = multiprecision(DIGITS)
        self.number = number = self._xp.number
        self._linear = [number(v) if form == "lambda" else number(0) for v in _L]
        self._a, self._w = ([[number(v) for v in row] for row in rows] for rows in (_A, _W))
        self._start = [number(v) for v in _START]
        density = _DENSITY if form == "t" else ((Rational(1), Rational(0)),)
        self._density = [(number(factor), number(rate)) for factor, rate in density]
        self._linearised = linearised
        self._series = self._taylor()
        self._weights: dict[tuple[Expr, int, int], Value] = {}
        self._integrands: dict[Value, Vector] = {}

    def order(self, tableau: Tableau) -> int:
        """The order p of a local error of size h^(p + 1).

        Raises ArithmeticError where the slopes are not one integer, to two digits.
        """
        errors = [self.error(tableau, size) for size in SIZES]
        if not all(errors):
            raise ArithmeticError("the local error is zero to the last digit: no order can be measured")
        slopes = [float(self._xp.context.log(a / b, 2)) for a, b in pairwise(errors)]
        order = round(slopes[-1])
        if any(abs(slope - order) > TOLERANCE for slope in slopes):
            found = ", ".join(f"{slope:.4f}" for slope in slopes)
            raise ArithmeticError(f"the local error has the slopes {found}, which are not one integer")
        return order - 1

    def error(self, tableau: Tableau, size: int) -> Value:
        """The largest component of the local error of one step of h = 2^-size."""
        h = self._xp.number(2) ** -size
        values = {}
        for key, node in tableau.known.items():
            at = self._number(node) * h
            if at not in self._integrands:
                self._integrands[at] = self.integrand(at, self.solution(at))
            values[key] = self._integrands[at]
        for i, (c, row) in enumerate(zip(tableau.c, tableau.a, strict=True), 1):
            at = self._number(c)
            values[i] = self.integrand(at * h, self.row(row, at, values, h, size))
        found = self.row(tableau.b, self._xp.number(1), values, h, size)
        return max(abs(a - b) for a, b in zip(found, self.solution(h), strict=True))

    def solution(self, t: Value) -> Vector:
        """u(t), by its Taylor series about 0."""
        total = [self._xp.number(0) for _ in self._start]
        for coefficients in reversed(self._series):
            total = [t * v + c for v, c in zip(total, coefficients, strict=True)]
        return total

    def row(self, row: Weights, c: Value, values: dict[int, Vector], h: Value, size: int) -> Vector:
        """e^(c h L) u_0 + h sum weight * value, h = 2^-size."""
        state = [self._xp.exp(c * h * rate) * v for rate, v in zip(self._linear, self._start, strict=True)]
        for key, weight in row.items():
            for i in range(len(state)):
                state[i] += h * self._weight(weight, size, i) * values[key][i]
        return state

    def _weight(self, weight: Expr, size: int, i: int) -> Value:
        key = (weight, size, i)
        if key not in self._weights:
            at = _Point(self, self._xp.number(2) ** -size, self._linear[i])
            self._weights[key] = evaluator(weight, self._xp)(at)
        return self._weights[key]

    def _number(self, expression: Expr) -> Value:
        return evaluator(expression, self._xp)(_Point(self, self._xp.number(0), self._xp.number(0)))

    def moment(self, k: int, c: Value, h: Value, rate: Value) -> Value:
        """phi(k, c) for a component with this rate: phi_k(c h L), or the normalised moment of w,
        int_0^1 w(c h s) s^(k-1)/(k-1)! ds = sum factor e^x phi_k(-x), x = c h times the rate.
        """
        if rate:
            return numeric_phi(k, c * h * rate)
        parts = (factor * self._xp.exp(c * h * r) * numeric_phi(k, -c * h * r) for factor, r in self._density)
        return sum(parts, self._xp.number(0))

    def integrand(self, t: Value, u: Vector) -> Vector:
        """N(t, u)."""
        origin = [self._xp.number(0), *self._start]
        exponentials = []
        for row in self._w:
            at = sum(w * v for w, v in zip(row, (t, *u), strict=True))
            base = sum(w * v for w, v in zip(row, origin, strict=True))
            value = self._xp.exp(at)
            if self._linearised:
                value -= self._xp.exp(base) * (at - base)
            exponentials.append(value)
        return [sum(a * e for a, e in zip(row, exponentials, strict=True)) for row in self._a]

    def _taylor(self) -> list[Vector]:
        """The Taylor coefficients of u at 0, term by term from  u' = L u + N  and  e' = e g'."""
        g = [[sum(w * v for w, v in zip(row[1:], self._start, strict=True))] for row in self._w]
        e = [[self._xp.exp(series[0])] for series in g]
        u, integrand = [list(self._start)], []
        w = [sum(f * r**m for f, r in self._density) / math.factorial(m) for m in range(TERMS)]
        for m in range(TERMS):
            terms = [series[m] for series in e]
            if self._linearised:
                # exp(at) - exp(base) (at - base): its linear part is taken away from m = 1 on.
                terms = [t - series[0] * own[m] * (m > 0) for t, series, own in zip(terms, e, g, strict=True)]
            integrand.append([sum(a * t for a, t in zip(row, terms, strict=True)) for row in self._a])
            driven = [sum(w[m - j] * n[i] for j, n in enumerate(integrand)) for i in range(len(self._start))]
            slope = (r * v + n for r, v, n in zip(self._linear, u[m], driven, strict=True))
            u.append([s / (m + 1) for s in slope])
            for row, series, own in zip(self._w, e, g, strict=True):
                time = row[0] if m == 0 else 0
                own.append(time + sum(w * v for w, v in zip(row[1:], u[m + 1], strict=True)))
                product = sum((j + 1) * own[j + 1] * series[m - j] for j in range(m + 1))
                series.append(product / (m + 1))
        return u


class _Point:
    """The symbols of a weight in one step of size h: step ratios and parameters have generic values."""

    def __init__(self, problem: LocalError, h: Value, rate: Value) -> None:
        self._problem, self._h, self._rate = problem, h, rate

    def symbol(self, symbol: Symbol) -> Any:
        if symbol == z:
            return self._h * self._rate
        number = self._problem.number
        if (j := ratio_of(symbol)) is not None:
            return number(sum(_STEPS[:j]))
        return number(Rational(sum(map(ord, symbol.name)) + 1, 307))

    def phi(self, k: int, c: Value) -> Value:
        return self._problem.moment(k, c, self._h, self._rate)
