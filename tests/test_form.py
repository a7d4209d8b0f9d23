from __future__ import annotations

import dataclasses
import itertools
import json
import math
from typing import Any

import numpy as np
import pytest
import scipy.integrate
import torch
from semilinear.integrators.diffusion.discrete import discrete, linear_betas
from semilinear.integrators.diffusion.schedule import (
    Schedule,
    rectified_flow,
    sub_vp,
    ve,
    vp_cosine,
    vp_linear,
)
from semilinear.integrators.forms import form as forms
from semilinear.integrators.forms import reverse as sde_forms
from semilinear.integrators.forms.form import Form, Measured, Variable
from semilinear.integrators.numerics.arithmetic import Value, multiprecision, of
from semilinear.integrators.numerics.quadrature import GAUSS, LeftRiemann
from semilinear.integrators.plans.compile import compile_plan
from semilinear.integrators.plans.files import difference, from_json, to_json
from semilinear.integrators.plans.program import Row
from semilinear.integrators.run.sampler import sample
from semilinear.integrators.solver import Ramp, Repeat, Solver
from semilinear.integrators.solvers import make
from semilinear.integrators.tableaux.tableau import N, Tableau, adams, phi1
from semilinear.integrators.tableaux.tableau import N as NN
from semilinear.verification.problems.named import rotated_product

from tests.roundings import SOME_ULP, ULP

VP = vp_linear()
ODE = {
    # the definition: x = Phi y, dy = w dtau N, and the variable of integration
    "noise_in_lambda": (forms.noise_in_lambda, lambda t: VP.alpha(t), lambda t: -VP.rho(t), VP.lam),
    "data_in_lambda": (forms.data_in_lambda, lambda t: VP.sigma(t), lambda t: 1 / VP.rho(t), VP.lam),
    "noise_in_rho": (forms.noise_in_rho, lambda t: VP.alpha(t), lambda t: 1.0, VP.rho),
    "data_in_inverse_rho": (
        forms.data_in_inverse_rho,
        lambda t: VP.sigma(t),
        lambda t: 1.0,
        lambda t: 1 / VP.rho(t),
    ),
    "noise_in_time": (forms.noise_in_time, lambda t: VP.alpha(t), VP.rho_dot, lambda t: t),
    "sde_data_in_lambda": (
        sde_forms.sde_data_in_lambda,
        lambda t: VP.sigma(t) * VP.rho(t),
        lambda t: 2 / VP.rho(t) ** 2,
        VP.lam,
    ),
    "sde_noise_in_lambda": (
        sde_forms.sde_noise_in_lambda,
        lambda t: VP.alpha(t),
        lambda t: -2 * VP.rho(t),
        VP.lam,
    ),
}


@pytest.mark.parametrize("name", ODE)
@pytest.mark.parametrize("c", [1.0, 0.4])
@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_moments_are_the_integrals_that_define_them(name: str, c: float, k: int) -> None:
    build, factor, weight, tau = ODE[name]
    form = build(VP)
    step = form.step(0.6, 0.35)
    t_c = step.time(c)
    tau_0, h = tau(0.6), tau(0.35) - tau(0.6)
    slope = lambda t: (tau(t + 1e-6) - tau(t - 1e-6)) / 2e-6  # noqa: E731
    integral, _ = scipy.integrate.quad(
        lambda t: weight(t) * (tau(t) - tau_0) ** (k - 1) / math.factorial(k - 1) * slope(t),
        0.6,
        t_c,
        epsabs=1e-13,
    )
    expected = factor(t_c) * integral
    found = step.weight(c) * h ** (k - 1) * c**k * step.phi(k, c)
    assert found == pytest.approx(expected, rel=1e-9)  # quad's 1e-13, of integrals down to 1e-4
    assert step.linear(c) == pytest.approx(factor(t_c) / factor(0.6), rel=SOME_ULP, abs=0)


