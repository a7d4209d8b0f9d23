"""What the packages compute is what our solvers do, number by number; where the packages are installed.

`test_adapters.py` holds the adapters without them.
"""

from __future__ import annotations

import importlib.util
import itertools
import warnings
from typing import Any

import pytest
from semilinear.integrators.diffusion.schedule import edm, rectified_flow, vp_linear
from semilinear.verification.audit.identity import identity, on_equal_steps, strides
from semilinear.verification.audit.subject import Subject
from semilinear.verification.targets.listed import DISTRIBUTIONS
from semilinear.verification.targets.named import PACKAGES, everything, target
from semilinear.verification.tracing.trace import NotLinearError, trace

from tests.test_adapters import expected, grid, same

N = 16  # 15 steps and more do not end with lower orders by default

SAME = {
    "k_diffusion:sample_euler": "ddim",
    "k_diffusion:sample_euler_ancestral": "euler-ancestral",
    "k_diffusion:sample_heun": "edm-heun",
    "k_diffusion:sample_dpm_2": "dpm-solver-2",
    "k_diffusion:sample_dpm_2_ancestral": "dpm-2-ancestral",
    "k_diffusion:sample_lms:order=4": "lms-4",
    "k_diffusion:sample_dpmpp_2s_ancestral": "dpm++-2s-ancestral",
    "k_diffusion:sample_dpmpp_2m": "dpm-solver++-2m",
    "k_diffusion:sample_dpmpp_2m_sde": "k-diffusion-2m-sde",
    "k_diffusion:sample_dpmpp_2m_sde:solver_type=heun": "sde-dpm-solver++-2m-taylor",
    "k_diffusion:sample_dpmpp_3m_sde": "k-diffusion-3m-sde-released",
    "diffusers:DPMSolverMultistepScheduler": "dpm-solver++-2m",
    "diffusers:DPMSolverMultistepScheduler:solver_order=3": "dpm-solver++-3m-released",
    "diffusers:DPMSolverMultistepScheduler:prediction_type=v_prediction": "dpm-solver++-2m",
    "diffusers:DPMSolverMultistepScheduler:use_flow_sigmas=true": "dpm-solver++-2m",
    "diffusers:DPMSolverMultistepScheduler:algorithm_type=dpmsolver": "dpm-solver-2m",
    "diffusers:DPMSolverMultistepScheduler:algorithm_type=sde-dpmsolver++": "sde-dpm-solver++-2m",
    "diffusers:DEISMultistepScheduler:solver_order=3": "deis-lambdaab2",
    "diffusers:UniPCMultistepScheduler:solver_order=3": "unipc-3-bh2",
    "diffusers:UniPCMultistepScheduler:solver_order=3,solver_type=bh1": "unipc-3-bh1",
    "diffusers:UniPCMultistepScheduler:solver_order=3,disable_corrector=true": "unip-3-bh2",
    "diffusers:SASolverScheduler": "sa-solver-2-2-released",
    "diffusers:EulerDiscreteScheduler": "ddim",
    "diffusers:EulerAncestralDiscreteScheduler": "euler-ancestral",
    "diffusers:HeunDiscreteScheduler": "edm-heun",
    "diffusers:KDPM2DiscreteScheduler": "dpm-solver-2",
    "diffusers:KDPM2AncestralDiscreteScheduler": "dpm-2-ancestral",
    "diffusers:LMSDiscreteScheduler": "lms-4",
    "diffusers:EDMEulerScheduler": "ddim",
    "diffusers:EDMDPMSolverMultistepScheduler": "dpm-solver++-2m",
    "diffusers:CosineDPMSolverMultistepScheduler": "sde-dpm-solver++-2m",
    "diffusers:FlowMatchEulerDiscreteScheduler": "ddim",
    "diffusers:FlowMapEulerDiscreteScheduler": "ddim",
    "diffusers:LTXEulerAncestralRFScheduler:eta=0": "ddim",
    "diffusers:MiniMaxH3Scheduler": "ddim",
    "diffusers:PNDMScheduler": "plms",
    "diffusers:UniPCMultistepScheduler:solver_order=3,use_flow_sigmas=true": "unipc-3-bh2",
    "diffusers:DDIMScheduler": "ddim",
    "diffusers:DDIMParallelScheduler": "ddim",
    "diffusers:CogVideoXDDIMScheduler": "ddim",
    "diffusers:TCDScheduler": "ddim",
    "diffusers:DDIMScheduler:eta=1": "euler-ancestral",
    "diffusers:DDPMScheduler": "ddpm",
    "diffusers:DDPMParallelScheduler": "ddpm",
    "diffusers:UnCLIPScheduler": "ddpm",
    "diffusers:DDPMWuerstchenScheduler": "ddpm",
    "diffusers:CogVideoXDPMScheduler": "sde-dpm-solver++-2m",
    "diffusers:IPNDMScheduler": "deis-ipndm",
    "diffusers:ScoreSdeVeScheduler": "score-sde-reverse-diffusion",
    "azula:DDPMSampler": "ddpm",
    "azula:DDIMSampler": "ddim",
    "azula:HeunSampler": "edm-heun",
    "azula:ItoSampler": "sde-dpm-solver-1",
    "azula:zABSampler:order=4": "lms-4",
    "azula:zEABSampler:order=3": "deis-lambdaab2",
    "azula:xEABSampler:order=2": "dpm-solver++-2m-taylor",
    "deepinv:EulerSolver": "ddim",
    "deepinv:EulerSolver:alpha=1": "score-sde-em",
    "deepinv:HeunSolver": "edm-heun",
    "deepinv:DDPMSolver": "ddpm",
    "deepinv:DDIMSolver": "ddim",
    "deepinv:VarianceExplodingDiffusion:alpha=0,solver=AncestralSolver": "ddim",
    "deepinv:VariancePreservingDiffusion:solver=DDIMSolver": "ddim",
    "deepinv:VariancePreservingDiffusion:solver=DDPMSolver": "ddpm",
    "deepinv:FlowMatching:solver=EulerSolver": "ddim",
    "deepinv:PosteriorDiffusion:alpha=1,solver=AncestralSolver": "ddpm",
    "smalldiffusion:samples": "ddim",
    "smalldiffusion:samples:mu=1/2": "euler-ancestral",
    "smalldiffusion:samples:gam=2": "gradient-estimation",
    "torchdiffeq:euler": "ddim",
    "torchdiffeq:heun2": "edm-heun",
    "flow_matching:euler": "ddim",
}
"""On a grid that is uniform in nothing."""


