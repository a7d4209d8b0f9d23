"""Score-SDE: every predictor is its formula and of first order in law; correctors keep to their sample."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from semilinear.integrators.diffusion import sde
from semilinear.integrators.diffusion.grids import uniform_t
from semilinear.integrators.diffusion.schedule import Schedule
from semilinear.integrators.plans.compile import Plan, compile_plan
from semilinear.integrators.plans.program import Row
from semilinear.integrators.run.correctors import (
    InTurn,
    Langevin,
    annealed_step,
    batch_mean_norm,
    langevin_step,
    per_sample_norm,
    released_factor,
    reported_nfe,
    unit_factor,
)
from semilinear.integrators.run.noise import per_sample
from semilinear.integrators.run.sampler import sample
from semilinear.integrators.solver import Solver
from semilinear.integrators.solvers import SOLVERS, make, score_sde
from semilinear.verification.problems.mixtures import GaussianMixture
from semilinear.verification.problems.named import golden_mixture
from semilinear.verification.replay.golden import DATA, read, replay_case

from tests.roundings import MANY_ULP, SOME_ULP, THIRTY_DIGITS, ULP
from tests.slow import slow

VP, SUB, VE = (process.schedule for process in (sde.vp(), sde.sub_vp(), sde.ve()))
MIXTURE = golden_mixture()
GAUSSIAN = GaussianMixture(np.ones(1), np.array([[0.7]]), np.array([[[0.25]]]))
X = torch.linspace(-2, 2, 8, dtype=torch.float64).reshape(4, 2)
CONSISTENT = ("em", "reverse-diffusion", "ancestral-large", "ancestral-small")
T, S, N = mpmath.mpf("0.7"), mpmath.mpf("0.65"), 40


def numbers(solver: Solver, schedule: Schedule, **options: Any) -> tuple[Any, Any, Any]:
    """What one step from 0.7 to 0.65 multiplies x, the score and z by, in 40 digits."""
    plan = compile_plan(solver, schedule, times=[T, S], prediction="score", digits=40, **options)
    (row,) = (op for op in plan.steps[0].operations if isinstance(op, Row))
    terms = {kind: value for kind, _, value in row.terms}
    return terms["x"], terms["m"], dict(row.noise).get(0, 0)


# --- every predictor is its formula, typed again ---


def coefficients(kind: str, t: Any) -> tuple[Any, Any, Any, Any]:
    """alpha, sigma, f and g^2 by the paper."""
    if kind == "ve":
        sigma = mpmath.mpf(0.01) * (50 / mpmath.mpf(0.01)) ** t
        return mpmath.mpf(1), sigma, mpmath.mpf(0), 2 * sigma**2 * mpmath.log(50 / mpmath.mpf(0.01))
    b0, b1 = mpmath.mpf(0.1), mpmath.mpf(20)
    beta, alpha = b0 + (b1 - b0) * t, mpmath.exp(-(t**2) * (b1 - b0) / 4 - t * b0 / 2)
    if kind == "vp-linear":
        return alpha, mpmath.sqrt(1 - alpha**2), -beta / 2, beta
    return alpha, 1 - alpha**2, -beta / 2, beta * (1 - alpha**4)


def expected_consistent(method: str, kind: str) -> tuple[Any, Any, Any]:
    (a0, s0, f, g2), (a1, s1, _, _), h = coefficients(kind, T), coefficients(kind, S), T - S
    a, b2 = a0 / a1, s0**2 - (a0 / a1 * s1) ** 2
    return {
        "em": (1 - f * h, g2 * h, mpmath.sqrt(g2 * h)),
        "reverse-diffusion": (2 - a, b2, mpmath.sqrt(b2)),
        "pf-em": (1 - f * h, g2 * h / 2, 0),
        "pf-reverse-diffusion": (2 - a, b2 / 2, 0),
        "ancestral-large": (1 / a, b2 / a, mpmath.sqrt(b2)),
        "ancestral-small": (1 / a, b2 / a, mpmath.sqrt(b2) * s1 / s0),
    }[method]


def expected_released(method: str, kind: str, n: int) -> tuple[Any, Any, Any]:
    _, _, f, g2 = coefficients(kind, T)
    i = int(T * (n - 1))
    if method == "em" or kind == "sub-vp":
        return 1 - f / n, g2 / n, mpmath.sqrt(g2 / n)
    if kind == "vp-linear":
        beta = mpmath.mpf(0.1) / n + i * (mpmath.mpf(20) - mpmath.mpf(0.1)) / n / (n - 1)
        root = mpmath.sqrt(1 - beta)
        if method == "ancestral":
            return 1 / root, beta / root, mpmath.sqrt(beta)
        return 2 - root, beta, mpmath.sqrt(beta)
    low, high = mpmath.mpf(0.01), mpmath.mpf(50)
    at, below = (low * (high / low) ** (mpmath.mpf(k) / (n - 1)) for k in (i, i - 1))
    b2 = at**2 - below**2
    return mpmath.mpf(1), b2, mpmath.sqrt(below**2 * b2 / at**2 if method == "ancestral" else b2)


def close(got: tuple[Any, ...], wanted: tuple[Any, ...]) -> bool:
    return all(abs(a - b) <= 1e-30 * (1 + abs(b)) for a, b in zip(got, wanted, strict=True))


@pytest.mark.parametrize("schedule", [VP, SUB, VE], ids=lambda s: s.kind)
@pytest.mark.parametrize("method", [*CONSISTENT, "pf-em", "pf-reverse-diffusion"])
def test_a_consistent_step_is_its_formula(method: str, schedule: Schedule) -> None:
    with mpmath.workdps(40):
        wanted = expected_consistent(method, schedule.kind)
        assert close(numbers(make(f"score-sde-{method}"), schedule), wanted)


@pytest.mark.parametrize(
    ("method", "schedule"),
    [
        (m, s)
        for m in ("em", "reverse-diffusion", "ancestral")
        for s in (VP, SUB, VE)
        if (m, s) != ("ancestral", SUB)
    ],
)
def test_a_released_step_is_its_formula(method: str, schedule: Schedule) -> None:
    constructors: dict[str, Callable[..., Solver]] = {
        "em": score_sde.euler_maruyama_released,
        "reverse-diffusion": score_sde.reverse_diffusion_released,
        "ancestral": score_sde.ancestral_released,
    }
    with mpmath.workdps(40):
        wanted = expected_released(method, schedule.kind, N)
        assert close(numbers(constructors[method](n=N), schedule), wanted)


@pytest.mark.parametrize("made", [score_sde.euler_maruyama_released, score_sde.reverse_diffusion_released])
def test_the_released_probability_flow_has_half_the_score_and_no_noise(made: Callable[..., Solver]) -> None:
    for schedule in (VP, SUB, VE):
        x, score, _ = numbers(made(n=N), schedule)
        assert numbers(made(n=N, ode=True), schedule) == (x, score / 2, 0)


def test_without_the_last_noise_a_step_is_its_mean() -> None:
    """The release's x_mean."""
    for name in CONSISTENT:
        x, score, z = numbers(make(f"score-sde-{name}"), VP)
        assert z > 0
        assert numbers(make(f"score-sde-{name}"), VP, noise_at_end=False) == (x, score, 0)


