"""Runs over few numbers of float32, where calling an operation costs more than what it does.

All values lie in one matrix, laid out by the plan (`plans.layout`), and are worked on in the order that the
plan has: an output is copied to its place, a row is one product with a vector of weights, whatever it adds,
and a copy.  Products are BLAS's, called through numpy, which costs least.  They add in another order than the
plan's terms: of n terms either sum is within n u of  sum |weight| |value|,  u the unit roundoff (Higham 2002,
Sec. 3.1).  A memory is kept for the next run of its plan.  What may go wrong in a run is asked once, at its
end, and not of each operation: where something did, the run is made again in order, which finds out where.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from ..diffusion.prediction import Model
from ..plans.layout import Call, Layout, lay_out
from ..plans.program import Plan
from .boundary import Noise, State, output_check

NUMBERS = 8192
"""The most that a memory may hold: beyond, copies cost what is saved, and BLAS uses threads (from 9216)."""
ALIGNED = 16
"""Rows are filled up to a multiple of this, so that BLAS does the same to a number wherever it stands."""


class Small:
    """The memory of one plan's runs over states of one shape, and what to do with it, in order."""

    def __init__(self, layout: Layout, shape: torch.Size) -> None:
        size = math.prod(shape)
        with torch.inference_mode(False):  # a later run may be outside of it
            whole = torch.zeros(layout.places + 1, width(shape))
            self.places = [row[:size].view(shape) for row in whole.unbind()]
        self._whole, memory = whole, whole.numpy()
        self._read, self._made = memory[:-1], memory[-1]
        self._every, self._ones = self._read.reshape(-1), np.ones(self._read.size, dtype=np.float32)
        self.result = self.places[layout.final]
        self.sound = True
        """Whether the last run left nothing but finite numbers, and its model changed no state."""
        self._copies = sum(1 if isinstance(op, Call) else len(op.draws) for op in layout.operations)
        self.actions: list[Callable[[], Any]] = []
        """What a run does, in order: calls of the model, draws, products and copies of rows."""
        made = memoryview(self._made)
        first = next((op for op in layout.operations if isinstance(op, Call)), None)
        for op in layout.operations:
            if isinstance(op, Call):
                self.actions.append(self._call(op, op is first))
                continue
            self.actions += [self._draw(which, self.places[place]) for which, place in op.draws]
            weights = np.zeros(layout.places, dtype=np.float32)
            weights[list(op.weights)] = list(op.weights.values())
            self.actions.append(partial(weights.dot, self._read, self._made))
            # Of all ways to copy a row, between memoryviews is the cheapest.
            self.actions.append(partial(memoryview(memory[op.into]).__setitem__, slice(None), made))
        self._model: Model | None = None
        self._noise: Noise | None = None

    def _call(self, op: Call, first: bool) -> Callable[[], Any]:
        state, copy, t = self.places[op.state], self.places[op.output].copy_, op.t
        shape, own, tensor, check = state.shape, state.dtype, torch.Tensor, output_check(state)

        def call() -> None:
            output = self._model(state, t)  # type: ignore[misc]
            if (
                type(output) is not tensor
                or output.dtype is not own
                or output.shape != shape
                or (first and not output.is_cpu)  # devices are looked at once: they do not change
            ):
                output = check(output, t)
            copy(output)

        return call

    def _draw(self, which: int, place: torch.Tensor) -> Callable[[], Any]:
        copy = place.copy_

        def draw() -> None:
            copy(self._noise(which, place))  # type: ignore[misc]

        return draw

    def run(self, states: list[torch.Tensor], model: Model, noise: Noise | None) -> torch.Tensor:
        """The final state."""
        self._model, self._noise = model, noise
        for place, state in zip(self.places, states):
            place.copy_(state)
        written = self._whole._version + self._copies  # all places count as one; numpy's writing does not
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is seen below
            for act in self.actions:
                act()
            total = self._every.dot(self._ones)  # finite: so is all; large values may overflow it
            finite = math.isfinite(total) or bool(np.isfinite(self._read).all())
        self.sound = finite and self._whole._version == written
        self._model = self._noise = None
        return self.result.clone()


def borrowed(plan: Plan, like: State) -> Small | None:
    """A memory for one run from a state like this, which nobody else has meanwhile; None for a run that is
    none of a few float32 numbers on a CPU.

    Sums of float64 keep the order of the plan's terms: errors and orders are measured on them.
    """
    if type(like) is not torch.Tensor or like.dtype is not torch.float32 or not like.is_cpu:
        return None
    shape = like.shape
    if shape not in plan.memories:
        plan.memories[shape] = [] if _fits(plan, shape) else None
    free = plan.memories[shape]
    if free is None or not like.is_contiguous():
        return None
    try:
        memory: Small = free.pop()
        return memory
    except IndexError:  # another run has it, or there is none yet
        layout = lay_out(plan)
        assert layout is not None
        return Small(layout, shape)


def give_back(plan: Plan, memory: Small) -> bool:
    """Whether its run counts: not where something was not finite, which a weight of 0 does not take away, or
    where the model changed a state.  Then the run is to be made in order, and the memory serves no other.
    """
    if memory.sound:
        plan.memories[memory.result.shape].append(memory)
    return memory.sound


def _fits(plan: Plan, shape: torch.Size) -> bool:
    if width(shape) > NUMBERS:
        return False
    layout = lay_out(plan)
    return layout is not None and layout.places * width(shape) <= NUMBERS


def width(shape: torch.Size) -> int:
    """The length of a memory's rows."""
    return -(-math.prod(shape) // ALIGNED) * ALIGNED
