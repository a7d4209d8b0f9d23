"""Stability at complex and imaginary z = h L: regions, sections and steps against a computation of their own.

The oracle shares nothing with the code under test but the exact weights: phi-functions are Kummer's in
mpmath, phi_k(z) = M(1, k + 1, z)/k!, and a step is carried out, not a matrix taken apart.
"""

from __future__ import annotations

import cmath
import itertools
import math
from collections.abc import Callable
from functools import cache
from typing import Any

import mpmath
import numpy as np
import pytest
from semilinear.analysis.stability.amplification import Amplification
from semilinear.analysis.stability.region import (
    imaginary_interval,
    imaginary_section,
    largest_stable_step,
    real_interval,
    region,
)
from semilinear.integrators.tableaux.catalogue import CATALOGUE
from semilinear.integrators.tableaux.tableau import N, Tableau, adams, omega, phi
from semilinear.integrators.tableaux.tableau import z as Z
from sympy import Function, Integer, exp, lambdify

from tests.roundings import AMPLIFIED, MANY_ULP, SOME_ULP
from tests.slow import slow

EULER = Amplification(adams(1))
ONE_STEP = ("etdrk2", "krogstad4", "lawson4", "hochbruck-ostermann4")


def kummer(k: int, z: complex) -> complex:
    """phi_k(z)."""
    return complex(mpmath.hyp1f1(1, k + 1, z) / mpmath.factorial(k))


@cache
def function_of(weight: Any) -> Callable[[complex], complex]:
    """A weight on equal steps, as a function of z."""
    written = weight.subs(omega(1), 1).replace(phi, lambda k, c: Function("kummer")(k, c * Z))
    found: Callable[[complex], complex] = lambdify([Z], written, [{"kummer": kummer}, "cmath"])
    return found


def at(tableau: Tableau, z: complex) -> list[tuple[complex, dict[int, complex]]]:
    """e^(cz) and the weights of every row, the output last."""
    rows = zip((*tableau.c, Integer(1)), (*tableau.a, tableau.b), strict=True)
    return [(cmath.exp(float(c) * z), {j: function_of(e)(z) for j, e in row.items()}) for c, row in rows]


def step(rows: list[tuple[complex, dict[int, complex]]], w: Any) -> Any:
    """R(z, w) of a one-step method: a step from u = 1."""
    states = [1 + 0 * w]
    for decay, weights in rows:
        states.append(decay + w * sum(a * states[j] for j, a in weights.items()))
    return states[-1]


@pytest.mark.parametrize("name", ONE_STEP)
@pytest.mark.parametrize("z", [-4j, 0.5 + 2j, 12j])
def test_the_radius_over_a_region_is_that_of_a_step(name: str, z: complex) -> None:
    tableau = CATALOGUE[name].tableau
    found = region(Amplification(tableau), z, 61)
    expected = abs(step(at(tableau, z), found.real + 1j * found.imaginary[:, None]))
    assert found.z == z
    assert np.max(abs(found.radius - expected) / (1 + expected)) < MANY_ULP
    width, height = np.ptp(found.real), np.ptp(found.imaginary)
    share = (expected < 1).mean() * (61 / 60) ** 2  # a point stands for a cell
    assert found.area == pytest.approx(share * width * height, rel=0.02)  # cells of 1/60


@pytest.mark.parametrize("z", [2j, -0.3 - 5j])
def test_the_radius_of_a_multistep_method_is_the_growth_of_its_sequence(z: complex) -> None:
    """u_(n+1) = e^z u_n + w (b_0 u_n + b_1 u_(n-1)), normed after every step.  Over 4000 steps log |c_1/c_2|
    of the start is left, and a gap of the roots; 2e-3 covers both here.
    """
    ((decay, weights),) = at(adams(2), z)
    found = region(Amplification(adams(2)), z, 9)
    for i, j in itertools.product(range(0, 9, 2), repeat=2):
        w = complex(found.real[i], found.imaginary[j])
        u, before, growth = 1 + 0j, 0.3 - 0.2j, 0.0
        for _ in range(4000):
            u, before = decay * u + w * (weights[0] * u + weights[-1] * before), u
            size = max(abs(u), abs(before))
            growth, u, before = growth + math.log(size), u / size, before / size
        assert growth / 4000 == pytest.approx(math.log(found.radius[j, i]), abs=1e-3)  # O(1)/4000


