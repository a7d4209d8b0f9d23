"""Stiff order conditions: those that hold uniformly in the norm of L.

Luan & Ostermann 2014, Hochbruck & Ostermann 2005; docs/mathematics.md, 4.  With

    psi_m(z)   = sum_i b_i(z) c_i^(m-1)/(m-1)! - phi_m(z),
    psi_m,i(z) = sum_j a_ij(z) c_j^(m-1)/(m-1)! - c_i^m phi_m(c_i z),

the conditions of order q correspond to the rooted trees of order q: a bushy tree with m leaves stands for
psi_(m+1); any other node for c^(its leaves) times one factor for each other child, summed with b at the root
and with a_ij below it, with an arbitrary operator J between a node and its child.

Since the operators are arbitrary, every coefficient function of a condition has its own argument: the
condition is a tensor in functions of z_0, z_1, ..  It vanishes if and only if it vanishes for every choice of
coefficients of linearly independent functions, so each subtree is replaced by the *span* of its stage
vectors in K^s: a condition holds where the functionals in the span of b annihilate all products of vectors
from the children's spans.  No tensor is ever formed, and s vectors span everything.

They take psi_1,i = 0 of every stage that is read for granted, which counts among the conditions of order 2
(of order 3 for Rosenbrock type).  It is sufficient: with rows that do not sum to c_i phi_1 an order can be
higher than what is found here.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from semilinear.integrators.tableaux.tableau import Tableau, Weights

from ..algebra.ring import Element, Field, Ring, Scalar
from ..algebra.trees import Kind, Tree, order, trees
from .expansion import expressions, positions, unread

Sense = Literal["strong", "weak", "zero"]
"""Of a condition: as it stands; with b_i(0) for b_i(z); with everything at z = 0."""

ROOTED = Kind(stems=False, u_leaves=False)
LEAF = Tree(0, (), ())
Vector = tuple[Scalar, ...]


@dataclass(eq=False)
class StiffConditions:
    """The stiff order conditions of a tableau.

    Past evaluations have exact values, so their psi are zero.  linearised: L is the Jacobian at u_n
    (Rosenbrock type), where N' = 0 there and no node has exactly one child (Hochbruck, Ostermann &
    Schweitzer 2009).  reduce: to fewer vectors of the same span, by default a basis of it (which is one for
    generic values of parameters only).  Raises NotInRing for entries outside the ring.
    """

    tableau: Tableau
    ring: Ring
    linearised: bool = False
    reduce: Callable[[Iterable[Vector], Field], list[Vector]] = lambda vectors, base: independent(
        vectors, base
    )
    _spans: dict[tuple[Any, ...], list[Vector]] = field(default_factory=dict)
    _psi: dict[int, list[Element]] = field(default_factory=dict)
    _violated: dict[tuple[int, Sense], list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        at, base = positions(self.tableau), self.ring.field
        self.abscissae = [base(node) for node in (*self.tableau.known.values(), *self.tableau.c)]
        self.known = len(self.tableau.known)

        def row(weights: Weights) -> dict[int, Element]:
            return {at[key]: self.ring(w) for key, w in weights.items()}

        self.a, self.b = [row(w) for w in self.tableau.a], row(self.tableau.b)
        self._size = len(self.abscissae)
        self._unread = set(unread(self.tableau))

    def trees(self, q: int) -> tuple[Tree, ...]:
        """The rooted trees of order q whose conditions do not hold by themselves."""
        kind = ROOTED._replace(linearised=self.linearised)
        return trees(q, kind)

    def order(self, through: int, sense: Sense = "strong") -> int:
        """The largest p <= through such that the conditions of orders < p hold strongly and those of order p
        in the given sense.
        """
        for q in range(1, through + 1):
            if not self.holds(q, sense):
                return q - 1
            if not self.holds(q, "strong"):
                return q
        return through

    def quadrature_order(self, through: int) -> int:
        """P: the largest k <= through such that psi_1, .., psi_k of the output row vanish."""
        return next((k - 1 for k in range(1, through + 1) if self.psi(k)), through)

    def stage_order(self, through: int) -> int:
        """Q: the largest k <= through such that psi_1,i, .., psi_k,i of every stage that is read vanish.

        A multistep method with stages has stiff order min(P, Q + 1) at least (Ostermann, Thalhammer & Wright
        2006).
        """
        return next(
            (k - 1 for k in range(1, through + 1) if any(e for _, e in self._read_stages(k))), through
        )

    def holds(self, q: int, sense: Sense = "strong") -> bool:
        """Whether all conditions of order q hold."""
        return not self.violated(q, sense)

    def violated(self, q: int, sense: Sense = "strong") -> list[str]:
        """The conditions of order q that fail, in words."""
        if (q, sense) not in self._violated:
            self._violated[q, sense] = self._find_violated(q, sense)
        return self._violated[q, sense]

    def _find_violated(self, q: int, sense: Sense) -> list[str]:
        failing = [describe(tree) for tree in self.trees(q) if not self._annihilated(tree, sense)]
        rows = self.consistency(q).items()
        return failing + [name for name, element in rows if self._nonzero(element, sense)]

    def equations(self, q: int, sense: Sense = "strong") -> Iterator[Scalar]:
        """What must vanish where the conditions of order q are to hold, without zeros."""
        for tree in self.trees(q):
            yield from self._equations(tree, sense)
        for element in self.consistency(q).values():
            yield from self._values(element, "zero" if sense == "zero" else "strong")

    def consistency(self, q: int) -> dict[str, Element]:
        """psi_1,i of every stage that is read by name, where they count among the conditions of order q: 2,
        or 3 where N' = 0 and an error of a stage acts through N'' only.
        """
        if q != (3 if self.linearised else 2):
            return {}
        return {f"psi_1,{i + 1}": element for i, element in self._read_stages(1)}

    def _read_stages(self, m: int) -> Iterator[tuple[int, Element]]:
        return ((i, e) for i, e in enumerate(self.psi_stages(m), 1) if i not in self._unread)

    # --- the functions ---

    def _psi_row(self, row: dict[int, Element], m: int, c: Scalar) -> Element:
        base, total = self.ring.field, self.ring.phi(m, c).scaled(-(c**m))
        for j, weight in row.items():
            node = base.power(self.abscissae[j], m - 1)
            if node:
                total = total + weight.scaled(node / math.factorial(m - 1))
        return total

    def psi(self, m: int) -> Element:
        """psi_m of the output row."""
        return self._psi_row(self.b, m, self.ring.field.one)

    def psi_stages(self, m: int) -> list[Element]:
        """psi_m,i of every stage."""
        if m not in self._psi:
            rows = zip(self.a, self.abscissae[self.known :], strict=True)
            self._psi[m] = [self._psi_row(row, m, c) for row, c in rows]
        return self._psi[m]

    def _nonzero(self, element: Element, sense: Sense) -> bool:
        return bool(element.taylor(0) if sense == "zero" else element)

    def _values(self, element: Element, sense: Sense) -> list[Scalar]:
        """The coefficients of a function that must vanish, or vanish at z = 0; without zeros."""
        if sense == "strong":
            return list(element.terms.values())
        return [value] if (value := element.taylor(0)) else []

    # --- spans ---

    def _annihilated(self, tree: Tree, sense: Sense) -> bool:
        return next(self._equations(tree, sense), None) is None

    def _equations(self, tree: Tree, sense: Sense) -> Iterator[Scalar]:
        if bushy(tree):
            yield from self._values(self.psi(len(tree.children) + 1), sense)
            return
        inner: Sense = "zero" if sense == "zero" else "strong"
        functionals = self._coefficients([self.b.get(j) for j in range(self._size)], sense != "strong")
        for vector in self._products(tree, inner):
            for functional in functionals:
                if value := _dot(functional, vector, self.ring.field):
                    yield value

    def _products(self, tree: Tree, sense: Sense) -> Iterator[Vector]:
        """c^(leaves) times products of one vector from each other child's span: they span all of them."""
        leaves = tree.children.count(LEAF)
        start = tuple(self.ring.field.power(c, leaves) for c in self.abscissae)
        spans = [self._span(child, sense) for child in tree.children if child != LEAF]
        for choice in itertools.product(*spans):
            vector = start
            for other in choice:
                vector = tuple(a * b if a else a for a, b in zip(vector, other, strict=True))
            yield vector

    def _span(self, tree: Tree, sense: Sense) -> list[Vector]:
        """A basis of the span of a subtree's stage vectors."""
        key = (tree, sense)
        if key not in self._spans:
            self._spans[key] = self.reduce(self._generators(tree, sense), self.ring.field)
        return self._spans[key]

    def _generators(self, tree: Tree, sense: Sense) -> Iterator[Vector]:
        zero = self.ring.field.zero
        known = (zero,) * self.known
        if bushy(tree):
            stages = self.psi_stages(len(tree.children) + 1)
            yield from ((*known, *v) for v in self._coefficients(stages, sense == "zero"))
            return
        vectors = self.reduce(self._products(tree, sense), self.ring.field)
        for matrix in self._matrices(sense == "zero"):
            for v in vectors:
                yield (*known, *(_dot(row, v, self.ring.field) for row in matrix))

    def _matrices(self, at_zero: bool) -> list[list[Vector]]:
        """A basis of the span of the matrices of coefficients of a_ij."""
        key = ("a", at_zero)
        if key not in self._spans:
            flat = [row.get(j) for row in self.a for j in range(self._size)]
            self._spans[key] = self.reduce(self._coefficients(flat, at_zero), self.ring.field)
        n = self._size
        return [[m[i * n : (i + 1) * n] for i in range(len(self.a))] for m in self._spans[key]]

    def _coefficients(self, elements: Sequence[Element | None], at_zero: bool) -> list[Vector]:
        """The coefficient vectors of a vector of functions, one for each z^p e^(q z) that occurs in it."""
        zero = self.ring.field.zero
        if at_zero:
            return [tuple(zero if e is None else e.taylor(0) for e in elements)]
        keys = dict.fromkeys(key for e in elements if e is not None for key in e.terms)
        return [tuple(zero if e is None else e.terms.get(key, zero) for e in elements) for key in keys]


