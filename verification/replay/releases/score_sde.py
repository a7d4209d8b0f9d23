"""yang-song/score_sde_pytorch, rebuilt from a case's options.

Two kinds of case hold no run to compare with, and say so in a note: where the release raises, ours runs and
is compared with the formula written out; where the release returns NaN in every component, ours refuses.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from semilinear.integrators.diffusion import sde
from semilinear.integrators.plans.compile import Plan, compile_plan
from semilinear.integrators.run.black_box import Solve, flow, hutchinson, log_likelihood
from semilinear.integrators.run.conditioning import Known, ReplacementReleased
from semilinear.integrators.run.correctors import InTurn, reported_nfe
from semilinear.integrators.run.sampler import Interlude, sample
from semilinear.integrators.solver import Solver
from semilinear.integrators.solvers import score_sde as predictors

from ...problems.mixtures import GaussianMixture
from .rebuild import Case, Family, GoldenError, Pairs, Record, integer, look_up
from .score_sde_parts import PREDICTORS, Options, corrector_of, mixture_of, model_of, sde_of, tensor

# --- one step ---


def _without_results(case: Case) -> None:
    """A case of an exception records nothing else: what it did record would be compared with nothing."""
    recorded = [key for key in case if key not in ("solver", "options")]
    if recorded:
        raise GoldenError(f"a case with the option `raises` cannot record {', '.join(recorded)}")


def _predictor(data: Mapping[str, Any], case: Case, record: Record) -> tuple[str, Pairs]:
    options, process = case["options"], sde_of(case["options"])
    law, n, t = mixture_of(data, options), integer(options, "N"), float(options["time"])
    ode = bool(options["probability_flow"])
    solver = look_up(PREDICTORS, "predictor", case["solver"].split()[1])(n, ode)
    model, prediction = model_of(options, law, process)
    if "raises" in options:
        _without_results(case)
        return solver.name, _flow_step(solver, process, law, t, n, record, options["raises"])
    x, states = tensor(case["x_init"]), []
    for noise_at_end in (True, False):  # x, then the release's x_mean
        plan = compile_plan(
            solver, process.schedule, times=[t, 0.0], prediction=prediction, noise_at_end=noise_at_end
        )
        result = sample(plan, model, x, noise=[tensor(z) for z in case["noise"]])
        states.append(result.x.numpy())
    record.times, record.nfe = (t,), result.nfe
    return solver.name, list(zip(states, (case["x_final"], case["x_mean"]), strict=True))


def _states(law: GaussianMixture, process: sde.DiffusionSDE, t: float) -> torch.Tensor:
    """States for a case that records none."""
    noise = np.random.default_rng(0).standard_normal((4, law.dimension))
    mean, std = process.marginal(law.data(4, 0), t)
    return torch.tensor(mean + std * noise)


def _flow_step(
    solver: Solver,
    process: sde.DiffusionSDE,
    law: GaussianMixture,
    t: float,
    n: int,
    record: Record,
    raises: str,
) -> Pairs:
    x, model = _states(law, process, t), law.model(process.schedule)
    ours = sample(compile_plan(solver, process.schedule, times=[t, 0.0]), model, x).x
    record.comparable = False
    record.note = f"the release raises {raises}; ours steps along the probability flow, x - (f x - g^2 s/2)/N"
    return [(ours.numpy(), x - process.probability_flow(model)(x, t) / n)]


def _corrector_step(data: Mapping[str, Any], case: Case, record: Record) -> tuple[str, Pairs]:
    options, process = case["options"], sde_of(case["options"])
    law, t, name = mixture_of(data, options), float(options["time"]), case["solver"].split()[1]
    model, prediction = model_of(options, law, process)

    def evaluate(x: torch.Tensor, at: float) -> torch.Tensor:
        record.nfe += 1
        output: torch.Tensor = model(x, at)
        return output

    if "raises" in options:
        _without_results(case)
        x = _states(law, process, t)
        count, rng = integer(options, "n_steps"), np.random.default_rng(1)
        noise = [torch.tensor(rng.standard_normal(x.shape)) for _ in range(count)]
        corrector = corrector_of(options, process, name, noise, prediction)
        ours = corrector.update(x, t, 0, evaluate)[0]
        record.comparable = False
        record.note = f"the release raises {options['raises']}; ours takes VP's alpha_i = 1 - beta_i"
        return name, [(ours.numpy(), _langevin(options, process, law, name, x, noise))]
    corrector = corrector_of(options, process, name, [tensor(z) for z in case["noise"]], prediction)
    x, mean = corrector.update(tensor(case["x_init"]), t, 0, evaluate)
    record.times = (t,)
    return name, [(x.numpy(), case["x_final"]), (mean.numpy(), case["x_mean"])]


def _langevin(
    options: Options,
    process: sde.DiffusionSDE,
    law: GaussianMixture,
    name: str,
    x: torch.Tensor,
    noise: list[torch.Tensor],
) -> np.ndarray:
    """The corrector's formula, written out."""
    t, n, snr = float(options["time"]), integer(options, "N"), float(options["snr"])
    low, high = options["parameters"]["beta_min"], options["parameters"]["beta_max"]
    alpha_i = 1 - (low + (high - low) * math.floor(t * (n - 1)) / (n - 1)) / n
    mean, std = process.marginal(1.0, t)
    state = x.numpy()
    for z in noise:
        score = np.asarray(law.score(state, mean, std))
        norms = [np.linalg.norm(v, axis=1).mean() for v in (z.numpy(), score)]
        e = 2 * alpha_i * (snr * (norms[0] / norms[1] if name == "langevin" else std)) ** 2
        state = state + e * score + math.sqrt(2 * e) * z.numpy()
    return state


