"""Regions, sections and the largest stable step, against closed forms and against running the recurrence."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from semilinear.analysis.stability.amplification import Amplification
from semilinear.analysis.stability.region import (
    boundary_locus,
    imaginary_interval,
    largest_stable_step,
    real_interval,
    region,
    window,
)
from semilinear.integrators.numerics.phi import phi as numeric
from semilinear.integrators.solvers import make
from semilinear.integrators.tableaux.tableau import N, P, Stage, Tableau, adams, interpolate, omega, z
from sympy import Integer

from tests.roundings import MANY_ULP
from tests.slow import slow


def method(name: str) -> Amplification:
    return Amplification(make(name).sequence.tableaux[-1])


EULER, RK4 = method("ddim"), method("deis-rhork-4rk")
BISECTED = 1e-11
"""Ends are bisected to 1e-12 of their size."""
COARSE = 1.1
"""The ratio of a scan where all steps below the end are known to be stable."""
METHODS = {name: method(name) for name in ("dpm-solver-3", "dpm-solver++-2m", "unipc-2-bh2", "krogstad4")}


# --- the root condition ---


@given(
    st.sampled_from(sorted(METHODS)),
    st.complex_numbers(max_magnitude=5, allow_nan=False),
    st.complex_numbers(max_magnitude=5, allow_nan=False),
)
def test_stable_means_that_powers_are_bounded(name: str, z: complex, w: complex) -> None:
    found = METHODS[name].radius(z, w)
    if abs(found - 1) < 1e-3:  # 2^16 powers tell radii apart that differ by more: e^65
        return
    with np.errstate(all="ignore"):
        power = np.linalg.matrix_power(METHODS[name].matrix(z, w), 2**16)
    bounded = bool(np.isfinite(power).all() and abs(power).max() < 1e6)
    assert bool(METHODS[name].stable(z, w)) == bounded == bool(found < 1)


def test_a_double_root_on_the_circle_is_unstable_and_a_simple_one_is_stable() -> None:
    """zeta^2 - (1 + w a) zeta - w b at w = 1: (zeta + 1)^2, (zeta + 1)(zeta + 1/2), zeta^2 + 1."""
    for a, b, stable in ((-3, -1, False), (-2.5, -0.5, True), (-1, -1, True)):
        tableau = Tableau((), Integer(1) * a * N(0) + b * P(1))
        assert bool(Amplification(tableau).stable(0, 1)) is stable


@pytest.mark.parametrize("name", ["dpm-solver-3", "dpm-solver++-2m", "unipc-3-bh2", "etdrk4"])
@pytest.mark.parametrize("z", [-2.0, -0.3, 0.7])
def test_a_fixed_point_of_the_equation_is_one_of_the_method(name: str, z: float) -> None:
    """Rows that sum to phi_1 have the eigenvalue 1 at w = -z; Lawson's do not."""
    eigenvalues = np.linalg.eigvals(method(name).matrix(z, -z))
    assert abs(eigenvalues - 1).min() < 1e-14  # some ulp: the eigenvalue is simple
    assert abs(np.linalg.eigvals(method("lawson4").matrix(z, -z)) - 1).min() > 1e-5


@pytest.mark.parametrize("name", sorted(METHODS))
@pytest.mark.parametrize("z", [0.0, -1.0, 0.5 + 1j])
def test_the_boundary_locus_has_eigenvalues_on_the_unit_circle(name: str, z: complex) -> None:
    locus = boundary_locus(METHODS[name], z, 90)
    eigenvalues = np.linalg.eigvals(METHODS[name].matrix(z, locus))
    assert abs(abs(eigenvalues) - 1).min(1).max() < 1e-7  # a root of an ulp where two of them meet
    assert len(locus) >= 90


