"""Sampling given a part of the data: known components are overwritten between steps.

x_t given x_0 has the mean alpha_t x_0 and the deviation sigma_t, so a fresh draw alpha_t y + sigma_t z of the
known part y may stand in the state in place of what a solver made of it (Song et al. 2021,
arXiv:2011.13456, inpainting and colorization; controllable_generation.py).  Known are components of x in an
orthonormal basis: the standard one for inpainting, `GREY_BASIS` over the colour channels for colorization.

The replaced part is right in law and the rest does not know it but through the next score: the samples are
not those of the posterior, however fine the steps (`verification/inverse/` measures by how much).  The
exact way is the posterior's own score, s + grad log p_t(y|x): `models.classifier`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..common.messages import shown
from ..diffusion.grids import Times
from ..diffusion.schedule import Schedule
from ..numerics.arithmetic import Value
from .boundary import Noise, given_noise
from .sampler import Evaluate

GREY_BASIS = torch.tensor(np.array([[2, -4, 0], [2, 2, 1], [2, 2, -1]]) / np.sqrt([12, 24, 2]))
"""Orthonormal columns, the grey axis (1, 1, 1)/sqrt 3 first; colours c are c @ GREY_BASIS in it."""


@dataclass(frozen=True)
class Known:
    """What is known of the data: the coordinates of `data` in `basis` where `mask` is 1.

    data: (batch, channels, ...), known anywhere or not.  mask: 0 and 1, or truth values, of a shape that
    broadcasts to data.  basis: orthonormal columns over the first axis after the batch, (channels, channels);
    None for the standard basis.  Of any dtype, on any device: they follow the states (give them on the
    states' device where a transfer at every step is too slow).
    Raises ValueError, naming the argument.
    """

    data: torch.Tensor
    mask: torch.Tensor
    basis: torch.Tensor | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.data, torch.Tensor) or self.data.ndim < 2:
            raise ValueError(f"data must be a tensor of shape (batch, channels, ...), got {shown(self.data)}")
        if not bool(((self.mask == 0) | (self.mask == 1)).all()):
            raise ValueError("mask must hold zeros and ones only")
        own, whole = tuple(self.mask.shape), tuple(self.data.shape)
        if len(own) > len(whole) or any(m not in (1, n) for m, n in zip(own[::-1], whole[::-1])):
            raise ValueError(f"mask must broadcast to data's shape {whole}, got {own}")
        if self.basis is not None:
            channels = self.data.shape[1]
            if self.basis.shape != (channels, channels):
                raise ValueError(
                    f"basis must have shape {(channels, channels)}, got {tuple(self.basis.shape)}"
                )
            if not self.basis.is_floating_point():
                raise ValueError(f"basis must be a floating-point tensor, got {self.basis.dtype}")
            wide = self.basis.double()
            identity = torch.eye(channels, dtype=wide.dtype, device=wide.device)
            digits = max(1e-6, 4 * torch.finfo(self.basis.dtype).eps)  # as orthonormal as it can be written
            if not torch.allclose(wide.T @ wide, identity, rtol=0, atol=digits):
                raise ValueError("basis must have orthonormal columns")

    def to_basis(self, x: torch.Tensor) -> torch.Tensor:
        """Coordinates in the basis, in the dtype of x."""
        return x if self.basis is None else torch.einsum("bi...,ij->bj...", x, self.basis.to(x))

    def from_basis(self, x: torch.Tensor) -> torch.Tensor:
        """The inverse of `to_basis`, not the transpose: a basis in few digits is orthonormal in few."""
        if self.basis is None:
            return x
        inverse = torch.linalg.inv(self.basis.double()).to(x)
        return torch.einsum("bi...,ij->bj...", x, inverse)

    def put(self, x: torch.Tensor, alpha: Value, noise: Any) -> torch.Tensor:
        """x with its known coordinates overwritten by alpha y + noise (in the basis)."""
        known, mask = self.to_basis(self.data.to(x)) * alpha + noise, self.mask.to(x)
        return self.from_basis(self.to_basis(x) * (1 - mask) + known * mask)

    def start(self, prior: torch.Tensor) -> torch.Tensor:
        """A first state: the data where they are known, a draw from the prior elsewhere.

        Not the law of x_T, whose known part has the noise of T: `Replacement.before` draws it anew anyway.
        """
        return self.put(prior, 1.0, 0.0)


@dataclass(frozen=True)
class Replacement:
    """An interlude: before and after each step the known part is drawn anew at the state's time.

    schedule: of the plan.  noise: a function of (use, like), or a sequence; use = 2 index before a step and
    2 index + 1 after it.  At sigma = 0, and after a denoising step, the known part is y itself.
    """

    schedule: Schedule
    known: Known
    noise: Noise | Sequence[torch.Tensor]

    def before(self, x: torch.Tensor, t: Value, index: int, evaluate: Evaluate) -> torch.Tensor:
        """x at the start of a step."""
        return self._put(x, t, 2 * index)

    def after(self, x: torch.Tensor, t: Value, index: int, evaluate: Evaluate) -> torch.Tensor:
        """x at the end of a step."""
        return self._put(x, t, 2 * index + 1)

    def _put(self, x: torch.Tensor, t: Value, use: int) -> torch.Tensor:
        if t is None:
            return self.known.put(x, 1.0, 0.0)
        alpha, sigma = float(self.schedule.alpha(t)), float(self.schedule.sigma(t))
        return self.known.put(x, alpha, _draw(self.noise, use, x) * sigma)


@dataclass(frozen=True)
class ReplacementReleased:
    """The same as released: after a step too, the known part is drawn at the time where the step began.

    times: of the plan; the state after step i belongs to times[i + 1], but gets the noise of times[i].
    denoise: the known part of the very last state is its mean alpha y; the rest keeps its noise, which the
    release returns as x_mean.  controllable_generation.get_pc_inpainter, get_pc_colorizer.
    """

    schedule: Schedule
    known: Known
    noise: Noise | Sequence[torch.Tensor]
    times: Times
    denoise: bool = True

    def before(self, x: torch.Tensor, t: Value, index: int, evaluate: Evaluate) -> torch.Tensor:
        """x at the start of a step."""
        return self._put(x, index, 2 * index)

    def after(self, x: torch.Tensor, t: Value, index: int, evaluate: Evaluate) -> torch.Tensor:
        """x at the end of a step, with the known part of its start."""
        x = self._put(x, index, 2 * index + 1)
        if not self.denoise or index < len(self.times) - 2:
            return x
        return self.known.put(x, float(self.schedule.alpha(self.times[index])), 0.0)

    def _put(self, x: torch.Tensor, index: int, use: int) -> torch.Tensor:
        t = self.times[index]
        sigma = float(self.schedule.sigma(t))
        return self.known.put(x, float(self.schedule.alpha(t)), _draw(self.noise, use, x) * sigma)


def _draw(noise: Noise | Sequence[torch.Tensor], use: int, like: torch.Tensor) -> Any:
    return noise(use, like) if callable(noise) else given_noise(noise)(use, like)
