"""Plans from and to alpha = 0 and sigma = 0: the limits of the coefficients, taken where they exist."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
import torch
from semilinear.analysis.orders.exact import open_schedule
from semilinear.integrators.diffusion import grids
from semilinear.integrators.diffusion.prediction import convert
from semilinear.integrators.diffusion.schedule import rectified_flow, vp_cosine
from semilinear.integrators.numerics.arithmetic import choose
from semilinear.integrators.numerics.germ import GERMS, Diverges, Germ, X, germ
from semilinear.integrators.numerics.phi import phi
from semilinear.integrators.plans.compile import Plan, compile_plan
from semilinear.integrators.plans.program import Row
from semilinear.integrators.run.sampler import sample
from semilinear.integrators.solver import Solver
from semilinear.integrators.solvers import make
from semilinear.verification.claims.identities import IDENTITIES, Identity
from semilinear.verification.problems.named import golden_mixture

from tests.roundings import AMPLIFIED, MANY_ULP, SOME_ULP

FLOW = rectified_flow()
ENDS: dict[str, dict[str, Any]] = {
    "from alpha = 0, flow": {"t_start": 1.0, "t_end": 0.1, "prediction": "flow"},
    "from alpha = 0, eps": {"t_start": 1.0, "t_end": 0.1, "prediction": "eps"},
    "to sigma = 0, eps": {"t_start": 0.9, "t_end": 0.0, "prediction": "eps"},
    "from sigma = 0, eps": {"t_start": 0.0, "t_end": 0.9, "prediction": "eps"},
    "to alpha = 0, v": {"t_start": 0.1, "t_end": 1.0, "prediction": "v"},
}


FAR = Fraction(1, 10**20)


def compiled(solver: Solver, ends: str, steps: int = 4) -> Plan | None:
    """The plan on equal steps in t, or None where it is refused."""
    try:
        return compile_plan(solver, FLOW, steps=steps, grid=grids.uniform_t(), final="full", **ENDS[ends])
    except ValueError:
        return None


def states(plan: Plan, step: int) -> dict[int, dict[tuple[str, int], Any]]:
    """The rows of a step by the states that they make."""
    operations = plan.steps[step].operations
    return {op.state: {(k, s): v for k, s, v in op.terms} for op in operations if isinstance(op, Row)}


def apart(a: dict[tuple[str, int], Any], b: dict[tuple[str, int], Any]) -> float:
    """The largest difference of two rows' coefficients."""
    return max(float(abs(a.get(key, 0) - b.get(key, 0))) for key in a | b)


COMPARED = [
    i
    for i in IDENTITIES
    if i.schedule is open_schedule and not i.in_signal_units and "dpm-solver-v3" not in i.statement
]
UNKNOWN = {"er-sde-ode-1", "er-sde-reverse-sde-1", "score-sde-ancestral-small"}
"""Solvers on forms without formulas over germs: only the limits that they had are compared."""


@pytest.mark.parametrize("ends", ENDS)
@pytest.mark.parametrize(
    "identity",
    [pytest.param(i, marks=[] if k % 12 == 0 else pytest.mark.slow) for k, i in enumerate(COMPARED)],
    ids=[i.statement for i in COMPARED],
)
def test_solvers_that_are_one_method_have_the_same_limits(identity: Identity, ends: str) -> None:
    a, b = identity.a(), identity.b()
    if (a.stochastic or b.stochastic) and not ends.startswith("from alpha"):
        pytest.skip("stochastic solvers sample; no limit is known to sigma = 0 with their noise")
    first, second = compiled(a, ends), compiled(b, ends)
    if {a.name, b.name} & UNKNOWN and (first is None or second is None):
        pytest.skip("refused on one form, which has no formulas over germs")
    assert (first is None) == (second is None)
    if first is None or second is None:
        return
    for step in range(identity.first, 4):
        for x, y in zip(states(first, step).values(), states(second, step).values(), strict=True):
            assert apart(x, y) <= AMPLIFIED * max(1.0, *(abs(v) for v in x.values()))


FROM_NOISE = [
    "dpm-solver++-2m",
    "dpm-solver++-2m-taylor",
    "res-2m",
    "res-3m-corrected",
    "dpm-solver++-3m-corrected",
    "unipc-2-bh2",
    "unipc-3-vary-corrected",
    "unipc-5-bh2",
    "unip-3-bh2",
    "sa-solver-3",
    "ab-norsett2",
    "ab-lawson2",
    "etdrk2",
    "genlawson42",
    "ddim",
    "deis-rhoab3",
    "deis-lambdaab2",
]


@pytest.mark.parametrize("name", FROM_NOISE)
@pytest.mark.parametrize("prediction", ["x0", "flow"])
def test_from_alpha_zero_the_coefficients_are_those_of_a_start_close_to_it(
    name: str, prediction: str
) -> None:
    """With lambda_0 = -X the rest is O(1/X), or exponentially small: twice as far, half of it."""
    check_limit(
        name,
        prediction,
        lambda e: [
            1 - e,
            Fraction(70, 100),
            Fraction(50, 100),
            Fraction(35, 100),
            Fraction(25, 100),
            Fraction(15, 100),
        ],
    )


