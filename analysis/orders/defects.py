"""The local error by derivatives along the solution, instead of by elementary differentials.

Against the exact solution, a row at abscissa c has the defects

    psi_k^(m) = sum_j a_j^(m) c_j^(k-1)/(k-1)! - exact c^(k+m),

h^(k+m) times L^m D^(k-1) N (or w^(m) D^(k-1) N), D = d/dtau along the solution; a step has those of its own
row, and those of its stages propagated by N' = J, N'', ..: the trees of `stiff.py` with a power in each slot.
So the local error is a sum of few terms such as L D^2 N, N'(L D N), (D N')(D N), whose differentials are
independent: it is of order p + 1 if and only if all terms of orders <= p vanish, as the sums over elementary
differentials do.  This holds where every stage integrates a constant N (psi_1 = 0), or else a stage is wrong
at first order and its defects are no derivatives of N alone.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from ..algebra.ring import Scalar
from ..algebra.trees import Tree, differential, factor, nonlinear, order, power, trees
from .expansion import Expansion, Row
from .stiff import LEAF, ROOTED, StiffConditions, bushy, describe


class Defect(NamedTuple):
    """A term of the local error: value times the differential of a tree with powers in its slots."""

    tree: Tree
    powers: tuple[int, ...]
    value: Scalar


@dataclass(eq=False)
class Defects:
    """The defects of an expansion."""

    expansion: Expansion
    _terms: dict[int, list[Defect]] = dataclasses.field(default_factory=dict)
    _stages: dict[tuple[int, int], list[Scalar]] = dataclasses.field(default_factory=dict)

    @property
    def applicable(self) -> bool:
        """Whether every stage integrates a constant N, to the order of the expansion."""
        return self.expansion.integrates_constants

    def terms(self, q: int) -> list[Defect]:
        """The terms of order q of the local error that are not zero."""
        if q not in self._terms:
            self._terms[q] = self._found(q)
        return self._terms[q]

    def _found(self, q: int) -> list[Defect]:
        e = self.expansion
        kind = ROOTED._replace(linearised=e.kind.linearised)
        found = []
        for size in range(1, q + 1):
            for tree in trees(size, kind):
                for powers in (
                    _compositions(q - size, _slots(tree)) if e.kind.stems else _zeros(q, size, tree)
                ):
                    value = self.condition(tree, powers)
                    if value:
                        found.append(Defect(tree, powers, value / _repeats(tree)))
        if e.free and (value := self.psi(q + 1, -1)):
            found.insert(0, Defect(Tree(0, (), (LEAF,) * q), (-1,), value))
        return found

    def classes(self, q: int) -> list[Defect]:
        """The terms of order q, summed over those that are one where stems commute."""
        sums: dict[object, Defect] = {}
        for defect in self.terms(q):
            key = (defect.tree, self._merged(defect.powers))
            first = sums.get(key)
            sums[key] = defect if first is None else first._replace(value=first.value + defect.value)
        return [defect for defect in sums.values() if defect.value]

    def found(self, q: int, scalar: bool) -> list[Defect]:
        """The terms of order q; scalar: summed where stems commute."""
        return self.classes(q) if scalar else self.terms(q)

    def errors(self, q: int, *, scalar: bool = False) -> list[tuple[Scalar, str]]:
        """The local error of order q, coefficients and differentials: by these terms, or, where a stage does
        not integrate constants, by elementary differentials.
        """
        if self.applicable:
            return [(defect.value, self.words(defect)) for defect in self.found(q, scalar)]
        e = self.expansion
        by_tree = e.classes(q).values() if scalar else e.errors(q).items()
        return [(value, differential(tree, self.symbol)) for tree, value in by_tree]

    def condition(self, tree: Tree, powers: tuple[int, ...]) -> Scalar:
        """The coefficient of prod z_i^powers[i] in a stiff order condition (of prod w^(powers[i]))."""
        left = list(powers)
        if bushy(tree):
            return self.psi(len(tree.children) + 1, left[0])
        row = self.expansion.output[left.pop(0)]
        below = self._below(tree, left)
        return sum((w * below[j] for j, w in row if below[j]), self.expansion.field.zero)

    def psi(self, k: int, m: int) -> Scalar:
        """psi_k^(m) of the output row; m = -1: of the weights that w does not multiply."""
        e = self.expansion
        return self._psi(e.free if m < 0 else e.output[m], k, m, e.field.one)

    def stages(self, k: int, m: int) -> list[Scalar]:
        """psi_k^(m) of every stage."""
        if (k, m) not in self._stages:
            e = self.expansion
            rows = zip(e.stages, e.abscissae[e.known :], strict=True)
            self._stages[k, m] = [self._psi(row[m], k, m, c) for row, c in rows]
        return self._stages[k, m]

    def words(self, defect: Defect) -> str:
        """The differential of a term."""
        return _words(defect.tree, list(defect.powers), self.symbol)

    @property
    def symbol(self) -> str:
        """What a stem is: L, w, or nothing where there are no stems."""
        if not self.expansion.kind.stems:
            return ""
        return "L" if self.expansion.integral == "duhamel" else "w"

    def _merged(self, powers: tuple[int, ...]) -> object:
        return sum(powers) if self.expansion.integral == "duhamel" else tuple(sorted(powers))

    def _psi(self, row: Row, k: int, m: int, c: Scalar) -> Scalar:
        e = self.expansion
        total = e.field.zero if m < 0 else -e.exact_moment(k, m) * e.field.power(c, k + m)
        for j, weight in row:
            if e.abscissae[j] or k == 1:
                total += weight * e.field.power(e.abscissae[j], k - 1) / math.factorial(k - 1)
        return total

    def _below(self, tree: Tree, powers: list[int]) -> list[Scalar]:
        leaves, power = tree.children.count(LEAF), self.expansion.field.power
        vector = [power(c, leaves) for c in self.expansion.abscissae]
        for child in tree.children:
            if child != LEAF:
                other = self._vector(child, powers)
                vector = [a * b if b else b for a, b in zip(vector, other, strict=True)]
        return vector

    def _vector(self, tree: Tree, powers: list[int]) -> list[Scalar]:
        e, m = self.expansion, powers.pop(0)
        known = [e.field.zero] * e.known
        if bushy(tree):
            return known + self.stages(len(tree.children) + 1, m)
        below = self._below(tree, powers)
        return known + [
            sum((weight * below[j] for j, weight in row[m] if below[j]), e.field.zero) for row in e.stages
        ]


class Residual(NamedTuple):
    """The lowest term of a stiff condition that fails: value times prod z_i^powers[i]."""

    value: Scalar
    powers: tuple[int, ...]


def residuals(conditions: StiffConditions, defects: Defects, q: int) -> dict[str, Residual | None]:
    """The lowest Taylor term of each stiff condition of order q that fails in the strong sense, or None where
    it lies beyond the expansion.
    """
    failing = set(conditions.violated(q))
    found: dict[str, Residual | None] = {}
    for tree in conditions.trees(q):
        if (name := describe(tree)) in failing:
            found[name] = _lowest(defects, tree)
    for name, element in conditions.consistency(q).items():
        if name in failing:
            m = next(m for m in itertools.count() if element.taylor(m))
            found[name] = Residual(element.taylor(m), (m,))
    return found


def _lowest(defects: Defects, tree: Tree) -> Residual | None:
    for degree in range(len(defects.expansion.output)):
        for powers in _compositions(degree, _slots(tree)):
            value = defects.condition(tree, powers)
            if value:
                return Residual(value, powers)
    return None


def _slots(tree: Tree) -> int:
    """How many coefficient functions a condition has."""
    return 1 if bushy(tree) else 1 + sum(_slots(child) for child in tree.children if child != LEAF)


def _compositions(total: int, parts: int) -> Iterator[tuple[int, ...]]:
    if parts == 1:
        yield (total,)
        return
    for first in range(total + 1):
        for rest in _compositions(total - first, parts - 1):
            yield (first, *rest)


def _zeros(q: int, size: int, tree: Tree) -> Iterator[tuple[int, ...]]:
    if q == size:
        yield (0,) * _slots(tree)


def _repeats(tree: Tree) -> int:
    """Of Taylor's formula: l! of D^l N', and r! of r equal arguments of N^(r); psi holds its own.

    Equal arguments with different powers are met once in each order of the powers, so r! is right for them
    too.
    """
    if bushy(tree):
        return 1
    own = math.prod(math.factorial(n) for n in Counter(tree.children).values())
    return own * math.prod(_repeats(child) for child in tree.children if child != LEAF)


def _words(tree: Tree, powers: list[int], symbol: str) -> str:
    prefix = factor(symbol, powers.pop(0))
    if bushy(tree):
        return prefix + power("D", order(tree) - 1) + "N"
    arguments = [_words(child, powers, symbol) for child in tree.children if child != LEAF]
    leaves, operator = tree.children.count(LEAF), nonlinear(len(arguments))
    operator = f"({power('D', leaves)}{operator})" if leaves else operator
    return f"{prefix}{operator}({', '.join(arguments)})"
