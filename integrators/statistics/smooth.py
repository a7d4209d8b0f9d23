"""Empirical model statistics l, s, b of DPM-Solver-v3: three functions of lambda, elementwise in the state.

They choose the linear part of the ODE and the quantity that is interpolated (`model_statistics.py`); they
change a solver's error, never its limit.  A solver needs their integrals,

    L = int l,   S = int s,   B = int e^-S b,

and, over a step, the moments of e^(L + S) and of e^(L + S) B.  `Smooth` has the functions, and integrates to
rounding; `table.Tabulated` has values on a grid, and integrates them as the release does.
Source: Zheng et al. 2023, arXiv:2310.13268, Sec. 3.1 and eqs 5-11.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..common import checks
from ..common.messages import shown
from ..common.remaking import Remade, remade
from ..diffusion.grids import Times
from ..diffusion.schedule import Schedule
from ..numerics.arithmetic import FLOAT64, Arithmetic, Value, nonzero, of
from ..numerics.quadrature import GaussLegendre
from ..numerics.series import Series, interpolate, together
from .cells import Cells

RULE = GaussLegendre(tolerance=1e-13)
"""L and S carry a rounding error of some units times their size: two rules do not agree to 1e-15."""
ON_CELLS = GaussLegendre(tolerance=1e-13, coarse=6, fine=8)
"""For many short panels."""


class _Values(NamedTuple):
    l: Value
    L: Value
    S: Value
    B: Value


class Potentials(_Values):
    """l and the integrals L, S, B at some lambda, up to constants that are the same at every lambda.

    decay, growth, damping: e^-L, e^S and e^-S.  Steps that meet there share them: of statistics with many
    components, an exponential costs as much as twenty products.
    """

    @cached_property
    def decay(self) -> Value:  # noqa: D102
        return of(self.L).exp(-self.L)

    @cached_property
    def growth(self) -> Value:  # noqa: D102
        return of(self.S).exp(self.S) if nonzero(self.S) else 1 + self.S

    @cached_property
    def damping(self) -> Value:  # noqa: D102
        return 1 / self.growth


class Statistics(Protocol):
    """What a solver asks of the statistics."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The trailing shape of the states they are for; () for any."""

    def at(self, lam: Value) -> Potentials:
        """The potentials at one lambda, each of `shape`.  Raises ValueError where they are not known."""

    def moments(self, lam_0: Value, lam_1: Value, count: int) -> Value:
        """The `count` moments int e^(L - L_1 + S - S_0) (lam - lam_0)^k / (h^k k!) dlam over a step of length
        h from lam_0 to lam_1, then int e^(L - L_1 + S) (B - B_0) dlam: shape (count + 1, *shape).
        """

    def place(self, schedule: Schedule, times: Times) -> Times:
        """The times at which a solver may stop, nearest to the given ones."""


@dataclass(frozen=True)
class Absent:
    """Statistics that were not given: a formula can be made without them, but no step computed."""

    shape: tuple[int, ...] = ()

    def at(self, lam: Value) -> Potentials:
        """Raises ValueError."""
        raise ValueError(
            "statistics must be given for a solver that takes them, those of the model that it samples: "
            "make(name, statistics=...) with what `estimation.estimate(model, ..)` finds, its `smooth`, "
            "or a closed form. Those of another law run as well, and can be several times worse"
        )

    def moments(self, lam_0: Value, lam_1: Value, count: int) -> Value:
        """Raises ValueError."""
        return self.at(lam_0)

    def place(self, schedule: Schedule, times: Times) -> Times:
        """Raises ValueError."""
        self.at(times[0])
        return times


ABSENT = Absent()