ON_A_FLOW = {
    "diffusers:FlowMatchEulerDiscreteScheduler": "euler-in-t",
    "diffusers:FlowMatchHeunDiscreteScheduler": "heun-in-t",
    "diffusers:LTXEulerAncestralRFScheduler": "euler-ancestral-rf",
    "flow_matching:euler": "euler-in-t",
    "flow_matching:heun2": "heun-in-t",
    "flow_matching:midpoint": "rk2-in-t",
    "flow_matching:heun3": "rk3-in-t",
    "flow_matching:rk4": "three-eighths-in-t",
}
"""On rectified flow, whose velocity they integrate."""


def needed(text: str) -> None:
    package = text.partition(":")[0]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    if package == "k_diffusion":
        pytest.importorskip("torchsde")


@pytest.mark.parametrize("text", SAME)
@pytest.mark.filterwarnings("ignore")
def test_it_is_ours(text: str) -> None:
    needed(text)
    times = grid(edm(), N)
    found = trace(target(text).sampler, edm(), times)
    assert same(found, expected(SAME[text], edm(), times), within=1e-12)


@pytest.mark.parametrize("text", [t for t in SAME if "ScoreSde" not in t and "deepinv" not in t])
@pytest.mark.parametrize("schedule", [vp_linear(), rectified_flow()], ids=lambda s: s.kind)
@pytest.mark.filterwarnings("ignore")
def test_it_is_ours_on_other_schedules(text: str, schedule: Any) -> None:
    """But for formulas in the schedule's own time and states."""
    needed(text)
    times = grid(schedule, N)
    found = trace(target(text).sampler, schedule, times)
    assert same(found, expected(SAME[text], schedule, times), within=1e-11)


