"""Explicit Runge-Kutta methods, as tableaux without z: what an integrating factor, or a form with a constant
weight, turns into a method for semilinear equations.
"""

from __future__ import annotations

from sympy import Rational

from ..tableau import Tableau


def explicit(*rows: str) -> Tableau:
    """A tableau from one line per stage, "c: a_1 a_2 .. ", and a last line with the weights b."""
    *stages, last = rows
    c, a = [Rational(0)], [[]]  # type: tuple[list[Rational], list[list[Rational]]]
    for line in stages:
        at, _, entries = line.partition(":")
        c.append(Rational(at))
        a.append([Rational(v) for v in entries.split()])
    return Tableau.from_arrays(c, a, [Rational(v) for v in last.split()])


BUTCHER: dict[str, Tableau] = {
    "euler": explicit("1"),
    "midpoint": explicit("1/2: 1/2", "0 1"),
    "trapezoid": explicit("1: 1", "1/2 1/2"),
    "kutta3": explicit("1/2: 1/2", "1: -1 2", "1/6 2/3 1/6"),
    "heun3": explicit("1/3: 1/3", "2/3: 0 2/3", "1/4 0 3/4"),
    "ralston3": explicit("1/2: 1/2", "3/4: 0 3/4", "2/9 1/3 4/9"),
    "houwen3": explicit("8/15: 8/15", "2/3: 1/4 5/12", "1/4 0 3/4"),
    "ssp3": explicit("1: 1", "1/2: 1/4 1/4", "1/6 1/6 2/3"),
    "kutta4": explicit("1/2: 1/2", "1/2: 0 1/2", "1: 0 0 1", "1/6 1/3 1/3 1/6"),
    "three-eighths4": explicit("1/3: 1/3", "2/3: -1/3 1", "1: 1 -1 1", "1/8 3/8 3/8 1/8"),
    "fehlberg5": explicit(
        "2/9: 2/9",
        "1/3: 1/12 1/4",
        "3/4: 69/128 -243/128 135/64",
        "1: -17/12 27/4 -27/5 16/15",
        "5/6: 65/432 -5/16 13/16 4/27 5/144",
        "47/450 0 12/25 32/225 1/30 6/25",
    ),
    "dormand-prince5": explicit(
        "1/5: 1/5",
        "3/10: 3/40 9/40",
        "4/5: 44/45 -56/15 32/9",
        "8/9: 19372/6561 -25360/2187 64448/6561 -212/729",
        "1: 9017/3168 -355/33 46732/5247 49/176 -5103/18656",
        "35/384 0 500/1113 125/192 -2187/6784 11/84",
    ),
    "butcher6": explicit(
        "1/3: 1/3",
        "2/3: 0 2/3",
        "1/3: 1/12 1/3 -1/12",
        "5/6: 25/48 -55/24 35/48 15/8",
        "1/6: 3/20 -11/24 -1/8 1/2 1/10",
        "1: -261/260 33/13 43/156 -118/39 32/195 80/39",
        "13/200 0 11/40 11/40 4/25 4/25 13/200",
    ),
}
"""By name and order, 3 and below as in qsh-zh/deis (th_deis/rk.py) and RES4LYF (rk_coefficients_beta.py),
fehlberg5 as the limit of EXPINT's etd5rkf.m at z = 0, dormand-prince5 as in torchdiffeq (dopri5.py) without
its error estimate, butcher6 as in PaulZiebert672/Sandbox2
(ode/shared/doc/rk-high.md).
"""
