"""LuChengTHU/dpm-solver and diffusers' stochastic versions, rebuilt from a case's options."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from semilinear.integrators.diffusion import grids
from semilinear.integrators.diffusion.prediction import Model, convert
from semilinear.integrators.diffusion.schedule import Schedule
from semilinear.integrators.run.adaptive import AdaptiveSample, Attempt, Controller, sample_adaptive
from semilinear.integrators.run.models import dynamic_thresholding
from semilinear.integrators.run.sampler import StepInfo
from semilinear.integrators.solvers import dpm_solver
from sympy import Rational

from .rebuild import (
    TOLERANCE,
    Case,
    Family,
    GoldenError,
    Pairs,
    Record,
    initial,
    integer,
    look_up,
    mixture,
    noise_schedule,
    of,
    recorded,
    relative_difference,
    run_plan,
)

FREE_TOLERANCE = 1e-6
"""An adaptive run that decides for itself amplifies rounding in its first error estimates."""

SPACINGS: dict[str, grids.Grid] = {
    "logSNR": grids.uniform_lambda(),
    "time_uniform": grids.uniform_t(),
    "time_quadratic": grids.uniform_t(2.0),
}
FAMILIES: dict[str, dpm_solver.Family] = {
    "dpmsolver": "dpm-solver",
    "dpmsolver++": "dpm-solver++",
    "sde-dpmsolver": "sde-dpm-solver",
    "sde-dpmsolver++": "sde-dpm-solver++",
}
TYPES: dict[str, dpm_solver.Type] = {
    "dpmsolver": "dpmsolver",
    "taylor": "taylor",
    "midpoint": "dpmsolver",
    "heun": "taylor",
}


def _run_dpm(data: Mapping[str, Any], case: Case, record: Record) -> tuple[str, Pairs]:
    noise = noise_schedule(of(data, case, "noise_schedule"))
    model = mixture(of(data, case, "problem")).model(noise)
    name, final = _sample(case, noise, model, initial(case), record)
    return name, recorded(case, record, final)


def _sample(
    case: Case, noise: Schedule, model: Model, x: torch.Tensor, record: Record
) -> tuple[str, np.ndarray]:
    options = case["options"]
    family = look_up(FAMILIES, "algorithm_type", options["algorithm_type"])
    type = look_up(TYPES, "solver_type", str(options["solver_type"]).split(" ")[0])
    order, method = integer(options, "order"), str(options["method"])
    prediction = "eps"
    if options.get("data_correction"):
        if options["data_correction"] != "dynamic thresholding":
            raise GoldenError(f"data_correction {options['data_correction']!r} is not known")
        model = dynamic_thresholding(
            model,
            noise,
            ratio=options["dynamic_thresholding_ratio"],
            max_value=options["thresholding_max_val"],
        )
        prediction = "x0"
    if method == "adaptive":
        return _run_adaptive(case, family, type, noise, record.watch(model), x, record, prediction)

    arguments: dict[str, Any] = {
        "prediction": prediction,
        "denoise": bool(options.get("denoise_to_zero", False)),
    }
    if method == "one step with explicit abscissae":
        r1, r2 = (None if options[key] is None else Rational(options[key]) for key in ("r1", "r2"))
        solver = dpm_solver.singlestep(order, family, type, r1=r1, r2=r2)
        arguments |= {"times": case["times"], "prediction": "x0" if family.endswith("++") else "eps"}
        model = convert(noise, model, prediction, arguments["prediction"])
    elif method.startswith("multistep"):
        solver = dpm_solver.multistep(order, family, type)
        arguments["final"] = "released" if options.get("lower_order_final_flag", False) else "full"
        arguments |= _dpm_grid(case, integer(options, "steps"))
    elif method == "singlestep_fixed":
        solver = dpm_solver.singlestep(order, family, type, abscissae="grid")
        arguments |= _dpm_grid(case, integer(options, "nfe_budget") // order)
    elif method == "singlestep":
        solver = dpm_solver.fast(order, family, type, abscissae="grid")
        arguments |= _dpm_grid(case, integer(options, "nfe_budget"))
    else:
        raise GoldenError(f"method {method!r} is not known")
    return run_plan(solver, noise, model, x, record, case, arguments)


def _dpm_grid(case: Case, steps: int) -> dict[str, Any]:
    options = case["options"]
    if "spacing" not in options:
        return {"times": case["times"]}
    return {
        "grid": look_up(SPACINGS, "spacing", options["spacing"]),
        "t_start": options["start_time"],
        "t_end": options["end_time"],
        "steps": steps,
    }


def _run_adaptive(
    case: Case,
    family: dpm_solver.Family,
    type: dpm_solver.Type,
    noise: Schedule,
    model: Model,
    x: Any,
    record: Record,
    prediction: str,
) -> tuple[str, np.ndarray]:
    options = case["options"]
    controller = Controller(
        rtol=options["relative_tolerance"],
        atol=options["absolute_tolerance"],
        h_init=options["initial_half_log_snr_step"],
        safety=options["safety"],
        t_tolerance=options["time_tolerance"],
    )
    order = integer(options, "order")
    solver = dpm_solver.singlestep(
        order, family, type, r1=look_up(_ADAPTIVE_R1, "order of an adaptive run", order), low=True
    )

    def run(recorded: list[float] | None, callback: Callable[[StepInfo], None] | None) -> AdaptiveSample:
        return sample_adaptive(
            solver,
            noise,
            model,
            x,
            t_start=options["start_time"],
            t_end=options["end_time"],
            controller=controller,
            prediction=prediction,
            denoise=bool(options.get("denoise_to_zero", False)),
            callback=callback,
            recorded=recorded,
        )

    attempts = case.get("attempts")
    free = run(None, record.after if attempts is None else None)
    record.times, record.nfe = free.times, free.nfe
    if attempts is None:
        return f"{solver.name} (adaptive)", free.x.numpy()
    # Where the error estimate is near rounding, so are the steps: two correct programs stop at times 1e-8
    # apart.  States are therefore compared along the recorded steps, the controller attempt by attempt, and
    # the free run by its evaluations.
    along = run([float(a["step"]) for a in attempts], record.after)
    _check_attempts(along.attempts, attempts, controller, order, float(x.abs().max()))
    distance = relative_difference(free.x.numpy(), case["x_final"])
    if not distance <= FREE_TOLERANCE:
        raise GoldenError(f"with its own controller our run ends {distance:.1e} away from the release")
    record.times = along.times
    record.note = f"along the recorded steps; with its own controller {distance:.1e}"
    return f"{solver.name} (adaptive)", along.x.numpy()


def _check_attempts(
    ours: Sequence[Attempt],
    theirs: list[Mapping[str, float]],
    controller: Controller,
    order: int,
    size: float,
) -> None:
    """The controller, attempt by attempt: our error estimate, and the release's next step from its own
    estimate.

    high - low carries the rounding of high and low, about eps |x|, so an estimate is only defined to that.
    """
    if len(ours) != len(theirs):
        raise GoldenError(f"the release made {len(theirs)} attempts, ours {len(ours)}")
    for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        rounding = 16 * np.finfo(float).eps * size / controller.atol
        if not abs(a.error - b["error"]) <= TOLERANCE * b["error"] + rounding:
            raise GoldenError(f"attempts[{i}]: the release's error estimate is {b['error']}, ours {a.error}")
        if i + 1 < len(theirs):
            wanted = controller.safety * b["step"] * b["error"] ** (-1.0 / order)
            proposal = min(wanted, a.proposal) if a.proposal < 0.999 * wanted else wanted
            if not abs(proposal - theirs[i + 1]["step"]) <= TOLERANCE * abs(theirs[i + 1]["step"]) + 1e-13:
                raise GoldenError(
                    f"attempts[{i}]: the release goes on with {theirs[i + 1]['step']}, ours {proposal}"
                )


_ADAPTIVE_R1: dict[int, Rational] = {2: Rational(1, 2), 3: Rational(1, 3)}
DPM_SOLVER = Family(lambda options: "algorithm_type" in options, _run_dpm)
