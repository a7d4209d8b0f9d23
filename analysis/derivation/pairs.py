"""Embedded pairs: a method with a second output row, whose difference estimates the local error."""

from __future__ import annotations

import dataclasses
import math

from semilinear.integrators.tableaux.tableau import Tableau
from sympy import Expr

from ..algebra.trees import Tree
from ..orders.expansion import Expansion, expand
from ..orders.proof import local_order
from .family import Family


def pair(tableau: Tableau, family: Family) -> Tableau:
    """The tableau with the output row of a family embedded (`derive_embedded`).

    Raises ValueError for a family on other stages.
    """
    if family.tableau.stages != tableau.stages:
        raise ValueError("family must have the tableau's stages")
    return dataclasses.replace(tableau, low=family.tableau.output)


def estimator_ratio(tableau: Tableau, family: Family) -> float:
    """|E^_(p+1) - E_(p+1)| / |E^_p|: the second term of the error estimate, by its first.

    p - 1: the order of the embedded row, below that of the tableau; E: error coefficients of an order, in the
    2-norm, ^ those of the embedded row.  The estimate is good for steps that are small against its inverse;
    infinite where this member's order is higher too.  Prince & Dormand 1981, Sec. 2 (their C).
    Raises ValueError where the tableau has no higher order than the family.
    """
    p = family.order + 1
    own, low = (
        expand(t, p + 1, family.form, linearised=family.linearised) for t in (tableau, family.tableau)
    )
    if (order := local_order(own, p)) < p:
        raise ValueError(
            f"the embedded row must have a lower order than the method's, {order}, got {family.order}"
        )
    first = _norm(low, {tree: low.coefficient(tree) for tree in low.trees(p)})
    second = {tree: low.coefficient(tree) - own.coefficient(tree) for tree in low.trees(p + 1)}
    return _norm(low, second) / first if first else math.inf


def _norm(expansion: Expansion, values: dict[Tree, Expr]) -> float:
    return math.sqrt(sum(float(expansion.field.expression(v)) ** 2 for v in values.values()))
