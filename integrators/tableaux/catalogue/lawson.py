"""Lawson methods: a Runge-Kutta or Adams method under the integrating factor, plain and generalised.

With v = e^(-tL) u the equation u' = L u + N becomes v' = e^(-tL) N; a method for it, written back in u, has
the weights a_ij e^((c_i - c_j) z).  Krogstad's generalisation (2005, Sec. 3) subtracts a polynomial p in time
from N first, whose part of the solution is known exactly.

Abscissae that decrease make e^((c_i - c_j) z) grow with -z: such a method is for small |z| alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any

from sympy import Add, Expr, Integer, exp

from ..tableau import (
    N,
    P,
    Stage,
    Tableau,
    Weights,
    adams,
    at_zero,
    evaluation,
    formula_of,
    interpolate,
    lagrange,
    omega,
    z,
)
from .butcher import BUTCHER
from .entry import Entry

LAWSON = "Lawson 1967"
KROGSTAD = "Krogstad 2005, Sec. 3"
EXPINT = "EXPINT 1.1 (Berland, Skaflestad & Wright 2007)"


def at_rest(tableau: Tableau) -> Tableau:
    """The method for u' = N that a tableau is at z = 0."""

    def row(weights: Weights) -> Expr:
        return formula_of({key: at_zero(w) for key, w in weights.items()})

    stages = tuple(Stage(c, row(a)) for c, a in zip(tableau.c, tableau.a, strict=True))
    return Tableau(stages, row(tableau.b))


def lawson(butcher: Tableau, nodes: int = 0, *, through_end: bool = False) -> Tableau:
    """A classical method for what an integrating factor leaves of N.

    In the row at abscissa c:  int_0^c e^((c-s)z) p(s) ds + sum_j a_j e^((c - c_j) z) (N_j - p(c_j)), with p
    the polynomial through the evaluations at 0, -omega(1), .. (`nodes` of them).  nodes = 0 is Lawson's
    method (p = 0), 1 has no past yet (p = N(0)), q needs q - 1 past evaluations.  through_end: in the output
    row, p also passes through the last stage, which lies at abscissa 1 (EXPINT's "modified" methods).
    butcher: weights without z; past evaluations P(j), as those of Adams methods, lie at c_j = -omega(j).
    """
    c = [Integer(0), *butcher.c]
    known: dict[Any, Expr] = {-omega(j): P(j) for j in range(1, nodes)}
    if nodes:
        known = {Integer(0): N(0)} | known
    final = known | {Integer(1): N(len(butcher.c))} if through_end else known

    def row(at: Expr, weights: Weights, through: Mapping[Any, Expr]) -> Expr:
        total = interpolate(through, at)
        for j, weight in weights.items():
            own = c[j] if j >= 0 else -omega(-j)
            if own not in through:
                rest = evaluation(j) - _value(tuple(through.items()), own)
                total += weight * exp((at - own) * z) * rest
        return total

    stages = tuple(Stage(at, row(at, a, known)) for at, a in zip(butcher.c, butcher.a, strict=True))
    return Tableau(stages, row(Integer(1), butcher.b, final))


@lru_cache(maxsize=64)
def _value(through: tuple[tuple[Any, Expr], ...], at: Expr) -> Expr:
    """The value of the interpolation polynomial through (node, evaluation), which rows share."""
    bases = lagrange(tuple(node for node, _ in through))
    values = (Add(*(v * at**m for m, v in enumerate(top))) / bottom for top, bottom in bases)
    return Add(*(value * n for value, (_, n) in zip(values, through, strict=True)))


def _plain(name: str, butcher: str, order: int, source: str) -> Entry:
    return Entry(name, partial(lawson, BUTCHER[butcher]), order, LAWSON, source)


def _adams(order: int) -> Entry:
    def build() -> Tableau:
        return lawson(at_rest(adams(order)))

    source = f"Adams-Bashforth under the integrating factor, any step ratios; EXPINT, ablawson{order}.m"
    return Entry(f"ab-lawson{order}", build, order, LAWSON, source)


def _generalised(nodes: int) -> Entry:
    build = partial(lawson, BUTCHER["kutta4"], nodes)
    source = f"ETD{nodes}/RK4, any step ratios; EXPINT, genlawson4{nodes}.m"
    return Entry(f"genlawson4{nodes}", build, max(4, nodes), KROGSTAD, source)


def _modified(nodes: int) -> Entry:
    build = partial(lawson, BUTCHER["kutta4"], nodes, through_end=True)
    source = f"any step ratios; EXPINT, modgenlawson4{nodes}.m"
    if nodes == 5:
        source += (
            ", with the output row that the construction gives: the file's has quadrature order 5, not 6"
        )
    return Entry(f"modgenlawson4{nodes}", build, max(4, nodes + 1), EXPINT, source)


def released_adams() -> Tableau:
    """Adams-Bashforth-Lawson 2 as EXPINT has it: e^(z/2) where e^((1 + omega) z) is due,
    e^(2 z) on equal steps; a local error O(h^2).
    """
    older = at_rest(adams(2)).b[-1]
    return Tableau((), exp(z) * at_rest(adams(2)).b[0] * N(0) + exp(z / 2) * older * P(1))


ENTRIES = (
    _plain("lawson-euler", "euler", 1, "EXPINT, lawsoneuler.m"),
    _plain("lawson2a", "midpoint", 2, "midpoint rule; EXPINT, lawson2a.m"),
    _plain("lawson2b", "trapezoid", 2, "trapezoidal rule; EXPINT, lawson2b.m"),
    _plain("lawson3-kutta", "kutta3", 3, "Kutta's third-order method under the integrating factor"),
    _plain("lawson3-heun", "heun3", 3, "Heun's third-order method under the integrating factor"),
    _plain("lawson3-ralston", "ralston3", 3, "Ralston's third-order method under the integrating factor"),
    _plain("lawson3-ssp", "ssp3", 3, "Shu & Osher's third-order method under the integrating factor"),
    _plain("lawson4", "kutta4", 4, "with classical Runge-Kutta 4; EXPINT, lawson4.m"),
    _plain("lawson4-three-eighths", "three-eighths4", 4, "Kutta's 3/8 rule under the integrating factor"),
    _plain("lawson5-fehlberg", "fehlberg5", 5, "Fehlberg's fifth-order method under the integrating factor"),
    _plain("lawson6-butcher", "butcher6", 6, "Butcher's sixth-order method under the integrating factor"),
    *(_adams(order) for order in (2, 3, 4)),
    Entry("ab-lawson2-released", released_adams, 2, LAWSON, "EXPINT, ablawson2.m, output row"),
    *(_generalised(nodes) for nodes in range(1, 6)),
    *(_modified(nodes) for nodes in range(1, 6)),
)
"""The Lawson families."""
