from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import pytest
import sympy
from semilinear.integrators.diffusion.schedule import vp_cosine, vp_linear
from semilinear.integrators.forms.reverse import NoiseLevel, sde_data, sde_noise
from semilinear.integrators.numerics.arithmetic import multiprecision
from semilinear.integrators.plans.compile import compile_plan
from semilinear.integrators.plans.program import Row
from semilinear.integrators.solvers.stochastic import sa_solver

from tests.roundings import SOME_ULP, THIRTY_DIGITS

VP = vp_linear()
MP = multiprecision(30)
T0, T1 = 0.6, 0.35
VARYING = NoiseLevel((0.5, 0.4), (0, 1, Fraction(1, 2)))
LEVELS: dict[str, Any] = {"half": 0.5, "one": 1, "root2": sympy.sqrt(2), "varying": VARYING}
BUILD = {"data": sde_data, "noise": sde_noise}
NONSENSE: Any = "nonsense"


def squared(tau: Any, lam: Any) -> Any:
    """tau^2 at lambda, from the definition."""
    if not isinstance(tau, NoiseLevel):
        return MP.number(tau**2)
    past = sum(lam > VP.formulas.lam(MP.number(t)) for t in tau.times)
    return MP.number(Fraction(tau.levels[past]) ** 2)


def between(tau: Any, a: Any, b: Any) -> Any:
    """int tau^2 dlambda, level by level."""
    if not isinstance(tau, NoiseLevel):
        return squared(tau, a) * (b - a)
    ends = [a, *(min(max(VP.formulas.lam(MP.number(t)), a), b) for t in tau.times), b]
    return sum(
        MP.number(level) ** 2 * (v - u)
        for level, (u, v) in zip(tau.levels, itertools.pairwise(ends), strict=True)
    )


def integral(f: Any, lam0: Any, lam1: Any, tau: Any) -> Any:
    breaks = [VP.formulas.lam(MP.number(t)) for t in getattr(tau, "times", ())]
    inside = sorted([lam0, lam1, *(b for b in breaks if lam0 < b < lam1)])
    return MP.context.quad(f, inside)


# --- the forms are the SDEs that they say they are ---


@pytest.mark.parametrize("c", [1, Fraction(2, 5)])
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("prediction", BUILD)
def test_moments_and_noise_are_the_integrals_that_define_them(
    prediction: str, level: str, c: Fraction
) -> None:
    """x_c = Phi_c/Phi_0 x + Phi_c int w s^(k-1)/(k-1)! ds, from A(lambda) = int tau^2 dlambda by mpmath."""
    tau, f = LEVELS[level], VP.formulas
    t0, t1 = MP.number(T0), MP.number(T1)
    step = BUILD[prediction](tau)(VP).step(t0, t1)
    assert step.form.std is not None
    lam0, h, at = step.tau0, step.h, MP.number(c)
    t_c = step.time(at)
    lam_c = lam0 + at * h
    area = lambda a, b: between(tau, a, b)  # noqa: E731
    if prediction == "data":
        linear = f.sigma(t_c) / f.sigma(t0) * MP.exp(-area(lam0, lam_c))
        weight = lambda v: (1 + squared(tau, v)) * MP.exp(v - lam_c - area(v, lam_c)) * f.alpha(t_c)  # noqa: E731
        variance = -(f.sigma(t_c) ** 2) * MP.expm1(-2 * area(lam0, lam_c))
    else:
        linear = f.alpha(t_c) / f.alpha(t0)
        weight = lambda v: -f.alpha(t_c) * (1 + squared(tau, v)) * MP.exp(-v)  # noqa: E731
        density = lambda v: 2 * squared(tau, v) * MP.exp(-2 * v)  # noqa: E731
        variance = f.alpha(t_c) ** 2 * integral(density, lam0, lam_c, tau)
    assert abs(step.linear(at) / linear - 1) < THIRTY_DIGITS
    assert (
        abs(step.form.std(t0, t_c) ** 2 / variance - 1) < THIRTY_DIGITS
        if variance
        else step.form.std(t0, t_c) == 0
    )
    for k in (1, 2) if isinstance(tau, NoiseLevel) else (1, 2, 3, 4):
        moment = lambda v, k=k: weight(v) * (v - lam0) ** (k - 1) / math.factorial(k - 1)  # noqa: E731
        exact = integral(moment, lam0, lam_c, tau)
        assert abs(step.weight(at) * h ** (k - 1) * at**k * step.phi(k, at) / exact - 1) < THIRTY_DIGITS


