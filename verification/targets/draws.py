"""Sources of normal noise taken over: whatever a sampler draws from torch comes from somewhere else.

While a `TakenOver` is entered, in its thread, torch's functions that draw normal numbers ask a source
instead: diffusers' randn_tensor and the default samplers of k-diffusion end in these.  Their own numbers are
drawn all the same, from the generator that was meant, and tell draws apart: a generator that is seeded again
gives the same numbers, so the source's answer is the same, too.

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
_NORMAL = torch.Tensor.normal_
TELLING = 32
"""Numbers of a draw by which it is known."""


class TakenOver(TorchFunctionMode):
    """Answers every draw of normal numbers: randn, randn_like, normal, Tensor.normal_.

    The source is asked once for numbers that are drawn again.  Other numbers (rand, randint, ..), of which a
    seed may be made, are torch's own; `other` is told the name of each such draw.
    """

    def __init__(self, source: Source, other: Callable[[str], None] | None = None) -> None:
        super().__init__()
        self.source, self.other = source, other
        self._known: dict[tuple[int, bytes], torch.Tensor] = {}
        answers: dict[str, Callable[..., Any]] = {
            "randn": self._randn,
            "randn_like": self._randn_like,
            "normal": self._normal,
            "normal_": self._fill,
        }
        self.instead = {
            func: answers.get(name) or partial(self._left, func, name) for func, (_, name) in NAMES.items()
        }

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """What torch calls instead of `func`: of whatever it is asked, so it must cost little."""
        return self.instead.get(func, func)(*args, **kwargs or {})

    def _randn(self, *size: Any, out: Any = None, generator: Any = None, **options: Any) -> torch.Tensor:
        like = torch.empty(*size, **_placed(options)) if out is None else out
        return self._given(self._asked(like, generator), out)

    def _randn_like(self, input: torch.Tensor, *, generator: Any = None, **options: Any) -> torch.Tensor:
        return self._asked(torch.empty_like(input, **_placed(options)), generator)

    def _fill(
        self, x: torch.Tensor, mean: Any = 0.0, std: Any = 1.0, *, generator: Any = None
    ) -> torch.Tensor:
        return x.copy_(mean + std * self._asked(x, generator))

    def _normal(
        self,
        mean: Any = 0.0,
        std: Any = 1.0,
        size: Any = (),
        *,
        out: Any = None,
        generator: Any = None,
        **options: Any,
    ) -> torch.Tensor:
        shape = size or (torch.as_tensor(mean) + torch.as_tensor(std)).shape
        tensors = [v for v in (mean, std) if isinstance(v, torch.Tensor)]
        place = _placed(options) if not tensors else {"dtype": tensors[0].dtype, "device": tensors[0].device}
        like = torch.empty(shape, **place) if out is None else out
        return self._given(mean + std * self._asked(like, generator), out)

    def _asked(self, like: torch.Tensor, generator: Any) -> torch.Tensor:
        """The source's numbers, the same ones where the generator's are."""
        drawn = _NORMAL(torch.empty_like(like), generator=generator).reshape(-1)
        key = len(drawn), drawn[:TELLING].double().cpu().numpy().tobytes()
        if key not in self._known:
            self._known[key] = self.source(like)
        return self._known[key].reshape(like.shape).clone()

    def _left(self, func: Any, name: str, *args: Any, **kwargs: Any) -> Any:
        if self.other is not None:
            self.other(name)
        return func(*args, **kwargs)

    @staticmethod
    def _given(drawn: torch.Tensor, out: torch.Tensor | None) -> torch.Tensor:
        return drawn if out is None else out.copy_(drawn)


def _placed(options: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if key in ("dtype", "device", "size")}


# --- by torch's names ---


class _Here(threading.local):
    over: TakenOver | None = None
    """Who answers in this thread; nobody does while the source itself is asked."""


_here = _Here()


@contextmanager
def _own() -> Iterator[None]:
    """Nobody answers in this thread."""
    before, _here.over = _here.over, None
    try:
        yield
    finally:
        _here.over = before


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
        with _own():
            return self.instead[func](*args, **kwargs or {})


@contextmanager
def taken_over(source: Source, sampler: Any, other: Callable[[str], None] | None = None) -> Iterator[None]:
    """The scope of one run of a sampler whose draws a source answers.  other: as `TakenOver` has it."""
    if _named_enough(sampler):
        with _by_name(TakenOver(source, other)):
            yield
        return
    watching = _Watching(source, other)
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
        with _own():
            return over.instead[func](*args, **kwargs)

    return asked


PASSAGE = _replace.__code__.co_filename
"""The file that stands between a caller and what it calls of torch."""
