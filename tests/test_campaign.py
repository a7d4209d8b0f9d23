from __future__ import annotations

import dataclasses
import json
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from semilinear.analysis.convergence import ENOUGH_FROM, OrderEstimate
from semilinear.analysis.orders.solver_proof import prove_solver
from semilinear.integrators.solvers import make
from semilinear.verification.campaign import measure as campaign
from semilinear.verification.campaign import plan
from semilinear.verification.campaign.measure import (
    HARD,
    MAIN,
    Measured,
    OrderTask,
    StochasticMeasured,
    tasks,
)
from semilinear.verification.campaign.prove import proofs_json
from semilinear.verification.campaign.records import orders_json
from semilinear.verification.campaign.runner import Rows, decide
from semilinear.verification.claims.expectations import EXPECTATIONS, claimed, proved
from semilinear.verification.claims.flow import Expectation
from semilinear.verification.claims.stochastic import StochasticExpectation
from semilinear.verification.problems import cache as kept
from semilinear.verification.problems.cache import environment, fingerprint
from semilinear.verification.studies.flow import Study
from semilinear.verification.studies.gaussian import StochasticStudy
from semilinear.verification.studies.ladders import FLOW_LONG, half_octaves
from semilinear.verification.studies.setting import Setting

REPORTS = Path(__file__).parents[1] / "reports"
BY_NAME = {e.label: e for e in EXPECTATIONS}


@cache
def planned() -> list[Any]:
    """Everything that a full run decides."""
    return plan.tasks(False)


def estimate(order: float, half: float = 0.01) -> OrderEstimate:
    return OrderEstimate(order, order - half, order + half, (4, 6, 8, 12), ())


def study(order: float) -> Study:
    return Study("s", 3, "own", estimate(order), None, (), True, {})


def measured(own: float, exact: float, expectation: Expectation, **options: Any) -> Measured:
    return Measured(options.pop("setting", MAIN), expectation, study(own), study(exact), **options)


def test_as_expected_asks_for_both_orders() -> None:
    e = Expectation("dpm-solver++-3m-corrected", 3, 2)
    assert measured(2.0, 3.0, e).as_expected is True
    assert measured(3.0, 2.0, e).as_expected is False
    assert measured(2.0, 2.0, e).as_expected is False
    assert measured(3.0, 3.0, e).as_expected is False


def test_a_falling_order_is_expected_to_be_lower_than_the_claim() -> None:
    e = Expectation("deis-tab3-released", None, None, long=True)
    assert measured(1.5, 1.5, e).as_expected is True
    assert measured(3.0, 3.0, e).as_expected is False
    assert measured(3.0, 3.0, e, long=False).as_expected is None


SHORT = dataclasses.replace(MAIN, ladder=half_octaves(4, 128), batch=8)


def last_steps(solver: str) -> list[int]:
    """The finest runs of a solver, from its own start and an exact one."""
    row = OrderTask(SHORT, BY_NAME[solver]).run()
    assert row["as_expected"] is True
    return [row[start]["points"][-1]["N"] for start in ("own", "exact") if row[start]]


def test_a_ladder_ends_where_the_runs_show_what_is_proved() -> None:
    assert last_steps("dpm-solver++-2s") == [ENOUGH_FROM]
    assert last_steps("dpm-solver++-3m-corrected") == [ENOUGH_FROM, ENOUGH_FROM]


