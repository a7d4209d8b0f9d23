"""What releases do where their users say nothing: the grid, the end, the corrector.

How a release of ours ends its runs stands with the solver (`Solver.final`, with its source); how another's
ends is its own affair.  Whether there is a corrector is part of the solver.  Where code takes a grid and has
no default, it is that of its own example, which the source says.  A default that was not found is not here.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from semilinear.integrators.solver import FinalChoice


@dataclass(frozen=True)
class Default:
    """The default of the solvers whose names match a pattern.

    grid: as `named_parts` reads it.  corrector: in words, "" where there is none.  source: where it stands.
    """

    pattern: str
    grid: str
    source: str
    corrector: str = ""
    final: FinalChoice = "released"


_DIFFUSERS = "huggingface/diffusers 0.42,"

_DEIS = (
    "qsh-zh/deis, README.md and demo/discrete_celeba: ts_phase='t', ts_order=2; get_sampler has no default"
)

RELEASED: tuple[Default, ...] = (
    Default("dpm-solver-v3-*", "lambda", "thu-ml/DPM-Solver-v3, edm and score_sde: skip_type='logSNR'"),
    Default(
        "dpm-solver*-on-grid", "diffusers-linspace", f"{_DIFFUSERS} DPMSolverSinglestepScheduler: linspace"
    ),
    Default("dpm-solver*", "t", "LuChengTHU/dpm-solver, sample: skip_type='time_uniform'"),
    Default(
        "unipc-*",
        "t",
        "wl-zhao/UniPC, uni_pc.py, sample: skip_type='time_uniform'",
        "at every step but the last",
    ),
    Default("unip-*", "t", "wl-zhao/UniPC, uni_pc.py, sample: skip_type='time_uniform'"),
    Default("deis-ipndm", "t", "qsh-zh/deis, get_sampler_ipndm: uniform t whatever is asked"),
    Default("deis-lambdaab*", "diffusers-linspace", f"{_DIFFUSERS} DEISMultistepScheduler: 'linspace'"),
    *(Default(f"deis-{kind}*", "t-quadratic", _DEIS) for kind in ("tab", "rhoab", "rhork")),
    Default("scire-*", "t", "ShiguiLi/SciRE-Solver, sample in all its copies: skip_type='time_uniform'"),
    Default(
        "er-sde-ode-*",
        "karras",
        "QinpengCui/ER-SDE-Solver, examples/edm/generate.py: rho=7; er_sde_solver.py has no default",
    ),
    Default(
        "ddim",
        "diffusers-leading-ddim",
        f"{_DIFFUSERS} DDIMScheduler: 'leading'; steps_offset=1 in the configurations of Stable Diffusion",
    ),
    Default("edm-heun", "karras", "Karras et al. 2022, Alg. 1 and Table 1: rho = 7"),
    Default("score-sde-pf-*", "t", "yang-song/score_sde_pytorch, sampling.py: linspace(T, eps, N)"),
    Default(
        "diffusers:UniPCMultistepScheduler*",
        "diffusers-linspace",
        f"{_DIFFUSERS} 'linspace'",
        "at every step but the last",
    ),
    Default("diffusers:DPMSolverMultistepScheduler*", "diffusers-linspace", f"{_DIFFUSERS} 'linspace'"),
    Default("diffusers:DPMSolverSinglestepScheduler*", "diffusers-linspace", f"{_DIFFUSERS} linspace"),
    Default("diffusers:DEISMultistepScheduler*", "diffusers-linspace", f"{_DIFFUSERS} 'linspace'"),
    Default("diffusers:SASolverScheduler*", "diffusers-linspace", f"{_DIFFUSERS} 'linspace'"),
    Default("diffusers:DDIMScheduler*", "diffusers-leading-ddim", f"{_DIFFUSERS} 'leading'"),
    Default("diffusers:PNDMScheduler*", "diffusers-leading-ddim", f"{_DIFFUSERS} 'leading'"),
)
"""The first pattern that a name matches counts."""


def released(name: str) -> Default | None:
    """The default of a solver or another's sampler, by name; None where none is known."""
    return next((d for d in RELEASED if fnmatchcase(name, d.pattern)), None)
