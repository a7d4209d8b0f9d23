"""Grids that people use, against the packages that have them where these are installed."""

from __future__ import annotations

import importlib.util
import itertools
from typing import Any

import numpy as np
import pytest
import semilinear as sl
from scipy.special import betaincinv
from semilinear.analysis.text.named_parts import GRIDS, UNIFORM, grid_of
from semilinear.integrators.diffusion import grids, optimised_grid, released_grids
from semilinear.integrators.diffusion.grid_tables import TABLES
from semilinear.integrators.diffusion.schedule import edm, rectified_flow, vp_linear
from semilinear.integrators.numerics.arithmetic import multiprecision

from tests.roundings import SOME_ULP
from tests.slow import slow

VP, FLOW = vp_linear(), rectified_flow()
SD = sl.schedules.discrete(sl.schedules.scaled_linear_betas())
NEVER_TO_INDEX_0 = ("diffusers-linspace-ddim", "comfyui-normal")


@pytest.mark.parametrize(
    ("name", "n"),
    slow(
        itertools.product([n for n in GRIDS if n not in (*NEVER_TO_INDEX_0, "ays-svd")], [1, 2, 5, 10]),
        lambda case: case == ("optimised", 10),
    ),
)
def test_every_named_grid_goes_down_from_end_to_end(name: str, n: int) -> None:
    schedule = FLOW if name.startswith("optimal-steps") else SD
    times = grid_of(name)(schedule, schedule.t_max, 1e-3, n)
    assert (len(times), times[0], times[-1]) == (n + 1, schedule.t_max, 1e-3)
    assert all(b < a for a, b in itertools.pairwise(times))


SPACING: dict[str, Any] = {
    "shift": lambda t: FLOW.sigma(t) / (FLOW.sigma(t) + 3 * FLOW.alpha(t)),
    "kl-optimal": lambda t: np.arctan(FLOW.rho(t)),
    "polyexponential:power=2": lambda t: np.sqrt(FLOW.lam(1e-3) - FLOW.lam(t)),
}


@pytest.mark.parametrize("name", SPACING)
def test_the_spacing_variable_is_uniform(name: str) -> None:
    times = grid_of(name)(FLOW, 0.98, 1e-3, 13)
    steps = np.diff([SPACING[name](t) for t in times])
    assert steps == pytest.approx(np.full(13, steps.mean()), rel=1e-11)  # ulp of rho = 49, of 13 differences


def test_names_of_one_grid() -> None:
    for name in ("exponential", "lu-lambda", "polyexponential"):
        assert grid_of(name)(VP, 1.0, 1e-3, 9) == pytest.approx(
            grid_of("lambda")(VP, 1.0, 1e-3, 9), rel=SOME_ULP, abs=0
        )
    mu = float(np.log(3))
    assert grids.dynamic_shift(mu)(FLOW, 1.0, 1e-3, 9) == pytest.approx(
        grids.shift(3)(FLOW, 1.0, 1e-3, 9), rel=SOME_ULP, abs=0
    )


@pytest.mark.parametrize("name", ["shift", "kl-optimal", "polyexponential", "linear-quadratic", "beta"])
def test_multiprecision_times_agree_with_float64(name: str) -> None:
    exact = grid_of(name)(VP, 0.9, 0.01, 9, digits=40)
    assert [float(t) for t in exact] == pytest.approx(grid_of(name)(VP, 0.9, 0.01, 9), rel=SOME_ULP, abs=0)
    assert multiprecision(40).number(0.01) == exact[-1]


def test_a_beta_law_is_symmetric_and_dense_at_both_ends() -> None:
    times = np.array(grids.beta(grids.uniform_t())(FLOW, 1.0, 0.0, 10))
    assert times + times[::-1] == pytest.approx(np.ones(11), rel=SOME_ULP, abs=0)
    steps = -np.diff(times)
    assert np.all(np.diff(steps[:5]) > 0)


def test_only_uniform_grids_are_a_base() -> None:
    for base in (grids.linear_quadratic(), released_grids.gits(), grids.alternating(grids.karras())):
        for make in (grids.alternating, grids.beta):
            with pytest.raises(ValueError, match="base must be uniform"):
                make(base)
    for build in UNIFORM.values():
        assert grids.beta(build()).name.startswith("beta-")


def test_linear_quadratic_has_one_kink_and_meets_its_ends() -> None:
    taus = 1 - np.array(grids.linear_quadratic()(FLOW, 1.0, 0.0, 10))
    assert taus[:6] == pytest.approx(np.linspace(0, 0.025, 6), rel=SOME_ULP, abs=0)
    second = np.diff(taus, 2)
    assert second[:4] == pytest.approx(np.zeros(4), rel=SOME_ULP, abs=0)
    assert second[5:] == pytest.approx(np.full(4, second[5]), abs=SOME_ULP)


