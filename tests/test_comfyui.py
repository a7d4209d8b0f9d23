"""ComfyUI's stochastic samplers, each against its loop in sigma with noise that is given."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from semilinear.integrators.diffusion.prediction import convert
from semilinear.integrators.diffusion.schedule import Schedule, edm, rectified_flow
from semilinear.integrators.forms.reverse import NoiseLevel
from semilinear.integrators.plans.compile import compile_plan
from semilinear.integrators.run.sampler import sample
from semilinear.integrators.solver import Solver
from semilinear.integrators.solvers import make
from semilinear.integrators.solvers.comfyui import (
    exponential_heun,
    res_2s_sde,
    sa_solver_released,
    sde_4m,
)
from semilinear.integrators.solvers.stochastic import at_noise_level, level_of
from semilinear.verification.problems.named import problem

from tests.roundings import MANY_ULP

PROBLEM = problem("golden-mixture")
X = torch.tensor([[0.3, -1.2], [1.5, 0.4], [-0.7, 0.9]], dtype=torch.float64)
GRIDS = {
    "edm": (9.0, 5.0, 3.1, 1.4, 0.9, 0.5, 0.2, 0.05),
    "rectified-flow": (0.95, 0.8, 0.6, 0.5, 0.35, 0.2, 0.1, 0.03),
}
SCHEDULES = [edm(), rectified_flow()]
ENDS = [False, True]
CLOSE: dict[str, Any] = {"rtol": 20 * MANY_ULP, "atol": 20 * MANY_ULP}  # of a few differences a step


class Levels:
    """A grid as ComfyUI has it: sigma, alpha, half the log of alpha^2/sigma^2, and x_0 by the model."""

    def __init__(self, schedule: Schedule, to_data: bool) -> None:
        times = GRIDS[schedule.kind]
        self.times = (*times[:-1], 0.0) if to_data else times
        self.schedule = schedule
        self.data = convert(schedule, PROBLEM.model(schedule), "eps", "x0")
        self.flow = schedule.kind == "rectified-flow"

    def alpha(self, s: float) -> float:
        return 1 - s if self.flow else 1.0

    def lam(self, s: float) -> float:
        return math.log(self.alpha(s) / s)

    def sigma(self, lam: float) -> float:
        return 1 / (1 + math.exp(lam)) if self.flow else math.exp(-lam)

    def middle(self, s: float, t: float, r: float) -> float:
        return self.sigma(self.lam(s) + r * (self.lam(t) - self.lam(s)))


def draws() -> Iterator[torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    while True:
        yield torch.randn(X.shape, dtype=torch.float64, generator=generator)


def check(solver: Solver, levels: Levels, expected: torch.Tensor) -> None:
    """Against a run that draws the same noise in the same order."""
    plan = compile_plan(solver, levels.schedule, times=levels.times)
    noise = list(itertools.islice(draws(), len(plan.increments))) if plan.increments else None
    found = sample(plan, PROBLEM.model(levels.schedule), X, noise=noise).x
    torch.testing.assert_close(found, expected, **CLOSE)  # a run of some steps


def over(h: float) -> float:
    """The integral of e^(s - h) over [0, h]."""
    return -math.expm1(-h)


def moment(h: float) -> float:
    """h phi_2(-h)."""
    return 1 + math.expm1(-h) / h


def seeds(levels: Levels, nodes: tuple[float, ...], eta: float, weights: Any) -> torch.Tensor:
    """A Runge-Kutta method at nodes in lambda whose states share one path: between neighbouring nodes it gets
    e^(-eta h) of what it had, and new noise.

    weights: (node index, H) -> those of the evaluations so far in the row, H the step times 1 + eta.
    """
    x, noise = X, draws()
    for s, t in itertools.pairwise(levels.times):
        values = [levels.data(x, s)]
        if t == 0:
            return values[0]
        h, path, at = levels.lam(t) - levels.lam(s), torch.zeros_like(X), 0.0
        for k, c in enumerate((*nodes, 1.0)):
            level = t if c == 1 else levels.middle(s, t, c)
            if c > at and eta:
                gap = (c - at) * h * eta
                path = math.exp(-gap) * path + math.sqrt(-math.expm1(-2 * gap)) * next(noise)
            row = sum(w * v for w, v in zip(weights(k, h * (1 + eta)), values, strict=True))
            state = level / s * math.exp(-c * h * eta) * x + levels.alpha(level) * row + level * path
            at = c
            if k < len(nodes):
                values.append(levels.data(state, level))
        x = state
    return x


def two(c: float, kind: str) -> Any:
    """Rows of seeds_2: b_2 = phi_1/(2 c) ("phi_1") or phi_2/c ("phi_2")."""

    def weights(k: int, h: float) -> list[float]:
        if k == 0:
            return [over(c * h)]
        second = over(h) / (2 * c) if kind == "phi_1" else moment(h) / c
        return [over(h) - second, second]

    return weights


def three(k: int, h: float) -> list[float]:
    """Rows of seeds_3 at 1/3 and 2/3."""
    if k == 0:
        return [over(h / 3)]
    if k == 1:
        return [over(2 * h / 3) - 2 * moment(2 * h / 3), 2 * moment(2 * h / 3)]
    return [over(h) - 1.5 * moment(h), 0.0, 1.5 * moment(h)]


@pytest.mark.parametrize("to_data", ENDS)
@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s.kind)
@pytest.mark.parametrize("eta", [0, 1, 0.5])
def test_seeds_2_is_2s_or_res_2s_under_the_sde(eta: float, schedule: Schedule, to_data: bool) -> None:
    levels = Levels(schedule, to_data)
    end: Any = "last" if to_data else "full"
    check(res_2s_sde(eta), levels, seeds(levels, (0.5,), eta, two(0.5, "phi_2")))
    check(exponential_heun(eta), levels, seeds(levels, (1.0,), eta, two(1.0, "phi_2")))
    for order, nodes, weights in ((2, (0.5,), two(0.5, "phi_1")), (3, (1 / 3, 2 / 3), three)):
        known = make(f"sde-dpm-solver++-{order}s")
        plan = compile_plan(
            at_noise_level(known, "data", level_of(eta)), schedule, times=levels.times, final=end
        )
        noise = list(itertools.islice(draws(), len(plan.increments))) if plan.increments else None
        found = sample(plan, PROBLEM.model(schedule), X, noise=noise).x
        torch.testing.assert_close(found, seeds(levels, nodes, eta, weights), **CLOSE)  # as above


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s.kind)
def test_exponential_heun_without_noise_is_etdrk2(schedule: Schedule) -> None:
    levels = Levels(schedule, False)
    check(make("etdrk2"), levels, seeds(levels, (1.0,), 0, two(1.0, "phi_2")))


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s.kind)
@pytest.mark.parametrize("to_data", ENDS)
def test_er_sde_is_the_release_with_200_points_and_no_clip(schedule: Schedule, to_data: bool) -> None:
    levels, noise, x = Levels(schedule, to_data), draws(), X
    known: list[Any] = []
    slopes: list[Any] = []
    rho = [s / levels.alpha(s) for s in levels.times]

    def scale(r: Any) -> Any:
        return r * (np.exp(r**0.3) + 10)

    for i, (s, t) in enumerate(itertools.pairwise(levels.times)):
        known.append(levels.data(x, s))
        if t == 0:
            x = known[-1]
            break
        ratio, dt = scale(rho[i + 1]) / scale(rho[i]), rho[i + 1] - rho[i]
        places = rho[i + 1] - np.arange(200) * dt / 200
        sums = [np.sum((places - rho[i]) ** k / scale(places)) * -dt / 200 for k in (0, 1)]
        x = levels.alpha(t) / levels.alpha(s) * ratio * x + levels.alpha(t) * (1 - ratio) * known[-1]
        if i >= 1:
            slopes.append((known[-1] - known[-2]) / (rho[i] - rho[i - 1]))
            x = x + levels.alpha(t) * (dt + sums[0] * scale(rho[i + 1])) * slopes[-1]
        if i >= 2:
            bend = (slopes[-1] - slopes[-2]) / ((rho[i] - rho[i - 2]) / 2)
            x = x + levels.alpha(t) * (dt**2 / 2 + sums[1] * scale(rho[i + 1])) * bend
        std = math.sqrt(rho[i + 1] ** 2 - (rho[i] * ratio) ** 2)
        x = x + levels.alpha(t) * std * next(noise)
    check(make("er-sde-3-comfyui"), levels, x)


def through(lams: list[float], start: float, end: float, rate: float) -> np.ndarray:
    """Weights of values at lams, by solving for the moments of e^(rate (s - end)) in s - start."""
    nodes, weights = np.polynomial.legendre.leggauss(40)
    s = start + (end - start) * (nodes + 1) / 2
    weight = weights * (end - start) / 2 * rate * np.exp(rate * (s - end))
    powers = np.arange(len(lams))[:, None]
    return np.linalg.solve((np.array(lams) - start) ** powers, ((s - start) ** powers) @ weight)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s.kind)
@pytest.mark.parametrize("to_data", ENDS)
@pytest.mark.parametrize("mode", ["PEC", "PECE"])
@pytest.mark.parametrize("levels_of", ["constant", "window"])
def test_sa_solver_goes_down_at_the_end_one_step_before_the_release(
    levels_of: str, mode: Any, to_data: bool, schedule: Schedule
) -> None:
    """The window is that of noise levels at a step's end."""
    levels = Levels(schedule, to_data)
    times, noise, x, predicted = levels.times, draws(), X, X
    top, low = times[2], times[5]
    values: list[Any] = []
    tau, h, added = 0.0, 0.0, torch.zeros_like(X)
    n = len(times) - 1
    lams = [levels.lam(s) for s in times if s]
    for i, (s, t) in enumerate(itertools.pairwise(times)):
        values.append(levels.data(predicted, s))
        left = n - i
        most = min(4, len(values), left) if to_data else min(4, len(values))
        if i == 0 or (t == 0 and mode == "PEC"):
            x = predicted
        else:
            rate = 1 + tau**2
            b = through(lams[i - most + 1 : i + 1], lams[i - 1], lams[i], rate)
            rows = sum(w * v for w, v in zip(b, values[-most:], strict=True))
            x = s / times[i - 1] * math.exp(-(tau**2) * h) * x + levels.alpha(s) * rows + added
            if mode == "PECE":
                values[-1] = levels.data(x, s)
        if t == 0:
            predicted = values[-1]
            break
        most = min(3, len(values), left - 1) if to_data else min(3, len(values))
        tau = 1.0 if levels_of == "constant" or top >= t >= low else 0.0
        h = lams[i + 1] - lams[i]
        b = through(lams[i - most + 1 : i + 1], lams[i], lams[i + 1], 1 + tau**2)
        rows = sum(w * v for w, v in zip(b, values[-most:], strict=True))
        added = t * math.sqrt(-math.expm1(-2 * tau**2 * h)) * next(noise)
        predicted = t / s * math.exp(-(tau**2) * h) * x + levels.alpha(t) * rows + added
    level: Any = 1 if levels_of == "constant" else NoiseLevel((times[1], low), (0, 1, 0))
    check(sa_solver_released(mode, tau=level), levels, predicted)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s.kind)
