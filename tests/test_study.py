"""Measured orders of methods whose order is known, and what a wrong coefficient does to them."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from semilinear.analysis.convergence import OrderEstimate, Richardson
from semilinear.integrators.diffusion import grids
from semilinear.integrators.diffusion.schedule import edm, rectified_flow, vp_cosine, vp_linear
from semilinear.integrators.numerics.arithmetic import multiprecision
from semilinear.integrators.solver import Ramp, Repeat, Solver
from semilinear.integrators.solvers import make
from semilinear.integrators.tableaux.tableau import N, P, evaluation, omega, phi, phi1, phi2
from semilinear.verification.problems import reference as references
from semilinear.verification.problems.named import golden_mixture, mixture_1d, problem
from semilinear.verification.problems.reference import Reference, reference
from semilinear.verification.studies.coupled import CoupledExperiment
from semilinear.verification.studies.flow import Experiment, Study, measure, norms, run
from semilinear.verification.studies.gaussian import StochasticExperiment
from semilinear.verification.studies.ladders import FLOW, FLOW_LONG, half_octaves
from sympy import Rational

from tests.roundings import SLOPE, SOME_ULP
from tests.slow import slow

VP = vp_linear()
ONE_STEP = {
    "ddim": 1,
    "dpm-solver-2": 2,
    "dpm-solver++-2s-taylor": 2,
    "dpm-solver-3": 3,
    "dpm-solver++-3s": 3,
}
ONE_STEP |= {"deis-rhork-3kutta": 3, "deis-rhork-4rk": 4, "krogstad4": 4, "etdrk4": 4, "exprk5s8": 5}
MULTISTEP = {
    "dpm-solver++-2m": 2,
    "deis-tab2": 3,
    "dpm-solver++-3m-corrected": 3,
    "deis-rhoab3": 4,
    "deis-lambdaab3": 4,
}
SCHEDULES = {"vp-linear": VP, "vp-cosine": vp_cosine(), "edm": edm(), "rectified-flow": rectified_flow()}
GRIDS = {"t-quadratic": grids.uniform_t(2.0), "lambda": grids.uniform_lambda(), "karras": grids.karras()}
GRIDS["alternating"] = grids.alternating(grids.uniform_lambda())


@cache
def experiment(
    name: str = "rotated-product-2d",
    schedule: str = "vp-linear",
    grid: str = "t-quadratic",
    batch: int = 32,
    top: int = 512,
) -> Experiment:
    setup: dict[str, Any] = {"schedule": SCHEDULES[schedule], "grid": GRIDS[grid]}
    return Experiment(problem(name), batch=batch, ladder=half_octaves(4, top), **setup)


def finest(order: int) -> int:
    """Steps with which a method of an order is well in its asymptotic range, and above rounding."""
    return 512 if order < 3 else 256 if order < 4 else 128


def formula_of(solver: Solver, where: str = "rotated-product-2d", schedule: str = "vp-linear") -> Study:
    """The order of a solver's formula: from exact values where it uses earlier evaluations."""
    setup = experiment(where, schedule, top=finest((ONE_STEP | MULTISTEP)[solver.name]))
    return run(solver, setup, start="exact" if solver.history else "own")


@cache
def intact(name: str, where: str, schedule: str) -> Study:
    return formula_of(make(name), where, schedule)


EACH_ORDER = ("ddim", "dpm-solver-2", "dpm-solver-3", "deis-rhork-3kutta", "krogstad4", "exprk5s8")
"""In lambda and in rho."""


@pytest.mark.parametrize(("name", "order"), slow(ONE_STEP.items(), lambda case: case[0] not in EACH_ORDER))
@pytest.mark.parametrize(
    "where", slow(["rotated-product-2d", "mixture-1d"], lambda where: where == "mixture-1d")
)
def test_known_orders_are_found_within_a_twentieth(name: str, order: int, where: str) -> None:
    study = intact(name, where, "vp-linear")
    assert abs(study.estimate.order - order) <= SLOPE
    assert study.estimate.half_width <= 0.1  # twice that
    assert study.against(order) == "consistent"


