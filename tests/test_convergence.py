"""The estimator on errors whose order is known by construction."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from semilinear.analysis import convergence
from semilinear.analysis.convergence import (
    OrderEstimate,
    Point,
    Richardson,
    estimate_noisy_order,
    estimate_order,
    richardson,
)
from semilinear.analysis.extrapolation import RESOLUTION, Extrapolation, Reach, extrapolations

from tests.roundings import AMPLIFIED, SOME_ULP

N = (4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
H = 1 / np.array(N)


def synthetic(
    p: float, first: float = 0.0, second: float = 0.0, batch: int = 32, noise: float = 0.0, seed: int = 0
) -> Any:
    """Errors C_b h^p (1 + first h + second h^2), with constants that vary over the batch."""
    rng = np.random.default_rng(seed)
    constants = rng.lognormal(sigma=0.7, size=batch)
    errors = np.outer(H**p * (1 + first * H + second * H**2), constants)
    return errors * (1 + noise * rng.standard_normal(errors.shape))


NO_FLOOR = np.zeros(len(N))


@given(st.floats(0.5, 6), st.floats(-1.5, 5), st.floats(0, 10))
def test_the_interval_covers_a_clean_order(p: float, first: float, second: float) -> None:
    e = estimate_order(N, synthetic(p, first, second), NO_FLOOR)
    assert e.low <= p <= e.high
    assert abs(e.order - p) <= 0.01  # the law beyond h^2 is not among those fitted: seen 0.0014
    assert e.half_width <= 0.05  # 0.005 is the resolution, the rest what the laws differ by


@given(st.integers(1, 5), st.integers(0, 50))
def test_noise_widens_the_interval_instead_of_moving_it(p: int, seed: int) -> None:
    e = estimate_order(N, synthetic(p, 2.0, batch=64, noise=0.05, seed=seed), NO_FLOOR)
    assert e.low <= p <= e.high
    assert e.verdict(p) in ("consistent", "inconclusive")
    assert e.verdict(p + 1) in ("lower", "inconclusive")
    assert e.verdict(p - 1) in ("higher", "inconclusive")


@pytest.mark.parametrize("p", [1, 2, 3, 4])
def test_points_at_the_floor_are_not_used(p: int) -> None:
    floor = 1e-9
    e = estimate_order(N, synthetic(p, 1.0) + floor, np.full(len(N), 30 * floor))
    assert e.verdict(p) == "consistent"
    assert all(point.error > 30 * floor for point in e.points if point.usable)


def test_nothing_finer_than_an_unusable_point_is_used() -> None:
    errors = synthetic(2)
    errors[7] = np.nan
    e = estimate_order(N, errors, NO_FLOOR)
    assert max(p.n for p in e.points if p.usable) == N[6]


def test_coarse_runs_that_diverge_are_skipped() -> None:
    errors = synthetic(2)
    errors[:3] = np.inf
    e = estimate_order(N, errors, NO_FLOOR)
    assert e.verdict(2) == "consistent"
    assert [p.usable for p in e.points[:4]] == [False, False, False, True]


def test_pre_asymptotic_points_do_not_count() -> None:
    """Order 3 at first, 1 in the limit: a global fit says 2."""
    errors = synthetic(1) * 1e-2 + synthetic(3) * 50
    e = estimate_order(N, errors, NO_FLOOR, known_floors=True)
    assert e.verdict(3) == "lower"
    assert e.verdict(2) in ("lower", "inconclusive")
    assert e.verdict(1) in ("consistent", "inconclusive")


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_too_few_points_are_inconclusive(rows: int) -> None:
    floors = np.where(np.arange(len(N)) < rows, 0.0, 1e9)
    e = estimate_order(N, synthetic(2), floors)
    assert math.isnan(e.order)
    assert e.verdict(2) == "inconclusive"
    assert e.reason == f"{rows} usable point{'s' * (rows != 1)}, 4 are needed"


def test_a_wide_interval_is_inconclusive_not_a_pass() -> None:
    rng = np.random.default_rng(0)
    errors = synthetic(2, batch=1) * rng.lognormal(sigma=0.8, size=(len(N), 1))
    e = estimate_order(N, errors, NO_FLOOR)
    assert e.half_width > 0.15
    assert e.verdict(e.order) == "inconclusive"


def test_an_exact_method_has_no_order() -> None:
    assert estimate_order(N, np.zeros((len(N), 4)), NO_FLOOR).verdict(2) == "inconclusive"


@pytest.mark.parametrize("statistic", ["rms", "median", "max"])
def test_every_statistic_sees_a_clean_order(statistic: Any) -> None:
    assert estimate_order(N, synthetic(3, 1.0), NO_FLOOR, statistic=statistic).verdict(3) == "consistent"


def test_the_median_ignores_a_few_bad_samples_and_the_maximum_does_not() -> None:
    errors = synthetic(2, batch=40)
    errors[:, :6] = 10.0 * synthetic(1, batch=40)[:, :6]
    assert estimate_order(N, errors, NO_FLOOR, statistic="median").verdict(2) == "consistent"
    largest = estimate_order(N, errors, NO_FLOOR, statistic="max")
    assert largest.slopes[-1] == pytest.approx(1, rel=SOME_ULP, abs=0)
    assert largest.verdict(2) == "lower"


def test_the_estimate_is_reproducible() -> None:
    assert estimate_order(N, synthetic(2), NO_FLOOR) == estimate_order(N, synthetic(2), NO_FLOOR)


def test_slopes_are_those_of_neighbours() -> None:
    slopes = estimate_order(N, synthetic(2), NO_FLOOR).slopes
    assert slopes == pytest.approx([2.0] * (len(N) - 1), rel=SOME_ULP, abs=0)


@pytest.mark.parametrize(
    ("n", "errors", "floors", "message"),
    [
        (N, np.ones((3, 4)), NO_FLOOR, "errors must have shape"),
        (N, np.ones((len(N), 0)), NO_FLOOR, "errors must have shape"),
        (N, np.ones(len(N)), NO_FLOOR[:3], "floors"),
        (N, -np.ones(len(N)), NO_FLOOR, "non-negative"),
        ((4, 4), np.ones(2), [0, 0], "increasing"),
        ((0, 4), np.ones(2), [0, 0], "positive"),
    ],
)
def test_bad_data_are_named(n: Any, errors: Any, floors: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        estimate_order(n, errors, floors)


def test_unknown_statistics_are_refused() -> None:
    with pytest.raises(ValueError, match="statistic"):
        estimate_order(N, np.ones(len(N)), NO_FLOOR, statistic="mean")  # type: ignore[arg-type]


# --- the check without a reference ---


def states(p: float, offset: float = 0.0) -> tuple[OrderEstimate, dict[int, np.ndarray]]:
    """Runs that converge to 1, measured against a reference that is off by `offset`."""
    runs = {n: np.array([1.0 + 3 * h**p]) for n, h in zip(N, H)}
    errors = np.array([abs(runs[n] - 1 - offset) for n in N])
    return estimate_order(N, errors, NO_FLOOR, known_floors=True), runs


def test_the_triple_gives_the_order_without_a_reference() -> None:
    check = richardson(*states(3))
    assert check is not None
    assert check.n == 128
    assert check.reference_free == pytest.approx(3, rel=SOME_ULP, abs=0)
    assert check.supports("consistent", 3)


def test_a_wrong_reference_is_found_out() -> None:
    """Errors that stop falling because the reference is wrong must not read as a lower order."""
    estimate, runs = states(2, offset=1e-2)
    check = richardson(estimate, runs)
    assert estimate.verdict(2) == "lower"
    assert check is not None
    assert not check.supports("lower", 2)


def test_a_change_of_regime_that_the_runs_show_themselves_stands() -> None:
    assert Richardson(8, reference_free=1.6, measured=1.2).supports("lower", 3)
    assert not Richardson(8, reference_free=1.6, measured=1.2).supports("consistent", 1.2)
    assert Richardson(8, reference_free=3.4, measured=3.0).supports("higher", 2)


def test_no_triple_no_check() -> None:
    estimate = estimate_order((4, 6, 9, 13, 19), np.array([1.0, 0.5, 0.2, 0.1, 0.05]), np.zeros(5))
    assert richardson(estimate, {}) is None


@given(st.integers(1, 5), st.floats(1, 300), st.floats(-1.5, 1.5))
def test_a_coarse_ladder_does_not_refute_the_true_order(p: int, knee: float, power: float) -> None:
    """Far from asymptotic, e = h^p (1 + knee h)^power: the slopes still move towards p."""
    h = H
    e = estimate_order(N, h**p * (1 + knee * h) ** power, NO_FLOOR)
    assert e.verdict(p) in ("consistent", "inconclusive")


def test_slopes_that_fall_away_from_a_claim_refute_it_where_no_floor_can_be_the_cause() -> None:
    """A first-order term beneath a second-order method: the order falls along the ladder."""
    errors = H**2 + 3e-2 * H
    known = estimate_order(N, errors, NO_FLOOR, known_floors=True)
    assert known.slopes[-1] < known.slopes[0]
    assert known.verdict(2) == "lower"
    assert estimate_order(N, errors, NO_FLOOR).verdict(2) in ("lower", "inconclusive")


@pytest.mark.parametrize("claimed", [math.nan, math.inf])
def test_a_claim_is_a_finite_number(claimed: float) -> None:
    with pytest.raises(ValueError, match="claimed must be a finite number"):
        estimate_order(N, synthetic(2), NO_FLOOR).verdict(claimed)


def answer(name: str, logs: np.ndarray, n: tuple[int, ...] = N, unsure: float = 0.0) -> Extrapolation:
    """A law's answer on errors given by their logarithms, (points, 1 + replicates)."""
    found = extrapolations(n, logs, np.full(len(n), unsure))
    return next(a for a in found if a.law.name == name)


