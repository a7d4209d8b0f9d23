"""Where the slope of a ladder of errors is going: extrapolations to h = 0 that are judged by their own past.

A slope of log e against log h is not yet the order.  Each law below says how an error may approach C h^p,
and a fit of it to a window of neighbouring points gives a p.  No law is believed: the same fit on windows
that end at coarser points says what it would have said before, and how fast these answers settle bounds how
far the last one can still be from its limit (`Extrapolation.left`).  An answer that settles no faster than
h^0.4, or ever less, is not settled, and gets `UNSETTLED` times its last movement, which is enough down to the
sixth root of h.

`Reach` is wider than the best answer's interval: every order that some law still allows, or that the plain
slopes may still move to.  A claim is refuted only outside of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.special

Fit = tuple[np.ndarray, np.ndarray, np.ndarray]
"""p of every window, (windows,); of the first p's derivatives by the log errors, (points,), and the
residuals of the log errors, (points,).
"""

STANDARD_ERRORS = 1.96
"""That an interval of 95 % reaches to either side."""
RESOLUTION = 0.0025
"""No standard error is smaller: what a law leaves out does not vanish with the residual."""
OCTAVES = 3.3
"""Of h, over which the past of an answer is looked at."""
OCTAVE = 0.95
"""What counts as one, on a ladder of integers."""
SETTLING = 0.75
"""The least part by which an answer's movement must shrink from one octave to the next."""
UNSETTLED = 8.0
"""Last movements that an answer may still make which does not settle."""
FASTEST = 3.0
"""The power of h with which an answer may be taken to settle, by what it did two octaves ago."""
YOUNG = 3.6
"""The same for one whose past is less than two octaves."""
LEAP = 0.3
"""Part of an answer's distance from the plain slope that is not believed."""
LEADING = 0.1
"""The least share of the leading term in the finest error."""
OTHERS = 8.0
"""How much wider than the best law's interval another's may be for it to count."""
DOUBLED = 2.0
"""Intervals of every law that a refutation keeps from."""
CLOSE = 0.25
"""Half-width of an answer that is trusted on where slopes fall to that move ever faster."""
TURN = 0.002
"""A change of the slope's direction that is less is noise."""

LEAST_TURN = 0.02
"""An octave: a movement of the slopes that gains speed and is less does not yet show another term."""


@dataclass(frozen=True)
class Law:
    """A way in which errors approach C h^p, and the numbers of points that it is fitted to.

    fit: of windows of neighbouring runs, n and log errors (windows, points).
    """

    name: str
    fit: Callable[[np.ndarray, np.ndarray], Fit]
    parameters: int
    widths: tuple[int, ...]