@pytest.mark.parametrize("name", [name for name in SOLVERS if name.startswith("score-sde")])
@pytest.mark.parametrize("schedule", [VP, VE], ids=lambda s: s.kind)
def test_coefficients_in_float64_are_those_of_fifty_digits(name: str, schedule: Schedule) -> None:
    options: dict[str, Any] = {"steps": 24, "grid": score_sde.release_grid(), "t_start": 1.0, "t_end": 0.0}
    narrow, wide = (rows(compile_plan(make(name), schedule, **options, digits=d)) for d in (None, 50))
    for a, b in zip(narrow, wide, strict=True):
        ours, exact = ([v for _, _, v in r.terms] + [v for _, v in r.noise] for r in (a, b))
        assert ours == pytest.approx([float(v) for v in exact], rel=MANY_ULP, abs=MANY_ULP)


# --- what the predictors are ---


def test_ancestral_sampling_is_the_extended_reverse_sde_with_phi_x_squared() -> None:
    """With k = (sigma_1/sigma_0)^2 and alpha = 1: mean k x + (1 - k) x0, variance sigma_1^2 (1 - k)."""
    solver = make("score-sde-ancestral-small")
    plan = compile_plan(solver, VE, times=[T, S], prediction="x0", digits=40)
    (row,) = (op for op in plan.steps[0].operations if isinstance(op, Row))
    terms = {kind: value for kind, _, value in row.terms}
    with mpmath.workdps(40):
        s0, s1 = (coefficients("ve", t)[1] for t in (T, S))
        kept = (s1 / s0) ** 2
        assert close((terms["x"], terms["m"], row.noise[0][1] ** 2), (kept, 1 - kept, s1**2 * (1 - kept)))


