"""The benchmarks: what they write, how they compare, and a rehearsal of all that a GPU is asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from semilinear.verification.commands.cli import main
from semilinear.verification.reporting.throughput import markdown, plot
from semilinear.verification.throughput import bench, candidates, gpu
from semilinear.verification.throughput.bench import RecordError, record_of, worse
from semilinear.verification.throughput.timing import interleaved

RATIOS = {"4x16": {"semilinear 2M": 1.5, "diffusers 2M": 20.0}}
NONSENSE: Any = "nonsense"


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    return bench.bench(((4, 16),), rounds=2)


def test_a_record_says_where_it_was_made_and_what_was_left_out(record: dict[str, Any]) -> None:
    assert record["device"]["kind"] == "cpu"
    assert record["device"]["name"]
    assert {"date", "python", "versions", "load_before", "rounds"} <= record.keys()
    row = record["ratios"]["4x16"]
    assert row.keys() | record["skipped"].keys() == candidates.CANDIDATES.keys()
    assert not row.keys() & record["skipped"].keys()
    assert all(record["skipped"].values())
    assert row["chain of 3"] == row["chain of 4"] == 1
    assert {"semilinear 2M", "semilinear UniPC", "semilinear SDE 2M"} <= row.keys()
    assert record_of(json.loads(json.dumps(record))) == record


def test_a_missing_package_is_a_reason_and_a_fault_of_ours_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(x: Any, output: Any) -> Any:
        raise ModuleNotFoundError("No module named 'diffusers'")

    def broken(x: Any, output: Any) -> Any:
        return lambda: 1 / 0

    import torch

    x, given = torch.zeros(2, 2), candidates.Candidate
    monkeypatch.setattr(
        candidates, "CANDIDATES", {"diffusers 2M": given(missing, 4), "azula": given(broken, 3)}
    )
    runs, skipped = candidates.built(x, x)
    assert not runs
    assert skipped == {
        "diffusers 2M": "No module named 'diffusers'",
        "azula": "ZeroDivisionError: division by zero",
    }
    monkeypatch.setattr(candidates, "CANDIDATES", {"semilinear 2M": given(broken, 3)})
    with pytest.raises(ZeroDivisionError):
        candidates.built(x, x)


@pytest.mark.slow  # the command's own test times all of them, too
def test_every_round_times_every_candidate() -> None:
    calls: list[str] = []
    times = interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 4, "cpu")
    assert {name: len(values) for name, values in times.items()} == {"a": 4, "b": 4}
    assert calls.count("a") == calls.count("b") == 2 * (3 + 4)


def test_only_our_own_ratios_that_grew_beyond_the_factor_are_worse() -> None:
    now = {"ratios": {"4x16": {"semilinear 2M": 2.0, "diffusers 2M": 90.0, "semilinear 3M": 9.0}}}
    assert worse(now, {"ratios": RATIOS}, 1.3) == [("4x16", "semilinear 2M", 1.5, 2.0)]
    assert worse(now, {"ratios": RATIOS}, 1.34) == []
    with pytest.raises(ValueError, match="none of the ratios"):
        worse(now, {"ratios": {"2x2": RATIOS["4x16"]}}, 1.3)


@pytest.mark.parametrize(
    "data", [None, [], {}, {"ratios": 1}, {"ratios": {"4x16": {"semilinear 2M": "fast"}}}]
)
def test_what_is_no_record_is_refused(data: Any) -> None:
    with pytest.raises(RecordError, match="no record of `semilinear bench`"):
        record_of(data)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="device must be one of cpu, cuda"):
        bench.bench(device=NONSENSE)
    with pytest.raises(ValueError, match="rounds must be an integer from 1 to "):
        bench.bench(rounds=0)


def test_the_command_compares_writes_and_exits(
    record: dict[str, Any], tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "SHAPES", ((4, 16),))
    few = {name: candidates.CANDIDATES[name] for name in ("chain of 3", "semilinear 2M")}
    monkeypatch.setattr(candidates, "CANDIDATES", few)
    before = tmp_path / "before.json"
    for ratio, code in ((1e-3, 1), (1e3, 0)):
        before.write_text(json.dumps({"ratios": {"4x16": {"semilinear 2M": ratio}}}))
        out = tmp_path / str(code)
        options = ["bench", "--rounds", "1", "--compare", str(before), "--out", str(out), "--json"]
        assert main(options) == code
        found = json.loads(capsys.readouterr().out)
        assert [row["candidate"] for row in found["worse"]] == ["semilinear 2M"] * code
        assert json.loads((out / "throughput.json").read_text())["ratios"] == found["ratios"]
        assert (out / "throughput.png").stat().st_size > 0
    before.write_text("[]")
    assert main(["bench", "--compare", str(before)]) == 2
    assert "no record" in capsys.readouterr().err
    assert main(["bench", "--rounds", "0"]) == 2
    assert main(["bench", "--factor", "-1"]) == 2


def test_the_table_has_every_candidate_and_names_the_machine(record: dict[str, Any], tmp_path: Path) -> None:
    text = markdown(record | {"skipped": {"azula 2M": "azula is not installed"}})
    assert record["device"]["name"] in text
    assert all(f"| {name} |" in text for name in record["ratios"]["4x16"])
    assert "| azula 2M | skipped: azula is not installed |" in text
    plot(record, tmp_path / "t.svg")
    assert "semilinear UniPC" in (tmp_path / "t.svg").read_text()


def test_all_that_a_gpu_is_asked_for_is_rehearsed(tmp_path: Path, capsys: Any) -> None:
    """The very script, small: every part but the graph, which no CPU has, finds something."""
    assert main(["gpu", "--device", "cpu", "--rehearse", "--out", str(tmp_path / "gpu.json")]) == 0
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert found["rehearsal"] is True
    assert {"date", "device", "versions"} <= found.keys()
    assert found["parts"].keys() == gpu.PARTS.keys()
    assert {name for name, part in found["parts"].items() if "found" not in part} == {"graph"}
    assert found["parts"]["graph"]["skipped"] == "CUDA graphs need CUDA"
    correct = found["parts"]["correctness"]["found"]
    assert not correct["beyond"]
    assert correct["noise_same_bits"]
    assert all(row["error"] <= row["bound"] for row in correct["precisions"].values())
    assert all(
        row["low"] <= row["claimed"] <= row["high"] for row in found["parts"]["order"]["found"].values()
    )


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main(["gpu"]) == 2
    assert "--device must be cpu, got cuda: torch sees no CUDA device" in capsys.readouterr().err


def test_one_part_that_raises_stops_no_other(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    def broken(setting: Any) -> Any:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(
        gpu, "PARTS", {"a": broken, "b": lambda s: {"x": float("nan")}, "c": lambda s: {"x": 1}}
    )
    assert main(["gpu", "--device", "cpu", "--rehearse", "--json"]) == 1
    parts = json.loads(capsys.readouterr().out)["parts"]
    assert parts["a"]["error"] == "RuntimeError: out of memory"
    assert parts["b"]["error"].startswith("ValueError")  # JSON has no NaN
    assert parts["c"]["found"] == {"x": 1}
    late = gpu.measure(gpu.Setting("cpu", True), seconds=-1)["parts"]
    assert all(part["skipped"] for part in late.values())
