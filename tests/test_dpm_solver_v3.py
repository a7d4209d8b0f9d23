"""DPM-Solver-v3: reductions, exactness, orders, the grid of the release, elementwise plans."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sympy
import torch
from semilinear.integrators.diffusion import grids
from semilinear.integrators.diffusion.schedule import (
    Schedule,
    edm,
    rectified_flow,
    sub_vp,
    vp_cosine,
    vp_linear,
)
from semilinear.integrators.plans.compile import compile_plan
from semilinear.integrators.plans.files import difference, load, save
from semilinear.integrators.plans.program import Evaluation, Plan, Row
from semilinear.integrators.run.sampler import sample
from semilinear.integrators.solver import Ramp, Solver
from semilinear.integrators.solvers import SOLVERS, dpm_solver, make
from semilinear.integrators.solvers.dpm_solver_v3 import (
    CORRECTORS,
    HALVES,
    Half,
    Placed,
    corrected,
    multistep,
    predictor,
    pseudo,
    singlestep,
)
from semilinear.integrators.statistics.estimation import Derivatives, diagonal_mean, noised
from semilinear.integrators.statistics.files import save as save_statistics
from semilinear.integrators.statistics.smooth import Smooth, constant, from_functions, gaussian
from semilinear.integrators.statistics.table import Tabulated, smooth
from semilinear.integrators.tableaux.tableau import N, P, Stage, Tableau, interpolate, omega
from semilinear.verification.problems.mixtures import GaussianMixture
from semilinear.verification.problems.named import marginal_samples, problem
from semilinear.verification.replay.golden import DATA, read, replay_case
from semilinear.verification.studies.flow import Experiment, Study, run
from semilinear.verification.studies.own_statistics import GENERIC, for_problem, generic, statistics_of

from tests.roundings import AMPLIFIED, FLOAT32, MANY_ULP, SLOPE, SOME_ULP
from tests.slow import slow

VP = vp_linear()
GOLDEN = read(DATA / "dpm-solver-v3.json")
NAMES = [name for name in SOLVERS if name.startswith("dpm-solver-v3")]
LOW, HIGH = -4.0, 4.0
T_START, T_END = (float(VP.t_of_lam(v)) for v in (-0.7, 1.75))


def l_of(lam: np.ndarray) -> np.ndarray:
    return 0.5 + 0.4 * np.stack([np.sin(lam / 2), np.cos(lam / 2 + 1)])


def s_of(lam: np.ndarray) -> np.ndarray:
    return 0.8 * np.stack([np.cos(lam / 2), np.sin(lam / 2 - 1)]) - 0.5


def b_of(lam: np.ndarray) -> np.ndarray:
    return np.stack([np.cos(lam / 2), np.sin(lam / 2 + 1)])


ANY = from_functions(l_of, s_of, b_of, LOW, HIGH, 20)
"""Statistics of no model, elementwise and smooth: the limit and the order do not depend on them."""


def tabulate(intervals: int) -> Tabulated:
    nodes = np.linspace(LOW, HIGH, intervals + 1)
    return Tabulated(LOW, HIGH, *(f(nodes).T for f in (l_of, s_of, b_of)))


def plan_of(solver: Solver, schedule: Schedule = VP, steps: int = 7, **options: Any) -> Plan:
    defaults: dict[str, Any] = {"steps": steps, "grid": grids.karras(), "final": "full"}
    defaults |= {"t_start": float(schedule.t_of_lam(-2.0)), "t_end": float(schedule.t_of_lam(2.5))}
    return compile_plan(solver, schedule, **(defaults | options))


# --- reductions ---


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize(
    ("family", "statistics"),
    [("dpm-solver++", constant(l=1.0)), ("dpm-solver", constant(s=-1.0))],
    ids=["data", "noise"],
)
@pytest.mark.parametrize("schedule", [VP, edm(), rectified_flow()], ids=lambda s: s.kind)
def test_constant_statistics_are_data_and_noise_prediction(
    order: int, family: Any, statistics: Smooth, schedule: Schedule
) -> None:
    """Equal plans: (1, 0, 0) is DPM-Solver++ and (0, -1, 0) DPM-Solver, multistep, of "taylor" type."""
    known = dpm_solver.multistep(order, family, "taylor", released=False)
    ours = plan_of(multistep(order, statistics=statistics), schedule)
    assert difference(ours, plan_of(known, schedule)).value <= SOME_ULP


def test_the_released_third_order_of_dpm_solver_pp_is_another_method() -> None:
    """Its second difference is half of what it should be: the reduction would notice."""
    ours = plan_of(multistep(3, statistics=constant(l=1.0)))
    assert difference(ours, plan_of(dpm_solver.multistep(3, "dpm-solver++"))).value > 1e-3


def test_a_pseudo_row_is_interpolation_up_to_two_nodes_and_not_beyond() -> None:
    nodes = {0: N(0), -omega(1): P(1), -omega(2): P(2)}
    for count in (1, 2, 3):
        values = dict(list(nodes.items())[:count])
        assert (sympy.simplify(pseudo(values) - interpolate(values)) == 0) == (count < 3)


@pytest.mark.parametrize("schedule", [vp_cosine(), sub_vp(), edm()], ids=lambda s: s.kind)
@pytest.mark.parametrize("prediction", ["x0", "v", "score"])
def test_a_plan_does_the_same_whatever_the_model_predicts(schedule: Schedule, prediction: str) -> None:
    from semilinear.integrators.diffusion.prediction import convert

    law = problem("golden-mixture")
    model, x = (
        law.model(schedule),
        torch.tensor(marginal_samples(law, schedule, schedule.t_of_lam(-2.0), 3, 0)),
    )
    solver = multistep(3, "same", statistics=ANY)
    expected = sample(plan_of(solver, schedule), model, x).x
    converted = convert(schedule, model, "eps", prediction)
    ours = sample(plan_of(solver, schedule, prediction=prediction), converted, x).x
    torch.testing.assert_close(ours, expected, rtol=0, atol=MANY_ULP)


# --- exactness ---


GAUSSIAN = GaussianMixture(np.ones(1), np.array([[1.0, -0.5]]), np.diag([0.4, 0.09])[None])
EXACT = gaussian([0.4, 0.09], [1.0, -0.5])


@pytest.mark.parametrize(
    ("name", "steps", "schedule"),
    [*((name, 5, VP) for name in NAMES), ("dpm-solver-v3-1", 1, VP), ("dpm-solver-v3-3m-c4", 4, edm())],
)
def test_a_gaussian_with_its_own_statistics_is_solved_exactly(
    name: str, steps: int, schedule: Schedule
) -> None:
    """Any solver, any number of steps: N is constant along the flow."""
    start, end = (float(schedule.t_of_lam(v)) for v in (-2.0, 2.5))
    x = marginal_samples(GAUSSIAN, schedule, start, 5, 0)
    solver = make(name, statistics=EXACT)
    result = sample(plan_of(solver, schedule, steps), GAUSSIAN.model(schedule), torch.tensor(x)).x
    exact = GAUSSIAN.flow(schedule, x, start, end, 30).astype(np.float64)
    np.testing.assert_allclose(result.numpy(), exact, rtol=0, atol=MANY_ULP)


def test_ddim_on_the_same_gaussian_is_not_exact() -> None:
    x = marginal_samples(GAUSSIAN, VP, float(VP.t_of_lam(-2.0)), 5, 0)
    result = sample(plan_of(make("ddim")), GAUSSIAN.model(VP), torch.tensor(x)).x.numpy()
    exact = GAUSSIAN.flow(VP, x, float(VP.t_of_lam(-2.0)), float(VP.t_of_lam(2.5)), 30).astype(np.float64)
    assert np.max(np.abs(result - exact)) > 1e-2


def test_data_are_encoded_and_decoded_by_the_same_method() -> None:
    """Times may increase: on the Gaussian both ways are exact."""
    solver, model = multistep(2, "pseudo", statistics=EXACT), GAUSSIAN.model(VP)
    down = plan_of(solver)
    x = torch.tensor(marginal_samples(GAUSSIAN, VP, float(down.times[0]), 4, 1))
    there = sample(down, model, x).x
    back = sample(compile_plan(solver, VP, times=down.times[::-1]), model, there).x
    torch.testing.assert_close(back, x, rtol=SOME_ULP, atol=SOME_ULP)


# --- orders ---


@cache
def experiment() -> Experiment:
    """Steps that alternate 1 : 2 hide no wrong ratio; exact references."""
    grid = grids.alternating(grids.uniform_lambda())
    ladder = (8, 12, 16, 24, 32, 48, 64, 96)
    return Experiment(schedule=VP, grid=grid, batch=6, ladder=ladder)


def measured(solver: Solver, start: Any = "exact") -> Study:
    return run(solver, experiment(), start=start, final="full")


ORDERS: dict[str, tuple[Callable[[], Solver], int, int]] = {
    "1": (lambda: multistep(1, statistics=ANY), 1, 1),
    "2m": (lambda: multistep(2, statistics=ANY), 2, 2),
    "3m": (lambda: multistep(3, statistics=ANY), 3, 2),
    "pseudo 3m": (lambda: multistep(3, pseudo_predictor=True, statistics=ANY), 2, 2),
    "1 true 2": (lambda: multistep(1, "true", statistics=ANY), 2, 2),
    "2m same": (lambda: multistep(2, "same", statistics=ANY), 2, 2),
    "2m true 3": (lambda: multistep(2, "true", statistics=ANY), 3, 3),
    "2m pseudo 3": (lambda: multistep(2, "pseudo", statistics=ANY), 2, 2),
    "3m pseudo 4": (lambda: multistep(3, "pseudo", statistics=ANY), 2, 2),
    "3m true 4": (lambda: multistep(3, "true", statistics=ANY), 4, 3),
    "3s": (lambda: singlestep(3, statistics=ANY), 3, 3),
    "spline 3m": (lambda: multistep(3, statistics=smooth(tabulate(120))), 3, 2),
}


SLOW = ("3s", "3m true 4", "spline 3m", "2m true 3", "3m pseudo 4")


@pytest.mark.parametrize("case", slow(ORDERS, lambda case: case in SLOW))
def test_orders_do_not_depend_on_the_statistics(case: str) -> None:
    """The limit is the exact flow and the order that of the formula, for statistics of no model."""
    build, exact, own = ORDERS[case]
    solver = build()
    for start, order in {"exact" if solver.history else "own": exact, "own": own}.items():
        if start == "exact" or own != exact or not solver.history:
            assert measured(solver, start).estimate.order == pytest.approx(order, abs=0.1), start  # O(h)


def test_a_start_of_full_order_keeps_the_order() -> None:
    """By a one-step method of the full order, on the same form."""
    started = measured(multistep(3, statistics=ANY), "high-order")
    assert started.estimate.order == pytest.approx(3, abs=SLOPE)


def perturbed(solver: Solver, change: Callable[[Tableau], Tableau]) -> Solver:
    assert isinstance(solver.sequence, Placed)
    ramp = solver.sequence.sequence
    assert isinstance(ramp, Ramp)
    made = Ramp((*ramp.ramp[:-1], change(ramp.ramp[-1])), ramp.last)
    return replace(solver, sequence=replace(solver.sequence, sequence=made))


@pytest.mark.parametrize(
    ("change", "order"),
    [
        # a multiple of a second difference: consistent, but no longer third order
        (lambda t: Tableau(t.stages, t.output + (N(1) - N(0) - (N(0) - P(1)) / omega(1)) / 9, carry=1), 2),
        # a multiple of a first difference
        (lambda t: Tableau(t.stages, t.output + (N(1) - N(0)) / 50, carry=1), 1),
        # a first-order predictor below a third-order corrector
        (lambda t: Tableau((Stage(sympy.Integer(1), predictor(1).output),), t.output, carry=1), 2),
    ],
    ids=["second difference", "first difference", "predictor"],
)
def test_a_wrong_coefficient_lowers_the_order(change: Callable[[Tableau], Tableau], order: int) -> None:
    """Of the true third-order corrector on the second-order predictor."""
    wrong = measured(perturbed(multistep(2, "true", statistics=ANY), change))
    assert wrong.estimate.order == pytest.approx(order, abs=SLOPE)


def test_a_pseudo_corrector_is_three_times_worse_than_a_plain_one() -> None:
    """Leading terms on a uniform grid with exact starting values: h^3 g''/4 against h^3 g''/12."""
    law = experiment()
    errors = []
    for corrector in ("pseudo", "same"):
        solver = multistep(2, corrector, statistics=ANY)
        options: dict[str, Any] = {"t_start": T_START, "t_end": T_END, "start": "exact", "final": "full"}
        plan = compile_plan(solver, VP, steps=300, **options)
        states = [torch.tensor(s) for s in (law.x, *law.states([plan.inputs[1]]))]
        result = sample(plan, law.problem.model(VP), states).x.numpy()
        errors.append(np.sqrt(np.mean((result - law.states([T_END])[0]) ** 2)))
    assert errors[0] / errors[1] == pytest.approx(3, rel=0.1)  # O(h), at 300 steps 0.8 %


# --- the release's grid ---


@pytest.mark.parametrize("order", [1, 2, 3])
def test_the_release_tends_to_the_accurate_plan_as_its_grid_squared(order: int) -> None:
    """Trapezoidal sums on M intervals: the plans differ by O(M^-2), 16 times less on four times the nodes."""
    times = [float(VP.t_of_lam(v)) for v in np.linspace(LOW, HIGH, 11)]
    accurate = compile_plan(
        multistep(order, "same" if order > 1 else "none", statistics=ANY), VP, times=times
    )
    gaps = []
    for intervals in (600, 2400):
        solver = multistep(order, "same" if order > 1 else "none", statistics=tabulate(intervals))
        gaps.append(difference(compile_plan(solver, VP, times=times), accurate).value)
    assert gaps[0] / gaps[1] == pytest.approx(16, rel=0.002)  # h^2 (1 + O(h^2)), of intervals


def test_on_a_grid_the_steps_end_at_nodes() -> None:
    table = tabulate(60)
    plan = plan_of(multistep(2, statistics=table), steps=9)
    places = [(float(VP.lam(float(t))) - LOW) / (HIGH - LOW) * 60 for t in plan.times]
    np.testing.assert_allclose(places, np.round(places), rtol=SOME_ULP)


def test_more_steps_than_nodes_are_refused() -> None:
    with pytest.raises(ValueError, match="steps must be fewer, or the statistics finer"):
        plan_of(multistep(2, statistics=tabulate(60)), steps=60)
    plan_of(multistep(2, statistics=smooth(tabulate(60))), steps=60)


def test_inner_states_between_nodes_are_refused() -> None:
    with pytest.raises(ValueError, match="between the nodes"):
        plan_of(singlestep(2, statistics=tabulate(60)), steps=9, grid=grids.uniform_lambda())


@pytest.mark.parametrize("index", [9, 76])
def test_every_statistic_of_a_golden_case_counts(index: int) -> None:
    case = GOLDEN["cases"][index]
    name = case["options"]["ems"]
    for key in ("l", "s", "b"):
        changed = json.loads(json.dumps(GOLDEN["ems"][name]))
        changed[key][len(changed[key]) // 2][0] += 1e-4
        data = dict(GOLDEN) | {"ems": GOLDEN["ems"] | {name: changed}}
        result = replay_case(data, index, case)
        assert not result.error
        assert result.difference > 1e-9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pseudo-order predictor": True}, ""),
        ({"corrector": False}, ""),
        ({"corrector is pseudo of order+1": True}, ""),
        ({"lower order at the last steps": False}, ""),
        ({"order": 2}, ""),
        ({"order": 4}, "order must be an integer from 1 to 3"),
        ({"ems": "none"}, "ems must be one of"),
        ({"step placement": "cubic"}, "step placement must be one of"),
        ({"steps": 9}, "grid_indexes holds 11 nodes for 10 times"),
    ],
)
def test_every_option_of_a_golden_case_counts(change: dict[str, Any], message: str) -> None:
    """Case 40: order 3 with the same-order corrector, ten steps."""
    case = json.loads(json.dumps(GOLDEN["cases"][40]))
    assert replay_case(GOLDEN, 40, case).ok
    case["options"].update(change)
    result = replay_case(GOLDEN, 40, case)
    assert not result.ok
    assert message in result.error


def test_a_node_that_the_rule_does_not_choose_is_noticed() -> None:
    case = json.loads(json.dumps(GOLDEN["cases"][38]))
    case["grid_indexes"][3] += 1
    case["times"][3] = case["times"][2]
    assert not replay_case(GOLDEN, 38, case).ok


# --- the corrector ---


@pytest.mark.parametrize("name", [name for name in NAMES if not name.endswith("s")])
def test_evaluations_are_steps_and_the_last_step_is_not_corrected(name: str) -> None:
    plan = plan_of(generic(name), steps=6)
    assert plan.nfe == 6
    assert sum(isinstance(op, Row) for op in plan.steps[-1].operations) == 1


def outputs(plan: Plan) -> list[tuple[Row, Row | None]]:
    """The row that makes each step's state, and the predictor's row where there is one."""
    rows = [[op for op in step.operations if isinstance(op, Row)] for step in plan.steps]
    return [(made[-1], made[0] if len(made) > 1 else None) for made in rows]


def weights(row: Row) -> dict[Any, Any]:
    return {(kind, state): value for kind, state, value in row.terms}


@pytest.mark.parametrize(("half", "early"), [("written", False), ("released", True)])
def test_the_half_corrector_acts_on_one_side_of_t_one_half(half: Half, early: bool) -> None:
    """As written it corrects states at t <= 1/2, as released those at t > 1/2; the others are predicted."""
    times = [0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.1]
    whole = compile_plan(multistep(2, "pseudo", statistics=ANY), VP, times=times)
    divided = compile_plan(multistep(2, "pseudo", half=half, statistics=ANY), VP, times=times)
    sides = set()
    for step, (row, first), (full, _) in zip(divided.steps, outputs(divided), outputs(whole), strict=True):
        if first is not None and step.t1 is not None:
            corrects = (step.t1 > 0.5) == early
            expected = full if corrects else first
            for key, value in weights(expected).items():
                np.testing.assert_allclose(weights(row).get(key, 0.0), value, rtol=0, atol=SOME_ULP)
            sides.add(corrects)
    assert sides == {True, False}


def test_the_integrand_of_a_corrected_state_is_that_of_the_predicted_one() -> None:
    """PEC: the release shifts its evaluation so that N stays; here none is at a corrected state."""
    plan = plan_of(multistep(3, "true", statistics=ANY), steps=6)
    evaluated = {op.state for step in plan.steps for op in step.operations if isinstance(op, Evaluation)}
    corrected_states = {row.state for row, first in outputs(plan) if first is not None}
    assert len(corrected_states) == 5
    assert not evaluated & corrected_states


# --- elementwise plans ---


@pytest.mark.parametrize("digits", [None, 30])
def test_an_elementwise_plan_is_saved_and_loaded_exactly(tmp_path: Path, digits: int | None) -> None:
    plan = plan_of(multistep(3, "same", statistics=EXACT), digits=digits)
    assert all(array.shape == (2,) for array in plan.arrays)
    save(plan, tmp_path / "plan.json")
    assert load(tmp_path / "plan.json") == plan


@pytest.mark.parametrize("name", slow(NAMES, lambda name: NAMES.index(name) % 3 > 0))
def test_float64_plans_agree_with_fifty_digits(name: str) -> None:
    solver = make(name, statistics=EXACT)
    assert difference(plan_of(solver), plan_of(solver, digits=50)).value <= MANY_ULP


def test_series_and_tables_too_are_compiled_in_multiprecision() -> None:
    for statistics in (ANY, tabulate(60)):
        solver = multistep(2, "true", statistics=statistics)
        times = [float(VP.t_of_lam(v)) for v in (-2.0, -1.2, 0.0)]
        plans = [compile_plan(solver, VP, times=times, digits=digits) for digits in (None, 30)]
        assert difference(*plans).value <= SOME_ULP


def test_an_image_runs_in_every_precision_as_its_pixels_do() -> None:
    """Statistics of shape (3, 4, 4): torch in two precisions, numpy, and pixel by pixel."""
    generator = np.random.default_rng(0)
    variance, mean = 0.1 + generator.random((3, 4, 4)), generator.standard_normal((3, 4, 4))
    plan = plan_of(multistep(2, "pseudo", statistics=gaussian(variance, mean)))
    x = torch.tensor(generator.standard_normal((5, 3, 4, 4)))
    wide = sample(plan, lambda x, t: torch.tanh(x) * (1 + t), x).x
    narrow = sample(plan, lambda x, t: torch.tanh(x) * (1 + t), x.float()).x
    torch.testing.assert_close(narrow, wide.float(), rtol=FLOAT32, atol=FLOAT32)
    numpy_x = sample(plan, lambda x, t: np.tanh(x) * (1 + t), x.numpy()).x
    np.testing.assert_allclose(numpy_x, wide.numpy(), rtol=AMPLIFIED)
    one = plan_of(multistep(2, "pseudo", statistics=gaussian(variance[1, 2, 3], mean[1, 2, 3])))
    pixel = sample(one, lambda x, t: torch.tanh(x) * (1 + t), x[:, 1, 2, 3]).x
    # One number is integrated by a rule, many by series: each to rounding, which the run amplifies.
    torch.testing.assert_close(pixel, wide[:, 1, 2, 3], rtol=AMPLIFIED, atol=0)


def test_a_state_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"trailing shape \(2,\)"):
        sample(plan_of(multistep(2, statistics=ANY)), lambda x, t: x, torch.zeros(4, 3))


# --- names and arguments ---


def test_listed_names_are_those_of_their_arguments() -> None:
    assert [SOLVERS[name]().name for name in NAMES] == NAMES
    assert multistep(3, "same", pseudo_predictor=True).name == "dpm-solver-v3-3m-pseudo-c3"
    assert multistep(1, "pseudo", half="released").name == "dpm-solver-v3-1-pc2-half-released"


WRONG: Any = "best"


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: multistep(4), "order must be an integer from 1 to 3, got 4"),
        (lambda: multistep(True), "order must be an integer from 1 to 3, got True"),
        (lambda: singlestep(0), "order must be an integer from 1 to 3, got 0"),
        (
            lambda: multistep(2, WRONG),
            "corrector must be one of none, same, pseudo, true, got 'best'",
        ),
        (
            lambda: multistep(2, "same", half=WRONG),
            "half must be one of no, written, released, got 'best'",
        ),
        (lambda: multistep(2, half="written"), "half must be 'no' where corrector is 'none'"),
        (lambda: multistep(1, "same"), "corrector must not be 'same' for order 1"),
    ],
)
def test_bad_arguments_are_named(build: Callable[[], Solver], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


def test_what_is_no_flag_is_refused() -> None:
    with pytest.raises(TypeError, match="pseudo_predictor must be True or False, got 1"):
        multistep(3, pseudo_predictor=1)  # type: ignore[arg-type]


def test_what_is_no_statistics_is_refused() -> None:
    with pytest.raises(TypeError, match="statistics must be Statistics"):
        multistep(2, statistics=np.ones(3))  # type: ignore[arg-type]


def test_the_end_of_the_noise_is_refused_with_the_reason() -> None:
    with pytest.raises(ValueError, match="not known at lambda = inf: end or start elsewhere"):
        compile_plan(multistep(1, statistics=GENERIC), rectified_flow(), times=[0.9, 0.5, 0.0])


def test_every_combination_of_arguments_is_a_consistent_method() -> None:
    for order in (1, 2, 3):
        for corrector in CORRECTORS[1:]:
            for half in HALVES:
                if (order, corrector) != (1, "same"):
                    solver = multistep(order, corrector, half=half, pseudo_predictor=True)
                    assert all(t.consistency_defects() == [] for t in solver.sequence.tableaux)
    assert corrected(1, False, 1, False, False) == predictor(1)


# --- statistics that were not given ---


@pytest.mark.parametrize("name", NAMES)
def test_a_listed_name_does_not_run_without_statistics(name: str) -> None:
    """N(0, 1)'s ran on any problem, without a word: the formula alone is a formula."""
    solver = make(name)
    assert all(t.consistency_defects() == [] for t in solver.sequence.tableaux)
    ends: Any = {"t_start": 1.0, "t_end": 1e-3}
    for arguments in (ends | {"steps": 6}, {"times": np.linspace(1.0, 0.1, 7)}):
        with pytest.raises(ValueError, match=r"statistics must be given .*make\(name, statistics="):
            compile_plan(solver, VP, **arguments)
    with pytest.raises(ValueError, match="statistics must be given"):
        compile_plan(solver, VP, **ends, steps=6, digits=30)


