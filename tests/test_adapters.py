"""A sampler written in a foreign convention is read off as the solver that it is.

No foreign package is needed: the samplers are written here, each as its package would have it.
"""

from __future__ import annotations

import itertools
import json
import math
import sys
import textwrap
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from semilinear.integrators.diffusion.schedule import Schedule, edm, rectified_flow, vp_linear
from semilinear.integrators.plans import files
from semilinear.integrators.plans.compile import compile_plan
from semilinear.integrators.solvers import make
from semilinear.verification.audit.subject import experiment
from semilinear.verification.targets import (
    arithmetic,
    azula,
    deepinv,
    diffusers,
    flow_matching,
    k_diffusion,
    loading,
    ours,
    plain,
    process,
    smalldiffusion,
    torchdiffeq,
)
from semilinear.verification.targets.draws import TakenOver
from semilinear.verification.targets.frames import Frame, Levels
from semilinear.verification.targets.run import Run, in_numpy
from semilinear.verification.tracing.trace import NotLinearError, Trace, of_plan, trace

from tests.roundings import MANY_ULP, SOME_ULP

SCHEDULES = (edm(), vp_linear(), rectified_flow())
N = 6


def grid(schedule: Schedule, n: int = N, low: float = 0.15, high: float = 2.0) -> tuple[float, ...]:
    """Not uniform in anything."""
    u = np.linspace(0, 1, n + 1)
    lam = np.log(low) * (w := u + 0.05 * np.sin(2 * np.pi * u)) + np.log(high) * (1 - w)
    return tuple(float(schedule.t_of_rho(float(math.exp(v)))) for v in lam)


def expected(name: str, schedule: Schedule, times: Any, prediction: str = "x0", **options: Any) -> Trace:
    plan = compile_plan(make(name), schedule, times=times, prediction=prediction, **options)
    return of_plan(plan, schedule)


def same(found: Trace, wanted: Trace, within: float = 1e-13) -> bool:
    """Alike in their evaluations, and in the law of their noise."""
    calls = found.nfe
    found, wanted = found.predicting("eps"), wanted.predicting("eps")
    if wanted.nfe != calls or not np.allclose(found.times, wanted.times, rtol=SOME_ULP, atol=0):
        return False
    noise, ours_noise = found.rows[:, 1 + calls :], wanted.rows[:, 1 + calls :]
    return bool(
        np.abs(found.rows[:, : 1 + calls] - wanted.rows[:, : 1 + calls]).max() <= within
        and np.abs(noise @ noise.T - ours_noise @ ours_noise.T).max() <= within
    )


class Fixed(Run):
    """A run on a model, with increments that say where they lie."""

    spans: list[tuple[float, float]]

    def increment(self, t0: Any, t1: Any, like: Any) -> Any:
        self.spans.append((float(t0), float(t1)))
        return torch.full_like(like, 0.1 * len(self.spans))


def run_on(schedule: Schedule, **options: Any) -> Fixed:
    x = torch.linspace(-1, 1, 6).double().reshape(2, 1, 1, 3)
    run = Fixed(schedule, grid(schedule, **options), x, lambda x, t: torch.tanh(x) + t)
    run.spans = []
    return run


# --- frames ---


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s.kind)
@pytest.mark.parametrize("name", ["ve", "vp", "flow"])
def test_the_model_is_the_same_in_every_frame(schedule: Schedule, name: Any) -> None:
    run = run_on(schedule)
    frame = Frame(run, name)
    y, t = frame.enter(), run.times[0]
    rho = float(schedule.rho(t))
    x0, eps = run.predict("x0")(run.x, t), run.predict("eps")(run.x, t)
    a = {"ve": 1.0, "vp": 1 / math.hypot(1, rho), "flow": 1 / (1 + rho)}[name]
    torch.testing.assert_close(y, a * x0 + a * rho * eps, rtol=0, atol=SOME_ULP)
    for prediction, wanted in {
        "x0": x0,
        "eps": eps,
        "v": a * eps - a * rho * x0,
        "velocity": eps - x0,
    }.items():
        torch.testing.assert_close(frame.predict(prediction, y, rho), wanted, rtol=SOME_ULP, atol=0)
    torch.testing.assert_close(frame.leave(y, t), run.x, rtol=SOME_ULP, atol=0)


def test_a_velocity_has_a_limit_at_data() -> None:
    run = run_on(edm())
    frame = Frame(run, "flow")
    near, there = (frame.predict("velocity", run.x, rho) for rho in (1e-5, 0.0))
    assert torch.allclose(near, there, rtol=0, atol=1e-4)  # they differ by a multiple of 1e-5


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s.kind)
def test_levels_within_rounding_are_the_grid_s(schedule: Schedule) -> None:
    run = run_on(schedule)
    levels = Levels(run)
    for rho, t in zip(levels.grid, run.times, strict=True):
        assert levels.time(math.exp(math.log(rho))) == t
        assert levels.time(torch.tensor([rho, rho], dtype=torch.float32)) == t
    between = levels.time(1.01 * levels.grid[1])
    assert run.times[1] < between < run.times[0]
    assert levels.time(1.01 * levels.grid[1] * (1 + 1e-15)) == between


