"""Grids as they are released: indices of a training table, rounded as each release does; published tables.

A run's ends are its own; a release's rule gives the inner times.  Index i of `count` training steps is the
time (i + 1)/count of schedules on [0, 1] (DPM-Solver's convention), and i itself on `discrete_alpha_squared`;
between indices the time is linear.  So a run from t = 1 to 1/count goes from the last index to the first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

import numpy as np

from ..common import checks, limits
from ..common.ranges import Positive, Range
from ..common.remaking import remade
from ..numerics.arithmetic import Value, of
from .grid_tables import TABLES, Levels
from .grids import Placed, beta_quantiles
from .schedule import Schedule

COUNT = 1000
Count = Annotated[int, Range(least=2, most=limits.TABLE)]
Offset = Annotated[int, Range(least=0)]
Indices = Callable[[int, int], np.ndarray]
"""(n, count) -> the indices at which a release evaluates its model in n steps, the largest first."""


def _time(schedule: Schedule, index: float, count: int, like: Value) -> Value:
    number = of(like).number
    if schedule.kind == "discrete-alpha-squared":
        return number(index)
    return (number(index) + 1) / count


def _at_indices(name: str, rule: Indices, count: int) -> Placed:
    count = checks.integer("count", count, 2, limits.TABLE)

    def inner(schedule: Schedule, t_start: Value, t_end: Value, n: int) -> Sequence[Value]:
        if schedule.t_max not in (1.0, count - 1.0):
            raise ValueError(
                f"grid {name!r} is of indices of {count} training steps: the schedule's times must end at 1 "
                f"or {count - 1}, got {schedule.t_max:g}"
            )
        indices = rule(n, count)
        if len(np.unique(indices)) != n:
            made = len(np.unique(indices))
            raise ValueError(f"grid {name!r} with {count} training steps makes {made} steps where n = {n}")
        return [_time(schedule, float(i), count, t_start) for i in indices[1:]]

    return Placed(name, (("count", float(count)),), inner=inner)


@remade
def diffusers_trailing(count: Count = COUNT) -> Placed:
    """round(count - i count/n) - 1, i = 0 .. n - 1.  diffusers, "trailing" of all schedulers."""
    return _at_indices("diffusers-trailing", lambda n, c: np.arange(c, 0, -c / n).round() - 1, count)


@remade
def diffusers_leading(count: Count = COUNT, offset: Offset = 1) -> Placed:
    """Multiples of count // (n + 1) but 0, + offset.  diffusers, "leading" of multistep solvers.

    offset: steps_offset, 0 in the schedulers and 1 in the configurations of Stable Diffusion.
    """
    offset = checks.integer("offset", offset, 0)
    return _at_indices("diffusers-leading", lambda n, c: np.arange(n, 0, -1) * (c // (n + 1)) + offset, count)


@remade
def diffusers_linspace(count: Count = COUNT) -> Placed:
    """round(i (count - 1)/n), i = n .. 1.  diffusers, "linspace" of multistep DPM-Solver, UniPC, DEIS, SA."""
    return _at_indices("diffusers-linspace", lambda n, c: np.linspace(0, c - 1, n + 1).round()[:0:-1], count)


@remade
def diffusers_leading_ddim(count: Count = COUNT, offset: Offset = 1) -> Placed:
    """Multiples of count // n, + offset.  diffusers, "leading" of DDIM, PNDM, Euler, Heun, LMS.

    offset: steps_offset; with 0 the last index is 0, and the run must end below it.
    """
    offset = checks.integer("offset", offset, 0)
    return _at_indices("diffusers-leading-ddim", lambda n, c: np.arange(n)[::-1] * (c // n) + offset, count)


@remade
def diffusers_linspace_ddim(count: Count = COUNT) -> Placed:
    """round(i (count - 1)/(n - 1)), i = n - 1 .. 0.  diffusers, "linspace" of DDIM and PNDM.

    The last index is 0: the run must end below it.
    """
    return _at_indices("diffusers-linspace-ddim", lambda n, c: np.linspace(0, c - 1, n).round()[::-1], count)


@remade
def comfyui_simple(count: Count = COUNT) -> Placed:
    """count - 1 - floor(i count/n), i = 0 .. n - 1.  ComfyUI, simple_scheduler."""
    return _at_indices("comfyui-simple", lambda n, c: c - 1 - np.floor(np.arange(n) * (c / n)), count)


@remade
def comfyui_ddim_uniform(count: Count = COUNT) -> Placed:
    """1, 1 + count // n, .. below count, downwards: n of them where that is so.  ComfyUI, ddim_scheduler."""
    return _at_indices("comfyui-ddim-uniform", lambda n, c: np.arange(1, c, max(c // n, 1))[::-1], count)


@remade
def comfyui_normal(count: Count = COUNT) -> Placed:
    """(count - 1)(1 - i/(n - 1)), not rounded.  ComfyUI, normal_scheduler; the last index is 0."""
    return _at_indices("comfyui-normal", lambda n, c: np.linspace(c - 1, 0, n), count)


@remade
def comfyui_sgm_uniform(count: Count = COUNT) -> Placed:
    """(count - 1)(1 - i/n), not rounded.  ComfyUI, normal_scheduler with sgm=True."""
    return _at_indices("comfyui-sgm-uniform", lambda n, c: np.linspace(c - 1, 0, n + 1)[:-1], count)


@remade
def comfyui_beta(count: Count = COUNT, a: Positive = 0.6, b: Positive = 0.6) -> Placed:
    """round((count - 1) q), q the quantiles at 1 - i/n of a Beta law.  ComfyUI, beta_scheduler."""
    first, second = float(checks.number("a", a, above=0)), float(checks.number("b", b, above=0))

    def rule(n: int, c: int) -> np.ndarray:
        found: np.ndarray = np.rint(beta_quantiles(first, second, 1 - np.arange(n) / n) * (c - 1))
        return found

    return _at_indices("comfyui-beta", rule, count)


# --- published tables ---


def interpolated(levels: Levels, n: int) -> tuple[float, ...]:
    """n + 1 levels from n' + 1: linear in the log of the level over i/n, as they are where n = n'."""
    if n == len(levels) - 1:
        return levels
    at, known = np.linspace(0, 1, n + 1), np.linspace(0, 1, len(levels))
    return tuple(np.exp(np.interp(at, known, np.log(levels))).tolist())


def _tabulated(name: str) -> Placed:
    table = TABLES[name]
    by_steps = {len(row) - 1: row for row in table.rows}

    def inner(schedule: Schedule, t_start: Value, t_end: Value, n: int) -> Sequence[Value]:
        levels = by_steps.get(n, by_steps[max(by_steps)])
        number = of(t_start).number
        inner = [number(v) for v in interpolated(levels, n)[1:-1]]
        rhos = inner if table.variable == "rho" else [v / (1 - v) for v in inner]
        return [schedule.formulas.t_of_rho(v) for v in rhos]

    return Placed(name, inner=inner)


@remade
def ays_sd1() -> Placed:
    """10 levels for Stable Diffusion 1.5, else interpolated in log rho.  Sabour et al. 2024 (AYS)."""
    return _tabulated("ays-sd1")


@remade
def ays_sdxl() -> Placed:
    """10 levels for SDXL, else interpolated in log rho.  Sabour et al. 2024 (Align Your Steps)."""
    return _tabulated("ays-sdxl")


@remade
def ays_svd() -> Placed:
    """10 levels from 700 for Stable Video Diffusion.  Sabour et al. 2024 (Align Your Steps)."""
    return _tabulated("ays-svd")


@remade
def gits() -> Placed:
    """2 to 20 steps of Stable Diffusion 1.5, coefficient 1.2, else interpolated.  Chen et al. 2024 (GITS)."""
    return _tabulated("gits")


@remade
def optimal_steps_flux() -> Placed:
    """10 flow times for Flux, for other n interpolated in their log.  Pei et al. 2025 (OptimalSteps)."""
    return _tabulated("optimal-steps-flux")


@remade
def optimal_steps_wan() -> Placed:
    """20 flow times for Wan, for other n interpolated in their log.  Pei et al. 2025 (OptimalSteps)."""
    return _tabulated("optimal-steps-wan")


@remade
def optimal_steps_chroma() -> Placed:
    """40 flow times for Chroma, for other n interpolated in their log.  OptimalSteps, as ComfyUI has it."""
    return _tabulated("optimal-steps-chroma")
