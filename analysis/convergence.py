"""The observed order of convergence, with a confidence interval.

Slopes of log e against log h lie: coarse points are pre-asymptotic, fine ones reach rounding or the
reference's error, and a fit over all of them reports something between.  Here (NUMERICS.md 5):

1.  A point is usable while its error exceeds a floor (rounding, reference); nothing finer than the first
    unusable point is used.
2.  On each window of the 4 to 8 finest usable points, least squares for  log e = a + p log h + d h,  where
    d absorbs the leading correction 1 + d h of the error expansion.
3.  The variance of p is the residual's part, plus a bootstrap over the batch of initial values, plus a model
    part: the largest of half the distance to the plain slope of the three finest points, the distance to a
    fit with a further term in h^2, and the distance to the finest window's p.  The window with the least
    total is reported, p +- 1.96 standard errors.
4.  The verdict on a claim is "consistent", "lower", "higher" or "inconclusive".  Too few points are
    inconclusive, and so is too wide an interval around or above the claim: never a pass.  A claim
    outside the interval by less than its half-width, towards which the plain slopes still move, is not
    refuted: inconclusive too.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy.special

Verdict = Literal["consistent", "lower", "higher", "inconclusive"]
Statistic = Literal["rms", "median", "max"]

STATISTICS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "rms": lambda e: np.sqrt(np.mean(e * e, axis=-1)),
    "median": lambda e: np.median(e, axis=-1),
    "max": lambda e: np.max(e, axis=-1),
}
"""Ways to sum up the errors of a batch (the last axis)."""

WINDOWS = range(4, 9)
MAX_HALF_WIDTH = 0.15
HALF_AN_ORDER = 0.5
"""Of half-width: an interval longer than an order does not pass a claim below it."""
REPLICATES = 400
RICHARDSON_TOLERANCE = 0.25
TRIM = 0.25
"""Share of the finest window's own uncertainty by which another window may differ from it for nothing."""
MODEL = 0.02
"""Standard deviation of log e that a fit of noisy errors does not explain."""
NOISY = 5
"""Points that a fit of noisy errors needs."""
EXTRAPOLATION = 8
"""Points that an extrapolation uses at most."""
SAFETY = 4
"""Of an extrapolation's interval, in units of its latest changes."""
RESOLUTION = 0.0025
"""No standard error is smaller: what the three-term model leaves out does not vanish with the residual."""


@dataclass(frozen=True)
class Point:
    """One run: n steps (or evaluations), the error over the batch, the floor below which it means nothing."""

    n: int
    error: float
    floor: float
    usable: bool


@dataclass(frozen=True)
class OrderEstimate:
    """The observed order with a 95% interval [low, high], or NaN with the reason when there is none.

    window: the n that were fitted.  slopes: the plain slope between neighbouring usable points, for the
    reader.
    """

    order: float
    low: float
    high: float
    window: tuple[int, ...]
    points: tuple[Point, ...]
    reason: str = ""

    @property
    def half_width(self) -> float:
        """Half the length of the interval."""
        return (self.high - self.low) / 2

    @property
    def slopes(self) -> tuple[float, ...]:
        """-d log e/d log n between neighbouring usable points."""
        used = [p for p in self.points if p.usable]
        return tuple(_slope(a, b) for a, b in itertools.pairwise(used))

    @property
    def drift(self) -> float:
        """How the plain slope from the third finest usable point to the finest differs from that from the
        fifth to the third; 0 where there are too few.
        """
        used = [p for p in self.points if p.usable][-5:]
        return _slope(used[2], used[4]) - _slope(used[0], used[2]) if len(used) == 5 else 0.0

    def verdict(self, claimed: float, max_half_width: float = MAX_HALF_WIDTH) -> Verdict:
        """How the observed order stands to a claimed one.  Raises ValueError unless that is finite."""
        if not math.isfinite(claimed):
            raise ValueError(f"claimed must be a finite number, got {claimed!r}")
        if self.doubt(claimed, max_half_width):
            return "inconclusive"
        if self.high < claimed:
            return "lower"
        return "higher" if self.low > claimed else "consistent"

    def doubt(self, claimed: float, max_half_width: float = MAX_HALF_WIDTH) -> str:
        """Why the verdict on a claimed order is inconclusive; empty where it is not."""
        if not math.isfinite(self.order):
            return self.reason or "no order was fitted"
        gap = max(claimed - self.high, self.low - claimed)
        if 0 < gap < self.half_width and self.drift * (claimed - self.order) > 0:
            return f"the slopes still move towards {claimed:g}, the last by {self.drift:+.2f}"
        allowed = max_half_width if gap <= 0 else HALF_AN_ORDER if self.low > claimed else math.inf
        if self.half_width > allowed:
            return f"the interval is wide: half-width {self.half_width:.2f}, {allowed:g} is allowed"
        return ""


