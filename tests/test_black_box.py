"""The probability flow by scipy, and likelihoods along it, against densities that are known exactly."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from semilinear.integrators.diffusion import sde
from semilinear.integrators.run.black_box import (
    Solve,
    bits_per_dim,
    draw_probes,
    exact_divergence,
    flow,
    hutchinson,
    log_likelihood,
)
from semilinear.integrators.run.noise import per_sample
from semilinear.verification.problems.mixtures import GaussianMixture
from semilinear.verification.problems.named import golden_mixture, rotated_product

from tests.roundings import MANY_ULP, SOME_ULP
from tests.slow import slow

SDES = {"vp": sde.vp(), "sub-vp": sde.sub_vp(), "ve": sde.ve()}
MIXTURE = golden_mixture()
X = torch.tensor([[1.2, 1.4], [-1.9, 0.2], [2.1, -0.5]], dtype=torch.float64)
TIGHT = Solve(1e-11, 1e-11, "DOP853")
BY_TIGHT = 5e-10
"""What some dozen steps that each keep 1e-11 may add up to."""


@pytest.mark.parametrize("name", slow(SDES, lambda name: name != "ve"))
def test_the_likelihood_with_the_true_terminal_density_is_the_mixtures(name: str) -> None:
    """log p_eps = log p_T(latent) + int div: what remains is the integration error."""
    process, t = SDES[name], 1e-5
    f = process.schedule.formulas
    result = log_likelihood(
        process,
        MIXTURE.model(process.schedule),
        X,
        t_start=t,
        terminal=lambda z: MIXTURE.log_density(z, f.alpha(1.0), f.sigma(1.0)),
        solve=TIGHT,
    )
    exact = MIXTURE.log_density(X, f.alpha(t), f.sigma(t))
    torch.testing.assert_close(result.log_density, exact, rtol=0, atol=BY_TIGHT)
    torch.testing.assert_close(result.log_density, result.terminal + result.divergence, rtol=SOME_ULP, atol=0)


def test_with_the_prior_the_error_is_the_priors_mismatch() -> None:
    process = SDES["vp"]
    f = process.schedule.formulas
    result = log_likelihood(process, MIXTURE.model(process.schedule), X, solve=TIGHT)
    mismatch = process.prior_log_density(result.latent) - MIXTURE.log_density(
        result.latent, f.alpha(1.0), f.sigma(1.0)
    )
    exact = MIXTURE.log_density(X, f.alpha(1e-5), f.sigma(1e-5))
    torch.testing.assert_close(result.log_density - exact, mismatch, rtol=0, atol=BY_TIGHT)
    assert mismatch.abs().max() > 1e-3


def test_likelihoods_between_any_two_times_and_in_any_direction() -> None:
    process, a, b = SDES["sub-vp"], 0.6, 0.2
    f = process.schedule.formulas
    result = log_likelihood(
        process,
        MIXTURE.model(process.schedule),
        X,
        t_start=a,
        t_end=b,
        terminal=lambda z: MIXTURE.log_density(z, f.alpha(b), f.sigma(b)),
        solve=TIGHT,
    )
    exact = MIXTURE.log_density(X, f.alpha(a), f.sigma(a))
    torch.testing.assert_close(result.log_density, exact, rtol=0, atol=BY_TIGHT)


@pytest.mark.parametrize("name", SDES)
def test_the_flow_of_a_gaussian_is_affine(name: str) -> None:
    law, process = GaussianMixture(np.ones(1), np.array([[0.7]]), np.array([[[0.25]]])), SDES[name]
    f = process.schedule.formulas
    z = torch.tensor([[-1.0], [0.3], [2.0]], dtype=torch.float64)

    def state(t: float) -> torch.Tensor:
        return 0.7 * f.alpha(t) + math.sqrt(0.25 * f.alpha(t) ** 2 + f.sigma(t) ** 2) * z

    result = flow(process, law.model(process.schedule), state(1.0), t_start=1.0, t_end=1e-3, solve=TIGHT)
    torch.testing.assert_close(result.x, state(1e-3), rtol=0, atol=BY_TIGHT)


def test_the_flow_carries_quantiles_and_returns() -> None:
    problem, process = rotated_product(), SDES["vp"]
    model = problem.model(process.schedule)
    there = flow(process, model, X, t_start=1e-2, t_end=0.8, solve=TIGHT)
    exact = problem.flow(process.schedule, X.numpy(), 1e-2, 0.8, 30).astype(float)
    np.testing.assert_allclose(there.x, exact, rtol=0, atol=BY_TIGHT)
    back = flow(process, model, there.x, t_start=0.8, t_end=1e-2, solve=TIGHT)
    torch.testing.assert_close(back.x, X, rtol=0, atol=BY_TIGHT)


def test_evaluations_are_the_models_calls() -> None:
    process, calls = SDES["vp"], []
    inner = MIXTURE.model(process.schedule)

    def model(x: Any, t: Any) -> Any:
        calls.append(t)
        return inner(x, t)

    result = flow(process, model, X, t_start=1.0, t_end=1e-3)
    assert result.nfe == len(calls)
    calls.clear()
    assert log_likelihood(process, model, X).nfe == len(calls)


def test_the_error_control_is_joint() -> None:
    """As released: a sample's steps, and so its last digits, depend on its batch mates."""
    process = SDES["vp"]
    model = MIXTURE.model(process.schedule)
    alone = flow(process, model, X[:1], t_start=1.0, t_end=1e-3).x
    together = flow(process, model, X, t_start=1.0, t_end=1e-3).x[:1]
    assert 0 < (alone - together).abs().max() < 1e-3  # ten times the released tolerance


