"""Ancestral sampling and churn: their laws, and k-diffusion's loops written out beside our plans."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import sympy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate
from semilinear.integrators.diffusion import grids
from semilinear.integrators.diffusion.schedule import Schedule, edm, vp_cosine, vp_linear
from semilinear.integrators.forms.form import data_in_lambda
from semilinear.integrators.numerics.arithmetic import multiprecision
from semilinear.integrators.plans.compile import Plan, compile_plan
from semilinear.integrators.plans.files import difference
from semilinear.integrators.plans.program import Evaluation, Row
from semilinear.integrators.run.noise import per_sample
from semilinear.integrators.run.sampler import sample
from semilinear.integrators.solver import Repeat, Solver
from semilinear.integrators.solvers import dpm_solver, k_diffusion, make, stochastic
from semilinear.integrators.tableaux.tableau import adams, omega, phi3
from semilinear.verification.problems.named import problem

from tests.roundings import AMPLIFIED, SLOPE, SOME_ULP

VP, EDM = vp_linear(), edm()
PROBLEM = problem("golden-mixture")
ETA = st.floats(1e-3, 1.0) | st.just(0.0)
SIGMAS = [20.0, 9.0, 5.0, 2.0, 1.1, 0.4, 0.1, 0.03, 0.0]
ANCESTRAL = (k_diffusion.euler_ancestral, k_diffusion.dpm_2_ancestral, k_diffusion.dpmpp_2s_ancestral)
CHURNED = (k_diffusion.euler_churn, k_diffusion.heun_churn, k_diffusion.dpm_2_churn)
BASES = {
    "euler-ancestral": "dpm-solver++-1",
    "dpm-2-ancestral": "dpm-solver-2",
    "dpm++-2s-ancestral": "dpm-solver++-2s",
    "euler-churn": "deis-rhork-1euler",
    "edm-heun-churn": "edm-heun",
    "dpm-2-churn": "dpm-solver-2",
}


def on_sigmas(solver: Solver, sigmas: list[float] = SIGMAS, **options: Any) -> Plan:
    return compile_plan(solver, EDM, times=grids.from_sigma(EDM, sigmas), **{"final": "lower"} | options)


def kernel(made: Plan) -> tuple[Any, Any, Any]:
    """A first-order step as x' = a x + b eps + s z."""
    down, *up = [op for op in made.steps[0].operations if isinstance(op, Row)]
    terms = {kind: v for kind, _, v in down.terms}
    a, b = terms["x"], terms["m"]
    if not up:
        return a, b, 0
    ((_, _, factor),) = up[0].terms
    ((_, s),) = up[0].noise
    return a * factor, b * factor, s


# --- laws of the ancestral step ---


@settings(max_examples=25)
@given(eta=ETA, t0=st.floats(0.05, 0.95), fraction=st.floats(0.05, 0.95))
@pytest.mark.parametrize("schedule", [VP, vp_cosine()], ids=lambda s: s.kind)
def test_an_ancestral_step_is_ddim_with_eta(
    schedule: Schedule, eta: float, t0: float, fraction: float
) -> None:
    """Song et al. 2021, eqs. 12 and 16, in alpha-bar: the mean's two coefficients and the variance."""
    t1 = fraction * t0
    made = compile_plan(k_diffusion.ddim_eta(eta), schedule, times=[t0, t1], digits=40)
    number, root = multiprecision(40).number, multiprecision(40).sqrt
    now, later = (schedule.alpha(number(t)) ** 2 for t in (t0, t1))
    variance = number(eta) ** 2 * (1 - later) / (1 - now) * (1 - now / later)
    wanted = (root(later / now), root(1 - later - variance) - root(later / now) * root(1 - now))
    a, b, s = kernel(made)
    # 40 digits, less the four that differences near t = 0 may cancel
    assert abs(a - wanted[0]) < 1e-36
    assert abs(b - wanted[1]) < 1e-36
    assert abs(s**2 - variance) < 1e-36