def stiff_conditions(tableau: Tableau, *, linearised: bool = False) -> StiffConditions:
    """The stiff order conditions of a tableau, over the field of its own parameters."""
    return StiffConditions(tableau, Ring(Field(expressions(tableau))), linearised)


def independent(vectors: Iterable[Vector], base: Field) -> list[Vector]:
    """A basis of the span of vectors over the field, in echelon form."""
    basis: list[tuple[int, Vector]] = []
    for vector in vectors:
        rest = vector
        for pivot, other in basis:
            if rest[pivot]:
                factor = rest[pivot]
                rest = tuple(a - factor * b if b else a for a, b in zip(rest, other, strict=True))
        pivot = next((i for i, v in enumerate(rest) if v), -1)
        if pivot >= 0:
            scale = base.one / rest[pivot]
            basis.append((pivot, tuple(v * scale if v else v for v in rest)))
            if len(basis) == len(vector):
                break
    return [vector for _, vector in basis]


def _dot(a: Sequence[Scalar], b: Sequence[Scalar], base: Field) -> Scalar:
    total = base.zero
    for x, y in zip(a, b, strict=True):
        if x and y:
            total += x * y
    return total


INDICES = "ijklmnpq"


def bushy(tree: Tree) -> bool:
    """Whether all children are leaves: the tree of a psi."""
    return all(child == LEAF for child in tree.children)


def describe(tree: Tree) -> str:
    """A condition in words: sum_i b_i c_i J psi_2,i."""
    if bushy(tree):
        return f"psi_{order(tree)}"
    return f"sum_i b_i {_factors(tree, 0)}"


def _factors(tree: Tree, depth: int) -> str:
    i, j = INDICES[depth], INDICES[depth + 1]
    leaves = tree.children.count(LEAF)
    parts = [f"c_{i}^{leaves}" if leaves > 1 else f"c_{i}"] if leaves else []
    for child in tree.children:
        if child == LEAF:
            continue
        if bushy(child):
            parts.append(f"J psi_{order(child)},{i}")
        else:
            parts.append(f"J (sum_{j} a_{i}{j} {_factors(child, depth + 1)})")
    return " ".join(parts)