@pytest.mark.parametrize("prediction", ["x0", "v", "score"])
def test_every_prediction_gives_the_same_flow(prediction: str) -> None:
    from semilinear.integrators.diffusion.prediction import convert

    process = SDES["vp"]
    model = MIXTURE.model(process.schedule)
    other = convert(process.schedule, model, "eps", prediction)
    one = flow(process, model, X, t_start=1.0, t_end=1e-2, solve=TIGHT).x
    torch.testing.assert_close(
        flow(process, other, X, t_start=1.0, t_end=1e-2, prediction=prediction, solve=TIGHT).x,
        one,
        rtol=SOME_ULP,
        atol=SOME_ULP,
    )


def test_the_dtype_is_the_callers() -> None:
    process = SDES["vp"]
    x = flow(process, MIXTURE.model(process.schedule), X.float(), t_start=1.0, t_end=0.1).x
    assert x.dtype == torch.float32


# --- divergences ---

MATRIX = torch.tensor([[1.0, 2.0, 0.5], [-1.0, 3.0, 0.0], [0.7, 0.1, -2.0]], dtype=torch.float64)


def field(x: torch.Tensor) -> torch.Tensor:
    """x -> M x + sin x, of divergence tr M + sum cos x."""
    return x @ MATRIX.T + torch.sin(x)


def test_the_exact_divergence_is_the_jacobians_trace() -> None:
    x = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(4, 3)
    value, trace = exact_divergence(field, x)
    torch.testing.assert_close(value, field(x), rtol=SOME_ULP, atol=0)
    torch.testing.assert_close(trace, MATRIX.trace() + torch.cos(x).sum(1), rtol=SOME_ULP, atol=0)


def test_the_mixtures_divergence_is_its_jacobians_trace() -> None:
    x = MIXTURE.data(5, 0)
    trace = exact_divergence(lambda v: MIXTURE.score(v, 0.8, 0.6), torch.tensor(x))[1]
    h, score = 1e-5, partial(MIXTURE.score, alpha=0.8, sigma=0.6)
    apart = [(score(x + h * e) - score(x - h * e)) @ e for e in np.eye(MIXTURE.dimension)]
    np.testing.assert_allclose(trace, sum(apart) / (2 * h), rtol=1e-7)  # h^2 and rounding over h


def test_hutchinson_over_every_sign_is_exact() -> None:
    """The mean over all 2^d Rademacher probes is their expectation: unbiased, without sampling error."""
    x = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(4, 3)
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * 3)
    probes = signs[:, None, :].expand(-1, 4, -1)
    torch.testing.assert_close(
        hutchinson(probes)(field, x)[1], MATRIX.trace() + torch.cos(x).sum(1), rtol=SOME_ULP, atol=0
    )


@pytest.mark.parametrize("kind", ["rademacher", "gaussian"])
def test_hutchinson_is_unbiased_within_its_standard_error(kind: Any) -> None:
    x = torch.linspace(-1, 1, 3, dtype=torch.float64).expand(4000, 3)  # one probe for each copy
    probes = draw_probes(kind, 1, x, seed=1)
    jacobian = MATRIX + torch.diag(torch.cos(x[0]))
    symmetric = (jacobian + jacobian.T) / 2
    off = symmetric - torch.diag(symmetric.diagonal())
    variance = 2 * float((symmetric**2).sum() if kind == "gaussian" else (off**2).sum())
    error = float(hutchinson(probes)(field, x)[1].mean() - jacobian.trace())
    assert abs(error) < 4 * math.sqrt(variance / 4000)
    assert abs(error) > 1e-6