def test_on_sub_vp_released_reverse_diffusion_is_euler_maruyama() -> None:
    options: dict[str, Any] = {"steps": 30, "grid": score_sde.release_grid(), "t_start": 1.0, "t_end": 0.0}
    for schedule, same in ((SUB, True), (VP, False), (VE, False)):
        one, other = (
            compile_plan(make(f"score-sde-{method}-released"), schedule, **options)
            for method in ("em", "reverse-diffusion")
        )
        assert (one == other) is same


@pytest.mark.parametrize("schedule", [VP, SUB, VE], ids=lambda s: s.kind)
def test_on_equal_steps_from_T_to_0_the_released_euler_maruyama_is_consistent(schedule: Schedule) -> None:
    options: dict[str, Any] = {"steps": 8, "grid": uniform_t(), "t_start": 1.0, "t_end": 0.0, "digits": 30}
    one, other = (compile_plan(make(f"score-sde-em{v}"), schedule, **options) for v in ("", "-released"))
    for a, b in zip(rows(one), rows(other), strict=True):
        for (_, _, v), (_, _, w) in zip(a.terms, b.terms, strict=True):
            assert abs(v - w) < THIRTY_DIGITS * abs(w)
        assert abs(a.noise[0][1] - b.noise[0][1]) < THIRTY_DIGITS


def rows(plan: Plan) -> list[Row]:
    return [op for step in plan.steps for op in step.operations if isinstance(op, Row)]


def test_the_table_has_the_length_of_the_run() -> None:
    options: dict[str, Any] = {"steps": 25, "grid": score_sde.release_grid(), "t_start": 1.0, "t_end": 0.0}
    own = compile_plan(score_sde.reverse_diffusion_released(), VP, **options)
    assert own == compile_plan(score_sde.reverse_diffusion_released(n=25), VP, **options)
    assert own != compile_plan(score_sde.reverse_diffusion_released(n=26), VP, **options)


def test_the_release_grid_is_the_releases_times_and_then_zero() -> None:
    for n, eps in ((1, 1e-3), (2, 1e-3), (16, 1e-3), (1000, 1e-5)):
        times = score_sde.release_grid(eps)(VP, 1.0, 0.0, n)
        wanted = torch.linspace(1.0, eps, n, dtype=torch.float64).tolist()
        np.testing.assert_allclose(times, [*wanted, 0.0], rtol=0, atol=4 * ULP)


# --- first order in law, exactly: on a Gaussian every predictor is an affine map ---


def law_at_end(plan: Plan, schedule: Schedule) -> tuple[float, float]:
    """Mean and variance after the plan, by its response to the start and to each increment."""
    x = torch.zeros(len(plan.increments) + 2, 1, dtype=torch.float64)
    x[1] = 1

    def impulse(i: int, like: torch.Tensor) -> torch.Tensor:
        z = torch.zeros_like(like)
        z[i + 2] = 1
        return z

    ends = sample(plan, GAUSSIAN.model(schedule), x, noise=impulse).x[:, 0].numpy()
    alpha, sigma = schedule.alpha(plan.times[0]), schedule.sigma(plan.times[0])
    response = ends[1:] - ends[0]
    variance = response[0] ** 2 * (0.25 * alpha**2 + sigma**2) + (response[1:] ** 2).sum()
    return ends[0] + response[0] * 0.7 * alpha, float(variance)


def orders(solver: Solver, schedule: Schedule, t_end: float, released: bool) -> tuple[float, float]:
    """Observed orders of the mean and of the variance from 200 to 400 steps; nan for an exact mean."""
    alpha, sigma, errors = schedule.alpha(t_end), schedule.sigma(t_end), []
    grid = score_sde.release_grid(t_end) if released else uniform_t()
    for n in (200, 400):
        plan = compile_plan(
            solver, schedule, steps=n, grid=grid, t_start=1.0, t_end=0.0 if released else t_end
        )
        mean, variance = law_at_end(plan, schedule)
        errors.append((abs(mean - 0.7 * alpha), abs(variance - (0.25 * alpha**2 + sigma**2))))
    (m0, v0), (m1, v1) = errors
    return math.log2(m0 / m1) if m1 > 1e-13 else math.nan, math.log2(v0 / v1)


