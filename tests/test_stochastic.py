from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable
from operator import attrgetter
from typing import Any

import numpy as np
import pytest
import sympy
from semilinear.analysis.convergence import OrderEstimate
from semilinear.integrators.diffusion import grids
from semilinear.integrators.diffusion.schedule import Schedule, edm, rectified_flow, vp_cosine, vp_linear
from semilinear.integrators.forms.form import Form
from semilinear.integrators.forms.reverse import NoiseLevel, sde_data, sde_noise
from semilinear.integrators.plans.compile import Plan, compile_plan
from semilinear.integrators.plans.program import Row
from semilinear.integrators.run.noise import BrownianPath
from semilinear.integrators.run.sampler import sample
from semilinear.integrators.solver import Ramp, Repeat, Solver
from semilinear.integrators.solvers import SOLVERS, dpm_solver, make
from semilinear.integrators.solvers.stochastic import sa_solver, seeds
from semilinear.integrators.tableaux.tableau import N, Stage, Tableau, phi, phi1
from semilinear.verification.campaign.measure import StochasticMeasured
from semilinear.verification.claims.expectations import STOCHASTIC_EXPECTATIONS, unmeasured
from semilinear.verification.problems.linear_law import Gaussians, LinearLaw
from semilinear.verification.studies.gaussian import (
    CASES,
    StochasticExperiment,
    StochasticStudy,
    estimates,
    respond,
    strong_error,
    study,
)
from semilinear.verification.studies.ladders import GAUSSIAN, GAUSSIAN_LONG

from tests.roundings import SLOPE, SOME_ULP
from tests.slow import slow

VP = vp_linear()
EXPERIMENT = StochasticExperiment()
LAM0, LAM1 = EXPERIMENT.lam_start, EXPERIMENT.lam_end
NONSENSE: Any = "nonsense"
BUILD = {"data": sde_data, "noise": sde_noise}


