"""Which tableau a name or a file stands for: one place for whatever takes either."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any

from semilinear.integrators.common.constructors import refuse_unknown
from semilinear.integrators.common.kinds import FORMULAS, SOLVER, Kind, refuse
from semilinear.integrators.common.messages import shown
from semilinear.integrators.common.names import UnknownTableau
from semilinear.integrators.common.other_names import hint
from semilinear.integrators.diffusion.schedule import vp_linear
from semilinear.integrators.forms.form import FormOf, data_in_lambda, noise_in_rho, noise_in_time
from semilinear.integrators.solver import Solver
from semilinear.integrators.solvers import SOLVERS, make
from semilinear.integrators.solvers.classical import with_tableau
from semilinear.integrators.tableaux.catalogue import CATALOGUE
from semilinear.integrators.tableaux.tableau import Tableau

from .orders import proof
from .orders.proof import Proof
from .orders.solver_proof import SolverProof, prove_solver
from .orders.typed import rounding_of
from .orders.within_rounding import within_rounding
from .programs import holds_plan, is_program, program_made
from .text import spelling
from .text.named_parts import solver_parameters
from .text.spelling import split
from .text.tableau_file import Document, TableauFileError, read_tableau

DUHAMEL, PLAIN = "u' = L u + N(u)", "y' = N(tau, y)"


@dataclass(frozen=True)
class Found:
    """A tableau with what is said of it.

    name: as listed, or the file's.  claimed: the order that is claimed, None where nothing is.
    linearised: L is the Jacobian at u_n.  source: equation or file.  solver: whose full-order tableau it is,
    None for an entry of the catalogue and a file.  document: what a file says, None for a name.
    """

    tableau: Tableau
    name: str
    claimed: int | None
    linearised: bool
    source: str
    solver: Solver | None = None
    document: Document | None = None

    @property
    def rounding(self) -> float:
        """Within how much the coefficients are known, as a file says or shows; 0 where all are exact."""
        if self.document is None:
            return 0.0
        found = rounding_of(self.document.typed or self.tableau, self.document.rounding)
        return 0.0 if found is None else found.largest


def solver_of(text: str, **parameters: Any) -> Solver:
    """A solver by its listed name, NAME[:KEY=VALUE,..] (`make`, `named_parts`), or the one that
    FILE.py:function makes; with the parameters.

    Raises UnknownTableau for another name with the nearest, for parameters in a text that the solver does not
    take, and for a function that makes no solver, as `programs.program_made`; as `make` does for other
    parameters.
    """
    if not is_program(text):
        check_solver(text)
        return make(text, **parameters) if text in SOLVERS else _with_parameters(text, parameters)
    kind, found, written = program_made(text, parameters)
    refuse(written, kind, SOLVER)
    made: Solver = found
    return made


def _with_parameters(text: str, more: dict[str, Any]) -> Solver:
    try:
        name, own = solver_parameters(text)
        return make(name, **own, **more)
    except (ValueError, TypeError, OverflowError) as error:  # what a text stands for is no argument
        raise UnknownTableau(f"{text}: {error}") from error


def is_solver(text: str) -> bool:
    """Whether a name is one that `solver_of` takes."""
    return split(text)[0] in SOLVERS or is_program(text)


def check_solver(text: str) -> None:
    """Refuse what is no listed solver.

    Raises UnknownTableau, with the nearest names.
    """
    name, _ = split(text)
    if name not in SOLVERS:
        raise UnknownTableau(
            f"expected a listed solver (`semilinear list`) or FILE.py:function, got {text!r}"
            f"{hint(name, SOLVERS)}"
        )


FORMS: dict[str, FormOf] = {"lambda": data_in_lambda, "rho": noise_in_rho, "t": noise_in_time}
"""The forms that a tableau runs in, by the variable of the integral."""


def in_form(found: Found, form: FormOf) -> Solver:
    """The solver that a tableau is in a form; without a claim it starts as one of the highest order that is
    thinkable would.

    Raises ValueError for a tableau of Rosenbrock type, whose linear part is the Jacobian.
    """
    if found.linearised:
        raise ValueError(
            f"{found.name} is of Rosenbrock type: its linear part is the Jacobian, it has no form"
        )
    thinkable = found.tableau.past + len(found.tableau.stages) + 1
    solver = with_tableau(found.name, found.tableau, form, found.claimed or thinkable, found.source)
    return replace(solver, rounding=found.rounding)


def prove(target: str | Solver | Tableau, **options: Any) -> Proof | SolverProof:
    """Prove the orders of whatever a name, a file, a solver or a tableau stands for.

    A solver gives `solver_proof.prove_solver`; a tableau, an entry of the catalogue and a .json file give
    `proof.prove`, the file's with its orders within the rounding of its coefficients; FILE.py:function gives
    that of what it makes.  options: of these; of a file a form, in place of its own.  Raises UnknownTableau
    for other names, for plans and samplers, TypeError for another kind of target, and what they raise.
    """
    if isinstance(target, str) and is_program(target):
        kind, target, written = program_made(target)
        refuse(written, kind, FORMULAS)
    elif isinstance(target, str) and is_solver(target):
        target = solver_of(target)
    if isinstance(target, Solver):
        refuse_unknown("a solver's proof", options, _options_of(prove_solver))
        return prove_solver(target, **options)
    if isinstance(target, Tableau):
        refuse_unknown("a tableau's proof", options, _options_of(proof.prove))
        return proof.prove(target, **options)
    if not isinstance(target, str):
        raise TypeError(f"target must be a name, a file, a Solver or a Tableau, got {shown(target)}")
    found = tableau_of(target)
    if found.document is None:
        return proof.prove(found.tableau, **({"linearised": found.linearised} | options))
    document = replace(found.document, **options)
    proved = document.prove()
    return replace(proved, within=within_rounding(proved, document.typed, document.rounding))


def _options_of(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """What a function takes by keyword alone."""
    parameters = inspect.signature(function).parameters
    return {name: p for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY}


def check_name(text: str) -> None:
    """Refuse what is neither listed nor a file (a name that ends in .json or holds a folder).

    Raises UnknownTableau, with the nearest names.
    """
    spelling.check_name(text, SOLVERS, CATALOGUE)


def tableau_of(text: str, *, takes: Collection[Kind] = FORMULAS) -> Found:
    """The tableau of a catalogue entry, the full-order tableau of another listed solver, or that of a file.

    takes: what else its user takes, to tell.  Raises UnknownTableau as `check_name` does, for a file that is
    not a tableau, and for a plan or a sampler.
    """
    check_name(text)
    if spelling.is_file(text, SOLVERS):
        if holds_plan(text):
            refuse(text, "plan", takes)
        return _file(text)
    if text in CATALOGUE:
        entry = CATALOGUE[text]
        return Found(entry.tableau, text, entry.claimed, entry.linearised, f"{entry.paper}, {entry.source}")
    if not is_program(text):
        return found_of(solver_of(text))
    kind, found, written = program_made(text)
    if kind not in FORMULAS:
        refuse(written, kind, takes)
    return found_of(found) if kind == "solver" else Found(found, text, None, False, text)


def _file(path: str) -> Found:
    try:
        document = read_tableau(path)
    except TableauFileError as error:
        raise UnknownTableau(str(error)) from error
    except OSError as error:
        raise UnknownTableau(f"{path} cannot be read: {error.strerror}") from error
    source = document.source or path
    name = document.name or path
    return Found(document.tableau, name, document.claimed, document.linearised, source, document=document)


def found_of(solver: Solver) -> Found:
    """The full-order tableau of a solver, with what is said of that."""
    source = ", ".join(filter(None, (solver.paper, solver.source)))
    return Found(solver.sequence.tableaux[-1], solver.name, solver.claimed, False, source, solver)


def equation_of(name: str) -> tuple[Tableau, str, float]:
    """A tableau by name or from a file, its equation's name and L (-1 for one that belongs to no form).

    Raises UnknownTableau for other names, for forms without a constant linear operator, and for methods of
    Rosenbrock type, whose L is the whole Jacobian.
    """
    found = tableau_of(name)
    if found.linearised:
        raise UnknownTableau(
            f"{name} is of Rosenbrock type: its L is the Jacobian, and it is exact on u' = L u"
        )
    if found.document is not None and found.document.form != "lambda":
        if found.document.form == "rho":
            return found.tableau, PLAIN, 0.0
        raise UnknownTableau(f"{name} is of form t, whose weight is not exponential: it has no z = h L")
    if found.solver is None:
        return found.tableau, DUHAMEL, -1.0
    form = found.solver.form(vp_linear())
    rate = form.weight.rate
    if rate is None:
        raise UnknownTableau(
            f"solver {name} is of form {form.name}, whose weight is not exponential: its coefficients are no "
            "functions of z = h L, and stability depends on schedule and grid"
        )
    return found.tableau, form.name, float(rate)


def usual_z(rate: float) -> tuple[float, float, float]:
    """The z = h L at which the stability of a method is shown: 0, and 1 and 5 times the sign of L."""
    sign = float(rate > 0) - float(rate < 0)
    return 0.0, sign, 5 * sign