CASES = [
    *((f"score-sde-{m}", s, 0.5 if s is VE else 1e-3) for m in CONSISTENT for s in (VP, SUB, VE)),
    *((f"score-sde-{m}-released", s, 1e-6) for m in ("em", "reverse-diffusion") for s in (VP, SUB, VE)),
    ("score-sde-ancestral-released", VP, 1e-6),
    ("score-sde-ancestral-released", VE, 1e-6),
]


@pytest.mark.parametrize(
    ("name", "schedule", "t_end"),
    slow(CASES, lambda case: case[1] is SUB and "em" not in case[0]),  # VP's drift, with another noise
    ids=lambda v: getattr(v, "kind", str(v)),
)
def test_a_predictor_is_of_first_order_in_law(name: str, schedule: Schedule, t_end: float) -> None:
    """0.15: what N = 200 to 400 still shows of the next order."""
    mean, variance = orders(make(name), schedule, t_end, "released" in name)
    assert variance == pytest.approx(1, abs=0.15)  # see above
    exact_mean = schedule is VE or ("ancestral" in name and "released" not in name)
    assert math.isnan(mean) if exact_mean else mean == pytest.approx(1, abs=0.05)  # means show less of it


@pytest.mark.parametrize("name", CONSISTENT)
def test_a_perturbed_score_term_has_no_order(name: str) -> None:
    solver = make(f"score-sde-{name}")

    def perturbed(schedule: Schedule) -> Any:
        form = solver.form(schedule)
        weight: Any = form.weight
        return replace(form, weight=score_sde.Kernel(lambda t0, t1: 1.05 * weight.on_eps(t0, t1)))

    assert orders(replace(solver, form=perturbed), VP, 1e-3, False)[1] < 0.5


def test_the_released_times_leave_a_gap_of_eps_that_no_number_of_steps_closes() -> None:
    """N steps of 1/N cover [0, 1], the model is evaluated down to eps: the limit is not the law at eps."""
    limits = []
    for name, grid, t_end in (("em-released", score_sde.release_grid(1e-3), 0.0), ("em", uniform_t(), 1e-3)):
        ends = []
        for n in (400, 800):
            plan = compile_plan(make(f"score-sde-{name}"), VP, steps=n, grid=grid, t_start=1.0, t_end=t_end)
            ends.append(law_at_end(plan, VP)[0])
        limits.append(2 * ends[1] - ends[0] - 0.7 * VP.alpha(1e-3))
    assert abs(limits[0]) > 1e-4
    assert abs(limits[1]) < 2e-6  # extrapolated to O(h^2)


# --- correctors ---


def counted(model: Any) -> tuple[Any, list[float]]:
    calls: list[float] = []

    def evaluate(x: Any, t: Any) -> Any:
        calls.append(t)
        return model(x, t)

    return evaluate, calls


def test_a_langevin_step_is_its_formula() -> None:
    model, z = MIXTURE.model(VP), torch.randn(4, 2, generator=torch.Generator().manual_seed(0)).double()
    score = -model(X, 0.4) / VP.sigma(0.4)
    sizes = [torch.linalg.norm(v, dim=1, keepdim=True) for v in (z, score)]
    means = [size.mean() for size in sizes]
    for norm, (top, bottom) in ((per_sample_norm, sizes), (batch_mean_norm, means)):
        x, mean = Langevin(VP, langevin_step(0.16, norm), [z]).update(X, 0.4, 0, model)
        e = 2 * (0.16 * top / bottom) ** 2
        torch.testing.assert_close(mean, X + e * score, rtol=SOME_ULP, atol=0)
        torch.testing.assert_close(x, X + e * score + torch.sqrt(2 * e) * z, rtol=SOME_ULP, atol=0)


@pytest.mark.parametrize("prediction", ["eps", "x0", "v", "score"])
def test_a_corrector_takes_every_prediction(prediction: str) -> None:
    from semilinear.integrators.diffusion.prediction import convert

    model = convert(VP, MIXTURE.model(VP), "eps", prediction)
    corrector = Langevin(VP, annealed_step(0.16), per_sample(0), 2, prediction=prediction)
    expected = Langevin(VP, annealed_step(0.16), per_sample(0), 2).update(X, 0.4, 1, MIXTURE.model(VP))[0]
    torch.testing.assert_close(corrector.update(X, 0.4, 1, model)[0], expected, rtol=SOME_ULP, atol=0)