@pytest.mark.parametrize("order", [None, 1, 3])
def test_a_ladder_goes_on_where_the_proof_says_otherwise_or_nothing(
    order: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    proof = None if order is None else SimpleNamespace(run=lambda: order, exact_start=lambda: order)
    monkeypatch.setattr(campaign, "proof_of", lambda e: proof)
    assert last_steps("dpm-solver++-2s") == [SHORT.ladder[-1]]


def test_an_order_that_falls_to_the_proved_one_ends_its_ladder_where_the_claim_is_refuted() -> None:
    row = OrderTask(MAIN, BY_NAME["er-sde-ode-3-released"]).run()
    assert row["own"]["verdict"] == row["exact"]["verdict"] == "lower"
    for start in ("own", "exact"):
        assert row[start]["points"][-1]["N"] < FLOW_LONG[-1]


def stochastic(weak: float, strong: float, expectation: StochasticExpectation, long: bool = True) -> Any:
    estimates = estimate(weak), estimate(weak), estimate(strong)
    found = StochasticStudy("s", *estimates, exact=frozenset(), bound=0.0, nfe=(), marginal=False)
    return StochasticMeasured(expectation, found, long).as_expected


def test_a_stochastic_solver_must_show_both_orders() -> None:
    e = StochasticExpectation("seeds-2", 2, 1)
    assert stochastic(2.0, 1.0, e) is True
    assert stochastic(1.0, 1.0, e) is False
    assert stochastic(2.0, 0.5, e) is False
    assert stochastic(3.0, 1.0, e) is False


def test_orders_that_are_not_asserted_fail_nothing() -> None:
    assert stochastic(1.0, 0.5, StochasticExpectation("seeds-2", None, None)) is None
    assert stochastic(1.0, 0.5, StochasticExpectation("seeds-2", 2, 1, long=True), long=False) is None
    assert stochastic(1.0, 0.5, StochasticExpectation("seeds-2", 2, 1, long=True)) is False


def test_nothing_is_asserted_on_the_hard_cases() -> None:
    assert measured(1.0, 1.0, Expectation("ddim", 1, 1), setting=HARD[0]).as_expected is None


def orders(quick: bool) -> list[OrderTask]:
    return [task for task in tasks(quick) if isinstance(task, OrderTask)]


def test_orders_on_grids_that_are_not_smooth_are_held_against_the_proof(monkeypatch: Any) -> None:
    """iPNDM has order 1 where step ratios alternate, and 2 across one kink; another's proof does not fit."""
    (ipndm,) = (e for e in EXPECTATIONS if e.solver == "deis-ipndm")
    row = campaign.GridTask(ipndm).run()
    assert [grid["proved"] for grid in row["grids"]] == [1, 2, None]
    assert [grid["verdict"] for grid in row["grids"]] == ["consistent", "consistent", None]
    assert all(grid["low"] < grid["proved"] < grid["high"] for grid in row["grids"][:2])
    assert row["as_expected"] is True
    other = prove_solver(make("ddim"))
    monkeypatch.setattr(campaign, "proof_of", lambda e: other)
    assert campaign.GridTask(ipndm).run()["as_expected"] is False


def test_a_quick_run_measures_the_main_setting_alone_and_a_full_run_everything() -> None:
    quick, full = orders(True), orders(False)
    assert {t.setting for t in quick} == {MAIN}
    assert len({t.setting.name for t in full}) == 6
    assert [t.expectation for t in quick] == list(EXPECTATIONS)
    with_history = {t.expectation.solver for t in quick if t.starts == ("own", "exact")}
    assert with_history == {e.solver for e in EXPECTATIONS if make(e.solver).history}
    assert all(t.starts == ("own",) for t in full if not t.setting.asserted)


def test_a_task_measures_what_its_expectation_says(monkeypatch: Any) -> None:
    """Of every start, on the long ladder where that is asked for."""
    calls: list[Any] = []

    def run(solver: Any, experiment: Any, **options: Any) -> Any:
        calls.append((experiment.ladder[-1], options["start"], options["residue"]))
        order = {"own": 2.0, "exact": 3.0}[options["start"]]
        return dataclasses.replace(study(order), start=options["start"])

    monkeypatch.setattr(campaign, "run", run)
    monkeypatch.setattr(Setting, "build", lambda setting: setting)
    monkeypatch.setattr(campaign, "on_experiment", lambda name, _: make(name))
    e = Expectation("dpm-solver++-3m-corrected", 3, 2, residue=(3, 1), long=True)
    row = OrderTask(MAIN, e).run()
    assert calls == [(4096, "own", (3, 1)), (4096, "exact", (3, 1))]
    assert (row["own"]["observed"], row["exact"]["observed"], row["as_expected"]) == (2.0, 3.0, True)
    calls.clear()
    assert OrderTask(MAIN, Expectation("ddim", 2, 2), long=False).run()["exact"] is None
    assert calls == [(512, "own", None)]


# --- the runner ---


@dataclasses.dataclass(frozen=True)
class Doubled:
    """A task that is quick."""

    number: int
    part: ClassVar[str] = "rows"
    names: ClassVar[frozenset[str]] = frozenset()

    @property
    def key(self) -> str:
        return str(self.number)

    def run(self) -> dict[str, Any]:
        if self.number < 0:
            raise ArithmeticError("negative")
        return {"value": 2 * self.number}


def test_rows_come_as_they_are_decided_over_any_executor() -> None:
    with ThreadPoolExecutor(2) as pool:
        found = dict(decide([Doubled(n) for n in range(5)], pool))
    assert found == {Doubled(n): {"value": 2 * n} for n in range(5)}


def _decided_until_it_raises(pool: Executor, rows: Rows) -> None:
    list(decide([Doubled(1), Doubled(2), Doubled(-1), Doubled(3)], pool, rows))


def test_what_was_decided_survives_an_interruption(tmp_path: Path) -> None:
    rows = Rows(tmp_path)
    with ThreadPoolExecutor(1) as pool, pytest.raises(ArithmeticError):
        _decided_until_it_raises(pool, rows)
    again = Rows(tmp_path)
    assert again.get(Doubled(1)) == {"value": 2}
    assert again.get(Doubled(9)) is None
    pool = ThreadPoolExecutor(1)
    pool.shutdown()  # nothing is run again
    assert dict(decide([Doubled(1), Doubled(2)], pool, again))[Doubled(2)] == {"value": 4}


def test_rows_that_cannot_be_read_are_decided_anew(tmp_path: Path) -> None:
    """Cut by an interruption, of another task, or other rubbish."""
    rows = Rows(tmp_path)
    rows.add(Doubled(1), {"value": 2})
    (file,) = rows.path.iterdir()
    whole = file.read_bytes()
    for wrong in (whole[:-3], b"\xff", b"3", whole.replace(b'"key": "1"', b'"key": "2"'), b"[" * 10**5):
        file.write_bytes(wrong)
        assert rows.get(Doubled(1)) is None
        with ThreadPoolExecutor(1) as pool:
            assert dict(decide([Doubled(1)], pool, rows)) == {Doubled(1): {"value": 2}}
        assert file.read_bytes() == whole


def test_rows_of_other_source_are_not_taken_over(tmp_path: Path, monkeypatch: Any) -> None:
    Rows(tmp_path).add(Doubled(1), {"value": 2})
    with monkeypatch.context() as changed:
        changed.setattr(kept, "fingerprint", lambda: "another")
        assert Rows(tmp_path).get(Doubled(1)) is None
    assert Rows(tmp_path).get(Doubled(1)) == {"value": 2}


def test_the_fingerprint_is_that_of_source_and_packages(monkeypatch: Any) -> None:
    monkeypatch.setattr(kept, "source", kept.source.__wrapped__)  # read anew
    made = fingerprint.__wrapped__
    own = made()
    assert fingerprint() == made() == own
    with monkeypatch.context() as changed:
        changed.setattr("importlib.metadata.version", lambda name: "0")
        assert made() != own
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read(path) + b"#" * (path.name == "tableau.py"))
    assert made() != own


