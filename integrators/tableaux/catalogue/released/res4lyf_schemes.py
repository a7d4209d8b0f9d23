"""How RES4LYF builds its one-step exponential tableaux; `res4lyf_exponential` lists them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sympy import Expr, Integer, Rational, exp, prod

from ...tableau import N, Stage, Tableau, lagrange, nested, phi, phi1, phi2, phi3, phi4, z
from ..entry import from_columns
from ..stiff import third_by_ratio
from .res4lyf_multistep import released_gamma

ZERO, H, ONE, R = Integer(0), Rational(1, 2), Integer(1), Rational
FOUR = (ZERO, H, H, ONE)
HALF_FLOW = exp(z / 2)
CM4: dict[int, Any] = {2: 2 * phi2 - 4 * phi3, 3: 2 * phi2 - 4 * phi3, 4: -phi2 + 4 * phi3}
SW4: dict[int, Any] = {3: 4 * phi2 - 8 * phi3, 4: -phi2 + 4 * phi3}
Columns = Mapping[tuple[int, int], Any]


def two(c2: Any, b2: Any) -> Tableau:
    """Two stages, the first column by row sums."""
    return from_columns([ZERO, c2], {}, {2: b2})


def three(c2: Any, c3: Any, a32: Any, b: Mapping[int, Any]) -> Tableau:
    """Three stages, the first column by row sums."""
    return from_columns([ZERO, c2, c3], {(3, 2): a32}, b)


def by_gamma(c2: Any, c3: Any) -> Tableau:
    """res_3s, with the release's gamma."""
    return third_by_ratio(c2, c3, released_gamma(c2, c3))


def four(a: Columns, b: Mapping[int, Any]) -> Tableau:
    """Four stages at 0, 1/2, 1/2, 1, the first column by row sums."""
    return from_columns(FOUR, a, b)


def cox_matthews() -> Tableau:
    """res_4s_cox_matthews."""
    half = phi(1, H)
    return Tableau(_chain(half), four({}, CM4).output)


def _chain(half: Any) -> tuple[Stage, ...]:
    last = H * half * (exp(z / 2) - 1) * N(0) + half * N(2)
    return (Stage(H, H * half * N(0)), Stage(H, H * half * N(1)), Stage(ONE, last))


def cfree() -> Tableau:
    """res_4s_cfree4."""
    half = phi(1, H)
    b = (phi1 / 2 - half / 3, phi1 / 3, phi1 / 3, half / 3 - phi1 / 6)
    return Tableau(_chain(half), sum((w * N(i) for i, w in enumerate(b)), ZERO))


def munthe_kaas() -> Tableau:
    """res_4s_munthe-kaas: the release's h, which is -z, where z is due."""
    h, half = -z, phi(1, H)
    stages = (
        Stage(H, H * half * N(0)),
        Stage(H, h / 8 * half * N(0) + H * (1 - h / 4) * half * N(1)),
        Stage(ONE, phi1 * N(2)),
    )
    ends = (1 + h / 2) * N(0) + (1 - h / 2) * N(3)
    return Tableau(stages, phi1 * (ends / 6 + (N(1) + N(2)) / 3))


def etdrk4_alternative() -> Tableau:
    """etdrk4_4s_alt: the first weight of the output row is zero, the row sums are not c phi_1."""
    half = phi(1, H)
    stages = (
        Stage(H, half * N(0)),
        Stage(H, half * N(1)),
        Stage(ONE, (phi1 - 2 * half) * N(0) + 2 * half * N(2)),
    )
    return Tableau(stages, sum((w * N(i - 1) for i, w in CM4.items()), ZERO))


def five(released: bool) -> Tableau:
    """res_5s; released: res_5s_hochbruck-ostermann, psi_k(z/2) = 2^-k phi_k(z/2) written as phi_k(z/2)."""
    two_, three_ = phi(2, H), phi(3, H)
    a32: Expr
    a52: Expr
    a5: Expr
    if released:
        a32, a52, a5 = 4 * two_, phi2 / 4 - phi3 + 2 * two_ - 4 * three_, two_
    else:
        a32, a52, a5 = two_, two_ / 2 - phi3 + phi2 / 4 - three_ / 2, two_ / 4
    a = {(3, 2): a32, (4, 2): phi2, (4, 3): phi2, (5, 2): a52, (5, 3): a52, (5, 4): a5 - a52}
    return from_columns([*FOUR, H], a, {4: -phi2 + 4 * phi3, 5: 4 * phi2 - 8 * phi3})


def six() -> Tableau:
    """res_6s."""
    c = [ZERO, H, H, R(1, 3), R(1, 3), R(5, 6)]
    a: dict[tuple[int, int], Any] = {(3, 2): H * phi(2, H), (4, 2): R(2, 9) * phi(2, R(1, 3))}
    for i in (5, 6):
        at = c[i - 1]
        for j, k in ((3, 4), (4, 3)):
            top = -c[k - 1] * at**2 * phi(2, at) + 2 * at**3 * phi(3, at)
            a[i, j] = top / (c[j - 1] * (c[j - 1] - c[k - 1]))
    at = c[5]
    a[6, 5] = (at**2 * phi(2, at) - a[6, 3] * c[2] - a[6, 4] * c[3]) / c[4]
    b = {i: (-c[k - 1] * phi2 + 2 * phi3) / (c[i - 1] * (c[i - 1] - c[k - 1])) for i, k in ((5, 6), (6, 5))}
    return from_columns(c, a, b)


