"""docs/mathematics.md says what the code does: its files, constants, counts, orders, and its sections."""

from __future__ import annotations

import ast
import importlib
import math
import re
from collections.abc import Callable
from fractions import Fraction
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from semilinear.analysis.algebra.trees import Kind, commuting, trees
from semilinear.analysis.convergence import estimate_order
from semilinear.analysis.orders.proof import equal_steps, prove
from semilinear.analysis.orders.solver_proof import GRIDS, prove_solver
from semilinear.integrators.solvers import make
from semilinear.integrators.tableaux.catalogue import CATALOGUE
from semilinear.integrators.tableaux.tableau import adams, at_zero

from tests.ladders import FAMILIES, ladder
from tests.test_imports import LAYERS

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "mathematics.md").read_text()
SECTIONS = re.findall(r"^## (\d+) ", TEXT, re.MULTILINE)
NAME = "docs/mathematics.md"
SOURCES = [path for folder in (*LAYERS, "tests") for path in sorted((ROOT / folder).rglob("*.py"))]
CITING = [path for path in SOURCES if path != Path(__file__) and NAME in path.read_text()]


def table(header: str) -> list[list[str]]:
    """The rows of the table whose first column has this name, without their quotes."""
    body = TEXT.split(f"\n| {header} |", 1)[1].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip(" `") for cell in row.strip("|").split("|")] for row in body]


def value_of(name: str) -> Any:
    """The value of "module.NAME", the module by its file's name alone."""
    stem, *attributes = name.split(".")
    (path,) = (p for p in SOURCES if p.stem == stem)
    dotted = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return reduce(getattr, attributes, importlib.import_module(f"semilinear.{dotted}"))


# --- what it names ---


def test_the_sections_are_numbered_in_their_order() -> None:
    assert [str(i + 1) for i in range(len(SECTIONS))] == SECTIONS


