"""Samplers that were written for user interfaces, of no paper's: Heun++ 2 and DPM++ 2M v2, as data.

Heun++ 2 (ComfyUI: heunpp2) takes Euler's step, and another of the grid's next step beyond its own end, and
combines the three slopes with weights sigma/(3 sigma_0) of the *whole run*.  Their sum is 1, but no moment is
that of a quadrature: with sigma well below sigma_0 the weights of both new slopes vanish and what is left is
Euler's step, at three evaluations.  Its last step but one has two slopes, its last is Euler's.

DPM++ 2M v2 (stable-diffusion.cpp: dpm++2mv2) is DPM-Solver++ 2M with the mean of two steps, hd = (h_0 + h)/2,
in place of the step h in the integral of e^lambda, and the larger over the smaller of them in place of h_0/h.
The transfer of the state keeps h: on steps that differ the weights no longer sum to what the transfer asks
for, so that even a constant x_0 is missed.  Where steps change by O(h) that is a local error O(h^2): first
order.  On equal steps it is 2M.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sympy import Symbol

from ..forms.form import data_in_lambda, noise_in_rho
from ..numerics.arithmetic import Value
from ..solver import Closed, FinalPolicy, Ramp, Solver, StepContext
from ..tableaux.tableau import N, P, Stage, StepRatio, Tableau, omega, phi, phi1
from .deis import EULER
from .dpm_solver import FIRST

HEUN_PP = "Heun++ 2 (Carzit/sd-webui-samplers-scheduler, 2023)"
TWO_M_V2 = "DPM++ 2M v2 (hallatore, AUTOMATIC1111/stable-diffusion-webui, discussion 8457, 2023)"
SECOND, THIRD = Symbol("w2"), Symbol("w3")
"""sigma at the end of the step, and of the next, over sigma at the start of the run."""
BEYOND = Symbol("c")
"""The end of the next step, in units of this one."""
SKEW = StepRatio("r")
"""The larger of this step and the last over the smaller, in lambda."""


def _of_run(context: StepContext) -> Mapping[Symbol, Value]:
    """rho at the two times ahead over rho at the start.

    Raises ValueError where the times of the run are not known.
    """
    if context.nodes is None:
        raise ValueError("weights are those of the whole run, whose times must be known: not adaptive")
    rho, nodes, i = context.schedule.formulas.rho, context.nodes, context.index
    first = rho(nodes[0])
    given = {SECOND: rho(nodes[i + 1]) / first}
    if BEYOND in context.tableau.parameters:
        step = context.step
        given |= {
            THIRD: rho(nodes[i + 2]) / first,
            BEYOND: (step.form.tau(nodes[i + 2]) - step.tau0) / step.h,
        }
    return given


def heun_pp_2() -> Solver:
    """Heun++ 2: three slopes a step, at its ends and at the next one's, with the weights of its place in the
    run; the last two steps have two slopes and one.

    ComfyUI's `s_churn` is not here (`k_diffusion.churned` is of solvers whose steps know their own ends).
    """
    w2, w3 = SECOND / 3, THIRD / 3
    three = Tableau(
        (Stage(1, phi1 * N(0)), Stage(BEYOND, phi1 * N(0) + (BEYOND - 1) * phi1 * N(1))),
        phi1 * ((1 - w2 - w3) * N(0) + w2 * N(1) + w3 * N(2)),
    )
    half = SECOND / 2
    two = Tableau((Stage(1, phi1 * N(0)),), phi1 * ((1 - half) * N(0) + half * N(1)))
    return Solver(
        name="heun++-2",
        form=noise_in_rho,
        sequence=Closed(three, (two, EULER)),
        claimed=2,
        source="comfyanonymous/ComfyUI, sample_heunpp2",
        paper=HEUN_PP,
        parameters=_of_run,
    )


def _skew(context: StepContext) -> Mapping[Symbol, Value]:
    if SKEW not in context.tableau.parameters:
        return {}
    lam = context.schedule.formulas.lam
    last = (lam(context.step.t0) - lam(context.past[0])) / context.step.h
    return {SKEW: max(last, 1 / last)}


def dpmpp_2m_v2() -> Solver:
    """DPM++ 2M v2: 2M with the mean of this step and the last in the integral, and their ratio above 1."""
    mean = (1 + omega(1)) / 2
    row = (1 + 1 / (2 * SKEW)) * N(0) - P(1) / (2 * SKEW)
    return Solver(
        name="dpm++-2m-v2",
        form=data_in_lambda,
        sequence=Ramp((FIRST, Tableau((), mean * phi(1, mean) * row))),
        claimed=2,
        source="leejet/stable-diffusion.cpp, denoiser.hpp, DPMPP2Mv2",
        paper=TWO_M_V2,
        parameters=_skew,
        final=FinalPolicy(
            at_zero="last", source="leejet/stable-diffusion.cpp: the ramp's first where sigma = 0"
        ),
    )


LISTED: tuple[Callable[..., Solver], ...] = (heun_pp_2, dpmpp_2m_v2)
"""Constructors of the solvers that have a name of their own."""
