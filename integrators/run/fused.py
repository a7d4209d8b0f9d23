"""Rows by one kernel each, written in Triton: every value is read once, the state written once.

A kernel does what the chain of operations does, in its order: a product, then for each further term one fused
multiplication and addition, in the state's dtype, to which every value is widened as it is read.  Weights lie
in a table on the device, made once a plan, a row of it for each row of the plan.

Triton comes with torch for CUDA, and is optional: the kernel is defined where it is first asked for.  With
TRITON_INTERPRET=1 it runs on a CPU, by Triton's interpreter, for tests.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch

from ..plans.program import Plan, Row
from .boundary import State

BLOCK = 1024
"""Numbers to a program of the kernel."""
ALIGNED = 4
"""Rows of the table are filled up to a multiple of this, so that each begins at a multiple of 16 bytes."""


class Fused:
    """The rows of one plan, for states like one."""

    def __init__(self, plan: Plan, like: torch.Tensor) -> None:
        place = "table", like.dtype, like.device
        if place not in plan.placed:
            plan.placed[place] = _table(plan, like)
        self._weights = plan.placed[place]
        self._launch = launcher()

    def __call__(self, row: Row, values: Sequence[torch.Tensor], into: torch.Tensor) -> torch.Tensor:
        """The row over values, those of its terms and then its increments, all of into's shape; in `into`,
        which is contiguous.
        """
        self._launch(tuple(value.contiguous() for value in values), self._weights[row.state], into)
        return into


def _table(plan: Plan, like: torch.Tensor) -> dict[int, torch.Tensor]:
    """By the state that it makes, each row's weights on the device."""
    rows = [op for step in plan.steps for op in step.operations if isinstance(op, Row)]
    weights = [[w for _, w in (*row.keyed, *row.noise)] for row in rows]
    width = -(-max(map(len, weights)) // ALIGNED) * ALIGNED
    filled = [[*some, *[0.0] * (width - len(some))] for some in weights]
    with torch.inference_mode(False):  # a later run may be outside of it
        table = torch.tensor(filled, dtype=like.dtype, device=like.device)
        return dict(zip((row.state for row in rows), table.unbind(), strict=True))


def refusal(plan: Plan, like: State) -> str | None:
    """Why this plan's rows cannot be fused for states like this; None where they can."""
    rows = [op for step in plan.steps for op in step.operations if isinstance(op, Row)]
    if type(like) is not torch.Tensor:
        return f"a torch tensor, got {type(like).__name__}"
    if plan.arrays or any(row.constant is not None for row in rows):
        return f"a plan whose coefficients are numbers, got one of {plan.solver} with elementwise ones"
    return unusable(like.device)


@cache
def unusable(device: torch.device) -> str | None:
    """Why no kernel runs on a device; None where one ran: it is tried once, on one number."""
    if find_spec("triton") is None:
        return "triton, which is not installed"
    if device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        return f"a state on a CUDA device (or TRITON_INTERPRET=1 in the environment), got {device}"
    try:
        with torch.inference_mode(False):
            one = torch.ones(ALIGNED, device=device)
            launcher()((one,), one, torch.empty_like(one))
    except Exception as error:  # whatever a compiler, or its absence, raises
        return f"a kernel that compiles here, got {type(error).__name__}: {error}".splitlines()[0]
    return None


@cache
def launcher() -> Callable[[tuple[torch.Tensor, ...], torch.Tensor, torch.Tensor], None]:
    """(values, weights, into) -> None: the kernel, launched on the device of `into`."""
    from .kernels import combine

    # The products and sums are contracted as written, whatever Triton does where it is not told.
    options: dict[str, Any] = {"BLOCK": BLOCK, "enable_fp_fusion": False}

    def launch(values: tuple[torch.Tensor, ...], weights: torch.Tensor, into: torch.Tensor) -> None:
        count = into.numel()
        with torch.cuda.device_of(into):  # type: ignore[no-untyped-call]
            combine[(-(-count // BLOCK),)](values, weights, into, count, **options)

    return launch