def test_a_level_outside_of_the_schedule_is_refused() -> None:
    with pytest.raises(ValueError, match="rho must be reached on t in"):
        Levels(run_on(rectified_flow())).time(math.inf)
    with pytest.raises(ValueError, match="rho must be non-negative, got -1"):
        Levels(run_on(edm())).time(-1.0)


# --- arithmetic, loading ---


def test_float32_is_float64_while_it_lasts() -> None:
    module = (sys.modules[__name__],)
    before = torch.get_default_dtype()

    def look() -> tuple[Any, Any, Any]:
        return (
            torch.tensor(0.1).dtype,
            np.zeros(1, np.float32).dtype,
            torch.zeros(1, dtype=torch.float32).dtype,
        )

    assert look() == (torch.float32, np.dtype("float32"), torch.float32)
    with arithmetic.widened(module):
        assert look() == (torch.float64, np.dtype("float64"), torch.float64)
    with arithmetic.widened(module, exact=False):
        assert look() == (torch.float32, np.dtype("float32"), torch.float32)
    with pytest.raises(RuntimeError, match="mine"), arithmetic.widened(module):
        raise RuntimeError("mine")
    assert look() == (torch.float32, np.dtype("float32"), torch.float32)
    assert torch.get_default_dtype() == before


def test_numpy_s_functions_of_tensors_give_the_same_where_torch_is_asked_in_both_ways() -> None:
    own = torch.Tensor.__array_wrap__
    values = [torch.tensor([0.3, 2.0], dtype=d) for d in (torch.float64, torch.float32, torch.float16)]
    values += [v[0] for v in values]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        plain = [f(v) for v in values for f in (np.log, np.exp, np.signbit)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is asked in vain
        with arithmetic.wrapped(), arithmetic.wrapped():
            found = [f(v) for v in values for f in (np.log, np.exp, np.signbit)]
            with pytest.raises(TypeError, match="BFloat16"):
                np.log(torch.ones(1, dtype=torch.bfloat16))
        assert torch.Tensor.__array_wrap__ is own
    for a, b in zip(plain, found, strict=True):
        assert isinstance(b, torch.Tensor)
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert torch.equal(a, b)


def test_a_scheduler_from_before_numpy_2_has_an_array_where_an_end_is_a_tensor() -> None:
    class Backwards(DPMSolverMultistepScheduler):
        def set_timesteps(self, num_inference_steps: int) -> None:
            super().set_timesteps(num_inference_steps)
            backwards = np.linspace(0, 999 - torch.tensor(3), num_inference_steps + 1).round()[::-1]
            self.timesteps = torch.from_numpy(backwards[:-1].copy())

    made = diffusers.sampler(Backwards)
    assert same(trace(made, edm(), grid(edm())), expected("ddim", edm(), grid(edm())))
    with pytest.raises(ValueError, match="step must be greater than zero"):  # as it is installed
        trace(diffusers.sampler(Backwards, exact=False), edm(), grid(edm()))


def test_one_file_of_a_package_without_the_package(tmp_path: Path, monkeypatch: Any) -> None:
    package = tmp_path / "halfway_there"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('not for us')")
    (package / "sampling.py").write_text("import halfway_there.heavy as heavy\nvalue = heavy.number + 1")
    monkeypatch.syspath_prepend(tmp_path)
    stub = SimpleNamespace(number=2)
    module = loading.alone("halfway_there.sampling", {"halfway_there.heavy": stub})  # type: ignore[dict-item]
    assert module.value == 3
    assert "halfway_there" not in sys.modules
    assert "halfway_there.heavy" not in sys.modules
    assert loading.alone("halfway_there.sampling") is module
    del sys.modules["halfway_there.sampling"]
    (package / "broken.py").write_text("1/0")
    with pytest.raises(ZeroDivisionError):
        loading.alone("halfway_there.broken")
    assert "halfway_there.broken" not in sys.modules
    with pytest.raises(ModuleNotFoundError, match="no_such_package is not installed"):
        loading.alone("no_such_package.sampling")
    assert loading.version("no-such-distribution") == ""


# --- k-diffusion ---


def kd_euler(model: Any, x: Any, sigmas: Any, extra_args: Any = None, disable: Any = None) -> Any:
    for sigma, after in itertools.pairwise(sigmas):
        x = x + (x - model(x, sigma * x.new_ones([x.shape[0]]))) / sigma * (after - sigma)
    return x


def kd_ancestral(model: Any, x: Any, sigmas: Any, eta: float = 1.0, noise_sampler: Any = None) -> Any:
    for sigma, after in itertools.pairwise(sigmas):
        up = eta * (after**2 * (sigma**2 - after**2) / sigma**2) ** 0.5
        down = (after**2 - up**2) ** 0.5
        x = x + (x - model(x, sigma.expand(x.shape[0]))) / sigma * (down - sigma)
        x = x + noise_sampler(sigma.log().exp(), after.log().exp()) * up  # through logarithms, as some go
    return x


def kd_fast(model: Any, x: Any, sigma_min: float, sigma_max: float, n: int) -> Any:
    levels = torch.linspace(math.log(sigma_max), math.log(sigma_min), n + 1).exp()
    return kd_euler(model, x, levels)


def kd_half(model: Any, x: Any, sigmas: Any) -> Any:
    """As ComfyUI's look for the noise levels."""
    ms = model.inner_model.inner_model.model_sampling
    assert ms is model.inner_model.model_sampling
    assert ms is model.inner_model.model_patcher.get_model_object("model_sampling")
    assert float(ms.noise_scaling(2.0, 0.5, 3.0)) == 4.0  # x + sigma eps
    assert float(ms.sigma_max) == pytest.approx(float(sigmas[0]), rel=SOME_ULP, abs=0)
    assert float(ms.sigma(ms.timestep(sigmas[1]))) == pytest.approx(float(sigmas[1]), rel=SOME_ULP, abs=0)
    return kd_euler(model, x, sigmas)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s.kind)
