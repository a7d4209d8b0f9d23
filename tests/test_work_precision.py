from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import semilinear as sl
from semilinear.integrators.diffusion.grids import Grid
from semilinear.integrators.plans import files
from semilinear.integrators.solvers import SOLVERS, make
from semilinear.verification.commands.cli import main
from semilinear.verification.equal_nfe.entrants import Theirs, entrants, evaluations, most
from semilinear.verification.equal_nfe.errors import carriers, middle
from semilinear.verification.equal_nfe.experiment import NoiseToData
from semilinear.verification.equal_nfe.released import RELEASED, released
from semilinear.verification.equal_nfe.study import SEARCHED, WorkPrecision, work_precision
from semilinear.verification.reporting.work_precision import curves
from semilinear.verification.studies.flow import norms

from tests.roundings import SOME_ULP

SMALL = NoiseToData(sl.problem("rotated-product-2d"), batch=64)


def study(targets: Any, **options: Any) -> WorkPrecision:
    return work_precision(targets, SMALL, **({"nfe": (5, 10)} | options))


def test_a_run_starts_at_the_schedules_own_noise_and_ends_at_almost_data() -> None:
    assert SMALL.times == (1.0, 1e-3)
    assert SMALL.nodes(4)[0] == 1.0
    flow = NoiseToData(sl.problem("gaussian"), schedule=sl.schedules.rectified_flow(), batch=4)
    assert flow.times == (1 - 1e-3, 1e-3)  # alpha = 0 at 1: no state there says where a path goes
    given = NoiseToData(sl.problem("gaussian"), t_start=0.9, t_end=0.1, batch=4)
    assert given.times == (0.9, 0.1)
    with pytest.raises(ValueError, match="t_start must lie in"):
        NoiseToData(sl.problem("gaussian"), t_start=1.5)


COUNTED = (
    *("ddim", "dpm-solver++-2m", "unipc-3-bh2", "unip-3-bh2", "dpm-solver-fast-3", "pec423", "pecec433"),
    *("deis-rhork-3kutta", "exprk5s8", "edm-heun", "lms-4", "scire-v1-agile-3-released", "etd2cf3"),
)


@pytest.mark.parametrize("final", ["released", "full", "lower"])
@pytest.mark.parametrize("name", COUNTED)
def test_evaluations_are_counted_as_plans_make_them(name: str, final: Any) -> None:
    solver = make(name)
    released = name == "scire-v1-agile-3-released"  # lists no phi_1 for so few steps
    for n in (6, 7) if released else (1, 2, 7):
        assert evaluations(solver, n, final) == SMALL.plan(solver, n, final).nfe


