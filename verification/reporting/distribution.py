"""Distances of samples from the exact law as a report, from the JSON data of `distribution/report.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Data = Mapping[str, Any]
AT = 10
"""Evaluations at which all distances are shown."""


def markdown(data: Data) -> str:
    """The report."""
    metric, (where, drawn) = data["metric"], data["place"].split("; ")
    lines = [
        "# Samples against the exact law",
        "",
        "Written by `semilinear report distances`; every number comes from `distribution.json` beside it.",
        "How distances, floors and intervals are made: docs/mathematics.md, 11.",
        "",
        f"Run on {where}; {drawn}.",
        "Every solver runs on this grid and ends as released. All see the same starts, and those with noise",
        "the same draws. A distance is in units of the law's deviation. In parentheses: no more than exact",
        f"samples show by chance (level {data['level']:g}). **Bold**: the closest of its table at that",
        "number of evaluations, and those that are not told from it by three standard errors.",
        "",
        "Scores are exact: what is seen is discretisation and the start from pure noise, no network's error.",
        "A run takes the most steps that need no more evaluations than are asked for.",
    ]
    for title, names in data["families"].items():
        rows = [row for row in data["rows"] if row["solver"] in names]
        lines += ["", f"## {title}", "", *_by_nfe(data, title, rows), "", *_by_metric(data, rows)]
    lines += ["", *_floors(data), "", f"![{metric} over evaluations](distribution.png)", ""]
    return "\n".join(lines)


def _by_nfe(data: Data, title: str, rows: Sequence[Data]) -> list[str]:
    """The main distance over evaluations."""
    metric, budgets = data["metric"], list(dict.fromkeys(row["nfe"] for row in rows))
    best = {
        row["nfe"]: {row["closest"], *row["not_distinguishable"]}
        for row in data["closest"]
        if row["family"] == title
    }
    lines = [f"| {metric}, by NFE | {' | '.join(map(str, budgets))} |", f"|---|{'---|' * len(budgets)}"]
    for solver in dict.fromkeys(row["solver"] for row in rows):
        cells = [
            f"**{_cell(row, metric)}**" if solver in best.get(row["nfe"], ()) else _cell(row, metric)
            for row in rows
            if row["solver"] == solver
        ]
        lines.append(f"| `{solver}` | {' | '.join(cells)} |")
    return lines


def _by_metric(data: Data, rows: Sequence[Data]) -> list[str]:
    """Every distance at a few evaluations, with the interval of the main one."""
    at, main = [row for row in rows if row["nfe"] == AT], data["metric"]
    if not at:
        return []
    names = list(data["floors"])
    lines = [
        f"| at {AT} | NFE made | {' | '.join(names)} | {main}, 95 % |",
        f"|---|---|{'---|' * (len(names) + 1)}",
    ]
    for row in at:
        cells = " | ".join(_cell(row, name) for name in names)
        found = row["distances"].get(main)
        interval = "–" if found is None else f"{found['low']:.3g} to {found['high']:.3g}"
        lines.append(f"| `{row['solver']}` | {row['made']} | {cells} | {interval} |")
    return lines


def _cell(row: Data, metric: str) -> str:
    if row["failed"]:
        return str(row["failed"])
    found = row["distances"][metric]
    return f"{found['value']:.3g}" if found["seen"] else f"({found['value']:.3g})"


def _floors(data: Data) -> list[str]:
    """What exact samples show, and the least difference that is seen."""
    floors = data["floors"]
    kinds = next(iter(floors.values()))["power"]

    def line(name: str, key: str) -> str:
        return f"| {name} | {' | '.join(f'{floor[key]:.3g}' for floor in floors.values())} |"

    lines = [
        "## What chance does",
        "",
        "Exact samples in place of a solver's: the root mean square of each distance, and what it",
        "exceeds once in a hundred times. Below them the least difference of a law that is seen with",
        f"probability {data['power']:g}: the law moved along its widest axis (in deviations there), spread",
        "about its mean (a fraction), and weight moved from its heaviest mode to the lightest.",
        "",
        f"| | {' | '.join(floors)} |",
        f"|---|{'---|' * len(floors)}",
        line("exact samples", "floor"),
        line("once in a hundred", "most"),
    ]
    for kind in kinds:
        sizes = (floor["power"][kind] for floor in floors.values())
        lines.append(f"| {kind} | {' | '.join('–' if size is None else f'{size:.2g}' for size in sizes)} |")
    return lines
