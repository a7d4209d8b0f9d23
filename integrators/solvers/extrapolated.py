"""RX-DPM (arXiv:2504.01855) over Euler's step and DDIM: Richardson extrapolation on the grid, as data.

Over k intervals l_1 .. l_k of the grid, in units of their sum, Euler's method in rho gives two solutions, by
k steps and by one, from k evaluations.  The local error of a step is l^2 N'/2, so that of the first solution
is s = sum l_j^2 times that of the second, to leading order, and

    x = (x_k - s x_1)/(1 - s)

is without it on any grid: an explicit Runge-Kutta method of order 2, whose stages are the grid's times.  With
k = 2 it is the method of order 2 whose stage lies at c = l_1,  b_2 = 1/(2 c):  on equal steps in rho the
midpoint rule.  DDIM is Euler's step of d(x/alpha) = eps d rho, so that both are one method here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated

from sympy import Expr, Integer

from ..common import checks
from ..common.ranges import Range
from ..forms.form import noise_in_rho
from ..solver import Solver, Spread
from ..tableaux.tableau import N, Stage, Tableau
from .deis import EULER
from .on_grid import MOST, interval_lengths, interval_ratios

PAPER = "RX-DPM (Choi et al. 2025), arXiv:2504.01855"


def _block(size: int) -> Tableau:
    """Euler's steps over the intervals, extrapolated by the one over all of them."""
    lengths = interval_lengths(size)
    s = sum((length**2 for length in lengths), Integer(0))

    def euler(count: int) -> Expr:
        return sum((length * N(j) for j, length in enumerate(lengths[:count])), Integer(0))

    stages = tuple(Stage(sum(lengths[:j], Integer(0)), euler(j)) for j in range(1, size))
    return Tableau(stages, (euler(size) - s * N(0)) / (1 - s))


def rx_euler(size: Annotated[int, Range(least=2, most=MOST)] = 2) -> Solver:
    """RX-Euler, RX-DDIM: `size` = k intervals of the grid a step, 2 .. `MOST`; intervals that are left over
    at the end are Euler's steps.

    Raises ValueError for other sizes.
    """
    size = checks.integer("size", size, 2, MOST)
    sequence = Spread((EULER,) * (size - 1) + (_block(size),), partial(_blocks, size))
    return Solver(
        name=f"rx-euler-{size}",
        form=noise_in_rho,
        sequence=sequence,
        claimed=2,
        source="jin01020/rx-dpm, edm/generate.py, rx_euler_sampler, skip_last; abstract (as reported)",
        paper=PAPER,
        parameters=partial(interval_ratios, sequence),
    )


def _blocks(size: int, budget: int) -> tuple[int, ...]:
    return (size,) * (budget // size) + (1,) * (budget % size)


LISTED: tuple[Callable[..., Solver], ...] = (partial(rx_euler, 2), partial(rx_euler, 3))
"""Constructors of the solvers that have a name of their own."""