@pytest.mark.parametrize("name", list(ODE)[:5])
@pytest.mark.parametrize(
    "schedule", [VP, sub_vp(), ve(), vp_cosine(), discrete(linear_betas())], ids=lambda s: s.kind
)
def test_a_constant_integrand_is_integrated_exactly(name: str, schedule: Schedule) -> None:
    """x = alpha a + sigma b solves the ODE when the model says x_0 = a, eps = b: one step is exact in every
    form.
    """
    form = ODE[name][0](schedule)
    step = form.step(0.7, 0.2)
    a, b = 0.3, -1.1
    x = schedule.alpha(0.7) * a + schedule.sigma(0.7) * b
    constant = a if form.target == "x0" else b
    result = step.linear(1.0) * x + step.weight(1.0) * step.phi(1, 1.0) * constant
    assert result == pytest.approx(
        schedule.alpha(0.2) * a + schedule.sigma(0.2) * b,
        rel=1e-12,  # the terms are up to a hundred times their sum
        abs=0,
    )


@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.parametrize("name", list(ODE)[:2])
def test_the_first_moment_has_its_limit_at_lambda_infinity(name: str) -> None:
    form = ODE[name][0](VP)
    step, near = form.step(0.3, 0.0), form.step(0.3, 1e-12)
    assert step.infinite
    # what is left is rho(1e-12) = 3e-7
    assert step.weight(1.0) * step.phi(1, 1.0) == pytest.approx(near.weight(1.0) * near.phi(1, 1.0), rel=1e-6)
    for ask in (lambda: step.phi(2, 1.0), lambda: step.z, lambda: step.time(0.5)):
        with pytest.raises(ValueError, match="infinity"):
            ask()


def test_the_time_form_has_no_linear_operator() -> None:
    with pytest.raises(ValueError, match="no constant linear operator"):
        _ = forms.noise_in_time(VP).step(0.5, 0.3).z


def test_multiprecision_moments_agree_with_float64() -> None:
    xp = multiprecision(40)
    for name in ODE:
        form = ODE[name][0](VP)
        exact, rounded = form.step(xp.number(0.6), xp.number(0.35)), form.step(0.6, 0.35)
        for k in (1, 2, 3):
            one = xp.number(1)
            value = exact.weight(one) * exact.phi(k, one)
            assert rounded.weight(1.0) * rounded.phi(k, 1.0) == pytest.approx(
                float(value), rel=SOME_ULP, abs=0
            )


def test_the_released_rule_differs_by_its_known_error() -> None:
    exact, released = forms.noise_in_time(VP), forms.noise_in_time(VP, LeftRiemann(10_000))
    a, b = exact.step(0.5, 0.3).phi(1, 1.0), released.step(0.5, 0.3).phi(1, 1.0)
    width = 0.2
    predicted = (VP.rho_dot(0.5) - VP.rho_dot(0.3)) * -width / (2 * 10_000)
    measured = (b - a) * -width  # phi(1, 1) is the integral over h
    assert measured == pytest.approx(predicted, rel=1e-4)  # the next term: a panel's width, 2e-5


# --- room for forms to come ---


def elementwise(schedule: Schedule, rates: np.ndarray) -> Form:
    """A diagonal linear operator l: x = alpha e^(-l lambda) y, dy = -e^(l lambda) (rho eps - l x/alpha)
    dlambda.

    The shape of DPM-Solver-v3: arrays for Phi and the moments, an integrand that is affine in the state.
    """
    f = schedule.formulas

    def growth(lam: Value, sign: int) -> Any:
        xp = of(lam)
        return np.stack([xp.exp(sign * float(r) * lam) for r in rates], axis=-1)

    def factor(t: Value) -> Any:
        return f.alpha(t) * growth(f.lam(t), -1)

    def affine(t: Value) -> tuple[Any, Any, Any]:
        return -rates / f.alpha(t), f.rho(t) + 0 * rates, 0.0

    def weight_of(rate: float) -> Any:
        return lambda t0, t1: Variable(f.lam, lambda v: v - f.lam(t0), lambda v: -np.exp(rate * v))

    class Diagonal(Measured):
        def phi(self, step: Any, k: int, c: Value) -> Any:
            columns = []
            for r in rates:
                own = step.form.step(step.t0, step.t1, step.moments)  # a step keeps one weight's moments
                columns.append(Measured(weight_of(float(r)), GAUSS).phi(own, k, c))
            return np.stack(columns, axis=-1)

    weight = Diagonal(lambda t0, t1: Variable(f.lam, lambda v: v, lambda v: v), GAUSS)
    return Form("elementwise", schedule, f.lam, f.t_of_lam, factor, weight, "eps", affine)


