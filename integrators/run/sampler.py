"""The one sampling loop.

It runs any plan over torch tensors of any batch shape, over numpy arrays, and over numpy object arrays of
mpmath numbers.  Per row it multiplies once and adds once per further term: no other tensor operation, no
tensor made from a Python number, no device-to-host synchronisation.  Its memory is laid out by the plan,
which knows what dies when (`Plan.slots`).  A run over few numbers of float32 is done by `small.py`, in two
operations per row and one per evaluation, and rows on a CUDA device by `fused.py`, in one kernel each; which
it is, is decided once, before the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import numpy as np
import torch

from ..common import checks
from ..common.messages import shown
from ..diffusion.prediction import Model
from ..numerics.arithmetic import Value, choose
from ..numerics.tensors import is_transformed
from ..plans.program import Plan, PlanStep, Row
from .boundary import (
    CHECKS,
    Check,
    Noise,
    NonFiniteError,
    State,
    check_noise,
    check_states,
    finite,
    unchecked,
    wrap_model,
)
from .fused import Fused, refusal
from .small import borrowed, give_back

__all__ = ["BACKENDS", "Interlude", "Machine", "NonFiniteError", "Sample", "StepInfo", "sample"]


Backend = Literal["auto", "torch", "fused"]
BACKENDS: tuple[Backend, ...] = get_args(Backend)


@dataclass(frozen=True)
class StepInfo:
    """What a callback sees after each step: step `index` of `count` ended at time t (None: denoised) with
    state x, which is the loop's own: copy it before changing it.

    low: the embedded lower-order state, where the plan has one.  nfe: model evaluations so far.
    """

    index: int
    count: int
    t: Value
    x: State
    low: State | None
    nfe: int


Callback = Callable[[StepInfo], None]
Evaluate = Callable[[State, Value], State]
"""(x, t) -> the model's output there, checked and counted."""


@runtime_checkable
class Interlude(Protocol):
    """What changes the state between steps: Langevin correctors, projections onto known data."""

    def before(self, x: State, t: Value, index: int, evaluate: Evaluate) -> State:
        """The state that step `index` starts from, at time t."""

    def after(self, x: State, t: Value, index: int, evaluate: Evaluate) -> State:
        """The state that step `index` made, at time t (None where the step denoised)."""


@dataclass(frozen=True)
class Sample:
    """The final state, and the number of model evaluations that were made."""

    x: State
    nfe: int


