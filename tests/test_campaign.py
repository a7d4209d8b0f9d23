from __future__ import annotations

import dataclasses
from typing import Any

from semilinear.analysis.convergence import OrderEstimate
from semilinear.integrators.solvers import make
from semilinear.verification.campaign.measure import HARD, MAIN, Measured, StochasticMeasured, tasks
from semilinear.verification.claims.flow import EXPECTATIONS, Expectation
from semilinear.verification.claims.stochastic import STOCHASTIC_EXPECTATIONS, StochasticExpectation
from semilinear.verification.studies.flow import Study
from semilinear.verification.studies.gaussian import StochasticStudy


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


def test_a_quick_run_measures_the_main_setting_alone_and_a_full_run_everything() -> None:
    quick, full = tasks(True), tasks(False)
    assert {t.setting for t in quick} == {MAIN}
    assert len({t.setting.name for t in full}) == 6
    assert set(EXPECTATIONS) == {t.expectation for t in quick if t.start == "own"}
    with_history = {t.expectation.solver for t in quick if t.start == "exact"}
    assert with_history == {e.solver for e in EXPECTATIONS if make(e.solver).history}
    assert all(t.start == "own" for t in full if not t.setting.asserted)


def test_measured_pairs_own_and_exact_start_and_runs_what_the_task_says(monkeypatch: Any) -> None:
    """measure_all without processes: what is run, and which study becomes which."""
    from semilinear.verification.campaign import measure as campaign

    class Pool:
        def __init__(self, _: int) -> None: ...
        def __enter__(self) -> Any:
            return self

        def __exit__(self, *_: Any) -> None: ...
        def map(self, f: Any, xs: Any) -> Any:
            return map(f, xs)

    calls: list[Any] = []

    def run(solver: Any, experiment: Any, **options: Any) -> Any:
        calls.append((solver.name, experiment.ladder[-1], options))
        return dataclasses.replace(study(1.0), solver=solver.name, start=options["start"])

    monkeypatch.setattr(campaign, "ProcessPoolExecutor", Pool)
    monkeypatch.setattr(campaign, "run", run)
    monkeypatch.setattr(campaign, "_experiment", lambda setting: setting)
    monkeypatch.setattr(campaign, "on_experiment", lambda name, _: make(name))
    monkeypatch.setattr(
        campaign, "stochastic_study", lambda solver, e, form: (solver.name, e.ladder[-1], form)
    )
    found, stochastic = campaign.measure_all(False)
    assert [(s.expectation.solver, s.expectation.sde) for s in stochastic] == [
        (s.study[0], s.study[2])  # type: ignore[index]
        for s in stochastic
    ]
    assert {s.expectation.solver for s in stochastic if s.study[1] > 256} == {  # type: ignore[index]
        e.solver for e in STOCHASTIC_EXPECTATIONS if e.long
    }
    assert len(calls) == len(tasks(False))
    for m in found:
        assert m.own.start == "own"
        history = make(m.expectation.solver).history
        assert m.exact.start == ("exact" if history and m.setting.asserted else "own")
    main_calls = calls[: len(tasks(True))]
    assert {n: o["residue"] for n, _, o in main_calls if "fast-2" not in n and "fast-3" not in n} == {
        e.solver: None for e in EXPECTATIONS if e.residue is None
    }
    assert {(n, o["residue"]) for n, _, o in main_calls if o["residue"]} == {
        (e.solver, e.residue) for e in EXPECTATIONS if e.residue
    }
    assert {n for n, top, _ in main_calls if top == 4096} == {e.solver for e in EXPECTATIONS if e.long}
