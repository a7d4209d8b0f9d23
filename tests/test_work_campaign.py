"""Work-precision as a part of a verification run: tasks, what their rows say, the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from semilinear.integrators.solvers import SOLVERS
from semilinear.verification.campaign import plan, work
from semilinear.verification.campaign.work import COMPARED, PART, PLACES, Place, WorkTask, work_json
from semilinear.verification.reporting import work_precision as report
from semilinear.verification.reporting.lines import line
from semilinear.verification.studies.own_statistics import generic

SMALL = (
    Place("golden-mixture", ("t", "lambda"), 16, ("full", "lower"), statistics=True),
    Place("gaussian", ("t",), 16),
)


@pytest.fixture
def decided(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    monkeypatch.setattr(work, "PLACES", SMALL)
    monkeypatch.setattr(work, "BUDGETS", (5, COMPARED))
    tasks = [WorkTask(name) for name in ("ddim", "unipc-3-bh2")]
    return [(task, task.run()) for task in tasks]


def test_a_full_run_has_a_task_for_every_solver_of_the_flow() -> None:
    tasks = [task for task in plan.tasks(False) if task.part == PART]
    assert sorted(task.key for task in tasks) == sorted(n for n in SOLVERS if not generic(n).stochastic)
    assert not [task for task in plan.tasks(True) if task.part == PART]
    assert {"golden-mixture", "rotated-product-2d", "rotated-product-8d", "digits-0.8", "digits-0.2"} == {
        place.problem for place in PLACES
    }


def test_rows_say_which_ending_and_which_solver_is_better(decided: list[Any], tmp_path: Path) -> None:
    data = json.loads(json.dumps(work_json(decided), allow_nan=False))
    assert [e["solver"] for e in data["endings"]] == ["unipc-3-bh2"] * 2  # DDIM ends as it runs
    in_time = data["endings"][0]
    wanted = in_time["full"]["error"] / in_time["lower"]["error"]
    assert in_time["factor"] == pytest.approx(wanted, rel=1e-2)  # of errors written with three digits
    assert in_time["factor"] > 10
    assert in_time["released"] == "lower"
    ranking = data["ranking"]["golden-mixture"]
    assert [entry["solver"] for entry in ranking] == ["unipc-3-bh2", "ddim"]
    ddim = ranking[1]
    assert ddim["default"]["grid"] == "diffusers-leading-ddim"
    assert ddim["best"]["error"] <= ddim["default"]["error"]
    paths = report.write(tmp_path, data)
    assert all(path.stat().st_size for path in paths)
    text = (tmp_path / "work-precision.md").read_text()
    assert f"{in_time['factor']:g}" in text
    assert "| `unipc-3-bh2` |" in text
    assert json.loads((tmp_path / "work-precision.json").read_text()) == data
    assert "unipc-3-bh2" in line(PART, decided[1][1])
    kept = dict(plan.Reports(tmp_path).rows([task for task, _ in decided]))
    assert kept == dict(decided)


def test_solvers_with_statistics_run_where_these_are_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "PLACES", (Place("rotated-product-8d", ("t",), 4),))
    assert WorkTask("dpm-solver-v3-2m").run()["rows"] == []
