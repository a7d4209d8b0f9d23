"""Exponential time differencing: exponential Euler, Cox-Matthews and its successors.

A trap in released code: EXPINT's etd2rk.m has b_1 = phi_1 - 2 phi_2, weights that sum to 1/2 at z = 0.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from sympy import Integer, Rational

from ..tableau import N, Stage, Tableau, phi, phi1, phi2, phi3, phi4, z
from .entry import Entry, from_columns

ZERO, H, ONE = Integer(0), Rational(1, 2), Integer(1)
EULER = Tableau((), phi1 * N(0))
COX_MATTHEWS = "Cox & Matthews 2002"
FOUR_STAGES = (ZERO, H, H, ONE)


def etdrk2() -> Tableau:
    """Cox & Matthews 2002, eq. 22."""
    return from_columns([ZERO, ONE], {}, {2: phi2})


def etdrk3() -> Tableau:
    """Cox & Matthews 2002, eqs. 23-25."""
    return from_columns([ZERO, H, ONE], {(3, 2): 2 * phi1}, {2: 4 * phi2 - 8 * phi3, 3: -phi2 + 4 * phi3})


CM4: dict[int, Any] = {2: 2 * phi2 - 4 * phi3, 3: 2 * phi2 - 4 * phi3, 4: -phi2 + 4 * phi3}
"""Weights of Cox & Matthews' four-stage methods: quadrature at 0, 1/2 and 1."""


def etdrk4() -> Tableau:
    """Cox & Matthews 2002, eqs. 26-29: a product of phi-functions in the last stage."""
    return Tableau(_repeated_halves(), from_columns(FOUR_STAGES, {}, CM4).output)


def _repeated_halves() -> tuple[Stage, ...]:
    """The stages of classical Runge-Kutta, the last one two half steps of exponential Euler."""
    half = H * phi(1, H)
    last = z * phi(1, H) ** 2 / 4 * N(0) + phi(1, H) * N(2)
    return (Stage(H, half * N(0)), Stage(H, half * N(1)), Stage(ONE, last))


def krogstad4() -> Tableau:
    """Krogstad 2005, ETDRK4-B."""
    return from_columns(FOUR_STAGES, {(3, 2): phi(2, H), (4, 3): 2 * phi2}, CM4)


SW4 = {3: 4 * phi2 - 8 * phi3, 4: -phi2 + 4 * phi3}


def strehmel_weiner4() -> Tableau:
    """Strehmel & Weiner 1992, Example 4.5.5."""
    a = {(3, 2): phi(2, H) / 2, (4, 2): -2 * phi2, (4, 3): 4 * phi2}
    return from_columns(FOUR_STAGES, a, SW4)


def friedli4() -> Tableau:
    """Friedli 1978, Sec. 5."""
    r = Rational
    a = {
        (3, 2): phi(2, H) / 2,
        (4, 2): -r(26, 25) * phi1 + r(2, 25) * phi2,
        (4, 3): r(26, 25) * phi1 + r(48, 25) * phi2,
    }
    return from_columns(FOUR_STAGES, a, SW4)


def minchev4() -> Tableau:
    """Minchev 2004: phi_4 in the weights, psi_k = 2^-k phi_k(z/2) in the stages."""
    r = Rational
    a = {
        (3, 2): r(2, 25) * phi(1, H) + r(6, 25) * phi(2, H),
        (4, 2): r(21, 5) * phi2 - r(108, 5) * phi3,
        (4, 3): phi1 / 20 - r(33, 10) * phi2 + r(123, 5) * phi3,
    }
    b = {
        2: -phi1 / 10 + phi2 / 5 - 4 * phi3 + 12 * phi4,
        3: phi1 / 30 + r(23, 5) * phi2 - 8 * phi3 - 4 * phi4,
        4: phi1 / 30 - r(7, 5) * phi2 + 6 * phi3 - 4 * phi4,
    }
    return from_columns(FOUR_STAGES, a, b)


def ehle_lawson() -> Tableau:
    """Ehle & Lawson 1975, their second scheme, with the weights that EXPINT gives it: sum b_i c_i^2 = 1/12 at
    z = 0, where 4 phi_3 in place of phi_3 would make 1/3.
    """
    a = {(3, 2): H * phi(1, H), (4, 3): phi1}
    return from_columns(FOUR_STAGES, a, {2: 2 * phi2 - phi3, 3: 2 * phi2 - phi3, 4: -phi2 + phi3})


def etd5rkf() -> Tableau:
    """A fifth-order method on Fehlberg's: phi_2 at z and 3z/5 in the stages, which break the row sums."""
    r = Rational

    def two(x: Any, y: Any) -> Any:
        return x * phi2 + y * phi(2, r(3, 5))

    a = [
        [],
        [two(-r(2, 3), r(10, 9))],
        [two(r(569, 11544), r(1355, 11544)), two(-r(831, 3848), r(2755, 3848))],
        [
            two(-r(77157, 61568), r(143535, 61568)),
            two(r(587979, 61568), -r(821745, 61568)),
            two(-r(405, 64), r(675, 64)),
        ],
        [
            two(r(655263, 7696), -r(2031205, 23088)),
            two(-r(1148769, 7696), r(1252665, 7696)),
            two(r(1593, 40), -r(405, 8)),
            two(r(144, 5), -r(80, 3)),
        ],
        [
            two(-r(2212835, 277056), r(6888625, 831168)),
            two(r(477285, 30784), -r(496525, 30784)),
            two(-r(39, 16), r(65, 16)),
            two(-r(4, 9), r(20, 27)),
            two(-r(185, 96), r(575, 288)),
        ],
    ]
    b = [
        r(47, 150) * phi1 - r(188, 75) * phi2 + r(94, 15) * phi3,
        0,
        -r(43, 25) * phi1 + r(132, 5) * phi2 - 66 * phi3,
        r(4124, 75) * phi1 - r(6152, 15) * phi2 + r(2704, 3) * phi3,
        r(189, 10) * phi1 - r(662, 5) * phi2 + 284 * phi3,
        -r(1787, 25) * phi1 + r(12966, 25) * phi2 - r(5628, 5) * phi3,
    ]
    return Tableau.from_arrays([ZERO, r(2, 9), r(1, 3), r(3, 4), ONE, r(5, 6)], a, b)


