"""Methods built for stiff order: Hochbruck & Ostermann, Luan & Ostermann, Luan, nested collocation."""

from __future__ import annotations

from functools import partial
from typing import Any

from sympy import Expr, Integer, Rational

from ...common.checks import expression
from ..tableau import N, Stage, Tableau, nested, nested_collocation, phi, phi1, phi2, phi3, phi4
from .entry import Entry, from_columns

H, ONE, R = Rational(1, 2), Integer(1), Rational
HO = "Hochbruck & Ostermann 2005"


def second(c2: Any) -> Tableau:
    """Hochbruck & Ostermann 2005, Sec. 5.1: two stages, b_2 = phi_2/c_2."""
    at = expression("c2", c2)
    return from_columns([Integer(0), at], {}, {2: phi2 / at})


def third(c2: Any) -> Tableau:
    """Hochbruck & Ostermann 2005, eq. 5.9: b_2 = 0, c_3 = 2/3; at c_2 = 1/3 DPM-Solver-3's tableau."""
    at, end = expression("c2", c2), R(2, 3)
    return from_columns([Integer(0), at, end], {(3, 2): R(4, 9) / at * phi(2, end)}, {3: R(3, 2) * phi2})


def gamma(c2: Any, c3: Any) -> Expr:
    """b_2/b_3 of eq. 5.8, from 2 (gamma c_2 + c_3) = 3 (gamma c_2^2 + c_3^2)."""
    c2, c3 = expression("c2", c2), expression("c3", c3)
    return (3 * c3**2 - 2 * c3) / (c2 * (2 - 3 * c2))


def third_output(c2: Any, c3: Any, n2: Any, n3: Any, ratio: Expr) -> Expr:
    """phi_1 N(0) + b_2 (n2 - N(0)) + b_3 (n3 - N(0)), evaluations at c2 and c3; b_2 = ratio b_3 and
    b_2 c_2 + b_3 c_3 = phi_2.
    """
    return phi1 * N(0) + phi2 / (ratio * c2 + c3) * (ratio * (n2 - N(0)) + n3 - N(0))


def third_by_ratio(c2: Any, c3: Any, ratio: Expr | None = None) -> Tableau:
    """Hochbruck & Ostermann 2005, eq. 5.8: a_32 = gamma c_2 phi_2(c_2 z) + c_3^2/c_2 phi_2(c_3 z).

    ratio: what stands for gamma, eq. 5.8's own when absent.
    """
    c2, c3 = expression("c2", c2), expression("c3", c3)
    g = gamma(c2, c3) if ratio is None else ratio
    a32 = g * c2 * phi(2, c2) + c3**2 / c2 * phi(2, c3)
    return Tableau(
        (
            Stage(c2, c2 * phi(1, c2) * N(0)),
            Stage(c3, c3 * phi(1, c3) * N(0) + a32 * (N(1) - N(0))),
        ),
        third_output(c2, c3, N(1), N(2), g),
    )


def fourth() -> Tableau:
    """Hochbruck & Ostermann 2005, eq. 5.19: five stages, phi-functions at mixed arguments."""
    a52 = H * phi(2, H) - phi3 + phi2 / 4 - H * phi(3, H)
    a: dict[tuple[int, int], Any] = {(3, 2): phi(2, H), (4, 2): phi2, (4, 3): phi2}
    a |= {(5, 2): a52, (5, 3): a52, (5, 4): phi(2, H) / 4 - a52}
    return from_columns([Integer(0), H, H, ONE, H], a, {4: -phi2 + 4 * phi3, 5: 4 * phi2 - 8 * phi3})


