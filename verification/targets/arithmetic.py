"""Float64 where a release writes float32.

Some releases cast states and coefficients down (`sample.to(torch.float32)`, `np.linspace(..,
dtype=np.float32)`), or make tensors of Python numbers, which are float32 by default.  Inside of `widened` the
names `torch` and `np` of their modules stand for proxies whose float32 is float64, and new tensors are
float64; outside they are what they were.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import torch


class Proxy:
    """A module with some of its names replaced."""

    def __init__(self, module: Any, replaced: Mapping[str, Any]) -> None:
        self.__dict__.update(replaced)
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


@contextmanager
def replaced(module: ModuleType | None, names: Mapping[str, Any]) -> Iterator[None]:
    """Names of a module stand for other things while this lasts; only those that it has."""
    if module is None:
        yield
        return
    before = {name: vars(module)[name] for name in names if name in vars(module)}
    vars(module).update({name: names[name] for name in before})
    try:
        yield
    finally:
        vars(module).update(before)


@contextmanager
def widened(
    module: ModuleType | None, exact: bool = True, numpy: Mapping[str, Any] | None = None
) -> Iterator[None]:
    """Float64 for float32 in a module, and for new tensors everywhere, while this lasts.

    exact: False leaves the arithmetic as it is.  numpy: functions of numpy that are replaced in the module in
    any case.
    """
    wide = {"float32": torch.float64} if exact else {}
    names = {
        "torch": Proxy(torch, wide),
        "np": Proxy(np, dict.fromkeys(wide, np.float64) | dict(numpy or {})),
    }
    default = torch.get_default_dtype()
    if exact:
        torch.set_default_dtype(torch.float64)
    try:
        with replaced(module, names):
            yield
    finally:
        torch.set_default_dtype(default)