def test_every_task_has_a_hash_of_its_own() -> None:
    """Of all that it holds: a changed ladder is another task."""
    hashes = {kept.digest(task) for task in planned()}
    assert len(hashes) == len(planned())
    task = orders(True)[0]
    shorter = dataclasses.replace(task, setting=dataclasses.replace(task.setting, ladder=(4, 6, 8)))
    assert (shorter.part, shorter.key) == (task.part, task.key)
    assert kept.digest(shorter) not in hashes


def test_a_row_depends_on_no_task_before_it() -> None:
    """References are asked for at other times by other starts; the rows of a process must not tell."""
    small = dataclasses.replace(campaign.SECOND, ladder=(12, 16, 24, 32), batch=4, tolerance=1e-6)
    first, second = (
        OrderTask(small, e)
        for e in EXPECTATIONS
        if e.solver in ("dpm-solver++-2m", "dpm-solver++-3m-corrected")
    )
    alone = second.run()
    with kept.keeping(kept.Memory()):
        first.run()
        assert second.run() == alone


# --- what a run decides ---


def test_tasks_have_keys_of_their_own() -> None:
    keys = [(task.part, task.key) for task in planned()]
    assert len(keys) == len(set(keys))


def test_a_task_is_about_what_its_row_is_about() -> None:
    """Replayed files are about what their cases are."""
    reports = plan.Reports(REPORTS)
    for task, row in reports.rows(planned()):
        if "cases" in row:
            assert not task.names
            assert reports.replayed(task)
        else:
            named = next(row[key] for key in ("solver", "name", "a") if key in row)
            assert named.partition(",")[0] in task.names
            assert not reports.replayed(task)


