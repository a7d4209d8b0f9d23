from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
import pytest
import torch
from semilinear.integrators.diffusion.prediction import convert
from semilinear.integrators.diffusion.schedule import Schedule, rectified_flow, vp_linear
from semilinear.integrators.plans.compile import compile_plan
from semilinear.integrators.run.models import (
    LABELS,
    cfg_plus_plus,
    classifier,
    classifier_free,
    classifier_free_network,
    discrete_time,
    dynamic_thresholding,
)
from semilinear.integrators.run.sampler import sample
from semilinear.integrators.solvers import make
from semilinear.verification.problems.mixtures import GaussianMixture
from semilinear.verification.problems.named import golden_mixture

from tests.roundings import MANY_ULP, SOME_ULP

VP = vp_linear()
MIXTURE = golden_mixture()
MODEL = MIXTURE.model(VP)
X = torch.linspace(-2, 2, 8, dtype=torch.float64).reshape(4, 2)
T = 0.35


def component(k: int) -> GaussianMixture:
    return GaussianMixture(np.ones(1), MIXTURE.means[k : k + 1], MIXTURE.covariances[k : k + 1])


def log_posterior(k: int) -> Any:
    """log p_t(component k | x), by torch, so that it can be differentiated."""

    def log_p(x: torch.Tensor, t: float) -> torch.Tensor:
        alpha, sigma = float(VP.alpha(t)), float(VP.sigma(t))
        logs = []
        for w, m, c in zip(MIXTURE.weights, MIXTURE.means, MIXTURE.covariances, strict=True):
            covariance = torch.tensor(alpha**2 * c + sigma**2 * np.eye(2))
            law = torch.distributions.MultivariateNormal(torch.tensor(alpha * m), covariance)
            logs.append(law.log_prob(x) + float(np.log(w)))
        return logs[k] - torch.logsumexp(torch.stack(logs), 0)

    return log_p


@pytest.mark.parametrize("prediction", ["eps", "x0", "v", "score", "flow"])
@pytest.mark.parametrize("k", [0, 1, 2])
def test_guidance_by_the_exact_posterior_gives_the_conditional_model(prediction: str, k: int) -> None:
    """Bayes: the score of p(x|c) is that of p(x) plus the gradient of log p(c|x)."""
    model = convert(VP, MIXTURE.model(VP), "eps", prediction)
    guided = classifier(model, VP, log_posterior(k), prediction=prediction)
    expected = convert(VP, component(k).model(VP), "eps", prediction)
    torch.testing.assert_close(guided(X, T), expected(X, T), rtol=MANY_ULP, atol=0)


def test_classifier_guidance_with_scale_zero_changes_nothing() -> None:
    model = MIXTURE.model(VP)
    torch.testing.assert_close(
        classifier(model, VP, log_posterior(0), 0.0)(X, T), model(X, T), rtol=0, atol=0
    )


def test_classifier_guidance_does_not_mix_samples() -> None:
    guided = classifier(MIXTURE.model(VP), VP, log_posterior(1), 3.0)
    torch.testing.assert_close(guided(X, T)[1:2], guided(X[1:2], T), rtol=SOME_ULP, atol=0)


@pytest.mark.parametrize("scale", [0.0, 1.0, 2.5, -1.0])
def test_classifier_free_guidance_is_affine_in_the_scale(scale: float) -> None:
    a, b = component(0).model(VP), MIXTURE.model(VP)
    expected = b(X, T) + scale * (a(X, T) - b(X, T))
    torch.testing.assert_close(classifier_free(a, b, scale)(X, T), expected, rtol=SOME_ULP, atol=0)


@pytest.mark.parametrize("prediction", ["x0", "v", "score", "flow"])
def test_classifier_free_guidance_commutes_with_the_prediction_type(prediction: str) -> None:
    a, b = component(0).model(VP), MIXTURE.model(VP)
    there = classifier_free(convert(VP, a, "eps", prediction), convert(VP, b, "eps", prediction), 4.0)
    back = convert(VP, there, prediction, "eps")
    torch.testing.assert_close(back(X, T), classifier_free(a, b, 4.0)(X, T), rtol=SOME_ULP, atol=0)


