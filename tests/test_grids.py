from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from semilinear.integrators.diffusion import grids
from semilinear.integrators.diffusion.discrete import discrete, linear_betas
from semilinear.integrators.diffusion.grids import Grid
from semilinear.integrators.diffusion.schedule import edm, rectified_flow, vp_cosine, vp_linear
from semilinear.integrators.numerics.arithmetic import multiprecision

from tests.roundings import MANY_ULP, SOME_ULP

ALL = (
    grids.uniform_t(),
    grids.uniform_t(2.0),
    grids.uniform_lambda(),
    grids.karras(),
    grids.nsr(),
    grids.nsr(0.0),
    grids.alternating(grids.uniform_lambda()),
    grids.kinked(grids.karras()),
    grids.rounded(grids.uniform_lambda(), 10**6),
)
every = pytest.mark.parametrize("grid", ALL, ids=lambda g: f"{g.name}-{dict(g.parameters)}")
VP = vp_linear()


@every
@given(n=st.integers(1, 60), start=st.floats(0.2, 1.0), ratio=st.floats(0.001, 0.9))
def test_times_strictly_decrease_and_keep_their_ends(grid: Grid, n: int, start: float, ratio: float) -> None:
    times = grid(VP, start, start * ratio, n)
    assert len(times) == n + 1
    assert times[0] == start
    assert times[-1] == start * ratio
    assert all(b < a for a, b in itertools.pairwise(times))


SPACING: dict[str, Any] = {
    "t": lambda t, end: t,
    "t-power": lambda t, end: math.sqrt(t),
    "lambda": lambda t, end: VP.lam(t),
    "rho-power": lambda t, end: VP.rho(t) ** (1 / 7),
    "nsr": lambda t, end: -math.log(VP.rho(t) + 3.1 * VP.rho(end)),
}


@pytest.mark.parametrize("grid", ALL[:5], ids=lambda g: g.name)
def test_the_spacing_variable_is_uniform(grid: Grid) -> None:
    times = grid(VP, 0.9, 0.002, 17)
    steps = np.diff([SPACING[grid.name](t, times[-1]) for t in times])
    assert steps == pytest.approx(np.full(17, steps.mean()), rel=1e-12)  # ulp of 17 differences


def test_nsr_with_k_zero_is_uniform_in_lambda() -> None:
    assert grids.nsr(0.0)(VP, 1.0, 1e-3, 12) == pytest.approx(
        grids.uniform_lambda()(VP, 1.0, 1e-3, 12), abs=SOME_ULP
    )


def test_kinked_steps_have_two_lengths() -> None:
    steps = np.diff([VP.lam(t) for t in grids.kinked(grids.uniform_lambda(), 3.0)(VP, 0.5, 0.01, 7)])
    assert steps[1:] / steps[:-1] == pytest.approx([1, 1, 1, 3, 1, 1], rel=1e-10)  # lambda cancels digits


def test_rounded_times_are_indices_of_a_table() -> None:
    even = np.array(grids.uniform_t()(VP, 0.5, 0.0123, 30))
    times = np.array(grids.rounded(grids.uniform_t())(VP, 0.5, 0.0123, 30))
    assert np.array_equal(times[1:-1], np.round(1000 * even[1:-1]) / 1000)
    assert (times[0], times[-1]) == (0.5, 0.0123)
    with pytest.raises(ValueError, match="rounded-t' with n = 300 must strictly decrease"):
        grids.rounded(grids.uniform_t())(VP, 0.5, 0.3, 300)
    with pytest.raises(ValueError, match="n must be an integer >= 2"):
        grids.rounded(grids.uniform_t(), 1)


def test_alternating_steps_alternate() -> None:
    steps = np.diff([VP.lam(t) for t in grids.alternating(grids.uniform_lambda(), 3.0)(VP, 0.5, 0.01, 7)])
    assert steps[1::2] / steps[:-1:2] == pytest.approx(
        np.full(3, 3.0), rel=1e-12
    )  # ulp of differences of lambda


def test_karras_is_the_formula_of_edm() -> None:
    high, low, n = 80.0, 0.002, 17
    expected = [(high ** (1 / 7) + i / n * (low ** (1 / 7) - high ** (1 / 7))) ** 7 for i in range(n + 1)]
    assert grids.karras()(edm(), high, low, n) == pytest.approx(expected, rel=MANY_ULP, abs=0)


@every
def test_multiprecision_times_agree_with_float64(grid: Grid) -> None:
    exact = grid(VP, 0.9, 0.01, 9, digits=40)
    assert [float(t) for t in exact] == pytest.approx(grid(VP, 0.9, 0.01, 9), abs=SOME_ULP)
    assert exact[-1] == multiprecision(40).number(0.01)