def test_the_most_steps_of_a_budget() -> None:
    assert most(lambda n: n, 7) == 7
    assert most(lambda n: 2 * n - 1, 6) == 3
    assert most(lambda n: 3 * n, 2) == 0
    assert most(lambda n: 1 + (n + 1) // 2, 6) == 10  # half an evaluation a step


def test_the_default_trap() -> None:
    """UniPC-3 from noise to data in 10 evaluations, uniform in time: its last steps at full order cost a
    factor of 25, and its release lowers them.
    """
    found = work_precision("unipc-3-bh2", nfe=[10], finals=("full", "lower", "released"))
    full, lower, released = found.rows
    assert (full.final, lower.final, released.final) == ("full", "lower", "lower")
    assert released.error == lower.error
    size = math.sqrt(2)  # of a norm against one component
    assert full.error is not None
    assert lower.error is not None
    assert full.error / size == pytest.approx(2.8, abs=0.3)  # a batch's interval is 2.55 to 2.93
    assert lower.error / size == pytest.approx(0.11, abs=0.02)  # 0.100 to 0.114


def test_a_function_of_a_run_is_the_solver_that_it_is() -> None:
    def euler(run: Any) -> Any:
        x, s = run.x, run.schedule
        for t0, t1 in zip(run.times, run.times[1:]):
            growth = s.alpha(t1) / s.alpha(t0)
            x = x * growth + s.alpha(t1) * (s.rho(t1) - s.rho(t0)) * run.model(x, t0)
        return x

    rows = study([euler, "ddim"]).rows
    for mine, listed in zip(rows[:2], rows[2:], strict=True):
        assert (mine.nfe, mine.steps) == (listed.nfe, listed.steps)
        assert mine.error == pytest.approx(listed.error, rel=1e-10)  # rounding of ten steps
    assert {row.final for row in rows[:2]} == {"own"}


def test_an_error_is_the_rms_distance_and_lies_in_its_interval() -> None:
    (row,) = study("ddim", nfe=[10]).rows
    plan = SMALL.plan(make("ddim"), 10)
    final = sl.sample(plan, SMALL.model, SMALL.given(SMALL.x)).x.numpy()
    distances = norms(final, SMALL.states([1e-3])[0])
    assert row.error == pytest.approx(math.sqrt(np.mean(distances**2)), rel=SOME_ULP, abs=0)
    assert row.error is not None
    assert row.low is not None
    assert row.high is not None
    assert row.low < row.error < row.high
    spread = np.std(distances**2) / math.sqrt(SMALL.batch) / (2 * row.error)  # the delta method
    assert (row.high - row.low) / 2 == pytest.approx(1.96 * spread, rel=0.2)  # of a bootstrap of 64 states


def test_what_cannot_be_run_is_said() -> None:
    def failing(run: Any) -> Any:
        raise RuntimeError("no sampler")

    def noisy(run: Any) -> Any:
        run.model(run.x, run.times[0])
        return run.x + run.noise(run.x)

    rows = study(["exprk5s8", failing, noisy], nfe=[5]).rows
    assert [row.error for row in rows] == [None] * 3
    assert "no run is made within 5 evaluations" in rows[0].note
    assert "no run" in rows[1].note
    assert "draws noise" in rows[2].note
    refused = study("ddim", grids=["comfyui-ddim-uniform"], nfe=[7]).rows[0]
    assert "makes 8 steps where n = 7" in refused.note
    unknown = study("krogstad4", as_released=True, nfe=[8]).rows[0]
    assert "not known" in unknown.note


@pytest.mark.parametrize(
    ("targets", "options", "message"),
    [
        ("er-sde-3-released", {}, "is stochastic"),
        ("ddim", {"nfe": []}, "nfe must not be empty"),
        ("ddim", {"nfe": [0]}, "nfe must be an integer from 1 to 10000"),
        ("ddim", {"finals": ["early"]}, "finals must be one of"),
        ("ddim", {"finals": []}, "finals must not be empty"),
        ("ddim", {"grids": []}, "grids must not be empty"),
        ("ddim", {"convention": "nope"}, "convention must be one of"),
        ("ddim", {"grids": ["karas"]}, "grid must be one of"),
        ([], {}, "targets must hold"),
    ],
)
def test_bad_arguments_are_refused(targets: Any, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        study(targets, **options)
    with pytest.raises(TypeError, match="target must be a name"):
        study([3])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nfe": None}, "nfe must be a sequence"),
        ({"nfe": 5}, "nfe must be a sequence"),
        ({"finals": "full"}, "finals must be a sequence"),
        ({"grids": True}, "grids must be a sequence"),
        ({"grids": [3]}, "grids must be text"),
        ({"progress": 1}, "progress must be a function"),
        ({"as_released": 2}, "as_released must be"),
    ],
)
def test_arguments_of_another_kind_are_refused(options: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        study("ddim", **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"t_start": 0.1, "t_end": 0.5}, r"t_start must be above t_end = 0\.5, got 0\.1"),
        ({"t_end": 0.0}, "t_end must have alpha > 0 and sigma > 0, got 0"),
        (
            {"schedule": sl.schedules.rectified_flow(), "t_start": 1.0},
            "t_start must have alpha > 0 and sigma > 0, got 1",
        ),
        ({"schedule": None}, "schedule must be a Schedule"),
        ({"lam_start": -1}, "unexpected keyword argument 'lam_start'"),
        ({"digits": 30}, "unexpected keyword argument 'digits'"),
    ],
)
def test_what_a_run_from_noise_to_data_does_not_take_is_refused(options: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        NoiseToData(sl.problem("gaussian"), **options)


def test_a_grid_is_named_or_made() -> None:
    (named,) = study("ddim", nfe=[5], grids=["karras"]).rows
    (made,) = study("ddim", nfe=[5], grids=[sl.grids.karras()]).rows
    assert (named.error, named.grid, made.grid) == (made.error, "karras", "rho-power:power=7")


def test_all_grids_share_reference_and_its_bound() -> None:
    e = NoiseToData(sl.problem("golden-mixture"), batch=2)
    other = e.on(sl.grids.karras())
    other.states([other.times[1]])
    assert other.floor(10) == e.floor(10)
    assert e.states([e.times[1]])[0] is other.states([e.times[1]])[0]


def test_grids_of_one_name_are_told_apart() -> None:
    def spaced(power: float) -> Grid:
        return Grid("mine", (), lambda s, t, end: t ** (1 / power), lambda s, v, end: v**power)

    (entrant,) = entrants("ddim", SMALL)
    alone = [study("ddim", nfe=[5], grids=[spaced(p)]).rows[0].error for p in (1, 2)]
    assert [study(entrant, nfe=[5], grids=[spaced(p)]).rows[0].error for p in (1, 2)] == alone
    assert alone[0] != alone[1]


def test_a_function_is_run_anew_for_every_experiment() -> None:
    entrant = Theirs("euler", lambda run: run.x * 0.5)
    for seed in range(20):  # experiments of the past may lie where new ones do
        where = NoiseToData(sl.problem("gaussian"), batch=3, seed=seed)
        (row,) = work_precision(entrant, where, nfe=[1]).rows
        exact = where.states([where.times[1]])[0]
        assert row.error == pytest.approx(
            math.sqrt(np.mean(norms(where.x * 0.5, exact) ** 2)), rel=SOME_ULP, abs=0
        )


def test_one_sampler_that_fails_leaves_the_others_their_rows() -> None:
    def short(run: Any) -> Any:
        return run.x[:2]

    def failing(run: Any) -> Any:
        raise RuntimeError("no sampler")

    rows = study(["ddim", short, failing], nfe=[5]).rows
    assert rows[0].error is not None
    assert "must return real states of shape (64, 2)" in rows[1].note
    assert "no run is made within 5 evaluations: RuntimeError: no sampler" in rows[2].note


def test_an_interval_of_the_median_misses_it_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    draws = np.exp(3 * rng.standard_normal((2000, 64)))  # a law whose RMS no batch knows
    missed = sum(not low <= 1 <= high for _, low, high in (middle(row, 0.9) for row in draws))
    allowed = 0.1 * len(draws) + 3 * math.sqrt(0.09 * len(draws))  # three standard errors above the level
    assert 0.04 * len(draws) < missed < allowed
    assert middle(np.arange(5.0), 0.99) == (2, -math.inf, math.inf)


def test_the_states_that_carry_an_rms_are_counted() -> None:
    assert carriers(np.ones(50)) == pytest.approx(50, rel=SOME_ULP, abs=0)
    assert carriers(np.array([1e200, *np.ones(49)])) == pytest.approx(1, rel=SOME_ULP, abs=0)
    assert carriers(np.zeros(7)) == 7


def test_a_saved_plan_stands_beside_the_solver_that_made_it(tmp_path: Path) -> None:
    plan = SMALL.plan(make("dpm-solver++-2m"), 8)
    path = tmp_path / "plan.json"
    files.save(plan, path)
    saved, listed = study([str(path), "dpm-solver++-2m"], nfe=[8], grids=["t", "lambda"]).rows[:2]
    assert (saved.error, saved.nfe, saved.grid) == (listed.error, listed.nfe, "own")
    other = NoiseToData(sl.problem("rotated-product-2d"), batch=4, t_end=0.01)
    with pytest.raises(
        ValueError, match=r"must start from one state and run on vp-linear from t = 1 to 0\.01"
    ):
        work_precision(plan, other)


def test_the_best_grid_is_the_one_with_the_smallest_error() -> None:
    found = study("dpm-solver++-2m", grids=["t", "lambda", "karras"])
    for row in found.best:
        assert row.error == min(r.error for r in found.rows if r.budget == row.budget and r.error is not None)
    assert len(found.best) == 2
    assert "t" in SEARCHED


def test_released_defaults_have_a_source_and_a_grid_that_is_one() -> None:
    from semilinear.analysis.text.named_parts import grid_of

    for default in RELEASED:
        assert default.source
        grid_of(default.grid)
    known = released("dpm-solver-v3-2m")
    assert known is not None
    assert known.grid == "lambda"
    assert released("krogstad4") is None
    grids = {name: d.grid for name in SOLVERS if (d := released(name)) is not None}
    # The first pattern counts: a scheduler's steps over points of its grid are no call of the paper's code.
    assert {grids[name] for name in grids if name.endswith("-on-grid")} == {"diffusers-linspace"}
    assert (grids["deis-ipndm"], grids["deis-tab3"], grids["scire-v1-2m-released"]) == (
        "t",
        "t-quadratic",
        "t",
    )
    seeds = ("dpm-solver-", "deis-tab", "deis-rho", "scire-", "er-sde-ode-", "dpm-solver-v3-")
    assert [name for name in SOLVERS if name.startswith(seeds) and name not in grids] == []
    (row,) = study("deis-lambdaab2", as_released=True, nfe=[10]).rows
    assert (row.grid, row.final) == ("diffusers-linspace", "lower")


def test_curves_are_drawn_once_a_run(tmp_path: Path) -> None:
    found = study(["ddim", "dpm-solver-3"], nfe=(6, 7, 9), grids=["t", "lambda"])
    drawn = curves(found.data["rows"])
    assert set(drawn) == {"ddim, t", "ddim, lambda", "dpm-solver-3, t", "dpm-solver-3, lambda"}
    assert [row["nfe"] for row in drawn["dpm-solver-3, t"]] == [6, 9]
    found.plot(tmp_path / "plot.svg")
    assert (tmp_path / "plot.svg").read_text().startswith("<?xml")
    assert "rotated-product-2d" in str(found)


def test_the_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    plot = tmp_path / "plot.png"
    asked = ["work-precision", "ddim", "--problem", "gaussian", "--nfe", "5,10", "--batch", "16"]
    assert main([*asked, "--grid", "t", "--grid", "lambda", "--json", "--plot", str(plot)]) == 0
    data = json.loads(capsys.readouterr().out)
    assert [(r["grid"], r["nfe"]) for r in data["rows"]] == [
        ("t", 5),
        ("t", 10),
        ("lambda", 5),
        ("lambda", 10),
    ]
    assert {"solver", "nfe", "error", "low", "high", "grid", "final"} <= set(data["rows"][0])
    assert plot.stat().st_size > 1000
    assert main([*asked, "--final", "lower"]) == 0
    assert "the spread of this batch: the middle 95 %" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ddim", "--nfe", "5,x"], "--nfe"),
        (["ddim", "--nfe", "0"], "--nfe"),
        (["ddim", "--batch", "1"], "--batch must be"),
        (["nothing"], "expected a listed solver"),
        (["ddim", "--grid", "t", "--best-grid"], "--best-grid tries every grid"),
        (["ddim", "--t-end", "2"], "--t-end must lie in"),
        (["ddim", "--problem", "cats"], "problem must be one of"),
    ],
)
def test_bad_usage(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["work-precision", *arguments]) == 2
    assert message in capsys.readouterr().err
