"""Laws of the extended reverse SDE: its coefficients, and which noise scales are admissible."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
import sympy
from semilinear.integrators.diffusion.grids import karras, uniform_lambda
from semilinear.integrators.diffusion.schedule import Schedule, edm, vp_cosine, vp_linear
from semilinear.integrators.forms.extended import ByParts, exact, extended_reverse_sde
from semilinear.integrators.forms.form import Form
from semilinear.integrators.forms.noise_scale import (
    NOISE_SCALES,
    ODE,
    SDE_1,
    SDE_4,
    SDE_5,
    NoiseScale,
    power,
    sde_1,
    x,
)
from semilinear.integrators.numerics.quadrature import LeftRiemann
from semilinear.integrators.plans.compile import Plan, compile_plan
from semilinear.integrators.plans.files import difference
from semilinear.integrators.run.sampler import sample
from semilinear.integrators.solver import Solver
from semilinear.integrators.solvers.er_sde import er_sde, released, uncorrected

from tests.roundings import AMPLIFIED, SOME_ULP

VP, VE = vp_linear(), edm(2000.0)
NOISY = NOISE_SCALES[1:]
STEPS = (10.0, 1.0, 0.3, 0.05, 1e-4, 1e-9)
MP = mpmath.MPContext()
MP.dps = 50
PHI: dict[str, Callable[[Any], Any]] = {
    "ode": lambda v: v,
    "reverse-sde": lambda v: v**2,
    "sde-1": lambda v: v * (MP.exp(-1 / v) + 10),
    "sde-2": lambda v: v ** MP.mpf("1.5"),
    "sde-3": lambda v: v ** MP.mpf("2.5"),
    "sde-4": lambda v: v ** MP.mpf("0.9") * MP.log10(1 + 100 * v ** MP.mpf("1.5")),
    "sde-5": lambda v: v * (MP.exp(v ** MP.mpf("0.3")) + 10),
}
"""The functions of the release, typed again."""
by_name = pytest.mark.parametrize("scale", NOISE_SCALES, ids=lambda s: s.name)
noisy = pytest.mark.parametrize("scale", NOISY, ids=lambda s: s.name)
RANGE: dict[str, Any] = {"t_start": 1.0, "t_end": 1e-3}


def form(scale: NoiseScale, schedule: Schedule = VE, **options: Any) -> Form:
    return extended_reverse_sde(schedule, scale, **options)


def plan(solver: Solver, schedule: Schedule = VP, steps: int = 8, **options: Any) -> Plan:
    return compile_plan(solver, schedule, **({"steps": steps} | RANGE | options))


def moment(scale: NoiseScale, rho0: float, rho1: float, n: int) -> Any:
    """c_n = (-h)^n/n! + phi_1 int (rho - rho_0)^(n-1)/(n-1)!/phi drho in 50 digits, h = rho_0 - rho_1."""
    phi, a, b = PHI[scale.name], MP.mpf(rho0), MP.mpf(rho1)
    if n == 0:
        return 1 - phi(b) / phi(a)

    def integrand(v: Any) -> Any:
        rho = MP.exp(v)
        return rho * (rho - a) ** (n - 1) / MP.factorial(n - 1) / phi(rho)

    nodes = MP.linspace(MP.log(b), MP.log(a), 2 + int(abs(MP.log(a / b))))
    return (b - a) ** n / MP.factorial(n) + phi(b) * MP.quad(integrand, nodes)


# --- coefficients ---


@by_name
@pytest.mark.parametrize("rho0", [20.0, 0.7])
def test_moments_are_the_integrals_to_rounding_for_every_step(scale: NoiseScale, rho0: float) -> None:
    for size in (*STEPS[:5], -0.3):  # the last encodes
        rho1 = rho0 * np.exp(-size)
        step = form(scale).step(rho0, rho1)
        for n in range(3):
            value = step.weight(1.0) * step.h**n * step.phi(n + 1, 1.0)
            assert value == pytest.approx(float(moment(scale, rho0, rho1, n)), rel=SOME_ULP, abs=0), (size, n)


@by_name
def test_the_linear_part_is_the_ratio_of_phi(scale: NoiseScale) -> None:
    for size in STEPS:
        rho1 = 20.0 * np.exp(-size)
        expected = PHI[scale.name](MP.mpf(rho1)) / PHI[scale.name](MP.mpf(20))
        assert form(scale).ratio(20.0, rho1) == pytest.approx(float(expected), rel=SOME_ULP, abs=0)


@noisy
@pytest.mark.parametrize("rho0", [20.0, 0.7])
def test_the_noise_has_its_exact_deviation_down_to_the_smallest_step(scale: NoiseScale, rho0: float) -> None:
    phi, std = PHI[scale.name], form(scale).std
    assert std is not None
    for size in STEPS:
        rho1 = float(rho0 * np.exp(-size))
        a, b = MP.mpf(rho0), MP.mpf(rho1)
        expected = MP.sqrt(b**2 - (a * phi(b) / phi(a)) ** 2)
        assert std(rho0, rho1) == pytest.approx(float(expected), rel=SOME_ULP, abs=0), size


def test_the_probability_flow_is_a_form_without_noise() -> None:
    assert form(ODE).std is None
    assert form(NoiseScale("three", 3 * x)).std is None


@pytest.mark.filterwarnings("ignore:divide by zero")
@by_name
def test_only_the_first_moment_has_a_limit_at_rho_infinity(scale: NoiseScale) -> None:
    step = form(scale, vp_cosine()).step(1.0, 0.5)
    assert step.weight(1.0) * step.phi(1, 1.0) == vp_cosine().alpha(0.5)
    with pytest.raises(ValueError, match="is at rho = infinity at t = 1"):
        step.phi(2, 1.0)


@noisy
def test_noise_of_two_steps_adds_up_to_that_of_one(scale: NoiseScale) -> None:
    f = form(scale, VP)
    assert f.std is not None
    parts = (f.ratio(0.5, 0.2) * f.std(0.8, 0.5)) ** 2 + f.std(0.5, 0.2) ** 2
    assert parts == pytest.approx(f.std(0.8, 0.2) ** 2, rel=SOME_ULP, abs=0)


def test_the_intensity_of_noise_is_the_growth_of_phi_over_x() -> None:
    """1 + growth is dln phi/dln x, written out by hand."""
    v = sympy.Rational(7, 10)
    e = sympy.exp(-1 / v)
    u = 100 * v ** sympy.Rational(3, 2)
    w = v ** sympy.Rational(3, 10)
    fourth = sympy.Rational(9, 10) + sympy.Rational(3, 2) * u / ((1 + u) * sympy.log(1 + u))
    fifth = 1 + sympy.Rational(3, 10) * w * sympy.exp(w) / (sympy.exp(w) + 10)
    expected = [1, 2, 1 + e / v / (e + 10), sympy.Rational(3, 2), sympy.Rational(5, 2), fourth, fifth]
    for scale, p in zip(NOISE_SCALES, expected, strict=True):
        assert float(1 + scale.growth.subs(x, v)) == pytest.approx(float(p), rel=SOME_ULP, abs=0)


@pytest.mark.parametrize("eta", [-1, 0.5, 2])
def test_the_first_function_of_the_release_takes_eta(eta: float) -> None:
    """Without the 10, g^2 = 2 x^eta: growth is x^(eta - 1)."""
    v = 1.7
    e = np.exp(v ** (eta - 1) / (eta - 1))
    assert float(sde_1(eta).growth.subs(x, v)) == pytest.approx(
        v ** (eta - 1) * e / (e + 10), rel=SOME_ULP, abs=0
    )
    assert sde_1(0) == SDE_1


@by_name
def test_all_coefficients_are_the_multiprecision_ones_rounded(scale: NoiseScale) -> None:
    rounded = plan(er_sde(3, scale))
    times: dict[str, Any] = {"times": rounded.times, "t_start": None, "t_end": None, "steps": 8}
    assert difference(rounded, plan(er_sde(3, scale), **times, digits=25)).value < SOME_ULP


def test_50_digits_are_50_digits() -> None:
    for solver in (er_sde(3, SDE_5), released(3, SDE_5), er_sde(2, SDE_4), uncorrected(3, ODE)):
        times: dict[str, Any] = {"times": [1.0, 0.8, 0.5, 0.1], "t_start": None, "t_end": None, "steps": 3}
        a, b = (plan(solver, **times, digits=d) for d in (50, 60))
        assert difference(a, b).value < 1e-48  # of 50 digits


@by_name
@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_order_k_is_exact_where_the_data_prediction_is_a_polynomial_in_rho(
    scale: NoiseScale, order: int
) -> None:
    """D = rho^m, m < k: one step is r y + phi_1 int (1/phi)' D, whatever the steps before were."""
    rhos = [3.0, 2.2, 1.9, 1.2, 1.0, 0.4][-order - 1 :]
    made = compile_plan(
        er_sde(order, scale), VE, times=rhos, prediction="x0", start="exact" if order > 1 else "own"
    )
    given = [np.zeros(1)] * (order - 1) + [np.array([1.3])]
    for m in range(order):

        def model(v: Any, t: Any, m: int = m) -> Any:
            return 0 * v + t**m

        final = sample(made, model, given, noise=lambda i, v: 0 * v)
        phi, a, b = PHI[scale.name], rhos[-2], rhos[-1]
        r = phi(MP.mpf(b)) / phi(MP.mpf(a))
        binomial = sum(
            MP.binomial(m, n) * MP.mpf(a) ** (m - n) * MP.factorial(n) * moment(scale, a, b, n)
            for n in range(m + 1)
        )
        assert final.x[0] == pytest.approx(float(r * MP.mpf(1.3) + binomial), rel=AMPLIFIED, abs=0)


