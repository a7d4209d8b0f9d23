"""Reports of a verification run: orders.md, orders.json and convergence plots, written whole or not at all."""

from __future__ import annotations

import io
import json
import math
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from semilinear.analysis.convergence import OrderEstimate
from semilinear.integrators.plan_io import write_atomically

from .golden import CaseResult
from .study import Study

SCHEMA = "semilinear-orders/1"


@dataclass(frozen=True)
class OrderRow:
    """One solver in a verification run.

    released, formula: the studies with its own start and with exact starting values (the same study for one-step
    solvers).  as_expected: whether both contradict nothing that was expected.  agreement: largest difference to the
    released code over its golden cases, with their number; None where no released numbers exist.
    """

    label: str
    form: str
    claimed: int
    source: str
    experiment: str
    released: Study
    formula: Study
    expected: tuple[int | None, int | None]
    as_expected: bool
    reason: str
    agreement: tuple[float, int] | None


def study_json(study: Study) -> dict[str, Any]:
    """A study as JSON data: the keys of `semilinear order --json`."""
    e = study.estimate
    return {
        "solver": study.solver,
        "claimed": study.claimed,
        "start": study.start,
        "observed": _number(e.order),
        "low": _number(e.low),
        "high": _number(e.high),
        "verdict": study.verdict,
        "reason": study.reason,
        "window": list(e.window),
        "richardson": None if study.check is None else study.check.reference_free,
        "points": [
            {"N": p.n, "NFE": calls, "error": _number(p.error), "floor": p.floor, "usable": p.usable}
            for p, calls in zip(e.points, study.nfe, strict=True)
        ],
        "statistics": {
            name: {"observed": _number(s.order), "low": _number(s.low), "high": _number(s.high)}
            for name, s in study.statistics.items()
        },
    }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def interval(e: OrderEstimate) -> str:
    """An estimate as "2.00 +- 0.01", or a dash."""
    if not math.isfinite(e.order):
        return "-"
    return f"{e.order:.2f} ± {e.half_width:.2f}"
