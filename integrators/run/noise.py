"""Standard normal increments for stochastic plans: drawn per sample, or from one Brownian path.

Every increment is a pure function of (seed, sample, increment): counter-based draws (Philox) on the host, so
that a sample depends on neither the batch it is in, nor the device, nor the order of the calls.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from ..forms.form import Form
from ..numerics import checks
from ..numerics.arithmetic import Value, of
from ..plans.program import Plan
from .boundary import Noise, State, given_noise

__all__ = ["BrownianPath", "given_noise", "per_sample"]


LARGEST_SEED = 2**64 - 1
"""Seeds, places of samples and streams are words of Philox's key and counter."""


def _draw(seed: int, index: int, like: State, first_sample: int, stream: int = 0, block: int = 1) -> State:
    """Normal numbers of like's kind and shape; the first axis is the batch, drawn `block` samples at once."""
    if not like.shape:
        raise ValueError("noise per sample needs states of shape (batch, ...), got a scalar state")
    shape = tuple(like.shape[1:])
    places = range(first_sample, first_sample + like.shape[0], block)
    counters = ([0, stream, index, place] for place in places)
    generators = (np.random.Generator(np.random.Philox(key=seed, counter=c)) for c in counters)
    values = np.concatenate([g.standard_normal((block, *shape)) for g in generators])[: like.shape[0]]
    if isinstance(like, torch.Tensor):
        return torch.from_numpy(values).to(dtype=like.dtype, device=like.device)
    return of(like).number(values) if like.dtype == object else values.astype(like.dtype)


def per_sample(seed: int, *, first_sample: int = 0, stream: int = 0, block: int = 1) -> Noise:
    """Noise for `sample`: sample i of the batch draws from place first_sample + i of the seed.

    stream: the plan's own noise is stream 0; whatever else draws with the same seed (correctors, projections)
    takes another, so that their numbers are independent.  block: how many samples share a generator, as of a
    `BrownianPath`.
    Drawn in float64 on the host and rounded to the state's dtype: the same numbers on every device.
    Raises ValueError for a seed or stream outside [0, 2^64), and a first_sample that is no multiple of block.
    """
    seed = checks.integer("seed", seed, 0, LARGEST_SEED)
    first_sample = checks.integer("first_sample", first_sample, 0, LARGEST_SEED)
    stream = checks.integer("stream", stream, 0, LARGEST_SEED)
    _check_block(first_sample, block := checks.integer("block", block, 1))
    return lambda index, like: _draw(seed, index, like, first_sample, stream, block)


def _check_block(first_sample: int, block: int) -> None:
    if first_sample % block:
        raise ValueError(f"first_sample must be a multiple of {block}, got {first_sample}")


@dataclass(eq=False)
class BrownianPath:
    """One Brownian path on a form's clock, shared by plans with different steps (for strong errors).

    form: of the solvers, under the plans' schedule.  times: every time at which one of the plans starts or
    ends an increment, in any order: increments are drawn between neighbouring times and added up, so that
    runs over the same path differ by their steps alone.  seed, first_sample: as in `per_sample`.  block: how
    many samples share a generator (thousands of paths take a hundredth of the time); first_sample must be a
    multiple.  Another block gives other numbers.
    `noise(plan)` gives the plan's increments.
    """

    form: Form
    times: Sequence[Value]
    seed: int = 0
    first_sample: int = 0
    block: int = 1
    _nodes: list[Value] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.seed = checks.integer("seed", self.seed, 0, LARGEST_SEED)
        self.first_sample = checks.integer("first_sample", self.first_sample, 0, LARGEST_SEED)
        self.block = checks.integer("block", self.block, 1)
        _check_block(self.first_sample, self.block)
        if self.form.std is None:
            raise ValueError(f"form must be that of an SDE, got {self.form.name!r}, which has no noise")
        self._nodes = sorted(set(self.times))
        if len(self._nodes) < 2:
            raise ValueError("times must hold at least two different times")

    @staticmethod
    def through(
        form: Form, plans: Sequence[Plan], seed: int = 0, first_sample: int = 0, block: int = 1
    ) -> BrownianPath:
        """The path on which all of these plans can run."""
        times = [t for plan in plans for pair in plan.increments if pair is not None for t in pair]
        return BrownianPath(form, times, seed, first_sample, block)

    def noise(self, plan: Plan, apart: bool = False) -> Noise:
        """The plan's increments.  apart: noise that is not the path's is drawn for itself, from stream 1.

        Raises ValueError if the plan has times that the path lacks, or other noise than the path's (unless
        that is drawn apart).
        """
        if not plan.increments and plan.stochastic:
            raise ValueError(f"plan of {plan.solver} does not say what its increments are: compile it again")
        parts = [
            (1, [(k, 1.0)]) if pair is None and apart else (0, self._parts(pair, plan))
            for k, pair in enumerate(plan.increments)
        ]

        def noise(index: int, like: State) -> State:
            stream, terms = parts[index]
            return sum(_draw(self.seed, i, like, self.first_sample, stream, self.block) * w for i, w in terms)

        return noise

    def _parts(self, pair: tuple[Value, Value] | None, plan: Plan) -> list[tuple[int, float]]:
        """An increment as a sum over the path's: index and weight, the weights' squares adding up to 1."""
        if pair is None:
            raise ValueError(f"plan of {plan.solver} adds noise that is not its SDE's: it has no path")
        start, end = pair
        if self.form.std is None or not np.any(self.form.std(start, end) != 0):
            return []
        high, low = (bisect_left(self._nodes, t) for t in (start, end))
        for t, place in ((start, high), (end, low)):
            if place == len(self._nodes) or self._nodes[place] != t:
                raise ValueError(f"times must hold {t}, where {plan.solver} starts or ends an increment")
        inner = self._nodes[low : high + 1][::-1]
        weights = [
            (high - k - 1, self.form.ratio(b, end) * self.form.std(a, b))
            for k, (a, b) in enumerate(itertools.pairwise(inner))
        ]
        total = sum(w * w for _, w in weights) ** 0.5
        return [(i, float(w / total)) for i, w in weights]