@given(eta=ETA, t0=st.floats(0.05, 0.95), fraction=st.floats(0.05, 0.95))
def test_every_eta_keeps_the_marginals_of_a_point_mass(eta: float, t0: float, fraction: float) -> None:
    """x = alpha_0 x_0 + sigma_0 eps becomes N(alpha_1 x_0, sigma_1^2)."""
    t1 = fraction * t0
    a, b, s = kernel(compile_plan(k_diffusion.euler_ancestral(eta), VP, times=[t0, t1]))
    assert a * float(VP.alpha(t0)) == pytest.approx(float(VP.alpha(t1)), rel=SOME_ULP, abs=0)
    left = a * float(VP.sigma(t0)) + b
    assert left**2 + s**2 == pytest.approx(float(VP.sigma(t1)) ** 2, rel=AMPLIFIED, abs=0)


def test_ddpm_is_eta_1_and_the_posterior_of_a_known_x_0() -> None:
    t0, t1 = 0.7, 0.5
    a, b, s = kernel(compile_plan(make("ddpm"), VP, times=[t0, t1]))
    now, later = float(VP.alpha(t0)) ** 2, float(VP.alpha(t1)) ** 2
    beta = 1 - now / later
    assert s**2 == pytest.approx(beta * (1 - later) / (1 - now), rel=1e-12, abs=0)  # DDPM's beta tilde
    assert a == pytest.approx(1 / math.sqrt(1 - beta), rel=SOME_ULP, abs=0)
    assert b == pytest.approx(-beta / math.sqrt(1 - now) / math.sqrt(1 - beta), rel=SOME_ULP, abs=0)


@pytest.mark.parametrize("build", [*ANCESTRAL, *CHURNED], ids=lambda b: b.__name__)
def test_without_noise_every_sampler_is_its_base_exactly(build: Callable[..., Solver]) -> None:
    solver = build(0)
    assert not solver.stochastic
    base = on_sigmas(make(BASES[solver.name]))
    assert on_sigmas(solver).digest == base.digest
    assert on_sigmas(build(0.5)).digest != base.digest


@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_ancestral_sampling_starts_at_pure_noise(eta: float) -> None:
    made = compile_plan(
        k_diffusion.euler_ancestral(eta),
        vp_cosine(),
        steps=4,
        t_start=1.0,
        t_end=0.0,
        grid=grids.uniform_t(),
        prediction="v",
        final="lower",
    )
    assert made.nfe == 4
    assert sum(len(op.noise) for s in made.steps for op in s.operations if isinstance(op, Row)) == 3


# --- marginals ---


def variance_error(solver: Solver, steps: int) -> float:
    """On Gaussian data the model is affine, so every plan is: the error of its variance, without sampling.

    Data N(0, s^2) have eps = sigma x/(alpha^2 s^2 + sigma^2).  Each value is its coefficients on the initial
    state and on the increments.
    """
    t_start, t_end = (float(VP.t_of_lam(v)) for v in (-0.7, 1.75))
    data = 0.25
    made = compile_plan(solver, VP, steps=steps, t_start=t_start, t_end=t_end)

    def variance(t: float) -> float:
        return float(VP.alpha(t)) ** 2 * data + float(VP.sigma(t)) ** 2

    values = {("x", 0): np.eye(1 + len(made.increments))[0] * math.sqrt(variance(t_start))}
    for op in (op for s in made.steps for op in s.operations):
        if isinstance(op, Evaluation):
            values["m", op.state] = values["x", op.state] * float(VP.sigma(op.t)) / variance(op.t)
        else:
            total = sum(v * values[kind, state] for kind, state, v in op.terms)
            for i, weight in op.noise:
                total[1 + i] += weight
            values["x", op.state] = total
    final = values["x", made.steps[-1].output]
    return abs(float(final @ final) - variance(t_end))


EDM_CHURN = (10, 0, math.inf, 1)


