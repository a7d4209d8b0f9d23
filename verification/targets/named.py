"""Samplers by text: those of a package, a file's, a program, and our own.

diffusers:DEISMultistepScheduler:solver_order=3    k_diffusion:sample_dpmpp_2m    azula:xEABSampler
torchdiffeq:rk4    flow_matching:midpoint    smalldiffusion:samples    deepinv:HeunSolver
FILE.py:function   process:./program   dpm-solver++-2m   FILE.json
"""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from semilinear.analysis.lookup import (
    FORMS,
    check_name,
    function_of,
    in_form,
    is_solver,
    solver_of,
    tableau_of,
)
from semilinear.analysis.text.named_parts import pairs, value_of
from semilinear.integrators.numerics import checks
from semilinear.integrators.numerics.constructors import refuse_unknown
from semilinear.integrators.numerics.messages import shown
from semilinear.integrators.numerics.names import nearest
from semilinear.integrators.plans import files
from semilinear.integrators.plans.program import Plan
from semilinear.integrators.solver import Solver
from semilinear.integrators.solvers import SOLVERS
from sympy import Rational

from . import azula, deepinv, diffusers, flow_matching, k_diffusion, ours, plain, process, smalldiffusion
from . import torchdiffeq as ode
from .listed import CLAIMS, NAMES, NONE, USUAL
from .loading import version
from .run import Sampler
from .shipped import (
    Choices,
    none_of,
    of_azula,
    of_diffusers,
    of_flow_matching,
    of_k_diffusion,
    of_smalldiffusion,
)

Settings = Mapping[str, Any]
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Target:
    """A sampler and what is said of it.

    name: as it is found again (`target`).  claimed: the order that its source claims, None where it claims
    none.  source: of the claim.  package, version: of whose it is, "" where it is a file's.  own: of a
    function, the same sampler in the arithmetic that it is written in, where `sampler` makes it compute in
    float64.  convention: of a file's function, None where it is that of runs.  named: whether `target` finds
    it by its name.  shipped: the grids that its package chooses for it, None where none is known here.  made:
    the solver or plan that the sampler runs, None where it is another's.
    """

    name: str
    sampler: Sampler
    claimed: int | None
    source: str
    package: str = ""
    version: str = ""
    own: Sampler | None = None
    convention: str | None = None
    named: bool = True
    shipped: Callable[[], Choices] | None = None
    made: Solver | Plan | None = None


@dataclass(frozen=True)
class Package:
    """How the samplers of a package are got.

    distribution: its name where it is installed from.  find: the function or class of a name.  adapt: what
    makes a sampler of it.  ship: the grids that are chosen for it.
    """

    distribution: str
    find: Callable[[str], Any]
    adapt: Callable[..., Sampler]
    ship: Callable[[Any, Settings], Choices] | None = None


def _of_module(load: Callable[[], Any]) -> Callable[[str], Any]:
    return lambda name: getattr(load(), name)


def _azula() -> Any:
    import azula.sample

    return azula.sample


def _method(name: str) -> str:
    return name


def _odeint(method: str, settings: Settings, **options: Any) -> Sampler:
    from torchdiffeq import odeint

    return ode.sampler(odeint, method, settings, **options)


def _flow_matching(method: str, settings: Settings, **options: Any) -> Sampler:
    from flow_matching.solver import ODESolver

    return flow_matching.sampler(ODESolver, {"method": method} | dict(settings), **options)


def _none(package: str, what: str) -> Callable[[Any, Settings], Choices]:
    return lambda *_: none_of(package, f"has none, {what} the times of its user")


PACKAGES: dict[str, Package] = {
    "diffusers": Package("diffusers", _method, diffusers.sampler, of_diffusers),
    "k_diffusion": Package(
        "k-diffusion", _of_module(k_diffusion.release), k_diffusion.sampler, of_k_diffusion
    ),
    "azula": Package("azula", _of_module(_azula), azula.sampler, of_azula),
    "deepinv": Package("deepinv", deepinv.find, deepinv.sampler, _none("deepinv", "its solvers take")),
    "smalldiffusion": Package(
        "smalldiffusion",
        _of_module(smalldiffusion.release),
        smalldiffusion.sampler,
        of_smalldiffusion,
    ),
    "torchdiffeq": Package("torchdiffeq", _method, _odeint, _none("torchdiffeq", "odeint takes")),
    "flow_matching": Package(
        "flow-matching",
        _method,
        _flow_matching,
        lambda method, settings: of_flow_matching(method, _flow_matching(method, settings)),
    ),
}


