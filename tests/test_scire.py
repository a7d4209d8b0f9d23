"""SciRE-Solver: its formulas, what each snapshot released, the size of its error, the corrected methods."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math
from functools import cache
from typing import Any

import numpy as np
import pytest
import sympy
import torch
from semilinear.integrators.diffusion import grids
from semilinear.integrators.diffusion.discrete import discrete, linear_betas
from semilinear.integrators.diffusion.schedule import edm, vp_cosine, vp_linear
from semilinear.integrators.numerics.arithmetic import FLOAT64, multiprecision
from semilinear.integrators.plans.compile import Plan, compile_plan
from semilinear.integrators.plans.compiler import StepCompiler
from semilinear.integrators.plans.files import difference
from semilinear.integrators.plans.program import Row
from semilinear.integrators.run.sampler import sample
from semilinear.integrators.solver import Ramp, Repeat, Solver, StepContext
from semilinear.integrators.solvers import SOLVERS, make, scire
from semilinear.integrators.solvers.dpm_solver import fast_orders
from semilinear.integrators.solvers.scire_snapshots import (
    LIMIT,
    NEWER,
    OLDER,
    SNAPSHOTS,
    Name,
    phi_1,
    phi_as_released,
)
from semilinear.integrators.tableaux.tableau import N, P, Tableau, adams, at_zero, omega
from semilinear.verification.claims.expectations import EXPECTATIONS
from semilinear.verification.problems.named import problem
from semilinear.verification.replay.golden import DATA, read, replay_case
from semilinear.verification.replay.releases import scire as release
from semilinear.verification.studies.flow import Experiment
from sympy import Integer, Rational, Symbol

from tests.roundings import SLOPE, SOME_ULP
from tests.slow import slow

VP = vp_linear()
RANGE: dict[str, Any] = {"t_start": 1.0, "t_end": 1e-3}
PHI_M = Symbol("phi_m")
HALF, THIRD = Rational(1, 2), Rational(1, 3)
BOTH = pytest.mark.parametrize("version", ["v1", "v2"])


def plan(solver: Solver | str, steps: int = 8, **options: Any) -> Plan:
    made = make(solver) if isinstance(solver, str) else solver
    return compile_plan(made, VP, steps=steps, **({"final": "full"} | RANGE | options))


# --- phi_1 ---


def test_phi_1_has_the_papers_values() -> None:
    values = ["1", "1/2", "2/3", "5/8", "19/30", "91/144"]
    assert [phi_1(m) for m in range(1, 7)] == [Rational(v) for v in values]


@pytest.mark.parametrize("m", range(1, 40))
def test_phi_1_converges_alternating_to_its_limit_faster_than_its_next_term(m: int) -> None:
    distance = (-1) ** (m - 1) * (phi_1(m) - LIMIT)
    assert 0 < sympy.N(distance, 60) < sympy.N(1 / sympy.factorial(m + 1), 60)


@pytest.mark.parametrize("m", range(1, 9))
def test_the_recursion_weighs_both_ends_and_the_dropped_weight_is_1_minus_phi_1(m: int) -> None:
    """(N_theta - N_0)/theta = sum_k E_k/k!, E_k = (theta h)^(k-1) h N_0^(k); E_k -> T_(k-1) - E_(k-1) downto
    E_1, with T_k the same at the other end.
    """
    ends = [Symbol(f"T{k}") for k in range(m + 1)]
    terms = [Symbol("E1")]
    for k in range(2, m + 1):
        terms.append(sympy.expand(ends[k - 1] - terms[-1]))
    total = sympy.expand(sum(e / sympy.factorial(k) for k, e in enumerate(terms, 1)))
    assert total.coeff(Symbol("E1")) == phi_1(m)
    assert total.coeff(ends[1]) == 1 - phi_1(m)


# --- formulas ---


def butcher(tableau: Tableau) -> tuple[list[Any], list[list[Any]], list[Any]]:
    """c, a and b of a tableau where the weight is constant: phi_k = 1/k!."""
    s = len(tableau.stages) + 1

    def entries(row: Any) -> list[Any]:
        return [sympy.simplify(at_zero(row.get(j, Integer(0)))) for j in range(s)]

    return [Integer(0), *tableau.c], [[Integer(0)] * s, *map(entries, tableau.a)], entries(tableau.b)


def equal(a: Any, b: Any) -> bool:
    return all(sympy.simplify(x - y) == 0 for x, y in zip(sympy.flatten(a), sympy.flatten(b), strict=True))


def test_scire_2_is_the_runge_kutta_method_of_the_release() -> None:
    r1 = Symbol("r1")
    b2 = 1 / (2 * r1 * PHI_M)
    assert equal(butcher(scire.second(r1, PHI_M)), [0, r1, 0, 0, r1, 0, 1 - b2, b2])


def test_scire_3_is_the_runge_kutta_method_of_the_release() -> None:
    r1, r2 = Symbol("r1"), Symbol("r2")
    a32, b3 = r2 / (2 * r1 * PHI_M), 1 / (2 * r2 * PHI_M)
    a = [0, 0, 0, r1, 0, 0, r2 - a32, a32, 0]
    assert equal(butcher(scire.third(r1, r2, PHI_M)), [0, r1, r2, *a, 1 - b3, 0, b3])


def test_the_copies_write_the_same_stage_weight_in_other_words() -> None:
    """3 r2/(4 r1) in the EDM copy, 1/(2 r1) in the discrete-time copy, whose r2 is 2/3."""
    r1, r2 = Symbol("r1"), Symbol("r2")
    _, a, _ = butcher(scire.third(r1, r2, phi_1(3)))
    assert sympy.simplify(a[2][1] - 3 * r2 / (4 * r1)) == 0
    assert sympy.simplify(a[2][1].subs(r2, Rational(2, 3)) - 1 / (2 * r1)) == 0


def test_the_multistep_weights_on_equal_steps() -> None:
    equal_steps = {NEWER: 1, OLDER: 1}
    _, _, b = butcher(scire.multistep_second(Integer(1), PHI_M))
    assert equal(b, [1 + 1 / (2 * PHI_M)])
    weights = {k: at_zero(w).subs(equal_steps) for k, w in scire.multistep_third(PHI_M).b.items()}
    d1, d2 = 1 / (2 * PHI_M**2), (1 + PHI_M) / (6 * PHI_M**4)
    assert equal([weights[0], weights[-1], weights[-2]], [1 + d1 + d2, -d1 - 2 * d2, d2])


def order_residuals(tableau: Tableau) -> dict[str, Any]:
    """What the conditions b c = 1/2, b c^2 = 1/3, b a c = 1/6 leave."""
    c, a, b = butcher(tableau)
    ac = [sum((x * y for x, y in zip(row, c, strict=True)), Integer(0)) for row in a]
    dot = [sum((x * y for x, y in zip(b, v, strict=True)), Integer(0)) for v in (c, [x**2 for x in c], ac)]
    wanted = (HALF, THIRD, Rational(1, 6))
    return {k: sympy.simplify(x - y) for k, x, y in zip(("2", "3", "3'"), dot, wanted, strict=True)}


def test_no_phi_1_but_1_gives_order_2_and_none_gives_order_3() -> None:
    for tableau in (scire.second(HALF, PHI_M), scire.third(THIRD, phi_1(3), PHI_M)):
        assert sympy.solve(order_residuals(tableau)["2"], PHI_M) == [1]
    left = order_residuals(scire.third(THIRD, phi_1(3), Integer(1)))
    assert (left["2"], left["3"], left["3'"]) == (0, 0, Rational(1, 12))
    corrected = scire.corrected_singlestep(3).sequence.tableaux[-1]
    assert set(order_residuals(corrected).values()) == {Integer(0)}


# --- the term that is dropped, kept ---


def test_keeping_the_term_with_the_steps_only_difference_leaves_that_difference() -> None:
    """SciRE-2 without truncation is SciRE-2 with phi_1 = 1, whatever phi_1."""
    d = Symbol("D")
    assert sympy.simplify(scire.recursive(d, PHI_M, d) - d) == 0


def test_2m_with_the_term_kept_is_second_order_for_every_phi_1_on_every_grid() -> None:
    weights, w1, w2 = scire.multistep_kept(PHI_M).b, omega(1), omega(2)
    b0, b1, b2 = (at_zero(weights[k]) for k in (0, -1, -2))
    assert equal([b0 + b1 + b2, -b1 * w1 - b2 * w2], [1, HALF])


def test_it_is_adams_bashforth_3_for_one_phi_1_of_the_step_ratios() -> None:
    """6/11 on equal steps, which is phi_1(m) for no m."""
    best = omega(2) / (omega(1) + omega(2) + Rational(2, 3))
    kept, ab3 = scire.multistep_kept(best).b, adams(3).b
    assert equal([at_zero(kept[-k]) for k in range(3)], [at_zero(ab3[-k]) for k in range(3)])
    assert best.subs({omega(1): 1, omega(2): 2}) == Rational(6, 11)
    assert all(phi_1(m) != Rational(6, 11) for m in range(1, 9))


# --- reductions ---


@pytest.mark.parametrize(
    ("ours", "same"),
    [
        ("scire-v1-2-corrected", "deis-rhork-2midpoint"),
        ("scire-v1-3-corrected", "deis-rhork-3heun"),
        ("scire-v1-2m-corrected", "deis-rhoab1"),
        ("scire-v1-3m-corrected", "deis-rhoab2"),
        (scire.kept_multistep(phi=1), "deis-rhoab1"),
        (scire.singlestep(2, "ei", snapshot="disc", phi=1), "dpm-solver-2-taylor"),
        (scire.singlestep(2, phi=1), "scire-v1-2-corrected"),
        (scire.singlestep(2, "v2", phi=1), scire.corrected_singlestep(2, "v2")),
        (scire.multistep(2, snapshot="d30", phi=1.0), scire.multistep(2, snapshot="d30", phi=phi_1(1))),
        (scire.singlestep(3, snapshot="disc"), scire.singlestep(3, phi=phi_1(3))),
        (
            scire.singlestep(3, "v2", snapshot="sd"),
            scire.singlestep(3, "v2", snapshot="d30", abscissae="grid"),
        ),
        (scire.singlestep(3, snapshot="edm", r1=THIRD), scire.singlestep(3, snapshot="disc")),
        *(
            (build(1, version), "ddim")
            for version in ("v1", "v2")
            for build in (scire.agile, scire.multistep)
        ),
    ],
)
def test_reductions_to_other_methods(ours: Any, same: Any) -> None:
    for grid in (grids.nsr(), grids.uniform_t()):
        assert difference(plan(ours, 7, grid=grid), plan(same, 7, grid=grid)).value < SOME_ULP


@BOTH
def test_on_a_grid_uniform_in_lambda_the_root_of_the_ratio_leaves_no_trace(version: Any) -> None:
    head, d30 = (scire.multistep(2, version, snapshot=s, phi=LIMIT) for s in ("head", "d30"))
    assert difference(plan(head), plan(d30)).value < SOME_ULP
    assert difference(plan(head, grid=grids.nsr()), plan(d30, grid=grids.nsr())).value > 1e-3


@BOTH
def test_the_grid_places_stages_by_their_fraction_in_rho(version: Any) -> None:
    """In version v2 the release uses that fraction in 1/rho."""
    noise = discrete(linear_betas(), clip_lambda=None)
    made = compile_plan(
        scire.singlestep(3, version, abscissae="grid"), noise, steps=5, grid=grids.nsr(), **RANGE
    )
    form = scire.VERSIONS[version](noise)
    for step in made.steps:
        inner = grids.nsr()(noise, step.t0, step.t1, 3)
        for i, op in ((1, step.operations[2]), (2, step.operations[4])):
            rho = [noise.rho(t) for t in (step.t0, inner[i], step.t1)]
            tau = [form.tau(t) for t in (step.t0, op.t, step.t1)]  # type: ignore[union-attr]
            wanted = (rho[1] - rho[0]) / (rho[2] - rho[0])
            assert (tau[1] - tau[0]) / (tau[2] - tau[0]) == pytest.approx(wanted, abs=SOME_ULP)


# --- errors, measured in 50 digits ---

XP = multiprecision(50)
MIXTURE = problem("mixture-1d")
X = np.array([[0.4]])
T_START, T_END = 0.5, 0.1


@cache
def exact(t: Any) -> Any:
    return XP.number(MIXTURE.flow(VP, X, T_START, t, 60))


def error(solver: Solver, steps: int, grid: grids.Grid | None = None, start: Any = "own") -> Any:
    """The signed error at t_end, against the exact flow."""
    made = compile_plan(
        solver, VP, steps=steps, t_start=T_START, t_end=T_END, grid=grid, digits=50, start=start
    )
    inputs = [XP.number(X), *(exact(t) for t in made.inputs[1:])]
    return (sample(made, MIXTURE.model(VP), inputs).x - exact(T_END))[0, 0]


@cache
def ddim_error(steps: int) -> Any:
    return error(make("ddim"), steps)


def ratio_to_ddim(solver: Solver) -> float:
    """The signed ratio of the error to DDIM's at equal steps, extrapolated twice to h = 0."""
    at = [error(solver, n) / ddim_error(n) for n in (32, 64, 128)]
    first = [2 * fine - coarse for coarse, fine in itertools.pairwise(at)]
    return float((4 * first[1] - first[0]) / 3)


