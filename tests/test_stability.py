"""Amplification matrices: their entries, their order, zero-stability, and that the sampling loop has them."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import pytest
import sympy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from semilinear.analysis.stability.amplification import Amplification, w, zeta
from semilinear.integrators.diffusion.schedule import vp_linear
from semilinear.integrators.numerics.arithmetic import multiprecision
from semilinear.integrators.plans.compile import compile_plan
from semilinear.integrators.run.sampler import sample
from semilinear.integrators.solvers import SOLVERS, make
from semilinear.integrators.solvers.deis import RUNGE_KUTTA
from semilinear.integrators.tableaux.tableau import (
    N,
    P,
    Stage,
    Tableau,
    adams,
    formula_of,
    interpolate,
    nested_collocation,
    omega,
    phi,
    phi1,
    phi2,
    phi3,
    z,
)
from sympy import Integer, Rational, Symbol

from tests.roundings import MANY_ULP, SOME_ULP
from tests.slow import MANY_TERMS, few, slow

VP = vp_linear()


def full(name: str) -> Tableau:
    return make(name).sequence.tableaux[-1]


FIXED = [name for name in SOLVERS if not full(name).parameters]
"""Solvers whose coefficients do not change from step to step."""
SAMPLED = ["dpm-solver-3", "dpm-solver++-3m-corrected", "unipc-3-bh2", "etdrk4", "lawson4", "exprk5s8"]
points = st.complex_numbers(max_magnitude=6, allow_nan=False, allow_infinity=False)


def at_zero(expression: Any) -> Any:
    """z = 0 in an expression that is regular there."""
    return sympy.expand(expression.replace(phi, lambda k, c: 1 / sympy.factorial(k)).subs(z, 0))


def mutated(tableau: Tableau, j: int, factor: Any) -> Tableau:
    """With one output weight multiplied."""
    output = formula_of(dict(tableau.b) | {j: tableau.b[j] * factor})
    return Tableau(tableau.stages, output, carry=tableau.carry)


# --- entries ---


LARGE = ("exprk5s8", "exprk5s10", "collocation-5")
"""Whose expansion takes a minute."""


@pytest.mark.parametrize(
    "name",
    slow(
        [n for n in FIXED if n not in LARGE], lambda n: n in {*MANY_TERMS, "etd5rkf"} or n not in FIXED[::2]
    ),
)
def test_without_the_nonlinear_part_every_method_is_exact(name: str) -> None:
    """det(zeta - M(z, 0)) = zeta^(m-1) (zeta - e^z)."""
    method = Amplification(full(name))
    linear = zeta * sympy.eye(method.size) - method.exact.subs(w, 0)
    polynomial = linear.det(method="berkowitz")  # sympy's charpoly cannot sort factors that hold e^z
    assert sympy.expand(polynomial - zeta ** (method.size - 1) * (zeta - sympy.exp(z))) == 0


@pytest.mark.parametrize("name", LARGE)
@settings(max_examples=8)
@given(points)
def test_so_are_the_largest_ones(name: str, at: complex) -> None:
    found = Amplification(full(name)).precise(at, 0)[0, 0]
    assert abs(found - mpmath.exp(at)) < SOME_ULP * np.exp(abs(at))


def test_the_stability_function_of_exponential_euler_and_of_etdrk2() -> None:
    assert Amplification(full("ddim")).function == sympy.exp(z) + w * phi1
    found = Amplification(full("etdrk2")).function
    expected = sympy.exp(z) + w * (phi1 - phi2 + phi2 * sympy.exp(z)) + w**2 * phi1 * phi2
    assert sympy.expand(found - expected) == 0


def test_the_stability_function_of_lawson_4_is_e_to_z_times_that_of_runge_kutta_4() -> None:
    """R(z, w) = e^z R_RK4(w): the integrating factor only scales."""
    expected = sympy.exp(z) * sum(w**k / sympy.factorial(k) for k in range(5))
    assert sympy.expand(sympy.powsimp(sympy.expand(Amplification(full("lawson4")).function - expected))) == 0


@pytest.mark.parametrize(("name", "count"), [("dpm-solver-2", 2), ("dpm-solver-3", 3), ("etdrk4", 4)])
def test_at_z_0_order_s_in_s_stages_is_the_exponential_series(name: str, count: int) -> None:
    series = sum(w**k / sympy.factorial(k) for k in range(count + 1))
    assert sympy.expand(at_zero(Amplification(full(name)).function) - series) == 0
    assert RUNGE_KUTTA  # the classical ones are such tableaux themselves


@pytest.mark.parametrize("name", [m for m in RUNGE_KUTTA if m != "1euler"])
def test_runge_kutta_tableaux_of_order_s_in_s_stages_have_its_series(name: str) -> None:
    order, tableau = RUNGE_KUTTA[name]
    series = sum(w**k / sympy.factorial(k) for k in range(order + 1))
    assert sympy.expand(at_zero(Amplification(tableau).function) - series) == 0


def test_the_characteristic_polynomial_of_adams_bashforth_2() -> None:
    found = Amplification(adams(2)).characteristic_polynomial
    expected = zeta**2 - (sympy.exp(z) + w * (phi1 + phi2)) * zeta + w * phi2
    assert sympy.expand(found - expected) == 0


@pytest.mark.parametrize("name", SAMPLED[:-1])
@settings(max_examples=6)
@given(points, points)
def test_exact_numeric_and_multiprecise_entries_agree(name: str, at: complex, mu: complex) -> None:
    from semilinear.integrators.numerics.phi import phi as numeric

    method = Amplification(full(name))
    number = sympy.lambdify(
        (z, w), method.exact, modules=[{"phi": lambda k, c: numeric(int(k), complex(c * at))}, "numpy"]
    )
    exact = np.array(number(at, mu), dtype=complex)
    precise = np.array(method.precise(at, mu).tolist(), dtype=complex)
    size = 1 + abs(mu) ** 4 * np.exp(abs(at))  # of the terms that cancel
    assert method.matrix(at, mu) == pytest.approx(precise, abs=MANY_ULP * size)
    assert exact == pytest.approx(precise, abs=MANY_ULP * size)


def test_arrays_broadcast_and_agree_with_scalars() -> None:
    method = Amplification(full("unipc-2-bh2"))
    a, b = np.array([0.0, -1.0, -5.0 + 1j])[:, None], np.array([0.3, -2j])
    matrices = method.matrix(a, b)
    assert matrices.shape == (3, 2, 3, 3)
    for i, j in np.ndindex(3, 2):
        assert matrices[i, j] == pytest.approx(method.matrix(a[i, 0], b[j]), rel=SOME_ULP, abs=0)


def test_a_removable_pole_has_its_limit_at_z_0() -> None:
    """phi_3 = (phi_2 - 1/2)/z."""
    written = Tableau((), phi1 * N(0) + (phi2 - Rational(1, 2)) / z * (N(0) - P(1)))
    meant = Tableau((), phi1 * N(0) + phi3 * (N(0) - P(1)))
    at = np.array([0.0, -1.0, 2.0 + 1j])
    assert Amplification(written).matrix(at, 0.7) == pytest.approx(
        Amplification(meant).matrix(at, 0.7), rel=SOME_ULP, abs=0
    )
    assert Amplification(written).zero_stable


# --- the same recurrence as the sampling loop ---

TRANSFORMS = {
    "data_in_lambda": (lambda x, t: x / VP.formulas.alpha(t), "x0", 1),
    "noise_in_lambda": (lambda x, t: x / VP.formulas.sigma(t), "eps", -1),
    "noise_in_rho": (lambda x, t: x / VP.formulas.alpha(t), "eps", 1),
}
"""By form: u of a state, the prediction that is N up to sign, and that sign."""

LOOPED = [
    "ddim",
    "dpm-solver-3",
    "dpm-solver++-2m",
    "dpm-solver++-3m-released",
    "unipc-1-bh1",
    "unipc-2-vary-released",
    "unipc-3-bh2",
    "unipc-3-bh2-noise",
    "krogstad4",
    "exprk5s8",
    "deis-rhork-4rk",
    "deis-rhoab3",
    "res-3m-released",
]


STEPS = 14


def run(name: str, mu: complex) -> tuple[np.ndarray, float]:
    """u after every step of a run on N = mu u, mu acting on the plane by rotation and scaling; and h."""
    solver = make(name)
    form = solver.form(VP)
    state, prediction, sign = TRANSFORMS[form.name]
    tau = np.linspace(form.tau(0.6), form.tau(0.2), STEPS + 1)
    times = [float(form.time(v)) for v in tau]
    plan = compile_plan(solver, VP, times=times, prediction=prediction, final="full")
    action = torch.tensor([[mu.real, mu.imag], [-mu.imag, mu.real]], dtype=torch.float64) * sign
    x = torch.tensor([[0.3, -0.8]], dtype=torch.float64)
    found = [state(x, times[0])]
    sample(
        plan,
        lambda x, t: state(x, t) @ action,
        x,
        callback=lambda info: found.append(state(info.x.clone(), info.t)),
    )
    return np.array([complex(*u[0].tolist()) for u in found]), tau[1] - tau[0]


@pytest.mark.parametrize("name", LOOPED)
@pytest.mark.parametrize("mu", [0.6 + 0j, -1.2 + 0.9j])
def test_the_sampling_loop_obeys_the_characteristic_polynomial(name: str, mu: complex) -> None:
    """sum_k p_k u_{n+k} = 0 with p = det(zeta - M(hL, h mu)), between start-up and last step."""
    u, h = run(name, mu)
    rate = make(name).form(VP).weight.rate
    assert rate is not None
    method = Amplification(full(name))
    p = np.poly(method.matrix(h * rate, h * mu))
    start = len(make(name).sequence.tableaux) - 1
    windows = [u[n : n + len(p)] for n in range(start, len(u) - 1 - method.size)]
    # one from every state behind the start-up, as long as the last step's is not in it
    assert len(windows) == STEPS - start - method.size > 0
    for window in windows:
        assert abs(p @ window[::-1]) <= MANY_ULP * (abs(p) @ abs(window[::-1]))


def test_the_loop_tells_another_method_apart() -> None:
    """The test above would notice phi_2 in place of phi_1/2."""
    u, h = run("dpm-solver++-2m", 0.6 + 0j)
    p = np.poly(Amplification(full("dpm-solver++-2m-taylor")).matrix(-h, 0.6 * h))
    assert abs(p @ u[4:7][::-1]) > 1e-5 * abs(u[5])


# --- order ---


def linear_order(method: Amplification, at_most: int = 12, linear: complex = 0.731 + 0.529j) -> int:
    """The largest p with  det(e^(z+w) - M(z, w)) = O(h^(p+1)), z = h L, w = h mu: the order on this equation.

    An upper bound of the classical order (of its trees, the tall ones); for one-step methods the power from
    which R - e^(z+w) expands.  Found in multiprecision at steps so small that the logarithm of the ratio of
    two errors is an integer to 1e-9; mu is a generic complex number.
    linear: L; 0 for a method whose weights are those of a form without a linear part.
    Raises ValueError for a pole that does not cancel.
    """
    digits = 40 * (at_most + 4)
    context = multiprecision(digits).context
    L, mu = context.mpc(linear), context.mpc("-0.417", "0.613")
    total = sum(context.mpmathify(s.p) / s.q for s in method.steps)

    def error(h: Any) -> Any:
        exact = context.exp(h * total * (L + mu))
        return abs(context.det(exact * context.eye(method.size) - method.precise(h * L, h * mu, digits)))

    h = context.mpf(10) ** -20
    coarse, fine = error(2 * h), error(h)
    if fine <= h ** (at_most + 2):
        return at_most
    slope = context.log(coarse / fine) / context.log(2)
    if abs(slope - context.nint(slope)) > 1e-9:
        raise ValueError(f"the error does not fall like a power of h (slope {float(slope):.6f})")
    return int(context.nint(slope)) - 1


ORDERS = {
    "ddim": 1,
    "dpm-solver-2": 2,
    "dpm-solver-3": 3,
    "dpm-solver++-2m": 2,
    "dpm-solver++-3m-released": 2,
    "dpm-solver++-3m-corrected": 3,
    "unipc-2-bh2": 3,
    "unipc-3-vary-corrected": 4,
    "unipc-5-bh2": 6,
    "krogstad4": 4,
    "exprk5s8": 5,
}


@pytest.mark.parametrize("name", ORDERS)
def test_the_order_on_the_linear_equation(name: str) -> None:
    assert linear_order(Amplification(full(name))) == ORDERS[name]


@pytest.mark.parametrize("order", range(1, 6))
def test_collocation_and_adams_of_any_order_on_any_steps(order: int) -> None:
    assert linear_order(Amplification(nested_collocation(order))) == order
    steps = (1, Rational(1, 3), Rational(5, 2))
    assert linear_order(Amplification(adams(order), steps)) == order


@pytest.mark.parametrize("name", [n for n in ORDERS if ORDERS[n] > 1])
def test_a_perturbed_weight_lowers_the_order(name: str) -> None:
    tableau = full(name)
    for j in tableau.b:
        changed = Amplification(mutated(tableau, j, 1 + Rational(1, 10**6)))
        assert linear_order(changed) < ORDERS[name]


def test_equal_steps_weights_on_other_steps_lower_the_order() -> None:
    """iPNDM: Adams-Bashforth 4 of equal steps, in a form without a linear part."""
    tableau = full("deis-ipndm")
    assert linear_order(Amplification(tableau), linear=0) == 4
    assert linear_order(Amplification(tableau, (1, 2)), linear=0) == 1
    assert linear_order(Amplification(adams(4), (1, 2)), linear=0) == 4


# --- periods of unequal steps ---


def test_a_period_of_equal_steps_is_a_power_of_one_step() -> None:
    one, three = Amplification(full("unipc-2-bh2")), Amplification(full("unipc-2-bh2"), (1, 1, 1))
    power = np.linalg.matrix_power(one.matrix(-0.7, 0.4 + 0.2j), 3)
    assert three.matrix(-0.7, 0.4 + 0.2j) == pytest.approx(power, rel=SOME_ULP, abs=0)


def test_a_period_of_two_steps_is_the_product_of_its_steps() -> None:
    """Adams-Bashforth 2 on steps 1, 2, written out: omega_1 = 2 on the short step and 1/2 on the long one."""
    from semilinear.integrators.numerics.phi import phi as numeric

    def step(at: complex, mu: complex, ratio: float) -> np.ndarray:
        back = mu * numeric(2, at) / ratio
        return np.array([[np.exp(at) + mu * numeric(1, at) + back, -back], [1, 0]])

    a, b = -0.4 + 0.1j, 0.3 - 0.5j
    product = step(2 * a, 2 * b, 0.5) @ step(a, b, 2.0)
    assert Amplification(adams(2), (1, 2)).matrix(a, b) == pytest.approx(product, rel=SOME_ULP, abs=0)


# --- predictor-corrector methods against Lambert's polynomials ---


def polynomials(k: int, corrector: bool) -> tuple[Any, Any]:
    """rho and sigma of Adams-Bashforth k, or of the Adams-Moulton method through one node more."""
    values = {Integer(0): N(0)} | {-omega(j): P(j) for j in range(1, k)}
    row = interpolate(values | ({Integer(1): N(1)} if corrector else {}))
    nodes = [N(1)] * corrector + [N(0)] + [P(j) for j in range(1, k)]
    known = {omega(j): j for j in range(1, k)}
    sigma = sum(
        at_zero(sympy.diff(row, n).subs(known)) * zeta ** (k - i - (not corrector))
        for i, n in enumerate(nodes)
    )
    return zeta**k - zeta ** (k - 1), sympy.expand(sigma)


def predictor_corrector(k: int, carry: bool) -> Tableau:
    values = {Integer(0): N(0)} | {-omega(j): P(j) for j in range(1, k)}
    stage = Stage(Integer(1), interpolate(values))
    return Tableau((stage,), interpolate(values | {Integer(1): N(1)}), carry=1 if carry else None)


@pytest.mark.parametrize("k", [1, 2, 3, 4])
@pytest.mark.parametrize("carry", [False, True])
def test_predictor_corrector_methods_have_lamberts_characteristic_polynomials(k: int, carry: bool) -> None:
    """With H = w b*, b* the corrector's leading weight, and starred polynomials the predictor's:
    PECE: rho - w sigma + H (rho* - w sigma*) = 0;
    PEC: b* zeta^k (rho - w sigma) + H (rho* sigma - rho sigma*) = 0.
    Lambert 1973, Ch. 3: P(EC)^m E and P(EC)^m for m = 1.
    """
    rho, sigma = polynomials(k, True)
    rho_p, sigma_p = polynomials(k, False)
    leading = sympy.Poly(sigma, zeta).coeff_monomial(zeta**k)
    if carry:
        theirs = leading * zeta**k * (rho - w * sigma) + w * leading * (rho_p * sigma - rho * sigma_p)
    else:
        theirs = rho - w * sigma + w * leading * (rho_p - w * sigma_p)
    ours = at_zero(Amplification(predictor_corrector(k, carry)).characteristic_polynomial)
    quotient = sympy.cancel(theirs / ours)
    assert not quotient.has(w)
    assert sympy.Poly(sympy.fraction(quotient)[0], zeta).is_monomial  # powers of zeta apart


@pytest.mark.parametrize("p", [1, 2, 3, 4])
def test_unipc_at_z_0_has_the_roots_of_adams_bashforth_of_one_order_more(p: int) -> None:
    """The predicted states, which alone are evaluated, obey Adams-Bashforth p + 1.  Not so at other z."""
    ours = Amplification(full(f"unipc-{p}-bh2")).characteristic_polynomial
    theirs = Amplification(adams(p + 1)).characteristic_polynomial
    assert sympy.expand(at_zero(ours) - at_zero(theirs)) == 0
    assert sympy.expand(ours - theirs) != 0


# --- zero-stability ---


@pytest.mark.parametrize("name", few(FIXED, 2))
def test_every_listed_method_is_zero_stable_but_the_one_with_a_pole(name: str) -> None:
    method = Amplification(full(name))
    assert method.zero_stable == (name != "sde-dpm-solver++-3m-released")


def test_a_pole_leaves_roots_that_depend_on_mu_over_L() -> None:
    """(phi_2 + 1/2)/z times the halved second difference: at mu/L = 10 it grows, however small the step."""
    method = Amplification(full("sde-dpm-solver++-3m-released"))
    h = 1e-6
    assert method.radius(-2 * h, 0.1 * h) < 1 + h
    assert method.radius(-2 * h, 20 * h) > 2


def test_a_pole_of_second_order_has_no_limit() -> None:
    assert not Amplification(Tableau((), phi1 * N(0) + (N(0) - P(1)) / z**2)).zero_stable


# --- refusals ---


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("ddim",), TypeError, "tableau must be a Tableau, got 'ddim'"),
        ((adams(2), ()), ValueError, "steps must be positive"),
        ((adams(2), (1, 0)), ValueError, "steps must be positive"),
        ((adams(2), (1, "x")), ValueError, "steps must be a real number, got 'x'"),
        ((full("scire-v1-2-released"),), ValueError, r"\(phi_1\), got none"),
        ((adams(2), (1,), {Symbol("r"): 1}), ValueError, r"\(none\), got r"),
    ],
)
def test_bad_arguments_are_named(arguments: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        Amplification(*arguments)


def test_the_function_of_a_method_with_memory_is_its_characteristic_polynomial() -> None:
    method = Amplification(adams(2))
    assert method.function == method.characteristic_polynomial
    assert method.function.has(zeta)


def test_parameters_are_put_in_exactly() -> None:
    """SciRE-2 at phi_1 = 1 is the midpoint rule."""
    tableau = full("scire-v1-2-released")
    method = Amplification(tableau, parameters=dict.fromkeys(tableau.parameters, 1))
    assert sympy.expand(at_zero(method.exact[0, 0]) - (1 + w + w**2 / 2)) == 0