@pytest.mark.parametrize(("name", "order"), MULTISTEP.items())
@pytest.mark.parametrize("schedule", slow(["vp-linear", "rectified-flow"], lambda s: s != "vp-linear"))
def test_multistep_formulas_have_their_order_from_exact_values(name: str, order: int, schedule: str) -> None:
    study = intact(name, "rotated-product-2d", schedule)
    assert abs(study.estimate.order - order) <= 0.08  # O(h)
    assert study.against(order) == "consistent"


IN_OTHER_VARIABLES = ("deis-rhoab3", "deis-lambdaab3")
"""Adams formulas with the step ratios of deis-tab2 and of 3m."""


@pytest.mark.parametrize(
    ("name", "order"), slow(MULTISTEP.items(), lambda case: case[0] in IN_OTHER_VARIABLES)
)
def test_step_ratios_are_right_on_alternating_steps(name: str, order: int) -> None:
    study = run(make(name), experiment(grid="alternating", top=finest(order)), start="exact")
    assert study.estimate.low <= order <= study.estimate.high


def with_output(solver: Solver, output: Any) -> Solver:
    """The solver with another full-order output row."""
    *ramp, top = solver.sequence.tableaux
    changed = replace(top, output=output)
    return replace(
        solver,
        sequence=Ramp((*ramp, changed)) if isinstance(solver.sequence, Ramp) else Repeat(changed, ramp[0]),
    )


def test_the_last_step_in_place_of_the_step_is_seen_only_off_the_uniform_grid() -> None:
    """k-diffusion issue 56 proposes expm1(-h_last) for expm1(-h) in 2M: identical on a grid uniform in
    lambda.
    """
    w = omega(1)
    changed = with_output(make("dpm-solver++-2m"), w * phi(1, w) * (N(0) + (N(0) - P(1)) / (2 * w)))
    assert run(changed, experiment(grid="lambda")).verdict == "consistent"
    assert run(changed, experiment(grid="karras")).against(1) == "consistent"
    assert run(make("dpm-solver++-2m"), experiment(grid="karras")).verdict == "consistent"


@pytest.mark.parametrize(
    "grid", slow(["karras", "alternating", "t-quadratic"], lambda grid: grid == "t-quadratic")
)
def test_an_inverted_step_ratio_in_2m_is_second_order_all_the_same(grid: str) -> None:
    """(N0 - P1) omega/2 for (N0 - P1)/(2 omega): the errors h_{n-1}^2 - h_n^2 telescope.  An order test
    cannot see it.
    """
    w = omega(1)
    inverted = with_output(make("dpm-solver++-2m-taylor"), phi1 * N(0) + phi2 * w * (N(0) - P(1)))
    assert run(inverted, experiment(grid=grid), start="exact").verdict == "consistent"


@pytest.mark.parametrize(
    ("name", "order"),
    slow([("dpm-solver++-3m-corrected", 3), ("deis-tab3", 4), ("deis-rhoab2", 3)], lambda case: case[1] == 3),
)
def test_a_high_order_start_restores_the_order_of_the_formula(name: str, order: int) -> None:
    assert run(make(name), experiment()).against(2) == "consistent"
    assert run(make(name), experiment(), start="high-order").against(order) == "consistent"


@pytest.mark.parametrize("order", slow([1, 2, 3, 4], lambda order: order % 2 == 0))
def test_nested_collocation_has_the_order_it_is_built_for(order: int) -> None:
    from semilinear.integrators.solvers.classical import collocation

    assert run(collocation(order), experiment(top=finest(order))).verdict == "consistent"


FIFTY = {"ddim": 1, "dpm-solver++-2s": 2, "dpm-solver-3": 3, "krogstad4": 4, "exprk5s8": 5}


@pytest.mark.parametrize(
    ("name", "order"),
    slow(FIFTY.items(), lambda case: case[1] != 2),
)
def test_in_50_digits_the_order_is_found_within_a_hundredth(name: str, order: int) -> None:
    ladder = half_octaves(16, 128 if order > 3 else 256)
    e = Experiment(problem("mixture-1d"), batch=2, ladder=ladder, digits=50)
    study = run(make(name), e)
    assert abs(study.estimate.order - order) <= 0.01  # as the name says
    assert study.against(order) == "consistent"


