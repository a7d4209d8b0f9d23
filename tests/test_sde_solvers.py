from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import sympy
import torch
from semilinear.integrators.diffusion import grids
from semilinear.integrators.diffusion.schedule import vp_linear
from semilinear.integrators.forms.form import Form, data_in_lambda
from semilinear.integrators.forms.reverse import NoiseLevel, sde_data, sde_noise
from semilinear.integrators.numerics.arithmetic import multiprecision
from semilinear.integrators.plans.compile import Plan, compile_plan
from semilinear.integrators.plans.files import difference
from semilinear.integrators.plans.program import Row
from semilinear.integrators.run.sampler import sample
from semilinear.integrators.solver import Repeat, Solver
from semilinear.integrators.solvers import deis, dpm_solver, make
from semilinear.integrators.solvers.stochastic import at_noise_level, k_diffusion, sa_solver, seeds
from semilinear.integrators.tableaux.tableau import N, Stage, Tableau, phi1
from semilinear.verification.problems.linear_law import Gaussians
from semilinear.verification.studies.gaussian import respond

from tests.roundings import MANY_ULP, SOME_ULP, THIRTY_DIGITS, ULP
from tests.slow import slow

VP = vp_linear()
MP = multiprecision(30)
T0, T1 = 0.6, 0.35
BUILD = {"data": sde_data, "noise": sde_noise}
NONSENSE: Any = "nonsense"


def plan(solver: Solver, steps: int = 6, **options: Any) -> Plan:
    defaults: dict[str, Any] = {"steps": steps, "t_start": 1.0, "t_end": 1e-3, "final": "full"}
    return compile_plan(solver, VP, **(defaults | options))


# --- reductions: equality of plans ---


def forbidden(index: int, like: Any) -> Any:
    raise AssertionError("noise was drawn")


