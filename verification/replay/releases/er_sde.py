"""QinpengCui/ER-SDE-Solver, rebuilt from a case's options."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from semilinear.integrators.common.messages import shown
from semilinear.integrators.diffusion import grids, schedule
from semilinear.integrators.diffusion.prediction import convert
from semilinear.integrators.diffusion.schedule import Schedule
from semilinear.integrators.forms.noise_scale import NOISE_SCALES, NoiseScale, sde_1
from semilinear.integrators.solvers import er_sde

from .rebuild import (
    Case,
    Family,
    GoldenError,
    Pairs,
    Record,
    initial,
    integer,
    look_up,
    mixture,
    of,
    recorded,
    run_plan,
)

PREDICTIONS = {"x_start": "x0", "noise": "eps"}
PROBLEMS = {"2d": "problem", "8d": "problem_8d"}
GRIDS = {
    "log-uniform sigma": grids.uniform_lambda(),
    "log-uniform rho": grids.uniform_lambda(),
    "uniform t": grids.uniform_t(),
    "edm rho=7": grids.karras(7.0),
}
APPENDED_ZERO = " with a final 0 appended"
RULE = "left Riemann sum in the noise ratio, nodes include the smaller endpoint, exclude the larger"
SLOPE = "first backward divided difference (not corrected to the derivative at the current node)"


def _run(data: Mapping[str, Any], case: Case, record: Record) -> tuple[str, Pairs]:
    options, times = case["options"], [float(t) for t in case["times"]]
    for key, known in (("quadrature_rule", RULE), ("slope", SLOPE)):
        look_up({known: None}, key, options.get(key, known))
    noise = _schedule(of(data, case, "noise_schedule"), options, times)
    prediction = look_up(PREDICTIONS, "model_prediction_type", options["model_prediction_type"])
    problem = mixture(of(data, case, look_up(PROBLEMS, "problem", options["problem"])))
    solver = er_sde.released(
        integer(options, "order"),
        _noise_scale(options),
        points=integer(options, "quadrature_points"),
        clip=float(options["variance_clip"]),
    )
    model = convert(noise, problem.model(noise), "eps", prediction)
    arguments: dict[str, Any] = {"prediction": prediction, "times": times}
    name, final = run_plan(solver, noise, model, initial(case), record, case, arguments)
    record.times = _times(str(options["grid"]), noise, times)
    return name, _pairs(noise, case, record, final)


def _pairs(noise: Schedule, case: Case, record: Record, final: np.ndarray) -> Pairs:
    """The release records the states that its steps make, without the one that it starts from."""
    if "intermediate" in case:
        case = {**case, "intermediate": [case["x_init"], *case["intermediate"]]}
    yield from recorded(case, record, final)
    at = np.array(case["times"], dtype=np.float64)
    yield noise.alpha(at), case["alphas"]
    yield noise.sigma(at), case["sigmas"]


def _schedule(data: Any, options: Mapping[str, Any], times: list[float]) -> Schedule:
    """ve: alpha = 1 and sigma is the time; vp: linear, with the betas of the case or of the file."""
    if look_up({"ve": True, "vp": False}, "sde_type", options["sde_type"]):
        return schedule.edm(max(times))
    if not isinstance(data, Mapping):
        raise GoldenError(f"noise_schedule must hold the betas of vp_linear, got {shown(data)}")
    betas = data.get("vp_linear", data)
    return schedule.vp_linear(betas["beta_0"], betas["beta_1"])


def _times(name: str, noise: Schedule, times: list[float]) -> tuple[float, ...]:
    """The grid's own rule."""
    grid = look_up(GRIDS, "grid", name.removesuffix(APPENDED_ZERO))
    end = (0.0,) if name.endswith(APPENDED_ZERO) else ()
    inner = times[: len(times) - len(end)]
    return (*grid(noise, inner[0], inner[-1], len(inner) - 1), *end)


def _noise_scale(options: Mapping[str, Any]) -> NoiseScale:
    """The function by its number; of the third one the text gives eta."""
    number = integer(options, "noise_scale_function_id")
    scale = look_up(dict(enumerate(NOISE_SCALES, 1)), "noise_scale_function_id", number)
    eta = re.search(r"eta\s*=\s*([-+.\de]+)", str(options.get("noise_scale_function", "")))
    if eta is None:
        return scale
    if number != 3:
        raise GoldenError(
            f"noise_scale_function {number} has no eta, got {shown(options['noise_scale_function'])}"
        )
    return sde_1(float(eta.group(1)))


ER_SDE = Family(lambda options: "noise_scale_function_id" in options, _run)
