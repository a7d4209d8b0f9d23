"""What `semilinear order` measures: a listed solver, a tableau as a solver of the diffusion ODE, or a tableau
on a semilinear system, by the same names and files as every other command takes.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from typing import Literal

from semilinear.analysis.lookup import (
    FORMS,
    Found,
    check_name,
    in_form,
    is_program,
    is_solver,
    solver_of,
    tableau_of,
)
from semilinear.analysis.orders.proof import prove
from semilinear.analysis.text.named_parts import pairs, solver_parameters, value_of
from semilinear.integrators.solver import Solver
from semilinear.integrators.solvers import make
from semilinear.integrators.tableaux.catalogue import CATALOGUE

from .terminal import UsageError


@dataclass(frozen=True)
class Target:
    """What is measured: a solver on a problem of diffusion, or a tableau on a semilinear system.

    claim: where the order that is judged comes from: "source", "given" (--claimed), or "proved", of a file.
    """

    measured: Solver | Found
    claim: Literal["source", "given", "proved"]


def target_of(options: argparse.Namespace) -> Target:
    """What the options ask for.

    A name that is listed as a solver is that solver, unless --form or the name of a system says that its
    tableau is meant.  Raises UsageError for other names, with the nearest, files that are no tableau, and
    options that do not go together.
    """
    check_name(options.solver)
    from .system_orders import SYSTEMS  # imports torch: a name that is none is refused first

    claim: Literal["source", "given"] = "source" if options.claimed is None else "given"
    on_system = options.problem in SYSTEMS
    as_tableau = options.form is not None or (on_system and options.solver in CATALOGUE)
    if is_solver(options.solver) and not as_tableau:
        if on_system:
            raise UsageError(f"--problem {options.problem} is for entries of the catalogue and files")
        return Target(_solver(options), claim)
    found = tableau_of(options.solver)
    if found.solver is not None:
        raise UsageError(f"--form does not apply to {found.name}: a listed solver has a form")
    if options.param:
        raise UsageError(f"--param does not apply to {found.name}: it is a tableau, not a solver")
    if options.form is not None and found.linearised:
        raise UsageError(f"--form does not apply to {found.name}: it is of Rosenbrock type")
    if options.form is not None and on_system:
        raise UsageError(f"--form is for problems of diffusion, {options.problem} is a semilinear system")
    measured = found if options.form is None else in_form(found, FORMS[options.form])
    if found.claimed is not None or claim == "given":
        return Target(measured, claim)
    return Target(replace(measured, claimed=_proved(measured)), "proved")


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


def _solver(options: argparse.Namespace) -> Solver:
    text = options.solver
    try:
        if is_program(text):
            given = {key: value_of(value) for key, value in pairs("param", options.param).items()}
            return solver_of(text, **given)
        name, parameters = solver_parameters(text, options.param)
        return make(name, **parameters)
    except (
        ValueError,
        TypeError,
        OverflowError,
        OSError,
    ) as error:  # what the text stands for is no argument
        raise UsageError(str(error)) from error
