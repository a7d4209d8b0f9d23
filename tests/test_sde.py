"""The SDE behind a schedule: its coefficients, its law, its discretisations and their tables."""

from __future__ import annotations

import math
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from semilinear.integrators.diffusion import schedule, sde
from semilinear.integrators.diffusion.schedule import Schedule
from semilinear.integrators.numerics.arithmetic import multiprecision
from semilinear.verification.problems.named import golden_mixture

from tests.roundings import SOME_ULP, ULP

SDES = {"vp": sde.vp(), "sub-vp": sde.sub_vp(), "ve": sde.ve()}
EVERY: tuple[Schedule, ...] = (
    *(process.schedule for process in SDES.values()),
    schedule.vp_cosine(),
    schedule.edm(),
    schedule.rectified_flow(),
)
MP = multiprecision(40)
TIMES = (1e-5, 0.03, 0.5, 0.97)


@pytest.mark.parametrize("noise", EVERY, ids=lambda s: s.kind)
@pytest.mark.parametrize("t", TIMES)
def test_f_and_g2_are_the_derivatives_of_the_law(noise: Schedule, t: float) -> None:
    """dE[x_t]/dt = f E[x_t] and d sigma^2/dt = 2 f sigma^2 + g^2, against mpmath's numerical derivatives."""
    process, at = sde.DiffusionSDE(noise, 1.0), MP.number(t)
    f, g2 = process.f(at), process.g2(at)
    diff = lambda function: MP.context.diff(function, at)  # noqa: E731
    assert abs(f - diff(noise.formulas.log_alpha)) < SOME_ULP  # differences in twice the digits of `at`
    moment = diff(lambda v: noise.formulas.sigma(v) ** 2)
    assert abs(g2 + 2 * f * noise.formulas.sigma(at) ** 2 - moment) < 1e-13 * (1 + abs(moment))  # likewise
    assert process.f(t) == pytest.approx(float(f), rel=SOME_ULP, abs=4 * ULP)
    assert process.g2(t) == pytest.approx(float(g2), rel=SOME_ULP, abs=0)


@pytest.mark.parametrize("t", TIMES)
def test_the_coefficients_are_those_of_the_paper(t: float) -> None:
    beta = 0.1 + 19.9 * t
    discount = 1 - math.exp(-2 * 0.1 * t - 19.9 * t * t)
    assert SDES["vp"].f(t) == pytest.approx(-beta / 2, rel=SOME_ULP, abs=0)
    assert SDES["vp"].g2(t) == pytest.approx(beta, rel=SOME_ULP, abs=0)
    assert SDES["sub-vp"].f(t) == pytest.approx(-beta / 2, rel=SOME_ULP, abs=0)
    # 1 - exp cancels here, not there
    assert SDES["sub-vp"].g2(t) == pytest.approx(beta * discount, rel=1e-9, abs=0)
    assert SDES["ve"].f(t) == 0
    sigma = 0.01 * 5000**t
    assert SDES["ve"].g2(t) == pytest.approx(sigma**2 * 2 * math.log(5000), rel=SOME_ULP, abs=0)


@pytest.mark.parametrize("name", SDES)
def test_the_prior_is_a_normal_law(name: str) -> None:
    process = SDES[name]
    z = torch.linspace(-3, 3, 12, dtype=torch.float64).reshape(2, 3, 2) * process.prior_std
    law = torch.distributions.Normal(*torch.tensor([0.0, process.prior_std], dtype=torch.float64))
    torch.testing.assert_close(
        process.prior_log_density(z), law.log_prob(z).flatten(1).sum(1), rtol=SOME_ULP, atol=0
    )


def test_the_marginal_is_the_schedules() -> None:
    mean, std = SDES["vp"].marginal(np.array([2.0]), 0.3)
    assert mean == 2 * SDES["vp"].schedule.alpha(0.3)
    assert std == SDES["vp"].schedule.sigma(0.3)


@pytest.mark.parametrize("name", SDES)
def test_the_probability_flow_carries_quantiles(name: str) -> None:
    """A Gaussian's flow is x = m_t + s_t z, so its velocity is dm/dt + ds/dt z."""
    from semilinear.verification.problems.mixtures import GaussianMixture

    law, process, h = GaussianMixture(np.ones(1), np.array([[0.7]]), np.array([[[0.25]]])), SDES[name], 1e-6
    f = process.schedule.formulas

    def path(t: float, z: float) -> float:
        return 0.7 * f.alpha(t) + math.sqrt(0.25 * f.alpha(t) ** 2 + f.sigma(t) ** 2) * z

    for t, z in ((0.2, 1.5), (0.6, -0.4)):
        x = torch.tensor([[path(t, z)]], dtype=torch.float64)
        velocity = float(process.probability_flow(law.model(process.schedule))(x, t))
        assert velocity == pytest.approx(
            (path(t + h, z) - path(t - h, z)) / (2 * h), rel=1e-7
        )  # h^2 and ulp/h


# --- discretisations ---