def test_annealed_langevin_has_the_stationary_law_of_its_step() -> None:
    """On N(m, v): x' = x - e (x - m)/v + sqrt(2 e) z keeps the mean m and the variance v/(1 - e/(2 v))."""
    t, snr, e = 0.4, 0.5, 2 * (0.5 * VP.sigma(0.4)) ** 2
    v = 0.25 * VP.alpha(t) ** 2 + VP.sigma(t) ** 2
    x = torch.tensor([[0.0], [1.0], [0.0]], dtype=torch.float64)
    z = torch.tensor([[0.0], [0.0], [1.0]], dtype=torch.float64)
    ends = Langevin(VP, annealed_step(snr), [z]).update(x, t, 0, GAUSSIAN.model(VP))[0][:, 0]
    a, b, c = (float(ends[i] - (ends[0] if i else 0)) for i in (1, 2, 0))
    assert c / (1 - a) == pytest.approx(0.7 * VP.alpha(t), rel=SOME_ULP, abs=0)
    assert b * b / (1 - a * a) == pytest.approx(v / (1 - e / (2 * v)), rel=SOME_ULP, abs=0)


def pc_run(norm: Any, batch: slice) -> torch.Tensor:
    """A predictor-corrector run of some samples of a batch, with their own noise."""
    x, first = torch.linspace(-2, 2, 42, dtype=torch.float64).reshape(7, 2, 3)[batch], batch.start
    plan = compile_plan(make("score-sde-em"), VP, steps=5, grid=uniform_t(), t_start=1.0, t_end=0.1)
    corrector = Langevin(VP, langevin_step(0.16, norm), per_sample(3, first_sample=first, stream=1), 2)
    model = lambda x, t: x * (VP.sigma(t) / (0.25 * VP.alpha(t) ** 2 + VP.sigma(t) ** 2))  # noqa: E731
    return sample(plan, model, x, noise=per_sample(3, first_sample=first), between=corrector).x


def test_with_norms_per_sample_no_sample_depends_on_its_batch_to_the_last_bit() -> None:
    whole = pc_run(per_sample_norm, slice(0, 7))
    for batch in (slice(0, 1), slice(2, 5), slice(6, 7)):
        assert torch.equal(pc_run(per_sample_norm, batch), whole[batch])


def test_with_the_released_norms_every_sample_depends_on_its_batch() -> None:
    whole, part = pc_run(batch_mean_norm, slice(0, 7)), pc_run(batch_mean_norm, slice(2, 5))
    assert ((whole[2:5] - part).flatten(1).abs().amax(1) > 1e-3).all()


def test_norms_agree_for_every_kind_of_array() -> None:
    x = torch.linspace(-1, 2, 24, dtype=torch.float64).reshape(2, 3, 4)
    expected = x.flatten(1).norm(dim=1)
    exact = np.array([[mpmath.mp.mpf(v) for v in row] for row in x.flatten(1).tolist()], dtype=object)
    for given in (x, x.numpy(), exact.reshape(2, 3, 4)):
        norms = [float(v) for v in per_sample_norm(given).reshape(-1)]
        assert norms == pytest.approx(expected.tolist(), rel=SOME_ULP, abs=0)
        assert per_sample_norm(given).shape == (2, 1, 1)
        assert float(batch_mean_norm(given)) == pytest.approx(float(expected.mean()), rel=SOME_ULP, abs=0)


def test_a_correctors_draws_are_numbered_by_step_and_use_and_differ_from_the_plans() -> None:
    uses: list[int] = []
    noise = per_sample(5, stream=1)

    def watched(use: int, like: Any) -> Any:
        uses.append(use)
        return noise(use, like)

    plan = compile_plan(make("score-sde-em"), VP, steps=3, grid=uniform_t(), t_start=1.0, t_end=0.1)
    corrector = Langevin(VP, annealed_step(0.16), watched, 2)
    sample(plan, MIXTURE.model(VP), X, noise=per_sample(5), between=corrector, check="off")
    assert uses == [0, 1, 2, 3, 4, 5]
    assert torch.equal(per_sample(5)(0, X), per_sample(5, stream=0)(0, X))
    assert (per_sample(5)(0, X) != noise(0, X)).all()


def test_the_true_evaluations_are_counted_and_the_released_count_is_kept_apart() -> None:
    plan = compile_plan(make("score-sde-em"), VP, steps=4, grid=uniform_t(), t_start=1.0, t_end=0.1)
    evaluate, calls = counted(MIXTURE.model(VP))
    corrector = Langevin(VP, annealed_step(0.16), per_sample(0, stream=1), 3)
    result = sample(plan, evaluate, X, noise=per_sample(0), between=corrector)
    assert result.nfe == len(calls) == 4 * (3 + 1) == reported_nfe(4, 3)
    assert sample(plan, MIXTURE.model(VP), X, noise=per_sample(0)).nfe == 4  # the release reports 16 here too
    assert calls[:4] == [1.0] * 4