def test_statistics_come_from_a_file_too(tmp_path: Path) -> None:
    table = Tabulated(-3.0, 3.0, *(np.linspace(v, v + 0.2, 61) for v in (0.3, -0.1, 0.1)))
    save_statistics(table, tmp_path / "own.npz")
    times = [0.5, 0.4, 0.3, 0.2]
    read, given = (
        compile_plan(make("dpm-solver-v3-2m", statistics=s), VP, times=times)
        for s in (str(tmp_path / "own.npz"), smooth(table))
    )
    assert difference(read, given).value == 0
    with pytest.raises(ValueError, match=r"statistics: .*missing\.npz cannot be read: No such file"):
        make("dpm-solver-v3-2m", statistics=str(tmp_path / "missing.npz"))


@pytest.mark.parametrize(
    "name", slow(["golden-mixture", "mixture-1d", "gaussian"], lambda name: name != "mixture-1d")
)
def test_a_study_takes_the_statistics_of_its_own_problem(name: str) -> None:
    """Exact ones against an estimate from samples."""
    own, problem_ = statistics_of(problem(name), -0.7, 1.75), problem(name)
    solver = for_problem("dpm-solver-v3-2m", problem_, -0.7, 1.75)
    assert solver.claimed == make("dpm-solver-v3-2m").claimed
    draws = noised(torch.tensor(problem_.data(4000, 1)), VP, 2)
    t = float(VP.t_of_lam(0.5))
    sampled = diagonal_mean(Derivatives(problem_.model(VP), VP), draws(0, t), t).numpy()
    np.testing.assert_allclose(np.asarray(own.at(0.5).l), sampled, atol=0.05)  # four standard errors