def test_to_noise_sa_solver_is_the_release_s_at_full_order(schedule: Schedule) -> None:
    levels = Levels(schedule, False)
    ours, known = (
        compile_plan(make(name), schedule, times=levels.times, final="full")
        for name in ("sa-solver-3-4-comfyui", "sa-solver-3-4")
    )
    assert ours == known


@pytest.mark.parametrize("to_data", ENDS)
@pytest.mark.parametrize("eta", [0, 1, 0.5])
def test_4m_sde_is_its_loop(eta: float, to_data: bool) -> None:
    """The release is for alpha = 1."""
    levels = Levels(edm(), to_data)
    noise, x = draws(), X
    values: list[Any] = []
    steps: list[float] = []
    for s, t in itertools.pairwise(levels.times):
        values.insert(0, levels.data(x, s))
        if t == 0:
            x = values[0]
            break
        h = math.log(s / t)
        big = h * (1 + eta)
        second = moment(big)
        third = second / big - 0.5
        x = math.exp(-big) * x + over(big) * values[0]
        r = [v / h for v in steps]
        d = [(a - b) / q for (a, b), q in zip(itertools.pairwise(values), r, strict=False)]
        if len(d) == 1:
            x = x + second * d[0]
        elif len(d) == 2:
            x = x + second * (d[0] + (d[0] - d[1]) * r[0] / (r[0] + r[1]))
            x = x - third * (d[0] - d[1]) / (r[0] + r[1])
        elif len(d) >= 3:
            bend = (d[0] - d[1]) * r[2] / (r[2] + r[1]) - (d[1] - d[2]) * r[1] / (r[0] + r[1])
            both = (r[2] + r[1]) * (r[0] + r[1])
            x = x + second * (d[0] + (d[0] - d[1]) * r[2] / (r[2] + r[1]) + bend * r[2] / both)
            x = x - third * ((d[0] - d[1]) / (r[2] + r[1]) + bend / both)
        if eta:
            x = x + next(noise) * t * math.sqrt(-math.expm1(-2 * h * eta))
        steps.insert(0, h)
    check(sde_4m(eta), levels, x)
