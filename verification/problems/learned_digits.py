"""The learned digits: a network's score where the exact one is not known, as a problem like the others."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from semilinear.integrators.diffusion.schedule import edm

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


def learned_digits(recipe: Recipe = DEFAULT, classes: Any = None) -> NetworkProblem:
    """The flow of the digits' network, of given classes (as `DigitsNetwork.forward` takes them) or of none.

    Its data are the digits trained on, dequantised.  Weights are read when the model is first called, which
    raises NoWeights before `semilinear train` has made them.
    """
    train, _ = split(recipe)

    def denoised(x: torch.Tensor, t: Any) -> torch.Tensor:
        found: torch.Tensor = network_of(recipe)(x, t, classes)
        return found

    samples = torch.tensor(train.dequantised(recipe.seed))
    return NetworkProblem(denoised, samples, "x0", name="learned-digits", trained=TRAINED)
