"""What a part of a run costs is told where, and only where, most of the error is its own."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from semilinear.verification.audit import costs
from semilinear.verification.audit.checks import findings
from semilinear.verification.audit.subject import Subject
from semilinear.verification.targets import shipped, smalldiffusion
from semilinear.verification.targets.named import Target, target
from semilinear.verification.targets.shipped import Shipped

from tests.roundings import SOME_ULP


def heun(run: Any) -> Any:
    """Heun's method in rho = t, a step to 0 by Euler's."""
    x, times = run.x, [float(t) for t in run.times]
    for a, b in itertools.pairwise(times):
        d = run.model(x, a)
        y = x + (b - a) * d
        x = y if b == 0 else x + (b - a) / 2 * (d + run.model(y, b))
    return x


def said(sampler: Any, check: str, grids: Any = None) -> list[str]:
    made = Target("own", sampler, None, "", named=False, shipped=None if grids is None else lambda: grids)
    return [f"{f.verdict}: {f.message}" for f in findings(Subject(made), check)]


# --- ends ---


@pytest.mark.parametrize("name", ["first", "last"])
def test_a_step_of_lower_order_at_either_end_makes_most_of_the_error(name: str) -> None:
    """Between them three steps are made of Heun's method in place of one."""

    def coarse(run: Any) -> Any:
        x, times = run.x, [float(t) for t in run.times]
        low = 0 if name == "first" else len(times) - 2
        for k, (a, b) in enumerate(itertools.pairwise(times)):
            inner = [a, b] if k == low else np.linspace(a, b, 4).tolist()
            for s, t in itertools.pairwise(inner):
                d = run.model(x, s)
                y = x + (t - s) * d
                x = y if k == low else x + (t - s) / 2 * (d + run.model(y, t))
        return x

    (message,) = said(coarse, "ends")
    assert message.startswith(f"noted: the {name} step makes most of the error (10 steps: ")


def test_equal_steps_share_the_error() -> None:
    assert said(heun, "ends") == []


def test_the_error_that_is_left_is_that_of_the_other_steps() -> None:
    steps = Subject(Target("own", heun, None, "")).steps(10)
    whole, rest = (costs.error_of(plan) for plan in (steps.plan(), steps.after(1)))
    assert rest < whole  # all steps err to one side
    assert steps.after(1).nfe == steps.plan().nfe - 2
    assert costs.error_of(steps.after(9)) < rest


def test_a_run_whose_times_go_back_has_no_first_step() -> None:
    def churned(run: Any) -> Any:
        x, times = run.x, [float(t) for t in run.times]
        for a, b in itertools.pairwise(times):
            up = 1.1 * a
            y = x + (up - a) * run.model(x, a)
            x = y + (b - up) * run.model(y, up)
        return x

    with pytest.raises(ValueError, match="no exact start"):
        Subject(Target("own", churned, None, "")).steps(10).after(1)


# --- shipped ---


def edm_grid(last: float = 0.0, top: float = 80.0) -> Callable[[int], tuple[float, ...]]:
    def levels(n: int) -> tuple[float, ...]:
        inner = np.linspace(top ** (1 / 7), 0.02 ** (1 / 7), n) ** 7
        return (*map(float, inner), last)

    return levels


def grids(levels: Any, sampler: Any = heun, told: Any = None, scale: float = 1.0) -> Any:
    return {"its own grid": lambda n: Shipped(levels(n), scale * levels(n)[0], sampler, told)}


def test_a_sound_grid_has_nothing_to_say() -> None:
    assert said(heun, "shipped", grids(edm_grid())) == []


def test_a_step_to_zero_that_is_too_long_makes_most_of_the_error() -> None:
    def levels(n: int) -> tuple[float, ...]:
        return (*map(float, np.linspace(80 ** (1 / 7), 0.5 ** (1 / 7), n) ** 7), 0.0)

    (message,) = said(heun, "shipped", grids(levels))
    assert message.startswith("noted: on its own grid the last step, to sigma = 0, makes most of the error")


