"""Committed reports and the README say what their data say: nothing in them is typed."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
from semilinear.analysis.convergence import NEAR, OrderEstimate
from semilinear.analysis.orders.mutation import listed
from semilinear.integrators.solvers import SOLVERS
from semilinear.integrators.tableaux.catalogue import CATALOGUE
from semilinear.verification.audit.released_tables import audit_tasks
from semilinear.verification.campaign import selection
from semilinear.verification.campaign.measure import MAIN, Measured
from semilinear.verification.campaign.prove import failures
from semilinear.verification.claims.expectations import EXPECTATIONS, STOCHASTIC_EXPECTATIONS
from semilinear.verification.claims.flow import Expectation
from semilinear.verification.claims.identities import IDENTITIES
from semilinear.verification.commands.cli import main
from semilinear.verification.predictions.quadrature_effect import RULES
from semilinear.verification.replay.golden import CaseResult, agreement
from semilinear.verification.reporting import audit as field_report
from semilinear.verification.reporting import proofs as proof_report
from semilinear.verification.reporting import throughput
from semilinear.verification.reporting.orders import (
    BEGIN,
    END,
    drawn,
    markdown,
    readme_block,
    refuted_markdown,
    update_readme,
    with_block,
)
from semilinear.verification.studies.flow import Study

ROOT = Path(__file__).parents[1]
ORDERS = ROOT / "reports" / "orders.json"


@pytest.fixture(scope="module")
def data() -> Any:
    return json.loads(ORDERS.read_text())


def test_the_report_is_generated_from_its_data(data: Any) -> None:
    assert (ROOT / "reports" / "orders.md").read_text() == markdown(data)


def test_the_readmes_findings_are_generated_from_the_report(data: Any) -> None:
    text = (ROOT / "README.md").read_text()
    assert with_block(text, readme_block(data)) == text


def test_the_audit_of_the_field_is_generated_from_its_data() -> None:
    found = json.loads((ROOT / "reports" / "audit.json").read_text())
    assert (ROOT / "reports" / "audit.md").read_text() == field_report.markdown(found)


def test_a_row_of_the_field_says_what_a_maintainer_would_read() -> None:
    """Known from the packages' sources: the third-order methods take half of a second difference."""
    found = json.loads((ROOT / "reports" / "audit.json").read_text())["audits"]
    for target in (
        "diffusers:DPMSolverMultistepScheduler:solver_order=3",
        "k_diffusion:sample_dpmpp_3m_sde:eta=0.0",
    ):
        (row, *_) = [row for row in found if row["target"] == target]
        assert (row["claimed"], row["as_run"]["verdict"], row["formula"]["verdict"]) == (3, "lower", "lower")
        assert "moment 2 0.5 of the exact one" in row["diagnosis"]["text"]


def test_the_claims_that_do_not_hold_are_listed_each(data: Any) -> None:
    text = refuted_markdown(data)
    assert (ROOT / "reports" / "refuted.md").read_text() == text
    main = [row for row in data["rows"] if row["setting"] == "main"]
    ledger = {r["id"]: r for r in json.loads((ROOT / "reports" / "claims.json").read_text())["claims"]}
    for row in (*main, *data["stochastic"]):
        (claim,) = (
            ledger[f"{name}-order"] for name in [row["solver"].replace(", NFE ", "-nfe-").replace(" ", "-")]
        )
        verdict = claim["found"]
        assert row["verdict"] == verdict
        listed = f"| {row['solver']} | {row['claimed']} | {verdict} |" in text
        assert listed is (verdict in ("conditional", "refuted"))


@pytest.fixture(scope="module")
def proved() -> Any:
    return json.loads((ROOT / "reports" / "proofs.json").read_text())


def test_the_report_of_proofs_is_generated_from_its_data(proved: Any) -> None:
    assert (ROOT / "reports" / "proofs.md").read_text() == proof_report.markdown(proved)


