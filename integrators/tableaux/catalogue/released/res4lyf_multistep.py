"""The methods of RES4LYF with memory, as its sampler runs them: `res4lyf_exponential` says how.

The multistep ones take h_j = lambda_n - lambda_(n-j) for their ratios; the hybrid ones, whose formulas are
those of equal steps, for the arguments of phi-functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from sympy import Expr, Integer, Rational, exp

from ...tableau import N, P, Stage, Tableau, adams, omega, phi, phi1, phi2, phi3, phi4, z
from .. import CATALOGUE
from ..stiff import gamma, third_output
from .table import Released, Repair

H, ONE, R = Rational(1, 2), Integer(1), Rational
phi5, phi6 = phi(5, 1), phi(6, 1)
HISTORY = (P(1), P(1), P(2), P(3))
"""What the sampler's columns 1, 2, 3, 4 of past evaluations hold: the newest one twice."""
Past = Callable[[int, Expr], Sequence[Any]]
"""(order of the row's phi, abscissa) -> the weights of past evaluations."""


def adams_row(weights: Mapping[Any, Any]) -> Tableau:
    """phi_1 N(0) + sum of weights times differences from N(0)."""
    return Tableau((), phi1 * N(0) + sum((w * (old - N(0)) for old, w in weights.items()), Integer(0)))


def released_gamma(c2: Any, c3: Any) -> Any:
    """calculate_gamma of phi_functions.py: c_3^3 where c_3^2 is due."""
    return (3 * c3**3 - 2 * c3) / (c2 * (2 - 3 * c2))


def third_multistep(ratio: Callable[[Any, Any], Any]) -> Tableau:
    """res_3m."""
    c2, c3 = -omega(1), -omega(2)
    return Tableau((), third_output(c2, c3, P(1), P(2), ratio(c2, c3)))


def hybrid(
    c: Sequence[Expr],
    a: Mapping[tuple[int, int], Any],
    b: Mapping[int, Any],
    u: Sequence[Sequence[Any]],
    history: Sequence[Any] = HISTORY,
) -> Tableau:
    """Rows c_i phi_1(c_i z) N(0) + sum a_ij (N_j - N(0)) + sum u_ij (P_j - N(0)); stages numbered from 1, the
    last row of u that of the output; history: what the columns of u multiply.
    """

    def row(at: Expr, weights: Mapping[int, Any], past: Sequence[Any]) -> Expr:
        total = at * phi(1, at) * N(0)
        total += sum((w * (N(j - 1) - N(0)) for j, w in weights.items()), Integer(0))
        return total + sum((w * (old - N(0)) for w, old in zip(past, history, strict=False)), Integer(0))

    stages = tuple(
        Stage(at, row(at, {j: w for (k, j), w in a.items() if k == i}, past))
        for i, (at, past) in enumerate(zip(c, u[:-1], strict=True), 2)
    )
    return Tableau(stages, row(ONE, b, u[-1]))


def back(j: int, k: int, c: Any = 1) -> Any:
    """phi_k(c h_j L), h_j the distance to the step j steps ago."""
    return phi(k, c * omega(j))


THIRD = (-2 * back(1, 2) - 2 * back(1, 3), back(2, 2) / 2 + back(2, 3))
CORRECTED = (-back(1, 2) + back(1, 3) + 3 * back(1, 4), back(2, 2) / 6 - back(2, 4))
MOULTON = phi2 / 3 + phi3 + phi4


def pec423() -> Tableau:
    """pec423_2h2s."""
    return hybrid([ONE], {}, {2: MOULTON}, [THIRD, CORRECTED])


def pec433() -> Tableau:
    """pec433_2h3s."""
    return hybrid([ONE, ONE], {(3, 2): MOULTON}, {3: MOULTON}, [THIRD, CORRECTED, CORRECTED])


def lawson4(b4: Any, u: Sequence[Sequence[Any]]) -> Tableau:
    """The stages of classical Runge-Kutta under an integrating factor, with past evaluations."""
    flow = exp(z / 2)
    a = {(3, 2): H, (4, 3): flow}
    return hybrid([H, H, ONE], a, {2: flow / 3, 3: flow / 3, 4: b4}, u)


