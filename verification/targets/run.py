"""What a sampler is given for one run, and what it gives back.

Studies, traces and audits drive samplers through one face: states, times, a model that speaks any prediction,
and the noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Self

import numpy as np
import torch
from semilinear.integrators.common.messages import shown
from semilinear.integrators.diffusion.prediction import Model, convert
from semilinear.integrators.diffusion.schedule import Schedule
from semilinear.integrators.numerics.arithmetic import Value


class Run(int):
    """One run of a sampler: its number of steps, and what it needs for them.

    x: initial states, (batch, *shape), in the frame of `schedule`: x = alpha x_0 + sigma eps.  times: of the
    grid, n + 1 of them from the start to the end.
    """

    x: Any
    schedule: Schedule
    times: tuple[Value, ...]
    _eps: Model
    _asked: Fraction

    def __new__(cls, schedule: Schedule, times: Sequence[Value], x: Any, eps: Model) -> Self:
        """eps: the noise prediction at states of the shape of x."""
        run = super().__new__(cls, len(times) - 1)
        run.schedule, run.times, run.x, run._eps = schedule, tuple(times), x, eps
        run._asked = Fraction(0)
        return run

    @property
    def calls(self) -> int:
        """Evaluations of the model for each sample: states that are stacked into one call count as often as
        they hold the batch, those of a part of it as that part.
        """
        return math.ceil(self._asked)

    def model(self, x: Any, t: Any) -> Any:
        """The noise prediction at states of the shape of `x`, or several of it stacked, and time t."""
        self._asked += batches(x, self.x)
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


def in_numpy(model: Model) -> Model:
    """A model of tensors and arrays that computes plain float64 tensors in numpy, whose operations on a small
    batch cost a third of torch's; what is differentiated, transformed or elsewhere it is given as it is.
    """

    def predict(x: Any, t: Any) -> Any:
        plain = type(x) is torch.Tensor and x.dtype == torch.float64 and not x.requires_grad
        if isinstance(t, torch.Tensor):
            plain = plain and t.numel() == 1 and not t.requires_grad
        if plain:
            try:
                states, time = x.numpy(), float(t)
            except (RuntimeError, TypeError):  # on a device, or inside of a transformation
                return model(x, t)
            return torch.from_numpy(model(states, time))
        return model(x, t)

    return predict


class AskedError(ValueError):
    """A sampler asked the model at what is no states."""


def batches(x: Any, batch: Any) -> Fraction:
    """How many times the batch some states are; 1 where neither says its shape.

    Raises AskedError (a ValueError) for complex ones.
    """
    dtype = getattr(x, "dtype", None)
    if getattr(dtype, "is_complex", False) or getattr(dtype, "kind", "") == "c":
        raise AskedError(f"the model must be asked at real states, got {_brief(x)}")
    sizes = [math.prod(getattr(states, "shape", ())) for states in (x, batch)]
    return Fraction(*sizes) if all(sizes) else Fraction(1)


def unstacked(x: torch.Tensor, batch: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The batches that are stacked in the states of one call; some samples of one are by themselves.

    Raises ValueError for states of other shapes.
    """
    count = batches(x, batch)
    if count.denominator == 1 and len(x) % count == 0:
        return x.chunk(int(count))
    if x.shape[1:] == batch.shape[1:]:
        return (x,)
    raise ValueError(
        f"the model must be asked for states of shape {tuple(batch.shape)}, several of them stacked, or a "
        f"part of the batch, got {tuple(x.shape)}"
    )


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

    Raises ReturnedError (a ValueError) for states of another size, and what is no states or no count.
    """
    states, claimed = _parts(result, f" at n = {n}")
    x = _array(states)
    if x is None or x.dtype.kind not in "fO" or x.shape[:1] != shape[:1] or x.size != math.prod(shape):
        raise ReturnedError(
            f"sampler must return real states of shape {shape}, or (states, evaluations made), "
            f"got {_brief(states)} at n = {n}"
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
        raise ReturnedError(f"sampler must return how many evaluations it made, got {shown(claimed)}{where}")
    return states, int(claimed)


def _array(states: Any) -> np.ndarray | None:
    """The same in numpy, in which Python's numbers are float64; None for what holds none."""
    if isinstance(states, torch.Tensor):  # numpy holds no bfloat16
        x = states.detach().cpu()
        return np.asarray((x.double() if x.is_floating_point() else x).numpy())
    try:
        return np.asarray(states)
    except (TypeError, ValueError, RuntimeError):
        return None


def _brief(states: Any) -> str:
    """What was given for states, in a few words that are the same in every run."""
    dtype, shape = getattr(states, "dtype", None), getattr(states, "shape", None)
    if dtype is not None and shape is not None:
        return f"{str(dtype).removeprefix('torch.')} of {tuple(shape)}"
    if states is None or isinstance(states, bool | int | float | complex | str):
        return shown(states)
    return f"a {type(states).__name__}" + (f" of {len(states)}" if isinstance(states, Sized) else "")


def _count(value: Any) -> bool:
    is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    return bool(is_number and value >= 0 and float(value).is_integer())


class EndedError(RuntimeError):
    """A sampler that ended the program."""


def ending(sampler: Sampler) -> Sampler:
    """The sampler; where it calls sys.exit its run raises EndedError, and whoever drives it goes on."""

    def sample(run: Any) -> Any:
        try:
            return sampler(run)
        except SystemExit as end:
            raise EndedError(f"the sampler ends the program: sys.exit({end.code!r})") from end

    return sample


class ReturnedError(ValueError):
    """A sampler gave back what is no states of the run, or no count."""


class ShapeError(ReturnedError):
    """States of another shape than they were given in; wanted, got: the shapes."""

    def __init__(self, wanted: tuple[int, ...], got: tuple[int, ...]) -> None:
        super().__init__(f"sampler must return states of shape {wanted}, got {got}")
        self.wanted, self.got = wanted, got


def states_like(result: Any, x: torch.Tensor) -> tuple[torch.Tensor, int | None]:
    """As `returned`; the states detached, as a tensor of their dtype and the shape of x.
    Raises ReturnedError (a ValueError) for others.
    """
    states, claimed = _parts(result)
    found = states.detach() if isinstance(states, torch.Tensor) else _tensor(states)
    if found is None or not found.is_floating_point():
        raise ReturnedError(
            f"sampler must return real states of shape {tuple(x.shape)}, got {_brief(states)}"
        )
    if found.shape != x.shape:
        raise ShapeError(tuple(x.shape), tuple(found.shape))
    return found, claimed


def _tensor(states: Any) -> torch.Tensor | None:
    """None for what holds no numbers."""
    try:
        return torch.as_tensor(_array(states))
    except (TypeError, ValueError, RuntimeError):
        return None
