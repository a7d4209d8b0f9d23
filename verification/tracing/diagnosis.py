"""What the weights of a traced step integrate, beside what phi-functions demand.

In a form (`integrators/forms`) a step from t_0 to t_1 is exact for N = s^k/k!, s = tau - tau_0, where

    sum_j b_j (tau_j - tau_0)^k/k! = weight h^k phi_(k+1),

the k-th moment of its weights over its nodes.  The quotient of both sides is 1 where the moment is right,
tends to 1 like a power of the step where it is right in the limit, and else to another number.  A method of
order p owes the moments below p; those of a row are as many as it has outputs, and beyond those up to the
first owed one that fails.  Rows of one formula are spoken of together only where their moments agree.
The prediction and the variable in which the most moments are right, over all steps, explain the sampler best.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Literal

import numpy as np
from semilinear.integrators.diffusion.schedule import Schedule
from semilinear.integrators.forms.form import (
    Form,
    FormOf,
    data_in_inverse_rho,
    data_in_lambda,
    noise_in_lambda,
    noise_in_rho,
    noise_in_time,
)
from semilinear.integrators.forms.reverse import of_square

from .local import Local, Steps, steps_of, suited
from .trace import Trace

FORMS: dict[str, tuple[FormOf, ...]] = {
    "x0": (data_in_lambda, data_in_inverse_rho),
    "eps": (noise_in_lambda, noise_in_rho, noise_in_time),
}
"""Of the probability flow, by prediction, the usual variable first."""

DRIFT = 5.0
"""How far deviations of one formula's rows may move over a whole run, in units of their size."""
FALLS = 0.75
"""What a halving of the step leaves, at most, of a deviation that is a power of it, h^(1/2) or higher."""
LEFT = 0.1
"""How much of the last deviation its limit may be, where that is said to be 0: the next power of h is."""
FAINT = 1e-5
"""Deviations below are told by their size: single precision of the noise levels or of a factor leaves them,
of no common sign.
"""
BESIDE = 21
"""Steps of a run that is odd, and a multiple of 3, as no other one is."""
MOMENTS = 8
"""Outputs of a row, at most: wider ones are of a prediction or a variable that no form here has."""


class Unexplained(ValueError):
    """A sampler whose rows no form here explains."""


State = Literal["right", "right in the limit", "nearly right", "wrong", "not resolved"]


@dataclass(frozen=True)
class RowMoments:
    """The moments of one traced row in one form.

    step: which one it ends, counted from 0.  kind: which formula it is: how far back base and outputs lie,
    counted in evaluations.  width: of how many outputs.  linear: the ratio that multiplies the base, divided
    by the form's.  quotients: of moments 0, 1, ..; as many as the row has outputs, or as are owed.  errors:
    of each, as rounding explains.
    """

    step: int
    state: int
    kind: tuple[int, ...]
    width: int
    linear: float
    quotients: tuple[float, ...]
    errors: tuple[float, ...]

    @property
    def right(self) -> int:
        """How many moments are right, from the first on, of those that it has outputs for."""
        return next((k for k, good in enumerate(self.good[: self.width]) if not good), self.width)

    @cached_property
    def deviations(self) -> np.ndarray:
        """Of the quotients, from 1."""
        return np.array(self.quotients) - 1

    @cached_property
    def good(self) -> tuple[bool, ...]:
        """Which moments are right to rounding."""
        return tuple((np.abs(self.deviations) <= np.array(self.errors)).tolist())


def row_moments(steps: Steps, form: FormOf | None, owed: int = 0) -> tuple[RowMoments, ...]:
    """The moments of the rows that end a step, in a form of the flow, or (form None) in the reverse SDE whose
    noise level each row's own noise gives.

    owed: moments that are computed of rows with fewer outputs, too.
    Stages are left out: what they owe to a step is not what integrates it.
    """
    schedule, nodes = steps.trace.schedule, steps.trace.times
    flow = None if form is None else form(schedule)
    found, ends = [], {state: number - 1 for number, state in enumerate(steps.ends)}
    for local in steps.locals:
        t0, t1 = steps.times[local.base], steps.times[local.state]
        if t0 == t1 or not local.outputs or local.state not in ends:
            continue
        chosen = _reverse(schedule, steps.trace.prediction, local, t0, t1) if flow is None else flow
        row = None if chosen is None else _moments(chosen, local, t0, t1, nodes, ends[local.state], owed)
        if row is not None:
            found.append(row)
    return tuple(found)


