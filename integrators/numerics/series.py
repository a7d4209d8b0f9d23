"""Piecewise Chebyshev series: functions of one variable as data, in any arithmetic.

One cell of high degree represents a smooth function, many cells of low degree a spline.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from .arithmetic import FLOAT64, Arithmetic, Value, of


@dataclass(frozen=True, eq=False)
class Series:
    """sum_j c_j T_j(u) on each cell between knots, u in [-1, 1] running over the cell.

    knots: increasing, (m + 1,), float64.  coefficients: (degree + 1, m, *shape), float64.  Arguments outside
    the knots are taken by the outermost cell.
    """

    knots: np.ndarray
    coefficients: np.ndarray
    _cache: dict[Any, Value] = field(init=False, repr=False, default_factory=dict)

    def __call__(self, x: Value) -> Value:
        """The value at x: of `shape`, or (*shape, k) at an array of k arguments."""
        return self._evaluate(x, 0)

    def slope(self, x: Value) -> Value:
        """The derivative at x, shaped as the value: exactly that of these coefficients."""
        return self._evaluate(x, 1)

    def _evaluate(self, x: Value, derivative: int) -> Value:
        return _clenshaw(self.knots, self._in(of(x), derivative), x)

    def _in(self, xp: Arithmetic, derivative: int) -> Value:
        if not derivative and xp is FLOAT64:
            return self.coefficients
        if (xp, derivative) not in self._cache:
            c = xp.number(self.coefficients)
            if derivative:
                widths = xp.number(self.knots[1:]) - xp.number(self.knots[:-1])
                c = _derivative(c) * (2 / widths).reshape(-1, *(1,) * (c.ndim - 2))
            self._cache[xp, derivative] = c
        return self._cache[xp, derivative]

    def trimmed(self) -> Series:
        """Without the trailing coefficients that are below rounding in every cell."""
        c = self.coefficients
        size = np.abs(c).reshape(len(c), -1).max(1)
        kept = int(np.flatnonzero(size > 2.0**-54 * size.max()).max(initial=0))
        return Series(self.knots, c[: kept + 1].copy())

    def integral(self) -> Series:
        """The continuous antiderivative that is 0 at the first knot."""
        c = self.coefficients
        n = len(c)
        padded = np.concatenate([c, np.zeros((2, *c.shape[1:]))])
        half = (np.diff(self.knots) / 2).reshape(-1, *(1,) * (c.ndim - 2))
        result = np.zeros((n + 1, *c.shape[1:]))
        result[1:] = (
            np.stack([padded[k - 1] * (2 if k == 1 else 1) - padded[k + 1] for k in range(1, n + 1)])
            / (2 * np.arange(1, n + 1)).reshape(-1, *(1,) * (c.ndim - 1))
            * half
        )
        signs = (-1.0) ** np.arange(n + 1)
        left, right = np.tensordot(signs, result, 1), result.sum(0)  # values at the ends of each cell
        result[0] = np.cumsum(right - left, axis=0) - right
        return Series(self.knots, result)


def together(parts: Sequence[tuple[Series, int]]) -> Callable[[Value], Value]:
    """The values of several series on the same knots, or of their derivatives (series, 1), as one array with
    the part first: one recurrence in place of many, to the same bits.
    """
    knots = parts[0][0].knots
    longest = max(len(series.coefficients) for series, _ in parts)

    @lru_cache(maxsize=8)
    def stacked(xp: Arithmetic) -> Value:
        rows = [series._in(xp, derivative) for series, derivative in parts]
        padded = [np.concatenate([c, np.repeat(0 * c[:1], longest - len(c), axis=0)]) for c in rows]
        return np.stack(padded, axis=2)

    return lambda x: _clenshaw(knots, stacked(of(x)), x)


def _clenshaw(knots: np.ndarray, coefficients: Value, x: Value) -> Value:
    """sum_j c_j T_j(u) by Clenshaw's recurrence; coefficients: (degree + 1, m, ..)."""
    xp, floats = of(x), np.asarray(x, dtype=np.float64)
    cell = np.clip(np.searchsorted(knots, floats, side="right") - 1, 0, len(knots) - 2)
    low, high = xp.number(knots[cell]), xp.number(knots[cell + 1])
    u = ((x - low) + (x - high)) / (high - low)
    alone = floats.ndim and floats.size and np.all(cell == cell[0])
    c = coefficients[:, cell[:1]] if alone else np.take(coefficients, cell, axis=1)
    if floats.ndim:
        u = u.reshape(-1, *(1,) * (coefficients.ndim - 2))  # arguments first: long rows for numpy
    twice = 2 * u
    after = current = c[-1] * 0
    for row in c[:0:-1]:
        after, current = current, twice * current - after + row
    value = c[0] + u * current - after
    return np.moveaxis(value, 0, -1) if floats.ndim else value


def _derivative(c: Value) -> Value:
    """Chebyshev coefficients of d/du, same number of them."""
    n = len(c) - 1
    rows = [0 * c[0]] * (n + 2)
    for k in range(n, 0, -1):
        rows[k - 1] = rows[k + 1] + 2 * k * c[k]
    rows[0] = rows[0] / 2
    return np.stack(rows[: n + 1])


def chebyshev_nodes(knots: np.ndarray, degree: int) -> np.ndarray:
    """The degree + 1 Chebyshev points of every cell, increasing, shape (m, degree + 1)."""
    u = -np.cos((np.arange(degree + 1) + 0.5) * np.pi / (degree + 1))
    low, high = knots[:-1, None], knots[1:, None]
    nodes: np.ndarray = low + (high - low) * (1 + u) / 2
    return nodes


def through(knots: np.ndarray, values: np.ndarray) -> Series:
    """The series through values (m, degree + 1, *shape) at the `chebyshev_nodes` of every cell."""
    n = values.shape[1]
    angles = (np.arange(n) + 0.5) * np.pi / n
    transform = 2 / n * np.cos(np.outer(np.arange(n), angles[::-1]))
    transform[0] /= 2
    return Series(knots, np.tensordot(transform, values, ([1], [1])))


def interpolate(f: Callable[[np.ndarray], np.ndarray], knots: np.ndarray, degree: int) -> Series:
    """The series of that degree through f, (k,) -> (*shape, k), at the Chebyshev points of every cell."""
    nodes = chebyshev_nodes(knots, degree)
    values = np.moveaxis(f(nodes.ravel()), -1, 0)
    return through(knots, values.reshape(*nodes.shape, *values.shape[1:]))
