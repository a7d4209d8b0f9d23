"""Plans over levels that other packages give: theirs end at sigma = 0 by a step that returns the data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..diffusion.schedule import Schedule
from ..numerics.arithmetic import FLOAT64, Value
from ..plans.compile import StepCompiler, compile_plan
from ..plans.program import Plan
from ..solver import Solver


def plan_through(
    solver: Solver,
    schedule: Schedule,
    times: Sequence[Value],
    *,
    to_data: bool,
    prediction: str,
    **options: Any,
) -> Plan:
    """The solver's plan through the times, and to_data: from the last of them to sigma = 0, which may be all.

    options: as `compile_plan` takes them.  Raises ValueError and TypeError as it does.
    """
    if len(times) > 1 or not to_data:
        return compile_plan(solver, schedule, times=times, prediction=prediction, denoise=to_data, **options)
    schedule.check_time(times[0], "times[0]")
    compiler = StepCompiler(solver, schedule, prediction, FLOAT64)
    return Plan(
        solver=solver.name,
        form=compiler.form.name,
        schedule=(schedule.kind, schedule.parameters),
        prediction=prediction,
        start="own",
        final="full",
        digits=None,
        inputs=(times[0],),
        steps=(compiler.denoise(times[0]),),
    )
