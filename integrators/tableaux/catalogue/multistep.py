"""Exponential multistep and general linear methods: Adams, predictor-corrector, EGLM.

All of them follow one rule: every row integrates exactly the polynomial through the evaluations known so far,
a later evaluation at the same node taking the place of an earlier one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from sympy import Expr, Integer, Rational

from ..tableau import N, P, Stage, Tableau, interpolate, omega
from .entry import Entry

NORSETT = "Norsett 1969"
OTW = "Ostermann, Thalhammer & Wright 2006"


def interpolatory(c: Sequence[Any], nodes: int) -> Tableau:
    """Stages at abscissae c, the first row through the evaluations at 0, -omega(1), .. (`nodes` of them).

    c = () is exponential Adams-Bashforth of order `nodes`; c = (1,) its PECE with Adams-Moulton, (1, 1) its
    P(EC)^2 E.  Every step ratio is a symbol.
    """
    known: dict[Any, Expr] = {Integer(0): N(0)} | {-omega(j): P(j) for j in range(1, nodes)}
    stages: list[Stage] = []
    for at in c:
        stages.append(Stage(at, interpolate(known, at)))
        known |= {at: N(len(stages))}
    return Tableau(tuple(stages), interpolate(known))


ONE, HALF = Integer(1), Rational(1, 2)


def _entry(name: str, c: Sequence[Any], nodes: int, order: int, paper: str, source: str) -> Entry:
    return Entry(name, partial(interpolatory, tuple(c), nodes), order, paper, f"{source}, any step ratios")


ENTRIES = (
    *(_entry(f"ab-norsett{k}", (), k, k, NORSETT, f"EXPINT, abnorsett{k}.m") for k in (2, 3, 4)),
    *(_entry(f"ab-norsett{k}", (), k, k, NORSETT, "the rule of EXPINT, abnorsett4.m") for k in (5, 6)),
    *(_entry(f"pec{p}2{p - 1}", [ONE], p - 1, p, OTW, f"EXPINT, pec{p}2{p - 1}.m") for p in (3, 4, 5, 6)),
    *(
        _entry(f"pecec{p}3{p - 1}", [ONE, ONE], p - 1, p, OTW, f"EXPINT, pecec{p}3{p - 1}.m")
        for p in (3, 4, 5, 6)
    ),
    _entry("eglm332", (HALF, ONE), 2, 3, OTW, "EXPINT, eglm332.m"),
    _entry("eglm433", (HALF, ONE), 3, 4, OTW, "EXPINT, eglm433.m"),
)
"""Adams, predictor-corrector and general linear methods; the digits of a name: order, stages, past and
present evaluations.
"""