def level(steps: Steps) -> Fraction | None:
    """tau^2 of the reverse SDE whose noise every row has; None where they do not agree on one."""
    schedule, prediction = steps.trace.schedule, steps.trace.prediction
    found = set()
    for local in steps.locals:
        t0, t1 = steps.times[local.base], steps.times[local.state]
        if t0 != t1:
            found.add(_level(schedule, prediction, local, t0, t1))
    return found.pop() if len(found) == 1 else None


def _level(schedule: Schedule, prediction: str, local: Local, t0: float, t1: float) -> Fraction | None:
    """tau^2 by the noise of a row: 2 tau^2 h = -log(1 - w^2/sigma_1^2) in data prediction, and in noise
    prediction w^2 = alpha_1^2 tau^2 (rho_0^2 - rho_1^2).
    """
    f = schedule.formulas
    variance = sum(w * w for _, w in local.noise)
    h = float(f.lam(t1) - f.lam(t0))
    if prediction == "x0":
        kept = 1 - variance / float(f.sigma(t1)) ** 2
        square = -math.log(kept) / (2 * h) if kept > 0 and h > 0 else math.nan
    else:
        gap = float(f.rho(t0)) ** 2 - float(f.rho(t1)) ** 2
        square = variance / float(f.alpha(t1)) ** 2 / gap if gap > 0 else math.nan
    if not math.isfinite(square):
        return None
    near = Fraction(square).limit_denominator(64)
    return near if abs(near - square) < 1e-6 * max(square, 1) else Fraction(square).limit_denominator(10**9)


def _reverse(schedule: Schedule, prediction: str, local: Local, t0: float, t1: float) -> Form | None:
    """The reverse SDE of the level that the row's noise has."""
    square = _level(schedule, prediction, local, t0, t1)
    return None if square is None else of_square(prediction, square)(schedule)


def _moments(
    form: Form, local: Local, t0: float, t1: float, nodes: Sequence[float], number: int, owed: int
) -> RowMoments | None:
    width = min(len(local.outputs), MOMENTS)
    count = min(max(width, owed), MOMENTS)
    with np.errstate(divide="ignore", invalid="ignore"):
        step = form.step(t0, t1, count)
    if step.infinite:
        return None
    theta = np.array([float((form.tau(nodes[call]) - step.tau0) / step.h) for call, _ in local.outputs])
    weights = np.array([w for _, w in local.outputs])
    quotients, errors = [], []
    for k in range(count):
        demanded = float(step.weight(1.0) * step.phi(k + 1, 1.0))
        powers = theta**k / math.factorial(k)
        quotients.append(float(weights @ powers / demanded))
        errors.append(float(local.error * np.sum(np.abs(powers)) / abs(demanded)) + 1e-12)
    newest = max(call for call, _ in local.outputs)
    kind = (local.state - local.base, *(newest - call for call, _ in local.outputs))
    linear = local.ratio / float(step.linear(1.0))
    return RowMoments(number, local.state, kind, width, linear, tuple(quotients), tuple(errors))


