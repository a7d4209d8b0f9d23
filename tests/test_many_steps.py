"""Many steps at once are the steps one by one; twofold numbers stay within their bounds."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from semilinear.integrators.diffusion.discrete import discrete, linear_betas
from semilinear.integrators.diffusion.schedule import Schedule, rectified_flow, vp_cosine, vp_linear
from semilinear.integrators.forms.form import Form, noise_in_rho
from semilinear.integrators.forms.noise_scale import NOISE_SCALES, NoiseScale, x
from semilinear.integrators.numerics.arithmetic import EACH, FLOAT64
from semilinear.integrators.numerics.twofold import Twofold, phis
from semilinear.integrators.plans import compiler
from semilinear.integrators.plans.compile import Plan, compile_plan
from semilinear.integrators.plans.many import FEWEST
from semilinear.integrators.plans.program import PlanStep
from semilinear.integrators.plans.rounding import Exact
from semilinear.integrators.plans.rounding import phis as exact_phis
from semilinear.integrators.solvers import SOLVERS, make
from semilinear.integrators.solvers.er_sde import er_sde, released
from semilinear.integrators.tableaux.evaluate import function
from semilinear.integrators.tableaux.tableau import Tableau
from semilinear.verification.studies.own_statistics import generic, takes_statistics
from sympy import Rational

from tests.slow import MANY_TERMS, slow

VP = vp_linear()
STEPS = FEWEST + 8


def _one_by_one(monkeypatch: pytest.MonkeyPatch, plan: Callable[[], Plan]) -> Plan:
    with monkeypatch.context() as patch:
        patch.setattr(compiler, "FEWEST", 10**9)
        return plan()


def _same(monkeypatch: pytest.MonkeyPatch, plan: Callable[[], Plan]) -> Plan:
    at_once, singly = plan(), _one_by_one(monkeypatch, plan)
    assert at_once.digest == singly.digest
    assert at_once.increments == singly.increments
    assert [(s.t0, s.t1, s.output, s.low) for s in at_once.steps] == [
        (s.t0, s.t1, s.output, s.low) for s in singly.steps
    ]
    return at_once


TAKES_STATISTICS = frozenset(filter(takes_statistics, SOLVERS))


@pytest.mark.parametrize(
    "name", slow(sorted(SOLVERS.keys() - TAKES_STATISTICS), lambda name: name in MANY_TERMS)
)
def test_many_steps_at_once_are_the_steps_one_by_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the last bit: a step does not depend on the company it keeps."""
    solver = make(name)
    _same(monkeypatch, lambda: compile_plan(solver, VP, steps=STEPS, t_start=0.9, t_end=1e-2))


AT_ONCE = (
    "ddim",
    "dpm-solver++-2m",
    "unipc-3-bh2",
    "deis-tab3",
    "deis-rhoab3",
    "rk3-in-lambda",
    "sa-solver-3",
    "er-sde-3-corrected",
    "er-sde-2-released",
    "score-sde-em",
    "scire-v1-3-released",
    "scire-v2-3m-released",
    "ddpm",
    "dpm++-2s-ancestral",
    "res-2m-ancestral",
)


