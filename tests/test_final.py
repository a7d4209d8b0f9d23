"""How releases end their runs: data of each solver, which plans, studies and proofs follow."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from semilinear.analysis.orders.solver_proof import prove_solver
from semilinear.integrators.diffusion import grids
from semilinear.integrators.diffusion.schedule import edm, vp_linear
from semilinear.integrators.plans.compile import compile_plan
from semilinear.integrators.plans.files import difference
from semilinear.integrators.plans.program import Row
from semilinear.integrators.run.sampler import sample
from semilinear.integrators.solver import FULL, FinalPolicy, Ramp
from semilinear.integrators.solvers import SOLVERS, classical, make
from semilinear.integrators.tableaux.tableau import adams
from semilinear.verification.commands import cli
from semilinear.verification.problems.named import golden_mixture
from semilinear.verification.studies.coupled import CoupledExperiment
from semilinear.verification.studies.flow import Experiment, run
from semilinear.verification.studies.gaussian import StochasticExperiment
from semilinear.verification.studies.ladders import half_octaves, settled
from semilinear.verification.studies.own_statistics import on_experiment

from tests.roundings import SLOPE, SOME_ULP
from tests.slow import slow

VP = vp_linear()

# --- the policies, against the rules of the releases written out again ---


def below(limit: float) -> Callable[[int, int, bool], list[int]]:
    """Climb to p - 1, then min(p, steps left) where the steps are fewer than `limit`: dpm_solver_pytorch.py,
    uni_pc.py, scire_solver.py; SA-Solver and DPM-Solver-v3 from as many steps as their order.
    """

    def orders(p: int, n: int, zero: bool) -> list[int]:
        low = [min(p, n + 1 - step) if n < limit else p for step in range(p, n + 1)]
        return [*range(1, p), *low]

    return orders


def diffusers(p: int, n: int, zero: bool) -> list[int]:
    """DPMSolverMultistepScheduler.step with its defaults, final_sigmas_type "zero" or "sigma_min"; the DEIS
    scheduler's is the same without the former.
    """

    def order(i: int) -> int:
        last = i == n - 1 and (n < 15 or zero)
        second = i == n - 2 and n < 15
        known = min(p, i + 1)
        return 1 if last else min(known, 2) if second else known

    return [order(i) for i in range(n)]


def euler_at_zero(p: int, n: int, zero: bool) -> list[int]:
    """k-diffusion's multistep samplers, ComfyUI's res_multistep."""
    return [1 if i == n - 1 and zero else min(p, i + 1) for i in range(n)]


RULES = {
    "dpm-solver-2m": below(10),
    "dpm-solver++-3m-released": below(10),
    "dpm-solver++-3m-corrected": below(10),
    "unip-3-bh2": below(math.inf),
    "dpm-solver-v3-3m": below(math.inf),
    "scire-v1-3m-released": below(math.inf),
    "scire-v2-3m-corrected": below(math.inf),
    "scire-v1-2m-released-d30": below(10),
    "scire-v1-2m-released-sd": below(10),
    "sa-solver-3": below(math.inf),
    "sde-dpm-solver++-2m": diffusers,
    "sde-dpm-solver++-3m-released": diffusers,
    "sde-dpm-solver++-3m-corrected": diffusers,
    "k-diffusion-2m-sde": euler_at_zero,
    "k-diffusion-3m-sde-released": euler_at_zero,
    "res-2m": euler_at_zero,
    "deis-tab3": below(0),
    "deis-rhoab2-released": below(0),
    "deis-ipndm": below(0),
    "lms-4": below(0),
}


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("zero", [False, True])
def test_the_order_of_every_step_is_that_of_the_release(name: str, zero: bool) -> None:
    solver = make(name)
    p = len(solver.sequence.tableaux)
    for n in range(p, 31):
        tableaux = solver.sequence.at(n, solver.final.final(n, zero))
        assert [t.past + 1 for t in tableaux] == RULES[name](p, n, zero)


@pytest.mark.parametrize("degree", [1, 2])
def test_diffusers_deis_is_lowered_below_15_steps(degree: int) -> None:
    solver = make(f"deis-lambdaab{degree}")
    for n in range(degree + 1, 31):
        tableaux = solver.sequence.at(n, solver.final.final(n, False))
        assert [t.past + 1 for t in tableaux] == diffusers(degree + 1, n, False)


@pytest.mark.parametrize("order", [2, 3, 4])
def test_unipc_descends_its_correctors_too_and_ends_without_one(order: int) -> None:
    solver = make(f"unipc-{order}-bh2")
    for n in range(order, 20):
        tableaux = solver.sequence.at(n, solver.final.final(n, False))
        assert [t.past + 1 for t in tableaux] == below(math.inf)(order, n, False)
        assert [len(t.stages) for t in tableaux] == [1] * (n - 1) + [0]


def test_every_policy_says_where_it_was_read() -> None:
    for name in SOLVERS.keys() - classical.LISTED.keys():
        policy = make(name).final
        assert policy == FULL or any(word in policy.source for word in ("/", "Alg.")), name


# --- plans ---

TO_ZERO = (
    "edm-heun",
    "edm-heun-churn",
    "dpm-2-churn",
    "dpm-2-ancestral",
    "dpm++-2s-ancestral",
    "sde-dpm-solver++-2m",
    "sde-dpm-solver++-3m-released",
    "sde-dpm-solver++-2s-released",
    "k-diffusion-2m-sde",
    "k-diffusion-3m-sde-released",
    "res-2m",
)


@pytest.mark.parametrize("steps", [3, 9, 10, 14, 15, 20])
@pytest.mark.parametrize("name", ["dpm-solver++-3m-released", "unipc-3-bh2", "sde-dpm-solver++-2m", "ddim"])
def test_a_plan_ends_as_released_unless_it_is_told_otherwise(name: str, steps: int) -> None:
    options: dict[str, Any] = {"steps": steps, "t_start": 0.9, "t_end": 0.1}
    solver = make(name)
    chosen = compile_plan(solver, VP, **options)
    assert chosen.final == ("lower" if steps < solver.final.below else "full")
    assert difference(chosen, compile_plan(solver, VP, **options, final=chosen.final)).value == 0
    assert compile_plan(solver, VP, **options, final="released") == chosen
    if name != "ddim":
        other: Any = {"lower": "full", "full": "lower"}[chosen.final]
        assert difference(chosen, compile_plan(solver, VP, **options, final=other)).value > 0


@pytest.mark.parametrize("steps", [1, 2, 5, 20])
@pytest.mark.parametrize("name", TO_ZERO)
def test_releases_that_run_to_sigma_zero_do_so_by_default(name: str, steps: int) -> None:
    """At the end one first-order step, whose state is the prediction of x_0: one model value, no noise."""
    times = (*grids.karras()(edm(), 60.0, 0.01, steps), 0.0)
    made = compile_plan(make(name), edm(), times=times, prediction="x0")
    row = made.steps[-1].operations[-1]
    assert isinstance(row, Row)
    ((kind, _, weight),) = [term for term in row.terms if abs(term[2]) > 1e-12]
    assert (kind, weight, row.noise) == ("m", pytest.approx(1.0, rel=SOME_ULP, abs=0), ())
    assert made.final == ("lower" if steps + 1 < make(name).final.below else "last")


def test_three_endings_of_one_ramp() -> None:
    ramp = Ramp(tuple(adams(k) for k in range(1, 5)))
    ends: dict[str, list[int]] = {
        final: [t.past + 1 for t in ramp.at(8, final)] for final in ("full", "last", "lower")
    }
    assert ends == {
        "full": [1, 2, 3, 4, 4, 4, 4, 4],
        "last": [1, 2, 3, 4, 4, 4, 4, 1],
        "lower": [1, 2, 3, 4, 4, 3, 2, 1],
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"below": -1, "source": "s"}, "below must be a number of steps or infinity, got -1"),
        ({"below": 2.5, "source": "s"}, "below must be a number of steps or infinity, got 2.5"),
        ({"below": math.nan, "source": "s"}, "below must be"),
        ({"at_zero": "none", "source": "s"}, "at_zero must be one of full, last, lower, got 'none'"),
        ({"below": 10}, "source must say"),
        ({"at_zero": "last"}, "source must say"),
    ],
)
def test_policies_that_are_none_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FinalPolicy(**arguments)


# --- orders, proved and measured ---


@cache
def informative(top: int = 128) -> Experiment:
    return Experiment(schedule=VP, grid=grids.uniform_t(2.0), batch=16, ladder=half_octaves(4, top))


@pytest.mark.parametrize(
    ("name", "released", "full"),
    slow(
        [("unipc-2-bh2", 2, 3), ("unipc-3-bh2-noise", 2, 3), ("dpm-solver-v3-2m-c3", 2, 3)],
        lambda case: "v3" in case[0],
    ),
)
def test_what_is_proved_of_a_run_is_what_is_run(name: str, released: int, full: int) -> None:
    solver = on_experiment(name, informative())
    proof = prove_solver(solver)
    assert (proof.run(), proof.run(released=False)) == (released, full)
    assert proof.exact_start() == make(name).claimed
    own = run(solver, informative())
    assert (own.against(released), own.verdict) == ("consistent", "lower")
    assert run(solver, informative(), final="full").against(full) == "consistent"


def test_a_rule_for_few_steps_does_not_bend_a_ladder() -> None:
    """The study begins where all runs end alike; with a rule of its own it has every step count."""
    solver = make("dpm-solver++-2m")
    finals: tuple[Any, ...] = (None, "full", "lower")
    counts = {
        final: [p.n for p in run(solver, informative(32), final=final).estimate.points] for final in finals
    }
    assert counts == {
        None: [12, 16, 24, 32],
        "full": [4, 6, 8, 12, 16, 24, 32],
        "lower": [4, 6, 8, 12, 16, 24, 32],
    }
    with pytest.raises(ValueError, match=r"ladder must reach 10 steps, .* got 8"):
        run(solver, informative(8))


@pytest.mark.parametrize("experiment", [StochasticExperiment(), CoupledExperiment()], ids=["exact", "paths"])
def test_stochastic_studies_end_runs_as_released_too(experiment: Any) -> None:
    solver = make("sde-dpm-solver++-2m")
    assert [experiment.plan(solver, n).final for n in (8, 16)] == ["lower", "full"]
    assert experiment.plan(solver, 8, "full").final == "full"
    assert settled((8, 12, 16, 24), solver, "released") == (16, 24)
    assert settled((8, 12, 16, 24), solver, "full") == (8, 12, 16, 24)


def test_the_command_line_ends_runs_as_it_is_told(capsys: Any) -> None:
    observed = {}
    options = ["--grid", "t-quadratic", "--max-steps", "96", "--batch", "8", "--json"]
    for final in ("released", "full"):
        cli.main(["order", "unipc-2-bh2", "--final", final, *options])
        observed[final] = json.loads(capsys.readouterr().out)["observed"]
    assert observed == pytest.approx({"released": 2, "full": 3}, abs=SLOPE)


# --- what the rule is for ---


def error(name: str, n: int, final: Any, *, noise: bool) -> float:
    """RMS distance to the exact end: from noise to data on the golden mixture with steps uniform in t, or on
    an interval where the state is informative.
    """
    e = from_noise() if noise else informative()
    x = sample(e.plan(make(name), n, final), e.model, torch.tensor(e.x)).x.numpy()
    return float(np.sqrt(np.mean((x - e.states([e.times[1]])[0]) ** 2)))


@cache
def from_noise() -> Experiment:
    start, end = (float(VP.lam(t)) for t in (1.0, 1e-3))
    return Experiment(
        golden_mixture(), schedule=VP, grid=grids.uniform_t(), lam_start=start, lam_end=end, tolerance=1e-10
    )


@pytest.mark.parametrize("name", ["unipc-3-bh1", "unipc-3-bh2"])
def test_the_rule_costs_an_order_and_saves_a_run_of_ten_steps(name: str) -> None:
    """From noise the last of ten equal steps in t spans most of lambda: at full order it extrapolates."""
    few = {final: error(name, 10, final, noise=True) for final in ("full", "lower")}
    many = {final: error(name, 96, final, noise=False) for final in ("full", "lower")}
    assert few["full"] > 10 * few["lower"]
    assert many["full"] < many["lower"] / 10
