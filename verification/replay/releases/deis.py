"""qsh-zh/deis, rebuilt from a case's options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from semilinear.integrators.diffusion import discrete, grids, schedule
from semilinear.integrators.diffusion.schedule import Schedule
from semilinear.integrators.solver import Solver
from semilinear.integrators.solvers import deis

from .rebuild import (
    Case,
    Family,
    GoldenError,
    Pairs,
    Record,
    initial,
    integer,
    linear_betas,
    mixture,
    noise_schedule,
    of,
    recorded,
    run_plan,
    within_domain,
)


def _deis_schedule(data: Any) -> Schedule:
    kind = data["kind"] if isinstance(data, Mapping) else data
    if kind == "vp-cosine":
        return schedule.vp_cosine(data.get("offset", 0.008), normalized=False)
    if kind == "discrete-vp":
        return discrete.discrete_alpha_squared(linear_betas(data))
    return noise_schedule(data)


def _run_deis(data: Mapping[str, Any], case: Case, record: Record) -> tuple[str, Pairs]:
    options, noise = case["options"], _deis_schedule(of(data, case, "noise_schedule"))
    model = mixture(of(data, case, "problem")).model(noise)
    solver = DEIS_METHODS[options["official_method_name"]](options)
    arguments = {
        "grid": _deis_grid(options),
        "t_start": within_domain(noise, [options["start_time"]])[0],
        "t_end": options["end_time"],
        "steps": integer(options, "number_of_steps"),
    }
    name, final = run_plan(solver, noise, model, initial(case), record, case, arguments)
    return name, recorded(case, record, final)


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
    "t_ab": lambda o: deis.tab(integer(o, "polynomial_degree"), released=True),
    "rho_ab": lambda o: deis.rho_ab(integer(o, "polynomial_degree"), released=True),
    "rho_rk": lambda o: deis.rho_rk(o["runge_kutta_tableau"]),
    "ipndm": lambda o: deis.ipndm(),
}
DEIS = Family(lambda options: options.get("official_method_name") in DEIS_METHODS, _run_deis)