@pytest.mark.parametrize(
    ("version", "phi_m"),
    slow([("v1", phi_1(3)), ("v1", LIMIT), ("v2", phi_1(3))], lambda case: case[0] == "v1"),
    ids=str,
)
def test_the_error_is_first_order_and_its_ratio_to_ddims_is_known(version: Any, phi_m: Any) -> None:
    """The local error is (1/phi_1 - 1) h^2 N'/2 against DDIM's -h^2 N'/2; 1/phi_1^2 in 3m and SD's 2m."""
    once, twice = (float(-(1 / phi_m**k - 1)) for k in (1, 2))
    for solver, wanted in (
        (scire.singlestep(2, version, phi=phi_m), once),
        (scire.singlestep(3, version, phi=phi_m), once),
        (scire.multistep(2, version, phi=phi_m), once),
        (scire.multistep(3, version, phi=phi_m), twice),
        (scire.multistep(2, version, phi=phi_m, snapshot="sd"), twice),
    ):
        assert ratio_to_ddim(solver) == pytest.approx(wanted, rel=2e-3), solver.name  # O(h)


# --- orders, measured in float64 ---

ROUGH = grids.alternating(grids.uniform_lambda())
EXPERIMENTS = {
    grid.name: Experiment(schedule=VP, grid=grid, batch=8) for grid in (grids.nsr(), ROUGH, grids.karras(1.0))
}


