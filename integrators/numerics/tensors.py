"""Torch tensors, told apart without importing torch: who computes with none does not wait for it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, TypeGuard

if TYPE_CHECKING:
    import torch


def is_tensor(value: Any) -> TypeGuard[torch.Tensor]:
    """Whether a value is a torch tensor; where torch is not imported, nothing is."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def dtype_of(model: Any) -> torch.dtype | None:
    """What a torch module computes in: the dtype of its floating parameters; None where they are of several,
    or of none, and for anything else.
    """
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(model, torch.nn.Module):
        return None
    dtypes = {p.dtype for p in model.parameters() if p.is_floating_point()}
    return dtypes.pop() if len(dtypes) == 1 else None


def is_transformed() -> bool:
    """Whether a transform of torch.func is running; False where torch does not tell."""
    asked = _interpreter()
    return asked is not None and asked() is not None


@cache
def _interpreter() -> Callable[[], Any] | None:
    functorch = getattr(getattr(sys.modules.get("torch"), "_C", None), "_functorch", None)
    return getattr(functorch, "peek_interpreter_stack", None)


def is_half(dtype: torch.dtype) -> bool:
    """Whether a dtype is float16 or bfloat16: models run in them, sums of a plan's rows do not."""
    return dtype.itemsize == 2 and dtype.is_floating_point