def _flow(j: int) -> Any:
    """e^(h_j L/2)."""
    return exp(omega(j) * z / 2)


def lawson42() -> Tableau:
    """lawson42-gen-mod_1h4s."""
    u2 = -back(1, 2, H)
    rows = [u2], [u2 + R(1, 4)], [-back(1, 2) + _flow(1) / 2]
    return lawson4(phi2 / 2 + phi3 - exp(z / 2) / 4, [*rows, [-back(1, 2) / 2 + back(1, 3) + _flow(1) / 12]])


def lawson43() -> Tableau:
    """lawson43-gen-mod_2h4s."""
    u21 = -2 * back(1, 2, H) - 2 * back(1, 3, H)
    rows = [
        [u21, -back(2, 2, H) / 2 + back(2, 3, H)],
        [u21 + R(5, 8), back(2, 2, H) / 2 + back(2, 3, H) - R(3, 16)],
        [THIRD[0] + R(5, 4) * _flow(1), THIRD[1] - R(3, 8) * _flow(2)],
        [CORRECTED[0] + R(5, 24) * _flow(1), CORRECTED[1] - _flow(2) / 24],
    ]
    return lawson4(MOULTON - R(5, 24) * exp(z / 2), rows)


def _fourth(c: Any) -> list[Any]:
    """The weights of the polynomial through four evaluations, without powers of c."""
    return [
        -3 * back(1, 2, c) - 5 * back(1, 3, c) - 3 * back(1, 4, c),
        R(3, 2) * back(2, 2, c) + 4 * back(2, 3, c) + 3 * back(2, 4, c),
        -back(3, 2, c) / 3 - back(3, 3, c) - back(3, 4, c),
    ]


def _shifted(row: Sequence[Any], shifts: Sequence[Any]) -> list[Any]:
    return [v + s for v, s in zip(row, shifts, strict=True)]


def lawson44() -> Tableau:
    """lawson44-gen-mod_3h4s."""
    half, shifts = _fourth(H), (R(35, 32), -R(21, 32), R(5, 32))
    v = [
        -R(3, 2) * back(1, 2) + back(1, 3) / 2 + 6 * back(1, 4) + 6 * back(1, 5) + R(35, 96) * _flow(1),
        back(2, 2) / 2 + back(2, 3) / 3 - 3 * back(2, 4) - 4 * back(2, 5) - R(7, 48) * _flow(2),
        -back(3, 2) / 12 - back(3, 3) / 12 + back(3, 4) / 2 + back(3, 5) + R(5, 192) * _flow(3),
    ]
    last = _shifted(_fourth(1), [2 * s * _flow(j) for j, s in enumerate(shifts, 1)])
    b4 = phi2 / 4 + R(11, 12) * phi3 + R(3, 2) * phi4 + phi5 - R(35, 192) * exp(z / 2)
    return lawson4(b4, [half, _shifted(half, shifts), last, v])


def _fifth(c: Any) -> list[Any]:
    """The weights of the polynomial through five evaluations, without powers of c."""
    return [
        -4 * back(1, 2, c) - R(26, 3) * back(1, 3, c) - 9 * back(1, 4, c) - 4 * back(1, 5, c),
        3 * back(2, 2, c) + R(19, 2) * back(2, 3, c) + 12 * back(2, 4, c) + 6 * back(2, 5, c),
        -R(4, 3) * back(3, 2, c) - R(14, 3) * back(3, 3, c) - 7 * back(3, 4, c) - 4 * back(3, 5, c),
        back(4, 2, c) / 4 + R(11, 12) * back(4, 3, c) + R(3, 2) * back(4, 4, c) + back(4, 5, c),
    ]