def energy_decreasing3() -> Tableau:
    """Three stages at 0, 1 and 2/3 whose weights use phi_1 and phi_2 alone."""
    third = Rational(2, 3)
    a32 = Rational(4, 9) * phi(2, third)
    return from_columns([ZERO, ONE, third], {(3, 2): a32}, {2: phi2 - phi1 / 2, 3: Rational(3, 4) * phi1})


# --- affine Lie group methods: N is constant along the flow of a frozen affine field ---


def cfree4() -> Tableau:
    """Celledoni, Marthinsen & Owren 2003, eq. 7: two exponentials in a row give the weights phi_1(z/2)."""
    b2, b4 = phi1 / 3, -phi1 / 6 + phi(1, H) / 3
    output = (phi1 / 2 - phi(1, H) / 3) * N(0) + b2 * (N(1) + N(2)) + b4 * N(3)
    return Tableau(_repeated_halves(), output)


def rkmk2e() -> Tableau:
    """Munthe-Kaas 1999 with the trapezoidal rule: the mean of two slopes, through one exponential."""
    return Tableau((Stage(ONE, phi1 * N(0)),), phi1 / 2 * (N(0) + N(1)))


def rkmk4t() -> Tableau:
    """Munthe-Kaas 1999 with classical Runge-Kutta, dexp^-1 truncated after its first commutator."""
    half = phi(1, H)
    stages = (
        Stage(H, half / 2 * N(0)),
        Stage(H, half / 2 * ((z / 4) * N(0) + (1 - z / 4) * N(1))),
        Stage(ONE, phi1 * N(2)),
    )
    ends = (1 + z / 2) * N(0) + (1 - z / 2) * N(3)
    return Tableau(stages, phi1 * (ends / 6 + (N(1) + N(2)) / 3))


def etd2cf3(*, released: bool = False) -> Tableau:
    """The exponential quadrature at 0, 1/3 and 2/3, on the third-order commutator-free method's stages.

    released: a_21 as EXPINT has it, phi_1(z/2)/3 in place of phi_1(z/3)/3.  Because b_2(0) = 0 the classical
    order stays 3; the stiff order falls.
    """
    third = Rational(1, 3)
    b = {2: 6 * phi2 - 18 * phi3, 3: -Rational(3, 2) * phi2 + 9 * phi3}
    tableau = from_columns([ZERO, third, 2 * third], {(3, 2): 4 * third * phi(2, 2 * third)}, b)
    if not released:
        return tableau
    return replace(tableau, stages=(Stage(third, third * phi(1, H) * N(0)), *tableau.stages[1:]))


MUNTHE_KAAS = "Munthe-Kaas 1999"
CELLEDONI = "Celledoni, Marthinsen & Owren 2003"
ENTRIES = (
    Entry("exponential-euler", lambda: EULER, 1, "Norsett 1969", "EXPINT, norsetteuler.m"),
    Entry("etdrk2", etdrk2, 2, COX_MATTHEWS, "eq. 22"),
    Entry("etdrk3", etdrk3, 3, COX_MATTHEWS, "eqs. 23-25"),
    Entry("etdrk4", etdrk4, 4, COX_MATTHEWS, "eqs. 26-29"),
    Entry("krogstad4", krogstad4, 4, "Krogstad 2005", "ETDRK4-B"),
    Entry("strehmel-weiner4", strehmel_weiner4, 4, "Strehmel & Weiner 1992", "EXPINT, strehmelweiner.m"),
    Entry("friedli4", friedli4, 4, "Friedli 1978", "EXPINT, friedli.m"),
    Entry("minchev4", minchev4, 4, "Minchev 2004", "chebfun, @expinteg/computeCoeffs.m (minchev)"),
    Entry("ehle-lawson", ehle_lawson, 2, "Ehle & Lawson 1975", "EXPINT, ehlelawson.m"),
    Entry("etd5rkf", etd5rkf, 5, "Berland, Owren & Skaflestad 2005", "EXPINT, etd5rkf.m"),
    Entry(
        "etdrk3-fu",
        energy_decreasing3,
        3,
        "Fu, Shen & Yang 2024, arXiv:2402.15142",
        "ClownsharkBatwing/RES4LYF, etdrk3_a_3s",
    ),
    Entry("cfree4", cfree4, 4, CELLEDONI, "EXPINT, cfree4.m"),
    Entry("etd2cf3", etd2cf3, 3, CELLEDONI, "EXPINT, etd2cf3.m, with a_21 at z/3"),
    Entry("etd2cf3-released", partial(etd2cf3, released=True), 3, CELLEDONI, "EXPINT, etd2cf3.m"),
    Entry("rkmk2e", rkmk2e, 2, MUNTHE_KAAS, "EXPINT, rkmk2e.m"),
    Entry("rkmk4t", rkmk4t, 4, MUNTHE_KAAS, "EXPINT, rkmk4t.m"),
)
"""Exponential time differencing and affine Lie group methods."""
