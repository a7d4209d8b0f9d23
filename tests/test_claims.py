"""The ledger of claims: its records, what decides them, its report, and the command."""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from semilinear.analysis.lookup import solver_of
from semilinear.integrators.diffusion.grids import karras
from semilinear.integrators.diffusion.schedule import edm, vp_linear
from semilinear.integrators.forms import noise_scale
from semilinear.integrators.plans.compile import compile_plan
from semilinear.integrators.plans.program import Row
from semilinear.integrators.solvers import SOLVERS, er_sde, make, scire_snapshots
from semilinear.verification.campaign.claims import ClaimTask
from semilinear.verification.claims import ledger as book
from semilinear.verification.claims import orders
from semilinear.verification.claims.cells import Cell, above, contest, judged, widest
from semilinear.verification.claims.claim import VERDICTS, Claim, Decision, proof, weakest
from semilinear.verification.claims.comparison import (
    PROBLEMS,
    EqualNfe,
    Side,
    chain,
    errors_of,
    experiment_of,
    pairs,
)
from semilinear.verification.claims.expectations import EXPECTATIONS, STOCHASTIC_EXPECTATIONS, unmeasured
from semilinear.verification.claims.freezing import ROUNDING, delta_p, delta_s, times_larger
from semilinear.verification.claims.identities import IDENTITIES
from semilinear.verification.claims.ledger import chosen, claims, decide, ledger, record
from semilinear.verification.claims.marginals import distance
from semilinear.verification.claims.papers import dpm_solver, score_sde
from semilinear.verification.claims.papers.er_sde import fei
from semilinear.verification.commands.cli import main
from semilinear.verification.distribution.results import Comparison
from semilinear.verification.equal_nfe.errors import Ratio, ratio
from semilinear.verification.reporting.claims import VERDICTS as REPORTED
from semilinear.verification.reporting.claims import line, markdown
from semilinear.verification.studies.gaussian import CASES, respond

from tests.roundings import AMPLIFIED, MANY_ULP, SOME_ULP

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
    "er-sde-fei-least-for-the-flow",
    "dpm-solver-v3-optimal-l",
    "dpm-solver-v3-pseudo-order",
    "res-order-conditions",
    "score-sde-flow-has-the-marginals",
    "diffusers-third-order-multistep",
)
"""Of every paper one or two, decided in every run of the tests."""


# --- the records ---


def test_the_report_knows_the_ledgers_verdicts() -> None:
    assert (*VERDICTS, "failed") == REPORTED


def test_every_paper_has_its_share_of_claims() -> None:
    written = [c for c in ledger().values() if not c.listed]
    seeds = Counter(c.paper.partition(" (")[0] for c in written)
    names = ("DPM-Solver", "DEIS", "SciRE-Solver", "ER-SDE-Solver", "DPM-Solver-v3", "Score-SDE")
    # What the ledger was asked to hold at least: 8 claims of each of these papers, 80 that are written down.
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
            names = {side.name.partition(":")[0] for pair in claim.by.pairs for side in pair}
            assert names <= SOLVERS.keys()


def test_no_comparison_leaves_a_problem_out_but_for_want_of_statistics() -> None:
    """Three claims were once confirmed on two of the problems, and open on the third."""
    for claim in ledger().values():
        if isinstance(claim.by, EqualNfe) and not set(PROBLEMS) <= set(claim.by.problems):
            assert "exact statistics of the problem" in claim.assumes, claim.id


def test_orders_under_noise_say_on_what_data_they_are_seen() -> None:
    stochastic = {e.solver for e in STOCHASTIC_EXPECTATIONS}
    for claim in ledger().values():
        if isinstance(claim.by, orders.Orders) and stochastic & set(claim.by.labels):
            assert "on Gaussian data" in claim.assumes, claim.id


def test_a_record_says_what_its_verdict_rests_on() -> None:
    claim = ledger()["scire-phi1-limit"]
    with pytest.raises(ValueError, match="why must say"):
        replace(claim, verdict="refuted", why="")
    with pytest.raises(ValueError, match="untestable"):
        replace(claim, by=None)
    with pytest.raises(ValueError, match="condition must be given with a conditional verdict and no other"):
        replace(claim, verdict="conditional")
    with pytest.raises(ValueError, match="condition must be given"):
        Decision("refuted", "by this", condition="on that")


