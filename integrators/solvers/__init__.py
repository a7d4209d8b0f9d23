"""Every solver by name.

`make(name, **parameters)` builds one; `SOLVERS` maps each name to its constructor.  A new solver is a
function that returns a `Solver`, and a line here.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from ..solver import Solver
from . import classical, deis, dpm_solver, edm, score_sde

Constructor = Callable[..., Solver]


def _constructors() -> Iterable[Constructor]:
    ode: tuple[dpm_solver.Family, ...] = ("dpm-solver", "dpm-solver++")
    for family in ode:
        yield partial(dpm_solver.singlestep, 1, family)
        for order in (2, 3):
            for type in dpm_solver.TYPES:
                yield partial(dpm_solver.singlestep, order, family, type)
        for type in dpm_solver.TYPES:
            yield partial(dpm_solver.multistep, 2, family, type)
        for released in (True, False):
            yield partial(dpm_solver.multistep, 3, family, released=released)
        for order in (2, 3):
            yield partial(dpm_solver.fast, order, family)
    for degree in range(4):
        for released in (False, True):
            yield partial(deis.tab, degree, released=released)
    for degree in range(4):
        for released in (False, True):
            yield partial(deis.rho_ab, degree, released=released)
    for degree in range(4):
        yield partial(deis.lambda_ab, degree)
    for method in deis.RUNGE_KUTTA:
        yield partial(deis.rho_rk, method)
    yield deis.ipndm
    yield edm.heun
    sde: tuple[dpm_solver.Family, ...] = ("sde-dpm-solver", "sde-dpm-solver++")
    for family in sde:
        yield partial(dpm_solver.multistep, 1, family)
        for type in dpm_solver.TYPES:
            yield partial(dpm_solver.multistep, 2, family, type)
    yield partial(dpm_solver.multistep, 3, "sde-dpm-solver++")
    for ode_too in (score_sde.euler_maruyama, score_sde.reverse_diffusion):
        for flow in (False, True):
            yield partial(ode_too, ode=flow)
    for variance in score_sde.SPREADS:
        yield partial(score_sde.ancestral, variance)
    yield partial(score_sde.euler_maruyama_released, ode=False)
    yield partial(score_sde.reverse_diffusion_released, ode=False)
    yield score_sde.ancestral_released
    for name in classical.CATALOGUE:
        yield partial(classical.exponential_rk, name)


def ddim() -> Solver:
    """DDIM (arXiv:2010.02502, eq. 12 with eta = 0): the one first-order method that every family here
    reduces to.
    """
    first = dpm_solver.singlestep(1)
    paper = "DDIM (Song et al. 2021), arXiv:2010.02502"
    return Solver("ddim", first.form, first.sequence, 1, "eq. 12 with eta = 0", paper=paper)


SOLVERS: dict[str, Constructor] = {"ddim": ddim} | {build().name: build for build in _constructors()}


def make(name: str, /, **parameters: Any) -> Solver:
    """Build a solver by name.

    Raises ValueError for an unknown name, listing the nearest ones, or for parameters that the solver does
    not take.
    """
    if not isinstance(name, str) or name not in SOLVERS:
        near = difflib.get_close_matches(str(name), SOLVERS, n=5, cutoff=0.3)
        hint = f"; the nearest are {', '.join(near)}" if near else ""
        raise ValueError(f"solver must be a listed name, got {name!r}{hint} (see `semilinear list`)")
    constructor = SOLVERS[name]
    taken = _free_parameters(constructor)
    unknown = [key for key in parameters if key not in taken]
    if unknown:
        allowed = ", ".join(taken) or "none"
        raise ValueError(f"solver {name!r} does not take {', '.join(unknown)}; its parameters are: {allowed}")
    return constructor(**parameters)


def _free_parameters(constructor: Constructor) -> list[str]:
    """The parameters that a listed name leaves open: those that identify it are fixed."""
    signature = inspect.signature(constructor)
    fixed = constructor.keywords if isinstance(constructor, partial) else {}
    return [key for key in signature.parameters if key not in fixed]
