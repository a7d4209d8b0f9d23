"""What `semilinear order` measures: a listed solver, a tableau as a solver of the diffusion ODE, or a tableau
on a semilinear system, by the same names and files as every other command takes.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from semilinear.analysis.lookup import FORMS, Found, in_form, is_solver, tableau_of
from semilinear.analysis.orders.proof import prove
from semilinear.integrators.common.kinds import STEPPING
from semilinear.integrators.solver import Solver
from semilinear.integrators.tableaux.catalogue import CATALOGUE

from ..targets.listed import is_foreign
from .names import with_settings
from .system_orders import SYSTEMS
from .terminal import UsageError, refusing

if TYPE_CHECKING:
    from ..targets.named import Target


@dataclass(frozen=True)
class Chosen:
    """What is measured: a solver or a sampler on a problem of diffusion, or a tableau on a semilinear system.

    claim: where the order that is judged comes from: "source", "given" (--claimed), or "proved", of a file.
    """

    measured: Target | Found
    claim: Literal["source", "given", "proved"]


def target_of(options: argparse.Namespace) -> Chosen:
    """What the options ask for.

    A name that is listed as a solver is that solver, unless --form or the name of a system says that its
    tableau is meant.  Raises UsageError for other names, with the nearest, files that are no tableau, and
    options that do not go together.
    """
    text, foreign = options.solver, is_foreign(options.solver)
    claim: Literal["source", "given"] = "source" if options.claimed is None else "given"
    on_system = options.problem in SYSTEMS
    as_tableau = options.form is not None or (on_system and text in CATALOGUE)
    if (foreign or is_solver(text)) and not as_tableau:
        if on_system:
            raise UsageError(f"--problem {options.problem} is for entries of the catalogue and files")
        return _running(options, claim)
    if foreign:
        raise UsageError(f"--form does not apply to {text}: a sampler has none")
    found = tableau_of(text, takes=STEPPING)
    if found.solver is not None:
        raise UsageError(f"--form does not apply to {found.name}: a listed solver has a form")
    if options.param:
        raise UsageError(f"--param does not apply to {found.name}: it is a tableau, not a solver")
    if options.form is not None and found.linearised:
        raise UsageError(f"--form does not apply to {found.name}: it is of Rosenbrock type")
    if options.form is not None and on_system:
        raise UsageError(f"--form is for problems of diffusion, {options.problem} is a semilinear system")
    return _judged(found if options.form is None else in_form(found, FORMS[options.form]), found, claim)


def _judged(measured: Solver | Found, found: Found, claim: Literal["source", "given"]) -> Chosen:
    """A tableau, by itself or in a form, against its claim or what is proved of it."""
    word: Literal["source", "given", "proved"] = claim
    if found.claimed is None and claim == "source":
        measured, word = replace(measured, claimed=_proved(measured)), "proved"
    if not isinstance(measured, Solver):
        return Chosen(measured, word)
    from ..targets.named import target  # imports torch

    return Chosen(target(measured), word)


def _proved(measured: Solver | Found) -> int:
    """The order that is proved of what claims none, at least 1."""
    from ..campaign.prove import solver_proof

    if isinstance(measured, Solver):
        proof = solver_proof(measured)
        refused, order = proof["refused"], proof.get("run")
    else:
        try:
            refused, order = "", prove(measured.tableau, linearised=measured.linearised).classical
        except ValueError as error:
            refused, order = str(error), None
    if order is None:
        why = refused or "none is known"
        raise UsageError(f"{measured.name} claims no order and none can be proved, give --claimed: {why}")
    return max(int(order), 1)


def _running(options: argparse.Namespace, claim: Literal["source", "given"]) -> Chosen:
    """A solver or a sampler, with the parameters of --param; the tableau that a function makes is one."""
    from ..targets.named import target  # imports torch

    with refusing(OverflowError, AttributeError, OSError):
        text = with_settings(options.solver, options.param)
        found = target(text, takes=STEPPING, convention=options.convention)
    if found.kind == "tableau":
        made = tableau_of(text)
        return _judged(made, made, claim)
    if found.claimed is None and claim == "source":
        raise UsageError(f"--claimed must be given: {found.name} claims no order")
    return Chosen(found, claim)