# --- runs of the predictor-corrector loop ---


def _plan(options: Options, process: sde.DiffusionSDE, prediction: str, noise_at_end: bool) -> Plan:
    return compile_plan(
        look_up(PREDICTORS, "predictor", options["predictor"])(None, bool(options.get("probability_flow"))),
        process.schedule,
        steps=integer(options, "N"),
        grid=predictors.release_grid(float(options["eps"])),
        t_start=1.0,
        t_end=0.0,
        prediction=prediction,
        noise_at_end=noise_at_end,
    )


def _run(
    case: Case,
    process: sde.DiffusionSDE,
    law: GaussianMixture,
    record: Record,
    known: Known | None,
    x: torch.Tensor,
) -> tuple[str, Pairs]:
    """One run: per step the corrector and the predictor, the known part put back after each."""
    options, (model, prediction) = case["options"], model_of(case["options"], law, process)
    denoise = bool(options["denoise"])
    try:
        plan = _plan(options, process, prediction, noise_at_end=known is not None or not denoise)
    except ValueError as error:
        return _refused(case, record, error)
    correct = options["corrector"] != "none"
    draws = iter([tensor(z) for z in case["noise"]])
    corrections: list[torch.Tensor] = []
    replaced: list[torch.Tensor] = []
    increments: list[torch.Tensor] = []
    order = [(corrections, integer(options, "n_steps") if correct else 0), (increments, 1)]
    for _ in plan.steps:
        for drawn, count in order:
            drawn += itertools.islice(draws, count)
            if known is not None:
                replaced += itertools.islice(draws, 1)
    parts: list[Interlude] = []
    if correct:
        parts.append(corrector_of(options, process, options["corrector"], corrections, prediction))
    if known is not None:
        parts.append(ReplacementReleased(process.schedule, known, replaced, plan.times, denoise))
    result = sample(plan, model, x, noise=increments, between=InTurn(tuple(parts)))
    record.times, record.nfe = tuple(float(t) for t in plan.times[:-1]), result.nfe
    return plan.solver, [(result.x.numpy(), case["x_final"]), *_reported(case)]


def _reported(case: Case) -> Iterator[tuple[np.ndarray, Any]]:
    if "nfe_reported" in case:
        options = case["options"]
        ours = reported_nfe(integer(options, "N"), integer(options, "n_steps"))
        yield np.array(ours), case["nfe_reported"]


def _refused(case: Case, record: Record, error: ValueError) -> tuple[str, Pairs]:
    """Our refusal, beside a release that returned NaN in every component."""
    options = case["options"]
    times = np.linspace(1.0, float(options["eps"]), integer(options, "N"))
    record.comparable = False
    record.note = f"the release returns NaN; ours refuses: {error}"
    nowhere = np.isnan(np.asarray(case["x_final"], dtype=float))
    pairs = [(np.ones(nowhere.shape), nowhere.astype(float)), (times, case["times"]), *_reported(case)]
    return f"{options['predictor']} (refused)", pairs


def _sampler(data: Mapping[str, Any], case: Case, record: Record) -> tuple[str, Pairs]:
    process = sde_of(case["options"])
    x = tensor(case["x_init"]) * process.prior_std
    return _run(case, process, mixture_of(data, case["options"]), record, None, x)