def test_the_standard_error_of_an_exact_law_is_the_resolution() -> None:
    for a in extrapolations(N, (1 + 2 * np.log(H))[:, None], np.zeros(len(N))):
        assert a.order == pytest.approx(2, rel=AMPLIFIED, abs=0)
        assert a.half_width == pytest.approx(1.96 * RESOLUTION, rel=SOME_ULP, abs=0)


def test_the_standard_error_holds_the_spread_of_the_batch() -> None:
    slopes = np.concatenate([[2.0], np.linspace(1.9, 2.1, 41)])
    a = answer("C h^p", np.outer(np.log(H), slopes))
    assert a.statistical == pytest.approx(1.96 * slopes[1:].std(), abs=SOME_ULP)


def test_the_standard_error_holds_what_a_floor_may_be() -> None:
    """Of a line whose points are off by 0.01 each, independently: numpy's covariance of its slope."""
    a = answer("C h^p", (2 * np.log(H))[:, None], unsure=0.01)
    rows = slice(-a.width, None)
    _, covariance = np.polyfit(np.log(N[rows]), 2 * np.log(H)[rows], 1, cov="unscaled")
    assert a.statistical == pytest.approx(0.01 * math.sqrt(covariance[0, 0]), abs=SOME_ULP)


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("amount", [0.3, 30.0, 3000.0])
def test_every_law_finds_its_own_order(k: int, amount: float) -> None:
    """However far from asymptotic, p is found where the errors obey the law."""
    rows = {
        f"A h^p + B h^(p+{k})": np.log(H**2 + amount * H ** (2 + k)),
        f"C h^p exp(d{k} h^{k})": 2 * np.log(H) + amount * H**k / 10,
    }
    if k == 1:
        rows["1/(A h^-p + B h^(1-p))"] = -np.log(H**-2.0 + amount / H)
    for name, logs in rows.items():
        assert answer(name, logs[:, None]).order == pytest.approx(2, abs=5e-5)  # of a flat fit at 3000


