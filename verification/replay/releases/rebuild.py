"""What all releases' cases share: a record of our run, the problem, the schedule, a run on recorded times."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch
from semilinear.integrators.common import checks
from semilinear.integrators.common.messages import shown
from semilinear.integrators.diffusion import discrete, schedule
from semilinear.integrators.diffusion.prediction import Model
from semilinear.integrators.diffusion.schedule import Schedule
from semilinear.integrators.plans.compile import compile_plan
from semilinear.integrators.run.sampler import StepInfo, sample
from semilinear.integrators.solver import Solver

from ...problems.mixtures import GaussianMixture

Case = Mapping[str, Any]
TOLERANCE = 1e-10
Value = TypeVar("Value")


class GoldenError(ValueError):
    """A file or case that does not follow the schema, or asks for something that is not built."""


@dataclass
class Record:
    """What a run of ours produced, in the order in which releases record it."""

    states: list[np.ndarray] = field(default_factory=list)
    inputs: list[np.ndarray] = field(default_factory=list)
    input_times: list[float] = field(default_factory=list)
    outputs: list[np.ndarray] = field(default_factory=list)
    times: tuple[float, ...] = ()
    nfe: int = 0
    note: str = ""
    tolerance: float = TOLERANCE
    comparable: bool = True
    """Whether both sides made a run, with times and evaluations to compare; if not, `note` says why."""

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


Pairs = Iterable[tuple[np.ndarray, Any]]
"""Our numbers beside the release's."""
Run = Callable[[Mapping[str, Any], Case, Record], tuple[str, Pairs]]
"""(file, case, record) -> the name of our solver and what is compared; times, evaluations and notes go into
the record.
"""


@dataclass(frozen=True)
class Family:
    """How the cases of one release are rebuilt."""

    recognises: Callable[[Mapping[str, Any]], bool]
    """Whether a case with these options is its own."""
    run: Run


def of(data: Mapping[str, Any], case: Case, key: str) -> Any:
    """The case's own problem or noise schedule, or the file's."""
    return case.get(key, data.get(key))


def initial(case: Case) -> torch.Tensor:
    """The state that a case starts from."""
    return torch.tensor(case["x_init"], dtype=torch.float64)


def recorded(case: Case, record: Record, final: np.ndarray) -> Pairs:
    """Everything that a case of a sampler records, beside ours."""
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


def _zip(name: str, ours: list[np.ndarray], theirs: list[Any]) -> Pairs:
    if len(ours) != len(theirs):
        raise GoldenError(f"{name} records {len(theirs)} values, our run has {len(ours)}")
    yield from zip(ours, theirs, strict=True)


def relative_difference(ours: np.ndarray, theirs: Any) -> float:
    """The largest difference, relative to the release's largest component."""
    reference = np.asarray(theirs, dtype=np.float64)
    if ours.shape != reference.shape:
        raise GoldenError(f"a recorded array has shape {reference.shape}, ours {ours.shape}")
    if reference.size == 0:
        raise GoldenError("a recorded array is empty")
    difference = np.max(np.abs(ours - reference)) / max(float(np.max(np.abs(reference))), 1e-300)
    # A NaN would be lost in the maximum over a case's arrays.
    return float(difference) if np.isfinite(difference) else float("inf")


def look_up(table: Mapping[Any, Value], name: str, value: Any) -> Value:
    """An option's meaning.  Raises GoldenError, naming the option, for a value that is not in the table."""
    checks.one_of(name, value, table, GoldenError)
    return table[value]


def integer(options: Mapping[str, Any], name: str) -> int:
    """A counting option.  Raises GoldenError, naming it, unless it is an integer from 0 to 100,000."""
    value = options[name]
    whole = int(value) if isinstance(value, float) and value.is_integer() else value
    return checks.integer(name, whole, 0, 100_000, GoldenError)


def mixture(data: Any) -> GaussianMixture:
    """The problem of a case."""
    if not isinstance(data, Mapping):
        raise GoldenError(f"problem must hold weights, means and covariances, got {shown(data)}")
    return GaussianMixture(
        np.array(data["weights"], float), np.array(data["means"], float), np.array(data["covariances"], float)
    )


def linear_betas(data: Mapping[str, Any]) -> tuple[float, ...]:
    """The betas of a discrete-time case."""
    n = next((integer(data, key) for key in ("num", "num_train_steps", "N", "steps") if key in data), None)
    if n is None or data.get("beta_schedule", "linear") != "linear":
        raise GoldenError(f"discrete-vp needs a number of steps and linear betas, got {shown(dict(data))}")
    return discrete.linear_betas(float(data["beta_start"]), float(data["beta_end"]), n)


def noise_schedule(data: Any) -> Schedule:
    """The schedule of a case, in the convention that most releases share."""
    data = data if isinstance(data, Mapping) else {"kind": data}
    kind = data["kind"]
    if kind == "vp-linear":
        return schedule.vp_linear(data["beta_0"], data["beta_1"])
    if kind == "vp-cosine":
        return schedule.vp_cosine(data.get("s", data.get("offset", 0.008)))
    if kind == "discrete-vp":
        return discrete.discrete(linear_betas(data))
    if kind == "edm":
        return schedule.edm()
    raise GoldenError(f"noise_schedule of kind {kind!r} is not known")


def run_plan(
    solver: Solver,
    noise: Schedule,
    model: Model,
    x: torch.Tensor,
    record: Record,
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
            "times": within_domain(noise, times)
        }
    plan = compile_plan(solver, noise, **arguments)
    given = case.get("noise")
    increments = None if given is None else [torch.tensor(z, dtype=torch.float64) for z in given]
    result = sample(plan, record.watch(model), x, callback=record.after, noise=increments)
    record.nfe = result.nfe
    return solver.name, result.x.numpy()


def within_domain(noise: Schedule, times: Sequence[float]) -> list[float]:
    """Times that rounding put just outside the schedule's domain, put back."""
    slack = 1e-9 * noise.t_max
    return [
        min(max(t, noise.t_min), noise.t_max) if noise.t_min - slack <= t <= noise.t_max + slack else t
        for t in times
    ]
