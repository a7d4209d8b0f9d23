"""Any solver as a function of k-diffusion: `sampler(model, x, sigmas, ..)`, x_0 + sigma eps, the model a
denoiser.  ComfyUI, A1111 and their relatives take such functions.  Nothing is imported from k-diffusion.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from ..common import checks
from ..common.messages import shown
from ..diffusion.grids import Grid
from ..diffusion.schedule import edm
from ..numerics.arithmetic import Value
from ..plans.program import Plan, Row, Start
from ..run.boundary import Check, Noise
from ..run.sampler import sample
from ..solver import FINAL_CHOICES, FinalChoice, Solver
from ..solvers import make
from .ending import plan_through
from .stepwise import cut, drawn_once

Denoiser = Callable[..., torch.Tensor]
"""denoiser(x, sigma, **extra_args) -> data: x of shape (batch, ..), sigma of shape (batch,)."""
NoiseSampler = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""(sigma, sigma_next) -> standard normal numbers like x, for the increment between these levels."""
STARTS: tuple[Start, ...] = ("own", "high-order")


def as_k_diffusion(
    solver: str | Solver,
    *,
    start: Start = "own",
    final: FinalChoice = "released",
    grid: Grid | None = None,
    check: Check = "end",
    **parameters: Any,
) -> Callable[..., torch.Tensor]:
    """A solver as `sampler(model, x, sigmas, extra_args, callback, disable, noise_sampler)`.

    solver: a name, with its parameters, or a `Solver`.  start, final, grid: as `compile_plan` takes them; the
    grid only places stages.  check: as `sample` takes it.
    The sampler runs the plan through `sigmas`, which decrease; where the last is 0, its last step returns the
    denoised state, as k-diffusion's steps to 0 do.  `model` is called at sigma as a tensor of shape (batch,)
    in the dtype of x.  `callback` gets {"x", "i", "sigma", "sigma_hat", "denoised"} at the last evaluation of
    each of the sigmas.  A stochastic solver draws by `noise_sampler`, torch.randn_like where there is none:
    for each increment once, between the levels of which it is the noise.  `disable` is of no effect: there is
    no progress bar.
    Raises ValueError or TypeError for arguments that do not fit; the sampler, too, and NonFiniteError.
    """
    if isinstance(solver, Solver) and parameters:
        raise ValueError(f"solver must be a name where it takes {', '.join(parameters)}, got a Solver")
    made = solver if isinstance(solver, Solver) else make(solver, **parameters)
    checks.one_of("start", start, STARTS)
    checks.one_of("final", final, FINAL_CHOICES)
    if grid is not None:
        checks.instance("grid", grid, Grid)

    def sampler(
        model: Denoiser,
        x: torch.Tensor,
        sigmas: torch.Tensor,
        extra_args: Mapping[str, Any] | None = None,
        callback: Callable[[dict[str, Any]], Any] | None = None,
        disable: bool | None = None,
        noise_sampler: NoiseSampler | None = None,
    ) -> torch.Tensor:
        levels = _levels(sigmas)
        times = levels[:-1] if levels[-1] == 0 else levels
        plan = plan_through(
            made,
            edm(levels[0]),
            times,
            to_data=levels[-1] == 0,
            prediction="x0",
            start=start,
            final=final,
            grid=grid,
        )
        extra, told = dict(extra_args or {}), _last_at(plan, times)
        count = 0

        def denoise(state: torch.Tensor, sigma: Value) -> torch.Tensor:
            nonlocal count
            level = state.new_full((len(state),), sigma)
            denoised = model(state, level, **extra)
            if callback is not None and count in told:
                at = {"sigma": level[0], "sigma_hat": level[0]}
                callback({"x": state, "i": told[count], "denoised": denoised, **at})
            count += 1
            return denoised

        noise = _noise(plan, noise_sampler, x) if plan.stochastic else None
        final_state: torch.Tensor = sample(
            plan, denoise, x, noise=noise, check=check, reuse=callback is None
        ).x
        return final_state

    sampler.__name__ = sampler.__qualname__ = f"sample_{made.name}"
    return sampler


def _levels(sigmas: Any) -> list[float]:
    """The sigmas as numbers; that they are levels of a schedule and monotone is checked with the plan."""
    levels = [float(s) for s in sigmas]
    if len(levels) < 2 or not levels[0] > levels[-1] >= 0:
        raise ValueError(
            f"sigmas must decrease from a positive level, at least 2 of them, got {shown(levels)}"
        )
    return levels


def _last_at(plan: Plan, times: list[float]) -> dict[int, int]:
    """Evaluations, by their number, that are the last at one of the times: the number of that time."""
    asked = {part.evaluation.t: k for k, part in enumerate(cut(plan))}
    return {asked[t]: i for i, t in enumerate(times) if t in asked}


def _noise(plan: Plan, noise_sampler: NoiseSampler | None, x: torch.Tensor) -> Noise:
    """The increments by a noise sampler, which is told the ends of its step where one is not of the path."""
    steps = {
        which: (step.t0, step.t1)
        for step in plan.steps
        for op in step.operations
        if isinstance(op, Row)
        for which, _ in op.noise
    }
    spans = {which: span or steps[which] for which, span in enumerate(plan.increments) if which in steps}

    def draw(which: int, like: torch.Tensor) -> torch.Tensor:
        if noise_sampler is None:
            return torch.randn_like(like)
        start, end = (x.new_tensor(t) for t in spans[which])
        return noise_sampler(start, end).to(like)

    return drawn_once(plan, draw)
