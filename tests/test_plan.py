from __future__ import annotations

import dataclasses
import hashlib
import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sympy
import torch
from hypothesis import given
from hypothesis import strategies as st
from semilinear.integrators.diffusion import discrete, grids
from semilinear.integrators.diffusion.schedule import edm, rectified_flow, ve, vp_cosine, vp_linear
from semilinear.integrators.forms import form as forms
from semilinear.integrators.forms.form import data_in_lambda, noise_in_lambda, noise_in_time
from semilinear.integrators.numerics.arithmetic import multiprecision
from semilinear.integrators.plans.compile import Plan, compile_plan
from semilinear.integrators.plans.files import PlanError, difference, from_json, load, save, to_json
from semilinear.integrators.plans.program import Evaluation, Row
from semilinear.integrators.run.sampler import sample
from semilinear.integrators.solver import Ramp, Repeat, Solver, StepContext
from semilinear.integrators.solvers import SOLVERS, deis, dpm_solver, make
from semilinear.integrators.tableaux.tableau import N, Stage, Tableau, phi, phi1
from semilinear.integrators.tableaux.tableau import N as NN
from semilinear.verification.studies.own_statistics import generic

from tests.roundings import AMPLIFIED, SOME_ULP, THIRTY_DIGITS, ULP
from tests.slow import few

VP = vp_linear()
NONSENSE: Any = "nonsense"
RANGE: dict[str, Any] = {"t_start": 1.0, "t_end": 1e-3}
FIRST_ORDER = (
    "ddim",
    "dpm-solver-1",
    "dpm-solver++-1",
    "deis-tab0",
    "deis-rhoab0",
    "deis-lambdaab0",
    "deis-rhork-1euler",
)


def plan(name: str = "dpm-solver++-2m", steps: int = 8, **options: Any) -> Plan:
    return compile_plan(generic(name), VP, **({"steps": steps} | RANGE | options))


# --- identities ---


@pytest.mark.parametrize("name", FIRST_ORDER)
@pytest.mark.parametrize("prediction", ["eps", "x0", "v", "flow"])
def test_every_first_order_solver_is_ddim(name: str, prediction: str) -> None:
    """Equality of plans, to rounding: the form in which a solver is written leaves no trace."""
    assert difference(plan(name, prediction=prediction), plan("ddim", prediction=prediction)).value < SOME_ULP


@pytest.mark.parametrize("name", FIRST_ORDER)
def test_every_first_order_solver_is_ddim_in_40_digits(name: str) -> None:
    assert difference(plan(name, digits=40), plan("ddim", digits=40)).value < 1e-38  # some ulp


def test_on_sigma_equal_t_the_time_form_is_the_rho_form() -> None:
    options: dict[str, Any] = {"steps": 10, "t_start": 20.0, "t_end": 0.05, "grid": grids.karras()}
    a, b = (compile_plan(generic(name), edm(), **options) for name in ("deis-tab3", "deis-rhoab3"))
    assert difference(a, b).value < SOME_ULP


def test_on_geometric_sigma_the_time_form_is_the_lambda_form() -> None:
    options: dict[str, Any] = {"steps": 10, "t_start": 1.0, "t_end": 0.3, "final": "full"}
    a, b = (compile_plan(generic(name), ve(), **options) for name in ("deis-tab2", "deis-lambdaab2"))
    assert difference(a, b).value < 2 * SOME_ULP  # of moments by quadrature in one of them


def test_edm_heun_is_rho_2heun() -> None:
    assert difference(plan("edm-heun"), plan("deis-rhork-2heun")).value == 0


def test_ipndm_is_rho_adams_4_on_a_grid_uniform_in_rho() -> None:
    options: dict[str, Any] = {"steps": 9, "grid": grids.karras(1.0)}
    assert (
        difference(plan("deis-ipndm", **options), plan("deis-rhoab3", **options)).value < 1e-9
    )  # rho from t = 1e-3


def test_a_constant_model_is_solved_exactly_by_every_solver() -> None:
    """x = alpha a + sigma b when the model says eps = b: what satisfies sum_j a_ij = c_i phi_1 and
    sum b = phi_1 reproduces it, Lawson's and etd5rkf do not.
    """
    a, b = 0.7, -1.3
    others = ("lawson", "ab-lawson", "etd5rkf")
    x = torch.full((2, 3), float(VP.alpha(1.0)) * a + float(VP.sigma(1.0)) * b, dtype=torch.float64)
    expected = float(VP.alpha(1e-3)) * a + float(VP.sigma(1e-3)) * b
    for name in SOLVERS:
        solver = generic(name)
        form = solver.form(VP)
        # Neither an affine integrand nor a velocity nor the score is constant then, and a kernel does not
        # solve the linear part.
        other = form.target not in ("eps", "x0")
        if other or form.affine is not None or form.linear is not None:
            continue
        if not solver.stochastic and "released" not in name and not name.startswith(others):
            made = compile_plan(solver, VP, steps=6, **RANGE)
            result = sample(made, lambda x, t: torch.full_like(x, b), x).x
            # SciRE's corrected coefficients are up to 3000, and cancel at each of 6 steps; the others' 1e-13.
            rtol = 1e-10 if "scire" in name else AMPLIFIED
            torch.testing.assert_close(result, torch.full_like(result, expected), rtol=rtol, atol=0)


