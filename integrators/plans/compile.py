"""Plans: a solver, a schedule and a grid compiled, once and on the host, to numbers.

What a plan holds stands in `program.py`, how one step is made in `compiler.py`.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np

from ..common import checks
from ..common.messages import shown
from ..diffusion.grids import Grid, Times, uniform_lambda, user
from ..diffusion.prediction import check_prediction
from ..diffusion.schedule import Schedule
from ..numerics.arithmetic import Value, choose
from ..solver import FINAL_CHOICES, Final, FinalChoice, Solver, lowered
from ..tableaux.tableau import Tableau, check_carried, nested_collocation
from .compiler import StepCompiler
from .program import STARTS, Plan, PlanStep, Start

__all__ = ["Plan", "StepCompiler", "compile_plan"]


def compile_plan(
    solver: Solver,
    schedule: Schedule,
    *,
    steps: int | None = None,
    grid: Grid | None = None,
    t_start: Value = None,
    t_end: Value = None,
    times: Any = None,
    prediction: str = "eps",
    start: Start = "own",
    final: FinalChoice = "released",
    denoise: bool = False,
    noise_at_end: bool = True,
    digits: int | None = None,
) -> Plan:
    """Compile a solver on a schedule to a plan.

    Give either `times` (strictly monotone, used as they are; increasing times encode data) or `steps` with
    `t_start`, `t_end` and a `grid` (uniform in lambda when absent).  steps: the number of steps, or of
    evaluations for a budgeted solver.  With both `times` and `grid`, the grid only places stages that follow
    the grid's rule.  prediction: what the model returns: "eps", "x0", "v", "score" or "flow".
    start: "own" (the ramp of low orders), "exact" (`history` + 1 states are inputs: the first steps are
    given), or "high-order" (the first steps by a one-step method of no lower order than the formula's).
    final: how the run ends: "full" order, "last" (a first-order last step), "lower" (the orders go down step
    by step); "released" for what the solver's release does by default (`Solver.final`).  At sigma = 0 most
    methods need "last" or "lower".  The plan says which it was.
    denoise: add the step to lambda = +infinity, one evaluation more.
    noise_at_end: False leaves out the noise of the last step (the mean that Score-SDE returns).
    digits: None for float64, else mpmath with that many digits.
    Raises ValueError or TypeError, naming the argument, for anything that cannot be compiled; nothing is
    replaced silently.
    """
    _check(solver, schedule, grid, (t_start, t_end), prediction, start, final, (denoise, noise_at_end))
    every, budget, grid = _times(solver, schedule, steps, grid, t_start, t_end, times, digits)
    nodes = solver.sequence.nodes(every, budget)
    if nodes[-1] > nodes[0] and (solver.stochastic or denoise):
        what = f"{solver.name} is stochastic" if solver.stochastic else "denoise=True"
        raise ValueError(f"times must decrease where {what}, got {nodes[0]} to {nodes[-1]}")
    ending = _ending(solver, schedule, final, nodes)
    tableaux = _tableaux(solver, budget, start, ending)
    given = solver.history if start == "exact" else 0
    compiler = StepCompiler(
        solver, schedule, prediction, choose(digits), grid, budget, nodes=nodes, times=every, base=given
    )
    made = _steps(compiler, tableaux, nodes, given, noise_at_end)
    if denoise:
        made.append(compiler.denoise(nodes[-1]))
    return Plan(
        solver=solver.name,
        form=compiler.form.name,
        schedule=(schedule.kind, schedule.parameters),
        prediction=prediction,
        start=start,
        final=ending,
        digits=digits,
        inputs=nodes[: given + 1],
        steps=tuple(made),
        increments=tuple(compiler.increments),
    )


def _check(
    solver: Any,
    schedule: Any,
    grid: Any,
    ends: tuple[Any, Any],
    prediction: Any,
    start: Any,
    final: Any,
    flags: tuple[Any, Any],
) -> None:
    """Each argument by itself; `times`, `steps` and `digits` are checked where they are read."""
    checks.instance("solver", solver, Solver)
    checks.instance("schedule", schedule, Schedule)
    if grid is not None:
        checks.instance("grid", grid, Grid)
    for name, flag in zip(("denoise", "noise_at_end"), flags, strict=True):
        checks.flag(name, flag)
    for name, value in zip(("t_start", "t_end"), ends, strict=True):
        if value is not None and not checks.is_number(value):
            raise TypeError(f"{name} must be a number, got {shown(value)}")
    checks.one_of("start", start, STARTS)
    checks.one_of("final", final, FINAL_CHOICES)
    check_prediction(prediction)


def _times(
    solver: Solver,
    schedule: Schedule,
    steps: int | None,
    grid: Grid | None,
    t_start: Value,
    t_end: Value,
    times: Any,
    digits: int | None,
) -> tuple[Times, int, Grid | None]:
    """The times of the grid; the budget, in steps or evaluations as the solver counts; the grid."""
    steps = int(steps) if isinstance(steps, np.integer) else steps
    if times is None:
        if steps is None or t_start is None or t_end is None:
            raise ValueError("give times, or all of steps, t_start and t_end")
        grid, number = uniform_lambda() if grid is None else grid, choose(digits).number
        schedule.check_time(t_start, "t_start")
        schedule.check_time(t_end, "t_end")
        return solver.sequence.times(grid, schedule, number(t_start), number(t_end), steps), steps, grid
    if t_start is not None or t_end is not None:
        raise ValueError("times cannot be combined with t_start or t_end")
    every = user(schedule, times, digits=digits)
    budget = len(every) - 1 if steps is None else steps
    needed = solver.sequence.intervals(budget) + 1
    if needed != len(every):
        raise ValueError(f"times must hold {needed} values for steps = {budget}, got {len(every)}")
    return every, budget, grid


def _tableaux(solver: Solver, budget: int, start: Start, ending: Final) -> list[Tableau]:
    """The tableau of every step, those of an exact start included, where they only count."""
    tableaux = list(solver.sequence.at(budget, ending))
    count, history = len(tableaux), solver.history
    if start == "exact" and history >= count:
        raise ValueError(f"start='exact' of {solver.name} needs at least {history + 1} steps, got {count}")
    if start == "high-order":
        if solver.stochastic:
            raise ValueError(f"start='high-order' is for deterministic solvers, got {solver.name}")
        full = max(0, count - lowered(ending, history))  # a step that is lowered at the end stays low
        first = min(history, full)
        tableaux[:first] = [_high_order(solver)] * first
    check_carried(tableaux)
    return tableaux


def _steps(
    compiler: StepCompiler, tableaux: list[Tableau], nodes: Times, given: int, noise_at_end: bool
) -> list[PlanStep]:
    """The steps from node `given` on; the first evaluates the given states too."""
    before = tuple(compiler.remember(i, nodes[i]) for i in range(given))
    count, made = len(tableaux), list[PlanStep]()
    for _, alike in groupby(range(given, count), lambda i: id(tableaux[i])):
        run = list(alike)
        first, end = run[0], run[-1] + 1
        quiet = end == count and not noise_at_end
        made += compiler.steps(tableaux[first], nodes[first : end + 1], first, count, quiet)
    made[0] = replace(made[0], operations=(*before, *made[0].operations))
    return made


def _high_order(solver: Solver) -> Tableau:
    """The one-step method of a high-order start: of no lower order than the formula that it starts.

    A formula with stages has a higher order than its past evaluations alone would give: the bound is that of
    its output as a quadrature, read off the tableau (`Tableau.quadrature_order`), not what is claimed of it.
    One order less would keep the order of the run, but not always the steps at which it shows.
    """
    tableau = solver.sequence.tableaux[-1]
    return nested_collocation(max(tableau.past + 1, tableau.quadrature_order))


def _ending(solver: Solver, schedule: Schedule, final: FinalChoice, nodes: Times) -> Final:
    if final != "released":
        return final
    return solver.final.final(len(nodes) - 1, bool(schedule.formulas.sigma(nodes[-1]) == 0))