def _slope(a: Point, b: Point) -> float:
    """-d log e/d log n between two runs."""
    return math.log(a.error / b.error) / math.log(b.n / a.n)


def usable_points(n: Sequence[int], errors: np.ndarray, floors: Sequence[float]) -> tuple[Point, ...]:
    """Errors with their fitness for a fit: finite, above the floor, and not finer than a point that was
    neither.

    n: increasing.  errors: (len(n),), one per run.  Coarse runs that diverge are skipped: only what follows
    the first finite error can end the range.
    """
    points, alive, started = [], True, False
    for count, error, floor in zip(n, errors, floors, strict=True):
        finite = bool(np.isfinite(error))
        started |= finite
        alive &= (finite and error > floor) or not started
        points.append(Point(int(count), float(error), float(floor), bool(alive and finite)))
    return tuple(points)


def estimate_order(
    n: Sequence[int], errors: Any, floors: Any, *, statistic: Statistic = "rms", seed: int = 0
) -> OrderEstimate:
    """The observed order from runs with n steps.

    n: increasing step counts, about sqrt 2 apart.  errors: (len(n), batch) error norms of every sample; a
    batch of one is allowed, its bootstrap part is zero.  floors: the smallest meaningful error of each run.
    statistic: how a batch's errors are summed up. Raises ValueError for shapes that do not fit, an n that
    does not increase, or negative errors.
    """
    e = _checked(n, errors, floors)
    if statistic not in STATISTICS:
        raise ValueError(f"statistic must be one of {', '.join(STATISTICS)}, got {statistic!r}")
    summed = STATISTICS[statistic](e)
    points = usable_points(n, summed, floors)
    rows = [i for i, p in enumerate(points) if p.usable]
    if len(rows) < WINDOWS[0]:
        return OrderEstimate(math.nan, math.nan, math.nan, (), points, _too_few(rows))

    samples = np.random.default_rng(seed).integers(e.shape[1], size=(REPLICATES, e.shape[1]))
    resampled = STATISTICS[statistic](e[rows][:, samples])  # (points, replicates)
    h = 1.0 / np.array([points[i].n for i in rows])
    fits: dict[int, tuple[float, float]] = {}
    for width in WINDOWS:
        if width <= len(rows):
            p, error = _fit(h[-width:], summed[rows[-width:]], resampled[-width:])
            finest, known_to = fits[WINDOWS[0]] if fits else (p, 0.0)
            fits[width] = p, math.hypot(error, max(0.0, abs(p - finest) - TRIM * known_to))
    width, (order, error) = min(fits.items(), key=lambda item: item[1][1])
    window = tuple(points[i].n for i in rows[-width:])
    return OrderEstimate(order, order - 1.96 * error, order + 1.96 * error, window, points)