@pytest.mark.parametrize("name", few(n for n in SOLVERS if "released" not in n and not make(n).stochastic))
def test_float64_plans_are_the_multiprecision_plans_rounded(name: str) -> None:
    """Same float64 times, coefficients in 30 digits: no coefficient loses more than a few ulp."""
    rounded = plan(name, steps=7)
    every = generic(name).sequence.times(grids.uniform_lambda(), VP, RANGE["t_start"], RANGE["t_end"], 7)
    times: dict[str, Any] = {"times": every, "t_start": None, "t_end": None, "steps": 7}
    assert difference(rounded, plan(name, **times, digits=30)).value < 3 * SOME_ULP  # of a few steps


@pytest.mark.parametrize(
    "name", ["dpm-solver-3", "deis-tab3", "deis-rhoab2", "etdrk4", "sde-dpm-solver++-2m"]
)
@pytest.mark.parametrize("prediction", ["eps", "x0", "v", "flow"])
def test_multiprecision_plans_have_all_their_digits(name: str, prediction: str) -> None:
    times: dict[str, Any] = {"times": plan(steps=5).times, "t_start": None, "t_end": None, "steps": 5}
    a, b = (plan(name, **times, prediction=prediction, digits=d) for d in (30, 45))
    assert difference(a, b).value < THIRTY_DIGITS


# --- structure ---


@pytest.mark.parametrize("steps", range(1, 31))
@pytest.mark.parametrize(
    "name",
    ["dpm-solver-fast-2", "dpm-solver++-fast-3", "dpm-solver++-3m-released", "dpm-solver-3", "edm-heun"],
)
@pytest.mark.parametrize("final", ["full", "lower"])
def test_nfe_follows_from_the_formulas_for_every_step_count(name: str, steps: int, final: Any) -> None:
    made = plan(name, steps=steps, final=final)
    stages = {"dpm-solver-3": 3, "edm-heun": 2}.get(name, 1)
    saved = stages - 1 if final == "lower" and name in ("dpm-solver-3", "edm-heun") else 0
    if name.startswith("dpm-solver") and "fast" in name and final == "lower":
        saved = dpm_solver.fast_orders(int(name[-1]), steps)[-1] - 1
    assert made.nfe == steps * stages - saved


@pytest.mark.parametrize("spans", [False, True])
def test_a_budgeted_step_of_order_k_spans_k_intervals_of_the_grid(spans: bool) -> None:
    """On a grid uniform in lambda only where the sequence says so."""
    sequence = dataclasses.replace(make("dpm-solver-fast-3").sequence, always_spans=spans)  # type: ignore[type-var]
    fine = grids.uniform_lambda()(VP, 1.0, 1e-3, 8)
    times = sequence.times(grids.uniform_lambda(), VP, 1.0, 1e-3, 8)
    assert times == (
        (fine[0], fine[3], fine[6], fine[8]) if spans else grids.uniform_lambda()(VP, 1.0, 1e-3, 3)
    )
    for grid in (grids.uniform_t(), grids.nsr()):
        fine = grid(VP, 1.0, 1e-3, 8)
        assert sequence.times(grid, VP, 1.0, 1e-3, 8) == (fine[0], fine[3], fine[6], fine[8])


@pytest.mark.parametrize(("name", "steps"), [("dpm-solver-fast-2", 7), ("dpm-solver-fast-2", 8), ("ddim", 4)])
def test_parameters_may_depend_on_the_budget(name: str, steps: int) -> None:
    """The count of steps does not tell it: DPM-Solver-fast takes four steps for 7 evaluations as for 8."""
    seen = []

    def parameters(context: StepContext) -> dict[Any, float]:
        seen.append((context.count, context.budget))
        return {sympy.Symbol("a"): 1.0}

    scaled = Tableau((), phi1 * NN(0) * sympy.Symbol("a"))
    solver = generic(name)
    sequence: Any = (
        dataclasses.replace(solver.sequence, by_order=(scaled, scaled))  # type: ignore[type-var]
        if "fast" in name
        else Repeat(scaled, scaled)
    )
    solver = dataclasses.replace(solver, sequence=sequence, parameters=parameters)
    compile_plan(solver, VP, steps=steps, **RANGE)
    assert seen == [(4, steps)] * 4


