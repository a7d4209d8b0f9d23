"""Whether a method with numbers is in a family, by arithmetic alone where that is enough.

Most parameters of a family are coefficients of its rows, so that the method's coefficients say what they are,
and the others of the family are numbers then too: nothing is solved, however long the expressions are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from semilinear.integrators.tableaux.tableau import phi
from sympy import QQ, Expr, Symbol

from .ansatz import Ansatz

Number = Any
"""An element of Q."""
Place = tuple[int, int, int, Number]
"""(row, evaluation, k, c) of what phi_k(c z) is multiplied by; (.., 0, 0) of a number.

The phi_k(c z), k >= 1, c != 0, and 1 are linearly independent: equal weights have equal coefficients.
"""
Sum = list[tuple[Expr, Number]]
"""Expressions, and what each is multiplied by."""


class Unknown(ValueError):
    """An expression that has no rational value, or none that is known."""


@dataclass(frozen=True)
class Numbers:
    """The coefficients of a method: the abscissae of its rows, and its weights without those that are 0."""

    c: tuple[Number, ...]
    weights: Mapping[Place, Number]


def numbers(method: Ansatz, values: Mapping[Symbol, Expr]) -> Numbers:
    """The coefficients of an ansatz with values for all its symbols.  Raises Unknown."""
    known: dict[Expr, Number] = {}
    known |= {s: value(v, known) for s, v in values.items()}
    c = tuple(value(row.c, known) for row in method.rows)
    sums = _sums(method, known).items()
    return Numbers(c, {at: n for at, terms in sums if (n := sum(value(x, known) * m for x, m in terms))})


def holds(family: Ansatz, nonzero: Iterable[Expr], member: Numbers) -> bool | None:
    """Whether some values of its symbols, for which nothing of `nonzero` vanishes, make these coefficients of
    a family; None where arithmetic does not decide.
    """
    if len(family.rows) != len(member.c):
        return False
    known: dict[Expr, Number] = {}
    try:
        left = _read([([(row.c, QQ.one)], c) for row, c in zip(family.rows, member.c, strict=True)], known)
        if left is None:
            return False
        own = _sums(family, known)
    except Unknown:
        return None
    rows = {i for i, row in enumerate(family.rows) if row.given is None}
    places = [at for at in dict.fromkeys((*own, *member.weights)) if at[0] in rows]
    more = _read([(own.get(at, []), member.weights.get(at, QQ.zero)) for at in places], known)
    if more is None:
        return False
    whole = not left and not more and len(rows) == len(family.rows)
    for e in nonzero:
        try:
            if not value(e, known):
                return False
        except Unknown:
            whole = False
    return True if whole and family.symbols <= known.keys() else None


def value(e: Expr, known: dict[Expr, Number]) -> Number:
    """An expression's value; known: those of symbols, to which those of its parts are added.

    Raises Unknown.
    """
    if e.is_Rational:
        return QQ(int(e.p), int(e.q))
    if e in known:
        return known[e]
    if e.is_Add:
        found = sum((value(part, known) for part in e.args), QQ.zero)
    elif e.is_Mul:
        found = math.prod((value(part, known) for part in e.args), start=QQ.one)
    elif e.is_Pow and e.exp.is_Integer:
        base, n = value(e.base, known), int(e.exp)
        if n < 0 and not base:
            raise Unknown(f"{e} divides by 0")
        found = base**n
    else:
        raise Unknown(f"{e} is no rational function of symbols that have values")
    return known.setdefault(e, found)


def _sums(method: Ansatz, known: dict[Expr, Number]) -> dict[Place, Sum]:
    """What stands at each place; abscissae are known.  Raises Unknown."""
    found: dict[Place, Sum] = {}
    for i, row in enumerate(method.rows):
        for (j, function), x in row.terms.items():
            k, c, factor = _function(function, method.form, known)
            found.setdefault((i, j, k, c), []).append((x, factor))
    return found


def _function(function: Expr, form: str, known: dict[Expr, Number]) -> tuple[int, Number, Number]:
    """k, c and a number: a function of a weight is the number times phi_k(c z), or alone."""
    if not isinstance(function, phi):
        return 0, QQ.zero, value(function, known)
    k, c = int(function.args[0]), value(function.args[1], known)
    return (k, c, QQ.one) if c and form != "rho" else (0, QQ.zero, QQ(1, math.factorial(k)))


def _read(equations: list[tuple[Sum, Number]], known: dict[Expr, Number]) -> list[Any] | None:
    """The equations  sum = number  that say nothing yet, or None where one of them has no solution.

    Those with one symbol to go, which they hold linearly, say what it is; it is added to `known`.
    """
    while True:
        waiting = []
        for terms, number in equations:
            try:
                rest, unknown = _split(terms, known)
            except Unknown:
                waiting.append((terms, number))
                continue
            if not unknown:
                if rest != number:
                    return None
            elif len(unknown) == 1:
                ((symbol, factor),) = unknown.items()
                known[symbol] = (number - rest) / factor
            else:
                waiting.append((terms, number))
        if len(waiting) == len(equations):
            return waiting
        equations = waiting


def _split(terms: Sum, known: dict[Expr, Number]) -> tuple[Number, dict[Expr, Number]]:
    """A sum as what is known of it, and what unknown symbols are multiplied by.  Raises Unknown."""
    rest, unknown = QQ.zero, dict[Expr, Number]()
    for x, scale in terms:
        for part, coefficient in x.as_coefficients_dict().items():
            factor = value(coefficient, known) * scale
            if part.is_Symbol and part not in known:
                unknown[part] = unknown.get(part, QQ.zero) + factor
            else:
                rest += value(part, known) * factor
    return rest, {s: f for s, f in unknown.items() if f}
