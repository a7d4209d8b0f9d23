"""A small denoiser of scikit-learn's handwritten digits, trained to a recipe.

The network is preconditioned (Karras et al. 2022, arXiv:2206.00364, Sec. 5, Table 1): of x = x_0 + sigma eps
it makes

    D(x; sigma) = c_skip x + c_out F(c_in x, c_noise),     c_noise = log(sigma)/4,

    c_skip = s^2/(sigma^2 + s^2),   c_out = sigma s/sqrt(sigma^2 + s^2),   c_in = 1/sqrt(sigma^2 + s^2),

s the data's standard deviation, and F is a residual network of smooth functions: its flow has derivatives
of every order, as the orders of solvers need.  It knows the digit's class or none, so that one network is
the conditional and the unconditional model of classifier-free guidance.

The pixels are 0 .. 16, so the data are discrete: the network learns them dequantised, each value spread
evenly over its bin, whose law has a density.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from semilinear.integrators.common import checks, limits
from semilinear.integrators.diffusion.prediction import Model
from torch import nn

IMAGES, PIXELS, CLASSES, LEVELS = 1797, 64, 10, 17
"""Images of 8 x 8, whose pixels are 0 .. 16."""
BIN = 2 / (LEVELS - 1)
"""Width of a pixel's bin, where the levels go from -1 to 1."""
DEVIATION = 0.75
"""Of the pixels, about; s above."""
FREQUENCIES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Of the sines and cosines of c_noise."""


@dataclass(frozen=True)
class Recipe:
    """All that the weights depend on, up to rounding: the network, its data, and how it is trained.

    width, blocks: of the residual network, features: of noise level and class.  steps of AdamW with batches
    of `batch` digits, a rate that falls linearly to 0, weight decay and dropout.  log sigma is normal
    (log_sigma, log_sigma_deviation), the errors are weighted by 1/c_out^2 (eq. 8 there).  unlabelled: the
    share of digits whose class is not told.  held_out: so many digits, chosen by `split`, are never seen.
    Raises ValueError, naming the argument.
    """

    width: int = 128
    blocks: int = 2
    features: int = 64
    steps: int = 4000
    batch: int = 256
    rate: float = 2e-3
    decay: float = 0.01
    dropout: float = 0.1
    log_sigma: float = -0.4
    log_sigma_deviation: float = 1.5
    unlabelled: float = 0.2
    held_out: int = 360
    split: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("width", "blocks", "features", "batch"):
            checks.integer(name, getattr(self, name), 1, limits.NETWORK)
        checks.integer("steps", self.steps, 1, limits.TRAINING)
        for name in ("split", "seed"):
            checks.integer(name, getattr(self, name), 0)
        checks.integer("held_out", self.held_out, 1, IMAGES - 1)
        for name in ("rate", "log_sigma_deviation"):
            checks.number(name, getattr(self, name), above=0)
        checks.number("log_sigma", self.log_sigma)
        checks.number("decay", self.decay, least=0)
        for name in ("dropout", "unlabelled"):
            checks.number(name, getattr(self, name), least=0, below=1)

    @property
    def digest(self) -> str:
        """A hash of the recipe and of the data; versions and machines are no part of it."""
        images, classes = pixels()
        data = hashlib.sha256(images.tobytes() + classes.tobytes()).hexdigest()
        text = json.dumps(asdict(self) | {"data": data}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


TINY = Recipe(width=16, blocks=1, features=8, steps=40, batch=64)
"""A network that has learned next to nothing in a moment, as smooth as any."""


@cache
def pixels() -> tuple[np.ndarray, np.ndarray]:
    """All images (1797, 64), of integers 0 .. 16, and their classes (1797,)."""
    from sklearn.datasets import load_digits

    data = load_digits()
    return data.data.astype(np.uint8), data.target.astype(np.uint8)


def scaled(levels: np.ndarray) -> np.ndarray:
    """Levels 0 .. 16 as the centres of their bins, in [-1, 1], float64."""
    return np.asarray(levels, dtype=np.float64) * BIN - 1


def levels_of(x: np.ndarray) -> np.ndarray:
    """The nearest levels of scaled pixels, 0 .. 16."""
    return np.clip(np.rint((np.asarray(x) + 1) / BIN), 0, LEVELS - 1).astype(np.uint8)


@dataclass(frozen=True, eq=False)
class Digits:
    """Images, levels (n, 64), and classes (n,)."""

    levels: np.ndarray
    classes: np.ndarray

    @property
    def x(self) -> np.ndarray:
        """The images in [-1, 1], (n, 64), float64."""
        return scaled(self.levels)

    def dequantised(self, seed: int) -> np.ndarray:
        """The images with every pixel drawn evenly from its bin, (n, 64), float64."""
        return self.x + (np.random.default_rng([seed, 2]).random(self.levels.shape) - 0.5) * BIN


def split(recipe: Recipe) -> tuple[Digits, Digits]:
    """The digits that the recipe trains on, and those that are held out."""
    images, classes = pixels()
    order = np.random.default_rng(recipe.split).permutation(len(images))
    parts = order[: -recipe.held_out], order[-recipe.held_out :]
    train, held = (Digits(images[part], classes[part]) for part in parts)
    return train, held


class DigitsNetwork(nn.Module):
    """D(x; sigma) for images x (n, 64), of untrained weights."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        width, features = recipe.width, recipe.features
        self.noise = nn.Linear(2 * len(FREQUENCIES) + 1, features)
        self.of_class = nn.Embedding(CLASSES + 1, features)
        self.enter = nn.Linear(PIXELS, width)
        self.blocks = nn.ModuleList(_Block(width, features, recipe.dropout) for _ in range(recipe.blocks))
        self.leave = nn.Linear(width, PIXELS)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, x: torch.Tensor, sigma: Any, classes: Any = None) -> torch.Tensor:
        """D, (n, 64).

        sigma: a number, a tensor without dimensions, or one of each image, (n, 1).  classes: one of 0 .. 9
        for all, or one of each image, (n,), with 10 for none; None where none is known.
        """
        noise = torch.as_tensor(sigma, dtype=x.dtype, device=x.device)
        given = torch.as_tensor(CLASSES if classes is None else classes, device=x.device).long()
        c = torch.log(noise)[..., None] / 4 if noise.ndim == 0 else torch.log(noise) / 4
        angles = c * torch.tensor(FREQUENCIES, dtype=x.dtype, device=x.device)
        told = self.noise(torch.cat([c, torch.sin(angles), torch.cos(angles)], -1)) + self.of_class(given)
        told = nn.functional.silu(told)
        total = noise**2 + DEVIATION**2
        hidden = self.enter(x / torch.sqrt(total))
        for block in self.blocks:
            hidden = block(hidden, told)
        change: torch.Tensor = self.leave(hidden) * (noise * DEVIATION / torch.sqrt(total))
        return x * (DEVIATION**2 / total) + change

    def denoiser(self, classes: Any = None) -> Model:
        """The model (x, t) -> E[x_0 | x_t = x] on `schedule.edm`, where t = sigma, of classes or none."""
        return lambda x, t: self(x, t, classes)


