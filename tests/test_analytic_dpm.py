"""Analytic-DPM: the variances of DDPM's and DDIM's kernels that are best for the data."""

from __future__ import annotations

import itertools
import math
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from semilinear.integrators.diffusion.schedule import Schedule, edm, rectified_flow, sub_vp, vp_linear
from semilinear.integrators.plans.compile import compile_plan
from semilinear.integrators.plans.program import Row
from semilinear.integrators.run.sampler import sample
from semilinear.integrators.solver import Solver
from semilinear.integrators.solvers import make
from semilinear.integrators.solvers.analytic_dpm import analytic_ddim, analytic_ddpm
from semilinear.integrators.statistics import second_moment
from semilinear.integrators.statistics.estimation import Draw, noised
from semilinear.verification.problems.mixture_statistics import quadrature
from semilinear.verification.problems.named import problem
from semilinear.verification.studies.own_statistics import for_problem, generic, moment_of

from tests.roundings import MANY_ULP

SCHEDULES = (vp_linear(), sub_vp(), edm(), rectified_flow())
MIXTURE = problem("golden-mixture")
PLAIN = {"analytic-ddpm": "score-sde-ancestral-small", "analytic-ddim": "ddim"}
"""The kernels with their own variance."""


def variances(solver: Solver, schedule: Schedule, times: Any, std: float) -> list[float]:
    """Of x at every time, from the law at the first, for data N(0, std^2), where eps is linear in x."""
    f, plan = schedule.formulas, compile_plan(solver, schedule, times=times)

    def total(t: float) -> float:
        return float((f.alpha(t) * std) ** 2 + f.sigma(t) ** 2)

    found = [total(times[0])]
    for step in plan.steps:
        (row,) = (op for op in step.operations if isinstance(op, Row))
        slope = {"x": 1.0, "m": float(f.sigma(step.t0)) / total(step.t0)}
        on_x = sum(v * slope[kind] for kind, _, v in row.terms)
        found.append(on_x**2 * found[-1] + sum(w**2 for _, w in row.noise))
    return found


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s.kind)
@pytest.mark.parametrize("std", [0.3, 1.0])
@pytest.mark.parametrize("name", PLAIN)
def test_gaussian_data_are_sampled_exactly_in_any_number_of_steps(
    name: str, schedule: Schedule, std: float
) -> None:
    f, times = schedule.formulas, (0.9, 0.5, 0.1, 0.02)
    exact = [float((f.alpha(t) * std) ** 2 + f.sigma(t) ** 2) for t in times]
    own = make(name, moment=second_moment.gaussian(std))
    np.testing.assert_allclose(variances(own, schedule, times, std), exact, rtol=MANY_ULP)
    plain = variances(make(PLAIN[name]), schedule, times, std)
    missing = [1 - made / known for made, known in zip(plain[1:], exact[1:], strict=True)]
    assert min(missing) > 0  # too little noise in every step
    assert max(missing) > 0.005


@pytest.mark.parametrize("name", PLAIN)
def test_a_step_from_the_exact_law_makes_the_exact_sum_of_variances(name: str) -> None:
    """On any data: the law of total variance, over a quadrature of the mixture's law."""
    schedule, (t0, t1) = vp_linear(), (0.7, 0.3)
    f = schedule.formulas
    low, high = (float(f.lam(t)) for t in (t0, t1))
    solver = for_problem(name, MIXTURE, low, high)
    draw = quadrature(MIXTURE, low, 0.1)
    x = draw.x * float(f.alpha(t0))
    plan = compile_plan(solver, schedule, times=(t0, t1))
    (row,) = (op for step in plan.steps for op in step.operations if isinstance(op, Row))
    eps = MIXTURE.model(schedule)(x, t0)
    mean = sum(v * (x if kind == "x" else eps) for kind, _, v in row.terms)
    ((_, noise),) = row.noise
    expected = float(f.alpha(t1)) * np.asarray(MIXTURE.weights) @ np.asarray(MIXTURE.means)
    np.testing.assert_allclose(draw.mean(mean), expected, rtol=0, atol=1e-10)  # the rule's tails
    spread = float(draw.mean(((mean - draw.mean(mean)) ** 2).sum(1))) + MIXTURE.dimension * noise**2
    centre = np.asarray(MIXTURE.weights) @ np.asarray(MIXTURE.means)
    data = sum(
        w * (np.trace(c) + ((m - centre) ** 2).sum())
        for w, m, c in zip(MIXTURE.weights, MIXTURE.means, MIXTURE.covariances, strict=True)
    )
    exact = float(f.alpha(t1)) ** 2 * data + MIXTURE.dimension * float(f.sigma(t1)) ** 2
    assert spread == pytest.approx(exact, rel=3e-8)  # the rule leaves out 1e-10 of E|y|^2, in its tails


