"""Replay of golden files: every case of a released implementation, rebuilt from its options in our solvers.

A file holds a family, an origin and cases; a case may override the file's problem and noise schedule.  Each
case is turned into a `Replay` (solver, schedule, grid, problem), run, and compared with every number that
the release recorded: the final state, intermediate states, model inputs, accepted times.  Nothing in a file
is executed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from semilinear.integrators import discrete, grids, schedule
from semilinear.integrators.adaptive import AdaptiveSample, Attempt, Controller, sample_adaptive
from semilinear.integrators.hooks import dynamic_thresholding
from semilinear.integrators.plan import compile_plan
from semilinear.integrators.prediction import Model, convert
from semilinear.integrators.sampler import StepInfo, sample
from semilinear.integrators.schedule import Schedule
from semilinear.integrators.solver import Solver
from semilinear.integrators.solvers import deis, dpm_solver
from sympy import Rational

from .problems import GaussianMixture

Case = Mapping[str, Any]
TOLERANCE = 1e-10
TIME_TOLERANCE = 1e-9
"""Released times carry rounding of their own (a grid in float64 rho, inverted): up to 1e-12 relative."""

FREE_TOLERANCE = 1e-6
"""An adaptive run that decides for itself amplifies rounding in its first error estimates."""

DATA = Path(__file__).parent / "golden-data"


class GoldenError(ValueError):
    """A file or case that does not follow the schema, or asks for something that is not built."""


@dataclass(frozen=True)
class CaseResult:
    """One case: how far ours is from the release, relative to each state's largest component."""

    file: str
    index: int
    solver: str
    ours: str
    """Name of our solver, empty when the case could not be built."""
    difference: float
    times_difference: float
    nfe: int
    nfe_ok: bool
    tolerance: float
    error: str = ""
    note: str = ""

    @property
    def ok(self) -> bool:
        """Whether the case was built, and agrees in numbers, times and evaluations."""
        return (
            not self.error
            and self.nfe_ok
            and self.difference <= self.tolerance
            and self.times_difference <= TIME_TOLERANCE
        )


@dataclass
class _Record:
    """What a run of ours produced, in the order in which releases record it."""

    states: list[np.ndarray] = field(default_factory=list)
    inputs: list[np.ndarray] = field(default_factory=list)
    input_times: list[float] = field(default_factory=list)
    outputs: list[np.ndarray] = field(default_factory=list)
    times: tuple[float, ...] = ()
    nfe: int = 0
    note: str = ""

    def watch(self, model: Model) -> Model:
        """The model, recording its inputs and outputs."""

        def watched(x: Any, t: Any) -> Any:
            output = model(x, t)
            self.inputs.append(x.numpy().copy())
            self.input_times.append(float(t))
            self.outputs.append(output.numpy().copy())
            return output

        return watched

    def after(self, info: StepInfo) -> None:
        """A callback that records the state."""
        self.states.append(info.x.numpy().copy())


def read(path: str | Path) -> dict[str, Any]:
    """The contents of a golden file.  Raises GoldenError if it is not one, OSError if it cannot be read."""
    try:
        data = json.loads(Path(path).read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise GoldenError(f"{path}: not JSON: {error}") from error
    if not isinstance(data, dict) or not isinstance(data.get("cases"), list):
        raise GoldenError(f"{path}: a golden file is an object with a list `cases`")
    return data


def replay_file(path: str | Path, progress: Callable[[int, int], None] | None = None) -> Iterator[CaseResult]:
    """Replay every case of a file, in order; `progress(done, total)` is called after each.

    A case that cannot be built gives a result with `error`, not an exception.
    """
    data = read(path)
    for index, case in enumerate(data["cases"]):
        yield replay_case(data, index, case, str(path))
        if progress is not None:
            progress(index + 1, len(data["cases"]))


def replay_case(data: Mapping[str, Any], index: int, case: Case, file: str = "") -> CaseResult:
    """Rebuild one case, run it and compare."""
    name = str(case.get("solver", "?")) if isinstance(case, Mapping) else "?"
    try:
        return _replay(data, index, case, file)
    except (ValueError, TypeError, KeyError, ArithmeticError, IndexError) as error:
        reason = f"missing field {error}" if isinstance(error, KeyError) else str(error)
        inf = float("inf")
        return CaseResult(
            file, index, name, "", inf, inf, 0, False, TOLERANCE, reason or type(error).__name__
        )


def _replay(data: Mapping[str, Any], index: int, case: Case, file: str) -> CaseResult:
    options = case["options"]
    family = _family(options)
    noise_schedule = family.schedule(case.get("noise_schedule", data.get("noise_schedule")))
    problem = _problem(case.get("problem", data.get("problem")))
    x = torch.tensor(case["x_init"], dtype=torch.float64)
    record = _Record()
    ours, final = family.run(case, noise_schedule, problem.model(noise_schedule), x, record)
    times = [float(t) for t in case["times"]]
    return CaseResult(
        file=file,
        index=index,
        solver=case["solver"],
        ours=ours,
        difference=max(_difference(a, b) for a, b in _pairs(case, record, final)),
        times_difference=_times_difference(record.times, times),
        nfe=record.nfe,
        nfe_ok=record.nfe == case["nfe"],
        tolerance=TOLERANCE,
        note=record.note,
    )


def _pairs(case: Case, record: _Record, final: np.ndarray) -> Iterator[tuple[np.ndarray, Any]]:
    """Our numbers beside the release's, for everything that the case records."""
    yield final, case["x_final"]
    if "intermediate" in case:
        yield from _zip("intermediate", [np.asarray(case["x_init"]), *record.states], case["intermediate"])
    if "model_inputs" in case:
        yield from _zip("model_inputs", record.inputs, case["model_inputs"]["states"])
        yield from _zip(
            "model_inputs", [np.array(t) for t in record.input_times], case["model_inputs"]["times"]
        )
    if "stage_model_values" in case:
        yield from _zip("stage_model_values", record.outputs, case["stage_model_values"])


def _zip(name: str, ours: list[np.ndarray], theirs: list[Any]) -> Iterator[tuple[np.ndarray, Any]]:
    if len(ours) != len(theirs):
        raise GoldenError(f"{name} records {len(theirs)} values, our run has {len(ours)}")
    yield from zip(ours, theirs, strict=True)


def _difference(ours: np.ndarray, theirs: Any) -> float:
    reference = np.asarray(theirs, dtype=np.float64)
    if ours.shape != reference.shape:
        raise GoldenError(f"a recorded array has shape {reference.shape}, ours {ours.shape}")
    return float(np.max(np.abs(ours - reference)) / max(float(np.max(np.abs(reference))), 1e-300))


def _times_difference(ours: tuple[float, ...], theirs: list[float]) -> float:
    if len(ours) != len(theirs):
        return float("inf")
    scale = max(abs(theirs[0]), 1e-300)
    return max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) / scale