def test_the_ramp_is_descended_at_the_end_on_request() -> None:
    def terms(made: Plan) -> list[int]:
        return [len(s.operations[-1].terms) for s in made.steps]  # type: ignore[union-attr]

    options: dict[str, Any] = {"steps": 7, "prediction": "x0"}
    assert terms(plan("dpm-solver++-3m-corrected", **options, final="full")) == [2, 3, 4, 4, 4, 4, 4]
    assert terms(plan("dpm-solver++-3m-corrected", **options, final="last")) == [2, 3, 4, 4, 4, 4, 2]
    assert terms(plan("dpm-solver++-3m-corrected", **options, final="lower")) == [2, 3, 4, 4, 4, 3, 2]


def test_denoising_appends_the_first_order_step_to_lambda_infinity() -> None:
    made, plain = plan(denoise=True), plan()
    assert made.nfe == plain.nfe + 1
    assert made.times == plain.times
    last = made.steps[-1]
    assert last.t1 is None
    ((_, _, p), (_, _, q)) = last.operations[-1].terms  # type: ignore[union-attr]
    alpha, sigma = VP.alpha(1e-3), VP.sigma(1e-3)
    assert (p, q) == pytest.approx((1 / alpha, -sigma / alpha), rel=4 * ULP, abs=0)  # of a quotient


@pytest.mark.parametrize(
    "schedule", [vp_linear(), edm(), rectified_flow(), vp_cosine()], ids=lambda s: s.kind
)
@pytest.mark.parametrize(
    "name", ["dpm-solver++-2m", "dpm-solver-3", "deis-tab3", "edm-heun", "dpm-solver++-fast-3"]
)
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_grids_may_end_at_sigma_zero_with_a_first_order_last_step(
    schedule: Any, name: str, steps: int
) -> None:
    start = 0.8 * schedule.t_max
    made = compile_plan(
        generic(name), schedule, steps=steps, t_start=start, t_end=0.0, grid=grids.uniform_t(), final="lower"
    )
    seen: list[tuple[torch.Tensor, float]] = []

    def model(x: torch.Tensor, t: float) -> torch.Tensor:
        seen.append((x.clone(), t))
        return torch.tanh(x)

    x = sample(made, model, X).x
    last, t = seen[-1]
    denoised = (last - schedule.sigma(t) * torch.tanh(last)) / schedule.alpha(t)
    torch.testing.assert_close(x, denoised, rtol=1e-12, atol=1e-12)  # some ulp of rho tanh(x), rho <= 64


@pytest.mark.parametrize("name", ["dpm-solver++-2m", "dpm-solver-2", "dpm-solver++-3m-corrected"])
def test_full_order_at_sigma_zero_is_refused_with_the_remedy(name: str) -> None:
    with pytest.raises(ValueError, match=r"step 4 of 5 .*final='lower'"):
        compile_plan(generic(name), VP, steps=5, t_start=0.5, t_end=0.0, grid=grids.uniform_t(), final="full")


def test_noise_prediction_at_zero_signal_is_refused_data_prediction_is_not() -> None:
    options: dict[str, Any] = {"steps": 4, "t_start": 1.0, "t_end": 0.1, "grid": grids.uniform_t()}
    with pytest.raises(ValueError, match=r"'eps' does not give 'x0' at t = 1\.0"):
        compile_plan(make("dpm-solver++-2m"), vp_cosine(), **options)
    with pytest.raises(ValueError, match="step 0 of 4"):
        compile_plan(make("dpm-solver-2m"), vp_cosine(), **options)
    assert compile_plan(make("dpm-solver++-2m"), vp_cosine(), **options, prediction="v").nfe == 4


def test_an_exact_start_takes_the_first_states_as_inputs() -> None:
    made = plan("dpm-solver++-3m-corrected", start="exact")
    assert len(made.inputs) == 3
    assert made.nfe == plan("dpm-solver++-3m-corrected").nfe
    assert len(made.steps) == 6
    with pytest.raises(ValueError, match="at least 3 steps, got 2"):
        plan("dpm-solver++-3m-corrected", start="exact", steps=2)


def test_a_high_order_start_replaces_the_ramp_by_collocation() -> None:
    made = plan("dpm-solver++-3m-corrected", start="high-order")
    assert made.nfe == 8 + 2 * 3  # two steps of four evaluations instead of one


@pytest.mark.parametrize(
    ("name", "order", "history"),
    [("genlawson42", 4, 1), ("unipc-3-bh2", 4, 2), ("pec423", 4, 2), ("lms-4", 4, 3)],
)
def test_a_high_order_start_has_the_order_of_the_formula_not_of_its_history(
    name: str, order: int, history: int
) -> None:
    made = plan(name, start="high-order")
    for step in made.steps[:history]:
        calls = sum(isinstance(op, Evaluation) for op in step.operations)
        assert calls == 1 + order * (order - 1) // 2


def test_carried_evaluations_are_not_repeated() -> None:
    """PEC: the evaluation at the predicted state is the next step's N(0)."""
    pec = Tableau((Stage(1, phi1 * N(0)),), phi1 * (N(0) + N(1)) / 2, carry=1)
    made = compile_plan(
        Solver(name="pec", form=data_in_lambda, sequence=Repeat(pec, pec), claimed=2, source="test"),
        VP,
        steps=5,
        **RANGE,
    )
    assert made.nfe == 6