def test_a_start_that_is_not_on_the_marginal_makes_most_of_the_error() -> None:
    (message,) = said(heun, "shipped", grids(edm_grid(top=3.0)))
    assert message.startswith(
        "noted: on its own grid the start from noise at sigma = 3 makes most of the error"
    )


def told(rounded: Callable[[float], float]) -> Any:
    """Euler's method with a model that is told other levels."""

    def sampler(run: Any) -> Any:
        x, times = run.x, [float(t) for t in run.times]
        for a, b in itertools.pairwise(times):
            x = x + (b - a) * run.model(x, rounded(a))
        return x

    return sampler


def test_levels_that_are_rounded_leave_a_floor_and_finer_steps_do_not_lower_it() -> None:
    exact = told(lambda a: a)
    off = told(lambda a: 1.01 * a)
    (message,) = said(exact, "shipped", grids(edm_grid(), exact, off))
    assert message.startswith("noted: on its own grid the model is told other times than its states have")
    assert said(exact, "shipped", grids(edm_grid(), exact, exact)) == []


def test_a_model_that_is_told_nonsense_fails() -> None:
    exact, off = told(lambda a: a), told(lambda a: math.inf)
    (message,) = said(exact, "shipped", grids(edm_grid(), exact, off))
    assert message.startswith(
        "failed: on its own grid states are not finite with 20 steps if the model is told"
    )


def test_what_is_told_within_a_step_of_the_truth_is_no_floor() -> None:
    """Of a grid with twice as many steps it is twice as near."""

    def sampler(run: Any) -> Any:
        x, times = run.x, [float(t) for t in run.times]
        for a, b in itertools.pairwise(times):
            x = x + (b - a) * run.model(x, 0.9 * a + 0.1 * b)
        return x

    assert said(heun, "shipped", grids(edm_grid(), told(lambda a: a), sampler)) == []


def test_what_breaks_on_one_grid_is_told_and_the_next_is_looked_at() -> None:
    def broken(run: Any) -> Any:
        return heun(run) / (0.0 if int(run) == 20 else 1.0)

    both = grids(edm_grid(), broken) | {"another": lambda n: [][n]}
    first, second = said(heun, "shipped", both)
    assert first == "failed: on its own grid states are not finite with 20 steps"
    assert second.startswith("raised: on another: IndexError")


# --- half precision ---


def test_in_half_precision_more_steps_are_worse() -> None:
    first, second = said(heun, "half")
    assert first.startswith("noted: in float16 the error is least with ")
    assert second.startswith("noted: in bfloat16 the error is least with ")
    least = [int(m.split("least with ")[1].split()[0]) for m in (first, second)]
    assert least[1] < least[0] < 256  # the coarser, the fewer


def test_states_that_are_kept_in_float64_have_no_best_number_of_steps() -> None:
    def wide(run: Any) -> Any:
        x, times = run.x.double(), [float(t) for t in run.times]
        for a, b in itertools.pairwise(times):
            x = x + (b - a) * run.model(x, a)
        return x

    assert said(wide, "half") == []


def test_what_half_precision_breaks_is_told() -> None:
    def broken(run: Any) -> Any:
        if run.x.dtype == torch.bfloat16:
            return run.x.numpy()
        return heun(run) / (0.0 if int(run) == 256 else 1.0)

    assert [m.split(" (")[0] for m in said(broken, "half")] == [
        "failed: float16 states are not finite in 256 steps",
        "raised: bfloat16 states in 4 steps raise TypeError: Got unsupported ScalarType BFloat16",
    ]


# --- the grids of packages ---


@pytest.fixture
def diffusers() -> Any:
    return pytest.importorskip("diffusers")


SD = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}


def test_shipped_levels_are_the_scheduler_s_own(diffusers: Any) -> None:
    made = diffusers.DPMSolverMultistepScheduler(**SD, use_karras_sigmas=True)
    made.set_timesteps(10)
    found = shipped.of_diffusers("DPMSolverMultistepScheduler", SD)["its karras sigmas"](10)
    np.testing.assert_array_equal(found.levels, made.sigmas.double().numpy())
    assert found.noise == pytest.approx(math.hypot(1, found.levels[0]), rel=SOME_ULP, abs=0)


