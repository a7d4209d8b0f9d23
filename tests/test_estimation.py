"""Model statistics estimated from a model, and those of mixtures exactly."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from semilinear.integrators.diffusion.prediction import PREDICTIONS, Model, convert
from semilinear.integrators.diffusion.schedule import (
    Schedule,
    edm,
    rectified_flow,
    sub_vp,
    vp_cosine,
    vp_linear,
)
from semilinear.integrators.numerics.series import Series
from semilinear.integrators.statistics.estimation import (
    Derivatives,
    Draw,
    diagonal_mean,
    estimate,
    noised,
    regress,
    slope_on_grid,
)
from semilinear.verification.problems.mixture_statistics import exact_series, exact_statistics, quadrature
from semilinear.verification.problems.mixtures import GaussianMixture
from semilinear.verification.problems.named import golden_mixture
from semilinear.verification.replay.golden import DATA, read

from tests.roundings import AMPLIFIED, MANY_ULP, SOME_ULP
from tests.slow import few

GOLDEN = read(DATA / "dpm-solver-v3.json")
BLOCK = GOLDEN["ems_estimation"]
LAM = [float(v) for v in BLOCK["lambda"]]
SPACING = (LAM[-1] - LAM[0]) / (len(LAM) - 1)
VP, MIXTURE = vp_linear(), golden_mixture()
MODEL = MIXTURE.model(VP)
X, PROBES = (torch.tensor(BLOCK[key], dtype=torch.float64) for key in ("x_t", "probes"))
DIAGONAL = GaussianMixture(np.ones(1), np.array([[1.0, -0.5]]), np.diag([0.4, 0.09])[None])


def given_draws(index: int, _: float) -> Draw:
    return Draw(X[index], PROBES[index][None])


def block(key: str) -> np.ndarray:
    return np.array(BLOCK[key])


REFERENCE = {key: np.array(GOLDEN["ems_reference"][key]) for key in ("lambda", "l", "s", "b")}
AT = (9, 12, 16)
"""Of the reference's 25 times: lambda = -1.4, -0.2 and 1.4, where components overlap and where they part."""


@cache
def exact(at: int) -> tuple[Series, Series, Series]:
    """About one time of the reference; test_finer_quadrature_.. takes them all."""
    lam = REFERENCE["lambda"][at]
    return exact_series(MIXTURE, lam - 0.05, lam + 0.05, degree=4, spacing=0.18)


# --- the release's estimator, on its own samples and probes ---


def test_the_public_variant_reproduces_its_numbers() -> None:
    """Central differences, moving average, uncentred moments; near the noise these lose digits."""
    made = estimate(MODEL, VP, given_draws, LAM[0], LAM[-1], 16, slope="smoothed", moments="uncentred")
    np.testing.assert_allclose(made.l, block("l"), rtol=MANY_ULP)
    np.testing.assert_allclose(made.s, block("s"), rtol=1e-9)  # six digits less
    np.testing.assert_allclose(made.b, block("b"), rtol=1e-9)  # six digits less


def test_centred_moments_reproduce_their_numbers_to_rounding() -> None:
    made = estimate(MODEL, VP, given_draws, LAM[0], LAM[-1], 16, slope="smoothed")
    # slopes, of differences over a grid, lose four digits
    np.testing.assert_allclose(made.s, block("s_from_centred_moments"), rtol=1e-10)
    np.testing.assert_allclose(made.b, block("b_from_centred_moments"), rtol=1e-10)


@pytest.mark.parametrize(
    ("slope", "key"), [("central", "l_dot_central_difference"), ("smoothed", "l_dot_smoothed")]
)
def test_slopes_on_the_grid_are_the_recorded_ones(slope: Any, key: str) -> None:
    np.testing.assert_allclose(slope_on_grid(block("l"), SPACING, slope), block(key), rtol=SOME_ULP)


def test_every_moment_is_the_recorded_one() -> None:
    derivatives = Derivatives(MODEL, VP)
    for i, lam in enumerate(LAM):
        l, l_dot = (torch.tensor(block(key)[i]) for key in ("l", "l_dot_smoothed"))
        fit = regress(derivatives, given_draws(i, 0), lam, l, l_dot)
        for ours, key in (
            (fit.f, "mean_f"),
            (fit.f_dot, "mean_f1"),
            (fit.ff, "mean_f_f"),
            (fit.ff_dot, "mean_f_f1"),
        ):
            np.testing.assert_allclose(ours, block(key)[i], rtol=0, atol=AMPLIFIED)