def test_free_symbols_are_set_per_step() -> None:
    r = sympy.Symbol("r1")
    tableau = Tableau((Stage(r, r * phi(1, r) * N(0)),), phi1 * N(0) + phi1 / (2 * r) * (N(1) - N(0)))
    solver = Solver(
        name="free",
        form=noise_in_lambda,
        sequence=Repeat(tableau, tableau),
        claimed=2,
        source="test",
        parameters=lambda c: {r: 0.5 + 0.1 * c.index},
    )
    made = compile_plan(solver, VP, steps=3, **RANGE)
    for i, step in enumerate(made.steps):
        t = step.operations[2].t  # type: ignore[union-attr]
        fraction = (VP.lam(t) - VP.lam(step.t0)) / (VP.lam(step.t1) - VP.lam(step.t0))
        assert fraction == pytest.approx(0.5 + 0.1 * i, rel=1e-12, abs=0)  # an ulp of lambda over the step
    missing = dataclasses.replace(solver, parameters=None)
    with pytest.raises(ValueError, match="no value for r1"):
        compile_plan(missing, VP, steps=3, **RANGE)


def test_grid_abscissae_are_constant_only_on_the_lambda_grid() -> None:
    by_grid = dpm_solver.singlestep(3, abscissae="grid")
    same = compile_plan(by_grid, VP, steps=4, **RANGE)
    assert difference(same, plan("dpm-solver-3", steps=4)).value < SOME_ULP
    other = compile_plan(by_grid, VP, steps=4, **RANGE, grid=grids.uniform_t())
    assert difference(other, plan("dpm-solver-3", steps=4, grid=grids.uniform_t())).value > 1e-3
    with pytest.raises(ValueError, match="pass grid="):
        compile_plan(by_grid, VP, times=[0.9, 0.5, 0.1])


def test_two_threads_may_compile_and_sample_with_one_solver() -> None:
    solver, results = make("deis-tab3"), {}
    x = torch.ones(2, 2, dtype=torch.float64)

    def work(key: int) -> None:
        made = compile_plan(solver, VP, steps=12 + key % 2, **RANGE)
        results[key] = (made.digest, sample(made, lambda x, t: x * 0.1, x).x)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({results[i][0] for i in range(0, 8, 2)}) == 1
    assert all(torch.equal(results[i][1], results[i % 2][1]) for i in range(8))


# --- bad input ---


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps must be an integer >= 1"),
        ({"steps": 2.5}, "steps must be"),
        ({"steps": None}, "give times, or all of"),
        ({"t_end": 2.0}, "t_end must lie"),
        ({"t_start": 1e-3}, "t_end must differ"),
        ({"prediction": "epsilon"}, "prediction must be one of"),
        ({"start": "warm"}, "start must be one of own, exact, high-order"),
        ({"final": "zero"}, "final must be one of released, full, last, lower"),
        ({"digits": 0}, "digits must be"),
        ({"times": [1.0, 0.5]}, "times cannot be combined"),
        ({"times": [0.5, 0.3, 0.4, 0.1], "t_start": None, "t_end": None, "steps": None}, "strictly decrease"),
        ({"times": [0.1, 0.3, 0.3], "t_start": None, "t_end": None, "steps": None}, "strictly increase"),
        ({"t_start": 0.1, "t_end": 0.5, "denoise": True}, "times must decrease where denoise"),
        ({"times": [0.7, 0.5], "t_start": None, "t_end": None, "steps": 3}, "times must hold 4 values"),
    ],
)
def test_bad_arguments_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan(**options)


@pytest.mark.parametrize("start", ["own", "high-order"])
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("name", ["deis-lambdaab3", "dpm-solver++-3m-corrected", "dpm-solver++-2m"])
def test_a_lower_final_order_ends_at_sigma_zero_for_any_number_of_steps(
    name: str, steps: int, start: Any
) -> None:
    ends: Any = {"t_start": 1.0, "t_end": 0.0, "grid": grids.uniform_t()}
    made = compile_plan(generic(name), VP, steps=steps, final="lower", start=start, **ends)
    (evaluation, row) = made.steps[-1].operations
    assert isinstance(row, Row)
    assert {s for _, s, _ in row.terms} == {evaluation.state}  # DDIM: one state, one evaluation
    with pytest.raises(ValueError, match="final='lower'"):
        compile_plan(make("dpm-solver-2"), VP, steps=steps, **ends)


