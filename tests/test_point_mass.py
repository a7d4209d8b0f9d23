"""Data at one point c: the model is x0 = c, the flow x_t = alpha_t c + (sigma_t/sigma_s)(x_s - alpha_s c).

Along it x0 and eps are constant, so that a formula whose weights sum to the exact integral of 1 makes no
error in a step of any length: what a run must be is known for every solver, grid and schedule.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from semilinear.integrators.diffusion import grids
from semilinear.integrators.diffusion.discrete import discrete, linear_betas
from semilinear.integrators.diffusion.prediction import convert
from semilinear.integrators.diffusion.schedule import (
    Schedule,
    edm,
    rectified_flow,
    sub_vp,
    ve,
    vp_cosine,
    vp_linear,
)
from semilinear.integrators.plans.compile import Plan, compile_plan
from semilinear.integrators.run.sampler import sample
from semilinear.integrators.solver import Budgeted, Spanning
from semilinear.integrators.solvers import SOLVERS
from semilinear.verification.studies.own_statistics import generic

from tests.roundings import MANY_ULP, SOME_ULP
from tests.slow import few, slow

VP = vp_linear()
X = torch.linspace(-2, 2, 8, dtype=torch.float64).reshape(4, 2)
C = torch.tensor([0.7, -0.4], dtype=torch.float64)
SCHEDULES: dict[str, Schedule] = {
    "vp-linear": VP,
    "vp-cosine": vp_cosine(),
    "sub-vp": sub_vp(),
    "ve": ve(),
    "edm": edm(),
    "rectified-flow": rectified_flow(),
    "discrete": discrete(linear_betas(1e-4, 0.02, 1000)),
}
# Solvers whose table of coefficients has the length of the run live on their own grid (test_score_sde.py).
ALL = sorted(name for name in SOLVERS if generic(name).form(VP).table is None)
ODE = [name for name in ALL if not generic(name).stochastic]
SDE = [name for name in ALL if generic(name).stochastic]
RIEMANN = ("deis-tab0-released", "deis-tab1-released", "deis-tab2-released", "deis-tab3-released")
"""A Riemann sum of 10,000 points stands for int w: off by a relative 1e-4 or so in every step."""
IN_TIME = (
    "score-sde-ancestral-large",
    "score-sde-em",
    "score-sde-pf-em",
    "score-sde-pf-reverse-diffusion",
    "score-sde-reverse-diffusion",
)
"""Euler's rule on the whole drift, which is not constant along the flow."""
WHOLE = tuple(name for name in ODE if generic(name).form(VP).target not in ("eps", "x0"))
"""The same by their forms, whose integrands are velocities, and a score."""
EXACT = [
    name
    for name in ODE
    if "lawson" not in name and not name.startswith("dpm-solver-v3") and name not in RIEMANN + IN_TIME + WHOLE
]
"""All but Lawson's (they integrate e^(-tL) N by a classical rule), DPM-Solver-v3 (here on statistics of
another law), and those above.
"""
ROUNDING = 2e-11
"""Of a step from rho ~ 150 at the largest: a few hundred ulp of the largest term, 7e-12 at most seen."""


def eps(schedule: Schedule, x: torch.Tensor, t: float) -> torch.Tensor:
    return (x - schedule.alpha(t) * C) / schedule.sigma(t)


def flow(schedule: Schedule, x: torch.Tensor, start: float, end: float) -> torch.Tensor:
    return schedule.alpha(end) * C + schedule.sigma(end) * eps(schedule, x, start)


def run(
    plan: Plan, schedule: Schedule = VP, noise: Any = None
) -> tuple[torch.Tensor, list[tuple[torch.Tensor, float]]]:
    """The final state, and the state and time of every evaluation."""
    model = convert(schedule, lambda x, t: eps(schedule, x, t), "eps", plan.prediction)
    seen: list[tuple[torch.Tensor, float]] = []

    def watched(x: torch.Tensor, t: float) -> torch.Tensor:
        seen.append((x.clone(), t))
        return model(x, t)

    return sample(plan, watched, X, noise=noise if plan.stochastic else None).x, seen


def crossed(names: list[str]) -> list[Any]:
    """Every solver on every schedule; all but two schedules for each are slow, other ones for the next
    solver, so that every form meets every schedule.
    """
    place = {name: i for i, name in enumerate([*names, *SCHEDULES])}
    jumps = [(name, "discrete") for name in WHOLE]  # velocities jump at every node of a table of betas
    pairs = [(name, schedule) for name in names for schedule in SCHEDULES if (name, schedule) not in jumps]
    return slow(pairs, lambda pair: (place[pair[0]] + place[pair[1]]) % len(SCHEDULES) > 1)


OWN_VELOCITY = ["dpm-2-ancestral-rf"]
"""With noise, in the velocities of a flow: on its own schedule Euler's last step is exact, not on others."""


@pytest.mark.parametrize("name", OWN_VELOCITY)
def test_a_noisy_solver_in_velocities_ends_at_the_point_on_its_own_schedule(name: str) -> None:
    schedule = SCHEDULES["rectified-flow"]
    for n in (1, 2, 3, 6, 20):
        plan = compile_plan(generic(name), schedule, steps=n, grid=grids.uniform_t(), t_start=0.9, t_end=0.0)
        x, seen = run(plan, schedule, noise=lambda i, v: torch.ones_like(v))
        largest = max(1.0, *(float(y.abs().max()) for y, _ in seen))
        assert float((x - C).abs().max()) <= MANY_ULP * largest