def lawson45() -> Tableau:
    """lawson45-gen-mod_4h4s."""
    shifts = (R(105, 64), -R(189, 128), R(45, 64), -R(35, 256))
    v = [
        sum((R(n, 59) * back(j, k) for k, n in enumerate(row, 2)), R(flow) * _flow(j))
        for j, (row, flow) in enumerate(LAWSON45, 1)
    ]
    last = _shifted(_fifth(1), [2 * s * _flow(j) for j, s in enumerate(shifts, 1)])
    b4 = sum((R(n, 59) * phi(k, 1) for k, n in enumerate((12, 50, 105, 120, -60), 2)), Integer(0))
    half = _fifth(H)
    return lawson4(b4 - R(157, 944) * exp(z / 2), [half, _shifted(half, shifts), last, v])


LAWSON45 = (
    ((-116, R(-34, 3), 519, 964, -600), "495/944"),
    ((57, R(121, 2), -342, -846, 600), "-577/1888"),
    ((R(-56, 3), R(-76, 3), 112, 364, -300), "25/236"),
    ((R(11, 4), R(49, 12), R(-33, 2), -61, 60), "-181/11328"),
)
"""59 times the weights of phi_2 .. phi_6, and the weight of e^(h_j L/2), of the evaluation j steps ago."""
STRANGE = {P(2): 4 * phi2 - 8 * phi3, P(3): -phi2 + 4 * phi3}
"""What abnorsett_4m runs: the output row of Strehmel & Weiner's stages at 1/2, 1/2, 1."""
TWICE = (
    "the second past evaluation is the first one again, and phi_k of past steps are at the wrong arguments"
)
SCALED = f"c^k is missing before phi_k(c z) in the stages; {TWICE}"

SLIGHT = "the first-order error has the coefficient 1/960 or 1/929: it shows from about 4000 steps"


def _from_catalogue(name: str) -> Repair:
    entry = CATALOGUE[name]
    return Repair(lambda: entry.tableau, f"{entry.paper}, {entry.source}")


TABLES = (
    Released("res_2m", partial(adams_row, {P(1): -phi2 / omega(1)}), 2, "name, RES 2M"),
    Released("dpmpp_2m", partial(adams_row, {P(1): -phi1 / (2 * omega(1))}), 2, "name, DPM-Solver++(2M)"),
    Released(
        "res_3m",
        partial(third_multistep, released_gamma),
        3,
        "name, RES 3M",
        defect="gamma = (3 c_3^3 - 2 c_3)/.. where (3 c_3^2 - 2 c_3)/.. is due",
        repair=Repair(partial(third_multistep, gamma), "Hochbruck & Ostermann 2005, eq. 5.8"),
    ),
    Released(
        "dpmpp_3m",
        partial(adams_row, {P(2): -phi2 / omega(2)}),
        3,
        "name, DPM-Solver++(3M)",
        defect="the second past evaluation alone, with phi_2: no phi_3 and no first past evaluation",
        repair=Repair(partial(adams, 3), "exponential Adams-Bashforth 3, Norsett 1969"),
    ),
    Released(
        "abnorsett_4m",
        partial(adams_row, STRANGE),
        4,
        "name, Adams-Bashforth-Norsett 4",
        defect="runs the output row of res_4s_strehmel_weiner on past evaluations, as if those stood at "
        "1/2, 1/2 and 1; its own weights are never reached",
        repair=_from_catalogue("ab-norsett4"),
    ),
    Released("pec423_2h2s", pec423, 4, "name, PEC423", defect=TWICE, repair=_from_catalogue("pec423")),
    Released("pec433_2h3s", pec433, 4, "name, PECEC433", defect=TWICE, repair=_from_catalogue("pecec433")),
    *(
        Released(
            f"lawson4{q}-gen-mod_{q - 1}h4s",
            build,
            order,
            f"name, modified GenLawson4{q}",
            defect=defect,
            repair=_from_catalogue(f"modgenlawson4{q}"),
            hidden=SLIGHT if q > 3 else "",
        )
        for q, build, order, defect in (
            (2, lawson42, 4, "c^2 is missing before phi_2(z/2) in the stages: -phi_2 where -phi_2/4 is due"),
            (3, lawson43, 4, f"-phi_2/2 where +phi_2/2 is due in the second stage; {SCALED}"),
            (4, lawson44, 5, SCALED),
            (5, lawson45, 6, SCALED),
        )
    ),
)
"""The methods with memory that have a formula of their own."""