# --- mutation: the test that tests the tests ---


def perturbed(solver: Solver, j: int, amount: Any = 0.001) -> Solver:
    """The solver with one output weight of its full-order tableau changed by a relative 1e-3."""
    top = solver.sequence.tableaux[-1]
    return with_output(solver, top.output + amount * top.b[j] * evaluation(j))


CASES = [(name, j) for name in (*ONE_STEP, *MULTISTEP) for j in make(name).sequence.tableaux[-1].b]


EACH_KIND = ("ddim", "dpm-solver++-3s", "dpm-solver++-2m", "deis-tab2")
"""One of each kind."""


@pytest.mark.parametrize(("name", "j"), slow(CASES, lambda case: case[0] not in EACH_KIND))
def test_a_perturbed_weight_flips_the_verdict(name: str, j: int) -> None:
    assert intact(name, "rotated-product-2d", "vp-linear").verdict == "consistent"
    assert formula_of(perturbed(make(name), j)).verdict == "lower"


@pytest.mark.parametrize(
    "name",
    slow(["dpm-solver-2", "dpm-solver-3", "krogstad4", "deis-rhork-4rk"], lambda name: name[-1] in "34k"),
)
def test_a_perturbed_stage_flips_the_verdict(name: str) -> None:
    solver = make(name)
    *ramp, top = solver.sequence.tableaux
    first, *others = top.stages
    changed = replace(top, stages=(replace(first, formula=first.formula * Rational(1001, 1000)), *others))
    assert run(replace(solver, sequence=Repeat(changed, ramp[0])), experiment(batch=16)).verdict == "lower"


@pytest.mark.parametrize(
    "name", slow(["dpm-solver++-2m", "deis-tab2", "deis-lambdaab3"], lambda name: name.startswith("deis"))
)
def test_a_perturbation_that_keeps_the_sum_flips_the_verdict_too(name: str) -> None:
    """Weight moved from one evaluation to another: consistent, but first order."""
    solver = make(name)
    top = solver.sequence.tableaux[-1]
    changed = with_output(solver, top.output + Rational(1, 1000) * top.b[-1] * (P(1) - N(0)))
    assert run(changed, experiment(batch=16), start="exact").verdict == "lower"


# --- the study itself ---


def test_superconvergence_on_a_gaussian_is_reported_as_higher() -> None:
    """Why one Gaussian is never the only evidence: the midpoint rule in 1/rho is third order there."""
    from semilinear.integrators.forms.form import data_in_inverse_rho

    midpoint = replace(make("deis-rhork-2midpoint"), form=data_in_inverse_rho, name="midpoint in 1/rho")
    import numpy as np
    from semilinear.verification.problems.mixtures import GaussianMixture

    single = GaussianMixture(np.ones(1), np.array([[0.7]]), np.array([[[0.25]]]), "N(0.7, 0.25)")
    assert run(midpoint, Experiment(single)).verdict == "higher"
    assert run(midpoint, experiment()).verdict == "consistent"


def test_runs_that_diverge_are_errors_not_crashes() -> None:
    solver = make("deis-rhork-4rk")
    wild = replace(
        solver,
        sequence=Repeat(perturbed(solver, 0, 10**80).sequence.tableaux[-1], solver.sequence.tableaux[0]),
    )
    assert run(wild, experiment(batch=4, top=24)).verdict in ("inconclusive", "lower")


def test_stochastic_solvers_are_refused() -> None:
    with pytest.raises(ValueError, match="stochastic"):
        run(make("sde-dpm-solver++-2m"), experiment())


def test_any_sampler_can_be_measured() -> None:
    """A black box that runs Heun's method in rho, written here without the toolkit's loop."""
    where = experiment(batch=16, top=128)
    f, model = where.schedule.formulas, where.problem.model(where.schedule)

    def heun(n: int) -> tuple[Any, int]:
        start, end = where.times
        y, rho = where.x / f.alpha(start), f.rho(start)
        h = (f.rho(end) - rho) / n
        for i in range(n):
            t, t_next = f.t_of_rho(rho + i * h), f.t_of_rho(rho + (i + 1) * h)
            first = model(y * f.alpha(t), t)
            y = y + h / 2 * (first + model((y + h * first) * f.alpha(t_next), t_next))
        return y * f.alpha(end), 2 * n

    study = measure("Heun in rho", 2, heun, where)
    assert study.verdict == "consistent"
    assert study.nfe[0] == 8
    with pytest.raises(ValueError, match=r"states of shape \(16, 2\), .* got a list of 3"):
        measure("wrong", 2, lambda n: ([1.0, 2.0, 3.0], n), where)


