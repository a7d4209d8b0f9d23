from __future__ import annotations

import itertools
import math
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from semilinear.integrators.diffusion.discrete import (
    cosine_betas,
    discrete,
    discrete_alpha_squared,
    linear_betas,
    scaled_linear_betas,
)
from semilinear.integrators.diffusion.schedule import (
    Schedule,
    edm,
    rectified_flow,
    sub_vp,
    ve,
    vp_cosine,
    vp_linear,
)
from semilinear.integrators.numerics.arithmetic import multiprecision

from tests.roundings import SOME_ULP, THIRTY_DIGITS, ULP
from tests.slow import slow

SCHEDULES = {
    "vp-linear": vp_linear(),
    "vp-linear-other": vp_linear(0.05, 12.0),
    "sub-vp": sub_vp(),
    "vp-cosine": vp_cosine(),
    "vp-cosine-deis": vp_cosine(normalized=False),
    "ve": ve(),
    "edm": edm(),
    "rectified-flow": rectified_flow(),
    "discrete": discrete(linear_betas()),
    "discrete-scaled": discrete(scaled_linear_betas()),
    "discrete-cosine": discrete(cosine_betas()),
    "discrete-alpha-squared": discrete_alpha_squared(linear_betas()),
}
MP = multiprecision(50)
every = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES.keys())


def times(schedule: Schedule, n: int = 60) -> list[float]:
    """Times that crowd at both ends, down to 1e-6 where the schedule goes that far."""
    low = max(schedule.t_min, 1e-6 * schedule.t_max if schedule.kind != "discrete" else 1e-3)
    span = schedule.t_max - low
    inner = [low + span * f for f in np.linspace(0, 1, n)]
    return sorted(
        {
            *inner,
            *(low + span * 10.0**-k for k in range(1, 13)),
            *(schedule.t_max - span * 10.0**-k for k in range(1, 13)),
        }
    )


@every
@pytest.mark.parametrize("quantity", ["alpha", "sigma", "rho", "rho_dot"])
def test_relative_error_is_at_most_1e_14(schedule: Schedule, quantity: str) -> None:
    function = getattr(schedule, quantity)
    knots = set(schedule.breakpoints)  # a one-sided derivative at a knot depends on how the knot was rounded
    for t in times(schedule):
        value = function(t)
        if math.isfinite(value) and value != 0 and t not in knots:
            assert abs(MP.number(value) / function(MP.number(t)) - 1) <= SOME_ULP, t


@every
def test_lambda_and_log_alpha_are_accurate(schedule: Schedule) -> None:
    for t in times(schedule):
        lam, log_alpha = schedule.lam(t), schedule.log_alpha(t)
        if math.isfinite(lam):
            assert abs(MP.number(lam) - schedule.lam(MP.number(t))) <= 18 * ULP * max(1, abs(lam)), t
        if math.isfinite(log_alpha) and log_alpha != 0:
            assert abs(MP.number(log_alpha) / schedule.log_alpha(MP.number(t)) - 1) <= SOME_ULP, t


@every
def test_multiprecision_values_have_all_their_digits(schedule: Schedule) -> None:
    """No rounded constant: 30 and 60 digits agree to 28, for every function and inverse."""
    low, high = multiprecision(30), multiprecision(60)
    for t in times(schedule, 7):
        for name in ("log_alpha", "alpha", "sigma", "rho", "lam", "rho_dot"):
            a, b = (getattr(schedule, name)(xp.number(t)) for xp in (low, high))
            size = max(abs(b), 1) if name == "lam" else abs(b)
            assert a == b or abs(high.number(a) - b) <= THIRTY_DIGITS * size, (name, t)
    for lam in (-1.5, 0.3, 2.5):
        a, b = (schedule.t_of_lam(xp.number(lam)) for xp in (low, high))
        assert abs(high.number(a) - b) <= THIRTY_DIGITS * abs(b)


