"""UniPC (arXiv:2302.04867): predictor UniP-p, corrector UniC-p and P(EC)^k, as data.

With nodes theta in units of the step (0 for N(0), -omega(j) for P(j), 1 for the new evaluation), UniP-p
integrates the polynomial through its p nodes and UniC-p that through p + 1: exponential Adams-Bashforth and
Adams-Moulton, of orders p and p + 1.  The release solves Vandermonde systems for them, scaled by a function
B(h) that cancels; B is seen only where the release puts the solution's limit 1/2 for a system of one unknown,
the predictor of order 2 and the corrector of order 1, whose weight becomes B(h)/(2 h) in place of phi_2:

| variant        | B(h)       | B(h)/(2 h) | systems                                                        |
|----------------|------------|------------|----------------------------------------------------------------|
| bh1            | z          | 1/2        | solved from p = 3 (predictor), p = 2 (corrector)               |
| bh2            | e^z - 1    | phi_1/2    | the same                                                       |
| vary-released  | none       | -          | all solved, but the corrector's solution is misread from p = 2 |
| vary-corrected | none       | -          | all solved: exponential Adams                                  |

The corrected state is not evaluated: N(0) and the history hold evaluations at predicted states (PEC).
"""

from __future__ import annotations

import math
from functools import cache, partial
from typing import Annotated, Any, Literal, get_args

from sympy import Expr, Integer, Rational, factorial

from ..common import checks
from ..common.choices import Interpolated
from ..common.ranges import Range
from ..forms.form import FormOf, data_in_lambda, noise_in_lambda
from ..solver import FinalPolicy, Ramp, Solver
from ..tableaux.tableau import MAX_STAGES, N, P, Stage, Tableau, interpolate, lagrange, omega, phi, phi1

Variant = Literal["bh1", "bh2", "vary-released", "vary-corrected"]

PAPER = "UniPC (Zhao et al. 2023), arXiv:2302.04867"
VARIANTS: tuple[Variant, ...] = get_args(Variant)
FORMS: dict[str, FormOf] = {"data": data_in_lambda, "noise": noise_in_lambda}
HALVES: dict[str, Expr] = {"bh1": Rational(1, 2), "bh2": phi1 / 2}
"""B(h)/(2 h): the weight of the only difference, where the release does not solve for it."""
SOURCES: dict[str, str] = {
    "bh1": "wl-zhao/UniPC, multistep_uni_pc_bh_update",
    "bh2": "wl-zhao/UniPC, multistep_uni_pc_bh_update",
    "vary-released": "wl-zhao/UniPC, multistep_uni_pc_vary_update",
    "vary-corrected": "wl-zhao/UniPC, multistep_uni_pc_vary_update, its corrector's solution read in full",
}
MAX_ORDER = 8
FINAL = FinalPolicy(below=math.inf, source="wl-zhao/UniPC, uni_pc.py, sample: lower_order_final=True")
"""At any number of steps; so does huggingface/diffusers, UniPCMultistepScheduler."""


def predictor(order: int, variant: Variant = "bh2") -> Expr:
    """UniP-p: through N(0) and P(1) .. P(p - 1).  wl-zhao/UniPC, multistep_uni_pc_{bh,vary}_update."""
    if order == 2 and variant in HALVES:
        return phi1 * N(0) + HALVES[variant] * (N(0) - P(1)) / omega(1)
    return interpolate(_history(order))


def corrector(order: int, variant: Variant = "bh2", stage: int = 1) -> Expr:
    """UniC-p: through N(0), P(1) .. P(p - 1) and the evaluation of a stage at abscissa 1."""
    if order == 1 and variant in HALVES:
        return phi1 * N(0) + HALVES[variant] * (N(stage) - N(0))
    if variant == "vary-released":
        return _misread_corrector(order, stage)
    return interpolate(_history(order) | {Integer(1): N(stage)})


def _history(order: int) -> dict[Any, Any]:
    return {Integer(0): N(0)} | {-omega(j): P(j) for j in range(1, order)}