@dataclass(frozen=True, eq=False)
class Smooth(Remade):
    """Statistics that are functions of lambda, given by their potentials.

    potentials: lambda, a number or an array of k, in any arithmetic -> Potentials of `shape`, or (*shape, k).
    low, high: where they are known.  kinks: inner points where they are not smooth, increasing.  rule: of the
    quadrature.
    """

    shape: tuple[int, ...]
    potentials: Callable[[Value], Potentials]
    low: float = -math.inf
    high: float = math.inf
    kinks: tuple[float, ...] = ()
    rule: GaussLegendre = RULE

    def __getstate__(self) -> dict[str, Any]:
        """The fields: what is remembered stays in its process."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @cached_property
    def _lately(self) -> Callable[[Value], Potentials]:
        """The potentials, which remember the ends of a step."""
        return lru_cache(maxsize=4, typed=True)(self.potentials)

    @cached_property
    def _cells(self) -> Cells:
        return Cells(math.prod(self.shape), self.potentials, self.kinks, self.low, self.high)

    def at(self, lam: Value) -> Potentials:
        """The potentials at one lambda; raises ValueError outside [low, high]."""
        check_range(lam, self.low, self.high)
        return self._lately(lam)

    def moments(self, lam_0: Value, lam_1: Value, count: int) -> Value:
        """By adaptive Gauss-Legendre quadrature; in float64, of many components, by series that steps share;
        see the protocol.
        """
        xp, h = of(lam_0), lam_1 - lam_0
        first, last = self.at(lam_0), self.at(lam_1)
        if xp is FLOAT64 and self.shape:
            return self._cells.moments(lam_0, lam_1, count, first, last)
        L_1, S_0, B_0 = (np.asarray(v)[..., None] for v in (last.L, first.S, first.B))
        scale = xp.exp(S_0)

        def integrand(lam: Value) -> Value:
            _, L, S, B = self.potentials(lam)
            x = (lam - lam_0) / h
            rows = [xp.exp((L - L_1) + (S - S_0))]
            forced = rows[0] * (scale * (B - B_0))
            for k in range(1, count):
                rows.append(rows[-1] * x / k)
            return np.stack([*rows, forced])

        kinks = self._between(lam_0, lam_1) if self.kinks else []
        return self.rule.integrate(integrand, lam_0, lam_1, xp, kinks)

    def _between(self, lam_0: Value, lam_1: Value) -> list[Value]:
        """The kinks of a step, in its direction."""
        inside = [k for k in self.kinks if min(lam_0, lam_1) < k < max(lam_0, lam_1)]
        return [of(lam_0).number(k) for k in (inside if lam_1 > lam_0 else inside[::-1])]

    def place(self, schedule: Schedule, times: Times) -> Times:
        """The times as they are: any will do."""
        return times


def check_range(lam: Value, low: float, high: float) -> None:
    """Raise ValueError unless lambda lies between low and high, within rounding, and is finite."""
    slack = 1e-9 * (high - low) if math.isfinite(high - low) else 0.0
    if not abs(lam) < math.inf:
        raise ValueError(f"the statistics are not known at lambda = {float(lam):g}: end or start elsewhere")
    if not low - slack <= lam <= high + slack:
        raise ValueError(f"the statistics are known for lambda in [{low:g}, {high:g}], got {float(lam):g}")


def _arrays(**values: Any) -> list[np.ndarray]:
    """Copies of one common shape."""
    arrays = []
    for name, value in values.items():
        try:
            arrays.append(np.array(value, dtype=np.float64))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name} must be a number or an array of numbers, got {shown(value)}") from error
        if not np.all(np.isfinite(arrays[-1])):
            raise ValueError(f"{name} must be finite, got {shown(value)}")
    try:
        return [a.copy() for a in np.broadcast_arrays(*arrays)]
    except ValueError as error:
        shapes = ", ".join(str(a.shape) for a in arrays)
        raise ValueError(f"{', '.join(values)} must have shapes that broadcast, got {shapes}") from error


def _beside(array: np.ndarray, lam: Value, xp: Arithmetic) -> Value:
    """The array with an axis for lambda where lambda has one."""
    number = xp.number(array) if array.ndim else xp.number(float(array))
    return number[..., None] if array.ndim and np.ndim(lam) else number


def constant(l: Any = 0.0, s: Any = 0.0, b: Any = 0.0) -> Smooth:
    """l, s, b that do not depend on lambda; (1, 0, 0) interpolates the data prediction, (0, -1, 0) the noise
    prediction (Zheng et al. 2023, App. A.2).
    """
    return _constant(*_arrays(l=l, s=s, b=b))


@remade
def _constant(*arrays: np.ndarray) -> Smooth:
    flat = arrays[1] == 0
    safe = np.where(flat, 1.0, arrays[1])

    def potentials(lam: Value) -> Potentials:
        xp = of(lam)
        l_, s_, b_ = (_beside(a, lam, xp) for a in arrays)
        divisor, still = _beside(safe, lam, xp), flat[..., None] if flat.ndim and np.ndim(lam) else flat
        one = 1 + 0 * lam
        B = b_ * xp.where(still, lam * one, -xp.expm1(-s_ * lam) / divisor)
        return Potentials(l_ * one, l_ * lam, s_ * lam, B)

    return Smooth(flat.shape, potentials)


def gaussian(variance: Any = 1.0, mean: Any = 0.0) -> Smooth:
    """The statistics of independent Gaussian data, in closed form: with v = e^(-2 lambda),

        l = v/(variance + v),   s = 0,   b = -l' mean.

    For that law f = -l mean is deterministic, every step of every order is exact, and s, a regression of f'
    on f, is 0/0: 0 by convention.
    variance, mean: numbers, or arrays of the state's trailing shape.
    Raises ValueError for a variance that is not positive.
    """
    c, m = _arrays(variance=variance, mean=mean)
    if not np.all(c > 0):
        raise ValueError(f"variance must be positive, got {shown(variance)}")
    return _gaussian(c, m)


@remade
def _gaussian(c: np.ndarray, m: np.ndarray) -> Smooth:
    def potentials(lam: Value) -> Potentials:
        xp = of(lam)
        v, c_, m_ = xp.exp(-2 * lam), _beside(c, lam, xp), _beside(m, lam, xp)
        l = v / (total := c_ + v)
        return Potentials(l, -xp.log(total) / 2, 0 * l, -l * m_)

    return Smooth(c.shape, potentials)


@remade
def from_series(l: Series, s: Series, b: Series) -> Smooth:
    """Statistics whose values are series on the same knots (`series.interpolate` makes them from functions).

    L and S are integrated exactly, e^-S b by a series of twice the degree.  In multiprecision l is the exact
    derivative of the rounded L: the statistics are then slightly different ones, but consistent.
    Raises ValueError for series with different knots or shapes.
    """
    for name, other in (("s", s), ("b", b)):
        if (
            not np.array_equal(other.knots, l.knots)
            or other.coefficients.shape[1:] != l.coefficients.shape[1:]
        ):
            raise ValueError(f"{name} must have the knots and the shape of l")
    knots, L, S = l.knots, l.integral(), s.integral()
    degree = 2 * max(len(s.coefficients), len(b.coefficients)) + 4
    B = interpolate(lambda lam: np.exp(-S(lam)) * b(lam), knots, degree).trimmed().integral()

    values = together([(L, 1), (L, 0), (S, 0), (B, 0)])
    shape, kinks = l.coefficients.shape[2:], tuple(map(float, knots[1:-1]))
    rule = ON_CELLS if kinks else RULE
    return Smooth(shape, lambda lam: Potentials(*values(lam)), float(knots[0]), float(knots[-1]), kinks, rule)


def from_functions(
    l: Callable[[np.ndarray], np.ndarray],
    s: Callable[[np.ndarray], np.ndarray],
    b: Callable[[np.ndarray], np.ndarray],
    low: float,
    high: float,
    degree: int = 160,
) -> Smooth:
    """Statistics by Chebyshev interpolation of functions (k,) -> (*shape, k), smooth on [low, high].

    Raises ValueError for a range or a degree that cannot be.
    """
    knots = np.array([low, high], dtype=np.float64)
    if not (np.all(np.isfinite(knots)) and low < high):
        raise ValueError(f"low and high must be finite and increasing, got {shown(low)} and {shown(high)}")
    degree = checks.integer("degree", degree, 1)
    parts: Sequence[Series] = [interpolate(f, knots, degree) for f in (l, s, b)]
    return from_series(*parts)