def test_derivatives_of_the_model_are_the_recorded_ones() -> None:
    node, i = BLOCK["at_one_node"], BLOCK["at_one_node"]["node"]
    eps, eps_dot = Derivatives(MODEL, VP).total(X[i], LAM[i])
    np.testing.assert_allclose(eps, node["eps"], rtol=0, atol=SOME_ULP)
    np.testing.assert_allclose(eps_dot, node["eps_total_derivative"], rtol=0, atol=SOME_ULP)
    t = float(VP.t_of_lam(LAM[i]))
    along = Derivatives(MODEL, VP).diagonal(X[i], t, PROBES[i][None])
    np.testing.assert_allclose(
        along, np.array(node["eps_jacobian_times_probe"]) * BLOCK["probes"][i], rtol=0, atol=SOME_ULP
    )


def test_the_whole_diagonal_is_the_recorded_one() -> None:
    derivatives = Derivatives(MODEL, VP)
    for i, lam in enumerate(LAM):
        l = diagonal_mean(derivatives, Draw(X[i]), float(VP.t_of_lam(lam)))
        np.testing.assert_allclose(l, block("l_from_full_jacobian_diagonal")[i], rtol=SOME_ULP)


# --- exact statistics ---


@pytest.mark.parametrize("at", few(AT))
def test_exact_statistics_of_the_mixture_are_the_reference(at: int) -> None:
    """To the quadrature's error here (spacing .18), and that of l' by degree 4."""
    for series, key, tolerance in zip(exact(at), "lsb", (3e-9, 2e-6, 3e-8), strict=True):
        np.testing.assert_allclose(series(REFERENCE["lambda"][at]), REFERENCE[key][at], atol=tolerance)


@pytest.mark.slow
def test_finer_quadrature_comes_nearer_to_the_reference() -> None:
    fine = exact_series(MIXTURE, -5.03, 4.57)
    for series, key, tolerance in zip(fine, "lsb", (2e-12, 1e-7, 5e-11), strict=True):
        np.testing.assert_allclose(series(REFERENCE["lambda"]).T, REFERENCE[key], atol=tolerance)


def test_for_a_diagonal_gaussian_s_is_zero_and_b_is_minus_l_dot_mean() -> None:
    """l = v/(c + v), l' = -2 v c/(c + v)^2, by quadrature."""
    c, m = np.array([0.4, 0.09]), DIAGONAL.means[0]
    l, s, b = exact_series(DIAGONAL, -2.0, 2.0, degree=40, spacing=0.4)
    for lam in (-1.7, 0.1, 1.6):
        v = math.exp(-2 * lam)
        np.testing.assert_allclose(l(lam), v / (c + v), rtol=0, atol=AMPLIFIED)
        np.testing.assert_array_equal(s(lam), 0)
        np.testing.assert_allclose(b(lam), 2 * v * c / (c + v) ** 2 * m, rtol=0, atol=3e-11)  # a slope


def test_the_quadrature_is_refused_in_four_dimensions() -> None:
    with pytest.raises(ValueError, match="at most 3 dimensions, got 4"):
        exact_statistics(GaussianMixture(np.ones(1), np.zeros((1, 4)), np.eye(4)[None]), -1.0, 1.0)


@pytest.mark.parametrize("schedule", [vp_cosine(), sub_vp(), rectified_flow(), edm()], ids=lambda s: s.kind)
def test_statistics_depend_on_lambda_alone(schedule: Schedule) -> None:
    """On the same states y = x/alpha every schedule gives the same l, s and b."""
    lam = 0.3
    draw = quadrature(MIXTURE, lam, 0.5)
    l_dot = torch.tensor([-0.4, -0.5], dtype=torch.float64)

    def fit(schedule: Schedule) -> Any:
        t = float(schedule.t_of_lam(lam))
        scaled = draw._replace(x=float(schedule.alpha(t)) * draw.x)
        derivatives = Derivatives(MIXTURE.model(schedule), schedule)
        l = diagonal_mean(derivatives, scaled, t)
        return torch.stack([l, *regress(derivatives, scaled, lam, l, l_dot)])

    torch.testing.assert_close(fit(schedule), fit(VP), rtol=0, atol=SOME_ULP)


# --- estimates ---


