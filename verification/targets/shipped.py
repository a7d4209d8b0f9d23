"""The grids that packages choose by themselves, how they start on them, and what the model is told.

A network is told a timestep, an integer or rounded to one, where a scheduler computes with a noise level: it
is asked for another level than that of the state.  Which one follows from the package's own table of training
levels.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import numpy as np

from . import diffusers, k_diffusion, smalldiffusion
from .azula import on_schedule, times_of
from .flow_matching import FIXED
from .frames import SIZE
from .run import Sampler

Settings = Mapping[str, Any]

INFINITE = 1e6
"""The level that stands for a start without data."""
LARGEST, SMALLEST = 80.0, 0.002
"""Noise levels of a whole run, where a package leaves them to its user."""


@dataclass(frozen=True)
class Shipped:
    """A grid with n steps, and its sampler.

    levels: rho, n + 1 of them, the last may be 0.  noise: the standard deviation of x/alpha at the start, as
    drawn.  sampler: of runs on a VE schedule whose times are the levels.  told: the same with a model that is
    told the package's times, None where these are the levels.
    """

    levels: tuple[float, ...]
    noise: float
    sampler: Sampler
    told: Sampler | None = None


class NoGrid(ValueError):
    """A package that leaves the times to its user."""


Choices = Mapping[str, Callable[[int], Shipped]]
"""n -> the grid, by name."""

SPACINGS = ("karras_sigmas", "exponential_sigmas", "beta_sigmas", "lu_lambdas")
"""Of diffusers' schedulers, the parameters use_.. that choose levels."""
ENDING = "final_sigmas_type"
"""And the one that says where they end."""
KARRAS = "its karras sigmas"


def of_diffusers(scheduler: Any, settings: Settings | None = None) -> Choices:
    """The grid of a scheduler as it is configured, and those of the spacings that it has, unless one is set;
    where it has Karras's and can be told to end at sigma_min, and is not, the first two also to there.

    Raises NoGrid for one that chooses none, ValueError as `diffusers.sampler`.
    """
    choice = diffusers.choose(scheduler, settings)
    place = choice.convention.place
    if place in diffusers.UNCHOSEN:
        none_of(choice.made.__name__, diffusers.UNCHOSEN[place])
    found: dict[str, Callable[[int], Shipped]] = {"its own grid": _scheduled(choice)}
    has = [key for name in SPACINGS if (key := f"use_{name}") in choice.taken]
    if not choice.flow and not any(choice.config.get(key) for key in has):
        for key in has:
            found[f"its {key.removeprefix('use_').replace('_', ' ')}"] = _scheduled(_with(choice, key, True))
    if KARRAS in found and ENDING in choice.taken and ENDING not in choice.config:
        to_min = _with(choice, ENDING, "sigma_min")
        found["its own grid ending at sigma_min"] = _scheduled(to_min)
        found[f"{KARRAS} ending at sigma_min"] = _scheduled(_with(to_min, "use_karras_sigmas", True))
    return found


def _with(choice: diffusers.Choice, key: str, value: Any) -> diffusers.Choice:
    return replace(choice, config=dict(choice.config) | {key: value})


def _scheduled(choice: diffusers.Choice) -> Callable[[int], Shipped]:
    @cache
    def made() -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return choice.made(**choice.config)

    def grid(n: int) -> Shipped:
        s = made()
        s.set_timesteps(n)
        levels = _rho(choice, diffusers.CHOSEN[choice.convention.place](s))
        told = _told(choice, s)
        noise = float(getattr(s, "init_noise_sigma", 1.0)) * SIZE[choice.frame](levels[0])
        return Shipped(levels, noise, choice.sampler(), None if told is None else choice.sampler(told))

    return grid


def _rho(choice: diffusers.Choice, values: Any) -> tuple[float, ...]:
    """Levels, from rho or s = rho/(1 + rho) of the flow frame."""
    found = np.asarray(values, dtype=np.float64)
    with np.errstate(divide="ignore"):
        rho = found / (1 - found) if choice.frame == "flow" else found
    return tuple(float(r) for r in np.minimum(rho, INFINITE))


