"""Classical exponential Runge-Kutta methods, in data prediction: the reference points of the toolkit.

They run through the same loop as every diffusion solver, and their orders are known: the order estimator is
tested on them.  First columns follow from the row sums a_i1 = c_i phi_1(c_i z) - sum a_ij, b_1 = phi_1 -
sum b_j unless the method violates them (Lawson).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from sympy import Integer, Rational, exp

from ..form import FormOf, data_in_lambda
from ..solver import Repeat, Solver
from ..tableau import N, Stage, Tableau, nested_collocation, phi, phi1, phi2, phi3, phi4, z

H = Rational(1, 2)
EULER = Tableau((), phi1 * N(0))


def from_columns(c: list[Any], a: Mapping[tuple[int, int], Any], b: Mapping[int, Any]) -> Tableau:
    """A tableau whose first column is set by the row sums; a[i, j] and b[j] for j >= 2, stages numbered
    from 1.
    """
    stages = []
    for i in range(2, len(c) + 1):
        at = c[i - 1]
        row = {j: a[i, j] for j in range(2, i) if (i, j) in a}
        first = at * phi(1, at) - sum(row.values())
        stages.append(Stage(at, first * N(0) + sum(w * N(j - 1) for j, w in row.items())))
    return Tableau(tuple(stages), (phi1 - sum(b.values())) * N(0) + sum(w * N(j - 1) for j, w in b.items()))


def etdrk2() -> Tableau:
    """Cox & Matthews 2002, eq. 22."""
    return from_columns([Integer(0), Integer(1)], {}, {2: phi2})


def etdrk3() -> Tableau:
    """Cox & Matthews 2002, eqs. 23-25."""
    return from_columns([0, H, Integer(1)], {(3, 2): 2 * phi1}, {2: 4 * phi2 - 8 * phi3, 3: -phi2 + 4 * phi3})


def _etdrk4_weights() -> dict[int, Any]:
    return {2: 2 * phi2 - 4 * phi3, 3: 2 * phi2 - 4 * phi3, 4: -phi2 + 4 * phi3}


def etdrk4() -> Tableau:
    """Cox & Matthews 2002, eqs. 26-29: a product of phi-functions in the last stage."""
    half = H * phi(1, H)
    last = z * phi(1, H) ** 2 / 4 * N(0) + phi(1, H) * N(2)
    stages = (Stage(H, half * N(0)), Stage(H, half * N(1)), Stage(Integer(1), last))
    b = _etdrk4_weights()
    output = (phi1 - sum(b.values())) * N(0) + sum(w * N(j - 1) for j, w in b.items())
    return Tableau(stages, output)


def krogstad4() -> Tableau:
    """Krogstad 2005, ETDRK4-B."""
    return from_columns([0, H, H, Integer(1)], {(3, 2): phi(2, H), (4, 3): 2 * phi2}, _etdrk4_weights())


def hochbruck_ostermann3() -> Tableau:
    """Hochbruck & Ostermann 2005, eq. 5.9 with c_2 = 1/3: in noise prediction it is DPM-Solver-3."""
    third = Rational(1, 3)
    a32 = Rational(4, 9) / third * phi(2, 2 * third)
    return from_columns([Integer(0), third, 2 * third], {(3, 2): a32}, {3: Rational(3, 2) * phi2})


def hochbruck_ostermann4() -> Tableau:
    """Hochbruck & Ostermann 2005, eq. 5.19: five stages, stiff order 4, phi-functions at mixed arguments."""
    a52 = H * phi(2, H) - phi3 + phi2 / 4 - H * phi(3, H)
    a: dict[tuple[int, int], Any] = {(3, 2): phi(2, H), (4, 2): phi2, (4, 3): phi2}
    a |= {(5, 2): a52, (5, 3): a52, (5, 4): phi(2, H) / 4 - a52}
    return from_columns([0, H, H, Integer(1), H], a, {4: -phi2 + 4 * phi3, 5: 4 * phi2 - 8 * phi3})


def lawson4() -> Tableau:
    """Lawson 1967: the classical Runge-Kutta method of order 4 under the integrating factor e^(cz)."""
    e = exp(z * H)
    return Tableau(
        (Stage(H, e * N(0) / 2), Stage(H, N(1) / 2), Stage(Integer(1), e * N(2))),
        exp(z) * N(0) / 6 + e * (N(1) + N(2)) / 3 + N(3) / 6,
    )


def exprk5s8() -> Tableau:
    """Luan & Ostermann 2014, expRK5s8: eight stages, stiff order 5."""
    c = [Integer(0), H, H, Rational(1, 4), H, Rational(1, 5), Rational(2, 3), Integer(1)]

    def psi(k: int, i: int) -> Any:
        return c[i - 1] ** k * phi(k, c[i - 1])

    r = Rational
    a: dict[tuple[int, int], Any] = {(3, 2): 2 * psi(2, 2), (4, 3): 2 * psi(2, 4)}
    a |= {(5, 3): -2 * psi(2, 2) + 16 * psi(3, 2), (5, 4): 8 * psi(2, 2) - 32 * psi(3, 2)}
    a |= {(6, 4): 8 * psi(2, 6) - 32 * psi(3, 6), (6, 5): -2 * psi(2, 6) + 16 * psi(3, 6)}
    a[7, 4] = -r(125, 162) * a[6, 4]
    a[7, 5] = r(125, 1944) * a[6, 4] - r(4, 3) * psi(2, 7) + r(40, 3) * psi(3, 7)
    a[7, 6] = r(3125, 3888) * a[6, 4] + r(25, 3) * psi(2, 7) - r(100, 3) * psi(3, 7)
    f = r(5, 32) * a[6, 4] - r(25, 28) * psi(2, 6) + r(81, 175) * psi(2, 7) - r(162, 25) * psi(3, 7)
    f += r(150, 7) * psi(4, 6) + r(972, 35) * psi(4, 7) + 6 * phi4
    a[8, 5] = -r(16, 3) * phi2 + r(208, 3) * phi3 - 40 * f
    a[8, 6] = r(250, 21) * phi2 - r(250, 3) * phi3 + r(250, 7) * f
    a[8, 7] = r(27, 14) * phi2 - 27 * phi3 + r(135, 7) * f
    b = {
        6: r(125, 14) * phi2 - r(625, 14) * phi3 + r(1125, 14) * phi4,
        7: -r(27, 14) * phi2 + r(162, 7) * phi3 - r(405, 7) * phi4,
        8: H * phi2 - r(13, 2) * phi3 + r(45, 2) * phi4,
    }
    return from_columns(c, a, b)


CATALOGUE: dict[str, tuple[int, Any, str, str]] = {
    "etdrk2": (2, etdrk2, "Cox & Matthews 2002", "eq. 22"),
    "etdrk3": (3, etdrk3, "Cox & Matthews 2002", "eqs. 23-25"),
    "etdrk4": (4, etdrk4, "Cox & Matthews 2002", "eqs. 26-29"),
    "krogstad4": (4, krogstad4, "Krogstad 2005", "ETDRK4-B"),
    "hochbruck-ostermann3": (3, hochbruck_ostermann3, "Hochbruck & Ostermann 2005", "eq. 5.9"),
    "hochbruck-ostermann4": (4, hochbruck_ostermann4, "Hochbruck & Ostermann 2005", "eq. 5.19"),
    "lawson4": (4, lawson4, "Lawson 1967", "with classical Runge-Kutta 4"),
    "exprk5s8": (5, exprk5s8, "Luan & Ostermann 2014", "expRK5s8"),
}
"""Order, tableau, paper and source by name."""


def exponential_rk(name: str, form: FormOf = data_in_lambda) -> Solver:
    """A classical exponential Runge-Kutta method on one of the lambda forms (data prediction by default)."""
    if name not in CATALOGUE:
        raise ValueError(f"name must be one of {', '.join(CATALOGUE)}, got {name!r}")
    order, tableau, paper, source = CATALOGUE[name]
    return Solver(name, form, Repeat(tableau(), EULER), order, source, paper=paper)


def collocation(order: int, form: FormOf = data_in_lambda) -> Solver:
    """Nested collocation of any order: the one-step method behind the high-order start."""
    tableau = nested_collocation(order)
    return Solver(
        f"collocation-{order}",
        form,
        Repeat(tableau, EULER),
        order,
        "Sec. 3",
        paper="Luan & Alhsmy 2023, arXiv:2311.08600",
    )


LISTED = tuple(partial(exponential_rk, name) for name in CATALOGUE)
"""Constructors of the solvers that have a name of their own."""