def test_probes_have_mean_zero_unit_covariance_and_are_each_samples_own() -> None:
    x = torch.zeros(3, 2, dtype=torch.float64)
    signs = draw_probes("rademacher", 500, x, seed=4)
    assert set(signs.unique().tolist()) == {-1.0, 1.0}
    assert torch.equal(draw_probes("rademacher", 500, x[:2], seed=4), signs[:, :2])
    assert abs(float(signs.mean())) < 4 / math.sqrt(signs.numel())
    covariance = torch.cov(signs[:, 0].T)
    # four errors
    torch.testing.assert_close(covariance, torch.eye(2, dtype=torch.float64), rtol=0, atol=4 / math.sqrt(500))


@pytest.mark.slow
def test_likelihoods_by_probes_average_to_the_exact_one() -> None:
    """d = 2: e_1, e_2 scaled by sqrt 2 have E[z z^T] = I."""
    process = SDES["vp"]
    model = MIXTURE.model(process.schedule)
    units = math.sqrt(2) * torch.eye(2, dtype=torch.float64)[:, None, :].expand(-1, 3, -1)
    by_probes = log_likelihood(process, model, X, divergence=hutchinson(units), solve=TIGHT)
    exact = log_likelihood(process, model, X, solve=TIGHT)
    torch.testing.assert_close(by_probes.log_density, exact.log_density, rtol=0, atol=MANY_ULP)


def test_bits_per_dim_of_a_uniform_byte() -> None:
    """Uniform over [0, 1]: density 1, and 8 bits for 256 bins."""
    assert bits_per_dim(torch.zeros(1), 12, offset=8.0).item() == 8.0
    assert bits_per_dim(torch.tensor([-12 * math.log(2)]), 12).item() == pytest.approx(
        1.0, rel=SOME_ULP, abs=0
    )


# --- refusals ---


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Solve(rtol=0.0), "rtol must be a positive number"),
        (lambda: Solve(atol=math.nan), "atol must be a positive number"),
        (lambda: Solve(method="Radau"), "method must be one of RK45, RK23, DOP853"),
        (lambda: hutchinson(torch.zeros(2, 2)), r"probes must be a tensor of shape \(m, batch"),
        (lambda: hutchinson(torch.zeros(1, 2, 2))(field, X), r"probes must have shape \(m, 3, 2\)"),
        (lambda: draw_probes("uniform", 1, X, 0), "kind must be one of rademacher, gaussian"),  # type: ignore[arg-type]
        (lambda: draw_probes("gaussian", 0, X, 0), "m must be an integer >= 1"),
        (lambda: bits_per_dim(torch.zeros(1), 0), "dimension must be an integer >= 1"),
        (lambda: run(X[0]), r"x must have shape \(batch, ...\)"),
        (lambda: run(X, t_start=2.0), r"t_start must lie in \[0, 1\]"),
        (lambda: run(X, t_end=1e-5), "t_end must differ from t_start"),
        (lambda: run(X, t_start=0.0), "t must have sigma_t > 0"),
        (lambda: run(X, terminal=lambda z: z), r"terminal must return shape \(3,\)"),
    ],
)
def test_bad_arguments_are_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def run(x: Any, **options: Any) -> Any:
    return log_likelihood(SDES["vp"], MIXTURE.model(SDES["vp"].schedule), x, **options)


def test_wrong_types_are_named() -> None:
    with pytest.raises(TypeError, match="x must be a floating-point tensor"):
        run(X.long())
    with pytest.raises(TypeError, match="sde must be a DiffusionSDE"):
        log_likelihood(SDES["vp"].schedule, MIXTURE.model(SDES["vp"].schedule), X)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [lambda x, t: x[:1], lambda x, t: x[:, :1]])
def test_outputs_of_another_shape_are_refused_by_the_black_box_too(wrong: Any) -> None:
    with pytest.raises(ValueError, match="model must return shape"):
        flow(SDES["vp"], wrong, X, t_start=1.0, t_end=1e-3)


def test_probes_are_not_the_noise_of_a_plan_with_the_same_seed() -> None:
    assert not torch.equal(draw_probes("gaussian", 2, X, 7)[1], per_sample(7)(1, X))
