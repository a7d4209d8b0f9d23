"""k-diffusion's samplers, EDM's churn, DDIM's eta: solvers of the probability flow with noise between steps.

Ancestral sampling goes down to rho_down < rho_next and back up by fresh noise; churn goes up first and down
from there.  Both are a rule for the two times between which a step's formula runs (`Solver.noising`), so both
can be put on any solver that carries no evaluation over; k-diffusion puts them on three.  The exact flow and
the added noise each take marginals to marginals, so that those of the samples converge with the order of the
flow's solver, where that is one-step, which is what is claimed here (S_noise other than 1 leaves a bias).
k-diffusion's variables are x/alpha and rho:

| crowsonkb/k-diffusion           | here                                                                    |
|---------------------------------|-------------------------------------------------------------------------|
| sample_euler                    | ddim; churned: euler-churn                                              |
| sample_heun                     | edm-heun; churned: edm-heun-churn                                       |
| sample_dpm_2                    | dpm-solver-2 (its differences of rho are the exponential weights)       |
| sample_lms, order k             | deis-rhoab(k - 1): Adams-Bashforth in rho                               |
| sample_euler_ancestral          | euler-ancestral, which is DDIM with eta: ddim-eta, ddpm                 |
| sample_dpm_2_ancestral          | dpm-2-ancestral                                                         |
| sample_dpmpp_2s_ancestral       | dpm++-2s-ancestral                                                      |
| sample_dpmpp_2m                 | dpm-solver++-2m                                                         |
| sample_dpmpp_sde, eta = 1       | sde-dpm-solver++-2s                                                     |
| sample_dpmpp_2m_sde             | stochastic.k_diffusion(2, eta=...), listed as k-diffusion-2m-sde        |
| sample_dpmpp_3m_sde             | stochastic.k_diffusion(3, eta=...): half the second difference          |

| comfyanonymous/ComfyUI          | here                                                                    |
|---------------------------------|-------------------------------------------------------------------------|
| sample_euler_ancestral_RF       | euler-ancestral-rf                                                      |
| sample_dpmpp_2s_ancestral_RF    | dpm++-2s-ancestral-rf                                                   |
| sample_res_multistep_ancestral  | res-2m-ancestral                                                        |
| sample_gradient_estimation      | gradient-estimation                                                     |

What else ComfyUI has with noise stands in `comfyui.py`.

At rho = 0 all but LMS, which keeps its full order, take an Euler step: those named here by default (`FINAL`),
DPM-Solver's with final="last", or to the last rho > 0 with denoise=True.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated

from sympy import Symbol

from ..common import checks
from ..common.ranges import Range
from ..diffusion.schedule import Formulas, Schedule
from ..forms.form import noise_in_rho
from ..forms.whole import velocity_in_time
from ..numerics.arithmetic import Value, of, squared, uniform
from ..solver import FinalPolicy, Noising, Ramp, Repeat, Solver, StepContext
from ..tableaux.tableau import N, P, Stage, StepRatio, Tableau, phi, phi1, phi2
from . import deis, dpm_solver, edm, res

DDIM = "DDIM (Song et al. 2021), arXiv:2010.02502"
GRADIENT_ESTIMATION = "Gradient estimation (Permenter & Yuan 2024), arXiv:2306.04848"
KD = "k-diffusion (Crowson et al. 2022)"
Eta = Annotated[Value, Range(least=0, most=1)]
AtLeast0 = Annotated[Value, Range(least=0)]

SOURCE = "crowsonkb/k-diffusion"
COMFY = "comfyanonymous/ComfyUI"
FINAL = FinalPolicy(at_zero="last", source=f"{SOURCE}, sampling.py: an Euler step where sigmas[i + 1] == 0")


@dataclass(frozen=True)
class Ancestral:
    """Down to rho_down^2 = rho_1^2 (1 - eta^2 (1 - rho_1^2/rho_0^2)), then up to rho_1 by fresh noise.

    eta = 1 is the exact reverse kernel for a known x_0 (DDPM), eta = 0 the probability flow.
    Song et al. 2021, eq. 16, divided by alpha; crowsonkb/k-diffusion, get_ancestral_step (it clips eta > 1).
    """

    eta: Value = 1

    def __post_init__(self) -> None:
        checks.number("eta", self.eta, least=0, most=1)

    def __call__(
        self, schedule: Schedule, t0: Value, t1: Value, index: int, count: int
    ) -> tuple[Value, Value]:
        """The times between which the step's formula runs."""
        f, eta = schedule.formulas, of(t0).number(self.eta)
        low = f.rho(t1)
        if eta == 0 or uniform(low == 0):
            return t0, t1
        down = f.t_of_rho(self.rho_down(f, t0, t1, eta))
        return t0, down if uniform(f.rho(down) < low) else t1  # the noise of a tiny eta is below rounding

    def rho_down(self, f: Formulas, t0: Value, t1: Value, eta: Value) -> Value:
        """Where the step's formula ends; 0 < eta, rho_1."""
        low, ratio = f.rho(t1), f.rho(t1) / f.rho(t0)
        return low * of(t0).sqrt((1 - eta) * (1 + eta) + squared(eta * ratio))


