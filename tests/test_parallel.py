"""One batch over several processes: the same samples for any number of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from semilinear.integrators.diffusion.schedule import vp_linear
from semilinear.integrators.plans.compile import compile_plan
from semilinear.integrators.run.noise import per_sample
from semilinear.integrators.run.parallel import sample_parallel, share
from semilinear.integrators.run.sampler import NonFiniteError, sample
from semilinear.integrators.solvers import make
from semilinear.verification.problems.named import digits
from torch.multiprocessing.spawn import spawn

VP = vp_linear()
BATCH, BLOCK = 23, 4


def plan_of(name: str = "sde-dpm-solver++-2m") -> Any:
    return compile_plan(make(name), VP, steps=5, t_start=0.9, t_end=0.01, prediction="eps")


def starts(first: int, count: int) -> torch.Tensor:
    """Of pure noise, each sample's from its own place."""
    return per_sample(1, first_sample=first)(0, torch.empty(count, 64, dtype=torch.float64))


def model() -> Any:
    """Matrix products and exponentials, whose last bits depend on the number of rows."""
    return digits().model(VP)


@given(st.integers(1, 50), st.integers(1, 12))
def test_shares_are_all_blocks_once_and_even(blocks: int, world: int) -> None:
    shares = [share(blocks, rank, world) for rank in range(world)]
    assert [k for s in shares for k in s] == list(range(blocks))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_alone_it_is_the_loop_by_blocks() -> None:
    plan, x = plan_of(), starts(0, BATCH)
    found = sample_parallel(plan, model(), x, block=BLOCK, seed=5)
    assert found.nfe == plan.nfe
    again = sample_parallel(plan, model(), starts, batch=BATCH, block=BLOCK, seed=5)
    assert torch.equal(found.x, again.x)
    first = sample(plan, model(), x[4:8], noise=per_sample(5, first_sample=4)).x
    assert torch.equal(found.x[4:8], first)
    whole = sample(plan, model(), x, noise=per_sample(5)).x
    torch.testing.assert_close(found.x, whole, rtol=1e-10, atol=1e-12)  # rounding, over five steps
    other = sample_parallel(plan, model(), x, block=BLOCK, seed=6)
    assert not torch.isclose(found.x, other.x).any(dim=1).all()  # other draws are apart by far more


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"block": 0}, "block must be"),
        ({"block": 2, "seed": -1}, "seed must be"),
        ({"block": 2, "batch": 3}, "batch must be the 2 samples"),
        ({"block": 2, "x": torch.zeros(())}, "x must hold a batch"),
        ({"block": 2, "x": starts}, "batch"),
        ({"block": 2, "x": 3}, "x must be a tensor or a function"),
        ({"block": 2, "x": lambda first, count: torch.zeros(1, 64), "batch": 2}, "x must give"),
        ({"block": 2, "check": "never"}, "check must be"),
        ({"block": 2, "plan": None}, "plan must be"),
    ],
)
def test_bad_arguments_are_named(options: dict[str, Any], message: str) -> None:
    plan = options.pop("plan", plan_of())
    x = options.pop("x", torch.zeros(2, 64, dtype=torch.float64))
    with pytest.raises((TypeError, ValueError), match=message):
        sample_parallel(plan, model(), x, **options)


# --- several processes ---


def process(rank: int, world: int, folder: str, jobs: tuple[str, ...]) -> None:
    """One process of the group; what it found of each job is a file, tensors and text alone."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=world)
    for job in jobs:
        try:
            found = JOBS[job](rank)
        except Exception as error:
            found = f"{type(error).__name__}: {error}"
        torch.save(found, f"{folder}/{job}-{rank}.pt")
    torch.distributed.destroy_process_group()


def everything(rank: int) -> torch.Tensor:
    return sample_parallel(plan_of(), model(), starts, batch=BATCH, block=BLOCK, seed=5).x


def own_samples(rank: int) -> torch.Tensor:
    return sample_parallel(plan_of(), model(), starts, batch=BATCH, block=BLOCK, seed=5, gather=False).x


def few(rank: int) -> torch.Tensor:
    """One block: fewer than processes."""
    return sample_parallel(plan_of(), model(), starts, batch=3, block=BLOCK, seed=5).x


def differing(rank: int) -> torch.Tensor:
    return sample_parallel(plan_of(), model(), starts, batch=BATCH, block=BLOCK, seed=rank).x


def failing(rank: int) -> torch.Tensor:
    own = model()
    broken = (lambda x, t: own(x, t) * float("nan")) if rank == 1 else own
    return sample_parallel(plan_of(), broken, starts, batch=BATCH, block=BLOCK).x


JOBS: dict[str, Any] = {f.__name__: f for f in (everything, own_samples, few, differing, failing)}


def run(world: int, folder: Path, *jobs: str) -> dict[str, list[Any]]:
    """What every process found of every job."""
    spawn(process, (world, str(folder), jobs), nprocs=world)
    return {
        job: [torch.load(folder / f"{job}-{rank}.pt", weights_only=True) for rank in range(world)]
        for job in jobs
    }


@pytest.mark.slow
@pytest.mark.parametrize("world", [1, 2, 3])
def test_the_samples_are_the_same_for_any_number_of_processes(world: int, tmp_path: Path) -> None:
    """To the last bit, in all of them, of a batch that neither blocks nor processes divide."""
    alone = everything(0)
    found = run(world, tmp_path, "everything", "own_samples", "few")
    assert all(torch.equal(samples, alone) for samples in found["everything"])
    parts = found["own_samples"]
    assert torch.equal(torch.cat(parts), alone)
    assert max(map(len, parts)) - min(map(len, parts)) <= 2 * BLOCK - 1  # a block, and what the last lacks
    assert all(torch.equal(samples, few(0)) for samples in found["few"])


@pytest.mark.slow
def test_what_goes_wrong_in_one_process_ends_all(tmp_path: Path) -> None:
    found = run(2, tmp_path, "failing", "differing", "few")
    whole, broken = found["failing"]
    assert whole == "RuntimeError: the run of process 1 failed"
    assert broken.startswith(NonFiniteError.__name__)
    refusal = "ValueError: seed must be the same in all processes"
    assert all(text.startswith(refusal) for text in found["differing"])
    assert all(torch.equal(samples, few(0)) for samples in found["few"])  # the group goes on