# --- problems and schedules ---


def _problem(data: Any) -> GaussianMixture:
    if not isinstance(data, Mapping):
        raise GoldenError(f"problem must hold weights, means and covariances, got {data!r}")
    return GaussianMixture(
        np.array(data["weights"], float), np.array(data["means"], float), np.array(data["covariances"], float)
    )


def _betas(data: Mapping[str, Any]) -> tuple[float, ...]:
    n = next((int(data[key]) for key in ("num", "num_train_steps", "N", "steps") if key in data), None)
    if n is None or data.get("beta_schedule", "linear") != "linear":
        raise GoldenError(f"discrete-vp needs a number of steps and linear betas, got {dict(data)!r}")
    return discrete.linear_betas(float(data["beta_start"]), float(data["beta_end"]), n)


def _dpm_schedule(data: Any) -> Schedule:
    kind = data["kind"] if isinstance(data, Mapping) else data
    if kind == "vp-linear":
        return schedule.vp_linear(data["beta_0"], data["beta_1"])
    if kind == "vp-cosine":
        return schedule.vp_cosine(data.get("s", data.get("offset", 0.008)))
    if kind == "discrete-vp":
        return discrete.discrete(_betas(data))
    if kind == "edm":
        return schedule.edm()
    raise GoldenError(f"noise_schedule of kind {kind!r} is not known")


def _deis_schedule(data: Any) -> Schedule:
    kind = data["kind"] if isinstance(data, Mapping) else data
    if kind == "vp-cosine":
        return schedule.vp_cosine(data.get("offset", 0.008), normalized=False)
    if kind == "discrete-vp":
        return discrete.discrete_alpha_squared(_betas(data))
    return _dpm_schedule(data)


# --- families ---

Run = Callable[[Case, Schedule, Model, torch.Tensor, _Record], tuple[str, np.ndarray]]


@dataclass(frozen=True)
class Family:
    """How the cases of one release are rebuilt."""

    schedule: Callable[[Any], Schedule]
    run: Run


def _family(options: Mapping[str, Any]) -> Family:
    if "algorithm_type" in options:
        return DPM_SOLVER
    if options.get("official_method_name") in DEIS_METHODS:
        return DEIS
    raise GoldenError(f"no solver here is built from options with the keys {', '.join(options)}")


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


