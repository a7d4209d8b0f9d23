"""The exponential tableaux of RES4LYF as its sampler runs them, from exact history on equal steps.

Its phi(j, i) is phi_j(-h c_i), so h there is -z here.  It adds h sum_j a_j (D_j - u_n) to u_n: the tableau
applied to v = u - u_n, whose equation is v' = L v + (N(u_n + v) + L u_n), so that classical orders are those
of the tableau.
Default abscissae where the user may set them.  Methods that keep evaluations find the newest of them twice,
in the first two places, so the hybrid methods' second past evaluation is the first again, and their
phi-functions of past steps are taken at (t_n - t_(n-j)) L, which is j z.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from sympy import Rational, exp

from ...tableau import N, Stage, Tableau, phi, phi1, phi2, phi3, phi4, z
from .. import CATALOGUE
from ..stiff import third, third_by_ratio
from .res4lyf_schemes import (
    CM4,
    HALF_FLOW,
    ONE,
    SW4,
    H,
    by_gamma,
    cfree,
    cox_matthews,
    eight,
    eight_alternative,
    etdrk4_alternative,
    five,
    four,
    groups,
    munthe_kaas,
    six,
    sixteen,
    three,
    two,
)
from .table import Released, Repair

R = Rational
PSI = "c^k is missing before phi_k(c z)"
WEAK = 'comment, "weak 4th order"'
FOURTH = 'comment, "4th order"'
COX, SW, KROGSTAD = "Cox & Matthews 2002", "Strehmel & Weiner 1992", "Krogstad 2005"
THREE_STAGES = partial(three, R(1, 3), R(2, 3))


def _plain(name: str, order: int | None, claim: str, build: Callable[[], Tableau]) -> Released:
    return Released(name, build, order, claim)


def _short(
    name: str, order: int, claim: str, build: Callable[[], Tableau], defect: str, right: str | Repair
) -> Released:
    """right: the catalogue's name of the method, or another repair."""
    if isinstance(right, str):
        entry = CATALOGUE[right]
        right = Repair(lambda: entry.tableau, f"{entry.paper}, {entry.source}")
    return Released(name, build, order, claim, defect=defect, repair=right)


