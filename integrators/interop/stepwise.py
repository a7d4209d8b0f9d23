"""A plan run from outside, evaluation by evaluation: for frames that own the model and the loop.

The operations are those of the sampling loop and `Machine` does them; they are only cut in front of every
evaluation, and what the model would return there is handed in.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import torch

from ..numerics.arithmetic import Value
from ..plans.program import Evaluation, Plan, PlanStep, Row
from ..run.boundary import Noise, State, check_noise, check_states, wrap_model
from ..run.sampler import Machine


@dataclass(frozen=True)
class Part:
    """An evaluation and all that is done before the next: operations of step `index`, perhaps of later ones.

    pieces: (index, the step with these operations alone, the keys that are dead after them).
    """

    evaluation: Evaluation
    pieces: tuple[tuple[int, PlanStep, tuple[int, ...]], ...]


def cut(plan: Plan) -> list[Part]:
    """The plan's parts, in order: as many as it has evaluations.

    Raises ValueError for a plan that changes its input before it asks the model.
    """
    parts: list[Part] = []
    for index, step in enumerate(plan.steps):
        operations, dead = step.operations, plan.dead[index]
        places = [i for i, op in enumerate(operations) if isinstance(op, Evaluation)]
        if not parts and places[:1] != [0]:
            raise ValueError(
                f"plan must begin with an evaluation of its input, that of {plan.solver} changes it first"
            )
        for a, b in zip([0, *places], [*places, len(operations)]):
            if a == b:
                continue
            piece = (index, replace(step, operations=operations[a:b]), dead if b == len(operations) else ())
            first = operations[a]
            if isinstance(first, Evaluation):
                parts.append(Part(first, (piece,)))
            else:
                parts[-1] = replace(parts[-1], pieces=(*parts[-1].pieces, piece))
    return parts


class Stepwise:
    """A run of a plan to which the model's outputs are given one by one.

    plan, x, noise: as in `sample`.  `x` is the state at which the next output is due, after the last the
    final one, in the dtype of the x that was given; half precision is accumulated in float32.
    Raises ValueError or TypeError as `sample` does, and for a plan that does not begin with an evaluation.
    """

    def __init__(self, plan: Plan, x: State, noise: Noise | None = None) -> None:
        self._parts, self._final, self._done = cut(plan), plan.steps[-1].output, 0
        self._plan, self._given = plan, None
        (state,), self._dtype = check_states(x, plan.inputs, plan.digits)
        model = wrap_model(lambda x, t: self._given, state, self._dtype, gradients=True)
        self._machine = Machine(model, check_noise(plan, noise, state))
        self._machine.put(0, state)
        self._machine.prepare(plan.arrays, state, plan.placed)
        self._shown, self._version = x, _version(x)

    @property
    def x(self) -> State:
        """The state, as `advance` left it."""
        return self._shown

    @property
    def t(self) -> Value | None:
        """The time of the output that is due; None at the end."""
        return None if self._done == len(self._parts) else self._parts[self._done].evaluation.t

    def advance(self, output: State, x: State | None = None) -> State:
        """Go on to the next evaluation with the model's output at this one; returns the state there.

        x: the state at which the model was called, if it is not, or no longer, the one that was returned: it
        takes that one's place.
        Raises ValueError at the end of the plan, and for an output or x of another kind, shape or dtype.
        """
        if self._done == len(self._parts):
            raise ValueError(f"output must be one of {len(self._parts)}: the run has ended")
        part, machine = self._parts[self._done], self._machine
        if x is not None and (x is not self._shown or _version(x) is None or _version(x) != self._version):
            self._put(part.evaluation.state, x)
        self._given = output
        for index, step, dead in part.pieces:
            machine.run(step, index)
            machine.forget(dead)
        self._given, self._done = None, self._done + 1
        ended = self._done == len(self._parts)
        state = machine.state(self._final if ended else self._parts[self._done].evaluation.state)
        self._shown = state if self._dtype is None else state.to(self._dtype)
        self._version = _version(self._shown)
        return self._shown

    def _put(self, state: int, x: State) -> None:
        old = self._machine.state(state)
        dtype = old.dtype if self._dtype is None else self._dtype
        if type(x) is not type(old) or x.shape != old.shape or x.dtype != dtype:
            got = f"{x.dtype} of shape {tuple(x.shape)}" if hasattr(x, "shape") else type(x).__name__
            raise ValueError(f"x must stay {dtype} of shape {tuple(old.shape)}, got {got}")
        (wide,), _ = check_states(x, self._plan.inputs, self._plan.digits)
        self._machine.replace(state, wide)


def _version(x: State) -> int | None:
    """How often a tensor has been written to; None where that is not counted."""
    return x._version if isinstance(x, torch.Tensor) and not x.is_inference() else None


def drawn_once(plan: Plan, draw: Noise) -> Noise:
    """Noise from a source that gives new numbers at every call: an increment is kept for all rows that add
    it.
    """
    rows = [op for step in plan.steps for op in step.operations if isinstance(op, Row)]
    left = Counter(which for row in rows for which, _ in row.noise)
    kept: dict[int, State] = {}

    def noise(which: int, like: State) -> State:
        if which not in kept:
            kept[which] = draw(which, like)
        left[which] -= 1
        return kept[which] if left[which] else kept.pop(which)

    return noise
