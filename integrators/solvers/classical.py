"""The catalogue's exponential methods as solvers, in data prediction: the reference points of the toolkit.

They run through the same loop as every diffusion solver, and their orders are known: the order estimator is
tested on them.  Every entry of `CATALOGUE` is one but those of Rosenbrock type, whose linear part is the
Jacobian.
"""

from __future__ import annotations

from functools import partial

from ..common import checks
from ..forms.form import FormOf, data_in_lambda
from ..solver import Ramp, Repeat, Sequence, Solver
from ..tableaux.catalogue import CATALOGUE
from ..tableaux.catalogue.entry import from_columns
from ..tableaux.catalogue.etd import EULER
from ..tableaux.tableau import Tableau, nested_collocation

__all__ = ["CATALOGUE", "EULER", "LISTED", "collocation", "exponential_rk", "from_columns", "with_tableau"]

NAMES = tuple(name for name, entry in CATALOGUE.items() if not entry.linearised)
"""The entries that run with a fixed linear part."""


def exponential_rk(name: str, form: FormOf = data_in_lambda) -> Solver:
    """A method of the catalogue on one of the lambda forms (data prediction by default).

    A multistep method of order p starts with nested collocation of order p - 1, whose local error is of the
    same power of h as the method's.  Raises ValueError for a name that is not in `NAMES`.
    """
    checks.one_of("name", name, NAMES)
    entry = CATALOGUE[name]
    return with_tableau(name, entry.tableau, form, entry.claimed, entry.source, entry.paper)


def with_tableau(
    name: str, tableau: Tableau, form: FormOf, claimed: int, source: str, paper: str = ""
) -> Solver:
    """The solver that repeats a tableau; one with past evaluations starts as `exponential_rk` says."""
    past = tableau.past
    sequence: Sequence = Repeat(tableau, EULER)
    if past:
        start = nested_collocation(max(claimed - 1, 1))
        sequence = Ramp((start,) * past + (tableau,), (EULER,) + (start,) * (past - 1) + (tableau,))
    return Solver(name=name, form=form, sequence=sequence, claimed=claimed, source=source, paper=paper)


def collocation(order: int, form: FormOf = data_in_lambda) -> Solver:
    """Nested collocation of any order: the one-step method behind the high-order start."""
    tableau = nested_collocation(order)
    return Solver(
        name=f"collocation-{order}",
        form=form,
        sequence=Repeat(tableau, EULER),
        claimed=order,
        source="Sec. 3",
        paper="Luan & Alhsmy 2023, arXiv:2311.08600",
    )


CANCELLING = ("exprk6s15", "exprk6s16")
"""Not listed, but made by `exponential_rk`: weights up to 300 amplify rounding in float64 runs."""

LISTED = {name: partial(exponential_rk, name) for name in NAMES if name not in CANCELLING}
"""Constructors of the solvers that have a name of their own; a tableau is built when it is asked for."""
