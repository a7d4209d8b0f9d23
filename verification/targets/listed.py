"""What each package has, in which configurations it is usually run, and the orders that it claims.

A claim is the package's own word: a parameter called order, a docstring, the name of a formula.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from semilinear.analysis.text.spelling import check_name
from semilinear.integrators.common.names import UnknownTableau, nearest
from semilinear.integrators.common.other_names import hint

Settings = Mapping[str, Any]
DEEPINV_SOLVERS = ("EulerSolver", "HeunSolver", "AncestralSolver", "DDPMSolver", "DDIMSolver")
DEEPINV_SDES = ("VarianceExplodingDiffusion", "VariancePreservingDiffusion", "FlowMatching")
"""Those that have noise levels of their own."""
POSTERIOR = "PosteriorDiffusion"


@dataclass(frozen=True)
class Claim:
    """An order and who says so.

    order: the number, or the name of the parameter that is it, `default` where that is not set.  corrected:
    the parameter that leaves out a corrector, which adds 1.  unless: the one under which nothing is claimed.
    orders: by a word that the parameter is, where it is no number.
    """

    order: int | str | None
    source: str
    default: int | str = 0
    corrected: str = ""
    unless: str = ""
    orders: Mapping[Any, int | None] | None = None

    def of(self, settings: Settings) -> int | None:
        """The order under settings; None where nothing is claimed."""
        if self.unless and settings.get(self.unless):
            return None
        if self.orders is not None:
            return self.orders[settings.get(str(self.order), self.default)]
        if isinstance(self.order, str):
            more = bool(self.corrected) and not settings.get(self.corrected)
            return int(settings.get(self.order, self.default)) + more
        return self.order


DISTRIBUTIONS: Mapping[str, str] = {
    "diffusers": "diffusers",
    "k_diffusion": "k-diffusion",
    "azula": "azula",
    "deepinv": "deepinv",
    "smalldiffusion": "smalldiffusion",
    "torchdiffeq": "torchdiffeq",
    "flow_matching": "flow-matching",
}
"""The packages whose samplers are found by name, by what they are installed from."""


OURS = "semilinear"
"""The package of what is found by a listed name."""


def is_foreign(text: str) -> bool:
    """Whether a text names another's sampler: PACKAGE:NAME, or process:COMMAND."""
    head, _, rest = text.partition(":")
    return bool(rest) and (head in DISTRIBUTIONS or head == "process")


def check_sampler(package: str, name: str, names: Collection[str], refused: Collection[str] = ()) -> None:
    """Refuse what is none of a package's samplers, with the nearest.

    refused: those of which whoever finds them tells why they cannot run.  Raises UnknownTableau.
    """
    if name not in names and name not in refused:
        raise UnknownTableau(f"{package} has no sampler {name!r} that is known here{nearest(name, names)}")


def check_ours(
    text: str,
    solvers: Collection[str],
    tableaux: Collection[str],
    samplers: Callable[[], Mapping[str, Collection[str]]],
) -> None:
    """Refuse what is neither ours nor a file nor a package's, with the nearest of all names.

    samplers: asked, the names of each package's.  Raises UnknownTableau.
    """
    try:
        check_name(text, solvers, tableaux)
    except UnknownTableau as error:
        if text.endswith(".py") or hint(text, solvers):
            raise
        foreign = [f"{package}:{name}" for package, names in samplers().items() for name in names]
        raise UnknownTableau(
            f"{error}, or PACKAGE:NAME of {', '.join(DISTRIBUTIONS)}{nearest(text, foreign)}"
        ) from None


NONE = Claim(None, "")

_SOLVER_ORDER = "the parameter solver_order"
_EULER = Claim(1, "Euler steps, its docstring")
_HEUN = Claim(2, "Heun steps, its docstring")
_DDIM = Claim(1, "DDIM, arXiv:2010.02502")
_BY_SOLVER = Claim(
    "solver",
    "deepinv, its solver's docstring",
    "EulerSolver",
    orders={"EulerSolver": 1, "HeunSolver": 2, "AncestralSolver": None, "DDPMSolver": None, "DDIMSolver": 1},
)

