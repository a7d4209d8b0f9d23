"""Noise that goes back to a noisier time, last steps without corrector, states changed between steps."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import torch
from semilinear.integrators.diffusion.schedule import Schedule, edm, vp_linear
from semilinear.integrators.forms.form import data_in_lambda
from semilinear.integrators.plans.compile import Plan, compile_plan
from semilinear.integrators.plans.program import Evaluation, Row
from semilinear.integrators.run.boundary import NonFiniteError
from semilinear.integrators.run.sampler import StepInfo, sample
from semilinear.integrators.solver import Ramp, Repeat, Solver
from semilinear.integrators.solvers import make
from semilinear.integrators.tableaux.tableau import N, P, Stage, Tableau, adams, interpolate, omega, phi1
from semilinear.verification.problems.named import golden_mixture

from tests.roundings import SOME_ULP

VP, EDM = vp_linear(), edm()
X = torch.linspace(-2, 2, 8, dtype=torch.float64).reshape(4, 2)
RANGE: dict[str, Any] = {"t_start": 1.0, "t_end": 1e-2}
EULER = Tableau((), phi1 * N(0))


def first_order(noising: Any = None) -> Solver:
    return Solver(
        name="s",
        form=data_in_lambda,
        sequence=Repeat(EULER, EULER),
        claimed=1,
        source="test",
        noising=noising,
    )


def rows(plan: Plan, step: int) -> list[Row]:
    return [op for op in plan.steps[step].operations if isinstance(op, Row)]


# --- noising ---


def down(schedule: Schedule, t0: float, t1: float, index: int, count: int) -> tuple[float, float]:
    return t0, 0.8 * t1


def up(schedule: Schedule, t0: float, t1: float, index: int, count: int) -> tuple[float, float]:
    return min(1.1 * t0, schedule.t_max), t1


def _keep(states: list[torch.Tensor], info: StepInfo) -> None:
    states.append(info.x.clone())


@pytest.mark.parametrize("schedule", [VP, EDM], ids=["vp", "edm"])
def test_noise_after_a_step_restores_the_law_of_its_end(schedule: Schedule) -> None:
    """Data at a point: x = alpha x_0 + sigma eps, so the state after a step has that mean and variance."""
    plan = compile_plan(first_order(down), schedule, steps=3, **RANGE)
    x0 = torch.full_like(X, 0.7)
    exact = lambda x, t: (x - schedule.alpha(t) * x0) / schedule.sigma(t)  # noqa: E731
    start = schedule.alpha(1.0) * x0  # eps = 0
    for k in range(3):
        noise = [torch.zeros_like(X) for _ in range(3)]
        noise[k] += 1.0
        after: list[torch.Tensor] = []
        sample(plan, exact, start, noise=noise, callback=partial(_keep, after))
        t = plan.times[k + 1]
        lower = 0.8 * t
        spread = schedule.alpha(t) * math.sqrt(schedule.rho(t) ** 2 - schedule.rho(lower) ** 2)
        torch.testing.assert_close(
            after[k] - schedule.alpha(t) * x0, torch.full_like(X, spread), rtol=SOME_ULP, atol=0
        )


def test_noise_before_a_step_moves_its_start() -> None:
    plan = compile_plan(first_order(up), EDM, steps=2, t_start=10.0, t_end=1.0)
    for i, step in enumerate(plan.steps):
        first, second = step.operations[:2]
        assert isinstance(first, Row)
        assert isinstance(second, Evaluation)
        assert second.t == pytest.approx(1.1 * plan.times[i], rel=SOME_ULP, abs=0)
        assert first.noise[0][1] == pytest.approx(plan.times[i] * math.sqrt(1.1**2 - 1), rel=SOME_ULP, abs=0)
    assert plan.increments == (None, None)


def test_noise_that_is_not_added_is_not_drawn() -> None:
    stay = lambda schedule, t0, t1, index, count: (t0, t1)  # noqa: E731
    plan = compile_plan(first_order(stay), VP, steps=3, **RANGE)
    assert not plan.stochastic
    assert plan == compile_plan(first_order(), VP, steps=3, **RANGE)


def test_noise_towards_cleaner_times_is_refused() -> None:
    wrong = lambda schedule, t0, t1, index, count: (0.9 * t0, t1)  # noqa: E731
    with pytest.raises(ValueError, match="only be added towards larger rho"):
        compile_plan(first_order(wrong), VP, steps=3, **RANGE)


def test_a_carried_evaluation_does_not_survive_noise() -> None:
    pec = Tableau((Stage(1, phi1 * N(0)),), interpolate({0: N(0), 1: N(1)}), carry=1)
    solver = Solver(
        name="pec", form=data_in_lambda, sequence=Repeat(pec, EULER), claimed=2, source="test", noising=down
    )
    with pytest.raises(ValueError, match="carries an evaluation"):
        compile_plan(solver, VP, steps=3, **RANGE)


def test_the_last_noise_can_be_left_out() -> None:
    for solver in (make("sde-dpm-solver++-2m"), first_order(down)):
        full, quiet = (
            compile_plan(solver, VP, steps=3, noise_at_end=flag, **RANGE) for flag in (True, False)
        )
        assert [bool(rows(full, i)[-1].noise) for i in range(3)] == [True, True, True]
        assert [bool(rows(quiet, i)[-1].noise) for i in range(3)] == [True, True, False]
        assert [r.terms for r in rows(full, 2)] == [r.terms for r in rows(quiet, 2)]
    with pytest.raises(TypeError, match="noise_at_end must be True or False"):
        compile_plan(make("ddim"), VP, steps=3, noise_at_end=1, **RANGE)  # type: ignore[arg-type]


def test_increments_say_between_which_times_they_act() -> None:
    plan = compile_plan(make("sde-dpm-solver++-2m"), VP, steps=4, **RANGE)
    assert plan.increments == tuple(zip(plan.times[:-1], plan.times[1:], strict=True))


# --- predictor-corrector: last steps without the corrector ---


def predictor_corrector() -> Solver:
    two = phi1 * N(0) + (N(0) - P(1)) / omega(1) * (phi1 / 2)
    ramp = (
        Tableau((Stage(1, phi1 * N(0)),), interpolate({0: N(0), 1: N(1)}), carry=1),
        Tableau((Stage(1, two),), interpolate({0: N(0), 1: N(1), -omega(1): P(1)}), carry=1),
    )
    return Solver(
        name="pc", form=data_in_lambda, sequence=Ramp(ramp, (adams(1), adams(2))), claimed=3, source="test"
    )


@pytest.mark.parametrize("n", [1, 2, 3, 8])
def test_a_pec_method_without_corrector_at_the_end_costs_one_evaluation_per_step(n: int) -> None:
    plan = compile_plan(predictor_corrector(), VP, steps=n, **RANGE)
    assert plan.nfe == n
    calls = []
    model = golden_mixture().model(VP)
    result = sample(plan, lambda x, t: calls.append(t) or model(x, t), X)  # type: ignore[func-returns-value]
    assert len(calls) == result.nfe == n
    assert calls == pytest.approx(plan.times[:-1], rel=SOME_ULP, abs=0)


def test_the_last_step_has_the_order_that_the_ramp_has_there() -> None:
    sequence = predictor_corrector().sequence
    assert sequence.at(1, "full") == (adams(1),)
    assert sequence.at(4, "full")[-1] == adams(2)
    assert sequence.at(4, "lower")[-1] == adams(1)
    assert sequence.at(4, "lower")[:-1] == sequence.at(4, "full")[:-1]


def test_last_tableaux_must_match_the_ramp() -> None:
    with pytest.raises(ValueError, match="last must hold 2 tableaux or none, got 1"):
        Ramp((adams(1), adams(2)), (adams(1),))


# --- states changed between steps ---


class Recorder:
    def __init__(self, change: Any = lambda x, when: x, evaluations: int = 0) -> None:
        self.seen: list[tuple[str, int, Any]] = []
        self.change, self.evaluations = change, evaluations

    def before(self, x: Any, t: Any, index: int, evaluate: Any) -> Any:
        self.seen.append(("before", index, t))
        for _ in range(self.evaluations):
            evaluate(x, t)
        return self.change(x, "before")

    def after(self, x: Any, t: Any, index: int, evaluate: Any) -> Any:
        self.seen.append(("after", index, t))
        return self.change(x, "after")


def test_an_interlude_sees_every_step_and_changes_nothing_by_itself() -> None:
    plan = compile_plan(make("dpm-solver++-2m"), VP, steps=3, denoise=True, **RANGE)
    model, recorder = golden_mixture().model(VP), Recorder()
    a, b = sample(plan, model, X), sample(plan, model, X, between=recorder)
    assert torch.equal(a.x, b.x)
    t = plan.times
    ends = [*t[1:], None]
    assert recorder.seen == [
        entry for i in range(4) for entry in (("before", i, t[i]), ("after", i, ends[i]))
    ]


def test_an_interlude_s_evaluations_are_counted_and_checked() -> None:
    plan = compile_plan(make("ddim"), VP, steps=3, **RANGE)
    assert sample(plan, golden_mixture().model(VP), X, between=Recorder(evaluations=2)).nfe == 3 + 6
    with pytest.raises(ValueError, match="model must return"):
        sample(plan, lambda x, t: x[:1], X, between=Recorder(evaluations=1))


def test_changed_states_are_what_the_step_starts_from_and_what_is_returned() -> None:
    plan = compile_plan(make("ddim"), VP, steps=1, **RANGE)
    model = golden_mixture().model(VP)
    shift = Recorder(lambda x, when: x + 1 if when == "before" else 2 * x)
    torch.testing.assert_close(
        sample(plan, model, X, between=shift).x, 2 * sample(plan, model, X + 1).x, rtol=SOME_ULP, atol=0
    )


@pytest.mark.parametrize("wrong", [lambda x: x[:1], lambda x: x.float(), lambda x: x.numpy(), lambda x: None])
def test_an_interlude_must_keep_kind_shape_and_dtype(wrong: Any) -> None:
    plan = compile_plan(make("ddim"), VP, steps=2, **RANGE)
    with pytest.raises(ValueError, match="between must return"):
        sample(plan, golden_mixture().model(VP), X, between=Recorder(lambda x, when: wrong(x)))


def test_a_state_that_an_interlude_spoils_is_reported() -> None:
    plan = compile_plan(make("ddim"), VP, steps=3, **RANGE)
    with pytest.raises(NonFiniteError, match="step 0"):
        sample(plan, lambda x, t: x, X, between=Recorder(lambda x, when: x * float("nan")))
