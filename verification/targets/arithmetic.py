"""Float64 where a release writes float32.

Some releases cast states and coefficients down (`sample.to(torch.float32)`, `np.linspace(..,
dtype=np.float32)`), or make tensors of Python numbers, which are float32 by default.  Inside of `widened` the
names `torch` and `np` of their modules stand for proxies whose float32 is float64, and new tensors are
float64; outside they are what they were.  Their `np.linspace` gives arrays: with an end that is a tensor it
gives a tensor since NumPy 2, of which releases from before it ask what only an array can.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
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
def replaced(modules: Iterable[ModuleType], names: Mapping[str, Any]) -> Iterator[None]:
    """Names of modules stand for other things while this lasts; in each only those that it has."""
    before: list[tuple[dict[str, Any], str, Any]] = []
    try:
        for own in map(vars, modules):
            for name in names:
                if name in own:
                    before.append((own, name, own[name]))
                    own[name] = names[name]
        yield
    finally:
        while before:
            own, name, value = before.pop()
            own[name] = value


def _linspace(*args: Any, **kwargs: Any) -> Any:
    return np.linspace(*map(_host, args), **{key: _host(value) for key, value in kwargs.items()})


def _host(value: Any) -> Any:
    return value.numpy() if isinstance(value, torch.Tensor) else value


_WIDE_NP: dict[str, Any] = {"float32": np.float64, "linspace": _linspace}
_WIDE: dict[str, Any] = {"torch": Proxy(torch, {"float32": torch.float64}), "np": Proxy(np, _WIDE_NP)}


@contextmanager
def widened(
    modules: Iterable[ModuleType],
    exact: bool = True,
    *,
    numpy: Mapping[str, Any] | None = None,
    names: Mapping[str, Any] | None = None,
) -> Iterator[None]:
    """Float64 for float32 in modules, and for new tensors everywhere, while this lasts.

    exact: False leaves the arithmetic as it is.  numpy, names: functions of numpy, and other names, that are
    replaced in the modules in any case.
    """
    chosen = dict(_WIDE if exact else {})
    if numpy:
        chosen["np"] = Proxy(np, (_WIDE_NP if exact else {}) | dict(numpy))
    default = torch.get_default_dtype()
    try:
        if exact:
            torch.set_default_dtype(torch.float64)
        with replaced(modules, chosen | dict(names or {})):
            yield
    finally:
        torch.set_default_dtype(default)


_lock = threading.Lock()
_inside = 0


@contextmanager
def wrapped() -> Iterator[None]:
    """NumPy's functions of tensors at a quarter of their cost, while this lasts; what they give is the same.

    NumPy 2 asks `__array_wrap__` in a way that torch's refuses, catches that, warns, and asks in the old way.
    Where a release computes its coefficients so, as DEIS does, that is a third of a run or more.
    """
    global _inside
    with _lock:
        _inside += 1
        torch.Tensor.__array_wrap__ = _either  # type: ignore[method-assign]
    try:
        yield
    finally:
        with _lock:  # several threads may be inside
            _inside -= 1
            if not _inside:
                torch.Tensor.__array_wrap__ = _OWN  # type: ignore[method-assign]


_OWN: Any = torch.Tensor.__array_wrap__


def _either(self: torch.Tensor, array: Any, *_: Any) -> Any:
    """Torch's own, asked in either way."""
    return _OWN(self, array)


def unwrapped(thing: Any) -> Any:
    """What a partial function is a part of."""
    return unwrapped(thing.func) if isinstance(thing, partial) else thing


def modules_of(*things: Any) -> tuple[ModuleType, ...]:
    """Where functions and classes, and what these derive from, are written."""
    things = tuple(unwrapped(thing) for thing in things)
    parents = [c for thing in things for c in (thing.__mro__ if isinstance(thing, type) else (thing,))]
    found = dict.fromkeys(parent.__module__ for parent in parents)
    return tuple(sys.modules[name] for name in found if name in sys.modules and name != "builtins")
