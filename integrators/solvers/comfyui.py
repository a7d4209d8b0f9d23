"""Stochastic samplers as ComfyUI has them, where they are not those of their papers' releases, and its
extension's DPM++ 4M SDE.

ComfyUI's SEEDS, exponential Heun and SA-Solver are in data prediction, with eta = tau^2 (but in SA-Solver
tau); at sigma = 0 each ends with the denoised state.  alpha is 1, or 1 - sigma for rectified flow, by which
nothing changes but the schedule.

| comfyanonymous/ComfyUI, sampling.py             | here                                                    |
|-------------------------------------------------|---------------------------------------------------------|
| sample_seeds_2                                  | sde-dpm-solver++-2s: its stage on the step's own path   |
| sample_seeds_2, solver_type="phi_2"             | res-2s-sde                                              |
| sample_seeds_3                                  | sde-dpm-solver++-3s                                     |
| sample_exp_heun_2_x0                            | etdrk2                                                  |
| sample_exp_heun_2_x0_sde                        | exp-heun-2-x0-sde                                       |
| sample_sa_solver, sample_sa_solver_pece         | sa-solver-3-4-comfyui, to sigma > 0 also sa-solver-3-4  |
| sample_er_sde                                   | er-sde-3-comfyui: 200 points in sums, noise not clipped |

The paper's SEEDS are in noise prediction: `stochastic.seeds`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from sympy import Integer, Rational

from ..common import checks
from ..forms.form import FormOf
from ..forms.reverse import sde_data
from ..solver import Final, FinalPolicy, Ramp, Repeat, Solver
from ..tableaux.tableau import N, P, Tableau, omega, phi1, phi2, phi3
from . import dpm_solver, er_sde
from .stochastic import (
    MODES,
    SA_SOLVER,
    SEEDS,
    Eta,
    Level,
    Mode,
    at_noise_level,
    k_diffusion,
    level_of,
    predict_correct,
    sa_solver,
)

COMFY = "comfyanonymous/ComfyUI"
FINAL = FinalPolicy(
    at_zero="last", source=f"{COMFY}, sampling.py: the denoised state where sigmas[i + 1] == 0"
)
CLYBIUS = "DPM++ 4M SDE (Clybius, ComfyUI-Extra-Samplers, 2023)"
DATA: FormOf = sde_data()


def two_stages(name: str, c: Rational, eta: Eta, source: str) -> Solver:
    """The exponential Runge-Kutta method of order 2 with b_2 = phi_2/c under the reverse SDE, its stage on
    the step's own path.
    """
    tableau = replace(dpm_solver.second(c, "taylor"), stage_noise=True)
    made = Solver(
        name=name,
        form=DATA,
        sequence=Repeat(tableau, dpm_solver.FIRST),
        claimed=2,
        source=f"{COMFY}, {source}",
        paper=SEEDS,
        final=FINAL,
    )
    return at_noise_level(made, "data", level_of(eta))


def res_2s_sde(eta: Eta = 1) -> Solver:
    """SEEDS-2 in data prediction with phi_2: RES-2S under the reverse SDE of level eta = tau^2 >= 0."""
    return two_stages("res-2s-sde", Rational(1, 2), eta, 'sample_seeds_2, solver_type="phi_2"')


def exponential_heun(eta: Eta = 1) -> Solver:
    """Exponential Heun in data prediction: Cox & Matthews' ETDRK2 under the reverse SDE of level eta = tau^2
    >= 0; the noise of its stage is that of the step.
    """
    return two_stages("exp-heun-2-x0-sde", Integer(1), eta, "sample_exp_heun_2_x0_sde")


def fourth() -> Tableau:
    """4M: two combinations of three backward differences for h N' and half of h^2 N''.

    The weight of the second difference in D1 has r_2 where r_0 is due, so that D1 is off by O(h^3) on steps
    that are not equal.
    """
    r0, r1, r2 = omega(1), omega(2) - omega(1), omega(3) - omega(2)
    d0, d1, d2 = (N(0) - P(1)) / r0, (P(1) - P(2)) / r1, (P(2) - P(3)) / r2
    third = (d0 - d1) * r2 / (r2 + r1) - (d1 - d2) * r1 / (r0 + r1)
    both = (r2 + r1) * (r0 + r1)
    slope = d0 + (d0 - d1) * r2 / (r2 + r1) + third * r2 / both
    return Tableau((), phi1 * N(0) + phi2 * slope + phi3 * ((d0 - d1) / (r2 + r1) + third / both))


def sde_4m(eta: Eta = 1) -> Solver:
    """DPM++ 4M SDE without momentum: k-diffusion's 3M SDE, then four evaluations.

    eta: tau^2 >= 0.  With momentum (0 is the default of its function, 0.5 that of its node) a step would add
    all evaluations before it.
    """
    third = k_diffusion(3, eta=eta)
    assert isinstance(third.sequence, Ramp)
    return replace(
        third,
        name="dpm++-4m-sde",
        sequence=Ramp((*third.sequence.ramp, fourth())),
        claimed=4,
        source="Clybius/ComfyUI-Extra-Samplers, sample_clyb_4m_sde_momentumized, momentum = 0",
        paper=CLYBIUS,
        final=FINAL,
    )


@dataclass(frozen=True)
class Descent(Ramp):
    """SA-Solver's ramp, which goes down at the end as ComfyUI's does: so that the last step but one is first
    order, with correctors of no more points than steps remain.
    """

    mode: Mode = "PEC"

    def __str__(self) -> str:
        return f"{super().__str__()}; where lowered, so that the last step but one is first order"

    def at(self, budget: int, final: Final) -> tuple[Tableau, ...]:
        """At full order the ramp's; else orders and points are bounded by the steps that are left."""
        if final == "full":
            return super().at(budget, final)
        n, steps = self.steps(budget), list[Tableau]()
        for i in range(n - 1):
            left = n - 1 - i
            corrector = 0 if left == 1 and self.mode == "PEC" else min(4, i + 2, left)
            steps.append(predict_correct(min(3, i + 1, left), corrector, self.mode))
        return (*steps, dpm_solver.FIRST)