@pytest.mark.parametrize("name", TABLES)
def test_tables_stand_as_they_are_published(name: str) -> None:
    table = TABLES[name]
    schedule, start = (FLOW, 1.0) if table.variable == "tau" else (edm(701.0), 701.0)
    for levels in table.rows:
        times = grid_of(name)(schedule, start, 1e-4, len(levels) - 1)
        assert times[1:-1] == pytest.approx(levels[1:-1], rel=SOME_ULP, abs=0)
        assert all(b < a for a, b in itertools.pairwise(levels))


def test_tables_are_interpolated_in_the_log() -> None:
    levels = TABLES["ays-sd1"].rows[0]
    twice = released_grids.interpolated(levels, 20)
    assert twice[::2] == pytest.approx(levels, rel=SOME_ULP, abs=0)
    assert twice[1::2] == pytest.approx(
        [np.sqrt(a * b) for a, b in itertools.pairwise(levels)], rel=SOME_ULP, abs=0
    )


@pytest.mark.parametrize(
    ("name", "schedule", "n", "message"),
    [
        ("comfyui-ddim-uniform", SD, 7, "makes 8 steps where n = 7"),
        ("diffusers-trailing", SD, 1100, "makes 1000 steps where n = 1100"),
        ("diffusers-linspace-ddim", SD, 10, "stops at t = 0.001, which does not lie inside"),
        ("ays-svd", SD, 10, r"stops at t = 1\.2.*, which does not lie inside"),
        ("diffusers-trailing", edm(), 10, "the schedule's times must end at 1 or 999, got 80"),
        ("optimised", SD, 33, "at most 32 steps, got n = 33"),
    ],
)
def test_what_a_grid_does_not_make_is_refused(name: str, schedule: Any, n: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        grid_of(name)(schedule, schedule.t_max, 1e-3, n)


def test_the_optimised_grid_lowers_its_bound() -> None:
    even = [VP.lam(t) for t in grids.uniform_t()(VP, 1.0, 1e-3, 5)]
    found = [VP.lam(t) for t in optimised_grid.optimised()(VP, 1.0, 1e-3, 5)]
    assert optimised_grid.bound(np.array(found)) < 0.7 * optimised_grid.bound(np.array(even))


def test_weights_of_the_bound_integrate_polynomials() -> None:
    """With data 1, tau, tau^2 at the nodes the weights give int_0^h e^(lam + tau) tau^k."""
    nodes, h = np.array([-1.3, -0.4, 0.5]), 0.7
    tau, measure = np.polynomial.legendre.leggauss(20)
    tau, measure = h * (tau + 1) / 2, h * measure / 2
    for order in (1, 2, 3):
        found = optimised_grid.weights(nodes[-order:], np.array(h))
        for k in range(order):
            exact = np.sum(measure * np.exp(0.5 + tau) * tau**k)
            assert np.sum(found * (nodes[-order:] - 0.5) ** k) == pytest.approx(exact, abs=SOME_ULP)


# --- against the packages ---


def indices(times: tuple[float, ...]) -> list[float]:
    return [1000 * t - 1 for t in times[1:-1]]


COUNTS = (3, 8, 10, 15, 25, 50)


@pytest.mark.parametrize(
    ("name", "scheduler", "settings"),
    [
        ("diffusers-trailing", "DPMSolverMultistepScheduler", {"timestep_spacing": "trailing"}),
        ("diffusers-trailing", "DDIMScheduler", {"timestep_spacing": "trailing"}),
        ("diffusers-linspace", "UniPCMultistepScheduler", {"timestep_spacing": "linspace"}),
        ("diffusers-leading", "DEISMultistepScheduler", {"timestep_spacing": "leading", "steps_offset": 1}),
        ("diffusers-leading-ddim", "DDIMScheduler", {"timestep_spacing": "leading", "steps_offset": 1}),
        ("diffusers-linspace-ddim", "DDIMScheduler", {"timestep_spacing": "linspace"}),
    ],
)
def test_indices_are_those_of_diffusers(name: str, scheduler: str, settings: dict[str, Any]) -> None:
    diffusers = pytest.importorskip("diffusers")
    made = getattr(diffusers, scheduler)(**settings)
    for n in COUNTS:
        made.set_timesteps(n)
        theirs = made.timesteps.tolist()
        if name == "diffusers-linspace-ddim":
            assert theirs.pop() == 0  # where the run would end
            times = released_grids.diffusers_linspace_ddim()(SD, 1.0, 5e-4, n)[:-1]
        else:
            times = grid_of(name)(SD, 1.0, 1e-3, n)
        assert indices(times) == pytest.approx(theirs[1:], abs=1e-9)  # lambda to index


@pytest.mark.parametrize(
    ("grid", "settings"),
    [
        ("karras", {"use_karras_sigmas": True}),
        ("exponential", {"use_exponential_sigmas": True}),
        ("beta:base=karras,power=1", {"use_beta_sigmas": True}),
        ("lu-lambda", {"use_lu_lambdas": True}),
    ],
)
def test_levels_are_those_of_diffusers(grid: str, settings: dict[str, Any]) -> None:
    """Its n levels from the largest to the smallest are a grid of n - 1 steps; they are float32."""
    diffusers = pytest.importorskip("diffusers")
    made = diffusers.DPMSolverMultistepScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, **settings
    )
    made.set_timesteps(12)
    theirs = made.sigmas[:12].double().numpy()
    schedule = edm(float(theirs[0]))
    ours = grid_of(grid)(schedule, float(theirs[0]), float(theirs[-1]), 11)
    assert ours == pytest.approx(theirs.tolist(), rel=2e-5)  # float32 levels, from a float32 table


