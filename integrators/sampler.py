"""The one sampling loop.

It runs any plan over torch tensors of any batch shape, over numpy arrays, and over numpy object arrays of
mpmath numbers.  Per row it multiplies once and adds once per further term: no other tensor operation, no
tensor made from a Python number, no device-to-host synchronisation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from .arithmetic import Value, choose, of
from .buffers import SMALL, Buffers
from .prediction import Model
from .program import Plan, PlanStep, Row

State = Any
"""A torch tensor, a numpy array, or a numpy object array of mpmath numbers."""
Check = Literal["end", "step", "off"]
Noise = Callable[[int, State], State]
"""(step index, a state of the right shape) -> standard normal increments of that shape."""


class NonFiniteError(ArithmeticError):
    """NaN or infinity in a model's output or a state; `step`, `t` and `evaluation` say where it appeared
    first.
    """

    def __init__(
        self, message: str, step: int | None = None, t: Value = None, evaluation: int | None = None
    ) -> None:
        super().__init__(message)
        self.step, self.t, self.evaluation = step, t, evaluation


@dataclass(frozen=True)
class StepInfo:
    """What a callback sees after each step: step `index` of `count` ended at time t (None: denoised) with
    state x.

    low: the embedded lower-order state, where the plan has one.  nfe: model evaluations so far.
    """

    index: int
    count: int
    t: Value
    x: State
    low: State | None
    nfe: int


Callback = Callable[[StepInfo], None]


@dataclass(frozen=True)
class Sample:
    """The final state, and the number of model evaluations that were made."""

    x: State
    nfe: int


def given_noise(increments: Sequence[State]) -> Noise:
    """Noise recorded beforehand: increments[i] is used at step i."""

    def noise(index: int, like: State) -> State:
        if index >= len(increments):
            raise ValueError(
                f"noise must hold increments for every step, got {len(increments)}, step {index} asks"
            )
        value = increments[index]
        if tuple(value.shape) != tuple(like.shape):
            raise ValueError(f"noise[{index}] must have shape {tuple(like.shape)}, got {tuple(value.shape)}")
        return value

    return noise


def sample(
    plan: Plan,
    model: Model,
    x: State | Sequence[State],
    *,
    noise: Noise | Sequence[State] | None = None,
    callback: Callback | None = None,
    check: Check = "end",
) -> Sample:
    """Run a plan from x.

    plan: from `compile_plan`.  model: model(x, t) -> the plan's prediction type, with the shape of x; t is
    a float (an mpmath number in a multiprecision plan).  x: the state at plan.inputs[0], of any shape; for
    an exact start a sequence of len(plan.inputs) states.  Floating torch tensors (half precision is
    accumulated in float32 and the model still called in half), numpy float arrays, or object arrays of
    mpmath numbers. noise: for stochastic plans, a function of (step, like) or one increment per step.
    check: "end" looks at the final state once and, if it is not finite, repeats the run to find the step
    where a model output first was not; "step" looks at every output (a synchronisation each); "off" never.
    Returns a Sample.  Raises TypeError or ValueError for arguments that do not fit, NonFiniteError with the
    step.
    """
    states, dtype = _inputs(plan, x)
    xp = choose(plan.digits)
    source = _noise(plan, noise)
    if check not in ("end", "step", "off"):
        raise ValueError(f"check must be one of end, step, off, got {check!r}")
    call = _calling_convention(model, states[0], dtype)
    every_step = check == "step" or (xp.context is not None and check == "end")
    result = _run(plan, call, states, source, callback, every_step)
    if check == "end" and not every_step and not _finite(result.x):
        _run(plan, call, states, source, None, True)  # raises where it appeared
        raise NonFiniteError(
            "the final state is not finite, but a second run of the model was: it is not deterministic"
        )
    return Sample(result.x.to(dtype) if isinstance(result.x, torch.Tensor) else result.x, result.nfe)


def _run(
    plan: Plan, model: Model, states: list[State], noise: Noise | None, callback: Callback | None, check: bool
) -> Sample:
    machine = Machine(model, noise, check)
    for i, state in enumerate(states):
        machine.put(i, state)
    machine.prepare(plan.arrays, states[0])
    for index, step in enumerate(plan.steps):
        machine.run(step, index)
        if callback is not None:
            low = None if step.low is None else machine.state(step.low)
            callback(StepInfo(index, len(plan.steps), step.t1, machine.state(step.output), low, machine.nfe))
        machine.forget(plan.dead[index])
    return Sample(machine.state(plan.steps[-1].output), machine.nfe)


class Machine:
    """Executes plan steps over a store of values; the only place where states are combined and models called.

    State i is stored under the key 2 i, the model's output there under 2 i + 1.
    """

    def __init__(self, model: Model, noise: Noise | None = None, check: bool = False) -> None:
        self.values: dict[int, State] = {}
        self.nfe = 0
        self._model, self._noise, self._check = model, noise, check
        self._given = 0
        self._buffers: Buffers | None = None
        self._tensors: dict[int, torch.Tensor] = {}

    def put(self, state: int, x: State) -> None:
        """Supply a state, before any is made here; its memory stays the caller's."""
        self.values[2 * state] = x
        self._given = max(self._given, 2 * state + 1)
        if isinstance(x, torch.Tensor) and x.nbytes >= SMALL:
            self._buffers = Buffers()

    def state(self, state: int) -> State:
        """A state by number."""
        return self.values[2 * state]

    def prepare(self, arrays: Iterable[np.ndarray], like: State) -> None:
        """Move elementwise coefficients to the state's device before the loop: no transfer while it runs."""
        if isinstance(like, torch.Tensor):
            self._tensors = {id(a): torch.tensor(a, dtype=like.dtype, device=like.device) for a in arrays}

    def run(self, step: PlanStep, index: int) -> None:
        """All operations of one step."""
        values = self.values
        for op in step.operations:
            key = 2 * op.state
            if type(op) is Row:
                values[key] = self._combine(op)
            else:
                output = values[key + 1] = self._model(values[key], op.t)  # type: ignore[union-attr]
                self.nfe += 1
                if self._check and not _finite(output):
                    t = op.t  # type: ignore[union-attr]
                    message = (
                        f"the model's output is not finite at step {index}, t = {t} (evaluation {self.nfe})"
                    )
                    raise NonFiniteError(message, index, t, self.nfe)

    def forget(self, keys: Iterable[int]) -> None:
        """Drop values that nothing reads any more; the memory of states that were made here may be used
        again.
        """
        for key in keys:
            value = self.values.pop(key)
            if self._buffers is not None and key > self._given and key % 2 == 0:
                self._buffers.give(value)

    def _combine(self, row: Row) -> State:
        values, terms = self.values, row.keyed
        key, coefficient = terms[0]
        first = values[key]
        if not isinstance(first, torch.Tensor):
            return self._combine_arrays(row)
        buffer = None if self._buffers is None else self._buffers.take(first)
        total = torch.mul(first, self._operand(coefficient), out=buffer)
        for key, coefficient in terms[1:]:
            if type(coefficient) is float:
                total.add_(values[key], alpha=coefficient)
            else:
                total.addcmul_(values[key], self._operand(coefficient))
        for index, weight in row.noise:
            assert self._noise is not None
            increments = self._noise(index, total)
            if type(weight) is float:
                total.add_(increments, alpha=weight)
            else:
                total.addcmul_(increments, self._operand(weight))
        return total if row.constant is None else total.add_(self._operand(row.constant))

    def _operand(self, coefficient: Value) -> Any:
        """A coefficient as torch takes it: floats as they are, arrays (elementwise operators) as prepared
        tensors.
        """
        return coefficient if type(coefficient) is float else self._tensors[id(coefficient)]

    def _combine_arrays(self, row: Row) -> State:
        values, terms = self.values, row.keyed
        total = values[terms[0][0]] * terms[0][1]
        for key, coefficient in terms[1:]:
            total = total + values[key] * coefficient
        for index, weight in row.noise:
            assert self._noise is not None
            total = total + self._noise(index, total) * weight
        return total if row.constant is None else total + row.constant


