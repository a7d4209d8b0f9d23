"""Plans one after another, and Restart: a run that goes back to a noisier time and comes down again.

A Restart plan (Xu et al. 2023, arXiv:2306.14878, Alg. 1) is a plan down to t_min, and then as often as asked
a step without evaluations that adds noise up to t_max, and a plan down to t_min again:

    plan = restart(down, again, schedule, repeats=3)    down ends at t_min, again runs from t_max to t_min
    plan = chain(plan, rest)                            rest goes on from t_min

Several intervals are several restarts, each of a chain that has come down to its t_min.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import pairwise

from ..common import checks, limits
from ..diffusion.schedule import Schedule
from ..diffusion.sde import forward
from ..numerics.arithmetic import choose
from .program import Evaluation, Plan, PlanStep, Row


def chain(*plans: Plan) -> Plan:
    """One plan that runs several, each from where the one before it ends; each begins as it would alone,
    without evaluations of another.

    Raises TypeError for other kinds; ValueError for none, and for plans that do not follow one another: each
    but the first has one input, at the time at which the one before it ends, and all are of one schedule,
    prediction and number of digits.
    """
    for i, plan in enumerate(plans):
        checks.instance(f"plans[{i}]", plan, Plan)
    if not plans:
        raise ValueError("plans must hold at least one")
    for i, (before, after) in enumerate(pairwise(plans), 1):
        _check_next(i, before, after)
    first, *others = plans
    steps, increments = list(first.steps), list(first.increments)
    states, drawn = _states(first), _drawn(first)
    for plan in others:
        moved = _Moved(steps[-1].output, states - 1, drawn)
        steps += map(moved.step, plan.steps)
        increments += plan.increments
        states, drawn = states + _states(plan) - 1, drawn + _drawn(plan)
    return replace(
        first,
        solver=_joined(plan.solver for plan in plans),
        form=_joined(plan.form for plan in plans),
        final=plans[-1].final,
        steps=tuple(steps),
        increments=tuple(increments) if len(increments) == drawn else (),
    )


def restart(plan: Plan, again: Plan, schedule: Schedule, *, repeats: int) -> Plan:
    """A plan that, once it has come to its end, goes back to the start of `again` and down again, as often as
    asked.

    plan: ends at t_min, as `again` does, which starts at t_max.  schedule: of both.  repeats: how often, K in
    the paper.  The way up is the forward SDE's own, exactly: the law of data at t_min becomes that at t_max.
    Its noise is an increment as any other's.
    Raises TypeError or ValueError, naming the argument, for plans that `chain` would refuse, for another
    schedule than theirs, and where `again` does not start at a noisier time, with alpha > 0.
    """
    checks.instance("plan", plan, Plan)
    checks.instance("again", again, Plan)
    checks.instance("schedule", schedule, Schedule)
    repeats = checks.integer("repeats", repeats, 1, limits.ROUNDS)
    if plan.schedule != (schedule.kind, schedule.parameters):
        raise ValueError(f"schedule must be that of the plan, {plan.schedule[0]}, got {schedule.kind}")
    low, high, end = plan.steps[-1].t1, again.inputs[0], again.steps[-1].t1
    if low is None or end is None or low != end:
        raise ValueError(f"again must end where plan does, at t = {low}, got {end} (None: denoised)")
    f = schedule.formulas
    if not (f.alpha(high) > 0 and f.rho(high) > f.rho(low)):
        raise ValueError(f"again must start at a noisier time than t = {low}, with alpha > 0, got {high}")
    weight, std = map(choose(plan.digits).number, forward(schedule, low, high))
    row = Row(1, (("x", 0, weight),), ((0, std),))
    up = replace(
        plan, inputs=(low,), steps=(PlanStep(low, high, (row,), 1),), increments=(None,), start="own"
    )
    made = chain(plan, *(up, again) * repeats)
    return replace(made, solver=f"restart({made.solver})")


def _check_next(i: int, before: Plan, after: Plan) -> None:
    for name in ("schedule", "prediction", "digits"):
        ours, theirs = getattr(before, name), getattr(after, name)
        if ours != theirs:
            raise ValueError(f"plans[{i}] must have the {name} of the one before it, {ours}, got {theirs}")
    if len(after.inputs) > 1:
        raise ValueError(f"plans[{i}] must have one input, got {len(after.inputs)}")
    end, start = before.steps[-1].t1, after.inputs[0]
    if end is None:
        raise ValueError(f"plans[{i - 1}] must not denoise, since another follows it")
    if end != start:
        raise ValueError(f"plans[{i}] must start where the one before it ends, at t = {end}, got {start}")


def _rows(plan: Plan) -> Iterator[Row]:
    yield from (op for step in plan.steps for op in step.operations if isinstance(op, Row))


def _states(plan: Plan) -> int:
    """One more than the largest number of a state."""
    return 1 + max(row.state for row in _rows(plan))


def _drawn(plan: Plan) -> int:
    """One more than the largest number of an increment, or how many are known."""
    return max([len(plan.increments), *(1 + i for row in _rows(plan) for i, _ in row.noise)])


def _joined(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(names))


class _Moved:
    """The operations of a plan behind another: its input is state `base`, the others and the increments have
    higher numbers.
    """

    def __init__(self, base: int, states: int, increments: int) -> None:
        self._base, self._states, self._increments = base, states, increments

    def _state(self, number: int) -> int:
        return number + self._states if number else self._base

    def _operation(self, op: Evaluation | Row) -> Evaluation | Row:
        if isinstance(op, Evaluation):
            return Evaluation(self._state(op.state), op.t)
        terms = tuple((kind, self._state(number), weight) for kind, number, weight in op.terms)
        noise = tuple((i + self._increments, weight) for i, weight in op.noise)
        return Row(self._state(op.state), terms, noise, op.constant)

    def step(self, step: PlanStep) -> PlanStep:
        """A step of the plan."""
        low = None if step.low is None else self._state(step.low)
        operations = tuple(map(self._operation, step.operations))
        return PlanStep(step.t0, step.t1, operations, self._state(step.output), low)
