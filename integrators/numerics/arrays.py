"""Arrays that values keep, and how large arrays of errors are."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def fixed(values: Any, dtype: Any = np.float64) -> np.ndarray:
    """A copy that cannot be written to: what a value keeps does not change with what it was made of."""
    kept = np.array(values, dtype=dtype)
    kept.flags.writeable = False
    return kept


def rms(samples: np.ndarray) -> float:
    """The root mean square over samples: of numbers, (n,), or of the Euclidean norms of vectors, (n, d).

    float64.  Infinite or NaN where a sample is.
    """
    squares = samples**2
    return math.sqrt(float(np.mean(squares if squares.ndim == 1 else np.sum(squares, axis=1))))