@pytest.mark.parametrize(
    ("solver", "order"),
    [
        (k_diffusion.euler_ancestral(), 1),
        (k_diffusion.ddim_eta(0.5), 1),
        (k_diffusion.dpm_2_ancestral(), 2),
        (k_diffusion.dpmpp_2s_ancestral(), 2),
        (k_diffusion.euler_churn(*EDM_CHURN), 1),
        (k_diffusion.heun_churn(*EDM_CHURN), 2),
        (k_diffusion.dpm_2_churn(*EDM_CHURN), 2),
        (stochastic.k_diffusion(3), 2),
    ],
    ids=lambda v: v.name if isinstance(v, Solver) else str(v),
)
def test_marginals_converge_with_the_order_of_the_flow_s_solver(solver: Solver, order: int) -> None:
    """Going down by the flow and up by noise each keep them; the 3M SDE's start and D2 are of order 2."""
    errors = [variance_error(solver, n) for n in (256, 512)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=SLOPE)


def test_an_s_noise_other_than_one_leaves_a_bias() -> None:
    errors = [variance_error(k_diffusion.heun_churn(10, 0, math.inf, 1.003), n) for n in (256, 512)]
    assert errors[1] > 0.95 * errors[0] > 1e-3


# --- where noise is drawn ---


def asked(made: Plan, x: torch.Tensor) -> list[int]:
    """The increments that a run draws, in order."""
    drawn: list[int] = []
    source = per_sample(0)

    def noise(index: int, like: Any) -> Any:
        drawn.append(index)
        return source(index, like)

    sample(made, PROBLEM.model(EDM), x, noise=noise)
    return drawn