@pytest.mark.parametrize("schedule", [vp_linear(), vp_cosine(), rectified_flow(), discrete(linear_betas())])
def test_one_step_works_on_every_schedule(schedule: Any) -> None:
    for grid in ALL:
        assert grid(schedule, 0.9, 0.3, 1) == (0.9, 0.3)


@every
@pytest.mark.parametrize("n", [0, -1, 1.5, True, None])
def test_step_counts_below_one_are_refused(grid: Grid, n: Any) -> None:
    with pytest.raises(ValueError, match="n \\(the number of steps\\)"):
        grid(VP, 1.0, 0.1, n)


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        (0.5, 0.5, "t_end must differ"),
        (2.0, 0.1, "t_start"),
        (0.5, -0.1, "t_end"),
        (float("nan"), 0.1, "t_start"),
    ],
)
def test_empty_intervals_and_times_outside_the_domain_are_refused(
    start: float, end: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        grids.uniform_t()(VP, start, end, 4)


@pytest.mark.parametrize("grid", [grids.uniform_lambda(), grids.nsr()], ids=lambda g: g.name)
def test_an_infinite_spacing_variable_is_refused_by_name(grid: Grid) -> None:
    with pytest.raises(ValueError, match=r"t_end = 0.0 has no place on the grid"):
        grid(VP, 1.0, 0.0, 4)
    with pytest.raises(ValueError, match=r"t_start = 1.0 has no place"):
        grids.uniform_lambda()(vp_cosine(), 1.0, 0.1, 4)


def test_user_times_are_kept_exactly() -> None:
    times = (0.9, 0.5000000000000001, 0.5, 0.1)
    assert grids.user(VP, times) == times
    assert grids.user(VP, np.array(times)) == times


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([0.5], "at least 2"),
        ([0.5, 0.5], r"times\[0\] = 0.5 is followed by times\[1\] = 0.5"),
        ([0.9, 0.1, 0.2], r"times\[1\] = 0.1"),
        ([1.5, 0.1], r"times\[0\] must lie"),
        ([0.9, float("nan")], r"times\[1\] must lie"),
    ],
)
def test_bad_user_times_are_named(times: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        grids.user(VP, times)


@given(st.lists(st.integers(1, 7000), min_size=2, max_size=12, unique=True))
def test_sigmas_return_as_rho(hundredths: list[int]) -> None:
    decreasing = [i / 100 for i in sorted(hundredths, reverse=True)]  # neighbouring floats share a time
    times = grids.from_sigma(VP, decreasing)
    # sigma to t and back loses rho/rho' of its digits
    assert [VP.rho(t) for t in times] == pytest.approx(decreasing, rel=MANY_ULP, abs=0)


@pytest.mark.parametrize(
    ("sigmas", "message"), [([1.0, 0.0, 0.0], "strictly decrease"), ([1.0, -0.1], r"sigmas\[1\]")]
)
def test_bad_sigmas_are_refused(sigmas: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        grids.from_sigma(edm(), sigmas)


@pytest.mark.parametrize(
    "build",
    [
        lambda: grids.karras(0),
        lambda: grids.uniform_t(-1),
        lambda: grids.nsr(-0.1),
        lambda: grids.karras(float("inf")),
    ],
)
def test_bad_parameters_are_refused(build: Any) -> None:
    with pytest.raises(ValueError, match="must be a"):
        build()


@pytest.mark.parametrize("n", [10, 20, 50])
def test_karras_is_the_formula_of_edm_on_a_cosine_schedule_too(n: int) -> None:
    """diffusers #10738: index out of bounds; here no time is looked up in a table."""
    schedule = vp_cosine()
    times = grids.karras()(schedule, 0.99, 1e-3, n)
    high, low = (schedule.rho(t) ** (1 / 7) for t in (times[0], times[-1]))
    expected = [(high + i / n * (low - high)) ** 7 for i in range(n + 1)]
    assert [schedule.rho(t) for t in times] == pytest.approx(expected, rel=1e-11)  # conditioning of rho(t)


def test_neighbouring_times_of_a_discrete_schedule_stay_apart() -> None:
    """diffusers #13239, #14718, #5687: times truncated to integers coincide; ours stay floats."""
    schedule = discrete(linear_betas(1e-4, 0.02, 1000))
    times = grids.karras()(schedule, 1.0, 1e-3, 300)
    assert len(set(times)) == 301
    assert len({int(1000 * t) for t in times}) < 301  # truncated, they would coincide
    with pytest.raises(ValueError, match=r"times must strictly decrease: times\[1\]"):
        grids.user(schedule, [0.998, 0.997, 0.997, 0.1])
