"""Users' threads as laws of our solvers: each test names the thread that it answers."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import torch
from semilinear.integrators.diffusion import grids
from semilinear.integrators.diffusion.discrete import discrete, linear_betas
from semilinear.integrators.diffusion.prediction import convert
from semilinear.integrators.diffusion.schedule import (
    Schedule,
    edm,
    rectified_flow,
    sub_vp,
    ve,
    vp_cosine,
    vp_linear,
)
from semilinear.integrators.numerics.arithmetic import multiprecision
from semilinear.integrators.plans import files as plan_io
from semilinear.integrators.plans.compile import Plan, compile_plan
from semilinear.integrators.plans.program import Row
from semilinear.integrators.run.hooks import dynamic_thresholding
from semilinear.integrators.run.noise import per_sample
from semilinear.integrators.run.sampler import sample
from semilinear.integrators.solvers import SOLVERS, dpm_solver, make
from semilinear.verification.problems.named import golden_mixture, rotated_product
from semilinear.verification.studies.own_statistics import generic

VP = vp_linear()
MIXTURE = golden_mixture()
X = torch.linspace(-2, 2, 8, dtype=torch.float64).reshape(4, 2)
# Solvers whose table of coefficients has the length of the run live on their own grid (test_score_sde.py).
ALL = sorted(name for name in SOLVERS if generic(name).form(VP).table is None)
ODE = [name for name in ALL if not generic(name).stochastic]
SDE = [name for name in ALL if generic(name).stochastic]
SCHEDULES: dict[str, Schedule] = {
    "vp-linear": VP,
    "vp-cosine": vp_cosine(),
    "sub-vp": sub_vp(),
    "ve": ve(),
    "edm": edm(),
    "rectified-flow": rectified_flow(),
    "discrete": discrete(linear_betas(1e-4, 0.02, 1000)),
}


def budget(name: str, n: int) -> int:
    """A budget with which the solver makes at least one step."""
    return n * generic(name).sequence.period


def run(plan: Plan, x: torch.Tensor = X, schedule: Schedule = VP, seed: int = 0) -> torch.Tensor:
    model = convert(schedule, MIXTURE.model(schedule), "eps", plan.prediction)
    result: torch.Tensor = sample(plan, model, x, noise=per_sample(seed) if plan.stochastic else None).x
    return result


@pytest.mark.parametrize("name", ALL)
def test_every_solver_reaches_sigma_zero_with_any_number_of_steps(name: str) -> None:
    """diffusers #9007, #9104, k-diffusion #104, #43: NaN, or a crash, in the last step to sigma = 0."""
    solver, grid = generic(name), grids.karras()
    end: dict[str, Any] = {"t_end": 0.0, "final": "lower"}
    if solver.form(VP).affine is not None:  # statistics are known at finite lambda: denoised from there
        with pytest.raises(ValueError, match="statistics are not known at lambda = inf"):
            compile_plan(solver, VP, steps=2, grid=grid, t_start=1.0, **end)
        end = {"t_end": 1e-3, "denoise": True}
    for n in (1, 2, 3, 4, 5, 6, 7, 20):  # more than any start takes, and even and odd
        plan = compile_plan(solver, VP, steps=budget(name, n), grid=grid, t_start=1.0, **end)
        assert bool(torch.isfinite(run(plan)).all())