@dataclass(frozen=True)
class Moment:
    """One moment of the rows that agree, over runs of more and more steps.

    quotients: the median over the rows, for each run.  deviations: from 1, the largest, for each run.
    spread: the least and the largest quotient of the last run.  error: as rounding explains.  count: of the
    steps of the last run.  state: "right" to rounding, "right in the limit" (deviations fall like a power of
    the step), "nearly right" (they are below `FAINT`), "wrong" (they tend to another number than 0), or "not
    resolved".
    """

    quotients: tuple[float, ...]
    deviations: tuple[float, ...]
    spread: tuple[float, float]
    error: float
    count: int

    @property
    def limit(self) -> float:
        """What the quotients tend to: the last, moved on by what a halving of h leaves of their change."""
        return _limit(self.quotients)

    @property
    def state(self) -> State:
        """How the moment stands to what it must be."""
        d = self.deviations
        if max(d) <= self.error:
            return "right"
        limits = (_limit(d), _polynomial(d)) if len(d) == 3 else ()
        if limits and all(b <= FALLS * a for a, b in itertools.pairwise(d)):
            left = min(abs(limit) for limit in limits)
            if d[-1] <= self.error or left <= max(LEFT * d[-1], self.error):
                return "right in the limit"
        if d[-1] <= FAINT:
            return "nearly right"
        if len(d) == 3 and self._tends_elsewhere:
            return "wrong"
        return "not resolved"

    @property
    def _tends_elsewhere(self) -> bool:
        """Whether the quotients' distance from 1 has a limit on which both ways to it agree, and which the
        last is nearer to than to 0: what grows has none.
        """
        away = [q - 1 for q in self.quotients]
        a, b = _limit(away), _polynomial(away)
        least = min(abs(a), abs(b))
        settled = max(abs(a - away[-1]), abs(b - away[-1])) / 2 + self.error < least
        return settled and abs(a - b) <= least / 4

    def __str__(self) -> str:
        if self.state == "right in the limit":
            return "right in the limit only"
        if self.state == "nearly right":
            return f"right to {self.deviations[-1]:.0e}"
        if self.state == "right":
            return self.state
        low, high = self.spread
        if high - low > max(0.01 * abs(self.limit), 2 * abs(self.limit - self.quotients[-1])):
            value = f"{_digits(low)} to {_digits(high)}"
        else:
            value = _digits(self._value)
        if self.state == "wrong" or len(self.quotients) == 1:
            return f"{value} of the exact one"
        return f"not resolved ({value} of the exact one in {self.count} steps)"

    @property
    def _value(self) -> float:
        """What is said of it: of what is wrong the limit, to the digits that both ways to it give."""
        if self.state != "wrong":
            return self.quotients[-1]
        unsure = max(abs(self.limit - _polynomial(self.quotients)), min(1e-4, abs(self.limit - 1) / 10))
        return round(self.limit, max(math.floor(-math.log10(2 * unsure)), 1))


def _digits(quotient: float) -> str:
    """Four digits, or as many as tell it from 1."""
    text = f"{quotient + 0.0:.4g}"
    return f"1{quotient - 1:+.1e}" if text == "1" and quotient != 1 else text


def _limit(values: Sequence[float]) -> float:
    """Of values at h, h/2 and h/4 that differ from it by one power of h; the last where they do not."""
    if len(values) < 3:
        return values[-1]
    a, b, c = values[-3:]
    before, after = b - a, c - b
    if abs(after) < abs(before) * 0.9 and before != 0:
        rate = after / before
        return c + after * rate / (1 - rate)
    return c


def _polynomial(values: Sequence[float]) -> float:
    """The same of values that are a polynomial of degree 2 in h."""
    a, b, c = values
    return (8 * c - 6 * b + a) / 3


@dataclass(frozen=True)
class Formula:
    """Rows of one kind whose moments agree.

    first: the state of the first of them.  steps: which they end, counted from 0.  of: all steps of this kind
    of row.  count: of the run's steps.  width: outputs of a row.
    """

    first: int
    steps: tuple[int, ...]
    of: tuple[int, ...]
    count: int
    width: int
    linear: float
    moments: tuple[Moment, ...]

    @property
    def rows(self) -> int:
        """How many there are."""
        return len(self.steps)

    @property
    def right(self) -> int:
        """How many moments are right to rounding, from the first on."""
        return next((k for k, m in enumerate(self.moments) if m.state != "right"), len(self.moments))

    @property
    def where(self) -> str:
        """Which steps, in words."""
        s = self.steps
        if len(s) == 1:
            return f"step {s[0]}"
        gaps = {b - a for a, b in itertools.pairwise(s)}
        if gaps == {1}:
            return f"steps {s[0]} to {s[-1]}"
        if len(gaps) == 1 and len(s) > 2:
            (gap,) = gaps
            every = "second" if gap == 2 else "third" if gap == 3 else f"{gap}th"
            return f"every {every} step from {s[0]} to {s[-1]}"
        if len(s) > len(self.of) / 2 and len(s) > NAMED:
            return f"the other {len(s)} of the steps {self.of[0]} to {self.of[-1]}"
        more = f" and {len(s) - NAMED} more, up to {s[-1]}" if len(s) > NAMED else ""
        return f"steps {', '.join(map(str, s[:NAMED]))}{more}" if more else f"steps {_listed(s)}"

    def __str__(self) -> str:
        parts = []
        for said, numbered in itertools.groupby(enumerate(self.moments), lambda pair: str(pair[1])):
            numbers = [k for k, _ in numbered]
            parts.append(f"moment{'s' if len(numbers) > 1 else ''} {_listed(numbers)} {said}")
        return ", ".join(parts)