def rms_error(solver: Solver, steps: int, grid: grids.Grid) -> float:
    """The error with exact starting values."""
    e = EXPERIMENTS[grid.name]
    start: Any = "exact" if solver.history else "own"
    made = e.plan(solver, steps, "full", start)
    inputs = [torch.tensor(e.x), *(torch.tensor(x.astype(float)) for x in e.states(list(made.inputs[1:])))]
    (final,) = e.states([e.times[1]])
    result = sample(made, e.model, inputs).x.numpy()
    return float(np.sqrt(np.mean((result - final.astype(float)) ** 2)))


def slope(solver: Solver, grid: grids.Grid = ROUGH, steps: int = 128) -> float:
    """The order between two step counts."""
    return math.log2(rms_error(solver, steps, grid) / rms_error(solver, 2 * steps, grid))


@pytest.mark.parametrize(
    ("order", "version"),  # the versions differ in their variable alone
    slow([(2, "v1"), (3, "v1"), (2, "v2"), (3, "v2")], lambda case: case == (3, "v2")),
)
@pytest.mark.parametrize("build", [scire.singlestep, scire.multistep], ids=lambda b: b.__name__)
def test_released_formulas_are_second_order_with_phi_1_equal_to_1_and_first_order_without(
    build: Any, order: int, version: Any
) -> None:
    for phi_m, wanted in ((1, 2), (phi_1(3), 1), (None, 1)):
        # O(h)
        assert slope(build(order, version, phi=phi_m), grids.nsr(), 64) == pytest.approx(wanted, abs=0.1)