@pytest.mark.parametrize("digits", [None, 30])
@pytest.mark.parametrize("prediction", ["x0", "v", "flow"])
def test_rectified_flow_starts_at_pure_noise(prediction: str, digits: int | None) -> None:
    """alpha = 0: the first step is the limit x_1 = sigma_1 x_0 + alpha_1 * data."""
    made = compile_plan(
        make("dpm-solver++-2m"),
        rectified_flow(),
        times=[1.0, 0.5, 0.25],
        prediction=prediction,
        digits=digits,
    )
    terms = {(k, s): float(v) for k, s, v in made.steps[0].operations[1].terms}  # type: ignore[union-attr]
    expected = {"x0": (0.5, 0.5), "v": (0.5, -0.5), "flow": (1.0, -0.5)}[prediction]
    assert (terms["x", 0], terms["m", 0]) == expected
    one, other = (
        compile_plan(make(name), rectified_flow(), times=[1.0, 0.5], prediction=prediction, digits=digits)
        for name in ("ddim", "dpm-solver++-1")
    )
    assert difference(one, other).value < 4 * ULP


def test_a_step_on_which_the_schedule_is_flat_is_refused() -> None:
    clipped = discrete.discrete_alpha_squared(discrete.cosine_betas())
    with pytest.raises(ValueError, match="does not change from t = 999"):
        compile_plan(make("ddim"), clipped, times=[999.0, 998.99, 500.0])


def test_a_stage_outside_the_schedule_is_refused() -> None:
    backwards = Tableau((Stage(-1, -phi(1, -1) * N(0)),), phi1 * N(1))
    solver = Solver(
        name="bad", form=data_in_lambda, sequence=Repeat(backwards, backwards), claimed=1, source="test"
    )
    with pytest.raises(ValueError, match="the time of stage 1 must lie in"):
        compile_plan(solver, VP, times=[0.9, 0.1])


def test_the_stochastic_first_order_step_reaches_sigma_zero_as_a_limit() -> None:
    at, near = (compile_plan(make("sde-dpm-solver-1"), VP, times=[1.0, 0.5, t]) for t in (0.0, 1e-15))
    for a, b in zip(at.steps[-1].operations[1].terms, near.steps[-1].operations[1].terms, strict=True):  # type: ignore[union-attr]
        # O(sigma), 1e-8 at t = 1e-15
        assert float(a[2]) == pytest.approx(float(b[2]), rel=1e-7, abs=0)
    (a_noise,), (b_noise,) = (p.steps[-1].operations[1].noise for p in (at, near))  # type: ignore[union-attr]
    assert float(a_noise[1]) == pytest.approx(float(b_noise[1]), rel=SOME_ULP, abs=0)


