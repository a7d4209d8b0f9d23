"""The edge of the sampling loop: what a caller supplies is checked here, once, and the loop trusts it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch

from ..common.messages import shown
from ..diffusion.prediction import Model, in_own_dtype
from ..numerics.arithmetic import Value, choose, of
from ..numerics.tensors import dtype_of, is_half, is_transformed
from ..plans.program import Plan, Row

State = Any
"""A torch tensor, a numpy array, or a numpy object array of mpmath numbers."""
Check = Literal["end", "step", "off"]
CHECKS: tuple[Check, ...] = get_args(Check)
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


def given_noise(increments: Sequence[State]) -> Noise:
    """Noise recorded beforehand: increments[i] is used at step i, in the state's dtype and on its device."""

    def noise(index: int, like: State) -> State:
        if index >= len(increments):
            raise ValueError(
                f"noise must hold increments for every step, got {len(increments)}, step {index} asks"
            )
        value = increments[index]
        follows = isinstance(value, torch.Tensor) and isinstance(like, torch.Tensor)
        return value.to(like) if follows else value

    return noise


DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def check_states(
    x: State | Sequence[State], times: Sequence[Value], digits: int | None
) -> tuple[list[State], torch.dtype | None]:
    """The states that a run starts from, one for each of `times`, and the dtype that the caller expects back.

    Half precision becomes float32: the model is still called in half.
    Raises TypeError or ValueError, naming x.
    """
    states: list[Any] = list(x) if isinstance(x, (list, tuple)) else [x]
    if len(states) != len(times):
        raise ValueError(
            f"x must hold {len(times)} state(s), at t = {', '.join(str(t) for t in times)}, got {len(states)}"
        )
    first = states[0]
    for i, state in enumerate(states):
        if not isinstance(state, (torch.Tensor, np.ndarray)):
            raise TypeError(f"x must be a torch tensor or a numpy array, got {type(state).__name__}")
        if state is not first and (
            type(state) is not type(first) or state.shape != first.shape or state.dtype != first.dtype
        ):
            raise ValueError(
                f"x[{i}] must have the type, shape and dtype of x[0], got {tuple(state.shape)}, {state.dtype}"
            )
        if 0 in state.shape:
            raise ValueError(f"x must not be empty, got shape {tuple(state.shape)}")
        states[i] = _tensor(state, digits) if isinstance(state, torch.Tensor) else _array(state, digits)
    return states, first.dtype if isinstance(first, torch.Tensor) else None


def _tensor(state: torch.Tensor, digits: int | None) -> torch.Tensor:
    if state.dtype not in DTYPES:
        raise TypeError(f"x must be a floating-point tensor of at least 16 bits, got dtype {state.dtype}")
    if digits is not None:
        raise TypeError("x must be a numpy array of mpmath numbers: the plan is in multiprecision")
    if state.layout != torch.strided or state.is_meta:
        raise TypeError(f"x must be a dense tensor with data, got {state.layout} on {state.device}")
    return state.float() if is_half(state.dtype) else state


def _array(state: np.ndarray, digits: int | None) -> np.ndarray:
    if digits is not None:
        numbers: np.ndarray = np.asarray(choose(digits).number(state), dtype=object)
        return numbers
    if state.dtype.kind != "f":
        raise TypeError(f"x must be a float array for a float64 plan, got dtype {state.dtype}")
    return state


def check_noise(plan: Plan, noise: Noise | Sequence[State] | None, like: State) -> Noise | None:
    """The source of a run's increments, which are checked for their kind and shape.

    Raises ValueError for a stochastic plan without noise or with too few increments, TypeError for another
    kind.
    """
    if isinstance(noise, str | bytes):
        raise TypeError(f"noise must be a function or a sequence of increments, got {shown(noise)}")
    if noise is None:
        if plan.stochastic:
            raise ValueError(f"noise must be given: {plan.solver} is stochastic")
        return None
    if callable(noise):
        source = noise
    elif isinstance(noise, Sequence) or (hasattr(noise, "__getitem__") and hasattr(noise, "__len__")):
        asked = [i for s in plan.steps for op in s.operations if isinstance(op, Row) for i, _ in op.noise]
        if asked and len(noise) <= max(asked):
            raise ValueError(f"noise must hold increments for {max(asked) + 1} steps, got {len(noise)}")
        source = given_noise(noise)
    else:
        raise TypeError(f"noise must be a function or a sequence of increments, got {type(noise).__name__}")
    kind, shape = type(like), tuple(like.shape)

    def checked(index: int, state: State) -> State:
        value = source(index, state)
        if not isinstance(value, kind) or tuple(value.shape) != shape:
            got = tuple(value.shape) if hasattr(value, "shape") else type(value).__name__
            raise ValueError(f"noise[{index}] must be a {kind.__name__} of shape {shape}, got {got}")
        return value

    return checked


