"""A plan as a scheduler of diffusers, and what diffusers asks of its own; where it is installed."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from semilinear.integrators.diffusion.discrete import discrete, scaled_linear_betas
from semilinear.integrators.diffusion.grids import karras, nsr, uniform_lambda, uniform_t
from semilinear.integrators.plans.compile import compile_plan
from semilinear.integrators.plans.program import Plan
from semilinear.integrators.run.sampler import sample
from semilinear.integrators.solvers import make

from tests.roundings import AMPLIFIED

diffusers = pytest.importorskip("diffusers")
from semilinear.integrators.interop.diffusers import PlanScheduler  # noqa: E402

SOLVERS = (
    "dpm-solver++-3m-corrected",
    "unipc-3-bh2",
    "edm-heun",
    "dpm-solver-3",
    "sde-dpm-solver++-2s",
    "ddpm",
)
STABLE_DIFFUSION = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
VP = discrete(scaled_linear_betas(0.00085, 0.012, 1000), clip_lambda=None)
"""The schedule of that table, all of it."""
GRIDS = {"t": uniform_t(), "lambda": uniform_lambda(), "karras": karras(), "nsr": nsr()}
N = 12
REORDERED = {torch.float64: 0.0, torch.float32: 1e-4, torch.float16: 2e-3}
"""Small runs in float32 (and half precision in float32) add a row's terms in another order: 444 units of the
last place of float32 and one of float16 were seen after 12 steps.
"""


def scheduler(solver: str = SOLVERS[0], **options: Any) -> PlanScheduler:
    return PlanScheduler(solver=solver, **{**STABLE_DIFFUSION, **options})


def network(x: torch.Tensor, timestep: Any) -> torch.Tensor:
    return torch.tanh(1.3 * x + torch.as_tensor(timestep, dtype=torch.float64).to(x) / 700)


def start(dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)


def seeded(seed: int = 7) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def run(s: PlanScheduler, x: torch.Tensor, begin: int = 0, generator: Any = None) -> torch.Tensor:
    """What a pipeline does."""
    for t in s.timesteps[begin:]:
        y = s.scale_model_input(x, t)
        x = s.step(network(y, t), t, x, generator=generator).prev_sample
    return x


def label(s: PlanScheduler, t: float) -> torch.Tensor:
    """The timestep of a time, as the scheduler lists it, by another formula."""
    n, flow = s.config.num_train_timesteps, s.config.use_flow_sigmas
    return torch.tensor(max(n * float(t) - (not flow), 0), dtype=torch.float32)


def by_the_loop(s: PlanScheduler, plan: Plan, x: torch.Tensor) -> torch.Tensor:
    generator = seeded()
    kept: dict[int, torch.Tensor] = {}

    def noise(which: int, like: torch.Tensor) -> torch.Tensor:
        if which not in kept:
            kept[which] = torch.randn(like.shape, generator=generator, dtype=like.dtype)
        return kept[which]

    model = lambda x, t: network(x, label(s, t))  # noqa: E731
    return sample(plan, model, x, noise=noise if plan.stochastic else None).x


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("ending", ["zero", "sigma_min"])
@pytest.mark.parametrize("flow", [False, True], ids=["vp", "flow"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_a_pipelines_loop_runs_the_plan(solver: str, flow: bool, ending: str, dtype: torch.dtype) -> None:
    prediction = "flow_prediction" if flow else "v_prediction"
    s = scheduler(
        solver, use_flow_sigmas=flow, flow_shift=3.0, final_sigmas_type=ending, prediction_type=prediction
    )
    s.set_timesteps(N)
    assert s.plan is not None
    assert s.plan.prediction == ("flow" if flow else "v")
    found = run(s, start(dtype), generator=seeded())
    assert found.dtype == dtype
    assert len(s.timesteps) == s.plan.nfe == s.step_index
    wanted = by_the_loop(s, s.plan, start(dtype))
    assert torch.allclose(found, wanted, rtol=0, atol=REORDERED[dtype])


@pytest.mark.parametrize("grid", GRIDS)
def test_the_grid_start_and_final_are_the_plans(grid: str) -> None:
    s = scheduler(grid=grid, start="high-order", final="lower", final_sigmas_type="sigma_min")
    s.set_timesteps(N)
    assert s.plan is not None
    times = s.plan.times
    assert (float(times[0]), float(times[-1]), len(times)) == (1.0, 1e-3, N + 1)
    plan = compile_plan(
        make(SOLVERS[0]), VP, times=times, start="high-order", final="lower", grid=GRIDS[grid]
    )
    assert plan == s.plan
    spaced = {
        "t": lambda t: t,
        "lambda": VP.lam,
        "karras": lambda t: VP.rho(t) ** (1 / 7),
        "nsr": lambda t: np.log(VP.rho(t) + 3.1 * VP.rho(1e-3)),
    }[grid]
    gaps = np.diff([spaced(float(t)) for t in times])
    assert np.allclose(gaps, gaps.mean(), rtol=1e-8)  # differences of lambda by an inverse


def test_the_levels_are_those_that_diffusers_has() -> None:
    """Within the float32 of 1 - beta, which the smallest levels feel most."""
    for options in (STABLE_DIFFUSION, {"beta_schedule": "linear"}, {"beta_schedule": "squaredcos_cap_v2"}):
        theirs = diffusers.DPMSolverMultistepScheduler(**options)
        ours = PlanScheduler(**options)
        assert torch.allclose(ours.sigmas[:-1].flip(0), theirs.sigmas, rtol=5e-4)  # see above


@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize(
    ("solver", "name", "settings"),
    [
        ("dpm-solver++-2m", "DPMSolverMultistepScheduler", {}),
        ("dpm-solver++-3m-released", "DPMSolverMultistepScheduler", {"solver_order": 3}),
        ("unipc-3-bh2", "UniPCMultistepScheduler", {"solver_order": 3}),
        ("deis-lambdaab2", "DEISMultistepScheduler", {"solver_order": 3}),
    ],
)
def test_their_own_schedulers_do_the_same_steps(
    solver: str, name: str, settings: dict[str, Any], prediction: str
) -> None:
    """On their timesteps, integers, ours agree within the float32 of their tables."""
    ends = {} if name == "DEISMultistepScheduler" else {"final_sigmas_type": "sigma_min"}
    theirs = getattr(diffusers, name)(**STABLE_DIFFUSION, **settings, **ends, prediction_type=prediction)
    theirs.set_timesteps(20)
    x = y = start(torch.float32)
    ours = PlanScheduler.from_config(theirs.config, solver=solver, final_sigmas_type="sigma_min")
    ours.set_timesteps(timesteps=[*theirs.timesteps.tolist(), 0])
    assert ours.timesteps.tolist() == theirs.timesteps.tolist()
    for t in theirs.timesteps:
        x = theirs.step(network(x, t), t, x).prev_sample
        y = ours.step(network(y, t), t, y).prev_sample
    assert float((x - y).abs().max()) < 2e-4  # theirs in float32, over 20 steps


def test_a_scheduler_is_saved_and_loaded(tmp_path: Path) -> None:
    s = scheduler("dpm-solver-2", solver_parameters={}, trained_betas=[0.1, 0.2, 0.3], final="last")
    s.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "scheduler_config.json").read_text())
    assert (saved["solver"], saved["_class_name"]) == ("dpm-solver-2", "PlanScheduler")
    again = PlanScheduler.from_pretrained(tmp_path)
    assert {k: v for k, v in s.config.items() if k[0] != "_"}.items() <= dict(again.config).items()
    for one in (s, again):
        one.set_timesteps(3)
    assert s.plan == again.plan


def test_a_scheduler_is_made_of_anothers_configuration_with_its_schedule() -> None:
    """What it had by default is not in the configuration: our defaults must be diffusers'."""
    theirs = diffusers.DPMSolverMultistepScheduler(prediction_type="v_prediction", use_karras_sigmas=True)
    ours = PlanScheduler.from_config(theirs.config, solver="unipc-3-bh2")
    assert ours.config.prediction_type == "v_prediction"
    # theirs are float32, of 1 - beta
    assert torch.allclose(ours.sigmas[:-1], theirs.sigmas.flip(0), rtol=1e-4)
    back = diffusers.DPMSolverMultistepScheduler.from_config(ours.config)
    assert back.config.prediction_type == "v_prediction"
    assert back.config.use_karras_sigmas


