"""Orders and ladders as JSON data: the keys that commands print with --json, and that reports are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from semilinear.analysis.convergence import OrderEstimate
from semilinear.integrators.common.files import json_number


def estimate_json(e: OrderEstimate) -> dict[str, float | None]:
    """An estimate: observed order and its 95% interval, None where there is none."""
    return {"observed": json_number(e.order), "low": json_number(e.low), "high": json_number(e.high)}


def points_json(e: OrderEstimate, nfe: Sequence[int]) -> list[dict[str, Any]]:
    """The runs of an estimate, which made nfe evaluations each."""
    return [
        {"N": p.n, "NFE": calls, "error": json_number(p.error), "floor": p.floor, "usable": p.usable}
        for p, calls in zip(e.points, nfe if e.points else (), strict=True)
    ]


def ladder_json(e: OrderEstimate, nfe: Sequence[int]) -> dict[str, Any]:
    """An estimate with its runs."""
    return estimate_json(e) | {"window": list(e.window), "points": points_json(e, nfe)}
