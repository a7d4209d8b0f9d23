"""Many targets, audited one by one or by several processes, in their order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

from .audit import audit

Row = dict[str, Any]


def rows(
    names: Sequence[str], claimed: float | None = None, *, workers: int = 1, **how: Any
) -> Iterator[Row]:
    """The audits of targets by name, as JSON data.

    claimed, how: as `audit` takes them.  workers: processes, each with one thread.
    """
    work = partial(_row, claimed=claimed, how=how)
    if workers <= 1 or len(names) == 1:
        yield from map(work, names)
        return
    with ProcessPoolExecutor(workers, initializer=_one_thread) as pool:
        yield from pool.map(work, names)


def _row(name: str, claimed: float | None, how: dict[str, Any]) -> Row:
    return audit(name, claimed, **how).json()


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
