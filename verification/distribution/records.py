"""Studies in distribution as JSON data and as text."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from semilinear.integrators.numerics.files import json_number, write_atomically

from .floor import LEVEL, POWER, Floor
from .study import MAIN_METRIC, Comparison, Distance, Row, SampledStudy

Data = dict[str, Any]


def distance_json(distance: Distance) -> Data:
    """A distance: as the samples show it, the interval of the laws' distance, the floor."""
    low, high = distance.interval
    return {
        "value": json_number(distance.value),
        "low": json_number(low),
        "high": json_number(high),
        "floor": distance.floor,
        "seen": distance.seen,
    }


def rows_json(study: SampledStudy) -> list[Data]:
    """The runs of a study; distances by metric, of a run that failed none."""
    return [
        {
            "solver": study.solver,
            "nfe": row.nfe,
            "made": row.made,
            "steps": row.steps,
            "failed": row.failed,
            "distances": {name: distance_json(distance) for name, distance in row.distances.items()},
            "weights": list(row.weights),
        }
        for row in study.rows
    ]


def floors_json(floors: dict[str, Floor]) -> Data:
    """What exact samples show, and exceed once in 1/`LEVEL` times; the least difference seen, by its kind."""
    return {
        name: {
            "floor": math.sqrt(floor.mean),
            "most": math.sqrt(floor.most),
            "power": {kind: json_number(size) for kind, size in floor.power.items()},
        }
        for name, floor in floors.items()
    }


def studies_json(studies: Sequence[SampledStudy]) -> Data:
    """Studies on one experiment: the keys of `semilinear distance --json`."""
    first = next((study for study in studies if not study.exact), studies[0])
    return {
        "place": first.place,
        "level": LEVEL,
        "power": POWER,
        "weights": list(first.weights),
        "floors": floors_json(dict(first.floors)),
        "rows": [row for study in studies for row in rows_json(study)],
    }


def comparison_json(found: Comparison) -> Data:
    """Which of two solvers lies closer; deviations: null where one of them failed."""
    return {
        "first": found.first,
        "second": found.second,
        "nfe": found.nfe,
        "metric": found.metric,
        "values": [json_number(value) for value in found.values],
        "deviations": json_number(found.deviations),
        "order": found.order,
    }


def write(path: str | Path, studies: Sequence[SampledStudy]) -> None:
    """Write studies as JSON; the file is replaced whole."""
    write_atomically(Path(path), json.dumps(studies_json(studies), indent=1, allow_nan=False) + "\n")


# --- text ---


def cell(distance: Distance, interval: bool) -> str:
    """A distance, with the interval perhaps; in parentheses where exact samples show as much."""
    low, high = distance.interval
    value = f"{distance.value:.3g}" if distance.seen else f"({distance.value:.3g})"
    return f"{value} [{low:.3g}, {high:.3g}]" if interval and low < high else value


def header(study: SampledStudy) -> list[str]:
    """Of the columns of `cells`."""
    return ["NFE", "steps", *study.floors]


def cells(study: SampledStudy, row: Row, metric: str) -> list[str]:
    """A run as a line of a table; the interval of one metric."""
    found = row.distances.items()
    shown = [row.failed] if row.failed else [cell(distance, name == metric) for name, distance in found]
    return [str(row.made), str(row.steps), *shown]


def least(study: SampledStudy) -> list[list[str]]:
    """The floor, and the least difference of each kind that is seen, as further lines."""
    floors = study.floors.values()
    kinds = next(iter(floors)).power
    lines = [["floor", "", *(f"{math.sqrt(floor.mean):.3g}" for floor in floors)]]
    for kind in kinds:
        sizes = (floor.power[kind] for floor in floors)
        lines.append([kind, "", *(f"{size:.2g}" if math.isfinite(size) else "-" for size in sizes)])
    return lines if kinds else []


def explanation(study: SampledStudy, metric: str = MAIN_METRIC) -> str:
    """How a table is to be read."""
    if study.exact:
        return "Computed from the law that each plan gives: no samples."
    return (
        f"Distances in units of the law's deviation, of {metric} with the 95 % "
        "interval of the laws' distance; in parentheses where exact samples show as much "
        f"(level {LEVEL:g}). floor: of exact samples. Below it the least difference that is seen with "
        f"probability {POWER:g}."
    )


def text(study: SampledStudy) -> str:
    """A study as a table."""
    table = [header(study), *(cells(study, row, MAIN_METRIC) for row in study.rows), *least(study)]
    widths = [max(len(line[i]) for line in table if i < len(line)) for i in range(len(table[0]))]
    lines = [
        "  ".join(part.ljust(width) for part, width in zip(line, widths, strict=False)) for line in table
    ]
    return "\n".join(
        [f"{study.solver} on {study.place}", *(line.rstrip() for line in lines), explanation(study)]
    )