@pytest.mark.parametrize(
    ("own", "exact", "verdict"),
    [(3, 3, "proved"), (4, 4, "proved"), (2, 3, "conditional"), (2, 2, "refuted"), (None, None, "refuted")],
)
def test_the_verdict_on_an_order(own: int | None, exact: int | None, verdict: str) -> None:
    assert orders.judged(3, own, exact, "proved") == verdict


def test_orders_that_hold_of_some_are_conditional_on_these() -> None:
    """DPM-Solver-fast-3 is of order 3 with 3 k + 2 evaluations alone."""
    of = [f"dpm-solver-fast-3, NFE {k} mod 3" for k in range(3)]
    assert orders.orders(*of).decide().verdict == "refuted"
    assert orders.orders(*of, where=(of[2],)).decide().verdict == "conditional"
    assert orders.orders(*of, where=(of[1],)).decide().verdict == "refuted"
    assert orders.orders(of[2], where=(of[2],)).decide().verdict == "proved"


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


def cell(nfe: int, holds: Any, problem: str = "a", grid: str = "t", margin: float = 1.0) -> Cell:
    at: dict[str, str | float] = {"problem": problem, "nfe": nfe, "grid": grid, "better": "A"}
    return Cell(f"{problem}, {nfe} evaluations", holds, margin, at=at)


@pytest.mark.parametrize(
    ("cells", "verdict", "condition"),
    [
        ([cell(5, "yes"), cell(10, "yes")], "confirmed", ""),
        ([cell(5, "no"), cell(10, "yes")], "refuted", ""),
        ([cell(5, "no"), *(cell(n, "yes") for n in (10, 12, 15))], "conditional", "from 10 evaluations"),
        ([cell(5, "yes"), cell(10, "no"), *(cell(n, "open") for n in (12, 15, 20))], "refuted", ""),
        ([*(cell(n, "no") for n in (4, 5, 6, 7)), *(cell(n, "yes") for n in (8, 9, 10))], "refuted", ""),
        ([cell(5, "open"), cell(10, "yes")], "inconclusive", ""),
        ([cell(5, "apart"), *(cell(n, "yes") for n in (6, 8, 10))], "conditional", "from 6 evaluations"),
        ([cell(5, "alike"), *(cell(n, "yes") for n in (6, 8, 10))], "conditional", "from 6 evaluations"),
        ([cell(5, "apart"), cell(10, "open")], "refuted", ""),
    ],
)
def test_the_verdict_on_cells(cells: list[Cell], verdict: str, condition: str) -> None:
    found = judged(cells)
    assert (found.verdict, found.condition) == (verdict, condition)


@pytest.mark.parametrize("seed", range(40))
def test_the_rule_of_cells_holds_on_any_table(seed: int) -> None:
    """Laws: no cell against a confirmed or inconclusive claim; a condition where every cell holds, of three
    at least, never with more cells against the claim than for it, and the widest; no condition else.
    """
    rng = np.random.default_rng(seed)
    kinds = rng.choice(["yes", "no", "open", "apart", "alike"], size=24, p=rng.dirichlet([4, 1, 1, 0.3, 0.3]))
    places = itertools.product("ab", ("t", "lambda", "rho"), (5, 8, 10, 20))
    cells = [cell(n, str(kind), p, grid) for kind, (p, grid, n) in zip(kinds, places)]
    found, holds = judged(cells), int(np.sum(kinds == "yes"))
    against = int(np.sum(np.isin(kinds, ["no", "apart", "alike"])))
    inside = [row for row in found.table if row["inside"]]
    assert all(row["holds"] == "yes" for row in inside)
    assert (found.verdict == "confirmed") == (holds == len(cells))
    assert (found.verdict == "inconclusive") == (not against and holds < len(cells))
    assert (found.verdict == "conditional") == (0 < against <= holds and bool(inside))
    assert not inside or len(inside) >= 3
    ranges = [(low, high) for low in (5, 8, 10, 20) for high in (5, 8, 10, 20) if low <= high]
    for problems, (low, high) in itertools.product(("a", "b", "ab"), ranges):
        chosen = [c for c in cells if str(c.at["problem"]) in problems and low <= float(c.at["nfe"]) <= high]
        if found.verdict != "confirmed" and len(chosen) >= 3 and all(c.holds == "yes" for c in chosen):
            assert len(inside) >= len(chosen)


