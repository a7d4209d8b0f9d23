"""Plans as data: a straight-line linear program over tensors.

Value `("x", i)` is the i-th state, `("m", i)` the model's output there; an `Evaluation` calls the model, a
`Row` makes a state as a linear combination of earlier values.  There is no schedule, no form and no symbol
in a plan: the sampling loop multiplies and adds.

Each value says its numbers as JSON (`numbers`), in the one way in which they are hashed and saved.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Literal

import numpy as np

from ..common.choices import STARTS as STARTS
from ..common.choices import Start as Start
from ..diffusion.grids import Times
from ..numerics.arithmetic import Value, choose
from ..solver import Final

Kind = Literal["x", "m"]
Interval = tuple[Value, Value]
Coefficient = Any
"""A float, an mpmath number, or a read-only numpy array of the state's trailing shape."""
Write = Callable[[Coefficient], Any]
"""A number as JSON."""


def writer(digits: int | None) -> Write:
    """float64 numbers as they are, which JSON writes in the shortest decimal form that reads back to the same
    number; mpmath numbers as strings with all their digits; arrays as nested lists.
    """

    def write(value: Coefficient) -> Any:
        if isinstance(value, np.ndarray):
            return [write(v) for v in value]
        if digits is None:
            return float(value)
        context = choose(digits).context
        return str(context.nstr(context.mpf(value), digits + 5, strip_zeros=True))

    return write


@dataclass(frozen=True)
class Evaluation:
    """Value ("m", state) = model(value ("x", state), t)."""

    state: int
    t: Value

    def numbers(self, write: Write) -> dict[str, Any]:
        """As JSON data."""
        return {"evaluate": self.state, "t": write(self.t)}


@dataclass(frozen=True, eq=False)
class Row:
    """Value ("x", state) = sum of coefficient * value over `terms`, + constant + the noise increments times
    `noise`.
    """

    state: int
    terms: tuple[tuple[Kind, int, Coefficient], ...]
    noise: tuple[tuple[int, Coefficient], ...] = ()
    constant: Coefficient | None = None

    @cached_property
    def keyed(self) -> tuple[tuple[int, Coefficient], ...]:
        """The terms by the sampling loop's keys: 2 i for state i, 2 i + 1 for the model's output there."""
        return tuple((2 * state + (kind == "m"), coefficient) for kind, state, coefficient in self.terms)

    @cached_property
    def split(self) -> tuple[tuple[int, Coefficient], tuple[tuple[int, Coefficient], ...]]:
        """The first of `keyed`, and the others."""
        return self.keyed[0], self.keyed[1:]

    def numbers(self, write: Write) -> dict[str, Any]:
        """As JSON data, without what it does not have."""
        data: dict[str, Any] = {"row": self.state, "terms": [[k, i, write(v)] for k, i, v in self.terms]}
        if self.noise:
            data["noise"] = [[i, write(v)] for i, v in self.noise]
        if self.constant is not None:
            data["constant"] = write(self.constant)
        return data


@dataclass(frozen=True, eq=False)
class PlanStep:
    """The operations between t0 and t1, in order; t1 is None for the final denoising step to lambda =
    +infinity.

    output: the state that the step makes.  low: the state of the embedded lower-order row, if any.
    """

    t0: Value
    t1: Value | None
    operations: tuple[Evaluation | Row, ...]
    output: int
    low: int | None = None

    @property
    def adds_noise_alone(self) -> bool:
        """Whether it adds noise to states and asks nothing of the model: Restart's way up."""
        rows = [op for op in self.operations if isinstance(op, Row)]
        if len(rows) < len(self.operations):
            return False
        return any(row.noise for row in rows) and all(key % 2 == 0 for row in rows for key, _ in row.keyed)

    @cached_property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """The coefficients that are arrays (elementwise operators)."""
        rows = [op for op in self.operations if isinstance(op, Row)]
        terms = [v for row in rows for _, _, v in row.terms]
        every = [*terms, *(v for row in rows for _, v in row.noise), *(row.constant for row in rows)]
        return tuple(v for v in every if isinstance(v, np.ndarray))

    def numbers(self, write: Write) -> dict[str, Any]:
        """As JSON data."""
        data: dict[str, Any] = {
            "t0": write(self.t0),
            "t1": None if self.t1 is None else write(self.t1),
            "operations": [op.numbers(write) for op in self.operations],
            "output": self.output,
        }
        return data if self.low is None else data | {"low": self.low}


