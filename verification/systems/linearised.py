"""Exponential Rosenbrock methods: at every step the linear part is the Jacobian of the right-hand side."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from semilinear.analysis.convergence import FLOORS, OrderEstimate, estimate_order
from semilinear.integrators.common import checks
from semilinear.integrators.numerics.arithmetic import FLOAT64
from semilinear.integrators.tableaux.evaluate import AtZ, evaluator
from semilinear.integrators.tableaux.tableau import Tableau, Weights, phi
from sympy import Expr, Integer, expand

from .semilinear import LADDER, SemilinearProblem, maximum, quadratic_mean

Vector = np.ndarray


@dataclass(frozen=True, eq=False)
class NonlinearProblem:
    """u' = F(t, u) with the derivatives of F, on a span of time, with its exact solution; in float64.

    slope: F.  jacobian: F_u, (d, d), symmetric.  drift: F_t.  norm: of an error.
    """

    name: str
    slope: Callable[[float, Vector], Vector]
    jacobian: Callable[[float, Vector], np.ndarray]
    drift: Callable[[float, Vector], Vector]
    exact: Callable[[float], Vector]
    span: tuple[int, int] = (0, 1)
    norm: Callable[[Vector], float] = maximum


@lru_cache(maxsize=1)
def gradient_system() -> NonlinearProblem:
    """Three equations u' = grad V(u) + f(t) with a cubic V, f such that (cos t, 1/2 + sin t, e^-t) is their
    solution; the Jacobians at different states do not commute.
    """
    linear = np.array([[-1.0, 0.5, 0.0], [0.5, -0.5, 1.0], [0.0, 1.0, 0.5]])

    def gradient(u: Vector) -> Vector:
        quadratic = np.array(
            [u[0] * u[1] - u[2] ** 2 / 2, u[0] ** 2 / 2 + u[1] * u[2], u[1] ** 2 / 2 - u[0] * u[2]]
        )
        value: Vector = linear @ u + quadratic
        return value

    def jacobian(_t: float, u: Vector) -> np.ndarray:
        hessian: np.ndarray = linear + np.array(
            [[u[1], u[0], -u[2]], [u[0], u[2], u[1]], [-u[2], u[1], -u[0]]]
        )
        return hessian

    def exact(t: float) -> Vector:
        return np.array([math.cos(t), 0.5 + math.sin(t), math.exp(-t)])

    def velocity(t: float) -> Vector:
        return np.array([-math.sin(t), math.cos(t), -math.exp(-t)])

    def slope(t: float, u: Vector) -> Vector:
        value: Vector = gradient(u) - gradient(exact(t)) + velocity(t)
        return value

    def drift(t: float, _u: Vector) -> Vector:
        acceleration = np.array([-math.cos(t), -math.sin(t), math.exp(-t)])
        value: Vector = acceleration - jacobian(t, exact(t)) @ velocity(t)
        return value

    return NonlinearProblem("gradient-3d", slope, jacobian, drift, exact, norm=quadratic_mean)


def whole(
    problem: SemilinearProblem,
    jacobian: Callable[[float, Vector], np.ndarray] | np.ndarray,
    drift: Callable[[float, Vector], Vector],
) -> NonlinearProblem:
    """A semilinear problem with L u + N for F.

    jacobian: N_u, symmetric; a matrix where it is the same everywhere.  drift: N_t.
    """
    linear = (problem.basis * problem.eigenvalues) @ problem.basis.T

    def slope(t: float, u: Vector) -> Vector:
        value: Vector = linear @ u + problem.nonlinear(t, u)
        return value

    def plus(more: np.ndarray) -> np.ndarray:
        matrix: np.ndarray = linear + more
        return matrix

    if isinstance(jacobian, np.ndarray):
        constant = plus(jacobian)
        whole_jacobian: Callable[[float, Vector], np.ndarray] = lambda _t, _u: constant  # noqa: E731
    else:
        whole_jacobian = lambda t, u: plus(jacobian(t, u))  # noqa: E731
    return NonlinearProblem(
        problem.name, slope, whole_jacobian, drift, problem.exact, problem.span, problem.norm
    )


@dataclass(frozen=True)
class _Row:
    """A row in numbers, by eigenvalue of J: its abscissa, what multiplies F, v and the differences D_j."""

    c: float
    of_slope: Vector
    of_drift: Vector
    weights: dict[int, Vector]


def _rows(rows: Sequence[tuple[Expr, Weights]], h: float, eigenvalues: Vector) -> list[_Row]:
    scope, made = AtZ(h * eigenvalues), []
    for at, exact in rows:
        c = float(at)
        of_slope, of_drift = c * h * scope.phi(1, c), (c * h) ** 2 * scope.phi(2, c)
        weights = {k: evaluator(w, FLOAT64)(scope) for k, w in exact.items() if k}  # D_0 = 0
        made.append(_Row(c, of_slope, of_drift, weights))
    return made


def integrate_linearised(
    tableau: Tableau, problem: NonlinearProblem, steps: int, *, low: bool = False
) -> float:
    """The error at the end of the span after equal steps with J = F_u(t_n, u_n) for L.

    In differences, with v = F_t(t_n, u_n) integrated too (Hochbruck, Ostermann & Schweitzer 2009, Sec. 2.2):

        U_i = u + c_i h phi_1(c_i z) F + (c_i h)^2 phi_2(c_i z) v + h sum_j a_ij D_j,
        D_j = F(t_j, U_j) - F - J (U_j - u) - c_j h v,

    which needs the row sums c_i phi_1(c_i z).  low: continue with the embedded row.  Raises ValueError for a
    tableau with past evaluations, without an embedded row where one is asked for, or with other row sums, and
    for steps < 1.
    """
    steps = checks.integer("steps", steps, 1)
    output = tableau.b_low if low else tableau.b
    if output is None or tableau.past:
        raise ValueError("tableau must be a one-step method, and have an embedded row if low is asked for")
    rows = list(zip((*tableau.c, Integer(1)), (*tableau.a, output), strict=True))
    for c, weights in rows:
        if expand(sum(weights.values()) - c * phi(1, c)) != 0:
            raise ValueError(f"the weights of the row at c = {c} must sum to c phi_1(c z)")
    start, end = problem.span
    h, u = (end - start) / steps, problem.exact(start)
    split: np.ndarray | None = None
    for n in range(steps):
        t = start + n * h
        j, f, v = problem.jacobian(t, u), problem.slope(t, u), problem.drift(t, u)
        if j is not split:  # one that is the same in every step is split once
            split, (values, vectors) = j, np.linalg.eigh(j)
            numbers = _rows(rows, h, values)
        f_hat, v_hat = vectors.T @ f, vectors.T @ v
        known: dict[int, Vector] = {}
        change = 0 * u
        for i, row in enumerate(numbers, 1):
            hat = row.of_slope * f_hat + row.of_drift * v_hat
            hat = hat + h * sum(w * known[k] for k, w in row.weights.items())
            change = vectors @ hat
            if i < len(numbers):
                known[i] = vectors.T @ (
                    problem.slope(t + row.c * h, u + change) - f - j @ change - row.c * h * v
                )
        u = u + change
    return problem.norm(u - problem.exact(end))


def linearised_order(
    tableau: Tableau,
    problem: NonlinearProblem | None = None,
    *,
    low: bool = False,
    ladder: Sequence[int] = LADDER,
    known: float = 0.0,
) -> OrderEstimate:
    """The observed order of a method of Rosenbrock type, on `gradient_system` if no problem is given.

    known: within how much its coefficients are.
    """
    on = gradient_system() if problem is None else problem
    errors = [integrate_linearised(tableau, on, n, low=low) for n in ladder]
    (start, end), u = on.span, on.exact(on.span[1])
    # A step adds h F, whose terms J u are large where the problem is stiff.
    row = (end - start) * float(np.max(np.sum(abs(on.jacobian(end, u)), axis=1)))
    size = float(np.max(abs(u)))
    return estimate_order(
        ladder,
        errors,
        [max(2.0**-53 * math.sqrt(n) * size * max(FLOORS, row / n), FLOORS * known) for n in ladder],
        known_floors=True,
    )
