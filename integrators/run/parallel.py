"""One batch over the processes of a `torch.distributed` group, each with a device and the model of its own.

A batch is cut into blocks of a fixed number of samples, and every block is one run of the loop: its numbers
depend on its samples and on its size, never on who runs it, because noise is drawn per sample.  So blocks,
not processes, decide the last bit, and a batch that no number of processes divides needs nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from ..common import checks
from ..common.messages import shown
from ..diffusion.prediction import Model
from ..numerics.philox import split
from ..plans.program import Plan
from .boundary import CHECKS, Check
from .noise import LARGEST_SEED, per_sample
from .sampler import Sample, sample

__all__ = ["sample_parallel", "share"]

Starts = Callable[[int, int], torch.Tensor]
"""(first, count) -> the states that samples first, .., first + count - 1 start from."""


def share(blocks: int, rank: int, world: int) -> range:
    """The blocks of a process: neighbours, and of each process as many as of any other, or one less."""
    return range(rank * blocks // world, (rank + 1) * blocks // world)


@dataclass(frozen=True)
class _Group:
    """The processes, or this one alone where torch.distributed was not initialised."""

    group: Any

    @property
    def world(self) -> int:
        return dist.get_world_size(self.group) if self._there else 1

    @property
    def rank(self) -> int:
        return dist.get_rank(self.group) if self._there else 0

    @property
    def _there(self) -> bool:
        return dist.is_available() and dist.is_initialized()

    def gathered(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        """The tensors of all ranks, of one shape."""
        if self.world == 1:
            return [tensor]
        found = [torch.empty_like(tensor) for _ in range(self.world)]
        dist.all_gather(found, tensor.contiguous(), group=self.group)
        return found


def sample_parallel(
    plan: Plan,
    model: Model,
    x: torch.Tensor | Starts,
    *,
    block: int,
    batch: int | None = None,
    seed: int = 0,
    group: Any = None,
    gather: bool = True,
    check: Check = "end",
) -> Sample:
    """Run a plan from x, the samples shared out over the processes of a group.

    Every process calls it with the same arguments but model and x's device, which are its own.
    x: all initial states, (batch, ...), or a function of (first, count) that makes those of some samples,
    (count, ...), so that no process holds all; then batch is how many.  block: samples of one run, at most:
    the same samples come out for any number of processes on hardware of one kind; another block may change
    the last bits of what the model's matrix products give.  seed: of the noise, drawn for each sample
    (`per_sample`).  group: of torch.distributed, the default one where absent; a process alone where none was
    initialised.  gather: whether every process gets all samples, or its own alone: those of its blocks
    (`share`).  check: as in `sample`, of every block.
    Returns a Sample with the evaluations that each sample took.
    Raises TypeError or ValueError, naming the argument, in every process before any run, also where their
    arguments differ; and what a run raises, in its process, with RuntimeError in the others.
    """
    checks.instance("plan", plan, Plan)
    if len(plan.inputs) != 1:
        raise ValueError(f"plan must have one input, its own start, got {len(plan.inputs)}")
    block = checks.integer("block", block, 1)
    seed = checks.integer("seed", seed, 0, LARGEST_SEED)
    checks.flag("gather", gather)
    checks.one_of("check", check, CHECKS)
    batch, starts = _starts(x, batch)
    blocks = -(-batch // block)
    everyone = _Group(group)
    first = min(share(blocks, everyone.rank, everyone.world).start * block, batch - 1)
    like = _checked(starts(first, 1), 1).detach()  # a process without blocks gathers, too
    _same(everyone, plan, (batch, block, *split(seed), int(gather)), like)
    parts: list[torch.Tensor] = []
    nfe, failure = plan.nfe, None
    try:
        for k in share(blocks, everyone.rank, everyone.world):
            first, count = k * block, min(block, batch - k * block)
            noise = per_sample(seed, first_sample=first) if plan.stochastic else None
            made = sample(plan, model, _checked(starts(first, count), count), noise=noise, check=check)
            parts.append(made.x.detach())
            nfe = made.nfe
    except Exception as error:
        failure = error
    failed = everyone.gathered(torch.tensor([int(failure is not None)], device=like.device))
    if failure is not None:
        raise failure
    if lost := [rank for rank, flag in enumerate(failed) if flag]:
        raise RuntimeError(f"the run of process {lost[0]} failed")
    own = torch.cat(parts) if parts else like[:0]
    return Sample(_whole(everyone, own, batch, block) if gather else own, nfe)


def _starts(x: Any, batch: int | None) -> tuple[int, Starts]:
    if isinstance(x, torch.Tensor):
        if not x.ndim or not len(x):
            raise ValueError(f"x must hold a batch of states, got shape {tuple(x.shape)}")
        if batch not in (None, len(x)):
            raise ValueError(f"batch must be the {len(x)} samples of x, got {shown(batch)}")
        return len(x), lambda first, count: x[first : first + count]
    if not callable(x):
        raise TypeError(f"x must be a tensor or a function of (first, count), got {shown(x)}")
    return checks.integer("batch", batch, 1), x


def _checked(states: Any, count: int) -> torch.Tensor:
    if not isinstance(states, torch.Tensor):
        raise TypeError(f"x must give a tensor, got {shown(states)}")
    if not states.ndim or len(states) != count:
        raise ValueError(f"x must give ({count}, ...) states, got shape {tuple(states.shape)}")
    return states


def _same(everyone: _Group, plan: Plan, numbers: tuple[int, ...], like: torch.Tensor) -> None:
    """Raise ValueError where the processes were given different things: they would wait for each other."""
    digest, dtype = int(plan.digest[:15], 16), sum(map(ord, str(like.dtype)))
    shape = hash(tuple(like.shape[1:])) & 2**60 - 1
    own = torch.tensor([*numbers, digest, dtype, shape], device=like.device)
    names = ("batch", "block", "seed", "seed", "gather", "plan", "dtype of x", "shape of x")
    for rank, other in enumerate(everyone.gathered(own)):
        if differs := [n for n, a, b in zip(names, own.tolist(), other.tolist(), strict=True) if a != b]:
            raise ValueError(f"{differs[0]} must be the same in all processes, unlike in process {rank}")


def _whole(everyone: _Group, own: torch.Tensor, batch: int, block: int) -> torch.Tensor:
    """All samples, in their order: what the ranks have, filled up to one length for the exchange."""
    shares = [share(-(-batch // block), rank, everyone.world) for rank in range(everyone.world)]
    counts = [min(s.stop * block, batch) - min(s.start * block, batch) for s in shares]
    filled = own.new_zeros(max(counts), *own.shape[1:])
    filled[: len(own)] = own
    return torch.cat([x[:n] for x, n in zip(everyone.gathered(filled), counts, strict=True)])