EIGHT = (ZERO, H, H, R(1, 4), H, R(1, 5), R(2, 3), ONE)
EIGHT_B = {
    6: R(125, 14) * phi2 - R(625, 14) * phi3 + R(1125, 14) * phi4,
    7: -R(27, 14) * phi2 + R(162, 7) * phi3 - R(405, 7) * phi4,
    8: H * phi2 - R(13, 2) * phi3 + R(45, 2) * phi4,
}


def _eight(a: dict[tuple[int, int], Any], f: Any) -> Tableau:
    a |= {
        (8, 5): -R(16, 3) * phi2 + R(208, 3) * phi3 - 40 * f,
        (8, 6): R(250, 21) * phi2 - R(250, 3) * phi3 + R(250, 7) * f,
        (8, 7): R(27, 14) * phi2 - 27 * phi3 + R(135, 7) * f,
    }
    return from_columns(EIGHT, a, EIGHT_B)


def eight() -> Tableau:
    """res_8s."""

    def p(k: int, i: int) -> Any:
        return phi(k, EIGHT[i - 1])

    a: dict[tuple[int, int], Any] = {(3, 2): p(2, 3) / 2, (4, 3): p(2, 4) / 8}
    a |= {(5, 3): -p(2, 5) / 2 + 2 * p(3, 5), (5, 4): 2 * p(2, 5) - 4 * p(3, 5)}
    a[6, 4] = R(8, 25) * p(2, 6) - R(32, 125) * p(3, 6)
    a[6, 5] = R(2, 25) * p(2, 6) - a[6, 4] / 2
    a[7, 4] = -R(125, 162) * a[6, 4]
    a[7, 5] = R(125, 1944) * a[6, 4] - R(16, 27) * p(2, 7) + R(320, 81) * p(3, 7)
    a[7, 6] = R(3125, 3888) * a[6, 4] + R(100, 27) * p(2, 7) - R(800, 81) * p(3, 7)
    f = R(5, 32) * a[6, 4] - p(2, 6) / 28 + R(36, 175) * p(2, 7) - R(48, 25) * p(3, 7)
    return _eight(a, f + R(6, 175) * p(4, 6) + R(192, 35) * p(4, 7) + 6 * phi4)


def eight_alternative() -> Tableau:
    """res_8s_alt: psi_k(c z) = c^k phi_k(c z) written as phi_k(c z)."""

    def p(k: int, i: int) -> Any:
        return phi(k, EIGHT[i - 1])

    a: dict[tuple[int, int], Any] = {(3, 2): 2 * p(2, 2), (4, 3): 2 * p(2, 4)}
    a |= {(5, 3): -2 * p(2, 2) + 16 * p(3, 2), (5, 4): 8 * p(2, 2) - 32 * p(3, 2)}
    a |= {(6, 4): 8 * p(2, 6) - 32 * p(3, 6), (6, 5): -2 * p(2, 6) + 16 * p(3, 6)}
    a[7, 4] = -R(125, 162) * a[6, 4]
    a[7, 5] = R(125, 1944) * a[6, 4] - R(4, 3) * p(2, 7) + R(40, 3) * p(3, 7)
    a[7, 6] = R(3125, 3888) * a[6, 4] + R(25, 3) * p(2, 7) - R(100, 3) * p(3, 7)
    f = R(5, 32) * a[6, 4] - R(25, 28) * p(2, 6) + R(81, 175) * p(2, 7) - R(162, 25) * p(3, 7)
    return _eight(a, f + R(150, 7) * p(4, 6) + R(972, 35) * p(4, 7) + 6 * phi4)


def groups(*lines: str) -> Tableau:
    """Stages in groups, each interpolating at 0 and at the group before it (res_10s, res_15s, res_16s)."""
    return nested([[R(c) for c in line.split()] for line in lines])


SIXTEEN = ("1/2", "1/2 1/3", "1/2 1/5 1/4", "1/2 1/5 1/4 1/3", "1/2 1/5 1/4 1/3 1")


def sixteen() -> Tableau:
    """res_16s: numerators of the wrong sign, and a bracket of the denominator that closes late."""
    tableau = groups(*SIXTEEN)
    nodes = tableau.c[-5:]
    weights: dict[int, Expr] = {}
    for i, own in enumerate(nodes):
        j, d, k, last = (node for m, node in reversed(list(enumerate(nodes))) if m != i)
        top, _ = lagrange((own, ZERO, j, d, k, last))[0]
        numerator = -sum(_factorial(m) * v * phi(m + 1, 1) for m, v in enumerate(top))
        weights[11 + i] = numerator / (own * (own - k) * (own - j * (own - d) * (own - last)))
    first = phi1 - sum(weights.values())
    return Tableau(tableau.stages, first * N(0) + sum(w * N(i) for i, w in weights.items()))


def _factorial(m: int) -> int:
    return int(prod(range(1, m + 1)))
