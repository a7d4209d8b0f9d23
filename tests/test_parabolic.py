"""The parabolic problems of Hochbruck & Ostermann 2005: what they are, and the slopes that they show."""

from __future__ import annotations

import math
from dataclasses import replace
from operator import attrgetter
from typing import Any

import numpy as np
import pytest
from semilinear.analysis.convergence import OrderEstimate
from semilinear.analysis.orders.proof import prove
from semilinear.integrators.solvers import make
from semilinear.integrators.tableaux.catalogue import CATALOGUE
from semilinear.integrators.tableaux.tableau import N, Stage, Tableau, phi1, phi2
from semilinear.verification.systems.linearised import NonlinearProblem, gradient_system
from semilinear.verification.systems.parabolic import (
    STEPS,
    linearised_slope,
    parabolic,
    parabolic_linearised,
    stiff_slopes,
)
from semilinear.verification.systems.semilinear import coupled_system, integrate
from sympy import Integer, Symbol

from tests.roundings import MANY_ULP, SLOPE
from tests.slow import slow

KINDS = ("local", "nonlocal")
QUOTIENT = 1e-8
"""What is left of a central difference of step 1e-5: h^2 and, of stiff slopes, ulp/h."""


def last_octave(estimate: OrderEstimate) -> float:
    """The slope over the last halving of h above rounding: the number that papers print; NaN without one."""
    errors = {p.n: p.error for p in estimate.points if p.usable}
    for n in sorted(errors, reverse=True):
        if 2 * n in errors:
            return math.log2(errors[n] / errors[2 * n])
    return math.nan


PUBLISHED: dict[str, tuple[float, float]] = {
    "etdrk2": (2.00, 1.90),
    "hochbruck-ostermann2": (1.95, 1.98),
    "rkmk2e": (1.93, 1.97),
    "lawson2a": (1.00, 1.02),
    "etdrk3": (2.49, 2.34),
    "etd2cf3": (3.02, 2.90),
    "hochbruck-ostermann3": (3.00, 2.98),
    "etdrk4": (2.95, 2.41),
    "krogstad4": (4.04, 3.16),
    "strehmel-weiner4": (4.02, 3.16),
    "friedli4": (4.01, 3.33),
    "lawson4": (1.08, 1.08),
    "genlawson41": (2.06, 2.07),
    "rkmk4t": (2.06, 2.06),
    "hochbruck-ostermann4": (4.02, 3.98),
    "exprk4s6": (3.94, 3.90),
}
"""Slopes from h = 1/64 to 1/128 of an independent program, on both problems; two digits."""


# --- what the problems are ---


@pytest.mark.parametrize("kind", KINDS)
def test_the_solution_solves_the_discrete_system(kind: Any) -> None:
    p, t, step = parabolic(kind), 0.4, 1e-5
    u = p.exact(t)
    linear = p.basis @ (p.eigenvalues * (p.basis.T @ u))
    derivative = (p.exact(t + step) - p.exact(t - step)) / (2 * step)
    assert np.allclose(linear + p.nonlinear(t, u), derivative, rtol=0, atol=QUOTIENT)


def test_the_eigenvectors_are_orthogonal_and_diagonalise_the_second_difference() -> None:
    p = parabolic("local", 20)
    second = 21**2 * (np.eye(20, k=1) + np.eye(20, k=-1) - 2 * np.eye(20))
    assert np.allclose(p.basis.T @ p.basis, np.eye(20), rtol=0, atol=MANY_ULP)
    assert np.allclose(p.basis @ np.diag(p.eigenvalues) @ p.basis.T, second, rtol=0, atol=MANY_ULP * 21**2)


def test_the_coupled_system_has_a_linear_part_that_does_not_commute_with_the_jacobian() -> None:
    p, u, step = coupled_system(None), np.array([0.3, 0.2, 0.9]), 1e-6
    linear = p.basis @ np.diag(p.eigenvalues) @ p.basis.T
    columns = [
        (p.nonlinear(0.0, u + step * e) - p.nonlinear(0.0, u - step * e)) / (2 * step) for e in np.eye(3)
    ]
    change = np.array(columns).T
    assert np.abs(linear @ change - change @ linear).max() > 0.1


