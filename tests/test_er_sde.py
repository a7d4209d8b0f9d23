"""Laws of ER-SDE-Solver: what it reduces to, its orders, its ends, and the replay of the release."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import sympy
import torch
from semilinear.integrators.diffusion.schedule import Schedule, edm, rectified_flow, vp_cosine, vp_linear
from semilinear.integrators.forms.noise_scale import (
    NOISE_SCALES,
    ODE,
    REVERSE_SDE,
    SDE_1,
    SDE_4,
    SDE_5,
    NoiseScale,
    x,
)
from semilinear.integrators.plans.compile import Plan, compile_plan
from semilinear.integrators.plans.files import difference
from semilinear.integrators.plans.program import Row
from semilinear.integrators.run.noise import BrownianPath, per_sample
from semilinear.integrators.run.sampler import sample
from semilinear.integrators.solver import Ramp, Solver
from semilinear.integrators.solvers import SOLVERS, make
from semilinear.integrators.solvers.er_sde import er_sde, released, taylor
from semilinear.integrators.tableaux.tableau import adams, phi3
from semilinear.verification.campaign.measure import MAIN
from semilinear.verification.claims.expectations import EXPECTATIONS
from semilinear.verification.replay.golden import DATA, read, replay_case
from semilinear.verification.studies.flow import Experiment, Study, run

from tests.roundings import SLOPE, SOME_ULP
from tests.slow import slow

VP, VE = vp_linear(), edm(2000.0)
by_name = pytest.mark.parametrize("scale", NOISE_SCALES, ids=lambda s: s.name)
RANGE: dict[str, Any] = {"t_start": 1.0, "t_end": 1e-3}


def plan(solver: Solver, schedule: Schedule = VP, steps: int = 8, **options: Any) -> Plan:
    return compile_plan(solver, schedule, **({"steps": steps} | RANGE | options))


def last_row(step: Any) -> Row:
    row = step.operations[-1]
    assert isinstance(row, Row)
    return row


# --- reductions ---


@pytest.mark.parametrize("schedule", [VP, vp_cosine(), rectified_flow(), edm()], ids=lambda s: s.kind)
def test_the_first_order_with_phi_x_is_ddim(schedule: Schedule) -> None:
    ends: dict[str, Any] = {"t_start": 0.8 * schedule.t_max, "t_end": 1e-3 * schedule.t_max}
    a, b = (plan(solver, schedule, **ends) for solver in (er_sde(1, ODE), make("ddim")))
    assert difference(a, b).value < SOME_ULP


def test_the_first_order_with_phi_x_squared_is_ancestral_ddpm() -> None:
    """q(x_1 | x_0 predicted, x at the start) of the forward process: mean and posterior variance."""
    made = plan(er_sde(1, REVERSE_SDE), prediction="x0")
    for step in made.steps:
        a0, s0, a1, s1 = (g(t) for t in (step.t0, step.t1) for g in (VP.alpha, VP.sigma))
        forward = a0 / a1
        added = s0**2 - forward**2 * s1**2
        row = last_row(step)
        values = {kind: value for kind, _, value in row.terms}
        assert values["x"] == pytest.approx(forward * s1**2 / s0**2, rel=SOME_ULP, abs=0)
        assert values["m"] == pytest.approx(a1 * added / s0**2, rel=SOME_ULP, abs=0)
        assert row.noise[0][1] == pytest.approx(s1 / s0 * np.sqrt(added), rel=SOME_ULP, abs=0)


@by_name
def test_vp_is_ve_in_x_over_alpha(scale: NoiseScale) -> None:
    """The release's VP functions are its VE functions: only the schedule differs."""
    vp = plan(er_sde(3, scale), prediction="x0")
    ve = compile_plan(er_sde(3, scale), VE, times=[VP.rho(t) for t in vp.times], prediction="x0")
    for a, b in zip(vp.steps, ve.steps, strict=True):
        end = VP.alpha(a.t1)
        for (kind, _, v), (_, _, w) in zip(last_row(a).terms, last_row(b).terms, strict=True):
            scaled = v / end * (VP.alpha(a.t0) if kind == "x" else 1)
            assert scaled == pytest.approx(w, rel=SOME_ULP, abs=0)
        noise = [[s for _, s in last_row(step).noise] for step in (a, b)]
        assert [s / end for s in noise[0]] == pytest.approx(noise[1], rel=SOME_ULP, abs=0)


@pytest.mark.parametrize("n", [1, 2, 7])
@pytest.mark.parametrize("scale", [ODE, REVERSE_SDE, SDE_5], ids=lambda s: s.name)
def test_one_gaussian_has_its_exact_mean_in_any_number_of_steps_of_the_reverse_sde(
    scale: NoiseScale, n: int
) -> None:
    """E[x_0 | x_rho] is a martingale along phi = x^2 and no other: order 1 without noise ends in the mean."""
    mean, variance, rhos = 0.7, 0.25, np.geomspace(5.0, 0.1, n + 1)
    made = compile_plan(er_sde(1, scale), VE, times=rhos, prediction="x0")

    def model(y: Any, rho: Any) -> Any:
        return mean + variance / (variance + rho**2) * (y - mean)

    final = sample(made, model, np.array([3.0]), noise=lambda i, v: 0 * v).x[0]
    exact_mean = mean + (variance + 0.1**2) / (variance + 5.0**2) * (3.0 - mean)
    assert (abs(final - exact_mean) < SOME_ULP) == (scale is REVERSE_SDE)