@dataclass(frozen=True)
class RectifiedAncestral(Ancestral):
    """For rectified flow: down to s_1 (1 - eta (1 - s_1/s_0)), s = sigma/(alpha + sigma), then up to s_1 by
    fresh noise.

    eta = 1 goes down to s_1^2/s_0; no eta makes it the reverse kernel for a known x_0.
    comfyanonymous/ComfyUI, sample_euler_ancestral_RF; huggingface/diffusers, LTXEulerAncestralRFScheduler.
    """

    def rho_down(self, f: Formulas, t0: Value, t1: Value, eta: Value) -> Value:
        """Where the step's formula ends; 0 < eta, s_1."""
        high, low = (f.sigma(t) / (f.alpha(t) + f.sigma(t)) for t in (t0, t1))
        s = low * (1 - eta * (high - low) / high)
        return s / (1 - s)


@dataclass(frozen=True)
class Churn:
    """Up to rho_hat = (1 + gamma) rho_0, gamma = min(S_churn/N, sqrt 2 - 1) where S_tmin <= rho_0 <= S_tmax.

    Karras et al. 2022, Alg. 2.  Raises ValueError where rho_hat lies outside the schedule.
    """

    s_churn: Value
    s_tmin: Value = 0
    s_tmax: Value = math.inf

    def __post_init__(self) -> None:
        checks.number("s_churn", self.s_churn, least=0)
        checks.number("s_tmin", self.s_tmin, least=0)
        if self.s_tmax != math.inf:
            checks.number("s_tmax", self.s_tmax, least=0)

    def __call__(
        self, schedule: Schedule, t0: Value, t1: Value, index: int, count: int
    ) -> tuple[Value, Value]:
        """The times between which the step's formula runs."""
        f, xp = schedule.formulas, of(t0)
        rho = f.rho(t0)
        gamma = min(xp.number(self.s_churn) / count, xp.sqrt(xp.number(2)) - 1)
        if gamma == 0 or not uniform((rho >= xp.number(self.s_tmin)) & (rho <= xp.number(self.s_tmax))):
            return t0, t1
        start = f.t_of_rho(rho * (1 + gamma))
        schedule.check_time(start, "the time that S_churn goes up to")
        return start, t1


def ancestral(
    solver: Solver, name: str, eta: Value = 1, s_noise: Value = 1, *, rectified: bool = False
) -> Solver:
    """A solver of the flow with ancestral noise; with eta = 0 it is the solver itself.

    eta: in [0, 1].  s_noise: multiplies the noise, >= 0; the law is right for 1 alone.  rectified: by
    `RectifiedAncestral`.  A multistep solver takes its differences across the noise, so that its law is first
    order, unless it is told (`res_2m_ancestral`).  Raises ValueError for a solver that adds noise itself, or
    carries an evaluation over to the next step.
    """
    checks.flag("rectified", rectified)
    noising: Noising = RectifiedAncestral(eta) if rectified else Ancestral(eta)
    return _with_noise(solver, name, noising if eta else None, s_noise)


def churned(
    solver: Solver,
    name: str,
    s_churn: Value = 40,
    s_tmin: Value = 0.05,
    s_tmax: Value = 50,
    s_noise: Value = 1.003,
) -> Solver:
    """A solver of the flow with EDM's churn; with s_churn = 0 it is the solver itself.

    s_churn, s_tmin, s_tmax: as in `Churn`, in units of rho; s_noise multiplies the noise.  EDM's values for
    ImageNet-64 when absent.  Raises ValueError as `ancestral` does.
    """
    noising = Churn(s_churn, s_tmin, s_tmax)
    return _with_noise(solver, name, noising if s_churn else None, s_noise)


def _with_noise(solver: Solver, name: str, noising: Noising | None, s_noise: Value) -> Solver:
    if solver.stochastic:
        raise ValueError(f"solver must be one of the probability flow, got {solver.name}, which adds noise")
    if any(t.carry is not None for t in solver.sequence.tableaux):
        raise ValueError(
            f"solver must evaluate every step's start, got {solver.name}, which carries an evaluation over"
        )
    return replace(
        solver,
        name=name,
        noising=noising,
        noise_scale=checks.number("s_noise", s_noise, least=0),
    )


