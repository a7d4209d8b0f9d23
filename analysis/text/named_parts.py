"""Parts by text, NAME[:KEY=VALUE[,KEY=VALUE..]]: how a command line, a `Setting` and a call in Python name a
solver, a schedule or a grid.

    vp-linear:beta_1=12   discrete:betas=cosine,n=100,max_beta=0.99   alternating:base=karras,power=5,ratio=3

A value is an integer, an exact rational or decimal (3, 1/3, 0.5, 1e-4), true or false, a word, `none` where a
parameter may be absent, or the name of something listed (`WORDS`).  A parameter that is itself a part
(`PARTS`) brings its own parameters into the same list.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Annotated, Any

from semilinear.integrators.common.constructors import (
    allowed,
    default_text,
    is_float,
    literals,
    open_parameters,
    optional,
)
from semilinear.integrators.common.messages import shown
from semilinear.integrators.common.ranges import Positive, Range
from semilinear.integrators.diffusion import discrete, grids, optimised_grid, released_grids, schedule
from semilinear.integrators.diffusion.grids import Grid
from semilinear.integrators.diffusion.schedule import Schedule
from semilinear.integrators.forms import form
from semilinear.integrators.forms.noise_scale import NOISE_SCALES
from semilinear.integrators.solvers import SOLVERS
from semilinear.integrators.solvers.scire_snapshots import LIMIT
from sympy import Rational

from .spelling import check_parameters, check_part, is_integer, number_of, pairs, refuse_unlisted, split

Constructors = Mapping[str, Callable[..., Any]]

LAMBDA, TIME = grids.uniform_lambda(), grids.uniform_t()


def _karras(power: Positive = 7.0, rho: Positive | None = None) -> Grid:
    """rho: what Karras et al. call the power."""
    if rho is not None and power != 7.0:
        raise ValueError(f"power and rho are one parameter, got {shown(power)} and {shown(rho)}")
    return grids.karras(power if rho is None else rho)


def _alternating(base: Grid = LAMBDA, ratio: Positive = 2.0) -> Grid:
    """Steps of the base's spacing variable that alternate in length 1 : ratio."""
    return grids.alternating(base, ratio)


def _kinked(base: Grid = LAMBDA, ratio: Positive = 2.0) -> Grid:
    """The first half of the steps and the second in lengths 1 : ratio of the base's spacing variable."""
    return grids.kinked(base, ratio)


def _rounded(base: Grid = TIME, n: Annotated[int, Range(least=2)] = 1000) -> Grid:
    """The base's inner times to the nearest multiple of 1/n, as indices of n training steps are."""
    return grids.rounded(base, n)


def _beta(base: Grid = TIME, a: Positive = 0.6, b: Positive = 0.6) -> Grid:
    """The base's spacing variable at the quantiles of a Beta law: in t Lee et al. 2024 (arXiv:2407.12173), in
    rho (base=karras,power=1) diffusers, _convert_to_beta.
    """
    return grids.beta(base, a, b)


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "vp-linear": schedule.vp_linear,
    "vp-cosine": schedule.vp_cosine,
    "sub-vp": schedule.sub_vp,
    "ve": schedule.ve,
    "edm": schedule.edm,
    "rectified-flow": schedule.rectified_flow,
    "discrete": discrete.discrete,
    "discrete-alpha-squared": discrete.discrete_alpha_squared,
}
UNIFORM: dict[str, Callable[..., Grid]] = {
    "t": grids.uniform_t,
    "t-quadratic": partial(grids.uniform_t, 2.0),
    "lambda": grids.uniform_lambda,
    "karras": _karras,
    "rho": grids.karras,
    "exponential": grids.uniform_lambda,
    "lu-lambda": grids.uniform_lambda,
    "polyexponential": grids.polyexponential,
    "kl-optimal": grids.kl_optimal,
    "nsr": grids.nsr,
    "shift": grids.shift,
}
"""Of equal steps in a spacing variable.  exponential (k-diffusion) and lu-lambda (diffusers, use_lu_lambdas)
are other names of lambda, rho of karras.
"""
GRIDS: dict[str, Callable[..., Grid]] = UNIFORM | {
    "dynamic-shift": grids.dynamic_shift,
    "beta": _beta,
    "linear-quadratic": grids.linear_quadratic,
    **{
        made.__name__.replace("_", "-"): made
        for made in (
            released_grids.diffusers_leading,
            released_grids.diffusers_trailing,
            released_grids.diffusers_linspace,
            released_grids.diffusers_leading_ddim,
            released_grids.diffusers_linspace_ddim,
            released_grids.comfyui_simple,
            released_grids.comfyui_normal,
            released_grids.comfyui_sgm_uniform,
            released_grids.comfyui_ddim_uniform,
            released_grids.comfyui_beta,
            released_grids.ays_sd1,
            released_grids.ays_sdxl,
            released_grids.ays_svd,
            released_grids.gits,
            released_grids.optimal_steps_flux,
            released_grids.optimal_steps_wan,
            released_grids.optimal_steps_chroma,
            optimised_grid.optimised,
        )
    },
    "alternating": _alternating,
    "kinked": _kinked,
    "rounded": _rounded,
}
BETAS: dict[str, Callable[..., tuple[float, ...]]] = {
    "linear": discrete.linear_betas,
    "scaled-linear": discrete.scaled_linear_betas,
    "cosine": discrete.cosine_betas,
}
PARTS: dict[str, Constructors] = {"base": UNIFORM, "betas": BETAS}
"""Parameters that are parts themselves, by name."""
WORDS: dict[str, dict[str, Any]] = {
    "scale": {scale.name: scale for scale in NOISE_SCALES},
    "form": {
        f.__name__.replace("_", "-"): f
        for f in (
            form.data_in_lambda,
            form.noise_in_lambda,
            form.noise_in_rho,
            form.noise_in_time,
            form.data_in_inverse_rho,
        )
    },
    "phi": {"limit": LIMIT},
    "s_tmax": {"inf": math.inf},
}
"""What words stand for, by the parameter's name."""


