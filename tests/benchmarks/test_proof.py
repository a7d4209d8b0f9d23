"""Time to prove classical and stiff conditions to order 6, from a fresh Tableau object, on one core.

The field, the ring, the conversion of every weight, all L/N trees and all stiff conditions are in it, with
sympy's cache empty; only the lists of trees, which belong to no tableau, are made before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from semilinear.analysis.algebra.ring import Field, Ring
from semilinear.analysis.algebra.trees import Kind, trees
from semilinear.analysis.orders.expansion import duhamel, expressions
from semilinear.analysis.orders.proof import prove
from semilinear.analysis.orders.stiff import StiffConditions
from semilinear.integrators.tableaux.catalogue import CATALOGUE
from semilinear.integrators.tableaux.tableau import Tableau, nested
from sympy import Rational
from sympy.core.cache import clear_cache

ORDER = 6
GROUPS = [[Rational(i, n + 1) for i in range(1, n + 1)] for n in range(1, 6)]
METHODS: dict[str, Callable[[], Tableau]] = {
    "krogstad4, 4 stages": CATALOGUE["krogstad4"].build,
    "exprk5s8, 8 stages": CATALOGUE["exprk5s8"].build,
    "nested collocation, 16 stages": lambda: nested(
        [[Rational(i, n + 1) for i in range(1, n + 1)] for n in range(1, 6)]
    ),
}


def every_condition(tableau: Tableau) -> int:
    """Each condition of orders 1 to 6, none left out because one before it fails."""
    ring = Ring(Field(expressions(tableau)))
    expansion, conditions = duhamel(tableau, ORDER, ring), StiffConditions(tableau, ring)
    return sum(len(expansion.errors(q)) + len(conditions.violated(q)) for q in range(1, ORDER + 1))


def both_orders(tableau: Tableau) -> tuple[int, int]:
    """What `prove` reports."""
    proof = prove(tableau)
    return proof.classical, proof.stiff


@pytest.mark.parametrize("work", [every_condition, both_orders])
@pytest.mark.parametrize("name", METHODS)
def test_proof(benchmark: Any, name: str, work: Callable[[Tableau], Any]) -> None:
    for q in range(1, ORDER + 2):
        trees(q, Kind())

    def fresh() -> tuple[tuple[Tableau], dict[str, Any]]:
        tableau = METHODS[name]()
        clear_cache()
        return (tableau,), {}

    benchmark.pedantic(work, setup=fresh, rounds=3 if "16" in name else 5)