@pytest.mark.parametrize(
    ("function", "settings", "name"),
    [(kd_euler, {}, "ddim"), (kd_half, {}, "ddim"), (kd_ancestral, {}, "euler-ancestral")],
)
def test_k_diffusion(schedule: Schedule, function: Any, settings: Any, name: str) -> None:
    times = grid(schedule)
    found = trace(k_diffusion.sampler(function, settings), schedule, times)
    assert found.prediction == "x0"
    assert same(found, expected(name, schedule, times))
    if function is kd_ancestral:
        assert found.increments == tuple(itertools.pairwise(times))


def test_k_diffusion_by_ends_alone_is_in_float64() -> None:
    schedule = edm()
    lam = np.linspace(math.log(2.0), math.log(0.15), N + 1)
    times = tuple(float(v) for v in np.exp(lam))
    found = trace(k_diffusion.sampler(kd_fast), schedule, times)
    assert same(found, expected("ddim", schedule, times))
    single = trace(k_diffusion.sampler(kd_fast, exact=False), schedule, times)
    off = np.abs(single.rows - found.rows).max()
    assert 1e-12 < off < 1e-5  # float32, seen at the end of the run


def test_k_diffusion_refuses() -> None:
    with pytest.raises(ValueError, match="function kd_ancestral does not take ETA; its parameters are: eta"):
        k_diffusion.sampler(kd_ancestral, {"ETA": 0.0})
    with pytest.raises(
        ValueError, match="function must take sigmas, or sigma_min and sigma_max, got stepper"
    ):
        k_diffusion.sampler(stepper)


def stepper(model: Any, x: Any, times: Any) -> Any:
    return x


# --- diffusers: schedulers of the conventions, by the names that these have ---


class Configured:
    """What every scheduler has."""

    def __init__(self, final_sigmas_type: str = "zero", **config: Any) -> None:
        self.config: dict[str, Any] = {"final_sigmas_type": final_sigmas_type} | config
        self.k = 0

    def set_timesteps(self, num_inference_steps: int) -> None:
        self.timesteps = torch.linspace(999, 0, num_inference_steps, dtype=torch.float32)
        self.sigmas = torch.linspace(14.6, 0, num_inference_steps + 1, dtype=torch.float32)

    def set_begin_index(self, index: int) -> None:
        self.k = index


class DPMSolverMultistepScheduler(Configured):
    """First order, its states those of VP."""

    def __init__(
        self, final_sigmas_type: str = "zero", prediction_type: str = "epsilon", use_flow_sigmas: bool = False
    ) -> None:
        super().__init__(final_sigmas_type, prediction_type=prediction_type, use_flow_sigmas=use_flow_sigmas)

    def _scales(self, s: Any) -> Any:
        return (
            (1 - s, s) if self.config["use_flow_sigmas"] else (1 / (1 + s**2) ** 0.5, s / (1 + s**2) ** 0.5)
        )

    def step(self, model_output: Any, timestep: Any, sample: Any, return_dict: bool = True) -> Any:
        (a, s), (b, r) = (self._scales(v) for v in self.sigmas[self.k : self.k + 2])
        kind = self.config["prediction_type"]
        x0 = {
            "epsilon": lambda: (sample - s * model_output) / a,
            "sample": lambda: model_output,
            "v_prediction": lambda: a * sample - s * model_output,
            "flow_prediction": lambda: sample - s * model_output,
        }[kind]()
        self.k += 1
        sample = sample.to(torch.float32)
        return ((r / s * sample + (b - r * a / s) * x0).to(model_output.dtype),)