def test_of_two_conditions_as_wide_the_one_is_named_that_one_can_choose() -> None:
    cells = [cell(n, "yes" if p == "a" or n == 8 else "no", p) for n in (5, 8) for p in "ab"]
    assert widest(cells) is None
    cells += [cell(8, "yes", p, "rho") for p in "ab"] + [
        cell(5, "yes" if p == "a" else "no", p, "rho") for p in "ab"
    ]
    found = widest(cells)
    assert found is not None
    assert (found.text, len(found.cells)) == ("at 8 evaluations", 4)  # as many as "on a"


def test_the_widest_condition_holds_in_all_its_cells() -> None:
    cells = [cell(n, "yes" if n >= 8 and p == "a" else "open", p) for n in (5, 8, 10, 12) for p in "ab"]
    found = widest(cells)
    assert found is not None
    assert (found.text, len(found.cells)) == ("on a, from 8 evaluations", 3)
    words = [cell(5, "yes" if p in "ac" else "no", p, grid) for p in "abc" for grid in ("t", "rho")]
    found = widest(words)
    assert found is not None
    assert (found.text, len(found.cells)) == ("on a and c", 4)


def test_a_condition_that_differs_is_a_verdict_that_differs() -> None:
    def found() -> Decision:
        return Decision("conditional", "evidence", condition="from 12 evaluations")

    claim = Claim("x-y", "X", "eq. 1", "y", proof(found), "conditional", condition="from 10 evaluations")
    decided = decide(claim)
    assert not decided.agrees
    assert "(recorded: conditional, from 10 evaluations)" in str(decided)
    assert "CONDITIONAL, from 12 evaluations (recorded: conditional, from 10 evaluations)" in line(
        decided.row()
    )
    assert decide(replace(claim, condition="from 12 evaluations")).agrees


def test_both_the_rms_and_a_typical_state_decide() -> None:
    errors = np.random.default_rng(0).lognormal(size=256)
    one = np.where(np.arange(256) == errors.argmax(), 100.0, 0.5)
    found = ratio(one * errors, errors)  # nearly all states are closer, one is far off
    assert found.value > 1
    assert found.typical_high < 1
    assert found.against(1) == "open"
    assert ratio(2 * errors, errors).against(1.5) == "yes"
    assert ratio(errors, 2 * errors).against(1) == "no"


@pytest.mark.parametrize(
    ("rms", "typical", "holds"),
    [
        ((1.1, 1.3), (1.2, 1.4), "yes"),
        ((0.5, 0.8), (0.7, 0.9), "no"),
        ((0.5, 0.9), (1.2, 2.1), "apart"),
        ((1.2, 2.1), (0.5, 0.9), "apart"),
        ((0.99, 1.01), (0.985, 1.015), "alike"),
        ((1.001, 1.01), (1.002, 1.015), "yes"),
        ((0.99, 1.01), (0.9, 1.0), "open"),
        ((0.9, 1.2), (1.2, 2.1), "open"),
    ],
)
def test_what_a_ratio_says_of_a_factor(rms: Any, typical: Any, holds: str) -> None:
    for factor in (1.0, 4.0):
        scaled = [factor * value for value in (1.0, *rms, 1.0, *typical)]
        assert Ratio(*scaled).against(factor) == holds


def test_one_finding_that_refutes_a_claim_of_several_suffices() -> None:
    assert weakest(["refuted", "inconclusive", "confirmed"]) == "refuted"
    assert weakest(["confirmed", "inconclusive", "conditional"]) == "inconclusive"


def test_the_counterexample_is_the_clearest() -> None:
    cells = [cell(5, "no"), replace(cell(7, "no"), margin=0.3)]
    assert "counterexample: a, 7 evaluations" in judged(cells).evidence