def test_a_model_that_does_not_matter_is_not_called() -> None:
    def never(x: Any, t: Any) -> Any:
        raise AssertionError

    assert classifier_free(MIXTURE.model(VP), never, 1.0)(X, T).shape == X.shape
    assert classifier_free(never, MIXTURE.model(VP), 0.0)(X, T).shape == X.shape


@pytest.mark.parametrize("times", [(1.0, 0.8, 0.5, 0.3, 0.1), (0.9, 0.4, 0.0)], ids=["noise", "data"])
@pytest.mark.parametrize("schedule", [VP, rectified_flow()], ids=lambda s: s.kind)
@pytest.mark.parametrize("prediction", ["eps", "x0"])
def test_cfg_plus_plus_is_ddim_under_guidance_of_a_scale_of_its_own(
    schedule: Schedule, times: tuple[float, ...], prediction: str
) -> None:
    """Its update written out, with two outputs at each state: x_0 guided, noise unconditional."""
    times = tuple(t for t in times if schedule is VP or t < 1)
    a, b, f = component(0).model(schedule), MIXTURE.model(schedule), schedule.formulas
    x = X
    for t, end in itertools.pairwise(times):
        base = b(x, t)
        guided = base + 0.6 * (a(x, t) - base)
        x = f.alpha(end) * (x - f.sigma(t) * guided) / f.alpha(t) + f.sigma(end) * base
    plan = compile_plan(make("ddim"), schedule, times=times, prediction=prediction, final="lower")
    told, untold = (convert(schedule, m, "eps", prediction) for m in (a, b))
    made = sample(plan, cfg_plus_plus(told, untold, 0.6, schedule, plan.times), X)
    torch.testing.assert_close(made.x, x, rtol=MANY_ULP, atol=MANY_ULP)
    assert made.nfe == len(times) - 1


def test_cfg_plus_plus_converges_to_no_flow() -> None:
    """A step's guidance does not shrink with the step: twice as many add up to about twice as much."""
    a, b = (lambda x, t: 0 * x + 1, lambda x, t: 0 * x)
    added = []
    for n in (50, 100, 200):
        plan = compile_plan(make("ddim"), VP, steps=n, t_start=0.9, t_end=0.1)
        added.append(float(sample(plan, cfg_plus_plus(a, b, 1.0, VP, plan.times), 0 * X).x[0, 0]))
    # a ratio 2 + O(h)
    assert [y / x for x, y in itertools.pairwise(added)] == pytest.approx([2, 2], rel=0.05)


def test_one_call_with_a_doubled_batch_is_the_same_guidance() -> None:
    calls: list[int] = []

    def network(x: torch.Tensor, t: Any, c: torch.Tensor) -> torch.Tensor:
        calls.append(len(x))
        return torch.sin(x) * t + c[:, None]

    condition, null = torch.arange(4.0, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)
    joint = classifier_free_network(network, condition, null, 2.0)
    two = classifier_free(lambda x, t: network(x, t, condition), lambda x, t: network(x, t, null), 2.0)
    torch.testing.assert_close(joint(X, T), two(X, T), rtol=SOME_ULP, atol=0)
    assert calls == [8, 4, 4]


