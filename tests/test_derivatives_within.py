"""Models that are differentiated, or differentiate by themselves, in every mode that torch calls them in."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from semilinear.integrators.diffusion.prediction import PREDICTIONS, convert
from semilinear.integrators.diffusion.schedule import Schedule, rectified_flow, vp_cosine, vp_linear
from semilinear.integrators.diffusion.sde import vp
from semilinear.integrators.plans.compile import compile_plan
from semilinear.integrators.run.black_box import exact_divergence, flow, hutchinson, log_likelihood
from semilinear.integrators.run.correctors import Langevin, annealed_step
from semilinear.integrators.run.models import LABELS, classifier, discrete_time
from semilinear.integrators.run.noise import per_sample
from semilinear.integrators.run.sampler import sample
from semilinear.integrators.solvers import make
from semilinear.integrators.statistics.estimation import Derivatives, estimate, noised
from semilinear.verification.inverse.posterior import Observation, log_likelihood_given, posterior
from semilinear.verification.problems.constants import alpha_sigma
from semilinear.verification.problems.mixtures import GaussianMixture
from semilinear.verification.problems.named import golden_mixture

from tests.roundings import MANY_ULP, SOME_ULP

VP, SDE, MIXTURE = vp_linear(), vp(), golden_mixture()
X = torch.linspace(-2, 2, 8, dtype=torch.float64).reshape(4, 2)
T, K = 0.35, 1
COMPONENT = GaussianMixture(np.ones(1), MIXTURE.means[K : K + 1], MIXTURE.covariances[K : K + 1])


def log_posterior(schedule: Schedule = VP) -> Callable[[torch.Tensor, Any], torch.Tensor]:
    """log p_t(component | x), differentiable in x and t."""
    return lambda x, t: MIXTURE.responsibilities(x, *alpha_sigma(schedule, t, x))[K].log()


def guided(schedule: Schedule = VP, prediction: str = "eps") -> Any:
    """Bayes: the same model as the component's own, with a gradient inside."""
    model = convert(schedule, MIXTURE.model(schedule), "eps", prediction)
    return classifier(model, schedule, log_posterior(schedule), prediction=prediction)


def own(schedule: Schedule = VP, prediction: str = "eps") -> Any:
    return convert(schedule, COMPONENT.model(schedule), "eps", prediction)


