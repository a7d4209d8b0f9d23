"""Standard normal increments for stochastic plans: drawn per sample, or from one Brownian path.

Every increment is a pure function of (seed, sample, increment): counter-based draws where the state is, the
same bits on every device (`numerics.philox`), so that a sample depends on neither the batch it is in, nor the
device, nor the order of the calls.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from ..common import checks
from ..forms.form import Form
from ..numerics.arithmetic import Value, of
from ..numerics.philox import MASK, normal, philox, split
from ..plans.program import Plan
from .boundary import Noise, State, given_noise

__all__ = ["BrownianPath", "given_noise", "per_sample"]


LARGEST_SEED = 2**64 - 1
"""Seeds, places of samples and streams are two words of Philox's keys and counters, increments one."""
TOGETHER = 2**18
"""Most numbers that are drawn at once for an increment that is a sum."""


def _draw(
    seed: int, first: int, count: int, like: State, first_sample: int, stream: int = 0
) -> Sequence[State]:
    """Increments first, .., first + count - 1, each of like's kind and shape, on its device.

    The first axis of like is the batch.  A stream of a seed has a key of its own, itself made by Philox;
    every four components of a sample have a counter, (their block, increment, place).
    """
    if not like.shape:
        raise ValueError("noise per sample needs states of shape (batch, ...), got a scalar state")
    checks.integer("index", first, 0, MASK - count)
    shape = tuple(like.shape)
    size = math.prod(shape[1:])
    device = like.device if isinstance(like, torch.Tensor) else torch.device("cpu")
    low, high = split(first_sample)
    blocks = torch.arange(-(-size // 4), device=device)
    increments = torch.arange(first, first + count, device=device).view(-1, 1, 1)
    places = torch.arange(low, low + shape[0], device=device).view(-1, 1)
    whole = count, shape[0], len(blocks)
    counter = blocks, increments, places & MASK, ((places >> 32) + high) & MASK
    a, b, c, d = (word.expand(whole) for word in counter)
    key = philox((*split(stream), 0, 0), split(seed))[:2]
    values = normal((a, b, c, d), key).flatten(-2).narrow(-1, 0, size).reshape(count, *shape)
    if isinstance(like, torch.Tensor):
        return values.to(like.dtype).unbind()
    drawn: np.ndarray = of(like).number(values.numpy()) if like.dtype == object else values.numpy()
    return list(drawn.astype(like.dtype))


def per_sample(seed: int, *, first_sample: int = 0, stream: int = 0) -> Noise:
    """Noise for `sample`: sample i of the batch draws from place first_sample + i of the seed.

    stream: the plan's own noise is stream 0; whatever else draws with the same seed (correctors, projections)
    takes another, so that their numbers are independent.
    Drawn in float64 on the state's device, from integers and by operations that every device rounds alike,
    and rounded to the state's dtype: the same numbers on every device, and no transfer.
    Raises ValueError for a seed or stream outside [0, 2^64).
    """
    seed = checks.integer("seed", seed, 0, LARGEST_SEED)
    first_sample = checks.integer("first_sample", first_sample, 0, LARGEST_SEED)
    stream = checks.integer("stream", stream, 0, LARGEST_SEED)
    return lambda index, like: _draw(seed, index, 1, like, first_sample, stream)[0]


@dataclass(frozen=True, eq=False)
class BrownianPath:
    """One Brownian path on a form's clock, shared by plans with different steps (for strong errors).

    form: of the solvers, under the plans' schedule.  times: every time at which one of the plans starts or
    ends an increment, in any order: increments are drawn between neighbouring times and added up, so that
    runs over the same path differ by their steps alone.  seed, first_sample: as in `per_sample`.
    `noise(plan)` gives the plan's increments.
    """

    form: Form
    times: Sequence[Value]
    seed: int = 0
    first_sample: int = 0

    def __post_init__(self) -> None:
        for name in ("seed", "first_sample"):
            value = checks.integer(name, getattr(self, name), 0, LARGEST_SEED)
            object.__setattr__(self, name, value)
        if self.form.std is None:
            raise ValueError(f"form must be that of an SDE, got {self.form.name!r}, which has no noise")
        if len(self._nodes) < 2:
            raise ValueError("times must hold at least two different times")

    @cached_property
    def _nodes(self) -> list[Value]:
        """The times in order, each once."""
        return sorted(set(self.times))

    @staticmethod
    def through(form: Form, plans: Sequence[Plan], seed: int = 0, first_sample: int = 0) -> BrownianPath:
        """The path on which all of these plans can run."""
        times = [t for plan in plans for pair in plan.increments if pair is not None for t in pair]
        return BrownianPath(form, times, seed, first_sample)

    def noise(self, plan: Plan, apart: bool = False) -> Noise:
        """The plan's increments.  apart: noise that is not the path's is drawn for itself, from stream 1.

        Raises ValueError if the plan has times that the path lacks, or other noise than the path's (unless
        that is drawn apart).
        """
        if not plan.increments and plan.stochastic:
            raise ValueError(f"plan of {plan.solver} does not say what its increments are: compile it again")
        parts = [
            (1, k, [1.0]) if pair is None and apart else (0, *self._parts(pair, plan))
            for k, pair in enumerate(plan.increments)
        ]

        def noise(index: int, like: State) -> State:
            stream, first, weights = parts[index]
            at_once = max(1, TOGETHER // math.prod(like.shape))
            total: State = 0
            for k in range(0, len(weights), at_once):
                some = weights[k : k + at_once]
                drawn = _draw(self.seed, first + k, len(some), like, self.first_sample, stream)
                for z, w in zip(drawn, some, strict=True):
                    total = total + z * w
            return total

        return noise

    def _parts(self, pair: tuple[Value, Value] | None, plan: Plan) -> tuple[int, list[float]]:
        """An increment as a sum over the path's: the first of them, and their weights, the squares of which
        add up to 1.
        """
        if pair is None:
            raise ValueError(f"plan of {plan.solver} adds noise that is not its SDE's: it has no path")
        start, end = pair
        if self.form.std is None or not np.any(self.form.std(start, end) != 0):
            return 0, []
        high, low = (bisect_left(self._nodes, t) for t in (start, end))
        for t, place in ((start, high), (end, low)):
            if place == len(self._nodes) or self._nodes[place] != t:
                raise ValueError(f"times must hold {t}, where {plan.solver} starts or ends an increment")
        inner = self._nodes[low : high + 1]
        weights = [self.form.ratio(b, end) * self.form.std(a, b) for b, a in itertools.pairwise(inner)]
        total = sum(w * w for w in weights) ** 0.5
        return low, [float(w / total) for w in weights]
