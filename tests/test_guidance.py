from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from semilinear.integrators.diffusion.prediction import convert
from semilinear.integrators.diffusion.schedule import vp_linear
from semilinear.integrators.plans.compile import compile_plan
from semilinear.integrators.run.guidance import (
    LABELS,
    classifier,
    classifier_free,
    classifier_free_network,
    discrete_time,
)
from semilinear.integrators.run.sampler import sample
from semilinear.integrators.solvers import make
from semilinear.verification.problems.mixtures import GaussianMixture
from semilinear.verification.problems.named import golden_mixture

VP = vp_linear()
MIXTURE = golden_mixture()
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
    torch.testing.assert_close(guided(X, T), expected(X, T), rtol=1e-10, atol=1e-10)


def test_classifier_guidance_with_scale_zero_changes_nothing() -> None:
    model = MIXTURE.model(VP)
    torch.testing.assert_close(
        classifier(model, VP, log_posterior(0), 0.0)(X, T), model(X, T), rtol=0, atol=0
    )


def test_classifier_guidance_does_not_mix_samples() -> None:
    guided = classifier(MIXTURE.model(VP), VP, log_posterior(1), 3.0)
    torch.testing.assert_close(guided(X, T)[1:2], guided(X[1:2], T), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("scale", [0.0, 1.0, 2.5, -1.0])
def test_classifier_free_guidance_is_affine_in_the_scale(scale: float) -> None:
    a, b = component(0).model(VP), MIXTURE.model(VP)
    expected = b(X, T) + scale * (a(X, T) - b(X, T))
    torch.testing.assert_close(classifier_free(a, b, scale)(X, T), expected)


@pytest.mark.parametrize("prediction", ["x0", "v", "score", "flow"])
def test_classifier_free_guidance_commutes_with_the_prediction_type(prediction: str) -> None:
    a, b = component(0).model(VP), MIXTURE.model(VP)
    there = classifier_free(convert(VP, a, "eps", prediction), convert(VP, b, "eps", prediction), 4.0)
    back = convert(VP, there, prediction, "eps")
    torch.testing.assert_close(back(X, T), classifier_free(a, b, 4.0)(X, T), rtol=1e-9, atol=1e-9)


def test_a_model_that_does_not_matter_is_not_called() -> None:
    def never(x: Any, t: Any) -> Any:
        raise AssertionError

    assert classifier_free(MIXTURE.model(VP), never, 1.0)(X, T).shape == X.shape
    assert classifier_free(never, MIXTURE.model(VP), 0.0)(X, T).shape == X.shape


def test_one_call_with_a_doubled_batch_is_the_same_guidance() -> None:
    calls: list[int] = []

    def network(x: torch.Tensor, t: Any, c: torch.Tensor) -> torch.Tensor:
        calls.append(len(x))
        return torch.sin(x) * t + c[:, None]

    condition, null = torch.arange(4.0, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)
    joint = classifier_free_network(network, condition, null, 2.0)
    two = classifier_free(lambda x, t: network(x, t, condition), lambda x, t: network(x, t, null), 2.0)
    torch.testing.assert_close(joint(X, T), two(X, T))
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
    assert [float(s[0]) for s in seen] == pytest.approx([first, last], abs=1e-9)


def test_labels_of_half_precision_models_are_not_rounded_to_half() -> None:
    seen = []

    def network(x: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        seen.append(label)
        return x

    discrete_time(network, 1000)(X.bfloat16(), 0.992)
    assert seen[0].dtype == torch.float32
    assert float(seen[0][0]) == pytest.approx(991.0, abs=1e-3)


def test_index_labels_of_the_table_are_integers() -> None:
    assert [LABELS["index"]((i + 1) / 1000, 1000) for i in (0, 37, 999)] == pytest.approx([0, 37, 999])
    assert LABELS["offset"](0.5, 1000) == pytest.approx(LABELS["index"](0.5, 1000))


def test_a_discrete_network_samples_like_its_continuous_model() -> None:
    exact = MIXTURE.model(VP)
    network = lambda x, label: exact(x, float(label[0]) / 1000 + 1 / 500)  # noqa: E731
    plan = compile_plan(make("dpm-solver++-2m"), VP, steps=8, t_start=1.0, t_end=0.01)
    a, b = (sample(plan, m, X).x for m in (discrete_time(network, 500), exact))
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: classifier_free(lambda x, t: x, lambda x, t: x, float("nan")), "scale must be a finite"),
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