def test_the_exponential_integrator_has_the_same_flaw() -> None:
    for phi_m, wanted in ((1, 2), (None, 1)):
        solver = scire.singlestep(2, "ei", snapshot="disc", phi=phi_m)
        assert slope(solver) == pytest.approx(wanted, abs=SLOPE)


CORRECTED = [make(n) for n in SOLVERS if n.startswith("scire") and "released" not in n]
CORRECTED += [scire.corrected_singlestep(2, "v2"), scire.corrected_multistep(2, "v2")]
CORRECTED += [scire.kept_multistep("v2", phi=LIMIT)]


@pytest.mark.parametrize(
    "solver", slow(CORRECTED, lambda s: CORRECTED.index(s) % 3 > 0), ids=lambda s: s.name
)
def test_the_corrected_methods_reach_their_order_on_smooth_and_rough_grids(solver: Solver) -> None:
    for grid in (grids.nsr(), ROUGH):
        assert slope(solver, grid) == pytest.approx(solver.claimed, abs=0.1)  # O(h)


@pytest.mark.parametrize(
    ("solver", "part", "falls_to"),
    [
        (scire.corrected_singlestep(2), N(1) - N(0), 1),
        (scire.corrected_singlestep(3), N(1) - (N(2) + N(0)) / 2, 2),
        (scire.corrected_multistep(2), N(0) - P(1), 1),
        (scire.corrected_multistep(3), N(0) - 2 * P(1) + P(2), 2),
        (scire.kept_multistep("v2"), N(0) - P(1), 1),
    ],
    ids=lambda v: getattr(v, "name", None),
)
def test_a_coefficient_off_by_a_tenth_costs_an_order(solver: Solver, part: Any, falls_to: int) -> None:
    """On equal steps in rho, where the parts of third-order methods are second differences."""
    whole = solver.sequence.tableaux[-1]
    broken = dataclasses.replace(whole, output=whole.output + part / 10)
    ramp: Any = Ramp((*solver.sequence.tableaux[:-1], broken)) if solver.history else Repeat(broken, broken)
    grid = grids.karras(1.0)
    assert slope(solver, grid) == pytest.approx(solver.claimed, abs=0.1)  # O(h)
    assert slope(dataclasses.replace(solver, sequence=ramp), grid) == pytest.approx(falls_to, abs=0.2)  # O(h)


