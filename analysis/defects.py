"""What is left of the conditions that fail: Taylor terms of stiff conditions, and the leading local error.

Against the exact solution u(t), a stage has the defect  sum_k,m h^(k+m) psi_k,i^(m) L^m D^(k-1) N + ..,
D = d/dt along the solution, and a step the defects of its stages propagated by N' = J, N'', ..: the trees of
`stiff.py` with a power of L in each slot.  So the local error is a sum of few terms such as L D^2 N,
N'(L D N), (D N')(D N), in place of one for each elementary differential.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from .ring import Scalar
from .stiff import LEAF, StiffConditions, bushy, describe
from .trees import Tree, order


class Residual(NamedTuple):
    """The lowest term of a condition that fails: value times prod z_i^powers[i]."""

    value: Scalar
    powers: tuple[int, ...]


def residuals(conditions: StiffConditions, q: int) -> dict[str, Residual]:
    """The lowest Taylor term of each condition of order q that fails in the strong sense."""
    failing = set(conditions.violated(q))
    found = {
        name: _lowest(conditions, tree) for tree in conditions.trees(q) if (name := describe(tree)) in failing
    }
    if q == 2:
        for i, element in enumerate(conditions.psi_stages(1), 2):
            if element:
                m = next(m for m in itertools.count() if element.taylor(m))
                found[f"psi_1,{i}"] = Residual(element.taylor(m), (m,))
    return found


def error_terms(conditions: StiffConditions, q: int) -> list[tuple[Scalar, str]]:
    """The local error of order q: coefficients and differentials.

    Raises ValueError where a stage does not integrate a constant N (psi_1,i is not 0): such a stage is wrong
    at first order, and its defects are no derivatives of N along the solution.
    """
    if any(conditions.psi_stages(1)):
        raise ValueError("a row sum of a is not c_i phi_1(c_i z)")
    terms = []
    for size in range(1, q + 1):
        for tree in conditions.trees(size):
            for powers in _compositions(q - size, _slots(tree)):
                value = _term(conditions, tree, list(powers))
                if value:
                    terms.append((value / _repeats(tree), _words(tree, list(powers))))
    return terms


def _lowest(conditions: StiffConditions, tree: Tree) -> Residual:
    for degree in itertools.count():  # ends: the tensor of entire functions is not zero
        for powers in _compositions(degree, _slots(tree)):
            value = _term(conditions, tree, list(powers))
            if value:
                return Residual(value, powers)
    raise AssertionError


def _term(conditions: StiffConditions, tree: Tree, powers: list[int]) -> Scalar:
    """The coefficient of prod z_i^powers[i] in a condition; powers are used up from the front."""
    if bushy(tree):
        return conditions.psi(len(tree.children) + 1).taylor(powers.pop(0))
    m = powers.pop(0)
    below = _below(conditions, tree, powers)
    row = ((e.taylor(m), below[j]) for j, e in conditions.b.items() if below[j])
    return sum((weight * value for weight, value in row), conditions.ring.field.zero)


def _below(conditions: StiffConditions, tree: Tree, powers: list[int]) -> list[Scalar]:
    leaves, power = tree.children.count(LEAF), conditions.ring.field.power
    vector = [power(c, leaves) for c in conditions.abscissae]
    for child in tree.children:
        if child != LEAF:
            vector = [a * b for a, b in zip(vector, _vector(conditions, child, powers), strict=True)]
    return vector


def _vector(conditions: StiffConditions, tree: Tree, powers: list[int]) -> list[Scalar]:
    zero, m = conditions.ring.field.zero, powers.pop(0)
    known = [zero] * conditions.known
    if bushy(tree):
        return known + [e.taylor(m) for e in conditions.psi_stages(len(tree.children) + 1)]
    below = _below(conditions, tree, powers)
    return known + [
        sum((e.taylor(m) * below[j] for j, e in row.items() if below[j]), zero) for row in conditions.a
    ]


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


def _repeats(tree: Tree) -> int:
    """Of Taylor's formula: l! of D^l N', and r! of r equal arguments of N^(r); psi holds its own.

    Equal arguments with different powers are met once in each order of the powers, so r! is right for them
    too.
    """
    if bushy(tree):
        return 1
    counts = Counter(tree.children)
    own = math.prod(math.factorial(n) for n in counts.values())
    return own * math.prod(_repeats(child) for child in tree.children if child != LEAF)


def _words(tree: Tree, powers: list[int]) -> str:
    prefix = _power("L", powers.pop(0))
    if bushy(tree):
        return prefix + _power("D", order(tree) - 1) + "N"
    arguments = [_words(child, powers) for child in tree.children if child != LEAF]
    leaves, n = tree.children.count(LEAF), len(arguments)
    operator = "N" + ("'" * n if n <= 3 else f"^({n})")
    operator = f"({_power('D', leaves)}{operator})" if leaves else operator
    return f"{prefix}{operator}({', '.join(arguments)})"


def _power(base: str, exponent: int) -> str:
    return "" if exponent == 0 else f"{base} " if exponent == 1 else f"{base}^{exponent} "
