"""Posteriors in closed form against quadrature, replacement as an interlude, and the study of its bias."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.integrate
import torch
from semilinear.integrators.diffusion import sde
from semilinear.integrators.diffusion.grids import uniform_t
from semilinear.integrators.plans.compile import compile_plan
from semilinear.integrators.run.conditioning import GREY_BASIS, Known, Replacement, ReplacementReleased
from semilinear.integrators.run.models import classifier
from semilinear.integrators.run.noise import per_sample
from semilinear.integrators.run.sampler import sample
from semilinear.integrators.solvers import make
from semilinear.verification.commands.cli import main
from semilinear.verification.inverse import study as inverse_study
from semilinear.verification.inverse.posterior import Observation, log_likelihood_given, posterior
from semilinear.verification.inverse.report import report
from semilinear.verification.inverse.study import PROBLEMS, SAMPLERS, moments, study
from semilinear.verification.problems.mixtures import GaussianMixture
from semilinear.verification.problems.named import golden_mixture

from tests.roundings import MANY_ULP, SOME_ULP, ULP

MIXTURE = golden_mixture()
VP = sde.vp().schedule
EXACT = Observation(np.array([[1.0, 0.0]]), np.array([1.5]))
NOISY = Observation(np.array([[0.6, -1.1]]), np.array([0.4]), np.array([[0.3]]))


def density(x: np.ndarray) -> np.ndarray:
    value: np.ndarray = np.exp(MIXTURE.log_density(np.atleast_2d(x), 1.0, 0.0))
    return value


# --- the posterior ---


def test_the_inpainting_posterior_is_the_slice_of_the_density() -> None:
    """p(x_2 | x_1 = y) by quadrature of the density along the line."""
    made = posterior(MIXTURE, EXACT)

    def moment(k: int) -> float:
        f = lambda u: u**k * density(np.array([1.5, u]))[0]  # noqa: E731
        return float(scipy.integrate.quad(f, -8, 8, limit=200, epsabs=1e-13, epsrel=1e-12)[0])

    evidence, first, second = (moment(k) for k in range(3))
    mean = first / evidence
    assert made.log_evidence == pytest.approx(math.log(evidence), rel=SOME_ULP, abs=0)
    assert made.mean == pytest.approx([1.5, mean], rel=SOME_ULP, abs=0)
    assert made.covariance[1, 1] == pytest.approx(second / evidence - mean**2, rel=SOME_ULP, abs=0)
    assert made.covariance[0] == pytest.approx([0, 0], abs=4 * ULP)
    above = scipy.integrate.quad(lambda u: density(np.array([1.5, u]))[0], 0.4, 8, epsabs=1e-13)[0]
    assert made.probability_above(np.array([0.0, 1.0]), 0.4) == pytest.approx(
        above / evidence, rel=SOME_ULP, abs=0
    )


def test_a_noisy_linear_posterior_is_bayes_rule_on_a_grid() -> None:
    """Density times likelihood, summed on a fine grid (spectrally accurate: all decays to 0)."""
    made, axis = posterior(MIXTURE, NOISY), np.linspace(-7, 7, 561)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    residual = 0.4 - grid @ np.array([0.6, -1.1])
    weight = density(grid) * np.exp(-(residual**2) / 0.6) / math.sqrt(2 * math.pi * 0.3)
    cell = (axis[1] - axis[0]) ** 2
    assert made.log_evidence == pytest.approx(math.log(weight.sum() * cell), rel=MANY_ULP, abs=0)
    mean = weight @ grid / weight.sum()
    centred = grid - mean
    assert made.mean == pytest.approx(mean, rel=MANY_ULP, abs=0)
    covariance = (weight[:, None] * centred).T @ centred / weight.sum()
    np.testing.assert_allclose(made.covariance, covariance, rtol=SOME_ULP, atol=SOME_ULP)


def test_data_with_endless_noise_leave_the_prior() -> None:
    vague = posterior(MIXTURE, Observation(np.eye(2), np.zeros(2), 1e12 * np.eye(2)))
    # of data that say 1e-12 of the prior
    np.testing.assert_allclose(vague.weights, MIXTURE.weights, rtol=0, atol=1e-11)
    np.testing.assert_allclose(vague.means, MIXTURE.means, rtol=0, atol=1e-11)
    np.testing.assert_allclose(vague.covariances, MIXTURE.covariances, rtol=0, atol=1e-11)


def test_the_likelihood_at_a_noise_level_is_bayes_rule() -> None:
    """p_t(y|x_t) = int p(y|x_0) p(x_0|x_t) dx_0, the posterior of x_0 given x_t being a mixture too."""
    t, x = 0.3, torch.tensor([[0.4, -0.2], [1.0, 1.1]], dtype=torch.float64)
    alpha, sigma = VP.alpha(t), VP.sigma(t)
    values = log_likelihood_given(MIXTURE, VP, NOISY)(x, t)
    for point, value in zip(x.numpy(), values, strict=True):
        given = posterior(MIXTURE, Observation(alpha * np.eye(2), point, sigma**2 * np.eye(2)))
        a = NOISY.operator[0]
        variance = np.einsum("i,kij,j->k", a, given.covariances, a) + 0.3
        terms = np.exp(-((0.4 - given.means @ a) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)
        assert float(value) == pytest.approx(math.log(given.weights @ terms), rel=SOME_ULP, abs=0)


def test_the_guided_score_is_the_posteriors_own() -> None:
    """s + grad log p_t(y|x) for noisy data: the posterior is a mixture, and has a score."""
    made, x, t = posterior(MIXTURE, NOISY), torch.tensor([[0.4, -0.2], [1.0, 1.1]], dtype=torch.float64), 0.3
    own = GaussianMixture(made.weights, made.means, made.covariances).model(VP)
    guided = classifier(MIXTURE.model(VP), VP, log_likelihood_given(MIXTURE, VP, NOISY))
    torch.testing.assert_close(guided(x, t), own(x, t), rtol=SOME_ULP, atol=0)


def test_guidance_by_a_components_exact_probability_samples_the_component() -> None:
    """Class-conditional: s + grad log p_t(k|x) is the score of component k."""
    x, t, k = torch.tensor([[0.4, -0.2], [1.0, 1.1]], dtype=torch.float64), 0.3, 2
    component = GaussianMixture(np.ones(1), MIXTURE.means[[k]], MIXTURE.covariances[[k]])

    def log_probability(x: torch.Tensor, t: Any) -> torch.Tensor:
        alpha, sigma = VP.alpha(t), VP.sigma(t)
        return component.log_density(x, alpha, sigma) - MIXTURE.log_density(x, alpha, sigma)

    guided = classifier(MIXTURE.model(VP), VP, log_probability)
    torch.testing.assert_close(guided(x, t), component.model(VP)(x, t), rtol=SOME_ULP, atol=0)


# --- replacement ---

DATA = torch.tensor([[1.5, 9.0], [0.2, 9.0]], dtype=torch.float64)
MASK = torch.tensor([1.0, 0.0], dtype=torch.float64)


def run(between: Any, **options: Any) -> torch.Tensor:
    plan = compile_plan(make("score-sde-em"), VP, steps=6, grid=uniform_t(), t_start=1.0, **options)
    x = torch.ones(2, 2, dtype=torch.float64)
    return sample(plan, MIXTURE.model(VP), x, noise=per_sample(0), between=between).x


def test_the_known_part_has_the_law_of_its_time() -> None:
    replaced = Replacement(VP, Known(DATA, MASK), per_sample(1, stream=3))
    x = run(replaced, t_end=0.3)
    z = per_sample(1, stream=3)(11, x)  # six steps: the last use is 2 * 5 + 1
    torch.testing.assert_close(
        x[:, 0], DATA[:, 0] * VP.alpha(0.3) + VP.sigma(0.3) * z[:, 0], rtol=SOME_ULP, atol=0
    )


def test_at_sigma_zero_the_known_part_is_the_data_themselves() -> None:
    x = run(Replacement(VP, Known(DATA, MASK), per_sample(1, stream=3)), t_end=0.0)
    assert torch.equal(x[:, 0], DATA[:, 0])
    assert (x[:, 1] != DATA[:, 1]).all()


def test_the_released_known_part_lags_a_step_behind() -> None:
    """After the step to t_{i+1} the release draws it at t_i."""
    plan = compile_plan(make("score-sde-em"), VP, steps=6, grid=uniform_t(), t_start=1.0, t_end=0.3)
    noise, x = per_sample(1, stream=3), torch.ones(2, 2, dtype=torch.float64)
    released = ReplacementReleased(VP, Known(DATA, MASK), noise, plan.times, denoise=False)
    x = sample(plan, MIXTURE.model(VP), x, noise=per_sample(0), between=released).x
    t = plan.times[-2]
    torch.testing.assert_close(
        x[:, 0], DATA[:, 0] * VP.alpha(t) + VP.sigma(t) * noise(11, x)[:, 0], rtol=SOME_ULP, atol=0
    )


def test_replacement_leaves_the_other_coordinates_of_its_basis() -> None:
    known = Known(torch.full((2, 3, 4, 4), 0.5, dtype=torch.float64), torch.zeros(3, 1, 1), GREY_BASIS)
    grey = Known(known.data, torch.tensor([1.0, 0, 0]).reshape(3, 1, 1), GREY_BASIS)
    x = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)).double()
    torch.testing.assert_close(known.put(x, 0.9, 0.1), x, rtol=0, atol=SOME_ULP)
    made = grey.put(x, 0.9, 0.1)
    torch.testing.assert_close(grey.to_basis(made)[:, 1:], grey.to_basis(x)[:, 1:], rtol=0, atol=SOME_ULP)
    grey_level = torch.full((2, 4, 4), 0.45 + 0.1 / math.sqrt(3), dtype=torch.float64)
    torch.testing.assert_close(made.mean(1), grey_level, rtol=SOME_ULP, atol=0)


def test_the_grey_basis_is_orthonormal_with_the_grey_axis_first() -> None:
    torch.testing.assert_close(
        GREY_BASIS.T @ GREY_BASIS, torch.eye(3, dtype=torch.float64), rtol=0, atol=4 * ULP
    )
    torch.testing.assert_close(
        GREY_BASIS[:, 0], torch.full((3,), 3**-0.5, dtype=torch.float64), rtol=SOME_ULP, atol=0
    )


# --- the study ---


def test_moments_of_exact_samples_are_within_their_standard_errors() -> None:
    problem = PROBLEMS[0]
    w, m, v = problem.exact.along(problem.other)
    rng = np.random.default_rng(0)
    k = rng.choice(len(w), size=20000, p=w / w.sum())
    found = moments(m[k] + np.sqrt(v[k]) * rng.standard_normal(20000), problem.exact, problem.other, 0.4)
    for name in ("mean", "variance", "mode"):
        assert abs(found[name]) < 4 * found[f"{name}_error"]
    shifted = moments(m[k] + 0.1, problem.exact, problem.other, 0.4)
    assert abs(shifted["mean"]) > 4 * shifted["mean_error"]


@pytest.mark.slow
def test_replacement_is_biased_and_the_exact_likelihood_is_not() -> None:
    """At 200 steps: what remains of the control is within chance; replacement is off by many errors."""
    rows = study(steps=(200,), samples=2000)
    for row in rows:
        assert row.biased == (row.sampler != "exact likelihood (control)"), row
    for row in rows:
        if "control" not in row.sampler:
            assert row.mode > 8 * row.mode_error


def test_the_report_is_what_the_study_found(monkeypatch: Any, tmp_path: Path, capsys: Any) -> None:
    chosen = ("replacement", "exact likelihood (control)")
    monkeypatch.setattr(inverse_study, "SAMPLERS", {name: SAMPLERS[name] for name in chosen})
    monkeypatch.setattr(inverse_study, "STEPS", (4,))
    rows = study(PROBLEMS, (4,), 50)
    text = report(rows)
    assert all(f"{row.mean:+.4f}" in text for row in rows)
    assert main(["report", "inverse-problems", "--out", str(tmp_path), "--samples", "50"]) == 0
    assert capsys.readouterr().out.split() == [
        str(tmp_path / f"inverse-problems.{kind}") for kind in ("json", "md", "png")
    ]
    data = json.loads((tmp_path / "inverse-problems.json").read_text())
    assert {(d["problem"], d["sampler"]) for d in data} == {(p.name, s) for p in PROBLEMS for s in chosen}
    assert (tmp_path / "inverse-problems.png").stat().st_size > 1000


def test_the_committed_report_has_every_sampler() -> None:
    folder = Path(__file__).parents[1] / "reports"
    data = json.loads((folder / "inverse-problems.json").read_text())
    assert [(d["problem"], d["sampler"], d["steps"]) for d in data] == [
        (p.name, s, n) for p in PROBLEMS for s in SAMPLERS for n in inverse_study.STEPS
    ]
    rows = [inverse_study.Row(**{k: v for k, v in d.items() if k != "biased"}) for d in data]
    assert (folder / "inverse-problems.md").read_text() == report(rows)


# --- refusals ---


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: Observation(np.ones((2, 2)), np.ones(2)),
            "operator must be a finite matrix",
        ),
        (lambda: Observation(np.eye(2), np.ones(3)), r"value must be finite and of shape \(2,\)"),
        (
            lambda: Observation(np.eye(2), np.ones(2), np.ones((1, 1))),
            "covariance must be symmetric",
        ),
        (lambda: Observation(np.eye(2), np.ones(2), -np.eye(2)), "covariance must be positive semidefinite"),
        (lambda: posterior(MIXTURE, Observation(np.eye(3), np.ones(3))), "operator must have 2 columns"),
        (lambda: Known(DATA[0], MASK), "data must be a tensor of shape"),
        (lambda: Known(DATA, MASK / 2), "mask must hold zeros and ones only"),
        (lambda: Known(DATA, torch.ones(3)), "mask must broadcast to data's shape"),
        (lambda: Known(DATA, MASK, torch.eye(3)), r"basis must have shape \(2, 2\)"),
        (lambda: Known(DATA, MASK, torch.ones(2, 2)), "basis must have orthonormal columns"),
        (lambda: study(samples=1), "samples must be an integer >= 2"),
        (lambda: study(steps=()), "steps must hold at least one"),
    ],
)
def test_bad_arguments_are_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