def inverse(nodes: list[Expr]) -> list[list[Expr]]:
    """The inverse of C with C[m][k] = r_m^k/(k + 1)!, which takes differences to scaled derivatives.

    Row k holds (k + 1)! [theta^k] l_m(theta), l_m the Lagrange polynomials of the nodes: with D_m = (N at r_m
    - N at 0)/r_m, row k times D is h^(k+1) N^(k+1) up to the error of the interpolation.
    """
    polynomials = lagrange(tuple(nodes))
    return [[factorial(k + 1) * top[k] / bottom for top, bottom in polynomials] for k in range(len(nodes))]


def _misread_corrector(order: int, stage: int) -> Expr:
    """The corrector of "vary_coeff" as released: with K = p differences, the last of them the new one, and A
    the inverse of C, it takes

        sum_{k < K - 1} phi_{k+2} sum_{m < K - 1} A[k][m] D_m  +  phi_{K+1} A[K - 2][K - 1] D_{K-1}

    in place of sum_k phi_{k+2} sum_m A[k][m] D_m: the new difference enters once, with the last row's weight
    and the last-but-one row's entry.  wl-zhao/UniPC, multistep_uni_pc_vary_update (its issue 10).
    """
    a = inverse([-omega(j) for j in range(1, order)] + [Integer(1)])
    total = phi1 * N(0) + phi(order + 1, 1) * a[max(order - 2, 0)][-1] * (N(stage) - N(0))
    for k in range(order - 1):
        total += phi(k + 2, 1) * sum(a[k][j - 1] * (N(0) - P(j)) / omega(j) for j in range(1, order))
    return total


@cache
def tableau(order: int, variant: Variant, corrections: int) -> Tableau:
    """One step of order p: predict, then evaluate and correct as often as asked, carrying the last value."""
    rows = [predictor(order, variant)] + [corrector(order, variant, i) for i in range(1, corrections + 1)]
    stages = tuple(Stage(Integer(1), row) for row in rows[:-1])
    return Tableau(stages, rows[-1], carry=corrections or None)


def unipc(
    order: int,
    variant: Variant = "bh2",
    prediction: Interpolated = "data",
    *,
    corrections: Annotated[int, Range(least=0, most=MAX_STAGES - 1)] = 1,
) -> Solver:
    """UniPC-p in data or noise prediction: orders 1 .. p at the start, down again at the end (`FINAL`),
    no corrector at the last step.

    corrections: how often a step evaluates and corrects, one evaluation each (the release: 1); 0 leaves
    UniP-p.  NFE of n steps: 1 + k (n - 1) with k >= 1 corrections, n with none.  Claimed: p + 1, and p for
    UniP-p (Theorem 3.1, Corollary 3.2).  Raises ValueError for another order, variant, prediction or number.
    """
    order = checks.integer("order", order, 1, MAX_ORDER)
    corrections = checks.integer("corrections", corrections, 0, MAX_STAGES - 1)
    checks.one_of("variant", variant, VARIANTS)
    checks.one_of("prediction", prediction, FORMS)
    orders = range(1, order + 1)
    ramp = tuple(tableau(k, variant, corrections) for k in orders)
    last = tuple(tableau(k, variant, 0) for k in orders) if corrections else ()
    return Solver(
        name=_name(order, variant, prediction, corrections),
        form=FORMS[prediction],
        sequence=Ramp(ramp, last),
        claimed=order + (corrections > 0),
        source=SOURCES[variant],
        paper=PAPER,
        final=FINAL,
    )


def _name(order: int, variant: Variant, prediction: Interpolated, corrections: int) -> str:
    # At order 1 the release reads its one unknown rightly, and a predictor is never misread.
    kind = "vary" if variant not in HALVES and (order == 1 or corrections == 0) else variant
    return (
        f"{'unipc' if corrections else 'unip'}-{order}-{kind}"
        + ("-noise" if prediction == "noise" else "")
        + (f"-pec{corrections}" if corrections > 1 else "")
    )


LISTED = (
    *(
        partial(unipc, order, variant)
        for order in (1, 2, 3)
        for variant in VARIANTS
        if order > 1 or variant != "vary-released"
    ),
    *(partial(unipc, order, "bh2", "noise") for order in (1, 2, 3)),
    *(partial(unipc, order, "bh2") for order in (4, 5)),
    partial(unipc, 2, "bh1", corrections=0),
    partial(unipc, 3, "bh2", corrections=0),
)
"""Constructors of the solvers that have a name of their own."""