def test_the_committed_proofs_are_those_of_everything_that_is_listed(proved: Any) -> None:
    assert [row["solver"] for row in proved["solvers"]] == [e.label for e in EXPECTATIONS]
    assert [row["name"] for row in proved["catalogue"]] == list(CATALOGUE)
    assert [row["solver"] for row in proved["constants"]] == list(selection.CONSTANTS)
    assert [row["solver"] for row in proved["effects"]] == [rule.name for rule in RULES]
    assert [row["name"] for row in proved["stability"]] == list(selection.STABILITY)
    assert [row["name"] for row in proved["released"]] == [task.name for task in audit_tasks()]
    assert {row["name"] for row in proved["mutations"]} == {case.name for case in listed()}


def test_the_committed_proofs_show_no_failure(proved: Any) -> None:
    assert failures(proved) == []


def test_a_contradicted_proof_is_a_failure(proved: Any) -> None:
    changed = json.loads(json.dumps(proved))
    changed["solvers"][0]["as_expected"] = False
    changed["effects"][0]["limit"] = 1.2
    changed["mutations"][0]["caught"] -= 1
    assert len(failures(changed)) == 3


def test_the_proved_orders_stand_beside_the_measured_ones(data: Any, proved: Any) -> None:
    orders = {row["solver"]: row for row in proved["solvers"]}
    for row in data["rows"]:
        proof = orders[row["solver"]]
        expected = None if proof["refused"] else {"own": proof["run"], "exact": proof["exact_start"]}
        assert row["proved"] == expected


def test_the_committed_report_is_a_full_run_of_every_solver(data: Any) -> None:
    assert data["quick"] is False
    labels = {row["solver"] for row in data["rows"] if row["setting"] == "main"}
    assert labels == {e.label for e in EXPECTATIONS}
    others = {row["solver"] for key in ("stochastic", "unmeasured") for row in data[key]}
    assert {row["solver"].partition(",")[0] for row in data["rows"]} | others == set(SOLVERS)
    assert {row["solver"] for row in data["stochastic"]} == {e.solver for e in STOCHASTIC_EXPECTATIONS}
    assert [i["statement"] for i in data["identities"]] == [i.statement for i in IDENTITIES]


def test_the_committed_report_shows_no_failure(data: Any) -> None:
    assert all(row["as_expected"] in (True, None) for row in data["rows"])
    assert all(row["as_expected"] in (True, None) for row in data["stochastic"])
    assert all(not identity["defects"] for identity in data["identities"])
    assert all(case["ok"] for case in data["replay"])


def test_every_measured_solver_is_drawn_once(data: Any) -> None:
    rows = [row for row in data["rows"] if row["setting"] == "main"]
    plots = drawn(rows)
    names = [row["solver"] for _, _, found in plots for row in found]
    assert sorted(names) == sorted(row["solver"] for row in rows)
    pictures = {path.name: path.stat().st_size for path in (ROOT / "reports").glob("convergence-*.png")}
    assert set(pictures) == {f"convergence-{name}.png" for name in ["stochastic", *(n for n, _, _ in plots)]}
    assert min(pictures.values()) > 10_000
    for text in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        assert set(re.findall(r"convergence-[\w-]+\.png", text.read_text())) <= set(pictures)


def test_a_paper_with_enough_methods_of_a_kind_has_a_plot_and_a_solver_finds_its_own() -> None:
    def row(solver: str, paper: str, multistep: bool = False) -> Any:
        return {"solver": solver, "paper": paper, "exact": {} if multistep else None}

    new = "New++ (A & B 2026), arXiv:2601.00001"
    rows = [row(f"new-{k}", new) for k in range(3)] + [row("new-2m", new, True), row("mine", "")]
    rows += [row(f"mine-{k}", "") for k in range(3)] + [row("other", "Adams, Bashforth & Moulton 1883")]
    plots = [(name, title, [r["solver"] for r in found]) for name, title, found in drawn(rows)]
    assert plots == [
        ("new-pp-one-step", "New++, one-step", ["new-0", "new-1", "new-2"]),
        (
            "others",
            "Papers with one or two methods of a kind",
            ["new-2m", "mine", "mine-0", "mine-1", "mine-2", "other"],
        ),
    ]
    name, title, found = drawn([*rows, row("new-3", new)])[0]
    assert (name, title, len(found)) == ("new-pp-one-step", "New++, one-step", 4)
    assert [name for name, _, _ in drawn(rows[:3])] == ["new-pp-one-step"]


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


