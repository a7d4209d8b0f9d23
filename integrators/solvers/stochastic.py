"""Stochastic exponential solvers after DPM-Solver, as data: SEEDS, SA-Solver, k-diffusion's SDE samplers.

They are the tableaux of the deterministic families under the reverse SDE of a noise level tau
(`forms/reverse.py`), and with tau = 0 those families themselves.  Noise enters in two ways only: at the end
of a step, with the exact variance of the form, and in stages, along the step's own path (`stage_noise`); one
release draws it for the stage alone.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache, partial
from typing import Annotated, Any, Literal, get_args

import sympy
from sympy import Integer

from ..common import checks
from ..common.choices import Interpolated
from ..common.messages import shown
from ..common.ranges import Range
from ..forms.form import example
from ..forms.reverse import Tau, sde_data, sde_noise
from ..solver import FinalPolicy, Ramp, Repeat, Solver
from ..tableaux.tableau import N, P, Stage, Tableau, interpolate, omega, phi1
from . import dpm_solver
from .dpm_solver import Type

Mode = Literal["PEC", "PECE"]
Level = Annotated[Tau, Range(least=0)]
Eta = Annotated[Any, Range(least=0)]
MODES: tuple[Mode, ...] = get_args(Mode)
FORMS = {"data": sde_data, "noise": sde_noise}
LEVELLED = {
    "data_in_lambda": "data",
    "sde_data_in_lambda": "data",
    "noise_in_lambda": "noise",
    "sde_noise_in_lambda": "noise",
}
"""What the forms that exist at every noise level interpolate."""

SEEDS = "SEEDS (Gonzalez et al. 2023), arXiv:2305.14267"
SA_SOLVER = "SA-Solver (Xue et al. 2023), arXiv:2309.05019"
K_DIFFUSION = "DPM-Solver++ (Lu et al. 2022), arXiv:2211.01095"
SINGLESTEP_FINAL = FinalPolicy(
    at_zero="last",
    source="huggingface/diffusers, DPMSolverSinglestepScheduler, get_order_list: final_sigmas_type='zero'",
)
K_DIFFUSION_FINAL = FinalPolicy(
    at_zero="last", source="crowsonkb/k-diffusion, sampling.py: the denoised state where sigmas[i + 1] == 0"
)
SA_FINAL = FinalPolicy(below=math.inf, source="scxue/SA-Solver, sa_solver.py: lower_order_final = True")
"""In both modes of the release; so does huggingface/diffusers, SASolverScheduler."""


def at_noise_level(solver: Solver, prediction: Interpolated, tau: Tau, **changes: Any) -> Solver:
    """A solver under the reverse SDE of level tau; `changes` name it.  Its variable and its integrand stay.

    prediction: what the solver interpolates in lambda.
    Raises ValueError for another prediction, a solver in another variable (it would become another method) or
    one that goes back to noisier times by itself, and for what is no noise level.
    """
    checks.one_of("prediction", prediction, FORMS)
    name = example(solver.form).name
    if name not in LEVELLED:
        raise ValueError(
            "solver must interpolate data or noise prediction in lambda, as the SDEs of all noise levels do, "
            f"got {solver.name}, whose form is {name}"
        )
    if LEVELLED[name] != prediction:
        raise ValueError(
            f"prediction must be {LEVELLED[name]!r} for {solver.name}, whose form is {name}, "
            f"got {shown(prediction)}"
        )
    if solver.noising is not None:
        raise ValueError(
            f"solver must leave its noise to the SDE, got {solver.name}, which adds noise itself"
        )
    return replace(solver, form=FORMS[prediction](tau), **changes)


def seeds(order: int, type: Type = "dpmsolver", *, tau: Level = 1) -> Solver:
    """SEEDS-1/2/3: DPM-Solver-1/2/3 under the reverse SDE in noise prediction, stages on the step's path.

    eta_1 = e^((1-c) h) (sigma_1/sigma_c) eta_c + independent noise, the split that the compiler makes for any
    abscissa.  type: "dpmsolver" is the release's Butcher type 2a and 3a, "taylor" its 2b and 3b.  tau = 1 in
    the paper.  The release has this split at c = 1/2 alone: its SEEDS-3 scales the noise of the stage at 2/3
    by sigma_1 and exchanges the weights of the first two increments in the step's noise.
    """
    made = dpm_solver.singlestep(order, "sde-dpm-solver", type)
    suffix = "-taylor" if type == "taylor" and order > 1 else ""
    name, source = f"seeds-{order}{suffix}", "nfsrules/SEEDS, seeds_lib/methods/etd_serk.py"
    return at_noise_level(made, "noise", tau, name=name, source=source, paper=SEEDS)


def singlestep_released() -> Solver:
    """SDE-DPM-Solver++(2S) as diffusers runs it: its first-order step to the stage draws noise of its own."""
    made = dpm_solver.singlestep(2, "sde-dpm-solver++")
    tableau = replace(made.sequence.tableaux[-1], stage_noise="independent")
    return replace(
        made,
        name=f"{made.name}-released",
        sequence=Repeat(tableau, dpm_solver.FIRST),
        source="huggingface/diffusers, DPMSolverSinglestepScheduler, algorithm_type sde-dpmsolver++",
        final=SINGLESTEP_FINAL,
    )


def k_diffusion(order: int, type: Type = "dpmsolver", *, eta: Eta = 1) -> Solver:
    """k-diffusion's SDE samplers with their eta, which is tau^2: the form has rate -(1 + eta).

    order 2: sample_dpmpp_2m_sde, type "dpmsolver" its "midpoint", "taylor" its "heun": the multistep rule, as
    it should be.  order 3: sample_dpmpp_3m_sde, whose second difference lacks its factor 2.
    Raises ValueError for another order, or a negative eta.
    """
    order = checks.integer("order", order, 2, 3)
    if order == 3 and type != "dpmsolver":
        raise ValueError(f"type must be 'dpmsolver' at order 3, which has one only, got {shown(type)}")
    made = dpm_solver.multistep(2, "sde-dpm-solver++", type)
    sequence: Any = made.sequence
    if order == 3:
        second = dpm_solver.multistep_second("taylor")
        sequence = Ramp((dpm_solver.FIRST, second, dpm_solver.multistep_third_released()))
    suffix = "-released" if order == 3 else "-taylor" if type == "taylor" else ""
    return at_noise_level(
        made,
        "data",
        level_of(eta),
        name=f"k-diffusion-{order}m-sde{suffix}",
        sequence=sequence,
        claimed=order,
        source=f"crowsonkb/k-diffusion, sample_dpmpp_{order}m_sde",
        paper=K_DIFFUSION,
        final=K_DIFFUSION_FINAL,
    )


def level_of(eta: Any) -> Tau:
    """tau of k-diffusion's and ComfyUI's eta = tau^2.  Raises ValueError for a negative eta."""
    return sympy.sqrt(checks.exact("eta", eta, least=0))


# --- SA-Solver ---


def _points(stages: int, count: int) -> dict[Any, Any]:
    """{node: evaluation} of the latest `count` evaluations: a stage at abscissa 1 where there is one, N(0),
    P(1), ..
    """
    nodes: dict[Any, Any] = {Integer(1): N(1)} if stages else {}
    nodes[Integer(0)] = N(0)
    nodes |= {-omega(j): P(j) for j in range(1, count)}
    return dict(list(nodes.items())[:count])


def weights_through(stages: int, count: int, rescaled: bool) -> Any:
    """Exponential Adams-Bashforth (stages = 0) or -Moulton (1) through `count` points.

    rescaled: with two points phi_2 is replaced by its limit 1/2, the "rescaling" of the release.
    """
    if not (rescaled and count == 2):
        return interpolate(_points(stages, count))
    slope = N(1) - N(0) if stages else (N(0) - P(1)) / omega(1)
    return phi1 * N(0) + slope / 2


@cache
def predict_correct(predictor: int, corrector: int, mode: Mode, rescaled: bool = False) -> Tableau:
    """SA-Solver's step through that many points; corrector 0: none."""
    predict = weights_through(0, predictor, rescaled)
    if not corrector:
        return Tableau((), predict)
    return Tableau(
        (Stage(Integer(1), predict),),
        weights_through(1, corrector, rescaled),
        carry=1 if mode == "PEC" else None,
        stage_noise=True,
    )


