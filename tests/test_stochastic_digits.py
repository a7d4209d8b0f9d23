from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from semilinear.analysis.convergence import extrapolate_order
from semilinear.integrators.numerics.arithmetic import multiprecision
from semilinear.integrators.run.sampler import sample
from semilinear.integrators.solvers import make
from semilinear.verification.commands.cli import main
from semilinear.verification.problems.linear_law import Gaussians, LinearLaw
from semilinear.verification.problems.mixtures import GaussianMixture
from semilinear.verification.studies.gaussian import CASES, StochasticExperiment, respond, strong_error, study

from tests.roundings import MANY_ULP, SOME_ULP, THIRTY_DIGITS
from tests.slow import slow

FLOAT = StochasticExperiment(ladder=(8, 12, 16, 24, 32, 48))
DIGITS = StochasticExperiment(ladder=(8, 12, 16, 24, 32, 48, 64, 96), digits=30)

# --- multiprecision ---


@pytest.mark.parametrize("digits", [20, 40])
def test_the_law_has_the_digits_that_were_asked_for(digits: int) -> None:
    """At tau = 1, M = (v_1/v_0)^(1/2) e^-h ((1 + c e^(2 lambda_1))/(1 + c e^(2 lambda_0)))^(1/2)."""
    xp = multiprecision(digits)
    e = StochasticExperiment(digits=digits)
    law = e.law(make("seeds-1").form)
    (mean0, v0), (mean1, v1) = (e.data.marginal(e.schedule, t) for t in e.times)
    lam0, lam1, c = xp.number(e.lam_start), xp.number(e.lam_end), xp.number(CASES.variance)
    ratio = (xp.exp(lam1 * 2) * c + 1) / (xp.exp(lam0 * 2) * c + 1)
    propagator = xp.sqrt(v1 / v0 * ratio) * xp.exp(lam0 - lam1)
    mean, variance = law.moments
    exact = mean1 + propagator * (xp.number(CASES.start) - mean0), v1 - propagator**2 * v0
    unit = 10.0 ** (1 - digits)
    assert float(abs(mean - exact[0]).max()) < 200 * unit
    assert float(abs(variance - exact[1]).max()) < 200 * unit
    assert law.error < 200 * unit
    assert float(abs(law.at(np.array([law.start]))[0][0] - propagator).max()) < 200 * unit


@pytest.mark.parametrize("name", ["sde-dpm-solver++-2s", "sa-solver-2-2", "score-sde-em"])
def test_float64_and_multiprecision_are_one_computation(name: str) -> None:
    """Means, responses and strong errors agree to float64's rounding."""
    solver, n = make(name), 6
    found = []
    for e in (FLOAT, DIGITS):
        plan = e.plan(solver, n)
        response = respond(plan, e.model, e.xp.number(CASES.start))
        law = e.law(make("seeds-1").form)
        found.append([response.mean, response.impulses, response.slope, strong_error(law, plan, response)])
    for a, b in zip(*found, strict=True):
        assert float(abs(np.asarray(a - b)).max()) < SOME_ULP


@pytest.mark.parametrize(
    ("name", "mean", "variance"),
    slow([("seeds-1", 1, 1), ("seeds-3", 3, 2), ("sde-dpm-solver-2m", 2, 2)], lambda case: case[1] != 1),
)
def test_orders_have_two_digits_from_eight_step_counts(name: str, mean: int, variance: int) -> None:
    result = study(make(name), DIGITS)
    # two digits, as the name
    assert (result.mean.order, result.variance.order) == pytest.approx((mean, variance), abs=0.01)
    assert result.strong.order == pytest.approx(1, abs=0.005)  # two digits
    assert result.bound < THIRTY_DIGITS / 10
    assert result.strong_verdict(1) == "consistent"
    assert result.against(min(mean, variance)) == "consistent"
    assert result.against(min(mean, variance) + 1) == "lower"


def test_rounding_does_not_limit_multiprecision() -> None:
    """In 6 digits errors of 1e-3 are lost in rounding; in 30 they are not."""
    coarse = study(make("seeds-3"), StochasticExperiment(ladder=(8, 12, 16), digits=6))
    fine = study(make("seeds-3"), StochasticExperiment(ladder=(8, 12, 16), digits=30))
    assert not all(p.usable for p in coarse.mean.points)
    assert all(p.usable for p in fine.mean.points)


def test_the_command_takes_digits(capsys: Any) -> None:
    assert main(["order", "seeds-1", "--digits", "20", "--max-steps", "48"]) == 0
    assert "weak order 1.000" in capsys.readouterr().out
    assert main(["order", "seeds-1", "--digits", "0"]) == 2


# --- the estimator ---


def test_an_extrapolated_order_is_that_of_the_leading_term() -> None:
    n = np.array([8, 12, 16, 24, 32, 48, 64, 96])
    h = 1 / n
    found = extrapolate_order(n.tolist(), 3 * h**2 * (1 + 5 * h - 2 * h**2), np.full(8, 1e-16))
    assert found.order == pytest.approx(2, abs=0.01)  # two digits
    assert found.low < 2 < found.high


def test_an_extrapolation_of_noisy_errors_confirms_nothing() -> None:
    """Noise is amplified by every further term, which shows in the interval."""
    n, rng = np.array([8, 12, 16, 24, 32, 48, 64]), np.random.default_rng(0)
    for _ in range(20):
        found = extrapolate_order(
            n.tolist(), n**-2.0 * np.exp(0.1 * rng.standard_normal(7)), np.full(7, 1e-16)
        )
        assert found.verdict(2) != "consistent"