CLAIMS: dict[str, Claim] = {
    "k_diffusion:sample_euler": _EULER,
    "k_diffusion:sample_euler_ancestral": _EULER,
    "k_diffusion:sample_heun": _HEUN,
    "k_diffusion:sample_dpm_2": Claim(2, "inspired by DPM-Solver-2, its docstring"),
    "k_diffusion:sample_dpm_2_ancestral": Claim(2, "second-order steps, its docstring"),
    "k_diffusion:sample_lms": Claim("order", "the parameter order", 4),
    "k_diffusion:sample_dpm_fast": Claim(3, "DPM-Solver-Fast, its docstring; arXiv:2206.00927"),
    "k_diffusion:sample_dpm_adaptive": Claim("order", "the parameter order", 3),
    "k_diffusion:sample_dpmpp_2s_ancestral": Claim(2, "second-order steps, its docstring"),
    "k_diffusion:sample_dpmpp_sde": Claim(2, "DPM-Solver++(2S) with noise"),
    "k_diffusion:sample_dpmpp_2m": Claim(2, "DPM-Solver++(2M), its docstring"),
    "k_diffusion:sample_dpmpp_2m_sde": Claim(2, "DPM-Solver++(2M) SDE, its docstring"),
    "k_diffusion:sample_dpmpp_3m_sde": Claim(3, "DPM-Solver++(3M) SDE, its docstring"),
    "diffusers:DPMSolverMultistepScheduler": Claim("solver_order", _SOLVER_ORDER, 2),
    "diffusers:DPMSolverSinglestepScheduler": Claim("solver_order", _SOLVER_ORDER, 2),
    "diffusers:DEISMultistepScheduler": Claim("solver_order", _SOLVER_ORDER, 2),
    "diffusers:EDMDPMSolverMultistepScheduler": Claim("solver_order", _SOLVER_ORDER, 2),
    "diffusers:CosineDPMSolverMultistepScheduler": Claim("solver_order", _SOLVER_ORDER, 2),
    "diffusers:UniPCMultistepScheduler": Claim(
        "solver_order",
        "its docstring: the effective order of accuracy is solver_order + 1",
        2,
        "disable_corrector",
    ),
    "diffusers:SASolverScheduler": Claim("predictor_order", "the parameter predictor_order", 2),
    "diffusers:LMSDiscreteScheduler": Claim("order", "the parameter order of step", 4),
    "diffusers:EulerDiscreteScheduler": _EULER,
    "diffusers:EulerAncestralDiscreteScheduler": _EULER,
    "diffusers:EDMEulerScheduler": _EULER,
    "diffusers:FlowMatchEulerDiscreteScheduler": Claim(1, _EULER.source, unless="stochastic_sampling"),
    "diffusers:FlowMapEulerDiscreteScheduler": _EULER,
    "diffusers:LTXEulerAncestralRFScheduler": _EULER,
    "diffusers:MiniMaxH3Scheduler": _EULER,
    "diffusers:HeunDiscreteScheduler": _HEUN,
    "diffusers:FlowMatchHeunDiscreteScheduler": _HEUN,
    "diffusers:DPMSolverSDEScheduler": Claim(2, "DPM-Solver++ (stochastic), its docstring"),
    "diffusers:KDPM2DiscreteScheduler": Claim(2, "DPM2 of k-diffusion, its docstring"),
    "diffusers:KDPM2AncestralDiscreteScheduler": Claim(2, "DPM2 of k-diffusion, its docstring"),
    "diffusers:CogVideoXDPMScheduler": Claim(2, "DPM-Solver++(2M) SDE"),
    "diffusers:IPNDMScheduler": Claim(4, "fourth-order, its docstring"),
    "diffusers:PNDMScheduler": Claim(2, "second-order convergent, arXiv:2202.09778"),
    "diffusers:DDIMScheduler": _DDIM,
    "diffusers:DDIMParallelScheduler": _DDIM,
    "diffusers:CogVideoXDDIMScheduler": _DDIM,
    "diffusers:TCDScheduler": Claim(1, "DDIM at eta = 0, its docstring"),
    "azula:DDIMSampler": _DDIM,
    "azula:EulerSampler": Claim(1, "1st order, its docstring"),
    "azula:HeunSampler": Claim(2, "2nd order, its docstring"),
    **{
        f"azula:{name}Sampler": Claim("order", "the parameter order", 2)
        for name in ("zAB", "vAB", "zEAB", "xEAB", "REAB")
    },
    "deepinv:EulerSolver": _EULER,
    "deepinv:HeunSolver": Claim(2, "the second-order Heun method, its docstring"),
    "deepinv:DDIMSolver": _DDIM,
    **{f"deepinv:{name}": _BY_SOLVER for name in (*DEEPINV_SDES, POSTERIOR)},
    "smalldiffusion:samples": _DDIM,
    **{
        f"{package}:{method}": Claim(order, "torchdiffeq, the method's name and order")
        for package in ("torchdiffeq", "flow_matching")
        for method, order in {
            "euler": 1,
            "midpoint": 2,
            "heun2": 2,
            "heun3": 3,
            "rk4": 4,
            "explicit_adams": None,
            "implicit_adams": None,
            "adaptive_heun": 2,
            "fehlberg2": 2,
            "bosh3": 3,
            "dopri5": 5,
            "dopri8": 8,
        }.items()
    },
}


