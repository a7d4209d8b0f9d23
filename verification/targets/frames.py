"""The frames that foreign samplers keep their states in, and the times of the noise levels that they name.

Whatever the schedule, x = alpha x_0 + sigma eps is a multiple of y = a x_0 + s eps with the same
rho = s/a = sigma/alpha:

| frame  | a                | s                |
|--------|------------------|------------------|
| "ve"   | 1                | rho              |
| "vp"   | 1/sqrt(1+rho^2)  | rho/sqrt(1+rho^2)|
| "flow" | 1/(1 + rho)      | rho/(1 + rho)    |
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal

import torch
from semilinear.integrators.common.messages import shown
from semilinear.integrators.diffusion.schedule import Schedule

from .run import Run

Name = Literal["ve", "vp", "flow"]
SIZE: dict[str, Callable[[float], float]] = {
    "ve": lambda rho: 1.0,
    "vp": lambda rho: math.hypot(1.0, rho),
    "flow": lambda rho: 1.0 + rho,
}
"""1/a of every frame, from rho."""
NEAR = 64
"""Units of rounding within which two noise levels are one: samplers go through logarithms and back."""


@lru_cache(maxsize=2**14)  # run after run on the same times
def _rho(schedule: Schedule, t: float) -> float:
    return float(schedule.rho(t))


@lru_cache(maxsize=2**14)
def _scale(schedule: Schedule, name: Name, t: float) -> float:
    return 1.0 / (SIZE[name](_rho(schedule, t)) * float(schedule.alpha(t)))


class NoLevel(ValueError):
    """What is no noise level of a batch, at which a sampler asks the model."""


class Levels:
    """The noise levels of a run: rho of its grid, and the time of any level that a sampler names.

    A level within rounding of one that was named before, or of the grid, is that one: so a sampler is asked
    for at the grid's own times, and the increments of neighbouring steps meet.
    """

    def __init__(self, run: Run) -> None:
        self.schedule = run.schedule
        self.grid = tuple(_rho(run.schedule, float(t)) for t in run.times)
        known = sorted(zip(self.grid, (float(t) for t in run.times), strict=True))
        self._rhos, self._times = [r for r, _ in known], [t for _, t in known]

    def time(self, rho: Any) -> float:
        """The time at which sigma/alpha is rho: a number, or a tensor with an entry for each sample.

        Raises NoLevel (a ValueError) for NaN, negative numbers, samples at different levels and a level that
        the schedule does not reach.
        """
        unit = torch.finfo(torch.float64).eps
        if isinstance(rho, torch.Tensor):
            unit = torch.finfo(rho.dtype).eps
            levels = rho.reshape(-1).tolist()  # to compare numbers, which takes a third of comparing tensors
            if levels.count(levels[0]) < len(levels) and not all(map(math.isnan, levels)):
                raise NoLevel(f"samples of a batch must be at one noise level, got {shown(rho.tolist())}")
            rho = levels[0]
        value = float(rho)
        if math.isnan(value):
            raise NoLevel("the model is asked at the noise level nan")
        place = bisect.bisect_left(self._rhos, value)
        for near in (place - 1, place):
            if (
                0 <= near < len(self._rhos)
                and abs(self._rhos[near] - value) <= NEAR * unit * self._rhos[near]
            ):
                return self._times[near]
        try:
            time = float(self.schedule.t_of_rho(value))
        except ValueError as error:
            raise NoLevel(f"the model is asked at a noise level that is none: {error}") from None
        self._rhos.insert(place, value)
        self._times.insert(place, time)
        return time


class Frame:
    """States y of one frame, and the model that is asked at them.

    rho is given as a number, or as a tensor with one value.
    """

    def __init__(self, run: Run, name: Name, levels: Levels | None = None) -> None:
        self.run, self.name = run, name
        self.levels = Levels(run) if levels is None else levels

    def scale(self, t: float) -> float:
        """y/x at a time."""
        return _scale(self.run.schedule, self.name, t)

    def enter(self) -> Any:
        """The run's states at its start, in this frame; where that is theirs, themselves."""
        scale = self.scale(float(self.run.times[0]))
        return self.run.x if scale == 1 else self.run.x * scale

    def leave(self, y: Any, t: float | None = None) -> Any:
        """States of this frame at the run's end, or at another time, in that of the schedule."""
        return y / self.scale(float(self.run.times[-1]) if t is None else t)

    def predict(self, prediction: str, y: Any, rho: Any) -> Any:
        """The model at a state: "eps", "x0", "v" = a eps - s x_0, or "velocity" = eps - x_0.

        The run is asked for the prediction itself, a multiple of it, or where a velocity belongs to another
        path for data.
        """
        t = self.levels.time(rho)
        c = self.scale(t)
        x = y / c
        if prediction == "v":
            return self.run.predict("v")(x, t) * c
        if prediction != "velocity":
            return self.run.predict(prediction)(x, t)
        if self.run.schedule.kind == "rectified-flow":
            return self.run.predict("flow")(x, t)
        r = _rho(self.run.schedule, t)
        if r == 0:  # the end, which some methods evaluate
            return self.run.predict("eps")(x, t) - self.run.predict("x0")(x, t)
        eps_and_x0 = y * SIZE[self.name](r)  # = x_0 + rho eps
        return (eps_and_x0 - (1 + r) * self.run.predict("x0")(x, t)) / r

    def increment(self, rho0: Any, rho1: Any, like: Any) -> Any:
        """The run's increment between two noise levels."""
        return self.run.increment(self.levels.time(rho0), self.levels.time(rho1), like)
