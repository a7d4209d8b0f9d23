"""What parts of a run cost: how far its error falls where a part of it is made exact.

All on data whose flow is known.  A part is told of where less than half of the error is left.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cache, cached_property
from operator import attrgetter
from typing import Any

import numpy as np
import torch
from semilinear.integrators.diffusion.prediction import Model, convert
from semilinear.integrators.diffusion.schedule import Schedule, edm
from semilinear.integrators.numerics.arrays import rms
from semilinear.integrators.plans.program import Plan
from semilinear.integrators.run.sampler import sample

from ..problems.named import problem
from ..studies.experiment import MAIN_PROBLEM
from ..targets.run import Run, Sampler, in_numpy, states_like
from ..targets.shipped import INFINITE, NoGrid, Shipped
from ..tracing.local import NoExactStart, Steps
from .finding import Said, named, raised, refused
from .subject import WARPED, Subject, experiment

BATCH, SEED = 16, 0
"""Samples, whose exact flow is computed in float64: errors that are told of are far above its rounding."""
SHARE = 0.5
"""Of the error, what is left with a part exact, below which the part is told of."""
SMALL = 1e-9
"""Errors below that are rounding."""
DRAWS = "it draws noise, and no path is exact for it"
COUNTS = (10, 20, 40)
"""Step counts at which the first and the last step are made exact."""
SHIPPED = (10, 20)
"""Step counts of whole runs on grids that are shipped."""
MANY = 80
"""Steps with which, beside the last of these, what rounded times cost must fall."""
TOLD = 1e-5
"""Of states, relative: below that, they may be told of levels between two training times by another
interpolation than ours.
"""


def ends(s: Subject) -> Iterator[Said]:
    """The shares of the first and the last step in the error of runs from sigma = 2 to 0.15."""
    first, last = {}, {}
    for n, steps in _apart(s).items():
        plan = steps.plan()
        whole = error_of(plan)
        last[n] = whole, error_of(replace(plan, steps=plan.steps[:-1]))
        try:
            first[n] = whole, error_of(steps.after(1))
        except NoExactStart:  # later steps use stages of the first
            continue
    for what, found in (("first", first), ("last", last)):
        if sentence := _most(f"the {what} step", found):
            yield "noted", sentence


def separable(s: Subject) -> bool:
    """Whether runs have a first and a last step, and others between."""
    found = _apart(s).values()
    return bool(found) and all(len(steps.plan().steps) > 2 for steps in found)


def _apart(s: Subject) -> dict[int, Steps]:
    found = {}
    for n in COUNTS:
        with suppress(Exception):  # what a sampler raises in few steps, other checks find
            found[n] = s.steps(n)
    return found


def error_of(plan: Plan) -> float:
    """The error of a plan on the problem of orders, whose flow is known: at the end of the interval,
    relative, its own end taken there exactly.
    """
    where = experiment(WARPED)
    model = convert(where.schedule, where.model, "eps", plan.prediction)
    inputs = [where.states([t])[0][:BATCH] for t in plan.inputs]
    x, at, end = sample(plan, model, inputs).x, float(plan.times[-1]), where.times[1]
    if not math.isclose(at, end, rel_tol=1e-9):
        x = _flowed(where.schedule, x, at, end)
    exact = where.states([end])[0][:BATCH]
    return rms(x - exact) / rms(exact)


def coarse(s: Subject, n: int, dtype: torch.dtype) -> float:
    """The error of a run with n steps in another precision from sigma = 2 to 0.15, relative.

    The model computes in float64, from states and to outputs of that precision.
    """
    where = experiment(WARPED)
    x = torch.from_numpy(where.x[:BATCH].copy()).to(dtype).reshape(BATCH, 1, 1, -1)
    model = in_numpy(where.model)

    def eps(y: torch.Tensor, t: Any) -> torch.Tensor:
        output: torch.Tensor = model(y.double().reshape(len(y), -1), float(t)).reshape(y.shape)
        return output.to(y.dtype)

    exact = _rounded(dtype)
    final = _final(s.own.sampler, Run(where.schedule, where.nodes(n), x, eps))
    return rms(final.reshape(exact.shape) - exact) / rms(exact)


@cache
def _rounded(dtype: torch.dtype) -> np.ndarray:
    """The end of the flow through states rounded to a precision."""
    where = experiment(WARPED)
    x = torch.from_numpy(where.x[:BATCH].copy()).to(dtype).double().numpy()
    return _flowed(where.schedule, x, *where.times)


def _final(sampler: Sampler, run: Run) -> np.ndarray:
    """The final states of a run, in float64."""
    with torch.no_grad():
        given = sampler(run)
    return np.asarray(states_like(given, run.x)[0].double().numpy())


def shipped(s: Subject) -> Iterator[Said]:
    """What the last step, the start and told times cost on the grids that a package chooses itself; of a
    sampler with noise, whether its runs there are finite.
    """
    if s.target.shipped is None:
        return
    try:
        choices = s.target.shipped()
    except NoGrid as none:
        yield "noted", str(none)
        return
    if s.noisy:
        yield "noted", f"on shipped grids asked for no more than to be finite: {DRAWS}"
    refusals: dict[str, list[str]] = {}
    for name, grid in choices.items():
        try:
            runs = {n: _Whole(grid(n)) for n in SHIPPED}
            if s.noisy:
                yield from _broken(name, runs)
            else:
                yield from _on(name, runs, grid)
        except Exception as error:  # the next grid is another matter
            if refused(error, s.target):
                refusals.setdefault(named(error), []).append(name)
            else:
                yield raised(error, s.target, f"on {name}:")
    for text, names in refusals.items():
        yield "noted", f"refuses runs on {', '.join(names)}: {text}"


def _on(name: str, runs: Mapping[int, _Whole], grid: Callable[[int], Shipped]) -> Iterator[Said]:
    broken = list(_broken(name, runs))
    if broken:
        yield from broken
        return
    finest = runs[max(runs)]
    first, *_, last = finest.grid.levels
    parts = {
        f"the last step, to sigma = {last:.3g},": attrgetter("last"),
        f"the start from noise at sigma = {first:.4g}": attrgetter("start"),
    }
    for what, left in parts.items():
        if _most(what, {max(runs): (finest.error, left(finest))}):  # the others are made where they are told
            found = {n: (run.error, left(run)) for n, run in runs.items()}
            yield "noted", f"on {name} {_most(what, found)}"
    moved = {max(runs): finest.rounding}
    if moved[max(runs)] > TOLD:
        moved[MANY] = _Whole(grid(MANY)).rounding
    bad = [n for n, by in moved.items() if not math.isfinite(by)]
    if bad:
        counts = ", ".join(map(str, bad))
        yield "failed", f"on {name} states are not finite with {counts} steps if the model is told its times"
    elif MANY in moved and moved[MANY] > SHARE * finest.rounding:
        numbers = " and by ".join(f"{by:.1e} with {n} steps" for n, by in moved.items())
        text = (
            f"on {name} the model is told other times than its states have, which moves the end by {numbers}"
        )
        yield "noted", f"{text}, relative"


def _broken(name: str, runs: Mapping[int, _Whole]) -> Iterator[Said]:
    bad = [n for n, run in runs.items() if not math.isfinite(run.error)]
    if bad:
        yield "failed", f"on {name} states are not finite with {', '.join(map(str, bad))} steps"


class _Whole:
    """Runs from noise to data on a shipped grid; errors are relative to the size of data."""

    def __init__(self, grid: Shipped) -> None:
        self.grid = grid

    @cached_property
    def _from_noise(self) -> tuple[np.ndarray, np.ndarray | None]:
        return self._run(self.grid.sampler, self.grid.noise * _noise())

    @property
    def error(self) -> float:
        """As shipped, but for what the model is told."""
        return self._error(self._from_noise[0])

    @property
    def last(self) -> float:
        """The error with the last step exact; NaN where nothing is evaluated at its start."""
        before = self._from_noise[1]
        first, end = self.grid.levels[-2:]
        return math.nan if before is None else self._error(_flowed(VE, before, first, end))

    @property
    def start(self) -> float:
        """The error from a start on the flow that noise itself lies on."""
        return self._error(self._from_flow)

    @cached_property
    def rounding(self) -> float:
        """How far told times move the end of that run; 0 where they are those of its states."""
        if self.grid.told is None:
            return 0.0
        told, _ = self._run(self.grid.told, _exact(self.grid.levels[0]))
        return rms(told - self._from_flow) / rms(_exact(0.0))

    @cached_property
    def _from_flow(self) -> np.ndarray:
        return self._run(self.grid.sampler, _exact(self.grid.levels[0]))[0]

    def _error(self, states: np.ndarray) -> float:
        return rms(states - _exact(self.grid.levels[-1])) / rms(_exact(0.0))

    def _run(self, sampler: Sampler, x: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """The final states, and the last that were evaluated at the start of the last step."""
        before = None

        def eps(y: torch.Tensor, t: Any) -> torch.Tensor:
            nonlocal before
            if float(t) == self.grid.levels[-2]:
                before = y.reshape(x.shape).double().numpy() if y.numel() == x.size else None
            output: torch.Tensor = _model()(y.reshape(len(y), -1), t).reshape(y.shape)
            return output

        given = torch.from_numpy(x.copy()).reshape(len(x), 1, 1, -1)
        final = _final(sampler, Run(VE, self.grid.levels, given, eps))
        return final.reshape(x.shape), before


VE = edm(INFINITE)
"""On which whole runs go: some start without data, some go up before they go down."""


@cache
def _model() -> Model:
    return in_numpy(problem(MAIN_PROBLEM).model(VE))


@cache
def _noise() -> np.ndarray:
    """Standard normal numbers, to start from."""
    return np.random.default_rng(SEED).standard_normal((BATCH, problem(MAIN_PROBLEM).dimension))


@cache
def _exact(level: float) -> np.ndarray:
    """The states at a level on the flow that begins as these."""
    return _flowed(VE, INFINITE * _noise(), INFINITE, level)


def _flowed(schedule: Schedule, x: np.ndarray, t: float, end: float) -> np.ndarray:
    if not np.all(np.isfinite(x)):
        return np.full_like(x, np.nan)
    return np.asarray(problem(MAIN_PROBLEM).flow(schedule, x, t, end, None))


def _most(what: str, found: Mapping[int, tuple[float, float]]) -> str:
    """What is made exact makes most of the error, or "".

    found: by number of steps, the error, and that with the part exact.
    """
    if not found:
        return ""
    whole, left = found[max(found)]
    if not whole > SMALL or not left < SHARE * whole:
        return ""
    numbers = "; ".join(f"{n} steps: {a:.1e}, with it exact {b:.1e}" for n, (a, b) in found.items())
    return f"{what} makes most of the error ({numbers}, relative)"
