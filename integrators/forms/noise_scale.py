"""Noise-scale functions phi(rho) of ER-SDE-Solver (arXiv:2309.06169), as exact expressions.

With y = x/alpha, rho = sigma/alpha and the data prediction D, every phi gives a reverse SDE that has the same
marginals:

    dy = (phi'/phi) (y - D) drho + g dw,    g^2 = 2 rho dln(phi/rho)/dln rho >= 0,

so phi(rho)/rho must not decrease.  phi = rho is the probability flow, phi = rho^2 the plain reverse SDE.
What makes noise is  growth(x) = dln(phi(x)/x)/dln x  alone; it is 0 for the probability flow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import sympy
from sympy import Expr, Integer, Mul, Rational, Symbol
from sympy.codegen.cfunctions import log1p

from ..common import checks
from ..common.messages import shown
from ..numerics.arithmetic import EACH, FLOAT64, Arithmetic, Value, finite, of, uniform
from ..numerics.quadrature import GAUSS
from ..tableaux.evaluate import function
from .form import INFINITY, beside_nodes

x = Symbol("x", positive=True)
"""The argument of a noise-scale function, rho = sigma/alpha."""


class Path:
    """The way from rho_0 to rho_1 in s = ln(rho_0/rho): nodes and offsets keep their relative accuracy.

    `length`, ln(rho_0/rho_1), is infinite where rho_0 is, and where rho_1 = 0.  The ends may be arrays, of
    many ways: a row of s then holds the nodes of each.
    """

    def __init__(self, rho0: Value, rho1: Value) -> None:
        self.xp: Arithmetic = of(rho1)
        self.rho0, self.rho1 = rho0, rho1
        self.infinite: bool = not finite(rho0)
        endless = self.infinite or uniform(rho1 == 0)
        self.length: Value = self.xp.number(INFINITY) if endless else self.xp.log1p((rho0 - rho1) / rho1)

    def rho(self, s: Value) -> Value:
        """rho = rho_0 e^-s."""
        return self.xp.exp(-s) * beside_nodes(self.rho0)

    def offset(self, s: Value) -> Value:
        """rho - rho_0."""
        return self.xp.expm1(-s) * beside_nodes(self.rho0)


@dataclass(frozen=True)
class NoiseScale:
    """A noise-scale function phi by name: an exact expression in `x`, positive for x > 0.

    phi may hold powers, exp, log, expm1 and log1p; what else is needed follows by differentiation.  A
    constant factor has no effect.  Where phi(x)/x decreases there is no such SDE: `log_ratio` refuses it.
    Raises ValueError for an expression in other symbols or functions, or whose phi(x)/x decreases everywhere.
    """

    name: str
    phi: Expr
    relative: Expr = field(init=False, repr=False, compare=False)
    """phi(x)/x."""
    growth: Expr = field(init=False, repr=False, compare=False)
    """dln(phi(x)/x)/dln x, half of the noise's variance per unit of ln x, relative to x^2."""

    def __post_init__(self) -> None:
        phi = self.phi
        if not isinstance(self.name, str) or not self.name:
            raise ValueError(f"name must be a non-empty string, got {shown(self.name)}")
        if not isinstance(phi, Expr) or phi.free_symbols != {x}:
            raise ValueError(f"phi must be an expression in noise_scale.x, got {shown(phi)}")
        relative = sympy.factor_terms(phi) / x
        # Factor by factor: a power of x gives its exponent, exactly.
        growth = sum((x * sympy.diff(f, x) / f for f in Mul.make_args(relative)), Integer(0))
        if growth.is_number and not growth >= 0:
            raise ValueError(f"phi(x)/x must not decrease, got phi(x) = {phi}")
        try:
            for expression in (relative, growth):
                function(expression, FLOAT64)
        except TypeError as error:
            raise ValueError(f"phi(x) = {phi} cannot be evaluated: {error}") from error
        object.__setattr__(self, "relative", relative)
        object.__setattr__(self, "growth", growth)

    @property
    def deterministic(self) -> bool:
        """Whether phi is a multiple of x: the SDE is the probability flow and has no noise."""
        return bool(self.growth == 0)

    def over_x(self, rho: Value) -> Value:
        """phi(rho)/rho at the end of a step, or of each of many.  Raises ValueError where it is not a
        positive number.
        """
        return self._positive(rho, EACH if of(rho) is FLOAT64 else of(rho))

    def along(self, rho: Value) -> Value:
        """The same at the nodes of a rule."""
        return self._positive(rho, of(rho))

    def _positive(self, rho: Value, xp: Arithmetic) -> Value:
        value = function(self.relative, xp)(rho)
        bad = np.atleast_1d(~(value > 0) if isinstance(value, np.ndarray) else not value > 0)
        if np.any(bad):
            at = int(np.argmax(bad))
            ratio, where = (float(np.broadcast_to(v, bad.shape).flat[at]) for v in (value, rho))
            raise ValueError(
                f"phi(x) = {self.phi} must be positive, got phi(x)/x = {ratio:.3g} at x = {where:.6g}"
            )
        return value

    def log_ratio(self, path: Path) -> Value:
        """ln(q(rho_0)/q(rho_1)) >= 0 for q = phi(x)/x, as the integral of growth: logarithms would cancel.

        Raises ValueError, saying where, if q decreases between rho_1 and rho_0.
        """
        xp, growth = path.xp, function(self.growth, path.xp)
        if self.growth.is_number and not path.infinite:
            return xp.number(self.growth) * path.length
        if path.infinite:
            value = xp.log(self.over_x(path.rho0) / self.over_x(path.rho1))
            self._refuse(np.stack([value]), np.stack([path.rho0]))
            return value

        def rows(s: Value) -> Value:
            rho = path.rho(s)
            values = growth(rho) + 0 * rho
            self._refuse(values, rho)
            return values[None]

        rows(np.stack([0 * path.length, path.length], axis=-1))  # the ends are no nodes
        return GAUSS.integrate(rows, xp.number(0), beside_nodes(path.length), xp)[0]

    def _refuse(self, growth: Value, rho: Value) -> None:
        bad = ~(growth >= 0)
        if np.any(bad):
            at = int(np.argmax(bad))
            raise ValueError(
                f"phi(x)/x must not decrease, or there is no such SDE: phi(x) = {self.phi} has "
                f"dln(phi(x)/x)/dln x = {float(growth.flat[at]):.3g} at x = {float(rho.flat[at]):.6g}"
            )