@pytest.mark.parametrize("prediction", BUILD)
@pytest.mark.parametrize("level", LEVELS)
def test_a_step_is_made_of_shorter_ones(prediction: str, level: str) -> None:
    form = BUILD[prediction](LEVELS[level])(VP)
    assert form.std is not None
    for middle in (0.55, 0.45, 0.38):
        parts = form.ratio(middle, T1) ** 2 * form.std(T0, middle) ** 2 + form.std(middle, T1) ** 2
        assert form.std(T0, T1) ** 2 == pytest.approx(parts, rel=SOME_ULP, abs=0)
        assert form.ratio(T0, T1) == pytest.approx(
            form.ratio(T0, middle) * form.ratio(middle, T1), rel=SOME_ULP, abs=0
        )


@pytest.mark.parametrize("prediction", BUILD)
@pytest.mark.parametrize("schedule", [vp_linear(), vp_cosine()], ids=lambda s: s.kind)
def test_a_constant_model_is_solved_exactly_at_every_noise_level(prediction: str, schedule: Any) -> None:
    """Of x = alpha a + sigma b with the model's value constant, the drift alone: x_0 = a in data prediction
    keeps alpha a + (sigma b) e^-A, eps = b in noise prediction adds tau^2 to the flow.
    """
    for tau in LEVELS.values():
        form = BUILD[prediction](tau)(schedule)
        step = form.step(T0, T1, 1)
        f = schedule.formulas
        first = step.weight(1.0) * step.phi(1, 1.0)
        if prediction == "data":
            assert step.linear(1.0) * f.alpha(T0) + first == pytest.approx(f.alpha(T1), rel=SOME_ULP, abs=0)
        else:
            ends = f.sigma(T1) - f.alpha(T1) * f.rho(T0)
            assert first / ends >= 1 - 1e-13  # equality where tau = 0


@pytest.mark.parametrize("prediction", BUILD)
@pytest.mark.parametrize("level", LEVELS)
def test_the_first_moment_has_its_limit_at_sigma_zero(prediction: Any, level: str) -> None:
    solver = sa_solver(1, tau=LEVELS[level], prediction=prediction)
    at, near = (compile_plan(solver, VP, times=[1.0, 0.3, t]) for t in (0.0, 1e-15))
    ends = []
    for made in (at, near):
        row = made.steps[-1].operations[-1]
        assert isinstance(row, Row)
        weights = {(k, s): float(v) for k, s, v in row.terms}
        ends.append(
            [
                weights.get(("x", 1), 0.0),
                weights["m", 1],
                sum(float(w) for _, w in row.noise),
            ]
        )
    assert ends[0] == pytest.approx(ends[1], rel=1e-5, abs=1e-6)  # O(sigma) away from the limit


@pytest.mark.parametrize("tau", [-1, float("nan"), float("inf"), NONSENSE, True, None, sympy.pi])
def test_levels_that_are_no_numbers_are_refused(tau: Any) -> None:
    for build in (sde_data, sde_noise):
        with pytest.raises(ValueError, match="tau must be a number >= 0"):
            build(tau)


def test_noise_levels_are_checked() -> None:
    with pytest.raises(ValueError, match="one value more than times"):
        NoiseLevel((0.5,), (1,))
    with pytest.raises(ValueError, match="times must decrease"):
        NoiseLevel((0.4, 0.5), (1, 0, 1))
    with pytest.raises(ValueError, match="tau must be"):
        NoiseLevel((0.5,), (1, -1))
