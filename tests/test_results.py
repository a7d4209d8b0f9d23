"""Every result of the front door has JSON data, writes and prints itself, and plots what there is to plot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import semilinear as sl
from semilinear.verification.replay.golden import DATA, read, replay_case

STEPS = (8, 12, 16, 24, 32, 48)


def results() -> dict[str, Any]:
    """A small one of each kind."""
    mixture, golden = sl.problem("mixture-1d"), read(DATA / "unipc.json")
    return {
        "measure": sl.measure("ddim", sl.Experiment(mixture, batch=2, ladder=STEPS)),
        "measure-sde": sl.measure("sde-dpm-solver++-1", sl.StochasticExperiment(ladder=STEPS)),
        "work_precision": sl.work_precision("ddim", sl.NoiseToData(mixture, batch=4), nfe=(5, 6)),
        "in_distribution": sl.in_distribution(
            "ddim", sl.SampledExperiment(sl.problem("gaussian")), nfe=(5, 6)
        ),
        "audit": sl.audit("ddim", only=["ends"]),
        "claims": sl.claims("scire-phi1-limit")[0],
        "prove": sl.prove("dpm-solver++-2m"),
        "prove-tableau": sl.prove(sl.CATALOGUE["krogstad4"].tableau),
        "replay": replay_case(golden, 1, golden["cases"][1], "unipc.json"),
    }


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return results()


DRAWN = ("measure", "measure-sde", "work_precision", "in_distribution")
KINDS = (*DRAWN, "audit", "claims", "prove", "prove-tableau", "replay")


@pytest.mark.parametrize("kind", KINDS)
def test_a_result_writes_its_data_and_prints_itself(found: dict[str, Any], kind: str, tmp_path: Path) -> None:
    result, path = found[kind], tmp_path / "result.json"
    result.write(path)
    assert json.loads(path.read_text()) == json.loads(json.dumps(result.data))
    assert isinstance(result.data, dict)
    assert type(result).__name__ not in str(result)  # no repr


@pytest.mark.parametrize("kind", DRAWN)
def test_a_result_with_errors_plots_itself(found: dict[str, Any], kind: str, tmp_path: Path) -> None:
    found[kind].plot(tmp_path / "plot.svg")
    assert "<svg" in (tmp_path / "plot.svg").read_text()


def test_a_study_has_the_data_of_the_command(found: dict[str, Any]) -> None:
    data = found["measure"].data
    assert (data["solver"], data["claimed"], data["verdict"]) == ("ddim", 1, found["measure"].verdict)
    assert [point["N"] for point in data["points"]] == list(STEPS)