# --- covariance ---


def test_on_a_full_covariance_the_errors_are_those_on_its_principal_axes_turned() -> None:
    """Cov(x_n) - Cov(x) = R diag R^T: plans add multiples of whole states, so runs commute with rotations.

    The left side by a run of the loop for every increment and component.
    """
    angle = 0.7
    rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    mean, variance, start = np.array([0.7, -0.4]), np.array([0.25, 1.5]), np.array([1.5, -2.0])
    covariance = rotation @ np.diag(variance) @ rotation.T
    coupled = GaussianMixture(np.ones(1), (rotation @ mean)[None], covariance[None])
    e = StochasticExperiment(data=Gaussians(mean, variance, start))
    plan = e.plan(make("seeds-2"), 5)
    count = len(plan.increments)

    def noise(index: int, like: np.ndarray) -> np.ndarray:
        drawn = np.zeros_like(like)
        drawn[1 + 2 * index, 0] = drawn[2 + 2 * index, 1] = 1.0
        return drawn

    rows = np.tile(rotation @ start, (2 * count + 1, 1))
    final = sample(plan, coupled.model(e.schedule), rows, noise=noise).x
    moved = final[1:] - final[0]
    axes = respond(plan, e.model, start)
    assert np.abs(final[0] - rotation @ axes.mean).max() < SOME_ULP
    assert np.abs(moved.T @ moved - rotation @ np.diag(axes.variance()) @ rotation.T).max() < SOME_ULP


# --- the trap of independent noise, by hand: du = (L u + mu u) dt + g dW (docs/mathematics.md, 7) ---

LINEAR, MU, G, LENGTH, START = -1.0, 0.6, 0.8, 1.0, 1.5


def recursion(kind: str, n: int) -> tuple[float, float, float]:
    """Errors of mean and variance, and the strong error, after n steps of a scheme written out by hand.

    A step is x -> r x + int k(s) g dW(s) + an independent part; the exact one has e^((L + mu) h) and
    e^((L + mu)(h - s)).
    """
    h, c = LENGTH / n, 0.5
    phi = lambda v: math.expm1(v) / v  # noqa: E731
    z, b = LINEAR * h, h * phi(LINEAR * h) * MU
    stage = math.exp(c * z) + c * h * phi(c * z) * MU
    nodes, weights = np.polynomial.legendre.leggauss(12)
    s = np.concatenate([(nodes + 1) * h / 4, h / 2 + (nodes + 1) * h / 4])
    w = np.concatenate([weights, weights]) * h / 4
    plain = np.exp(LINEAR * (h - s))
    to_stage = np.where(s < h / 2, np.exp(LINEAR * (h / 2 - s)), 0.0)
    r, kernel, apart = {
        "euler": (math.exp(z) + b, plain, 0 * s),
        "joint": (math.exp(z) + b * stage, plain + b * to_stage, 0 * s),
        "independent": (math.exp(z) + b * stage, plain, b * to_stage),
        "iterated": (math.exp(z) + b * stage, plain * (1 + MU * (h - s)), 0 * s),
    }[kind]
    exact_r, exact = math.exp((LINEAR + MU) * h), np.exp((LINEAR + MU) * (h - s))
    own = G**2 * float(w @ (kernel**2 + apart**2))
    true, cross = G**2 * float(w @ exact**2), G**2 * float(w @ (kernel * exact))
    mean, exact_mean, v, exact_v, both = START, START, 0.0, 0.0, 0.0
    for _ in range(n):
        mean, exact_mean = r * mean, exact_r * exact_mean
        v, exact_v, both = r * r * v + own, exact_r**2 * exact_v + true, r * exact_r * both + cross
    strong = math.sqrt((mean - exact_mean) ** 2 + v + exact_v - 2 * both)
    return abs(mean - exact_mean), abs(v - exact_v), strong


@pytest.mark.parametrize(
    ("kind", "orders"),
    [
        ("euler", (1, 1, 1)),
        ("joint", (2, 2, 1)),
        ("independent", (2, 1, 1)),
        ("iterated", (2, 2, 2)),
    ],
)
def test_what_noise_makes_of_the_order(kind: str, orders: tuple[int, int, int]) -> None:
    """Mean, variance, strong: independent stage noise passes a test of the mean alone; strong order 2 needs
    mu int e^((h - s) L) eta_s ds.
    """
    n = (8, 12, 16, 24, 32, 48)
    errors = np.array([recursion(kind, k) for k in n]).T
    found = [extrapolate_order(n, row, np.full(6, 1e-13)) for row in errors]
    assert [e.order for e in found] == pytest.approx(orders, abs=0.005)  # two digits
    assert [e.verdict(p) for e, p in zip(found, orders, strict=True)] == ["consistent"] * 3


def test_a_law_of_lower_degree_has_a_larger_error() -> None:
    """The error estimate sees what it is made to see."""
    form = make("seeds-1").form(FLOAT.schedule)
    good = LinearLaw(form, CASES, *FLOAT.times)
    bad = LinearLaw(form, CASES, *FLOAT.times, degree=6)
    truth = good.moments[0]
    assert good.error < MANY_ULP < float(np.abs(bad.moments[0] - truth).max()) < bad.error