@pytest.mark.parametrize("name", AT_ONCE)
@pytest.mark.parametrize("schedule", [rectified_flow(), vp_cosine(), discrete(linear_betas(n=12))])
def test_many_steps_of_other_schedules_and_starts(
    name: str, schedule: Schedule, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = partial(compile_plan, generic(name), schedule, steps=STEPS, t_start=0.9, t_end=0.1)
    _same(monkeypatch, partial(compiled, start="exact"))
    _same(monkeypatch, partial(compiled, noise_at_end=False, final="lower"))


@pytest.mark.parametrize("scale", NOISE_SCALES, ids=lambda scale: scale.name)
def test_many_steps_of_noise_scales(scale: NoiseScale, monkeypatch: pytest.MonkeyPatch) -> None:
    """Integrals of functions of one's own, and their rounding."""
    for solver in (er_sde(2, scale), released(2, scale)):
        _same(monkeypatch, partial(compile_plan, solver, VP, steps=STEPS, t_start=0.9, t_end=0.01))


@pytest.mark.parametrize("exponent", [2, Rational(1, 2), Rational(3, 10), -2])
def test_powers_in_arrays_are_those_of_numbers(exponent: Any) -> None:
    """numpy has other ways for some exponents: one of a thousand roots is rounded otherwise in an array."""
    power, values = x**exponent, np.random.default_rng(0).uniform(0.1, 10, 20_000)
    alone = np.array([function(power, FLOAT64)(v) for v in values])
    assert np.array_equal(function(power, EACH)(values), alone)


@pytest.mark.parametrize("name", AT_ONCE)
def test_only_the_start_is_made_one_by_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made, step = list[Tableau](), compiler.StepCompiler.step

    def counted(self: compiler.StepCompiler, tableau: Tableau, *where: Any) -> PlanStep:
        made.append(tableau)
        return step(self, tableau, *where)

    monkeypatch.setattr(compiler.StepCompiler, "step", counted)
    solver = make(name)
    compile_plan(solver, VP, steps=STEPS, t_start=0.9, t_end=0.1)
    assert len(made) <= solver.history + 2  # a formula that carries an evaluation has none at first


@pytest.mark.parametrize("name", ["ddim", "dpm-solver++-2m", "unipc-3-bh2", "dpm-solver++-3s"])
def test_steps_at_edges_stay_limits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From alpha = 0 to sigma = 0: coefficients are limits, and the history begins at infinity."""
    solver, times = make(name), np.linspace(1.0, 0.0, STEPS + 1)
    plan = _same(
        monkeypatch,
        lambda: compile_plan(solver, rectified_flow(), times=times, final="lower", prediction="flow"),
    )
    assert plan.steps[0].t0 == 1.0


def test_steps_that_differ_in_kind_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long and short steps take different variables of integration, far ones different moments."""
    times = [
        *np.linspace(0.999, 0.5, STEPS),
        *np.geomspace(0.4, 1e-4, STEPS)[::3],
        *np.geomspace(9e-5, 1e-5, STEPS),
    ]
    for name in ("deis-tab2", "dpm-solver++-2m"):
        solver = make(name)
        _same(monkeypatch, partial(compile_plan, solver, VP, times=times))


def test_data_are_encoded_by_many_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    times = np.linspace(0.01, 0.9, STEPS + 1)
    _same(monkeypatch, lambda: compile_plan(make("deis-tab2"), VP, times=times))


def test_a_step_of_many_that_is_not_finite_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def form(schedule: Schedule) -> Form:
        plain = noise_in_rho(schedule)
        return replace(plain, affine=lambda t: (0 * t, np.where(t < 0.3, np.nan, 1.0)[()], 0 * t))

    solver = replace(make("deis-rhoab1"), form=form)
    refusals = []
    for compiled in (lambda plan: plan(), lambda plan: _one_by_one(monkeypatch, plan)):
        with pytest.raises(ValueError, match=r"step \d+ of 20 .*not a finite real number") as refused:
            compiled(lambda: compile_plan(solver, VP, steps=STEPS, t_start=0.9, t_end=0.01))
        refusals.append(str(refused.value))
    assert refusals[0] == refusals[1]


def test_formulas_that_take_no_arrays_are_asked_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of `math`, or with a comparison, in a schedule of one's own: they know numbers only."""
    f = VP.formulas
    own = {
        "alpha": lambda t: math.exp(f.log_alpha(t)),
        "lam": lambda t: f.lam(t) if t < 2 else math.nan,
        "rho": lambda t: math.sqrt(math.expm1(-2 * f.log_alpha(t))),
    }
    for name, formula in own.items():
        schedule = replace(VP, formulas=replace(f, **{name: formula}))
        _same(
            monkeypatch,
            partial(compile_plan, make("unipc-3-bh2"), schedule, steps=STEPS, t_start=0.9, t_end=0.1),
        )


def test_elementwise_operators_are_not_steps() -> None:
    """A coefficient with as many components as there are steps is a coefficient all the same."""
    operator = np.linspace(0.5, 1.5, STEPS)

    def form(schedule: Schedule) -> Form:
        plain = noise_in_rho(schedule)
        return replace(plain, affine=lambda t: (0 * operator, operator, 0))

    solver = replace(make("deis-rhoab1"), form=form)
    plan = compile_plan(solver, VP, steps=STEPS, t_start=0.9, t_end=0.01)
    assert all(step.arrays[0].shape == operator.shape for step in plan.steps)


# --- numbers in twice the precision ---

NUMBER = st.floats(1e-12, 1e12) | st.floats(-1e12, -1e-12)


def _exactly(v: Twofold) -> list[Fraction]:
    return [Fraction(h) + Fraction(low) for h, low in zip(v.high.tolist(), v.low.tolist(), strict=True)]


@settings(max_examples=80, deadline=None)
@given(NUMBER, NUMBER, NUMBER, st.integers(-3, 4).filter(bool))
def test_twofold_numbers_stay_within_their_bounds(a: float, b: float, c: float, n: int) -> None:
    x, y, z = (Twofold(np.array([v]), np.zeros(1), np.zeros(1)) for v in (a, b, c))
    p, q, r = Fraction(a), Fraction(b), Fraction(c)
    for found, wanted in (
        (x * y + z, p * q + r),
        (x * y + z * -1 * x, p * q - r * p),
        ((1 / x) * y, q / p),
        ((x * y * z) ** n, (p * q * r) ** n),
        (x * Fraction(1, 3) + y, p / 3 + q),
    ):
        assert abs(_exactly(found)[0] - wanted) <= Fraction(float(found.error[0]))
        rounded, certain = found.rounded()
        assert not certain[0] or rounded[0] == float(wanted)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-20, 20), min_size=1, max_size=4), st.integers(0, 8))
def test_twofold_phi_functions_stay_within_their_bounds(x: list[float], most: int) -> None:
    found = phis(most, Twofold(np.array(x), np.zeros(len(x)), np.zeros(len(x))))
    for i, at in enumerate(x):
        for k, wanted in enumerate(exact_phis(most, Exact(*at.as_integer_ratio()))):
            assert abs(_exactly(found[k])[i] - wanted.fraction) <= Fraction(float(found[k].error[i]))


def test_what_is_certain_is_nearly_everything() -> None:
    """Weights that cancel like z^3 still have digits to spare; a tie, and a sum that is zero, have none."""
    z = -np.geomspace(1e-3, 4.0, 500)
    _, one, two, three = phis(3, Twofold(z, 0 * z, 0 * z))
    weight = one * Fraction(1, 2) + two * -1 + three * Fraction(1, 2) * 0
    assert weight.rounded()[1].all()
    half = Twofold(np.array([1.0]), np.array([2.0**-53]), np.array([0.0]))
    assert not half.rounded()[1].any()
    assert not (half + half * -1).rounded()[1].any()
