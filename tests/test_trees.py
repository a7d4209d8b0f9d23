"""L/N trees: counts of the literature, symmetry by brute force, sums that are known."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st
from semilinear.analysis.algebra.trees import (
    Kind,
    Tree,
    commuting,
    differential,
    exact,
    order,
    symmetry,
    trees,
)

ALL, NO_LEAF, ROOTED = Kind(), Kind(u_leaves=False), Kind(stems=False, u_leaves=False)
WEIGHT = Kind(stems=True, u_leaves=False)


def count(kind: Kind, through: int) -> list[int]:
    return [len(trees(q, kind)) for q in range(1, through + 1)]


def test_the_counts_of_ln_trees() -> None:
    """With the trivial tree L^q u, 2, 4, 11, 34, 117, 421, 1589, 6162 (Berland, Owren & Wright)."""
    assert [n + 1 for n in count(ALL, 8)] == [2, 4, 11, 34, 117, 421, 1589, 6162]


def test_the_counts_without_leaves_of_u_and_of_rooted_trees() -> None:
    assert count(NO_LEAF, 7) == [1, 2, 5, 13, 37, 108, 332]
    assert count(ROOTED, 8) == [1, 1, 2, 4, 9, 20, 48, 115]


def test_the_counts_where_l_is_a_multiple_of_the_identity() -> None:
    for kind, expected in ((ALL, [1, 3, 8, 21, 58, 166, 498]), (NO_LEAF, [1, 2, 4, 8, 17, 37, 85])):
        found = [len({commuting(t, "duhamel") for t in trees(q, kind)}) for q in range(1, 8)]
        assert found == expected


def test_rooted_trees_without_single_children() -> None:
    """Of Rosenbrock type: no node with one child, series-reduced rooted trees by all nodes (OEIS A001678)."""
    kind = ROOTED._replace(linearised=True)
    assert count(kind, 9) == [1, 0, 1, 1, 2, 3, 6, 10, 19]


@pytest.mark.parametrize(
    "kind", [ALL, NO_LEAF, ROOTED, Kind(time=True), Kind(False, False, True), ALL._replace(linearised=True)]
)
def test_trees_are_distinct_canonical_and_of_their_order(kind: Kind) -> None:
    for q in range(1, 6):
        found = trees(q, kind)
        assert len(set(found)) == len(found)
        assert all(order(tree) == q and canonical(tree) == tree for tree in found)
        assert len(set(map(differential, found))) == len(found)


def canonical(tree: Tree) -> Tree:
    return Tree(tree.stem, tuple(sorted(tree.leaves)), tuple(sorted(map(canonical, tree.children))))


def planar(tree: Tree) -> Any:
    """All orderings of a tree's branches, with multiplicity."""
    branches = [[("leaf", leaf)] for leaf in tree.leaves] + [list(planar(child)) for child in tree.children]
    for permutation in itertools.permutations(branches):
        for choice in itertools.product(*permutation):
            yield (tree.stem, choice)


@pytest.mark.parametrize("q", range(1, 6))
def test_symmetry_is_the_number_of_orderings_that_look_the_same(q: int) -> None:
    for tree in trees(q, Kind(time=True)):
        pictures = list(planar(tree))
        assert symmetry(tree) == pictures.count(pictures[0])


@pytest.mark.parametrize("q", range(1, 9))
def test_the_orderings_of_rooted_trees_sum_to_labellings(q: int) -> None:
    """sum q!/(gamma sigma) = (q - 1)!: the increasing labellings of q nodes."""
    total = sum(exact(tree, "duhamel") / symmetry(tree) for tree in trees(q, ROOTED))
    assert total * math.factorial(q) == math.factorial(q - 1)
    assert all(exact(t, "duhamel") == exact(t, "weight") for t in trees(q, ROOTED))


@given(
    st.fractions(-2, 2, max_denominator=4),
    st.fractions(-2, 2, max_denominator=4),
    st.fractions(-2, 2, max_denominator=4),
)
def test_the_sum_over_ln_trees_is_the_solution_of_a_scalar_equation(l: Any, u: Any, a: Any) -> None:
    """u' = l u + N(u), N = a + u^2: all trees of order q with 1/(gamma sigma), and l^q u/q!."""

    def value(tree: Tree) -> Fraction:
        arguments = [l**k * u for k in tree.leaves] + [value(child) for child in tree.children]
        derivative = [a + u * u, 2 * u, Fraction(2)][len(arguments)] if len(arguments) <= 2 else Fraction(0)
        return Fraction(l**tree.stem * derivative * math.prod(arguments))

    series = [Fraction(u)]
    for n in range(5):
        square = sum(series[i] * series[n - i] for i in range(n + 1))
        series.append((l * series[n] + square + (a if n == 0 else 0)) / (n + 1))
    for q in range(1, 6):
        total = sum(exact(tree, "duhamel") / symmetry(tree) * value(tree) for tree in trees(q, ALL))
        assert total + Fraction(l**q * u) / math.factorial(q) == series[q]


@given(st.lists(st.fractions(-2, 2, max_denominator=4), min_size=6, max_size=6))
def test_the_sum_over_trees_is_the_solution_for_a_weight_that_depends_on_time(numbers: list[Any]) -> None:
    """y' = w(tau) (y + tau)^2, w^(m) as drawn: trees with the leaf tau, stems the derivatives of w."""
    w, y = numbers[:5], numbers[5]

    def value(tree: Tree) -> Fraction:
        arguments = [Fraction(1)] * len(tree.leaves) + [value(child) for child in tree.children]
        derivative = [y * y, 2 * y, Fraction(2)][len(arguments)] if len(arguments) <= 2 else Fraction(0)
        return Fraction(w[tree.stem] * derivative * math.prod(arguments))

    series = [Fraction(y)]
    for n in range(4):
        shifted = [x + (1 if i == 1 else 0) for i, x in enumerate(series)]
        square = [sum(shifted[i] * shifted[k - i] for i in range(k + 1)) for k in range(n + 1)]
        series.append(sum(w[m] / math.factorial(m) * square[n - m] for m in range(n + 1)) / (n + 1))
    kind = WEIGHT._replace(time=True)
    for q in range(1, 5):
        assert sum(exact(t, "weight") / symmetry(t) * value(t) for t in trees(q, kind)) == series[q]


def test_differentials_read_as_they_are_written() -> None:
    tree = Tree(2, (1,), (Tree(0, (), ()), Tree(1, (3,), ())))
    assert differential(tree) == "L^2 N'''(N, L N'(L^3 u), L u)"
    assert differential(Tree(1, (0,), ()), "w") == "w' N'(tau)"
    assert sympy.Integer(order(tree)) == 2 + 1 + 1 + 1 + 1 + 1 + 3
