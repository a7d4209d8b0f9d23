"""Committed reports and the README say what their data say: nothing in them is typed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from semilinear.integrators.solvers import SOLVERS
from semilinear.verification.claims import EXPECTATIONS
from semilinear.verification.cli import main
from semilinear.verification.report import BEGIN, END, FAMILIES, markdown, readme_block, with_block

ROOT = Path(__file__).parents[1]
ORDERS = ROOT / "reports" / "orders.json"


@pytest.fixture(scope="module")
def data() -> Any:
    return json.loads(ORDERS.read_text())


def test_the_report_is_generated_from_its_data(data: Any) -> None:
    assert (ROOT / "reports" / "orders.md").read_text() == markdown(data)


def test_the_readme_table_is_generated_from_the_report(data: Any) -> None:
    text = (ROOT / "README.md").read_text()
    assert with_block(text, readme_block(data)) == text


def test_the_committed_report_is_a_full_run_of_every_solver(data: Any) -> None:
    assert data["quick"] is False
    labels = {row["solver"] for row in data["rows"] if row["setting"] == "main"}
    assert labels == {e.label for e in EXPECTATIONS}
    assert {row["solver"].partition(",")[0] for row in data["rows"]} | {
        u["solver"] for u in data["unmeasured"]
    } == set(SOLVERS)


def test_the_committed_report_shows_no_failure(data: Any) -> None:
    assert all(row["as_expected"] in (True, None) for row in data["rows"])
    assert all(case["ok"] for case in data["replay"])


def test_every_measured_solver_is_drawn(data: Any) -> None:
    for row in data["rows"]:
        drawn = [name for name, (_, pattern) in FAMILIES.items() if re.fullmatch(pattern, row["solver"])]
        assert len(drawn) == (0 if row["solver"] == "ddim" else 1), row["solver"]
        assert all((ROOT / "reports" / f"convergence-{name}.png").stat().st_size > 10_000 for name in drawn)


def test_a_failed_expectation_and_a_failed_case_show_in_the_report(data: Any) -> None:
    changed = json.loads(json.dumps(data))
    changed["rows"][0]["as_expected"] = False
    changed["rows"][1]["agreement"]["agree"] -= 1
    text = markdown(changed)
    assert "**NO**" in text
    assert "**3 of 4 agree**" in text


def test_a_text_without_the_block_is_refused() -> None:
    with pytest.raises(ValueError, match="must hold the lines"):
        with_block("nothing", "block")
    assert with_block(f"a {BEGIN} old {END} b", "new") == "a new b"


@pytest.mark.parametrize("number", [0, 1])
def test_the_examples_of_the_readme_run(number: int, capsys: Any) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(blocks) == 2
    exec(compile(blocks[number], f"README example {number}", "exec"), {})
    out = capsys.readouterr().out
    assert ("64, 2" in out and "20" in out) if number == 0 else "consistent" in out


def test_the_commands_of_the_readme_exist(capsys: Any) -> None:
    for command in re.findall(r"^\| `semilinear (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE):
        with pytest.raises(SystemExit) as stop:
            main([command, "--help"])
        assert stop.value.code == 0
    capsys.readouterr()


def test_the_throughput_report_names_its_circumstances() -> None:
    found = json.loads((ROOT / "reports" / "throughput.json").read_text())
    assert found["schema"] == "semilinear-throughput/1"
    assert {"date", "processor", "versions", "gpu", "load_before"} <= found.keys()
    ours = [r for r in found["rows"] if r["candidate"].startswith("semilinear")]
    assert {tuple(r["shape"]) for r in ours} == {(4, 16), (64, 3, 32, 32), (16, 4, 64, 64)}
