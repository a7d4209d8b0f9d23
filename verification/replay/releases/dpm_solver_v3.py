"""thu-ml/DPM-Solver-v3, rebuilt from a case's options and the statistics that its file holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from semilinear.integrators.diffusion import discrete, grids, schedule
from semilinear.integrators.diffusion.schedule import Schedule
from semilinear.integrators.numerics.arithmetic import FLOAT64
from semilinear.integrators.plans.compile import compile_plan
from semilinear.integrators.run.sampler import sample
from semilinear.integrators.solver import Solver
from semilinear.integrators.solvers import dpm_solver_v3
from semilinear.integrators.statistics.table import Tabulated

from .dpm_solver import SPACINGS
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
    noise_schedule,
    recorded,
    within_domain,
)

TOLERANCE = 1e-9
"""A relative change of 1e-13 of the initial state moves a final state of the release by up to 1e-11."""

PLACEMENTS: dict[str, grids.Grid] = SPACINGS | {"edm": grids.karras(7.0)}
DEGENERATED = "degenerated (l=1, s=0, b=0 replaces the statistics)"
HALF = "corrector only where t > 0.5 (as the code does)"
TIE = 1e-6
"""How near to the middle between two nodes a time must be for rounding to have chosen its node."""


def _run(data: Mapping[str, Any], case: Case, record: Record) -> tuple[str, Pairs]:
    options = case["options"]
    noise = schedule_of(case.get("noise_schedule") or _named(data, "noise_schedule", options))
    model = mixture(case.get("problem") or _named(data, "problem", options)).model(noise)
    entry = look_up(data["ems"], "ems", options["ems"])
    statistics = table(entry, options[DEGENERATED])
    solver = solver_of(options, statistics)
    record.tolerance = TOLERANCE
    record.times = _times(options, entry, statistics, noise, case)
    plan = compile_plan(
        solver,
        noise,
        times=within_domain(noise, [float(t) for t in case["times"]]),
        final="released" if options["lower order at the last steps"] else "full",
    )
    result = sample(plan, record.watch(model), initial(case), callback=record.after)
    record.nfe = result.nfe
    record.states.pop()  # the release keeps the states that it evaluated: not the last
    return solver.name, recorded(case, record, result.x.numpy())


def solver_of(options: Mapping[str, Any], statistics: Tabulated) -> Solver:
    """The solver of a case's options."""
    order = integer(options, "order")
    corrector: dpm_solver_v3.Corrector = "none"
    if options["corrector"]:
        corrector = "pseudo" if options["corrector is pseudo of order+1"] else "same"
    if corrector == "same" and order == 1:
        corrector = "none"  # through one node: the release does not run it
    return dpm_solver_v3.multistep(
        order,
        corrector,
        pseudo_predictor=bool(options["pseudo-order predictor"]),
        half="released" if options[HALF] and corrector != "none" else "no",
        statistics=statistics,
    )


def table(entry: Mapping[str, Any], degenerated: bool = False) -> Tabulated:
    """The statistics of a file's `ems`: arrays, or constants on a grid."""
    count = integer(entry, "intervals") + 1
    parts = [
        np.array(entry[name], dtype=np.float64)
        if name in entry
        else np.full(count, float(entry[f"constant_{name}"]))
        for name in ("l", "s", "b")
    ]
    if degenerated:
        parts = [np.ones(count), np.zeros(count), np.zeros(count)]
    if len(parts[0]) != count:
        raise GoldenError(f"ems must hold intervals + 1 = {count} nodes, got {len(parts[0])}")
    return Tabulated(entry["lambda_start"], entry["lambda_end"], *parts)


def _times(
    options: Mapping[str, Any], entry: Mapping[str, Any], statistics: Tabulated, noise: Schedule, case: Case
) -> tuple[float, ...]:
    """The times by the rule: the placement's, moved to the nearest nodes.

    Where the rule puts a time midway between two nodes, the rounding of the release decides: its node counts.
    """
    placement = look_up(PLACEMENTS, "step placement", options["step placement"])
    start, end = within_domain(noise, [float(entry["t_start"]), float(entry["t_end"])])
    free = placement(noise, start, end, integer(options, "steps"))
    span = statistics.lam_end - statistics.lam_start
    places = [(float(noise.lam(t)) - statistics.lam_start) / span * statistics.intervals for t in free]
    recorded = [int(i) for i in case["grid_indexes"]]
    if len(recorded) != len(places):
        raise GoldenError(f"grid_indexes holds {len(recorded)} nodes for {len(places)} times")
    indexes = [
        theirs if abs(place - theirs) <= 0.5 + TIE else min(max(round(place), 0), statistics.intervals)
        for place, theirs in zip(places, recorded, strict=True)
    ]
    return tuple(float(t) for t in statistics.times(noise, indexes, FLOAT64))


BETA_RULES = {
    "(linspace(sqrt(b_first), sqrt(b_last), steps))^2": discrete.scaled_linear_betas,
    "linspace(b_first, b_last, steps)": discrete.linear_betas,
}


def schedule_of(data: Any) -> Schedule:
    """The schedule of a case; this release does not cut a table of betas off where it is noisy."""
    kind = data.get("kind") if isinstance(data, Mapping) else data
    if kind == "discrete-vp":
        betas = look_up(BETA_RULES, "beta_rule", data["beta_rule"])
        return discrete.discrete(
            betas(data["b_first"], data["b_last"], integer(data, "steps")), clip_lambda=None
        )
    if kind == "edm":
        return schedule.edm(float(data["T"]))
    return noise_schedule(data)


def _named(data: Mapping[str, Any], block: str, options: Mapping[str, Any]) -> Any:
    """What an option names in the file's table of problems or noise schedules."""
    return look_up(data[f"{block}s"], block, options[block])


DPM_SOLVER_V3 = Family(lambda options: "ems" in options and "pseudo-order predictor" in options, _run)
