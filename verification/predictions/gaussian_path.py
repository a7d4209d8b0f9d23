"""The exact solution of a form's equation on Gaussian data, its derivatives, and what local errors become.

With x_0 ~ N(mu, v) in every component, the probability flow moves x(t) = alpha mu + s(t) xi with s^2 =
alpha^2 v + sigma^2 and xi constant.  So the integrand N and its slope in the state are known functions of
tau, whose derivatives D^k N and D^k N' along the solution are taken numerically in 40 digits; a local error
at t grows to s(t_end)/s(t) times itself; and the leading terms of a proof become numbers.
"""

from __future__ import annotations

import math
from functools import cache, partial
from typing import Any

import numpy as np
from semilinear.analysis.orders.defects import Defect
from semilinear.analysis.orders.stiff import LEAF, bushy
from semilinear.integrators.diffusion.prediction import conversion
from semilinear.integrators.forms.form import Exponential, Form
from semilinear.integrators.numerics.arithmetic import Value, multiprecision

from ..problems.linear_law import Gaussians

XP = multiprecision(40)


class GaussianPath:
    """The exact solution from `data.start` at t_start, seen through a form.

    Arrays have shape (d,) and hold mpmath numbers.
    """

    def __init__(self, form: Form, data: Gaussians, t_start: Value) -> None:
        self.form, self.f = form, form.schedule.formulas
        self.mean, self.variance, start = (
            XP.number(np.asarray(v, dtype=float)) for v in (data.mean, data.variance, data.start)
        )
        t = XP.number(t_start)
        self.xi = (start - self.mean * self.f.alpha(t)) / self.spread(t)
        self._values, self._known = cache(self._value), dict[Any, Any]()

    def spread(self, t: Value) -> Any:
        """s(t)."""
        return XP.sqrt(self.variance * self.f.alpha(t) ** 2 + self.f.sigma(t) ** 2)

    def state(self, t: Value) -> Any:
        """x(t)."""
        return self.mean * self.f.alpha(t) + self.spread(t) * self.xi

    def model(self, x: Any, t: Value) -> Any:
        """The exact noise prediction, for states of shape (.., d)."""
        return (x - self.mean * self.f.alpha(t)) / self.spread(t) ** 2 * self.f.sigma(t)

    def scale(self, t: Value) -> Any:
        """x over the variable of the form's equation: Phi, or Phi w where the weight is exponential."""
        weight = self.form.weight
        return weight.scale(t) if isinstance(weight, Exponential) else self.form.factor(t)

    def integrand(self, tau: Value) -> Any:
        """N at tau on the solution."""
        p, q, u = self._affine(tau)
        t = self.form.time(tau)
        x = self.state(t)
        return x * p + self.model(x, t) * q + u

    def slope(self, tau: Value) -> Any:
        """dN/dy, y the variable of the form's equation."""
        p, q, _ = self._affine(tau)
        t = self.form.time(tau)
        return (self.spread(t) ** -2 * (q * self.f.sigma(t)) + p) * self.scale(t)

    def _affine(self, tau: Value) -> tuple[Any, Any, Any]:
        """N = p x + q eps + u."""
        t = self.form.time(tau)
        p, q = conversion(self.form.schedule, "eps", self.form.target, t)
        if self.form.affine is None:
            return p, q, 0
        own, factor, u = self.form.affine(t)
        return own + factor * p, factor * q, u

    def weight(self, tau: Value) -> Any:
        """w at tau, from the first moment of a tiny step."""
        tiny = XP.number("1e-13")
        step = self.form.step(self.form.time(tau - tiny / 2), self.form.time(tau + tiny / 2), 1)
        one = XP.number(1)
        return step.weight(one) * step.phi(1, one) / (step.h * self.form.factor(step.t1))

    def derivative(self, name: str, tau: Value, k: int) -> Any:
        """D^k of "integrand", "slope" or "weight", k >= 0."""
        key = (name, tau, k)
        if key not in self._known:
            self._known[key] = _derivative(partial(self._values, name), tau, k)
        return self._known[key]

    def _value(self, name: str, tau: Value) -> Any:
        """Derivatives of all orders at one tau have points in common."""
        return getattr(self, name)(tau)

    def term(self, defect: Defect, tau: Value, value: Any) -> Any:
        """A term of the local error over h^q, in the form's variable: value times its differential."""
        return self._differential(defect.tree, list(defect.powers), tau) * value

    def _differential(self, tree: Any, powers: list[int], tau: Value) -> Any:
        front = self._front(powers.pop(0), tau)
        if bushy(tree):
            return self.derivative("integrand", tau, len(tree.children)) * front
        inner = [child for child in tree.children if child != LEAF]
        if len(inner) > 1:  # N is affine in the state
            return 0 * self.xi
        slope = self.derivative("slope", tau, tree.children.count(LEAF))
        return self._differential(inner[0], powers, tau) * slope * front

    def _front(self, m: int, tau: Value) -> Any:
        """L^m, or w^(m); for m = -1 what makes alpha of Phi."""
        rate = self.form.weight.rate
        if rate is not None:
            return XP.number(rate) ** m if m else XP.number(1)
        if m < 0:
            t = self.form.time(tau)
            return self.f.alpha(t) / self.form.factor(t)
        return self.derivative("weight", tau, m)


REACH = XP.number("1e-3")
"""The distance of the points of a central difference: rounding and truncation stay below 1e-15."""


def _derivative(function: Any, tau: Value, k: int) -> Any:
    """The k-th derivative by a central difference."""
    if k == 0:
        return function(tau)
    return sum(function(tau + j * REACH) * w for j, w in _stencil(k)) / REACH**k


@cache
def _stencil(k: int) -> tuple[tuple[int, Value], ...]:
    """(node, weight) of the central difference for the k-th derivative through 9 points or more."""
    nodes = range(-4 - k // 2, 5 + k // 2)
    powers = XP.context.matrix([[XP.number(j) ** i for j in nodes] for i in range(len(nodes))])
    moments = XP.context.matrix([math.factorial(k) if i == k else 0 for i in range(len(nodes))])
    return tuple(zip(nodes, XP.context.lu_solve(powers, moments), strict=True))