@pytest.mark.parametrize("name", ["FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler"])
def test_the_configuration_of_a_flow_means_a_flow(name: str) -> None:
    """It has no betas: read as a diffusion's, SD3 and Flux would be sampled on another schedule."""
    theirs = getattr(diffusers, name)(shift=3.0)
    ours = PlanScheduler.from_config(theirs.config, solver="ddim")
    ours.set_timesteps(6)
    assert ours.config.prediction_type == "flow_prediction"
    assert ours.config.use_flow_sigmas
    assert ours.timesteps[0] > 999
    uniform = ours.timesteps / 1000 / (3.0 - 2.0 * ours.timesteps / 1000)  # before the shift
    assert torch.allclose(uniform.diff().diff(), torch.zeros(4), rtol=0, atol=1e-6)  # float32
    with pytest.raises(ValueError, match="shift_terminal must not be set"):
        PlanScheduler.from_config(dict(theirs.config) | {"shift_terminal": 0.1})


@pytest.mark.parametrize("solver", ["dpm-solver++-3m-corrected", "unipc-3-bh2", "edm-heun", "dpm-solver-3"])
@pytest.mark.parametrize("strength", [0.1, 0.3, 0.75])
@pytest.mark.parametrize("says", [True, False], ids=["begin_index", "timestep"])
def test_a_run_from_inside_is_the_plan_of_what_is_left(solver: str, strength: float, says: bool) -> None:
    s = scheduler(solver)
    s.set_timesteps(N)
    assert s.plan is not None
    first = N - int(N * strength)
    begin = first * s.order
    if says:
        s.set_begin_index(begin)
    x = s.add_noise(start(), start().flip(0), s.timesteps[begin : begin + 1])
    t = s.plan.times[first]
    alpha, sigma = VP.alpha(float(t)), VP.sigma(float(t))
    assert torch.allclose(x, alpha * start() + sigma * start().flip(0), rtol=1e-6)  # levels are float32
    found = run(s, x, begin)
    times = s.plan.times[first:]
    if len(times) > 1:
        plan = compile_plan(make(solver), VP, times=times, grid=uniform_t(), denoise=True)
        assert torch.equal(found, by_the_loop(s, plan, x))
    else:
        assert torch.allclose(found, (x - sigma * network(x, label(s, t))) / alpha, rtol=AMPLIFIED)