NAMED = 6
"""Steps that are named one by one."""


def _listed(numbers: Sequence[int]) -> str:
    found = [str(n) for n in numbers]
    return found[0] if len(found) == 1 else f"{', '.join(found[:-1])} and {found[-1]}"


@dataclass(frozen=True)
class Diagnosis:
    """A sampler's steps in the form that explains them best.

    form: its name.  formulas: the kinds of rows of the longest run, those of a kind apart where their moments
    do not agree, in the order in which they first run; then rows of the shorter runs that are like none of
    these.  count: of the longest run's steps.
    """

    form: str
    prediction: str
    formulas: tuple[Formula, ...]
    count: int

    @property
    def inconsistent(self) -> float | None:
        """What moment 0 of most steps tends to, where that is not 1; else None."""
        usual = max(self.formulas, key=lambda f: f.rows, default=None)
        if usual is None or not usual.moments or usual.moments[0].state != "wrong":
            return None
        return usual.moments[0].limit

    def __str__(self) -> str:
        lines = [f"in {self.form}, the steps of {self.count} counted from 0:"]
        for f in self.formulas:
            run = "" if f.count == self.count else f"in the run with {f.count} steps, "
            lines.append(f"  {run}{f.where} ({f.width} output{'s' if f.width > 1 else ''}): {f}")
        return "\n".join(lines)


def diagnose(
    traced: Callable[[int], Trace],
    counts: tuple[int, int, int] = (20, 40, 80),
    *,
    owed: int = 0,
    beside: int | None = BESIDE,
) -> Diagnosis:
    """Take a sampler's steps apart.

    traced: the number of steps -> its trace, on grids of one family.  counts: each twice the one before.
    owed: how many moments its order demands, computed of rows with fewer outputs, too.  beside: steps of one
    more run, whose rows must be like those of the others; None for none.
    Raises ValueError for other counts, Unexplained (a ValueError) for a sampler whose rows no form describes.
    """
    if len(counts) != 3 or any(b != 2 * a for a, b in itertools.pairwise(counts)):
        raise ValueError(f"counts must be three, each twice the one before, got {counts}")
    finest = suited(traced(counts[-1]))
    prediction = finest.trace.prediction
    if prediction not in FORMS:
        raise Unexplained(f"prediction must be one of {', '.join(FORMS)} to be explained, got {prediction}")
    widest = max(len(local.outputs) for local in finest.locals)
    if widest > MOMENTS:
        raise Unexplained(
            f"rows take up to {widest} outputs in {prediction} prediction: no form here explains them"
        )
    coarser = [*counts[:-1], *([] if beside is None else [beside])]
    every = {n: steps_of(traced(n).predicting(prediction)) for n in coarser} | {counts[-1]: finest}
    stochastic = any(local.noise for local in finest.locals)
    forms: tuple[FormOf | None, ...] = (None, *FORMS[prediction]) if stochastic else FORMS[prediction]
    found = []
    for index, form in enumerate(forms):
        rows = row_moments(finest, form, owed)
        score = sum(row.right + (abs(row.linear - 1) < 1e-6) for row in rows)
        found.append((-score, index, rows))
    _, index, last = min(found, key=lambda each: each[:2])
    if not last:
        raise Unexplained("no row of the sampler is one that a form describes")
    form = forms[index]
    name = f"sde_{'data' if prediction == 'x0' else 'noise'}" if form is None else form.__name__
    runs = {n: row_moments(every[n], form, owed) for n in coarser} | {counts[-1]: last}
    return Diagnosis(name, prediction, _formulas(runs, counts), counts[-1])


