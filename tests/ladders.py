"""Ladders of errors whose order is known: what an order estimator meets, and what would mislead it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

LONG = (4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
COUNTS = (
    LONG,
    LONG[:11],
    LONG[:9],
    LONG[:7],
    (4, 8, 16, 32, 64, 128, 256, 512),
    (8, 16, 32, 64, 128, 256),
    (8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256),
    (10, 20, 40, 80, 160),
    (16, 32, 64, 128, 256, 512, 1024),
)
ORDERS = (0.5, 1, 1.5, 2, 3, 4, 5, 6, 8, 10)
UNIT = 2.0**-53


@dataclass(frozen=True)
class Ladder:
    """n, errors (len(n), batch), floors, and the order in the limit."""

    n: tuple[int, ...]
    errors: np.ndarray
    floors: np.ndarray
    order: float

    @property
    def slopes(self) -> np.ndarray:
        """Of the RMS errors."""
        e = np.sqrt(np.mean(self.errors**2, axis=1))
        return np.asarray(-np.diff(np.log(e)) / np.diff(np.log(self.n)))


Rng = np.random.Generator
Factor = Callable[[Rng, np.ndarray], np.ndarray]
"""h -> e/(C h^p), which tends to a constant (logarithms aside)."""


def _sign(rng: Rng) -> float:
    return float(rng.choice([-1.0, 1.0]))


def _scale(rng: Rng, low: float, high: float) -> float:
    return float(10 ** rng.uniform(low, high))


def _series(h: np.ndarray, coefficients: Sequence[float] | np.ndarray) -> np.ndarray:
    """1 + c_1 h + c_2 h^2 + ..."""
    return np.asarray(1 + np.stack([c * h**j for j, c in enumerate(coefficients, 1)]).sum(axis=0))


CLEAN: dict[str, Factor] = {
    "power": lambda rng, h: 1 + 0 * h,
    "first correction": lambda rng, h: 1 + rng.uniform(-1.5, 3) * h + rng.uniform(0, 5) * h**2,
}
MODERATE: dict[str, Factor] = {
    "polynomial": lambda rng, h: _series(h, [rng.uniform(-4, 8) * 2 ** (j - 1) for j in (1, 2, 3)]),
    "exponential": lambda rng, h: np.exp(rng.uniform(-10, 10) * h),
    "even powers": lambda rng, h: 1 + _scale(rng, -1, 2) * h**2,
}
WILD: dict[str, Factor] = {
    "polynomial of scale 100": lambda rng, h: _series(h, list(100 * rng.standard_normal(4))),
    "rational": lambda rng, h: 1 / (1 + _scale(rng, 0, 3) * h),
    "knee": lambda rng, h: (1 + (_scale(rng, 0.5, 2.5) * h) ** 2) ** rng.choice([-0.5, 0.5]),
    "oscillation": lambda rng, h: 1 + 0.3 * np.sin(rng.uniform(1.5, 5) * np.log(h) + rng.uniform(0, 6.28)),
    "logarithm": lambda rng, h: np.log(1 / h) ** rng.choice([1.0, -1.0, 2.0]),
    "two terms": lambda rng, h: 1 + _scale(rng, 0, 3.3) * h ** rng.choice([1, 2, 3]),
    "zero crossing": lambda rng, h: np.abs(1 - _scale(rng, -0.5, 2) * h) + 1e-12,
    "parity": lambda rng, h: np.where(np.arange(len(h)) % 2, 1.0, 1 + rng.uniform(-0.4, 0.4)) * (1 + 2 * h),
    "noise": lambda rng, h: np.exp(_scale(rng, -3, -1) * rng.standard_normal(len(h))),
}
FAMILIES = {**CLEAN, **MODERATE, **WILD}


def ladder(family: str, seed: int, floor: str = "declared") -> Ladder:
    """One ladder of a family; floor: "declared" (rounding), or "hidden" (another, above it)."""
    rng = np.random.default_rng([sorted(FAMILIES).index(family), seed])
    n, order = COUNTS[rng.integers(len(COUNTS))], float(ORDERS[rng.integers(len(ORDERS))])
    h = 1 / np.array(n, dtype=float)
    errors = _scale(rng, -2, 1) * h**order * np.abs(FAMILIES[family](rng, h))
    floors = 30 * UNIT * np.sqrt(n)
    errors = np.abs(errors + UNIT * np.sqrt(n) * rng.standard_normal(len(n)))
    if floor == "hidden":
        level = errors[rng.integers(2, len(n))] * _scale(rng, -1.5, 0.3)
        grown = (
            level
            * (np.array(n) / n[-1]) ** rng.choice([0.0, 0.5])
            * np.exp(0.2 * rng.standard_normal(len(n)))
        )
        errors = np.sqrt(errors**2 + grown**2)
    return Ladder(n, errors[:, None], floors, order)
