"""Moments of model statistics with many components, by series that the steps of a plan share.

A component's weight  e^(L + S)  costs transcendental functions at every node of a rule, of every step.  Here
the line of lambda is divided into cells, the same for every grid; in each of them the weight and the weight
times B are Chebyshev series, as accurate as the potentials themselves, and the moments of a step are products
of these coefficients with a few numbers of the step.  Who asks, and in which order, makes no difference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any

import numpy as np

from ..numerics.arithmetic import Value
from ..numerics.quadrature import legendre
from ..numerics.series import chebyshev_nodes

WIDTH = 0.5
"""Of a cell.  The weights of Gaussian data are analytic within pi/2: 16 coefficients reach rounding."""
DEGREE = 15
TOLERANCE = 1e-14
"""What the last two coefficients may be, relative to the largest: the next ones are smaller still."""
MAX_DEPTH = 20
KEPT = 2**20
"""Numbers of the cells that are remembered, of all plans on the same statistics; 8 MiB in float64."""
FEWEST = 8
"""Cells that are remembered however large they are: steps come in order."""


@dataclass(frozen=True, eq=False)
class Cell:
    """low, high: its ends.  scale, B: e^(L + S) and B at `low`, (components,).  weight, forced: Chebyshev
    coefficients of e^(L - L_low + S - S_low) and of that times B - B_low, (DEGREE + 1, components).
    """

    low: float
    high: float
    scale: np.ndarray
    B: np.ndarray
    weight: np.ndarray
    forced: np.ndarray


@cache
def _transform() -> np.ndarray:
    """From values at the `chebyshev_nodes` of a cell to coefficients.  The cosines are those of angles up to
    pi/2: short steps show what larger ones miss.
    """
    n = DEGREE + 1
    quarters = np.outer(np.arange(n), 2 * np.arange(n)[::-1] + 1) % (4 * n)  # n of them are a right angle
    quarters = np.minimum(quarters, 4 * n - quarters)
    cosines = np.cos(np.minimum(quarters, 2 * n - quarters) * (np.pi / (2 * n)))
    made: np.ndarray = np.where(quarters > n, -cosines, cosines) * (2 / n)
    made[0] /= 2
    return made


def _values(u: np.ndarray) -> np.ndarray:
    """T_j(u) of each u in [-1, 1], j = 0 .. DEGREE."""
    values: np.ndarray = np.cos(np.outer(np.arccos(np.clip(u, -1, 1)), np.arange(DEGREE + 1)))
    return values


@dataclass(frozen=True, eq=False)
class Cells:
    """potentials, kinks, low, high: as in `smooth.Smooth`; components: how many the potentials have."""

    components: int
    potentials: Callable[[Value], Any]
    kinks: tuple[float, ...]
    low: float
    high: float
    _cell: Callable[[float, float], Cell | None] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        kept = max(FEWEST, KEPT // (2 * (DEGREE + 1) * self.components))
        object.__setattr__(self, "_cell", lru_cache(maxsize=kept)(self._made))

    def moments(self, lam_0: float, lam_1: float, count: int, first: Any, last: Any) -> np.ndarray:
        """As `Statistics.moments`; first, last: the potentials at the ends.

        Raises ArithmeticError where no series represents the potentials.
        """
        h, sign = lam_1 - lam_0, 1 if lam_1 > lam_0 else -1
        low, high = min(lam_0, lam_1), max(lam_0, lam_1)
        nodes, weights = legendre((DEGREE + count) // 2 + 1)  # exact for a series times a power
        total: np.ndarray | None = None
        decay, damping, B = last.decay.ravel(), first.damping.ravel(), first.B.ravel()
        for cell, a, b in self._parts(low, high):
            inside = (b - a) * nodes
            lam, offset = a + inside, (a - lam_0) + inside
            powers = (offset / h) ** np.arange(count)[:, None]
            powers /= [[math.factorial(k)] for k in range(count)]
            u = ((lam - cell.low) + (lam - cell.high)) / (cell.high - cell.low)
            of_series = (powers * weights) @ _values(u)
            of_series *= sign * (b - a)
            part = np.empty((count + 1, self.components))
            for row, moment in zip(part, of_series, strict=False):
                np.matmul(moment, cell.weight, out=row)  # one after another: BLAS is slower for few rows
            np.matmul(of_series[0], cell.forced, out=part[-1])
            part[-1] += (cell.B - B) * part[0]
            scale = cell.scale * decay  # e^(L - L_1 + S) at the cell's low end
            part[-1] *= scale
            scale *= damping
            part[:-1] *= scale
            total = part if total is None else total + part
        assert total is not None  # a step has a length
        return total.reshape(count + 1, *first.L.shape)

    def _parts(self, low: float, high: float) -> Iterator[tuple[Cell, float, float]]:
        """The cells between low and high, each with the ends of what it has of that interval."""
        inner = WIDTH * np.arange(math.floor(low / WIDTH) + 1, math.ceil(high / WIDTH))
        edges = sorted({low, high, *inner.tolist(), *(k for k in self.kinks if low < k < high)})
        for a, b in pairwise(edges):
            yield from self._within(*self._around((a + b) / 2), a, b)

    def _around(self, lam: float) -> tuple[float, float]:
        """The ends of the cell around a point that is no edge."""
        index, place = math.floor(lam / WIDTH), int(np.searchsorted(self.kinks, lam))
        low, high = max(self.low, index * WIDTH), min(self.high, (index + 1) * WIDTH)
        return max([low, *self.kinks[:place][-1:]]), min([high, *self.kinks[place : place + 1]])

    def _within(
        self, low: float, high: float, a: float, b: float, depth: int = 0
    ) -> Iterator[tuple[Cell, float, float]]:
        cell = self._cell(low, high)
        if cell is not None:
            yield cell, a, b
            return
        if depth == MAX_DEPTH:
            raise ArithmeticError(f"no series represents the statistics near lambda = {low:g}")
        middle = (low + high) / 2
        if a < middle:
            yield from self._within(low, middle, a, min(b, middle), depth + 1)
        if b > middle:
            yield from self._within(middle, high, max(a, middle), b, depth + 1)

    def _made(self, low: float, high: float) -> Cell | None:
        """The cell between two points, None where its series are too short."""
        ends = np.array([low, high])
        start = self.potentials(low)
        _, L, S, B = (
            np.moveaxis(np.asarray(v), -1, 0) for v in self.potentials(chebyshev_nodes(ends, DEGREE)[0])
        )
        weight = np.exp((L - start.L) + (S - start.S))
        series = [
            _transform() @ values.reshape(DEGREE + 1, -1) for values in (weight, weight * (B - start.B))
        ]
        size = abs(series[0]).max(axis=0)
        for coefficients, largest in zip(series, (size, size * (1 + abs(np.ravel(start.B)))), strict=True):
            if not np.all(abs(coefficients[-2:]).max(axis=0) <= TOLERANCE * largest):
                return None
        return Cell(low, high, np.ravel(start.growth / start.decay), np.ravel(start.B), *series)
