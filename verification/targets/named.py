"""Whatever runs, by text or as it is: one way from a word to a sampler, for every command and study.

diffusers:DEISMultistepScheduler:solver_order=3    k_diffusion:sample_dpmpp_2m    azula:xEABSampler
torchdiffeq:rk4    flow_matching:midpoint    smalldiffusion:samples    deepinv:HeunSolver
FILE.py:function   process:./program   dpm-solver++-2m   FILE.json   a Solver, a Plan, a function
"""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

from semilinear.analysis.lookup import FORMS, Found, in_form, is_solver, solver_of, tableau_of
from semilinear.analysis.programs import (
    Made,
    function_of,
    holds_plan,
    is_program,
    made_by,
    program_of,
    sampled,
)
from semilinear.analysis.programs import plain as as_numbers
from semilinear.analysis.text.named_parts import value_of
from semilinear.analysis.text.spelling import pairs
from semilinear.integrators.common import checks
from semilinear.integrators.common.constructors import refuse_unknown
from semilinear.integrators.common.kinds import ALL, SOLVER, Kind, refuse
from semilinear.integrators.common.messages import shown
from semilinear.integrators.plans import files
from semilinear.integrators.plans.program import Plan
from semilinear.integrators.solver import Solver
from semilinear.integrators.solvers import SOLVERS
from semilinear.integrators.tableaux.catalogue import CATALOGUE

from . import azula, deepinv, diffusers, flow_matching, k_diffusion, ours, plain, process, smalldiffusion
from . import torchdiffeq as ode
from .diffusers import REFUSED
from .listed import CLAIMS, DISTRIBUTIONS, NAMES, NONE, OURS, USUAL, check_ours, check_sampler, is_foreign
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

    kind: whether it is a solver, a tableau (run in a form), a plan, or any other sampler.  name: as it is
    found again (`target`).  claimed: the order that its source claims, None where it claims
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
    kind: Kind = "sampler"

    @property
    def solver(self) -> Solver:
        """What a solver or a tableau runs as.  Raises TypeError for another kind."""
        checks.instance(f"what {self.name} runs as", self.made, Solver)
        return cast(Solver, self.made)

    @property
    def stochastic(self) -> bool:
        """Whether it is known to draw noise, which of another's sampler nothing but a run says."""
        return self.made is not None and self.made.stochastic

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Another process finds another's sampler by its name, for what runs it is no data."""
        if self.made is None and self.named:
            return partial(target, convention=self.convention), (self.name,)
        return super().__reduce_ex__(protocol)


@dataclass(frozen=True)
class Package:
    """How the samplers of a package are got.

    find: the function or class of a name.  adapt: what makes a sampler of it.  ship: the grids that are
    chosen for it.
    """

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
    "diffusers": Package(_method, diffusers.sampler, of_diffusers),
    "k_diffusion": Package(_of_module(k_diffusion.release), k_diffusion.sampler, of_k_diffusion),
    "azula": Package(_of_module(_azula), azula.sampler, of_azula),
    "deepinv": Package(deepinv.find, deepinv.sampler, _none("deepinv", "its solvers take")),
    "smalldiffusion": Package(_of_module(smalldiffusion.release), smalldiffusion.sampler, of_smalldiffusion),
    "torchdiffeq": Package(_method, _odeint, _none("torchdiffeq", "odeint takes")),
    "flow_matching": Package(
        _method,
        _flow_matching,
        lambda method, settings: of_flow_matching(method, _flow_matching(method, settings)),
    ),
}
"""Those of `listed.DISTRIBUTIONS`."""


def _run(function: Any, settings: Settings) -> Sampler:
    if not settings:
        return function  # type: ignore[no-any-return]
    taken = list(inspect.signature(function).parameters.items())[1:]
    refuse_unknown(f"function {getattr(function, '__name__', 'sampler')}", settings, dict(taken))
    return lambda run: function(run, **settings)


ADAPTERS: dict[str, Callable[..., Sampler]] = {
    "run": _run,
    "plain": plain.sampler,
    "k-diffusion": k_diffusion.sampler,
    "diffusers": diffusers.sampler,
    "azula": azula.sampler,
    "deepinv": deepinv.sampler,
    "smalldiffusion": smalldiffusion.sampler,
    "flow-matching": flow_matching.sampler,
}
"""Of a function or class: "run" is a function of a run, "plain" one of (model, x, times); the others are
those of the packages."""
CONVENTIONS = (*ADAPTERS, "solver")
"""What a function may be said to be, "solver" one that makes a `Solver`; without a word it is told by what it
needs (`programs.made_by`)."""