def _told(choice: diffusers.Choice, s: Any) -> tuple[float, ...] | None:
    """The training levels at what the model is told; None where times are levels themselves.

    Between two training timesteps log rho is linear, as the schedulers' own inverse has it.
    """
    own = choice.convention.table and not choice.convention.interpolates
    if own or not hasattr(s, "alphas_cumprod") or s.config.get("timestep_type") == "continuous":
        return None
    times = np.asarray(s.timesteps, dtype=np.float64)
    if choice.frame == "flow":
        return _rho(choice, times / s.config.num_train_timesteps)
    alphas = np.asarray(s.alphas_cumprod, dtype=np.float64)
    with np.errstate(divide="ignore"):
        levels = np.log(np.minimum(np.sqrt((1 - alphas) / alphas), INFINITE))
    return tuple(float(r) for r in np.exp(np.interp(times, np.arange(len(levels)), levels)))


def of_k_diffusion(function: Callable[..., Any], settings: Settings | None = None) -> Choices:
    """The grids of `get_sigmas_*`: the ends are the user's where they have no default, 80 and 0.002 here."""
    sampler = k_diffusion.sampler(function, settings)

    def grid(make: Callable[..., Any], ends: Settings, n: int) -> Shipped:
        levels = tuple(float(v) for v in make(n, **ends))
        return Shipped(levels, levels[0], sampler)

    release = k_diffusion.release()
    ends = {"sigma_min": SMALLEST, "sigma_max": LARGEST}
    return {
        f"get_sigmas_{name}": partial(grid, getattr(release, f"get_sigmas_{name}"), given)
        for name, given in {"karras": ends, "exponential": ends, "vp": {}}.items()
    }


AZULA = ("VPSchedule", "CosineSchedule", "RectifiedSchedule", "VESchedule")


def of_azula(made: Any, settings: Settings | None = None) -> Choices:
    """Times uniform from 1 to 0, on each of azula's schedules as they come."""
    import azula.noise

    def grid(schedule: Any, n: int) -> Shipped:
        alpha, sigma = schedule(times_of(made, n, settings))
        levels = tuple(float(r) for r in sigma / alpha)
        drawn = SIZE["vp"](levels[0])  # by `init`, for data of mean 0 and variance 1
        return Shipped(levels, drawn, on_schedule(made, schedule, settings))

    return {f"its {name}": partial(grid, getattr(azula.noise, name)()) for name in AZULA}


SMALLDIFFUSION = ("ScheduleLogLinear", "ScheduleDDPM", "ScheduleLDM", "ScheduleSigmoid", "ScheduleCosine")
TRAINED = 1000
"""Levels of its schedules, as many as most of them have."""


def of_smalldiffusion(function: Callable[..., Any], settings: Settings | None = None) -> Choices:
    """What `sample_sigmas` takes of each of its schedules of noise levels."""
    sampler, release = smalldiffusion.sampler(function, settings), smalldiffusion.release()

    def grid(schedule: Any, n: int) -> Shipped:
        levels = tuple(min(float(r), INFINITE) for r in schedule.sample_sigmas(n))
        return Shipped(levels, levels[0], sampler)

    return {f"its {name}": partial(grid, getattr(release, name)(TRAINED)) for name in SMALLDIFFUSION}


def of_flow_matching(method: str, sampler: Sampler) -> Choices:
    """Steps of length 1/n from noise at 0 to data at 1, the `time_grid` that it has of itself.

    Raises NoGrid for methods whose steps follow a tolerance.
    """
    if method not in FIXED:
        raise NoGrid(
            "not run on a shipped grid: its steps follow a tolerance, and go beyond the time of data"
        )

    def grid(n: int) -> Shipped:
        levels = tuple(min((n - k) / k, INFINITE) if k else INFINITE for k in range(n + 1))
        return Shipped(levels, SIZE["flow"](levels[0]), sampler)

    return {"its time_grid in equal steps": grid}


def none_of(package: str, why: str) -> Choices:
    """Raises NoGrid with what a package leaves to its user."""
    raise NoGrid(f"not run on a shipped grid: {package} {why}")
