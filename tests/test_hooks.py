from __future__ import annotations

from typing import Any

import pytest
import torch
from semilinear.integrators.diffusion.schedule import vp_linear
from semilinear.integrators.plans.compile import compile_plan
from semilinear.integrators.run.hooks import dynamic_thresholding
from semilinear.integrators.run.sampler import sample
from semilinear.integrators.solvers import make

VP = vp_linear()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_outputs_lie_in_the_unit_box_in_every_dtype(dtype: torch.dtype) -> None:
    x = 5 * torch.randn(3, 4, 6, generator=torch.Generator().manual_seed(0)).to(dtype)
    result = dynamic_thresholding(lambda x, t: x, VP, prediction="x0")(x, 0.5)
    assert result.dtype == dtype
    assert result.abs().max() <= 1


def test_the_bound_is_the_quantile_of_each_sample() -> None:
    x = torch.linspace(-4, 4, 101, dtype=torch.float64).expand(2, 101) * torch.tensor([[1.0], [0.1]])
    result = dynamic_thresholding(lambda x, t: x, VP, prediction="x0", ratio=0.9)(x, 0.5)
    bound = torch.quantile(x[0].abs(), 0.9)
    torch.testing.assert_close(result[0], x[0].clamp(-bound, bound) / bound)
    torch.testing.assert_close(result[1], x[1])  # below max_value nothing changes


def test_a_noise_model_is_converted_first() -> None:
    x, t = torch.ones(1, 3, dtype=torch.float64), 0.2
    eps = torch.full_like(x, 0.1)
    x0 = (x - VP.sigma(t) * eps) / VP.alpha(t)
    torch.testing.assert_close(dynamic_thresholding(lambda x, t: eps, VP)(x, t), x0 / x0.clamp_min(1))


def test_a_thresholded_model_runs_in_a_data_prediction_plan() -> None:
    model = dynamic_thresholding(lambda x, t: 3 * x, VP, prediction="x0")
    plan = compile_plan(
        make("dpm-solver++-2m"), VP, steps=6, t_start=1.0, t_end=1e-3, prediction="x0", denoise=True
    )
    assert sample(plan, model, torch.ones(2, 5)).x.abs().max() <= 1


@pytest.mark.parametrize(
    "options", [{"ratio": 0.0}, {"ratio": 1.5}, {"max_value": 0.0}, {"max_value": float("nan")}]
)
def test_bad_options_are_named(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        dynamic_thresholding(lambda x, t: x, VP, **options)


def test_the_default_is_the_quantile_of_imagen() -> None:
    x = torch.linspace(0, 4, 1001, dtype=torch.float64)[None]
    result = dynamic_thresholding(lambda x, t: x, VP, prediction="x0")(x, 0.5)
    bound = 0.995 * 4
    torch.testing.assert_close(result, x.clamp(max=bound) / bound)


def test_the_bound_is_at_least_max_value() -> None:
    x = torch.linspace(-1, 1, 11, dtype=torch.float64)[None]
    for value in (2.0, 0.5):
        result = dynamic_thresholding(lambda x, t: x, VP, prediction="x0", ratio=1.0, max_value=value)(x, 0.5)
        torch.testing.assert_close(result, x / max(1.0, value))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_a_thresholded_run_is_that_in_float64_to_the_rounding_of_the_dtype(dtype: torch.dtype) -> None:
    """diffusers #3056, #1349: quantile fails in half precision."""
    model = dynamic_thresholding(lambda x, t: 3 * x, VP, prediction="x0")
    plan = compile_plan(make("dpm-solver++-2m"), VP, steps=5, t_start=1.0, t_end=1e-2, prediction="x0")
    x = torch.linspace(-2, 2, 8, dtype=dtype).reshape(4, 2)
    result = sample(plan, model, x).x
    assert result.dtype == dtype
    error = (result.double() - sample(plan, model, x.double()).x).abs().max()
    # inputs and outputs of five evaluations are rounded, and the model multiplies by 3
    assert error < 8 * torch.finfo(dtype).eps
