"""A verification run as JSON data: what reports are made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..claims.expectations import unmeasured
from ..problems.cache import environment
from ..replay.golden import agreement, case_of
from ..studies.ladders import FLOW_LONG
from ..studies.setting import Setting
from .measure import ROUGH, OrderTask
from .runner import Row, Task

SCHEMA = "semilinear-orders/1"


def orders_json(decided: Sequence[tuple[Task, Row]], quick: bool) -> dict[str, Any]:
    """A verification run: everything that was measured, what released code computed, what is proved of it.

    decided: tasks with their rows, in the order of the report.
    """
    parts: dict[str, list[Row]] = {
        part: [] for part in ("rows", "stochastic", "grids", "solvers", "replay", "identities")
    }
    for task, row in decided:
        parts.setdefault(task.part, []).append(row)
    cases = [case for row in parts["replay"] for case in row["cases"]]
    table = agreement(map(case_of, cases))
    proved = {row["solver"]: row for row in parts["solvers"]}

    def whole(row: Row) -> Row:
        added = {"agreement": table.get(row["solver"].partition(",")[0])}
        return row | added | {"proved": _orders(proved.get(row["solver"]))}

    return {
        "schema": SCHEMA,
        "quick": quick,
        **environment(),
        "settings": _settings(task.setting for task, _ in decided if isinstance(task, OrderTask)),
        "rough": [] if quick else _settings(ROUGH),
        "rows": [whole(row) for row in parts["rows"]],
        "stochastic": [row | {"agreement": table.get(row["solver"])} for row in parts["stochastic"]],
        "grids": parts["grids"],
        "identities": parts["identities"],
        "replay": cases,
        "unmeasured": [
            {"solver": name, "reason": reason, "agreement": table.get(name)}
            for name, reason in unmeasured().items()
        ],
    }


def _orders(proof: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if proof is None or proof["refused"]:
        return None
    return {"own": proof["run"], "exact": proof["exact_start"]}


def _settings(settings: Iterable[Setting]) -> list[dict[str, Any]]:
    return [
        {
            "name": s.name,
            "problem": s.problem,
            "schedule": s.schedule,
            "grid": s.grid,
            "lambda": [s.lam_start, s.lam_end],
            "batch": s.batch,
            "digits": s.digits,
            "steps": [s.ladder[0], s.ladder[-1]],
            "long_steps": FLOW_LONG[-1],
            "asserted": s.asserted,
        }
        for s in dict.fromkeys(settings)
    ]


def unexpected(data: Mapping[str, Any]) -> list[str]:
    """What is not as it must be in a run, a line each."""
    measured = (*data["rows"], *data["stochastic"])
    lines = [
        f"not as expected: {row['solver']} ({row.get('setting', 'stochastic')})"
        for row in measured
        if row["as_expected"] is False
    ]
    lines += [
        f"not as proved: {row['solver']} on grids that are not smooth"
        for row in data["grids"]
        if row["as_expected"] is False
    ]
    lines += [
        f"not proved: {identity['statement']}: {identity['defects'][0]}"
        for identity in data["identities"]
        if identity["defects"]
    ]
    return lines + [
        f"not as released: {case['file']} {case['index']} {case['solver']} {case['error']}"
        for case in data["replay"]
        if not case["ok"]
    ]
