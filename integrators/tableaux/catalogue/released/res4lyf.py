"""The audited tables of RES4LYF: plain Runge-Kutta ones, which run on dx/dsigma, and exponential ones."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from sympy import Expr, Rational

from . import res4lyf_exponential, res4lyf_multistep
from .skrample import SKRAMPLE
from .table import Butcher, Release, Released, Repair, collect, collocation, number, read

FILES = ("res4lyf-explicit.txt", "res4lyf-implicit.txt", "repaired.txt")
HIDDEN = "in the file, not on the list of samplers"
GAUSS4 = ("0.0694318442029737123880267555535952474521", "0.3300094782075718675986671204483776563997")
GAUSS5 = ("0.0469100770306680036011865608503035174372", "0.2307653449471584544818427896498955975164")
"""The roots below 1/2 of Legendre's polynomials of degree 4 and 5 on [0, 1]."""
DECIMALS = 40
"""Of these, and of what is written out because it holds cos(pi/18)."""


def _gauss(lower: tuple[str, ...], middle: tuple[Expr, ...]) -> Butcher:
    below = [number(v) for v in lower]
    return collocation([*below, *middle, *(1 - v for v in reversed(below))])


def stored(name: str) -> Butcher:
    """A table of the data files."""
    return next(found[name] for found in map(read, FILES) if name in found)


def products() -> Butcher:
    """Gauss-Legendre 8 from the numbers mu_ij that gauss-legendre_diag_8s holds: a_ij = b_j mu_ij, with
    mu_ji = 1 - mu_ij.
    """
    table = stored("gauss-legendre_diag_8s")
    mu = [list(row) for row in table.a]
    for i, row in enumerate(table.a):
        for j in range(i):
            mu[j][i] = 1 - row[j]
    a = tuple(tuple(m * w for m, w in zip(row, table.b, strict=True)) for row in mu)
    return replace(table, a=a)


def verner() -> Butcher:
    """Verner's most robust 9(8) with its a_65."""
    table = stored("verner_robust_16s")
    row = list(table.a[5])
    row[4] = number("0.0007022961270757467")
    return replace(table, a=(*table.a[:5], tuple(row), *table.a[6:]))


def _table(name: str, claimed: int | None, claim: str, digits: int | None = None, **rest: Any) -> Released:
    return Released(name, partial(stored, name), claimed, claim, digits, **rest)


def _named(claimed: int, *names: str) -> tuple[Released, ...]:
    return tuple(_table(name, claimed, "the method that it names") for name in names)


DORMAND_PRINCE = Repair(partial(stored, "dormand-prince_6s"), "Dormand & Prince 1980")
HALF = (Rational(1, 2),)
NOT_GAUSS = "nodes of three stages, with weights 1/4 +- sqrt(15)/6 whose rows do not sum to them"
ROUNDED = "nodes and weights cut to four digits: sqrt(739) belongs to fractions near the roots of P_5"
GAUSS4_REPAIR = Repair(partial(_gauss, GAUSS4, ()), "Gauss-Legendre collocation, Butcher 1964", DECIMALS)
GAUSS5_REPAIR = Repair(partial(_gauss, GAUSS5, HALF), "Gauss-Legendre collocation, Butcher 1964", DECIMALS)

