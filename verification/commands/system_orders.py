"""The order of a tableau by itself, measured on a semilinear system from exact starting values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from semilinear.analysis.convergence import OrderEstimate
from semilinear.analysis.lookup import Found

from ..studies.records import ladder_json
from ..systems.linearised import linearised_order
from ..systems.semilinear import coupled_system, measured

SYSTEMS = ("coupled-3d", "gradient-3d")
"""With a fixed linear part, and for methods of Rosenbrock type, whose linear part is the Jacobian."""
DIGITS = 40
"""Of a run on coupled-3d, unless others are asked for: float64 leaves high orders too few points."""


def measure_tableau(
    found: Found, system: str, digits: int | None, ladder: Sequence[int]
) -> tuple[dict[str, Any], OrderEstimate]:
    """The data of a study (`studies.judged.Judged.data`, as far as it applies), and the estimate.

    Raises ValueError for a system that is not for this kind of method, digits of a method of Rosenbrock type,
    which runs in float64, and a tableau that a system cannot run (PEC, parameters).
    """
    if system != SYSTEMS[found.linearised]:
        kind = "of Rosenbrock type" if found.linearised else "of a fixed linear part"
        raise ValueError(
            f"{found.name} is {kind}: it is measured on {SYSTEMS[found.linearised]}, not {system}"
        )
    if found.linearised:
        if digits is not None:
            raise ValueError(f"--digits does not apply to {found.name}: it is of Rosenbrock type, in float64")
        estimate = linearised_order(found.tableau, ladder=ladder, known=found.rounding)
    else:
        problem = coupled_system(DIGITS if digits is None else digits)
        _, estimate = measured(found.tableau, problem, ladder, found.rounding)
    calls = len(found.tableau.stages) + 1
    data = {
        "solver": found.name,
        "problem": system,
        "digits": None if found.linearised else DIGITS if digits is None else digits,
        "start": "exact",
        **ladder_json(estimate, [calls * n for n in ladder]),
    }
    return data, estimate
