"""ER-SDE-Solver (arXiv:2309.06169): Taylor methods for the extended reverse SDE of a noise scale, as data.

One evaluation per step; D is replaced by a polynomial in rho through the latest evaluations, and the schedule
alone decides between the release's VE and VP functions.  The released formulas differ from Adams-Bashforth in
two ways, which are told apart here: their integrals are left Riemann sums, and order 3 takes a backward
difference for the slope at the step's start.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any

import sympy
from sympy import Integer

from ..common import checks
from ..common.messages import shown
from ..common.ranges import NonNegative, Range
from ..forms.extended import ByParts, Moments, exact, extended_reverse_sde
from ..forms.noise_scale import ODE, REVERSE_SDE, SDE_5, NoiseScale, traced
from ..numerics.quadrature import LeftRiemann
from ..solver import Ramp, Solver
from ..tableaux.tableau import N, P, Tableau, adams, omega, phi

PAPER = "ER-SDE-Solver (Cui et al. 2025), arXiv:2309.06169"
Scale = NoiseScale | Callable[[Any], Any]
"""A noise scale, or a Python function of rho that `noise_scale.traced` can write down."""
POINTS, CLIP = 100, 1e-6
"""The release's number of quadrature points, and what it takes for no variance."""


def _difference(values: Sequence[Any], nodes: Sequence[Any]) -> Any:
    """The divided difference of all values."""
    if len(values) == 1:
        return values[0]
    change = _difference(values[:-1], nodes[:-1]) - _difference(values[1:], nodes[1:])
    return change / (nodes[0] - nodes[-1])


def taylor(order: int) -> Tableau:
    """sum_k phi_k k! D[rho_n, .., rho_(n-k)]: Taylor's formula with divided differences for derivatives.

    Up to order 2 this is Adams-Bashforth.  From order 3 on the slope is off by h omega_1 D''/2, a local error
    O(h^3).  er_sde_solver.py, ve_3_order_taylor and vp_3_order_taylor.
    """
    values = [N(0), *(P(j) for j in range(1, order))]
    nodes = [Integer(0), *(-omega(j) for j in range(1, order))]
    derivatives = [sympy.factorial(k) * _difference(values[: k + 1], nodes[: k + 1]) for k in range(order)]
    return Tableau((), sum((phi(k, 1) * d for k, d in enumerate(derivatives, 1)), Integer(0)))


def er_sde(order: int, scale: Scale = SDE_5) -> Solver:
    """ER-SDE-Solver of any order: D's interpolation polynomial in rho, integrated exactly (Adams-Bashforth).

    Raises ValueError for an order outside 1 .. 8.
    """
    order = checks.integer("order", order, 1, 8)
    # The same formula up to order 2, but Newton's form has a limit where a node is at rho = infinity.
    ramp = tuple(taylor(k) if k <= 2 else adams(k) for k in range(1, order + 1))
    if order in (2, 3):
        source = f"QinpengCui/ER-SDE-Solver, vp_{order}_order_taylor, with exact integrals"
        return _solver(scale, order, "-corrected", ramp, source + (" and slope" if order == 3 else ""))
    source = "QinpengCui/ER-SDE-Solver, vp_1_order" if order == 1 else "Adams-Bashforth, not released"
    return _solver(scale, order, "", ramp, source)


def uncorrected(order: int, scale: Scale = SDE_5) -> Solver:
    """The release's formula and slope with exact integrals, from order 3 on, where the slope matters.

    Raises ValueError for an order outside 3 .. 8.
    """
    order = checks.integer("order", order, 3, 8)
    ramp = tuple(taylor(k) for k in range(1, order + 1))
    source = "QinpengCui/ER-SDE-Solver, vp_3_order_taylor, with exact integrals"
    return _solver(scale, order, "-exact-integrals", ramp, source + ("" if order == 3 else ", continued"))


def released(
    order: int,
    scale: Scale = SDE_5,
    *,
    points: Annotated[int, Range(least=1)] = POINTS,
    clip: NonNegative = CLIP,
) -> Solver:
    """ER-SDE-Solver as released: left Riemann sums, and no noise where its variance is below clip.

    points: of the sums, 100 in the release.  clip: absolute, on the variance of x/alpha.
    Raises ValueError for an order outside 1 .. 3, fewer than one point or a negative clip.
    """
    order = checks.integer("order", order, 1, 3)
    checks.number("clip", clip, least=0)
    ramp = tuple(taylor(k) for k in range(1, order + 1))
    function = "ve_1_order, vp_1_order" if order == 1 else f"ve_{order}_order_taylor, vp_{order}_order_taylor"
    source = f"QinpengCui/ER-SDE-Solver, er_sde_solver.py, {function}"
    suffix = "-released" if points == POINTS else f"-released-{points}"
    return _solver(scale, order, suffix, ramp, source, ByParts(LeftRiemann(points)), clip)


def _solver(
    scale: Scale,
    order: int,
    suffix: str,
    ramp: tuple[Tableau, ...],
    source: str,
    moments: Moments = exact,
    clip: float = 0.0,
) -> Solver:
    known = traced(scale) if callable(scale) else scale
    if not isinstance(known, NoiseScale):
        raise TypeError(
            f"scale must be a NoiseScale (see noise_scale.NOISE_SCALES) or a function, got {shown(scale)}"
        )

    whole = partial(extended_reverse_sde, scale=known)
    approximate = moments is not exact or clip > 0
    form = partial(whole, moments=moments, clip=clip) if approximate else whole
    tag = "" if known == SDE_5 else f"-{known.name}"
    name, noisy = f"er-sde{tag}-{order}{suffix}", not known.deterministic
    sde = whole if noisy and approximate else None
    return Solver(
        name=name, form=form, sequence=Ramp(ramp), claimed=order, source=source, paper=PAPER, sde=sde
    )


LISTED: tuple[Callable[..., Solver], ...] = (
    partial(er_sde, 1, ODE),
    *(partial(build, order, ODE) for order in (2, 3) for build in (released, er_sde)),
    partial(uncorrected, 3, ODE),
    partial(er_sde, 4, ODE),
    *(partial(build, order) for order in (1, 2, 3) for build in (released, er_sde)),
    partial(uncorrected, 3),
    *(partial(er_sde, order, REVERSE_SDE) for order in (1, 2)),
)
"""What is listed by name: the probability flow, the release's default, whose scale is open, and the plain
reverse SDE (DDPM).
"""