@dataclass(frozen=True, eq=False)
class Plan:
    """Immutable numbers that one loop can run; made by `compile.compile_plan`.

    inputs: the times of the states that the caller supplies (one, or several for an exact start); state i <
    len(inputs) is the i-th input.  steps: in order.  prediction: the model output that the coefficients
    expect.  The other fields say where the plan came from.  Plans are equal when they do the same
    arithmetic: `digest` hashes the numbers alone.
    """

    solver: str
    form: str
    schedule: tuple[str, tuple[tuple[str, Any], ...]]
    prediction: str
    start: Start
    final: Final
    digits: int | None
    inputs: Times
    steps: tuple[PlanStep, ...]
    increments: tuple[Interval | None, ...] = ()
    """For each noise increment the times between which it is the form's own noise, or None for noise that is
    added to go back to a noisier time or drawn for a stage alone; empty where this is not known."""

    @property
    def times(self) -> Times:
        """The grid from the first input on (the denoising step adds no time)."""
        return (*self.inputs[:-1], self.steps[0].t0, *(s.t1 for s in self.steps if s.t1 is not None))

    @cached_property
    def nfe(self) -> int:
        """Model evaluations of one run."""
        return sum(isinstance(op, Evaluation) for step in self.steps for op in step.operations)

    @cached_property
    def _last(self) -> dict[int, int]:
        """For each key (see `Row.keyed`) the last step that uses it; the final state outlives all."""
        last: dict[int, int] = {2 * i: 0 for i in range(len(self.inputs))}
        for index, step in enumerate(self.steps):
            for op in step.operations:
                last[2 * op.state] = index
                if isinstance(op, Evaluation):
                    last[2 * op.state + 1] = index
                else:
                    last |= {key: index for key, _ in op.keyed}
        last[2 * self.steps[-1].output] = len(self.steps)
        return last

    @cached_property
    def dead(self) -> tuple[tuple[int, ...], ...]:
        """For each step, the keys (see `Row.keyed`) that no later step reads; the final state is never
        among them.
        """
        dead: list[list[int]] = [[] for _ in range(len(self.steps) + 1)]
        for key, index in self._last.items():
            dead[index].append(key)
        return tuple(tuple(keys) for keys in dead[:-1])

    @cached_property
    def slots(self) -> dict[int, int]:
        """Where in a run's memory each state that a row makes is kept: as many places as states live at once.

        A state lives to the end of the last step that reads it or the model's output there, which may be a
        view of it.  Inputs have no place: their memory is the caller's.
        """
        slots: dict[int, int] = {}
        free: list[int] = []
        ending: dict[int, list[int]] = defaultdict(list)
        for index, step in enumerate(self.steps):
            for op in step.operations:
                if isinstance(op, Row):
                    slots[op.state] = free.pop() if free else len(set(slots.values()))
                    end = max(self._last[2 * op.state], self._last.get(2 * op.state + 1, 0))
                    ending[end].append(slots[op.state])
            free += ending.pop(index, [])
        return slots

    @cached_property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """The coefficients that are arrays (elementwise operators)."""
        return tuple(array for step in self.steps for array in step.arrays)

    @cached_property
    def placed(self) -> dict[Any, dict[int, Any]]:
        """What the loop made of `arrays`: tensors by identity, for each dtype and device where it ran."""
        return {}

    @cached_property
    def memories(self) -> dict[Any, Any]:
        """What small runs made of it (`run.small`): memories by the shape of their states, free for the next
        run; None where runs are not small.
        """
        return {}

    def __getstate__(self) -> dict[str, Any]:
        """The fields: what was derived stays in its process, and on its device."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @cached_property
    def stochastic(self) -> bool:
        """Whether any row adds noise."""
        return any(isinstance(op, Row) and op.noise for step in self.steps for op in step.operations)

    @property
    def numbers(self) -> dict[str, Any]:
        """What it computes, as JSON data: prediction, inputs and steps, not the names."""
        write = writer(self.digits)
        return {
            "prediction": self.prediction,
            "digits": self.digits,
            "inputs": [write(t) for t in self.inputs],
            "steps": [step.numbers(write) for step in self.steps],
        }

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the numbers, as hexadecimal."""
        text = json.dumps(self.numbers, sort_keys=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Plan) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)
