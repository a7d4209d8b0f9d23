"""PFDiff and RX-DPM, whose steps span several intervals of the grid, each against its iteration there."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from semilinear.analysis.orders.solver_proof import prove_solver
from semilinear.integrators.diffusion.grids import karras, uniform_t
from semilinear.integrators.diffusion.schedule import Schedule, edm, vp_linear
from semilinear.integrators.numerics.arithmetic import FLOAT64
from semilinear.integrators.plans.compile import compile_plan
from semilinear.integrators.plans.compiler import StepCompiler
from semilinear.integrators.plans.program import Row
from semilinear.integrators.run.sampler import sample
from semilinear.integrators.solver import FINALS, Sequence, Spread
from semilinear.integrators.solvers import make
from semilinear.integrators.solvers.extrapolated import rx_euler
from semilinear.integrators.solvers.pfdiff import pfdiff
from semilinear.verification.problems.named import problem

from tests.roundings import MANY_ULP

EDM, VP = edm(), vp_linear()
PROBLEM = problem("golden-mixture")
X = torch.tensor([[0.3, -1.2], [1.5, 0.4], [-0.7, 0.9]], dtype=torch.float64)
PFDIFF = {"1": (1, 1), "2-1": (2, 1), "2-2": (2, 2), "3-1": (3, 1), "3-2": (3, 2), "3-3": (3, 3)}


def times(schedule: Schedule, intervals: int, end: float | None = None) -> tuple[float, ...]:
    """Uneven ones, of no rule."""
    low, high = (0.05, 9.0) if schedule is EDM else (0.1, 0.8)
    steps = np.random.default_rng(intervals).uniform(1.0, 3.0, intervals)
    places = np.concatenate([[0.0], np.cumsum(steps) / steps.sum()])
    found = [float(v) for v in high + (low - high) * places]
    return (*found[:-1], found[-1] if end is None else end)


def euler(schedule: Schedule, x: Any, eps: Any, s: float, t: float) -> Any:
    """DDIM's step with a noise prediction from anywhere."""
    f = schedule.formulas
    return f.alpha(t) * (x / f.alpha(s) + (f.rho(t) - f.rho(s)) * eps)


# --- PFDiff ---


@pytest.mark.parametrize("schedule", [EDM, VP], ids=lambda s: s.kind)
@pytest.mark.parametrize("evaluations", [1, 2, 3, 6])
@pytest.mark.parametrize("name", PFDIFF)
def test_pfdiff_is_its_iteration(name: str, evaluations: int, schedule: Schedule) -> None:
    """From x_i to the springboard by the last evaluation, from x_i over k + 1 intervals by the one there."""
    k, h = PFDIFF[name]
    grid = times(schedule, 1 + (k + 1) * (evaluations - 1))
    model = PROBLEM.model(schedule)
    last = model(X, grid[0])
    x = euler(schedule, X, last, grid[0], grid[1])
    for i in range(1, len(grid) - 1, k + 1):
        board = euler(schedule, x, last, grid[i], grid[i + h])
        last = model(board, grid[i + h])
        x = euler(schedule, x, last, grid[i], grid[i + k + 1])
    plan = compile_plan(make(f"pfdiff-{name}"), schedule, times=grid, steps=evaluations)
    assert plan.nfe == evaluations
    torch.testing.assert_close(sample(plan, model, X).x, x, rtol=10 * MANY_ULP, atol=10 * MANY_ULP)


@pytest.mark.parametrize("name", PFDIFF)
def test_pfdiff_ends_at_data(name: str) -> None:
    """At sigma = 0 at full order: of one point every step is exact."""
    k, _ = PFDIFF[name]
    grid = times(EDM, 1 + (k + 1) * 4, end=0.0)
    plan = compile_plan(make(f"pfdiff-{name}"), EDM, times=grid, steps=5)
    end = sample(plan, lambda x, s: (x - 1.5) / s, X).x
    torch.testing.assert_close(end, torch.full_like(X, 1.5), rtol=MANY_ULP, atol=0)


