"""Overhead per step of the loop, the model's cost excluded, beside a lower bound and the peers.

Every round runs all candidates in turn, so that they see the same machine; a figure is the median over rounds
of the time per step, a ratio the median over rounds of the quotient to a chain of as many operations.
`--throughput DIR` writes throughput.json and throughput.md there.
"""

from __future__ import annotations

import gc
import random
import time
from typing import Any

import pytest
import torch

from .peers import CANDIDATES, STEPS

SHAPES = ((4, 16), (64, 3, 32, 32), (16, 4, 64, 64))
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
ROUNDS = 40


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "x".join(map(str, s)))
def test_overhead_per_step(benchmark: Any, throughput: Any, shape: tuple[int, ...], device: str) -> None:
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    x, output = (torch.randn(shape, generator=generator).to(device) for _ in range(2))
    runs, missing = {}, []
    for name, (build, _) in CANDIDATES.items():
        try:
            runs[name] = build(x, output)
        except ModuleNotFoundError:
            missing.append(name)
    times: dict[str, list[float]] = {name: [] for name in runs}
    order = random.Random(0)

    def one_round() -> None:
        gc.collect()
        gc.disable()
        # In another order each time: what happens at one point of every round must not fall on one candidate.
        for name, run in order.sample(list(runs.items()), len(runs)):
            run()  # every candidate starts with its own code and data in the caches
            _synchronize(device)
            began = time.perf_counter()
            run()
            _synchronize(device)
            times[name].append((time.perf_counter() - began) / STEPS)
        gc.enable()

    for _ in range(3):
        one_round()
    for values in times.values():
        values.clear()
    benchmark.pedantic(one_round, rounds=ROUNDS)
    bounds = {name: bound for name, (_, bound) in CANDIDATES.items()}
    rows = throughput.record(shape, device, times, bounds, missing)
    benchmark.extra_info.update({row["candidate"]: row["ratio"] for row in rows})


def _synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