TABLES = (
    *_named(1, "euler"),
    *_named(2, "ralston_2s", "heun_2s", "midpoint_2s"),
    *_named(3, "ssprk3_3s", "houwen-wray_3s", "ralston_3s", "kutta_3s", "heun_3s"),
    *_named(4, "ralston_4s", "rk38_4s", "rk4_4s"),
    _table(
        "ssprk4_4s",
        4,
        "name, as ssprk3_3s has order 3",
        defect="SSP(4, 3): third order; no method of four stages and order 4 is SSP",
        repair=Repair(
            lambda: SKRAMPLE.tables["SSP.RK4_5"].build(), "Spiteri & Ruuth 2002, SSP(5, 4), five stages", 15
        ),
    ),
    _table(
        "rk5_7s",
        5,
        'comment, "5th order"',
        defect="Dormand & Prince's with two signs changed, a_54 = -212/729 and a_61 = 9017/3168, and with "
        "the weights of the embedded fourth-order row",
        repair=DORMAND_PRINCE,
    ),
    _table("rk6_7s", 6, 'name, Butcher 6 (comment: "5th order")'),
    _table("tsi_7s", 5, 'comment, "5th order"', 15),
    _table("bogacki-shampine_7s", 5, 'comment, "5th order"'),
    _table(
        "bogacki-shampine_4s",
        5,
        'comment, "5th order"',
        defect="the comment is that of bogacki-shampine_7s; the method has order 3",
        repair=Repair(partial(stored, "bogacki-shampine_7s"), "Bogacki & Shampine 1996"),
    ),
    *_named(5, "dormand-prince_6s"),
    _table("dormand-prince_13s", 8, "the method that it names", 17),
    _table(
        "verner_robust_16s",
        9,
        f'comment on verner_13s, "verner9"; {HIDDEN}',
        16,
        defect="a_65 = 0.0070229.. where 0.00070229.. is due",
        repair=Repair(verner, "Verner, most robust 9(8), 2010", 15),
    ),
    *_named(2, "lobatto_iiia_2s", "lobatto_iiib_2s", "lobatto_iiic_2s", "lobatto_iiic_star_2s"),
    *_named(2, "lobatto_iiid_2s", "qin_zhang_2s", "pareschi_russo_2s", "pareschi_russo_alt_2s"),
    *_named(3, "crouzeix_2s", "radau_ia_2s", "radau_iia_2s"),
    *_named(4, "gauss-legendre_2s", "lobatto_iiia_3s", "lobatto_iiib_3s", "lobatto_iiic_3s"),
    *_named(4, "lobatto_iiic_star_3s", "lobatto_iiid_3s"),
    *_named(5, "radau_iia_3s", "radau_iia_3s_alt"),
    *_named(6, "gauss-legendre_3s", "lobatto_iiia_4s", "lobatto_iiib_4s", "lobatto_iiic_4s"),
    *(
        _table(name, 4, "the method that it names", DECIMALS - 2)
        for name in ("crouzeix_3s", "crouzeix_3s_alt")
    ),
    *(_table(f"radau_iia_{s}s", 2 * s - 1, "the method that it names", 16) for s in (5, 7, 9, 11)),
    _table("kraaijevanger_spijker_2s", None, ""),
    _table(
        "radau_ia_3s",
        5,
        "the method that it names",
        defect="the last row has the signs of the second: 11/45 + 43 sqrt(6)/360 and 11/45 - 7 sqrt(6)/360 "
        "are due in a_32 and a_33",
        repair=Repair(partial(stored, "radau-ia-3"), "Hairer & Wanner II, Table 5.4"),
    ),
    *(
        _table(name, 8, "the method that it names", defect=NOT_GAUSS, repair=GAUSS4_REPAIR)
        for name in ("gauss-legendre_4s", "gauss-legendre_4s_alternating_a", "gauss-legendre_4s_ascending_a")
    ),
    _table(
        "gauss-legendre_4s_alt",
        8,
        'comment, "Of Order 8"',
        defect="nodes 0.33 and 0.67 near the roots of P_4, and inner rows that do not sum to them",
        repair=GAUSS4_REPAIR,
    ),
    *(
        _table(name, 10, "the method that it names", defect=ROUNDED + more, repair=GAUSS5_REPAIR)
        for name, more in (
            ("gauss-legendre_5s", ""),
            ("gauss-legendre_5s_ascending", "; rows are reordered, columns are not"),
        )
    ),
    _table(
        "gauss-legendre_diag_8s",
        16,
        f"the method that it names; {HIDDEN}",
        32,
        defect="holds mu_ij below the diagonal, where a_ij = b_j mu_ij with mu_ij + mu_ji = 1 is due",
        repair=Repair(products, "Antonana, Makazaga & Murua 2017", 32),
    ),
    *res4lyf_exponential.TABLES,
    *res4lyf_multistep.TABLES,
)
ABSENT = {
    "verner_13s": "rows and weights are empty",
    "radau_iia_4s": "rows are empty",
    "irk_exp_diag_2s": "implicit, with phi-functions: no explicit tableau and no plain table",
    "deis_2m, deis_3m, deis_4m": "weights are quadratures over the run's sigmas",
    "abnorsett_2m, abnorsett_3m": "run the rows of res_2m and res_3m with step ratios in sigma; their own "
    "weights are never reached",
    "abnorsett2_1h2s, abnorsett3_2h2s, abnorsett4_3h2s": "their phi-functions of past steps are taken at "
    "differences of sigma, which are no multiples of z (the last has no table at all)",
}
RES4LYF = Release(
    "ClownsharkBatwing/RES4LYF",
    "022c873c6d198c67b3312a1804336533a050df18",
    "beta/rk_coefficients_beta.py",
    collect(TABLES),
    ABSENT,
)
"""The release."""
