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
from .rounded import RoundedField
from .typed import Rounding


def plain(table: Butcher, rounding: Rounding | None = None) -> Expansion:
    """The expansion of a table, its trees with leaves tau where an abscissa is not the sum of its row.

    rounding: of its numbers, within which the coefficients are then known (`RoundedField`).
    Raises NotInRing (a ValueError) for numbers that are not algebraic.
    """
    if rounding is not None:
        table = table.with_values(rounding.symbols)
    field = Field(table.numbers) if rounding is None else RoundedField(rounding, {})

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
    if expansion.integrates_constants:
        return expansion
    return dataclasses.replace(expansion, kind=expansion.kind._replace(time=True))
