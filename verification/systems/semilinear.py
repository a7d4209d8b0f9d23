"""Tableaux on semilinear systems u' = L u + N(t, u) with a matrix L, from exact starting values.

The diffusion equations of this project have a scalar L.  Here L is a full matrix that does not commute with
N', as the methods' own theory has it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from semilinear.analysis.convergence import ENOUGH_FROM, FLOORS, OrderEstimate, estimate_order
from semilinear.integrators.common import checks
from semilinear.integrators.numerics.arithmetic import FLOAT64, Arithmetic, Value, choose
from semilinear.integrators.tableaux.evaluate import AtZ, evaluator
from semilinear.integrators.tableaux.tableau import Tableau

LADDER = (8, 12, 16, 24, 32, 48, 64, 96, 128)


def maximum(error: np.ndarray) -> float:
    """The maximum norm, in which papers state stiff orders."""
    return float(np.max(abs(error)))


def quadratic_mean(error: np.ndarray) -> float:
    """The root mean square: smooth in h where the largest component changes, as slopes want it."""
    return math.sqrt(float(sum(e * e for e in error)) / len(error))


@dataclass(frozen=True, eq=False)
class SemilinearProblem:
    """u' = L u + N(t, u), L = basis diag(eigenvalues) basis^T, on a span of time, with its exact solution.

    eigenvalues: (d,).  basis: (d, d), orthogonal, one eigenvector a column.  nonlinear: (t, u) -> (d,).
    exact: t -> (d,), also before the span, where multistep methods take their starting values.  xp: the
    arithmetic of all of them.  norm: of an error.
    """

    name: str
    eigenvalues: np.ndarray
    basis: np.ndarray
    nonlinear: Callable[[Value, np.ndarray], np.ndarray]
    exact: Callable[[Value], np.ndarray]
    span: tuple[int, int] = (0, 1)
    xp: Arithmetic = FLOAT64
    norm: Callable[[np.ndarray], float] = maximum


@dataclass(frozen=True)
class _Row:
    """A row in numbers: its abscissa, e^(c z), and h times its weights by evaluation."""

    c: Value
    factor: np.ndarray
    weights: dict[int, Value]


@lru_cache(maxsize=64)
def _at(problem: SemilinearProblem, h: Value) -> AtZ:
    """The phi-functions of h L, which the tableaux that are measured with that step have in common."""
    return AtZ(h * problem.eigenvalues)


def _rows(tableau: Tableau, problem: SemilinearProblem, h: Value) -> list[_Row]:
    xp, scope = problem.xp, _at(problem, h)
    rows = []
    for at, exact in zip((*tableau.c, 1), (*tableau.a, tableau.b), strict=True):
        c = xp.number(at)
        weights = {j: h * evaluator(w, xp)(scope) for j, w in exact.items()}
        rows.append(_Row(c, xp.exp(c * h * problem.eigenvalues), weights))
    return rows


def integrate(tableau: Tableau, problem: SemilinearProblem, steps: int) -> tuple[float, float]:
    """The error at the end of the span, in the problem's norm, after equal steps from exact starting values;
    and the rounding error that the run may leave.

    Runs in the eigenvectors of L, where a coefficient function of the matrix is a vector.  A run that
    overflows has an infinite error.  Rounding: 30 units in the last place of the largest term of a row, over
    sqrt(steps) steps, because weights of high order are large and cancel.  Raises ValueError for a tableau
    that keeps an evaluation (PEC: `carry`) or has parameters, or for steps < 1.
    """
    steps = checks.integer("steps", steps, 1)
    if tableau.carry is not None:
        raise ValueError(f"tableau must evaluate every step's start, got carry = {tableau.carry}")
    xp, basis = problem.xp, problem.basis
    start, end = (xp.number(t) for t in problem.span)
    h = (end - start) / steps

    def evaluate(t: Value, v: np.ndarray) -> Any:
        return basis.T @ problem.nonlinear(t, basis @ v)

    with np.errstate(over="ignore", invalid="ignore"):
        rows = _rows(tableau, problem, h)
        times = [start - j * h for j in range(1, tableau.past + 1)]
        past = [evaluate(t, basis.T @ problem.exact(t)) for t in times]
        v = basis.T @ problem.exact(start)
        for n in range(steps):
            t = start + n * h
            known = {-j: g for j, g in enumerate(past, 1)} | {0: evaluate(t, v)}
            for i, row in enumerate(rows, 1):
                state = row.factor * v + sum(w * known[j] for j, w in row.weights.items())
                if i < len(rows):
                    known[i] = evaluate(t + row.c * h, state)
            past = [known[0], *past][: tableau.past]
            v = state
        error = problem.norm(basis @ v - problem.exact(end))
        terms = max(float(np.max(abs(w * known[j]))) for row in rows for j, w in row.weights.items())
    unit = 2.0**-53 if xp.digits is None else 10.0 ** (1 - xp.digits)
    rounding = 30 * unit * math.sqrt(steps) * max(terms, float(np.max(abs(problem.exact(end)))))
    return (error, rounding) if math.isfinite(error) else (math.inf, 0.0)


def measured(
    tableau: Tableau,
    problem: SemilinearProblem,
    ladder: Sequence[int] = LADDER,
    known: float = 0.0,
    proved: int | None = None,
) -> tuple[tuple[float, ...], OrderEstimate]:
    """The errors over a ladder of step counts, and the observed order with its interval.

    known: within how much the coefficients are.  Errors within a factor of ten of rounding, or `FLOORS`
    of that, bend a slope and are left out.  proved: the order that is; a ladder ends where runs of
    `ENOUGH_FROM` steps or more show it.
    """
    errors: list[float] = []
    floors: list[float] = []
    for n in ladder:
        error, rounding = integrate(tableau, problem, n)
        errors.append(error)
        floors.append(max(10 * rounding, FLOORS * known))
        if n < ladder[-1] and (proved is None or n < ENOUGH_FROM):
            continue
        estimate = estimate_order(ladder[: len(errors)], errors, floors, known_floors=True)
        if proved is not None and estimate.shows(proved):
            break
    return tuple(errors), estimate


@lru_cache(maxsize=8)
def coupled_system(digits: int | None = 40) -> SemilinearProblem:
    """Three equations with a full symmetric L and a cubic N whose Jacobian does not commute with it.

    The forcing makes (cos t, 1/2 + sin t, e^-t) the solution: N(t, u) = G(u) - G(s(t)) + s'(t) - L s(t).
    digits: of mpmath, None for float64.
    """
    xp = choose(digits)
    reflection = xp.number(1) * np.array([[2, -2, 1], [-2, -1, 2], [1, 2, 2]], dtype=object) / 3
    basis = reflection if digits is not None else reflection.astype(float)
    eigenvalues = np.array([xp.number(v) for v in (-3, -1, 1)]) / 2
    linear = basis @ (eigenvalues[:, None] * basis.T)

    def nonlinearity(u: np.ndarray) -> np.ndarray:
        return np.array([u[1] * u[2] - u[0] ** 2, u[0] * u[2] / 2 + u[1] ** 3 / 3, u[0] * u[1] - u[2]])

    def solution(t: Value) -> np.ndarray:
        return np.array([xp.cos(t), xp.number(1) / 2 + xp.sin(t), xp.exp(-t)])

    @lru_cache(maxsize=2**12)
    def forcing(t: Value) -> tuple[np.ndarray, ...]:
        """G(s), s' and L s: tableaux with abscissae in common ask at the same times."""
        s = solution(t)
        return nonlinearity(s), np.array([-xp.sin(t), xp.cos(t), -s[2]]), linear @ s

    def nonlinear(t: Value, u: np.ndarray) -> Any:
        at_solution, slope, decay = forcing(t)
        return nonlinearity(u) - at_solution + slope - decay

    return SemilinearProblem(
        "coupled-3d", eigenvalues, basis, nonlinear, solution, xp=xp, norm=quadratic_mean
    )