TABLES = (
    _plain("ddim", 1, "name, DDIM", lambda: Tableau((), phi1 * N(0))),
    _plain("res_2s", 2, "name, RES 2S", partial(two, H, 2 * phi2)),
    _plain("res_2s_stable", 2, "name, RES 2S", partial(two, ONE, phi2)),
    _plain("res_2s_rkmk2e", 2, "name, RKMK2e; the table is etdrk2", partial(two, ONE, phi2)),
    _plain("res_3s", 3, "name, RES 3S", partial(by_gamma, H, ONE)),
    _short(
        "res_3s_non-monotonic",
        3,
        "name, RES 3S",
        partial(by_gamma, ONE, H),
        "gamma = (3 c_3^3 - 2 c_3)/.. where (3 c_3^2 - 2 c_3)/.. is due: -5/8 -> 1/4",
        Repair(partial(third_by_ratio, ONE, H), "Hochbruck & Ostermann 2005, eq. 5.8"),
    ),
    _plain(
        "res_3s_alt",
        3,
        "name, RES 3S",
        partial(THREE_STAGES, R(4, 3) * phi(2, R(2, 3)), {3: R(3, 2) * phi2}),
    ),
    _plain("res_3s_strehmel_weiner", None, "", partial(three, H, ONE, 2 * phi2, {3: phi2})),
    _plain(
        "res_3s_cox_matthews",
        3,
        "comment, ETD3RK",
        partial(three, H, ONE, 2 * phi1, {2: 4 * phi2 - 8 * phi3, 3: -phi2 + 4 * phi3}),
    ),
    _plain(
        "res_3s_lie",
        3,
        "comment, ETD2CF3",
        partial(
            THREE_STAGES,
            R(4, 3) * phi(2, R(2, 3)),
            {2: 6 * phi2 - 18 * phi3, 3: -R(3, 2) * phi2 + 9 * phi3},
        ),
    ),
    _short(
        "res_3s_sunstar",
        3,
        "name, RES 3S (comment: arXiv:2410.00498, tableau 2.7)",
        partial(THREE_STAGES, R(8, 9) * phi(2, R(2, 3)), {3: R(3, 2) * phi2}),
        "a_32 = 8/9 phi_2(2z/3) belongs to c_2 = 1/2: c_3^2/c_2 phi_2(2z/3) is due, 4/3 of it at 1/3",
        Repair(partial(third, R(1, 3)), "Hochbruck & Ostermann 2005, eq. 5.9 with c_2 = 1/3"),
    ),
    _plain("res_4s_cox_matthews", 4, WEAK, cox_matthews),
    _plain("res_4s_cfree4", 4, WEAK, cfree),
    _short(
        "res_4s_friedli",
        4,
        "name, Friedli 1978",
        partial(
            four,
            {
                (3, 2): 2 * phi(2, H),
                (4, 2): -R(26, 25) * phi1 + R(2, 25) * phi2,
                (4, 3): R(26, 25) * phi1 + R(48, 25) * phi2,
            },
            SW4,
        ),
        f"{PSI}: a_32 = 2 phi_2(z/2) -> phi_2(z/2)/2",
        "friedli4",
    ),
    _short(
        "res_4s_munthe-kaas",
        4,
        "name, RKMK4t",
        munthe_kaas,
        "h = -z stands where z is due in a_31, a_32, b_1 and b_4",
        "rkmk4t",
    ),
    _plain("res_4s_krogstad", 4, WEAK, partial(four, {(3, 2): phi(2, H), (4, 3): 2 * phi2}, CM4)),
    _short(
        "res_4s_krogstad_alt",
        4,
        WEAK,
        partial(four, {(3, 2): 4 * phi(2, H), (4, 3): 2 * phi2}, CM4),
        f"{PSI}: a_32 = 4 phi_2(z/2) -> phi_2(z/2)",
        "krogstad4",
    ),
    _short(
        "res_4s_minchev",
        4,
        "name, Minchev 2004",
        partial(
            four,
            {
                (3, 2): R(4, 25) * phi(1, H) + R(24, 25) * phi(2, H),
                (4, 3): phi1 / 20 - R(33, 10) * phi2 + R(123, 5) * phi3,
            },
            {
                2: -phi1 / 10 + phi2 / 5 - 4 * phi3 + 12 * phi4,
                3: phi1 / 30 + R(23, 5) * phi2 - 8 * phi3 - 4 * phi4,
                4: phi1 / 30 - R(7, 5) * phi2 + 6 * phi3 - 4 * phi4,
            },
        ),
        f"{PSI}: a_32 -> 2/25 phi_1(z/2) + 6/25 phi_2(z/2); a_42 = 0 -> 21/5 phi_2 - 108/5 phi_3",
        "minchev4",
    ),
    _plain(
        "res_4s_strehmel_weiner",
        4,
        WEAK,
        partial(four, {(3, 2): H * phi(2, H), (4, 2): -2 * phi2, (4, 3): 4 * phi2}, SW4),
    ),
    _short(
        "res_4s_strehmel_weiner_alt",
        4,
        WEAK,
        partial(four, {(3, 2): 2 * phi(2, H), (4, 2): -2 * phi2, (4, 3): 4 * phi2}, SW4),
        f"{PSI}: a_32 = 2 phi_2(z/2) -> phi_2(z/2)/2",
        "strehmel-weiner4",
    ),
    _plain("res_5s", 4, FOURTH, partial(five, False)),
    _short(
        "res_5s_hochbruck-ostermann",
        4,
        FOURTH,
        partial(five, True),
        f"{PSI}: phi_2(z/2)/4 for phi_2(z/2), phi_3(z/2)/8 for phi_3(z/2) in a_32, a_52, a_53, a_54",
        "hochbruck-ostermann4",
    ),
    _plain("res_6s", 4, FOURTH, six),
    _plain("res_8s", 5, "the table is expRK5s8", eight),
    _short(
        "res_8s_alt",
        5,
        "comment, EXPRK5S8; it does not run, its abscissae being commented out",
        eight_alternative,
        f"{PSI}: c^2 phi_2(c z), c^3 phi_3(c z), c^4 phi_4(c z) in every stage",
        "exprk5s8",
    ),
    _plain(
        "res_10s",
        5,
        "the table is expRK5s10",
        partial(groups, "1/2", "1/2 1/3", "1/2 1/3 1/4", "3/10 3/4 1"),
    ),
    _plain(
        "res_15s",
        6,
        "the table is expRK6s15",
        partial(groups, "1/2", "1/2 1/3", "1/2 1/5 1/4", "18/25 1/3 3/10 1/6", "90/103 1/3 3/10 1/5"),
    ),
    _short(
        "res_16s",
        6,
        'comment, "6th order without weakened order conditions"',
        sixteen,
        "b: numerators of the opposite sign, and the denominators' bracket of c_i - c_j closes after "
        "(c_i - c_l), not before: prod (c_i - c_m) is due",
        "exprk6s16",
    ),
    _plain("etdrk2_2s", 2, "name, ETDRK2", partial(two, ONE, phi2)),
    _plain(
        "etdrk3_a_3s",
        3,
        "name, ETDRK3",
        partial(three, ONE, R(2, 3), R(4, 9) * phi(2, R(2, 3)), {2: phi2 - phi1 / 2, 3: R(3, 4) * phi1}),
    ),
    _plain(
        "etdrk3_b_3s",
        3,
        "name, ETDRK3",
        partial(three, R(4, 9), R(2, 3), phi(2, R(2, 3)), {3: R(3, 2) * phi2}),
    ),
    _short(
        "etdrk4_4s",
        4,
        "name, ETDRK4",
        partial(four, {(3, 2): phi(1, H), (4, 3): 2 * phi(1, H)}, CM4),
        f"{PSI}: a_32 = phi_1(z/2) -> phi_1(z/2)/2, a_43 = 2 phi_1(z/2) -> phi_1(z/2)",
        "etdrk4",
    ),
    _short(
        "etdrk4_4s_alt",
        4,
        "name, ETDRK4",
        etdrk4_alternative,
        f"b_1 is computed and left out; {PSI} in a_21, a_32, a_41, a_43",
        "etdrk4",
    ),
    _plain("dpmpp_2s", 2, "name, DPM-Solver++(2S)", partial(two, H, phi1)),
    _plain("dpmpp_sde_2s", 2, "name, DPM-Solver++(2S)", partial(two, ONE, phi1 / 2)),
    _short(
        "dpmpp_3s",
        3,
        "name, DPM-Solver++(3S)",
        partial(three, H, ONE, 2 * phi2, {3: phi2}),
        "the default c_3 = 1, where b_3 = phi_2/c_3 needs c_3 = 2/3",
        Repair(partial(third, H), "Hochbruck & Ostermann 2005, eq. 5.9 with c_2 = 1/2"),
    ),
    _plain(
        "lawson2a_2s",
        2,
        "comment, midpoint rule",
        lambda: Tableau((Stage(H, H * HALF_FLOW * N(0)),), HALF_FLOW * N(1)),
    ),
    _plain(
        "lawson2b_2s",
        2,
        "comment, trapezoidal rule",
        lambda: Tableau((Stage(ONE, exp(z) * N(0)),), (exp(z) * N(0) + N(1)) / 2),
    ),
    _plain(
        "lawson4_4s",
        4,
        "name, Lawson 4",
        lambda: Tableau(
            (Stage(H, H * HALF_FLOW * N(0)), Stage(H, H * N(1)), Stage(ONE, HALF_FLOW * N(2))),
            (exp(z) * N(0) + 2 * HALF_FLOW * (N(1) + N(2)) + N(3)) / 6,
        ),
    ),
    *(
        _plain(
            f"lawson41-gen{mark}_4s",
            4,
            "name, GenLawson41",
            partial(four, {(3, 2): H, (4, 3): HALF_FLOW}, {2: HALF_FLOW / 3, 3: HALF_FLOW / 3, 4: last}),
        )
        for mark, last in (("", R(1, 6)), ("-mod", phi2 - HALF_FLOW / 3))
    ),
)
"""The one-step methods."""