def _run(function: Any, settings: Settings) -> Sampler:
    if not settings:
        return function  # type: ignore[no-any-return]
    taken = list(inspect.signature(function).parameters.items())[1:]
    refuse_unknown(f"function {getattr(function, '__name__', 'sampler')}", settings, dict(taken))
    return lambda run: function(run, **settings)


def _solver(function: Any, settings: Settings) -> Sampler:
    solver = function(**settings)
    checks.instance("what the function returns", solver, Solver)
    return ours.of_solver(solver)


def _plain(function: Any, settings: Settings) -> Sampler:
    return plain.sampler(function, **settings)


CONVENTIONS: dict[str, Callable[..., Sampler]] = {
    "run": _run,
    "plain": _plain,
    "solver": _solver,
    "k-diffusion": k_diffusion.sampler,
    "diffusers": diffusers.sampler,
    "azula": azula.sampler,
    "deepinv": deepinv.sampler,
    "smalldiffusion": smalldiffusion.sampler,
    "flow-matching": flow_matching.sampler,
}
"""Of a file's function or class: "run" is a function of a run, "plain" one of (model, x, times), "solver" one
that returns a `Solver`; the others are those of the packages."""


def target(text: str, *, settings: Settings | None = None, convention: str | None = None) -> Target:
    """The target that a text names.

    text: PACKAGE:NAME (`PACKAGES`), FILE.py:function, process:COMMAND, a listed solver, an entry of the
    catalogue, or a .json file of a tableau or a plan; the first two take :KEY=VALUE,.. as well.  settings:
    of the sampler, further ones; those of the adapter among them (`exact`, `variable`, `alpha`, `form`, ..).
    convention: of a file's function (`CONVENTIONS`); "run" where absent.
    Raises ValueError for a text that names nothing, with the nearest names, and for settings and conventions
    that do not fit; ModuleNotFoundError for a package that is not installed.
    """
    if not isinstance(text, str) or not text:
        raise TypeError(f"text must name a target, got {shown(text)}")
    given = dict(settings or {})
    head, _, rest = text.partition(":")
    is_file = head.endswith(".py") and bool(rest)
    if convention is not None:
        checks.one_of("convention", convention, tuple(CONVENTIONS))
        if not is_file:
            raise ValueError(f"convention is for FILE.py:function, got {shown(text)}")
    if is_file:
        name, own = _settings(rest)
        return _of_file(head, name, own | given, convention or "run")
    if head == "process" and rest:
        return Target(text, process.sampler(rest, **given), None, "")
    if head in PACKAGES:
        name, own = _settings(rest)
        return _of_package(head, name, own | given)
    return _of_ours(text, given)


def of_function(
    function: Callable[..., Any],
    *,
    name: str | None = None,
    settings: Settings | None = None,
    convention: str = "run",
    source: str = "",
) -> Target:
    """The target that a function or class is.

    name: its own when absent.  settings, convention: as of `target`.  source: where it is from.
    Raises TypeError for what cannot be called, ValueError for settings and conventions that do not fit.
    """
    if not callable(function):
        raise TypeError(f"function must be callable, got {shown(function)}")
    checks.one_of("convention", convention, tuple(CONVENTIONS))
    adapt, given = CONVENTIONS[convention], dict(settings or {})
    own = None
    if "exact" in inspect.signature(adapt).parameters and "exact" not in given:
        own = _adapted(adapt, function, given | {"exact": False})
    own_name: str = getattr(function, "__name__", type(function).__name__)
    written = _written(own_name if name is None else name, given)
    adapted = _adapted(adapt, function, given)
    return Target(written, adapted, None, source, own=own, named=False)


def targets(
    text: str, *, settings: Settings | None = None, convention: str | None = None
) -> tuple[Target, ...]:
    """What a text names: all of a package for PACKAGE:*, as `everything` lists it, or the one `target`.

    Raises ValueError for settings or a convention of many, and as these do.
    """
    package, star, rest = str(text).partition(":*")
    if not star or rest:
        return (target(text, settings=settings, convention=convention),)
    if settings or convention:
        raise ValueError(f"settings are for one target, got {shown(text)}")
    return everything(package)


def everything(package: str) -> tuple[Target, ...]:
    """All targets of a package, in their usual configurations; what the installed version does not take of
    these is left out, and logged.

    package: one of `PACKAGES`, or "semilinear" for our own listed solvers.  Raises ValueError for another,
    ModuleNotFoundError where it is not installed.
    """
    checks.one_of("package", package, (*PACKAGES, "semilinear"))
    if package == "semilinear":
        return tuple(target(name) for name in SOLVERS)
    found = []
    for name in names(package):
        for settings in USUAL.get(f"{package}:{name}", ({},)):
            try:
                found.append(_of_package(package, name, settings))
            except (ValueError, AttributeError) as error:  # another version, with others or other parameters
                logger.warning("%s:%s is left out: %s", package, name, str(error).partition(";")[0])
    return tuple(found)