def test_the_interval_is_196_standard_errors() -> None:
    e = estimate_order(N, np.exp(1 + 2 * np.log(H)), np.zeros(len(N)))
    assert e.half_width == pytest.approx(1.96 * 0.0025, abs=SOME_ULP)


def test_the_interval_covers_the_order_under_noise_as_often_as_it_says() -> None:
    hits = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        errors = np.outer(H**2 * (1 + 2 * H), rng.lognormal(sigma=0.7, size=16)) * np.exp(
            0.1 * rng.standard_normal((len(N), 16))
        )
        e = estimate_order(N, errors, np.zeros(len(N)))
        hits += e.low <= 2 <= e.high
    assert hits >= 90


def test_an_inconclusive_verdict_says_why_and_what_would_decide() -> None:
    points = tuple(Point(n, float(n) ** -2, 0.0, True) for n in (8, 16, 32))
    wide = OrderEstimate(2.0, 1.5, 2.5, (), points)
    assert wide.doubt(2) == (
        "the interval is wide: half-width 0.50, 0.15 is allowed; runs with up to about 128 steps would tell"
    )
    assert wide.doubt(2, 0.6) == wide.doubt(3) == wide.doubt(1) == ""
    assert (
        OrderEstimate(3.0, 2.4, 3.6, (), points)
        .doubt(2)
        .startswith("the interval is wide: half-width 0.60, 0.5")
    )
    moving = OrderEstimate(1.1, 1.02, 1.18, (), points, "", Reach(0.9, 1.3, -0.05, 0.5, True))
    assert moving.doubt(0.9).startswith("the slopes may still move to 0.9, the last by -0.05")
    assert moving.verdict(1) == "inconclusive"
    assert moving.verdict(2) == "lower"
    few = OrderEstimate(math.nan, math.nan, math.nan, (), (), "2 usable points")
    assert few.doubt(1).startswith("2 usable points")


