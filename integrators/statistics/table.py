"""Model statistics on a uniform grid in lambda: what is estimated, stored and released.

`Tabulated` integrates by the trapezoidal rule on its own nodes, as thu-ml/DPM-Solver-v3 does: a solver then
stops at nodes only, and its error has a floor of order M^-2 for M intervals.  `smooth` makes functions of the
same values, without either limit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from ..common import checks
from ..common.messages import shown
from ..diffusion.grids import Times
from ..diffusion.schedule import Schedule
from ..numerics.arithmetic import Arithmetic, Value, of
from ..numerics.arrays import fixed
from ..numerics.series import chebyshev_nodes, through
from .smooth import Potentials, Smooth, check_range, from_series

ON_NODE = 1e-6
"""A step's lambda, which went through its time, may miss its node by this part of the spacing."""


class Integrals(NamedTuple):
    """Cumulative trapezoidal integrals from the first node, each (M + 1, *shape): L = int l, S = int s,
    I = int e^(L + S), B = int e^-S b, C = int e^(L + S) B.
    """

    L: Value
    S: Value
    I: Value
    B: Value
    C: Value


@dataclass(frozen=True, eq=False)
class Tabulated:
    """l, s, b at M + 1 nodes uniform in lambda from `lam_start` to `lam_end`, each (M + 1, *shape), float64.

    Raises ValueError, naming the argument, for other shapes, values that are not finite or a range that does
    not increase.
    """

    lam_start: float
    lam_end: float
    l: np.ndarray
    s: np.ndarray
    b: np.ndarray
    _cache: dict[Arithmetic, tuple[Value, Value, Integrals]] = field(
        init=False, repr=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        ends = float(self.lam_start), float(self.lam_end)
        if not (all(map(math.isfinite, ends)) and ends[0] < ends[1]):
            raise ValueError(f"lam_start and lam_end must be finite and increasing, got {shown(ends)}")
        for name, value in zip(("lam_start", "lam_end"), ends, strict=True):
            object.__setattr__(self, name, value)
        for name in ("l", "s", "b"):
            array = np.asarray(getattr(self, name))
            if array.dtype.kind not in "fiu":
                raise ValueError(f"{name} must be an array of real numbers, got dtype {array.dtype}")
            array = fixed(array)
            if array.ndim == 0 or len(array) < 2:
                raise ValueError(f"{name} must have shape (M + 1, ...) with M >= 1, got {array.shape}")
            if array.shape != np.shape(self.l):
                raise ValueError(f"{name} must have the shape of l, {np.shape(self.l)}, got {array.shape}")
            if not np.all(np.isfinite(array)):
                raise ValueError(
                    f"{name} must be finite, got {np.sum(~np.isfinite(array))} values that are not"
                )
            object.__setattr__(self, name, array)

    @property
    def shape(self) -> tuple[int, ...]:
        """The trailing shape."""
        return self.l.shape[1:]

    @property
    def intervals(self) -> int:
        """M."""
        return len(self.l) - 1

    @cached_property
    def nodes(self) -> np.ndarray:
        """The nodes, (M + 1,)."""
        nodes = np.linspace(self.lam_start, self.lam_end, self.intervals + 1)
        nodes.flags.writeable = False
        return nodes

    def integrals(self, xp: Arithmetic) -> Integrals:
        """The cumulative integrals."""
        return self._in(xp)[2]

    def at(self, lam: Value) -> Potentials:
        """The potentials at a node; raises ValueError where lambda is not one."""
        i = self._node(lam)
        _, l, cumulative = self._in(of(lam))
        return Potentials(l[i], cumulative.L[i], cumulative.S[i], cumulative.B[i])

    def moments(self, lam_0: Value, lam_1: Value, count: int) -> Value:
        """By the trapezoidal rule on the nodes of the step: E^(0) and EB from the cumulative integrals.
        thu-ml/DPM-Solver-v3, multistep_predictor_update and compute_exponential_coefficients_high_order.
        """
        xp = of(lam_0)
        first, last = self._node(lam_0), self._node(lam_1)
        nodes, _, (L, S, I, B, C) = self._in(xp)
        rows = [xp.exp(-L[last] - S[first]) * (I[last] - I[first])]
        if count > 1:
            low, high = sorted((first, last))
            inside = slice(low, high + 1)
            weight = xp.exp((L[inside] - L[last]) + (S[inside] - S[first]))
            x = (nodes[inside] - nodes[first]) / (nodes[last] - nodes[first])
            x = x.reshape(-1, *(1,) * len(self.shape))
            sign = 1 if last > first else -1
            for k in range(1, count):
                y = weight * x**k * (sign / xp.number(math.factorial(k)))
                rows.append(_trapezoid(nodes[inside], y)[-1])
        forced = C[last] - C[first] - B[first] * (I[last] - I[first])
        return np.stack([*rows, xp.exp(-L[last]) * forced])

    def place(self, schedule: Schedule, times: Times) -> Times:
        """The times of the nearest nodes in lambda.

        Raises ValueError for times outside the grid, or when two have the same node: too many steps.
        """
        values = [schedule.formulas.lam(t) for t in times]
        for lam in values:
            check_range(lam, self.lam_start, self.lam_end)
        spacing = (self.lam_end - self.lam_start) / self.intervals
        indexes = [min(max(round((float(v) - self.lam_start) / spacing), 0), self.intervals) for v in values]
        repeated = next((i for i in range(len(indexes) - 1) if indexes[i] == indexes[i + 1]), None)
        if repeated is not None:
            raise ValueError(
                f"steps must be fewer, or the statistics finer: times[{repeated}] and times[{repeated + 1}] "
                f"both fall on node {indexes[repeated]} of {self.intervals}; or use their `smooth`"
            )
        return self.times(schedule, indexes, of(times[0]))

    def times(self, schedule: Schedule, indexes: Sequence[int], xp: Arithmetic) -> Times:
        """The times of some nodes."""
        return tuple(schedule.t_of_lam(self._in(xp)[0][i]) for i in indexes)

    def _node(self, lam: Value) -> int:
        check_range(lam, self.lam_start, self.lam_end)
        place = (float(lam) - self.lam_start) / (self.lam_end - self.lam_start) * self.intervals
        index = min(max(round(place), 0), self.intervals)
        if abs(place - index) > ON_NODE:
            raise ValueError(
                f"lambda = {float(lam):g} lies between the nodes {int(place)} and {int(place) + 1} of the "
                f"statistics' grid: give times that `place` returns, or use their `smooth`"
            )
        return index

    def _in(self, xp: Arithmetic) -> tuple[Value, Value, Integrals]:
        if xp not in self._cache:
            nodes, l, s, b = (xp.number(v) for v in (self.nodes, self.l, self.s, self.b))
            L, S = _trapezoid(nodes, l), _trapezoid(nodes, s)
            weight = xp.exp(L + S)
            B = _trapezoid(nodes, xp.exp(-S) * b)
            self._cache[xp] = (
                nodes,
                l,
                Integrals(L, S, _trapezoid(nodes, weight), B, _trapezoid(nodes, weight * B)),
            )
        return self._cache[xp]


def _trapezoid(nodes: Value, y: Value) -> Value:
    """Cumulative trapezoidal integrals along the first axis, from 0."""
    width = (nodes[1:] - nodes[:-1]).reshape(-1, *(1,) * (y.ndim - 1))
    return np.concatenate([0 * y[:1], np.cumsum(width * (y[1:] + y[:-1]) / 2, axis=0)])


def smooth(table: Tabulated, degree: int = 5) -> Smooth:
    """The splines of that odd degree through the values: statistics at every lambda, integrated to rounding.

    On a grid of fewer than degree + 1 nodes the degree is the largest odd one that it allows.
    Raises ValueError for a degree that is not 1, 3 or 5.
    """
    checks.one_of("degree", degree, (1, 3, 5))
    k = min(degree, table.intervals - (table.intervals + 1) % 2)
    cells = chebyshev_nodes(table.nodes, k)

    def series(values: np.ndarray) -> Any:
        import scipy.interpolate

        return through(table.nodes, scipy.interpolate.make_interp_spline(table.nodes, values, k)(cells))

    return from_series(series(table.l), series(table.s), series(table.b))
