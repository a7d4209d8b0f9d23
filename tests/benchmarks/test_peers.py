"""Rooted trees and plain Runge-Kutta tables, beside the packages that count and judge them too.

One task and one table in the same run by each: how many conditions an order has, the order of a table, the
norm of its error coefficients of the next order, its stability function.  The numbers are compared, not only
the times: exactly where all are exact.  DOP853 is given as its decimals; packages that take numbers as they
stand judge these within a tolerance of their own, we within their rounding.

Every round starts from a new table, our lists of trees made before for the tables and anew where they are
counted; what a package keeps besides is its own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from scipy.integrate._ivp import dop853_coefficients
from semilinear.analysis.algebra import trees as rooted
from semilinear.analysis.algebra.trees import Kind
from semilinear.analysis.stability.amplification import Amplification, w
from semilinear.analysis.text.tableau_file import Document, parse_tableau
from semilinear.integrators.tableaux.tableau import z
from sympy import Poly, Rational

from ..published_tables import EXACT

PLAIN = Kind(stems=False, u_leaves=False)
COUNTED = 10
"""The order to which trees are counted."""
EIGHT = dop853_coefficients.N_STAGES
WORDS = {"rk4": "rk4", "dopri5": "dormand-prince5(4)"}


def _rows(name: str) -> dict[str, Any]:
    """A table as a file holds it, one row of weights."""
    if name in WORDS:
        return {k: v for k, v in EXACT[WORDS[name]].rows.items() if k != "low"}
    a = [[repr(float(v)) for v in row[:i]] for i, row in enumerate(dop853_coefficients.A[:EIGHT, :EIGHT])]
    c, b = dop853_coefficients.C[:EIGHT], dop853_coefficients.B
    return {"c": [repr(float(v)) for v in c], "a": a, "b": [repr(float(v)) for v in b]}


METHODS: dict[str, int] = {"rk4": 4, "dopri5": 5, "dop853": 8}
ROWS = {name: _rows(name) for name in METHODS}


def _square(name: str, number: Callable[[str], Any]) -> tuple[list[list[Any]], list[Any]]:
    rows = ROWS[name]
    size = len(rows["b"])
    return (
        [[number(v) for v in row] + [number("0")] * (size - len(row)) for row in rows["a"]],
        [*map(number, rows["b"])],
    )


# --- candidates ---


class Ours:
    """What `semilinear prove` and `semilinear stability` compute."""

    @staticmethod
    def trees(order: int) -> list[int]:
        for kept in vars(rooted).values():
            if hasattr(kept, "cache_clear"):
                kept.cache_clear()
        return [len(rooted.trees(q, PLAIN)) for q in range(1, order + 1)]

    @staticmethod
    def table(name: str) -> Document:
        return parse_tableau(json.dumps({**ROWS[name], "form": "rho"}))

    @staticmethod
    def order(table: Document) -> int:
        within = table.within_rounding()
        return table.prove().classical if within is None else int(within.classical or 0)

    @staticmethod
    def norm(table: Document) -> float:
        within = table.within_rounding()
        found = table.prove().principal_error_norm if within is None else within.principal_error_norm
        assert found is not None
        return found

    @staticmethod
    def stability(table: Document) -> list[Any]:
        polynomial = Poly(Amplification(table.tableau).function.subs(z, 0), w)
        return [*reversed(polynomial.all_coeffs())]


class NodePy:
    """NodePy: exact where a table is of rationals, else in float64 with its tolerance."""

    package = "nodepy"

    @staticmethod
    def trees(order: int) -> list[int]:
        from nodepy import rooted_trees

        return [len(rooted_trees.list_trees(q)) for q in range(1, order + 1)]

    @staticmethod
    def table(name: str) -> Any:
        import numpy as np
        from nodepy.runge_kutta_method import ExplicitRungeKuttaMethod

        exact = name in WORDS
        a, b = _square(name, Rational if exact else float)
        kind = object if exact else float
        return ExplicitRungeKuttaMethod(np.array(a, dtype=kind), np.array(b, dtype=kind))

    @staticmethod
    def order(table: Any) -> int:
        exact = table.A.dtype == object
        return int(table.order(mode="exact") if exact else table.order(tol=1e-13))

    @staticmethod
    def norm(table: Any) -> float:
        return float(table.principal_error_norm(mode="exact" if table.A.dtype == object else "float"))

    @staticmethod
    def stability(table: Any) -> list[Any]:
        over, under = table.stability_function()
        assert list(under) == [1]
        return [*reversed(list(over))]


class Kauri:
    """kauri: numbers as they stand; the norm and the stability function from its elementary weights."""

    package = "kauri"

    @staticmethod
    def trees(order: int) -> list[int]:
        from kauri import trees_of_order

        return [sum(1 for _ in trees_of_order(q)) for q in range(1, order + 1)]

    @staticmethod
    def table(name: str) -> Any:
        from kauri import RK

        return RK(*_square(name, Fraction if name in WORDS else float))

    @staticmethod
    def order(table: Any) -> int:
        return int(table.order())

    @staticmethod
    def norm(table: Any) -> float:
        from kauri import trees_of_order

        weight = table.elementary_weights_map()
        errors = (
            (weight(t) - Fraction(1, int(t.factorial()))) / t.sigma()
            for t in trees_of_order(Kauri.order(table) + 1)
        )
        return math.sqrt(sum(float(e) ** 2 for e in errors))

    @staticmethod
    def stability(table: Any) -> list[Any]:
        from kauri import Tree

        tall: list[Any] = []
        weight, found = table.elementary_weights_map(), [1]
        for _ in table.b:
            found.append(weight(Tree(tall)))
            tall = [tall]
        return found


OURS = {"semilinear": Ours, "nodepy": NodePy, "kauri": Kauri}


def candidate(name: str) -> Any:
    found = OURS[name]
    if package := getattr(found, "package", None):
        pytest.importorskip(package, reason=f"{package} is not installed: pip install --group bench")
    return found


def _round(benchmark: Any, work: Callable[[Any], Any], name: str, of: Any) -> Any:
    """The result, measured from new tables; a slow package has fewer rounds."""
    return benchmark.pedantic(work, setup=lambda: ((of.table(name),), {}), rounds=3)


# --- tasks ---


@pytest.mark.benchmark(group=f"rooted trees to order {COUNTED}")
@pytest.mark.parametrize("by", OURS)
def test_trees(benchmark: Any, by: str) -> None:
    found = benchmark.pedantic(candidate(by).trees, args=(COUNTED,), rounds=3)
    assert found == [1, 1, 2, 4, 9, 20, 48, 115, 286, 719]  # OEIS A000081


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("by", OURS)
def test_order(benchmark: Any, by: str, name: str) -> None:
    benchmark.group = f"order, {name}"
    of = candidate(by)
    assert _round(benchmark, of.order, name, of) == METHODS[name]


WRONG = {"semilinear": (1, 1), "nodepy": (1, 4), "kauri": (4, 4)}
"""The orders that are told of RK4 with b_1 larger and b_4 smaller by 1e-11 and by 1e-15, in rationals: its
b c is not 1/2, so that it has order 1.  NodePy's exact mode has a tolerance of 1e-14, kauri one of 1e-10.
"""


@pytest.mark.parametrize("exponent", [11, 15])
@pytest.mark.parametrize("by", OURS)
def test_order_of_a_wrong_table(
    benchmark: Any, by: str, exponent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    benchmark.group = f"order, rk4 with 1e-{exponent} too much in b_1"
    of = candidate(by)
    off = Fraction(1, 10**exponent)
    *middle, last = map(Fraction, ROWS["rk4"]["b"][1:])
    b = [Fraction(ROWS["rk4"]["b"][0]) + off, *middle, last - off]
    monkeypatch.setitem(ROWS, "rk4", ROWS["rk4"] | {"b": [*map(str, b)]})
    order = (lambda table: table.prove().classical) if of is Ours else of.order
    found = _round(benchmark, order, "rk4", of)
    assert found == WRONG[by][exponent == 15]


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("by", OURS)
def test_principal_error_norm(benchmark: Any, by: str, name: str) -> None:
    benchmark.group = f"principal error norm, {name}"
    of = candidate(by)
    found = _round(benchmark, of.norm, name, of)
    benchmark.extra_info["norm"] = found
    exact = {"rk4": math.sqrt(1745) / 2880, "dopri5": math.sqrt(16719) / 324000}
    # Rational tables: float64 sums.  DOP853's conditions are known to 1e-16 times their terms, its norm is
    # 6e-6.
    tolerance = 1e-12 if name in exact else 1e-9
    assert found == pytest.approx(exact.get(name) or Ours.norm(Ours.table(name)), rel=tolerance)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("by", OURS)
def test_stability_function(benchmark: Any, by: str, name: str) -> None:
    benchmark.group = f"stability function, {name}"
    of = candidate(by)
    found = [*map(float, _round(benchmark, of.stability, name, of))]
    expected = [*map(float, Ours.stability(Ours.table(name)))]
    size = max(len(found), len(expected))
    both = [[*values, *[0.0] * (size - len(values))] for values in (found, expected)]
    assert both[0] == pytest.approx(both[1], rel=1e-12, abs=1e-16)  # sums of products of at most 12 floats
    order = METHODS[name]
    assert both[0][: order + 1] == pytest.approx([1 / math.factorial(k) for k in range(order + 1)], rel=1e-12)