@pytest.mark.parametrize("path", CITING, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_section_that_source_cites_is_there(path: Path) -> None:
    text = re.sub(r"\s*\n\s*#?\s*", " ", path.read_text())
    for following in text.split(NAME)[1:]:
        cited = re.match(r", (\d+)(?: and (\d+))?", following)
        assert cited is not None, "a citation names its section"
        assert {number for number in cited.groups() if number} <= set(SECTIONS)


@pytest.mark.parametrize(
    "name", sorted(set(re.findall(rf"`((?:{'|'.join(LAYERS)}|docs|tests)/[\w/.]*)`", TEXT)))
)
def test_every_file_that_is_named_exists(name: str) -> None:
    assert (ROOT / name).exists()


@pytest.mark.parametrize(("name", "stated"), re.findall(r"`([\w.]+\.\w+) = ([^`]+)`", TEXT))
def test_every_constant_has_the_value_that_is_stated(name: str, stated: str) -> None:
    value = ast.literal_eval(stated)
    assert value == value_of(name)


# --- what it counts and lists ---

ROOTED, ALL, NO_LEAF = Kind(stems=False, u_leaves=False), Kind(), Kind(u_leaves=False)
COUNTS: dict[str, Callable[[int], int]] = {
    "rooted trees": lambda q: len(trees(q, ROOTED)),
    "L/N trees": lambda q: len(trees(q, ALL)),
    "L/N trees without leaves of u": lambda q: len(trees(q, NO_LEAF)),
    "L/N trees, scalar L": lambda q: len({commuting(t, "duhamel") for t in trees(q, ALL)}),
    "L/N trees without leaves of u, scalar L": lambda q: len(
        {commuting(t, "duhamel") for t in trees(q, NO_LEAF)}
    ),
    "rooted trees, Rosenbrock type": lambda q: len(trees(q, ROOTED._replace(linearised=True))),
}


def test_the_counts_of_trees_are_those_that_are_listed() -> None:
    rows = {name: [int(n) for n in counts] for name, *counts in table("trees")}
    assert rows == {name: [count(q) for q in range(1, 9)] for name, count in COUNTS.items()}


@pytest.mark.parametrize("row", table("catalogue"), ids=lambda row: row[0])
def test_the_orders_of_the_catalogue_are_those_that_are_listed(row: list[str]) -> None:
    name, *listed = row
    proof = prove(CATALOGUE[name].tableau)
    assert [int(n) for n in listed] == [proof.classical, proof.stiff, proof.weak_stiff, proof.zero_stiff]


def test_the_leading_error_is_the_one_that_is_written_out() -> None:
    terms = prove_solver(make("dpm-solver++-2m")).leading_error
    assert f"\n    {' + '.join(map(str, terms))},\n" in TEXT


def test_the_orders_on_the_three_kinds_of_grids_are_those_that_are_listed() -> None:
    proof = prove_solver(make("deis-ipndm"))
    any_grid, smooth, equal = (proof.formula(grid) for grid in GRIDS)
    listed = f"has orders {any_grid}, {smooth} and {equal}."
    assert re.search(rf"formula of `deis-ipndm`,[^.]*{listed}", " ".join(TEXT.split()))


# --- what one increment per interval leaves ---


@pytest.mark.parametrize("k", [2, 3, 4])
def test_adams_formulas_leave_a_part_of_the_variance_and_of_the_path(k: int) -> None:
    """dx = J x dt + g dW on [0, 1], g = 1: what M - Mbar leaves is J^2 h^2/12 int M^2, to 1 + O(h), as a
    strong error and as a part of the variance error; the other part of that has the same sign.
    """
    slope, n, row = 0.7, 400, adams(k)
    h, steps = 1 / n, equal_steps(row)
    weights = [float(at_zero(row.b[-j]).subs(steps)) for j in range(k)]  # N(0), P(1), ..
    response = [1.0]  # to one increment, 0, 1, .. steps after it
    for _ in range(n - 1):
        latest = zip(weights, response[::-1], strict=False)
        response.append(response[-1] + h * slope * sum(w * x for w, x in latest))
    kappa = np.array(response)
    grown = np.exp(slope * h * np.arange(n))
    mean = grown * math.expm1(slope * h) / (slope * h)
    square = grown**2 * math.expm1(2 * slope * h) / (2 * slope * h)
    unknown = float(np.sum(square - mean**2)) * h
    other = float(np.sum(kappa**2 - mean**2)) * h
    strong = float(np.sum(square - 2 * mean * kappa + kappa**2)) * h
    expected = slope**2 * h**2 / 12 * math.expm1(2 * slope) / (2 * slope)
    assert unknown == pytest.approx(expected, rel=10 * h)  # O(h)
    assert unknown <= strong == pytest.approx(expected, rel=10 * h)  # O(h)
    assert other < 0  # as is -unknown


# --- what the estimator's constants do ---

EACH = 25
FLOORS = ("declared", "hidden")


def counted() -> list[int]:
    """On the battery, `EACH` ladders of a family and kind of floor: true claims refuted, true ones confirmed,
    claims one order too high refuted.
    """
    found = [0, 0, 0]
    for one in (ladder(name, i, floor) for name in FAMILIES for i in range(EACH) for floor in FLOORS):
        estimate = estimate_order(one.n, one.errors, one.floors)
        verdict = estimate.verdict(one.order)
        found[0] += verdict in ("lower", "higher")
        found[1] += verdict == "consistent"
        found[2] += estimate.verdict(one.order + 1) == "lower"
    return found


@pytest.mark.slow
@pytest.mark.parametrize("row", table("constant | value"), ids=lambda row: " ".join(row[:2]).strip())
def test_the_constants_do_on_the_battery_what_is_listed(
    row: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to two verdicts of each kind: least squares by another BLAS may move a ladder on the edge."""
    name, value, *listed = row
    if value:
        stem, constant = name.split(".")
        monkeypatch.setattr(f"semilinear.analysis.{stem}.{constant}", float(Fraction(value)))
    assert counted() == pytest.approx([int(n) for n in listed], abs=2)  # see above
