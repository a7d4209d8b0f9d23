"""The observed order of convergence, with a confidence interval and a verdict on a claimed one.

Slopes of log e against log h lie: coarse points are pre-asymptotic, fine ones reach rounding or the
reference's error, and a fit over all of them reports something between.  Here:

1.  A point is usable while its error exceeds a floor (rounding, reference); nothing finer than the first
    unusable point is used.  Errors that stop falling above their floors have reached one that nobody
    declared: only what is well above it is used, unless the floors are known to be all there are.
2.  Several laws by which an error may approach C h^p are fitted to windows of the finest points, and each
    answer is judged by its own past (`extrapolation.py`).  The surest is reported; its interval holds the
    residual's part, a bootstrap over the batch of initial values, and the movement that may be left.
3.  The verdict is "consistent", "lower", "higher" or "inconclusive".  The claim must lie in an interval that
    is narrow to be consistent, and outside of all that the ladder leaves possible (`Reach`) to be refuted.
    Orders are integers, or 1/2 and 3/2 along the paths of an SDE: a claim is not refuted by a slope between
    it and the next of them.  Slopes that move ever faster decide nothing.
4.  A verdict that is inconclusive says why, and how many steps would decide.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from semilinear.integrators.common import checks
from semilinear.integrators.common.messages import shown

from .extrapolation import RESOLUTION, STANDARD_ERRORS, Extrapolation, Reach, extrapolations, reach

Verdict = Literal["consistent", "lower", "higher", "inconclusive"]
Statistic = Literal["rms", "median", "max"]

STATISTICS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "rms": lambda e: np.sqrt(np.mean(e * e, axis=-1)),
    "median": lambda e: np.median(e, axis=-1),
    "max": lambda e: np.max(e, axis=-1),
}
"""Ways to sum up the errors of a batch (the last axis)."""

POINTS = 4
"""Least number of usable points."""
MAX_HALF_WIDTH = 0.15
NARROW = 0.03
"""Half-width of an interval that more runs are not needed for, where a proof says the same."""
ENOUGH_FROM = 64
"""Steps of a run before which a ladder is not ended: four octaves from 4 on."""
HALF_AN_ORDER = 0.5
"""Of half-width: an interval longer than an order does not pass a claim below it."""
KNEE = 2
"""Octaves after which slopes that move ever faster are expected to settle."""
HALVES = (0.5, 1.5)
"""Orders that are not integers: those of paths of stochastic methods."""
QUARTER = 0.25
"""A slope that is nearer to the claim does not refute it."""
WHOLE = 0.75
"""From this distance a slope refutes a claim even where it is no order that a method has."""
AGREEING = 2.0
"""How much wider than the best law's interval another's may be for the reported one to hold its order."""
STALLED = 0.1
"""Errors that fall with a lesser part of the steepest slope, or a lesser slope, have stopped."""
NEAR = 0.1
"""So near to the claim an order agrees with it, where no other is in reach."""
LEAVING, MOVING = RESOLUTION, 0.02
"""Slopes that move ever faster do not confirm a claim that they leave by more than the first in their last
octave, and none at all where they move by more than the second.
"""
FLOORS = 30.0
"""A floor is so many times what rounding, or the reference, is expected to make of an error."""
BENT = 0.005
"""What a floor may make of an error that counts for the movement of the slopes."""
GROWN = 10.0
"""Errors so many times the first, which no floor stops, are those of runs that more steps make worse."""
ABOVE = 100.0
"""Times an undeclared floor: errors that are less are not used."""
REPLICATES = 400
RICHARDSON_TOLERANCE = 0.25
MODEL = 0.02
"""Standard deviation of log e that a fit of noisy errors does not explain."""
NOISY = 5
"""Points that a fit of noisy errors needs."""


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

    window: the n that were fitted.  reach: what the ladder leaves possible (absent: the interval).
    known_floors: whether nothing but the declared floors can stop the errors.  note: what was seen besides,
    such as a floor that nobody declared.
    """

    order: float
    low: float
    high: float
    window: tuple[int, ...]
    points: tuple[Point, ...]
    reason: str = ""
    reach: Reach | None = None
    known_floors: bool = True
    note: str = ""

    @property
    def half_width(self) -> float:
        """Half the length of the interval."""
        return (self.high - self.low) / 2

    @property
    def slopes(self) -> tuple[float, ...]:
        """-d log e/d log n between neighbouring usable points."""
        used = [p for p in self.points if p.usable]
        return tuple(_slope(a, b) for a, b in itertools.pairwise(used))

    def verdict(self, claimed: float, max_half_width: float = MAX_HALF_WIDTH) -> Verdict:
        """How the observed order stands to a claimed one.  Raises ValueError unless that is finite."""
        checks.number("claimed", claimed)
        if self._open(claimed, max_half_width):
            return "inconclusive"
        if self._gap(claimed) <= 0:
            return "consistent"
        return "lower" if self.high < claimed else "higher"

    def shows(self, order: float, max_half_width: float = NARROW) -> bool:
        """Whether an interval this narrow holds an order, and the errors leave no other possible."""
        r = self.reach
        alone = r is not None and r.settled and order - 0.5 < r.low and r.high < order + 0.5
        return (
            alone and self.low <= order <= self.high and self.verdict(order, max_half_width) == "consistent"
        )

    def _gap(self, claimed: float) -> float:
        """By how much a claim misses the interval; nothing where it is near, and the one order possible."""
        r = self.reach
        if r is not None and abs(self.order - claimed) <= NEAR:
            alone = claimed - 0.5 < r.low <= claimed <= r.high < claimed + 0.5
            if alone if r.settled else not self._running(claimed):
                return 0.0
        return max(claimed - self.high, self.low - claimed)

    def doubt(self, claimed: float, max_half_width: float = MAX_HALF_WIDTH) -> str:
        """Why the verdict on a claimed order is inconclusive, and what would decide it; empty where it is
        not.
        """
        why = self._open(claimed, max_half_width)
        return f"{why}; {self._remedy(claimed, max_half_width)}" if why else ""

    def _open(self, claimed: float, max_half_width: float) -> str:
        """Why the question is open; empty where it is not."""
        if not math.isfinite(self.order):
            return self.reason or "no order was fitted"
        wide = f"the interval is wide: half-width {self.half_width:.2f}"
        moving = self.reach is not None and not self.reach.settled and self._running(claimed)
        if self._gap(claimed) <= 0:
            if self.half_width > max_half_width:
                return f"{wide}, {max_half_width:g} is allowed"
            return f"the slopes move ever faster, the last by {self._moved:+.3f}" if moving else ""
        if self._at_a_floor:
            return "the errors hardly fall, as they do at a floor (of rounding, or of the reference)"
        if self.low > claimed and self.half_width > HALF_AN_ORDER:
            return f"{wide}, {HALF_AN_ORDER:g} is allowed"
        if self.reach is not None and self.reach.low <= claimed <= self.reach.high:
            return f"the slopes may still move to {claimed:g}, the last by {self._moved:+.3f}"
        distance = abs(claimed - self.order)
        if distance < QUARTER or (distance < WHOLE and not self._near_an_order):
            return f"an order of {self.order:.2f} is none that a method has, and near {claimed:g}"
        return ""

    def _running(self, claimed: float) -> bool:
        """Whether slopes that move ever faster are too fast to confirm a claim."""
        away = self._moved * (self.slopes[-1] - claimed) > 0
        return abs(self._moved) > (LEAVING if away else MOVING)

    @property
    def _at_a_floor(self) -> bool:
        return not self.known_floors and min(self.order, *self.slopes[-1:], math.inf) < QUARTER

    @property
    def _moved(self) -> float:
        return 0.0 if self.reach is None else self.reach.moved

    @property
    def _near_an_order(self) -> bool:
        return any(self.low - 0.01 <= order <= self.high + 0.01 for order in (*HALVES, round(self.order)))

    def _remedy(self, claimed: float, max_half_width: float) -> str:
        """What would decide an open question."""
        needed = self.steps_needed(claimed, max_half_width)
        if needed is None:
            return "more digits, or a better reference, would tell: errors meet their floor first"
        return f"runs with up to about {needed} steps would tell"

    def steps_needed(self, claimed: float, max_half_width: float = MAX_HALF_WIDTH) -> int | None:
        """The finest run with which a verdict on the claim is to be expected, at the rate at which the slopes
        settle; None where errors would meet their floor before.
        """
        used = [p for p in self.points if p.usable and p.error > 0]
        if not used:
            return 4 * self.points[-1].n if self.points and not math.isfinite(self.points[-1].error) else None
        last, known = used[-1], math.isfinite(self.order)
        ended = self.points[-1].n > last.n and math.isfinite(self.points[-1].error)
        if ended or (known and self._at_a_floor):
            return None
        width, octaves, rate = self.half_width if known else 1.0, 0, 0.5
        if self.reach is not None:
            rate = min(max(self.reach.rate, 0.5), 0.75)
            far = max(self.order - self.reach.low, self.reach.high - self.order)
            if self.reach.settled and math.isfinite(far):
                if self._gap(claimed) > 0:  # the reach is to leave the claim outside
                    width = max(width, max_half_width * far / abs(claimed - self.order))
            else:
                width, octaves, rate = max(width, 1.0), KNEE, 0.5
        octaves += max(1, math.ceil(math.log(max(width / max_half_width, 1.0)) / -math.log(rate)))
        slope = max(self.order if known else self.slopes[-1] if self.slopes else 1.0, 0.0)
        if last.error * 2.0 ** (-slope * octaves) < last.floor:
            return None
        return int(last.n) << octaves


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
    n: Sequence[int],
    errors: Any,
    floors: Any = None,
    *,
    statistic: Statistic = "rms",
    seed: int = 0,
    known_floors: bool = False,
) -> OrderEstimate:
    """The observed order from runs with n steps.

    n: increasing step counts, about sqrt 2 apart.  errors: (len(n), batch) error norms of every sample; a
    batch of one is allowed, its bootstrap part is zero.  floors: the smallest meaningful error of each run;
    none where absent.  statistic: how a batch's errors are summed up.  known_floors: the floors are measured
    and the reference is exact, so that errors which stop falling above them do not converge to the solution;
    without it they are taken to have met a floor.
    Raises ValueError for shapes that do not fit, an n that does not increase, or negative errors.
    """
    n = checks.sequence("n", n)
    if not all(isinstance(k, int | np.integer) and checks.is_number(k) for k in n):
        raise ValueError(f"n must be increasing positive integers, got {shown(n)}")
    floors = [0.0] * len(n) if floors is None else checks.sequence("floors", floors)
    checks.flag("known_floors", known_floors)
    e = _checked(n, errors, floors)
    checks.one_of("statistic", statistic, STATISTICS)
    with np.errstate(over="ignore"):  # what overflows is no error to fit
        summed = STATISTICS[statistic](e)
    points = usable_points(n, summed, floors)
    note = ""
    if not known_floors:
        points, note = _above_a_floor(points)
    rows = [i for i, p in enumerate(points) if p.usable]
    if len(rows) < POINTS:
        why = f"{note}: {_too_few(rows)}" if note else _too_few(rows)
        return OrderEstimate(math.nan, math.nan, math.nan, (), points, why, None, known_floors, note)

    samples = np.random.default_rng(seed).integers(
        e.shape[1], size=(REPLICATES if e.shape[1] > 1 else 1, e.shape[1])
    )
    resampled = STATISTICS[statistic](e[rows][:, samples])  # (points, replicates)
    used = [points[i].n for i in rows]
    logs = np.log(np.maximum(np.column_stack([summed[rows], resampled]), 1e-300))
    unsure = np.array([points[i].floor / (FLOORS * points[i].error) for i in rows])
    answers = extrapolations(used, logs, unsure)
    if not answers:
        why = f"{len(rows)} usable points lie within one octave of n, more are needed"
        return OrderEstimate(math.nan, math.nan, math.nan, (), points, why, None, known_floors, note)
    best = answers[0]
    slopes = [_slope(points[a], points[b]) for a, b in itertools.pairwise(rows)]
    if known_floors and best.half_width > MAX_HALF_WIDTH and summed[rows[-1]] > GROWN * summed[rows[0]]:
        whole = _slope(points[rows[0]], points[rows[-1]])  # more steps make it worse, by no power of h
        return OrderEstimate(whole, min(slopes), max(slopes), tuple(used), points)
    agreeing = [a.order for a in answers if a.half_width <= AGREEING * best.half_width]
    half = max(best.half_width, *(abs(order - best.order) for order in agreeing))
    return OrderEstimate(
        best.order,
        best.order - half,
        best.order + half,
        tuple(used[-best.width :]),
        points,
        "",
        _reach(used, logs[:, 0], unsure, answers, known_floors),
        known_floors,
        note,
    )