def test_the_root_of_the_lambda_ratio_costs_an_order_on_a_rough_grid() -> None:
    """With phi_1 = 1, 2m is second order where its ratio is that of the steps, as in D30 and SD."""
    slopes = [slope(scire.multistep(2, snapshot=s, phi=1)) for s in ("head", "d30", "sd")]
    assert slopes == pytest.approx([1, 2, 2], abs=SLOPE)


# --- step counts, order lists, evaluations ---


@pytest.mark.parametrize("budget", range(1, 31))
@pytest.mark.parametrize("order", [1, 2, 3])
def test_agile_uses_exactly_its_budget_and_spans_intervals_of_every_grid(order: int, budget: int) -> None:
    orders = fast_orders(order, budget)
    for grid in (grids.nsr(), grids.uniform_lambda()):
        made = plan(scire.agile(order, phi=LIMIT), budget, grid=grid)
        fine = grid(VP, 1.0, 1e-3, budget)
        assert made.times == tuple(fine[sum(orders[:i])] for i in range(len(orders) + 1))
        assert made.nfe == sum(orders) == budget
        stages = [sum(op.__class__.__name__ == "Evaluation" for op in s.operations) for s in made.steps]
        assert tuple(stages) == orders


@pytest.mark.parametrize("snapshot", ["disc", "edm"])
def test_the_copies_agile_mode_steps_uniformly_in_lambda_on_that_grid(snapshot: Name) -> None:
    made = plan(scire.agile(3, snapshot=snapshot), 8)
    assert made.times == grids.uniform_lambda()(VP, 1.0, 1e-3, 3)


FAILS = {
    ("head", "agile"): {(3, 2)},
    ("d30", "agile"): {(3, 2), (3, 5)},
    ("sd", "agile"): {(3, 2), (3, 5)},
    ("head", "multistep"): {(3, 2)},
    ("d30", "multistep"): {(3, 2)},
    ("sd", "multistep"): {(3, 2)},
}
"""(order, budget) where a step that needs phi_1 finds none in the release's list, or the release asserts."""


MODES: list[tuple[Any, str]] = [(m, s) for m in (scire.singlestep, scire.agile) for s in SNAPSHOTS]
MODES += [(scire.multistep, s) for s in ("head", "d30", "sd")]


