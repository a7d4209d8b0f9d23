"""EDM's deterministic sampler (arXiv:2206.00364)."""

from __future__ import annotations

from ..form import noise_in_rho
from ..solver import Repeat, Solver
from .deis import EULER, RUNGE_KUTTA

PAPER = "EDM (Karras et al. 2022), arXiv:2206.00364"


def heun() -> Solver:
    """EDM's Heun step: explicit trapezoidal rule for d(x/alpha)/d rho = eps.

    Compile with final="lower" on a grid that ends at rho = 0, where EDM takes an Euler step.  Alg. 1
    (S_churn = 0).
    """
    order, tableau = RUNGE_KUTTA["2heun"]
    return Solver("edm-heun", noise_in_rho, Repeat(tableau, EULER), order, "Alg. 1, S_churn = 0", paper=PAPER)


LISTED = (heun,)
"""Constructors of the solvers that have a name of their own."""