def test_the_released_formula_is_adams_up_to_order_2() -> None:
    assert taylor(1).b == adams(1).b
    for name, weight in taylor(2).b.items():
        assert sympy.simplify(weight - adams(2).b[name]) == 0
    assert any(sympy.simplify(weight - adams(3).b[name]) != 0 for name, weight in taylor(3).b.items())


# --- orders ---


@cache
def experiment() -> Experiment:
    return replace(MAIN, ladder=(8, 16, 32, 64, 96, 128, 192, 256), batch=16).build()


def measured(solver: Solver, start: Any) -> Study:
    return run(solver, experiment(), start=start)


ODES = [e for e in EXPECTATIONS if e.solver.startswith("er-sde-ode") and not e.long]


@pytest.mark.parametrize(
    "expected",
    slow(ODES, lambda e: e.solver.endswith(("exact-integrals", "3-corrected"))),  # 4 has the parts of 3
    ids=lambda e: e.solver,
)
def test_measured_orders_are_the_expected_ones(expected: Any) -> None:
    solver = make(expected.solver)
    for start, order in (("own", expected.own), ("exact", expected.exact)):
        study = measured(solver, start if solver.history else "own")
        assert study.against(order) == "consistent", (start, study.estimate)


def test_a_perturbed_coefficient_lowers_the_order() -> None:
    """The estimator sees 10 per cent in the last coefficient."""
    first, second, third = (adams(k) for k in (1, 2, 3))
    last = replace(third, output=third.output.subs(phi3, phi3 * sympy.Rational(11, 10)))
    perturbed = replace(er_sde(3, ODE), sequence=Ramp((first, second, last)))
    estimate = measured(perturbed, "exact").estimate
    assert estimate.order == pytest.approx(2, abs=SLOPE)
    assert estimate.high < 2.5
    assert measured(er_sde(3, ODE), "exact").against(3) == "consistent"


def test_fewer_quadrature_points_show_the_first_order_sooner() -> None:
    for order in (2, 3):
        study = measured(released(order, ODE, points=3), "exact")
        assert study.against(1) == "consistent"
        assert study.verdict == "lower"


# --- structure ---


def test_the_probability_flow_draws_no_noise() -> None:
    for name in SOLVERS:
        if name.startswith("er-sde"):
            solver = make(name)
            made = plan(solver)
            assert made.stochastic == solver.stochastic == (not name.startswith("er-sde-ode"))
    assert not plan(er_sde(2, NoiseScale("three x", 3 * x))).stochastic


@pytest.mark.parametrize("build", [er_sde, released])
@pytest.mark.parametrize("scale", [ODE, SDE_5, SDE_4], ids=lambda s: s.name)
def test_any_number_of_steps_ends_at_sigma_zero_without_noise(build: Any, scale: NoiseScale) -> None:
    for n in range(1, 21):
        times = [*np.linspace(0.9, 0.1, n), 0.0]
        made = compile_plan(build(3, scale), VP, times=times, final="lower", prediction="x0")
        row = last_row(made.steps[-1])
        assert (row.terms, row.noise) == ((("m", n - 1, 1.0),), ())
        outputs: list[torch.Tensor] = []

        def model(v: torch.Tensor, t: float) -> torch.Tensor:
            outputs.append(torch.tanh(v))  # noqa: B023
            return outputs[-1]  # noqa: B023

        result = sample(made, model, torch.ones(2, 2).double(), noise=per_sample(0))
        assert torch.equal(result.x, outputs[-1])


def test_at_sigma_zero_the_release_is_first_order_and_the_exact_limit_extrapolates() -> None:
    times = [0.9, 0.5, 0.2, 0.1, 0.0]
    row = last_row(compile_plan(released(3), VP, times=times, prediction="x0").steps[-1])
    assert [(kind, state, v) for kind, state, v in row.terms] == [("m", 3, 1.0)]
    row = last_row(compile_plan(er_sde(3), VP, times=times, prediction="x0").steps[-1])
    weights = {times[state]: v for kind, state, v in row.terms}
    for m in range(3):
        assert sum(v * VP.rho(t) ** m for t, v in weights.items()) == pytest.approx(
            float(m == 0), abs=SOME_ULP
        )
    near = last_row(compile_plan(er_sde(3), VP, times=[*times[:-1], 1e-12], prediction="x0").steps[-1])
    # O(rho) at t = 1e-12, where rho = 3e-7
    assert [v for kind, _, v in near.terms if kind == "m"] == pytest.approx(list(weights.values()), rel=5e-5)