@every
@given(fraction=st.floats(0, 1))
def test_round_trips_return_the_time(schedule: Schedule, fraction: float) -> None:
    low = max(schedule.t_min, 1e-5)
    t = min(low + (schedule.t_max - low) * fraction, schedule.t_max)
    for forward, backward in ((schedule.lam, schedule.t_of_lam), (schedule.rho, schedule.t_of_rho)):
        value = forward(t)
        if math.isfinite(value):
            # an ulp of the value is some hundred ulp of t where the schedule is flat
            assert abs(backward(value) - t) <= 1e-13 * max(1.0, schedule.t_max)


@every
def test_rho_returns_from_its_time(schedule: Schedule) -> None:
    """diffusers #13768: sigmas truncated instead of rounded; the round trip is exact to rounding."""
    rho = schedule.rho(np.linspace(0.05, 0.95, 50) * min(schedule.t_max, 1.0))
    back = schedule.rho(schedule.t_of_rho(rho))
    np.testing.assert_allclose(back, rho, rtol=1e-12)  # rounding of t, amplified


@every
@given(fraction=st.floats(0, 1))
def test_alpha_sigma_rho_lambda_belong_together(schedule: Schedule, fraction: float) -> None:
    t = schedule.t_min + (schedule.t_max - schedule.t_min) * fraction
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    if alpha > 0 and sigma > 1e-300:
        assert schedule.rho(t) == pytest.approx(sigma / alpha, rel=SOME_ULP, abs=0)
        assert schedule.lam(t) == pytest.approx(math.log(alpha / sigma), rel=SOME_ULP, abs=SOME_ULP)
        # math.log knows log(alpha) to an ulp of 1, not of itself, where alpha is nearly 1
        assert schedule.log_alpha(t) == pytest.approx(math.log(alpha), rel=SOME_ULP, abs=4 * ULP)


@every
def test_derivatives_are_those_of_the_functions(schedule: Schedule) -> None:
    f, step = schedule.formulas, MP.number("1e-15")
    for fraction in (0.137, 0.5013, 0.87):
        t = MP.number(schedule.t_min + (schedule.t_max - schedule.t_min) * fraction)
        for function, derivative in ((f.rho, f.rho_dot), (f.alpha, f.alpha_dot), (f.sigma, f.sigma_dot)):
            difference = (function(t + step) - function(t - step)) / (2 * step)
            # the step squared, 1e-30, times third derivatives
            assert abs(derivative(t) - difference) <= 1e-20 * max(1, abs(difference))


@every
def test_tensors_give_the_values_of_floats(schedule: Schedule) -> None:
    t = torch.tensor(times(schedule, 11), dtype=torch.float64)
    for name in ("alpha", "sigma", "rho", "lam", "log_alpha"):
        function = getattr(schedule, name)
        expected = torch.tensor([function(float(v)) for v in t], dtype=torch.float64)
        torch.testing.assert_close(function(t), expected, rtol=SOME_ULP, atol=SOME_ULP)
        assert function(t.float()).dtype == torch.float32
    lam = torch.tensor([-2.0, 0.0, 2.0], dtype=torch.float64)
    expected = torch.tensor([schedule.t_of_lam(float(v)) for v in lam], dtype=torch.float64)
    torch.testing.assert_close(schedule.t_of_lam(lam), expected, rtol=SOME_ULP, atol=SOME_ULP)


@every
@pytest.mark.parametrize("t", [-0.1, float("nan"), 1e4])
def test_times_outside_the_domain_are_refused(schedule: Schedule, t: float) -> None:
    with pytest.raises(ValueError, match="t must lie in"):
        schedule.alpha(t)


@every
def test_unreached_lambdas_are_refused(schedule: Schedule) -> None:
    with pytest.raises(ValueError, match="lam must"):
        schedule.t_of_lam(float("nan"))
    if math.isfinite(schedule.lam(schedule.t_max)):
        with pytest.raises(ValueError, match="lam must be reached"):
            schedule.t_of_lam(schedule.lam(schedule.t_max) - 3.0)


@pytest.mark.parametrize("schedule", [vp_linear(), vp_cosine(), edm(), rectified_flow(), sub_vp()])
def test_the_clean_end_is_a_limit_not_an_error(schedule: Schedule) -> None:
    for zero in (0.0, MP.number(0)):
        assert schedule.sigma(zero) == 0
        assert schedule.alpha(zero) == 1
        assert schedule.lam(zero) == float("inf")