def test_an_elementwise_operator_runs_through_the_same_loop_at_full_order() -> None:
    problem, rates = rotated_product(), np.array([0.7, 0.2])
    solver = Solver(
        name="elementwise-2",
        form=lambda s: elementwise(s, rates),
        sequence=Ramp((adams(1), adams(2))),
        claimed=2,
        source="test",
    )
    x = torch.tensor([[0.4, -0.2], [1.0, 0.3]], dtype=torch.float64)
    exact = problem.flow(VP, x.numpy(), 0.4, 0.1, 25).astype(float)
    errors = []
    for n in (40, 80):
        plan = compile_plan(solver, VP, steps=n, t_start=0.4, t_end=0.1)
        errors.append(np.abs(sample(plan, problem.model(VP), x).x.numpy() - exact).max())
    assert math.log2(errors[0] / errors[1]) == pytest.approx(2, abs=0.01)  # O(h) of the finer steps


def test_elementwise_rates_of_one_are_data_prediction() -> None:
    euler = Tableau((), phi1 * N(0))
    mine = Solver(
        name="a",
        form=lambda s: elementwise(s, np.ones(2)),
        sequence=Repeat(euler, euler),
        claimed=1,
        source="test",
    )
    theirs = Solver(
        name="b", form=forms.data_in_lambda, sequence=Repeat(euler, euler), claimed=1, source="test"
    )
    a, b = (compile_plan(s, VP, steps=4, t_start=0.8, t_end=0.1) for s in (mine, theirs))
    assert difference(a, b).value < SOME_ULP
    assert all(v.shape == (2,) for _, _, v in a.steps[0].operations[-1].terms)  # type: ignore[union-attr]


def test_a_noise_scale_form_with_f_equal_rho_is_the_data_prediction_ode() -> None:
    """ER-SDE's family: Phi = alpha f(rho), dy = (1/f)' x_0 drho; f = rho is the ODE, f = rho^2 the reverse
    SDE.
    """

    def noise_scale(schedule: Schedule) -> Form:
        f = schedule.formulas
        weight = Measured(
            lambda t0, t1: Variable(f.rho, lambda r: r - f.rho(t0), lambda r: -1 / (r * r)), GAUSS
        )
        return Form("noise_scale", schedule, f.rho, f.t_of_rho, f.sigma, weight, "x0")

    euler = Tableau((), phi1 * N(0))
    a = compile_plan(
        Solver(name="a", form=noise_scale, sequence=Repeat(euler, euler), claimed=1, source=""),
        VP,
        steps=6,
        t_start=1.0,
        t_end=0.01,
    )
    b = compile_plan(
        Solver(name="b", form=forms.data_in_lambda, sequence=Repeat(euler, euler), claimed=1, source=""),
        VP,
        steps=6,
        t_start=1.0,
        t_end=0.01,
    )
    assert difference(a, b).value < SOME_ULP


