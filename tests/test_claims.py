"""The ledger of claims: its records, what decides them, its report, and the command."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from semilinear.integrators.diffusion.grids import karras
from semilinear.integrators.diffusion.schedule import edm
from semilinear.integrators.plans.compile import compile_plan
from semilinear.integrators.solvers import SOLVERS, er_sde
from semilinear.verification.campaign.claims import ClaimTask
from semilinear.verification.claims import ledger as book
from semilinear.verification.claims import orders
from semilinear.verification.claims.claim import VERDICTS, Claim, Decision, proof, weakest
from semilinear.verification.claims.comparison import (
    EqualNfe,
    Side,
    Where,
    chain,
    errors_of,
    experiment_of,
    pairs,
)
from semilinear.verification.claims.expectations import EXPECTATIONS, STOCHASTIC_EXPECTATIONS, unmeasured
from semilinear.verification.claims.identities import IDENTITIES
from semilinear.verification.claims.ledger import chosen, claims, decide, ledger, record
from semilinear.verification.claims.marginals import distance
from semilinear.verification.commands.cli import main
from semilinear.verification.equal_nfe.errors import ratio
from semilinear.verification.reporting.claims import line, markdown
from semilinear.verification.studies.gaussian import CASES, respond

from tests.roundings import SOME_ULP

ROOT = Path(__file__).parents[1]
REPORT = json.loads((ROOT / "reports" / "claims.json").read_text())
SEEDS = ("dpm-solver-", "deis-", "scire-", "er-sde-", "dpm-solver-v3-", "score-sde-")
CHEAP = (
    "dpm-solver-r2-is-two-thirds",
    "scire-phi1-limit",
    "scire-recursive-difference",
    "deis-ddim-is-degree-0",
    "er-sde-admissible-everywhere",
    "dpm-solver-v3-exact-on-gaussians",
    "score-sde-flow-has-the-marginals",
    "diffusers-third-order-multistep",
)
"""Of every paper one or two, decided in every run of the tests."""


# --- the records ---


def test_every_paper_has_its_share_of_claims() -> None:
    written = [c for c in ledger().values() if not c.listed]
    seeds = Counter(c.paper.partition(" (")[0] for c in written)
    names = ("DPM-Solver", "DEIS", "SciRE-Solver", "ER-SDE-Solver", "DPM-Solver-v3", "Score-SDE")
    assert min(seeds[name] for name in names) >= 8
    assert len(written) >= 80
    assert all(any(c.id.startswith(p) for c in written) for p in SEEDS)


def test_every_solver_and_every_identity_is_a_claim() -> None:
    listed = [c for c in ledger().values() if c.listed]
    labels = {label for c in listed if isinstance(c.by, orders.Orders) for label in c.by.labels}
    expected = {e.label for e in EXPECTATIONS} | {e.solver for e in STOCHASTIC_EXPECTATIONS}
    assert labels == expected
    assert {c.id for c in listed if c.by is None} == {f"{name}-order" for name in unmeasured()}
    assert {c.statement for c in listed if c.kind == "identity"} == {i.statement for i in IDENTITIES}


def test_claims_point_at_what_there_is() -> None:
    for claim in ledger().values():
        if isinstance(claim.by, orders.Orders):
            assert set(claim.by.labels) <= orders.expectations().keys()
        if isinstance(claim.by, EqualNfe):
            names = {side.name for pair in claim.by.pairs for side in pair}
            assert names <= SOLVERS.keys()


def test_a_record_says_what_its_verdict_rests_on() -> None:
    claim = ledger()["scire-phi1-limit"]
    with pytest.raises(ValueError, match="why must say"):
        replace(claim, verdict="refuted", why="")
    with pytest.raises(ValueError, match="untestable"):
        replace(claim, by=None)


@pytest.mark.parametrize(
    ("own", "exact", "verdict"),
    [(3, 3, "proved"), (4, 4, "proved"), (2, 3, "conditional"), (2, 2, "refuted"), (None, None, "refuted")],
)
def test_the_verdict_on_an_order(own: int | None, exact: int | None, verdict: str) -> None:
    assert orders.judged(3, own, exact, "proved") == verdict


def test_the_weakest_verdict_counts() -> None:
    assert weakest(["proved", "refuted", "conditional"]) == "refuted"
    assert weakest(VERDICTS[:2]) == "confirmed"


# --- deciding ---


@pytest.mark.parametrize("name", CHEAP)
def test_cheap_claims_are_decided_as_recorded(name: str) -> None:
    decided = decide(ledger()[name])
    assert decided.agrees, str(decided)
    row = next(row for row in REPORT["claims"] if row["id"] == name)
    assert (decided.verdict, decided.claim.kind) == (row["found"], row["by"])


@pytest.mark.slow
@pytest.mark.parametrize("name", [c.id for c in chosen(quick=True)])
def test_quick_claims_are_decided_as_recorded(name: str) -> None:
    decided = decide(ledger()[name])
    assert decided.agrees, str(decided)


def _fails() -> Decision:
    raise ArithmeticError("no convergence")


def test_an_exception_is_a_failed_check() -> None:
    claim = Claim("x-y", "X", "eq. 1", "y", proof(_fails), "proved")
    decided = decide(claim)
    assert not decided.agrees
    assert str(decided) == "x-y: ArithmeticError: no convergence (recorded: proved)"
    row = decided.row()
    assert (row["found"], row["error"]) == ("failed", "ArithmeticError: no convergence")
    assert line(row) == "x-y: FAILED (recorded: proved): ArithmeticError: no convergence"


def test_unknown_ids_are_refused() -> None:
    with pytest.raises(ValueError, match="no claim has an id like 'nothing-\\*'"):
        claims("nothing-*")
    with pytest.raises(TypeError, match="pattern"):
        claims(3)  # type: ignore[arg-type]


def test_claims_are_chosen_by_globs_and_progress_is_told() -> None:
    seen: list[tuple[int, int]] = []
    found = claims("scire-phi1-*", "deis-fid", progress=lambda done, total: seen.append((done, total)))
    assert [d.claim.id for d in found] == ["deis-fid", "scire-phi1-limit"]
    assert seen == [(1, 2), (2, 2)]
    assert all(c.quick for c in chosen(quick=True))


# --- equal evaluations ---


def cell(nfe: int, holds: str, problem: str = "a", grid: str = "t") -> dict[str, Any]:
    low, high = {"yes": (1.5, 3.0), "no": (0.2, 0.8), "open": (0.5, 2.0)}[holds]
    shared = {"problem": problem, "better": "A", "worse": "B", "grids": [grid, grid], "errors": [1.0, 2.0]}
    return shared | {"nfe": nfe, "ratio": (low + high) / 2, "low": low, "high": high, "holds": holds}


@pytest.mark.parametrize(
    ("cells", "where", "verdict"),
    [
        ([cell(5, "yes"), cell(10, "yes")], None, "confirmed"),
        ([cell(5, "no"), cell(10, "yes")], None, "conditional"),
        ([cell(5, "no"), cell(8, "no"), cell(10, "yes")], None, "refuted"),
        ([cell(5, "open"), cell(10, "yes")], None, "inconclusive"),
        ([cell(5, "no"), cell(10, "yes")], Where(least=10), "conditional"),
        ([cell(5, "no"), cell(10, "open")], Where(least=10), "refuted"),
        ([cell(5, "open"), cell(10, "yes")], Where(least=10), "inconclusive"),
        ([cell(5, "no"), cell(8, "no"), cell(10, "yes")], Where(least=20), "refuted"),
        ([cell(5, "no", "b"), cell(5, "yes", grid="u")], Where(("u",), ("a",)), "conditional"),
    ],
)
def test_the_verdict_on_cells(cells: list[dict[str, Any]], where: Where | None, verdict: str) -> None:
    claim = EqualNfe(pairs("ddim", "euler-in-t", "t"), where=where)
    assert claim.judge(cells).verdict == verdict


def test_the_counterexample_is_the_clearest() -> None:
    worst = cell(7, "no") | {"high": 0.3}
    found = EqualNfe(pairs("ddim", "euler-in-t", "t")).judge([cell(5, "no"), worst])
    assert "counterexample: a, 7 evaluations" in found.evidence


def test_a_solver_is_neither_better_nor_worse_than_itself() -> None:
    claim = EqualNfe(pairs("ddim", "ddim", "lambda"), (5,), ("rotated-product-2d",))
    (found,) = claim.decide().table
    assert (found["ratio"], found["low"], found["high"], found["holds"]) == (1, 1, 1, "open")


def test_a_chain_compares_neighbours() -> None:
    assert chain(["a", "b", "c"], "t") == (
        (Side("b", "t"), Side("a", "t")),
        (Side("c", "t"), Side("b", "t")),
    )


def test_budgets_that_cannot_be_met_are_refused() -> None:
    claim = EqualNfe(pairs("ddim", "dpm-solver-2", "lambda"), (5,), ("rotated-product-2d",))
    with pytest.raises(ValueError, match="dpm-solver-2 makes 4 evaluations, not 5"):
        claim.decide()


def test_ratios_are_resampled_in_pairs() -> None:
    errors = np.random.default_rng(0).lognormal(size=64)
    found = ratio(2 * errors, errors)
    assert (found.low, found.value, found.high) == pytest.approx((2, 2, 2), rel=SOME_ULP, abs=0)
    other = ratio(errors, errors[::-1].copy())
    assert other.low < 1 < other.high
    lost, fine = np.full(3, np.inf), np.ones(3)
    assert ratio(lost, fine).low == math.inf
    assert ratio(fine, lost).high == 0
    both = ratio(lost, lost)
    assert math.isnan(both.value)
    assert (both.low, both.high) == (0, math.inf)  # two runs that diverged say nothing of each other


def test_the_error_is_that_of_the_exact_flow_at_the_budget() -> None:
    e = experiment_of("rotated-product-2d", "vp-linear", "lambda")
    errors, made = errors_of("dpm-solver-2", e, 9)
    assert made == 8
    assert errors.shape == (len(e.x),)
    with pytest.raises(ValueError, match="nfe must be at least what one step of dpm-solver-2 takes, got 1"):
        errors_of("dpm-solver-2", e, 1)


# --- exact laws of runs ---


def test_the_distance_of_laws_is_that_of_the_transposed_run() -> None:
    solver, schedule, grid, end = er_sde.er_sde(2), edm(80.0), karras(), 0.01
    plan = compile_plan(solver, schedule, steps=6, grid=grid, t_start=schedule.t_max, t_end=end)
    from semilinear.integrators.diffusion.prediction import convert

    model = convert(schedule, CASES.model(schedule), "eps", plan.prediction)
    mean, variance = (np.asarray(v, dtype=float) for v in CASES.marginal(schedule, plan.times[0]))
    response = respond(plan, model, mean)
    exact_mean, exact = (np.asarray(v, dtype=float) for v in CASES.marginal(schedule, end))
    spread = np.sqrt(response.variance(variance)) - np.sqrt(exact)
    expected = np.sqrt(np.mean((response.mean - exact_mean) ** 2 + spread**2))
    assert distance(solver, schedule, grid, 6, end) == pytest.approx(float(expected), abs=SOME_ULP)


# --- the report and the command ---


def test_the_report_is_rendered_from_its_data() -> None:
    assert (ROOT / "reports" / "claims.md").read_text() == markdown(REPORT)


def test_the_report_holds_what_is_recorded_and_nothing_differs() -> None:
    rows = {row["id"]: row for row in REPORT["claims"]}
    assert rows.keys() == ledger().keys()
    for name, row in rows.items():
        assert record(ledger()[name]).items() <= row.items()
        assert row["agrees"], name


def test_a_verdict_that_differs_shows_in_the_report() -> None:
    row = REPORT["claims"][0] | {"found": "refuted", "agrees": False}
    text = markdown(REPORT | {"claims": [row]})
    assert f"**REFUTED, recorded as {row['verdict']}**" in text


def test_the_command_lists_and_decides(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["claims", "scire-phi1-limit", "--list"]) == 0
    assert "scire-phi1-limit (proof):" in capsys.readouterr().out
    assert main(["claims", "deis-fid", "dpm-solver-fast-budget", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "dpm-solver-fast-budget: confirmed" in out
    assert "2 of 2 verdicts are as recorded" in out
    assert json.loads((tmp_path / "claims.json").read_text())["claims"][0]["agrees"]
    assert "Reported figures, not reproduced" in (tmp_path / "claims.md").read_text()
    assert main(["claims", "--list", "--quick", "deis-*", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert all(c["quick"] and c["id"].startswith("deis-") for c in listed["claims"])


def test_claims_are_decided_into_the_report_that_is_there(tmp_path: Path) -> None:
    path = tmp_path / "claims.json"
    stale = [r | {"evidence": "an older one"} for r in REPORT["claims"] if r["id"] != "scire-phi1-limit"]
    path.write_text(json.dumps(REPORT | {"claims": stale}))
    assert main(["claims", "deis-fid", "--out", str(tmp_path)]) == 2  # a claim is in neither
    assert main(["claims", "scire-phi1-limit", "--out", str(tmp_path)]) == 0
    rows = {row["id"]: row for row in json.loads(path.read_text())["claims"]}
    assert list(rows) == list(ledger())
    assert rows["scire-phi1-limit"]["evidence"] != "an older one" == rows["deis-fid"]["evidence"]


def test_the_command_exits_with_1_where_a_verdict_differs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = replace(ledger()["dpm-solver-fast-budget"], verdict="proved")
    monkeypatch.setitem(book.ledger(), changed.id, changed)
    assert main(["claims", changed.id]) == 1
    assert "CONFIRMED (recorded: proved)" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["no-such-claim"], ["--workers", "0"], ["--list", "--out", "."]])
def test_the_command_refuses(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["claims", *arguments]) == 2
    assert "semilinear: " in capsys.readouterr().err


def test_a_task_is_its_claim() -> None:
    task = ClaimTask("dpm-solver-fast-budget")
    assert task.names == {task.key}
    assert task.run()["found"] == "confirmed"