def _inpainter(data: Mapping[str, Any], case: Case, record: Record) -> tuple[str, Pairs]:
    process = sde_of(case["options"])
    known = Known(tensor(case["data"]), tensor(case["mask"]))
    x = known.start(tensor(case["x_init"]) * process.prior_std)
    return _run(case, process, mixture_of(data, case["options"]), record, known, x)


RELEASED_BASIS = tensor(
    [
        [5.7735014e-01, -8.1649649e-01, 4.7008697e-08],
        [5.7735026e-01, 4.0824834e-01, 7.0710671e-01],
        [5.7735026e-01, 4.0824822e-01, -7.0710683e-01],
    ]
)
"""M of get_pc_colorizer, orthonormal to 1e-7."""


def _colorizer(data: Mapping[str, Any], case: Case, record: Record) -> tuple[str, Pairs]:
    process = sde_of(case["options"])
    mask = tensor([1.0, 0.0, 0.0])
    known = Known(tensor(case["gray"]), mask, RELEASED_BASIS)
    # The release masks the prior's draw before it rotates it, so its last two colours reach the grey axis.
    colours = tensor(case["x_init"]) * process.prior_std * (1 - mask)
    x = known.from_basis(known.to_basis(known.data) * mask) + colours
    return _run(case, process, mixture_of(data, case["options"], "3d"), record, known, x)


# --- the probability flow ---


def _solve(options: Options) -> Solve:
    return Solve(float(options["rtol"]), float(options["atol"]), str(options["method"]).split()[-1])


def _flow(data: Mapping[str, Any], case: Case, record: Record) -> tuple[str, Pairs]:
    options, process = case["options"], sde_of(case["options"])
    model, eps = mixture_of(data, options).model(process.schedule), float(options["eps"])
    result = flow(process, model, tensor(case["x_init"]), t_start=1.0, t_end=eps, solve=_solve(options))
    x = result.x
    if options["denoise"]:
        last = predictors.reverse_diffusion_released(n=integer(options, "N"))
        x = sample(compile_plan(last, process.schedule, times=[eps, 0.0], noise_at_end=False), model, x).x
    record.times, record.nfe = (1.0, eps), result.nfe
    return f"probability flow, {options['method'].split()[-1]}", [(x.numpy(), case["x_final"])]


def _likelihood(data: Mapping[str, Any], case: Case, record: Record) -> tuple[str, Pairs]:
    options, process, law = case["options"], sde_of(case["options"]), mixture_of(data, case["options"])
    x, eps, f = tensor(case["x_init"]), float(options["eps"]), process.schedule.formulas
    model = law.model(process.schedule)
    if not str(options["divergence"]).startswith(("Hutchinson", "exact: sum over unit-vector probes")):
        raise GoldenError(f"divergence {options['divergence']!r} is not known")
    runs = [  # each probe has an adaptive run of its own; unit vectors then add up to the divergence
        log_likelihood(
            process, model, x, t_start=eps, divergence=hutchinson(tensor([z])), solve=_solve(options)
        )
        for z in case["probe"]
    ]
    record.times, record.nfe = (eps, 1.0), sum(r.nfe for r in runs)
    latent, total = runs[0].latent, runs[0].terminal + sum(r.divergence for r in runs)
    ours: dict[str, torch.Tensor] = {
        "latent": latent,
        "log_likelihood": total,
        "prior_log_density": process.prior_log_density(latent),
        "true_log_density_at_eps": law.log_density(x, f.alpha(eps), f.sigma(eps)),
        "true_log_density_of_latent_at_T": law.log_density(latent, f.alpha(1.0), f.sigma(1.0)),
        "true_log_density_of_data": law.log_density(x, 1.0, 0.0),
    }
    return "probability-flow likelihood", [(value.numpy(), case[key]) for key, value in ours.items()]


RUNS: dict[str, Callable[[Mapping[str, Any], Case, Record], tuple[str, Pairs]]] = {
    "predictor": _predictor,
    "corrector": _corrector_step,
    "predictor-corrector sampler": _sampler,
    "predictor-corrector inpainter": _inpainter,
    "predictor-corrector colorizer": _colorizer,
    "probability-flow ODE sampler": _flow,
    "probability-flow log-likelihood": _likelihood,
}


def _dispatch(data: Mapping[str, Any], case: Case, record: Record) -> tuple[str, Pairs]:
    name = str(case["solver"])
    kind = name if name in RUNS else name.split(" ")[0]
    return look_up(RUNS, "solver", kind)(data, case, record)


SCORE_SDE = Family(lambda options: "sde" in options, _dispatch)