def test_sde_noise_is_the_variance_of_the_reverse_sde() -> None:
    for build, linear in (
        (sde_forms.sde_data_in_lambda, lambda t: VP.sigma(t) * VP.rho(t)),
        (sde_forms.sde_noise_in_lambda, VP.alpha),
    ):
        form = build(VP)
        assert form.std is not None
        whole = form.std(0.6, 0.2) ** 2
        split = (linear(0.2) / linear(0.4)) ** 2 * form.std(0.6, 0.4) ** 2 + form.std(0.4, 0.2) ** 2
        assert whole == pytest.approx(split, rel=SOME_ULP, abs=0)  # variances add through the linear flow


def test_exponential_weights_accept_any_abscissa() -> None:
    step = forms.data_in_lambda(VP).step(0.5, 0.3)
    z = step.z
    closed = (math.exp(z / 4) - 1 - z / 4) / (z / 4) ** 2  # cancels to (z/4)^2, a few hundredths
    assert step.phi(2, 0.25) == pytest.approx(float(closed), rel=SOME_ULP, abs=0)


@pytest.mark.parametrize("t_start", [1 - 1e-9, 1 - 1e-6, 0.99])
@pytest.mark.parametrize(
    "schedule", [vp_linear(), sub_vp(), vp_cosine(), rectified_flow()], ids=lambda s: s.kind
)
def test_moments_in_time_are_exact_up_to_the_pole_at_alpha_zero(schedule: Schedule, t_start: float) -> None:
    """float64 against 40 digits, relative to the largest coefficient of a row; degree 0 is DDIM."""
    times = np.linspace(t_start, 1e-3, 5)

    def rows(name: str, digits: int | None) -> np.ndarray:
        plan = compile_plan(make(name), schedule, times=times, digits=digits)
        terms = [op.terms for step in plan.steps for op in step.operations if isinstance(op, Row)]
        return np.array([float(v) for row in terms for *_, v in row])

    for name in ("deis-tab0", "deis-tab3"):
        exact = rows(name, 40)
        assert np.abs(rows(name, None) - exact).max() <= 18 * ULP * np.abs(exact).max()  # of differences
    assert rows("deis-tab0", 40) == pytest.approx(rows("ddim", 40), rel=4 * ULP, abs=0)  # each rounded once


def test_moments_of_a_tiny_step_in_time_keep_their_digits() -> None:
    """t - t_0 is the integration variable itself: nothing is subtracted."""
    times = [0.5 - i * 2.0**-40 for i in range(4)]
    step = forms.noise_in_time(VP).step(times[0], times[1])
    exact = forms.noise_in_time(VP).step(*(multiprecision(40).number(t) for t in times[:2]))
    for k in (1, 2, 3):  # the Riemann sum, of width 1e-4, is for the first
        rel = 1e-4 if k == 1 else SOME_ULP
        assert float(step.phi(k, 1)) == pytest.approx(float(exact.phi(k, 1)), rel=rel)


X = torch.linspace(-2, 2, 8, dtype=torch.float64).reshape(4, 2)


@pytest.mark.filterwarnings("ignore:divide by zero")
def test_the_first_moment_has_its_limit_at_lambda_infinity_in_the_sde_and_in_inverse_rho() -> None:
    for build in (sde_forms.sde_data_in_lambda, forms.data_in_inverse_rho):
        form = build(VP)
        step, near = form.step(0.3, 0.0), form.step(0.3, 1e-10)
        assert step.weight(1.0) * step.phi(1, 1.0) == pytest.approx(
            near.weight(1.0) * near.phi(1, 1.0),
            rel=1e-4,  # what is left is of the size of rho(1e-10), 3e-6
        )


