"""One memory for all values of a plan, laid out by what dies when: states, the model's outputs, increments.

Where all that rows add lies in one matrix, a row is one product of a vector and that matrix.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from .program import Evaluation, Plan, Row


@dataclass(frozen=True)
class Call:
    """The model's output at the state in place `state` and time t, to place `output`."""

    state: int
    output: int
    t: float


@dataclass(frozen=True)
class Product:
    """The sum of weights times what lies in their places, to place `into`, which may be one of them.

    draws: (increment, place) of the noise that is among it.
    """

    into: int
    weights: dict[int, float]
    draws: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Layout:
    """A plan over places 0, .., places - 1: its inputs lie in the first of them, in the end its result in
    `final`.
    """

    places: int
    operations: tuple[Call | Product, ...]
    final: int


def lay_out(plan: Plan) -> Layout | None:
    """As many places as values live at once; None for a plan that has other coefficients than floats, or
    constants.

    A value lives until the last operation that reads it, and what that makes may take its place.
    """
    operations = [op for step in plan.steps for op in step.operations]
    rows = [op for op in operations if isinstance(op, Row)]
    if plan.digits is not None or plan.arrays or any(row.constant is not None for row in rows):
        return None
    final = 2 * plan.steps[-1].output
    last: dict[Hashable, int] = {final: len(operations)}
    for index, op in enumerate(operations):
        last |= dict.fromkeys((key for key in _read(op) if key != final), index)
    places = _Places(2 * i for i in range(len(plan.inputs)))
    made: list[Call | Product] = []
    for index, op in enumerate(operations):
        if isinstance(op, Evaluation):
            key, state = 2 * op.state + 1, places.of(2 * op.state)
            made.append(Call(state, places.of(key), op.t))
        else:
            key = 2 * op.state
            draws = tuple((which, places.of(("noise", which))) for which, _ in op.noise)
            terms = [*op.keyed, *((("noise", which), weight) for which, weight in op.noise)]
            weights = {places.of(read): weight for read, weight in terms}
        for read in dict.fromkeys(_read(op)):  # in this order in every process
            if last[read] == index:
                places.free(read)
        if isinstance(op, Row):
            made.append(Product(places.of(key), weights, draws))
        if key not in last:
            places.free(key)
    return Layout(places.count, tuple(made), places.of(final))


def _read(op: Evaluation | Row) -> tuple[Hashable, ...]:
    if isinstance(op, Evaluation):
        return (2 * op.state,)
    return (*(key for key, _ in op.keyed), *(("noise", which) for which, _ in op.noise))


class _Places:
    """Who is where, and what is free."""

    def __init__(self, first: Iterable[Hashable]) -> None:
        self._where = {key: place for place, key in enumerate(first)}
        self._free: list[int] = []
        self.count = len(self._where)

    def of(self, key: Hashable) -> int:
        """A key's place: its own, or a free one, or a new one."""
        if key not in self._where:
            if not self._free:
                self._free.append(self.count)
                self.count += 1
            self._where[key] = self._free.pop()
        return self._where[key]

    def free(self, key: Hashable) -> None:
        """A key that is read no more."""
        self._free.append(self._where.pop(key))