def names(package: str) -> tuple[str, ...]:
    """The samplers of a package, by name."""
    return diffusers.names() if package == "diffusers" else NAMES[package]


def _settings(text: str) -> tuple[str, dict[str, Any]]:
    """NAME and the values of NAME:KEY=VALUE,.. ."""
    name, colon, listed = text.partition(":")
    found = pairs("a setting", listed.split(",")) if colon else {}
    return name, {key: value(given) for key, given in found.items()}


def value(text: str) -> Any:
    """A setting's value: a number, true, false, none, or a word."""
    found = value_of(text)
    if isinstance(found, Rational):
        return float(found)
    return None if found == "none" else found


def _written(name: str, settings: Settings) -> str:
    texts = [f"{key}={_text(value)}" for key, value in settings.items()]
    return f"{name}:{','.join(texts)}" if texts else name


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) or value is None else str(value)


def _adapted(adapt: Callable[..., Sampler], found: Any, settings: Settings) -> Sampler:
    """The sampler, with the settings that are the adapter's own given to it by keyword."""
    taken = inspect.signature(adapt).parameters
    if any(p.kind is p.VAR_KEYWORD for p in taken.values()):
        taken = inspect.signature(ode.sampler).parameters
    own = {key for key, p in taken.items() if p.kind is p.KEYWORD_ONLY}
    options = {key: value for key, value in settings.items() if key in own}
    return adapt(found, {k: v for k, v in settings.items() if k not in own}, **options)


def _of_package(package: str, name: str, settings: Settings) -> Target:
    if name not in names(package) and name not in diffusers.REFUSED:
        raise ValueError(
            f"{package} has no sampler {shown(name)} that is known here{nearest(name, names(package))}"
        )
    how = PACKAGES[package]
    found = how.find(name)
    sampler = _adapted(how.adapt, found, settings)
    own = {key: value for key, value in settings.items() if key != "exact"}
    ship = None if how.ship is None else partial(how.ship, found, own)
    claim = CLAIMS.get(f"{package}:{name}", NONE)
    written = _written(f"{package}:{name}", settings)
    return Target(
        written,
        sampler,
        claim.of(settings),
        claim.source,
        how.distribution,
        version(how.distribution),
        shipped=ship,
    )


def _of_file(path: str, name: str, settings: Settings, convention: str) -> Target:
    found = of_function(
        function_of(path, name), name=f"{path}:{name}", settings=settings, convention=convention, source=path
    )
    return replace(found, named=True, convention=None if convention == "run" else convention)


def _of_ours(text: str, settings: Settings) -> Target:
    form = settings.get("form", "lambda")
    checks.one_of("form", form, tuple(FORMS))
    given = {key: value for key, value in settings.items() if key != "form"}
    if text.lower().endswith(".json") and Path(text).is_file() and _holds_a_plan(text):
        plan = files.load(text)
        source = f"{plan.solver}, {os.path.basename(text)}"
        return Target(text, ours.of_plan(plan, **given), None, source, made=plan)
    _check_ours(text)
    if is_solver(text) and "form" not in settings:
        parameters = {k: v for k, v in given.items() if k not in ("prediction", "final")}
        solver = solver_of(text, **parameters)
        written = _written(text, parameters) if ":" not in text else text
    else:
        parameters, found = {}, tableau_of(text)
        solver, written = in_form(found, FORMS[form]), found.name
    options = {k: v for k, v in given.items() if k not in parameters}
    return Target(
        written,
        ours.of_solver(solver, **options),
        solver.claimed,
        ", ".join(filter(None, (solver.paper, solver.source))),
        "semilinear",
        version("semilinear"),
        made=solver,
    )


def _check_ours(text: str) -> None:
    """Refuse what is neither ours nor a package's, with the nearest of all names."""
    try:
        check_name(text)
    except ValueError as error:
        if nearest(text, SOLVERS):
            raise
        foreign = [f"{package}:{name}" for package in PACKAGES for name in names(package)]
        raise ValueError(
            f"{error}, or PACKAGE:NAME of {', '.join(PACKAGES)}{nearest(text, foreign)}"
        ) from None


def _holds_a_plan(path: str) -> bool:
    return f'"{files.SCHEMA}"' in Path(path).read_text(errors="replace")[:200]
