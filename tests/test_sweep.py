"""Sweeps: which cells there are, and that each is what one run alone measures."""

from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from semilinear.verification.campaign.runner import Rows, decide
from semilinear.verification.campaign.sweep import SweepTask, tasks
from semilinear.verification.equal_nfe.experiment import NoiseToData
from semilinear.verification.equal_nfe.study import work_precision
from semilinear.verification.problems.named import problem

AXES: dict[str, Any] = {
    "problems": ("golden-mixture", "mixture-1d"),
    "grids": ("t", "karras"),
    "budgets": (5, 8),
    "seeds": (0, 3),
    "batch": 8,
}


def test_every_combination_is_a_cell_once() -> None:
    planned = tasks(["ddim", "unipc-2-bh2"], **AXES)
    assert len({task.key for task in planned}) == len(planned) == 8
    assert sum(task.cells for task in planned) == 32
    row = planned[0].run()
    assert [(c["seed"], c["budget"]) for c in row["cells"]] == [(0, 5), (0, 8), (3, 5), (3, 8)]
    assert json.loads(json.dumps(row, allow_nan=False))["cells"] == row["cells"]


def test_a_cell_is_the_study_of_one_run() -> None:
    task = SweepTask("dpm-solver++-2m", "mixture-1d", "vp-linear", "karras", (5, 8), (0, 3), 8)
    last = task.run()["cells"][-1]
    alone = NoiseToData(problem("mixture-1d"), batch=8, seed=3)
    (row,) = work_precision("dpm-solver++-2m", alone, nfe=[8], grids=["karras"]).rows
    assert (last["error"], last["low"], last["high"], last["nfe"]) == (row.error, row.low, row.high, row.nfe)


def test_rows_are_the_same_over_any_executor_and_from_the_cache(tmp_path: Path) -> None:
    planned = tasks(["ddim"], **AXES | {"problems": ["golden-mixture"], "seeds": [1]})
    rows = Rows(tmp_path)
    with ProcessPoolExecutor(2) as pool:
        found = dict(decide(planned, pool))
    with ThreadPoolExecutor(1) as pool:
        again = dict(decide(planned[::-1], pool))
    assert found == again
    for task, row in found.items():
        rows.add(task, row)
        assert json.dumps(rows.get(task)) == json.dumps(row)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"solvers": []}, "solvers must hold"),
        ({"solvers": "ddim"}, "solvers must hold"),
        ({"solvers": ["ddim", "ddim"]}, "solvers must hold"),
        ({"solvers": ["nosuch"]}, "nosuch"),
        ({"solvers": ["sde-dpm-solver++-1"]}, "stochastic"),
        ({"problems": ["nosuch"]}, "problems must be"),
        ({"schedules": ["nosuch"]}, "schedules"),
        ({"grids": ["nosuch"]}, "grid"),
        ({"budgets": [0]}, "budgets must be"),
        ({"seeds": [-1]}, "seeds must be"),
        ({"batch": 1}, "batch must be"),
    ],
)
def test_what_names_nothing_is_refused(options: dict[str, Any], message: str) -> None:
    solvers = options.pop("solvers", ["ddim"])
    with pytest.raises(ValueError, match=message):
        tasks(solvers, **options)