class EulerAncestralDiscreteScheduler(Configured):
    """Its states those of VE, scaled for the model."""

    def scale_model_input(self, sample: Any, timestep: Any) -> Any:
        return sample / (1 + self.sigmas[self.k] ** 2) ** 0.5

    def step(self, model_output: Any, timestep: Any, sample: Any, return_dict: bool = True) -> Any:
        a, b = self.sigmas[self.k : self.k + 2]
        up = (b**2 * (a**2 - b**2) / a**2) ** 0.5
        self.k += 1
        drawn = randn_tensor(model_output.shape, dtype=model_output.dtype)
        return (sample + model_output * ((b**2 - up**2) ** 0.5 - a) + up * drawn,)


def randn_tensor(shape: Any, generator: Any = None, device: Any = None, dtype: Any = None) -> Any:
    raise AssertionError("the increments are the run's")


class HeunDiscreteScheduler(Configured):
    """Two calls a step."""

    def scale_model_input(self, sample: Any, timestep: Any) -> Any:
        return sample / (1 + self.sigmas[self.k] ** 2) ** 0.5

    def step(self, model_output: Any, timestep: Any, sample: Any, return_dict: bool = True) -> Any:
        if self.k % 2 == 0:
            a, b = self.sigmas[self.k : self.k + 2]
            self.first, self.start = model_output, sample
            made = sample + (b - a) * model_output
        else:
            a, b = self.sigmas[self.k - 1 : self.k + 1]
            made = self.start + (b - a) * (self.first + model_output) / 2
        self.k += 1
        return (made,)


class EDMEulerScheduler(Configured):
    """EDM's preconditioning."""

    sigma_data = 0.5

    def precondition_inputs(self, sample: Any, sigma: Any) -> Any:
        return sample / (sigma**2 + self.sigma_data**2) ** 0.5

    def precondition_outputs(self, sample: Any, output: Any, sigma: Any) -> Any:
        skip = self.sigma_data**2 / (sigma**2 + self.sigma_data**2)
        return skip * sample + sigma * self.sigma_data / (sigma**2 + self.sigma_data**2) ** 0.5 * output

    def scale_model_input(self, sample: Any, timestep: Any) -> Any:
        return self.precondition_inputs(sample, self.sigmas[self.k])

    def step(self, model_output: Any, timestep: Any, sample: Any, return_dict: bool = True) -> Any:
        a, b = self.sigmas[self.k : self.k + 2]
        self.k += 1
        x0 = self.precondition_outputs(sample, model_output, a)
        return (sample + (sample - x0) / a * (b - a),)


class FlowMatchEulerDiscreteScheduler(Configured):
    """Euler on the velocity."""

    def step(self, model_output: Any, timestep: Any, sample: Any, return_dict: bool = True) -> Any:
        a, b = self.sigmas[self.k : self.k + 2]
        self.k += 1
        return (sample + (b - a) * model_output,)


class DDIMScheduler(Configured):
    """A table of alphas_cumprod."""

    def __init__(
        self, num_train_timesteps: int = 1000, steps_offset: int = 0, clip_sample: bool = True
    ) -> None:
        super().__init__()
        assert not clip_sample
        self.count, self.offset = num_train_timesteps, steps_offset
        self.alphas_cumprod = torch.linspace(0.99, 0.01, num_train_timesteps)
        self.final_alpha_cumprod = torch.tensor(1.0)

    def set_timesteps(self, num_inference_steps: int) -> None:
        self.ratio = self.count // num_inference_steps
        self.timesteps = torch.arange(num_inference_steps).flip(0) * self.ratio + self.offset

    def step(
        self, model_output: Any, timestep: Any, sample: Any, eta: float = 0.0, return_dict: bool = True
    ) -> Any:
        before = timestep - self.ratio
        a = self.alphas_cumprod[timestep]
        b = self.alphas_cumprod[before] if before >= 0 else self.final_alpha_cumprod
        std = eta * ((1 - b) / (1 - a) * (1 - a / b)) ** 0.5
        x0 = (sample - (1 - a) ** 0.5 * model_output) / a**0.5
        made = b**0.5 * x0 + (1 - b - std**2) ** 0.5 * model_output
        return (made + std * randn_tensor(sample.shape, dtype=sample.dtype) if eta else made,)


class IPNDMScheduler(Configured):
    """First order, of v and angles."""

    alphas: torch.Tensor
    betas: torch.Tensor

    def step(self, model_output: Any, timestep: Any, sample: Any, return_dict: bool = True) -> Any:
        (a, b), (s, r) = self.alphas[self.k : self.k + 2], self.betas[self.k : self.k + 2]
        self.k += 1
        eps = sample * s + model_output * a
        return (b * (sample - s * eps) / a + r * eps,)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s.kind)