@pytest.mark.parametrize("noise", EVERY, ids=lambda s: s.kind)
def test_exact_transitions_compose_and_carry_the_law(noise: Schedule) -> None:
    """a and b2 of [r, t] follow from [r, s] and [s, t]; sigma_0^2 = a^2 sigma_1^2 + b2."""
    t, s, r = 0.9, 0.5, 0.2
    whole, first, second = sde.exact(noise, t, r), sde.exact(noise, s, r), sde.exact(noise, t, s)
    assert whole.a == pytest.approx(first.a * second.a, rel=SOME_ULP, abs=0)
    variance = second.a**2 * first.b2 + second.b2
    # b^2 is a difference of squares, which cancels over short steps
    assert whole.b2 == pytest.approx(variance, rel=SOME_ULP, abs=0)
    assert noise.sigma(t) ** 2 == pytest.approx(
        whole.a**2 * noise.sigma(r) ** 2 + whole.b2, rel=SOME_ULP, abs=0
    )
    assert whole.keep == pytest.approx((noise.sigma(r) / noise.sigma(t)) ** 2, rel=SOME_ULP, abs=0)


@pytest.mark.parametrize("noise", EVERY, ids=lambda s: s.kind)
def test_eulers_transition_is_the_exact_one_to_second_order(noise: Schedule) -> None:
    t, defects = 0.6, []
    for h in (1e-2, 5e-3):
        exact, euler = sde.exact(noise, t, t - h), sde.euler(noise, t, t - h)
        defects.append((abs(exact.a - euler.a), abs(exact.b2 - euler.b2)))
    for coarse, fine in zip(*defects, strict=True):
        assert coarse <= SOME_ULP or coarse / fine == pytest.approx(4, rel=0.05)  # h^2 (1 + O(h))


@pytest.mark.parametrize("n", [1, 25, 1000])
def test_the_vp_table_is_the_releases(n: int) -> None:
    betas = torch.linspace(0.1 / n, 20 / n, n, dtype=torch.float64)
    noise = SDES["vp"].schedule
    for t in (1e-3, 0.3712, 1.0):
        i = int(t * (n - 1))
        if betas[i] <= 1:
            made = sde.ddpm_table(noise, t, n)
            assert made.b2 == pytest.approx(float(betas[i]), rel=SOME_ULP, abs=0)
            assert made.a == pytest.approx(float(torch.sqrt(1 - betas[i])), rel=SOME_ULP, abs=0)


@pytest.mark.parametrize("n", [1, 2, 16, 1000])
def test_the_ve_table_is_the_releases_and_adds_up(n: int) -> None:
    """sum b2 = sigma_max^2: the chain starts at sigma_{-1} = 0."""
    sigmas = torch.exp(torch.linspace(math.log(0.01), math.log(50.0), n, dtype=torch.float64))
    noise = SDES["ve"].schedule
    made = [sde.smld_table(noise, (i + 0.5) / max(n - 1, 1), n) for i in range(n - 1)]
    made.append(sde.smld_table(noise, 1.0, n))
    expected = torch.diff(sigmas**2, prepend=torch.zeros(1, dtype=torch.float64))
    # the reference subtracts squares that differ by a hundredth
    np.testing.assert_allclose([m.b2 for m in made], expected, rtol=1e-11)
    assert sum(m.b2 for m in made) == pytest.approx(float(sigmas[-1]) ** 2, rel=1e-12, abs=0)  # of 1000 terms
    assert made[0].keep == 0


def test_tables_in_multiprecision_agree_with_float64() -> None:
    for noise, table in ((SDES["vp"].schedule, sde.ddpm_table), (SDES["ve"].schedule, sde.smld_table)):
        wide, narrow = table(noise, MP.number(0.7), 100), table(noise, 0.7, 100)
        assert isinstance(wide.b2, mpmath.ctx_mp_python._mpf)
        assert narrow.b2 == pytest.approx(float(wide.b2), rel=SOME_ULP, abs=0)


# --- refusals ---


def test_a_table_with_betas_above_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"steps must be at least beta_1 = 20 .* got 16: beta_15 = 1.25"):
        sde.ddpm_table(SDES["vp"].schedule, 1.0, 16)


def test_a_table_needs_the_schedules_parameters() -> None:
    with pytest.raises(ValueError, match="schedule must have beta_0 and beta_1, which ve has not"):
        sde.ddpm_table(SDES["ve"].schedule, 1.0, 100)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SDES["vp"].g2(0.0), "t must have sigma_t > 0"),
        (lambda: SDES["vp"].f(1.5), r"t must lie in \[0, 1\]"),
        (lambda: sde.DiffusionSDE(SDES["vp"].schedule, 0.0), "prior_std must be a positive number"),
        (lambda: sde.DiffusionSDE(SDES["vp"].schedule, math.nan), "prior_std must be a positive number"),
        (lambda: sde.vp(beta_1=-1), "beta_1 must be"),
    ],
)
def test_bad_arguments_are_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_an_sde_needs_a_schedule() -> None:
    with pytest.raises(TypeError, match="schedule must be a Schedule"):
        sde.DiffusionSDE(golden_mixture(), 1.0)  # type: ignore[arg-type]
