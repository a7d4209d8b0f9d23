"""What others call the solvers that are listed here, and what is not listed, with the reason.

A name that is not listed is not taken for one that is: the message that refuses it says what to write.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from .names import nearest

ELSEWHERE: Mapping[str, str] = MappingProxyType(
    {
        # crowsonkb/k-diffusion and ComfyUI (`k_diffusion`)
        "euler": "ddim",
        "heun": "edm-heun",
        "dpm-2": "dpm-solver-2",
        "lms": "deis-rhoab3",
        "dpmpp-2s-ancestral": "dpm++-2s-ancestral",
        "dpmpp-2m": "dpm-solver++-2m",
        "dpmpp-sde": "sde-dpm-solver++-2s",
        "dpmpp-2m-sde": "k-diffusion-2m-sde",
        "dpmpp-3m-sde": "k-diffusion-3m-sde-released",
        "res-multistep-ancestral": "res-2m-ancestral",
        "ipndm": "deis-ipndm",
        "exp-heun-2-x0": "etdrk2",
        "dpmpp-4m-sde": "dpm++-4m-sde",
        "clyb-4m-sde-momentumized": "dpm++-4m-sde",
        "sa-solver": "sa-solver-3-4-comfyui",
        "er-sde": "er-sde-3-comfyui",
        # flow matching (`runge_kutta`)
        "flow-match-euler": "euler-in-t",
        "heun2": "heun-in-t",
        "heun3": "rk3-in-t",
        "midpoint": "rk2-in-t",
        "dopri5": "dormand-prince-in-t",
        "rf-solver": "rk2-in-t",
        "rf-solver-2": "rk2-in-t",
        # papers
        "fastdpm": "ddim-eta",
        "pndm": "f-pndm",
        "analytic-dpm": "analytic-ddpm",
        "pfdiff": "pfdiff-1",
        "rx-dpm": "rx-euler-2",
        "rx-ddim": "rx-euler-2",
        **{f"unipc-{p}": f"unipc-{p}-bh2" for p in range(1, 6)},
    }
)
"""By another's name, in small letters with hyphens, the listed solver: the same formula, under the schedule
and on the grid that the other runs it on.
"""

NOT_LISTED: Mapping[str, str] = MappingProxyType(
    {
        "restart": "a plan, not a solver: `semilinear.plans.restart`",
        "cfg++": "a guided model, not a solver: `integrators.run.models.cfg_plus_plus`, for ddim",
        "bdia": "not listed: its rows hold past states, those here past evaluations",
        "belm": "not listed: its rows hold past states, those here past evaluations",
        "gddim": "not listed: its linear part is a matrix in phase space",
        "psld": "not listed: its linear part is a matrix in phase space",
    }
)
"""By name, why a method is not listed (docs/limits.md)."""


def hint(name: str, listed: Iterable[str]) -> str:
    """How a message ends that refuses a name: what the name stands for, else listed ones that are like it."""
    plain = str(name).lower().replace("_", "-")
    if plain in ELSEWHERE:
        return f"; here that is {ELSEWHERE[plain]}"
    if plain in NOT_LISTED:
        return f"; that is {NOT_LISTED[plain]}"
    return nearest(name, listed)
