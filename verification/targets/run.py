"""What a sampler is given for one run, and what it gives back.

Studies, traces and audits drive samplers through one face: states, times, a model that speaks any prediction,
and the noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
    grid, n + 1 of them from the start to the end.  calls: evaluations of the model for each sample: states
    that are stacked into one call count as often as they hold the batch.
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
        """The noise prediction at states of the shape of `x`, or several of it stacked, and time t."""
        self.calls += batches(x, self.x)
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


def batches(x: Any, batch: Any) -> int:
    """How many times the batch some states are, a part of it being one."""
    sizes = [math.prod(getattr(states, "shape", ())) for states in (x, batch)]
    return max(1, math.ceil(sizes[0] / sizes[1])) if all(sizes) else 1


def unstacked(x: torch.Tensor, batch: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The batches that are stacked in the states of one call.

    Raises ValueError for states that are no whole number of them.
    """
    count = batches(x, batch)
    if x.numel() != count * batch.numel() or len(x) % count:
        raise ValueError(
            f"the model must be asked for the batch, {tuple(batch.shape)}, or several of it stacked, got "
            f"states of shape {tuple(x.shape)}"
        )
    return x.chunk(count)


@dataclass(frozen=True)
class Returned:
    """What a sampler gave back.

    states: as they came.  x: the same in numpy, of the shape that was asked for, float64 where they came from
    torch.  claimed: evaluations that the sampler says it made, None where it says nothing.
    """

    states: Any
    x: np.ndarray
    claimed: int | None


def returned(result: Any, shape: tuple[int, ...], n: int) -> Returned:
    """The states that a sampler returned, alone or with its evaluations; shape: of them; n: steps, to tell.

    Raises ValueError for states of another size, and what is no states or no count.
    """
    states, claimed = _parts(result, f" at n = {n}")
    x = _array(states)
    if x.dtype.kind not in "fO" or x.shape[:1] != shape[:1] or x.size != math.prod(shape):
        raise ValueError(
            f"sampler must return real states of shape {shape}, or (states, evaluations made), "
            f"got {x.dtype} of {x.shape} at n = {n}"
        )
    return Returned(states, x.reshape(shape), claimed)


def _parts(result: Any, where: str = "") -> tuple[Any, int | None]:
    """The states, and how many evaluations the sampler says that it made; where: to tell."""
    if not (isinstance(result, tuple) and len(result) == 2):
        return result, None
    states, claimed = result
    if claimed is None:
        return states, None
    if not _count(claimed):
        raise ValueError(f"sampler must return how many evaluations it made, got {shown(claimed)}{where}")
    return states, int(claimed)


def _array(states: Any) -> np.ndarray:
    if isinstance(states, torch.Tensor):  # numpy holds no bfloat16
        x = states.detach().cpu()
        return np.asarray((x.double() if x.is_floating_point() else x).numpy())
    return np.asarray(states)


def _count(value: Any) -> bool:
    is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    return bool(is_number and value >= 0 and float(value).is_integer())


class ShapeError(ValueError):
    """States of another shape than they were given in; wanted, got: the shapes."""

    def __init__(self, wanted: tuple[int, ...], got: tuple[int, ...]) -> None:
        super().__init__(f"sampler must return states of shape {wanted}, got {got}")
        self.wanted, self.got = wanted, got


def states_like(result: Any, x: torch.Tensor) -> tuple[torch.Tensor, int | None]:
    """As `returned`; the states detached, as a tensor of their dtype and the shape of x.
    Raises ValueError for others.
    """
    states, claimed = _parts(result)
    try:
        found = torch.as_tensor(states).detach()
    except (TypeError, ValueError, RuntimeError):  # nothing that holds numbers
        found = None
    if found is None:
        raise ValueError(f"sampler must return states of shape {tuple(x.shape)}, got {shown(states)}")
    if found.shape != x.shape:
        raise ShapeError(tuple(x.shape), tuple(found.shape))
    return found, claimed
