"""Plans one after another, and Restart: exact in law, in files, in batches; refused elsewhere."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import semilinear as sl
import torch
from semilinear.integrators.diffusion import schedule as schedules
from semilinear.integrators.diffusion.schedule import Schedule
from semilinear.integrators.interop.stepwise import Stepwise
from semilinear.integrators.plans import files
from semilinear.integrators.plans.program import Plan, PlanStep, Row
from semilinear.integrators.run.noise import BrownianPath
from semilinear.verification.commands.cli import main
from semilinear.verification.distribution import contests
from semilinear.verification.distribution.contests import RESTARTS
from semilinear.verification.problems.linear_law import Gaussians
from semilinear.verification.studies.gaussian import respond

from tests.roundings import MANY_ULP, SOME_ULP

E = sl.SampledExperiment(sl.problem("gaussian"))
FLOW, VP, EDM = sl.schedules.rectified_flow(), sl.schedules.vp_linear(), sl.schedules.edm()
MEAN, VARIANCE = np.array([0.7, -1.3, 0.0]), np.array([0.4, 1.7, 1e-4])
DOWN, AGAIN, REST = (1.0, 0.8, 0.6, 0.4, 0.3), (0.6, 0.45, 0.3), (0.3, 0.2, 0.1)
KINDS = [
    VP,
    sl.schedules.vp_cosine(),
    EDM,
    FLOW,
    schedules.ve(),
    schedules.sub_vp(),
]


def plan(name: str, times: Any, schedule: Schedule = VP, **options: Any) -> Plan:
    return sl.compile_plan(sl.make(name), schedule, times=times, **options)


def restarted(name: str = "edm-heun", repeats: int = 3, schedule: Schedule = VP, **options: Any) -> Plan:
    down, again, rest = (plan(name, times, schedule, **options) for times in (DOWN, AGAIN, REST))
    return sl.plans.chain(sl.plans.restart(down, again, schedule, repeats=repeats), rest)


def exact_flow(schedule: Schedule, *times: float) -> Plan:
    """The probability flow of the Gaussians itself, as rows without evaluations."""
    steps = []
    for i, (t0, t1) in enumerate(itertools.pairwise(times)):
        (m0, v0), (m1, v1) = (law(schedule, t) for t in (t0, t1))
        scale = np.sqrt(v1 / v0)
        steps.append(PlanStep(t0, t1, (Row(i + 1, (("x", i, scale),), (), m1 - scale * m0),), i + 1))
    return replace(plan("ddim", times[:2], schedule), inputs=times[:1], steps=tuple(steps), increments=())


def law(schedule: Schedule, t: float) -> tuple[np.ndarray, np.ndarray]:
    alpha, sigma = float(schedule.alpha(t)), float(schedule.sigma(t))
    return alpha * MEAN, alpha**2 * VARIANCE + sigma**2


@pytest.mark.parametrize("schedule", KINDS, ids=lambda s: s.kind)
def test_a_restart_of_the_exact_flow_keeps_the_law_of_gaussian_data(schedule: Schedule) -> None:
    """Mean and variance, however often; that of the start, and that of every increment, add up to it."""
    high, low, end = (float(schedule.t_of_lam(v)) for v in (-0.5, 0.8, 1.7))
    for repeats in (1, 4):
        again = exact_flow(schedule, high, low)
        made = sl.plans.restart(exact_flow(schedule, high, low), again, schedule, repeats=repeats)
        made = sl.plans.chain(made, exact_flow(schedule, low, end))
        mean, variance = law(schedule, high)
        response = respond(made, Gaussians(MEAN, VARIANCE, 0 * MEAN).model(schedule), mean)
        expected = law(schedule, end)
        np.testing.assert_allclose(response.mean, expected[0], rtol=MANY_ULP, atol=MANY_ULP)
        np.testing.assert_allclose(response.variance(variance), expected[1], rtol=MANY_ULP)
        assert len(response.impulses) == repeats
        assert made.nfe == 0


@pytest.mark.parametrize("low", [0.3, 0.6 - 1e-9])
def test_the_way_up_is_exact_over_short_ways_too(low: float) -> None:
    """sigma'^2 = weight^2 sigma^2 + std^2 in 40 digits, from numbers that were made in float64."""
    again = plan("ddim", (0.6, low), FLOW)
    up = sl.plans.restart(plan("ddim", (0.9, low), FLOW), again, FLOW, repeats=1).steps[1]
    (row,) = up.operations
    assert isinstance(row, Row)
    exact = sl.plans.restart(
        plan("ddim", (0.9, low), FLOW, digits=40),
        plan("ddim", (0.6, low), FLOW, digits=40),
        FLOW,
        repeats=1,
    )
    (same,) = exact.steps[1].operations
    assert isinstance(same, Row)
    assert row.terms[0][2] == pytest.approx(float(same.terms[0][2]), rel=SOME_ULP, abs=0)
    # rho' - rho is a difference of float64 numbers: rounding over 1e-9 of them
    assert row.noise[0][1] == pytest.approx(
        float(same.noise[0][1]), rel=SOME_ULP if low == 0.3 else 1e-6, abs=0
    )