# --- what the release approximates ---


@by_name
@pytest.mark.parametrize("points", [100, 200])
def test_the_released_sums_err_by_a_fraction_that_does_not_vanish(scale: NoiseScale, points: int) -> None:
    """c_1 by -1/N of itself, c_2 by -h^2/(2 N): one power of h less than its size."""
    right = form(scale).step(1.0, 1 - 1e-5)
    sums = form(scale, moments=ByParts(LeftRiemann(points))).step(1.0, 1 - 1e-5)

    def c(step: Any, n: int) -> float:
        value: float = step.weight(1.0) * step.h**n * step.phi(n + 1, 1.0)
        return value

    assert c(sums, 0) == c(right, 0)
    assert c(sums, 1) / c(right, 1) - 1 == pytest.approx(-1 / points, rel=5e-5)  # O(h) of a step of 1e-5
    assert c(sums, 2) - c(right, 2) == pytest.approx(-(1e-10) / (2 * points), rel=5e-5, abs=0)  # O(h)


@pytest.mark.parametrize(
    ("size", "end", "points", "errors"),
    [
        (1.0, 0, 100, (-7.6e-3, -3.1e-2)),
        (0.3, 6, 200, (-4.5e-3, -4.8e-2)),
        (0.05, 1, 100, (-9.8e-3, -3.0e-1)),
        (0.05, 6, 100, (-9.8e-3, -5.7e-1)),
    ],
)
def test_the_released_sums_err_as_computed_independently(
    size: float, end: int, points: int, errors: tuple[float, float]
) -> None:
    right, sums = (
        form(NOISE_SCALES[end], moments=m).step(1.0, np.exp(-size))
        for m in (exact, ByParts(LeftRiemann(points)))
    )
    for n, error in enumerate(errors, 1):
        # two digits
        assert sums.phi(n + 1, 1.0) / right.phi(n + 1, 1.0) - 1 == pytest.approx(error, rel=0.02)