def test_a_run_begins_where_a_step_does() -> None:
    s = scheduler("edm-heun")
    s.set_timesteps(N)
    s.set_begin_index(3)
    with pytest.raises(ValueError, match=r"begin_index must be where a run of edm-heun .*got 3 of 23"):
        run(s, start(), 3)
    s = scheduler(start="high-order")
    s.set_timesteps(N)
    s.set_begin_index(1)
    with pytest.raises(ValueError, match="start='high-order'"):
        run(s, start(), 1)


@pytest.mark.parametrize("kind", ["tensor", "float", "int"])
def test_a_timestep_may_have_been_rounded(kind: str) -> None:
    made = {"tensor": lambda t: t, "float": float, "int": lambda t: int(t.round())}[kind]
    s = scheduler()
    s.set_timesteps(N)
    assert [s.index_for_timestep(made(t)) for t in s.timesteps] == list(range(N))
    with pytest.raises(ValueError, match="timestep must be one of the scheduler's"):
        s.index_for_timestep(2000)


def test_levels_are_given_as_timesteps_or_sigmas() -> None:
    s = scheduler()
    s.set_timesteps(timesteps=[999, 500, 10])
    assert s.timesteps.tolist() == [999, 500, 10]
    levels = s.sigmas
    s.set_timesteps(sigmas=levels.tolist())
    assert torch.allclose(s.timesteps, torch.tensor([999.0, 500, 10]), atol=1e-2)  # of float32 levels
    s.set_timesteps(sigmas=levels[:-1].double().tolist(), device="cpu")
    assert torch.allclose(s.sigmas, levels, rtol=1e-5)  # of float32 timesteps
    flow = PlanScheduler(use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=2.0)
    flow.set_timesteps(sigmas=np.linspace(1, 0.25, 4), mu=0.0)
    assert torch.allclose(flow.timesteps, torch.tensor([1000.0, 750, 500, 250]), rtol=1e-5)  # float32
    flow.set_timesteps(sigmas=np.linspace(1, 0.25, 4))
    assert torch.allclose(flow.timesteps, 1000 * torch.tensor([1, 6 / 7, 2 / 3, 0.4]), rtol=1e-5)  # float32
    assert flow.plan is not None
    assert torch.equal(run(flow, start()), by_the_loop(flow, flow.plan, start()))


