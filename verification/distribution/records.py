"""Runs in distribution as JSON data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from semilinear.integrators.common.files import json_number

from .floor import Floor
from .results import Comparison, Distance, Row

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


def rows_json(solver: str, rows: Sequence[Row]) -> list[Data]:
    """The runs of a study; distances by metric, of a run that failed none."""
    return [
        {
            "solver": solver,
            "nfe": row.nfe,
            "made": row.made,
            "steps": row.steps,
            "failed": row.failed,
            "distances": {name: distance_json(distance) for name, distance in row.distances.items()},
            "weights": list(row.weights),
        }
        for row in rows
    ]


def floors_json(floors: Mapping[str, Floor]) -> Data:
    """What exact samples show, and exceed once in 1/`LEVEL` times; the least difference seen, by its kind."""
    return {
        name: {
            "floor": math.sqrt(floor.mean),
            "most": math.sqrt(floor.most),
            "power": {kind: json_number(size) for kind, size in floor.power.items()},
        }
        for name, floor in floors.items()
    }


def comparison_json(found: Comparison) -> Data:
    """Which of two solvers lies closer; deviations: null where one of them failed, or both laws are known."""
    return {
        "first": found.first,
        "second": found.second,
        "nfe": found.nfe,
        "made": list(found.made or (found.nfe, found.nfe)),
        "metric": found.metric,
        "values": [json_number(value) for value in found.values],
        "deviations": json_number(found.deviations),
        "order": found.order,
    }