def _formulas(runs: Mapping[int, Sequence[RowMoments]], counts: tuple[int, int, int]) -> tuple[Formula, ...]:
    """runs: by number of steps, the longest the last of `counts`."""
    finest = counts[-1]
    found, odd = [], []
    for kind in dict.fromkeys(row.kind for rows in runs.values() for row in rows):
        groups = {n: _agreeing([row for row in rows if row.kind == kind], n) for n, rows in runs.items()}
        of = {n: tuple(sorted(row.step for group in g for row in group)) for n, g in groups.items()}
        like: dict[int, list[list[RowMoments]]] = {n: [] for n in groups}
        for group in groups[finest]:
            same = {n: min(g, key=lambda other: _distance(group, other)) for n, g in groups.items() if g}
            for n, other in same.items():
                like[n].append(other)
            found.append(_formula({n: same[n] for n in counts if n in same}, of[finest]))
        for n, left in groups.items():
            for group in left:
                usual = 2 * len(group) > len(runs[n]) and 2 * len(of[finest]) < len(runs[finest])
                alone = not any(group is g for g in like[n]) and group[0].right < group[0].width
                if (usual and n != finest) or alone:
                    odd.append(_formula({n: group}, of[n]))
    found.sort(key=lambda f: f.steps[0])
    return (*_merged(found), *odd)


def _agreeing(rows: Sequence[RowMoments], count: int) -> list[list[RowMoments]]:
    """The rows of one kind, apart where their moments do not agree: each joins the nearest of the groups
    whose last row it agrees with.
    """
    groups: list[list[RowMoments]] = []
    if not rows:
        return groups
    deviations = np.abs([row.deviations for row in rows])
    usual = np.quantile(np.where([row.good for row in rows], 0.0, deviations), 0.9, axis=0).tolist()
    for row in rows:
        near = [group for group in groups if _agree(group[-1], row, usual, count)]
        if near:
            min(near, key=lambda group: _distance([group[-1]], [row])).append(row)
        else:
            groups.append([row])
    return groups


def _agree(a: RowMoments, b: RowMoments, usual: Sequence[float], count: int) -> bool:
    """Whether every moment of two rows is right, or their deviations are on one smooth curve.

    usual: the size of each moment's deviations in the run, which a few rows that differ do not make.
    """
    if a.good != b.good:
        return False
    drift = min(DRIFT * (b.step - a.step) / count, 0.5)
    rows = zip(a.good, a.deviations, b.deviations, a.errors, b.errors, usual, strict=True)
    for good, p, q, error, other, size in rows:
        allowed = error + other + drift * max(abs(p), abs(q), size)
        if not (good or max(abs(p), abs(q)) <= FAINT or abs(p - q) <= allowed):
            return False
    return True


def _distance(a: Sequence[RowMoments], b: Sequence[RowMoments]) -> float:
    """Of the medians of their quotients."""
    ends = [np.median([row.quotients for row in rows], axis=0) for rows in (a, b)]
    return float(np.max(np.abs(ends[0] - ends[1])))


def _formula(runs: Mapping[int, Sequence[RowMoments]], of: tuple[int, ...]) -> Formula:
    """Rows that agree, in runs by number of steps."""
    count, rows = max(runs.items())
    moments = tuple(_moment(runs, k) for k in range(len(rows[0].quotients)))
    width = rows[0].width
    beyond = next((k for k, m in enumerate(moments[width:], width) if m.state not in HOLD), len(moments) - 1)
    return Formula(
        rows[0].state,
        tuple(row.step for row in rows),
        of,
        count,
        width,
        float(np.median([row.linear for row in rows])),
        moments[: beyond + 1],
    )


HOLD = ("right", "nearly right", "right in the limit")
"""States of moments that an order has."""


def _moment(runs: Mapping[int, Sequence[RowMoments]], k: int) -> Moment:
    quotients = [[row.quotients[k] for row in rows] for rows in runs.values()]
    if all(row.good[k] for rows in runs.values() for row in rows):
        error = math.inf
    else:
        error = max(row.errors[k] for rows in runs.values() for row in rows if not row.good[k])
    return Moment(
        tuple(float(np.median(q)) for q in quotients),
        tuple(max(abs(x - 1) for x in q) for q in quotients),
        (min(quotients[-1]), max(quotients[-1])),
        error,
        max(runs),
    )


def _merged(found: Sequence[Formula]) -> list[Formula]:
    """Those of one kind of which the same is said, as one."""
    kept: list[Formula] = []
    for f in found:
        same = next((k for k, g in enumerate(kept) if (g.of, str(g)) == (f.of, str(f))), None)
        if same is None:
            kept.append(f)
        else:
            kept[same] = replace(kept[same], steps=tuple(sorted((*kept[same].steps, *f.steps))))
    return kept