EXAMPLES = {
    ("README.md", 0): ("dpm-solver++-3m-released", "d(x/sigma) = e^lambda", ": lower", "as it is run 2"),
    ("README.md", 1): ("stiff order 2", "must not vanish"),
    ("README.md", 2): ("as run", ": consistent", "ddim"),
    ("README.md", 3): ("64, 2", "20"),
    ("docs/python.md", 0): ("True",),
    ("docs/python.md", 1): ("ddpm: claimed 1, observed weak order 1.0", ": consistent"),
    ("docs/python.md", 2): ("rotated-product-2d on vp-linear", "unipc-3-bh2, t, full, NFE 10 of 10: "),
    ("docs/python.md", 3): ("dpm-solver++-2m on mixture-1d", "5 evaluations, energy: dpm-solver++-2m ("),
    ("docs/python.md", 4): ("11 restart(dpm-solver++-2m)", "exactly"),
    ("docs/python.md", 5): ("False", "dpm-solver++-2m: claimed 2", ": consistent"),
    ("docs/python.md", 6): ("[]", "4 3 0.039", "2 2", "D^2 N"),
    ("docs/python.md", 7): ("scire-phi1-limit: proved", "True"),
    ("docs/python.md", 8): (),
    ("docs/drop-in.md", 0): ("dpm-solver++-3m-corrected 20 scaled_linear",),
    ("docs/drop-in.md", 1): ("True",),
    ("docs/drop-in.md", 2): ("True",),
}


def examples(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


@pytest.mark.parametrize(("page", "number"), EXAMPLES)
def test_the_examples_run_and_show_what_is_said(page: str, number: int, capsys: Any) -> None:
    if "from diffusers" in examples(page)[number]:
        pytest.importorskip("diffusers")
    exec(compile(examples(page)[number], f"{page}, example {number}", "exec"), {})
    out = capsys.readouterr().out
    assert [text for text in EXAMPLES[page, number] if text not in out] == []


def test_every_example_is_run() -> None:
    pages = {page for page, _ in EXAMPLES}
    assert {(page, n) for page in pages for n in range(len(examples(page)))} == EXAMPLES.keys()


def test_examples_of_the_readme_take_one_import_of_ours_and_few_lines() -> None:
    for example in examples("README.md"):
        assert re.findall(r"semilinear\S*", example) == ["semilinear"]
        lines = [
            line for line in example.splitlines() if line and not line.startswith(("import", "def", " "))
        ]
        assert len(lines) <= 6


def test_the_readme_is_a_landing_page() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))])
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text()
    targets = [t for t in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text) if "://" not in t]
    assert [t for t in targets if not (ROOT / page).parent.joinpath(t).exists()] == []


def test_every_command_is_documented_and_those_that_are_exist(capsys: Any) -> None:
    text = (ROOT / "docs" / "command-line.md").read_text()
    commands = re.findall(r"^\| `semilinear ([\w-]+)", text, re.MULTILINE)
    with pytest.raises(SystemExit):
        main(["--help"])
    (offered, *_) = re.findall(r"{([\w,-]+)}", capsys.readouterr().out)
    assert sorted(commands) == sorted(offered.split(","))
    for command in commands:
        with pytest.raises(SystemExit) as stop:
            main([command, "--help"])
        assert stop.value.code == 0
    capsys.readouterr()


def test_the_throughput_report_names_its_circumstances() -> None:
    found = json.loads((ROOT / "reports" / "throughput.json").read_text())
    assert found["schema"] == "semilinear-throughput/2"
    assert {"date", "device", "versions", "load_before", "skipped"} <= found.keys()
    assert list(found["ratios"]) == ["4x16", "64x3x32x32", "16x4x64x64"]
    libraries = {"semilinear 2M", "diffusers 2M", "k-diffusion 2M", "azula 2M"}
    assert all(libraries <= row.keys() for row in found["ratios"].values())
    assert (ROOT / "reports" / "throughput.md").read_text() == throughput.markdown(found)


def result(difference: float, ours: str = "a", **options: Any) -> CaseResult:
    return CaseResult("f.json", 0, "s", ours, difference, 0.0, 1, True, 1e-10, **options)