@pytest.mark.parametrize("name", [*sorted(METHODS), "unipc-3-bh2", "deis-lambdaab3", "lawson4"])
@pytest.mark.parametrize("z", [0.0, -5.0])
def test_the_window_holds_the_whole_region(name: str, z: float) -> None:
    left, right, bottom, top = window(method(name), z)
    x, y = np.linspace(left, right, 60), np.linspace(bottom, top, 60)
    border = np.concatenate([x + 1j * bottom, x + 1j * top, left + 1j * y, right + 1j * y])
    for scale in (1, 1.2, 1.6, 2.5):
        centre = complex(left + right, bottom + top) / 2
        assert not method(name).stable(z, centre + scale * (border - centre)).any()


# --- regions ---


@pytest.mark.parametrize("z", [0, -1, -5, 0.5, 1 + 2j])
def test_the_region_of_exponential_euler_is_a_disc(z: complex) -> None:
    """|e^z + w phi_1| <= 1: centre -e^z/phi_1, radius 1/|phi_1|."""
    phi1 = numeric(1, complex(z))
    found = region(EULER, z)
    assert found.area == pytest.approx(math.pi / abs(phi1) ** 2, rel=2e-5)  # of chords, O(1/points^2)
    assert abs(found.area - math.pi / abs(phi1) ** 2) <= found.area_error
    w = found.real + 1j * found.imaginary[:, None]
    assert ((found.radius < 1) == (abs(w + np.exp(z) / phi1) < 1 / abs(phi1))).mean() > 1 - 1e-12


def test_a_region_can_be_empty() -> None:
    """Adams-Bashforth 3 at z = 1: no w makes up for the growth of e^z."""
    method = Amplification(adams(3))
    assert region(method, 1, 101).area == 0
    assert real_interval(method, 1) is None
    assert imaginary_interval(method, 1) is None


@pytest.mark.slow
def test_the_area_error_covers_the_change_to_a_finer_grid() -> None:
    for name in ("dpm-solver-3", "unipc-2-bh2"):
        coarse, fine = region(method(name), -1, 151), region(method(name), -1, 601)
        assert abs(coarse.area - fine.area) <= coarse.area_error
        assert fine.area_error < coarse.area_error


def test_the_region_is_symmetric_for_real_z() -> None:
    found = region(method("dpm-solver++-2m"), -1, 101)
    assert found.radius == pytest.approx(found.radius[::-1], rel=MANY_ULP, abs=0)


# --- sections ---

ADAMS = {1: (2, 0), 2: (1, 0), 3: (6 / 11, 0.7236), 4: (3 / 10, 0.4300), 6: (5 / 57, 0)}


@pytest.mark.parametrize("k", slow(ADAMS, lambda k: k > 3))
def test_the_intervals_of_adams_bashforth(k: int) -> None:
    """sigma(-1)/rho(-1) gives the real ones; the imaginary ones are 0 except for k = 3, 4."""
    real, imaginary = ADAMS[k]
    found = real_interval(Amplification(adams(k)), 0)
    assert found is not None
    assert found.low == pytest.approx(-real, rel=BISECTED, abs=0)
    assert found.high == 0
    printed = pytest.approx(imaginary, abs=1e-4)  # the digits that are printed
    assert imaginary_interval(Amplification(adams(k)), 0) == printed


RUNGE_KUTTA = {"2heun": (2, 0), "3kutta": (2.5127453266, math.sqrt(3)), "4rk": (2.7852935634, math.sqrt(8))}


@pytest.mark.parametrize("name", RUNGE_KUTTA)
def test_the_intervals_of_runge_kutta_methods(name: str) -> None:
    real, imaginary = RUNGE_KUTTA[name]
    found = real_interval(method(f"deis-rhork-{name}"), 0)
    assert found is not None
    printed = 1e-10  # the last digit of 2.7852935634
    assert found.low == pytest.approx(-real, abs=printed)
    assert imaginary_interval(method(f"deis-rhork-{name}"), 0) == pytest.approx(imaginary, abs=printed)


