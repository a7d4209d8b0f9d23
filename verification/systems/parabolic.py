"""The two parabolic problems of Hochbruck & Ostermann 2005 (Sec. 6), on which orders in time fall.

    local      u_t = u_xx + 1/(1 + u^2) + Phi(x, t)
    nonlocal   u_t = u_xx + int_0^1 u dx + Phi(x, t)

on 0 < x < 1, 0 < t < 1, u = 0 at both ends, with Phi such that u = x (1 - x) e^t.  N(t, u) does not vanish
at the ends, so it lies in the domain of a low power of L only, and conditions that hold at z = 0 alone do not
suffice.  Central differences are exact on a parabola, and the integral is the trapezoidal sum, in Phi too:
the solution of the discrete system is known, and only the error in time remains.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
from semilinear.analysis.convergence import OrderEstimate
from semilinear.integrators.common import checks
from semilinear.integrators.tableaux.tableau import Tableau

from .linearised import NonlinearProblem, linearised_order, whole
from .semilinear import SemilinearProblem, measured

STEPS = (4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
"""h = 1/4 .. 1/128, and the counts between."""
POINTS = 199
Kind = Literal["local", "nonlocal"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@lru_cache(maxsize=8)
def parabolic(kind: Kind, points: int = POINTS) -> SemilinearProblem:
    """One of the two problems on `points` inner points, in the basis of the discrete Laplacian.

    Raises ValueError for another kind, or less than two points.
    """
    checks.one_of("kind", kind, KINDS)
    points = checks.integer("points", points, 2)
    dx = 1 / (points + 1)
    k = np.arange(1, points + 1)
    basis = math.sqrt(2 * dx) * np.sin(np.pi * dx * np.outer(k, k))
    eigenvalues = -4 / dx**2 * np.sin(np.pi * dx / 2 * k) ** 2
    parabola = dx * k * (1 - dx * k)

    def reaction(u: np.ndarray) -> np.ndarray:
        return 1 / (1 + u * u) if kind == "local" else np.full_like(u, dx * u.sum())

    def solution(t: float) -> np.ndarray:
        growing: np.ndarray = parabola * math.exp(t)
        return growing

    def nonlinear(t: float, u: np.ndarray) -> np.ndarray:
        s = solution(t)
        value: np.ndarray = reaction(u) - reaction(s) + s + 2 * math.exp(t)  # s_t - s_xx = s + 2 e^t
        return value

    return SemilinearProblem(f"parabolic-{kind}", eigenvalues, basis, nonlinear, solution)


@lru_cache(maxsize=8)
def parabolic_linearised(kind: Kind, points: int = POINTS) -> NonlinearProblem:
    """The same problem with the derivatives that methods of Rosenbrock type use."""
    problem = parabolic(kind, points)
    dx = 1 / (points + 1)
    mean = np.full((points, points), dx)

    def jacobian(_t: float, u: np.ndarray) -> np.ndarray:
        return np.diag(-2 * u / (1 + u * u) ** 2) if kind == "local" else mean

    def drift(t: float, _u: np.ndarray) -> np.ndarray:
        s = problem.exact(t)
        change: np.ndarray = s - jacobian(t, s) @ s + 2 * math.exp(t)  # s_t = s
        return change

    return whole(problem, jacobian if kind == "local" else mean, drift)


def stiff_slopes(
    tableau: Tableau, problem: SemilinearProblem
) -> tuple[tuple[int, ...], tuple[float, ...], OrderEstimate]:
    """Step counts, errors in the maximum norm, and the observed order, which need not be an integer."""
    errors, estimate = measured(tableau, problem, STEPS)
    return STEPS, errors, estimate


def linearised_slope(tableau: Tableau, kind: Kind) -> OrderEstimate:
    """The observed order of a method of Rosenbrock type on one of the problems."""
    return linearised_order(tableau, parabolic_linearised(kind), ladder=STEPS)
