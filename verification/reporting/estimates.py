"""Estimates of orders as text: the digits that were resolved, no others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RESOLVED = 0.5
"""Half-width above which an interval is longer than an order: its digits would differ from run to run."""


def interval(estimate: Mapping[str, Any] | None, places: int = 3, none: str = "–") -> str:
    """An estimate as "2.000 ± 0.006"; what is not resolved, or is none, is said to be; none: for no study."""
    if estimate is None:
        return none
    if estimate["observed"] is None:
        return "–"
    half = (estimate["high"] - estimate["low"]) / 2
    if half > RESOLVED:
        return "not resolved"
    return f"{estimate['observed']:.{places}f} ± {half:.{places}f}"