def test_stochastic_solvers_only_sample() -> None:
    with pytest.raises(ValueError, match=r"times must decrease where .* is stochastic"):
        compile_plan(make("sde-dpm-solver++-1"), VP, times=[0.1, 0.2])


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("solver", "ddim"),
        ("schedule", "vp-linear"),
        ("grid", "lambda"),
        ("t_start", "1"),
        ("t_end", torch.tensor(0.5)),
        ("denoise", "no"),
    ],
)
def test_arguments_of_another_kind_are_named(argument: str, value: Any) -> None:
    arguments: dict[str, Any] = {"solver": make("ddim"), "schedule": VP, "steps": 4} | RANGE
    with pytest.raises(TypeError, match=f"{argument} must be"):
        compile_plan(**(arguments | {argument: value}))


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("dpm-solver++2m", {}, r"nearest are .*dpm-solver\+\+-2m"),
        ("nonsense", {}, "semilinear list"),
        ("deis-tab1", {"r1": 1}, "does not take r1"),
        ("dpm-solver-3", {"r1": 2}, r"r1 must be a number in \(0, 1\]"),
        ("dpm-solver-2", {"r1": "half"}, r"r1 must be a number in \(0, 1\]"),
        ("etdrk4", {"form": "noise"}, "form must be a function"),
        ("dpm-solver-3", {"r2": sympy.Rational(1, 3)}, "r1 and r2 must differ"),
        ("dpm-solver-2", {"abscissae": "random"}, "abscissae"),
        ("dpm-solver-2", {"abscissae": "grid", "r1": 0.5}, "cannot be given"),
    ],
)
def test_bad_solvers_are_named(name: str, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(name, **parameters)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: dpm_solver.multistep(4), "order must be an integer from 1 to 3"),
        (lambda: dpm_solver.singlestep(2, NONSENSE), "family"),
        (lambda: dpm_solver.singlestep(2, type=NONSENSE), "type"),
        (lambda: dpm_solver.multistep(3, "sde-dpm-solver"), "never released"),
    ],
)
def test_orders_without_a_solver_are_refused_at_construction(build: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


def test_a_tableau_with_more_history_than_the_ramp_provides_is_refused() -> None:
    from semilinear.integrators.tableaux.tableau import adams

    with pytest.raises(ValueError, match="uses 2 earlier evaluations, 0 exist"):
        compile_plan(
            Solver(name="bad", form=data_in_lambda, sequence=Ramp((adams(3),)), claimed=3, source="test"),
            VP,
            steps=4,
            **RANGE,
        )


def test_exponentials_need_a_constant_operator() -> None:
    with pytest.raises(ValueError, match="no constant linear operator"):
        compile_plan(dataclasses.replace(make("etdrk4"), form=noise_in_time), VP, steps=4, **RANGE)


# --- JSON ---

VARIETY = [
    {},
    {"name": "dpm-solver-3", "denoise": True},
    {"name": "deis-tab3", "start": "exact"},
    {"name": "sde-dpm-solver++-2m"},
    {"name": "etdrk4", "digits": 40},
    {"prediction": "v"},
]


@pytest.mark.parametrize("options", VARIETY)
def test_a_plan_survives_its_file(options: dict[str, Any], tmp_path: Path) -> None:
    made = plan(**options)
    save(made, tmp_path / "plan.json")
    again = load(tmp_path / "plan.json")
    assert again == made
    assert hash(again) == hash(made)
    assert difference(again, made).value == 0
    assert again.schedule == made.schedule
    assert [p.name for p in tmp_path.iterdir()] == ["plan.json"]


def test_increments_survive_the_file_and_are_checked(tmp_path: Path) -> None:
    made = plan("sde-dpm-solver++-2m")
    save(made, tmp_path / "plan.json")
    assert load(tmp_path / "plan.json").increments == made.increments != ()
    for wrong, message in (
        ([None], "increments must hold 8 entries or none, got 1"),
        ({}, "increments must be a list"),
        ([[0.1]] * 8, r"increments\[0\] must be null or two times"),
        ([["x", 0.1]] * 8, r"increments\[0\] must be a number"),
    ):
        with pytest.raises(PlanError, match=message):
            from_json(to_json(made) | {"increments": wrong})


def test_a_high_order_start_is_for_deterministic_solvers() -> None:
    with pytest.raises(ValueError, match="start='high-order' is for deterministic solvers"):
        plan("sde-dpm-solver++-2m", start="high-order")


def test_different_numbers_have_different_digests_and_names_do_not_count() -> None:
    assert plan().digest != plan(steps=9).digest
    assert plan().digest != plan("dpm-solver++-2m-taylor").digest
    assert dataclasses.replace(plan(), solver="other").digest == plan().digest


@pytest.mark.parametrize("digits", [None, 30])
def test_what_is_hashed_is_what_is_saved_but_for_the_names(digits: int | None) -> None:
    made = plan("sde-dpm-solver++-2m", digits=digits)
    saved = to_json(made)
    numbers = {key: saved[key] for key in ("prediction", "digits", "inputs", "steps")}
    assert made.digest == hashlib.sha256(json.dumps(numbers, sort_keys=True).encode()).hexdigest()


def test_difference_finds_a_changed_coefficient() -> None:
    data = to_json(plan())
    data["steps"][3]["operations"][-1]["terms"][1][2] *= 1 + 1e-6
    found = difference(from_json(data), plan())
    assert 1e-8 < found.value < 2e-6  # of a row whose size is another
    assert found.where == "steps[3].operations[1]"
    assert difference(plan(), plan(steps=9)).value == float("inf")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(schema="x"), "schema must be"),
        (lambda d: d.update(prediction="y"), "prediction must be"),
        (lambda d: d.update(steps=[]), "steps must be a non-empty list"),
        (lambda d: d.update(digits=-1), "digits"),
        (lambda d: d["steps"][0].update(operations=3), r"steps\[0\] must hold operations"),
        (lambda d: d["steps"][0].update(output=99), r"steps\[0\].output must be a state"),
        (lambda d: d["steps"][1]["operations"][1]["terms"].append(["x", 77, 1.0]), "does not exist yet"),
        (lambda d: d["steps"][1]["operations"][1]["terms"].append(["x", 0]), "must be \\[kind"),
        (lambda d: d["steps"][1]["operations"][1]["terms"][0].__setitem__(2, "1"), "must be a number"),
        (lambda d: d["steps"][1]["operations"][1]["terms"][0].__setitem__(2, 1e999), "must be finite"),
        (lambda d: d["steps"][1]["operations"][1].update(row=1), "a second time"),
        (lambda d: d["steps"][1]["operations"][0].update(evaluate=50), "which does not exist yet"),
        (lambda d: d["steps"][1]["operations"][0].pop("t"), "must be a number"),
        (lambda d: d.pop("digits"), "digits must be an integer"),
        (lambda d: d.update(digits=True), "digits must be an integer"),
        (lambda d: d["schedule"].pop("kind"), "schedule must hold kind"),
        (lambda d: d.update(prediction=["eps"]), "prediction must be"),
        (lambda d: d.update(inputs=[[1.0]]), r"inputs\[0\] must be one number"),
        (lambda d: d.update(inputs=[0.9]), r"t0 must be the last of inputs"),
        (lambda d: d["steps"][2].update(t1=None), r"steps\[2\].t1 may be null in the last step only"),
        (lambda d: d["steps"][2].update(t0=0.5), r"steps\[2\].t0 must be steps\[1\].t1"),
        (lambda d: d["steps"][-1].update(t1=2.0), "strictly monotone"),
        (lambda d: d["steps"][1].update(output=0), "a state that the step makes"),
        (lambda d: d["steps"][0].update(output=True), "a state that the step makes"),
        (lambda d: d["steps"][0].update(output=[1]), "a state that the step makes"),
        (lambda d: d["steps"][1]["operations"][0].update(evaluate={}), "does not exist yet"),
        (lambda d: d["steps"][1]["operations"][1]["terms"][0].__setitem__(0, []), "does not exist yet"),
        (lambda d: d["steps"][1]["operations"][1]["terms"][0].__setitem__(1, True), "does not exist yet"),
        (lambda d: d["steps"][1]["operations"][1]["terms"][0].__setitem__(2, []), "must not be empty"),
        (lambda d: d["steps"][1]["operations"][1]["terms"][0].__setitem__(2, [[1.0], 2.0]), "terms"),
        (lambda d: d["steps"][1]["operations"][1]["terms"][0].__setitem__(2, 10**400), "must be a number"),
        (lambda d: d["steps"][1]["operations"][1]["terms"].append(["x", 1, 1.0]), "repeats"),
        (lambda d: d["steps"][1]["operations"][1].update(noise=[[-1, 1.0]]), "noise must be a list"),
    ],
)
def test_damaged_files_are_refused_by_place(change: Any, message: str) -> None:
    data = json.loads(json.dumps(to_json(plan())))
    change(data)
    with pytest.raises(PlanError, match=message):
        from_json(data)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda c: (
            st.lists(c, max_size=3)
            | st.dictionaries(st.sampled_from(["schema", "steps", "inputs", "digits"]), c)
        ),
        max_leaves=8,
    )
)
def test_arbitrary_json_is_refused_not_crashed(data: Any) -> None:
    with pytest.raises(PlanError):
        from_json(data)


