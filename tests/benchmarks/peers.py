"""What the loop is timed beside: functions that run `STEPS` steps on a preallocated model output."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from collections.abc import Callable
from typing import Any

import torch
from semilinear.integrators.diffusion.schedule import vp_linear
from semilinear.integrators.plans.compile import compile_plan
from semilinear.integrators.run.sampler import sample
from semilinear.integrators.solvers import make

STEPS = 20
Run = Callable[[], Any]


def chain(x: torch.Tensor, output: torch.Tensor, terms: int) -> Run:
    """The lower bound: an in-place multiplication and `terms` in-place additions per step."""
    state = torch.empty_like(x)

    def run() -> None:
        for _ in range(STEPS):
            torch.mul(x, 0.9, out=state)
            for _ in range(terms):
                state.add_(output, alpha=0.1)

    return run


def ours(name: str, prediction: str) -> Callable[[torch.Tensor, torch.Tensor], Run]:
    """One of our solvers, with its default check of the final state."""

    def build(x: torch.Tensor, output: torch.Tensor) -> Run:
        plan = compile_plan(
            make(name), vp_linear(), steps=STEPS, t_start=1.0, t_end=1e-3, prediction=prediction
        )
        return lambda: sample(plan, lambda x, t: output, x)

    return build


def diffusers_2m(x: torch.Tensor, output: torch.Tensor) -> Run:
    """diffusers' DPMSolverMultistepScheduler, DPM-Solver++ 2M, noise prediction; tables made beforehand."""
    diffusers = importlib.import_module("diffusers")
    scheduler = diffusers.DPMSolverMultistepScheduler(num_train_timesteps=1000)

    def run() -> None:
        scheduler.set_timesteps(STEPS, device=x.device)
        state = x
        for t in scheduler.timesteps:
            state = scheduler.step(output, t, state, return_dict=False)[0]

    return run


def k_diffusion_2m(x: torch.Tensor, output: torch.Tensor) -> Run:
    """k-diffusion's sample_dpmpp_2m, which is handed the data prediction."""
    sampling = _k_diffusion_sampling()
    sigmas = sampling.get_sigmas_karras(STEPS, 0.03, 10.0, device=x.device)
    return lambda: sampling.sample_dpmpp_2m(lambda x, sigma, **_: output, x, sigmas, disable=True)


def _k_diffusion_sampling() -> Any:
    """k_diffusion.sampling alone: the package's __init__ imports training code and image libraries."""
    if "k_diffusion.sampling" in sys.modules:
        return sys.modules["k_diffusion.sampling"]
    spec = importlib.util.find_spec("k_diffusion")
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError("k_diffusion is not installed")
    package = types.ModuleType("k_diffusion")
    package.__path__ = list(spec.submodule_search_locations)
    utils = types.ModuleType("k_diffusion.utils")
    sys.modules |= {"k_diffusion": package, "k_diffusion.utils": utils}
    return importlib.import_module("k_diffusion.sampling")


Build = Callable[[torch.Tensor, torch.Tensor], Run]
SECOND, THIRD = "chain of 3 operations", "chain of 4 operations"
CANDIDATES: dict[str, tuple[Build, str]] = {
    SECOND: (lambda x, output: chain(x, output, 2), SECOND),
    THIRD: (lambda x, output: chain(x, output, 3), SECOND),
    "semilinear DPM++ 2M, x0 model": (ours("dpm-solver++-2m", "x0"), SECOND),
    "semilinear DPM++ 2M, eps model": (ours("dpm-solver++-2m", "eps"), THIRD),
    "semilinear DPM++ 3M, x0 model": (ours("dpm-solver++-3m-corrected", "x0"), THIRD),
    "k-diffusion dpmpp_2m, x0 model": (k_diffusion_2m, SECOND),
    "diffusers DPM++ 2M, eps model": (diffusers_2m, THIRD),
}
"""Name -> ((state, model output) -> a function that runs `STEPS` steps, the lower bound it is compared with).

The bound has as many operations as the step has terms: a noise model in data prediction brings the state of
the last evaluation as a term of its own, which saves converting the model's output.
"""