def test_agreement_counts_what_agrees_and_reports_the_worst() -> None:
    found = agreement(
        [result(1e-14), result(1e-12, "a (adaptive)"), result(1e-3), result(float("inf"), "b", error="no")]
    )
    assert found["a"] == {"cases": 3, "agree": 2, "difference": 1e-3}
    assert found["b"] == {"cases": 1, "agree": 0, "difference": None}


def test_the_committed_expectations_are_those_of_the_claims() -> None:
    data = json.loads((Path(__file__).parents[1] / "reports" / "orders.json").read_text())
    expected = {e.label: {"own": e.own, "exact": e.exact} for e in EXPECTATIONS}
    assert all(row["expected"] == expected[row["solver"]] for row in data["rows"])
    assert all(
        row["reason"] == next(e.reason for e in EXPECTATIONS if e.label == row["solver"])
        for row in data["rows"]
    )


def test_a_verdict_in_the_committed_report_follows_from_its_numbers() -> None:
    data = json.loads((Path(__file__).parents[1] / "reports" / "orders.json").read_text())
    for row in data["rows"]:
        for key in ("own", "exact"):
            s = row[key]
            if s is not None and s["verdict"] == "lower":
                assert s["high"] < s["claimed"]
            if s is not None and s["verdict"] == "consistent":
                half = (s["high"] - s["low"]) / 2
                assert abs(s["observed"] - s["claimed"]) <= max(half, NEAR)


def estimate(order: float, half: float = 0.01) -> OrderEstimate:
    return OrderEstimate(order, order - half, order + half, (4, 6, 8, 12), ())


def study(order: float) -> Study:
    return Study("s", 3, "own", estimate(order), None, (), True, {})


def test_a_study_in_json_is_the_study() -> None:
    from semilinear.analysis.convergence import Point

    points = (Point(4, 1.0, 0.1, True), Point(6, float("inf"), 0.1, False))
    e = dataclasses.replace(estimate(2.0), points=points)
    own = dataclasses.replace(study(2.0), estimate=e, nfe=(4, 6))
    data = own.data
    assert data["points"] == [
        {"N": 4, "NFE": 4, "error": 1.0, "floor": 0.1, "usable": True},
        {"N": 6, "NFE": 6, "error": None, "floor": 0.1, "usable": False},
    ]
    exact = dataclasses.replace(own, start="exact")
    expectation = Expectation("dpm-solver++-3m-corrected", 3, 2, "why")
    row = Measured(MAIN, expectation, own, exact).row()
    assert (row["own"]["start"], row["exact"]["start"]) == ("own", "exact")
    assert row["expected"] == {"own": 2, "exact": 3}
    assert Measured(MAIN, expectation, own, own).row()["exact"] is None


def test_a_block_without_its_end_is_refused() -> None:
    with pytest.raises(ValueError, match="must hold the lines"):
        with_block(f"a {BEGIN} old b", "new")


def test_cases_that_are_not_built_show_in_the_replay_table(data: Any) -> None:
    case, *_ = data["replay"]
    unbuilt = case | {"difference": None, "ok": False, "nfe_ok": False}
    assert "not all built" not in markdown(data)
    assert "not all built" in markdown(data | {"replay": [unbuilt, case]})


def test_updating_the_readme_replaces_its_block(tmp_path: Path) -> None:
    root = Path(__file__).parents[1]
    readme = tmp_path / "README.md"
    text = (root / "README.md").read_text()
    begin, end = text.index(BEGIN), text.index("<!-- end -->")
    readme.write_text(text[: begin + len(BEGIN)] + "\nstale\n" + text[end:])
    update_readme(readme, root / "reports" / "orders.json")
    assert readme.read_text() == text


def test_an_inconclusive_claim_is_neither_held_nor_refuted(data: Any) -> None:
    rows = [r for r in data["rows"] if r["setting"] == "main" and r["own"]["verdict"] == "consistent"][:3]
    changed = json.loads(json.dumps(data | {"rows": rows}))
    said = "Of 3 claims on solvers of the probability flow 3 hold with the method's own start; 0 do not:"
    assert said in readme_block(changed)
    changed["rows"][1]["verdict"] = "inconclusive"
    changed["rows"][2]["verdict"] = "conditional"
    said = (
        "1 hold with the method's own start and 1 is inconclusive; 1 do not: 1 of these hold from exact "
        "starting values alone, 0 are refuted."
    )
    assert said in readme_block(changed)