@pytest.mark.parametrize(
    ("grid", "settings", "mu"),
    [
        ("shift", {"shift": 3.0}, None),
        ("dynamic-shift:mu=0.8", {"use_dynamic_shifting": True}, 0.8),
        ("dynamic-shift:mu=2.05,terminal=0.1", {"use_dynamic_shifting": True, "shift_terminal": 0.1}, 2.05),
    ],
)
def test_flow_times_are_those_of_diffusers(grid: str, settings: dict[str, Any], mu: float | None) -> None:
    diffusers = pytest.importorskip("diffusers")
    made = diffusers.FlowMatchEulerDiscreteScheduler(**settings)
    made.set_timesteps(sigmas=np.linspace(1, 1 / 9, 9), mu=mu)
    assert grid_of(grid)(FLOW, 1.0, 0.0, 9) == pytest.approx(made.sigmas.tolist(), abs=1e-6)  # float32


def test_linear_quadratic_is_that_of_diffusers() -> None:
    pytest.importorskip("diffusers")
    mochi = pytest.importorskip("diffusers.pipelines.mochi.pipeline_mochi", exc_type=ImportError)
    for n in (2, 7, 10, 64):
        theirs = [*mochi.linear_quadratic_schedule(n, 0.025), 0.0]
        assert grids.linear_quadratic()(FLOW, 1.0, 0.0, n) == pytest.approx(theirs, abs=SOME_ULP)


def test_published_steps_are_those_of_diffusers() -> None:
    """Its training steps are the levels of the table, on Stable Diffusion's schedule."""
    theirs = pytest.importorskip("diffusers.schedulers.scheduling_utils").AysSchedules
    for name, key in (("ays-sd1", "StableDiffusionTimesteps"), ("ays-sdxl", "StableDiffusionXLTimesteps")):
        levels = [float(SD.rho((i + 1) / 1000)) for i in theirs[key]]
        assert TABLES[name].rows[0][:-1] == pytest.approx(levels, rel=1e-6)  # float32 betas there
    svd = theirs["StableDiffusionVideoSigmas"][:-1]
    assert TABLES["ays-svd"].rows[0][:-1] == tuple(svd)


@pytest.mark.parametrize("grid", ["karras", "exponential", "polyexponential:power=2"])
def test_levels_are_those_of_k_diffusion(grid: str) -> None:
    if importlib.util.find_spec("k_diffusion") is None:
        pytest.skip("k_diffusion is not installed")
    from semilinear.verification.targets.k_diffusion import release

    k_diffusion = release()
    name = grid.partition(":")[0]
    more = {"rho": 2.0} if name == "polyexponential" else {}
    theirs = getattr(k_diffusion, f"get_sigmas_{name}")(11, 0.03, 14.6, **more)[:-1].tolist()
    assert grid_of(grid)(edm(), 14.6, 0.03, 10) == pytest.approx(theirs, rel=1e-5)  # float32


def test_comfyuis_indices_at_ten_steps() -> None:
    """Worked out by hand from its rules."""
    found = {
        name: indices(grid_of(f"comfyui-{name}")(SD, 1.0, 1e-3, 10)) for name in ("simple", "ddim-uniform")
    }
    assert found["simple"] == pytest.approx([899, 799, 699, 599, 499, 399, 299, 199, 99], rel=SOME_ULP, abs=0)
    assert found["ddim-uniform"] == pytest.approx(
        [801, 701, 601, 501, 401, 301, 201, 101, 1], rel=SOME_ULP, abs=0
    )
    beta = [round(999 * float(betaincinv(0.6, 0.6, 1 - i / 10))) for i in range(1, 10)]
    assert indices(grid_of("comfyui-beta")(SD, 1.0, 1e-3, 10)) == pytest.approx(beta, rel=SOME_ULP, abs=0)
