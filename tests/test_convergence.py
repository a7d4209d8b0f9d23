"""The estimator on errors whose order is known by construction."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from semilinear.analysis.convergence import OrderEstimate, Richardson, estimate_order, richardson

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
    assert abs(e.order - p) <= 0.05
    assert e.half_width <= 0.1


@given(st.integers(1, 5), st.integers(0, 50))
def test_noise_widens_the_interval_instead_of_moving_it(p: int, seed: int) -> None:
    e = estimate_order(N, synthetic(p, 2.0, batch=64, noise=0.05, seed=seed), NO_FLOOR)
    assert e.low - 0.05 <= p <= e.high + 0.05
    assert e.verdict(p + 1) == "lower"
    assert e.verdict(p - 1) == "higher"


@pytest.mark.parametrize("p", [1, 2, 3, 4, 5])
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
    errors = synthetic(1) * 1e-3 + synthetic(3) * 50
    e = estimate_order(N, errors, NO_FLOOR)
    assert e.verdict(3) == "lower"
    assert e.verdict(2) == "lower"


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_too_few_points_are_inconclusive(rows: int) -> None:
    floors = np.where(np.arange(len(N)) < rows, 0.0, 1e9)
    e = estimate_order(N, synthetic(2), floors)
    assert math.isnan(e.order)
    assert e.verdict(2) == "inconclusive"
    assert e.reason == f"{rows} usable points, 4 are needed"


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
    errors[:, :2] = 10.0 * synthetic(1, batch=40)[:, :2]
    assert estimate_order(N, errors, NO_FLOOR, statistic="median").verdict(2) == "consistent"
    assert estimate_order(N, errors, NO_FLOOR, statistic="max").verdict(2) == "lower"


def test_the_estimate_is_reproducible() -> None:
    assert estimate_order(N, synthetic(2), NO_FLOOR) == estimate_order(N, synthetic(2), NO_FLOOR)


def test_slopes_are_those_of_neighbours() -> None:
    slopes = estimate_order(N, synthetic(2), NO_FLOOR).slopes
    assert slopes == pytest.approx([2.0] * (len(N) - 1))


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
    return estimate_order(N, errors, NO_FLOOR), runs


def test_the_triple_gives_the_order_without_a_reference() -> None:
    check = richardson(*states(3))
    assert check is not None
    assert check.n == 128
    assert check.reference_free == pytest.approx(3, abs=1e-3)
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


def test_slopes_that_move_away_from_a_claim_refute_it() -> None:
    """A first-order term beneath a second-order method: the order falls along the ladder."""
    h = H
    falling = estimate_order(N, h**2 + 3e-3 * h, NO_FLOOR)
    assert falling.drift < 0
    assert falling.verdict(2) == "lower"


@pytest.mark.parametrize("claimed", [math.nan, math.inf])
def test_a_claim_is_a_finite_number(claimed: float) -> None:
    with pytest.raises(ValueError, match="claimed must be a finite number"):
        estimate_order(N, synthetic(2), NO_FLOOR).verdict(claimed)
