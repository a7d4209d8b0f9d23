"""Times of several functions, side by side: every round runs all of them, so that they see one machine.

On a CPU it is the process's own time, which other programs on the machine do not add to.
"""

from __future__ import annotations

import gc
import random
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

from ..studies.progress import Progress

WARM_UP = 3


def synchronize(device: str) -> None:
    """Wait until the device has done what it was told."""
    if device == "cuda":
        torch.cuda.synchronize()


def interleaved(
    runs: Mapping[str, Callable[[], Any]],
    rounds: int,
    device: str,
    progress: Progress = lambda done, total: None,
) -> dict[str, list[float]]:
    """Seconds of every run in every round.

    The order is another in each round: what happens at one point of every round must not fall on one
    candidate.  Each runs once untimed before, with its own code and data in the caches.
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    clock = time.process_time if device == "cpu" else time.perf_counter
    order = random.Random(0)
    for k in range(WARM_UP + rounds):
        gc.collect()
        gc.disable()
        try:
            for name, run in order.sample(list(runs.items()), len(runs)):
                run()
                synchronize(device)
                began = clock()
                run()
                synchronize(device)
                times[name].append(clock() - began)
        finally:
            gc.enable()
        progress(k + 1, WARM_UP + rounds)
    return {name: values[WARM_UP:] for name, values in times.items()}


def ratio(values: list[float], bound: list[float]) -> float:
    """The median over rounds of the quotient."""
    return statistics.median(a / b for a, b in zip(values, bound, strict=True))