# --- text ---


def value_of(text: str) -> int | Rational | bool | str:
    """An integer, an exact rational or decimal, true or false, or else the word itself."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    number = number_of(text)
    if number is None:
        return text
    return int(number) if is_integer(text) else Rational(number)


def _argument(key: str, text: str, parameter: inspect.Parameter) -> Any:
    """The value of a text that a constructor's parameter takes: None; what a word stands for; a float; or as
    `value_of`.
    """
    if text == "none" and optional(parameter):
        return None
    if text in literals(parameter):
        return text
    words = WORDS.get(key, {})
    if text in words:
        return words[text]
    found = value_of(text)
    return float(found) if is_float(parameter) and not isinstance(found, str | bool) else found


# --- parts ---


def schedule_of(text: str, what: str = "schedule") -> Schedule:
    """The noise schedule that a text names (`SCHEDULES`).

    what: how a message calls it.  Raises ValueError for another text, with what is allowed, and where the
    constructor does.
    """
    made: Schedule = _part(what, text, SCHEDULES)
    return made


def grid_of(text: str, what: str = "grid") -> Grid:
    """The grid that a text names (`GRIDS`).  Arguments and errors as in `schedule_of`."""
    made: Grid = _part(what, text, GRIDS)
    return made


def solver_parameters(text: str, more: Iterable[str] = ()) -> tuple[str, dict[str, Any]]:
    """The listed name in a text and its parameters, for `make`.

    more: further KEY=VALUE texts.  Raises ValueError for parameters that the solver does not
    have, with those that it has, and for words that stand for nothing; KeyError for an unlisted name.
    """
    name, texts = split(text)
    taken = open_parameters(SOLVERS[name])
    given = pairs("param", more, pairs(f"a parameter in {text}", texts))
    check_parameters(f"solver {name!r}", given, described(SOLVERS[name]))
    return name, {key: _argument(key, value, taken[key]) for key, value in given.items()}


def _part(what: str, text: str, table: Constructors) -> Any:
    name, texts = split(text)
    refuse_unlisted(what, text, table)
    check_part(what, text, {name: described(table[name])})
    try:
        return _made(table[name], pairs("a parameter", texts))
    except (ValueError, TypeError, OverflowError) as error:  # what the parameters are to each other
        raise ValueError(f"{what} {text}: {error}") from error


def _made(build: Callable[..., Any], given: Mapping[str, str]) -> Any:
    """What the constructor makes; a part among its parameters takes of the others those it knows."""
    own, arguments = open_parameters(build), {}
    for key, text in given.items():
        if key in own and key in PARTS:
            part = PARTS[key][text]
            known = open_parameters(part).keys() - own.keys()
            arguments[key] = _made(part, {k: value for k, value in given.items() if k in known})
        elif key in own:
            arguments[key] = _argument(key, text, own[key])
    return build(**arguments)


def described(build: Callable[..., Any]) -> dict[str, Any]:
    """What a constructor's text may hold, as JSON data.

    parameters: {name: default as it would be typed, null where one must be given}.  values: {name: what it
    takes (`constructors.allowed`)}, of those whose annotation or words tell.  parts: {name: {choice: the same
    of that choice}}, of those that are parts themselves.
    """
    own = open_parameters(build)
    return {
        "parameters": {key: default_text(parameter) for key, parameter in own.items()},
        "values": {key: told for key, p in own.items() if (told := _values(key, p)) is not None},
        "parts": {
            key: {name: described(part) for name, part in PARTS[key].items()} for key in own.keys() & PARTS
        },
    }


def _values(key: str, parameter: inspect.Parameter) -> dict[str, Any] | None:
    if key in PARTS:
        return None
    told, words = allowed(parameter), list(WORDS.get(key, ()))
    if told is None:
        return {"words": words} if words else None
    return told | {"words": words + told["words"]}
