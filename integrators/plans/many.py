"""Many steps of one tableau at once: the compiler's own formulas over arrays, and each step read off.

The steps of a run differ in their numbers only.  Where consecutive steps share their tableau, times, states
and coefficients are arrays with one entry a step, the compiler makes them as if they were one step, and
`singles` reads each step off: the same numbers as one by one, in a fraction of the time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..numerics.arithmetic import Value
from .program import Evaluation, PlanStep, Row

FEWEST = 12
"""Arrays of fewer steps cost more than they save."""


@dataclass(frozen=True)
class States:
    """The number of a state in each of many steps."""

    numbers: tuple[int, ...]

    def __add__(self, more: int) -> States:
        return States(tuple(n + more for n in self.numbers))

    def __sub__(self, less: int) -> States:
        return self + -less

    def before(self, earlier: Sequence[int], by: int) -> States:
        """The numbers `by` steps earlier; `earlier` are those before the first step, the latest first."""
        return States((*earlier[:by][::-1], *self.numbers[: len(self.numbers) - by]))


def before(values: Value, earlier: Sequence[Value], by: int) -> Value:
    """What stood `by` steps earlier, one value a step; `earlier` is what stood before the first step, the
    latest first.
    """
    return np.array([*earlier[:by][::-1], *values[: len(values) - by]])


def each(values: Value, count: int) -> list[float]:
    """One number a step; one that all share is repeated.  Raises ValueError for arrays of another shape."""
    return np.broadcast_to(values, count).tolist()  # type: ignore[no-any-return]


def singles(step: PlanStep, count: int, increments: int, first: int) -> Iterator[PlanStep]:
    """The steps that a step of arrays holds.

    increments: how many noise increments a step has; first: the number of the first step's first.
    """
    t0, t1 = each(step.t0, count), each(step.t1, count)
    output, low = _numbers(step.output), None if step.low is None else _numbers(step.low)
    operations = [
        _calls(op, count) if isinstance(op, Evaluation) else _rows(op, count, increments, first)
        for op in step.operations
    ]
    for i, made in enumerate(zip(*operations, strict=True)):
        yield PlanStep(t0[i], t1[i], made, output[i], None if low is None else low[i])


def _numbers(states: States | int) -> tuple[int, ...]:
    if not isinstance(states, States):
        raise TypeError("states must have one number a step")
    return states.numbers


def _calls(op: Evaluation, count: int) -> Iterator[Evaluation]:
    return map(Evaluation, _numbers(op.state), each(op.t, count))


def _rows(op: Row, count: int, increments: int, first: int) -> Iterator[Row]:
    """The rows, without what is zero in them."""
    terms = [(kind, _numbers(state), each(v, count)) for kind, state, v in op.terms]
    noise = [(n, each(v, count)) for n, v in op.noise]
    constant = [None] * count if op.constant is None else each(op.constant, count)
    for i, state in enumerate(_numbers(op.state)):
        kept = tuple((kind, of[i], v[i]) for kind, of, v in terms if v[i] != 0)
        if len({t[:2] for t in kept}) != len(kept):
            raise TypeError("two terms of a row must not be of one value")
        drawn = tuple((first + i * increments + n, v[i]) for n, v in noise if v[i] != 0)
        yield Row(state, kept, drawn, constant[i] or None)
