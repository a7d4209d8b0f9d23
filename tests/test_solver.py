"""What holds of every solver as a value: whether it is stochastic follows from what it is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import partial
from typing import Any

import pytest
from semilinear.integrators.diffusion.schedule import Schedule, edm, vp_linear
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
from semilinear.integrators.tableaux.tableau import N, Tableau, phi1
from semilinear.verification.studies.own_statistics import generic

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