def test_the_solution_solves_the_coupled_system() -> None:
    p, t, step = coupled_system(None), 0.4, 1e-5
    linear = p.basis @ np.diag(p.eigenvalues) @ p.basis.T
    derivative = (p.exact(t + step) - p.exact(t - step)) / (2 * step)
    assert np.allclose(linear @ p.exact(t) + p.nonlinear(t, p.exact(t)), derivative, rtol=0, atol=QUOTIENT)


def problems() -> list[NonlinearProblem]:
    return [gradient_system(), parabolic_linearised("local", 30), parabolic_linearised("nonlocal", 30)]


@pytest.mark.parametrize("p", problems(), ids=attrgetter("name"))
def test_the_solution_solves_the_nonlinear_system(p: NonlinearProblem) -> None:
    step = 1e-5
    for t in (0.0, 0.5, 1.0):
        derivative = (p.exact(t + step) - p.exact(t - step)) / (2 * step)
        assert np.allclose(p.slope(t, p.exact(t)), derivative, rtol=0, atol=QUOTIENT)


@pytest.mark.parametrize("p", problems(), ids=attrgetter("name"))
def test_jacobian_and_drift_are_the_derivatives_of_the_slope(p: NonlinearProblem) -> None:
    t, step = 0.3, 1e-5
    u = p.exact(t) + 0.1
    columns = [(p.slope(t, u + step * e) - p.slope(t, u - step * e)) / (2 * step) for e in np.eye(len(u))]
    assert np.allclose(p.jacobian(t, u), np.array(columns).T, rtol=QUOTIENT, atol=QUOTIENT)
    quotient = (p.slope(t + step, u) - p.slope(t - step, u)) / (2 * step)
    assert np.allclose(p.drift(t, u), quotient, rtol=QUOTIENT, atol=QUOTIENT)


# --- slopes ---


@pytest.mark.parametrize("index", [0, 1], ids=KINDS)
@pytest.mark.parametrize("name", PUBLISHED)
def test_the_slope_is_that_of_an_independent_program(name: str, index: int) -> None:
    _, _, estimate = stiff_slopes(CATALOGUE[name].tableau, parabolic(KINDS[index]))
    assert last_octave(estimate) == pytest.approx(PUBLISHED[name][index], abs=0.011)  # two decimals


STIFF = (
    "exponential-euler",
    "etdrk2",
    "rkmk2e",
    "hochbruck-ostermann2",
    "etdrk3",
    "etd2cf3",
    "hochbruck-ostermann3",
    "cfree4",
    "etdrk4",
    "krogstad4",
    "minchev4",
    "rkmk4t",
    "genlawson41",
    "hochbruck-ostermann4",
    "exprk4s6",
    "exprk5s8",
    "exprk5s10",
    "collocation-4",
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", STIFF)
def test_no_slope_is_below_the_proved_weak_stiff_order(name: str, kind: Any) -> None:
    """Within what the last octave above rounding lacks of its limit, and for minchev4 its oscillation: less
    than half of what tells two orders apart.
    """
    tableau = CATALOGUE[name].tableau
    _, _, estimate = stiff_slopes(tableau, parabolic(kind))
    assert last_octave(estimate) > prove(tableau).weak_stiff - 0.3


@pytest.mark.parametrize("name", ["lawson4", "genlawson41", "rkmk4t", "cfree4", "etdrk3", "etd5rkf"])
def test_the_classical_order_is_lost(name: str) -> None:
    for kind in KINDS:
        _, _, estimate = stiff_slopes(CATALOGUE[name].tableau, parabolic(kind))
        assert last_octave(estimate) < CATALOGUE[name].claimed - 0.5


@pytest.mark.parametrize("name", ["ab-norsett4", "pec423", "pecec433", "eglm433", "genlawson43"])
def test_a_multistep_method_of_full_stage_order_keeps_its_order(name: str) -> None:
    for kind in KINDS:
        _, _, estimate = stiff_slopes(CATALOGUE[name].tableau, parabolic(kind))
        assert last_octave(estimate) > 3.9


@pytest.mark.parametrize("name", ["lawson3-ssp", "lawson5-fehlberg", "lawson6-butcher"])
def test_an_integrating_factor_that_runs_backwards_is_unbounded(name: str) -> None:
    """Decreasing abscissae: e^((c_i - c_j) z) with c_i < c_j."""
    assert math.isinf(integrate(CATALOGUE[name].tableau, parabolic("local"), 8)[0])


def test_dpm_solver_2_has_the_second_order_at_rest_alone() -> None:
    """b_2 = phi_1/(2 c_2): strong stiff order 1, weak 2, and nearly 2 is seen."""
    tableau = make("dpm-solver-2").sequence.tableaux[-1]
    slopes = [last_octave(stiff_slopes(tableau, parabolic(kind))[2]) for kind in KINDS]
    assert slopes == pytest.approx([1.98, 1.98], abs=0.011)  # two decimals


@pytest.mark.parametrize(
    "name", slow(["rosenbrock-euler", "exprb32", "exprb42"], lambda name: name != "exprb32")
)
def test_a_rosenbrock_method_keeps_its_order(name: str) -> None:
    estimate = linearised_slope(CATALOGUE[name].tableau, "local")
    assert last_octave(estimate) == pytest.approx(CATALOGUE[name].claimed, abs=SLOPE)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["exprb43", "pexprb43", "exprb53s3", "exprb54s4", "pexprb54s4"])