def _finite(value: State) -> bool:
    if isinstance(value, torch.Tensor):
        # A finite sum proves it in one fast pass; large finite values may overflow the sum.
        return bool(value.sum() * 0 == 0) or bool(torch.isfinite(value).all())
    array = np.asarray(value)
    if array.dtype == object:
        return all(abs(v) < float("inf") for v in array.flat)
    return bool(np.isfinite(array).all())


def _inputs(plan: Plan, x: State | Sequence[State]) -> tuple[list[State], torch.dtype | None]:
    states = list(x) if isinstance(x, (list, tuple)) else [x]
    if len(states) != len(plan.inputs):
        raise ValueError(
            f"x must hold {len(plan.inputs)} state(s), at t = {', '.join(str(t) for t in plan.inputs)} "
            f"(start = {plan.start!r}), got {len(states)}"
        )
    first, dtype = states[0], None
    for i, state in enumerate(states):
        if type(state) is not type(first) or tuple(getattr(state, "shape", ())) != tuple(
            getattr(first, "shape", ())
        ):
            raise ValueError(f"x[{i}] must have the type and shape of x[0]")
        if isinstance(state, torch.Tensor):
            if not state.is_floating_point():
                raise TypeError(f"x must be a floating-point tensor, got dtype {state.dtype}")
            if plan.digits is not None:
                raise TypeError("x must be a numpy array of mpmath numbers: the plan is in multiprecision")
            dtype = state.dtype
            if dtype in (torch.float16, torch.bfloat16):
                states[i] = state.float()
        elif isinstance(state, np.ndarray):
            if plan.digits is not None:
                states[i] = choose(plan.digits).number(state)
            elif state.dtype.kind != "f":
                raise TypeError(f"x must be a float array for a float64 plan, got dtype {state.dtype}")
        else:
            raise TypeError(f"x must be a torch tensor or a numpy array, got {type(state).__name__}")
        if state.size == 0 if isinstance(state, np.ndarray) else state.numel() == 0:
            raise ValueError(f"x must not be empty, got shape {tuple(state.shape)}")
    return states, dtype


def _noise(plan: Plan, noise: Noise | Sequence[State] | None) -> Noise | None:
    if plan.stochastic and noise is None:
        raise ValueError(f"noise must be given: {plan.solver} is stochastic")
    return noise if noise is None or callable(noise) else given_noise(noise)


def _calling_convention(model: Model, state: State, dtype: torch.dtype | None) -> Model:
    """The model as the loop calls it: half-precision models get half states, outputs are checked for their
    shape.
    """
    if not callable(model):
        raise TypeError(f"model must be callable as model(x, t), got {type(model).__name__}")
    kind, shape = torch.Tensor if isinstance(state, torch.Tensor) else np.ndarray, state.shape
    number = of(state).number

    def call(x: State, t: Value) -> State:
        output = model(x, t)
        if not isinstance(output, kind) or output.shape != shape:
            got = tuple(output.shape) if hasattr(output, "shape") else type(output).__name__
            raise ValueError(
                f"model must return a {kind.__name__} of shape {tuple(shape)}, got {got} at t = {t}"
            )
        return output

    if isinstance(state, np.ndarray) and state.dtype == object:
        return lambda x, t: number(call(x, t))
    if dtype is not None and dtype != state.dtype:
        return lambda x, t: call(x.to(dtype), t)
    return call
