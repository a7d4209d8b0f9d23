"""ShiguiLi/SciRE-Solver in five snapshots, rebuilt from a case's options."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import numpy as np
from semilinear.integrators.common.messages import shown
from semilinear.integrators.diffusion import discrete, grids
from semilinear.integrators.diffusion.schedule import Schedule
from semilinear.integrators.solver import Solver
from semilinear.integrators.solvers import dpm_solver, scire
from semilinear.integrators.solvers.scire_snapshots import LIMIT, SNAPSHOTS, phi_1
from sympy import Rational

from .rebuild import (
    Case,
    Family,
    GoldenError,
    Pairs,
    Record,
    initial,
    integer,
    linear_betas,
    look_up,
    mixture,
    noise_schedule,
    of,
    recorded,
    run_plan,
)

FOLDERS = {"sd_scire": "sd", "discrete_scire": "disc", "edm_scire": "edm"}
COMMITS = {"f820770": "head", "d30bca2": "d30"}
VERSIONS: dict[str, scire.Version] = {"noise prediction": "v1", "data prediction": "v2"}
GRIDS: dict[str, grids.Grid] = {
    "uniform in log NSR": grids.uniform_lambda(),
    "uniform in log-SNR": grids.uniform_lambda(),
    "uniform in t": grids.uniform_t(),
    "uniform in sqrt(t)": grids.uniform_t(2.0),
}
DISCRETE_TIME: dict[str, Callable[[int, bool], Solver]] = {
    "score-integrand with recursive difference": lambda k, agile: _singlestep(k, agile, "v1"),
    "score-integrand with plain finite difference": lambda k, agile: _singlestep(k, agile, "v1", phi=1),
    "exponential integrator in log-SNR with recursive difference": lambda k, agile: _singlestep(
        k, agile, "ei"
    ),
    "DPM-Solver": lambda k, agile: (dpm_solver.fast if agile else dpm_solver.singlestep)(k, "dpm-solver"),
}
"""The discrete-time copy's solvers, by what a case calls them: (order, agile) -> solver."""


def _singlestep(order: int, agile: bool, version: scire.Version, **options: Any) -> Solver:
    return (scire.agile if agile else scire.singlestep)(order, version, snapshot="disc", **options)


def _run_scire(data: Mapping[str, Any], case: Case, record: Record) -> tuple[str, Pairs]:
    options, snapshot = case["options"], _snapshot(case["options"])
    noise = _schedule(of(data, case, "noise_schedule"), snapshot)
    model = mixture(of(data, case, "problem")).model(noise)
    solver, steps = _solver(case, snapshot, noise), integer(options, "steps")
    lower = options.get("lower_order_final", False)
    arguments = {
        "grid": _grid(str(options["time_grid"])),
        "t_start": options["t_start"],
        "t_end": options["t_end"],
        "steps": steps // integer(options, "order") if options["mode"] == FIXED else steps,
        "final": solver.final.final(steps, False) if lower else "full",
        "denoise": bool(options.get("denoise_to_zero", False)),
    }
    name, final = run_plan(solver, noise, model, initial(case), record, case, arguments)
    pairs = [*recorded(_states_of_x(case, noise), record, final)]
    tableaux = solver.sequence.at(arguments["steps"], arguments["final"])
    orders = np.array([len(t.stages) + t.past + 1 for t in tableaux])
    pairs.append((orders, options.get("order_per_step", orders)))
    if "phi_1_per_step" in options:
        pairs.append((_phi_per_step(options, snapshot, len(tableaux)), options["phi_1_per_step"]))
    return name, pairs


def _snapshot(options: Mapping[str, Any]) -> str:
    folder, commit = str(options["source_file"]).split("/")[0], str(options["source_version"])[:7]
    return FOLDERS[folder] if folder in FOLDERS else look_up(COMMITS, "source_version", commit)


def _schedule(data: Any, snapshot: str) -> Schedule:
    """Only the discrete-time copy clips its table of betas."""
    if isinstance(data, Mapping) and data["kind"] == "discrete-vp" and snapshot != "disc":
        return discrete.discrete(linear_betas(data), clip_lambda=None)
    return noise_schedule(data)


def _solver(case: Case, snapshot: str, noise: Schedule) -> Solver:
    options = case["options"]
    order, mode = integer(options, "order"), look_up(MODES, "mode", options["mode"])
    if snapshot == "disc":
        said = str(case["solver"]).split(" (")[0]
        if options["mode"] == "multistep":
            raise GoldenError("multistep is missing in the discrete-time copy")
        return look_up(DISCRETE_TIME, "solver", said)(order, options["mode"] == AGILE)
    said = str(options["algorithm"]).split(" (")[0]
    arguments: dict[str, Any] = {"snapshot": snapshot, "phi": _phi(options["phi_1_of_m"])}
    if mode is not scire.multistep and noise.kind == "discrete":
        arguments["abscissae"] = "grid"
    return mode(order, look_up(VERSIONS, "algorithm", said), **arguments)


def _phi(text: Any) -> Any:
    """phi_1 as an option says it: None as released, else a number.  What follows in brackets is a remark."""
    if not isinstance(text, str):
        return text
    said = text.split(" (")[0].replace(" ", "")
    if said == "asreleased":
        return None
    if said in ("(e-1)/e", "1-1/e"):
        return LIMIT
    if match := re.match(r"phi_1\((\d+)\)", said):
        return phi_1(int(match[1]))
    try:
        return Rational(Fraction(said))
    except ValueError:
        raise GoldenError(f"phi_1_of_m {text!r} is not known") from None


def _phi_per_step(options: Mapping[str, Any], snapshot: str, count: int) -> np.ndarray:
    phi, order, steps = _phi(options["phi_1_of_m"]), integer(options, "order"), integer(options, "steps")
    if phi is not None:
        return np.full(count, float(phi))
    rule, entries = SNAPSHOTS[snapshot].singlestep, steps // order
    if options["mode"] == "multistep" and (multistep := SNAPSHOTS[snapshot].multistep) is not None:
        rule, entries = multistep[0], steps
    return np.array([float(phi_1(rule(i, entries, order))) for i in range(count)])


def _grid(text: str) -> grids.Grid:
    if text.startswith("NSR type"):
        k = re.search(r"k *= *([0-9.]+)", text)
        if k is None:
            raise GoldenError(f"an NSR grid needs k = .., got {shown(text)}")
        return grids.nsr(float(k[1]))
    return look_up(GRIDS, "time_grid", text.split(" (")[0])


def _states_of_x(case: Case, noise: Schedule) -> Case:
    """The case with the recorded states as x, the initial one first.

    The later code keeps x/alpha or x/sigma, and only its multistep mode records the initial state.
    """
    states = case.get("intermediate_scaled", case.get("intermediate"))
    if states is None:
        return case
    options, times = case["options"], [float(t) for t in case["times"]]
    data_prediction = str(options.get("algorithm")).startswith("data")
    scale = noise.formulas.sigma if data_prediction else noise.formulas.alpha
    after = [np.asarray(x, dtype=np.float64) for x in states[options["mode"] == "multistep" :]]
    if "intermediate_scaled" in case:
        after = [x * scale(t) for x, t in zip(after, times[1:], strict=False)] + after[len(times) - 1 :]
    return {**case, "intermediate": [case["x_init"], *after]}


AGILE, FIXED = "singlestep_agile", "singlestep_fixed"
MODES: dict[str, Callable[..., Solver]] = {
    FIXED: scire.singlestep,
    AGILE: scire.agile,
    "multistep": scire.multistep,
}
SCIRE = Family(lambda options: "scire" in str(options.get("source_file")), _run_scire)
