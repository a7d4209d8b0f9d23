"""What the weights of a traced step integrate, beside what phi-functions demand.

In a form (`integrators/forms`) a step from t_0 to t_1 is exact for N = s^k/k!, s = tau - tau_0, where

    sum_j b_j (tau_j - tau_0)^k/k! = weight h^k phi_(k+1),

the k-th moment of its weights over its nodes.  The quotient of both sides is 1 where the moment is right,
tends to 1 where it is right in the limit of small steps, and else to another number.  A method of order p
owes the moments below p; a row has as many as it has outputs: what the others are is said, not asked for.
The prediction and the variable in which the most moments are right, over all steps, explain the sampler best.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
import sympy
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
from semilinear.integrators.forms.reverse import sde_data, sde_noise

from .local import Local, Steps, steps_of, suited
from .trace import Trace

FORMS: dict[str, tuple[FormOf, ...]] = {
    "x0": (data_in_lambda, data_in_inverse_rho),
    "eps": (noise_in_lambda, noise_in_rho, noise_in_time),
}
"""Of the probability flow, by prediction, the usual variable first."""
REVERSE = {"x0": sde_data, "eps": sde_noise}

CLOSE = 0.02
"""Quotients of two step counts that differ by less tend to what they are."""
MOMENTS = 8
"""Outputs of a row, at most: wider ones are of a prediction or a variable that no form here has."""


class Unexplained(ValueError):
    """A sampler whose rows no form here explains."""


State = Literal["right", "right in the limit", "wrong", "not resolved"]


@dataclass(frozen=True)
class RowMoments:
    """The moments of one traced row in one form.

    kind: which formula it is: how far back base and outputs lie, counted in evaluations.  linear: the ratio
    that multiplies the base, divided by the form's.  quotients: of moments 0, 1, ..; as many as the row has
    outputs.  errors: of each, as rounding explains.
    """

    state: int
    kind: tuple[int, ...]
    linear: float
    quotients: tuple[float, ...]
    errors: tuple[float, ...]

    @property
    def right(self) -> int:
        """How many moments are right, from the first on."""
        pairs = zip(self.quotients, self.errors, strict=True)
        return next((k for k, (q, e) in enumerate(pairs) if abs(q - 1) > e), len(self.quotients))


def row_moments(steps: Steps, form: FormOf | None) -> tuple[RowMoments, ...]:
    """The moments of the rows that end a step, in a form of the flow, or (form None) in the reverse SDE whose
    noise level each row's own noise gives.

    Stages are left out: what they owe to a step is not what integrates it.
    """
    schedule, nodes = steps.trace.schedule, steps.trace.times
    flow = None if form is None else form(schedule)
    found, ends = [], set(steps.cuts)
    for local in steps.locals:
        t0, t1 = steps.times[local.base], steps.times[local.state]
        if t0 == t1 or not local.outputs or local.state not in ends:
            continue
        chosen = _reverse(schedule, steps.trace.prediction, local, t0, t1) if flow is None else flow
        row = None if chosen is None else _moments(chosen, local, t0, t1, nodes)
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


def reverse(prediction: str, square: Fraction) -> FormOf:
    """The reverse SDE of a level tau^2 in a prediction."""
    return REVERSE[prediction](sympy.sqrt(sympy.Rational(square.numerator, square.denominator)))


def _reverse(schedule: Schedule, prediction: str, local: Local, t0: float, t1: float) -> Form | None:
    """The reverse SDE of the level that the row's noise has."""
    square = _level(schedule, prediction, local, t0, t1)
    return None if square is None else reverse(prediction, square)(schedule)


def _moments(form: Form, local: Local, t0: float, t1: float, nodes: Sequence[float]) -> RowMoments | None:
    count = min(len(local.outputs), MOMENTS)
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
    return RowMoments(
        local.state, kind, local.ratio / float(step.linear(1.0)), tuple(quotients), tuple(errors)
    )


@dataclass(frozen=True)
class Moment:
    """One moment of one formula, over runs of more and more steps.

    quotients: the median over the rows of the kind, for each run.  state: "right" to rounding, "right in the
    limit", "wrong" (`limit` is another number than 1), or "not resolved".
    """

    quotients: tuple[float, ...]
    error: float

    @property
    def limit(self) -> float:
        """What the quotients tend to: the last, moved on by what a halving of h leaves of their change."""
        a, b, c = self.quotients[-3:]
        before, after = b - a, c - b
        if abs(after) < abs(before) * 0.9 and before != 0:
            rate = after / before
            return c + after * rate / (1 - rate)
        return c

    @property
    def state(self) -> State:
        """How the moment stands to what it must be."""
        deviations = [abs(q - 1) for q in self.quotients]
        if max(deviations) <= self.error:
            return "right"
        if abs(self.limit - 1) <= CLOSE and deviations[-1] < deviations[0]:
            return "right in the limit"
        if abs(self.limit - self.quotients[-1]) <= CLOSE and abs(self.limit - 1) > 2 * CLOSE:
            return "wrong"
        return "not resolved"