@pytest.mark.parametrize("scale", [ODE, REVERSE_SDE, SDE_1, SDE_5], ids=lambda s: s.name)
@pytest.mark.parametrize("order", [1, 2])
def test_a_start_without_signal_is_the_limit_of_starts_with_little(scale: NoiseScale, order: int) -> None:
    """rho = infinity at t = 1: the coefficients of x, model values and noise have limits."""
    first = [
        compile_plan(er_sde(order, scale), vp_cosine(), times=[t, 0.7, 0.4, 0.1], prediction="x0").steps
        for t in (1.0, 1 - 1e-5)
    ]
    for a, b in zip(*first, strict=True):
        values = [
            {(kind, state): v for kind, state, v in last_row(s).terms} | dict(last_row(s).noise)
            for s in (a, b)
        ]
        for key in values[0].keys() | values[1].keys():
            assert values[0].get(key, 0.0) == pytest.approx(values[1].get(key, 0.0), abs=3e-4)  # O(1 - t)


def test_runs_share_a_brownian_path() -> None:
    solver, problem = er_sde(2, REVERSE_SDE), torch.ones(64, 1).double()
    coarse, fine = (plan(solver, steps=n, prediction="x0") for n in (64, 128))
    path = BrownianPath.through(solver.form(VP), (coarse, fine), seed=3)
    ends = [sample(p, lambda v, t: torch.tanh(v), problem, noise=path.noise(p)).x for p in (coarse, fine)]
    other = sample(coarse, lambda v, t: torch.tanh(v), problem, noise=per_sample(4)).x
    # half the steps are 0.02 of another path away
    assert (ends[0] - ends[1]).abs().median() < 0.1 * (ends[0] - other).abs().median()


def test_the_parameters_of_the_release_are_open_by_name() -> None:
    assert make("er-sde-2-released", points=200).name == "er-sde-2-released-200"
    hundred, ports = (plan(make("er-sde-2-released", points=n)) for n in (100, 200))
    assert difference(hundred, ports).value > 1e-3
    assert difference(hundred, plan(make("er-sde-2-released"))).value == 0


def test_the_release_draws_no_noise_in_small_steps() -> None:
    """Its variances below 1e-6 are dropped: the finer the grid, the more of them."""
    for n in (50, 500):
        right, clipped = (plan(solver, steps=n) for solver in (er_sde(1), released(1)))
        drawn = [[bool(last_row(step).noise) for step in p.steps] for p in (right, clipped)]
        assert all(drawn[0])
        assert sum(drawn[1]) < n
    assert drawn == [
        [bool(last_row(step).noise) for step in plan(released(1, clip=c), steps=500).steps]
        for c in (0.0, 1e-6)
    ]


# --- replay ---


@pytest.mark.parametrize(
    "path",
    [
        ["noise", 2, 0, 1],
        ["alphas", 1],
        ["sigmas", 1],
        ["times", 2],
        ["intermediate", 1, 0, 0],
        ["options", "noise_scale_function_id"],
        ["options", "quadrature_points"],
        ["options", "order"],
    ],
)
def test_every_number_of_a_case_counts(path: list[Any]) -> None:
    data = read(DATA / "er-sde.json")
    changed = copy.deepcopy(data["cases"][56])
    assert replay_case(data, 56, changed).ok
    *keys, last = path
    at = changed
    for key in keys:
        at = at[key]
    at[last] = at[last] - 1 if isinstance(at[last], int) else at[last] * (1 + 1e-7)
    assert not replay_case(data, 56, changed).ok


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("model_prediction_type", "score"),
        ("quadrature_rule", "trapezoidal"),
        ("slope", "exact"),
        ("sde_type", "sub-vp"),
        ("grid", "cosine"),
        ("problem", "3d"),
        ("noise_scale_function_id", 8),
        ("noise_scale_function", "x^1.5, eta=0.5"),
    ],
)
def test_options_that_are_not_known_are_named(option: str, value: Any) -> None:
    data = read(DATA / "er-sde.json")
    changed = copy.deepcopy(data["cases"][56])
    changed["options"][option] = value
    assert option in replay_case(data, 56, changed).error


# --- noise scales as Python functions ---


@pytest.mark.parametrize("order", [1, 2, 3])
def test_a_python_function_is_the_expression_that_it_computes(order: int) -> None:
    """The release's default up to the rounding of 0.3, and powers exactly."""
    pairs = (
        (lambda rho: rho * (sympy.exp(rho**0.3) + 10), SDE_5),
        (lambda rho: rho**2, REVERSE_SDE),
        (lambda rho: 3 * rho, ODE),
    )
    for function, scale in pairs:
        made, named = (
            compile_plan(er_sde(order, s), vp_linear(), steps=6, t_start=0.9, t_end=0.01)
            for s in (function, scale)
        )
        assert difference(made, named).value < SOME_ULP
        assert made.stochastic == named.stochastic


@pytest.mark.parametrize(
    "function", [lambda rho: rho * (math.exp(rho**0.3) + 10), lambda rho: rho * np.exp(rho), lambda rho: "x"]
)
def test_a_function_of_floats_alone_is_refused_with_what_to_write(function: Any) -> None:
    with pytest.raises(ValueError, match=r"sympy\.exp|phi must be an expression"):
        er_sde(2, function)