@pytest.mark.parametrize("name", SDE)
def test_sde_branches_run_end_to_end(name: str) -> None:
    """physicsnemo #1932, diffusers #13778: every stochastic solver runs, and its noise matters."""
    plan = compile_plan(generic(name), VP, steps=budget(name, 8), t_start=1.0, t_end=1e-3)
    a, b = run(plan, seed=1), run(plan, seed=2)
    assert bool(torch.isfinite(a).all())
    assert not torch.equal(a, b)


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("nfe", range(1, 31))
def test_fast_order_lists_are_the_released_rule(order: int, nfe: int) -> None:
    """diffusers #6953, #3413, dpm-solver #44: order lists and evaluations for every budget.

    The rule written with DPM-Solver's own K: the number of steps is nfe // order + 1, or one less.
    """
    steps = nfe // order + 1
    by_rest = {
        1: {0: [1] * nfe},
        2: {0: [2] * (steps - 1), 1: [2] * (steps - 1) + [1]},
        3: {
            0: [3] * (steps - 2) + [2, 1],
            1: [3] * (steps - 1) + [1],
            2: [3] * (steps - 1) + [2],
        },
    }
    expected = by_rest[order][nfe % order]
    assert list(dpm_solver.fast_orders(order, nfe)) == expected
    assert sum(expected) == nfe
    plan = compile_plan(dpm_solver.fast(order), VP, steps=nfe, t_start=1.0, t_end=1e-3)
    assert plan.nfe == nfe


@pytest.mark.parametrize("name", ["dpm-solver++-2m", "dpm-solver++-3m-corrected", "dpm-solver-3"])
@pytest.mark.parametrize("n", [10, 20, 50])
def test_cosine_schedule_with_karras_steps(name: str, n: int) -> None:
    """diffusers #10738: index out of bounds; here no time is looked up in a table."""
    schedule = SCHEDULES["vp-cosine"]
    plan = compile_plan(generic(name), schedule, steps=n, grid=grids.karras(), t_start=0.99, t_end=1e-3)
    assert bool(torch.isfinite(run(plan, schedule=schedule)).all())
    assert len(set(plan.times)) == n + 1


def test_neighbouring_times_of_a_discrete_schedule_stay_apart() -> None:
    """diffusers #13239, #14718, #5687: times truncated to integers coincide; ours stay floats."""
    schedule = SCHEDULES["discrete"]
    times = grids.karras()(schedule, 1.0, 1e-3, 300)
    assert len(set(times)) == 301
    assert len({int(1000 * t) for t in times}) < 301  # truncated, they would coincide
    with pytest.raises(ValueError, match=r"times must strictly decrease: times\[1\]"):
        grids.user(schedule, [0.998, 0.997, 0.997, 0.1])


@pytest.mark.parametrize("name", [n for n in ODE if make(n).sequence.period == 1])
def test_a_run_may_start_at_an_interior_time(name: str) -> None:
    """diffusers #5687: image-to-image starts inside the grid; the run from there is one of its own."""
    times = compile_plan(generic(name), VP, steps=12, t_start=1.0, t_end=1e-2).times
    inner = compile_plan(generic(name), VP, times=times[5:], grid=grids.uniform_lambda())
    assert inner.times == times[5:]
    assert bool(torch.isfinite(run(inner)).all())


@pytest.mark.parametrize("name", list(SCHEDULES))
def test_sigma_returns_from_its_time(name: str) -> None:
    """diffusers #13768: sigmas truncated instead of rounded; the round trip is exact to rounding."""
    schedule = SCHEDULES[name]
    t = np.linspace(0.05, 0.95, 50) * min(schedule.t_max, 1.0)
    rho = schedule.rho(t)
    np.testing.assert_allclose(schedule.rho(schedule.t_of_rho(rho)), rho, rtol=1e-12)


@pytest.mark.parametrize(("name", "order"), [("ddim", 1), ("dpm-solver++-2m", 2), ("dpm-solver-3", 3)])
def test_decoding_undoes_encoding_to_the_order(name: str, order: int) -> None:
    """diffusers #10748: encoding fails where sigma = 0; from a small t it returns with the solver's order."""
    model, errors = MIXTURE.model(VP), []
    for n in (32, 64):
        there = compile_plan(generic(name), VP, steps=n, t_start=0.05, t_end=0.6)
        back = compile_plan(generic(name), VP, steps=n, t_start=0.6, t_end=0.05)
        errors.append(float((sample(back, model, sample(there, model, X).x).x - X).abs().max()))
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.4)


