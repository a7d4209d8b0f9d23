"""Torch tensors, told apart without importing torch: who computes with none does not wait for it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeGuard

if TYPE_CHECKING:
    import torch


def is_tensor(value: Any) -> TypeGuard[torch.Tensor]:
    """Whether a value is a torch tensor; where torch is not imported, nothing is."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def is_half(dtype: torch.dtype) -> bool:
    """Whether a dtype is float16 or bfloat16: models run in them, sums of a plan's rows do not."""
    return dtype.itemsize == 2 and dtype.is_floating_point
