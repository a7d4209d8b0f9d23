"""What noise costs per step: drawn per sample, beside one call of torch's generator."""

from __future__ import annotations

import statistics
import time
from typing import Any

import pytest
import torch
from semilinear.integrators.run.noise import per_sample

SHAPES = ((4, 16), (64, 3, 32, 32), (16, 4, 64, 64))
ROUNDS = 20


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "x".join(map(str, s)))
def test_noise_per_step(benchmark: Any, shape: tuple[int, ...]) -> None:
    torch.set_num_threads(1)
    like, noise = torch.zeros(shape), per_sample(0)
    ratios: list[float] = []

    def one_round() -> None:
        began = time.perf_counter()
        noise(len(ratios), like)
        middle = time.perf_counter()
        torch.randn_like(like, dtype=torch.float64)
        ratios.append((middle - began) / (time.perf_counter() - middle))

    one_round()
    benchmark.pedantic(one_round, rounds=ROUNDS)
    benchmark.extra_info["ratio to torch.randn in float64"] = statistics.median(ratios[1:])
    assert len(ratios) == ROUNDS + 1