def test_files_that_are_not_json_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\xff\x00")
    with pytest.raises(PlanError, match=r"x: not text in UTF-8: "):
        load(tmp_path / "x")
    for text in ("[" * 100_000, "1" * 5000, ""):
        (tmp_path / "x").write_text(text)
        with pytest.raises(PlanError, match=r"x: not JSON: "):
            load(tmp_path / "x")


X = torch.linspace(-2, 2, 8, dtype=torch.float64).reshape(4, 2)


def test_the_times_of_an_exact_start_begin_at_the_first_input() -> None:
    assert plan("dpm-solver++-3m-corrected", start="exact").times == plan().times


def test_a_carried_evaluation_is_that_at_the_predicted_state() -> None:
    pec = Tableau((Stage(1, phi1 * NN(0)),), phi1 * (NN(0) + NN(1)) / 2, carry=1)
    made = compile_plan(
        Solver(name="pec", form=forms.data_in_lambda, sequence=Repeat(pec, pec), claimed=2, source="test"),
        VP,
        steps=3,
        t_start=1.0,
        t_end=0.1,
    )
    for step in made.steps[1:]:
        evaluation, output = step.operations[-2], step.operations[-1]
        assert isinstance(output, Row)
        models = {state for kind, state, _ in output.terms if kind == "m"}
        predictor = evaluation.state - 2  # two rows are made per step
        assert models == {predictor, evaluation.state}


def test_values_die_at_their_last_reader() -> None:
    for name in ("dpm-solver++-3m-corrected", "dpm-solver-3"):
        made = plan(name)
        for i in range(len(made.steps) - 1):
            read = {
                key
                for later in made.steps[i + 1 :]
                for op in later.operations
                for key in ((key for key, _ in op.keyed) if isinstance(op, Row) else (2 * op.state,))
            }
            held = {
                2 * op.state + (not isinstance(op, Row)) for s in made.steps[: i + 1] for op in s.operations
            } | {0}
            freed = {key for keys in made.dead[: i + 1] for key in keys}
            assert freed == held - read


def test_the_noise_of_a_step_to_sigma_zero_is_absent() -> None:
    made = compile_plan(
        make("sde-dpm-solver++-1"), VP, steps=3, t_start=0.8, t_end=0.0, grid=grids.uniform_t()
    )
    rows = [op for s in made.steps for op in s.operations if isinstance(op, Row)]
    assert [len(row.noise) for row in rows] == [1, 1, 0]
    to_point = lambda x, t: (x - 0.7 * VP.alpha(t)) / VP.sigma(t)  # noqa: E731
    x = sample(made, to_point, X, noise=[torch.ones_like(X)] * 2).x
    torch.testing.assert_close(x, torch.full_like(X, 0.7), rtol=1e-14, atol=0)  # the point, to some ulp


@pytest.mark.parametrize("one", [{"t_start": 1.0, "t_end": None}, {"t_start": None, "t_end": 0.1}])
def test_times_exclude_each_end(one: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="times cannot be combined"):
        compile_plan(make("ddim"), VP, times=[1.0, 0.5], **one)


