"""RES, the refined exponential solver (arXiv:2308.02157), as its users run it: exponential Runge-Kutta 2S and
3S in data prediction, and the multistep 2M and 3M, which are the same rows with past evaluations for stages.

RES-2S and -3S are methods of Hochbruck & Ostermann 2005 (3S: eq. 5.8).  2M (ComfyUI's res_multistep) has the
weights phi_1 - b, b = phi_2/c_2 at c_2 = -omega(1): exponential Adams-Bashforth 2.  3M has those of 3S at
(c_2, c_3) = (-omega(1), -omega(2)): it uses phi_2 alone, where exponential Adams-Bashforth 3 uses phi_3 too,
and agrees with that only at z = 0, which is enough for order 3.

Both third-order rows need sum b_i c_i^2 = 2/3 phi_2, that is 3 (gamma c_2^2 + c_3^2) = 2 (gamma c_2 + c_3).
RES4LYF solves this with c_3^3 in place of c_3^2: right at its default c_3 = 1 alone.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from sympy import Expr, Integer, Rational

from ..common import checks
from ..common.messages import shown
from ..forms.form import data_in_lambda
from ..solver import FinalPolicy, Ramp, Repeat, Solver
from ..tableaux.catalogue import stiff
from ..tableaux.tableau import P, Tableau, adams, omega
from .dpm_solver import FIRST, Abscissa, second

PAPER = "RES (Zhang et al. 2023), arXiv:2308.02157"
LYF = "ClownsharkBatwing/RES4LYF, get_rk_methods_beta"
COMFY = "comfyanonymous/ComfyUI, res_multistep (eta = 0)"
FINAL = FinalPolicy(at_zero="last", source=f"{COMFY}: Euler where sigma_down == 0")
HALF, TWO_THIRDS, ONE = Rational(1, 2), Rational(2, 3), Integer(1)


def gamma(c2: Any, c3: Any, *, released: bool = False) -> Expr:
    """b_2/b_3 of the third-order row: Hochbruck & Ostermann's; released: RES4LYF's, calculate_gamma."""
    c2, c3 = checks.expression("c2", c2), checks.expression("c3", c3)
    return (3 * c3**3 - 2 * c3) / (c2 * (2 - 3 * c2)) if released else stiff.gamma(c2, c3)


def third(c2: Any = HALF, c3: Any = ONE, *, released: bool = False) -> Tableau:
    """RES-3S: Hochbruck & Ostermann 2005, eq. 5.8."""
    return stiff.third_by_ratio(c2, c3, gamma(c2, c3, released=released))


def multistep_third(*, released: bool = False) -> Tableau:
    """RES-3M: the output row of RES-3S at c_2 = -omega(1), c_3 = -omega(2)."""
    c2, c3 = -omega(1), -omega(2)
    return Tableau((), stiff.third_output(c2, c3, P(1), P(2), gamma(c2, c3, released=released)))


def singlestep(order: int, c2: Abscissa = HALF, c3: Abscissa = None, *, released: bool = False) -> Solver:
    """RES-2S (b_2 = phi_2/c_2: the "taylor" type of DPM-Solver++ 2S) and RES-3S, in data prediction.

    c2, c3: abscissae, numbers in (0, 1]; exact ones stay exact.  Order 3 (c3 = 1 when absent) needs c2 other
    than c3 and 2/3, and gamma c2 + c3 other than 0.  released: gamma as RES4LYF computes it, third order only
    where c3 = 1.
    Raises ValueError for another order, or abscissae for which the method does not exist.
    """
    order = checks.integer("order", order, 2, 3)
    checks.flag("released", released)
    checks.number("c2", c2, above=0, most=1)
    c3 = c3 if c3 is None else checks.number("c3", c3, above=0, most=1)
    if order == 2:
        if c3 is not None or released:
            raise ValueError(f"order 2 takes neither c3 nor released, got {shown(c3)} and {shown(released)}")
        tableau = second(c2, "taylor")
    else:
        c3 = ONE if c3 is None else c3
        g = None if c2 in (c3, TWO_THIRDS) else gamma(c2, c3, released=released)
        if g is None or g * c2 + c3 == 0:
            raise ValueError(f"c2 and c3 must be such that RES-3S has a solution, got {c2} and {c3}")
        tableau = third(c2, c3, released=released)
    name, source = f"res-{order}s" + "-released" * released, f"{LYF}, res_{order}s"
    return Solver(
        name=name,
        form=data_in_lambda,
        sequence=Repeat(tableau, FIRST),
        claimed=order,
        source=source,
        paper=PAPER,
    )


def non_monotonic(*, released: bool = True) -> Solver:
    """RES-3S at c = (0, 1, 1/2), where RES4LYF's gamma is 5/8 and the right one 1/4."""
    name = f"res-3s-non-monotonic-{'released' if released else 'corrected'}"
    source = f"{LYF}, res_3s_non-monotonic"
    return replace(singlestep(3, ONE, HALF, released=released), name=name, source=source)


def multistep(order: int, *, released: bool = True) -> Solver:
    """RES-2M and RES-3M in data prediction.

    2M starts with Euler (ComfyUI), 3M with three steps of RES-3S (RES4LYF, whose replacement of the method on
    steps h >= 1 is not followed).  released: gamma of 3M as RES4LYF computes it.
    """
    order = checks.integer("order", order, 2, 3)
    checks.flag("released", released)
    if order == 2:
        return Solver(
            name="res-2m",
            form=data_in_lambda,
            sequence=Ramp((FIRST, adams(2))),
            claimed=2,
            source=COMFY,
            paper=PAPER,
            final=FINAL,
        )
    ramp = (third(), third(), third(), multistep_third(released=released))
    name = "res-3m-released" if released else "res-3m-corrected"
    sequence = Ramp(ramp, (FIRST, *ramp[1:]))
    return Solver(
        name=name, form=data_in_lambda, sequence=sequence, claimed=3, source=f"{LYF}, res_3m", paper=PAPER
    )


LISTED = (
    *(partial(singlestep, order) for order in (2, 3)),
    partial(multistep, 2),
    *(partial(non_monotonic, released=released) for released in (True, False)),
    *(partial(multistep, 3, released=released) for released in (True, False)),
)
"""Constructors of the solvers that have a name of their own."""
