"""The learned digits: a network's score where the exact one is not known, as a problem like the others."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from semilinear.integrators.diffusion.prediction import Model
from semilinear.integrators.diffusion.schedule import Schedule, edm

from .digits_network import DigitsNetwork, Recipe, split
from .network import NetworkProblem
from .weights import load

TRAINED = edm()
"""The schedule of the network's own times: t = sigma."""
DEFAULT = Recipe()
"""Of the problem by name."""


@cache
def network_of(recipe: Recipe) -> DigitsNetwork:
    """The trained network in float64: the same function, less rounded.  Raises NoWeights as `load` does."""
    return load(recipe).double()


@dataclass(frozen=True, eq=False)
class LearnedDigits(NetworkProblem):
    """A `NetworkProblem` whose weights are read from the cache when its model is asked for."""

    recipe: Recipe = DEFAULT

    def model(self, schedule: Schedule) -> Model:
        """As `NetworkProblem.model`.  Raises NoWeights before `semilinear train` has made them."""
        network_of(self.recipe)  # not within the first call, which torch.func may transform
        return super().model(schedule)


def learned_digits(recipe: Recipe = DEFAULT, classes: Any = None) -> LearnedDigits:
    """The flow of the digits' network, of given classes (as `DigitsNetwork.forward` takes them) or of none.

    Its data are the digits trained on, dequantised.
    """
    train, _ = split(recipe)

    def denoised(x: torch.Tensor, t: Any) -> torch.Tensor:
        found: torch.Tensor = network_of(recipe)(x, t, classes)
        return found

    samples = torch.tensor(train.dequantised(recipe.seed))
    return LearnedDigits(denoised, samples, "x0", name="learned-digits", trained=TRAINED, recipe=recipe)
