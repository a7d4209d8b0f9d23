"""Samplers read off: the rows are the sampler, and what they say of it is true."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from semilinear.integrators.diffusion.grids import karras, uniform_lambda
from semilinear.integrators.diffusion.schedule import Schedule, edm, vp_linear
from semilinear.integrators.plans import files
from semilinear.integrators.plans.compile import compile_plan
from semilinear.integrators.run.sampler import sample
from semilinear.integrators.solvers import SOLVERS, make
from semilinear.verification.targets.draws import taken_over
from semilinear.verification.tracing.compare import compare, identify
from semilinear.verification.tracing.diagnosis import diagnose
from semilinear.verification.tracing.linearity import reasons
from semilinear.verification.tracing.local import steps_of, suited
from semilinear.verification.tracing.trace import NotLinearError, Trace, of_plan, trace

from tests.roundings import AMPLIFIED, MANY_ULP, SOME_ULP

EDM = edm()
TIMES = tuple(karras()(EDM, 2.0, 0.15, 12))


def listed(name: str, schedule: Schedule = EDM, times: Any = TIMES, **options: Any) -> Trace:
    plan = compile_plan(make(name), schedule, times=times, grid=karras(), **options)
    return of_plan(plan, schedule)


def running(name: str) -> Callable[[Any], Any]:
    """A listed solver as a sampler of a run."""

    def sampler(run: Any) -> Any:
        plan, drawn = compile_plan(make(name), run.schedule, times=run.times), {}

        def noise(index: int, like: Any) -> Any:
            if index not in drawn:  # a stage and its step may share an increment
                drawn[index] = torch.randn_like(like)
            return drawn[index]

        return sample(plan, run.model, run.x, noise=noise).x

    return sampler


def euler(
    run: Any, output: Callable[[Any], Any] = lambda d: d, cast: Callable[[Any], Any] = lambda x: x
) -> Any:
    x, model = run.x, run.predict("x0")
    for a, b in itertools.pairwise(run.times):
        x = cast(b / a * x + (1 - b / a) * output(model(x, a)))
    return x


SAMPLE = (
    "ddim",
    "dpm-solver++-2m",
    "dpm-solver++-3m-released",
    "dpm-solver-3",
    "deis-rhoab3",
    "unipc-3-bh2",
    "edm-heun",
    "deis-ipndm",
    "er-sde-3-released",
    "sde-dpm-solver++-2m",
    "sa-solver-2-2",
    "dpm++-2s-ancestral",
    "edm-heun-churn",
)


@pytest.mark.parametrize("name", SAMPLE)
@pytest.mark.parametrize("schedule", [EDM, vp_linear()], ids=["edm", "vp"])
def test_a_run_on_unit_vectors_gives_the_rows_of_the_plan(name: str, schedule: Schedule) -> None:
    start, end = (schedule.t_of_lam(v) for v in (-0.7, 1.9))
    times = uniform_lambda()(schedule, start, end, 10)
    found, known = trace(running(name), schedule, times), listed(name, schedule, times)
    assert compare(found, known).same
    assert np.allclose(found.rows, known.rows, rtol=0, atol=MANY_ULP * np.max(np.abs(known.rows)))


def _every() -> list[Any]:
    # some take statistics, a budget in evaluations makes other steps, one table of betas has no such times
    others = (
        "dpm-solver-v3",
        "analytic-",
        "pfdiff",
        "dpm-solver-fast",
        "dpm-solver++-fast",
        "sde-dpm-solver-fast",
        "score-sde-anc",
        "scire-v1-agile",
    )
    without = [n for n in SOLVERS if not n.startswith(others)]
    return [pytest.param(n, marks=() if n in SAMPLE else pytest.mark.slow) for n in without]


@pytest.mark.parametrize("name", _every())
def test_steps_do_the_arithmetic_of_the_whole_run_and_are_a_plan_file(name: str) -> None:
    known = listed(name)
    steps = suited(known)
    plan = files.from_json(files.to_json(steps.plan()))
    again = of_plan(plan, EDM)
    assert np.allclose(again.times, known.times, rtol=AMPLIFIED, atol=0)
    rows = known.predicting(plan.prediction).rows
    assert np.allclose(again.rows, rows, rtol=0, atol=1e-11 * np.max(np.abs(rows)))  # predictions' 1/sigma
    # 12 steps again, unless times go back in between, or an evaluation from inside of the first is used later
    made, solver = len(compile_plan(make(name), EDM, times=TIMES, grid=karras()).steps), make(name)
    assert len(plan.steps) in (1, made - any(t.lag for t in solver.sequence.tableaux))


@pytest.mark.parametrize("name", [n for n in SAMPLE if n != "edm-heun-churn"])
def test_a_listed_solver_is_itself(name: str) -> None:
    same = [c for c in identify(listed(name)) if c.difference.same]
    assert name in {c.solver for c in same}
    assert all(c.difference.value < 1e-9 for c in same)  # `same` itself asks for no more


def test_another_solver_is_told_apart_by_the_first_row_that_differs() -> None:
    difference = compare(listed("dpm-solver++-3m-released"), listed("dpm-solver++-3m-corrected"))
    assert not difference.same
    assert difference.first == 3  # the first state that three outputs enter


def test_solvers_of_other_evaluations_differ_where_these_do() -> None:
    difference = compare(listed("edm-heun"), listed("ddim"))
    assert (difference.first, difference.value) == (2, float("inf"))


def test_traces_of_other_grids_are_not_compared() -> None:
    other = uniform_lambda()(EDM, 2.0, 0.15, 12)
    with pytest.raises(ValueError, match="traces must be of one schedule and grid"):
        compare(listed("ddim"), listed("ddim", times=other))


# --- certificates ---


def remembers() -> Callable[[Any], Any]:
    calls = []

    def sampler(run: Any) -> Any:
        calls.append(run)
        return euler(run, lambda d: d * (1 + 0.01 * len(calls)))

    return sampler


def chooses_steps(run: Any) -> Any:
    x, model, t = run.x, run.predict("x0"), run.times[0]
    while t > run.times[-1]:
        d = model(x, t)
        s = max(run.times[-1], t * (0.9 if float((d - x).abs().mean()) > 0.5 else 0.8))
        x, t = s / t * x + (1 - s / t) * d, s
    return x


BENT: dict[str, tuple[Callable[[Any], Any], str]] = {
    "memory": (remembers(), "keeps something between runs"),
    "clipping": (lambda run: euler(run, lambda d: d.clamp(-1, 1)), "clipped"),
    "batch": (lambda run: euler(run, lambda d: d - 0.1 * d.mean(0, keepdim=True)), "batch"),
    "components": (lambda run: euler(run, lambda d: d.flip(-1)), "components of a sample are mixed"),
    "cast": (lambda run: euler(run, cast=lambda x: x.float().double()), "cast to float32"),
    "steps": (chooses_steps, "step-size control"),
}


@pytest.mark.parametrize("name", BENT)
def test_what_is_not_linear_is_refused_with_its_reason(name: str) -> None:
    sampler, why = BENT[name]
    with pytest.raises(NotLinearError) as caught:
        trace(sampler, EDM, TIMES)
    assert any(why in reason for reason in reasons(sampler, EDM, TIMES, caught.value))


def test_a_sampler_that_draws_other_numbers_is_not_read_off() -> None:
    def sampler(run: Any) -> Any:
        return euler(run, lambda d: d + torch.rand_like(d))

    with pytest.raises(NotLinearError) as caught:
        trace(sampler, EDM, TIMES)
    assert reasons(sampler, EDM, TIMES, caught.value) == ("it draws numbers that are not normal: rand_like",)


@pytest.mark.parametrize("dtype", [torch.float16, "float64", None])
def test_other_dtypes_are_refused(dtype: Any) -> None:
    with pytest.raises(ValueError, match=r"dtype must be torch\.float64 or torch\.float32"):
        trace(euler, EDM, TIMES, dtype=dtype)


# --- noise ---


def test_requests_that_overlap_share_their_increments() -> None:
    middle = (TIMES[0] * TIMES[2]) ** 0.5

    def sampler(run: Any) -> Any:
        x = run.x
        whole = run.increment(TIMES[0], TIMES[2], x)
        part = run.increment(TIMES[0], middle, x)
        return run.model(x + 2 * part, TIMES[1]) + 3 * whole

    found = trace(sampler, EDM, TIMES)
    assert len(found.increments) == 2
    noise = found.rows[:, -2:]
    correlation = ((TIMES[0] - middle) / (TIMES[0] - TIMES[2])) ** 0.5  # of one motion in rho = t
    assert noise @ noise.T == pytest.approx(
        np.array([[4, 6 * correlation], [6 * correlation, 9]]), rel=SOME_ULP, abs=0
    )


BY_ANOTHER_NAME = torch.randn


@pytest.mark.parametrize(
    "draw",
    [
        lambda x: torch.randn_like(x),
        lambda x: torch.randn(x.shape, dtype=x.dtype, generator=torch.Generator()),
        lambda x: torch.randn(*x.shape),
        lambda x: torch.empty_like(x).normal_(),
        lambda x: torch.normal(torch.zeros_like(x), 1.0),
        lambda x: torch.normal(0.0, 1.0, x.shape, dtype=x.dtype),
        lambda x: BY_ANOTHER_NAME(x.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(1)),
    ],
    ids=["randn_like", "generator", "randn", "normal_", "normal", "normal of a size", "another name"],
)
def test_draws_of_torch_are_taken_over_and_given_back(draw: Callable[[Any], Any]) -> None:
    found = trace(lambda run: euler(run) + 5 * draw(run.x), EDM, TIMES)
    assert found.rows[-1, -1] == 5
    assert len(found.increments) == 1
    torch.manual_seed(0)
    first = torch.randn(3)
    torch.manual_seed(0)
    assert torch.equal(torch.randn(3), first)
    assert torch.randn is BY_ANOTHER_NAME
    assert "normal_" not in vars(torch.Tensor)


def test_other_threads_and_the_source_itself_draw_as_ever() -> None:
    drawn: list[torch.Tensor] = []

    def sampler() -> torch.Tensor:
        thread = threading.Thread(target=lambda: drawn.append(torch.randn(2)))
        thread.start()
        thread.join()
        return torch.randn(2)

    for _ in range(2):  # watched wholly, then by torch's names
        with taken_over(lambda like: torch.randn_like(like) * 0 + 7, sampler):
            assert sampler().tolist() == [7, 7]
        assert drawn.pop().tolist() != [7, 7]


def test_a_sampler_that_nothing_can_refer_to_weakly_is_watched_all_the_same() -> None:
    class Slotted:
        __slots__ = ()

        def __call__(self, run: Any) -> Any:
            return euler(run) + 5 * BY_ANOTHER_NAME(run.x.shape)

    assert trace(Slotted(), EDM, TIMES).rows[-1, -1] == 5


# --- what rows say ---


def diagnosed(name: str) -> Any:
    return diagnose(lambda n: listed(name, times=karras()(EDM, 2.0, 0.15, n)), (10, 20, 40))


@pytest.mark.parametrize(
    ("name", "form", "right"),
    [
        ("dpm-solver++-2m", "data_in_lambda", 1),  # its second moment is right in the limit
        ("dpm-solver++-3m-released", "data_in_lambda", 2),
        ("dpm-solver++-3m-corrected", "data_in_lambda", 3),
        ("deis-rhoab3", "noise_in_rho", 4),
        ("sde-dpm-solver++-2m", "sde_data", 1),
        ("dpm-solver-2m", "noise_in_lambda", 1),
    ],
)
def test_moments_of_the_usual_formula_are_right_in_its_form(name: str, form: str, right: int) -> None:
    found = diagnosed(name)
    usual = max(found.formulas, key=lambda formula: formula.rows)
    assert (found.form, usual.right) == (form, right)
    assert usual.linear == pytest.approx(1, rel=MANY_ULP, abs=0)


def test_the_halved_second_difference_of_a_released_solver_is_found() -> None:
    usual = max(diagnosed("dpm-solver++-3m-released").formulas, key=lambda formula: formula.rows)
    assert usual.moments[2].state == "wrong"
    assert usual.moments[2].limit == pytest.approx(0.5, rel=AMPLIFIED, abs=0)
    assert str(usual) == "moments 0 and 1 right, moment 2 0.5 of the exact one"


def test_weights_that_are_right_for_small_steps_only_are_said_to_be() -> None:
    """dpm-solver-2 in the Taylor form: (e^h - 1) h/2 stands for phi_2, right to leading order."""

    def sampler(run: Any) -> Any:
        x, model, old = run.x, run.predict("x0"), None
        for k, (a, b) in enumerate(itertools.pairwise(run.times)):
            d, h = model(x, a), float(np.log(a / b))
            slope = 0 * d if old is None else (d - old) / float(np.log(run.times[k - 1] / a))
            x, old = b / a * x + (1 - b / a) * d + h**2 / 2 * slope, d
        return x

    found = diagnose(lambda n: trace(sampler, EDM, uniform_lambda()(EDM, 2.0, 0.15, n)), (20, 40, 80))
    usual = max(found.formulas, key=lambda formula: formula.rows)
    assert [m.state for m in usual.moments] == ["right", "right in the limit"]


@pytest.mark.parametrize("name", ["dpm-solver++-2m", "dpm-solver-3", "deis-rhoab3", "edm-heun"])
def test_an_exact_start_gives_the_formula_what_compile_plan_gives_it(name: str) -> None:
    plan = compile_plan(make(name), EDM, times=TIMES, start="exact", final="full")
    traced = suited(listed(name, final="full")).formula()
    assert traced.inputs == plan.inputs
    x = [torch.linspace(-1, 1, 6, dtype=torch.float64) * (1 + 0.1 * i) for i in range(len(plan.inputs))]
    from semilinear.integrators.diffusion.prediction import convert

    def eps(y: Any, t: Any) -> Any:
        return torch.tanh(y)

    ends = [sample(p, convert(EDM, eps, "eps", p.prediction), x).x for p in (plan, traced)]
    assert torch.allclose(ends[0], ends[1], rtol=0, atol=SOME_ULP)


def test_a_formula_ends_before_steps_that_a_release_lowers() -> None:
    times = (*TIMES, *(TIMES[-1] * np.exp(-0.1 * k) for k in range(1, 4)))
    lowered, full = (
        suited(listed("dpm-solver++-3m-corrected", times=times, final=f)) for f in ("lower", "full")
    )
    assert files.difference(lowered.formula(until=TIMES[-1]), full.formula(until=TIMES[-1])).value < AMPLIFIED
    with pytest.raises(ValueError, match=r"no step ends at t = 0\.14"):
        full.formula(until=0.14)


def test_a_start_that_the_formula_reads_inside_of_has_no_exact_start() -> None:
    """A Runge-Kutta step whose stage is kept as history."""

    def sampler(run: Any) -> Any:
        x, model, old = run.x, run.predict("x0"), None
        for a, b in itertools.pairwise(run.times):
            d = model(x, a)
            if old is None:
                stage = model(b / a * x + (1 - b / a) * d, b)
                x, old = b / a * x + (1 - b / a) * (d + stage) / 2, stage
            else:
                x, old = b / a * x + (1 - b / a) * (3 * d - old) / 2, d
        return x

    steps = steps_of(trace(sampler, EDM, TIMES))
    with pytest.raises(ValueError, match="made inside of the first step, and no exact one"):
        steps.formula()
