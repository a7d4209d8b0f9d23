"""What a sampler does besides converging: failures, noise, rounding.

Nothing here judges an order.  A finding stands in a study by itself, with the step counts that it was made
at.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from semilinear.integrators.numerics.arrays import rms

from ..targets.run import returned
from .experiment import FlowSetup, Run, Sampler
from .setup import UNITS, Dtype

Kind = Literal[
    "raised", "not finite", "samples", "noise", "evaluations", "floor", "limit", "rounding", "residue"
]

FAR = 2.0**-16
"""Of the states' size: a limit further from the solution is not explained by single precision, 256 units."""
SHIFTS = (-40, -30, -22, -12, -6)
"""Powers of two: relative changes of the start, of which a sampler shows the first that its dtype holds."""


@dataclass(frozen=True)
class Finding:
    """One thing that was seen, at the step counts n (empty: at all).

    kind: "raised" (a run ended in an exception), "not finite" (a whole run), "samples" (part of a batch),
    "noise" (two calls differ), "evaluations" (other than counted), "floor" (errors stop falling), "limit"
    (runs converge, but not to the solution), "rounding" (a coarser dtype than that of the states), "residue"
    (the order depends on the number of steps).
    error: the first that was raised.
    """

    kind: Kind
    n: tuple[int, ...]
    text: str
    error: Exception | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        where = f" at n = {', '.join(map(str, self.n))}" if self.n else ""
        return f"{self.text}{where}"


@dataclass(frozen=True)
class Outcome:
    """One run: states (batch, d) as float64 or mpmath objects, None where it raised; evaluations."""

    n: int
    states: np.ndarray | None
    nfe: int
    claimed_nfe: int | None
    start: Literal["own", "exact"]
    dtype: Dtype
    raised: Exception | None = None

    @property
    def error(self) -> str:
        """What was raised, in words, "" where nothing was."""
        return "" if self.raised is None else f"{type(self.raised).__name__}: {self.raised}"


def run_once(sampler: Sampler, run: Run, shape: tuple[int, ...], *, keep: bool = True) -> Outcome:
    """Run a sampler; what it raises is kept as the outcome's error, unless it is to be raised.

    shape: (batch, d) of the states.  Raises ValueError for states of another size, or what is no states.
    """
    n = int(run)
    try:
        result = sampler(run)
    except Exception as error:  # a sampler that fails at one n has still been measured at the others
        if not keep:
            raise
        return Outcome(n, None, run.calls, None, run.start, "float64", error)
    found = returned(result, shape, n)
    made = run.calls or found.claimed or 0
    return Outcome(n, found.x, made, found.claimed, run.start, precision(found.states))


def precision(states: Any) -> Dtype:
    """The coarsest dtype that holds all these states: what they were computed in, at best."""
    if isinstance(states, torch.Tensor):
        x = states.detach().cpu()
    else:
        array = np.asarray(states)
        if array.dtype.kind != "f":
            return "float64"
        x = torch.from_numpy(np.array(array, dtype=np.float64))
    x = x.double()[torch.isfinite(x.double())]
    if not len(x):
        return "float64"
    found: Dtype = "float64"
    for name in UNITS:
        if torch.equal(x.to(getattr(torch, name)).double(), x):
            found = name
    return found


def repeated(sampler: Sampler, experiment: FlowSetup, first: Outcome) -> Finding | None:
    """Whether a second call with the same start gives the same states, to rounding."""
    second = run_once(sampler, experiment.run(first.n), experiment.x.shape)
    if first.states is None or second.states is None:
        return None
    difference = _rms_of_finite(first.states - second.states)
    if not difference > experiment.floor(first.n, first.dtype):
        return None
    why = "it keeps something between runs, or draws noise of its own"
    text = f"two calls from the same start differ by {difference:.1e}: {why}"
    return Finding("noise", (first.n,), text)


def rounding(sampler: Sampler, experiment: FlowSetup, base: Outcome) -> float | None:
    """What rounding leaves in the final states of a run, RMS; None where the sampler does not read its start.

    Where a start x moves by +-d the states of a smooth map move by +-Jd up to d^2; what the second difference
    leaves besides is rounding.  d is the smallest change that all of the states feel.
    """
    signs = np.where(np.random.default_rng(experiment.seed).random(experiment.x.shape) < 0.5, -1.0, 1.0)
    for power in SHIFTS:
        shift = 2.0**power
        moved = [
            run_once(sampler, experiment.run(base.n, side * shift * signs), experiment.x.shape).states
            for side in (1, -1)
        ]
        plus, minus = moved
        if base.states is None or plus is None or minus is None:
            return None
        if np.mean((plus != base.states) & (minus != base.states)) > 0.5:
            return _rms_of_finite(plus + minus - 2 * base.states) / math.sqrt(6)
    return None


def _rms_of_finite(states: np.ndarray) -> float:
    """Of the states whose squares are finite; 0 where none are."""
    x = np.asarray(states, dtype=np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        finite = x[np.isfinite(np.sum(x**2, axis=1))]
    return rms(finite) if len(finite) else 0.0


def _raised(outcomes: Sequence[Outcome]) -> list[Finding]:
    """Of every text that was raised one finding."""
    by_text: dict[str, list[Outcome]] = {}
    for o in outcomes:
        if o.states is None:
            by_text.setdefault(o.error, []).append(o)
    return [Finding("raised", tuple(o.n for o in of), text, of[0].raised) for text, of in by_text.items()]


def of_runs(outcomes: Sequence[Outcome], good: np.ndarray) -> list[Finding]:
    """Failures and miscounts; good: (runs, batch), which final states are finite."""
    found = _raised(outcomes)
    bad = tuple(o.n for o, row in zip(outcomes, good, strict=True) if o.states is not None and not row.any())
    if bad:
        found.append(Finding("not finite", bad, "no state is finite"))
    part = [
        (o.n, int(np.sum(~row))) for o, row in zip(outcomes, good, strict=True) if row.any() and not row.all()
    ]
    if part:
        most = max(count for _, count in part)
        text = f"up to {most} of {good.shape[1]} samples are not finite"
        found.append(Finding("samples", tuple(n for n, _ in part), text))
    wrong = [o for o in outcomes if o.claimed_nfe is not None and o.claimed_nfe != o.nfe]
    if wrong:
        said = f"{wrong[0].claimed_nfe} evaluations are claimed, {wrong[0].nfe} were made"
        found.append(Finding("evaluations", tuple(o.n for o in wrong), said))
    return found