def power(exponent: Any) -> NoiseScale:
    """phi = x^q, q >= 1: q = 1 is the probability flow, q = 2 the reverse SDE."""
    q = _exact("exponent", exponent)
    return NoiseScale(f"power-{q}", x**q)


def sde_1(eta: Any = 0) -> NoiseScale:
    """phi = x (e^(x^(eta - 1)/(eta - 1)) + 10); without the 10 it would be g^2 = 2 x^eta."""
    e = _exact("eta", eta)
    if e == 1:
        raise ValueError("eta must differ from 1, where x^(eta - 1)/(eta - 1) is infinite")
    name = "sde-1" if e == 0 else f"sde-1-eta-{e}"
    return NoiseScale(name, x * (sympy.exp(x ** (e - 1) / (e - 1)) + 10))


def _exact(name: str, value: Any) -> Rational:
    found = checks.exact(name, value)
    if not isinstance(found, Rational):
        raise ValueError(f"{name} must be a rational number, got {shown(value)}")
    return found


def traced(function: Callable[[Any], Any]) -> NoiseScale:
    """phi as a Python function, written down exactly by calling it with the symbol x.

    Raises ValueError, with what to write instead, for a function of floats alone (math, numpy): coefficients
    need the derivative of phi(x)/x to rounding, and in any number of digits.
    """
    try:
        phi = function(x)
    except (TypeError, AttributeError, ValueError) as error:
        raise ValueError(
            "scale must be a function that also takes a symbol, since its derivative is needed exactly: with "
            "sympy's exp and log in place of those of math or numpy, for example "
            f"lambda x: x * (sympy.exp(x**0.3) + 10); called with a symbol, it says: {error}"
        ) from error
    name = getattr(function, "__name__", "")
    return NoiseScale(name if name.isidentifier() else "custom", phi)


ODE = NoiseScale("ode", x)
REVERSE_SDE = NoiseScale("reverse-sde", x**2)
SDE_1 = sde_1()
SDE_2 = NoiseScale("sde-2", x ** Rational(3, 2))
SDE_3 = NoiseScale("sde-3", x ** Rational(5, 2))
SDE_4 = NoiseScale("sde-4", x ** Rational(9, 10) * log1p(100 * x ** Rational(3, 2)))
SDE_5 = NoiseScale("sde-5", x * (sympy.exp(x ** Rational(3, 10)) + 10))
NOISE_SCALES: tuple[NoiseScale, ...] = (ODE, REVERSE_SDE, SDE_1, SDE_2, SDE_3, SDE_4, SDE_5)
"""The functions of the release in its order, func_type 1 to 7 of customized_func; the last is its default.

SDE_4 (there with the decimal logarithm, a constant factor) makes no SDE above x = 1022.35.
"""