def target(
    given: Any,
    *,
    takes: Collection[Kind] = ALL,
    settings: Settings | None = None,
    convention: str | None = None,
    name: str | None = None,
) -> Target:
    """The target that a text names, or that a solver, a plan or a function is.

    given: a text: PACKAGE:NAME (`PACKAGES`), FILE.py:function, process:COMMAND, a listed solver, an entry of
    the catalogue, or a .json file of a tableau or a plan; the first two take :KEY=VALUE,.. as well.  Or a
    `Solver`, a `Plan`, a function or class, a `Target`.  A function stands for what it makes where it needs
    nothing, and is a sampler where it needs a run (`programs.made_by`).  takes: the kinds that can be used.
    settings: of the sampler, further ones; those of the adapter among them (`exact`, `variable`, `alpha`,
    `form`, ..).  convention: of a function (`CONVENTIONS`) that is another.  name: of a function, its own
    where absent.
    Raises TypeError for what is none of these, ValueError for a text that names nothing, with the nearest
    names, for a kind that is not taken, and for settings and conventions that do not fit;
    ModuleNotFoundError for a package that is not installed.
    """
    if isinstance(given, str):
        found = _of_text(given, dict(settings or {}), convention, takes)
    elif is_function(given):
        return of_function(given, name=name, settings=settings, convention=convention, takes=takes)
    else:
        if convention is not None or settings:
            raise ValueError(f"convention and settings are for texts and functions, got {shown(given)}")
        found = _of_value(given)
    refuse(found.name, found.kind, takes)
    return found


def is_function(given: Any) -> bool:
    """Whether a target is a function, a class or an object that samples, of a file or as it is, of which a
    convention can be told.
    """
    if isinstance(given, str):
        return is_program(given)
    return sampled(given) and not isinstance(given, Solver)


def _of_text(text: str, settings: dict[str, Any], convention: str | None, takes: Collection[Kind]) -> Target:
    if not text:
        raise TypeError("target must be a name, got ''")
    if is_program(text):
        program = program_of(text)
        found = of_function(
            function_of(program.path, program.function, sampled if convention == "plain" else callable),
            name=program.name,
            settings=program.settings | settings,
            convention=convention,
            source=program.path,
            takes=takes,
        )
        return replace(found, named=True, convention=None if convention == "run" else convention)
    if convention is not None:
        raise ValueError(f"convention is for FILE.py:function, got {shown(text)}")
    if not is_foreign(text):
        return _of_ours(text, settings, takes)
    refuse(text, "sampler", takes)  # before anything is imported
    head, _, rest = text.partition(":")
    if head == "process":
        return Target(text, process.sampler(rest, **settings), None, "", named=not settings)
    name, own = _settings(rest)
    return _of_package(head, name, own | settings)


def _of_value(given: Any) -> Target:
    if isinstance(given, Target):
        return given
    if isinstance(given, Solver):
        return replace(_of_solver(given.name, given), package="", version="", named=False)
    if isinstance(given, Plan):
        return replace(_of_plan(given.solver, given), named=False)
    raise TypeError(f"target must be a name, a Solver, a Plan or a function of a run, got {shown(given)}")


def of_function(
    function: Callable[..., Any],
    *,
    name: str | None = None,
    settings: Settings | None = None,
    convention: str | None = None,
    source: str = "",
    takes: Collection[Kind] = ALL,
) -> Target:
    """The target that a function or class is, or makes.

    name: its own when absent.  settings, convention, takes: as of `target`.  source: where it is from.
    Raises TypeError for what cannot be called, ValueError for settings and conventions that do not fit.
    """
    if not callable(function) and not (sampled(function) and convention == "plain"):
        hint = "; one with a method sample is told by its convention, plain" if sampled(function) else ""
        raise TypeError(f"function must be callable, got {shown(function)}{hint}")
    own_name: str = getattr(function, "__name__", type(function).__name__)
    label, given = own_name if name is None else name, dict(settings or {})
    written = _written(label, given)
    if convention is not None:
        checks.one_of("convention", convention, CONVENTIONS)
    if convention in (None, "solver"):
        kind, found, called = made = made_by(function, given, label)
        refuse(called, kind, takes if convention is None else SOLVER)
        if kind == "sampler":
            needs = found is function
            return Target(written, _run(found, as_numbers(given) if needs else {}), None, source, named=False)
        return replace(_of_made(written, made, source), named=False)
    refuse(label, "sampler", takes)
    adapt, given = ADAPTERS[convention], as_numbers(given)
    own = None
    if "exact" in inspect.signature(adapt).parameters and "exact" not in given:
        own = _adapted(adapt, function, given | {"exact": False})
    return Target(written, _adapted(adapt, function, given), None, source, own=own, named=False)


