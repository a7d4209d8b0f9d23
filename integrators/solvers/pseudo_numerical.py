"""PNDM (arXiv:2202.09778): DDIM's step with a classical method's combination of noise predictions, as data.

DDIM's transfer is Euler's step of d(x/alpha) = eps d rho, so that a "pseudo" method is the classical one in
rho with the nodes of another variable: weights are those of equal steps, and Runge-Kutta's inner stages lie
in the middle of t.  In units of the step both are off by O(h) in rho, so that the local error is O(h^3):
second order, however many evaluations are combined, on every smooth grid that is not uniform in rho.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sympy import Rational, Symbol

from ..forms.form import noise_in_rho
from ..numerics.arithmetic import Value
from ..solver import Ramp, Solver, StepContext
from ..tableaux.catalogue.butcher import BUTCHER
from ..tableaux.tableau import N, Stage, Tableau, phi, phi1
from .deis import EULER, equal_steps

PAPER = "PNDM (Liu et al. 2022), arXiv:2202.09778"
RELEASE = "luping-liu/PNDM, runner/method.py"
MIDDLE = Symbol("c")
"""Where the middle of a step in t lies in rho."""
TRAPEZOID = BUTCHER["trapezoid"]


def _started(*ramp: Tableau) -> Ramp:
    """A ramp whose last step, lowered all the way, is Euler's: a stage there would lie at the end."""
    return Ramp(ramp, (EULER, *ramp[1:]))


def _pseudo_runge_kutta() -> Tableau:
    half = MIDDLE * phi(1, MIDDLE)
    stages = (Stage(MIDDLE, half * N(0)), Stage(MIDDLE, half * N(1)), Stage(1, phi1 * N(2)))
    return Tableau(stages, phi1 * (N(0) + 2 * N(1) + 2 * N(2) + N(3)) * Rational(1, 6))


def _middle(context: StepContext) -> Mapping[Symbol, Value]:
    step = context.step
    return {MIDDLE: (step.form.tau((step.t0 + step.t1) / 2) - step.tau0) / step.h}


def f_pndm() -> Solver:
    """F-PNDM: three pseudo Runge-Kutta steps of four evaluations, then Adams-Bashforth weights of order 4.

    Second order is what the paper claims; the weights are those of order 4.
    """
    ramp = _started(*[_pseudo_runge_kutta()] * 3, equal_steps(4))
    source = f"Alg. 2; {RELEASE}, gen_order_4"
    return Solver(
        name="f-pndm",
        form=noise_in_rho,
        sequence=ramp,
        claimed=2,
        source=source,
        paper=PAPER,
        parameters=_middle,
    )


def s_pndm() -> Solver:
    """S-PNDM: a step of the improved Euler method, then Adams-Bashforth weights of order 2."""
    ramp = _started(TRAPEZOID, equal_steps(2))
    source = f"{RELEASE}, gen_order_2"
    return Solver(name="s-pndm", form=noise_in_rho, sequence=ramp, claimed=2, source=source, paper=PAPER)


def plms() -> Solver:
    """PLMS, Stable Diffusion's: the improved Euler method, then Adams-Bashforth weights of orders 2 to 4.

    Second order, too, is what the paper claims of such methods.
    """
    ramp = _started(TRAPEZOID, *(equal_steps(k) for k in (2, 3, 4)))
    source = "huggingface/diffusers, PNDMScheduler, skip_prk_steps=True"
    return Solver(name="plms", form=noise_in_rho, sequence=ramp, claimed=2, source=source, paper=PAPER)


LISTED: tuple[Callable[..., Solver], ...] = (s_pndm, f_pndm, plms)
"""Constructors of the solvers that have a name of their own."""
