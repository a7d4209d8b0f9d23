"""Heun++ 2, DPM++ 2M v2 and DPM-2 with the ancestral noise of rectified flow, each against its loop."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from semilinear.analysis.orders.solver_proof import prove_solver
from semilinear.integrators.diffusion.prediction import convert
from semilinear.integrators.diffusion.schedule import Schedule, edm, rectified_flow
from semilinear.integrators.numerics.arithmetic import FLOAT64
from semilinear.integrators.plans.compile import compile_plan
from semilinear.integrators.plans.compiler import StepCompiler
from semilinear.integrators.plans.program import Row
from semilinear.integrators.run.sampler import sample
from semilinear.integrators.solver import FINALS, Closed
from semilinear.integrators.solvers import make
from semilinear.integrators.tableaux.tableau import N, Tableau, phi1
from semilinear.verification.problems.named import problem
from semilinear.verification.problems.reference import Solution

from tests.roundings import MANY_ULP

EDM, FLOW = edm(), rectified_flow()
PROBLEM = problem("golden-mixture")
X = torch.tensor([[0.3, -1.2], [1.5, 0.4], [-0.7, 0.9]], dtype=torch.float64)
SIGMAS = (9.0, 5.0, 3.1, 1.4, 0.9, 0.2, 0.05)


def run(name: str, schedule: Schedule, times: Any, noise: Any = None) -> Any:
    plan = compile_plan(make(name), schedule, times=times)
    return sample(plan, PROBLEM.model(schedule), X, noise=noise).x


@pytest.mark.parametrize("count", [2, 3, 4, 7])
def test_heun_pp_is_its_loop(count: int) -> None:
    """Slopes at the step's start, at its end and at the next step's, weighted by their place in the run."""
    sigmas, x = SIGMAS[:count], X
    eps, top = PROBLEM.model(EDM), SIGMAS[0]
    for i, (s, t) in enumerate(itertools.pairwise(sigmas)):
        slopes, at = [eps(x, s)], x + (t - s) * eps(x, s)
        if t != sigmas[-1]:
            slopes.append(eps(at, t))
        if len(slopes) == 2 and sigmas[i + 2] != sigmas[-1]:
            slopes.append(eps(at + (sigmas[i + 2] - t) * slopes[1], sigmas[i + 2]))
        later = [sigmas[i + j] / (len(slopes) * top) for j in range(1, len(slopes))]
        weights = [1 - sum(later), *later]
        x = x + (t - s) * sum(w * d for w, d in zip(weights, slopes, strict=True))
    torch.testing.assert_close(run("heun++-2", EDM, sigmas), x, rtol=MANY_ULP, atol=MANY_ULP)
    n = count - 1
    assert compile_plan(make("heun++-2"), EDM, times=sigmas).nfe == 3 * n - min(3, 2 * n)


@pytest.mark.parametrize("end", [0.05, 0.0])
def test_2m_v2_is_its_loop(end: float) -> None:
    sigmas, x = (*SIGMAS[:-1], end), X
    eps = PROBLEM.model(EDM)
    last: Any = None
    for i, (s, t) in enumerate(itertools.pairwise(sigmas)):
        data, h = x - s * eps(x, s), math.log(s / t) if t else math.inf
        row, mean = data, h
        if i and t:
            before = math.log(sigmas[i - 1] / s)
            r, mean = max(h, before) / min(h, before), (h + before) / 2
            row = data + (data - last) / (2 * r)
        x, last = t / s * x - math.expm1(-mean) * row, data
    torch.testing.assert_close(run("dpm++-2m-v2", EDM, sigmas), x, rtol=MANY_ULP, atol=MANY_ULP)


def test_2m_v2_is_2m_on_equal_steps() -> None:
    options: dict[str, Any] = {"steps": 8, "t_start": 20.0, "t_end": 0.1, "final": "full"}
    made, known = (compile_plan(make(name), EDM, **options) for name in ("dpm++-2m-v2", "dpm-solver++-2m"))
    for one, other in zip(made.steps, known.steps, strict=True):
        for row, same in zip(one.operations, other.operations, strict=True):
            if isinstance(row, Row) and isinstance(same, Row):
                values, others = ([v for _, _, v in op.terms] for op in (row, same))
                np.testing.assert_allclose(values, others, rtol=1e-12)  # steps are equal to rounding


def test_2m_v2_misses_even_constant_data() -> None:
    """Its weights sum to 1 - e^-(h_0 + h)/2, the transfer asks for 1 - e^-h: half the change of the step."""
    sigmas = (8.0, 2.0, 1.0)
    end = sample(compile_plan(make("dpm++-2m-v2"), EDM, times=sigmas), lambda x, s: (x - 1.0) / s, X).x
    at_2 = 1 + (X - 1) / 4
    expected = at_2 / 2 - math.expm1(-(math.log(4) + math.log(2)) / 2)
    torch.testing.assert_close(end, expected, rtol=MANY_ULP, atol=0)
    assert float((end - (1 + (X - 1) / 8)).abs().min()) > 0.1


def test_the_midpoint_rule_with_the_noise_of_rectified_flow_is_its_loop() -> None:
    times, x = (0.9, 0.6, 0.35, 0.1), X
    model = convert(FLOW, PROBLEM.model(FLOW), "eps", "flow")
    noise = torch.tensor([[[0.4, -0.2]], [[-1.0, 0.3]], [[0.6, 1.1]]], dtype=torch.float64).expand(
        3, *X.shape
    )
    for z, (s, t) in zip(noise, itertools.pairwise(times), strict=True):
        down = t * (1 + (t / s - 1))
        middle = math.sqrt(s * down)
        velocity = model(x + (middle - s) * model(x, s), middle)
        back = (1 - t) / (1 - down)
        x = back * (x + (down - s) * velocity) + math.sqrt(t**2 - (down * back) ** 2) * z
    found = run("dpm-2-ancestral-rf", FLOW, times, noise=noise)
    torch.testing.assert_close(found, x, rtol=MANY_ULP, atol=MANY_ULP)


# --- orders ---


def test_weights_of_the_whole_run_make_no_second_order() -> None:
    proof = prove_solver(make("heun++-2"))
    assert {proof.run(grid) for grid in ("any", "smooth", "equal")} == {1}


def test_what_2m_v2_misses_telescopes() -> None:
    """The local error (h_0 - h)/2 N is of the size of the step where steps are not alike, but its sum is not:
    first order on any grid, as on smooth ones; second on equal steps.
    """
    proof = prove_solver(make("dpm++-2m-v2"))
    assert [proof.run(grid) for grid in ("any", "smooth", "equal")] == [1, 1, 2]
    alone = next(part.formula for part in proof.parts if part.place == "recurring")
    assert (alone.order("any"), alone.order("any", recurring=True)) == (0, 1)
    errors = []
    for n in (64, 256, 1024):
        steps = np.random.default_rng(n).uniform(1.0, 3.0, n)
        lams = -0.7 + 2.4 * np.concatenate([[0.0], np.cumsum(steps) / steps.sum()])
        times = np.exp(-lams)
        (exact,) = Solution(PROBLEM, EDM, X.numpy(), times[0]).states([times[-1]])
        errors.append(float(np.abs(run("dpm++-2m-v2", EDM, times).numpy() - exact).max()))
    assert math.log(errors[0] / errors[2], 16) == pytest.approx(1, abs=0.15)  # grids are drawn


def test_other_errors_of_step_ratios_do_not_telescope() -> None:
    """iPNDM's h^2 (omega_1 - 1) is no difference of a function of one step."""
    assert prove_solver(make("deis-ipndm")).run("any") == 1


# --- runs whose times are not known ---


def test_a_run_that_does_not_know_its_times_is_refused() -> None:
    compiler = StepCompiler(make("heun++-2"), EDM, "eps", FLOAT64)
    with pytest.raises(ValueError, match="times must be known: not adaptive"):
        compiler.step(make("heun++-2").sequence.tableaux[-1], 9.0, 5.0, 0, 3)


def test_last_steps_of_their_own_are_taken_from_the_end() -> None:
    full, first, last = (Tableau((), k * phi1 * N(0)) for k in (1, 2, 3))
    sequence = Closed(full, (first, last))
    for final in FINALS:
        runs = [sequence.at(count, final) for count in (1, 2, 3, 5)]
        assert runs == [(last,), (first, last), (full, first, last), (full, full, full, first, last)]
    assert sequence.tableaux == (last, first, full)
    assert "last 2" in str(sequence)