def test_a_solver_is_neither_better_nor_worse_than_itself() -> None:
    claim = EqualNfe(pairs("ddim", "ddim", "lambda"), (5,), ("rotated-product-2d",))
    (found,) = claim.decide().table
    assert (found["ratio"], found["low"], found["high"], found["holds"]) == (1, 1, 1, "alike")


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


# --- cells of other kinds ---


def test_cells_without_coordinates_have_no_condition() -> None:
    cells = [*(Cell("holds", "yes", 2.0) for _ in range(4)), Cell("fails", "no", 0.5)]
    found = judged(cells)
    assert (found.verdict, found.evidence) == ("refuted", "4 of 5 cells hold, 1 fail; counterexample: fails")


@pytest.mark.parametrize(("low", "high", "holds"), [(1.1, 3, "yes"), (0.2, 0.9, "no"), (0.5, 2, "open")])
def test_a_ratio_is_a_cell(low: float, high: float, holds: str) -> None:
    middle = (low + high) / 2
    found = above("here", Ratio(middle, low, high, middle, low, high), at={"nfe": 5})
    assert (found.holds, found.margin, found.at) == (holds, middle, {"nfe": 5})
    assert above("here", Ratio(math.nan, 0, math.inf, math.nan, 0, math.inf)).holds == "open"


@pytest.mark.parametrize(
    ("deviations", "closer", "alike"), [(-9.0, "yes", "no"), (9.0, "no", "no"), (1.0, "open", "open")]
)
def test_a_contest_is_a_cell(deviations: float, closer: str, alike: str) -> None:
    """Two laws that are not told apart are not shown to be one: that cell is open."""
    found = Comparison("a", "b", 5, "energy", (0.1, 0.2), deviations)
    assert contest("here", found, "closer", ["further"]).holds == closer
    assert contest("here", found, None, ["closer", "further"]).holds == alike


# --- ablations ---


@pytest.mark.parametrize("variant", ["2", "3", "2m", "3m"])
def test_the_recursive_difference_is_ablated_alone(variant: str) -> None:
    """With phi_1 = 1 put into the released formula, the plans of the other side are left."""
    claim = ledger()[f"scire-rde-helps-{variant}"]
    assert isinstance(claim.by, EqualNfe)
    for better, worse in claim.by.pairs:
        released, plain = (solver_of(side.name) for side in (better, worse))
        assert (better.grid, better.final) == (worse.grid, worse.final)
        one = replace(released, parameters=scire_snapshots.parameters(lambda *_: 1))
        where: Any = {"schedule": vp_linear(), "steps": 6, "t_start": 1.0, "t_end": 1e-3}
        plans = [compile_plan(s, **where) for s in (one, plain, released)]
        rows = [
            [op.terms for step in plan.steps for op in step.operations if isinstance(op, Row)]
            for plan in plans
        ]
        assert rows[0] == rows[1] != rows[2]


# --- orders in the limit ---


def test_releases_that_take_the_noise_of_short_steps_away_have_no_order() -> None:
    silent = {e.solver for e in STOCHASTIC_EXPECTATIONS if e.silent}
    assert silent == {"er-sde-1-released", "er-sde-2-released", "er-sde-3-released"}
    for name in (*silent, "er-sde-1", "ddim-eta", "sa-solver-2-2"):
        assert orders.silent(make(name)) is (name in silent)
        found = next(e for e in STOCHASTIC_EXPECTATIONS if e.solver == name)
        assert (orders.recorded(found, make(name).claimed) == "refuted") is (name in silent)


# --- what is held over a step ---


def test_what_a_held_output_loses_is_that_of_the_score() -> None:
    """eps(t)/sigma(s) is the score at t times sigma(t)/sigma(s): both errors are of one score."""
    e = experiment_of("golden-mixture", "vp-linear", "t")
    (step, *_), (t, s, *_) = delta_s("golden-mixture", "t", 3), map(float, e.nodes(3))
    before, after = (
        -np.asarray(e.model(e.given(x), u)) / float(e.schedule.sigma(u))
        for x, u in zip(e.states([t, s]), (t, s))
    )
    scale = float(e.schedule.sigma(t)) / float(e.schedule.sigma(s))
    assert (step.t, step.s) == (t, s)
    # rounding of scores of size 10
    assert step.score == pytest.approx(np.abs(after - before).mean(axis=1), abs=1e-12)
    assert step.eps == pytest.approx(np.abs(after - scale * before).mean(axis=1), abs=1e-12)