@pytest.mark.parametrize("name", ["dpm-solver++-2m", "dpm-solver++-3m-corrected", "res-2m", "deis-rhoab2"])
@pytest.mark.parametrize("prediction", ["eps", "flow"])
def test_encoding_from_sigma_zero_is_the_limit_of_starts_close_to_it(name: str, prediction: str) -> None:
    check_limit(
        name,
        prediction,
        lambda e: [
            e,
            Fraction(20, 100),
            Fraction(35, 100),
            Fraction(50, 100),
            Fraction(60, 100),
            Fraction(70, 100),
        ],
    )


@pytest.mark.parametrize("name", ["dpm-solver-2m-taylor", "deis-lambdaab3", "dpm-solver-3m-corrected"])
@pytest.mark.parametrize("prediction", ["eps", "flow"])
def test_noise_prediction_ends_at_sigma_zero_at_full_order(name: str, prediction: str) -> None:
    """int_0^oo e^-s s^k ds is finite: extrapolation in lambda counts."""
    check_limit(
        name,
        prediction,
        lambda e: [
            Fraction(90, 100),
            Fraction(70, 100),
            Fraction(50, 100),
            Fraction(35, 100),
            Fraction(20, 100),
            e,
        ],
    )


def check_limit(name: str, prediction: str, times: Callable[[Fraction], list[Any]]) -> None:
    """The plan at the edge against those at 1e-20 and 1e-40 from it, and in float64 against 100 digits."""

    def at(distance: Fraction, digits: int | None = 100) -> Plan:
        nodes = [choose(digits).number(Fraction(t)) for t in times(distance)]
        return compile_plan(make(name), FLOW, times=nodes, prediction=prediction, final="full", digits=digits)

    limit, *others = at(Fraction(0)), at(Fraction(0), None), at(FAR), at(FAR**2)
    for step in range(len(limit.steps)):
        made = [states(p, step) for p in others]
        for state, row in states(limit, step).items():
            rounded, far, close = (apart(m[state], row) for m in made)
            assert far < 0.2
            # 1e-30: where far is 0, the rounding of the digits asked
            assert close <= 0.55 * far + 1e-30
            assert rounded <= MANY_ULP * max(1, *(abs(v) for v in row.values()))


def test_a_stage_that_no_longer_counts_is_not_evaluated() -> None:
    """The weights of DPM-Solver-3's stages vanish at sigma = 0: its last step is DDIM, one evaluation."""
    full = compile_plan(make("dpm-solver-3"), FLOW, times=[0.9, 0.4, 0.0])
    first = compile_plan(make("ddim"), FLOW, times=[0.9, 0.4, 0.0])
    assert full.nfe == 4
    a, b = ([float(v) for *_, v in p.steps[1].operations[-1].terms] for p in (full, first))  # type: ignore[union-attr]
    assert a == pytest.approx(b, rel=SOME_ULP, abs=0)


