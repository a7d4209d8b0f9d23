"""A run on a model that is not linear: what a sampler really computes, for traces to be held against.

The model couples the components of a sample and is the same law in every prediction that is asked for; noise
is random.  A sampler that is linear in its start, its outputs and its noise makes on it what its rows say.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from typing import Literal

import numpy as np
import torch
from semilinear.integrators.diffusion.prediction import Model, convert
from semilinear.integrators.diffusion.schedule import Schedule

from ..targets.run import Sampler
from .probe import SAME, Probe, Script

SHAPE = (3, 1, 2, 3)
"""Of the states: (batch, channels, height, width)."""
Spread = Literal["full", "draws", "none"]


@dataclass(frozen=True)
class Witness:
    """A run: what it was asked, the states that it evaluated and its last, (states, elements) in float64; the
    last alone where samples were evaluated apart.  overwritten: whether the start is another after it.
    """

    script: Script
    states: np.ndarray
    overwritten: bool = False


@cache
def _normal(seed: int) -> torch.Tensor:
    """Numbers that every precision holds, so that draws in a coarser one than the states' are the same."""
    return torch.from_numpy(np.random.default_rng([7, seed]).standard_normal(SHAPE)).bfloat16().double()


@lru_cache(maxsize=2**14)  # run after run at the same times
def _size(schedule: Schedule, t: float) -> float:
    return math.hypot(float(schedule.alpha(t)), float(schedule.sigma(t)))


@dataclass(frozen=True)
class Scene:
    """What runs are made on.

    scales: of start, outputs and noise together, for each sample of the batch; small ones pass below every
    bound at which values are clipped, large ones reach it.  sample: one of the batch alone, None for all of
    them.  columns: how many of each sample's there are.  coupled: whether the model couples components.
    spread: which noise differs: all numbers ("full"), those of two draws ("draws"), for draws whose elements
    have no known place, or none.  seed: of what a sampler draws besides normal numbers.
    """

    schedule: Schedule
    grid: tuple[float, ...]
    dtype: torch.dtype
    scales: tuple[float, ...] = (1.0,) * SHAPE[0]
    sample: int | None = None
    columns: int = SHAPE[-1]
    coupled: bool = True
    spread: Spread = "full"
    seed: int = 0

    @cached_property
    def scale(self) -> torch.Tensor:
        """Of each sample."""
        scales = torch.tensor(self.scales, dtype=torch.float64).reshape(-1, 1, 1, 1)
        return scales if self.sample is None else scales[self.sample : self.sample + 1]

    def start(self) -> torch.Tensor:
        """Random states of the size of the marginal's."""
        return (self.scale * self._chosen(_size(self.schedule, self.grid[0]) * _normal(0))).to(self.dtype)

    def noise(self, index: int) -> torch.Tensor:
        """What a request of noise is answered with."""
        values = self._chosen(_normal(1 + index))
        if self.spread == "full":
            return self.scale * values
        return torch.full_like(
            values, SAME if self.spread == "none" else float(_normal(1 + index)[0, 0, 0, 0])
        )

    def model(self, x: torch.Tensor, t: float) -> torch.Tensor:
        """The noise prediction, of one batch or several of it stacked; where the scales of the samples are
        unknown, as if they were that of the first.
        """
        count, rest = divmod(len(x), len(self.scale))
        scale = self.scale[:1] if rest or not count else self.scale.repeat(count, 1, 1, 1)
        y = x.double() / (scale * _size(self.schedule, t))
        noise = torch.tanh(y) + 0.3 * torch.sin(2 * (y.roll(1, -1) if self.coupled else y)) + 0.1
        return (scale * noise).to(x.dtype)

    def predicting(self, prediction: str) -> Model:
        """The model in another prediction."""
        return convert(self.schedule, self.model, "eps", prediction)

    def _chosen(self, values: torch.Tensor) -> torch.Tensor:
        kept = values if self.sample is None else values[self.sample : self.sample + 1]
        return kept[: len(self.scales), ..., : self.columns]

    def run(self, sampler: Sampler) -> Witness:
        """A run, whose requests of noise are all independent."""

        def noise(number: int, shape: tuple[int, ...]) -> torch.Tensor:
            if shape != tuple(self.start().shape):
                raise ValueError(f"noise must be asked for in the shape of the states, got {shape}")
            return self.noise(number)

        probe = Probe(self.schedule, self.grid, self.start(), lambda x, t, _: self.model(x, t), noise)
        final = probe.end(sampler, self.seed)
        seen = () if probe.script.parts else probe.script.seen
        states = [s.double().reshape(-1).numpy() for s in (*seen, final)]
        return Witness(probe.script, np.stack(states), not torch.equal(probe.x, self.start()))

    def basis(self, witness: Witness, prediction: str, draws: int) -> np.ndarray:
        """Start, outputs and noise of a run, (1 + calls + draws, elements): what rows multiply."""
        model: Callable[[torch.Tensor, float], torch.Tensor] = self.predicting(prediction)
        start = self.start().double()
        parts = [start]
        for (_, t), state in zip(witness.script.asked, witness.states, strict=False):
            x = torch.from_numpy(state).reshape(start.shape)
            parts.append(model(x, t))
        parts += [self.noise(i) for i in range(draws)]
        return np.stack([p.reshape(-1).numpy() for p in parts])