@pytest.mark.parametrize(("build", "snapshot"), MODES, ids=lambda v: getattr(v, "__name__", v))
def test_every_step_count_runs_or_is_refused_where_the_release_fails(build: Any, snapshot: Name) -> None:
    fails = FAILS.get((snapshot, build.__name__), set())
    for order, budget in itertools.product((1, 2, 3), (*range(1, 9), 13, 20)):
        nfe = budget * (order if build is scire.singlestep else 1)
        if (order, budget) in fails:
            with pytest.raises(ValueError, match="lists no phi_1 for this step"):
                plan(build(order, snapshot=snapshot), budget)
            assert plan(build(order, snapshot=snapshot, phi=LIMIT), budget).nfe == nfe
        else:
            assert plan(build(order, snapshot=snapshot), budget).nfe == nfe


@BOTH
@pytest.mark.parametrize("steps", range(3, 21))
def test_lower_order_final_descends_the_orders_as_the_release_does(version: Any, steps: int) -> None:
    made = plan(
        scire.multistep(3, version), steps, final="lower", prediction="eps" if version == "v1" else "x0"
    )
    used = [sum(kind == "m" for kind, _, _ in s.operations[-1].terms) for s in made.steps]  # type: ignore[union-attr]
    assert used == [min(i, 3) if i < 3 else min(3, steps + 1 - i) for i in range(1, steps + 1)]


# --- schedules where the release fails ---


@BOTH
def test_cosine_schedules_are_sampled_not_skipped(version: Any) -> None:
    """The release makes no step at all in singlestep mode, and its NSR grid raises TypeError."""
    noise, mixture = vp_cosine(), problem("rotated-product-2d")
    x = torch.tensor([[0.3, -1.2], [1.4, 0.2]], dtype=torch.float64)
    options: dict[str, Any] = {"t_start": 0.9, "t_end": 0.1, "grid": grids.nsr()}
    coarse, fine = (
        sample(
            compile_plan(make(f"scire-{version}-2-released"), noise, steps=n, **options),
            mixture.model(noise),
            x,
        )
        for n in (16, 256)
    )
    reference = mixture.flow(noise, x.numpy(), 0.9, 0.1, 30).astype(float)
    assert coarse.nfe == 32
    errors = [float(np.abs(r.x.numpy() - reference).max()) for r in (coarse, fine)]
    assert errors[1] == pytest.approx(errors[0] / 16, rel=0.2)  # O(h) at 16 steps: 7 % seen


def last_row(solver: Solver, times: list[float]) -> dict[tuple[str, int], float]:
    """The coefficients of the last state of a run at full order."""
    row = compile_plan(solver, VP, times=times, final="full").steps[-1].operations[-1]
    assert isinstance(row, Row)
    return {(kind, state): float(value) for kind, state, value in row.terms}


@BOTH
def test_a_grid_may_end_at_sigma_zero_with_a_first_order_step(version: Any) -> None:
    for solver in (scire.singlestep(2, version), scire.multistep(3, version)):
        options: dict[str, Any] = {"t_start": 1.0, "t_end": 0.0, "grid": grids.uniform_t(2.0)}
        made = compile_plan(solver, VP, steps=6, final="lower", **options)
        assert made.times[-1] == 0
        if version == "v2":  # at full order the last step is the limit of steps that end close to sigma = 0
            times = [0.9, 0.7, 0.5, 0.35, 0.2]
            limit, near = (last_row(solver, [*times, e]) for e in (0.0, 1e-13))
            # O(sigma), which is below 1e-6 there
            assert all(abs(limit.get(key, 0.0) - value) < 1e-4 for key, value in near.items())


def test_the_edm_copy_runs_on_edms_schedule_and_asks_for_the_grid() -> None:
    made = compile_plan(
        make("scire-v1-3-released-edm"), edm(), steps=4, t_start=20.0, t_end=0.02, grid=grids.nsr()
    )
    assert made.nfe == 12
    with pytest.raises(ValueError, match="pass grid= beside times="):
        compile_plan(make("scire-v1-3-released-edm"), edm(), times=[20.0, 1.0, 0.02])