def estimate_noisy_order(n: Sequence[int], errors: Any, replicates: Any, floors: Any) -> OrderEstimate:
    """The observed order from errors that are means over random samples, with replicates of those means.

    Least squares for  log e = a + p log h + d h  on all usable points, weighted by the replicates' spread of
    log e (and `MODEL`, what the model itself leaves out).  The variance of p is that over the replicates,
    which are fitted in the same way; plus the residual's, where it exceeds what the weights expect; plus a
    model part: the larger distance to the p of a fit with one or two coarse points less.  p +- 1.96 standard
    errors.  There is no choice of a window: the one of the least error would be chosen by its noise.

    n: increasing.  errors: (len(n),).  replicates: (len(n), k), of bootstrap samples.  floors: the smallest
    meaningful error of each run.  Raises ValueError as `estimate_order` does.
    """
    e, r = _checked(n, errors, floors)[:, 0], _checked(n, replicates, floors)
    points = usable_points(n, e, floors)
    rows = [i for i, p in enumerate(points) if p.usable]
    if len(rows) < NOISY:
        return OrderEstimate(math.nan, math.nan, math.nan, (), points, _too_few(rows, NOISY))
    h = n[rows[-1]] / np.array([float(n[i]) for i in rows])
    logs = np.log(np.maximum(np.column_stack([e[rows], r[rows]]), 1e-300))
    order, spread = _weighted_fit(h, logs)
    model = max(abs(order - _weighted_fit(h[k:], logs[k:])[0]) for k in (1, 2) if len(h) - k >= WINDOWS[0])
    error = 1.96 * math.hypot(spread, model, RESOLUTION)
    return OrderEstimate(order, order - error, order + error, tuple(points[i].n for i in rows), points)


def _weighted_fit(h: np.ndarray, logs: np.ndarray) -> tuple[float, float]:
    """p and its standard error, without the model part; logs: (points, 1 + replicates), the measured errors
    first.
    """
    weight = 1 / np.sqrt(logs[:, 1:].var(axis=1) + MODEL**2)
    design = np.stack([np.ones_like(h), np.log(h), h / h.max()], axis=1) * weight[:, None]
    solve = np.linalg.pinv(design)
    solutions = solve @ (logs * weight[:, None])
    residual = logs[:, 0] * weight - design @ solutions[:, 0]
    excess = max(0.0, float(residual @ residual) / (len(h) - design.shape[1]) - 1)
    scatter = excess * float((solve @ solve.T)[1, 1])
    return float(solutions[1, 0]), math.sqrt(float(solutions[1, 1:].var()) + scatter)


def _checked(n: Sequence[int], errors: Any, floors: Any) -> np.ndarray:
    """The errors as (len(n), batch)."""
    e = np.asarray(errors, dtype=float)
    if e.ndim == 1:
        e = e[:, None]
    if e.ndim != 2 or e.shape[0] != len(n) or len(floors) != len(n) or e.shape[1] == 0:
        raise ValueError(
            f"errors must have shape ({len(n)}, batch) and floors length {len(n)}, "
            f"got {e.shape} and {len(floors)}"
        )
    if any(b <= a for a, b in itertools.pairwise(n)) or (len(n) and n[0] < 1):
        raise ValueError(f"n must be increasing positive integers, got {list(n)}")
    if np.any(e < 0):
        raise ValueError("errors must be non-negative")
    return e


def _too_few(usable: Sequence[Any], needed: int = WINDOWS[0]) -> str:
    return f"{len(usable)} usable {'point' if len(usable) == 1 else 'points'}, {needed} are needed"


def _fit(h: np.ndarray, errors: np.ndarray, resampled: np.ndarray) -> tuple[float, float]:
    """p and its standard error on one window: errors (points,), resampled (points, replicates)."""
    design = np.stack([np.ones_like(h), np.log(h), h / h.max()], axis=1)
    solve = np.linalg.pinv(design)
    log_error = np.log(errors)
    solution = solve @ log_error
    residual = log_error - design @ solution
    freedom = len(h) - design.shape[1]
    # Student's quantile against 1.96: one or two degrees of freedom say little about the residual's size.
    student = scipy.special.stdtrit(freedom, 0.975) / 1.96
    scatter = student * math.sqrt(float(residual @ residual) / freedom * float((solve @ solve.T)[1, 1]))
    spread = float(np.std(solve[1] @ np.log(np.maximum(resampled, 1e-300))))
    last = np.polyfit(np.log(h[-3:]), log_error[-3:], 1)[0]
    model = 0.5 * abs(float(solution[1]) - float(last))
    if freedom > 1:
        quadratic = np.linalg.pinv(np.column_stack([design, design[:, 2] ** 2])) @ log_error
        model = max(model, abs(float(quadratic[1] - solution[1])))
    return float(solution[1]), math.sqrt(scatter**2 + spread**2 + model**2 + RESOLUTION**2)