def test_it_makes_the_evaluations_of_its_parts_at_their_times() -> None:
    made = restarted()
    assert made.nfe == 8 + 3 * 4 + 4
    assert made.times == (*DOWN, *AGAIN * 3, *REST[1:])
    assert [step.adds_noise_alone for step in made.steps] == [False] * 4 + [True, False, False] * 3 + [
        False
    ] * 2
    assert made.solver == "restart(edm-heun), edm-heun"
    assert made.increments == (None,) * 3


@pytest.mark.parametrize(
    "name", ["dpm-solver++-3m-corrected", "er-sde-2-corrected", "unipc-2-bh2", "dpm-solver-2"]
)
def test_a_chain_is_its_plans_one_after_another(name: str) -> None:
    """Each with its own start, and with increments that go on where those before it ended."""
    parts = [plan(name, times) for times in (DOWN, REST, (0.1, 0.05, 0.02, 0.01))]
    made = sl.plans.chain(*parts)
    model = sl.problem("golden-mixture").model(VP)
    x = torch.randn(4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    noise, first = sl.per_sample(7), 0
    found = sl.sample(made, model, x, noise=noise if made.stochastic else None)
    for part in parts:
        given = (lambda i, like, start=first: noise(start + i, like)) if part.stochastic else None
        x = sl.sample(part, model, x, noise=given).x
        first += len(part.increments)
    assert torch.equal(found.x, x)
    assert found.nfe == sum(part.nfe for part in parts)
    assert made.increments == sum((part.increments for part in parts), ())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_sample_does_not_depend_on_its_batch(dtype: torch.dtype) -> None:
    made, model = restarted("dpm-solver++-2m"), sl.problem("golden-mixture").model(VP)
    x = torch.randn(5, 2, dtype=dtype, generator=torch.Generator().manual_seed(1))
    whole = sl.sample(made, model, x, noise=sl.per_sample(3)).x
    for i in range(5):
        alone = sl.sample(made, model, x[i : i + 1], noise=sl.per_sample(3, first_sample=i)).x
        assert torch.equal(alone, whole[i : i + 1])


@pytest.mark.parametrize("digits", [None, 30])
def test_a_file_gives_the_same_plan_back(digits: int | None, tmp_path: Path) -> None:
    made = restarted(digits=digits)
    sl.plans.save(made, tmp_path / "plan.json")
    found = sl.plans.load(tmp_path / "plan.json")
    assert found == made
    assert (found.solver, found.increments, found.times) == (made.solver, made.increments, made.times)


def test_a_file_with_an_evaluation_on_the_way_up_is_refused() -> None:
    data = json.loads(json.dumps(files.to_json(restarted())))
    up = data["steps"][4]
    up["operations"].insert(0, {"evaluate": data["steps"][3]["output"], "t": up["t0"]})
    with pytest.raises(files.PlanError, match="monotone but in steps that do nothing but add noise"):
        files.from_json(data)


def test_it_runs_stepwise() -> None:
    """The way up belongs to the evaluation before it."""
    made, model = restarted(), sl.problem("golden-mixture").model(VP)
    x = torch.randn(3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    driven = Stepwise(made, x, sl.per_sample(0))
    while driven.t is not None:
        driven.advance(model(driven.x, driven.t))
    assert torch.equal(driven.x, sl.sample(made, model, x, noise=sl.per_sample(0), reuse=False).x)


def test_in_distribution_it_is_a_plan_of_its_own_evaluations(tmp_path: Path, capsys: Any) -> None:
    """From a file, too; a plan of another interval is refused, and a budget below its evaluations."""
    where, (down, again, rest) = E, (DOWN, AGAIN, (0.3, 0.1, 1e-3))
    once = plan("edm-heun", (*down, *rest[1:]))
    made = sl.plans.restart(plan("edm-heun", down), plan("edm-heun", again), VP, repeats=2)
    made = sl.plans.chain(made, plan("edm-heun", rest))
    study = sl.in_distribution(made, where, nfe=[made.nfe])
    assert (study.exact, study.rows[0].made) == (True, made.nfe)
    sl.plans.save(made, tmp_path / "restart.json")
    options = ["--problem", "gaussian", "--nfe", str(made.nfe), "--json"]
    assert main(["distance", str(tmp_path / "restart.json"), *options]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert row["distances"]["energy"]["value"] == study.rows[0].distances["energy"].value
    with pytest.raises(ValueError, match=f"nfe must be at least {made.nfe}, what the plan of restart"):
        sl.in_distribution(made, where, nfe=[5])
    with pytest.raises(
        ValueError, match=r"must start from one state and run on vp-linear from t = 1 to 0\.1"
    ):
        sl.in_distribution(once, replace(where, t_end=0.1), nfe=[20])


def test_as_released_it_restarts_at_the_nodes_nearest_to_its_intervals() -> None:
    """Of 14 steps of Heun's method, three parts again in two steps each: 28 + 3 * 4 evaluations."""
    e = sl.SampledExperiment(sl.problem("gaussian"), schedule=EDM, grid=sl.grids.karras())
    steps, intervals = RESTARTS[1]
    made = contests.restarted(sl.make("edm-heun"), e, steps, intervals)
    grid = e.grid(EDM, *e.times, steps)
    ups = [(step.t0, step.t1) for step in made.steps if step.adds_noise_alone]
    assert made.nfe == 40
    assert ups == [(min(grid, key=lambda t: abs(t - part.low)), part.high) for part in intervals]
    assert [t for t in made.times if t in grid[-2:]] == list(grid[-2:])


def test_an_exact_score_leaves_restart_nothing_to_mend() -> None:
    """On Gaussian data, where laws are computed, Heun's method is closer at as many evaluations."""
    (row,) = contests.restart_against("edm-heun", E, restarts=RESTARTS[:1])
    assert (row.nfe, row.order) == (44, "further")
    assert row.first == "edm-heun, 18 steps, restarted 2 times"


def test_intervals_end_at_nodes_of_their_own() -> None:
    part = contests.Interval(3, 1, 1.0, 2.0)
    for intervals in ((part, part), (contests.Interval(3, 1, 80.0, 90.0),)):
        with pytest.raises(ValueError, match="intervals must end at nodes of their own"):
            contests.restarted(sl.make("ddim"), replace(E, schedule=EDM), 6, intervals)


def test_what_cannot_use_it_says_so() -> None:
    made = restarted(repeats=1)
    times = [float(t) for t in made.times]
    with pytest.raises(ValueError, match="times must strictly decrease"):
        sl.compile_plan(sl.make("ddim"), VP, times=times)
    form = sl.make("er-sde-2-corrected").form(VP)
    with pytest.raises(ValueError, match="restart"):
        BrownianPath(form, times).noise(made)
    where = sl.NoiseToData(sl.problem("gaussian"), batch=2, t_end=REST[-1])
    with pytest.raises(ValueError, match="deterministic"):
        sl.work_precision([made], experiment=where, nfe=[40])


DDIM = plan("ddim", DOWN)
ENDED = plan("ddim", (0.6, 0.3))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: sl.plans.chain(), "plans must hold at least one"),
        (
            lambda: sl.plans.chain(DDIM, plan("ddim", (0.4, 0.1))),
            r"plans\[1\] must start where .* t = 0.3, got 0.4",
        ),
        (lambda: sl.plans.chain(DDIM, plan("ddim", (0.3, 0.1), FLOW)), r"plans\[1\] must have the schedule"),
        (lambda: sl.plans.chain(DDIM, plan("ddim", (0.3, 0.1), prediction="v")), "prediction"),
        (lambda: sl.plans.chain(DDIM, plan("ddim", (0.3, 0.1), digits=20)), "digits"),
        (lambda: sl.plans.chain(plan("ddim", DOWN, denoise=True), ENDED), r"plans\[0\] must not denoise"),
        (
            lambda: sl.plans.chain(DDIM, plan("dpm-solver++-2m", (0.4, 0.3, 0.1), start="exact")),
            r"plans\[1\] must have one input, got 2",
        ),
        (
            lambda: sl.plans.restart(DDIM, ENDED, FLOW, repeats=1),
            "schedule must be that of the plan, vp-linear",
        ),
        (
            lambda: sl.plans.restart(DDIM, plan("ddim", (0.6, 0.2)), VP, repeats=1),
            "again must end where plan does",
        ),
        (
            lambda: sl.plans.restart(DDIM, plan("ddim", (0.2, 0.3)), VP, repeats=1),
            "a noisier time than t = 0.3",
        ),
        (lambda: sl.plans.restart(DDIM, ENDED, VP, repeats=0), "repeats must be an integer"),
        (
            lambda: sl.plans.restart(
                plan("euler-in-t", (1.0, 0.3), FLOW, prediction="flow"),
                plan("euler-in-t", (1.0, 0.3), FLOW, prediction="flow"),
                FLOW,
                repeats=1,
            ),
            "with alpha > 0, got 1.0",
        ),
    ],
)
def test_plans_that_do_not_fit_are_refused(build: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


def test_a_plan_is_asked_for_by_name() -> None:
    with pytest.raises(TypeError, match=r"plans\[1\] must be a Plan"):
        sl.plans.chain(DDIM, 3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="again must be a Plan"):
        sl.plans.restart(DDIM, None, VP, repeats=1)  # type: ignore[arg-type]