def _orders(*orders: int, **others: Any) -> tuple[Settings, ...]:
    return tuple({"solver_order": order} | others for order in orders)


_PP, _NOISE, _SDE, _SDE_NOISE = "dpmsolver++", "dpmsolver", "sde-dpmsolver++", "sde-dpmsolver"
_HEUN_TYPE = {"solver_type": "heun"}

USUAL: dict[str, tuple[Settings, ...]] = {
    "k_diffusion:sample_lms": ({"order": 1}, {"order": 2}, {"order": 3}, {"order": 4}),
    "k_diffusion:sample_euler": ({}, {"s_churn": 1.0}),
    "k_diffusion:sample_heun": ({}, {"s_churn": 1.0}),
    "k_diffusion:sample_dpm_2": ({}, {"s_churn": 1.0}),
    "k_diffusion:sample_euler_ancestral": ({}, {"eta": 0.0}),
    "k_diffusion:sample_dpm_2_ancestral": ({}, {"eta": 0.0}),
    "k_diffusion:sample_dpm_fast": ({}, {"eta": 1.0}),
    "k_diffusion:sample_dpm_adaptive": ({"order": 2}, {"order": 3}),
    "k_diffusion:sample_dpmpp_2s_ancestral": ({}, {"eta": 0.0}),
    "k_diffusion:sample_dpmpp_sde": ({}, {"eta": 0.0}),
    "k_diffusion:sample_dpmpp_2m_sde": ({}, _HEUN_TYPE, {"eta": 0.0}, {"eta": 0.0} | _HEUN_TYPE),
    "k_diffusion:sample_dpmpp_3m_sde": ({}, {"eta": 0.0}),
    "diffusers:DPMSolverMultistepScheduler": (
        *_orders(1, 2, 3),
        *_orders(2, **_HEUN_TYPE),
        *_orders(2, euler_at_final=True),
        *_orders(2, prediction_type="v_prediction"),
        *_orders(1, 2, 3, use_flow_sigmas=True),
        *_orders(1, 2, 3, algorithm_type=_NOISE),
        *_orders(2, algorithm_type=_NOISE, **_HEUN_TYPE),
        *_orders(1, 2, 3, algorithm_type=_SDE),
        *_orders(2, algorithm_type=_SDE, **_HEUN_TYPE),
        *_orders(1, 2, algorithm_type=_SDE_NOISE),
        *_orders(2, algorithm_type=_SDE_NOISE, **_HEUN_TYPE),
    ),
    "diffusers:DPMSolverSinglestepScheduler": (
        *_orders(1, 2, 3),
        *_orders(2, 3, lower_order_final=True),  # as runs that end at sigma = 0 have it, the default
        *_orders(2, 3, **_HEUN_TYPE),
        *_orders(2, use_flow_sigmas=True),
        *_orders(1, 2, 3, algorithm_type=_NOISE),
        *_orders(2, 3, algorithm_type=_NOISE, **_HEUN_TYPE),
        *_orders(1, 2, algorithm_type=_SDE),
    ),
    "diffusers:DEISMultistepScheduler": (*_orders(1, 2, 3), *_orders(3, use_flow_sigmas=True)),
    "diffusers:UniPCMultistepScheduler": (
        *_orders(1, 2, 3),
        *_orders(2, 3, solver_type="bh1"),
        *_orders(2, 3, predict_x0=False),
        *_orders(2, 3, disable_corrector=True),
        *_orders(2, 3, use_flow_sigmas=True),
    ),
    "diffusers:SASolverScheduler": tuple(
        {"predictor_order": p, "corrector_order": c, "tau": tau}
        for p, c in ((1, 1), (2, 2), (3, 3), (3, 4))
        for tau in (0.0, 1.0)
    ),
    "diffusers:LMSDiscreteScheduler": ({"order": 1}, {"order": 2}, {"order": 3}, {"order": 4}),
    "diffusers:EulerDiscreteScheduler": ({}, {"prediction_type": "v_prediction"}, {"s_churn": 1.0}),
    "diffusers:HeunDiscreteScheduler": ({}, {"prediction_type": "v_prediction"}),
    "diffusers:EDMDPMSolverMultistepScheduler": (
        *_orders(1, 2, 3),
        *_orders(2, **_HEUN_TYPE),
        *_orders(1, 2, algorithm_type=_SDE),
    ),
    "diffusers:CosineDPMSolverMultistepScheduler": (*_orders(1, 2), *_orders(2, **_HEUN_TYPE)),
    "diffusers:FlowMatchEulerDiscreteScheduler": ({}, {"stochastic_sampling": True}),
    "diffusers:LTXEulerAncestralRFScheduler": ({}, {"eta": 0.0}),
    "diffusers:DDIMScheduler": ({}, {"prediction_type": "v_prediction"}, {"eta": 1.0}),
    "diffusers:DDPMScheduler": ({}, {"variance_type": "fixed_large"}),
    "diffusers:ScoreSdeVeScheduler": ({}, {"correct_steps": 1}),  # as its pipeline has it by default
    **{
        f"azula:{name}Sampler": tuple({"order": order} for order in (1, 2, 3, 4))
        for name in ("zAB", "vAB", "zEAB", "xEAB", "REAB")
    },
    "azula:DDIMSampler": ({}, {"eta": 1.0}),
    "azula:ItoSampler": ({}, {"eta": 0.0}),
    "deepinv:EulerSolver": ({}, {"alpha": 1.0}),
    "deepinv:HeunSolver": ({}, {"alpha": 1.0}),
    "deepinv:AncestralSolver": ({}, {"alpha": 1.0}),
    "deepinv:DDIMSolver": ({}, {"eta": 1.0}),
    **{
        f"deepinv:{name}": (
            *({"alpha": alpha, "solver": solver} for solver in DEEPINV_SOLVERS[:3] for alpha in (0.0, 1.0)),
            {"solver": "DDIMSolver"},
        )
        for name in DEEPINV_SDES
    },
    f"deepinv:{POSTERIOR}": ({"alpha": 0.0, "solver": "HeunSolver"}, {"alpha": 1.0}),
    "smalldiffusion:samples": ({}, {"mu": 0.5}, {"gam": 2.0}),
}
"""Other than as they come."""

NAMES: dict[str, tuple[str, ...]] = {
    "azula": (
        *("DDPMSampler", "DDIMSampler", "EulerSampler", "HeunSampler", "ItoSampler", "PCSampler"),
        *("zABSampler", "vABSampler", "zEABSampler", "xEABSampler", "REABSampler"),
    ),
    "deepinv": (*DEEPINV_SOLVERS, *DEEPINV_SDES, POSTERIOR),
    "smalldiffusion": ("samples",),
    "torchdiffeq": tuple(key.partition(":")[2] for key in CLAIMS if key.startswith("torchdiffeq:")),
    "flow_matching": tuple(key.partition(":")[2] for key in CLAIMS if key.startswith("flow_matching:")),
    "k_diffusion": tuple(key.partition(":")[2] for key in CLAIMS if key.startswith("k_diffusion:")),
}
"""Of every package but diffusers (`diffusers.CONVENTIONS`)."""