@pytest.mark.parametrize("name", few([name for name in ALL if name not in OWN_VELOCITY], 3))
def test_every_solver_ends_at_the_point_when_sigma_is_zero_after_any_number_of_steps(name: str) -> None:
    """diffusers #9007, #9104, k-diffusion #104, #43: NaN, or a crash, in the last step to sigma = 0.

    The last step is the first-order one, x = (x_s - sigma_s eps)/alpha_s; of SDEs in noise prediction,
    without the step's noise, (x_s - 2 sigma_s eps)/alpha_s.
    """
    solver = generic(name)
    end: dict[str, Any] = {"t_end": 0.0, "final": "lower"}
    if solver.form(VP).affine is not None:  # at finite lambda alone: denoised from there
        with pytest.raises(ValueError, match=r"statistics are not known at lambda = inf|has no limit"):
            compile_plan(solver, VP, steps=2, grid=grids.karras(), t_start=1.0, **end)
        end = {"t_end": 1e-3, "denoise": True}
    twice = name.startswith(("sde-dpm-solver-", "seeds"))
    errors = []
    more = (60,) if name in WHOLE else ()  # a velocity is stiff where sigma is small
    for n in (1, 2, 3, 6, 20, *more):  # more than any start takes, and even and odd
        budget = n * solver.sequence.period
        plan = compile_plan(solver, VP, steps=budget, grid=grids.karras(), t_start=1.0, **end)
        x, seen = run(plan, noise=lambda i, v: torch.zeros_like(v))
        last, t = seen[-1]
        extra = C - last / VP.alpha(t) if twice else 0  # -sigma_s eps/alpha_s
        largest = max(1.0, *(float(y.abs().max() / VP.alpha(t)) for y, t in seen))
        errors.append(float((x - C - extra).abs().max()) / largest)
    if name in RIEMANN + IN_TIME + WHOLE and "denoise" not in end:
        assert errors[-1] <= 0.1 * errors[-2]  # they approach it, at least as fast as first order in sigma_s
    else:
        assert (
            max(errors) <= 2e-12
        )  # of the largest term: UniPC's corrector doubles its rounding at each step


@pytest.mark.parametrize(("name", "schedule"), crossed(EXACT))
def test_one_step_is_the_flow_on_every_schedule(name: str, schedule: str) -> None:
    """diffusers #14572: 0/0 with a single step."""
    s = SCHEDULES[schedule]
    start, end = 0.9 * min(s.t_max, 1.0), 0.1 * min(s.t_max, 1.0)
    x, _ = run(compile_plan(generic(name), s, steps=1, t_start=start, t_end=end), s)
    torch.testing.assert_close(x, flow(s, X, start, end), rtol=0, atol=ROUNDING)


@pytest.mark.parametrize(("name", "schedule"), crossed(sorted(set(ODE) - set(EXACT))))
def test_one_step_of_the_others_is_consistent_on_every_schedule(name: str, schedule: str) -> None:
    """A step of half the length has a quarter of the local error or less: 0.35 leaves room for the next.

    1e-14 is rounding, which Lawson's sixth order has reached, and all where the drift is constant (edm).
    Velocities jump at every node of a table of betas, which leaves half of the error to any order.
    """
    s = SCHEDULES[schedule]
    start, errors = 0.6 * min(s.t_max, 1.0), []
    for share in (0.02, 0.01):
        end = (1 - share) * start
        x, _ = run(compile_plan(generic(name), s, steps=1, t_start=start, t_end=end), s)
        errors.append(float((x - flow(s, X, start, end)).abs().max()))
    jumps = name in WHOLE and schedule == "discrete"
    assert errors[1] <= (0.6 if jumps else 0.35) * errors[0] + SOME_ULP


@pytest.mark.parametrize(
    "name", [n for n in EXACT if not isinstance(generic(n).sequence, Budgeted | Spanning)]
)
def test_a_run_from_an_interior_time_is_the_flow_from_there(name: str) -> None:
    """diffusers #5687: image-to-image starts inside the grid; the run from there is one of its own."""
    times = compile_plan(generic(name), VP, steps=6, t_start=1.0, t_end=1e-2).times
    inner = compile_plan(generic(name), VP, times=times[2:], grid=grids.uniform_lambda())
    assert inner.times == times[2:]
    torch.testing.assert_close(run(inner)[0], flow(VP, X, times[2], 1e-2), rtol=0, atol=ROUNDING)


def affine_in_noise(plan: Plan, schedule: Schedule) -> float:
    """With an affine model a run is affine in its noise w: x(w) + x(-w) = 2 x(0).

    Returns the noise's share in the result.  1e-10: rounding of runs whose states reach 1e6 and come back.
    """
    plus, zero, minus = (
        run(plan, schedule, lambda i, v, k=k: k * torch.full_like(v, 1.0 + i))[0] for k in (1, 0, -1)
    )
    scale = max(1.0, float(plus.abs().max()), float(minus.abs().max()))
    assert float((plus + minus - 2 * zero).abs().max()) <= 1e-10 * scale  # see above
    return float((plus - zero).abs().max()) / scale


@pytest.mark.parametrize("name", SDE)
def test_stochastic_runs_are_affine_in_their_noise(name: str) -> None:
    """physicsnemo #1932, diffusers #13778: every stochastic solver runs, and its noise matters."""
    budget = 8 * generic(name).sequence.period
    plan = compile_plan(generic(name), VP, steps=budget, t_start=1.0, t_end=1e-3)
    assert affine_in_noise(plan, VP) > 1e-6  # of the last steps at least


@pytest.mark.parametrize(("name", "schedule"), crossed(SDE))
def test_one_stochastic_step_is_affine_in_its_noise_on_every_schedule(name: str, schedule: str) -> None:
    s = SCHEDULES[schedule]
    ends: dict[str, Any] = {"t_start": 0.9 * min(s.t_max, 1.0), "t_end": 0.1 * min(s.t_max, 1.0)}
    affine_in_noise(compile_plan(generic(name), s, steps=1, **ends), s)