@pytest.mark.parametrize("at", few(AT))
def test_the_estimates_are_unbiased(at: int) -> None:
    """Within four standard errors of the exact expectations: one component in 16,000 would miss by chance."""
    lam = float(REFERENCE["lambda"][at])
    n, t = 20_000, float(VP.t_of_lam(lam))
    data = torch.tensor(MIXTURE.data(n, 5))
    draw = noised(data, VP, 7)(0, t)
    derivatives = Derivatives(MODEL, VP)
    l, s, b = exact(at)

    samples = float(VP.sigma(t)) * derivatives.diagonal(draw.x, t, draw.probes)
    error = (diagonal_mean(derivatives, draw, t) - torch.tensor(l(lam))).abs()
    assert torch.all(error <= 4 * samples.std(0) / math.sqrt(n))

    exact_l, exact_slope = torch.tensor(l(lam)), torch.tensor(l.slope(lam))
    fit = regress(derivatives, draw, lam, exact_l, exact_slope)
    eps, eps_dot = derivatives.total(draw.x, lam)
    rho, y = float(VP.rho(t)), draw.x / float(VP.alpha(t))
    f = rho * eps - exact_l * y
    f_dot = rho * ((exact_l - 1) * eps + eps_dot) - exact_slope * y
    influence = (f_dot - fit.s * f - fit.b) * (f - fit.f) / (f - fit.f).var(0)
    assert torch.all((fit.s - torch.tensor(s(lam))).abs() <= 4 * influence.std(0) / math.sqrt(n))
    of_b = (f_dot - fit.s * f - fit.b) - influence * fit.f
    assert torch.all((fit.b - torch.tensor(b(lam))).abs() <= 4 * of_b.std(0) / math.sqrt(n))


def test_more_probes_and_the_whole_diagonal_agree() -> None:
    """E[v v^T] = I: over all sign patterns the probes give the diagonal exactly."""
    x, t = X[8], float(VP.t_of_lam(LAM[8]))
    signs = torch.tensor([[a, b] for a in (-1.0, 1.0) for b in (-1.0, 1.0)], dtype=torch.float64)
    probes = signs[:, None].expand(4, *x.shape)
    derivatives = Derivatives(MODEL, VP)
    torch.testing.assert_close(
        derivatives.diagonal(x, t, probes), derivatives.diagonal(x, t, None), rtol=SOME_ULP, atol=0
    )


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_any_prediction_type_gives_the_same_statistics(prediction: str) -> None:
    model = convert(VP, MODEL, "eps", prediction)
    options: dict[str, Any] = {"time": "difference"}
    expected = estimate(MODEL, VP, given_draws, LAM[0], LAM[-1], 16, **options)
    made = estimate(model, VP, given_draws, LAM[0], LAM[-1], 16, prediction=prediction, **options)
    for key in ("l", "s", "b"):
        np.testing.assert_allclose(getattr(made, key), getattr(expected, key), rtol=3e-8)  # of differences


@pytest.mark.parametrize("schedule", [VP, sub_vp(), rectified_flow()], ids=lambda s: s.kind)
def test_differences_in_time_replace_forward_mode(schedule: Schedule) -> None:
    """To the stencil's O(0.02^6), also at the end of the domain, where it is one-sided."""
    model, x = MIXTURE.model(schedule), X[8]
    for lam in (float(schedule.lam(0.999)), 0.0, 2.0):
        forward = Derivatives(model, schedule).total(x, lam)[1]
        difference = Derivatives(model, schedule, time="difference").total(x, lam)[1]
        torch.testing.assert_close(difference, forward, rtol=1e-6, atol=1e-8)  # 0.02^4


def test_the_whole_diagonal_is_the_mean_over_many_probes() -> None:
    """Within four standard errors, on the same states."""
    data, t = torch.tensor(MIXTURE.data(2000, 0)), float(VP.t_of_lam(0.0))
    derivatives = Derivatives(MODEL, VP)
    whole = noised(data, VP, 3, probes=None)(0, t)
    assert whole.probes is None
    some = noised(data, VP, 3, probes=4)(0, t)
    errors = derivatives.diagonal(some.x, t, some.probes) - derivatives.diagonal(whole.x, t, None)
    assert torch.all(errors.mean(0).abs() <= 4 * errors.std(0) / math.sqrt(2000))


def floating(model: Model) -> Model:
    return lambda x, t: model(x, float(t))