def start(sigmas: list[float] = SIGMAS) -> torch.Tensor:
    return torch.randn(4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * sigmas[0]


def test_noise_is_drawn_only_where_its_weight_is_not_zero() -> None:
    steps = len(SIGMAS) - 1
    assert len(asked(on_sigmas(k_diffusion.dpm_2_ancestral()), start())) == steps - 1
    within = k_diffusion.heun_churn(s_churn=2, s_tmin=0.2, s_tmax=6)
    assert len(asked(on_sigmas(within), start())) == sum(0.2 <= s <= 6 for s in SIGMAS)
    assert asked(on_sigmas(k_diffusion.euler_churn(s_noise=0)), start()) == []
    assert not on_sigmas(k_diffusion.euler_churn(s_noise=0)).stochastic


@given(s_churn=st.floats(0.01, 100), s_noise=st.floats(0.5, 2))
def test_churn_adds_the_noise_of_algorithm_2(s_churn: float, s_noise: float) -> None:
    made = on_sigmas(k_diffusion.heun_churn(s_churn, 0, math.inf, s_noise), final="full", sigmas=[5.0, 2.0])
    up, evaluation = made.steps[0].operations[:2]
    gamma = min(s_churn, math.sqrt(2) - 1)
    assert isinstance(up, Row)
    assert isinstance(evaluation, Evaluation)
    assert evaluation.t == pytest.approx(5 * (1 + gamma), rel=SOME_ULP, abs=0)
    assert up.noise[0][1] == pytest.approx(
        s_noise * math.sqrt((5 * (1 + gamma)) ** 2 - 25), rel=SOME_ULP, abs=SOME_ULP
    )
    assert up.terms == (("x", 0, 1.0),)


def test_the_noise_scale_multiplies_every_noise_weight() -> None:
    """Also that of an SDE's own noise."""
    scaled = Solver(
        name="scaled",
        form=make("sde-dpm-solver++-1").form,
        sequence=Repeat(dpm_solver.FIRST, dpm_solver.FIRST),
        claimed=1,
        source="test",
        noise_scale=1.5,
    )
    a, b = (compile_plan(s, VP, times=[0.9, 0.5, 0.2]) for s in (make("sde-dpm-solver++-1"), scaled))
    for ours, theirs in zip(a.steps, b.steps, strict=True):
        ((_, one),), ((_, more),) = (s.operations[-1].noise for s in (ours, theirs))  # type: ignore[union-attr]
        assert more == pytest.approx(1.5 * one, rel=SOME_ULP, abs=0)


def test_churn_above_the_schedule_is_refused() -> None:
    with pytest.raises(ValueError, match=r"step 0 of 2 .*the time that S_churn goes up to must lie in"):
        compile_plan(k_diffusion.heun_churn(s_tmax=math.inf), VP, times=[1.0, 0.5, 0.2])


def test_samplers_have_all_their_digits() -> None:
    for build in (k_diffusion.dpm_2_ancestral, k_diffusion.heun_churn):
        a, b = (on_sigmas(build(0.5), digits=d) for d in (50, 65))
        assert difference(a, b).value < 1e-48  # of 50 digits


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: k_diffusion.ddim_eta(1.5), r"eta must be a number in \[0, 1\], got 1.5"),
        (lambda: k_diffusion.euler_ancestral(float("nan")), r"eta must be a number in \[0, 1\]"),
        (lambda: k_diffusion.euler_ancestral(s_noise=-1), "s_noise must be a non-negative number, got -1"),
        (lambda: k_diffusion.heun_churn(-1), "s_churn must be a non-negative number, got -1"),
        (lambda: k_diffusion.heun_churn(1, s_tmin="0"), "s_tmin must be a non-negative number, got '0'"),
        (
            lambda: k_diffusion.ancestral(make("ddpm"), "x"),
            "solver must be one of the probability flow, got ddpm",
        ),
        (
            lambda: k_diffusion.ancestral(make("unipc-1-bh2"), "x"),
            "solver must evaluate every step's start, got unipc-1-bh2, which carries an evaluation over",
        ),
        (
            lambda: k_diffusion.churned(make("unipc-1-bh2"), "x"),
            "solver must evaluate every step's start, got unipc-1-bh2",
        ),
        (lambda: k_diffusion.lms(0), "order must be an integer from 1 to 9, got 0"),
        (
            lambda: Solver(
                name="x",
                form=data_in_lambda,
                sequence=Repeat(dpm_solver.FIRST, dpm_solver.FIRST),
                claimed=1,
                source="test",
                noise_scale=math.inf,
            ),
            "noise_scale must be a finite number >= 0, got inf",
        ),
    ],
)
def test_bad_arguments_are_named(build: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


# --- k-diffusion's loops, from its formulas ---


def derivative(y: Any, sigma: float) -> Any:
    """(y - denoised)/sigma, which is eps."""
    return PROBLEM.model(EDM)(y, sigma)


def step(kind: str, y: Any, a: float, b: float) -> Any:
    """From sigma a to b: Euler, Heun, or DPM-Solver-2 and ++ 2S with their stage at sqrt(a b)."""
    d = derivative(y, a)
    if kind == "euler" or b == 0:
        return y + d * (b - a)
    if kind == "heun":
        return y + (d + derivative(y + d * (b - a), b)) / 2 * (b - a)
    middle = math.sqrt(a * b)
    stage = y + d * (middle - a)
    if kind == "dpm_2":
        return y + derivative(stage, middle) * (b - a)
    denoised = stage - middle * derivative(stage, middle)
    return b / a * y + (1 - b / a) * denoised


def ancestral_loop(kind: str, y: Any, eta: float, s_noise: float, draw: Iterator[Any]) -> Any:
    for a, b in itertools.pairwise(SIGMAS):
        up = min(b, eta * math.sqrt(b**2 * (a**2 - b**2) / a**2))
        y = step(kind, y, a, math.sqrt(b**2 - up**2))
        y = y if b == 0 else y + next(draw) * s_noise * up
    return y


def churn_loop(kind: str, y: Any, churn: tuple[float, ...], s_noise: float, draw: Iterator[Any]) -> Any:
    s_churn, low, high = churn
    for a, b in itertools.pairwise(SIGMAS):
        gamma = min(s_churn / (len(SIGMAS) - 1), math.sqrt(2) - 1) if low <= a <= high else 0.0
        hat = a * (1 + gamma)
        y = y + next(draw) * s_noise * math.sqrt(hat**2 - a**2) if gamma > 0 else y
        y = step(kind, y, hat, b)
    return y


def drawn() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    return [torch.randn(4, 2, dtype=torch.float64, generator=generator) for _ in SIGMAS]


def ours(solver: Solver, **options: Any) -> torch.Tensor:
    """With the same increments in the same order."""
    made, given_noise = on_sigmas(solver, **options), iter(drawn())
    noise = (lambda index, like: next(given_noise)) if made.stochastic else None
    x: torch.Tensor = sample(made, PROBLEM.model(EDM), start(), noise=noise).x
    return x


@pytest.mark.parametrize(("eta", "s_noise"), [(1.0, 1.0), (0.4, 1.1), (0.0, 1.0)])
@pytest.mark.parametrize(
    ("kind", "build"), [*zip(("euler", "dpm_2", "2s"), ANCESTRAL, strict=True)], ids=["euler", "dpm_2", "2s"]
)
def test_ancestral_samplers_are_k_diffusion_s(kind: str, build: Any, eta: float, s_noise: float) -> None:
    expected = ancestral_loop(kind, start(), eta, s_noise, iter(drawn()))
    torch.testing.assert_close(ours(build(eta, s_noise)), expected, rtol=SOME_ULP, atol=SOME_ULP)


@pytest.mark.parametrize("churn", [(3.0, 0.05, 10.0), (40.0, 0.0, math.inf), (0.0, 0.0, 1.0)])
@pytest.mark.parametrize(
    ("kind", "build"),
    [*zip(("euler", "heun", "dpm_2"), CHURNED, strict=True)],
    ids=["euler", "heun", "dpm_2"],
)
def test_churned_samplers_are_k_diffusion_s(kind: str, build: Any, churn: tuple[float, ...]) -> None:
    expected = churn_loop(kind, start(), churn, 1.003, iter(drawn()))
    torch.testing.assert_close(ours(build(*churn, 1.003)), expected, rtol=SOME_ULP, atol=SOME_ULP)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_lms_integrates_the_lagrange_polynomial_in_sigma(order: int) -> None:
    """Against numerical integration, to the last step, which keeps its order at sigma = 0."""
    y = start()
    ds: list[torch.Tensor] = []
    for i in range(len(SIGMAS) - 1):
        ds.insert(0, derivative(y, SIGMAS[i]))
        nodes = [SIGMAS[i - j] for j in range(min(i + 1, order))]
        for j, node in enumerate(nodes):
            others = np.array([n for k, n in enumerate(nodes) if k != j])
            basis = lambda s, node=node, others=others: np.prod((s - others) / (node - others))  # noqa: E731
            y = y + integrate.quad(basis, SIGMAS[i], SIGMAS[i + 1])[0] * ds[j]
    torch.testing.assert_close(ours(k_diffusion.lms(order), final="full"), y, rtol=SOME_ULP, atol=0)


def test_dpm_2_is_dpm_solver_2() -> None:
    """Its midpoint in log sigma with plain differences of sigma: e^h - 1 telescopes."""
    y = start()
    for a, b in itertools.pairwise(SIGMAS):
        y = step("dpm_2", y, a, b)
    torch.testing.assert_close(ours(make("dpm-solver-2")), y, rtol=SOME_ULP, atol=0)


def test_the_3m_sde_has_half_the_second_difference() -> None:
    equal = {omega(1): 1, omega(2): 2}
    top = stochastic.k_diffusion(3).sequence.tableaux[-1].b
    missing = {j: sympy.expand((w - top[j]).subs(equal)) for j, w in adams(3).b.items()}
    assert missing == {0: phi3 / 2, -1: -phi3, -2: phi3 / 2}