def test_coefficients_come_from_lambda_not_from_rounded_times() -> None:
    """diffusers #4986: a second-order coefficient in 40 digits, from lambda alone."""
    xp = multiprecision(40)
    plan = compile_plan(make("dpm-solver++-2m"), VP, steps=5, t_start=1.0, t_end=1e-3, prediction="x0")
    lam = [VP.lam(xp.number(t)) for t in plan.times]
    h, ratio = lam[3] - lam[2], (lam[2] - lam[1]) / (lam[3] - lam[2])
    alpha = VP.alpha(xp.number(plan.times[3]))
    weight = -alpha * xp.expm1(-h) / (2 * ratio)
    row = plan.steps[2].operations[-1]
    assert isinstance(row, Row)
    (found,) = (v for kind, state, v in row.terms if kind == "m" and state == 1)
    assert found == pytest.approx(float(-weight), rel=1e-13)


@pytest.mark.parametrize("prediction", ["x0", "v"])
def test_zero_terminal_snr_starts_from_limits(prediction: str) -> None:
    """diffusers #7097: alpha = 0 exactly, with no patched beta; data prediction has a limit row there."""
    schedule = SCHEDULES["rectified-flow"]
    plan = compile_plan(
        make("dpm-solver++-2m"),
        schedule,
        steps=10,
        grid=grids.uniform_t(),
        t_start=1.0,
        t_end=1e-2,
        prediction=prediction,
    )
    model = convert(schedule, MIXTURE.model(schedule), "eps", prediction)

    def safe(x: torch.Tensor, t: float) -> torch.Tensor:
        if t < 1:
            return model(x, t)
        mean = torch.tensor(MIXTURE.weights @ MIXTURE.means).expand_as(x)  # nothing is known at pure noise
        return mean if prediction == "x0" else -mean

    assert bool(torch.isfinite(sample(plan, safe, X).x).all())


def test_noise_prediction_at_zero_snr_is_refused() -> None:
    """diffusers #3851: division by alpha = 0."""
    with pytest.raises(ValueError, match="alpha = 0"):
        compile_plan(
            make("dpm-solver++-2m"),
            rectified_flow(),
            steps=4,
            grid=grids.uniform_t(),
            t_start=1.0,
            t_end=0.1,
            prediction="eps",
        )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["ddim", "dpm-solver++-2m", "deis-tab2", "edm-heun"])
def test_half_precision_models_have_float64_coefficients(dtype: torch.dtype, name: str) -> None:
    """diffusers #3005, #3056: the schedule rounded to half; here only the model sees half."""
    plan = compile_plan(generic(name), VP, steps=10, t_start=1.0, t_end=1e-2)
    model, seen = MIXTURE.model(VP), []

    def half(x: torch.Tensor, t: float) -> torch.Tensor:
        seen.append(x.dtype)
        return model(x.double(), t).to(x.dtype)

    before = plan.digest
    result = sample(plan, half, X.to(dtype)).x
    assert plan.digest == before
    assert set(seen) == {dtype}
    assert result.dtype == dtype
    error = (result.double() - run(plan)).abs().max()
    assert error < 40 * torch.finfo(dtype).eps  # a few roundings of inputs and outputs, amplified by the flow


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_thresholding_works_in_every_dtype(dtype: torch.dtype) -> None:
    """diffusers #3056, #1349: quantile fails in half precision."""
    model = dynamic_thresholding(lambda x, t: 3 * x, VP, prediction="x0")
    plan = compile_plan(make("dpm-solver++-2m"), VP, steps=5, t_start=1.0, t_end=1e-2, prediction="x0")
    result = sample(plan, model, X.to(dtype)).x
    assert result.dtype == dtype
    assert bool(torch.isfinite(result).all())


