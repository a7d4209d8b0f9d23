"""Sources of normal noise taken over: whatever a sampler draws from torch comes from somewhere else.

Inside of `taken_over` the functions of torch that draw normal numbers ask a source instead; outside they
are what they were.  diffusers' randn_tensor and k-diffusion's default samplers call these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

Source = Callable[[tuple[int, ...], torch.dtype, torch.device], torch.Tensor]
"""(shape, dtype, device) -> standard normal numbers, or what stands for them."""


@contextmanager
def taken_over(source: Source) -> Iterator[None]:
    """Normal numbers of torch come from a source: randn, randn_like, normal, Tensor.normal_.

    For the whole process while it lasts; generators that are passed along are not read.
    """

    def place(dtype: Any, device: Any) -> tuple[torch.dtype, torch.device]:
        return dtype or torch.get_default_dtype(), torch.device(device or "cpu")

    def randn(*size: Any, dtype: Any = None, device: Any = None, out: Any = None, **_: Any) -> torch.Tensor:
        given = _.get("size", size)
        shape = tuple(given[0]) if len(given) == 1 and not isinstance(given[0], int) else tuple(given)
        drawn = source(shape, *place(dtype, device))
        return drawn if out is None else out.copy_(drawn)

    def randn_like(x: torch.Tensor, *, dtype: Any = None, device: Any = None, **_: Any) -> torch.Tensor:
        return source(tuple(x.shape), dtype or x.dtype, torch.device(device or x.device))

    def normal(mean: Any = 0.0, std: Any = 1.0, size: Any = None, **options: Any) -> torch.Tensor:
        like = next((v for v in (mean, std) if isinstance(v, torch.Tensor)), None)
        if like is None:
            drawn: torch.Tensor = mean + std * randn(size, **options)
            return drawn
        shape = (mean + 0 * std).shape
        scaled: torch.Tensor = mean + std * source(tuple(shape), like.dtype, like.device)
        return scaled

    def normal_(x: torch.Tensor, mean: float = 0.0, std: float = 1.0, **_: Any) -> torch.Tensor:
        return x.copy_(mean + std * source(tuple(x.shape), x.dtype, x.device))

    places = [
        (torch, "randn", randn),
        (torch, "randn_like", randn_like),
        (torch, "normal", normal),
        (torch.Tensor, "normal_", normal_),
    ]
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in places]
    for owner, name, function in places:
        setattr(owner, name, function)
    try:
        yield
    finally:
        for owner, name, function in before:
            setattr(owner, name, function)
