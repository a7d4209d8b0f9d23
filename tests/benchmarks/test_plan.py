"""What a plan costs, per step: compiled, beside the tables that diffusers makes for the same method; and the
exact score of a mixture beside the two matrix products that it consists of.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from semilinear.integrators.diffusion.schedule import vp_linear
from semilinear.integrators.plans.compile import compile_plan
from semilinear.integrators.solvers import make
from semilinear.integrators.solvers.dpm_solver_v3 import multistep
from semilinear.integrators.statistics.smooth import gaussian
from semilinear.verification.problems.mixtures import EmpiricalMixture

VP = vp_linear()
ROUNDS = 5


def beside(benchmark: Any, ours: Callable[[], Any], peer: Callable[[], Any], name: str) -> None:
    """Both in every round; the median of the quotients of their CPU times."""
    ratios: list[float] = []

    def one_round() -> None:
        began = time.process_time()
        ours()
        middle = time.process_time()
        peer()
        ratios.append((middle - began) / (time.process_time() - middle))

    one_round()
    benchmark.pedantic(one_round, rounds=ROUNDS)
    benchmark.extra_info[f"ratio to {name}"] = statistics.median(ratios[1:])
    assert len(ratios) == ROUNDS + 1


@pytest.mark.parametrize(
    "name", ["dpm-solver++-3m-corrected", "deis-tab2", "unipc-3-bh2", "er-sde-3-corrected"]
)
def test_a_plan_of_1000_steps(benchmark: Any, name: str) -> None:
    solver = make(name)
    benchmark.pedantic(
        compile_plan,
        args=(solver, VP),
        kwargs={"steps": 1000, "t_start": 1.0, "t_end": 1e-3},
        rounds=ROUNDS,
        warmup_rounds=1,
    )


@pytest.mark.parametrize("name", ["dpm-solver++-3m-corrected", "deis-tab3"])
def test_a_plan_of_100_steps_in_50_digits(benchmark: Any, name: str) -> None:
    options = {"steps": 100, "t_start": 1.0, "t_end": 1e-3, "digits": 50}
    benchmark.pedantic(compile_plan, args=(make(name), VP), kwargs=options, rounds=3)


@pytest.mark.parametrize("steps", [20, 200])
def test_a_plan_with_elementwise_statistics(benchmark: Any, steps: int) -> None:
    scale = np.linspace(0.5, 1, 4 * 64 * 64).reshape(4, 64, 64)
    options = {"steps": steps, "t_start": 1.0, "t_end": 1e-3}
    benchmark.pedantic(
        compile_plan, args=(multistep(3, statistics=gaussian(scale)), VP), kwargs=options, rounds=3
    )


def test_a_plan_beside_diffusers(benchmark: Any) -> None:
    """Its `set_timesteps` makes the grid alone; coefficients it makes again in every step."""
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.DPMSolverMultistepScheduler(solver_order=3)
    solver = make("dpm-solver++-3m-corrected")
    beside(
        benchmark,
        lambda: compile_plan(solver, VP, steps=20, t_start=1.0, t_end=1e-3),
        lambda: scheduler.set_timesteps(20),
        "diffusers' set_timesteps",
    )


@pytest.mark.parametrize(("n", "d", "batch"), [(1797, 64, 4096), (1797, 3072, 256)])
def test_the_score_of_a_mixture(benchmark: Any, n: int, d: int, batch: int) -> None:
    torch.set_num_threads(1)
    points = np.random.default_rng(0).standard_normal((n, d))
    model = EmpiricalMixture(points, 0.2).model(VP)
    x, p = torch.randn(batch, d), torch.tensor(points, dtype=torch.float32)
    beside(benchmark, lambda: model(x, 0.5), lambda: (x @ p.T) @ p, "two matrix products")