def test_small_variances_are_clipped_as_released_and_only_there() -> None:
    right, clipped = form(SDE_5).std, form(SDE_5, clip=1e-6).std
    assert right is not None
    assert clipped is not None
    sizes = np.geomspace(1e-7, 1.0, 50)
    pairs = [(right(0.3, 0.3 * np.exp(-d)), clipped(0.3, 0.3 * np.exp(-d))) for d in sizes]
    assert all(b == (a if a * a >= 1e-6 else 0) for a, b in pairs)
    assert 0 < sum(b == 0 for _, b in pairs) < 50


# --- admissible functions, bad input ---


def test_a_function_of_ones_own_is_an_expression() -> None:
    """phi = x^2 (1 + x): r, growth and noise follow."""
    mine = NoiseScale("mine", x**2 * (1 + x))
    a, b = 2.0, 1.5
    r = b**2 * (1 + b) / (a**2 * (1 + a))
    f = form(mine)
    assert f.ratio(a, b) == pytest.approx(r, rel=SOME_ULP, abs=0)
    assert f.std is not None
    assert f.std(a, b) == pytest.approx(np.sqrt(b**2 - a**2 * r**2), rel=SOME_ULP, abs=0)
    assert plan(er_sde(3, mine)).stochastic
    assert er_sde(3, mine).name == "er-sde-mine-3-corrected"


