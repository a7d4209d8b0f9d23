from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from semilinear.integrators.diffusion.schedule import vp_linear
from semilinear.integrators.run.adaptive import AdaptiveSample, Controller, sample_adaptive
from semilinear.integrators.run.sampler import NonFiniteError
from semilinear.integrators.solvers import dpm_solver, make
from semilinear.verification.problems.named import rotated_product

from tests.roundings import SOME_ULP

VP = vp_linear()
PROBLEM = rotated_product()
X = torch.linspace(-1.5, 1.5, 8, dtype=torch.float64).reshape(4, 2)


def run(order: int = 3, x: Any = X, **options: Any) -> AdaptiveSample:
    solver = dpm_solver.singlestep(order, "dpm-solver++", low=True)
    return sample_adaptive(solver, VP, PROBLEM.model(VP), x, **({"t_start": 0.4, "t_end": 0.05} | options))


@pytest.mark.parametrize("order", [2, 3])
def test_the_error_falls_with_the_tolerance(order: int) -> None:
    exact = PROBLEM.flow(VP, X.numpy(), 0.4, 0.05, 25).astype(float)
    errors = []
    for rtol in (1e-2, 1e-3, 1e-4):
        result = run(order, controller=Controller(rtol=rtol, atol=rtol))
        errors.append(np.abs(result.x.numpy() - exact).max())
        assert errors[-1] < 5 * rtol
    assert errors[0] > errors[1] > errors[2]


def test_every_attempt_costs_its_stages_rejected_or_not() -> None:
    result = run(controller=Controller(rtol=1e-4, atol=1e-5, h_init=1.0))
    assert any(not a.accepted for a in result.attempts)
    assert result.nfe == 3 * len(result.attempts)
    assert len(result.times) == 1 + sum(a.accepted for a in result.attempts)


def test_the_first_evaluation_of_a_rejected_step_may_be_kept() -> None:
    tight = {"rtol": 1e-4, "atol": 1e-5, "h_init": 1.0}
    again, kept = (run(controller=Controller(**tight, recompute=r)) for r in (True, False))  # type: ignore[arg-type]
    assert torch.equal(again.x, kept.x)
    assert again.nfe - kept.nfe == sum(not a.accepted for a in again.attempts)


def test_accepted_steps_have_an_error_of_at_most_one_and_end_at_the_end() -> None:
    result = run()
    assert all(a.accepted == (a.error <= 1) for a in result.attempts)
    assert result.times[-1] == 0.05
    assert all(b < a for a, b in zip(result.times[:-1], result.times[1:]))


def test_recorded_steps_are_attempted_as_given() -> None:
    free = run()
    again = run(recorded=[a.h for a in free.attempts])
    assert torch.equal(again.x, free.x)
    assert again.attempts == free.attempts
    with pytest.raises(ValueError, match="recorded ends after 1 attempts"):
        run(recorded=[0.05])


def test_numpy_and_torch_agree() -> None:
    by_numpy, by_torch = run(x=X.numpy()), run()
    assert by_numpy.nfe == by_torch.nfe
    assert np.allclose(by_numpy.x, by_torch.x.numpy(), rtol=SOME_ULP, atol=0)


def test_denoising_costs_one_evaluation() -> None:
    assert run(denoise=True).nfe == run().nfe + 1


def test_a_callback_sees_accepted_steps_only() -> None:
    seen: list[float] = []
    result = run(callback=lambda info: seen.append(info.t))
    assert tuple(seen) == result.times[1:]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"t_end": 0.5}, "t_end must be less"),
        ({"t_start": 2.0}, "t_start must lie"),
        ({"t_end": 0.0}, "finite lambda"),
        ({"x": torch.ones(3)}, "shape \\(batch"),
        ({"prediction": "y"}, "prediction"),
    ],
)
def test_bad_arguments_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(**options)


def test_solvers_without_a_lower_row_are_refused() -> None:
    with pytest.raises(ValueError, match="low=True"):
        sample_adaptive(make("dpm-solver-2m"), VP, PROBLEM.model(VP), X, t_start=0.4, t_end=0.05)


@pytest.mark.parametrize("name", ["rtol", "atol", "h_init", "safety", "t_tolerance"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_bad_tolerances_are_named(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        Controller(**{name: value})  # type: ignore[arg-type]


def test_endless_runs_and_non_finite_errors_are_reported() -> None:
    with pytest.raises(ArithmeticError, match="no end after 3 attempts"):
        run(controller=Controller(rtol=1e-9, atol=1e-9, max_attempts=3))
    solver = dpm_solver.singlestep(2, low=True)
    with pytest.raises(NonFiniteError, match="step 0"):
        sample_adaptive(solver, VP, lambda x, t: x * float("nan"), X, t_start=0.4, t_end=0.05)


def test_zero_attempts_are_refused() -> None:
    with pytest.raises(ValueError, match="max_attempts"):
        Controller(max_attempts=0)


def test_stochastic_solvers_are_refused_by_the_controller() -> None:
    solver = dpm_solver.singlestep(2, "sde-dpm-solver++", low=True)
    with pytest.raises(ValueError, match="one-step method"):
        sample_adaptive(solver, VP, PROBLEM.model(VP), X, t_start=0.4, t_end=0.05)


def test_the_controllers_defaults_are_those_of_the_release() -> None:
    c = Controller()
    assert (c.rtol, c.atol, c.h_init, c.safety, c.t_tolerance, c.recompute) == (
        0.05,
        0.0078,
        0.05,
        0.9,
        1e-5,
        True,
    )