@pytest.mark.parametrize(
    ("made", "settings", "name"),
    [
        (DPMSolverMultistepScheduler, {}, "ddim"),
        (DPMSolverMultistepScheduler, {"prediction_type": "sample"}, "ddim"),
        (DPMSolverMultistepScheduler, {"prediction_type": "v_prediction"}, "ddim"),
        (DPMSolverMultistepScheduler, {"use_flow_sigmas": True}, "ddim"),
        (EulerAncestralDiscreteScheduler, {}, "euler-ancestral"),
        (HeunDiscreteScheduler, {}, "edm-heun"),
        (EDMEulerScheduler, {}, "ddim"),
        (FlowMatchEulerDiscreteScheduler, {}, "ddim"),
        (DDIMScheduler, {}, "ddim"),
        (DDIMScheduler, {"eta": 1.0}, "euler-ancestral"),
        (IPNDMScheduler, {}, "ddim"),
    ],
    ids=lambda v: v.__name__ if isinstance(v, type) else str(v),
)
def test_schedulers(schedule: Schedule, made: Any, settings: Any, name: str) -> None:
    times = grid(schedule)
    found = trace(diffusers.sampler(made, settings), schedule, times)
    assert same(found, expected(name, schedule, times))
    if name == "euler-ancestral":
        assert found.increments == tuple(itertools.pairwise(times))


@pytest.mark.parametrize(
    "made", [DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler, DDIMScheduler]
)
def test_schedulers_that_end_at_data(made: Any) -> None:
    times = (*grid(edm())[:-1], 0.0)
    found = trace(diffusers.sampler(made), edm(), times)
    assert same(found, expected("ddim", edm(), times))


def test_heun_ends_at_data_with_one_call() -> None:
    times = (*grid(edm())[:-1], 0.0)
    found = trace(diffusers.sampler(HeunDiscreteScheduler), edm(), times)
    assert found.nfe == 2 * N - 1
    assert same(found, expected("edm-heun", edm(), times, final="last"))


def test_a_scheduler_s_own_float32_can_be_kept() -> None:
    times = grid(edm())
    wanted = expected("ddim", edm(), times).predicting("eps")
    sampler = diffusers.sampler(DPMSolverMultistepScheduler, exact=False)
    found = trace(sampler, edm(), times, dtype=torch.float32)
    assert 1e-9 < np.abs(found.rows - wanted.rows).max() < 1e-5  # float32's
    with pytest.raises(NotLinearError):  # which is rounded as the state is, not as its row
        trace(sampler, edm(), times)


class LCMScheduler(Configured):
    """Refused by its name."""


class Mine(Configured):
    """Of no family."""

    def step(self, model_output: Any, timestep: Any, sample: Any) -> Any:
        return (sample,)


@pytest.mark.parametrize(
    ("scheduler", "settings", "why"),
    [
        (
            "LCMScheduler",
            {},
            "LCMScheduler cannot be driven: its boundary scalings are functions of training",
        ),
        (LCMScheduler, {}, "LCMScheduler cannot be driven"),
        ("VQDiffusionScheduler", {}, "discrete tokens"),
        ("DEISMultistep", {}, "got 'DEISMultistep'; the nearest are DEISMultistepScheduler"),
        (3, {}, "scheduler must be one of diffusers.schedulers, got 3"),
        (Mine, {}, "scheduler must be, or derive from, one of"),
        (DDIMScheduler, {"et": 1.0}, "DDIMScheduler does not take et; .*the nearest are eta"),
    ],
)
def test_schedulers_are_refused_with_the_reason(scheduler: Any, settings: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        diffusers.sampler(scheduler, settings)


def test_schedulers_go_down() -> None:
    with pytest.raises(ValueError, match="times must not go up for DDIMScheduler"):
        trace(diffusers.sampler(DDIMScheduler), edm(), grid(edm())[::-1])


def test_every_claim_and_configuration_is_of_a_known_sampler() -> None:
    from semilinear.verification.targets.listed import CLAIMS, USUAL
    from semilinear.verification.targets.named import PACKAGES, names

    known = {f"{package}:{name}" for package in PACKAGES for name in names(package)}
    assert set(CLAIMS) <= known
    assert set(USUAL) <= known
    assert not set(diffusers.CONVENTIONS) & set(diffusers.REFUSED)


# --- azula, deepinv, smalldiffusion ---


class AzulaSampler:
    """DDIM with noise, as azula has it."""

    def __init__(self, denoiser: Any, eta: float = 0.0, steps: int = 64, silent: bool = False) -> None:
        self.denoiser, self.eta = denoiser, eta

    @property
    def timesteps(self) -> Any:
        raise AssertionError("the times are the run's")

    def __call__(self, x: Any) -> Any:
        for t, s in itertools.pairwise(self.timesteps):
            x = self.step(x, t, s)
        return x

    def step(self, x: Any, t: Any, s: Any) -> Any:
        (a, b), (c, d) = self.denoiser.schedule(t), self.denoiser.schedule(s)
        tau = self.eta * (1 - (a / c * d / b) ** 2)
        mean = self.denoiser(x, t).mean
        x = c * mean + d * torch.sqrt(1 - tau) / b * (x - a * mean)
        return x + d * torch.sqrt(tau) * torch.randn_like(x)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s.kind)