def exprk5s8() -> Tableau:
    """Luan & Ostermann 2014, expRK5s8: eight stages."""
    c = [Integer(0), H, H, R(1, 4), H, R(1, 5), R(2, 3), ONE]

    def psi(k: int, i: int) -> Any:
        return c[i - 1] ** k * phi(k, c[i - 1])

    a: dict[tuple[int, int], Any] = {(3, 2): 2 * psi(2, 2), (4, 3): 2 * psi(2, 4)}
    a |= {(5, 3): -2 * psi(2, 2) + 16 * psi(3, 2), (5, 4): 8 * psi(2, 2) - 32 * psi(3, 2)}
    a |= {(6, 4): 8 * psi(2, 6) - 32 * psi(3, 6), (6, 5): -2 * psi(2, 6) + 16 * psi(3, 6)}
    a[7, 4] = -R(125, 162) * a[6, 4]
    a[7, 5] = R(125, 1944) * a[6, 4] - R(4, 3) * psi(2, 7) + R(40, 3) * psi(3, 7)
    a[7, 6] = R(3125, 3888) * a[6, 4] + R(25, 3) * psi(2, 7) - R(100, 3) * psi(3, 7)
    f = R(5, 32) * a[6, 4] - R(25, 28) * psi(2, 6) + R(81, 175) * psi(2, 7) - R(162, 25) * psi(3, 7)
    f += R(150, 7) * psi(4, 6) + R(972, 35) * psi(4, 7) + 6 * phi4
    a[8, 5] = -R(16, 3) * phi2 + R(208, 3) * phi3 - 40 * f
    a[8, 6] = R(250, 21) * phi2 - R(250, 3) * phi3 + R(250, 7) * f
    a[8, 7] = R(27, 14) * phi2 - 27 * phi3 + R(135, 7) * f
    b = {
        6: R(125, 14) * phi2 - R(625, 14) * phi3 + R(1125, 14) * phi4,
        7: -R(27, 14) * phi2 + R(162, 7) * phi3 - R(405, 7) * phi4,
        8: H * phi2 - R(13, 2) * phi3 + R(45, 2) * phi4,
    }
    return from_columns(c, a, b)


def _nested(*groups: str) -> Tableau:
    return nested([[R(c) for c in group.split()] for group in groups])


LUAN = "Luan 2021"
LUAN_ALHSMY = "Luan & Alhsmy 2023, arXiv:2311.08600"
LYF = "ClownsharkBatwing/RES4LYF"

ENTRIES = (
    Entry("hochbruck-ostermann2", partial(second, H), 2, HO, "Sec. 5.1 with c_2 = 1/2"),
    Entry("hochbruck-ostermann2-third", partial(second, R(1, 3)), 2, HO, "Sec. 5.1 with c_2 = 1/3"),
    Entry("hochbruck-ostermann3", partial(third, R(1, 3)), 3, HO, "eq. 5.9"),
    Entry("hochbruck-ostermann3-fu", partial(third, R(4, 9)), 3, HO, f"eq. 5.9; {LYF}, etdrk3_b_3s"),
    Entry(
        "hochbruck-ostermann3-gamma",
        partial(third_by_ratio, H, R(3, 4)),
        3,
        HO,
        "eq. 5.8 with c_2 = 1/2, c_3 = 3/4",
    ),
    Entry("hochbruck-ostermann4", fourth, 4, HO, "eq. 5.19"),
    Entry("exprk4s6", partial(_nested, "1/2", "1/2 1/3", "1/3 5/6"), 4, LUAN, f"expRK4s6; {LYF}, res_6s"),
    Entry("exprk5s8", exprk5s8, 5, "Luan & Ostermann 2014", "expRK5s8"),
    Entry(
        "exprk5s10",
        partial(_nested, "1/2", "1/2 1/3", "1/2 1/3 1/4", "3/10 3/4 1"),
        5,
        LUAN,
        f"expRK5s10; {LYF}, res_10s",
    ),
    Entry(
        "exprk6s15",
        partial(_nested, "1/2", "1/2 1/3", "1/2 1/5 1/4", "18/25 1/3 3/10 1/6", "90/103 1/3 3/10 1/5"),
        6,
        LUAN_ALHSMY,
        f"expRK6s15; abscissae of {LYF}, res_15s, weights of nested collocation",
    ),
    Entry(
        "exprk6s16",
        partial(_nested, "1/2", "1/2 1/3", "1/2 1/5 1/4", "1/2 1/5 1/4 1/3", "1/2 1/5 1/4 1/3 1"),
        6,
        LUAN_ALHSMY,
        f"expRK6s16; abscissae of {LYF}, res_16s, weights of nested collocation",
    ),
    *(
        Entry(
            f"collocation-{order}",
            partial(nested_collocation, order),
            order,
            LUAN_ALHSMY,
            "nested collocation on equidistant abscissae",
        )
        for order in (3, 4, 5)
    ),
)
"""Methods of high stiff order."""