def test_a_floor_that_rounding_reaches_first_is_said_to_need_digits() -> None:
    points = tuple(Point(n, float(n) ** -2, 1e-4, n < 64) for n in (8, 16, 32, 64))
    assert "digits" in OrderEstimate(2.0, 1.5, 2.5, (), points).doubt(2)


@pytest.mark.parametrize("claimed", [2, 3, 4])
def test_an_undeclared_floor_is_named_and_refutes_nothing(claimed: int) -> None:
    for level in (1e-7, 1e-5, 1e-3):
        e = estimate_order(N, H**3 + level, NO_FLOOR)
        assert e.verdict(claimed) == "inconclusive"
        assert e.note or "hardly fall" in e.doubt(claimed)


def test_known_floors_make_a_plateau_the_methods_own() -> None:
    e = estimate_order(N, H**3 + 1e-2, NO_FLOOR, known_floors=True)
    assert e.verdict(3) == "lower"
    assert abs(e.order) < 1e-4  # h^3 at n = 512 is 1e-6 of the plateau


@pytest.mark.parametrize(("half", "verdict"), [(0.149, "consistent"), (0.151, "inconclusive")])
def test_the_widest_interval_that_confirms_is_015(half: float, verdict: str) -> None:
    assert OrderEstimate(2.0, 2 - half, 2 + half, (), ()).verdict(2) == verdict


@pytest.mark.parametrize("amount", [-0.9, 4.0, 40.0])
@pytest.mark.parametrize("power", [1, 2, 3])
def test_the_reported_order_is_nearer_than_that_of_the_finest_slope(amount: float, power: int) -> None:
    """e = h^2 (1 + C h^k): the slope by numpy over the finest four points is off by k C h^k, ours is not."""
    errors = H**2 * (1 + amount * H**power)
    e = estimate_order(N, errors, NO_FLOOR)
    slope = -np.polyfit(np.log(N[-4:]), np.log(errors[-4:]), 1)[0]
    assert e.low <= 2 <= e.high
    assert abs(e.order - 2) <= max(0.2 * abs(slope - 2), RESOLUTION)


def ladder(p: float, d: float, spread: np.ndarray, n: tuple[int, ...] = N[:9]) -> OrderEstimate:
    """Of e = h^p e^(d h) and replicates e h^s."""
    h = 1 / np.array(n)
    errors = h**p * np.exp(d * h)
    return estimate_noisy_order(n, errors, errors[:, None] * h[:, None] ** spread, np.zeros(len(n)))


