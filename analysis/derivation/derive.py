"""Solver coefficients from order conditions, exactly: all methods with given stages and past values.

The conditions are the residuals that `proof.py` judges a method by, here of a tableau whose weights are
unknown (`ansatz.py`).  They are solved order by order, since those of one order are linear in most of what
the orders before have left (`search.py`).  What a family says is proved again by `prove`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from semilinear.integrators.common import checks
from semilinear.integrators.tableaux.tableau import Tableau, nested_collocation

from ..orders.expansion import FORMS, MAX_ORDER, FormName, expand
from .ansatz import Ansatz, Arguments, ansatz, embedded_ansatz, given_ansatz
from .family import CONDITIONS, Conditions, Family, differences
from .search import Search, check_form


def derive(
    abscissae: Sequence[Any] = (),
    *,
    order: int,
    past: int = 0,
    conditions: Conditions = "classical",
    form: FormName = "lambda",
    indices: Sequence[int] | None = None,
    stage_indices: Sequence[int] | None = None,
    arguments: Arguments | None = None,
    parallel: Sequence[Sequence[int]] = (),
) -> list[Family]:
    """All methods of an order with stages at the given abscissae and so many past values.

    abscissae: exact numbers, symbols, or texts such as "1/2" and "c2"; that of the step's start, 0, is not
    among them.  See `unknown_method` for the rest.  Free abscissae are generic: where a condition needs a
    relation between them, the families with that relation are found; values for which a divisor vanishes are
    listed in `nonzero`, and not looked at.  Where there are no generic families, those with one free abscissa
    at 1 or at another abscissa are looked for, and no others: `Search` goes on, and says what was looked at.
    Raises ValueError.
    """
    if isinstance(abscissae, str):
        raise TypeError(f"abscissae must be a sequence, as [{abscissae!r}], got {abscissae!r}")
    abscissae = checks.sequence("abscissae", abscissae)
    unknown = unknown_method(
        abscissae,
        order=order,
        past=past,
        conditions=conditions,
        form=form,
        indices=indices,
        stage_indices=stage_indices,
        arguments=arguments,
        parallel=parallel,
    )
    return Search(unknown, order, conditions).run(everywhere=False).families


def unknown_method(
    abscissae: Sequence[Any] = (),
    *,
    order: int,
    past: int = 0,
    conditions: Conditions = "classical",
    form: FormName = "lambda",
    indices: Sequence[int] | None = None,
    stage_indices: Sequence[int] | None = None,
    arguments: Arguments | None = None,
    parallel: Sequence[Sequence[int]] = (),
) -> Ansatz:
    """What is solved for: weights of stages at the given abscissae and of so many past values.

    abscissae: numbers, or symbols for free ones; `past`, `form`, `indices`, `arguments`, `parallel`: see
    `ansatz`.  By default weights are made of phi_1 .. phi_order, those of stages of phi_1 .. phi_(order - 1),
    at the arguments of earlier stages too where conditions are stiff.  Raises ValueError.
    """
    order = checks.integer("order", order, 1, MAX_ORDER)
    checks.one_of("conditions", conditions, CONDITIONS)
    stiff = conditions in ("stiff", "weak")
    top = range(1, order + 1)
    unknown = ansatz(
        abscissae,
        past=past,
        indices=top if indices is None else indices,
        stage_indices=(top[:-1] or top) if stage_indices is None else stage_indices,
        arguments=("earlier" if stiff else "own") if arguments is None else arguments,
        form=form,
        parallel=parallel,
    )
    check_form(unknown, conditions)
    return unknown


def derive_embedded(
    tableau: Tableau,
    *,
    order: int,
    conditions: Conditions = "classical",
    form: FormName = "lambda",
    indices: Sequence[int] | None = None,
    linearised: bool = False,
) -> list[Family]:
    """All output rows of an order on the stages of a tableau but its own (`unknown_row`).  Raises
    ValueError.
    """
    unknown = unknown_row(
        tableau, order=order, conditions=conditions, form=form, indices=indices, linearised=linearised
    )
    return others(Search(unknown, order, conditions).run().families, tableau)


def unknown_row(
    tableau: Tableau,
    *,
    order: int,
    conditions: Conditions = "classical",
    form: FormName = "lambda",
    indices: Sequence[int] | None = None,
    linearised: bool = False,
) -> Ansatz:
    """An output row on the stages of a tableau: of phi_1(z) .. phi_order(z) by default.

    linearised: L is the Jacobian (Rosenbrock type).  Raises ValueError, for stages too that the form cannot
    have (NotInRing).
    """
    order = checks.integer("order", order, 1, MAX_ORDER)
    checks.one_of("conditions", conditions, CONDITIONS)
    checks.one_of("form", form, FORMS)
    expand(tableau, 1, form, linearised=linearised)  # refuses them
    top = range(1, order + 1) if indices is None else indices
    unknown = embedded_ansatz(tableau, indices=top, form=form, linearised=linearised)
    check_form(unknown, conditions)
    return unknown


def others(found: Sequence[Family], tableau: Tableau) -> list[Family]:
    """The families that are more than the output row of a tableau itself."""
    return [f for f in found if f.parameters or any(differences(f.tableau, tableau, f.form))]


def collocation(order: int) -> Family:
    """Nested collocation of any order: groups of 1, 2, .., order - 1 stages, each row the integral of the
    polynomial through the group before it; stiff order `order`.

    Raises ValueError.
    """
    order = checks.integer("order", order, 1, MAX_ORDER)
    return Family(given_ansatz(nested_collocation(order)), order, "stiff")
