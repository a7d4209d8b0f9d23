"""What FILE.py:function stands for: told by what the function needs and makes, and by no command."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from semilinear.integrators.common.constructors import refuse_unknown
from semilinear.integrators.common.kinds import Kind
from semilinear.integrators.common.messages import shown
from semilinear.integrators.common.modules import module_of_file
from semilinear.integrators.common.names import UnknownTableau
from semilinear.integrators.plans import files
from semilinear.integrators.plans.program import Plan
from semilinear.integrators.solver import Solver
from semilinear.integrators.solvers import SOLVERS
from semilinear.integrators.tableaux.tableau import Tableau
from sympy import Rational

from .text import spelling
from .text.named_parts import value_of
from .text.spelling import pairs

TYPES: Mapping[Kind, type] = {"solver": Solver, "tableau": Tableau, "plan": Plan}
"""Of what the project makes; whatever else runs is a sampler, a function of a run."""


def holds_plan(path: str) -> bool:
    """Whether a .json file says that it is a plan; that it can be read as one is not looked at."""
    try:
        return f'"{files.SCHEMA}"' in Path(path).read_text(errors="replace")[:200]
    except OSError:  # which whoever reads it tells
        return False


# --- functions ---


class Made(NamedTuple):
    """What a function stands for, as it is written with what it needs."""

    kind: Kind
    found: Any
    written: str


def made_by(function: Callable[..., Any], settings: Mapping[str, Any], name: str) -> Made:
    """What a function stands for.

    One that needs nothing but the settings makes a solver, a tableau, a plan, or a sampler: a function of a
    run.  One that needs one argument more is a sampler itself, whose settings are given to it with each run.
    name: to tell.  Raises UnknownTableau for one that needs more or makes another thing, with what it raises,
    and ValueError for settings that it does not take.
    """
    needed, taken = arguments(function, settings)
    if taken is not None:
        refuse_unknown(f"function {name}", settings, taken)
    if len(needed) > 1:
        raise UnknownTableau(
            f"target must need one argument, a run, or none, got {name}({', '.join(needed)}); a function of "
            "another convention is told by its convention (--as)"
        )
    if needed:
        return Made("sampler", function, f"{name}({needed[0]})")
    found = called(function, settings, name)
    for kind, type_ in TYPES.items():
        if isinstance(found, type_):
            return Made(kind, found, name)
    if not callable(found):
        raise UnknownTableau(
            f"{name} must return a Solver, a Tableau, a Plan or a function of a run, got {shown(found)}"
        )
    return Made("sampler", found, name)


def called(function: Callable[..., Any], settings: Mapping[str, Any], name: str) -> Any:
    """What a function or class of a user gives; name: to tell.  Raises UnknownTableau with what it raises."""
    try:
        return function(**settings)
    except (Exception, SystemExit) as error:  # whatever it does
        raise UnknownTableau(f"{name} raised {type(error).__name__}: {error}") from error


def arguments(
    function: Callable[..., Any], settings: Mapping[str, Any]
) -> tuple[list[str], dict[str, inspect.Parameter] | None]:
    """What a function needs besides the settings, and what it takes by name; None where it takes any."""
    try:
        parameters = dict(inspect.signature(function).parameters)
    except ValueError:  # nothing is known of what it takes
        return ["run"], None
    kinds = {p.kind for p in parameters.values()}
    several = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
    needed = [
        p.name
        for p in parameters.values()
        if p.default is p.empty and p.kind not in several and p.name not in settings
    ]
    if not needed and several[0] in kinds:
        needed = ["run"]
    return needed, None if several[1] in kinds else parameters


class Program(NamedTuple):
    """FILE.py:function[:KEY=VALUE,..], taken apart."""

    path: str
    function: str
    settings: dict[str, Any]

    @property
    def name(self) -> str:
        """Without the settings."""
        return f"{self.path}:{self.function}"


def is_program(text: str) -> bool:
    """Whether a text is FILE.py:function, with settings or without, not a listed name with parameters."""
    return spelling.is_program(text, SOLVERS)


def program_of(text: str) -> Program:
    """A text that `is_program`, taken apart.  Raises ValueError for settings that are none."""
    parts = spelling.PROGRAM.fullmatch(text)
    assert parts is not None
    listed = parts["settings"]
    given = pairs("a setting", listed.split(",")) if listed is not None else {}
    return Program(parts["path"], parts["function"], {key: value_of(v) for key, v in given.items()})


def program_made(text: str, more: Mapping[str, Any] | None = None) -> Made:
    """What FILE.py:function stands for, by `made_by`; more: settings besides those of the text.

    The file is run, as Python runs any program that its user names.  Raises UnknownTableau for a file or a
    function that is not there, and as `made_by`.
    """
    program = program_of(text)
    return made_by(
        function_of(program.path, program.function), program.settings | dict(more or {}), program.name
    )


def plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as a sampler computes with them: rational numbers as floats, `none` as None."""
    return {key: _plain(value) for key, value in settings.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Rational):
        return float(value)
    return None if isinstance(value, str) and value == "none" else value


def sampled(found: Any) -> bool:
    """Whether a thing can be called, or has a method `sample` that can."""
    return callable(found) or callable(getattr(found, "sample", None))


def function_of(path: str, name: str, fits: Callable[[Any], bool] = callable) -> Callable[..., Any]:
    """A function of a Python file as it is now; the file is run once for each of its contents.

    fits: whether what is found is one.  Raises UnknownTableau for a file that is not there, that ends
    otherwise than at its end, or that does not define the function.
    """
    found: Any = getattr(_module_of(path), name, None)
    if not fits(found):
        hint = f"; {name} has a method sample, which --as plain calls" if sampled(found) else ""
        raise UnknownTableau(f"{path} must define the function {name!r}{hint}")
    made: Callable[..., Any] = found
    return made


def _module_of(path: str) -> ModuleType:
    try:
        source = Path(path).read_bytes()
    except OSError as error:
        raise UnknownTableau(f"{path} is no Python file that can be read: {error.strerror}") from error
    mark = hashlib.sha256(f"{Path(path).resolve()}\0".encode() + source).hexdigest()
    name = f"{Path(path).stem}@{mark}"  # no module of another name is shadowed
    try:
        return module_of_file(name, Path(path))
    except (Exception, SystemExit) as error:
        raise UnknownTableau(f"{path} raised {type(error).__name__}: {error}") from error
