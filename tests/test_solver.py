"""What holds of every solver as a value: whether it is stochastic follows from what it is made of, and it can
be sent to another process, as a schedule and a grid can.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields, replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import sympy
from semilinear.analysis.text.named_parts import GRIDS as NAMED_GRIDS
from semilinear.analysis.text.named_parts import SCHEDULES as NAMED_SCHEDULES
from semilinear.integrators.diffusion import grids
from semilinear.integrators.diffusion.discrete import (
    cosine_betas,
    discrete,
    discrete_alpha_squared,
    linear_betas,
)
from semilinear.integrators.diffusion.grids import Grid
from semilinear.integrators.diffusion.schedule import Schedule, edm, vp_cosine, vp_linear
from semilinear.integrators.forms.form import EXAMPLES, Form, data_in_lambda, example
from semilinear.integrators.forms.noise_scale import NOISE_SCALES
from semilinear.integrators.forms.reverse import NoiseLevel, sde_data_in_lambda
from semilinear.integrators.plans.compile import compile_plan
from semilinear.integrators.solver import Repeat, Solver
from semilinear.integrators.solvers import (
    SOLVERS,
    dpm_solver,
    er_sde,
    k_diffusion,
    make,
    score_sde,
    stochastic,
)
from semilinear.integrators.statistics.smooth import constant, from_functions, gaussian
from semilinear.integrators.tableaux.tableau import N, Tableau, phi1
from semilinear.verification.studies.own_statistics import generic

from tests.slow import few

VP = vp_linear()
EULER = Tableau((), phi1 * N(0))


def one_step(form: Any, **options: Any) -> Solver:
    steps = Repeat(EULER, EULER)
    return Solver(name="s", form=form, sequence=steps, claimed=1, source="test", **options)


def draws_noise(solver: Solver) -> bool:
    steps = 3 if solver.form(VP).table is None else 24  # a table of fewer betas has one above 1
    return compile_plan(solver, VP, steps=steps, t_start=0.9, t_end=0.2).stochastic


@pytest.mark.parametrize("name", SOLVERS)
def test_a_listed_solver_is_stochastic_if_its_plans_draw_noise(name: str) -> None:
    solver = generic(name)
    assert solver.stochastic == draws_noise(solver)


SETTINGS: dict[str, tuple[Callable[[], Solver], bool]] = {
    "eta 0": (lambda: k_diffusion.euler_ancestral(0), False),
    "eta 1/2": (lambda: k_diffusion.ddim_eta(0.5), True),
    "no churn": (lambda: k_diffusion.heun_churn(0), False),
    "churn": (lambda: k_diffusion.heun_churn(1), True),
    "k-diffusion, eta 0": (lambda: stochastic.k_diffusion(2, eta=0), False),
    "k-diffusion, eta 1/2": (lambda: stochastic.k_diffusion(2, eta=0.5), True),
    "tau 0": (lambda: stochastic.seeds(2, tau=0), False),
    "tau 0 in data prediction": (lambda: stochastic.sa_solver(2, 2, tau=0), False),
    "tau 1/2 in noise prediction": (lambda: stochastic.sa_solver(2, tau=0.5, prediction="noise"), True),
    "tau 0 throughout": (lambda: stochastic.sa_solver(3, tau=NoiseLevel((0.5,), (0, 0))), False),
    "tau 0 at first": (lambda: stochastic.sa_solver(3, tau=NoiseLevel((0.5,), (0, 1))), True),
    "fast on an SDE": (lambda: dpm_solver.fast(2, "sde-dpm-solver++"), True),
    "a table of the flow": (lambda: score_sde.euler_maruyama_released(n=30, ode=True), False),
    "a table of the SDE": (lambda: score_sde.reverse_diffusion_released(n=30), True),
    **{f"noise scale {s.name}": (partial(er_sde.er_sde, 2, s), not s.deterministic) for s in NOISE_SCALES},
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_parameter_that_takes_the_noise_away_makes_it_a_solver_of_the_flow(setting: str) -> None:
    build, noisy = SETTINGS[setting]
    solver = build()
    assert solver.stochastic == noisy
    assert draws_noise(solver) == noisy


def test_noise_of_weight_zero_is_noise() -> None:
    silent = one_step(sde_data_in_lambda, noise_scale=0)
    assert silent.stochastic
    assert not draws_noise(silent)
    assert k_diffusion.euler_churn(s_noise=0).stochastic
    with pytest.raises(ValueError, match="times must decrease where s is stochastic"):
        compile_plan(silent, VP, times=[0.2, 0.9])


def test_a_form_of_one_kind_of_schedule_says_it_too() -> None:
    def in_units_of_sigma_max(schedule: Schedule) -> Form:
        assert dict(schedule.parameters)["sigma_max"] > 0
        return sde_data_in_lambda(schedule)

    solver = one_step(in_units_of_sigma_max)
    assert solver.stochastic
    assert example(solver.form).schedule.kind == "ve"
    assert "yes" in str(solver)
    assert compile_plan(solver, edm(), times=[5.0, 1.0]).stochastic


def test_a_solver_says_by_itself_why_it_runs_on_one_grid_alone() -> None:
    """Listed or not: the reason is of the released predictors, not of names."""
    alone = {name for name in SOLVERS if make(name).own_grid}
    assert alone == {f"score-sde-{v}-released" for v in ("em", "reverse-diffusion", "ancestral")}
    assert score_sde.euler_maruyama_released(ode=True).own_grid.startswith("its step is 1/N")
    with pytest.raises(TypeError, match="own_grid must be a reason in words, got True"):
        replace(make("ddim"), own_grid=True)  # type: ignore[arg-type]


def test_a_form_of_no_known_schedule_is_refused_with_its_reason() -> None:
    def refusing(schedule: Schedule) -> Form:
        raise ValueError(f"not {schedule.kind}")

    kinds = ", ".join(schedule.kind for schedule in EXAMPLES)
    with pytest.raises(ValueError, match=f"form must take one of the schedules {kinds}: not rectified-flow"):
        _ = one_step(refusing).stochastic


def test_its_fields_are_given_by_name() -> None:
    with pytest.raises(TypeError, match="positional"):
        Solver("s", data_in_lambda, Repeat(EULER, EULER), 1, "test")  # type: ignore[call-arg]
    assert "stochastic" not in {f.name for f in fields(make("ddpm"))}


# --- sent to another process ---

SCHEDULES: dict[str, Schedule] = {
    **{name: build() for name, build in NAMED_SCHEDULES.items() if not name.startswith("discrete")},
    "vp-cosine of DEIS": vp_cosine(normalized=False),
    "discrete": discrete(linear_betas(n=50)),
    "discrete, nothing cut off": discrete(cosine_betas(50), clip_lambda=None),
    "discrete-alpha-squared": discrete_alpha_squared(linear_betas(n=50), clip=1e-6),
}
GRIDS: dict[str, Grid] = {
    **{name: build() for name, build in NAMED_GRIDS.items()},
    "alternating nsr": grids.alternating(grids.nsr(2.0), ratio=3.0),
    "score-sde": score_sde.release_grid(1e-2),
}


def sent(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


@pytest.mark.parametrize("name", few(SOLVERS))
def test_a_listed_solver_that_was_sent_has_the_same_plan(name: str) -> None:
    solver = generic(name)
    steps = 3 if solver.form(VP).table is None else 24
    ours, theirs = (compile_plan(s, VP, steps=steps, t_start=0.9, t_end=0.2) for s in (solver, sent(solver)))
    assert theirs.digest == ours.digest
    assert sent(make(name)).name == name  # without statistics, where it takes some


@pytest.mark.parametrize("name", SETTINGS)
def test_a_solver_with_parameters_can_be_sent(name: str) -> None:
    solver = SETTINGS[name][0]()
    plans = [compile_plan(s, VP, steps=24, t_start=0.9, t_end=0.2) for s in (solver, sent(solver))]
    assert plans[0].digest == plans[1].digest


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_that_was_sent_is_the_same(name: str) -> None:
    schedule = SCHEDULES[name]
    theirs = sent(schedule)
    assert (theirs, theirs.t_min, theirs.breakpoints) == (schedule, schedule.t_min, schedule.breakpoints)
    start, end = (schedule.t_max * part for part in (0.9, 0.2))
    plans = [
        compile_plan(make("deis-tab2"), s, steps=4, t_start=start, t_end=end, grid=grids.uniform_t())
        for s in (schedule, theirs)
    ]
    assert plans[0].digest == plans[1].digest


@pytest.mark.parametrize("name", GRIDS)
def test_a_grid_that_was_sent_is_the_same(name: str) -> None:
    grid, theirs = GRIDS[name], sent(GRIDS[name])
    assert theirs == grid
    for n in (5, 7, 8, 10, 20):  # a published table has one number of steps, and its own first and last times
        with suppress(ValueError):
            times = grid(VP, 1.0, 1e-4, n)
            break
    assert theirs(VP, 1.0, 1e-4, n) == times


def test_what_was_changed_is_not_sent_as_what_it_was() -> None:
    """`replace` keeps the functions of a value, and forgets the call that made it."""
    named = Grid("halves", (), fractions=halves)
    assert sent(named)(VP, 0.9, 0.1, 2) == named(VP, 0.9, 0.1, 2)
    for value in (replace(VP, t_min=0.1), replace(grids.nsr(), name="mine")):
        with pytest.raises((AttributeError, pickle.PicklingError)):
            pickle.dumps(value)
    assert sent(sent(grids.nsr())) == grids.nsr()


def halves(n: int, number: Any) -> list[Any]:
    return [number(1) / 2 ** (n - i) for i in range(1, n)]


def test_statistics_travel_with_their_solver() -> None:
    variance = np.array([0.5, 2.0])
    statistics = gaussian(variance)
    variance[0] = 7.0  # what the caller changes later is not sent
    for given in (statistics, from_functions(np.cos, np.sin, np.cos, -6.0, 6.0, 40), constant(1.0, 0.0, 0.5)):
        solver = make("dpm-solver-v3-2m", statistics=given)
        plans = [compile_plan(s, VP, steps=3, t_start=0.9, t_end=0.2) for s in (solver, sent(solver))]
        assert plans[0].digest == plans[1].digest


def test_symbols_of_a_solver_that_was_sent_are_told_by_what_they_say() -> None:
    """sympy forgets the symbols that it made: another process, or a later time, makes another `z`."""
    sent = pickle.dumps(make("etdrk4"))
    sympy.core.cache.clear_cache()
    solver = pickle.loads(sent)
    assert solver.sequence.tableaux[-1].parameters == frozenset()
    again = compile_plan(solver, vp_linear(), steps=3, t_start=0.9, t_end=0.1)
    assert again == compile_plan(make("etdrk4"), vp_linear(), steps=3, t_start=0.9, t_end=0.1)
