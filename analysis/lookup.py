"""Which tableau a name or a file stands for: one place for whatever takes either."""

from __future__ import annotations

import os
from dataclasses import dataclass

from semilinear.integrators.diffusion.schedule import vp_linear
from semilinear.integrators.numerics.names import UnknownTableau, nearest
from semilinear.integrators.solver import Solver
from semilinear.integrators.solvers import SOLVERS, make
from semilinear.integrators.tableaux.catalogue import CATALOGUE
from semilinear.integrators.tableaux.tableau import Tableau

from .orders.typed import rounding_of
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


def check_name(text: str) -> None:
    """Refuse what is neither listed nor a file (a name that ends in .json or holds a folder).

    Raises UnknownTableau, with the nearest names.
    """
    if _is_file(text) or text in CATALOGUE or text in SOLVERS:
        return
    hint = nearest(text, dict.fromkeys((*SOLVERS, *CATALOGUE)))
    raise UnknownTableau(
        f"expected a listed solver, an entry of the catalogue (`semilinear list`) or a .json file, got "
        f"{text!r}{hint}"
    )


def tableau_of(text: str) -> Found:
    """The tableau of a catalogue entry, the full-order tableau of another listed solver, or that of a file.

    Raises UnknownTableau as `check_name` does, and for a file that is not a tableau.
    """
    check_name(text)
    if _is_file(text):
        return _file(text)
    if text not in CATALOGUE:
        return _solver(text)
    entry = CATALOGUE[text]
    return Found(entry.tableau, text, entry.claimed, entry.linearised, f"{entry.paper}, {entry.source}")


def _is_file(text: str) -> bool:
    return text.lower().endswith(".json") or os.sep in text


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


def _solver(name: str) -> Found:
    solver = make(name)
    source = f"{solver.paper}, {solver.source}"
    return Found(solver.sequence.tableaux[-1], name, solver.claimed, False, source, solver)


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