# --- arguments ---


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: scire.singlestep(4), "order must be an integer from 1 to 3, got 4"),
        (lambda: scire.agile(True), "order must be an integer from 1 to 3, got True"),
        (lambda: scire.multistep(0), "order must be an integer from 1 to 3, got 0"),
        (lambda: scire.singlestep(2, "v3"), "version of 'head' must be one of v1, v2, got 'v3'"),  # type: ignore[arg-type]
        (lambda: scire.singlestep(2, "v2", snapshot="disc"), "version of 'disc' must be one of v1, ei"),
        (lambda: scire.singlestep(3, "ei", snapshot="disc"), "without the recursive difference"),
        (lambda: scire.agile(3, "ei", snapshot="disc"), "without the recursive difference"),
        (
            lambda: scire.multistep(2, snapshot="edm"),
            "snapshot must be one that released multistep, got 'edm'",
        ),
        (lambda: scire.multistep(2, snapshot="tip"), "snapshot must be one of head, d30, sd, disc, edm"),  # type: ignore[arg-type]
        (lambda: scire.singlestep(2, phi=0), r"phi must be a positive number, got 0"),
        (lambda: scire.singlestep(2, phi="2/3"), "phi must be a positive number"),
        (lambda: scire.multistep(2, phi=math.nan), "phi must be a positive number"),
        (lambda: scire.multistep(2, phi=math.inf), "phi must be a positive number"),
        (lambda: scire.agile(2, phi=True), "phi must be a positive number"),
        (lambda: scire.kept_multistep(phi=None), "phi must be a positive number"),
        (lambda: scire.singlestep(2, r1=1.5), r"r1 must be a number in \(0, 1\], got 1.5"),
        (lambda: scire.singlestep(3, r2=-1), "r2 must be a number"),
        (lambda: scire.singlestep(3, r1=HALF, abscissae="grid"), "r1 and r2 cannot be given"),
        (lambda: scire.singlestep(3, abscissae="inner"), "abscissae must be one of constant, grid"),  # type: ignore[arg-type]
        (lambda: scire.corrected_singlestep(3, "v0"), "version must be one of v1, v2, ei"),  # type: ignore[arg-type]
        (lambda: phi_1(0), "m must be an integer >= 1, got 0"),
        (lambda: phi_1(2.0), "m must be an integer >= 1, got 2.0"),
    ],
)
def test_bad_arguments_are_refused_by_name(build: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize("m", [3, 19, 20, 60, 3000])
def test_phi_1_of_a_deep_recursion_is_summed_to_the_digits_of_the_plan(m: int) -> None:
    for number, most in ((float, 1e-17), (XP.number, XP.number(10) ** -60)):
        step = scire.VERSIONS["v1"](VP).step(number(0.5), number(0.4))
        context = StepContext(0, 1, make("ddim").sequence.tableaux[0], step, None, VP, (), 1)
        value = phi_as_released(lambda *_: m, 2)(context)
        assert abs(sympy.N(value - (phi_1(m) if m < 100 else LIMIT), 80)) < most


def test_phi_1_as_released_needs_a_budget() -> None:
    compiler = StepCompiler(make("scire-v1-2-released"), VP, "eps", FLOAT64)
    with pytest.raises(ValueError, match="phi_1 as released depends on the number of steps"):
        compiler.step(make("scire-v1-2-released").sequence.tableaux[-1], 0.5, 0.4, 0, 1)


def test_a_fixed_phi_1_shows_in_the_name() -> None:
    assert scire.multistep(2, phi=phi_1(3)).name == "scire-v1-2m-released (phi_1 = 2/3)"
    assert scire.kept_multistep("v2", phi=1).name == "scire-v2-2m-kept (phi_1 = 1)"


def test_phi_given_as_a_float_is_exact_in_every_precision() -> None:
    """sympy would fold the weights of a float in float64: a constant integrand would not be integrated."""
    solver = scire.multistep(2, phi=0.1)
    made = plan(solver, 3, digits=50)
    last = made.steps[-1].operations[-1].terms  # type: ignore[union-attr]
    rho = [VP.rho(XP.number(t)) for t in made.times[-2:]]
    wanted = (rho[1] - rho[0]) * VP.alpha(XP.number(made.times[-1]))
    assert abs(sum(v for kind, _, v in last if kind == "m") / wanted - 1) < XP.number(10) ** -45


# --- replay ---

GOLDEN = read(DATA / "scire.json")


def replayed(index: int, **options: Any) -> Any:
    changed = copy.deepcopy(GOLDEN["cases"][index])
    changed["options"] |= options
    return replay_case(GOLDEN, index, changed)


@pytest.mark.parametrize(
    ("index", "text"),
    [
        (13, "2/3"),
        (13, "2/3 (fixed)"),
        (13, "phi_1(3) = 2/3"),
        (17, "(e-1)/e"),
        (17, "(e - 1)/e"),
        (17, "0.6321205588285577"),
        (9, "1"),
        (0, "as released"),
    ],
)
def test_phi_1_is_understood_in_several_spellings(index: int, text: str) -> None:
    assert replayed(index, phi_1_of_m=text).ok


@pytest.mark.parametrize(
    ("index", "change"),
    [
        (13, {"phi_1_of_m": 0.66}),
        (1, {"phi_1_of_m": "1"}),
        (7, {"lower_order_final": False}),
        (21, {"source_version": "f820770"}),
        (24, {"source_file": "scire_solver.py", "source_version": "d30bca2"}),
        (30, {"time_grid": "uniform in t"}),
        (1, {"phi_1_per_step": [2 / 3] * 6}),
        (8, {"order_per_step": [1, 2, 3, 3, 3, 3, 3, 3, 2, 2]}),
        (35, {"algorithm": "noise prediction (version 1)"}),
    ],
)
def test_another_option_is_another_result(index: int, change: dict[str, Any]) -> None:
    assert GOLDEN["cases"][index]["options"] | change != GOLDEN["cases"][index]["options"]
    result = replayed(index, **change)
    assert not result.ok
    assert not result.error


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"phi_1_of_m": "about a half"}, "phi_1_of_m 'about a half' is not known"),
        ({"source_version": "0000000"}, "source_version must be one of f820770"),
        ({"time_grid": "NSR type"}, "an NSR grid needs k"),
        ({"time_grid": "cubic"}, "time_grid must be one of"),
        ({"mode": "adaptive"}, "mode must be one of"),
        ({"algorithm": "flow prediction"}, "algorithm must be one of"),
        ({"order": 4}, "order must be an integer from 1 to 3"),
    ],
)
def test_cases_that_cannot_be_built_say_why(change: dict[str, Any], message: str) -> None:
    assert message in replayed(2, **change).error


