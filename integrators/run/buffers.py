"""Reuse of state buffers: a loop that allocates a megabyte per step spends most of its time in page faults
(on a CPU).

A dead state's memory is used again only when nothing else can see it: no other Python reference to the
tensor, and no other reference to its storage (a view, a detached alias, a numpy array).  A model or
callback may therefore keep what it was given.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch

_use_count: Callable[[int], int] | None = getattr(torch._C, "_storage_Use_Count", None)
"""References to a storage; without it (a torch that lacks the function) nothing is reused."""
_ALONE = 2
"""The count of a storage that one tensor refers to: the tensor and the handle that asks."""


SMALL = 1 << 15
"""Bytes below which a fresh tensor costs less than the question whether an old one is free."""


class Buffers:
    """Up to `LIMIT` dead tensors of one shape, dtype and device, ready to be written again."""

    LIMIT = 4

    def __init__(self) -> None:
        self._free: list[torch.Tensor] = []

    def take(self, like: torch.Tensor) -> torch.Tensor | None:
        """A buffer to write a state like `like` into, or None when there is none (or autograd must see the
        result).
        """
        if not self._free or (like.requires_grad and torch.is_grad_enabled()):
            return None
        return self._free.pop()

    def give(self, tensor: torch.Tensor) -> None:
        """Offer a tensor that the caller is about to forget; `tensor` must be the caller's only reference."""
        if (
            len(self._free) < self.LIMIT
            and _use_count is not None
            and not tensor.requires_grad
            # this frame, the caller's variable, getrefcount's argument (fewer where frames borrow references)
            and sys.getrefcount(tensor) <= 3
            and _use_count(tensor.untyped_storage()._cdata) == _ALONE
        ):
            self._free.append(tensor)
