"""Sources of normal noise taken over: whatever a sampler draws from torch comes from somewhere else.

While a `TakenOver` is entered, in its thread, torch's functions that draw normal numbers ask a source
instead, generators and all: diffusers' randn_tensor and the default samplers of k-diffusion end in these.

It is a mode of torch's, which is asked on every call of anything and costs more than most of them.  Torch's
names for these functions could be replaced instead, which costs the other calls nothing, but misses a sampler
that holds one by a name of its own (`from torch import randn`).  So `taken_over` watches the first run of a
sampler in both ways: where all that it draws comes through torch's names, they are enough from then on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial, wraps
from typing import Any
from weakref import WeakSet

import torch
from torch.overrides import TorchFunctionMode

Source = Callable[[torch.Tensor], torch.Tensor]
"""like -> standard normal numbers, or what stands for them, of the dtype of `like`."""

NAMES: dict[Any, tuple[Any, str]] = {
    getattr(holder, name): (holder, name)
    for holder, names in {
        torch: ("randn", "randn_like", "normal", "rand", "rand_like", "randint", "multinomial"),
        torch.Tensor: ("normal_", "uniform_"),
    }.items()
    for name in names
}
"""What draws, and torch's names for it."""


class TakenOver(TorchFunctionMode):
    """Answers every draw of normal numbers: randn, randn_like, normal, Tensor.normal_.

    Raises ValueError in the sampler where it draws numbers that are not normal.
    """

    def __init__(self, source: Source) -> None:
        super().__init__()
        self.source = source
        answers: dict[str, Callable[..., Any]] = {
            "randn": self._randn,
            "randn_like": self._randn_like,
            "normal": self._normal,
            "normal_": self._fill,
        }
        self.instead = {
            func: answers.get(name) or partial(_refuse, name) for func, (_, name) in NAMES.items()
        }

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """What torch calls instead of `func`: of whatever it is asked, so it must cost little."""
        return self.instead.get(func, func)(*args, **kwargs or {})

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


# --- by torch's names ---


class _Here(threading.local):
    over: TakenOver | None = None
    """Who answers in this thread; nobody does while the source itself is asked."""


_here = _Here()
_lock = threading.Lock()
_before: list[tuple[Any, str, Any]] = []
_entered = 0
_enough: WeakSet[Any] = WeakSet()
"""Samplers that draw through torch's names alone."""


class _Watching(TakenOver):
    """Beside replaced names: what still comes to the mode does not come through them."""

    missed = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """The same, outside of the source's own draws."""
        if func not in self.instead or _here.over is None:
            return func(*args, **kwargs or {})
        self.missed = True
        return self.instead[func](*args, **kwargs or {})


PASSAGES = frozenset(c.__torch_function__.__code__ for c in (TakenOver, _Watching))
"""Code that stands between a caller and what it calls of torch."""


@contextmanager
def taken_over(source: Source, sampler: Any) -> Iterator[None]:
    """The scope of one run of a sampler whose draws a source answers.  Raises as `TakenOver`."""
    if _named_enough(sampler):
        with _by_name(TakenOver(source)):
            yield
        return
    watching = _Watching(source)
    with _by_name(watching), watching:
        yield
    if not watching.missed:
        with suppress(TypeError):  # of objects without weak references or a hash every run is a first one
            _enough.add(sampler)


def _named_enough(sampler: Any) -> bool:
    with suppress(TypeError):
        return sampler in _enough
    return False


@contextmanager
def _by_name(over: TakenOver) -> Iterator[None]:
    """Torch's names for what draws stand for its answers, in this thread."""
    _replace(+1)
    before, _here.over = _here.over, over
    try:
        yield
    finally:
        _here.over = before
        _replace(-1)


def _replace(more: int) -> None:
    """Replace the names when the first thread comes, and put them back when the last one leaves."""
    global _entered
    with _lock:
        if not _entered:
            for func, (holder, name) in NAMES.items():
                _before.append((holder, name, vars(holder).get(name)))
                setattr(holder, name, _asking(func, getattr(holder, name)))
        _entered += more
        if not _entered:
            while _before:
                holder, name, own = _before.pop()
                if own is None:  # it is inherited
                    delattr(holder, name)
                else:
                    setattr(holder, name, own)


def _asking(func: Any, own: Any) -> Callable[..., Any]:
    @wraps(own)
    def asked(*args: Any, **kwargs: Any) -> Any:
        over = _here.over
        if over is None:
            return own(*args, **kwargs)
        _here.over = None
        try:
            return over.instead[func](*args, **kwargs)
        finally:
            _here.over = over

    return asked