def test_a_rosenbrock_method_of_high_order_keeps_it(name: str, kind: Any) -> None:
    assert last_octave(linearised_slope(CATALOGUE[name].tableau, kind)) > CATALOGUE[name].claimed - 0.2


# --- mutation, and bad input ---


def test_a_weight_of_the_wrong_phi_is_seen_in_the_slope() -> None:
    tableau = CATALOGUE["hochbruck-ostermann4"].tableau
    changed = replace(tableau, output=tableau.output + (phi2 - phi1 / 2) * (N(3) - N(0)))
    for kind in KINDS:
        assert last_octave(stiff_slopes(changed, parabolic(kind))[2]) < 2.2


def test_a_perturbed_weight_is_seen_in_the_slope() -> None:
    tableau = CATALOGUE["hochbruck-ostermann4"].tableau
    changed = replace(tableau, output=tableau.output + tableau.b[3] * (N(3) - N(0)) / 1000)
    for kind in KINDS:
        assert last_octave(stiff_slopes(changed, parabolic(kind))[2]) < 3


def test_errors_come_with_their_step_counts() -> None:
    steps, errors, estimate = stiff_slopes(CATALOGUE["etdrk2"].tableau, parabolic("local"))
    assert steps == STEPS
    assert errors == tuple(p.error for p in estimate.points)


@pytest.mark.parametrize("kind", ["", "Local", None, 1])
def test_an_unknown_problem_is_rejected(kind: Any) -> None:
    with pytest.raises(ValueError, match="kind must be one of local, nonlocal"):
        parabolic(kind)


@pytest.mark.parametrize("points", [1, 0, -3, 2.5, True])
def test_a_bad_number_of_points_is_rejected(points: Any) -> None:
    with pytest.raises(ValueError, match="points must be an integer >= 2"):
        parabolic("local", points)


@pytest.mark.parametrize("steps", [0, -1, 2.5, True])
def test_a_bad_number_of_steps_is_rejected(steps: Any) -> None:
    with pytest.raises(ValueError, match="steps must be an integer >= 1"):
        integrate(CATALOGUE["etdrk2"].tableau, parabolic("local"), steps)


def test_a_kept_evaluation_is_rejected() -> None:
    kept = Tableau((Stage(Integer(1), phi1 * N(0)),), phi1 * (N(0) + N(1)) / 2, carry=1)
    with pytest.raises(ValueError, match="tableau must evaluate every step's start, got carry = 1"):
        integrate(kept, parabolic("local"), 4)


def test_a_parameter_without_a_value_is_rejected() -> None:
    with pytest.raises(ValueError, match="the tableau's parameter r has no value here"):
        integrate(Tableau((), Symbol("r") * N(0)), parabolic("local"), 4)