@pytest.mark.parametrize(("eta", "name"), [(0.0, "ddim"), (1.0, "euler-ancestral")])
def test_azula(schedule: Schedule, eta: float, name: str) -> None:
    times = grid(schedule)
    found = trace(azula.sampler(AzulaSampler, {"eta": eta}), schedule, times)
    assert same(found, expected(name, schedule, times))
    assert found.increments == tuple(itertools.pairwise(times))
    with pytest.raises(ValueError, match=r"AzulaSampler does not take order; its parameters are: eta=0.0"):
        azula.sampler(AzulaSampler, {"order": 2})


def test_azula_left_to_itself() -> None:
    class Own(AzulaSampler):
        def __init__(self, denoiser: Any, steps: int = 64, silent: bool = False) -> None:
            super().__init__(denoiser)
            self.timesteps = torch.linspace(0.9, 0.1, steps + 1, dtype=torch.float64)

        timesteps: Any = None

    def cosine(t: Any) -> tuple[Any, Any]:
        return torch.cos(t), torch.sin(t)

    levels = [float(t) for t in torch.tan(azula.times_of(Own, 6))]
    assert same(trace(azula.on_schedule(Own, cosine), edm(), levels), expected("ddim", edm(), levels))


class DeepinvSolver:
    """Euler-Maruyama, as deepinv has it."""

    def __init__(self, timesteps: Any = None) -> None:
        self.timesteps = timesteps

    def randn_like(self, x: Any) -> Any:
        raise AssertionError("the increments are the run's")

    def step(self, sde: Any, t0: Any, t1: Any, x: Any) -> Any:
        dt = abs(t1 - t0)
        drift, diffusion = sde.discretize(x, t0)
        return x + drift * dt + diffusion * self.randn_like(x) * dt**0.5, 1

    def sample(self, sde: Any, x: Any) -> Any:
        for t0, t1 in itertools.pairwise(self.timesteps):
            x, _ = self.step(sde, t0, t1, x)
        return SimpleNamespace(sample=x, nfe=len(self.timesteps) - 1)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s.kind)
def test_deepinv(schedule: Schedule) -> None:
    times = grid(schedule)
    found = trace(deepinv.sampler(DeepinvSolver, alpha=1.0), schedule, times)
    assert found.prediction == "score"
    assert same(found, expected("score-sde-em", schedule, times), within=1e-11)
    assert found.increments == tuple(itertools.pairwise(times))
    with pytest.raises(ValueError, match="alpha must be a non-negative number, got -1"):
        deepinv.sampler(DeepinvSolver, alpha=-1)


class DeepinvProcess:
    """The noise levels of a process, as deepinv's have them."""

    T = 1.0

    def sigma_t(self, t: torch.Tensor) -> torch.Tensor:
        return 0.001 * torch.exp(t * math.log(80000.0))


def test_times_of_deepinvs_processes() -> None:
    levels = (80.0, 2.0, 0.15, 0.001, 0.0)
    found = deepinv.times_of(DeepinvProcess(), levels)
    assert found.dtype == torch.float64
    assert torch.allclose(
        DeepinvProcess().sigma_t(found[:3]), torch.tensor(levels[:3]).double(), rtol=MANY_ULP
    )
    assert found[3:].tolist() == [0.0, 0.0]
    with pytest.raises(ValueError, match=r"sigma must be at most 80 in DeepinvProcess, .* got 81"):
        deepinv.times_of(DeepinvProcess(), (81.0, 1.0))


def small_samples(model: Any, sigmas: Any, mu: float = 0.0, xt: Any = None, accelerator: Any = None) -> Any:
    model.eval()
    for sigma, after in itertools.pairwise(sigmas):
        low = (after / sigma**mu) ** (1 / (1 - mu))
        eps = model.predict_eps_cfg(xt, sigma.to(xt), None, 0.0)
        noise = model.rand_input(xt.shape[0]).to(xt)
        xt = xt - (sigma - low) * eps + (after**2 - low**2).sqrt() * noise
        yield xt


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s.kind)
@pytest.mark.parametrize(("mu", "name"), [(0.0, "ddim"), (0.5, "euler-ancestral")])
def test_smalldiffusion(schedule: Schedule, mu: float, name: str) -> None:
    times = grid(schedule)
    found = trace(smalldiffusion.sampler(small_samples, {"mu": mu}), schedule, times)
    assert same(found, expected(name, schedule, times))
    assert found.increments == tuple(itertools.pairwise(times))


# --- integrators of dy/dtau = f ---


def odeint(f: Any, y: Any, taus: Any, method: str = "euler", **_: Any) -> Any:
    states = [y]
    for a, b in itertools.pairwise(taus):
        y, h = states[-1], b - a
        slope = f(a, y) if method == "euler" else None
        if slope is None:  # Heun
            first = f(a, y)
            slope = (first + f(b, y + h * first)) / 2
        states.append(y + h * slope)
    return torch.stack(states)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s.kind)
