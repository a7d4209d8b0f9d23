"""Exponential Rosenbrock methods on an autonomous system: the linear part is the Jacobian at every step."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from semilinear.analysis.convergence import OrderEstimate, estimate_order
from semilinear.integrators.arithmetic import FLOAT64
from semilinear.integrators.evaluate import evaluator
from semilinear.integrators.phi import phi_matrix
from semilinear.integrators.tableau import Tableau, phi
from sympy import Dummy, Expr, Integer, Poly, Symbol, expand

LADDER = (8, 12, 16, 24, 32, 48, 64, 96, 128)
END = 1.0


def exact(t: float) -> np.ndarray:
    """r^2 = 1/(1 + 3 e^(-2t)) on a circle that is run through at unit speed, and a logistic function plus
    u_1^2.
    """
    r = 1 / math.sqrt(1 + 3 * math.exp(-2 * t))
    u1, u2 = r * math.cos(t), r * math.sin(t)
    return np.array([u1, u2, 1 / (1 + 4 * math.exp(-t)) + u1**2])


def slope(u: np.ndarray) -> np.ndarray:
    """F: a limit cycle, u_1' = u_1 (1 - r^2) - u_2, u_2' = u_2 (1 - r^2) + u_1;
    q = u_3 - u_1^2, q' = q (1 - q).
    """
    u1, u2, q = u[0], u[1], u[2] - u[0] ** 2
    rest = 1 - u1**2 - u2**2
    first = u1 * rest - u2
    return np.array([first, u2 * rest + u1, q * (1 - q) + 2 * u1 * first])


def jacobian(u: np.ndarray) -> np.ndarray:
    """F'(u), full and not symmetric."""
    u1, u2, q = u[0], u[1], u[2] - u[0] ** 2
    rest = 1 - u1**2 - u2**2
    first, d1, d2 = u1 * rest - u2, rest - 2 * u1**2, -1 - 2 * u1 * u2
    return np.array(
        [
            [d1, d2, 0.0],
            [1 - 2 * u1 * u2, rest - 2 * u2**2, 0.0],
            [2 * first + 2 * u1 * d1 - 2 * u1 * (1 - 2 * q), 2 * u1 * d2, 1 - 2 * q],
        ]
    )


class _Matrices:
    """What the symbols of a tableau mean where z is a matrix: weights linear in phi_k(c z) only."""

    def __init__(self, z: np.ndarray) -> None:
        self._z = z
        self._phi: dict[tuple[int, float], np.ndarray] = {}

    def symbol(self, symbol: Symbol) -> np.ndarray:
        raise ValueError(f"a weight must be linear in phi(k, c), with numbers, got {symbol} in it")

    def phi(self, k: int, c: float) -> np.ndarray:
        if (k, c) not in self._phi:
            self._phi[k, c] = phi_matrix(k, c * self._z)
        return self._phi[k, c]


def _is_linear(weight: Expr) -> bool:
    """Whether a weight is a sum of numbers times phi-functions."""
    names = {p: Dummy() for p in weight.atoms(phi)}
    return bool(names) and all(sum(m) == 1 for m in Poly(weight.xreplace(names), *names.values()).monoms())


def integrate_linearised(tableau: Tableau, steps: int, *, low: bool = False) -> float:
    """The error at t = 1 after equal steps with J = F'(u_n) for L and N = F - J u, in the 2-norm.

    In differences, U_i = u + c_i h phi_1(c_i z) F(u) + h sum_j a_ij (N_j - N_1), which is the same where the
    row sums are c_i phi_1(c_i z), and leaves less rounding.  low: continue with the embedded row.  Raises
    ValueError for a tableau with past evaluations, without an embedded row where one is asked for, with
    other row sums, or with a product of phi-functions.
    """
    output = tableau.b_low if low else tableau.b
    if output is None or tableau.past:
        raise ValueError("tableau must be a one-step method, and have an embedded row if low is asked for")
    rows = list(zip((*tableau.c, Integer(1)), (*tableau.a, output), strict=True))
    for c, weights in rows:
        if expand(sum(weights.values()) - c * phi(1, c)) != 0 or not all(map(_is_linear, weights.values())):
            raise ValueError(
                f"the row at c = {c} must have weights linear in phi(k, c), with sum c phi_1(c z)"
            )
    h, u = END / steps, exact(0.0)
    for _ in range(steps):
        j, start = jacobian(u), slope(u)
        scope, change = _Matrices(h * j), np.zeros_like(u)
        differences: dict[int, np.ndarray] = {0: change}
        for i, (c, weights) in enumerate(rows, 1):
            change = h * float(c) * scope.phi(1, float(c)) @ start
            for k, w in weights.items():
                change = change + h * evaluator(w, FLOAT64)(scope) @ differences[k]
            differences[i] = slope(u + change) - start - j @ change
        u = u + change
    return float(np.linalg.norm(u - exact(END)))


def linearised_order(tableau: Tableau, *, low: bool = False, ladder: Sequence[int] = LADDER) -> OrderEstimate:
    """The observed order of a method of Rosenbrock type."""
    errors = [integrate_linearised(tableau, n, low=low) for n in ladder]
    return estimate_order(ladder, errors, [30 * 2.0**-53 * math.sqrt(n) for n in ladder])
