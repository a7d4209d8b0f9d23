"""EDM's deterministic sampler (arXiv:2206.00364)."""

from __future__ import annotations

from ..forms.form import noise_in_rho
from ..solver import FinalPolicy, Repeat, Solver
from .deis import EULER, RUNGE_KUTTA

PAPER = "EDM (Karras et al. 2022), arXiv:2206.00364"
FINAL = FinalPolicy(at_zero="last", source="Alg. 1, if t_{i+1} != 0")


def heun() -> Solver:
    """EDM's Heun step: explicit trapezoidal rule for d(x/alpha)/d rho = eps.

    The last step is Euler's on a grid that ends at rho = 0.  Alg. 1 (S_churn = 0).
    """
    order, tableau = RUNGE_KUTTA["2heun"]
    sequence, source = Repeat(tableau, EULER), "Alg. 1, S_churn = 0"
    return Solver(
        name="edm-heun",
        form=noise_in_rho,
        sequence=sequence,
        claimed=order,
        source=source,
        paper=PAPER,
        final=FINAL,
    )


LISTED = (heun,)
"""Constructors of the solvers that have a name of their own."""
