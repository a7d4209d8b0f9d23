"""Many targets, audited one by one or by several processes, in their order."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
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
    with _quiet():
        return audit(name, claimed, **how).json()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what packages log and warn of, run after run; what an audit finds is in its findings."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
