"""A sampler as numbers: the rows of all states that it evaluates, and of its last.

Row k of a `Trace` holds what the k-th evaluated state is made of: the start, the outputs of the calls before
it, the noise.  Nothing is assumed of the sampler but that it is linear in these; `certify` holds the rows
against a run on a model that is not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from semilinear.integrators.common import checks, limits
from semilinear.integrators.common.messages import shown
from semilinear.integrators.diffusion.grids import user
from semilinear.integrators.diffusion.prediction import conversion
from semilinear.integrators.diffusion.schedule import Schedule
from semilinear.integrators.plans.program import Evaluation, Plan, Row

from ..targets.run import Sampler
from .probe import Increments, NotLinearError, Pair, Probe, Script
from .witness import Scene, Spread, Witness

Array = np.ndarray
__all__ = [
    "NotLinearError",
    "Trace",
    "again",
    "certified",
    "departures",
    "joined",
    "near",
    "of_plan",
    "on_grid",
    "read",
    "tolerance",
    "trace",
]


def near(s: float, t: float) -> bool:
    """Whether two times are one, or one of them is the other in float32."""
    return abs(s - t) <= UNITS[torch.float32] * max(abs(s), abs(t))


def on_grid(times: Sequence[float], grid: Sequence[float]) -> Array:
    """Of every time, whether it is one of a grid, or one of them in float32."""
    return np.asarray(np.any(_near(times, grid), axis=1))


def _near(times: Sequence[float], grid: Sequence[float]) -> Array:
    """Which times of one and the other are `near`, (times, grid)."""
    t, node = np.array(times)[:, None], np.array(grid)[None, :]
    return np.asarray(np.abs(t - node) <= UNITS[torch.float32] * np.maximum(np.abs(t), np.abs(node)))


UNITS = {torch.float64: 2.0**-53, torch.float32: 2.0**-24}


@dataclass(frozen=True, eq=False)
class Trace:
    """What a run computes, as coefficients.

    schedule: whose frame the states are in.  prediction: of the outputs that the columns multiply.  times: at
    which states are evaluated, in order, then that of the end.  grid: the times that the run was given, in
    float32 where it takes them so.
    rows: (evaluations + 1, 1 + evaluations + increments): of the evaluated states, then of the final one;
    column 0 is the start, then the outputs, then the increments.  increments: the times of each, None where
    the sampler says none.  unit: of rounding, of the numbers that the rows were computed in.
    """

    schedule: Schedule
    prediction: str
    times: tuple[float, ...]
    grid: tuple[float, ...]
    rows: Array
    increments: tuple[Pair | None, ...] = ()
    unit: float = UNITS[torch.float64]
    residual: float | None = None
    """Of the certificate: how far a run on a nonlinear model was from the rows, relative; None for a plan,
    which needs none."""

    @property
    def nfe(self) -> int:
        """Evaluations."""
        return len(self.times) - 1

    @property
    def noisy(self) -> bool:
        """Whether any noise has a weight."""
        return bool(np.any(self.rows[:, 1 + self.nfe :]))

    def predicting(self, prediction: str) -> Trace:
        """The same run in another prediction: outputs m_k = p x_k + q m'_k, put in row by row.

        Raises ValueError where one prediction does not give the other.
        """
        if prediction == self.prediction:
            return self
        rows = np.zeros_like(self.rows)
        calls = self.nfe
        p, q = np.empty(calls), np.empty(calls)
        for k, t in enumerate(self.times[:-1]):
            p[k], q[k] = _between(self.schedule, prediction, self.prediction, t)
        for k, row in enumerate(self.rows):
            rows[k, 0], rows[k, 1 + calls :] = row[0], row[1 + calls :]
            outputs = row[1 : 1 + k]
            rows[k] += (outputs * p[:k]) @ rows[:k]
            rows[k, 1 : 1 + k] += outputs * q[:k]
        return replace(self, prediction=prediction, rows=rows)


def _between(schedule: Schedule, prediction: str, target: str, t: float) -> tuple[float, float]:
    """(p, q) with target = p x + q m, m the prediction, for any two predictions."""
    if target in ("eps", "x0"):
        p, q = conversion(schedule, prediction, target, t)
        return float(p), float(q)
    p, q = conversion(schedule, target, "eps", t)  # eps = p x + q target
    if prediction == "eps":
        return float(-p / q), float(1 / q)
    a, b = conversion(schedule, prediction, "eps", t)
    return float((a - p) / q), float(b / q)


def trace(sampler: Sampler, schedule: Schedule, times: Any, *, dtype: torch.dtype = torch.float64) -> Trace:
    """Read a sampler off, and hold the rows against a run on a nonlinear model with random noise.

    sampler: a function of a run (`targets.run.Run`).  times: of the grid, strictly monotone.  dtype: of the
    states, float64 or float32; in what the sampler computes its coefficients is its own affair.
    Raises NotLinearError (a ValueError) where the number of evaluations depends on the values, or where the
    rows do not reproduce that run; TypeError for what is no sampler, ValueError for times or a dtype that
    are none.
    """
    if not callable(sampler):
        raise TypeError(f"sampler must be a function of a run, got {shown(sampler)}")
    checks.instance("schedule", schedule, Schedule)
    if dtype not in UNITS:
        raise ValueError(f"dtype must be torch.float64 or torch.float32, got {shown(dtype)}")
    nodes = user(schedule, times)
    checks.integer("the number of times", len(nodes), 2, limits.TRACED_STEPS + 1)
    return certified(sampler, Scene(schedule, tuple(map(float, nodes)), dtype, scales=SCALES))


def certified(sampler: Sampler, scene: Scene, found: Trace | None = None) -> Trace:
    """The rows of a sampler, held against a run on a scene.

    found: the rows, where they have been read.
    Raises NotLinearError as `trace` does.
    """
    witness = scene.run(sampler)
    first, *rest = followed(scene, witness.script)
    if first is not scene:
        witness = first.run(sampler)
    if witness.script.lost:
        raise NotLinearError("noise", lost(witness.script))
    found = read(sampler, first, witness.script) if found is None else found
    runs = [(first, witness), *((other, other.run(sampler)) for other in rest)]
    errors = np.max([departures(found, *run) for run in runs], axis=0)
    bad = np.flatnonzero(~(errors <= tolerance(found)))
    if len(bad):
        raise NotLinearError("values", _says(found, errors, int(bad[0])), int(bad[0]))
    return joined(replace(found, residual=float(np.max(errors))))


SCALES = (1.0, 32.0, 1.0)
"""Of the values of the samples of that run: what clips does so in the large one."""


def followed(scene: Scene, script: Script) -> tuple[Scene, ...]:
    """On what a sampler can be followed that asked for `script`: the scene, or the first two of its samples
    each by itself, where a batch leaves it open whose a call or a draw is.
    """
    if not (script.parts or script.strange):
        return (scene,)
    spread: Spread = "draws" if script.strange else "full"
    return tuple(replace(scene, sample=k, spread=spread) for k in range(2))


def lost(script: Script) -> str:
    """Which noise cannot be followed."""
    return (
        f"noise is drawn in the shape {script.lost[0]}, which is neither that of the states nor several of it"
    )


def tolerance(found: Trace) -> float:
    """Of the certificate: rounding of the rows and of the run, which grows with the number of evaluations."""
    return 64 * found.unit * (found.nfe + 8)


def departures(found: Trace, scene: Scene, witness: Witness) -> Array:
    """How far the states of a run are from what the rows make of its start, outputs and noise, relative to
    the sizes of the terms of a sample, the farthest of the batch, (evaluations + 1,).

    Raises NotLinearError where the run makes another number of evaluations.
    """
    if len(witness.script.asked) != found.nfe:
        raise NotLinearError("evaluations", _counts(found.nfe, len(witness.script.asked)))
    basis = scene.basis(witness, found.prediction, len(found.increments))
    made, terms = found.rows @ basis, np.abs(found.rows) @ np.abs(basis)
    shape = len(found.rows), len(scene.scale), -1
    size = np.max(terms.reshape(shape), axis=2, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):  # a state without terms has no size
        error = np.max(np.abs(made - witness.states).reshape(shape) / size, axis=(1, 2))
    exact = np.all(made == witness.states, axis=1)
    return np.asarray(np.where(exact, 0.0, np.where(np.isfinite(error), error, np.inf)))


def _says(found: Trace, errors: Array, where: int) -> str:
    place = "the final state" if where == found.nfe else f"the state of evaluation {where} of {found.nfe}"
    return f"on a nonlinear model {place} differs from its row by {errors[where]:.1e}, relative"


def read(sampler: Sampler, scene: Scene, script: Script | None = None) -> Trace:
    """The rows, held against nothing; every request of noise has a column of its own (`joined`).

    script: of a run on that scene, where one was made.
    Raises NotLinearError where the number of evaluations depends on the values.
    """
    script = scene.run(sampler).script if script is None else script
    calls, draws = len(script.asked), len(script.requests)
    width = 1 + calls + draws
    unit = partial(_unit, scene, width)

    def output(_: torch.Tensor, t: float, number: int) -> torch.Tensor:
        if number >= calls:
            raise NotLinearError("evaluations", _counts(calls, "more"))
        return unit(1 + number)

    def noise(number: int, shape: tuple[int, ...]) -> torch.Tensor:
        if number >= draws:
            raise NotLinearError("evaluations", f"the number of draws depends on the values: {number + 1}")
        return unit(1 + calls + number)

    probe = Probe(scene.schedule, scene.grid, unit(0), output, noise, script.prediction)
    final = probe.end(sampler)
    if len(probe.script.asked) != calls:
        raise NotLinearError("evaluations", _counts(calls, len(probe.script.asked)))
    return _traced(scene, probe, final, range(width), script.requests)


def joined(found: Trace) -> Trace:
    """Rows by requests of noise as rows by the independent increments that these are made of."""
    increments = Increments.of(found.increments, lambda t: float(found.schedule.rho(t)))
    if increments.separate:
        return replace(found, increments=increments.intervals)
    own = 1 + found.nfe
    rows = np.hstack([found.rows[:, :own], found.rows[:, own:] @ increments.weights])
    return replace(found, rows=rows, increments=increments.intervals)


def again(sampler: Sampler, scene: Scene, known: Trace) -> Trace:
    """The rows of a sampler of which a trace on other times is known, as `read` finds them: in one run, which
    gives the axes out as they are asked for.

    A run that asks for other things than the known one is read in the usual way.
    Raises NotLinearError where that does.
    """
    steps = math.ceil(len(scene.grid) / len(known.grid)) * len(known.grid)
    width = 1 + ROOM * (steps + 1) * math.ceil(known.rows.shape[1] / len(known.grid))
    calls: list[int] = []
    draws: list[int] = []

    def axis(given: list[int]) -> torch.Tensor:
        given.append(1 + len(calls) + len(draws))
        if given[-1] >= width:
            raise _NoRoom
        return _unit(scene, width, given[-1])

    probe = Probe(
        scene.schedule,
        scene.grid,
        _unit(scene, width, 0),
        lambda *_: axis(calls),
        lambda *_: axis(draws),
        known.prediction,
    )
    try:
        final = probe.end(sampler)
    except _NoRoom:
        return read(sampler, scene)
    if probe.script.prediction != known.prediction:
        return read(sampler, scene, probe.script)
    return _traced(scene, probe, final, (0, *calls, *draws), probe.script.requests)


ROOM = 2
"""How many more evaluations and draws a step may take in one run than in another."""


class _NoRoom(Exception):
    """More of them were asked for."""


def _unit(scene: Scene, width: int, index: int) -> torch.Tensor:
    """Of the scale of the scene, below which nothing may be clipped."""
    vector = torch.zeros((1, 1, 1, width), dtype=scene.dtype)
    vector[..., index] = scene.scales[0]
    return vector


def _traced(
    scene: Scene,
    probe: Probe,
    final: torch.Tensor,
    columns: Sequence[int],
    requests: Sequence[Pair | None],
) -> Trace:
    """What a run on unit vectors found.  columns: the axes of start, outputs and requests of noise."""
    asked = probe.script.asked
    every = np.stack([s.double().reshape(-1).numpy() for s in (*probe.script.seen, final)])
    every /= scene.scales[0]
    rows = every[:, list(columns)]
    if not np.all(np.isfinite(rows)):
        bad = int(np.argmin(np.all(np.isfinite(rows), axis=1)))
        raise NotLinearError("values", f"the coefficients of state {bad} of {len(asked)} are not finite", bad)
    later = np.triu(rows[:, 1 : 1 + len(asked)])  # outputs of its own call and of those after it
    strange = np.delete(every, list(columns), axis=1)
    if np.any(later) or np.any(strange):
        bad = int(np.argmax(np.any(later, axis=1) | np.any(strange, axis=1)))
        what = "holds what neither the start nor a call or draw before it gave: of another run, or a constant"
        raise NotLinearError("values", f"state {bad} of {len(asked)} {what}", bad)
    grid = scene.grid if scene.dtype != torch.float64 else taken([t for _, t in asked], scene.grid)
    times = (*(t for _, t in asked), grid[-1])
    unit = UNITS[scene.dtype]
    return Trace(scene.schedule, probe.script.prediction, times, grid, rows, tuple(requests), unit)


def taken(times: Sequence[float], grid: tuple[float, ...]) -> tuple[float, ...]:
    """The grid as a run takes it: in float32, where every evaluation near one of its times is at that time in
    float32.
    """
    rounded = tuple(float(np.float32(t)) for t in grid)
    where, node = np.nonzero(_near(times, grid))
    asked, exact, coarse = np.array(times)[where], np.array(grid)[node], np.array(rounded)[node]
    single = len(where) > 0 and bool(np.all(asked == coarse) and np.any(exact != coarse))
    return rounded if single else grid


def _counts(calls: int, other: object) -> str:
    return f"the number of evaluations depends on the values: {calls} on one model, {other} on another"


# --- plans ---


def of_plan(plan: Plan, schedule: Schedule) -> Trace:
    """The rows of a plan with one input.  Raises ValueError for more inputs or elementwise coefficients."""
    if len(plan.inputs) != 1 or plan.arrays:
        raise ValueError(f"plan must have one input and scalar coefficients, got {plan.solver}")
    operations = [op for step in plan.steps for op in step.operations]
    evaluations = [op for op in operations if isinstance(op, Evaluation)]
    calls = len(evaluations)
    draws = 1 + max((i for op in operations if isinstance(op, Row) for i, _ in op.noise), default=-1)
    width = 1 + calls + draws
    values: dict[int, Array] = {0: np.eye(1, width)[0]}
    rows, times = [], []
    for op in operations:
        if isinstance(op, Evaluation):
            rows.append(values[2 * op.state])
            times.append(float(op.t))
            values[2 * op.state + 1] = np.eye(1, width, len(rows))[0]
            continue
        if op.constant is not None:
            raise ValueError(f"plan must be linear, got a constant in {plan.solver}")
        total = sum((float(c) * values[key] for key, c in op.keyed), np.zeros(width))
        for i, weight in op.noise:
            total[1 + calls + i] += float(weight)
        values[2 * op.state] = total
    rows.append(values[2 * plan.steps[-1].output])
    grid = tuple(float(t) for t in plan.times)
    end = plan.steps[-1].t1
    pairs = (
        tuple(None if pair is None else (float(pair[0]), float(pair[1])) for pair in plan.increments[:draws])
        or (None,) * draws
    )
    return Trace(
        schedule,
        plan.prediction,
        (*times, grid[-1] if end is None else float(end)),
        grid,
        np.stack(rows),
        pairs,
    )