@given(st.floats(0.3, 4), st.floats(-4, 8))
def test_the_fit_of_noisy_errors_is_exact_on_its_own_law(p: float, d: float) -> None:
    """And its interval is that of the resolution alone: nothing is left over."""
    e = ladder(p, d, np.zeros(5))
    assert e.order == pytest.approx(p, abs=1e-9)  # rounding of logarithms by the fit's condition
    assert e.half_width == pytest.approx(1.96 * RESOLUTION, abs=SOME_ULP)


def test_the_interval_of_noisy_errors_holds_the_spread_of_their_replicates() -> None:
    """A replicate e h^s has the order p + s."""
    spread = np.linspace(-0.2, 0.2, 41)
    e = ladder(2.0, 1.0, spread)
    assert e.order == pytest.approx(2, rel=SOME_ULP, abs=0)
    assert e.half_width == pytest.approx(1.96 * math.hypot(spread.std(), RESOLUTION), rel=SOME_ULP, abs=0)


def test_four_points_are_enough_and_nothing_below_the_floor_is_used() -> None:
    floors = np.where(np.arange(len(N)) < 4, 0.0, 1e9)
    e = estimate_order(N, H**2, floors)
    assert max(e.window) == N[3]


def test_a_higher_order_stands_only_if_the_runs_show_it() -> None:
    assert not Richardson(8, reference_free=2.1, measured=3.0).supports("higher", 2)
    assert not Richardson(8, reference_free=1.9, measured=3.0).supports("higher", 2)
    assert not Richardson(8, reference_free=2.9, measured=2.0).supports("lower", 3)
    assert not Richardson(8, reference_free=2.0, measured=2.3).supports("consistent", 2)
    assert Richardson(8, reference_free=2.0, measured=2.2).supports("consistent", 2)


def test_every_statistic_resamples_itself() -> None:
    """One outlier of 20, of first order: it is the maximum of a resample unless it was not drawn, (19/20)^20.

    0.06: four standard errors of a spread that is found from a few hundred resamples.
    """
    errors = np.outer(H**2, np.ones(20))
    errors[:, 0] = 10 * H
    by_median, by_max = (estimate_order(N, errors, NO_FLOOR, statistic=s) for s in ("median", "max"))
    assert by_median.half_width < 0.01  # the outlier is the median of no resample; that of the resolution
    absent = (19 / 20) ** 20
    assert by_max.order == pytest.approx(1, rel=SOME_ULP, abs=0)
    assert by_max.half_width == pytest.approx(1.96 * math.sqrt(absent * (1 - absent)), abs=0.06)  # see above


def test_the_statistics_are_what_they_are_called() -> None:
    e = np.array([[3.0, 4.0, 0.0]])
    found = {name: f(e)[0] for name, f in convergence.STATISTICS.items()}
    assert found == pytest.approx({"rms": 5 / math.sqrt(3), "median": 3.0, "max": 4.0}, rel=SOME_ULP, abs=0)


SETTLED = Reach(1.8, 2.2, 0.0, 0.5, True)


@pytest.mark.parametrize(
    ("half", "reach", "shown"),
    [
        (0.02, SETTLED, True),
        (0.04, SETTLED, False),
        (0.005, SETTLED, False),
        (0.02, Reach(1.4, 2.2, 0.0, 0.5, True), False),
        (0.02, Reach(1.8, 2.6, 0.0, 0.5, True), False),
        (0.02, Reach(1.8, 2.2, 0.0, 0.5, False), False),
        (0.02, None, False),
    ],
)
def test_an_order_is_shown_by_a_narrow_interval_alone_in_reach(
    half: float, reach: Reach | None, shown: bool
) -> None:
    found = OrderEstimate(2.01, 2.01 - half, 2.01 + half, (4, 6, 8, 12), (), "", reach)
    assert found.shows(2) is shown
    assert not found.shows(1)
    assert not found.shows(3)