@pytest.mark.parametrize("name", PFDIFF)
def test_pfdiff_is_second_order_where_the_springboard_is_in_the_middle(name: str) -> None:
    k, h = PFDIFF[name]
    proof = prove_solver(make(f"pfdiff-{name}"))
    second = 2 * h == k + 1
    assert [proof.run(grid) for grid in ("any", "smooth", "equal")] == ([1, 2, 2] if second else [1, 1, 1])
    if not second:
        (error,) = proof.error_on_equal_steps
        assert error.coefficient == pytest.approx(h / (k + 1) - 1 / 2)  # of numerical minus exact
        assert error.differential == "D N"


@pytest.mark.parametrize("name", ["1", "3-2"])
def test_pfdiff_with_the_springboard_in_the_middle_is_adams_bashforth_on_equal_steps(name: str) -> None:
    """Each whole step, from springboard to springboard, has the weights 3/2 and -1/2."""
    plan = compile_plan(
        make(f"pfdiff-{name}"), EDM, steps=7, grid=karras(1.0), t_start=9.0, t_end=0.5, prediction="eps"
    )
    for step in plan.steps[1 if name == "1" else 2 : -1]:
        (row,) = (op for op in step.operations if isinstance(op, Row))
        h = step.t1 - step.t0
        assert [v for _, _, v in row.terms] == pytest.approx([1, 1.5 * h, -0.5 * h], rel=MANY_ULP, abs=0)


# --- RX-DPM ---


@pytest.mark.parametrize("schedule", [EDM, VP], ids=lambda s: s.kind)
@pytest.mark.parametrize("size", [2, 3, 5])
@pytest.mark.parametrize("evaluations", [1, 4, 7, 10])
def test_rx_euler_is_two_solutions_and_a_system_of_two_equations(
    evaluations: int, size: int, schedule: Schedule
) -> None:
    """c_0 + c_1 = 1 and c_0 + c_1 sum (l_j/sum l)^2 = 0; what is left over is Euler's."""
    grid, x = times(schedule, evaluations), X
    model, rho = PROBLEM.model(schedule), schedule.formulas.rho
    for first in range(0, evaluations, size):
        block = grid[first : first + size + 1]
        fine, first_eps = x, model(x, block[0])
        for s, t in itertools.pairwise(block):
            fine = euler(schedule, fine, model(fine, s), s, t)
        coarse = euler(schedule, x, first_eps, block[0], block[-1])
        whole = rho(block[0]) - rho(block[-1])
        squares = sum(((rho(s) - rho(t)) / whole) ** 2 for s, t in itertools.pairwise(block))
        if len(block) == size + 1:
            c = np.linalg.solve([[1.0, 1.0], [1.0, squares]], [1.0, 0.0])
            x = c[0] * coarse + c[1] * fine
        else:
            x = fine
    plan = compile_plan(rx_euler(size), schedule, times=grid)
    assert plan.nfe == evaluations
    torch.testing.assert_close(sample(plan, model, X).x, x, rtol=10 * MANY_ULP, atol=10 * MANY_ULP)


@pytest.mark.parametrize("size", [2, 3, 4])
def test_rx_euler_is_second_order_on_any_grid(size: int) -> None:
    proof = prove_solver(rx_euler(size))
    assert {proof.run(grid) for grid in ("any", "smooth", "equal")} == {2}


def test_rx_euler_of_two_is_the_midpoint_rule_on_equal_steps() -> None:
    options: dict[str, Any] = {"grid": karras(1.0), "t_start": 9.0, "t_end": 0.5}
    ours = compile_plan(rx_euler(2), EDM, steps=8, **options)
    known = compile_plan(make("deis-rhork-2midpoint"), EDM, steps=4, **options)
    model = PROBLEM.model(EDM)
    torch.testing.assert_close(
        sample(ours, model, X).x, sample(known, model, X).x, rtol=MANY_ULP, atol=MANY_ULP
    )