def test_a_perturbed_weight_moves_the_intervals() -> None:
    tableau = make("deis-rhork-4rk").sequence.tableaux[-1]
    changed = Amplification(Tableau(tableau.stages, tableau.output - (N(3) - N(0)) / 10**6))
    found = real_interval(changed, 0)
    assert found is not None
    assert abs(found.low + 2.7852935634) > 1e-8
    assert imaginary_interval(changed, 0) == 0  # |R(iy)|^2 = 1 + 2e-6 y^2 ..


PREDICTOR_CORRECTOR = {2: (2, 1 / 2), 3: (1.729, 2 / 7), 4: (1.285, 3 / 19)}
"""Order of Adams predictor and corrector: -w* of PECE and of PEC (-0.16 in Lambert 1973 for order 4)."""


@pytest.mark.parametrize("order", slow(PREDICTOR_CORRECTOR, lambda order: order > 3))
@pytest.mark.parametrize("carry", [False, True])
def test_the_intervals_of_adams_bashforth_moulton(order: int, carry: bool) -> None:
    def values(count: int) -> dict[Any, Any]:
        return {Integer(0): N(0)} | {-omega(j): P(j) for j in range(1, count)}

    stage = Stage(Integer(1), interpolate(values(order)))
    corrected = interpolate(values(order - 1) | {Integer(1): N(1)})
    pair = Amplification(Tableau((stage,), corrected, carry=1 if carry else None))
    found = real_interval(pair, 0)
    assert found is not None
    printed = BISECTED if carry else 3e-4  # exact, or half a unit of the fourth digit
    assert found.low == pytest.approx(-PREDICTOR_CORRECTOR[order][carry], rel=printed)


@pytest.mark.parametrize("z", [-1.0, -5.0, 1.0])
def test_the_sections_of_exponential_euler(z: float) -> None:
    """Real: from -(1 + e^z)/phi_1 to -z; imaginary: sqrt(1 - e^2z)/phi_1, none for z > 0."""
    phi1 = numeric(1, z)
    found = real_interval(EULER, z)
    assert found is not None
    assert found.low == pytest.approx(-(1 + math.exp(z)) / phi1, rel=BISECTED, abs=0)
    assert found.high == pytest.approx(-z, rel=BISECTED, abs=0)
    imaginary = imaginary_interval(EULER, z)
    if z > 0:
        assert imaginary is None
    else:
        assert imaginary == pytest.approx(math.sqrt(1 - math.exp(2 * z)) / phi1, rel=BISECTED, abs=0)


def test_exponential_adams_bashforth_2_at_z() -> None:
    """zeta = -1: 1 + e^z + w (phi_1 + 2 phi_2) = 0."""
    for at in (-1.0, -5.0):
        found = real_interval(Amplification(adams(2)), at)
        assert found is not None
        assert found.low == pytest.approx(
            -(1 + math.exp(at)) / (numeric(1, at) + 2 * numeric(2, at)), rel=BISECTED, abs=0
        )


# --- the largest step ---


@settings(max_examples=10)
@given(st.floats(1.05, 40), st.floats(0.01, 100))
def test_the_largest_step_of_exponential_euler(m: float, rate: float) -> None:
    """L = -l, mu = -m l: e^(-hl) - m (1 - e^(-hl)) = -1 at h l = log((m + 1)/(m - 1))."""
    found = largest_stable_step(EULER, -rate, -m * rate, ratio=COARSE)
    assert found.h == pytest.approx(math.log((m + 1) / (m - 1)) / rate, rel=BISECTED, abs=0)
    assert 0 < found.error <= BISECTED * found.h


def test_it_is_unbounded_while_mu_is_smaller_than_L() -> None:
    for mu in (-0.99, 0.5, 0.3 + 0.4j):
        assert largest_stable_step(EULER, -1, mu).h == math.inf
    assert largest_stable_step(EULER, -1, -1.01).h < math.inf