def _of_made(name: str, made: Made, source: str) -> Target:
    """Of a solver, a tableau or a plan that a function makes."""
    if made.kind == "solver":
        return replace(_of_solver(name, made.found), package="", version="")
    if made.kind == "plan":
        return _of_plan(name, made.found)
    return _of_tableau(Found(made.found, name, None, False, source), name, "lambda")


def targets(
    text: Any, *, settings: Settings | None = None, convention: str | None = None
) -> tuple[Target, ...]:
    """What a text names: all of a package for PACKAGE:*, as `everything` lists it, or the one `target`.

    convention: of a file's function, where it is one.  Raises ValueError for settings of many, and as these
    do.
    """
    package, star, rest = text.partition(":*") if isinstance(text, str) else ("", "", "")
    if not star or rest:
        return (target(text, settings=settings, convention=convention if is_function(text) else None),)
    if settings:
        raise ValueError(f"settings are for one target, got {shown(text)}")
    return everything(package)


def everything(package: str) -> tuple[Target, ...]:
    """All targets of a package, in their usual configurations; what the installed version does not take of
    these is left out, and logged.

    package: one of `PACKAGES`, or "semilinear" for our own listed solvers.  Raises ValueError for another,
    ModuleNotFoundError where it is not installed.
    """
    checks.one_of("package", package, (*PACKAGES, OURS))
    if package == OURS:
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


def samplers() -> dict[str, tuple[str, ...]]:
    """Those of every package."""
    return {package: names(package) for package in PACKAGES}


def _settings(text: str) -> tuple[str, dict[str, Any]]:
    """NAME and the values of NAME:KEY=VALUE,.. ."""
    name, colon, listed = text.partition(":")
    found = pairs("a setting", listed.split(",")) if colon else {}
    return name, {key: value(given) for key, given in found.items()}


def value(text: str) -> Any:
    """A setting's value: a number, true, false, none, or a word."""
    return as_numbers({"": value_of(text)})[""]


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
    check_sampler(package, name, names(package), REFUSED if package == "diffusers" else ())
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
        DISTRIBUTIONS[package],
        version(DISTRIBUTIONS[package]),
        shipped=ship,
    )


def _of_ours(text: str, settings: Settings, takes: Collection[Kind]) -> Target:
    if text.lower().endswith(".json") and not is_solver(text) and holds_plan(text):
        refuse(text, "plan", takes)
        plan = files.load(text)
        refuse_unknown("a plan", settings, {})
        return _of_plan(text, plan, f"{plan.solver}, {os.path.basename(text)}")
    form = settings.get("form")
    if form is not None:
        checks.one_of("form", form, tuple(FORMS))
    check_ours(text, SOLVERS, CATALOGUE, samplers)
    options = {key: value for key, value in settings.items() if key in _OPTIONS}
    given = {key: value for key, value in settings.items() if key not in ("form", *options)}
    if is_solver(text) and form is None:
        solver = solver_of(text, **given)
        return _of_solver(_written(text, given) if ":" not in text else text, solver, **options)
    refuse(text, "tableau", takes)
    refuse_unknown("a tableau", given, _FORM | _OPTIONS)
    found = tableau_of(text)
    own = "lambda" if found.document is None else found.document.form
    return _of_tableau(found, found.name, form or own, **options)


_OPTIONS = {k: p for k, p in inspect.signature(ours.of_solver).parameters.items() if p.kind is p.KEYWORD_ONLY}
"""Of a solver of ours as a sampler."""
_FORM = {"form": inspect.Parameter("form", inspect.Parameter.KEYWORD_ONLY, default="lambda")}


def _of_solver(name: str, solver: Solver, **options: Any) -> Target:
    return Target(
        name,
        ours.of_solver(solver, **options),
        solver.claimed,
        ", ".join(filter(None, (solver.paper, solver.source))),
        OURS,
        version(OURS),
        made=solver,
        kind="solver",
    )


def _of_tableau(found: Found, name: str, form: str, **options: Any) -> Target:
    return replace(_of_solver(name, in_form(found, FORMS[form]), **options), kind="tableau")


def _of_plan(name: str, plan: Plan, source: str = "") -> Target:
    return Target(name, ours.of_plan(plan), None, source, made=plan, kind="plan")