def power(exponents: tuple[int, ...], widths: tuple[int, ...]) -> Law:
    """e = C h^p exp(d_1 h^k_1 + d_2 h^k_2 + ..): least squares in log e."""

    @lru_cache(maxsize=4096)
    def solver(n: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        h = n[-1] / np.array(n, dtype=float)
        scaled = h / h[0]
        design = np.stack([np.ones_like(h), np.log(h), *(scaled**k for k in exponents)], axis=1)
        return design, np.linalg.pinv(design)

    def fit(n: np.ndarray, log_errors: np.ndarray) -> Fit:
        solvers = [solver(tuple(row)) for row in n.tolist()]
        orders = np.array([solve[1] @ y for (_, solve), y in zip(solvers, log_errors, strict=True)])
        design, solve = solvers[0]
        return orders, solve[1], log_errors[0] - design @ (solve @ log_errors[0])

    shown = " + ".join(f"d{k} h^{k}" for k in exponents)
    return Law(f"C h^p exp({shown})" if shown else "C h^p", fit, 2 + len(exponents), widths)


def two_terms(exponent: int, inverse: bool, widths: tuple[int, ...]) -> Law:
    """e = A h^p + B h^(p+k), or with `inverse` 1/e = A h^-p + B h^(k-p): least squares of relative residuals.

    The second stands for a rational factor, the first for a term of higher order that is not small yet.
    """
    sign = -1.0 if inverse else 1.0

    @np.errstate(over="ignore", invalid="ignore", divide="ignore")
    def fit(n: np.ndarray, log_errors: np.ndarray) -> Fit:
        z = sign * (log_errors - log_errors[:, -1:])
        scaled = n[:, :1] / n.astype(float)
        x, extra, e = np.log(scaled), scaled**exponent, np.exp(z)
        p, step, rows = (z[:, -1] - z[:, 0]) / (x[:, -1] - x[:, 0]), 0.1, np.arange(len(n))
        for reach in (40, 12, 12, 12, 12):
            tried = p[:, None] + step * np.arange(-reach, reach + 1)
            first = np.exp(tried[:, :, None] * x[:, None]) / e[:, None]
            second = first * extra[:, None]
            aa, ab, bb = (_dot(u, v) for u, v in ((first, first), (first, second), (second, second)))
            a, b = first.sum(axis=2), second.sum(axis=2)
            det = aa * bb - ab * ab
            leading, other = (bb * a - ab * b) / det, (aa * b - ab * a) / det
            rest = leading[:, :, None] * first + other[:, :, None] * second - 1
            size = _dot(rest, rest)
            # A leading term that is next to nothing fits a pure power of the other term as well.
            size[~(leading * first[:, :, -1] > LEADING)] = np.inf
            best = np.argmin(size, axis=1)
            p, step = tried[rows, best], step / 10
        k = best[0]
        fitted = rest[0, k] + 1
        design = np.stack([first[0, k], second[0, k], x[0] * fitted], axis=1)
        if not np.all(np.isfinite(design)):  # errors that grow without bound follow no such law
            return np.full(len(n), np.nan), np.zeros(n.shape[1]), np.zeros(n.shape[1])
        solve = np.linalg.pinv(design)
        orders = np.where(np.isfinite(size[rows, best]), sign * p, np.nan)
        return orders, solve[2], -rest[0, k]

    name = f"1/(A h^-p + B h^({exponent}-p))" if inverse else f"A h^p + B h^(p+{exponent})"
    return Law(name, fit, 3, widths)


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.asarray(np.einsum("ijk,ijk->ij", a, b))


LAWS = (
    power((), (2, 3, 4, 5)),
    power((1,), (3, 4, 5, 6, 7, 8)),
    power((1, 2), (4, 5, 6, 7, 8)),
    power((2,), (3, 4, 5, 6)),
    two_terms(1, False, (3, 4, 5)),
    two_terms(2, False, (3, 4, 5)),
    two_terms(1, True, (3, 4, 5)),
)


@dataclass(frozen=True)
class Extrapolation:
    """One law's answer: p from its best window, and how far that may be off.

    statistical: 1.96 standard errors, from the residuals (with Student's t) and the spread of the batch.
    left: a bound on the movement that is left.  settled: whether that bound follows from the answer's past.
    """

    law: Law
    width: int
    order: float
    statistical: float
    left: float
    settled: bool

    @property
    def half_width(self) -> float:
        """Of the 95 % interval."""
        return math.hypot(self.statistical, self.left, STANDARD_ERRORS * RESOLUTION)


def extrapolations(n: Sequence[int], log_errors: np.ndarray, unsure: np.ndarray) -> list[Extrapolation]:
    """Every law's answer, the surest first.

    n: increasing.  log_errors: (points, 1 + replicates), the measured ones first.  unsure: (points,), what
    the floors may make of each log error.
    """
    finest = float(np.mean(_slopes(n, log_errors[:, 0])[-2:]))
    found = (
        min(_answers(law, n, log_errors, unsure, finest), key=lambda e: e.half_width, default=None)
        for law in LAWS
    )
    return sorted((e for e in found if e is not None), key=lambda e: e.half_width)


def _answers(
    law: Law, n: Sequence[int], logs: np.ndarray, unsure: np.ndarray, finest: float
) -> Iterator[Extrapolation]:
    counts = np.array(n)
    octaves = np.log2(counts[-1] / counts)
    for width in law.widths:
        ends = [end for end in range(len(n), width - 1, -1) if octaves[end - 1] <= OCTAVES]
        if not ends:
            continue
        windows = np.array([range(end - width, end) for end in ends])
        orders, derivative, residual = law.fit(counts[windows], logs[windows, 0])
        left, settled = _left(octaves[np.array(ends) - 1], orders)
        if not math.isfinite(left):
            continue
        order, rows = float(orders[0]), slice(len(n) - width, None)
        statistical = math.hypot(
            _statistical(derivative, residual, width - law.parameters, logs[rows, 1:]),
            float(np.linalg.norm(derivative * unsure[rows])),
        )
        yield Extrapolation(law, width, order, statistical, max(left, LEAP * abs(order - finest)), settled)


def _statistical(derivative: np.ndarray, residual: np.ndarray, freedom: int, replicates: np.ndarray) -> float:
    spread = float(np.std(derivative @ replicates)) if replicates.shape[1] > 1 else 0.0
    if freedom < 1:
        return STANDARD_ERRORS * spread
    # Student's quantile: one or two degrees of freedom say little about the residual's size.
    student = float(scipy.special.stdtrit(freedom, 0.975))
    scatter = student * math.sqrt(float(residual @ residual) / freedom * float(derivative @ derivative))
    return math.hypot(scatter, STANDARD_ERRORS * spread)


def _left(octaves: np.ndarray, orders: np.ndarray) -> tuple[float, bool]:
    """A bound on the movement that is left, and whether the answer settles; octaves back and answers, now
    first.

    An answer p + D h^r that moved by m over the last octave has m/(2^r - 1) left, and by m over the last two
    m/(4^r - 1); r is read off the octave before, and taken to be 1 at most for the last one's sake.
    """
    first, second = _at(octaves, OCTAVE), _at(octaves, 2 * OCTAVE)
    if first is None or not np.all(np.isfinite(orders)):
        return math.inf, False
    moved = np.abs(orders - orders[0])
    latest = float(moved[: first + 1].max())
    if second is None:
        return YOUNG * latest, True
    earlier = float(np.abs(orders[first : second + 1] - orders[first]).max())
    if latest <= RESOLUTION / 2 and earlier <= RESOLUTION:
        return 2 * max(latest, earlier), True
    if latest > SETTLING * earlier:
        return UNSETTLED * max(latest, earlier), False
    rate = math.log2(earlier / latest) if latest > 0 else FASTEST
    slow, fast = min(rate, 1.0), min(rate, FASTEST)
    return max(latest / (2**slow - 1), float(moved[: second + 1].max()) / (4**fast - 1)), True


def _at(octaves: np.ndarray, distance: float) -> int | None:
    """The first that lies so far back."""
    return next((i for i, back in enumerate(octaves) if back >= distance), None)


def _slopes(n: Sequence[int], log_error: np.ndarray) -> np.ndarray:
    return np.asarray(-np.diff(log_error) / np.diff(np.log(np.array(n, dtype=float))))


@dataclass(frozen=True)
class Reach:
    """All orders from low to high that the ladder leaves possible.

    moved: by how much the plain slope moved in its last octave or so.  rate: which part it is of
    that before; 1 or more where the slopes do not settle.  settled: False where they move ever faster.
    """

    low: float
    high: float
    moved: float
    rate: float
    settled: bool


def reach(
    n: Sequence[int], log_error: np.ndarray, answers: Sequence[Extrapolation], known_floors: bool
) -> Reach:
    """What the answers, and the movement of the plain slopes, leave possible.

    known_floors: slopes that fall ever faster fall towards a lower order, not to a floor.
    """
    width = max(OTHERS * answers[0].half_width, 0.1)
    heard = [a for a in answers if a.half_width <= width]
    low = min(a.order - DOUBLED * a.half_width for a in heard)
    high = max(a.order + DOUBLED * a.half_width for a in heard)
    slopes, middle = _slopes(n, log_error), _middles(n)
    direction, running = _faster(slopes, middle), float(slopes[-1] - slopes[-3:][0])
    if direction > 0:  # towards a zero of the error, or to the order itself: nothing is known
        return Reach(-math.inf, math.inf, running, 1.0, False)
    if direction < 0:
        sure = min(DOUBLED * answers[0].half_width, CLOSE)
        close = [a.order + DOUBLED * a.half_width for a in heard if a.half_width <= sure]
        high = max(close) if close and known_floors else max(high, slopes.max() + 0.25)
        return Reach(-math.inf, float(high), running, 1.0, False)
    turned = _turned(slopes, middle)
    low, high = (-math.inf if turned < 0 else low), (math.inf if turned > 0 else high)
    back = (middle[-1] - middle)[::-1]
    first, second = _at(back, OCTAVE), _at(back, 2 * OCTAVE)
    if first is None or second is None:
        return Reach(low, high, 0.0, 1.0, True)
    seen = slopes[::-1][: second + 1]
    last, moved, before = seen[0], seen[0] - seen[first], seen[first] - seen[second]
    steps = np.diff(seen)
    if not (np.all(steps > -TURN) or np.all(steps < TURN)):  # the slopes turned: they may go back
        wide = UNSETTLED / 2 * (seen.max() - seen.min())
        low, high = min(low, last - wide), max(high, last + wide)
    rate = abs(moved / before) if before else 1.0
    if moved * before > 0:
        left = UNSETTLED / 2 * moved * min(rate, 0.9) / (1 - min(rate, 0.9))
        low, high = min(low, last + left), max(high, last + left)
    return Reach(float(low), float(high), float(moved), float(rate), True)


def _middles(n: Sequence[int]) -> np.ndarray:
    x = np.log2(np.array(n, dtype=float))
    return np.asarray((x[1:] + x[:-1]) / 2)


def _faster(slopes: np.ndarray, middle: np.ndarray) -> int:
    """The sign of the slopes' movement where it keeps its direction and does not slow down; else 0.

    A movement of less than `TURN` an octave is not one.
    """
    if len(slopes) < 4:
        return 0
    speed = (np.diff(slopes) / np.diff(middle))[-4:]
    size = np.abs(speed)
    steady = bool(np.all(speed > 0) or np.all(speed < 0))
    half = len(size) // 2
    if (
        steady
        and size[-1] > TURN
        and size[half:].sum() * (half / (len(size) - half)) >= 0.98 * size[:half].sum()
    ):
        return int(np.sign(speed[-1]))
    return 0


def _turned(slopes: np.ndarray, middle: np.ndarray) -> int:
    """The sign of the slopes' movement where they have turned into it and gain speed; else 0: as they do
    where another part of the error begins to show.
    """
    if len(slopes) < 3:
        return 0
    before, last = (np.diff(slopes) / np.diff(middle))[-2:]
    return int(np.sign(last)) if before * last > 0 and abs(last) > max(abs(before), LEAST_TURN) else 0