def extrapolate_order(n: Sequence[int], errors: Any, floors: Any) -> OrderEstimate:
    """The observed order from errors without noise, by extrapolation to h = 0.

    An error with an expansion in powers of h has  log e = a + p log h + d_1 h + d_2 h^2 + ..; with k terms
    d_j it passes through the k + 2 finest usable points, which gives p_k.  Of p_2, p_3, .. the one is
    reported whose last two changes |p_k - p_{k-1}| and |p_{k-1} - p_{k-2}| are least, p_k +- SAFETY times the
    larger.
    Rounding and sampling noise are amplified by every further term, which shows in the changes.

    n, errors, floors: as in `estimate_order`, errors summed up as their RMS.  Raises ValueError as it does.
    """
    e = _checked(n, errors, floors)
    points = usable_points(n, STATISTICS["rms"](e), floors)
    used = [p for p in points if p.usable]
    if len(used) < WINDOWS[0]:
        return OrderEstimate(math.nan, math.nan, math.nan, (), points, _too_few(used))
    log_error = np.log([p.error for p in used])
    h = used[-1].n / np.array([float(p.n) for p in used])
    orders: list[float] = []
    for width in range(2, min(len(used), EXTRAPOLATION) + 1):
        x = h[-width:, None]
        design = np.hstack([np.ones_like(x), np.log(x), x ** np.arange(1, width - 1)])
        orders.append(float(np.linalg.solve(design, log_error[-width:])[1]))
    changes = np.abs(np.diff(orders))
    latest = np.maximum(changes[1:], changes[:-1])
    best = int(np.argmin(latest))
    order, error = orders[best + 2], SAFETY * float(latest[best]) + 1.96 * RESOLUTION
    return OrderEstimate(order, order - error, order + error, tuple(p.n for p in used[-best - 4 :]), points)


@dataclass(frozen=True)
class Richardson:
    """The slope of a triple n, 2n, 4n from the runs alone, beside the slope of the measured errors at n and
    2n.
    """

    n: int
    reference_free: float
    measured: float

    def supports(self, verdict: Verdict, claimed: float) -> bool:
        """Whether the runs alone allow a verdict.

        Where the two slopes differ, either the reference is not what the runs converge to or the order
        changes between n and 4n; then only a "lower" or "higher" stands that the reference-free slope shows
        by itself.
        """
        if abs(self.reference_free - self.measured) <= RICHARDSON_TOLERANCE:
            return True
        if verdict == "lower":
            return self.reference_free < claimed - RICHARDSON_TOLERANCE
        if verdict == "higher":
            return self.reference_free > claimed + RICHARDSON_TOLERANCE
        return False


def richardson(estimate: OrderEstimate, states: Mapping[int, Any]) -> Richardson | None:
    """The finest triple n, 2n, 4n of usable points:  log2(|x_n - x_2n|/|x_2n - x_4n|)  against
    log2(e_n/e_2n).

    states: final states by n, arrays of one shape.  None when no triple is usable.
    """
    errors = {p.n: p.error for p in estimate.points if p.usable}
    for n in sorted(errors, reverse=True):
        if 2 * n in errors and 4 * n in errors:
            coarse, fine = (
                float(np.linalg.norm((states[a] - states[2 * a]).astype(float).ravel())) for a in (n, 2 * n)
            )
            if coarse > 0 and fine > 0:
                return Richardson(n, math.log2(coarse / fine), math.log2(errors[n] / errors[2 * n]))
    return None
