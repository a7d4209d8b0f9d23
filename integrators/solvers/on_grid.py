"""Steps over several intervals of the grid, whose points are their stages: DPM-Solver's in diffusers.

A step over k intervals makes k evaluations, at its start and at the grid's points within it.  These are where
the grid has them: in units of the step, in the form's variable, the intervals are l_j = r_j/k, with ratios
r_j that are 1 on equal steps and 1 + O(h) on a smooth grid.

diffusers' DPMSolverSinglestepScheduler is DPM-Solver-2, -3 and DPM-Solver++ 2S, 3S in that way.  Its steps
have the order of the scheduler where these fill the grid; else the last ones have less, as in
DPM-Solver-fast.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise
from typing import Annotated, get_args

from sympy import Expr, Integer, Rational

from ..common import checks
from ..common.ranges import Range
from ..numerics.arithmetic import Value
from ..solver import Solver, Spread, StepContext
from ..tableaux.tableau import StepRatio
from .dpm_solver import FAMILY, FIRST, TYPES, OfFlow, Type, fast_orders, second, third, third_midpoint

MOST = 8
"""The most intervals of a step."""
RATIOS = tuple(StepRatio(f"r{j}") for j in range(1, MOST))
"""Each interval of a step but the last over their mean."""


def interval_lengths(count: int) -> list[Expr]:
    """The intervals of a step over so many, in units of it."""
    lengths: list[Expr] = [ratio * Rational(1, count) for ratio in RATIOS[: count - 1]]
    return [*lengths, 1 - sum(lengths, Integer(0))]


def interval_ratios(sequence: Spread, context: StepContext) -> Mapping[StepRatio, Value]:
    """`RATIOS` of a step.  Raises ValueError where the grid is not known."""
    if not context.tableau.parameters:
        return {}
    step, (times, first, last) = context.step, sequence.around(context)
    taus = [step.tau0, *map(step.form.tau, times[first + 1 : last])]
    return {r: (b - a) / step.h * len(taus) for r, (a, b) in zip(RATIOS, pairwise(taus), strict=False)}


def _orders(order: int, nfe: int) -> tuple[int, ...]:
    """Of the steps of a run.  diffusers, get_order_list with lower_order_final=False, which it sets itself
    where the number of intervals asks for it.
    """
    return fast_orders(order, nfe) if nfe % order else (order,) * (nfe // order)


def singlestep_on_grid(
    order: Annotated[int, Range(least=2, most=3)] = 2,
    family: OfFlow = "dpm-solver++",
    type: Type = "dpmsolver",
) -> Solver:
    """DPM-Solver-2 and -3, DPM-Solver++ 2S and 3S, with the grid's points as their stages.

    type: "dpmsolver" is diffusers' solver_type="midpoint", whose third order has a second stage of its own
    (`dpm_solver.third_midpoint`), "taylor" its "heun".  Raises ValueError for another order, family or type.
    """
    order = checks.integer("order", order, 2, 3)
    checks.one_of("family", family, get_args(OfFlow))
    checks.one_of("type", type, TYPES)
    form, paper = FAMILY[family]
    half, (first, middle, _) = interval_lengths(2)[0], interval_lengths(3)
    thirds = third_midpoint if type == "dpmsolver" else partial(third, type=type)
    by_span = (FIRST, second(half, type), thirds(first, first + middle))[:order]
    sequence = Spread(by_span, partial(_orders, order))
    variant = f"{order}" if family == "dpm-solver" else f"{order}s"
    return Solver(
        name=f"{family}-{variant}{'-taylor' * (type == 'taylor')}-on-grid",
        form=form,
        sequence=sequence,
        claimed=order,
        source=f"huggingface/diffusers, DPMSolverSinglestepScheduler, solver_order={order}",
        paper=paper,
        parameters=partial(interval_ratios, sequence),
    )


LISTED: tuple[Callable[..., Solver], ...] = tuple(
    partial(singlestep_on_grid, order, family, type)
    for family in get_args(OfFlow)
    for order in (2, 3)
    for type in TYPES
)
"""Constructors of the solvers that have a name of their own."""