@pytest.mark.parametrize(
    ("method", "variable", "name"),
    [("euler", "rho", "ddim"), ("euler", "flow", "ddim"), ("heun", "rho", "edm-heun")],
)
def test_torchdiffeq(schedule: Schedule, method: str, variable: str, name: str) -> None:
    times = grid(schedule)
    found = trace(torchdiffeq.sampler(odeint, method, variable=variable), schedule, times)
    assert same(found, expected(name, schedule, times))


def test_a_variable_of_torchdiffeq_is_one_of_three() -> None:
    lam = trace(torchdiffeq.sampler(odeint, "euler", variable="lambda"), edm(), grid(edm()))
    h = math.log(lam.grid[0] / lam.grid[1])
    assert lam.rows[1, 1] == pytest.approx(-lam.grid[0] * h, rel=SOME_ULP, abs=0)
    with pytest.raises(ValueError, match="variable must be one of rho, lambda, flow, got 't'"):
        torchdiffeq.sampler(odeint, "euler", variable="t")


class FlowSolver:
    """Euler from noise at 0 to data at 1, as flow_matching has it."""

    def __init__(self, velocity: Any) -> None:
        self.velocity = velocity

    def sample(self, x_init: Any, step_size: Any, method: str = "euler", time_grid: Any = None) -> Any:
        assert step_size is None
        return odeint(lambda t, x: self.velocity(x=x, t=t), x_init, time_grid, method=method)[-1]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s.kind)
def test_flow_matching(schedule: Schedule) -> None:
    times = grid(schedule)
    found = trace(flow_matching.sampler(FlowSolver, {"method": "euler"}), schedule, times)
    assert same(found, expected("ddim", schedule, times))
    with pytest.raises(ValueError, match="FlowSolver does not take order"):
        flow_matching.sampler(FlowSolver, {"order": 2})


# --- plain functions, our own ---


def plain_euler(model: Any, x: Any, times: list[float]) -> Any:
    for t, s in itertools.pairwise(times):
        x = x + (s - t) * model(x, t)
    return x


def test_plain() -> None:
    times = grid(edm())
    for function in (plain_euler, SimpleNamespace(sample=plain_euler)):
        found = trace(plain.sampler(function), edm(), times)
        assert found.prediction == "eps"
        assert same(found, expected("ddim", edm(), times))
    flow = trace(plain.sampler(plain_euler, prediction="flow"), vp_linear(), grid(vp_linear()))
    assert flow.prediction == "flow"
    with pytest.raises(TypeError, match="function must be callable or have a method sample, got 3"):
        plain.sampler(3)
    with pytest.raises(ValueError, match="prediction must be one of eps, x0"):
        plain.sampler(plain_euler, prediction="noise")


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s.kind)
@pytest.mark.parametrize("name", ["dpm-solver++-2m", "sde-dpm-solver++-2m", "euler-ancestral", "krogstad4"])
def test_our_own(schedule: Schedule, name: str) -> None:
    times = grid(schedule)
    wanted = expected(name, schedule, times)
    found = trace(ours.of_solver(make(name), prediction="x0"), schedule, times)
    assert same(found, wanted)
    assert found.increments == wanted.increments
    plan = compile_plan(make(name), schedule, times=times, prediction="x0")
    assert same(trace(ours.of_plan(plan), schedule, times), wanted)


def test_a_plan_runs_where_it_was_made_for() -> None:
    plan = compile_plan(make("ddim"), edm(), times=grid(edm()))
    with pytest.raises(ValueError, match="times must be those of the plan"):
        trace(ours.of_plan(plan), edm(), grid(edm(), n=5))
    with pytest.raises(ValueError, match="schedule must be that of the plan, edm, got edm"):
        trace(ours.of_plan(plan), edm(10.0), grid(edm()))


# --- programs ---

PROGRAM = """
    import json, sys
    def ask(**request):
        print(json.dumps(request), flush=True)
        return json.loads(sys.stdin.readline())
    def combine(*terms):
        if isinstance(terms[0][1], list):
            return [combine(*((w, v[i]) for w, v in terms)) for i in range(len(terms[0][1]))]
        return sum(w * v for w, v in terms)
    run = json.loads(sys.stdin.readline())["run"]
    x, rho, times = run["x"], run["rho"], run["times"]
    x = combine((1 / run["alpha"][0], x))
    for k in range(len(times) - 1):
        a, b = rho[k], rho[k + 1]
        level = ask(level={"t": times[k]})
        assert abs(ask(time={"rho": a})["t"] - times[k]) < 1e-12
        eps = ask(evaluate={"x": combine((level["alpha"], x)), "t": times[k]})["output"]
        up = ETA * (b * b * (a * a - b * b) / a / a) ** 0.5
        x = combine((1, x), ((b * b - up * up) ** 0.5 - a, eps))
        if ETA:
            x = combine((1, x), (up, ask(noise={"from": times[k], "to": times[k + 1]})["noise"]))
    print(json.dumps({"final": combine((run["alpha"][-1], x))}), flush=True)
"""