def test_plans_that_differ_in_prediction_alone_are_different() -> None:
    assert dataclasses.replace(plan(), prediction="x0") != plan()


def test_the_embedded_row_survives_the_file_and_is_checked() -> None:
    made = compile_plan(dpm_solver.singlestep(3, low=True), VP, steps=3, t_start=1.0, t_end=0.1)
    data = json.loads(json.dumps(to_json(made)))
    assert [s.low for s in from_json(data).steps] == [s.low for s in made.steps] != [None] * 3
    data["steps"][0]["low"] = 99
    with pytest.raises(PlanError, match=r"steps\[0\].low must be a state"):
        from_json(data)


def test_difference_sees_noise_times_and_constants() -> None:
    made = plan("sde-dpm-solver++-1", 4)
    for change in (
        lambda d: d["steps"][1]["operations"][-1]["noise"][0].__setitem__(1, 2.0),
        lambda d: d["steps"][1]["operations"][0].__setitem__("t", 0.9),
        lambda d: d["steps"][3].__setitem__("t1", 0.0011),
    ):
        data = to_json(made)
        change(data)
        assert difference(from_json(data), made).value > 1e-4


def test_abscissae_from_the_grid_have_all_their_digits() -> None:
    solver = dpm_solver.singlestep(3, abscissae="grid")
    times = compile_plan(solver, VP, steps=3, t_start=1.0, t_end=0.1).times
    a, b = (compile_plan(solver, VP, times=times, grid=grids.uniform_t(), digits=d) for d in (30, 45))
    assert difference(a, b).value < THIRTY_DIGITS


def test_degrees_above_eight_are_refused() -> None:
    for build in (deis.tab, deis.rho_ab, deis.lambda_ab):
        with pytest.raises(ValueError, match="degree must be"):
            build(9)


def test_a_boolean_is_not_a_number_of_steps() -> None:
    with pytest.raises(ValueError, match="steps must be"):
        compile_plan(make("ddim"), VP, times=[1.0, 0.5], steps=True)


def test_coefficient_arrays_are_read_only() -> None:
    import dataclasses

    from semilinear.integrators.plans.files import from_json, to_json
    from semilinear.integrators.solver import Solver
    from semilinear.integrators.tableaux.tableau import N, Tableau, phi1

    euler = Tableau((), phi1 * N(0))
    u = np.array([0.25, -0.5])

    def build(schedule: Any) -> Any:
        return dataclasses.replace(forms.data_in_lambda(schedule), affine=lambda t: (0.0, 1.0, u))

    made = compile_plan(
        Solver(name="u", form=build, sequence=Repeat(euler, euler), claimed=1, source="test"),
        VP,
        steps=2,
        t_start=0.9,
        t_end=0.1,
    )
    for p in (made, from_json(json.loads(json.dumps(to_json(made))))):
        assert p.arrays
        assert not any(a.flags.writeable for a in p.arrays)


@pytest.mark.parametrize("r", [0, -1])
def test_abscissae_are_positive(r: int) -> None:
    with pytest.raises(ValueError, match="r1 must be"):
        make("dpm-solver-2", r1=r)


def test_irrational_numbers_have_all_their_digits() -> None:
    xp = multiprecision(40)
    assert abs(xp.number(sympy.sqrt(2)) - xp.sqrt(xp.number(2))) < 1e-38  # an ulp or two of 40 digits


@pytest.mark.parametrize("name", ["dpm-solver++-3m-released", "deis-tab3", "deis-ipndm"])
def test_after_an_exact_start_every_step_is_that_of_the_own_start(name: str) -> None:
    """The same states, numbered alike: from the first full-order step on, row by row."""
    exact, own = (
        [op for s in plan(name, 9, start=start).steps for op in s.operations if isinstance(op, Row)]
        for start in ("exact", "own")
    )
    for a, b in zip(exact, own[generic(name).history :], strict=True):
        assert (a.state, a.terms) == (b.state, b.terms)


def test_coefficients_come_from_lambda_not_from_rounded_times() -> None:
    """diffusers #4986: a second-order coefficient in 40 digits, from lambda alone."""
    xp = multiprecision(40)
    made = compile_plan(make("dpm-solver++-2m"), VP, steps=5, t_start=1.0, t_end=1e-3, prediction="x0")
    lam = [VP.lam(xp.number(t)) for t in made.times]
    h, ratio = lam[3] - lam[2], (lam[2] - lam[1]) / (lam[3] - lam[2])
    alpha = VP.alpha(xp.number(made.times[3]))
    weight = -alpha * xp.expm1(-h) / (2 * ratio)
    row = made.steps[2].operations[-1]
    assert isinstance(row, Row)
    (found,) = (v for kind, state, v in row.terms if kind == "m" and state == 1)
    # lambda in float64: eps lambda/h, some ulp
    assert found == pytest.approx(float(-weight), rel=1e-13, abs=0)
