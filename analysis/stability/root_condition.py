"""Numbers for stability: coefficient functions at complex z, eigenvalues, and the root condition.

float64 decides where it can; an eigenvalue whose modulus it cannot tell from 1 is found with 100 digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import sympy
from semilinear.integrators.numerics.arithmetic import FLOAT64, Arithmetic, Value
from semilinear.integrators.tableaux.evaluate import AtZ, evaluator
from semilinear.integrators.tableaux.tableau import at_zero, z
from sympy import Expr

DOUBT = 1e-13
"""Relative error of an eigenvalue in float64, where no other is near: see `spectrum`."""
DIGITS, UNIT, APART = 100, 1e-70, 1e-12
"""Of multiprecision; what counts as modulus 1 there (a double root is off by 1e-50 or so); the distance of
eigenvalues that are simple.
"""


class Point:
    """The numbers that coefficients are at one z, or an array of them; each is computed once."""

    def __init__(self, at: Value, xp: Arithmetic) -> None:
        self._at, self._xp = AtZ(at), xp
        self._known: dict[Expr, Value] = {}

    def value(self, expression: Expr) -> Value:
        """An exact coefficient; its limit at z = 0."""
        if expression not in self._known:
            self._known[expression] = self._compute(expression)
        return self._known[expression]

    def _compute(self, expression: Expr) -> Value:
        if not has_pole(expression):
            return evaluator(expression, self._xp)(self._at)
        here, at_0 = np.asarray(self._at.z == 0), at_zero(expression)
        if not here.any():
            return evaluator(expression, self._xp)(self._at)
        if self._xp is not FLOAT64:
            if not at_0.is_finite:
                raise ZeroDivisionError(f"{expression} has a pole at z = 0")
            return self._xp.number(at_0)
        limit = float(at_0) if at_0.is_finite else np.inf
        return np.where(here, limit, evaluator(expression, self._xp)(self._at))


def has_pole(expression: Expr) -> bool:
    """Whether z stands in a denominator, be the pole removable or not."""
    return any(p.exp.is_negative and p.base.has(z) for p in expression.atoms(sympy.Pow))


def spectrum(matrices: np.ndarray, at_z: Any) -> tuple[np.ndarray, np.ndarray]:
    """The spectral radius of matrices (..., m, m), infinite where they are not finite, and within what of 1
    it cannot be told from 1: the error of the entries, of size e^z where that is large and cancels, and that
    of the angle c Im z where it is many turns, over the distance of the largest eigenvalue from the others.
    """
    good = np.isfinite(matrices).all((-2, -1))
    known = np.where(good[..., None, None], matrices, 0)
    values = known[..., 0] if known.shape[-1] == 1 else np.linalg.eigvals(known)
    moduli = abs(values)
    first = moduli.argmax(-1)[..., None]
    apart = abs(values - np.take_along_axis(values, first, -1))
    np.put_along_axis(apart, first, 1.0, -1)
    with np.errstate(all="ignore"):
        size = abs(matrices).sum(-1).max(-1) + np.exp(np.clip(np.real(at_z), 0, 300))
        size = size * np.maximum(abs(np.imag(at_z)) / 100, 1)
        doubt = np.clip(DOUBT * size / np.clip(apart.min(-1), 1e-8, 1), 0, 1e-3)
    return np.where(good, moduli.max(-1), np.inf), np.where(good, doubt, np.inf)


def eigenvalues(matrix: Any) -> list[Any]:
    """Eigenvalues of an mpmath matrix."""
    if matrix.rows == 1:
        return [matrix[0, 0]]
    return list(matrix.ctx.eig(matrix, left=False, right=False))


def root_condition(roots: Sequence[Any]) -> bool:
    """All in the closed unit disc, those on the circle simple."""
    if not all(abs(r) - 1 <= UNIT for r in roots):
        return False
    edge = [r for r in roots if abs(r) - 1 >= -UNIT]
    return all(abs(a - b) > APART for i, a in enumerate(edge) for b in edge[:i])