def test_the_mean_absolute_error_lies_between_what_the_norm_allows() -> None:
    """|e|_2/d <= mean |e_i| <= |e|_2/sqrt d, of the errors by which equal budgets are compared."""
    e = experiment_of("rotated-product-2d", "vp-linear", "t")
    norms, _ = errors_of("ddim", e, 5)
    found = delta_p("ddim", "rotated-product-2d", "t", 5)
    assert np.all(norms / 2 - 1e-12 <= found)
    assert np.all(found <= norms / np.sqrt(2) + 1e-12)  # rounding of states of size 1


def test_means_are_compared_in_pairs() -> None:
    errors = np.random.default_rng(0).lognormal(size=64)
    found = times_larger(3 * errors, errors)
    assert (found.low, found.value, found.high) == pytest.approx((3, 3, 3), rel=MANY_ULP, abs=0)
    alike = times_larger(np.zeros(64), np.full(64, ROUNDING / 2))
    assert alike == Ratio(1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
    few = times_larger(3 * errors[:8], errors[:8])  # of eight states no interval of the median is so sure
    assert (few.typical_low, few.typical_high) == (0, math.inf)


# --- FEI coefficients ---


@pytest.mark.parametrize("scale", noise_scale.NOISE_SCALES, ids=lambda scale: scale.name)
def test_the_fei_coefficient_is_the_weight_of_the_data_prediction(scale: Any) -> None:
    """Of the first-order plan under alpha = 1; and 1 - phi(rho_1)/phi(rho_0) from its expression."""
    schedule, rho = edm(80.0), (3.0, 1.7)
    times = [schedule.t_of_rho(r) for r in rho]
    plan = compile_plan(er_sde.er_sde(1, scale), schedule, times=times, prediction="x0")
    (row,) = (op for op in plan.steps[0].operations if isinstance(op, Row))
    weights = {kind: value for kind, _, value in row.terms}
    assert weights["m"] == pytest.approx(fei(scale, *rho), rel=AMPLIFIED, abs=0)
    ends = [float(scale.phi.subs(noise_scale.x, r)) for r in rho]
    assert fei(scale, *rho) == pytest.approx(1 - ends[1] / ends[0], rel=AMPLIFIED, abs=0)


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


def test_fewer_evaluations_are_counted_beyond_the_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    """DDIM with four times as many evaluations is ahead or behind as its errors' ratio lies, or neither."""
    monkeypatch.setattr(dpm_solver, "PROBLEMS", ("rotated-product-2d",))
    found = dpm_solver.speed_up()
    assert (found.verdict, len(found.table)) == ("confirmed", len(dpm_solver.SPEED_BUDGETS))
    assert all(1 < row["low"] < row["ratio"] < row["high"] for row in found.table)


def test_no_setting_of_the_corrector_speaks_against_it(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = score_sde.corrected("ve", "ancestral", 20)
    each = {}
    for snr in score_sde.SNRS:
        monkeypatch.setattr(score_sde, "SNRS", (snr,))
        each[snr] = score_sde.corrected("ve", "ancestral", 20)
    assert cell == min(each.values(), key=lambda one: one.data["corrected"])
    assert {one.data["alone"] for one in each.values()} == {cell.data["alone"]}


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


def test_a_condition_shows_in_the_report() -> None:
    row = next(row for row in REPORT["claims"] if row["id"] == "unipc-2-bh2-order")
    assert f"Conditional, {orders.EXACT_START}" in markdown(REPORT | {"claims": [row]})
    other = row | {"found_condition": "on Sundays", "agrees": False}
    text = markdown(REPORT | {"claims": [other]})
    assert f"CONDITIONAL, on Sundays, recorded as conditional, {orders.EXACT_START}" in text


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