def test_the_committed_reports_hold_a_row_of_every_task() -> None:
    found = dict(plan.Reports(REPORTS).rows(planned()))
    missing = [(task.part, task.key) for task in planned() if task not in found]
    assert missing == [], "`semilinear verify --only NAME` adds the rows of one solver"


def test_the_committed_reports_are_made_of_their_rows() -> None:
    """What `verify --only` would write without anything new is what stands there."""
    reports = plan.Reports(REPORTS)
    decided = list(reports.rows(planned()))
    data, proved = orders_json(decided, quick=False), proofs_json(decided)
    assert {k: v for k, v in data.items() if k not in environment()} == {
        k: v for k, v in reports.orders.items() if k not in environment()
    }
    assert proved == reports.proofs


def test_names_choose_what_bears_on_them() -> None:
    """Released code that is replayed with them, and what their quadrature costs, too."""
    reports = plan.Reports(REPORTS)
    chosen = plan.about(planned(), ["krogstad4", "seeds-1", "unipc-2-bh2", "deis-tab1-released"], reports)
    parts = {"rows", "stochastic", "solvers", "catalogue", "stability", "replay", "effects"}
    assert {task.part for task in chosen} >= parts
    assert {task.key for task in chosen if task.part == "replay"} == {"deis.json", "unipc.json"}
    with pytest.raises(ValueError, match="nothing is measured or proved of nosuch"):
        plan.about(planned(), ["krogstad4", "nosuch"], reports)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"rows": [', "orders.json: not JSON"),
        ("[3]", "orders.json: a report is an object, got list"),
        ('{"rows": [{"setting": "main"}]}', "are not of this kind: KeyError"),
        ('{"quick": true}', "is of a quick run"),
    ],
)
def test_what_is_no_report_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "orders.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        plan.Reports(tmp_path)


def test_rows_of_other_packages_are_not_mixed(tmp_path: Path) -> None:
    data = environment() | {"python": "2.7"}
    (tmp_path / "orders.json").write_text(json.dumps(data))
    with pytest.raises(ValueError, match=r"decided with \{'python': '2.7'\}"):
        plan.Reports(tmp_path).check_environment()


def test_a_solver_that_nothing_is_said_of_is_expected_to_do_what_is_proved() -> None:
    found = proved(make("dpm-solver++-3m-released"))
    assert (found.exact, found.own) == (2, 2)
    assert found.reason == "proved: order 2 as it is run, 2 from an exact start"
    assert proved(make("krogstad4")) == Expectation("krogstad4", 4, 4)
    assert proved(make("score-sde-pf-em")).own == 1  # a kernel: no proof, as claimed
    assert claimed(make("seeds-2")) == StochasticExpectation("seeds-2", 2, None)
