"""Sources of normal noise taken over: whatever a sampler draws from torch comes from somewhere else.

While a `TakenOver` is entered, in its thread, torch's functions that draw normal numbers ask a source
instead, generators and all: diffusers' randn_tensor and the default samplers of k-diffusion end in these.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
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
        self._instead = {
            torch.randn: self._randn,
            torch.randn_like: self._randn_like,
            torch.normal: self._normal,
            torch.Tensor.normal_: self._fill,
        } | {func: partial(_refuse, func.__name__) for func in OTHERS}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """What torch calls instead of `func`: of whatever it is asked, so it must cost little."""
        return self._instead.get(func, func)(*args, **kwargs or {})

    def _randn(self, *size: Any, out: Any = None, **options: Any) -> torch.Tensor:
        like = torch.empty(*size, **_placed(options)) if out is None else out
        return self._given(self.source(like), out)

    def _randn_like(self, input: torch.Tensor, **options: Any) -> torch.Tensor:
        return self.source(torch.empty_like(input, **_placed(options)))

    def _fill(self, x: torch.Tensor, mean: Any = 0.0, std: Any = 1.0, **_: Any) -> torch.Tensor:
        return x.copy_(mean + std * self.source(x))

    def _normal(
        self, mean: Any = 0.0, std: Any = 1.0, size: Any = (), *, out: Any = None, **options: Any
    ) -> torch.Tensor:
        shape = size or (torch.as_tensor(mean) + torch.as_tensor(std)).shape
        tensors = [v for v in (mean, std) if isinstance(v, torch.Tensor)]
        place = _placed(options) if not tensors else {"dtype": tensors[0].dtype, "device": tensors[0].device}
        like = torch.empty(shape, **place) if out is None else out
        return self._given(mean + std * self.source(like), out)

    @staticmethod
    def _given(drawn: torch.Tensor, out: torch.Tensor | None) -> torch.Tensor:
        return drawn if out is None else out.copy_(drawn)


def _refuse(name: str, *_: Any, **__: Any) -> None:
    raise ValueError(f"sampler must draw standard normal numbers, got a call of {name}")


def _placed(options: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if key in ("dtype", "device", "size")}
