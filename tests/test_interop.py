"""Plans in others' frames, without their packages: evaluation by evaluation, as k-diffusion calls them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from semilinear.integrators.diffusion.grids import karras
from semilinear.integrators.diffusion.schedule import edm, vp_linear
from semilinear.integrators.interop.k_diffusion import as_k_diffusion
from semilinear.integrators.interop.stepwise import Stepwise, cut, drawn_once
from semilinear.integrators.plans.compile import compile_plan
from semilinear.integrators.plans.program import Plan
from semilinear.integrators.run.boundary import NonFiniteError
from semilinear.integrators.run.sampler import sample
from semilinear.integrators.solvers import make
from semilinear.verification.targets.k_diffusion import release

SOLVERS = (
    "dpm-solver++-3m-corrected",
    "unipc-3-bh2",
    "unipc-3-bh1",
    "edm-heun",
    "dpm-solver-3",
    "dpm-solver-fast-3",
    "deis-rhoab3",
    "etdrk4",
    "sde-dpm-solver++-2m",
    "dpm++-2s-ancestral",
    "er-sde-3-corrected",
)


def planned(name: str, **options: Any) -> Plan:
    return compile_plan(make(name), vp_linear(), steps=8, t_start=0.9, t_end=0.01, **options)


def model(x: torch.Tensor, t: float) -> torch.Tensor:
    return torch.tanh(1.3 * x + t)


def start(dtype: torch.dtype = torch.float64) -> torch.Tensor:
    x = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return x.to(dtype)


def increments(which: int, like: torch.Tensor) -> torch.Tensor:
    drawn = torch.randn(like.shape, generator=torch.Generator().manual_seed(which), dtype=torch.float64)
    return drawn.to(like.dtype)


def stepped(plan: Plan, x: torch.Tensor, noise: Any = None) -> torch.Tensor:
    run = Stepwise(plan, x, noise)
    while run.t is not None:
        x = run.advance(model(x, run.t), x)
    return x


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", SOLVERS)
def test_a_plan_from_outside_is_the_plan(name: str, dtype: torch.dtype) -> None:
    plan = planned(name, denoise=True)
    noise = increments if plan.stochastic else None
    assert len(cut(plan)) == plan.nfe
    # reuse=False: also few numbers of float32 are added in the order of the terms
    whole = sample(plan, model, start(dtype), noise=noise, reuse=False).x
    assert torch.equal(stepped(plan, start(dtype), noise), whole)


def test_a_high_order_start_from_outside_is_that_start() -> None:
    plan = planned("dpm-solver++-3m-corrected", start="high-order")
    assert torch.equal(stepped(plan, start()), sample(plan, model, start()).x)
    assert not torch.equal(stepped(plan, start()), stepped(planned("dpm-solver++-3m-corrected"), start()))


@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16], ids=str)
def test_a_state_that_was_changed_on_the_way_is_gone_on_with(dtype: torch.dtype, in_place: bool) -> None:
    plan = planned("ddim")
    run, x = Stepwise(plan, start(dtype)), start(dtype)
    wide = torch.promote_types(dtype, torch.float32)
    by_hand = start(dtype).to(wide)
    for k, (a, b) in enumerate(pairwise(plan.times)):
        output = model(x, a)
        one = Stepwise(compile_plan(make("ddim"), vp_linear(), times=[a, b]), by_hand)
        by_hand = one.advance(output.to(wide))
        x = run.advance(output, x)
        if k == 3 and in_place:
            x.mul_(0.5)
        elif k == 3:
            x = 0.5 * x
        if k == 3:
            by_hand = x.to(wide)
    assert torch.equal(x, by_hand.to(dtype))


def test_outputs_and_states_of_another_kind_and_a_run_that_has_ended_are_refused() -> None:
    plan = planned("ddim")
    run = Stepwise(plan, start())
    with pytest.raises(ValueError, match=r"model must return .* of shape \(2, 3, 4\)"):
        run.advance(torch.zeros(2, 3, 5))
    with pytest.raises(
        ValueError, match=r"x must stay torch.float64 of shape \(2, 3, 4\), got torch.float32"
    ):
        run.advance(start(), start().float())
    run = Stepwise(plan, start())
    for _ in range(8):
        run.advance(start())
    with pytest.raises(ValueError, match="output must be one of 8: the run has ended"):
        run.advance(start())


def test_a_plan_that_changes_its_input_first_is_refused() -> None:
    plan = compile_plan(make("edm-heun-churn"), edm(), steps=4, t_start=10.0, t_end=0.1)
    with pytest.raises(ValueError, match="plan must begin with an evaluation"):
        cut(plan)


@pytest.mark.parametrize("name", ["seeds-3", "sa-solver-2-2", "sde-dpm-solver++-2s"])
def test_an_increment_is_drawn_once_however_many_rows_add_it(name: str) -> None:
    plan = planned(name)
    asked: list[int] = []

    def draw(which: int, like: torch.Tensor) -> torch.Tensor:
        asked.append(which)
        return increments(which + 100 * asked.count(which), like)

    once = sample(plan, model, start(), noise=drawn_once(plan, draw)).x
    assert len(asked) == len(set(asked)) > 0
    assert torch.equal(once, sample(plan, model, start(), noise=lambda i, like: increments(i + 100, like)).x)


# --- k-diffusion ---


def denoiser(x: torch.Tensor, sigma: torch.Tensor, shift: float = 0.0) -> torch.Tensor:
    assert sigma.shape == x.shape[:1]
    assert sigma.dtype == x.dtype
    return torch.tanh(x / (1 + sigma.reshape(-1, 1, 1))) + shift


def sigmas(n: int = 10) -> torch.Tensor:
    return torch.tensor([*karras()(edm(), 10.0, 0.05, n - 1), 0.0], dtype=torch.float64)


def as_planned(name: str, **options: Any) -> Plan:
    times = sigmas()[:-1].tolist()
    return compile_plan(make(name), edm(10.0), times=times, prediction="x0", denoise=True, **options)


def told(x: torch.Tensor, t: float) -> torch.Tensor:
    return denoiser(x, x.new_full((2,), t), 0.25)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16], ids=str)
@pytest.mark.parametrize("name", [name for name in SOLVERS if name != "dpm-solver-fast-3"])
def test_a_function_of_k_diffusion_runs_the_plan(name: str, dtype: torch.dtype) -> None:
    plan, x = as_planned(name), start(dtype)
    drawn: list[tuple[float, float]] = []

    def noise_sampler(sigma: torch.Tensor, sigma_next: torch.Tensor) -> torch.Tensor:
        drawn.append((float(sigma), float(sigma_next)))
        return increments(len(drawn) - 1, x)

    found = as_k_diffusion(name)(
        denoiser, x, sigmas(), extra_args={"shift": 0.25}, disable=True, noise_sampler=noise_sampler
    )
    kept: dict[int, torch.Tensor] = {}

    def in_order(which: int, like: torch.Tensor) -> torch.Tensor:
        return kept.setdefault(which, increments(len(kept), x).to(like))

    noise = in_order if plan.stochastic else None
    assert found.dtype == dtype
    assert torch.equal(found, sample(plan, told, x, noise=noise).x)
    assert bool(drawn) == plan.stochastic
    assert all(10 >= high >= low >= 0.04 for high, low in drawn)


def test_parameters_starts_and_endings_are_the_plans() -> None:
    found = as_k_diffusion("dpm-solver++-3m-corrected", start="high-order", final="lower")
    plan = as_planned("dpm-solver++-3m-corrected", start="high-order", final="lower")
    ours = sample(plan, told, start()).x
    assert torch.equal(found(denoiser, start(), sigmas(), {"shift": 0.25}), ours)
    assert as_k_diffusion(make("lms-4")).__name__ == "sample_lms-4"


def test_a_run_that_ends_above_zero_ends_there_and_one_step_to_zero_is_the_data() -> None:
    times = sigmas()[:-1]
    plan = compile_plan(make("lms-4"), edm(10.0), times=times.tolist(), prediction="x0")
    ours = sample(plan, told, start()).x
    assert torch.equal(as_k_diffusion("lms-4")(denoiser, start(), times, {"shift": 0.25}), ours)
    data = as_k_diffusion("lms-4")(denoiser, start(), torch.tensor([3.0, 0.0]), {"shift": 0.25})
    assert torch.equal(data, told(start(), 3.0))


@pytest.mark.parametrize(("name", "nfe"), [("dpm-solver++-2m", 10), ("edm-heun", 19), ("unipc-3-bh2", 10)])
def test_a_callback_sees_every_level_once(name: str, nfe: int) -> None:
    seen: list[dict[str, Any]] = []
    calls: list[torch.Tensor] = []

    def counted(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        calls.append(denoiser(x, sigma))
        return calls[-1]

    as_k_diffusion(name)(counted, start(), sigmas(), callback=seen.append)
    assert len(calls) == nfe
    assert [info["i"] for info in seen] == list(range(10))
    assert [float(info["sigma"]) for info in seen] == sigmas()[:-1].tolist()
    assert all(torch.equal(info["denoised"], denoiser(info["x"], info["sigma"].expand(2))) for info in seen)


def test_noise_is_torchs_where_no_sampler_is_given() -> None:
    sampler = as_k_diffusion("sde-dpm-solver++-2m")

    def run(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return sampler(denoiser, start(), sigmas())

    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))


SAME = {
    "sample_euler": "ddim",
    "sample_heun": "edm-heun",
    "sample_dpm_2": "dpm-solver-2",
    "sample_lms": "lms-4",
    "sample_dpmpp_2m": "dpm-solver++-2m",
    "sample_euler_ancestral": "euler-ancestral",
    "sample_dpm_2_ancestral": "dpm-2-ancestral",
    "sample_dpmpp_2s_ancestral": "dpm++-2s-ancestral",
    "sample_dpmpp_2m_sde": "k-diffusion-2m-sde",
    "sample_dpmpp_3m_sde": "k-diffusion-3m-sde-released",
}


@pytest.mark.parametrize("to_data", [True, False])
@pytest.mark.parametrize("function", SAME)
def test_k_diffusions_own_functions_give_the_same(function: str, to_data: bool) -> None:
    if function == "sample_lms" and to_data:
        pytest.skip("its last step to 0 is of full order, and not the data")
    levels = sigmas() if to_data else sigmas()[:-1]
    try:
        theirs = getattr(release(), function)
    except ModuleNotFoundError as error:
        pytest.skip(str(error))

    def noise_sampler(sigma: torch.Tensor, sigma_next: torch.Tensor) -> torch.Tensor:
        return increments(round(1e6 * float(sigma)), start())

    options: dict[str, Any] = {"disable": True, "extra_args": {"shift": 0.25}}
    ours = as_k_diffusion(SAME[function], final="full")
    if make(SAME[function]).stochastic:
        options["noise_sampler"] = noise_sampler
    found = ours(denoiser, start(), levels, **options)
    # a level, to lambda and back near sigma = 0
    assert torch.allclose(found, theirs(denoiser, start(), levels, **options), rtol=1e-9, atol=1e-9)


def test_what_does_not_fit_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="solver must be a listed name"):
        as_k_diffusion("dpm-solver++-4m-corrected")
    with pytest.raises(ValueError, match="start must be one of own, high-order, got 'exact'"):
        as_k_diffusion("ddim", start="exact")
    with pytest.raises(ValueError, match="solver must be a name where it takes order"):
        as_k_diffusion(make("ddim"), order=2)
    sampler = as_k_diffusion("ddim")
    with pytest.raises(ValueError, match="sigmas must decrease from a positive level, at least 2 of them"):
        sampler(denoiser, start(), torch.tensor([1.0]))
    with pytest.raises(ValueError, match="times must strictly decrease"):
        sampler(denoiser, start(), torch.tensor([2.0, 3.0, 1.0, 0.0]).clamp(max=2.0))
    with pytest.raises(NonFiniteError, match="evaluation 1"):
        sampler(lambda x, s: x / 0, start(), sigmas())
