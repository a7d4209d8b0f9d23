"""How far long work is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

Progress = Callable[[int, int], None]
"""Called with (done, at most) as the work goes on."""


def counted(items: Sequence[T], progress: Progress | None) -> Iterator[T]:
    """The items; whoever asks for the next has done the last."""
    for done, item in enumerate(items, 1):
        yield item
        if progress is not None:
            progress(done, len(items))