def test_kinks_of_a_table_are_panel_ends_of_the_moments() -> None:
    """The moments of a piecewise smooth weight keep their digits: float64 against 30 digits."""
    s = discrete(linear_betas(n=20))
    xp = multiprecision(30)
    form = forms.noise_in_time(s)
    a, b = form.step(0.83, 0.41), form.step(xp.number(0.83), xp.number(0.41))
    for k in (1, 2, 3):
        assert a.phi(k, 1.0) == pytest.approx(float(b.phi(k, xp.number(1))), rel=1e-13, abs=0)  # of 10 panels
        panels = [0.83, *(t for t in reversed(s.breakpoints) if 0.41 < t < 0.83), 0.41]
        integral = sum(
            scipy.integrate.quad(
                lambda t, k=k: s.rho_dot(t) * (t - 0.83) ** (k - 1) / math.factorial(k - 1),
                lo,
                hi,
                epsabs=1e-14,
                epsrel=1e-13,
            )[0]
            for lo, hi in itertools.pairwise(panels)
        )
        assert a.phi(k, 1.0) == pytest.approx(integral / (0.41 - 0.83) ** k, rel=1e-12)  # quad's, a panel


def affine_solver(u: Any) -> Solver:
    """d(x/sigma) = e^lambda x_0 dlambda, with N = (x - sigma eps)/alpha written as affine in eps, plus u."""

    def build(schedule: Any) -> Any:
        f = schedule.formulas
        base = forms.data_in_lambda(schedule)
        return dataclasses.replace(
            base, name="affine", target="eps", affine=lambda t: (1 / f.alpha(t), -f.sigma(t) / f.alpha(t), u)
        )

    euler = Tableau((), phi1 * NN(0))
    return Solver(name="affine", form=build, sequence=Repeat(euler, euler), claimed=1, source="test")


@pytest.mark.parametrize("prediction", ["eps", "x0", "v", "flow"])
def test_an_affine_integrand_is_the_same_plan_for_every_prediction(prediction: str) -> None:
    options: dict[str, Any] = {"steps": 5, "t_start": 0.9, "t_end": 0.1, "prediction": prediction}
    assert (
        difference(
            compile_plan(affine_solver(0), VP, **options), compile_plan(make("ddim"), VP, **options)
        ).value
        < 1e-13  # x_0 = (x - sigma eps)/alpha, where 1/alpha is up to 50
    )


@pytest.mark.parametrize("u", [0.25, np.array([0.25, -0.5])])
def test_a_constant_in_the_integrand_shifts_the_data(u: Any) -> None:
    """N = x_0 + u: the same run as a model whose x_0 is larger by u."""
    options: dict[str, Any] = {"steps": 5, "t_start": 0.9, "t_end": 0.1, "prediction": "x0"}
    with_u, plain = (
        compile_plan(affine_solver(u), VP, **options),
        compile_plan(affine_solver(0), VP, **options),
    )
    shift = torch.as_tensor(u)
    expected = sample(plain, lambda x, t: 0.3 * x + shift, X).x
    by_torch = sample(with_u, lambda x, t: 0.3 * x, X).x
    torch.testing.assert_close(by_torch, expected, rtol=SOME_ULP, atol=SOME_ULP)
    if isinstance(u, float):
        by_numpy = sample(with_u, lambda x, t: 0.3 * x, X.numpy()).x
        np.testing.assert_allclose(by_numpy, expected.numpy(), rtol=SOME_ULP, atol=SOME_ULP)
    again = from_json(json.loads(json.dumps(to_json(with_u))))
    assert difference(again, with_u).value == 0
    assert again == with_u != plain
    assert difference(with_u, plain).value > 1e-3


@pytest.mark.filterwarnings("ignore:divide by zero")
def test_an_inner_row_has_no_limit_at_lambda_infinity() -> None:
    with pytest.raises(ValueError, match="infinity"):
        forms.data_in_lambda(VP).step(0.3, 0.0).phi(1, 0.5)


def test_a_step_computes_a_quantity_once_for_each_abscissa() -> None:
    step, asked = forms.noise_in_lambda(VP).step(0.9, 0.5), []

    def compute() -> int:
        asked.append(1)
        return len(asked)

    quantities = (("a", 1), ("a", 1), ("b", 1), ("a", 0.5))
    assert [step.once(what, c, compute) for what, c in quantities] == [1, 1, 2, 3]