@pytest.mark.parametrize(
    ("name", "times", "prediction", "message"),
    [
        ("dpm-solver++-2m", [1.0, 0.5], "eps", r"step 0 of 1 .*'eps' does not give 'x0' at t = 1\.0"),
        (
            "ddim",
            [1.0, 0.5],
            "eps",
            "state at t = 1.0 has no limit, it grows like e.x .*predicts x0, v or flow",
        ),
        ("dpm-solver-2m", [1.0, 0.6, 0.3], "eps", "step 0 of 2 .*state at t = 1.0 has no limit"),
        ("edm-heun", [1.0, 0.5], "v", "alpha is 0 at t = 1.0: begin with another solver in data prediction"),
        ("unipc-2-bh1", [1.0, 0.6, 0.3], "v", "step 0 of 2 .*like x .*another solver in data prediction"),
        ("dpm-solver++-2m", [0.9, 0.5, 0.0], "v", "step 1 of 2 .*grows like x .*final='lower'"),
        ("unipc-2-bh2-noise", [0.9, 0.5, 0.2, 0.0], "x0", "step 2 of 3 .*final='lower'"),
        ("dpm-solver-2", [0.9, 0.0], "eps", "stage at abscissa 1/2 tends to the end of the step, t = 0.0"),
        (
            "ab-lawson2",
            [0.9, 0.7, 0.5, 0.3, 0.0],
            "x0",
            "step 3 .*every weight tends to 0.*final='lower'",
        ),
        ("ddim", [0.0, 0.5], "x0", r"'x0' does not give 'eps' at t = 0\.0"),
    ],
)
def test_where_no_limit_exists_cause_and_remedy_are_named(
    name: str, times: list[float], prediction: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        compile_plan(make(name), FLOW, times=times, prediction=prediction, final="full")


@pytest.mark.parametrize("name", ["dpm-solver++-2m", "unipc-2-bh2", "er-sde-ode-2-corrected", "ab-norsett3"])
@pytest.mark.parametrize("prediction", ["x0", "v"])
def test_every_schedule_that_reaches_pure_noise_starts_there(name: str, prediction: Any) -> None:
    """diffusers #7097: alpha = 0 exactly, with no patched beta; a state of pure noise becomes the data
    that the model names.
    """
    for schedule in (FLOW, vp_cosine()):
        model = convert(schedule, lambda x, t: 0 * x + 0.7, "x0", prediction)
        plan = compile_plan(
            make(name),
            schedule,
            steps=5,
            t_start=1.0,
            t_end=0.1,
            grid=grids.uniform_t(),
            prediction=prediction,
        )
        x = torch.tensor([[1.3]], dtype=torch.float64)
        expected = schedule.alpha(0.1) * 0.7 + schedule.sigma(0.1) * 1.3 / schedule.sigma(1.0)
        assert float(sample(plan, model, x).x) == pytest.approx(expected, rel=1e-13, abs=0)  # some ulp


@pytest.mark.parametrize("name", ["ddim", "dpm-solver++-2m", "dpm-solver++-2s", "dpm-solver-2m"])
def test_the_last_step_of_a_flow_is_its_limit_at_infinite_lambda(name: str) -> None:
    """Sana #91: the last step goes to lambda = infinity; it is explicit, and it is denoising."""
    mixture = golden_mixture()
    x = torch.linspace(-2, 2, 8, dtype=torch.float64).reshape(4, 2)
    model = convert(FLOW, mixture.model(FLOW), "eps", "flow")
    options: dict[str, Any] = {"grid": grids.uniform_t(), "t_start": 0.99, "prediction": "flow"}
    lower = compile_plan(make(name), FLOW, steps=8, t_end=0.0, final="lower", **options)
    options |= {"final": "full", "denoise": True}
    denoised = compile_plan(make(name), FLOW, steps=7, t_end=lower.times[-2], **options)
    a, b = (sample(plan, model, x).x for plan in (lower, denoised))
    torch.testing.assert_close(a, b, rtol=0, atol=1e-12)  # the same sums in another order


def test_a_run_may_go_from_pure_noise_to_data() -> None:
    """An evaluation at alpha = 0 that the last formula does not read leaves its limit alone."""
    ends = [0.7, 0.5, 0.3, 0.0]
    whole, part = (
        compile_plan(make("dpm-solver-2m-taylor"), FLOW, times=t, prediction="x0", final="full")
        for t in ([1.0, *ends], [0.9, *ends])
    )
    (a,), (b,) = (states(plan, 3).values() for plan in (whole, part))
    assert apart(a, b) <= SOME_ULP


def test_stochastic_solvers_forget_a_start_of_pure_noise() -> None:
    made = compile_plan(
        make("sa-solver-3"), FLOW, steps=4, t_start=1.0, t_end=0.1, grid=grids.uniform_t(), prediction="v"
    )
    row = made.steps[0].operations[-1]
    assert isinstance(row, Row)
    assert {(k, s): float(v) for k, s, v in row.terms} == pytest.approx(
        {("m", 0): -float(FLOW.alpha(made.times[1]))}, rel=SOME_ULP, abs=0
    )
    assert float(row.noise[0][1]) == pytest.approx(FLOW.sigma(made.times[1]), rel=SOME_ULP, abs=0)


# --- germs ---


@pytest.mark.parametrize("k", [1, 2, 3, 5])
@pytest.mark.parametrize("sign", [1, -1])
def test_phi_functions_at_infinity_have_their_leading_terms(k: int, sign: int) -> None:
    """phi_k(-x) ~ 1/((k - 1)! x), phi_k(x) ~ e^x/x^k."""
    value = phi(k, sign * X)
    scaled = value * X**k * GERMS.exp(-X) if sign > 0 else value * X
    assert scaled.limit == (1 if sign > 0 else Fraction(1, math.factorial(k - 1)))
    assert value.limit == 0 if sign < 0 else value.rises


def test_infinities_cancel_exactly() -> None:
    big = GERMS.exp(X)
    assert (big / 3 - big * Fraction(1, 3)) == 0
    assert ((big + X) * (big - X) - big**2 + X**2) == 0
    assert ((big + 2 * X) / (X + 1) - big / (X + 1)).limit == 2
    assert (1 / (1 / X - 1 / (X + 1)) - X * (X + 1)).limit == 0
    assert GERMS.exp(-X).limit == 0


@pytest.mark.parametrize(
    ("value", "law"),
    [(X, "like x "), (GERMS.exp(X / 2), r"like e\^\(1/2 x\)"), (-X * GERMS.exp(X), "like e.x x ")],
)
def test_a_germ_without_a_limit_says_how_it_grows(value: Germ, law: str) -> None:
    with pytest.raises(Diverges, match=law):
        _ = value.limit


def test_germs_refuse_what_they_do_not_hold() -> None:
    for ask in (
        lambda: GERMS.log(X),
        lambda: GERMS.exp(X * X),
        lambda: (X + 1) ** 0.5,
        lambda: GERMS.sqrt(germ(0)),
    ):
        with pytest.raises(TypeError):
            ask()
    with pytest.raises(ZeroDivisionError):
        1 / germ(0)
