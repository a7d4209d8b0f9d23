"""What is timed side by side: functions that run `STEPS` steps on a model output made beforehand."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from semilinear.integrators.diffusion.schedule import vp_linear
from semilinear.integrators.interop.stepwise import drawn_once
from semilinear.integrators.plans.compile import compile_plan
from semilinear.integrators.run.sampler import sample
from semilinear.integrators.solvers import make

from ..targets.k_diffusion import release

STEPS = 20
Run = Callable[[], Any]
Build = Callable[[torch.Tensor, torch.Tensor], Run]
"""(state, model output) -> a run.  Raises ImportError where its package, or what that needs, is missing."""


@dataclass(frozen=True)
class Candidate:
    """What is timed, and the chain that it is compared with: `operations` on states for each step.

    A chain has as many as the step has terms: a noise model in data prediction brings the state of the last
    evaluation as a term of its own, which saves converting the model's output.
    """

    build: Build
    operations: int


def chain(operations: int, draws: bool = False) -> Build:
    """The lower bound: an in-place multiplication, and in-place additions, per step.

    draws: and an increment of torch's generator.
    """

    def build(x: torch.Tensor, output: torch.Tensor) -> Run:
        state = torch.empty_like(x)

        def run() -> None:
            for _ in range(STEPS):
                if draws:
                    torch.randn_like(x)
                torch.mul(x, 0.9, out=state)
                for _ in range(operations - 1):
                    state.add_(output, alpha=0.1)

        return run

    return build


def ours(name: str, prediction: str, **parameters: Any) -> Build:
    """A listed solver, with its default check of the final state; noise as the peers have it, torch's, drawn
    once for all rows that add it.
    """

    def build(x: torch.Tensor, output: torch.Tensor) -> Run:
        plan = compile_plan(
            make(name, **parameters), vp_linear(), steps=STEPS, t_start=1.0, t_end=1e-3, prediction=prediction
        )

        def run() -> Any:
            noise = drawn_once(plan, lambda index, like: torch.randn_like(like)) if plan.stochastic else None
            return sample(plan, lambda x, t: output, x, noise=noise)

        return run

    return build


def of_diffusers(scheduler: str, **options: Any) -> Build:
    """A scheduler of diffusers with a noise model; its tables are made beforehand, its time steps are not."""

    def build(x: torch.Tensor, output: torch.Tensor) -> Run:
        made = getattr(importlib.import_module("diffusers"), scheduler)(num_train_timesteps=1000, **options)

        def run() -> None:
            made.set_timesteps(STEPS, device=x.device)
            state = x
            for t in made.timesteps:
                state = made.step(output, t, state, return_dict=False)[0]

        return run

    return build


def of_k_diffusion(function: str, **options: Any) -> Build:
    """A sampler of k-diffusion, which is handed the data prediction; noise from torch's generator."""

    def build(x: torch.Tensor, output: torch.Tensor) -> Run:
        sampling = release()
        sigmas = sampling.get_sigmas_karras(STEPS, 0.03, 10.0, device=x.device)
        given = {"noise_sampler": lambda a, b: torch.randn_like(x)} if options.get("eta") else {}
        sampler = getattr(sampling, function)
        return lambda: sampler(lambda x, sigma, **_: output, x, sigmas, disable=True, **options, **given)

    return build


def of_azula(sampler: str, **options: Any) -> Build:
    """A sampler of azula, which is handed the data prediction."""

    def build(x: torch.Tensor, output: torch.Tensor) -> Run:
        made = getattr(importlib.import_module("azula.sample"), sampler)
        schedule = importlib.import_module("azula.noise").VPSchedule()
        posterior = SimpleNamespace(mean=output)

        def denoiser(x: torch.Tensor, t: torch.Tensor, **_: Any) -> Any:
            return posterior

        denoiser.schedule = schedule  # type: ignore[attr-defined]
        return made(denoiser, steps=STEPS, silent=True, **options)  # type: ignore[no-any-return]

    def with_state(x: torch.Tensor, output: torch.Tensor) -> Run:
        run = build(x, output)
        return lambda: run(x)  # type: ignore[call-arg]

    return with_state


MULTISTEP = "DPMSolverMultistepScheduler"
SDE = {"algorithm_type": "sde-dpmsolver++"}
CANDIDATES: dict[str, Candidate] = {
    "chain of 3": Candidate(chain(3), 3),
    "chain of 4": Candidate(chain(4), 4),
    "floor of UniPC": Candidate(chain(7), 4),
    "floor of SA-Solver": Candidate(chain(8, draws=True), 4),
    "floor of SDE 2M": Candidate(chain(4, draws=True), 4),
    "semilinear 2M": Candidate(ours("dpm-solver++-2m", "x0"), 3),
    "semilinear 2M, eps model": Candidate(ours("dpm-solver++-2m", "eps"), 4),
    "k-diffusion 2M": Candidate(of_k_diffusion("sample_dpmpp_2m"), 3),
    "azula 2M": Candidate(of_azula("xEABSampler", order=2), 3),
    "diffusers 2M": Candidate(of_diffusers(MULTISTEP), 4),
    "semilinear 3M": Candidate(ours("dpm-solver++-3m-corrected", "x0"), 4),
    "diffusers 3M": Candidate(of_diffusers(MULTISTEP, solver_order=3), 4),
    "semilinear DEIS": Candidate(ours("deis-tab2", "eps"), 4),
    "diffusers DEIS": Candidate(of_diffusers("DEISMultistepScheduler", solver_order=3), 4),
    "semilinear UniPC": Candidate(ours("unipc-2-bh2", "x0"), 4),
    "diffusers UniPC": Candidate(of_diffusers("UniPCMultistepScheduler", solver_order=2), 4),
    "semilinear SA-Solver": Candidate(ours("sa-solver-2-2", "x0"), 4),
    "diffusers SA-Solver": Candidate(
        of_diffusers("SASolverScheduler", predictor_order=2, corrector_order=2), 4
    ),
    "semilinear SDE 2M": Candidate(ours("sde-dpm-solver++-2m", "x0"), 4),
    "k-diffusion SDE 2M": Candidate(of_k_diffusion("sample_dpmpp_2m_sde", eta=1.0), 4),
    "diffusers SDE 2M": Candidate(of_diffusers(MULTISTEP, **SDE), 4),
}
"""By name, as `ratios` of a record has them.

A floor is what a solver's own terms cost as a chain: UniPC and SA-Solver add two rows a step, a predictor's
and a corrector's, of 3 and 4 terms and of 4 and 4, and the stochastic ones draw an increment.
"""
OURS = ("semilinear", "chain", "floor")
"""How names begin that are no other package's."""


def built(x: torch.Tensor, output: torch.Tensor) -> tuple[dict[str, Run], dict[str, str]]:
    """The candidates that can run here, and of the others the reason why not."""
    runs: dict[str, Run] = {}
    skipped: dict[str, str] = {}
    for name, candidate in CANDIDATES.items():
        try:
            runs[name] = candidate.build(x, output)
            runs[name]()
        except ImportError as error:
            skipped[name] = str(error).splitlines()[0]
        except Exception as error:  # whatever a package raises is its own
            if name.startswith(OURS):
                raise
            runs.pop(name, None)
            skipped[name] = f"{type(error).__name__}: {error}".splitlines()[0]
    return runs, skipped