def test_a_function_is_refused_where_phi_over_x_decreases() -> None:
    bell = NoiseScale("bell", x**2 * sympy.exp(-x))  # growth 1 - x
    assert compile_plan(er_sde(2, bell), VE, times=[1.0, 0.5, 0.1]).stochastic
    with pytest.raises(ValueError, match=r"step 0 of 2 .*must not decrease.*= -0\.5 at x = 1\.5"):
        compile_plan(er_sde(2, bell), VE, times=[1.5, 0.5, 0.1])


def test_sde_4_makes_no_sde_above_1022() -> None:
    for solver in (er_sde(1, SDE_4), released(1, SDE_4)):
        assert compile_plan(solver, VE, times=[1022.3, 900.0]).stochastic
        with pytest.raises(ValueError, match=r"at x = 1022\.4"):
            compile_plan(solver, VE, times=[1022.4, 900.0])
    with pytest.raises(ValueError, match=r"step 0 of 1 .*at x = 2000"):
        compile_plan(er_sde(1, SDE_4), VE, times=[2000.0, 900.0])


@pytest.mark.parametrize(
    ("make_it", "message"),
    [
        (lambda: power(0.5), "must not decrease"),
        (lambda: power(-1), "must not decrease"),
        (lambda: power(float("nan")), "exponent must be a finite number"),
        (lambda: power("2"), "exponent must be"),
        (lambda: power(True), "exponent must be"),
        (lambda: sde_1(1), "eta must differ from 1"),
        (lambda: sde_1(float("inf")), "eta must be a finite number"),
        (lambda: NoiseScale("other", sympy.Symbol("x") ** 2), r"expression in noise_scale\.x"),
        (lambda: NoiseScale("constant", sympy.Integer(2)), r"expression in noise_scale\.x"),
        (lambda: NoiseScale("number", 2.0), r"expression in noise_scale\.x"),
        (lambda: NoiseScale("", x), "name must be"),
        (lambda: NoiseScale("gamma", sympy.gamma(x)), "cannot be evaluated"),
        (lambda: er_sde(0), "order must be an integer from 1 to 8"),
        (lambda: er_sde(True), "order must be"),
        (lambda: uncorrected(2), "order must be an integer from 3 to 8"),
        (lambda: released(4), "order must be an integer from 1 to 3"),
        (lambda: released(2, points=0), "points must be"),
        (lambda: released(2, points=2.5), "points must be"),  # type: ignore[arg-type]
        (lambda: released(2, clip=-1.0), "clip must be"),
        (lambda: released(2, clip=float("nan")), "clip must be"),
    ],
)
def test_bad_arguments_are_named(make_it: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_it()


def test_a_scale_of_another_kind_is_refused() -> None:
    wrong: Any = "v**2"
    with pytest.raises(TypeError, match="scale must be a NoiseScale"):
        er_sde(2, wrong)
    with pytest.raises(ValueError, match=r"must be positive, got phi\(x\)/x = -1 at x = 1"):
        compile_plan(er_sde(2, NoiseScale("negative", -(x**2))), VE, times=[2.0, 1.0])
    with pytest.raises(ValueError, match="times must decrease"):
        compile_plan(er_sde(2), VE, times=[1.0, 2.0])


@pytest.mark.parametrize("n", [1, 5, 39, 43, 100])
@pytest.mark.parametrize("grid", [karras(7.0), uniform_lambda()], ids=lambda g: g.name)
def test_sde_1_compiles_on_the_range_of_edm(n: int, grid: Any) -> None:
    """Where e^(-1/x) underflows a panel has no relative accuracy: it is judged by its share of the whole."""
    plan = compile_plan(er_sde(3, SDE_1), edm(80.0), steps=n, grid=grid, t_start=80.0, t_end=0.002)
    assert plan.nfe == n
