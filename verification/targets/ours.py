"""Our own solvers, tableaux and plans as samplers of runs."""

from __future__ import annotations

from typing import Any

import torch
from semilinear.integrators.common import checks
from semilinear.integrators.diffusion.prediction import check_prediction
from semilinear.integrators.diffusion.schedule import Schedule
from semilinear.integrators.numerics.arithmetic import Value
from semilinear.integrators.plans.compile import compile_plan
from semilinear.integrators.plans.program import Plan
from semilinear.integrators.run.sampler import sample
from semilinear.integrators.solver import FINAL_CHOICES, FinalChoice, Solver

from .run import Run, Sampler


def of_solver(solver: Solver, *, prediction: str = "eps", final: FinalChoice = "released") -> Sampler:
    """A solver, compiled on the schedule and times of every run.

    prediction, final: as in `compile_plan`, which raises what it does when a run is made.
    """
    checks.instance("solver", solver, Solver)
    check_prediction(prediction)
    checks.one_of("final", final, FINAL_CHOICES)

    last: tuple[Schedule, tuple[Value, ...], Plan] | None = None

    def sample_run(run: Run) -> Any:
        """Several runs follow on the same times: the plan is kept until other ones come."""
        nonlocal last
        kept = last  # which another thread may replace
        if kept is None or kept[0] is not run.schedule or kept[1] != run.times:
            plan = compile_plan(solver, run.schedule, times=run.times, prediction=prediction, final=final)
            last = kept = run.schedule, run.times, plan
        return _run(kept[2], run)

    return sample_run


def of_plan(plan: Plan) -> Sampler:
    """A plan, which runs on its own times: ValueError for a run on others, or on another schedule."""
    checks.instance("plan", plan, Plan)

    def sample_run(run: Run) -> Any:
        times = tuple(float(t) for t in plan.times)
        if times != tuple(float(t) for t in run.times):
            raise ValueError(f"times must be those of the plan, {times[0]} to {times[-1]}, got {run.times}")
        if plan.schedule != (run.schedule.kind, run.schedule.parameters):
            raise ValueError(
                f"schedule must be that of the plan, {plan.schedule[0]}, got {run.schedule.kind}"
            )
        return _run(plan, run)

    return sample_run


def _run(plan: Plan, run: Run) -> Any:
    def noise(index: int, like: Any) -> Any:
        span = plan.increments[index] if index < len(plan.increments) else None
        return torch.randn_like(like) if span is None else run.increment(*span, like)

    result = sample(
        plan, run.predict(plan.prediction), run.x, noise=noise if plan.stochastic else None, reuse=False
    )
    return result.x, result.nfe
