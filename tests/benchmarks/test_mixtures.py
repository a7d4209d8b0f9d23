"""What the score of many points costs, beside the two matrix products that it needs."""

from __future__ import annotations

import statistics
import time
from typing import Any

import pytest
import torch
from semilinear.integrators.diffusion.schedule import vp_linear
from semilinear.verification.problems.mixtures import EmpiricalMixture

SIZES = ((1797, 64, 4096), (1797, 3072, 64), (1797, 3072, 4096))
"""Points, dimension, states."""
ROUNDS = 5


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("size", SIZES, ids=lambda s: "x".join(map(str, s)))
def test_score_of_points(benchmark: Any, size: tuple[int, int, int], dtype: torch.dtype) -> None:
    torch.set_num_threads(1)
    count, dimension, batch = size
    points = torch.randn(count, dimension, dtype=torch.float64)
    model = EmpiricalMixture(points.numpy(), 0.2).model(vp_linear())
    there, x = points.to(dtype), torch.randn(batch, dimension, dtype=dtype)
    ratios: list[float] = []

    def one_round() -> None:
        began = time.perf_counter()
        model(x, 0.5)
        middle = time.perf_counter()
        (x @ there.T) @ there
        ratios.append((middle - began) / (time.perf_counter() - middle))

    one_round()
    benchmark.pedantic(one_round, rounds=ROUNDS)
    benchmark.extra_info["ratio to two matrix products"] = statistics.median(ratios[1:])
    assert len(ratios) == ROUNDS + 1