def program(tmp_path: Path, text: str, name: str = "program.py") -> list[str]:
    path = tmp_path / name
    path.write_text(textwrap.dedent(text))
    return [sys.executable, str(path)]


@pytest.mark.parametrize(("eta", "name"), [(0, "ddim"), (1, "euler-ancestral")])
def test_a_program_is_a_sampler(tmp_path: Path, eta: int, name: str) -> None:
    words = program(tmp_path, PROGRAM.replace("ETA", str(eta)))
    schedule = vp_linear()
    times = grid(schedule, n=4)
    found = trace(process.sampler(words), schedule, times)
    assert same(found, expected(name, schedule, times))
    assert not eta or found.increments == tuple(itertools.pairwise(times))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            "import sys; sys.exit('no licence')",
            "ended before its final states, with exit code 1; .*no licence",
        ),
        ("print('Starting up ..', flush=True)", "must speak JSON, got 'Starting up ..'"),
        ("print('[1]', flush=True)", r"must send an object with one key, got \[1\]"),
        ("print('{\"sample\": {}}', flush=True)", "must ask one of evaluate, noise, level, time, final, got"),
        ('print(\'{"evaluate": {"t": 1}}\', flush=True)', "evaluate wants 'x'"),
        (
            'print(\'{"evaluate": {"x": [1, 2], "t": 1}}\', flush=True)',
            r"x must be states of shape \(2, 1, 1, 3\), got \(2,\)",
        ),
        ('print(\'{"level": {"t": -1}}\', flush=True)', "t must lie in"),
        ('print(\'{"final": "done"}\', flush=True)', r"final must be states of shape .*, got 'done'"),
        ("import time; time.sleep(60)", "has said nothing for 1 s"),
    ],
    ids=["dies", "chats", "no object", "unknown", "incomplete", "shape", "time", "final", "sleeps"],
)
def test_programs_that_say_something_else(tmp_path: Path, text: str, why: str) -> None:
    sampler = process.sampler(program(tmp_path, text), seconds=1 if "sleep" in text else 30)
    with pytest.raises(process.ProcessError, match=why):
        sampler(run_on(edm()))


def test_programs_that_are_none() -> None:
    with pytest.raises(ValueError, match="must name a program that can be run, got '/no/such/program'"):
        process.sampler("/no/such/program --fast")
    with pytest.raises(ValueError, match="command must name a program, got ''"):
        process.sampler("")
    with pytest.raises(ValueError, match="seconds must be a positive number, got 0"):
        process.sampler(sys.executable, seconds=0)


def test_a_program_draws_for_itself(tmp_path: Path) -> None:
    words = program(
        tmp_path,
        """
        import json, sys
        sys.stdin.readline()
        print(json.dumps({"noise": {}}), flush=True)
        print(json.dumps({"final": json.loads(sys.stdin.readline())["noise"]}), flush=True)
        """,
    )
    with TakenOver(lambda like: torch.full_like(like, 7.0)):
        final = process.sampler(words)(run_on(edm()))
    assert torch.equal(final, torch.full((2, 1, 1, 3), 7.0, dtype=torch.float64))


def test_files_of_plans_are_targets(tmp_path: Path) -> None:
    from semilinear.verification.targets.named import target

    plan = compile_plan(make("dpm-solver++-2m"), edm(), times=grid(edm()), prediction="x0")
    path = tmp_path / "plan.json"
    files.save(plan, path)
    found = target(str(path))
    assert found.claimed is None
    assert same(trace(found.sampler, edm(), grid(edm())), expected("dpm-solver++-2m", edm(), grid(edm())))
    assert json.loads(path.read_text())["schema"] == files.SCHEMA


# --- the exact model, computed in numpy ---


def test_plain_states_are_computed_in_numpy_and_all_others_as_they_are() -> None:
    exact = experiment("karras").model
    seen: list[type] = []

    def watched(x: Any, t: Any) -> Any:
        seen.append(type(x))
        return exact(x, t)

    model, x = in_numpy(watched), torch.from_numpy(experiment("karras").x.copy())
    want = exact(x, 0.5)
    for t in (0.5, torch.tensor(0.5), torch.tensor([0.5], dtype=torch.float64)):
        assert torch.allclose(model(x, t), want, rtol=0, atol=SOME_ULP)
    assert set(seen) == {np.ndarray}
    seen.clear()
    assert model(x.float(), 0.5).dtype == torch.float32
    slope = torch.autograd.functional.jacobian(lambda y: model(y, 0.5).sum(), x)
    # the same operations, twice: torch's own bounds are wide enough
    assert torch.allclose(torch.func.grad(lambda y: model(y, 0.5).sum())(x), slope)
    t = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.grad(model(x, t).sum(), t)[0].isfinite()
    assert np.ndarray not in seen