@pytest.mark.parametrize("schedule", [vp_cosine(), rectified_flow()])
def test_zero_signal_is_a_limit_not_an_error(schedule: Schedule) -> None:
    for one in (1.0, MP.number(1)):
        assert schedule.alpha(one) == 0
        assert schedule.rho(one) == float("inf")
        assert schedule.lam(one) == -float("inf")


def test_discrete_knots_are_the_cumulated_betas() -> None:
    betas = linear_betas()
    cumulated = np.cumprod(1 - np.array(betas))
    by_log, by_square = discrete(betas), discrete_alpha_squared(betas)
    for i in (0, 10, 500, 999):
        rounding = 2 * (i + 1) * ULP  # of the running product: a difference and a product for every factor
        assert by_log.alpha((i + 1) / 1000) ** 2 == pytest.approx(
            cumulated[i], rel=rounding + SOME_ULP, abs=0
        )
        assert by_square.alpha(float(i)) ** 2 == pytest.approx(cumulated[i], rel=rounding + SOME_ULP, abs=0)


def test_interpolation_is_linear_in_log_alpha_or_in_alpha_squared() -> None:
    by_log, by_square = SCHEDULES["discrete"], SCHEDULES["discrete-alpha-squared"]
    assert by_log.log_alpha(0.5005) == pytest.approx(
        (by_log.log_alpha(0.5) + by_log.log_alpha(0.501)) / 2,
        rel=1e-13,
        abs=0,  # an ulp of t over the 1/1000 of a knot
    )
    middle = (by_square.alpha(499.0) ** 2 + by_square.alpha(500.0) ** 2) / 2
    assert by_square.alpha(499.5) ** 2 == pytest.approx(middle, rel=SOME_ULP, abs=0)


def test_clipping_cuts_entries_below_the_lambda_and_spreads_the_rest() -> None:
    betas = cosine_betas()
    clipped, whole = discrete(betas), discrete(betas, clip_lambda=None)
    assert clipped.lam(1.0) >= -5.1 > whole.lam(1.0)
    kept = len(clipped.breakpoints)
    assert clipped.log_alpha(1.0) == pytest.approx(whole.log_alpha(kept / 1000), rel=SOME_ULP, abs=0)