def test_gaussian_data_is_stable_with_any_step_in_data_prediction() -> None:
    """mu = s^2/(s^2 + rho^2) in (0, 1), L = -1; mu = 1 is neutral."""
    for name in ("ddim", "dpm-solver++-2s", "dpm-solver++-2m-taylor"):
        assert largest_stable_step(method(name), -1, [0.1, 0.5, 0.9]).h == math.inf


def test_there_is_none_where_the_exact_solution_grows_or_the_method_does() -> None:
    assert largest_stable_step(EULER, -1, 1.5).h == 0
    assert largest_stable_step(EULER, 0, 1j).h == 0
    assert largest_stable_step(method("unipc-1-bh1"), 0, 1j).h == 0  # the root of Adams-Bashforth 2


def test_without_mu_nothing_limits_the_step() -> None:
    assert largest_stable_step(RK4, 0, 0).h == math.inf
    assert largest_stable_step(EULER, -3, 0).h == math.inf


def test_of_many_eigenvalues_the_worst_one_counts() -> None:
    mu = np.array([-1.0, -7.0, -3 + 2j])
    one = [largest_stable_step(RK4, 0, m).h for m in mu]
    together = largest_stable_step(RK4, 0, mu)
    assert together.h == pytest.approx(min(one), rel=BISECTED, abs=0)
    printed = 1e-10  # the last digit
    assert one[0] == pytest.approx(2.7852935634, rel=printed)
    assert one[1] == pytest.approx(2.7852935634 / 7, rel=printed)


def test_steps_above_the_largest_one_are_unstable_and_below_stable() -> None:
    for name, linear, mu in (
        ("unipc-2-bh2", -1, -2 + 1j),
        ("krogstad4", -1 + 3j, -2),
        ("dpm-solver-2m", 1, -3),
    ):
        h = largest_stable_step(method(name), linear, mu, ratio=COARSE).h
        steps = h * np.linspace(0.01, 1, 200)
        assert method(name).stable(steps * linear, steps * mu).all()
        assert not method(name).stable(h * (1 + 1e-9) * linear, h * (1 + 1e-9) * mu)


# --- refusals ---


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: region(EULER, math.nan), "z must be a finite number"),
        (lambda: region(Amplification(Tableau((), N(0) / z)), 0), "z must be no pole"),
        (lambda: region(EULER, 0, 4), "points must be an integer >= 9"),
        (lambda: largest_stable_step(EULER, math.inf, 1), "linear must be finite"),
        (lambda: largest_stable_step(EULER, -1, []), "mu must be finite numbers, at least one"),
        (lambda: largest_stable_step(EULER, -1, 1, ratio=1), "ratio must lie"),
    ],
)
def test_bad_arguments_are_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("at", slow([-1e4, -1e7, -1e12], lambda at: at != -1e7))
def test_the_region_of_a_stiff_method_grows_with_z(at: float) -> None:
    """For z -> -inf the rows of Krogstad's method are rational: R(z, w) has a limit in w/z."""
    near, far = (real_interval(METHODS["krogstad4"], value) for value in (-1e3, at))
    assert near is not None
    assert far is not None
    assert far.high == pytest.approx(-at, rel=BISECTED, abs=0)
    assert far.low / at == pytest.approx(near.low / -1e3, rel=5e-3)  # the limit is approached as 1/z


@pytest.mark.slow
def test_the_largest_step_of_a_stiff_spectrum_is_that_of_its_worst_pair() -> None:
    kutta = method("krogstad4")
    alone = largest_stable_step(kutta, 0, -1, ratio=COARSE).h
    assert alone == pytest.approx(2.785293563, rel=2e-10)  # the last digit
    assert largest_stable_step(kutta, [-1e7, 0], [0, -1], ratio=COARSE).h == alone
    assert largest_stable_step(kutta, [-1, 0], [0, -1e-8], ratio=COARSE).h == pytest.approx(
        1e8 * alone, rel=BISECTED, abs=0
    )
    assert largest_stable_step(kutta, [0, -1e7], [0, 0]).h == math.inf
