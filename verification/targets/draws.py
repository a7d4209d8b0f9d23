"""Sources of normal noise taken over: whatever a sampler draws from torch comes from somewhere else.

While a `TakenOver` is entered, in its thread, torch's functions that draw normal numbers ask a source
instead, generators and all: diffusers' randn_tensor and the default samplers of k-diffusion end in these.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

Source = Callable[[torch.Tensor], torch.Tensor]
"""like -> standard normal numbers, or what stands for them, of the dtype of `like`."""

OTHERS = (torch.rand, torch.rand_like, torch.randint, torch.Tensor.uniform_, torch.multinomial)


class TakenOver(TorchFunctionMode):
    """Answers every draw of normal numbers: randn, randn_like, normal, Tensor.normal_.

    Raises ValueError in the sampler where it draws numbers that are not normal.
    """

    def __init__(self, source: Source) -> None:
        super().__init__()
        self.source = source

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """What torch calls instead of `func`."""
        kwargs = kwargs or {}
        if func is torch.randn_like:
            return self.source(torch.empty_like(args[0], **_placed(kwargs)))
        if func is torch.randn:
            return self.source(torch.empty(*args, **_placed(kwargs)))
        if func is torch.Tensor.normal_:
            mean, std = (*args[1:], *(kwargs.get(k, v) for k, v in (("mean", 0.0), ("std", 1.0))))[:2]
            return args[0].copy_(mean + std * self.source(args[0]))
        if func is torch.normal:
            return self._normal(*args, **kwargs)
        if func in OTHERS:
            raise ValueError(f"sampler must draw standard normal numbers, got a call of {func.__name__}")
        return func(*args, **kwargs)

    def _normal(self, mean: Any = 0.0, std: Any = 1.0, size: Any = (), **options: Any) -> torch.Tensor:
        parts = [torch.as_tensor(v) for v in (mean, std)]
        shape = size or (parts[0] + parts[1]).shape
        tensors = [v for v in (mean, std) if isinstance(v, torch.Tensor)]
        place = _placed(options) if not tensors else {"dtype": tensors[0].dtype, "device": tensors[0].device}
        drawn: torch.Tensor = mean + std * self.source(torch.empty(shape, **place))
        return drawn


def _placed(options: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if key in ("dtype", "device", "size")}