@pytest.mark.parametrize("name", ALL)
def test_a_sample_is_bitwise_the_same_in_every_batch(name: str) -> None:
    """A1111 #5210, #7730, #10847, sdnext #2352: samples that change with the batch size."""
    plan = compile_plan(generic(name), VP, steps=budget(name, 4), t_start=1.0, t_end=1e-2)
    wide = X.repeat(2, 1)

    def elementwise(x: torch.Tensor, t: float) -> torch.Tensor:  # so that only the sampler can mix samples
        return torch.stack([row.tanh() * (1 + t) for row in x])

    noise = per_sample(3) if plan.stochastic else None
    alone, together = (sample(plan, elementwise, x, noise=noise).x for x in (wide[:1], wide))
    assert torch.equal(alone[0], together[0])


@pytest.mark.parametrize("family", ["dpm-solver", "dpm-solver++"])
@pytest.mark.parametrize("mode", ["singlestep", "multistep", "fast"])
def test_order_one_runs_in_every_mode(family: Any, mode: str) -> None:
    """dpm-solver #44: singlestep order 1 raised an IndexError."""
    plan = compile_plan(getattr(dpm_solver, mode)(1, family), VP, steps=7, t_start=1.0, t_end=1e-2)
    ddim = compile_plan(make("ddim"), VP, steps=7, t_start=1.0, t_end=1e-2)
    assert plan_io.difference(plan, ddim).value <= 1e-13
    assert plan.nfe == 7


@pytest.mark.parametrize("schedule", list(SCHEDULES))
@pytest.mark.parametrize("name", ALL)
def test_one_step_works_for_every_solver_on_every_schedule(name: str, schedule: str) -> None:
    """diffusers #14572: 0/0 with a single step."""
    s = SCHEDULES[schedule]
    ends: dict[str, Any] = {"t_start": 0.9 * min(s.t_max, 1.0), "t_end": 0.1 * min(s.t_max, 1.0)}
    plan = compile_plan(generic(name), s, steps=1, **ends)
    assert bool(torch.isfinite(run(plan, schedule=s)).all())


def test_two_trailing_zeros_are_refused() -> None:
    """ComfyUI #4005: a step of length zero."""
    with pytest.raises(ValueError, match="strictly"):
        grids.from_sigma(edm(), [10.0, 1.0, 0.0, 0.0])


@pytest.mark.parametrize("name", ["dpm-solver++-3m-corrected", "deis-tab3", "dpm-solver-3", "deis-ipndm"])
def test_runs_and_threads_do_not_see_each_other(name: str) -> None:
    """diffusers #8711, #3672: history of another run, or of another thread."""
    plan = compile_plan(generic(name), VP, steps=30, t_start=1.0, t_end=1e-2)
    problem = rotated_product()
    model = problem.model(VP)
    starts = [X + k for k in range(4)]
    expected = [sample(plan, model, x).x for x in starts]
    found: list[Any] = [None] * 4

    def work(k: int) -> None:
        for _ in range(3):
            found[k] = sample(plan, model, starts[k]).x

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


@pytest.mark.parametrize("name", ["ddim", "dpm-solver++-2m", "dpm-solver++-2s", "dpm-solver-2m"])
def test_rectified_flow_ends_at_infinite_lambda(name: str) -> None:
    """Sana #91: the last step of a flow goes to lambda = infinity; it is explicit, and has a limit."""
    schedule = rectified_flow()
    model = convert(schedule, MIXTURE.model(schedule), "eps", "flow")
    options: dict[str, Any] = {"grid": grids.uniform_t(), "t_start": 0.99, "prediction": "flow"}
    lower = compile_plan(generic(name), schedule, steps=8, t_end=0.0, final="lower", **options)
    assert bool(torch.isfinite(sample(lower, model, X).x).all())
    options |= {"final": "full", "denoise": True}
    denoised = compile_plan(generic(name), schedule, steps=7, t_end=lower.times[-2], **options)
    torch.testing.assert_close(sample(lower, model, X).x, sample(denoised, model, X).x, rtol=1e-9, atol=1e-9)