def sample(
    plan: Plan,
    model: Model,
    x: State | Sequence[State],
    *,
    noise: Noise | Sequence[State] | None = None,
    callback: Callback | None = None,
    between: Interlude | None = None,
    check: Check = "end",
    reuse: bool = True,
    gradients: bool = False,
    backend: Backend = "auto",
) -> Sample:
    """Run a plan from x.

    plan: from `compile_plan`.  model: model(x, t) -> the plan's prediction type, with the shape of x; t is
    a float (an mpmath number in a multiprecision plan); it must not change its input, nor write into an
    output that it returned before.  Its input is the loop's memory, which later steps write over: a model
    that keeps it copies it, or asks for reuse=False.
    x: the state at plan.inputs[0], of any shape; for an exact start a sequence of len(plan.inputs) states.
    Floating torch tensors (half precision is
    accumulated in float32 and the model still called in half), numpy float arrays, or object arrays of
    mpmath numbers. noise: for stochastic plans, a function of (step, like) or one increment per step.
    between: changes the state before and after steps; its evaluations are counted. It must give the same
    states when a run is repeated.  What a callback or `between` is given is never written over.
    reuse: whether the memory of dead states is written again; False for a model that keeps its inputs, and
    for sums in the order of the plan's terms also of few numbers (see `small.py`, which differs by rounding).
    backend: what makes rows.  "torch": a chain of torch operations; "fused": one kernel each (`fused.py`),
    which needs triton, a CUDA device and numbers for coefficients, and which autograd cannot follow; "auto":
    products of BLAS for few numbers of float32 on a CPU, "fused" on a CUDA device where it can, else "torch".
    check: "end" looks at the final state once and, if it is not finite, repeats the run to find out where
    that began; "step" looks at every output, increment and state (a synchronisation each); "off" never.
    gradients: whether autograd records the parameters of model and noise.  Where x or a given increment
    requires a gradient the run is recorded anyway; elsewhere they are called under torch.no_grad (a model
    that calls torch.autograd.grad by itself enables it there: torch.enable_grad; torch.func needs nothing).
    Returns a Sample.  Raises TypeError or ValueError for arguments that do not fit, NonFiniteError with the
    step.
    """
    checks.instance("plan", plan, Plan)
    if between is not None and not isinstance(between, Interlude):
        raise TypeError(f"between must have the methods before and after, got {shown(between)}")
    states, dtype = check_states(x, plan.inputs, plan.digits)
    xp = choose(plan.digits)
    source = check_noise(plan, noise, states[0])
    checks.one_of("check", check, CHECKS)
    checks.flag("reuse", reuse)
    checks.flag("gradients", gradients)
    checks.one_of("backend", backend, BACKENDS)
    if callback is not None and not callable(callback):
        raise TypeError(f"callback must be callable with a StepInfo, got {type(callback).__name__}")
    every_step = check == "step" or (xp.context is not None and check == "end")
    seen = callback is not None or between is not None  # by those who may keep it
    recorded = gradients or is_transformed() or any(map(_is_recorded, (*states, *_given(noise))))
    alone = isinstance(states[0], torch.Tensor) and not (seen or recorded)
    asked = model, states[0], dtype, gradients or alone
    kernel = _kernel(plan, states[0], backend, alone, recorded)
    slots = plan.slots if reuse and not seen else {}
    few_numbers = alone and reuse and not every_step and backend == "auto"
    memory = borrowed(plan, states[0]) if few_numbers else None
    with torch.set_grad_enabled(False) if alone else nullcontext():  # at a third of the price of no_grad
        few = None if memory is None else memory.run(states, unchecked(*asked), source)
        if memory is not None and give_back(plan, memory):
            result, ended = Sample(few, plan.nfe), True
        else:
            call = wrap_model(*asked)
            unwatched = alone and torch.is_inference_mode_enabled()  # there tensors have no versions
            if (
                memory is not None or unwatched
            ):  # a model that changes its input shall not change the caller's
                states = [state.clone() for state in states]
            result = _run(plan, call, states, source, callback, between, every_step, slots, kernel)
            ended = check != "end" or every_step or finite(result.x)
        if not ended:
            _run(plan, call, states, source, None, between, True, slots, kernel)  # raises where it appeared
            raise NonFiniteError(
                "the final state is not finite, but that of a second run was: "
                "the model or the noise is not deterministic"
            )
    if dtype is None or result.x.dtype == dtype:
        return result
    final = result.x.to(dtype)
    if check != "off" and not finite(final):
        raise NonFiniteError(f"the final state overflows {dtype}", len(plan.steps) - 1, plan.steps[-1].t1)
    return Sample(final, result.nfe)


def _kernel(plan: Plan, like: State, backend: Backend, alone: bool, recorded: bool) -> Fused | None:
    """What makes rows in place of torch.  Raises ValueError where that was asked for and cannot be."""
    if backend == "torch" or (backend == "auto" and not (alone and like.is_cuda)):
        return None
    needed = "a run that autograd does not follow" if recorded else refusal(plan, like)
    if needed is None:
        return Fused(plan, like)
    if backend == "fused":
        raise ValueError(f"backend must be 'auto' or 'torch', got 'fused', which needs {needed}")
    return None


def _given(noise: Any) -> Sequence[Any]:
    return noise if isinstance(noise, (list, tuple)) else (noise,)


def _is_recorded(value: Any) -> bool:
    return bool(getattr(value, "requires_grad", False))