def test_a_model_that_loses_the_derivative_in_time_is_refused() -> None:
    """float(t) of a dual number is silently its value: half of f' would be missing."""
    with pytest.raises(ValueError, match="use time='difference'"):
        estimate(floating(MODEL), VP, given_draws, LAM[0], LAM[-1], 16)
    made = estimate(floating(MODEL), VP, given_draws, LAM[0], LAM[-1], 16, time="difference")
    expected = estimate(MODEL, VP, given_draws, LAM[0], LAM[-1], 16)
    np.testing.assert_allclose(made.s, expected.s, rtol=1e-7)  # the stencil's O(0.02^6)


def test_a_network_is_estimated_in_its_own_shape_and_precision() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = 0.1 * torch.randn(48, 48, generator=generator)

    def network(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x.flatten(1) @ weight * (1 + t)).reshape(x.shape)

    data = torch.randn(16, 3, 4, 4, generator=generator)
    made = estimate(network, VP, noised(data, VP, 1, probes=2), -2.0, 2.0, 6)
    assert made.shape == (3, 4, 4)
    assert made.l.dtype == np.float64


def test_noised_states_are_reproducible_and_vary_smoothly_with_time() -> None:
    data = torch.tensor(MIXTURE.data(50, 0))
    first, second = (noised(data, VP, 3)(i, 0.4) for i in (0, 1))
    assert torch.equal(first.x, second.x)
    assert first.probes is not None
    assert second.probes is not None
    assert torch.equal(first.probes, second.probes)
    assert set(first.probes.unique().tolist()) == {-1.0, 1.0}
    assert not torch.equal(first.x, noised(data, VP, 4)(0, 0.4).x)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: estimate(MODEL, VP, given_draws, -1.0, 1.0, 0), "intervals must be an integer >= 1"),
        (lambda: estimate(MODEL, VP, given_draws, 1.0, 1.0, 4), "lam_end must exceed lam_start"),
        (lambda: estimate(MODEL, VP, given_draws, -9.0, 1.0, 4), "lam must be reached on t in"),
        (lambda: estimate(MODEL, VP, given_draws, -1.0, 1.0, 4, slope="x"), "slope must be one of central"),  # type: ignore[arg-type]
        (lambda: estimate(MODEL, VP, given_draws, -1.0, 1.0, 4, moments="x"), "moments must be one of"),  # type: ignore[arg-type]
        (lambda: estimate(MODEL, VP, given_draws, -1.0, 1.0, 4, time="x"), "time must be one of forward"),  # type: ignore[arg-type]
        (lambda: estimate(MODEL, VP, given_draws, -1.0, 1.0, 4, prediction="x"), "prediction must be one of"),
        (lambda: noised(torch.ones(3, 2), VP, 0, probes=0), "probes must be an integer >= 1"),
        (lambda: noised(torch.ones(3, 2, dtype=torch.int64), VP, 0), "data must be a floating tensor"),
    ],
)
def test_bad_arguments_are_named(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("prediction", ["x0", "v", "score", "flow"])
def test_statistics_are_those_of_the_noise_whatever_the_model_predicts(prediction: Any) -> None:
    def noise(x: torch.Tensor, t: float) -> torch.Tensor:
        return torch.sin(x) * t

    data = torch.randn(50, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found, expected = (
        estimate(convert(VP, noise, "eps", p), VP, noised(data, VP, 0), -2.0, 2.0, 3, prediction=p)
        for p in (prediction, "eps")
    )
    for name in ("l", "s", "b"):  # conversions cost a few ulp, the regression's quotients some more
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=AMPLIFIED)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-3), (torch.float64, 1e-11)])
def test_a_gaussian_has_no_slope_to_estimate_in_any_precision(dtype: torch.dtype, bound: float) -> None:
    """s = 0; what is found is the model's rounding, some thousand times: a quotient of small covariances."""
    data = (0.3 + 0.5 * torch.randn(500, 2, generator=torch.Generator().manual_seed(0))).to(dtype)

    def exact(x: torch.Tensor, t: Any) -> torch.Tensor:
        alpha, sigma = (v(torch.as_tensor(t, dtype=torch.float64)) for v in (VP.alpha, VP.sigma))
        slope = sigma / (0.25 * alpha**2 + sigma**2)
        return slope.to(x.dtype) * (x - (0.3 * alpha).to(x.dtype))

    assert abs(estimate(exact, VP, noised(data, VP, 0), -2.0, 2.0, 8).s).max() < bound
