"""Constants and numerics that every problem shares: weights, softmax, alpha and sigma beside a state."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from semilinear.integrators.common.messages import shown
from semilinear.integrators.diffusion.prediction import time_like
from semilinear.integrators.diffusion.schedule import Formulas, Schedule
from semilinear.integrators.numerics.arithmetic import Arithmetic, Value, of

Array = Any
"""A torch tensor, or a numpy array of float64 or mpmath numbers, of shape (..., d)."""


def check_weights(weights: Any) -> np.ndarray:
    """Weights normalized to sum 1.  Raises ValueError unless they are positive and nearly do."""
    w = np.asarray(weights, dtype=np.float64)
    if w.ndim != 1 or w.size == 0 or not np.all(w > 0) or not abs(w.sum() - 1) < 1e-3:
        raise ValueError(
            f"weights must be positive and sum to 1 (up to 1e-3, then normalized), got {shown(weights)}"
        )
    normalized: np.ndarray = w / w.sum()
    return normalized


def largest(values: Array) -> Array:
    """The maximum over the first axis."""
    return torch.amax(values, 0) if isinstance(values, torch.Tensor) else values.max(0)


def responsibilities(log_weights: Array, xp: Arithmetic) -> Array:
    """Softmax over the first axis, by subtracting the largest exponent."""
    terms = xp.exp(log_weights - largest(log_weights))
    return terms / terms.sum(0)


TOGETHER = 2**21
"""Numbers of one intermediate array at most, 16 MiB in float64, unless a single state needs more."""


def states_of(x: Array, dimension: int) -> Array:
    """States of any shape as rows (n, d).  Raises ValueError where they do not have d components each."""
    size = x.numel() if isinstance(x, torch.Tensor) else x.size
    if size % dimension or not x.ndim:
        raise ValueError(f"states must have {dimension} components each, got shape {tuple(x.shape)}")
    return x.reshape(-1, dimension)


def in_blocks(of_states: Callable[[Array], Array], x: Array, each: int) -> Array:
    """What `of_states` makes of the states x (n, d), an array like x, in blocks of rows.

    each: how many numbers of one intermediate array a row needs.  A batch that fits is one block: blocks
    bound the memory of large ones.
    """
    rows = max(1, TOGETHER // each)
    if len(x) <= rows:
        return of_states(x)
    made = torch.empty_like(x) if isinstance(x, torch.Tensor) else np.empty_like(x)
    for first in range(0, len(x), rows):
        made[first : first + rows] = of_states(x[first : first + rows])
    return made


class Constants:
    """Constants of a problem, converted once per number system and device.

    The first are weights, of which the logarithm is taken after the conversion: a rounded logarithm would
    limit a run in 50 digits to 17.
    """

    def __init__(self, weights: np.ndarray | None, *arrays: np.ndarray) -> None:
        self._arrays = arrays if weights is None else (weights, *arrays)
        self._has_weights = weights is not None
        self._cache: dict[Any, tuple[Array, ...]] = {}

    def like(self, x: Array) -> tuple[Array, ...]:
        """The constants in the number system of x."""
        key = (x.dtype, x.device) if isinstance(x, torch.Tensor) else (of(x).name, of(x).context)
        if key not in self._cache:
            if isinstance(x, torch.Tensor):
                # copies, at addresses that fit a cache line: products with an array of numpy's are slower
                made = tuple(
                    torch.tensor(a.astype(float), dtype=x.dtype, device=x.device) for a in self._arrays
                )
            else:
                made = tuple(of(x).number(a) for a in self._arrays)
            self._cache[key] = (of(made[0]).log(made[0]), *made[1:]) if self._has_weights else made
        return self._cache[key]


def alpha_sigma(schedule: Schedule, t: Value, x: Array) -> tuple[Value, Value]:
    """alpha and sigma at t, as numbers that combine with x; as tensors, to be differentiated, where t is a
    tensor without dimensions.
    """
    f = schedule.formulas
    at = time_like(t, x)
    return _levels(f, at) if type(at) is float else (f.alpha(at), f.sigma(at))


@lru_cache(maxsize=2**14)
def _levels(formulas: Formulas, t: float) -> tuple[Value, Value]:
    """Solvers on one grid ask for the same times, and the formulas cost as much as a small batch's score."""
    return formulas.alpha(t), formulas.sigma(t)