def test_rx_euler_ends_at_data() -> None:
    grid = times(EDM, 9, end=0.0)
    end = sample(compile_plan(rx_euler(2), EDM, times=grid), lambda x, s: (x - 1.5) / s, X).x
    torch.testing.assert_close(end, torch.full_like(X, 1.5), rtol=MANY_ULP, atol=0)


# --- what both have in common ---


@pytest.mark.parametrize("name", ["pfdiff-1", "pfdiff-3-1", "rx-euler-2", "rx-euler-3"])
def test_steps_lie_on_the_grid(name: str) -> None:
    """Evaluations are made at times of the grid alone, one for each unit of the budget."""
    solver = make(name)
    for budget in (1, 2, 5, 8):
        grid = karras()(EDM, 9.0, 0.1, solver.sequence.intervals(budget))
        plan = compile_plan(solver, EDM, steps=budget, grid=karras(), t_start=9.0, t_end=0.1)
        assert plan.nfe == budget
        assert set(plan.times) <= set(grid)
        assert plan == compile_plan(solver, EDM, times=grid, steps=budget)
        calls = [op.t for step in plan.steps for op in step.operations if not isinstance(op, Row)]
        assert all(min(abs(t - s) for s in grid) < MANY_ULP * t for t in calls)
        assert len(solver.sequence.at(budget, "full")) == solver.sequence.steps(budget)


def test_other_numbers_of_times_are_refused() -> None:
    with pytest.raises(ValueError, match="times must hold 6 values for steps = 3, got 5"):
        compile_plan(make("pfdiff-1"), EDM, times=times(EDM, 4), steps=3)
    with pytest.raises(ValueError, match="steps must be an integer >= 1 evaluations, got 0"):
        compile_plan(make("rx-euler-2"), EDM, steps=0, t_start=9.0, t_end=0.1)


@pytest.mark.parametrize(("name", "step"), [("pfdiff-1", 1), ("rx-euler-2", 0)])
def test_runs_that_know_no_grid_are_refused(name: str, step: int) -> None:
    solver = make(name)
    compiler = StepCompiler(solver, EDM, "eps", FLOAT64)
    if step:
        compiler.step(solver.sequence.tableaux[0], 9.0, 5.0, 0, 3)
    with pytest.raises(ValueError, match="of the whole run, which must be known: not adaptive"):
        compiler.step(solver.sequence.tableaux[-1], 5.0, 3.0, step, 3)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: pfdiff(4, 1), "skip must be an integer from 1 to 3, got 4"),
        (lambda: pfdiff(2, 3), "ahead must be an integer from 1 to 2, got 3"),
        (lambda: rx_euler(1), "size must be an integer from 2 to 8, got 1"),
    ],
)
def test_other_intervals_are_refused(build: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


def test_blocks_are_a_sequence() -> None:
    blocks = make("rx-euler-3").sequence
    assert isinstance(blocks, Sequence)
    assert isinstance(blocks, Spread)
    assert {len(blocks.at(7, final)) for final in FINALS} == {3}
    assert "over up to 3 intervals" in str(blocks)


def test_second_order_shows() -> None:
    """Differences of runs of 48, 96 and 192 evaluations on a grid uniform in t."""
    for name in ("pfdiff-1", "pfdiff-3-2", "rx-euler-2", "rx-euler-3"):
        ends = []
        for n in (48, 96, 192):
            plan = compile_plan(make(name), VP, steps=n, grid=uniform_t(), t_start=0.8, t_end=0.1)
            ends.append(sample(plan, PROBLEM.model(VP), X).x)
        rate = np.log2(float((ends[0] - ends[1]).norm() / (ends[1] - ends[2]).norm()))
        assert rate == pytest.approx(2, abs=0.1), name  # of three runs