def _run_dpm(
    case: Case, noise: Schedule, model: Model, x: torch.Tensor, record: _Record
) -> tuple[str, np.ndarray]:
    options = case["options"]
    family, type = FAMILIES[options["algorithm_type"]], TYPES[str(options["solver_type"]).split(" ")[0]]
    order, method = int(options["order"]), str(options["method"])
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
        lower = bool(options.get("lower_order_final_flag", False)) and int(options["steps"]) < 10
        arguments["final"] = "lower" if lower else "full"
        arguments |= _dpm_grid(case, int(options["steps"]))
    elif method == "singlestep_fixed":
        solver = dpm_solver.singlestep(order, family, type, abscissae="grid")
        arguments |= _dpm_grid(case, int(options["nfe_budget"]) // order)
    elif method == "singlestep":
        solver = dpm_solver.fast(order, family, type, abscissae="grid")
        arguments |= _dpm_grid(case, int(options["nfe_budget"]))
    else:
        raise GoldenError(f"method {method!r} is not known")
    return _run_plan(solver, noise, model, x, record, case, arguments)


def _dpm_grid(case: Case, steps: int) -> dict[str, Any]:
    options = case["options"]
    if "spacing" not in options:
        return {"times": case["times"]}
    if options["spacing"] not in SPACINGS:
        raise GoldenError(f"spacing must be one of {', '.join(SPACINGS)}, got {options['spacing']!r}")
    return {
        "grid": SPACINGS[options["spacing"]],
        "t_start": options["start_time"],
        "t_end": options["end_time"],
        "steps": steps,
    }


def _run_plan(
    solver: Solver,
    noise: Schedule,
    model: Model,
    x: torch.Tensor,
    record: _Record,
    case: Case,
    arguments: dict[str, Any],
) -> tuple[str, np.ndarray]:
    """Run on the recorded times; that the grid's own rule makes them is compared apart (`record.times`).

    A release's times carry rounding of their own, which decides on which side of a knot of a discrete
    schedule a quadrature node falls.
    """
    times, grid = [float(t) for t in case["times"]], arguments.get("grid")
    record.times = tuple(times)
    if grid is not None:
        rule = compile_plan(solver, noise, **arguments).times
        truncated = noise.kind == "discrete-alpha-squared" and all(t == int(t) for t in times)
        record.note = "the release truncated its grid to integers" if truncated else ""
        record.times = record.times if truncated else tuple(float(t) for t in rule)
        arguments = {k: v for k, v in arguments.items() if k not in ("t_start", "t_end")} | {
            "times": _within(noise, times)
        }
    plan = compile_plan(solver, noise, **arguments)
    given = case.get("noise")
    increments = None if given is None else [torch.tensor(z, dtype=torch.float64) for z in given]
    result = sample(plan, record.watch(model), x, callback=record.after, noise=increments)
    record.nfe = result.nfe
    return solver.name, result.x.numpy()


def _within(noise: Schedule, times: Sequence[float]) -> list[float]:
    """Times that rounding put just outside the schedule's domain, put back."""
    slack = 1e-9 * noise.t_max
    return [
        min(max(t, noise.t_min), noise.t_max) if noise.t_min - slack <= t <= noise.t_max + slack else t
        for t in times
    ]


def _run_adaptive(
    case: Case,
    family: dpm_solver.Family,
    type: dpm_solver.Type,
    noise: Schedule,
    model: Model,
    x: Any,
    record: _Record,
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
    order = int(options["order"])
    solver = dpm_solver.singlestep(order, family, type, r1=_ADAPTIVE_R1[order], low=True)

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
    distance = _difference(free.x.numpy(), case["x_final"])
    if distance > FREE_TOLERANCE:
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
        if abs(a.error - b["error"]) > TOLERANCE * b["error"] + rounding:
            raise GoldenError(f"attempts[{i}]: the release's error estimate is {b['error']}, ours {a.error}")
        if i + 1 < len(theirs):
            wanted = controller.safety * b["step"] * b["error"] ** (-1.0 / order)
            proposal = min(wanted, a.proposal) if a.proposal < 0.999 * wanted else wanted
            if abs(proposal - theirs[i + 1]["step"]) > TOLERANCE * abs(theirs[i + 1]["step"]) + 1e-13:
                raise GoldenError(
                    f"attempts[{i}]: the release goes on with {theirs[i + 1]['step']}, ours {proposal}"
                )


_ADAPTIVE_R1 = {2: Rational(1, 2), 3: Rational(1, 3)}
DPM_SOLVER = Family(_dpm_schedule, _run_dpm)


def _run_deis(
    case: Case, noise: Schedule, model: Model, x: torch.Tensor, record: _Record
) -> tuple[str, np.ndarray]:
    options = case["options"]
    solver = DEIS_METHODS[options["official_method_name"]](options)
    arguments = {
        "grid": _deis_grid(options),
        "t_start": _within(noise, [options["start_time"]])[0],
        "t_end": options["end_time"],
        "steps": int(options["number_of_steps"]),
    }
    return _run_plan(solver, noise, model, x, record, case, arguments)


def _deis_grid(options: Mapping[str, Any]) -> grids.Grid:
    name, k = options["time_grid"], options.get("time_grid_exponent_k")
    if name in ("uniform in t^(1/k)", "uniform in t"):
        return grids.uniform_t(float(k or 1))
    if name == "uniform in rho^(1/k)":
        return grids.karras(float(options["time_grid_exponent_k"]))
    if name == "uniform in log rho":
        return grids.uniform_lambda()
    raise GoldenError(f"time_grid {name!r} is not known")


DEIS_METHODS: dict[str, Callable[[Mapping[str, Any]], Solver]] = {
    "t_ab": lambda o: deis.tab(int(o["polynomial_degree"]), released=True),
    "rho_ab": lambda o: deis.rho_ab(int(o["polynomial_degree"]), released=True),
    "rho_rk": lambda o: deis.rho_rk(o["runge_kutta_tableau"]),
    "ipndm": lambda o: deis.ipndm(),
}
DEIS = Family(_deis_schedule, _run_deis)
