"""k-diffusion's convention: `sampler(model, x, sigmas, ..)`, states x/alpha, the model a denoiser.

The denoiser is told sigma as a tensor of shape (batch,).  Samplers that ask for `sigma_min` and `sigma_max`
(`sample_dpm_fast`, `sample_dpm_adaptive`) are given the grid's ends, and `n`, their evaluations, as its
number of steps.  A `noise_sampler` gets the increments between the levels that it names.  ComfyUI's samplers
are of the same convention; they find the noise levels at `model.inner_model.model_sampling`, or one
`inner_model` deeper.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from semilinear.integrators.common.constructors import refuse_unknown

from .arithmetic import modules_of, widened
from .frames import Frame
from .loading import alone
from .run import Run, Sampler

GIVEN = ("model", "x", "sigmas", "sigma_min", "sigma_max", "n", "extra_args", "callback", "disable")
"""Parameters that the convention fills."""


class Denoiser:
    """What such a sampler calls: denoiser(y, sigma) -> data, and the levels of ComfyUI's models."""

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        ends = sorted(torch.tensor(frame.levels.grid, dtype=torch.float64))
        levels = SimpleNamespace(
            sigma_min=ends[0],
            sigma_max=ends[-1],
            sigma=lambda t: (4 * torch.as_tensor(t)).exp(),
            timestep=lambda sigma: 0.25 * torch.as_tensor(sigma).log(),
            noise_scale=1.0,
            noise_scaling=lambda sigma, noise, x, max_denoise=False: x + sigma * noise,
        )
        self.inner_model = SimpleNamespace(
            model_sampling=levels, model_patcher=SimpleNamespace(get_model_object=lambda name: levels)
        )
        self.inner_model.inner_model = self.inner_model

    def __call__(self, y: Any, sigma: Any, **_: Any) -> Any:
        """Data at states and noise levels, those of a batch all alike."""
        return self.frame.predict("x0", y, sigma)


def sampler(
    function: Callable[..., Any], settings: Mapping[str, Any] | None = None, *, exact: bool = True
) -> Sampler:
    """A function of this convention as a sampler of runs.

    settings: its further parameters (`s_churn`, `eta`, `order`, ..).  exact: tensors that it makes of Python
    numbers are float64.  Raises ValueError for settings that it does not take, and for a function that takes
    neither `sigmas` nor `sigma_min` and `sigma_max`.
    """
    taken = inspect.signature(function).parameters
    name = getattr(function, "__name__", type(function).__name__)
    further = {key: p for key, p in taken.items() if key not in (*GIVEN, "noise_sampler")}
    settings = dict(settings or {})
    refuse_unknown(f"function {name}", settings, further)
    if "sigmas" not in taken and not {"sigma_min", "sigma_max"} <= set(taken):
        got = f"{name}({', '.join(taken)})"
        raise ValueError(f"function must take sigmas, or sigma_min and sigma_max, got {got}")

    def sample(run: Run) -> Any:
        frame = Frame(run, "ve")
        # Levels are float32 beside half-precision states, as grids are made: in bfloat16 neighbours coincide.
        own = torch.promote_types(run.x.dtype, torch.float32)
        sigmas = torch.tensor(frame.levels.grid, dtype=torch.float64 if exact else own)
        offered: dict[str, Any] = {
            "sigmas": sigmas,
            "sigma_min": min(frame.levels.grid),
            "sigma_max": max(frame.levels.grid),
            "n": int(run),
            "disable": True,
            "noise_sampler": lambda sigma, sigma_next: frame.increment(sigma, sigma_next, run.x),
        }
        given = {key: value for key, value in offered.items() if key in taken}
        with widened(modules_of(function), exact):
            final = function(Denoiser(frame), frame.enter(), **given, **settings)
        return frame.leave(final)

    return sample


def release() -> ModuleType:
    """`k_diffusion.sampling` alone.  Raises ModuleNotFoundError where it, or what it needs, is not there."""
    utils = ModuleType("k_diffusion.utils")
    utils.append_dims = append_dims  # type: ignore[attr-defined]
    return alone("k_diffusion.sampling", {"k_diffusion.utils": utils})


def append_dims(x: Any, target: int) -> Any:
    """A tensor with axes of length 1 appended up to a number of them, as `k_diffusion.utils` has it."""
    return x[(...,) + (None,) * (target - x.ndim)]