@pytest.mark.parametrize("y", [1.0, 4.0, -2.0])
def test_the_sections_of_exponential_euler_at_imaginary_z(y: float) -> None:
    """|e^(iy) + w phi_1(iy)| <= 1: real w between -y cot(y/2) and 0, imaginary ones between -iy and 0."""
    real, imaginary = real_interval(EULER, 1j * y), imaginary_section(EULER, 1j * y)
    assert real is not None
    assert imaginary is not None
    ends = sorted((0.0, -y / math.tan(y / 2)))
    # by bisection, to 1e-12 of the interval
    assert [real.low, real.high] == pytest.approx(ends, rel=2e-11, abs=SOME_ULP)
    assert [imaginary.low, imaginary.high] == pytest.approx(sorted((0.0, -y)), rel=2e-11, abs=SOME_ULP)
    assert imaginary_interval(EULER, 1j * y) == 0


@pytest.mark.parametrize(
    ("name", "z"),
    slow([("etdrk2", 1j), ("krogstad4", -3j), ("lawson4", -0.5 + 2j)], lambda case: case[0] == "krogstad4"),
)
def test_the_ends_of_sections_are_where_a_step_begins_to_grow(name: str, z: complex) -> None:
    tableau = CATALOGUE[name].tableau
    rows = at(tableau, z)
    real = real_interval(Amplification(tableau), z)
    across = imaginary_section(Amplification(tableau), z)
    assert real is not None
    assert across is not None
    for found, unit in ((real, 1), (across, 1j)):
        inside = np.linspace(found.low, found.high, 501)
        assert np.max(abs(step(rows, unit * inside))) < 1 + 1e-11  # at the ends, by bisection
        for end, outward in ((found.low, -1), (found.high, 1)):
            # far beyond the bisection's error, before |R| may turn
            assert abs(step(rows, unit * np.array(end + outward * 1e-4))) > 1


@pytest.mark.parametrize(("linear", "m"), [(1j, 0.5), (3j, 0.01), (-2j, 7.0), (0.01j, 5.0)])
def test_the_largest_step_of_exponential_euler_on_an_oscillation(linear: complex, m: float) -> None:
    """L = i omega, mu = -m: m/omega = cot(h omega/2)."""
    omega = abs(linear.imag)
    found = largest_stable_step(EULER, linear, -m)
    assert found.h == pytest.approx(2 / omega * math.atan(omega / m), rel=1e-11)  # by bisection


PAIRS = [
    (-2j, -0.1 + 0.3j),
    (-0.05 + 3j, -0.02 - 0.5j),
    (-0.001 + 1j, 0.0005j),
    (0.1 + 2j, -1.0),
]


@pytest.mark.parametrize(("linear", "mu"), slow(PAIRS, lambda pair: pair in PAIRS[2:]))
@pytest.mark.parametrize("name", ["euler", "krogstad4"])
def test_no_step_below_the_largest_one_grows_and_the_next_one_does(
    name: str, linear: complex, mu: complex
) -> None:
    """Below: at 60 steps, up to the fifth turn.  Above: 1e-6 further."""
    tableau = adams(1) if name == "euler" else CATALOGUE[name].tableau
    found = largest_stable_step(Amplification(tableau), linear, mu)
    turn = 2 * math.pi / abs(linear.imag)

    def radius(h: float) -> float:
        return float(abs(step(at(tableau, h * linear), h * mu)))

    if found.h == 0:
        assert radius(found.error) > 1
        return
    last = min(found.h, 5 * turn)
    for h in np.linspace(turn / 100, last, 60):
        assert radius(h) < 1 + AMPLIFIED
    if math.isfinite(found.h):
        assert radius(found.h * (1 + 1e-6)) > 1  # far beyond the bisection's error
    else:
        assert found.scanned >= 100 * turn


def test_a_scan_sees_an_instability_of_a_later_turn() -> None:
    """Steps 1 % apart skip whole turns of e^z from h = 100 on.  R = e^(ih) (1 - mu h (1 - (h/150)^2 B)) with
    B = sin(h/2)^40 grows first beside h = 49 pi = 153.9, within 0.15.
    """
    bump = ((1 - exp(Z)) * (1 - exp(-Z)) / 4) ** 20
    tableau = Tableau((), exp(Z) * (-1 - Z**2 / 150**2 * bump) * N(0))
    found = largest_stable_step(Amplification(tableau), 1j, 1e-3)
    h = np.arange(0.01, 200, 1e-3)
    first = h[np.argmax((h / 150) ** 2 * np.sin(h / 2) ** 40 > 1)]
    assert found.h == pytest.approx(first, abs=1e-3)  # the spacing of h
    assert abs(first - 49 * math.pi) < 0.15


def test_with_mu_0_every_method_is_exact() -> None:
    for name in ("krogstad4", "lawson4"):
        method = Amplification(CATALOGUE[name].tableau)
        assert largest_stable_step(method, 1j, 0).h == math.inf
        assert largest_stable_step(method, 0.1 + 1j, 0).h == 0