@pytest.mark.parametrize("name", ["HeunDiscreteScheduler", "KDPM2DiscreteScheduler", "DDIMScheduler"])
def test_levels_that_are_kept_otherwise_are_found(diffusers: Any, name: str) -> None:
    made = getattr(diffusers, name)(**SD)
    made.set_timesteps(10)
    found = shipped.of_diffusers(name, SD)["its own grid"](10)
    alphas = made.alphas_cumprod.double().numpy()
    steps = np.unique(made.timesteps.numpy())[::-1]
    table = np.sqrt((1 - alphas) / alphas)
    if name != "KDPM2DiscreteScheduler":  # which adds a time inside of every step
        wanted = np.interp(steps, np.arange(1000), table)
        np.testing.assert_allclose(found.levels, [*wanted, 0.0], rtol=1e-6)  # float32
    assert len(found.levels) == 11


def test_truncated_times_of_exponential_sigmas_leave_a_floor(diffusers: Any) -> None:
    made = target("diffusers:DPMSolverMultistepScheduler", settings=SD)
    messages = [f.message for f in findings(Subject(made), "shipped")]
    for name in ("exponential", "beta"):
        assert any(m.startswith(f"on its {name} sigmas the model is told other times") for m in messages)
    assert not any(m.startswith("on its own grid the model is told") for m in messages)
    assert any(m.startswith("on its own grid the last step, to sigma = 0, makes most") for m in messages)


def test_a_spacing_that_is_set_is_the_only_grid(diffusers: Any) -> None:
    assert list(shipped.of_diffusers("EulerDiscreteScheduler", {"use_karras_sigmas": True})) == [
        "its own grid"
    ]
    assert list(shipped.of_diffusers("EulerDiscreteScheduler")) == [
        "its own grid",
        "its karras sigmas",
        "its exponential sigmas",
        "its beta sigmas",
    ]
    assert shipped.of_diffusers("SCMScheduler") == {}


def test_a_scheduler_that_goes_to_the_first_training_time_is_run_on_its_levels(diffusers: Any) -> None:
    made = diffusers.TCDScheduler()
    made.set_timesteps(10)
    found = shipped.of_diffusers("TCDScheduler")["its own grid"](10)
    alphas = made.alphas_cumprod.double()[[*made.timesteps.tolist(), 0]].numpy()
    # products of a thousand factors
    np.testing.assert_allclose(found.levels, np.sqrt((1 - alphas) / alphas), rtol=1e-12)


def test_a_package_without_grids_says_so() -> None:
    def none() -> Any:
        return shipped.none_of("mine", "has none")

    made = Target("own", heun, None, "", named=False, shipped=none)
    (found,) = findings(Subject(made), "shipped")
    assert (found.verdict, found.message) == ("noted", "not run on a shipped grid: mine has none")


def test_equal_steps_of_the_flow_go_from_noise_to_data() -> None:
    found = shipped.of_flow_matching("heun2", heun)["its time_grid in equal steps"](4)
    assert found.levels == (shipped.INFINITE, 3.0, 1.0, 1 / 3, 0.0)
    assert found.noise == 1 + shipped.INFINITE
    with pytest.raises(shipped.NoGrid, match="its steps follow a tolerance"):
        shipped.of_flow_matching("dopri5", heun)


def test_levels_that_schedules_of_a_package_take_are_grids(monkeypatch: Any) -> None:
    class Schedule:
        def __init__(self, count: int) -> None:
            self.levels = torch.linspace(0.02, 10, count, dtype=torch.float64)

        def sample_sigmas(self, steps: int) -> Any:
            return self.levels.flip(0)[:: len(self.levels) // steps]

    def samples(model: Any, sigmas: Any, gam: float = 1.0) -> Any:
        raise AssertionError("no run is made")

    release = SimpleNamespace(**dict.fromkeys(shipped.SMALLDIFFUSION, Schedule))
    monkeypatch.setattr(smalldiffusion, "release", lambda: release)
    grids = shipped.of_smalldiffusion(samples)
    assert list(grids) == [f"its {name}" for name in shipped.SMALLDIFFUSION]
    found = grids["its ScheduleDDPM"](10)
    assert found.levels[0] == found.noise == 10