def test_every_sample_may_have_its_generator() -> None:
    s = scheduler("ddpm")
    s.set_timesteps(N)
    together = run(s, start(), generator=[seeded(k) for k in range(4)])
    s.set_timesteps(N)
    assert torch.equal(run(s, start()[2:3], generator=[seeded(2)])[0], together[2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"solver": "nothing"}, "solver must be a listed name"),
        ({"grid": "sigma"}, "grid must be one of t, lambda, karras, nsr, got 'sigma'"),
        ({"start": "exact"}, "start must be one of own, high-order"),
        ({"prediction_type": "flow_prediction"}, "use_flow_sigmas must be True"),
        ({"thresholding": True}, "thresholding must not be set"),
        ({"rescale_betas_zero_snr": True}, "rescale_betas_zero_snr must not be set"),
        ({"variance_type": "learned_range"}, "variance_type must not be set.*'learned_range'"),
        ({"flow_shift": 0}, "flow_shift must be a positive number"),
        ({"trained_betas": [0.1, 2.0]}, "betas must lie strictly between 0 and 1"),
        ({"num_train_timesteps": 1}, "num_train_timesteps must be an integer >= 2"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PlanScheduler(**options)


def test_calls_that_do_not_fit_are_refused_by_name() -> None:
    s = scheduler()
    with pytest.raises(ValueError, match="set_timesteps must be called before step"):
        s.step(start(), 999, start())
    with pytest.raises(
        ValueError, match="one of num_inference_steps, timesteps, sigmas must be given, got none"
    ):
        s.set_timesteps()
    with pytest.raises(ValueError, match="got timesteps, sigmas"):
        s.set_timesteps(timesteps=[10], sigmas=[1.0])
    with pytest.raises(ValueError, match="mu must be given with use_flow_sigmas alone"):
        s.set_timesteps(5, mu=0.5)
    s.set_timesteps(2)
    run(s, start())
    with pytest.raises(ValueError, match="the run has ended"):
        s.step(start(), 0, start())
    s.set_timesteps(2)
    with pytest.raises(ValueError, match=r"model must return .* of shape \(4, 3, 8, 8\)"):
        s.step(torch.zeros(4, 6, 8, 8), s.timesteps[0], start())


# --- what diffusers' tests ask of a scheduler (tests/schedulers/test_schedulers.py, SchedulerCommonTest) ---

COMMON = ("dpm-solver++-3m-corrected", "unipc-3-bh2", "edm-heun", "ddpm")
dummy_sample, dummy_residual = start(torch.float32), 0.1 * start(torch.float32)


def one_step(s: PlanScheduler, index: int = 5, count: int = 3) -> torch.Tensor:
    """Steps from one of the timesteps on, told by the timestep alone."""
    s.set_timesteps(N)
    x = dummy_sample
    for t in s.timesteps[index * s.order : index * s.order + count]:
        x = s.step(dummy_residual, t, x, generator=seeded()).prev_sample
    return x


CONFIGS = [
    *({"num_train_timesteps": n} for n in (25, 50, 100, 999, 1000)),
    *({"beta_start": a, "beta_end": b} for a, b in ((0.0001, 0.002), (0.001, 0.02), (0.01, 0.2))),
    *({"beta_schedule": b} for b in ("linear", "scaled_linear", "squaredcos_cap_v2")),
    *({"prediction_type": p} for p in ("epsilon", "v_prediction", "sample")),
    {"use_flow_sigmas": True, "prediction_type": "flow_prediction"},
    {"trained_betas": [0.1, 0.2, 0.3, 0.4, 0.5]},
    {"solver_parameters": {}},
]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("solver", COMMON)
def test_over_configs_a_loaded_scheduler_does_the_same(
    solver: str, config: dict[str, Any], tmp_path: Path
) -> None:
    s = PlanScheduler(solver=solver, **config)
    s.save_config(tmp_path)
    again = PlanScheduler.from_pretrained(tmp_path)
    assert torch.equal(one_step(s), one_step(again))


@pytest.mark.parametrize("n", [1, 2, 3, 5, 10, 50, 100])
@pytest.mark.parametrize("solver", COMMON)
def test_over_numbers_of_steps(solver: str, n: int) -> None:
    s = scheduler(solver)
    s.set_timesteps(n)
    assert s.num_inference_steps == n
    assert s.plan is not None
    x = start(torch.float32)
    wanted, found = by_the_loop(s, s.plan, x), run(s, x, generator=seeded())
    assert torch.allclose(found, wanted, rtol=0, atol=REORDERED[torch.float32])
    assert len(s.sigmas) == len(s.timesteps) + 1


@pytest.mark.parametrize("solver", COMMON)
def test_shapes_types_and_outputs(solver: str) -> None:
    s = scheduler(solver)
    s.set_timesteps(N)
    first = s.step(dummy_residual, s.timesteps[0], dummy_sample, generator=seeded())
    second = s.step(dummy_residual, s.timesteps[1], first.prev_sample, generator=seeded()).prev_sample
    assert first.prev_sample.shape == second.shape == dummy_sample.shape
    s.set_timesteps(N)
    (again,) = s.step(dummy_residual, s.timesteps[0], dummy_sample, generator=seeded(), return_dict=False)
    assert torch.equal(first.prev_sample, again)
    assert torch.equal(first[0], again)
    for dtype in (torch.float16, torch.float32):
        s.set_timesteps(N)
        half = s.step(dummy_residual.to(dtype), s.timesteps[0], dummy_sample.to(dtype)).prev_sample
        assert half.dtype == dtype


def test_noise_is_added_and_the_public_interface_is_there() -> None:
    s = scheduler()
    s.set_timesteps(N)
    scaled = s.scale_model_input(dummy_sample, s.timesteps[-1])
    assert scaled.shape == dummy_sample.shape
    noisy = s.add_noise(dummy_sample, dummy_residual, torch.tensor([999, 500, 100, 0]))
    assert noisy.shape == dummy_sample.shape
    clean = VP.alpha(1e-3) * dummy_sample[3] + VP.sigma(1e-3) * dummy_residual[3]
    assert torch.allclose(noisy[3], clean, rtol=1e-5)  # float32
    assert torch.equal(noisy, s.scale_noise(dummy_sample, torch.tensor([999, 500, 100, 0]), dummy_residual))
    assert all(hasattr(s, name) for name in ("config", "timesteps", "init_noise_sigma", "order"))
    assert len(s) == 1000
    assert copy.deepcopy(s).config == s.config


@pytest.mark.parametrize("betas", [STABLE_DIFFUSION, {"trained_betas": [0.1, 0.3]}], ids=["named", "trained"])
def test_its_table_is_diffusers_own(betas: dict[str, Any]) -> None:
    s, other = PlanScheduler(**betas), diffusers.DPMSolverMultistepScheduler(**betas)
    assert torch.allclose(s.betas, other.betas, rtol=1e-6, atol=0)  # theirs are computed in float32
    assert torch.allclose(
        s.alphas_cumprod, other.alphas_cumprod, rtol=1e-4, atol=0
    )  # a product of 1000 of them


# --- in a pipeline ---


def unet(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return diffusers.UNet2DModel(
        sample_size=8,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=4,
    ).eval()


def pipeline(*parts: Any) -> Any:
    try:
        pipe = diffusers.DDPMPipeline(*parts)
    except RuntimeError as error:  # a torchvision that does not fit torch
        pytest.skip(f"diffusers' pipelines cannot be imported: {error}")
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.mark.parametrize("solver", ["dpm-solver++-3m-corrected", "edm-heun", "ddpm"])
def test_a_pipeline_takes_it(solver: str, tmp_path: Path) -> None:
    pipe = pipeline(unet(), PlanScheduler(solver=solver))
    images = pipe(2, seeded(), num_inference_steps=5, output_type="np").images
    assert images.shape == (2, 8, 8, 3)
    pipe.save_pretrained(tmp_path)
    again = diffusers.DDPMPipeline.from_pretrained(tmp_path)
    again.set_progress_bar_config(disable=True)
    assert type(again.scheduler) is PlanScheduler
    assert np.array_equal(images, again(2, seeded(), num_inference_steps=5, output_type="np").images)


CORRECTED = "dpm-solver++-3m-corrected"
REPAIRS = {
    "released": {"solver": "dpm-solver++-3m-released"},
    "corrected": {"solver": CORRECTED},
    "high-order start": {"solver": CORRECTED, "start": "high-order"},
}
LOWERS = {("v_prediction", "lambda")}
"""Where the corrected weights have the smaller error at 20 evaluations."""


def image(model: Any, nfe: int, **settings: Any) -> torch.Tensor:
    """A run down to sigma_min with so many evaluations at most, in float64."""
    s, steps = PlanScheduler(final_sigmas_type="sigma_min", **settings), nfe
    s.set_timesteps(steps)
    while len(s.timesteps) > nfe:
        steps -= 1
        s.set_timesteps(steps)
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=seeded(1)) * s.init_noise_sigma
    with torch.no_grad():
        for t in s.timesteps:
            x = s.step(model(s.scale_model_input(x, t), t).sample, t, x).prev_sample
    return x


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("prediction", ["v_prediction", "epsilon"])
def test_what_the_repair_of_the_third_order_does_at_twenty_evaluations(prediction: str, seed: int) -> None:
    """On a random network, against a converged run: docs/drop-in.md has the numbers."""
    try:
        model = unet(seed).double()
    except RuntimeError as error:  # a torchvision that does not fit torch
        pytest.skip(f"diffusers' networks cannot be imported: {error}")
    exact = image(model, 400, solver="unipc-3-bh2", grid="lambda", prediction_type=prediction)
    for grid in ("t", "lambda", "karras"):
        errors = {
            name: float((image(model, 20, grid=grid, prediction_type=prediction, **how) - exact).norm())
            for name, how in REPAIRS.items()
        }
        assert (errors["corrected"] < errors["released"]) == ((prediction, grid) in LOWERS), (grid, errors)
        assert errors["high-order start"] > errors["released"], (grid, errors)