def sa_solver(
    predictor: int,
    corrector: Annotated[int, Range(least=0, most=4)] = 0,
    *,
    tau: Level = 1,
    prediction: Interpolated = "data",
    mode: Mode = "PEC",
    rescaled: bool = False,
) -> Solver:
    """SA-Solver: exponential Adams-Bashforth through `predictor` points; then Adams-Moulton through
    `corrector` points, the predicted one included, with the same noise.  The last step is not corrected, and
    the last steps descend the orders (`SA_FINAL`).

    predictor: 1..4.  corrector: 0 (none) .. 4, counted as the release counts.  tau: a number or a
    `NoiseLevel`; the release freezes tau(t) at a step's end (diffusers: at its start), which is the same
    where the levels change at grid nodes, and its last step has tau = 0: NoiseLevel((t_{n-1},), (tau, 0)).
    mode: "PEC" keeps the evaluation at the predicted state, one a step; "PECE" evaluates the corrected state.
    rescaled: as the release's few-step mode and diffusers do, two-point rules have 1/2 in place of phi_2.
    Raises ValueError for other values.
    """
    predictor = checks.integer("predictor", predictor, 1, 4)
    corrector = checks.integer("corrector", corrector, 0, 4)
    checks.one_of("mode", mode, MODES)
    checks.one_of("prediction", prediction, FORMS)
    checks.flag("rescaled", rescaled)
    if rescaled and prediction == "noise":
        raise ValueError("rescaled must be False in noise prediction, where the release does not rescale")
    points = range(1, max(predictor, corrector - 1) + 1)
    last = tuple(predict_correct(min(predictor, k), 0, mode, rescaled) for k in points)
    ramp = tuple(predict_correct(min(predictor, k), min(corrector, k + 1), mode, rescaled) for k in points)
    order = f"{predictor}-{corrector}" if corrector else f"{predictor}"
    made = Solver(
        name=f"sa-solver-{order}"
        + ("-noise" if prediction == "noise" else "")
        + ("-pece" if corrector and mode == "PECE" else "")
        + ("-released" if rescaled else ""),
        form=FORMS[prediction](),
        sequence=Ramp(ramp, last) if corrector else Ramp(last),
        claimed=corrector or predictor,
        source="scxue/SA-Solver, sa_solver.py, adams_bashforth_update and adams_moulton_update"
        + ("_few_steps" if rescaled else ""),
        paper=SA_SOLVER,
        final=SA_FINAL,
    )
    return at_noise_level(made, prediction, tau)


LISTED = (
    singlestep_released,
    *(partial(seeds, order) for order in (1, 2, 3)),
    *(partial(k_diffusion, order) for order in (2, 3)),
    partial(sa_solver, 3),
    partial(sa_solver, 2, 2),
    partial(sa_solver, 2, 2, rescaled=True),
    partial(sa_solver, 3, 4),
)
"""Constructors of the solvers that have a name of their own."""