def _run(
    plan: Plan,
    model: Model,
    states: list[State],
    noise: Noise | None,
    callback: Callback | None,
    between: Interlude | None,
    check: bool,
    slots: Mapping[int, int],
    kernel: Fused | None,
) -> Sample:
    machine = Machine(model, noise, check) if kernel is None else FusedMachine(kernel, model, noise, check)
    for i, state in enumerate(states):
        if check and not finite(state):
            raise NonFiniteError(f"x is not finite at t = {plan.inputs[i]}", 0, plan.inputs[i], 0)
        machine.put(i, state)
    machine.prepare(plan.arrays, states[0], plan.placed)
    machine.lay_out(slots)
    base = len(states) - 1
    for index, step in enumerate(plan.steps):
        if between is not None:
            machine.replace(base, between.before(machine.state(base), step.t0, index, machine.evaluate))
        machine.run(step, index)
        base = step.output
        if between is not None:
            machine.replace(base, between.after(machine.state(base), step.t1, index, machine.evaluate))
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
        self._tensors: dict[int, torch.Tensor] = {}
        self._slots: dict[int, int] = {}
        self._memory: dict[int, torch.Tensor] = {}
        self._versions: dict[int, int] = {}
        """How often each retained output had been written to when it was returned."""

    def put(self, state: int, x: State) -> None:
        """Supply a state; its memory stays the caller's."""
        self.values[2 * state] = x

    def state(self, state: int) -> State:
        """A state by number."""
        return self.values[2 * state]

    def replace(self, state: int, x: State) -> None:
        """Put another value in a state's place.  Raises ValueError for another kind, shape or dtype."""
        old = self.values[2 * state]
        if type(x) is not type(old) or x.shape != old.shape or x.dtype != old.dtype:
            got = f"{x.dtype} of shape {tuple(x.shape)}" if hasattr(x, "shape") else type(x).__name__
            raise ValueError(f"between must return {old.dtype} of shape {tuple(old.shape)}, got {got}")
        self.values[2 * state] = x

    def evaluate(self, x: State, t: Value) -> State:
        """The model's output at a state that is not the plan's."""
        self.nfe += 1
        return self._model(x, t)

    def prepare(
        self, arrays: Sequence[np.ndarray], like: State, placed: dict[Any, dict[int, Any]] | None = None
    ) -> None:
        """Move elementwise coefficients to the state's device before the loop: no transfer while it runs.

        placed: where they are kept for the next run (`Plan.placed`).
        Raises ValueError for a state whose trailing shape they do not have.
        """
        for array in arrays:
            fits = array.ndim <= like.ndim and all(
                n in (1, m) for n, m in zip(array.shape[::-1], tuple(like.shape)[::-1], strict=False)
            )
            if not fits:
                raise ValueError(
                    f"x must have the trailing shape {array.shape} of the plan's elementwise coefficients, "
                    f"got {tuple(like.shape)}"
                )
        if not arrays or not isinstance(like, torch.Tensor):
            return
        placed = {} if placed is None else placed
        place = type(like), like.dtype, like.device
        if place not in placed:
            with torch.inference_mode(False):  # a later run may be followed by autograd
                placed[place] = {id(a): torch.tensor(a, dtype=like.dtype, device=like.device) for a in arrays}
        self._tensors = placed[place]

    def lay_out(self, slots: Mapping[int, int]) -> None:
        """Make states in as many places as a plan needs (`Plan.slots`), each of them allocated once."""
        self._slots = dict(slots)

    def run(self, step: PlanStep, index: int) -> None:
        """All operations of one step."""
        values, versions = self.values, self._versions
        for op in step.operations:
            key = 2 * op.state
            if type(op) is Row:
                values[key] = self._combine(op, index)
                if self._check and not finite(values[key]):
                    raise NonFiniteError(
                        f"the state overflows in step {index} of finite outputs", index, step.t1, self.nfe
                    )
                continue
            t = op.t  # type: ignore[union-attr]
            output = values[key + 1] = self._model(values[key], t)
            self.nfe += 1
            if type(output) is torch.Tensor:
                if output.requires_grad:  # autograd keeps the states that it followed
                    self._slots.clear()
                for other in versions:
                    if values[other]._version != versions[other]:
                        raise ValueError(
                            f"model must not write into an output that it returned before (t = {t})"
                        )
                try:  # noqa: SIM105 (a context manager costs as much as an addition)
                    versions[key + 1] = output._version
                except RuntimeError:  # inference tensors do not count
                    pass
            if self._check and not finite(output):
                message = f"the model's output is not finite at step {index}, t = {t} (evaluation {self.nfe})"
                raise NonFiniteError(message, index, t, self.nfe)

    def forget(self, keys: Iterable[int]) -> None:
        """Drop values that nothing reads any more."""
        for key in keys:
            del self.values[key]
            self._versions.pop(key, None)

    def keep(self, keys: Iterable[int]) -> None:
        """Drop everything but these values."""
        kept = set(keys)
        self.values = {key: value for key, value in self.values.items() if key in kept}
        self._versions = {key: version for key, version in self._versions.items() if key in kept}

    def _combine(self, row: Row, index: int) -> State:
        values, (head, tail) = self.values, row.split
        key, coefficient = head
        first = values[key]
        if not isinstance(first, torch.Tensor):
            return self._combine_arrays(row, index)
        factor = coefficient if type(coefficient) is float else self._operand(coefficient)
        total = self._scaled(first, factor, self._slots.get(row.state))
        for key, coefficient in tail:
            if type(coefficient) is float:
                total.add_(values[key], alpha=coefficient)
            else:
                total.addcmul_(values[key], self._operand(coefficient))
        for which, weight in row.noise:
            increments = self._increments(which, total, index)
            if type(weight) is float:
                total.add_(increments, alpha=weight)
            else:
                total.addcmul_(increments, self._operand(weight))
        return total if row.constant is None else total.add_(self._operand(row.constant))

    def _scaled(self, first: torch.Tensor, factor: Any, slot: int | None) -> torch.Tensor:
        """first times factor, in the memory of a slot: that of the first state that is made there."""
        if slot is None:
            return first.mul(factor)
        if slot not in self._memory:
            self._memory[slot] = first.mul(factor)
            return self._memory[slot]
        try:
            return torch.mul(first, factor, out=self._memory[slot])
        except RuntimeError:  # within vmap, and where derivatives are followed, nothing is written over
            self._slots.clear()
            return first.mul(factor)

    def _operand(self, coefficient: Value) -> Any:
        """A coefficient as torch takes it: floats as they are, arrays (elementwise operators) as prepared
        tensors.
        """
        return coefficient if type(coefficient) is float else self._tensors[id(coefficient)]

    def _combine_arrays(self, row: Row, index: int) -> State:
        values, terms = self.values, row.keyed
        total = values[terms[0][0]] * terms[0][1]
        for key, coefficient in terms[1:]:
            total = total + values[key] * coefficient
        for which, weight in row.noise:
            total = total + self._increments(which, total, index) * weight
        return np.asarray(total if row.constant is None else total + row.constant)

    def _increments(self, which: int, like: State, index: int) -> State:
        assert self._noise is not None
        increments = self._noise(which, like)
        if self._check and not finite(increments):
            raise NonFiniteError(f"the noise is not finite at step {index}", index, None, self.nfe)
        return increments


class FusedMachine(Machine):
    """A machine whose rows are made by one kernel each."""

    def __init__(self, kernel: Fused, model: Model, noise: Noise | None = None, check: bool = False) -> None:
        super().__init__(model, noise, check)
        self._kernel = kernel

    def _combine(self, row: Row, index: int) -> State:
        values = [self.values[key] for key, _ in row.keyed]
        values += [self._increments(which, values[0], index) for which, _ in row.noise]
        return self._kernel(row, values, self._place(values[0], self._slots.get(row.state)))

    def _place(self, like: torch.Tensor, slot: int | None) -> torch.Tensor:
        """Memory for a state: a slot's, made when it is first asked for, or new."""
        if slot in self._memory:
            return self._memory[slot]
        new = torch.empty_like(like, memory_format=torch.contiguous_format)
        if slot is not None:
            self._memory[slot] = new
        return new
