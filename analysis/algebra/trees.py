"""Trees of the expansion of u' = L u + N(u) or y' = w(tau) N(tau, y), as data.

A tree is an N-node (stem, leaves, children):

    stem      m >= 0: L^m applied to the node, or the m-th derivative of the weight w that multiplies it
    leaves    what N is differentiated along besides subtrees: k >= 1 is L^k u, TIME is tau itself
    children  subtrees, sorted

so that the elementary differential is  L^m N^(l)(leaves, children).  With leaves and stems these are the L/N
trees of Berland, Owren & Wright (B-series and order conditions for exponential integrators, SINUM 2005),
without the trivial ones L^m u, which every method with the right e^z integrates exactly.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from typing import Literal, NamedTuple

TIME = 0
"""The leaf tau, of order 1; a leaf k >= 1 is L^k u, of order k."""


class Tree(NamedTuple):
    """An N-node with its stem, leaves and children."""

    stem: int
    leaves: tuple[int, ...]
    children: tuple[Tree, ...]


class Kind(NamedTuple):
    """Which trees there are: with stems, with leaves L^k u, with leaves tau.

    linearised: N'(u_n) = 0, so no node has exactly one leaf or child (Rosenbrock-type methods).
    """

    stems: bool = True
    u_leaves: bool = True
    time: bool = False
    linearised: bool = False


Integral = Literal["duhamel", "weight"]
"""What a stem m means: int (c - s)^m/m! .. ds (e^((c-s)L) expanded), or int s^m/m! .. ds (w expanded)."""


def leaf_order(leaf: int) -> int:
    """How many powers of h a leaf counts for."""
    return 1 if leaf == TIME else leaf


@cache
def order(tree: Tree) -> int:
    """The number of nodes, those of stems and leaves included."""
    return tree.stem + 1 + forest_order(tree)


def forest_order(tree: Tree) -> int:
    """The order of what hangs on the node."""
    return sum(map(leaf_order, tree.leaves)) + sum(map(order, tree.children))


@cache
def trees(q: int, kind: Kind) -> tuple[Tree, ...]:
    """All trees of order q."""
    found = []
    for stem in range(q if kind.stems else 1):
        for leaves, children in _forests(q - 1 - stem, kind):
            if not (kind.linearised and len(leaves) + len(children) == 1):
                found.append(Tree(stem, leaves, children))
    return tuple(found)


def _forests(total: int, kind: Kind) -> Iterator[tuple[tuple[int, ...], tuple[Tree, ...]]]:
    """Leaves and children whose orders add up to total."""
    for parts in _partitions(total, total):
        for below in itertools.product(
            *(
                itertools.combinations_with_replacement(_below(size, kind), count)
                for size, count in sorted(Counter(parts).items())
            )
        ):
            flat = [item for group in below for item in group]
            leaves = sorted(item for item in flat if isinstance(item, int))
            children = sorted(item for item in flat if not isinstance(item, int))
            yield tuple(leaves), tuple(children)


@cache
def _below(size: int, kind: Kind) -> tuple[int | Tree, ...]:
    leaves = [size] if kind.u_leaves else []
    leaves += [TIME] if kind.time and size == 1 else []
    return (*leaves, *trees(size, kind))


@cache
def _partitions(total: int, largest: int) -> tuple[tuple[int, ...], ...]:
    if total == 0:
        return ((),)
    return tuple(
        (part, *rest)
        for part in range(min(total, largest), 0, -1)
        for rest in _partitions(total - part, part)
    )


@cache
def symmetry(tree: Tree) -> int:
    """sigma: the order of the tree's group of automorphisms."""
    repeated = [*Counter(tree.leaves).values(), *Counter(tree.children).values()]
    return math.prod(map(math.factorial, repeated)) * math.prod(map(symmetry, tree.children))


@cache
def exact(tree: Tree, integral: Integral) -> Fraction:
    """The coefficient of the exact solution, 1/gamma for "duhamel": its tree value at s is this times
    s^order.
    """
    k, below = forest_order(tree), forest_exact(tree, integral)
    if integral == "duhamel":
        return below * Fraction(math.factorial(k), math.factorial(k + tree.stem + 1))
    return below / (math.factorial(tree.stem) * (k + tree.stem + 1))


@cache
def forest_exact(tree: Tree, integral: Integral) -> Fraction:
    """The same of what hangs on the node: its product at s is this times s^forest_order."""
    below = math.prod((exact(child, integral) for child in tree.children), start=Fraction(1))
    return below / math.prod(math.factorial(leaf) for leaf in tree.leaves)


Class = tuple[object, tuple[int, ...]]
"""What is left of a tree when stems commute with everything: its skeleton, and the stems."""


@cache
def commuting(tree: Tree, integral: Integral) -> Class:
    """The class of trees with one elementary differential when L is a multiple of the identity (all L's only
    count together) or w is a number (its derivatives count as a multiset).
    """
    stems = _stems(tree)
    return (_skeleton(tree), (sum(stems),) if integral == "duhamel" else tuple(sorted(stems)))


def _stems(tree: Tree) -> list[int]:
    return [tree.stem, *tree.leaves, *(m for child in tree.children for m in _stems(child))]


def _skeleton(tree: Tree) -> object:
    leaves = tuple(min(leaf, 1) for leaf in tree.leaves)
    return (leaves, tuple(sorted((_skeleton(child) for child in tree.children), key=repr)))


def differential(tree: Tree, stem: str = "L") -> str:
    """The elementary differential in words: L^2 N''(N, L u)."""
    arguments = [differential(child, stem) for child in tree.children]
    arguments += ["tau" if leaf == TIME else f"{power('L', leaf)}u" for leaf in tree.leaves]
    listed = f"({', '.join(arguments)})" if arguments else ""
    return f"{factor(stem, tree.stem)}{nonlinear(len(arguments))}{listed}"


def nonlinear(n: int) -> str:
    """The n-th derivative of N in words."""
    return f"N{_primes(n)}"


def factor(stem: str, m: int) -> str:
    """A stem in words, with a space behind: a power of "L", or a derivative of "w"; nothing without a symbol,
    and where no w multiplies (m < 0).
    """
    if stem != "w":
        return power(stem, m) if stem else ""
    return f"w{_primes(m)} " if m >= 0 else ""


def power(base: str, exponent: int) -> str:
    """A power in words, with a space behind."""
    return "" if exponent == 0 else f"{base} " if exponent == 1 else f"{base}^{exponent} "


def _primes(n: int) -> str:
    return "'" * n if n <= 3 else f"^({n})"
