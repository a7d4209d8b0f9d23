"""What PFDiff and RX-DPM claim, whose steps span several intervals of the grid."""

from __future__ import annotations

from semilinear.analysis.orders.solver_proof import prove_solver
from semilinear.integrators.solvers import extrapolated, make, pfdiff
from sympy import Expr, Integer

from ..claim import Claim, Decision, proof
from ..comparison import PROBLEMS, EqualNfe, pairs
from ..orders import orders

NFE = (4, 6, 8, 10, 20)
"""Evaluations of PFDiff's scripts, but for 15, which RX-DPM's two a step do not divide."""
VARIANTS = tuple(f"pfdiff-{v}" for v in ("1", "2-1", "2-2", "3-1", "3-2", "3-3"))


def _slope_error(name: str) -> Expr:
    """The coefficient of h^2 D N in the local error on equal steps; 0 of a method of higher order."""
    terms = prove_solver(make(name)).error_on_equal_steps
    return sum((t.coefficient for t in terms if (t.differential, t.order) == ("D N", 2)), Integer(0))


def smaller_than_ddim() -> Decision:
    """The local errors of all variants against DDIM's, in steps of one evaluation each."""
    found, known = {name: _slope_error(name) for name in VARIANTS}, _slope_error("ddim")
    text = ", ".join(f"{name} {value}" for name, value in found.items())
    holds = all(abs(value) < abs(known) for value in found.values())
    return Decision("proved" if holds else "refuted", f"of h^2 D N: ddim {known}, {text}")


CLAIMS = (
    Claim(
        "pfdiff-corrects-first-order-errors",
        pfdiff.PAPER,
        "Abstract",
        "At equal evaluations PFDiff's error is smaller than that of the solver it runs on (DDIM)",
        proof(smaller_than_ddim),
        "proved",
        "seen at its springboards it is N + w (N - P), whose error is w - 1/2 of h^2 N'; with the "
        "springboard in the middle (PFDiff-1, PFDiff-3_2) it is second order",
        "in the limit of short steps, equal in rho",
    ),
    Claim(
        "pfdiff-beats-ddim",
        pfdiff.PAPER,
        "Abstract; Sec. 4 (as reported)",
        "At few evaluations, too, PFDiff-1 is more accurate than DDIM",
        EqualNfe(pairs("pfdiff-1", "ddim", "t", "t-quadratic"), NFE, PROBLEMS),
        "conditional",
        "at 4 evaluations a springboard extrapolates over most of the run",
        quick=False,
        condition="on rotated-product-2d and digits-0.2, from 8 evaluations",
    ),
    Claim(
        "rx-dpm-raises-the-order",
        extrapolated.PAPER,
        "Abstract; Sec. 3 (as reported)",
        "Extrapolated by the coefficients of the grid, Euler's method and DDIM are second order on any grid",
        orders("rx-euler-2", "rx-euler-3"),
        "proved",
        "two intervals are the Runge-Kutta method of order 2 whose stage is the grid's time",
    ),
    Claim(
        "rx-dpm-beats-ddim",
        extrapolated.PAPER,
        "Abstract; Sec. 4 (as reported)",
        "At equal evaluations RX-Euler of two intervals is more accurate than Euler's method (DDIM)",
        EqualNfe(pairs("rx-euler-2", "ddim", "t", "karras"), NFE, PROBLEMS),
        "conditional",
        "its steps are twice as long, and at few evaluations the one over both intervals is far off",
        quick=False,
        condition="on rotated-product-2d, from 6 evaluations",
    ),
)