PAIRS: dict[str, tuple[Solver, Solver]] = {
    # tau = 0 is the deterministic family
    "seeds-1": (seeds(1, tau=0), dpm_solver.singlestep(1)),
    "seeds-2": (seeds(2, tau=0), dpm_solver.singlestep(2)),
    "seeds-3": (seeds(3, "taylor", tau=0), dpm_solver.singlestep(3, type="taylor")),
    "k-diffusion-2m": (k_diffusion(2, eta=0), dpm_solver.multistep(2, "dpm-solver++")),
    "sa-solver-2": (sa_solver(2, tau=0), dpm_solver.multistep(2, "dpm-solver++", "taylor")),
    "sa-solver-4-noise": (sa_solver(4, tau=0, prediction="noise"), deis.lambda_ab(3)),
    "level-0": (
        sa_solver(2, tau=NoiseLevel((0.5,), (0, 0))),
        dpm_solver.multistep(2, "dpm-solver++", "taylor"),
    ),
    # tau = 1 is SDE-DPM-Solver
    "sa-solver-1": (sa_solver(1), dpm_solver.multistep(1, "sde-dpm-solver++")),
    "sa-solver-1-noise": (sa_solver(1, prediction="noise"), seeds(1)),
    "sde-2m": (k_diffusion(2), dpm_solver.multistep(2, "sde-dpm-solver++")),
    "sde-2m-taylor": (k_diffusion(2, "taylor"), sa_solver(2)),
    "seeds-is-sde-dpm": (seeds(2), dpm_solver.singlestep(2, "sde-dpm-solver")),
    # eta = tau^2
    "eta": (k_diffusion(2, "taylor", eta=2), sa_solver(2, tau=sympy.sqrt(2))),
    "level-1": (sa_solver(3, 4, tau=NoiseLevel((0.5,), (0.5, 0.5))), sa_solver(3, 4, tau=0.5)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_solvers_that_are_the_same_method_have_the_same_plan(name: str) -> None:
    a, b = PAIRS[name]
    assert difference(plan(a), plan(b)).value < 4 * ULP
    assert a.stochastic == b.stochastic


@pytest.mark.parametrize("name", [n for n, (a, _) in PAIRS.items() if not a.stochastic])
def test_level_zero_is_the_ode_exactly_and_draws_nothing(name: str) -> None:
    made = plan(PAIRS[name][0])
    assert made.increments == ()
    assert not made.stochastic
    assert made.form in ("data_in_lambda", "noise_in_lambda")
    sample(made, lambda x, t: x * 0, torch.ones(2, 2, dtype=torch.float64), noise=forbidden)


def test_nothing_is_drawn_on_intervals_of_level_zero() -> None:
    """SA-Solver's last step without noise, as a noise level."""
    times = plan(sa_solver(2)).times
    made = compile_plan(sa_solver(2, 2, tau=NoiseLevel((times[-2],), (1, 0))), VP, times=times)
    ode = compile_plan(sa_solver(2, 2, tau=0), VP, times=times)
    noisy = [any(isinstance(op, Row) and op.noise for op in step.operations) for step in made.steps]
    assert noisy == [True] * 5 + [False]
    (a,), (b,) = ([op for op in p.steps[-1].operations if isinstance(op, Row)] for p in (made, ode))
    assert [float(v) for *_, v in a.terms] == pytest.approx(
        [float(v) for *_, v in b.terms], rel=SOME_ULP, abs=0
    )


@pytest.mark.parametrize("tau", [0.3, 1, 1.7])
def test_stochastic_ddim_and_isotropic_gddim_are_exponential_euler_in_data_prediction(tau: float) -> None:
    """x_1 = alpha_1 x_0 + sqrt(sigma_1^2 - s^2) eps + s z with s^2 = sigma_1^2 (1 - e^(-2 tau^2 h)): gDDIM's
    transition, frozen at the noise it predicts; tau = 1 is DDIM's eta = 1.
    """
    f = VP.formulas
    made = compile_plan(sa_solver(1, tau=tau), VP, times=[T0, T1])
    row = made.steps[0].operations[-1]
    assert isinstance(row, Row)
    s = f.sigma(T1) * math.sqrt(-math.expm1(-2 * tau**2 * (f.lam(T1) - f.lam(T0))))
    eps = math.sqrt(f.sigma(T1) ** 2 - s**2) - f.alpha(T1) / f.alpha(T0) * f.sigma(T0)
    assert [float(v) for *_, v in row.terms] == pytest.approx(
        [f.alpha(T1) / f.alpha(T0), eps], rel=SOME_ULP, abs=0
    )
    assert [float(w) for _, w in row.noise] == pytest.approx([s], rel=SOME_ULP, abs=0)
    if tau == 1:
        ancestral = f.sigma(T1) / f.sigma(T0) * math.sqrt(1 - (f.alpha(T0) / f.alpha(T1)) ** 2)
        assert s == pytest.approx(ancestral, rel=1e-12, abs=0)  # DDIM, eq. 16


# --- one step, in closed form ---


@pytest.mark.parametrize("r", [Fraction(1, 2), Fraction(1, 3), Fraction(9, 10)])
@pytest.mark.parametrize("family", ["sde-dpm-solver", "sde-dpm-solver++"])
def test_one_step_of_2s_has_its_mean_and_variance(family: Any, r: Fraction) -> None:
    """diffusers PR 8269 asked which sigma belongs where: the law of x_1 = a x + b_0 D_0 + b_1 D_c + eta_1."""
    data = Gaussians(np.array([0.7]), np.array([0.3]), np.array([1.1]))
    solver = dpm_solver.singlestep(2, family, r1=sympy.Rational(r.numerator, r.denominator))
    response = respond(compile_plan(solver, VP, times=[T0, T1]), data.model(VP), data.start)
    f, m, c, x = VP.formulas, 0.7, 0.3, 1.1
    lam0, h = f.lam(T0), f.lam(T1) - f.lam(T0)
    t_c = f.t_of_lam(lam0 + float(r) * h)

    def target(t: float) -> tuple[float, float]:
        """(slope, offset) of the data or noise prediction."""
        v = f.alpha(t) ** 2 * c + f.sigma(t) ** 2
        k = f.alpha(t) * c / v if "++" in family else f.sigma(t) / v
        return k, (m if "++" in family else 0) - k * f.alpha(t) * m

    def row(t: float, length: float) -> tuple[float, float, float]:
        """Linear factor, weight of a constant, variance."""
        if "++" in family:
            var = f.sigma(t) ** 2 * -math.expm1(-2 * length)
            return f.sigma(t) / f.sigma(T0) * math.exp(-length), -f.alpha(t) * math.expm1(-2 * length), var
        var = f.sigma(t) ** 2 * math.expm1(2 * length)
        return f.alpha(t) / f.alpha(T0), -2 * f.sigma(t) * math.expm1(length), var

    (k0, d0), (kc, dc) = target(T0), target(t_c)
    a_c, b_c, var_c = row(t_c, float(r) * h)
    a, b, var = row(T1, h)
    first = k0 * x + d0
    stage = a_c * x + b_c * first
    late = b / (2 * float(r))
    mean = a * x + (b - late) * first + late * (kc * stage + dc)
    covariance = a / a_c * var_c  # what the stage and the step have in common, carried to the end
    variance = var + 2 * late * kc * covariance + (late * kc) ** 2 * var_c
    assert response.mean[0] == pytest.approx(mean, rel=MANY_ULP, abs=0)
    assert response.variance()[0] == pytest.approx(variance, rel=SOME_ULP, abs=0)


@pytest.mark.parametrize("tau", [1, 0.5, NoiseLevel((0.45,), (1, 0.5))])
@pytest.mark.parametrize("prediction", BUILD)
def test_stages_and_step_carry_the_noise_of_one_path(prediction: Any, tau: Any) -> None:
    """Cov(eta_c, eta_d) = Phi_d/Phi_c Var(eta_c) for every c <= d, docs/mathematics.md, 7."""
    made = seeds(3, tau=1)
    form: Form = BUILD[prediction](tau)(VP)
    solver = Solver(
        name="path",
        form=lambda s: BUILD[prediction](tau)(s),
        sequence=made.sequence,
        claimed=3,
        source="test",
    )
    rows = [op for op in compile_plan(solver, VP, times=[T0, T1]).steps[0].operations if isinstance(op, Row)]
    times = [form.step(T0, T1).time(c) for c in (1 / 3, 2 / 3)] + [T1]
    assert form.std is not None
    for (i, a), (j, b) in itertools.combinations_with_replacement(enumerate(rows), 2):
        covariance = sum(float(v) * dict(b.noise).get(k, 0.0) for k, v in a.noise)
        expected = form.ratio(times[i], times[j]) * form.std(T0, times[i]) ** 2
        assert covariance == pytest.approx(expected, rel=SOME_ULP, abs=0)


def lagrange_integral(nodes: list[Any], j: int, q: Any, start: Any, end: Any) -> Any:
    """int e^(q lambda) l_j(lambda) dlambda, by mpmath."""

    def integrand(v: Any) -> Any:
        parts = ((v - nodes[i]) / (nodes[j] - nodes[i]) for i in range(len(nodes)) if i != j)
        return MP.exp(q * v) * math.prod(parts)

    return MP.context.quad(integrand, [start, end])


@pytest.mark.parametrize("tau", [0.4, 1])
@pytest.mark.parametrize(("predictor", "corrector"), [(3, 0), (4, 0), (2, 2), (3, 4), (1, 3)])
def test_sa_solver_integrates_the_interpolation_polynomial(
    predictor: int, corrector: int, tau: float
) -> None:
    """The weight of the evaluation at lambda_j is  q sigma_1 e^(-tau^2 lambda_1) int e^(q lambda) l_j, with
    q = 1 + tau^2, through `predictor` points from lambda_0 back, or `corrector` points from lambda_1 back.
    """
    q, f, times = MP.number(1 + Fraction(tau) ** 2), VP.formulas, [0.6, 0.52, 0.47, 0.4, 0.33, 0.3]
    solver = sa_solver(predictor, corrector, tau=tau)
    made = compile_plan(solver, VP, times=times, prediction="x0", final="full", digits=30)
    lam = [f.lam(MP.number(t)) for t in times]
    rows = [op for op in made.steps[3].operations if isinstance(op, Row)]
    for row, count, latest in zip(rows, (predictor, corrector), (3, 4), strict=False):
        nodes = lam[latest::-1][:count]
        factor = q * f.sigma(MP.number(times[4])) * MP.exp(-(q - 1) * lam[4])
        exact = sorted(factor * lagrange_integral(nodes, j, q, lam[3], lam[4]) for j in range(count))
        found = sorted(v for kind, _, v in row.terms if kind == "m")
        assert len(found) == count
        assert max(abs(a - b) for a, b in zip(found, exact, strict=True)) < THIRTY_DIGITS


@pytest.mark.parametrize("eta", [0.5, 1])
def test_k_diffusion_3m_lacks_the_factor_two_of_its_second_difference(eta: float) -> None:
    """Against Adams-Bashforth 3 in the same form: half the weight of phi_3 on the second difference."""
    times = [0.6, 0.52, 0.47, 0.4]
    options: dict[str, Any] = {"times": times, "prediction": "x0", "final": "full"}
    released = compile_plan(k_diffusion(3, eta=eta), VP, **options)
    adams = compile_plan(sa_solver(3, tau=sympy.sqrt(sympy.Rational(eta))), VP, **options)
    f = VP.formulas
    x, y, z, end = (float(f.lam(t)) for t in times)
    h, q = end - z, 1 + eta
    phi3 = (math.exp(-q * h) - 1 + q * h - (q * h) ** 2 / 2) / -((q * h) ** 3)
    second = {2: 1 / (z - y), 1: -1 / (z - y) - 1 / (y - x), 0: 1 / (y - x)}
    a, b = (
        {s: float(v) for k, s, v in p.steps[2].operations[-1].terms if k == "m"}  # type: ignore[union-attr]
        for p in (released, adams)
    )
    for state, difference_weight in second.items():
        half = float(f.alpha(times[3])) * q * h**3 * phi3 * difference_weight / (z - x)
        assert b[state] - a[state] == pytest.approx(half, abs=SOME_ULP)


def test_the_released_two_point_rules_have_one_half_for_phi_2() -> None:
    """`_few_steps`: predictor (N_0 - P_1) h/(2 (lambda_0 - lambda_-1)), corrector (N_1 - N_0)/2."""
    form = sde_data()(VP)
    times = [0.6, 0.5, 0.4, 0.3]
    made, plain = (
        compile_plan(sa_solver(2, 2, rescaled=r), VP, times=times, prediction="x0") for r in (True, False)
    )
    step = form.step(0.5, 0.4)
    extra = step.weight(1.0) * (0.5 - step.phi(2, 1.0))
    lam = [float(VP.lam(t)) for t in times]
    ratio = (lam[2] - lam[1]) / (lam[1] - lam[0])
    for k, expected in ((0, -extra * ratio), (1, extra)):  # the oldest evaluation, then the newest
        a, b = (
            [
                float(v)
                for kind, _, v in [o for o in p.steps[1].operations if isinstance(o, Row)][k].terms
                if kind == "m"
            ]
            for p in (made, plain)
        )
        assert any(u - v == pytest.approx(expected, rel=SOME_ULP, abs=0) for u, v in zip(a, b, strict=True))
        assert sum(a) == pytest.approx(sum(b), rel=SOME_ULP, abs=0)


def test_predictor_and_corrector_have_the_same_noise() -> None:
    for step in plan(sa_solver(3, 4)).steps[:-1]:
        a, b = (op.noise for op in step.operations if isinstance(op, Row))
        assert a == b
        assert len(a) == 1


# --- every pair runs or is refused ---


FAMILIES = ("dpm-solver", "dpm-solver++", "sde-dpm-solver", "sde-dpm-solver++")


@pytest.mark.parametrize("order", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["singlestep", "multistep", "corrected", "fast"])
def test_every_algorithm_and_order_runs_or_is_refused_at_construction(
    kind: str, family: Any, order: int
) -> None:
    """diffusers PRs 9104 and 13778: order 3 of the SDEs crashed at the third step."""
    builders: dict[str, Any] = {
        "singlestep": lambda: dpm_solver.singlestep(order, family),
        "multistep": lambda: dpm_solver.multistep(order, family),
        "corrected": lambda: dpm_solver.multistep(order, family, released=False),
        "fast": lambda: dpm_solver.fast(order, family),
    }
    refused = order not in (1, 2, 3) or (kind, family, order) == ("multistep", "sde-dpm-solver", 3)
    if refused:
        with pytest.raises(ValueError, match="order"):
            builders[kind]()
        return
    x = torch.ones(2, 2, dtype=torch.float64)
    made = plan(builders[kind](), steps=7, prediction="x0" if "++" in family else "eps")
    assert made.stochastic == family.startswith("sde")
    alpha, sigma = (float(f(1e-3) / f(1.0)) for f in (VP.alpha, VP.sigma))
    linear = {"dpm-solver": alpha, "dpm-solver++": sigma, "sde-dpm-solver": alpha}.get(
        family, sigma**2 / alpha
    )
    found = sample(made, lambda v, t: v * 0, x, noise=lambda i, v: v * 0).x  # a model of 0: the linear part
    torch.testing.assert_close(found, linear * x, rtol=1e-12, atol=0)  # a product of seven steps


@pytest.mark.parametrize("steps", range(1, 8))
@pytest.mark.parametrize(
    "name",
    [
        "sde-dpm-solver++-2m",
        "sde-dpm-solver++-3m-corrected",
        "k-diffusion-3m-sde-released",
        "sa-solver-2-2",
        "sa-solver-3-4",
        "sde-dpm-solver++-3s",
    ],
)
def test_a_final_sigma_of_zero_is_reached_at_every_position_of_the_history(name: str, steps: int) -> None:
    """k-diffusion PR 104: `h` unbound at a zero final step.  The last step returns the denoised state."""
    made = plan(make(name), steps, t_end=0.0, grid=grids.uniform_t(), final="lower")
    last = made.steps[-1].operations[-1]
    assert isinstance(last, Row)
    assert not last.noise
    x = torch.ones(2, 2, dtype=torch.float64)
    seen: list[tuple[torch.Tensor, float]] = []

    def half(v: torch.Tensor, t: float) -> torch.Tensor:
        seen.append((v.clone(), t))
        return v / 2

    found = sample(made, half, x, noise=lambda i, v: v * 0).x
    state, t = seen[-1]
    torch.testing.assert_close(found, (1 - VP.sigma(t) / 2) / VP.alpha(t) * state, rtol=SOME_ULP, atol=0)


@pytest.mark.parametrize(
    ("predictor", "corrector", "mode", "nfe"),
    [(3, 0, "PEC", 8), (2, 2, "PEC", 8), (3, 4, "PEC", 8), (2, 2, "PECE", 15)],
)
def test_a_corrector_costs_nothing_but_in_pece_mode(
    predictor: int, corrector: int, mode: Any, nfe: int
) -> None:
    made = plan(sa_solver(predictor, corrector, mode=mode), steps=8)
    assert made.nfe == nfe


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: sa_solver(0), "predictor must be an integer from 1 to 4, got 0"),
        (lambda: sa_solver(5), "predictor must be"),
        (lambda: sa_solver(True), "predictor must be"),
        (lambda: sa_solver(2, 5), "corrector must be an integer from 0 to 4"),
        (lambda: sa_solver(2, 2, mode=NONSENSE), "mode must be one of PEC, PECE"),
        (lambda: sa_solver(2, prediction=NONSENSE), "prediction must be one of data, noise"),
        (lambda: sa_solver(2, 2, prediction="noise", rescaled=True), "rescaled must be False"),
        (lambda: sa_solver(2, tau=-1), "tau must be"),
        (lambda: k_diffusion(1), "order must be an integer from 2 to 3"),
        (lambda: k_diffusion(3, "taylor"), "type must be 'dpmsolver' at order 3"),
        (lambda: k_diffusion(2, eta=-1), "eta must be a non-negative number"),
        (lambda: k_diffusion(2, eta=NONSENSE), "eta must be"),
        (lambda: seeds(4), "order must be an integer from 1 to 3"),
    ],
)
def test_bad_arguments_are_named(build: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


# --- another noise level of a solver ---

KEPT = {
    "ddim": "noise",
    "dpm-solver-2": "noise",
    "dpm-solver-3m-released": "noise",
    "dpm-solver++-2m": "data",
    "deis-lambdaab2": "noise",
    "unipc-3-bh2": "data",
    "unipc-3-bh2-noise": "noise",
    "res-2m": "data",
    "krogstad4": "data",
}
OTHERS = (
    *("deis-tab2", "deis-tab3-released", "deis-rhoab2", "deis-rhork-3kutta", "deis-ipndm", "edm-heun"),
    *("scire-v1-2-released", "scire-v2-2m-released", "er-sde-ode-2-corrected", "er-sde-2-corrected", "lms-4"),
    *(
        "ddpm",
        "dpm-2-ancestral",
        "edm-heun-churn",
        "dpm-2-churn",
        "score-sde-pf-reverse-diffusion",
        "score-sde-reverse-diffusion",
    ),
)


@pytest.mark.parametrize("prediction", ["data", "noise"])
@pytest.mark.parametrize("name", [*KEPT, *OTHERS])
def test_another_noise_level_keeps_the_form_or_is_refused(name: str, prediction: Any) -> None:
    """At level 0 a solver of the flow is itself, operation by operation."""
    solver = make(name)
    if KEPT.get(name) != prediction:
        with pytest.raises(ValueError, match=r"(prediction|solver) must"):
            at_noise_level(solver, prediction, 0)
        return
    assert difference(plan(at_noise_level(solver, prediction, 0)), plan(solver)).value == 0
    assert at_noise_level(solver, prediction, 1).stochastic


# --- digits ---


MANY = {
    "seeds-3": seeds(3),
    "sa-3-4": sa_solver(3, 4, tau=0.3),
    "sa-3-4-varying": sa_solver(3, 4, tau=NoiseLevel((0.7, 0.3), (0, 1, 0.4))),
    "sa-2-2-varying-noise": sa_solver(2, 2, tau=NoiseLevel((0.7, 0.3), (0, 1, 0.4)), prediction="noise"),
    "k-diffusion-3m": k_diffusion(3, eta=0.5),
}


@pytest.mark.parametrize(
    ("name", "prediction"),
    slow(itertools.product(MANY, ["eps", "x0"]), lambda case: case == ("sa-3-4-varying", "eps")),
)
def test_coefficients_have_all_their_digits(name: str, prediction: str) -> None:
    times = plan(MANY[name], steps=5).times
    plain, thirty, fifty = (
        compile_plan(MANY[name], VP, times=times, prediction=prediction, digits=d) for d in (None, 30, 50)
    )
    assert difference(plain, fifty).value < 3 * SOME_ULP  # of cancelling moments
    assert difference(thirty, fifty).value < THIRTY_DIGITS


def test_stage_noise_beyond_the_step_is_refused() -> None:
    """The path is drawn up to the step's end; of an ODE's stage nothing forbids it."""
    tableau = Tableau((Stage(2, 2 * phi1 * N(0)),), phi1 * N(1), stage_noise=True)
    solver = Solver(name="s", form=sde_data(), sequence=Repeat(tableau, tableau), claimed=1, source="test")
    with pytest.raises(ValueError, match=r"abscissa in \(0, 1\]"):
        compile_plan(solver, VP, steps=3, t_start=0.3, t_end=0.2)
    ode = Solver(name="s", form=data_in_lambda, sequence=Repeat(tableau, tableau), claimed=1, source="test")
    assert compile_plan(ode, VP, steps=3, t_start=0.3, t_end=0.2).nfe == 6
