"""Weights of trained networks in the user's cache folder, by the hash of their recipe, as safetensors.

The format holds tensors and text alone: nothing that is loaded is executed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load as tensors_of
from safetensors.torch import save as bytes_of
from semilinear.integrators.common.files import write_atomically

from .cache import folder
from .digits_network import DigitsNetwork, Recipe, train

COMMAND = "semilinear train"
"""What makes the weights."""


class NoWeights(ValueError):
    """Weights that have not been made yet, or a file that does not hold them; the message says what to do."""


def path_of(recipe: Recipe) -> Path:
    """The file of a recipe's weights."""
    return folder() / f"digits-{recipe.digest}.safetensors"


def save(network: DigitsNetwork, recipe: Recipe, path: Path) -> None:
    """Write the weights, and the recipe as text beside them; the file is replaced whole."""
    text = {"recipe": json.dumps(asdict(recipe), sort_keys=True)}
    write_atomically(path, bytes_of(network.state_dict(), metadata=text))


def load(recipe: Recipe, path: Path | None = None) -> DigitsNetwork:
    """The network of a recipe, ready to be evaluated, from the cache or a file.

    Raises NoWeights where there is none, or the file holds another network's weights.
    """
    where = path_of(recipe) if path is None else path
    try:
        given = tensors_of(where.read_bytes())
    except FileNotFoundError as missing:
        raise NoWeights(f"learned-digits has no weights at {where}: make them with `{COMMAND}`") from missing
    except SafetensorError as wrong:
        raise NoWeights(f"{where} holds no weights: {wrong}") from wrong
    network = DigitsNetwork(recipe)
    own = network.state_dict()
    if given.keys() != own.keys() or any(given[k].shape != v.shape for k, v in own.items()):
        raise NoWeights(f"{where} holds the weights of another network: remove it, then `{COMMAND}`")
    network.load_state_dict(given)
    return network.eval().requires_grad_(False)


def made(recipe: Recipe, progress: Callable[[int, int], None] | None = None) -> DigitsNetwork:
    """The network of a recipe: from the cache, or trained and kept there."""
    if path_of(recipe).exists():
        return load(recipe)
    save(train(recipe, progress), recipe, path_of(recipe))
    return load(recipe)