MODES: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "grad": nullcontext,
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
}
CALLS: dict[str, Callable[[Any, torch.Tensor], Any]] = {
    "a call": lambda model, x: model(x, T),
    "jvp": lambda model, x: torch.func.jvp(lambda y: model(y, T), (x,), (torch.sin(x),))[1],
    "vjp": lambda model, x: torch.func.vjp(lambda y: model(y, T), x)[1](torch.sin(x))[0],
    "grad": lambda model, x: torch.func.grad(lambda y: model(y, T).sum())(x),
    "jacrev": lambda model, x: torch.func.jacrev(lambda y: model(y, T))(x),
    "jacfwd": lambda model, x: torch.func.jacfwd(lambda y: model(y, T))(x),
    "vmap": lambda model, x: torch.func.vmap(lambda row: model(row[None], T)[0])(x),
    "vmap of jvp": lambda model, x: torch.func.vmap(
        lambda row: torch.func.jvp(lambda y: model(y[None], T)[0], (row,), (torch.sin(row),))[1]
    )(x),
    "exact divergence": lambda model, x: exact_divergence(lambda y: model(y, T), x)[1],
    "probed divergence": lambda model, x: hutchinson(torch.sin(x)[None])(lambda y: model(y, T), x)[1],
    "likelihood": lambda model, x: log_likelihood(SDE, model, x, t_start=0.5, t_end=0.45).log_density,
    "flow": lambda model, x: flow(SDE, model, x, t_start=0.5, t_end=0.45).x,
    "statistics of x": lambda model, x: Derivatives(model, VP).diagonal(x, T, None),
    "statistics along the flow": lambda model, x: Derivatives(model, VP).total(x, 0.2)[1],
    "sampling": lambda model, x: (
        sample(
            compile_plan(make("dpm-solver++-2m"), VP, steps=3, t_start=0.5, t_end=0.3),
            model,
            x,
            between=Langevin(VP, annealed_step(0.1), per_sample(3)),
        ).x
    ),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("call", CALLS)
def test_a_gradient_inside_a_model_can_be_taken_anywhere(call: str, mode: str) -> None:
    """Against the same function without a gradient inside; the states are made in the mode too."""
    expected = CALLS[call](own(), X)
    with MODES[mode]():
        found = CALLS[call](guided(), X.clone())
    torch.testing.assert_close(found.clone(), expected, rtol=0, atol=MANY_ULP)


def test_a_gradient_inside_a_model_is_itself_differentiated_by_autograd() -> None:
    x = X.clone().requires_grad_(True)
    (found,) = torch.autograd.grad(guided()(x, T).sum(), x)
    (expected,) = torch.autograd.grad(own()(x, T).sum(), x)
    torch.testing.assert_close(found, expected, rtol=SOME_ULP, atol=0)


@pytest.mark.parametrize("schedule", [VP, vp_cosine(), rectified_flow()], ids=lambda s: s.kind)
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_guided_model_has_the_derivative_in_time_of_what_it_is(prediction: str, schedule: Schedule) -> None:
    """Conversions and sigma_t move with t as well: as floats they would lose a part of f' without a word."""
    total = [
        Derivatives(build(schedule, prediction), schedule, prediction).total(X, 0.2)[1]
        for build in (guided, own)
    ]
    torch.testing.assert_close(*total, rtol=0, atol=MANY_ULP)


@pytest.mark.parametrize("mode", MODES)
def test_statistics_of_a_guided_model_are_those_of_what_it_is(mode: str) -> None:
    data = torch.tensor(COMPONENT.data(50, 0))
    expected = estimate(own(), VP, noised(data, VP, 1), -1.0, 1.0, 8)
    with MODES[mode]():
        made = estimate(guided(), VP, noised(data, VP, 1), -1.0, 1.0, 8)
    for name in ("l", "b"):  # s is 0/0 on a Gaussian
        # slopes of l
        np.testing.assert_allclose(getattr(made, name), getattr(expected, name), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("labels", LABELS)
def test_labels_of_discrete_time_carry_the_derivative_in_time(labels: str) -> None:
    model = discrete_time(lambda x, label: torch.sin(x) * torch.cos(label / 100)[:, None], 100, labels=labels)
    forward = Derivatives(model, VP).total(X, 0.2)[1]
    difference = Derivatives(model, VP, time="difference").total(X, 0.2)[1]
    torch.testing.assert_close(forward, difference, rtol=1e-6, atol=1e-8)  # the stencil's O(0.02^6)


def test_a_part_of_a_model_that_loses_the_derivative_in_time_is_refused() -> None:
    """The rest of the model depends on t, so the whole does: only the reading itself can be seen."""
    observation = Observation(np.array([[1.0, 0.0]]), np.array([0.3]), np.array([[0.1]]))
    model = classifier(MIXTURE.model(VP), VP, log_likelihood_given(MIXTURE, VP, observation))
    with pytest.raises(ValueError, match=r"calls __float__ on it: use time='difference'"):
        Derivatives(model, VP).total(X, 0.2)
    given = posterior(MIXTURE, observation)  # the same model in closed form: a mixture again
    own = GaussianMixture(given.weights, given.means, given.covariances).model(VP)
    found, expected = (
        Derivatives(model, VP, time="difference").total(X, 0.2)[1],
        Derivatives(own, VP).total(X, 0.2)[1],
    )
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-8)  # of central differences: 4e-6


def test_a_classifier_of_another_shape_is_refused_within_a_transform_too() -> None:
    model = classifier(MIXTURE.model(VP), VP, lambda x, t: x)
    with pytest.raises(ValueError, match=r"log_probability must return shape \(4,\), got \(4, 2\)"):
        torch.func.jvp(lambda x: model(x, T), (X,), (X,))