@pytest.mark.parametrize(("build", "own"), [(analytic_ddpm, 1), (analytic_ddim, 0)])
def test_the_variance_is_the_papers(build: Any, own: int) -> None:
    """Theorem 1 with lambda_n^2 = beta tilde (DDPM) or 0 (DDIM), in alpha_n and beta bar of one step."""
    schedule, (t0, t1) = vp_linear(), (0.6, 0.45)
    f, gamma = schedule.formulas, second_moment.gaussian(0.5)
    bar_0, bar_1 = (1 - float(f.alpha(t)) ** 2 for t in (t0, t1))
    step = (1 - bar_0) / (1 - bar_1)
    tilde = own * bar_1 / bar_0 * (1 - step)
    mean = math.sqrt(bar_0 / step) - math.sqrt(bar_1 - tilde)
    expected = tilde + mean**2 * (1 - float(gamma.at(f.lam(t0))))
    plan = compile_plan(build(moment=gamma), schedule, times=(t0, t1))
    (row,) = (op for op in plan.steps[0].operations if isinstance(op, Row))
    assert row.noise[0][1] ** 2 == pytest.approx(expected, rel=1e-12)  # beta bar = 1 - alpha^2 cancels


# --- the moment ---


def test_moments_of_samples_and_of_a_quadrature_agree() -> None:
    exact = moment_of(MIXTURE, -2.0, 2.0)
    data = torch.tensor(MIXTURE.data(4096, 0))
    schedule = edm(20.0)
    found = second_moment.estimate(MIXTURE.model(schedule), schedule, noised(data, schedule, 0), -2.0, 2.0)
    for lam in np.linspace(-2, 2, 9):
        assert 0 < exact.at(lam) < 1
        assert float(found.at(lam)) == pytest.approx(float(exact.at(lam)), abs=6 / math.sqrt(2 * 4096))
    x = quadrature(MIXTURE, 0.37, 0.1)
    squares = (MIXTURE.model(schedule)(x.x, float(schedule.t_of_lam(0.37))) ** 2).mean(1)
    assert float(exact.at(0.37)) == pytest.approx(float(x.mean(squares)), rel=1e-8)  # of the series


def test_a_prediction_of_data_gives_the_same_moment() -> None:
    schedule, data = vp_linear(), torch.tensor(MIXTURE.data(64, 0))
    model = MIXTURE.model(schedule)

    def of_data(x: torch.Tensor, t: Any) -> torch.Tensor:
        return (x - schedule.sigma(t) * model(x, t)) / schedule.alpha(t)

    draws = noised(data, schedule, 0)
    one, other = (
        second_moment.estimate(m, schedule, draws, -1.0, 1.0, prediction=p, degree=4)
        for m, p in ((model, "eps"), (of_data, "x0"))
    )
    assert one.at(0.2) == pytest.approx(other.at(0.2), rel=1e-12)  # x - sigma eps cancels


def test_what_is_not_given_or_known_is_refused() -> None:
    with pytest.raises(ValueError, match="moment must be given for a solver that takes it"):
        compile_plan(make("analytic-ddpm"), vp_linear(), times=(0.5, 0.2))
    wrong: Any = 0.5
    with pytest.raises(TypeError, match=r"moment must be a SecondMoment, got 0\.5"):
        make("analytic-ddpm", moment=wrong)
    with pytest.raises(ValueError, match=r"known for lambda in \[-2\.004, 2\.004\], got 3"):
        moment_of(MIXTURE, -2.0, 2.0).at(3.0)
    with pytest.raises(ValueError, match="std must be a positive number, got 0"):
        second_moment.gaussian(0)
    draws = lambda i, t: Draw(torch.zeros(1, 2))  # noqa: E731
    with pytest.raises(ValueError, match="high must exceed low = 1, got 1"):
        second_moment.estimate(MIXTURE.model(edm()), edm(), draws, 1.0, 1.0)


@pytest.mark.parametrize(("name", "kernel"), [("analytic-ddpm", "ddpm"), ("analytic-ddim", "ddim")])
def test_it_runs_and_travels(name: str, kernel: str) -> None:
    solver = generic(name)
    moment = second_moment.gaussian(0.5)
    assert pickle.loads(pickle.dumps(moment)).at(0.3) == moment.at(0.3)
    plan = compile_plan(solver, vp_linear(), steps=30, t_start=0.9, t_end=0.1)
    noise = list(torch.zeros(30, 2, 2, dtype=torch.float64))
    x = torch.ones(2, 2, dtype=torch.float64)
    mean = compile_plan(make(kernel), vp_linear(), times=plan.times)  # the kernel's own, of any variance
    found, wanted = (
        sample(p, MIXTURE.model(vp_linear()), x, noise=noise if p.stochastic else None).x
        for p in (plan, mean)
    )
    assert found.numpy() == pytest.approx(wanted.numpy(), rel=MANY_ULP, abs=0)
    pairs = itertools.pairwise(plan.times)
    alone = [compile_plan(solver, vp_linear(), times=pair).steps[0] for pair in pairs]
    for one, many in zip(alone, plan.steps, strict=True):
        mine, theirs = (
            [v for op in s.operations if isinstance(op, Row) for _, _, v in op.terms] for s in (one, many)
        )
        assert mine == theirs  # by arrays and one by one