def _reach(
    n: Sequence[int],
    log_error: np.ndarray,
    unsure: np.ndarray,
    answers: Sequence[Extrapolation],
    known_floors: bool,
) -> Reach:
    """From the points that no floor bends, where these are enough."""
    straight = int(np.sum(np.cumsum(unsure > BENT) == 0))
    kept = straight if straight > POINTS else len(n)
    return reach(n[:kept], log_error[:kept], answers, known_floors)


def _above_a_floor(points: tuple[Point, ...]) -> tuple[tuple[Point, ...], str]:
    """The points without those near a floor that nobody declared, and what was seen of one.

    There is one where the errors of the last runs stopped falling: its level is the largest error from there
    on.
    """
    used = [p for p in points if p.usable]
    slopes = [_slope(a, b) for a, b in itertools.pairwise(used)]
    least = STALLED * max(1.0, *slopes, 0.0)
    stalls = [i for i, slope in enumerate(slopes) if slope <= least]
    if not stalls:
        return points, ""
    last = stalls[-1]
    if used[-1].n > 2.8 * used[last + 1].n and used[-1].error < used[last + 1].error / 4:
        return points, ""  # they fell again
    level = max(p.error for p in used[last:])
    kept = next((i for i, p in enumerate(used) if p.error <= ABOVE * level), len(used))
    finest = {p.n for p in used[:kept]}
    where = next(p for p in used if p.error <= level)
    note = f"errors stop falling at n = {where.n}, near {level:.1e}, above their floor {where.floor:.0e}"
    return tuple(replace(p, usable=p.usable and p.n in finest) for p in points), note


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
    model = max(abs(order - _weighted_fit(h[k:], logs[k:])[0]) for k in (1, 2) if len(h) - k >= POINTS)
    error = STANDARD_ERRORS * math.hypot(spread, model, RESOLUTION)
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
    try:
        e = np.asarray(errors, dtype=float)
        if any(isinstance(v, (bool, np.bool_)) for v in np.asarray(errors, dtype=object).flat):
            raise TypeError("a flag is no error")
    except (TypeError, ValueError) as error:
        raise TypeError(f"errors must be numbers, got {shown(errors)}") from error
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


def _too_few(usable: Sequence[Any], needed: int = POINTS) -> str:
    return f"{len(usable)} usable {'point' if len(usable) == 1 else 'points'}, {needed} are needed"


def extrapolate_order(
    n: Sequence[int], errors: Any, floors: Any, *, known_floors: bool = False
) -> OrderEstimate:
    """The observed order from errors without noise: of the RMS over a batch of cases that are all there are.

    n, errors, floors, known_floors: as in `estimate_order`.  Raises ValueError as it does.
    """
    summed = STATISTICS["rms"](_checked(n, errors, floors))
    return estimate_order(n, summed, floors, known_floors=known_floors)


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
