"""STORK (arXiv:2505.24210) on the velocity of flow matching: stabilised Runge-Kutta methods whose stages are
never evaluated, as data.

A stage takes for its velocity the Taylor polynomial of the velocity in t alone, by finite differences of past
evaluations, so that no stage depends on another's state: s stages are one quadrature of that polynomial, and
a step is

    y_1 = y_0 + h (N + m_1 h N' + m_2 h^2 N''/2),    m_k = sum_j w_j c_j^k,

with the weights w_j and nodes c_j of the stages, sum_j w_j = 1.  Nothing is left of the stability region: on
y' = lambda y the step is that of a multistep method with these three weights.  A stabilised method of order p
has m_k = 1/(k + 1) for k < p, whatever s:

| here              | stages                                      | m_1              | m_2           |
|-------------------|---------------------------------------------|------------------|---------------|
| stork-2-released  | Runge-Kutta-Gegenbauer at Legendre's nodes  | 0.4896 at s = 50 | 0.243         |
| stork-2-corrected | Runge-Kutta-Gegenbauer at nodes of its own  | 1/2              | depends on s  |
| stork-4-corrected | ROCK4, its first stage where it is computed | 1/2              | 1/3           |

N' and N'' are the release's differences of second order; that of N' is the one of equal steps, so that on
others it is N' (1 + O(h)): a local error O(h^3).  With m_1 other than 1/2 it is O(h^2): first order.
STORK-4 as released shifts its recurrence once too often, after the first stage, so that it goes on from y_0
in place of that stage: its weights sum to 0.99895 at s = 50, not to 1, and its runs converge to no flow.  It
is not listed.  Neither are the release's methods for noise prediction, whose stages keep the linear part (or,
STORK-2, take the noise for the slope).
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import Annotated

from sympy import Expr, Rational

from ..common import checks
from ..common.ranges import Range
from ..forms.whole import velocity_in_time
from ..solver import Ramp, Solver
from ..tableaux.tableau import N, P, Stage, Tableau, adams, omega

PAPER = "STORK (Tan et al. 2025), arXiv:2505.24210"
RELEASE = "ZT220501/STORK, STORKScheduler.py"
MAX_SUBSTEPS = 1000
"""The most stages: exact sums over more have too many digits to be of use."""

START = Tableau(
    (Stage(Rational(1, 2), N(0) / 2),),
    (N(0) + 3 * N(1)) / 4,
)
"""Half a step of Euler's, and half a step of Adams-Bashforth's second order from there."""


def _gegenbauer(j: int) -> Fraction:
    """b_j of the second-order Runge-Kutta-Gegenbauer method (Skaras et al. 2021)."""
    if j < 2:
        return Fraction(1, 2 * j + 1)
    return Fraction(4 * (j - 1) * (j + 4), 3 * j * (j + 1) * (j + 2) * (j + 3))


def legendre_node(j: int, s: int) -> Fraction:
    """c_j of the second-order Runge-Kutta-Legendre method of s stages, j >= 1."""
    return Fraction(4 if j == 1 else 3 * (j * j + j - 2), 3 * (s * s + s - 2))


def gegenbauer_moments(s: int, node: Callable[[int, int], Fraction] | None = None) -> tuple[Expr, Expr, Expr]:
    """m_0, m_1, m_2 of s stages of the second-order Runge-Kutta-Gegenbauer recurrence (s >= 2).

    node: where the velocity of stage j is taken, from (j, s); None: where the stage lies.
    """
    w, zero = Fraction(6, (s + 4) * (s - 1)), Fraction(0)
    before: tuple[Fraction, ...] = (zero,) * 3
    last: tuple[Fraction, ...] = (w, zero, zero)
    for j in range(2, s + 1):
        b, b1, b2 = (_gegenbauer(i) for i in (j, j - 1, j - 2))
        mu, nu = (2 * j + 1) * b / (j * b1), -(j + 1) * b / (j * b2)
        c = last[0] if node is None else node(j - 1, s)
        at_start = -mu * w * (1 - j * (j + 1) * b1 / 2)
        stage = [mu * p + nu * q + mu * w * c**k for k, (p, q) in enumerate(zip(last, before, strict=True))]
        before, last = last, (stage[0] + at_start, *stage[1:])
    m0, m1, m2 = (Rational(v.numerator, v.denominator) for v in last)
    return m0, m1, m2


def taylor_step(m1: Expr, m2: Expr) -> Tableau:
    """y_0 + h (N + m_1 h N' + m_2 h^2 N''/2) with STORK's differences of N(0), P(1), P(2)."""
    w1, w2 = omega(1), omega(2)
    slope = (3 * N(0) - 4 * P(1) + P(2)) / (2 * w1)
    bend = 2 * ((w2 - w1) * N(0) - w2 * P(1) + w1 * P(2)) / (w1 * (w2 - w1) * w2)
    return Tableau((), N(0) + m1 * slope + m2 * bend / 2)


def _stork(name: str, m1: Expr, m2: Expr, claimed: int, source: str) -> Solver:
    return Solver(
        name=name,
        form=velocity_in_time,
        sequence=Ramp((START, adams(2), taylor_step(m1, m2))),
        claimed=claimed,
        source=source,
        paper=PAPER,
    )


def stork_2(
    substeps: Annotated[int, Range(least=2, most=MAX_SUBSTEPS)] = 50, *, released: bool = False
) -> Solver:
    """STORK-2 of second differences: Runge-Kutta-Gegenbauer stages on an extrapolated velocity.

    substeps: s, from 2 to `MAX_SUBSTEPS`.  released: the velocity of a stage is taken at the node of another
    method, Runge-Kutta-Legendre, which leaves m_1 below 1/2.
    Raises ValueError for other numbers of stages.
    """
    s = checks.integer("substeps", substeps, 2, MAX_SUBSTEPS)
    checks.flag("released", released)
    _, m1, m2 = gegenbauer_moments(s, legendre_node if released else None)
    suffix, how = ("released", "") if released else ("corrected", ", with nodes of its own")
    return _stork(f"stork-2-{suffix}", m1, m2, 2, f"{RELEASE}, step_flow_matching_2{how}")


def stork_4() -> Solver:
    """STORK-4 of second differences, with ROCK4's first stage in its place.

    That ROCK4 is of order 4 is all that is left of it: m_1 = 1/2 and m_2 = 1/3, for every number of stages.
    """
    source = f"{RELEASE}, step_flow_matching_4, with the first stage of its recurrence"
    return _stork("stork-4-corrected", Rational(1, 2), Rational(1, 3), 4, source)


LISTED: tuple[Callable[..., Solver], ...] = (partial(stork_2, released=True), stork_2, stork_4)
"""Constructors of the solvers that have a name of their own."""
