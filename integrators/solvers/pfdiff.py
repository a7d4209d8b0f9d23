"""PFDiff (arXiv:2408.08822) over DDIM, seen at its springboards: a two-step method, as data.

An iteration of PFDiff-k_h goes from a time of the grid over k + 1 of its intervals, with one evaluation:

    springboard    x_(i+h) = x_i by the evaluation of the iteration before,
    step           x_(i+k+1) = x_i by the evaluation at the springboard,

both by DDIM, which is Euler's step of d(x/alpha) = eps d rho.  But for the first no x_i is evaluated.  So
from springboard to springboard there is no other evaluation than theirs, and x_i is the springboard less what
led to it: in y = x/alpha, over H from this springboard to the next,

    y_1 = y_0 + H ((1 + w) N_0 - w P_1),    w H the way from x_i to this springboard,

w = h/(k + 1) on equal steps in rho.  The first springboard is Euler's step from the start (x_1 and its
springboard have the same evaluation), and the end is that formula again, over the k + 1 - h intervals that
are left.  A run of n evaluations has 1 + (k + 1)(n - 1) intervals, as the release's scripts have.

The local error is (w - 1/2) H^2 N': second order for h = (k + 1)/2, where the formula is Adams-Bashforth's on
equal steps (PFDiff-1 and PFDiff-3_2), else first order, with an error smaller than DDIM's at as many
evaluations by |1 - 2 w|.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated

from sympy import Rational

from ..common import checks
from ..common.ranges import Range
from ..forms.form import noise_in_rho
from ..numerics.arithmetic import Value
from ..solver import Ramp, Solver, Spanning, StepContext, check_budget
from ..tableaux.tableau import N, P, StepRatio, Tableau, phi1
from .deis import EULER

PAPER = "PFDiff (Wang et al. 2024), arXiv:2408.08822"
RELEASE = "onefly123/PFDiff"
WAY = StepRatio("r")
"""The mean interval from x_i to its springboard over the step's."""


@dataclass(frozen=True)
class Springboards(Spanning, Ramp):
    """Steps from springboard to springboard, `ahead` of `skip` + 1 intervals of the grid."""

    skip: int = 1
    ahead: int = 1

    def __str__(self) -> str:
        return (
            f"{super().__str__()}; from springboard to springboard over {self.skip + 1} intervals of the grid"
        )

    def spans(self, budget: int) -> tuple[int, ...]:
        """From the start to a springboard, from each to the next, from the last to the end."""
        check_budget(budget, 1, " evaluations")
        if budget == 1:
            return (1,)
        whole = self.skip + 1
        return (1 + self.ahead, *(whole,) * (budget - 2), whole - self.ahead)

    def way(self, context: StepContext) -> Mapping[object, Value]:
        """`WAY` at a step.  Raises ValueError where the grid is not known."""
        if not context.tableau.parameters:
            return {}
        step, (times, first, last) = context.step, self.around(context)
        way = step.tau0 - step.form.tau(times[first - self.ahead])
        return {WAY: way / self.ahead * (last - first) / step.h}


def _two_step(intervals: int, ahead: int) -> Tableau:
    w = Rational(ahead, intervals) * WAY
    return Tableau((), phi1 * ((1 + w) * N(0) - w * P(1)))


def pfdiff(
    skip: Annotated[int, Range(least=1, most=3)] = 1, ahead: Annotated[int, Range(least=1, most=3)] = 1
) -> Solver:
    """PFDiff-k_h over DDIM: `skip` = k in 1 .. 3, `ahead` = h in 1 .. k.  Raises ValueError for others.

    No order was found stated: what is claimed is that of the solver it runs on.
    """
    k = checks.integer("skip", skip, 1, 3)
    h = checks.integer("ahead", ahead, 1, k)
    suffix = "1" if k == 1 else f"{k}-{h}"
    ramp, last = (EULER, _two_step(k + 1, h)), (EULER, _two_step(k + 1 - h, h))
    sequence = Springboards(ramp, last, k, h)
    return Solver(
        name=f"pfdiff-{suffix}",
        form=noise_in_rho,
        sequence=sequence,
        claimed=1,
        source=f"{RELEASE}, ddim-main/functions/denoising_PFDiff_{suffix.replace('-', '_')}.py, eta = 0",
        paper=PAPER,
        parameters=sequence.way,
    )


LISTED: tuple[Callable[..., Solver], ...] = tuple(
    partial(pfdiff, k, h) for k in (1, 2, 3) for h in range(1, k + 1)
)
"""Constructors of the solvers that have a name of their own."""