def test_evaluations_are_counted_per_run() -> None:
    study = run(make("dpm-solver-3"), experiment(batch=2, top=16))
    assert study.nfe == (12, 18, 24, 36, 48)


def test_budgets_are_restricted_to_a_residue() -> None:
    study = run(make("dpm-solver-fast-3"), experiment(batch=4, top=64), residue=(3, 2))
    assert all(p.n % 3 == 2 for p in study.estimate.points)
    assert study.nfe == tuple(p.n for p in study.estimate.points)


KINDS = (Experiment, StochasticExperiment, CoupledExperiment)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"schedule": "vp"}, TypeError, "schedule must be a Schedule, got 'vp'"),
        ({"grid": None}, TypeError, "grid must be a Grid, got None"),
        ({"lam_start": 3.0}, ValueError, "lam_start must be below lam_end, got 3.0 and 1.75"),
        ({"lam_start": 1.75}, ValueError, "lam_start must be below lam_end"),
        ({"lam_end": math.inf}, ValueError, "lam_end must be a finite number, got inf"),
        ({"lam_start": "0"}, ValueError, "lam_start must be a finite number, got '0'"),
        ({"lam_start": -20.0}, ValueError, "lam .* -20.0"),
        ({"ladder": (8, 8)}, ValueError, "ladder must be increasing positive integers"),
        ({"ladder": (0, 8)}, ValueError, "ladder must be increasing positive integers"),
        ({"ladder": (4.5, 8)}, ValueError, "ladder must be increasing positive integers"),
        ({"ladder": (True, 8)}, ValueError, "ladder must be increasing positive integers"),
        ({"ladder": ()}, ValueError, "ladder must be increasing positive integers, got \\(\\)"),
        ({"ladder": 8}, ValueError, "ladder must be increasing positive integers, got 8"),
        ({"digits": 0}, ValueError, "digits must be"),
    ],
)
def test_every_experiment_refuses_the_same_setups(
    kind: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        kind(**options)


@pytest.mark.parametrize("kind", KINDS)
def test_every_experiment_is_on_the_same_interval(kind: Any) -> None:
    e = kind(ladder=[np.int64(4), 8])
    assert e.times == Experiment().times
    assert e.nodes(4) == e.plan(make("ddim"), 4).times
    assert e.ladder == (4, 8)
    assert {type(n) for n in e.ladder} == {int}


def test_step_counts_are_half_octaves() -> None:
    assert half_octaves(4, 48) == (4, 6, 8, 12, 16, 24, 32, 48)
    assert half_octaves(1, 4) == (1, 2, 3, 4)
    assert FLOW_LONG[: len(FLOW)] == FLOW
    assert (FLOW[-1], FLOW_LONG[-1]) == (512, 4096)


@pytest.mark.parametrize("options", [{"batch": 0}, {"digits": 30, "problem": problem("golden-mixture")}])
def test_bad_experiments_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"batch|digits"):
        Experiment(**({"problem": problem("gaussian")} | options))


def test_the_floor_holds_rounding_and_ten_times_the_references_error() -> None:
    e = Experiment(golden_mixture(), schedule=VP, lam_end=1.0, batch=3, tolerance=1e-6)
    start, end = e.times
    before = e.floor(64)
    e.states([end])
    size = math.sqrt(np.mean(np.sum(e.x**2, axis=1)))
    assert before == pytest.approx(30 * 2.0**-53 * size * 8, rel=SOME_ULP, abs=0)
    found = reference(e.problem, VP, e.x, start, [end], tolerance=1e-6)
    assert e.floor(64) == pytest.approx(10 * found.bound * math.sqrt(2), rel=SOME_ULP, abs=0)
    assert e.floor(64) > before
    fifty = Experiment(mixture_1d(), lam_end=1.0, batch=2, digits=50)
    assert fifty.floor(16) < 1e-46  # 50 digits, 30 roundings a step