@pytest.mark.parametrize("text", ON_A_FLOW)
@pytest.mark.filterwarnings("ignore")
def test_it_is_ours_on_rectified_flow(text: str) -> None:
    """1e-10: LTX's denominators are larger by 1e-12."""
    needed(text)
    schedule = rectified_flow()
    times = grid(schedule, N)
    found = trace(target(text).sampler, schedule, times)
    assert same(found, expected(ON_A_FLOW[text], schedule, times), within=1e-10)


SINGLESTEP = "diffusers:DPMSolverSinglestepScheduler:"
ON_GRID = {
    "solver_order=2": "dpm-solver++-2s-on-grid",
    "solver_order=2,solver_type=heun": "dpm-solver++-2s-taylor-on-grid",
    "solver_order=2,use_flow_sigmas=true": "dpm-solver++-2s-on-grid",
    "solver_order=2,algorithm_type=dpmsolver": "dpm-solver-2-on-grid",
    "solver_order=2,algorithm_type=dpmsolver,solver_type=heun": "dpm-solver-2-taylor-on-grid",
    "solver_order=3": "dpm-solver++-3s-on-grid",
    "solver_order=3,lower_order_final=true": "dpm-solver++-3s-on-grid",
    "solver_order=3,solver_type=heun": "dpm-solver++-3s-taylor-on-grid",
    "solver_order=3,algorithm_type=dpmsolver": "dpm-solver-3-on-grid",
    "solver_order=3,algorithm_type=dpmsolver,solver_type=heun": "dpm-solver-3-taylor-on-grid",
}
"""Steps over several intervals; those that are lowered at the end are not ours where they fill the grid."""


@pytest.mark.parametrize("settings", ON_GRID)
@pytest.mark.filterwarnings("ignore")
def test_steps_over_several_intervals_are_ours_on_any_grid(settings: str) -> None:
    pytest.importorskip("diffusers")
    found = identity(Subject(target(SINGLESTEP + settings)))
    assert found is not None
    assert (found.solver, found.same) == (ON_GRID[settings], "lower_order_final" not in settings)


@pytest.mark.filterwarnings("ignore")
def test_a_stochastic_step_over_two_intervals_is_ours_on_equal_ones() -> None:
    pytest.importorskip("diffusers")
    subject = Subject(target(f"{SINGLESTEP}solver_order=2,algorithm_type=sde-dpmsolver++"))
    assert strides(subject)
    assert on_equal_steps(subject) == ("sde-dpm-solver++-2s-released",)


@pytest.mark.parametrize(
    "package", [pytest.param(p, marks=pytest.mark.slow if p == "diffusers" else ()) for p in PACKAGES]
)
def test_everything_is_linear_in_its_model(package: str) -> None:
    """But for what decides on steps or iterations by the values that it sees."""
    needed(package)
    decides = ("adaptive", "dopri", "bosh3", "fehlberg2", "implicit_adams")
    times = grid(edm(), 5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for found in everything(package):
            if any(word in found.name for word in decides):
                continue
            assert trace(found.sampler, edm(), times).nfe >= 5, found.name
            assert (found.package, bool(found.version)) == (DISTRIBUTIONS[package], True)


@pytest.mark.filterwarnings("ignore")
def test_steps_that_depend_on_values_are_told() -> None:
    needed("k_diffusion")
    with pytest.raises(NotLinearError, match="the number of evaluations depends on the values"):
        trace(target("k_diffusion:sample_dpm_adaptive").sampler, edm(), grid(edm(), 5))


@pytest.mark.filterwarnings("ignore")
def test_increments_are_told_by_those_who_know_them() -> None:
    needed("k_diffusion")
    times = grid(edm(), 5)
    found = trace(target("k_diffusion:sample_dpmpp_sde").sampler, edm(), times)
    assert len(found.increments) == 10  # every step's are split at its middle
    first = found.increments[0]
    assert first is not None
    assert first[0] == times[0]
    needed("diffusers")
    once = trace(target("diffusers:EulerAncestralDiscreteScheduler").sampler, edm(), times)
    assert once.increments == tuple(itertools.pairwise(times))
    churned = trace(target("diffusers:EulerDiscreteScheduler:s_churn=1").sampler, edm(), times)
    assert set(churned.increments) == {None}