def wrap_model(model: Model, state: State, dtype: torch.dtype | None, gradients: bool = False) -> Model:
    """The model as the loop calls it: in the caller's dtype, or its own where it is a torch module; its
    output is checked, and in the state's dtype.

    gradients: whether autograd records what the model is made of where the state does not ask for it.
    Raises TypeError for a model that cannot be called.  The wrapped model raises ValueError for an output of
    another kind, shape or device, and for a model that changes its input.
    """
    called = unchecked(model, state, dtype, gradients)
    return _for_arrays(called, state) if isinstance(state, np.ndarray) else _for_tensors(called, state)


def unchecked(model: Model, state: State, dtype: torch.dtype | None, gradients: bool = False) -> Model:
    """`wrap_model` for a run that looks at inputs and outputs by itself (`output_check`)."""
    if not callable(model):
        raise TypeError(f"model must be callable as model(x, t), got {type(model).__name__}")
    if isinstance(state, np.ndarray):
        return model
    called = in_own_dtype(model)
    called = called if gradients else unrecorded(called)
    if dtype is None or not is_half(dtype) or dtype_of(model) is not None:
        return called
    return lambda x, t: called(x.to(dtype), t)


def unrecorded(model: Model) -> Model:
    """A model whose parameters autograd does not see, but where the state that it is given is recorded, or a
    transform of torch.func runs: what that differentiates cannot be seen here.
    """
    guard, enabled = torch.no_grad(), torch.is_grad_enabled  # only entered where enabled: it may be shared

    def call(x: torch.Tensor, t: Value) -> Any:
        if x.requires_grad or not enabled() or is_transformed():
            return model(x, t)
        with guard:
            return model(x, t)

    return call


def output_check(state: torch.Tensor) -> Callable[[Any, Value], torch.Tensor]:
    """(output, t) -> the model's output, in the dtype of a state like this.

    It raises ValueError for one of another kind, shape or device.
    """
    shape, own = state.shape, state.dtype

    def check(output: Any, t: Value) -> torch.Tensor:
        if (
            not isinstance(output, torch.Tensor)
            or output.shape != shape
            or output.device != state.device
            or not output.is_floating_point()
        ):
            raise ValueError(
                f"model must return a floating-point Tensor of shape {tuple(shape)} on {state.device}, "
                f"got {_describe(output)} at t = {t}"
            )
        return output.to(own)

    return check


def _for_tensors(model: Model, state: torch.Tensor) -> Model:
    shape, own, tensor, check = state.shape, state.dtype, torch.Tensor, output_check(state)
    seen: list[bool] = []
    # Inference tensors do not count what is written into them.
    watched = not (state.is_inference() or torch.is_inference_mode_enabled())

    def call(x: torch.Tensor, t: Value) -> torch.Tensor:
        version = x._version if watched else 0
        output = model(x, t)
        if watched and x._version != version:
            raise ValueError(f"model must not change its input, which the loop still needs (t = {t})")
        if type(output) is tensor and output.dtype is own and output.shape == shape and seen:
            return output
        seen.append(True)  # devices are looked at once: they do not change
        return check(output, t)

    return call


def _for_arrays(model: Model, state: np.ndarray) -> Model:
    shape, multiprecise = state.shape, state.dtype == object
    number = of(state).number

    def call(x: np.ndarray, t: Value) -> np.ndarray:
        given = x.view()
        given.flags.writeable = False
        output = model(given, t)
        output = (
            np.asarray(output) if isinstance(output, np.generic) else output
        )  # 0-d arithmetic makes scalars
        kinds = "Of" if multiprecise else "f"
        if not isinstance(output, np.ndarray) or output.shape != shape or output.dtype.kind not in kinds:
            raise ValueError(
                f"model must return a real ndarray of shape {shape}, got {_describe(output)} at t = {t}"
            )
        converted: np.ndarray = np.asarray(number(output)) if multiprecise else output
        return converted

    return call


def _describe(output: Any) -> str:
    if isinstance(output, torch.Tensor):
        return f"{output.dtype} of shape {tuple(output.shape)} on {output.device}"
    if isinstance(output, np.ndarray):
        return f"ndarray of {output.dtype} and shape {output.shape}"
    return type(output).__name__


def finite(value: State) -> bool:
    """Whether every component is finite; for a tensor this waits for the device."""
    if isinstance(value, torch.Tensor):
        # A finite sum proves it in one fast pass; large finite values may overflow the sum.
        return math.isfinite(value.sum().item()) or bool(torch.isfinite(value).all())
    array = np.asarray(value)
    if array.dtype == object:
        return all(abs(v) < float("inf") for v in array.flat)
    return bool(np.isfinite(array).all())