class _Block(nn.Module):
    """h + B silu(A (norm(h) (1 + scale) + shift)), scale and shift of what is told."""

    def __init__(self, width: int, features: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.modulation = nn.Linear(features, 2 * width)
        self.widen = nn.Linear(width, 2 * width)
        self.dropout = nn.Dropout(dropout)
        self.narrow = nn.Linear(2 * width, width)
        nn.init.zeros_(self.narrow.weight)

    def forward(self, h: torch.Tensor, told: torch.Tensor) -> torch.Tensor:
        scale, shift = self.modulation(told).chunk(2, -1)
        hidden = nn.functional.silu(self.widen(self.norm(h) * (1 + scale) + shift))
        change: torch.Tensor = self.narrow(self.dropout(hidden))
        return h + change


def train(recipe: Recipe, progress: Callable[[int, int], None] | None = None) -> DigitsNetwork:
    """The network, trained in float32 and ready to be evaluated.

    Torch's own generator is left as it was.  progress: called with (steps done, steps in all).
    """
    digits, _ = split(recipe)
    x, classes = torch.tensor(digits.x, dtype=torch.float32), torch.tensor(digits.classes, dtype=torch.long)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(recipe.seed)
        network = DigitsNetwork(recipe).float()
        optimiser = torch.optim.AdamW(network.parameters(), lr=recipe.rate, weight_decay=recipe.decay)
        falling = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 1e-3, recipe.steps)
        for step in range(recipe.steps):
            chosen = torch.randint(len(x), (recipe.batch,))
            untold = torch.rand(recipe.batch) < recipe.unlabelled
            clean = x[chosen] + (torch.rand(recipe.batch, PIXELS) - 0.5) * BIN
            sigma = torch.exp(recipe.log_sigma + recipe.log_sigma_deviation * torch.randn(recipe.batch, 1))
            noisy = clean + sigma * torch.randn_like(clean)
            found = network(noisy, sigma, classes[chosen].masked_fill(untold, CLASSES))
            weight = (sigma**2 + DEVIATION**2) / (sigma * DEVIATION) ** 2
            loss = (weight * (found - clean) ** 2).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            falling.step()
            if progress is not None:
                progress(step + 1, recipe.steps)
    return network.eval().requires_grad_(False)
