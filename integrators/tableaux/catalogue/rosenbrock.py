"""Exponential Rosenbrock methods: the linear part is the Jacobian J(u_n) of the whole right-hand side.

Then N = F - J u has N'(u_n) = 0 and differences D_j = N_j - N_1 are O(h^2): sum b_j c_j^2 = 2 phi_3 gives
order 3, sum b_j c_j^3 = 6 phi_4 with it order 4 (Hochbruck, Ostermann & Schweitzer 2009, Table 2).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from sympy import Integer, Rational

from ..tableau import phi, phi1, phi3, phi4
from .entry import Entry, from_columns

HOS = "Hochbruck, Ostermann & Schweitzer 2009"
LUAN_OSTERMANN = "Luan & Ostermann 2014, exponential Rosenbrock methods of order five"
LUAN_17 = "Luan 2017, fourth-order two-stage exponential integrators"
PARALLEL = "Luan & Ostermann 2016, parallel exponential Rosenbrock methods"
RAINWATER = "Rainwater & Tokman 2016"

R = Rational


def _entry(
    name: str,
    order: int,
    c: str,
    a: Mapping[tuple[int, int], Any],
    b: Mapping[int, Any],
    paper: str,
    source: str,
    low: Mapping[int, Any] | None = None,
) -> Entry:
    at = [Integer(0), *(R(v) for v in c.split())]
    return Entry(name, partial(from_columns, at, a, b, low), order, paper, source, linearised=True)


def _last(c: str) -> dict[int, Any]:
    """The weights of the last two of s stages, at c, for which sum b_j c_j^2 = 2 phi_3 and sum b_j c_j^3 = 6
    phi_4.
    """
    count = len(c.split()) + 1
    x, y = (R(v) for v in c.split()[-2:])
    return {
        count - 1: (2 * y * phi3 - 6 * phi4) / (x**2 * (y - x)),
        count: (2 * x * phi3 - 6 * phi4) / (y**2 * (x - y)),
    }


FIFTH = {(3, 2): R(27, 25) * phi(3, R(1, 2)) + R(729, 125) * phi(3, R(9, 10))}
NESTED = {(3, 2): 4 * phi(3, R(1, 2)), (4, 3): R(729, 125) * phi(3, R(9, 10))}
FOURTH = {
    2: 64 * phi3 - 60 * phi4,
    3: -8 * phi3 - R(285, 8) * phi4,
    4: R(125, 8) * phi4,
}
LEXINT = "Pranab-JD/LeXInt"

ENTRIES = (
    _entry("rosenbrock-euler", 2, "", {}, {}, "Pope 1963", f"{LEXINT}, Rosenbrock_Euler.py"),
    _entry("exprb32", 3, "1", {}, {2: 2 * phi3}, HOS, f"{LEXINT}, EXPRB32.py", low={}),
    _entry("exprb42", 4, "3/4", {}, {2: R(32, 9) * phi3}, LUAN_17, f"{LEXINT}, EXPRB42.py"),
    _entry(
        "exprb43",
        4,
        "1/2 1",
        {(3, 2): phi1},
        _last("1/2 1"),
        HOS,
        f"{LEXINT}, EXPRB43.py",
        low={2: 16 * phi3, 3: -2 * phi3},
    ),
    _entry(
        "pexprb43",
        4,
        "1/2 1",
        {},
        _last("1/2 1"),
        PARALLEL,
        "a MATLAB pexpRB43.m of the authors of ExpHR",
        low={2: 16 * phi3, 3: -2 * phi3},
    ),
    _entry("epirk4s3", 4, "1/8 1/9", {}, _last("1/8 1/9"), RAINWATER, f"{LEXINT}, EPIRK4s3.py"),
    _entry("epirk4s3a", 4, "1/2 2/3", {}, _last("1/2 2/3"), RAINWATER, f"{LEXINT}, EPIRK4s3A.py"),
    _entry(
        "exprb53s3",
        5,
        "1/2 9/10",
        FIFTH,
        _last("1/2 9/10"),
        LUAN_OSTERMANN,
        f"{LEXINT}, EXPRB53s3.py; SciML/OrdinaryDiffEq.jl, EXPRB53s3",
    ),
    _entry(
        "exprb54s4",
        5,
        "1/4 1/2 9/10",
        NESTED,
        _last("1/4 1/2 9/10"),
        LUAN_OSTERMANN,
        f"{LEXINT}, EXPRB54s4.py",
        low=FOURTH,
    ),
    _entry(
        "pexprb54s4",
        5,
        "1/4 1/2 9/10",
        {(3, 2): 4 * phi(3, R(1, 2)), (4, 2): R(2916, 125) * phi(3, R(9, 10))},
        _last("1/4 1/2 9/10"),
        PARALLEL,
        "a Python replica of the tableau, with these stages evaluated in parallel",
        low=FOURTH,
    ),
)
"""Rosenbrock type: only for a linear part that is the Jacobian at u_n."""