def euler_ancestral(eta: Eta = 1, s_noise: AtLeast0 = 1) -> Solver:
    """Euler steps with ancestral noise, in the form that starts at alpha = 0 and ends at sigma = 0."""
    euler = replace(
        dpm_solver.singlestep(1, "dpm-solver++"), source=f"{SOURCE}, sample_euler_ancestral", paper=KD
    )
    return ancestral(euler, "euler-ancestral", eta, s_noise)


def ddim_eta(eta: Eta = 0.5) -> Solver:
    """DDIM with stochasticity eta in [0, 1]: the same steps as `euler_ancestral`."""
    return replace(euler_ancestral(eta), name="ddim-eta", source="eqs. 12 and 16", paper=DDIM)


def ddpm() -> Solver:
    """DDPM's ancestral sampling with the variance of the reverse kernel given x_0 (DDIM's eta = 1)."""
    paper = "DDPM (Ho et al. 2020), arXiv:2006.11239"
    source = "the kernel with variance beta tilde: DDIM, eq. 16 with eta = 1"
    return replace(euler_ancestral(), name="ddpm", source=source, paper=paper)


def dpm_2_ancestral(eta: Eta = 1, s_noise: AtLeast0 = 1) -> Solver:
    """DPM-Solver-2 with ancestral noise: its stage halves the step to rho_down in lambda."""
    source = f"{SOURCE}, sample_dpm_2_ancestral"
    base = replace(dpm_solver.singlestep(2), source=source, paper=KD, final=FINAL)
    return ancestral(base, "dpm-2-ancestral", eta, s_noise)


def dpm_2_ancestral_rf(eta: Eta = 1, s_noise: AtLeast0 = 1) -> Solver:
    """The midpoint rule in the time of a rectified flow with its ancestral noise: the middle is the geometric
    mean of the step's two times, which tends to their arithmetic mean as steps shrink.
    """
    midpoint = Tableau((Stage(MIDDLE, MIDDLE * phi(1, MIDDLE) * N(0)),), phi1 * N(1))
    base = Solver(
        name="dpm-2-rf",
        form=velocity_in_time,
        sequence=Repeat(midpoint, deis.EULER),
        claimed=2,
        source=f"{COMFY}, sample_dpm_2_ancestral_RF",
        parameters=_geometric_mean,
        paper=KD,
        final=FINAL,
    )
    return ancestral(base, "dpm-2-ancestral-rf", eta, s_noise, rectified=True)


MIDDLE = Symbol("c")
"""Where the geometric mean of a step's times lies in it."""


def _geometric_mean(context: StepContext) -> dict[Symbol, Value]:
    step = context.step
    return {MIDDLE: (of(step.t0).sqrt(step.t0 * step.t1) - step.t0) / (step.t1 - step.t0)}


def dpmpp_2s_ancestral(eta: Eta = 1, s_noise: AtLeast0 = 1) -> Solver:
    """DPM-Solver++ 2S with ancestral noise."""
    base = dpm_solver.singlestep(2, "dpm-solver++")
    base = replace(base, source=f"{SOURCE}, sample_dpmpp_2s_ancestral", paper=KD, final=FINAL)
    return ancestral(base, "dpm++-2s-ancestral", eta, s_noise)


def euler_ancestral_rf(eta: Eta = 1, s_noise: AtLeast0 = 1) -> Solver:
    """Euler steps with the ancestral noise of rectified flow."""
    base = replace(
        dpm_solver.singlestep(1, "dpm-solver++"),
        source=f"{COMFY}, sample_euler_ancestral_RF; huggingface/diffusers, LTXEulerAncestralRFScheduler",
        paper=KD,
    )
    return ancestral(base, "euler-ancestral-rf", eta, s_noise, rectified=True)


def dpmpp_2s_ancestral_rf(eta: Eta = 1, s_noise: AtLeast0 = 1) -> Solver:
    """DPM-Solver++ 2S with the ancestral noise of rectified flow."""
    base = dpm_solver.singlestep(2, "dpm-solver++")
    base = replace(base, source=f"{COMFY}, sample_dpmpp_2s_ancestral_RF", paper=KD, final=FINAL)
    return ancestral(base, "dpm++-2s-ancestral-rf", eta, s_noise, rectified=True)


def dpmpp_2m_ancestral(eta: Eta = 1, s_noise: AtLeast0 = 1) -> Solver:
    """DPM-Solver++ 2M with ancestral noise, its past evaluation where it was made: first order, and nobody's
    release, beside `res_2m_ancestral`, which is second order (docs/mathematics.md, 7).
    """
    base = dpm_solver.multistep(2, "dpm-solver++")
    source = "no release: the rule of sample_dpmpp_2m after get_ancestral_step"
    base = replace(base, source=source, claimed=1, paper=KD, final=FINAL)
    return ancestral(base, "dpm++-2m-ancestral", eta, s_noise)


