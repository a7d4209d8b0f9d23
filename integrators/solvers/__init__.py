"""Every solver by name.

`make(name, **parameters)` builds one; `SOLVERS` maps each name to its constructor.  A new solver is one file
in this folder: a function that returns a `Solver`, and an entry in `LISTED`: a constructor, or a name and a
constructor where building every solver to ask its name would take long.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType, ModuleType
from typing import Any

from ..common.constructors import open_parameters, refuse_unknown
from ..common.messages import shown
from ..common.other_names import hint
from ..solver import Solver
from . import dpm_solver

Constructor = Callable[..., Solver]


def ddim() -> Solver:
    """DDIM (arXiv:2010.02502, eq. 12 with eta = 0): the one first-order method that every family here
    reduces to.
    """
    first = dpm_solver.singlestep(1)
    paper = "DDIM (Song et al. 2021), arXiv:2010.02502"
    return Solver(
        name="ddim",
        form=first.form,
        sequence=first.sequence,
        claimed=1,
        source="eq. 12 with eta = 0",
        paper=paper,
    )


_BUILT: dict[str, Solver] = {}
"""Solvers as they are listed; they are immutable, and building one takes longer than asking for it."""


def _listed(
    constructors: Mapping[str, Constructor] | Sequence[Constructor],
) -> Iterator[tuple[str, Constructor]]:
    if isinstance(constructors, Mapping):
        yield from constructors.items()
        return
    for build in constructors:
        solver = build()
        _BUILT[solver.name] = solver
        yield solver.name, build


def _families() -> Iterator[ModuleType]:
    """The modules of this folder that list solvers."""
    for found in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{found.name}")
        if hasattr(module, "LISTED"):
            yield module


def _named() -> dict[str, Constructor]:
    found: dict[str, Constructor] = {"ddim": ddim}
    for family in _families():
        for name, build in _listed(family.LISTED):
            if name in found:
                raise ValueError(f"{family.__name__} must list names of its own, got {name!r} again")
            found[name] = build
    return found


SOLVERS: Mapping[str, Constructor] = MappingProxyType(_named())


def make(name: str, /, **parameters: Any) -> Solver:
    """Build a solver by name.

    A solver made without model statistics that it takes is a formula only: compile_plan refuses it.
    Raises TypeError for what is no name, ValueError for an unknown one, saying what it is called here or
    listing the nearest, or for parameters that the solver does not take.
    """
    if isinstance(name, str) and name in SOLVERS and not parameters:
        if name not in _BUILT:
            _BUILT[name] = SOLVERS[name]()
        return _BUILT[name]
    if not isinstance(name, str):
        raise TypeError(f"solver must be a listed name, got {shown(name)}")
    if name not in SOLVERS:
        raise ValueError(
            f"solver must be a listed name, got {shown(name)}{hint(name, SOLVERS)} (see `semilinear list`)"
        )
    constructor = SOLVERS[name]
    taken = open_parameters(constructor)
    refuse_unknown(f"solver {name!r}", parameters, taken)
    for key, value in parameters.items():
        if taken[key].annotation in (bool, "bool") and not isinstance(value, bool):
            raise ValueError(f"{key} must be true or false, got {shown(value)}")
    return constructor(**parameters)


def parameters_of(name: str) -> list[str]:
    """The parameters that a listed name leaves open: those that identify it are fixed."""
    return list(open_parameters(SOLVERS[name]))
