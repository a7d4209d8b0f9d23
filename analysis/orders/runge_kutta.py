"""The order conditions of a plain Runge-Kutta table for y' = N(tau, y), explicit or implicit.

The conditions are those of `expansion`: sums over rooted trees, in which nothing asks for a triangular
matrix.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from semilinear.integrators.tableaux.catalogue.released.table import Butcher
from sympy import Expr

from ..algebra.ring import Field
from ..algebra.trees import Kind
from .expansion import Expansion, Row


def plain(table: Butcher, rounding: float = 0.0) -> Expansion:
    """The expansion of a table, its trees with leaves tau where an abscissa is further than `rounding` from
    the sum of its row.

    Raises NotInRing (a ValueError) for numbers that are not algebraic.
    """
    field = Field([*table.c, *(value for row in (*table.a, table.b) for value in row)])

    def rows(weights: Sequence[Expr]) -> tuple[Row, ...]:
        return ([(j, field(value)) for j, value in enumerate(weights, 1) if value != 0],)

    expansion = Expansion(
        field,
        (field.zero, *map(field, table.c)),
        1,
        tuple(map(rows, table.a)),
        rows(table.b),
        "weight",
        Kind(stems=False, u_leaves=False),
    )
    sums = (sum(row, -c) for c, row in zip(table.c, table.a, strict=True))
    if expansion.integrates_constants or (rounding and all(abs(float(s)) <= rounding for s in sums)):
        return expansion
    return dataclasses.replace(expansion, kind=expansion.kind._replace(time=True))
