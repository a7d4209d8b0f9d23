"""What a sampler is given for one run, and what it gives back.

Studies, traces and audits drive samplers through one face: states, times, a model that speaks any prediction,
and the noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import torch
from semilinear.integrators.diffusion.prediction import Model, convert
from semilinear.integrators.diffusion.schedule import Schedule
from semilinear.integrators.numerics.arithmetic import Value
from semilinear.integrators.numerics.messages import shown


class Run(int):
    """One run of a sampler: its number of steps, and what it needs for them.

    x: initial states, (batch, *shape), in the frame of `schedule`: x = alpha x_0 + sigma eps.  times: of the
    grid, n + 1 of them from the start to the end.  calls: how often the model was asked.
    """

    x: Any
    schedule: Schedule
    times: tuple[Value, ...]
    calls: int
    _eps: Model

    def __new__(cls, schedule: Schedule, times: Sequence[Value], x: Any, eps: Model) -> Self:
        """eps: the noise prediction at states of the shape of x."""
        run = super().__new__(cls, len(times) - 1)
        run.schedule, run.times, run.x, run.calls, run._eps = schedule, tuple(times), x, 0, eps
        return run

    def model(self, x: Any, t: Any) -> Any:
        """The noise prediction at states of the shape of `x` and time t."""
        self.calls += 1
        return self._eps(x, t)

    def predict(self, prediction: str) -> Model:
        """The model in another prediction ("eps", "x0", "v", "score", "flow"): the one that a sampler asks
        for is the one in which its coefficients are read off.
        """
        return convert(self.schedule, self.model, "eps", prediction)

    def noise(self, like: Any) -> Any:
        """Standard normal numbers of the shape and dtype of `like`."""
        return torch.randn_like(like)

    def increment(self, t0: Value, t1: Value, like: Any) -> Any:
        """The increment of one Brownian motion in rho between two times, divided by its standard deviation.

        Intervals that overlap share noise where the run is a trace's; elsewhere every request is drawn for
        itself.
        """
        return self.noise(like)


Sampler = Callable[[Any], Any]
"""run -> final states (batch, *shape), or (final states, evaluations made)."""


def returned(result: Any) -> tuple[Any, int | None]:
    """What a sampler returned as states, and how many evaluations it says that it made, None where it says
    nothing.

    Raises ValueError for a number of evaluations that is none.
    """
    if not (isinstance(result, tuple) and len(result) == 2):
        return result, None
    states, claimed = result
    if claimed is None:
        return states, None
    if isinstance(claimed, bool) or not isinstance(claimed, int | float | np.number) or not _counts(claimed):
        raise ValueError(f"sampler must return how many evaluations it made, got {shown(claimed)}")
    return states, int(claimed)


def _counts(value: Any) -> bool:
    return math.isfinite(value) and value == int(value) and value >= 0


def states_like(result: Any, x: torch.Tensor) -> tuple[torch.Tensor, int | None]:
    """As `returned`; the states detached, as a tensor of the shape of x.  Raises ValueError for others."""
    states, claimed = returned(result)
    try:
        found = torch.as_tensor(states).detach()
    except (TypeError, ValueError, RuntimeError):  # nothing that holds numbers
        found = None
    if found is None or found.shape != x.shape:
        got = shown(states) if found is None else str(tuple(found.shape))
        raise ValueError(f"sampler must return states of shape {tuple(x.shape)}, got {got}")
    return found, claimed