@pytest.mark.parametrize(
    ("name", "first", "last"), [("offset", 0, 990), ("scaled", 9.9, 990), ("index", 0, 99)]
)
def test_labels_of_both_ends(name: str, first: float, last: float) -> None:
    n, seen = 100, []

    def network(x: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        seen.append(label)
        return x

    model = discrete_time(network, n, labels=name)
    model(X, 1 / n)
    model(X, 1.0)
    assert [tuple(s.shape) for s in seen] == [(4,), (4,)]
    assert [float(s[0]) for s in seen] == pytest.approx([first, last], rel=SOME_ULP, abs=0)


def test_labels_of_half_precision_models_are_not_rounded_to_half() -> None:
    seen = []

    def network(x: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        seen.append(label)
        return x

    discrete_time(network, 1000)(X.bfloat16(), 0.992)
    assert seen[0].dtype == torch.float32
    assert float(seen[0][0]) == pytest.approx(991.0, rel=SOME_ULP, abs=0)


def test_index_labels_of_the_table_are_integers() -> None:
    assert [LABELS["index"]((i + 1) / 1000, 1000) for i in (0, 37, 999)] == pytest.approx(
        [0, 37, 999], rel=SOME_ULP, abs=0
    )
    assert LABELS["offset"](0.5, 1000) == pytest.approx(LABELS["index"](0.5, 1000), rel=SOME_ULP, abs=0)


def test_a_discrete_network_samples_like_its_continuous_model() -> None:
    exact = MIXTURE.model(VP)
    network = lambda x, label: exact(x, float(label[0]) / 1000 + 1 / 500)  # noqa: E731
    plan = compile_plan(make("dpm-solver++-2m"), VP, steps=8, t_start=1.0, t_end=0.01)
    a, b = (sample(plan, m, X).x for m in (discrete_time(network, 500), exact))
    torch.testing.assert_close(a, b, rtol=SOME_ULP, atol=0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: classifier_free(lambda x, t: x, lambda x, t: x, float("nan")), "scale must be a finite"),
        (lambda: cfg_plus_plus(MODEL, MODEL, float("inf"), VP, (1.0, 0.5)), "scale must be a finite"),
        (lambda: cfg_plus_plus(MODEL, MODEL, 1.0, VP, (0.5, 0.5)), "times must decrease, got 0.5 and then"),
        (lambda: cfg_plus_plus(MODEL, MODEL, 1.0, VP, (1.0, 0.5))(X, T), "t must be a time at which a step"),
        (lambda: classifier(lambda x, t: x, VP, lambda x, t: x, True), "scale must be a finite"),
        (lambda: classifier(lambda x, t: x, VP, lambda x, t: x)(X, T), "must return shape (4,), got (4, 2)"),
        (lambda: discrete_time(lambda x, t: x, 0), "n must be an integer >= 1"),
        (lambda: discrete_time(lambda x, t: x, 10, labels="type-9"), "labels must be one of offset"),
        (lambda: discrete_time(lambda x, t: x, 10)(X, 0.01), "t must be at least 1/10"),
        (
            lambda: classifier_free_network(lambda x, t, c: x, torch.ones(2), torch.ones(3), 1.0),
            "null must have the shape (2,)",
        ),
    ],
)
def test_bad_input_is_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


# --- thresholding ---


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
    torch.testing.assert_close(result[0], x[0].clamp(-bound, bound) / bound, rtol=SOME_ULP, atol=0)
    torch.testing.assert_close(result[1], x[1])  # below max_value nothing changes


def test_a_noise_model_is_converted_first() -> None:
    x, t = torch.ones(1, 3, dtype=torch.float64), 0.2
    eps = torch.full_like(x, 0.1)
    x0 = (x - VP.sigma(t) * eps) / VP.alpha(t)
    torch.testing.assert_close(
        dynamic_thresholding(lambda x, t: eps, VP)(x, t), x0 / x0.clamp_min(1), rtol=SOME_ULP, atol=0
    )


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
    torch.testing.assert_close(result, x.clamp(max=bound) / bound, rtol=SOME_ULP, atol=0)


def test_the_bound_is_at_least_max_value() -> None:
    x = torch.linspace(-1, 1, 11, dtype=torch.float64)[None]
    for value in (2.0, 0.5):
        result = dynamic_thresholding(lambda x, t: x, VP, prediction="x0", ratio=1.0, max_value=value)(x, 0.5)
        torch.testing.assert_close(result, x / max(1.0, value), rtol=SOME_ULP, atol=0)


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