def test_errors_below_float64_are_measured() -> None:
    xp = multiprecision(50)
    exact = np.array([[xp.number(1) / 3]], dtype=object)
    # 50 digits less 40
    assert norms(exact + xp.number("1e-40"), exact)[0] == pytest.approx(1e-40, rel=1e-9, abs=0)
    assert norms(np.array([[np.nan]]), np.array([[0.0]]))[0] == np.inf


def estimate(order: float, half: float = 0.01) -> OrderEstimate:
    return OrderEstimate(order, order - half, order + half, (4, 6, 8, 12), ())


def study(order: float, check: Richardson | None = None, exact: bool = True, claimed: int = 3) -> Study:
    return Study("s", claimed, "own", estimate(order), check, (), exact, {})


def test_a_verdict_that_the_runs_do_not_support_is_inconclusive() -> None:
    """Only against an exact flow does "lower" stand: the runs converge, elsewhere."""
    elsewhere = Richardson(8, reference_free=3.0, measured=0.1)
    assert study(3.0, Richardson(8, 2.0, 3.0)).verdict == "inconclusive"
    assert "converge with slope 2.00" in study(3.0, Richardson(8, 2.0, 3.0)).reason(3)
    assert study(0.1, elsewhere, exact=True).verdict == "lower"
    assert study(0.1, elsewhere, exact=False).verdict == "inconclusive"
    assert "but not to the solution" in study(0.1, elsewhere, exact=True).reason(3)
    assert study(3.0).reason(3) == ""


def test_states_beyond_the_floor_are_not_run() -> None:
    from semilinear.verification.studies.flow import measure

    e = Experiment(problem("gaussian"), lam_end=1.0, batch=2)
    (exact,) = e.states([e.times[1]])
    assert [p.n for p in measure("exact", 1, lambda n: (exact, n), e).estimate.points] == [4]


def test_the_flag_exact_is_that_of_the_problem() -> None:
    from semilinear.verification.studies.flow import run

    e = Experiment(golden_mixture(), lam_end=1.0, batch=2, ladder=(4, 6, 8, 12), tolerance=1e-8)
    assert run(make("ddim"), e).exact is False


def test_the_seed_chooses_the_batch() -> None:
    a, b = (Experiment(problem("gaussian"), batch=2, seed=s).x for s in (0, 1))
    assert not np.array_equal(a, b)


def test_an_exact_start_leaves_out_counts_that_the_history_fills() -> None:
    from semilinear.verification.studies.flow import run

    e = Experiment(problem("gaussian"), batch=2, ladder=(2, 3, 4, 6, 8, 12))
    found = run(make("deis-lambdaab3"), e, start="exact", final="full")
    assert [p.n for p in found.estimate.points] == [4, 6, 8, 12]
    with pytest.raises(ValueError, match="at least 4 step counts from 4 on"):
        run(
            make("deis-lambdaab3"),
            Experiment(problem("gaussian"), ladder=(2, 4, 6)),
            start="exact",
        )


def test_the_floor_never_falls(monkeypatch: Any) -> None:
    e = Experiment(golden_mixture(), batch=1)
    bounds = iter([1e-3, 1e-6])
    monkeypatch.setattr(
        references, "reference", lambda *a: Reference(dict.fromkeys(a[4], e.x), next(bounds), False)
    )
    e.states([0.2])
    first = e.floor(8)
    e.states([0.1])
    assert e.floor(8) == first


def test_a_ladder_ends_where_it_is_told_to() -> None:
    asked: list[int] = []

    def enough(study: Study) -> bool:
        asked.append(study.estimate.points[-1].n)
        return len(asked) == 2

    short = experiment(batch=4, top=128)
    study = run(make("ddim"), short, enough=enough)
    assert asked == [64, 96]
    assert [p.n for p in study.estimate.points] == list(half_octaves(4, 96))
    whole = run(make("ddim"), short, enough=lambda _: False)
    assert whole.data == run(make("ddim"), short).data
