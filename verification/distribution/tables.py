"""Runs in distribution as lines of text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from .floor import LEVEL, POWER, Floor
from .results import Distance, Row


def cell(distance: Distance, interval: bool) -> str:
    """A distance, with the interval perhaps; in parentheses where exact samples show as much."""
    low, high = distance.interval
    value = f"{distance.value:.3g}" if distance.seen else f"({distance.value:.3g})"
    return f"{value} [{low:.3g}, {high:.3g}]" if interval and low < high else value


def cells(row: Row, metric: str) -> list[str]:
    """A run as a line of a table; the interval of one metric."""
    found = row.distances.items()
    shown = [row.failed] if row.failed else [cell(distance, name == metric) for name, distance in found]
    return [str(row.made), str(row.steps), *shown]


def header(floors: Mapping[str, Floor]) -> list[str]:
    """Of the columns of `cells`."""
    return ["NFE", "steps", *floors]


def least(floors: Mapping[str, Floor]) -> list[list[str]]:
    """The floors, and the least difference of each kind that is seen: further lines; none of known laws."""
    kinds = next(iter(floors.values())).power
    lines = [["floor", "", *(f"{math.sqrt(floor.mean):.3g}" for floor in floors.values())]]
    for kind in kinds:
        sizes = (floor.power[kind] for floor in floors.values())
        lines.append([kind, "", *(f"{size:.2g}" if math.isfinite(size) else "-" for size in sizes)])
    return lines if kinds else []


def table(rows: Sequence[Row], floors: Mapping[str, Floor], metric: str) -> list[list[str]]:
    """The runs of a study, and what chance does, line by line."""
    return [header(floors), *(cells(row, metric) for row in rows), *least(floors)]


def aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """Lines whose columns stand below each other."""
    widths = [max(len(line[i]) for line in lines if i < len(line)) for i in range(max(map(len, lines)))]
    return [
        "  ".join(part.ljust(width) for part, width in zip(line, widths, strict=False)).rstrip()
        for line in lines
    ]


def explanation(exact: Sequence[str], drawn: Sequence[str], metric: str) -> str:
    """How a table is to be read; exact: solvers whose law was computed; drawn: those that were sampled."""
    if not drawn:
        return "Computed from the law that each plan gives: no samples."
    apart = (
        f"\nComputed from the law that the plan gives, without samples: {', '.join(exact)}." if exact else ""
    )
    return (
        f"Distances in units of the law's deviation, of {metric} with the 95 % interval of the laws'\n"
        f"distance; in parentheses where exact samples show as much (level {LEVEL:g}).  floor: of exact\n"
        f"samples.  Below it the least difference that is seen with probability {POWER:g}.{apart}"
    )