def sa_solver_released(mode: Mode = "PEC", *, tau: Level = 1) -> Solver:
    """SA-Solver of 3 and 4 points with ComfyUI's end.

    mode: "PEC", or "PECE" (sample_sa_solver_pece).  tau: as in `stochastic.sa_solver`; by default ComfyUI has
    NoiseLevel((t(0.2), t(0.8)), (0, 1, 0)), of the noise level at a step's end.
    """
    checks.one_of("mode", mode, MODES)
    made = sa_solver(3, 4, tau=tau, mode=mode)
    assert isinstance(made.sequence, Ramp)
    return replace(
        made,
        name=f"{made.name}-comfyui",
        sequence=Descent(made.sequence.ramp, made.sequence.last, mode),
        source=f"{COMFY}, sample_sa_solver{'_pece' * (mode == 'PECE')}",
        paper=SA_SOLVER,
        final=FinalPolicy(
            at_zero="lower", source=f"{COMFY}, sample_sa_solver: lower_order_to_end where sigmas[-1] == 0"
        ),
    )


def er_sde_released() -> Solver:
    """ER-SDE-Solver-3 with ComfyUI's integrals: left Riemann sums of 200 points, the paper's release of 100,
    and noise of every size.
    """
    return replace(
        er_sde.released(3, points=200, clip=0),
        name="er-sde-3-comfyui",
        source=f"{COMFY}, sample_er_sde",
        final=FINAL,
    )


LISTED: tuple[Callable[..., Solver], ...] = (
    res_2s_sde,
    exponential_heun,
    sde_4m,
    sa_solver_released,
    er_sde_released,
)
"""Constructors of the solvers that have a name of their own."""