def res_2m_ancestral(eta: Eta = 1, s_noise: AtLeast0 = 1) -> Solver:
    """RES-2M with ancestral noise, as ComfyUI runs it: the past evaluation counts as lying as far back as the
    last step went down, not as far as it got with its noise.

    In data prediction that is right (docs/mathematics.md, 7): the mean of x_0's change across the noise is
    1 + eta^2 times its change along the flow, and so is the step down, (1 + eta^2) h + O(h^2).
    """
    second = Tableau((), phi1 * N(0) + phi2 * (N(0) - P(1)) / WENT_DOWN)
    base = replace(
        res.multistep(2),
        sequence=Ramp((deis.EULER, second)),
        parameters=_WentDown(Ancestral(eta)),
        source=f"{COMFY}, sample_res_multistep_ancestral",
    )
    return ancestral(base, "res-2m-ancestral", eta, s_noise)


WENT_DOWN = StepRatio("w1")
"""How far the last step went down, over this one."""


@dataclass(frozen=True)
class _WentDown:
    noising: Noising

    def __call__(self, context: StepContext) -> dict[Symbol, Value]:
        step, schedule, index = context.step, context.schedule, context.index - 1
        start, down = self.noising(schedule, context.past[0], step.t0, index, context.count)
        lam = schedule.formulas.lam
        return {WENT_DOWN: (lam(down) - lam(start)) / step.h}


def euler_churn(
    s_churn: AtLeast0 = 40, s_tmin: AtLeast0 = 0.05, s_tmax: AtLeast0 = 50, s_noise: AtLeast0 = 1.003
) -> Solver:
    """EDM's stochastic sampler with Euler steps."""
    base = replace(deis.rho_rk("1euler"), source=f"Alg. 2; {SOURCE}, sample_euler", paper=edm.PAPER)
    return churned(base, "euler-churn", s_churn, s_tmin, s_tmax, s_noise)


def heun_churn(
    s_churn: AtLeast0 = 40, s_tmin: AtLeast0 = 0.05, s_tmax: AtLeast0 = 50, s_noise: AtLeast0 = 1.003
) -> Solver:
    """EDM's stochastic sampler."""
    base = replace(edm.heun(), source=f"Alg. 2; {SOURCE}, sample_heun")
    return churned(base, "edm-heun-churn", s_churn, s_tmin, s_tmax, s_noise)


def dpm_2_churn(
    s_churn: AtLeast0 = 40, s_tmin: AtLeast0 = 0.05, s_tmax: AtLeast0 = 50, s_noise: AtLeast0 = 1.003
) -> Solver:
    """DPM-Solver-2 with EDM's churn."""
    base = replace(dpm_solver.singlestep(2), source=f"{SOURCE}, sample_dpm_2", paper=KD, final=FINAL)
    return churned(base, "dpm-2-churn", s_churn, s_tmin, s_tmax, s_noise)


def gradient_estimation(gamma: Annotated[Value, Range(least=1)] = 2) -> Solver:
    """Euler's step along gamma N_0 + (1 - gamma) P_1, the noise prediction corrected by its last change.

    gamma: >= 1; on equal steps 3/2 would be Adams-Bashforth's second order, every other value is first order.
    """
    gamma = checks.exact("gamma", gamma, least=1)
    corrected = Tableau((), phi1 * (gamma * N(0) + (1 - gamma) * P(1)))
    return Solver(
        name="gradient-estimation",
        form=noise_in_rho,
        sequence=Ramp((deis.EULER, corrected)),
        claimed=1,
        source="yuanchenyang/smalldiffusion, samples: gam",
        paper=GRADIENT_ESTIMATION,
    )


def lms(order: int = 4) -> Solver:
    """Linear multistep of order 1 .. 9: Adams-Bashforth with variable steps in rho, with lower orders at the
    start.
    """
    order = checks.integer("order", order, 1, 9)
    return replace(deis.rho_ab(order - 1), name=f"lms-{order}", source=f"{SOURCE}, sample_lms", paper=KD)


LISTED: tuple[Callable[..., Solver], ...] = (
    partial(lms, 4),
    gradient_estimation,
    euler_ancestral,
    ddim_eta,
    ddpm,
    dpm_2_ancestral,
    dpmpp_2s_ancestral,
    euler_ancestral_rf,
    dpm_2_ancestral_rf,
    dpmpp_2s_ancestral_rf,
    dpmpp_2m_ancestral,
    res_2m_ancestral,
    euler_churn,
    heun_churn,
    dpm_2_churn,
)