def test_a_discrete_schedule_needs_the_grids_abscissae(monkeypatch: pytest.MonkeyPatch) -> None:
    """The replay would notice constant ones."""
    index = 27
    assert replayed(index).ok
    monkeypatch.setitem(
        release.MODES,
        release.FIXED,
        lambda *a, abscissae, **k: scire.singlestep(*a, abscissae="constant", **k),
    )
    assert replayed(index).difference > 1e-4


OWN = {"head": 26, "d30": 21, "sd": 24, "disc": 74, "edm": 75}
"""A case of every snapshot."""


def test_only_the_discrete_time_copy_clips_its_betas(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen in the schedule that a case is run on."""
    betas = {"kind": "discrete-vp", "N": 1000, "beta_start": 1e-4, "beta_end": 0.03}
    kept: list[int] = []

    def run_plan(solver: Solver, noise: Any, *_: Any) -> None:
        kept.append(len(noise.breakpoints))
        raise ValueError("the schedule was seen")

    monkeypatch.setattr(release, "run_plan", run_plan)
    for index in OWN.values():
        changed = GOLDEN["cases"][index] | {"noise_schedule": betas}
        assert replay_case(GOLDEN, index, changed).error == "the schedule was seen"
    assert OWN.keys() == SNAPSHOTS.keys()
    assert {name for name, n in zip(OWN, kept, strict=True) if n < 1000} == {"disc"}


def test_a_scaled_state_is_compared() -> None:
    for index in (0, 7, 34, 41):
        changed = copy.deepcopy(GOLDEN["cases"][index])
        changed["intermediate_scaled"][3][0][0] *= 1 + 1e-7
        assert not replay_case(GOLDEN, index, changed).ok


# --- listed ---


def test_every_listed_name_has_an_expectation_and_released_ones_are_first_order() -> None:
    listed = {n for n in SOLVERS if n.startswith("scire")}
    rows = {e.solver: e for e in EXPECTATIONS if e.solver.startswith("scire")}
    assert rows.keys() == listed
    assert all((e.exact, e.own) == (1, 1) and e.reason for n, e in rows.items() if "released" in n)
    assert all(e.exact == make(n).claimed for n, e in rows.items() if "released" not in n)