@dataclass(frozen=True)
class Formula:
    """One kind of row: from which step on, how often in the longest run, and its moments."""

    first: int
    rows: int
    width: int
    linear: float
    moments: tuple[Moment, ...]

    @property
    def right(self) -> int:
        """How many moments are right to rounding, from the first on."""
        return next((k for k, m in enumerate(self.moments) if m.state != "right"), len(self.moments))

    def __str__(self) -> str:
        parts = []
        for said, numbered in itertools.groupby(enumerate(self.moments), lambda pair: _said(pair[1])):
            numbers = [k for k, _ in numbered]
            parts.append(f"moment{'s' if len(numbers) > 1 else ''} {_listed(numbers)} {said}")
        return ", ".join(parts)


def _said(moment: Moment) -> str:
    if moment.state == "wrong":
        return f"{moment.limit:.4g} of the exact one"
    return "right in the limit only" if moment.state == "right in the limit" else moment.state


def _listed(numbers: Sequence[int]) -> str:
    found = [str(n) for n in numbers]
    return found[0] if len(found) == 1 else f"{', '.join(found[:-1])} and {found[-1]}"


@dataclass(frozen=True)
class Diagnosis:
    """A sampler's steps in the form that explains them best.

    form: its name.  formulas: the kinds of rows, in the order in which they first run.
    """

    form: str
    prediction: str
    formulas: tuple[Formula, ...]

    def __str__(self) -> str:
        lines = [f"in {self.form}:"]
        lines += [f"  from state {f.first} on ({f.width} outputs, {f.rows} rows): {f}" for f in self.formulas]
        return "\n".join(lines)


def diagnose(traced: Callable[[int], Trace], counts: tuple[int, int, int] = (20, 40, 80)) -> Diagnosis:
    """Take a sampler's steps apart.

    traced: the number of steps -> its trace, on grids of one family.  counts: each twice the one before.
    Raises ValueError for other counts, Unexplained (a ValueError) for a sampler whose rows no form describes.
    """
    if len(counts) != 3 or any(b != 2 * a for a, b in itertools.pairwise(counts)):
        raise ValueError(f"counts must be three, each twice the one before, got {counts}")
    traces = [traced(n) for n in counts]
    finest = suited(traces[-1])
    prediction = finest.trace.prediction
    if prediction not in FORMS:
        raise Unexplained(f"prediction must be one of {', '.join(FORMS)} to be explained, got {prediction}")
    widest = max(len(local.outputs) for local in finest.locals)
    if widest > MOMENTS:
        raise Unexplained(
            f"rows take up to {widest} outputs in {prediction} prediction: no form here explains them"
        )
    every = [*(steps_of(t.predicting(prediction)) for t in traces[:-1]), finest]
    stochastic = any(local.noise for local in finest.locals)
    forms: tuple[FormOf | None, ...] = (None, *FORMS[prediction]) if stochastic else FORMS[prediction]
    found = []
    for index, form in enumerate(forms):
        rows = [row_moments(steps, form) for steps in every]
        score = sum(row.right + (abs(row.linear - 1) < 1e-6) for row in rows[-1])
        found.append((-score, index, rows))
    _, index, rows = min(found, key=lambda each: each[:2])
    form = forms[index]
    name = f"sde_{'data' if prediction == 'x0' else 'noise'}" if form is None else form.__name__
    if not rows[-1]:
        raise Unexplained("no row of the sampler is one that a form describes")
    return Diagnosis(name, prediction, _formulas(rows))


def _formulas(rows: Sequence[Sequence[RowMoments]]) -> tuple[Formula, ...]:
    kinds = dict.fromkeys(row.kind for row in rows[-1])
    formulas = []
    for kind in kinds:
        chosen = [[row for row in run if row.kind == kind] for run in rows]
        if not all(chosen):
            continue
        width = len(chosen[-1][0].quotients)
        moments = tuple(
            Moment(
                tuple(float(np.median([row.quotients[k] for row in run])) for run in chosen),
                max(row.errors[k] for run in chosen for row in run),
            )
            for k in range(width)
        )
        linear = float(np.median([row.linear for row in chosen[-1]]))
        formulas.append(Formula(chosen[-1][0].state, len(chosen[-1]), width, linear, moments))
    return tuple(formulas)
