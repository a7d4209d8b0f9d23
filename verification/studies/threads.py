"""Work on one thread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import threadpoolctl
import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread, as before afterwards: sums are the same on every machine and in every number of workers,
    and processes that share cores do not wait for each other.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpoolctl.threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)
