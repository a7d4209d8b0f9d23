"""A known part of the integrand (`Form.forcing`), and elementwise coefficients against the state's shape."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from semilinear.integrators.diffusion.schedule import Schedule, edm
from semilinear.integrators.forms.form import Exponential, Form, Step
from semilinear.integrators.plans.compile import Plan, compile_plan
from semilinear.integrators.run.sampler import sample
from semilinear.integrators.solver import Ramp, Solver
from semilinear.integrators.tableaux.tableau import N, Stage, Tableau, adams, phi1

from tests.roundings import SOME_ULP


def forced(power: int, size: np.ndarray) -> Solver:
    """dx/drho = (N + B) with B = size * power * rho^(power - 1), rho = t."""

    def form(schedule: Schedule) -> Form:
        f = schedule.formulas

        def forcing(step: Step, c: float) -> np.ndarray:
            return np.asarray(size * (step.time(c) ** power - step.t0**power))

        return Form(
            "forced", schedule, f.rho, f.t_of_rho, f.alpha, Exponential(f.alpha, 0), "eps", forcing=forcing
        )

    stage = Tableau((Stage(1, phi1 * N(0)),), phi1 * (N(0) + N(1)) / 2, low=phi1 * N(0))
    return Solver(name="forced", form=form, sequence=Ramp((stage, adams(2))), claimed=2, source="test")


def plan(power: int, size: np.ndarray) -> Plan:
    return compile_plan(forced(power, size), edm(), times=[3.0, 2.5, 1.0, 0.5])


@pytest.mark.parametrize("power", [1, 2, 5])
def test_a_known_part_of_the_integrand_is_integrated_exactly(power: int) -> None:
    """dx/drho = 1 + B(rho), elementwise: every stage and step is exact, whatever the tableau."""
    size, x = np.array([2.0, -1.0]), torch.zeros(4, 2, dtype=torch.float64)
    states: list[tuple[float, torch.Tensor]] = []
    sample(
        plan(power, size),
        lambda x, t: states.append((t, x.clone())) or torch.ones_like(x),  # type: ignore[func-returns-value]
        x,
    )
    assert len(states) == 4
    for t, state in states:
        expected = (t - 3.0) + torch.tensor(size) * (t**power - 3.0**power)
        torch.testing.assert_close(state, expected.expand(4, 2), rtol=SOME_ULP, atol=0)


@pytest.mark.parametrize("shape", [(4, 3), (4, 1), (3,), ()])
def test_a_state_that_elementwise_coefficients_do_not_fit_is_refused(shape: tuple[int, ...]) -> None:
    """Broadcasting must not enlarge the state."""
    for x in (torch.zeros(shape), np.zeros(shape)):
        with pytest.raises(ValueError, match=r"x must have the trailing shape \(2,\)"):
            sample(plan(2, np.array([2.0, -1.0])), lambda x, t: x, x)


def test_elementwise_coefficients_fit_any_batch() -> None:
    made = plan(2, np.array([2.0, -1.0]))
    row = sample(made, lambda x, t: x, torch.ones(2, dtype=torch.float64)).x
    for shape in [(2,), (1, 2), (3, 5, 2)]:
        torch.testing.assert_close(
            sample(made, lambda x, t: x, torch.ones(shape, dtype=torch.float64)).x,
            row.expand(shape),
            rtol=SOME_ULP,
            atol=0,
        )