def test_half_precision_input_does_not_touch_the_schedule() -> None:
    schedule = SCHEDULES["discrete"]
    before = schedule.alpha(0.001)
    schedule.alpha(torch.tensor([0.5], dtype=torch.float16))
    assert schedule.alpha(0.001) == before != 1.0


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: vp_linear(-1.0), "beta_0"),
        (lambda: vp_linear(1.0, 0.5), "beta_1"),
        (lambda: vp_linear(float("nan")), "beta_0"),
        (lambda: ve(1.0, 0.5), "sigma_max"),
        (lambda: ve(0.0, 0.5), "sigma_min"),
        (lambda: edm(float("inf")), "sigma_max"),
        (lambda: vp_cosine(-0.1), "offset"),
        (lambda: discrete([0.1]), "betas"),
        (lambda: discrete([0.1, 1.0]), r"betas\[1\]"),
        (lambda: discrete([0.999, 0.999]), "betas must leave"),
    ],
)
def test_bad_parameters_are_named(build: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


def test_schedules_are_equal_when_their_parameters_are() -> None:
    assert vp_linear() == vp_linear(0.1, 20.0) != vp_linear(0.1, 19.0)
    assert hash(discrete(linear_betas())) == hash(discrete(linear_betas()))


TABLES = {
    "linear": linear_betas(),
    "scaled": scaled_linear_betas(),
    "cosine": cosine_betas(),
    "cosine-4000": cosine_betas(4000),
}


@pytest.mark.parametrize(
    ("name", "factor"),
    slow(
        itertools.product(TABLES, [1.0, 1 + 1e-6, 1.001, 2.0]),
        lambda case: case[0] == "cosine-4000" and case[1] > 1,
    ),
)
def test_a_discrete_schedule_is_accurate_down_to_its_smallest_time(name: str, factor: float) -> None:
    """Below the first knot log alpha is a line through 0: no digit is lost where it nearly vanishes."""
    schedule = discrete(TABLES[name])
    t = schedule.t_min * factor
    exact = schedule.formulas.rho(multiprecision(50).number(t))
    assert exact > 0
    # one ulp of t moves rho by this much relative to itself, next to the root of log alpha
    assert schedule.rho(t) == pytest.approx(float(exact), rel=SOME_ULP, abs=0)
    assert schedule.t_of_rho(schedule.rho(t)) == pytest.approx(t, rel=SOME_ULP, abs=0)


def test_a_clipped_schedule_is_flat_where_it_is_clipped() -> None:
    schedule = discrete_alpha_squared(cosine_betas())
    edge = next(t for t in schedule.breakpoints if t != round(t))
    assert schedule.alpha(edge) ** 2 == pytest.approx(1e-7, rel=SOME_ULP, abs=0)
    assert schedule.rho_dot(999.0) == 0
    assert schedule.rho(999.0) == schedule.rho(edge + 1e-6)
    h = 1e-6
    for t in (edge - 0.01, 500.5):
        slope = (schedule.rho(t + h) - schedule.rho(t - h)) / (2 * h)
        assert schedule.rho_dot(t) == pytest.approx(slope, rel=1e-6)  # an ulp of t = 1000 over h: 1e-7


@pytest.mark.parametrize(
    "schedule", [vp_linear(), vp_linear(0.0, 20.0), vp_cosine(), sub_vp(), rectified_flow(), edm()]
)
def test_sigma_zero_is_reached_at_the_end_of_the_schedule(schedule: Schedule) -> None:
    assert schedule.t_of_rho(0.0) == 0
    assert schedule.t_of_lam(math.inf) == 0


def test_schedules_take_the_values_of_their_papers() -> None:
    """By definition, at one time, with the parameters that the papers give."""
    t = 0.3
    la = -(20 - 0.1) * t * t / 4 - 0.1 * t / 2
    assert vp_linear().alpha(t) == pytest.approx(math.exp(la), rel=SOME_ULP, abs=0)
    assert vp_linear().sigma(t) == pytest.approx(math.sqrt(1 - math.exp(2 * la)), rel=SOME_ULP, abs=0)
    assert sub_vp().alpha(t) == pytest.approx(math.exp(la), rel=SOME_ULP, abs=0)
    assert sub_vp().sigma(t) == pytest.approx(1 - math.exp(2 * la), rel=SOME_ULP, abs=0)
    assert ve().sigma(t) == pytest.approx(0.01 * 5000**t, rel=SOME_ULP, abs=0)
    assert (ve().sigma(0.0), ve().sigma(1.0)) == pytest.approx((0.01, 50.0), rel=SOME_ULP, abs=0)
    assert edm().sigma(17.0) == 17.0
    assert edm().t_max == 80.0
    angle = lambda t: (t + 0.008) / 1.008 * math.pi / 2  # noqa: E731
    assert vp_cosine().alpha(t) == pytest.approx(math.cos(angle(t)) / math.cos(angle(0)), rel=SOME_ULP, abs=0)
    assert vp_cosine(normalized=False).alpha(t) == pytest.approx(math.cos(angle(t)), rel=SOME_ULP, abs=0)
    assert vp_cosine(normalized=False).sigma(t) == pytest.approx(math.sin(angle(t)), rel=SOME_ULP, abs=0)
    assert (rectified_flow().alpha(t), rectified_flow().sigma(t)) == (0.7, 0.3)


def test_tables_of_betas_are_those_of_their_papers() -> None:
    linear, scaled, cosine = linear_betas(), scaled_linear_betas(), cosine_betas()
    assert (linear[0], linear[-1], len(linear)) == (1e-4, 0.02, 1000)
    assert linear[500] == pytest.approx(1e-4 + (0.02 - 1e-4) * 500 / 999, rel=SOME_ULP, abs=0)
    middle = (0.00085**0.5 + (0.012**0.5 - 0.00085**0.5) * 500 / 999) ** 2
    assert scaled[500] == pytest.approx(middle, rel=SOME_ULP, abs=0)
    bar = lambda i: math.cos((i / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2  # noqa: E731
    product = np.cumprod(1 - np.array(cosine))[499]
    rounding = 1000 * ULP  # of a difference and a product 500 times
    assert product == pytest.approx(bar(500) / bar(0), rel=rounding, abs=0)
    assert cosine[-1] == 0.999


def test_a_slope_at_a_knot_is_that_on_the_right() -> None:
    for s, knot in ((discrete(linear_betas(n=20)), 0.5), (discrete_alpha_squared(linear_betas(n=20)), 10.0)):
        assert knot in s.breakpoints
        h = 1e-7
        right, left = (abs(s.rho(knot + v) - s.rho(knot)) / h for v in (h, -h))
        # the quotient's O(h) is 1e-6 of a jump
        assert abs(s.rho_dot(knot) - right) < 0.01 * abs(right - left)


def test_alpha_squared_stays_within_its_clip() -> None:
    s = discrete_alpha_squared([1e-9, 0.5, 0.999999, 0.999999], clip=1e-7)
    assert s.alpha(3.0) ** 2 == pytest.approx(1e-7, rel=SOME_ULP, abs=0)
    assert s.sigma(0.0) ** 2 == pytest.approx(1e-7, rel=SOME_ULP, abs=0)


def test_inverses_of_the_alpha_squared_table_keep_their_digits_in_the_noise() -> None:
    s, xp = discrete_alpha_squared(linear_betas()), multiprecision(40)
    for t in (600.3, 900.7, 998.9):
        rho = s.rho(t)
        assert abs(s.t_of_rho(rho) / s.t_of_rho(xp.number(rho)) - 1) < SOME_ULP


@pytest.mark.parametrize(
    "schedule", [vp_linear(), sub_vp(), ve(), discrete(linear_betas())], ids=lambda s: s.kind
)
def test_inverses_end_with_the_domain(schedule: Any) -> None:
    edge = schedule.lam(schedule.t_max)
    assert schedule.t_of_lam(edge - 1e-13) <= schedule.t_max
    for beyond in (1e-4, 1e-2):
        with pytest.raises(ValueError, match="lam must be reached"):
            schedule.t_of_lam(edge - beyond)


def test_float32_tensors_are_the_double_values_rounded() -> None:
    t = torch.linspace(0.001, 0.999, 101)
    for s in (vp_linear(), vp_cosine(), ve(), sub_vp()):
        for name in ("alpha", "sigma", "rho", "lam"):
            function = getattr(s, name)
            assert torch.equal(function(t), function(t.double()).float())


def test_alpha_squared_stays_below_one_minus_its_clip() -> None:
    assert discrete_alpha_squared([1e-9, 0.5], clip=1e-7).alpha(0.0) ** 2 == pytest.approx(
        1 - 1e-7, rel=SOME_ULP, abs=0
    )


@pytest.mark.parametrize(
    "schedule", [vp_linear(), sub_vp(), vp_cosine(), edm(), rectified_flow()], ids=lambda s: s.kind
)
@pytest.mark.parametrize("t", [1e-3, 1e-6, 1e-9])
def test_inverses_are_relatively_accurate_near_zero(schedule: Any, t: float) -> None:
    for forward, backward in ((schedule.lam, schedule.t_of_lam), (schedule.rho, schedule.t_of_rho)):
        value = forward(t)
        assert backward(value) == pytest.approx(
            t, rel=2e-13, abs=0
        )  # lambda up to 21: e^lambda has 21 ulp, doubled


def test_constants_have_all_their_digits() -> None:
    """Against mpmath itself: two precisions that share a rounded constant would agree."""
    context = mpmath.MPContext()
    context.dps = 60
    xp = multiprecision(40)
    assert abs(context.mpf(xp.pi) - context.pi) < 1e-39  # an ulp of 40 digits
    t, s = context.mpf(0.3), context.mpf(0.008)
    first, last = ((u + s) / (1 + s) * context.pi / 2 for u in (context.mpf(0), t))
    alpha = context.mpf(vp_cosine().alpha(xp.number(0.3)))
    assert abs(alpha - context.cos(last) / context.cos(first)) < 1e-38  # some ulp of 40 digits