def test_interludes_run_in_turn() -> None:
    class Add:
        def __init__(self, number: float) -> None:
            self.number = number

        def before(self, x: Any, t: Any, index: int, evaluate: Any) -> Any:
            return x * 2 + self.number

        def after(self, x: Any, t: Any, index: int, evaluate: Any) -> Any:
            return x * 3 + self.number

    both = InTurn((Add(1.0), Add(5.0)))
    assert both.before(0.0, 1.0, 0, None) == 7.0  # type: ignore[arg-type]
    assert both.after(0.0, 1.0, 0, None) == 8.0  # type: ignore[arg-type]


def test_the_released_factor_is_one_minus_beta() -> None:
    betas = torch.linspace(0.1 / 50, 20 / 50, 50, dtype=torch.float64)
    for schedule in (VP, SUB):
        assert released_factor(schedule, 50)(0.3) == pytest.approx(
            1 - float(betas[int(0.3 * 49)]), rel=SOME_ULP, abs=0
        )
    assert released_factor(VE, 50)(0.3) == unit_factor(0.3) == 1


# --- refusals ---


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: score_sde.ancestral("medium"), "variance must be one of large, small"),  # type: ignore[arg-type]
        (lambda: score_sde.reverse_diffusion_released(n=0), "n must be an integer >= 1"),
        (lambda: score_sde.release_grid(0.0), r"eps must be a number in \(0, 1\)"),
        (
            lambda: score_sde.ancestral_released().form(SUB),
            "schedule of ancestral_released must be one of vp-linear, ve",
        ),
        (lambda: Langevin(VP, annealed_step(0.1), per_sample(0), 0), "n_steps must be an integer >= 1"),
        (
            lambda: Langevin(VP, annealed_step(0.1), per_sample(0), prediction="y"),
            "prediction must be one of",
        ),
        (lambda: released_factor(VP, 16), "steps must be at least beta_1 = 20"),
        (lambda: released_factor(VP, 0), "n must be an integer >= 1"),
        (lambda: annealed_step(0.0), "snr must be a positive number"),
        (lambda: langevin_step(math.nan), "snr must be a positive number"),
        (lambda: per_sample(0, stream=-1), "stream must be an integer"),
    ],
)
def test_bad_arguments_are_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_noise_that_cannot_be_used_is_refused() -> None:
    with pytest.raises(TypeError, match="noise must be a function or a sequence"):
        Langevin(VP, annealed_step(0.1), 3)  # type: ignore[arg-type]


def test_too_few_steps_for_the_table_are_refused_with_the_number_needed() -> None:
    with pytest.raises(ValueError, match="steps must be at least beta_1 = 20"):
        compile_plan(
            make("score-sde-ancestral-released"),
            VP,
            steps=16,
            grid=score_sde.release_grid(),
            t_start=1.0,
            t_end=0.0,
        )


# --- the replay notices ---


@pytest.mark.parametrize(
    ("index", "path"),
    [
        (0, ["x_mean", 1, 0]),
        (9, ["noise", 1, 2, 1]),
        (9, ["x_mean", 0, 0]),
        (33, ["latent", 0, 0]),
        (33, ["log_likelihood", 3]),
        (33, ["prior_log_density", 2]),
        (33, ["true_log_density_at_eps", 1]),
        (21, ["nfe_reported"]),
        (23, ["times", 3]),
        (105, ["noise", 60, 0, 0]),
        (106, ["x_final", 2, 1]),
    ],
)
def test_a_changed_number_is_noticed(index: int, path: list[Any]) -> None:
    data = read(DATA / "score-sde.json")
    case = copy.deepcopy(data["cases"][index])
    assert replay_case(data, index, case).ok
    at = case
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] *= 1 + 1e-6
    assert not replay_case(data, index, case).ok


def test_a_release_that_returned_a_number_where_ours_refuses_is_noticed() -> None:
    data = read(DATA / "score-sde.json")
    case = copy.deepcopy(data["cases"][23])
    assert "ours refuses" in replay_case(data, 23, case).note
    case["x_final"][0][0] = 0.5
    assert not replay_case(data, 23, case).ok