def marginal(schedule: Schedule, t: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of x_t."""
    alpha, sigma = float(schedule.alpha(t)), float(schedule.sigma(t))
    return alpha * CASES.mean, alpha**2 * CASES.variance + sigma**2


# --- the exact law ---


@pytest.mark.parametrize("prediction", BUILD)
@pytest.mark.parametrize(
    ("schedule", "tau"),  # a schedule is known by its marginals: two tau for each, and all on one
    slow(
        itertools.product([VP, vp_cosine(), edm(), rectified_flow()], [0, 0.5, 1, sympy.sqrt(2), "level"]),
        lambda case: case[0] is not VP and case[1] not in (1, "level"),
    ),
    ids=lambda v: str(getattr(v, "kind", v)),
)
def test_the_law_of_a_form_is_that_of_the_reverse_sde(schedule: Schedule, prediction: str, tau: Any) -> None:
    """Read off the form, it is the closed form that keeps the marginals (er-sde.md 7.2, phi = rho^(1+tau^2)):
    M = (v_1/v_0)^(1/2) prod [e^(2 h) (1 + c e^(2 lambda_0))/(1 + c e^(2 lambda_1))]^(-tau^2/2).
    """
    t0, t1, middle = (float(schedule.t_of_lam(v)) for v in (LAM0, LAM1, 0.3))
    if tau == "level":
        tau, pieces = NoiseLevel((middle,), (1, 0.25)), [(LAM0, 0.3, 1.0), (0.3, LAM1, 0.0625)]
    else:
        pieces = [(LAM0, LAM1, float(tau**2))]
    law = LinearLaw(BUILD[prediction](tau)(schedule), CASES, t0, t1)
    (mean0, v0), (mean1, v1) = (marginal(schedule, t) for t in (t0, t1))
    c = CASES.variance
    exponent = sum(
        square * (2 * (b - a) + np.log1p(c * np.exp(2 * a)) - np.log1p(c * np.exp(2 * b)))
        for a, b, square in pieces
    )
    propagator = np.sqrt(v1 / v0) * np.exp(-exponent / 2)
    mean, variance = law.moments
    scale = 1 + np.abs(mean1).max() + v0.max()
    assert np.abs(mean - mean1 - propagator * (CASES.start - mean0)).max() < SOME_ULP * scale
    assert np.abs(variance - v1 + propagator**2 * v0).max() < SOME_ULP * scale
    assert law.error < SOME_ULP * scale


def test_the_law_needs_an_sde() -> None:
    kernel = dataclasses.replace(sde_data()(VP), linear=lambda t0, t1: 1.0)
    with pytest.raises(ValueError, match="discretised kernel"):
        LinearLaw(kernel, CASES, 0.5, 0.1)
    with pytest.raises(ValueError, match="lambda must increase"):
        LinearLaw(sde_data()(VP), CASES, 0.1, 0.5)
    with pytest.raises(ValueError, match="one shape"):
        Gaussians(np.zeros(2), np.ones(3), np.zeros(2))
    with pytest.raises(ValueError, match="variance must be >= 0"):
        Gaussians(np.zeros(2), -np.ones(2), np.zeros(2))


# --- runs as affine maps ---


def compiled(solver: Solver, n: int) -> Plan:
    return compile_plan(
        solver, VP, steps=n, grid=EXPERIMENT.grid, t_start=EXPERIMENT.times[0], t_end=EXPERIMENT.times[1]
    )


@pytest.mark.parametrize("name", ["sde-dpm-solver++-2m", "seeds-3", "sa-solver-3-4"])
def test_a_run_is_the_superposition_of_its_responses(name: str) -> None:
    plan = compiled(make(name), 6)
    response = respond(plan, EXPERIMENT.model, CASES.start)
    z = np.random.default_rng(0).standard_normal((len(plan.increments), CASES.start.size))
    run = sample(plan, EXPERIMENT.model, CASES.start[None], noise=[v[None] for v in z]).x[0]
    assert np.abs(run - response.mean - np.sum(response.impulses * z, axis=0)).max() < SOME_ULP
    assert response.variance() == pytest.approx(np.sum(response.impulses**2, axis=0), rel=SOME_ULP, abs=0)


def test_the_mean_of_data_prediction_is_exact_at_level_one() -> None:
    """E[x_0 | x_t] is a martingale along the reverse SDE, whatever the step (er-sde.md, section 3)."""
    for n in (1, 2, 5):
        response = respond(compiled(make("sde-dpm-solver++-1"), n), EXPERIMENT.model, CASES.start)
        assert np.abs(response.mean - EXPERIMENT.law(sde_data()).moments[0]).max() < SOME_ULP


@pytest.mark.parametrize("name", ["seeds-1", "seeds-2", "sde-dpm-solver++-2m", "sa-solver-2-2"])
def test_the_strong_error_is_the_distance_to_a_fine_run_on_the_same_path(name: str) -> None:
    """Against exponential Euler with 800 steps: responses to the path's increments, one by one."""
    solver = make(name)
    form = solver.form(VP)
    coarse = compiled(solver, 4)
    euler = Tableau((), phi1 * N(0))
    fine_times = np.linspace(LAM0, LAM1, 801)
    ends = {t for pair in coarse.increments if pair for t in pair}
    times = sorted({*(float(VP.t_of_lam(v)) for v in fine_times[1:-1]), *ends}, reverse=True)
    first = Solver(name="fine", form=solver.form, sequence=Repeat(euler, euler), claimed=1, source="test")
    fine = compile_plan(first, VP, times=times)
    a, b = (respond(p, EXPERIMENT.model, CASES.start) for p in (coarse, fine))
    spans = [pair for pair in coarse.increments if pair]
    squares = (a.mean - b.mean) ** 2
    assert form.std is not None
    for response, pair in zip(b.impulses, fine.increments, strict=True):
        assert pair is not None
        k = next(i for i, (start, end) in enumerate(spans) if start >= pair[0] and pair[1] >= end)
        share = form.ratio(pair[1], spans[k][1]) * form.std(*pair) / form.std(*spans[k])
        squares = squares + (response - share * a.impulses[k]) ** 2
    exact = strong_error(EXPERIMENT.law(solver.form), coarse, a)
    assert exact == pytest.approx(np.sqrt(squares), rel=0.02)  # the fine run's own error


def test_without_noise_the_strong_error_is_that_of_the_mean() -> None:
    solver = sa_solver(2, tau=0)
    plan, law = compiled(solver, 8), EXPERIMENT.law(solver.form)
    response = respond(plan, EXPERIMENT.model, CASES.start)
    assert strong_error(law, plan, response) == pytest.approx(
        np.abs(response.mean - law.moments[0]), rel=SOME_ULP, abs=0
    )


def test_plans_without_a_path_are_refused() -> None:
    ancestral = dataclasses.replace(
        make("sde-dpm-solver++-1"), noising=lambda s, t0, t1, i, n: (t0, t1 - (t0 - t1) / 4)
    )
    plan = compiled(ancestral, 3)
    with pytest.raises(ValueError, match="noise that is not its SDE's"):
        strong_error(EXPERIMENT.law(sde_data()), plan, respond(plan, EXPERIMENT.model, CASES.start))
    with pytest.raises(ValueError, match="one input"):
        respond(
            compile_plan(make("sde-dpm-solver++-2m"), VP, times=[0.6, 0.5, 0.4], start="exact"),
            EXPERIMENT.model,
            CASES.start,
        )


def test_bad_experiments_are_named() -> None:
    with pytest.raises(TypeError, match="data must be a Gaussians"):
        StochasticExperiment(data=NONSENSE)
    with pytest.raises(TypeError, match="solver must be a Solver"):
        study(NONSENSE)


# --- orders ---


ONE_OF_EACH_KIND = (
    "sde-dpm-solver++-1",
    "sde-dpm-solver-2m",
    "sde-dpm-solver++-2s-released",
    "sde-dpm-solver++-3m-corrected",
    "seeds-3",
    "k-diffusion-3m-sde-released",
    "sa-solver-2-2",
    "er-sde-1-released",
    "er-sde-3-corrected",
    "ddim-eta",
    "dpm-2-ancestral",
    "euler-churn",
    "dpm-2-churn",
)
"""Single- and multistep, noise and data, PECE, Riemann sums, steps back to noise; the others are slow."""


@pytest.mark.parametrize(
    "expectation",
    slow(STOCHASTIC_EXPECTATIONS, lambda e: e.long or e.solver not in ONE_OF_EACH_KIND),
    ids=attrgetter("solver"),
)
def test_solvers_have_the_orders_that_are_expected(expectation: Any) -> None:
    experiment = StochasticExperiment(ladder=GAUSSIAN_LONG) if expectation.long else EXPERIMENT
    result = study(expectation.build(), experiment)
    asserted = expectation.weak is not None or expectation.strong is not None
    assert StochasticMeasured(expectation, result).as_expected is (True if asserted else None)
    above = result.against(3)  # nothing is of weak order 3; a slope that still falls decides nothing
    assert above == "lower" or (above == "inconclusive" and expectation.weak in (None, 1))
    assert result.bound < SOME_ULP
    assert result.marginal == (expectation.build().noising is not None)


def test_the_third_moment_by_left_sums_has_strong_order_a_half_in_the_limit() -> None:
    """E^2 = (a h)^2 + b^2 h with b/a = 0.007: the slope leaves 1 from 500 steps on."""
    released = next(e for e in STOCHASTIC_EXPECTATIONS if e.solver == "er-sde-3-released")
    n = (128, 256, 512, 1024)
    result = study(released.build(), StochasticExperiment(ladder=n))
    squares = [(p.error * p.n) ** 2 for p in result.strong.points]
    growth = np.diff(squares) / np.diff(n)
    assert growth[2] > 2e-7
    assert result.strong.slopes[2] < 0.99 < 1 < result.strong.slopes[0]


def test_every_stochastic_solver_has_one_expectation_and_a_reason_where_it_differs() -> None:
    names = [e.solver for e in STOCHASTIC_EXPECTATIONS]
    assert {*names, *unmeasured()} == {name for name in SOLVERS if make(name).stochastic}
    assert len(names) == len(set(names))
    assert all(e.reason for e in STOCHASTIC_EXPECTATIONS if e.weak != e.build().claimed)


def rewired(solver: Solver, change: Callable[[Row, bool], Row]) -> Callable[[int], Plan]:
    """Plans of a solver with the noise of its rows changed; the flag says whether a row is a step's last."""

    def build(n: int) -> Plan:
        plan = compiled(solver, n)
        steps = []
        for step in plan.steps:
            rows = [
                change(op, op.state == step.output) if isinstance(op, Row) else op for op in step.operations
            ]
            steps.append(dataclasses.replace(step, operations=tuple(rows)))
        return dataclasses.replace(plan, steps=tuple(steps))

    return build


def weak_slopes(build: Callable[[int], Plan], solver: Solver) -> tuple[float, float]:
    """Slopes of the errors of mean and variance from 64 to 256 steps."""
    mean, variance = EXPERIMENT.law(solver.form).moments
    responses = [respond(build(n), EXPERIMENT.model, CASES.start) for n in (64, 256)]
    errors = [(np.linalg.norm(r.mean - mean), np.linalg.norm(r.variance() - variance)) for r in responses]
    (a, b), (c, d) = errors
    return math.log(a / c, 4), math.log(b / d, 4)


def test_the_wrong_variant_is_the_released_solver() -> None:
    """Written as a tableau, the released stage has the response of the rewired plan."""
    released = compiled(make("sde-dpm-solver++-2s-released"), 3)
    assert [pair is None for pair in released.increments] == [True, False] * 3

    def independent(row: Row, last: bool) -> Row:
        index = row.noise[-1][0] if last else row.noise[0][0]
        return dataclasses.replace(row, noise=((index, math.sqrt(sum(w**2 for _, w in row.noise))),))

    by_hand = rewired(make("sde-dpm-solver++-2s"), independent)(3)
    a, b = (respond(p, EXPERIMENT.model, CASES.start) for p in (released, by_hand))
    assert np.abs(a.mean - b.mean).max() < SOME_ULP
    assert np.abs(a.impulses - b.impulses).max() < SOME_ULP


def test_independent_stage_noise_loses_the_order_of_the_variance_and_not_of_the_mean() -> None:
    """A stage with noise of its own, as in diffusers' singlestep sde-dpmsolver++ (docs/mathematics.md, 7)."""

    def independent(row: Row, last: bool) -> Row:
        index = row.noise[-1][0]
        return dataclasses.replace(row, noise=((index, math.sqrt(sum(w**2 for _, w in row.noise))),))

    mean, variance = weak_slopes(rewired(seeds(2), independent), seeds(2))
    assert mean == pytest.approx(2, abs=SLOPE)
    assert variance == pytest.approx(1, abs=SLOPE)


def test_stages_of_drift_alone_lose_the_order_of_the_variance_and_not_of_the_mean() -> None:
    def drift(row: Row, last: bool) -> Row:
        return row if last else dataclasses.replace(row, noise=())

    mean, variance = weak_slopes(rewired(seeds(2), drift), seeds(2))
    assert mean == pytest.approx(2, abs=SLOPE)
    assert variance == pytest.approx(1, abs=SLOPE)
    assert weak_slopes(rewired(seeds(2), lambda row, last: row), seeds(2)) == pytest.approx((2, 2), abs=SLOPE)


def test_an_ancestral_step_is_of_weak_order_one_whatever_the_order_of_its_ode_part() -> None:
    """k-diffusion issue 59: sample_dpmpp_2s_ancestral is no solver of the reverse SDE of order 2.  A step of
    2S to rho_1^2/rho_0, then noise up to rho_1.
    """

    def down(schedule: Schedule, t0: Any, t1: Any, index: int, count: int) -> tuple[Any, Any]:
        f = schedule.formulas
        return t0, f.t_of_rho(f.rho(t1) ** 2 / f.rho(t0))

    steps = dpm_solver.singlestep(2, "dpm-solver++")
    result = study(dataclasses.replace(steps, noising=down), form=sde_data())
    assert result.against(1) == "consistent"
    assert result.against(2) == "lower"
    assert result.strong_verdict(1) == "inconclusive"


def midpoint(weight: Any) -> Solver:
    """SEEDS-2 with a factor on its correction."""
    half = sympy.Rational(1, 2)
    tableau = Tableau(
        (Stage(half, half * phi(1, half) * N(0)),),
        phi1 * N(0) + weight * phi1 * (N(1) - N(0)),
        stage_noise=True,
    )
    return Solver(
        name="midpoint", form=sde_noise(), sequence=Repeat(tableau, tableau), claimed=2, source="test"
    )


def test_a_changed_coefficient_lowers_the_weak_order() -> None:
    assert study(midpoint(1)).against(2) == "consistent"
    assert study(midpoint(sympy.Rational(9, 10))).against(2) == "lower"


def test_noise_of_the_wrong_size_does_not_converge() -> None:
    """A step's standard deviation one percent too large leaves the variance where it is: order 0."""

    def form(schedule: Schedule) -> Form:
        right = sde_noise()(schedule)
        assert right.std is not None
        std = right.std
        return dataclasses.replace(right, std=lambda t0, t1: 1.01 * std(t0, t1))

    louder = dataclasses.replace(make("seeds-2"), form=form)
    result = study(louder, form=sde_noise())
    assert result.variance.order == pytest.approx(0, abs=1e-3)  # a plateau of 1 %
    assert result.against(1) == result.strong_verdict(1) == "lower"


@pytest.mark.parametrize("tau", [0.5, sympy.sqrt(2)])
@pytest.mark.parametrize("prediction", BUILD)
def test_orders_do_not_depend_on_the_noise_level(prediction: Any, tau: Any) -> None:
    result = study(sa_solver(2, tau=tau, prediction=prediction))
    assert result.against(2) == result.strong_verdict(1) == "consistent"


def test_without_noise_the_orders_are_those_of_the_ode() -> None:
    """Adams-Bashforth 3 and -Moulton 3 in one step: third order, which the corrected first step allows."""
    result = study(sa_solver(2, 3, tau=0), StochasticExperiment(grid=grids.uniform_lambda()), final="full")
    assert result.exact == {"variance"}
    assert result.weak.order == pytest.approx(3, abs=SLOPE)
    assert result.strong.order == result.mean.order


# --- verdicts ---


def estimate(low: float, high: float) -> OrderEstimate:
    return OrderEstimate((low + high) / 2, low, high, (4, 8, 16, 32), ())


@pytest.mark.parametrize(
    ("mean", "variance", "exact", "verdict"),
    [
        ((1.9, 2.1), (1.95, 2.05), (), "consistent"),
        ((2.9, 3.1), (1.9, 2.1), (), "consistent"),
        ((1.9, 2.1), (0.9, 1.1), (), "lower"),
        ((0.9, 1.1), (1.9, 2.1), ("mean",), "consistent"),
        ((1.5, 2.5), (1.9, 2.1), (), "inconclusive"),
        ((2.9, 3.1), (2.8, 3.2), (), "higher"),
        ((2.9, 3.1), (2.8, 3.2), ("mean", "variance"), "higher"),
    ],
)
def test_the_weak_order_is_the_lower_of_mean_and_variance(
    mean: Any, variance: Any, exact: Any, verdict: str
) -> None:
    parts = estimate(*mean), estimate(*variance), estimate(0.9, 1.1)
    result = StochasticStudy("test", *parts, frozenset(exact), 0.0, (), False)
    assert result.against(2) == verdict
    assert result.strong_verdict(1) == "consistent"


N_STEPS = np.array(GAUSSIAN, dtype=float)
ROUNDING = 2.0**-53 * N_STEPS**0.5
LADDERS: dict[str, np.ndarray] = {
    "constant": N_STEPS**0,
    "rising to a limit": 1 - 1 / N_STEPS,
    "falling to a limit": 1 + 4 / N_STEPS,
    "soon at a limit": 1 - np.exp(-N_STEPS / 40),
    "growth that slows": N_STEPS / (100 + N_STEPS),
    "logarithm": np.log(N_STEPS),
    "sqrt n": (N_STEPS / 8) ** 0.5,
    "n": N_STEPS / 8,
    "n^2": (N_STEPS / 8) ** 2,
}
LIMITED = tuple(LADDERS)[:6]


def weak(mean: np.ndarray, variance: np.ndarray = ROUNDING) -> StochasticStudy:
    """A study of these errors, (n,) each, on states of the size of those of `CASES`."""
    exact = EXPERIMENT.exact(None, True)
    errors = [{"mean": np.full(6, m), "variance": np.full(6, v)} for m, v in zip(mean, variance, strict=True)]
    floors = [EXPERIMENT.floor(n, exact) for n in GAUSSIAN]
    found, none = estimates(GAUSSIAN, errors, floors, EXPERIMENT.small(exact))
    parts = found["mean"], found["variance"], found["mean"]
    return StochasticStudy("test", *parts, none, 0.0, (), True)


@pytest.mark.parametrize("size", [1e-12, 2e-9, 1e-6])
@pytest.mark.parametrize("name", LIMITED)
def test_an_error_that_tends_to_a_limit_is_never_passed(name: str, size: float) -> None:
    """Its weak order is 0: nothing is confirmed, whatever the other moment shows."""
    bias = size * LADDERS[name]
    alone, beside = weak(bias), weak(bias, 0.3 * N_STEPS**-2)
    for claimed in (1, 2, 3, 10):
        assert alone.against(claimed) in ("inconclusive", "lower")
        assert beside.against(claimed) == "lower" or (
            claimed <= 2 and beside.against(claimed) == "inconclusive"
        )
    if size < 1e-6:
        assert {alone.against(10), alone.against(2), beside.against(2)} == {"inconclusive"}
        assert "mean: errors stop falling" in alone.reason(10)


@pytest.mark.parametrize("size", [1e-13, 1e-11])
@pytest.mark.parametrize("name", ["sqrt n", "n", "n^2"])
def test_an_error_that_grows_as_coefficients_add_up_is_set_aside_and_shows_nothing(
    name: str, size: float
) -> None:
    drift = size * LADDERS[name]
    alone = weak(drift)
    assert {alone.against(claimed) for claimed in (0.5, 1, 3, 10)} == {"inconclusive"}
    assert "mean: errors of up to" in alone.reason(1)
    assert weak(ROUNDING, drift).against(1) == "inconclusive"
    for order in (1, 3):
        beside = weak(drift, 0.3 * N_STEPS**-order)
        assert beside.exact == {"mean"}
        assert beside.drifting == {"mean": pytest.approx(drift[-1], rel=SOME_ULP, abs=0)}
        assert beside.against(order) == "consistent"
        assert beside.against(order + 1) == "lower"
        assert beside.against(order - 0.5) == "inconclusive"  # of the mean nothing is known
        assert "grow with the number of steps" in beside.judged(order).sentence


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("factor", [1.0, 1e-3, 1e-6])
def test_an_order_above_a_floor_is_never_judged_wrongly(order: int, factor: float) -> None:
    """Floors of rounding, of a limit that is another law's, of coefficients that add up; below 1.5e-8."""
    floors = [ROUNDING, 1e-12 + 0 * N_STEPS, 1e-9 + 0 * N_STEPS]
    floors += [size * LADDERS[name] for name, size in (("sqrt n", 1e-10), ("n", 1e-12), ("n^2", 1e-13))]
    for floor in floors:
        found = weak(factor * N_STEPS**-order + floor)
        for claimed in (1, 2, 3, 4, 5):
            right = "consistent" if claimed == order else "higher" if claimed < order else "lower"
            assert found.against(claimed) in (right, "inconclusive"), (floor[-1], claimed)
    assert weak(factor * N_STEPS**-order).against(order) == "consistent"


def test_an_error_that_falls_before_it_grows_is_not_set_aside() -> None:
    """Two points of fourth order, and a drift from there on: the order is not that of the variance."""
    found = weak(1e-6 * N_STEPS**-4 + 1e-12 * N_STEPS, 0.3 * N_STEPS**-5)
    assert found.exact == frozenset()
    assert found.against(5) == "inconclusive"


def test_what_coefficients_may_lose_is_half_of_the_digits_that_there_are() -> None:
    assert StochasticExperiment(digits=40).small(EXPERIMENT.exact(None, True)) < 1e-18  # half of 40 digits


def test_a_ramp_of_a_solver_of_our_own_is_measured_like_any_other() -> None:
    """Nothing here knows a family: any solver on any SDE form."""
    first = Tableau((), phi1 * N(0))
    ramp = Ramp((first, dpm_solver.multistep_second()))
    mine = Solver(name="mine", form=sde_data(), sequence=ramp, claimed=2, source="test")
    assert study(mine).against(2) == "consistent"
    assert BrownianPath.through(mine.form(VP), [compiled(mine, 4)]).form.std is not None
