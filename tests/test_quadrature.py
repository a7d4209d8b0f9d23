from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from semilinear.integrators.numerics.arithmetic import FLOAT64, multiprecision
from semilinear.integrators.numerics.quadrature import GAUSS, LeftRiemann, legendre_mp

from tests.roundings import SOME_ULP


@given(a=st.floats(-3, 3), b=st.floats(-3, 3))
def test_gauss_integrates_smooth_functions_to_rounding(a: float, b: float) -> None:
    value = GAUSS.integrate(lambda s: np.stack([np.exp(s), np.cos(3 * s)]), a, b, FLOAT64)
    exact = [math.exp(b) - math.exp(a), (math.sin(3 * b) - math.sin(3 * a)) / 3]
    assert value == pytest.approx(exact, rel=SOME_ULP, abs=SOME_ULP)


def test_gauss_reaches_rounding_on_a_near_singularity() -> None:
    value = GAUSS.integrate(lambda s: np.stack([1 / np.sqrt(s)]), 1e-6, 1.0, FLOAT64)
    assert value[0] == pytest.approx(2 - 2e-3, rel=SOME_ULP, abs=0)


def test_kinks_are_panel_ends() -> None:
    value = GAUSS.integrate(lambda s: np.stack([np.abs(s - 0.3)]), 0.0, 1.0, FLOAT64, kinks=[0.3])
    assert value[0] == pytest.approx((0.3**2 + 0.7**2) / 2, rel=SOME_ULP, abs=0)


def test_multiprecision_quadrature_keeps_its_digits() -> None:
    xp = multiprecision(40)
    value = GAUSS.integrate(lambda s: np.stack([xp.exp(s)]), xp.number(0), xp.number(1), xp)
    assert abs(value[0] - (xp.exp(xp.number(1)) - 1)) < 1e-38  # of 40 digits


def test_multiprecision_quadrature_halves_its_panels_too() -> None:
    """A pole 1e-7 before the interval: mpmath's own rule is wrong there by a third, without saying so."""
    xp = multiprecision(40)
    pole = xp.number(1) / 10**7
    value = GAUSS.integrate(lambda s: np.stack([1 / (s + pole) ** 2]), xp.number(0), xp.number(1), xp)
    exact = 1 / pole - 1 / (1 + pole)
    assert abs(value[0] / exact - 1) < 1e-38  # of 40 digits


@pytest.mark.parametrize("digits", [1, 3, 15, 60])
def test_any_number_of_digits_has_a_rule(digits: int) -> None:
    xp = multiprecision(digits)
    value = GAUSS.integrate(lambda s: np.stack([xp.exp(s)]), xp.number(0), xp.number(1), xp)
    assert abs(value[0] - xp.exp(xp.number(1)) + 1) <= 10.0 ** (3 - digits)


@pytest.mark.parametrize("length", ["0.01", "0.1", "1", "10", "1000"])
def test_short_intervals_need_few_nodes_and_long_ones_lose_no_digits(length: str) -> None:
    xp, finer = multiprecision(50), multiprecision(70)
    asked = []

    def f(s: Any) -> Any:
        asked.append(len(s))
        return np.stack([1 / (1 + s)])

    value = GAUSS.integrate(f, xp.number(0), xp.number(length), xp)[0]
    exact = finer.log1p(finer.number(xp.number(length)))
    assert (
        abs(finer.number(value) / exact - 1) <= 4 * xp.context.eps
    )  # a sum of 20 to 160 terms, all positive
    if length == "0.01":
        assert sum(asked) < 30  # two rules, of 12 and 16 nodes
    elif length in ("0.1", "1"):
        assert sum(asked) < 192  # what one rule of four nodes a digit takes, and it needs another beside it


def test_gauss_nodes_in_multiprecision_integrate_polynomials_exactly() -> None:
    """Of degree 2 n - 1, and none beyond."""
    xp = multiprecision(30)
    for n in (1, 2, 5, 12):
        nodes, weights = legendre_mp(n, xp)
        for degree in (0, 1, 2 * n - 1):
            assert abs((weights * nodes**degree).sum() * (degree + 1) - 1) <= 8 * xp.context.eps
        assert abs((weights * nodes ** (2 * n)).sum() * (2 * n + 1) - 1) > 1e-20  # of 30 digits


def test_left_riemann_is_first_order_with_the_known_constant() -> None:
    errors = [
        LeftRiemann(n).integrate(lambda s: np.stack([np.exp(s)]), 0.0, 1.0, FLOAT64)[0] - (math.e - 1)
        for n in (1000, 2000)
    ]
    assert errors[0] == pytest.approx(-(math.e - 1) / 2000, rel=1e-3)  # h (f(a) - f(b))/2
    assert errors[0] / errors[1] == pytest.approx(2, rel=1e-3)  # O(h)


def test_a_divergent_integral_is_reported() -> None:
    with np.errstate(all="ignore"), pytest.raises(ArithmeticError, match="does not converge"):
        GAUSS.integrate(lambda s: np.stack([1 / s**2]), 0.0, 1.0, FLOAT64)


@pytest.mark.parametrize("low", [1 / 690, 1 / 735, 1 / 800])
def test_an_integrand_that_underflows_ends(low: float) -> None:
    calls = []

    def f(s: Any) -> Any:
        calls.append(s)
        return np.stack([np.exp(-1 / s)])

    value = GAUSS.integrate(f, low, 1 / 500, FLOAT64)[0]
    # s^2 exp(-1/s) (1 - 2 s + ..) at s = 1/500
    assert value == pytest.approx(1.0 / 500**2 * math.exp(-500), rel=5e-3, abs=0)
    assert abs(GAUSS.integrate(f, 1 / 735, 1 / 715, FLOAT64)[0]) < 1e-300  # exp(-715) underflows
    assert len(calls) < 1000


@pytest.mark.parametrize("points", [0, -1, 1.5, True])
def test_bad_point_counts_are_refused(points: Any) -> None:
    with pytest.raises(ValueError, match="points"):
        LeftRiemann(points)


def test_kinks_are_panel_ends_in_multiprecision() -> None:
    xp = multiprecision(40)
    value = GAUSS.integrate(
        lambda s: np.stack([abs(s - xp.number("0.3"))]),
        xp.number(0),
        xp.number(1),
        xp,
        kinks=[xp.number("0.3")],
    )
    assert abs(value[0] - xp.number("0.29")) < 1e-38  # of 40 digits


@pytest.mark.parametrize("digits", [1, 15, 50])
def test_expm1_in_multiprecision_is_mpmaths_own(digits: int) -> None:
    """The same number: every plan in many digits has it."""
    xp = multiprecision(digits)
    own, random = xp.context.expm1, np.random.default_rng(digits)
    for exponent in range(-digits - 20, 4):
        for x in random.uniform(-1, 1, 4):
            value = xp.number(float(x)) * xp.number(10) ** exponent
            assert xp.expm1(value) == own(value)
    for special in (0, xp.context.inf, -xp.context.inf, xp.context.log(2)):
        assert xp.expm1(special) == own(special)
