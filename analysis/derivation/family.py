"""Families of methods: a tableau with parameters, and what holds for all their values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import sympy
from semilinear.integrators.tableaux.tableau import Tableau
from sympy import Expr, Rational, Symbol

from ..algebra.factoring import factored
from ..algebra.ring import Field, Ring
from ..orders.expansion import Expansion, FormName, expand, expressions
from . import membership
from .ansatz import Ansatz, exactly
from .elimination import factors, solve

Conditions = Literal["classical", "scalar", "stiff", "weak"]
"""For bounded L, for L a multiple of the identity, uniform in L, uniform with b_i(0) in the last order."""
CONDITIONS: tuple[Conditions, ...] = get_args(Conditions)


@dataclass(frozen=True)
class Family:
    """Methods of an order, for all values of their parameters.

    ansatz: the rows, with what is left free.  order, conditions: what holds for each of them.  implicit:
    polynomials in the parameters that must vanish, where they could not be solved.
    """

    ansatz: Ansatz
    order: int
    conditions: Conditions
    implicit: tuple[Expr, ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.conditions} order {self.order}", str(self.tableau)]
        if self.nonzero:
            lines.append(f"where {', '.join(map(str, self.nonzero))} must not vanish")
        if self.implicit:
            lines.append(f"where {', '.join(map(str, self.implicit))} must vanish")
        return "\n".join(lines)

    @cached_property
    def nonzero(self) -> tuple[Expr, ...]:
        """What must not vanish for the family to exist: the factors of its denominators, no more.

        Whatever else was taken not to vanish on the way, conditions are continuous in the coefficients.
        """
        return factors(sympy.denom(x) for row in self.ansatz.rows for x in row.terms.values())

    @property
    def tableau(self) -> Tableau:
        """The tableau, with the parameters as symbols."""
        return self.ansatz.tableau

    @property
    def form(self) -> FormName:
        """Which form the family is for."""
        return self.ansatz.form

    @property
    def linearised(self) -> bool:
        """Whether L is the Jacobian (Rosenbrock type)."""
        return self.ansatz.linearised

    def expansion(self, through: int) -> Expansion:
        """The expansion that its classical conditions are those of."""
        return expand(self.tableau, through, self.form, linearised=self.linearised)

    @property
    def parameters(self) -> tuple[Symbol, ...]:
        """What is free: weights, then abscissae."""
        return tuple(sorted(self.ansatz.symbols, key=lambda s: (s in self.ansatz.abscissae, s.name)))

    def at(self, values: Mapping[Symbol, Any]) -> Family:
        """The family with some parameters set.

        Raises ValueError for an unknown parameter, or values for which the family does not exist.
        """
        unknown = [s.name for s in values if s not in self.parameters]
        if unknown:
            names = ", ".join(s.name for s in self.parameters) or "none"
            raise ValueError(f"values must be of the parameters {names}, got {', '.join(unknown)}")
        exact = {s: exactly(s.name, v) for s, v in values.items()}
        gone = [e for e in self.nonzero if factored(e.xreplace(exact)) == 0]
        if gone:
            raise ValueError(f"the family does not exist where {gone[0]} = 0")
        implicit = tuple(e for e in (sympy.expand(e.xreplace(exact)) for e in self.implicit) if e != 0)
        if any(e.is_number for e in implicit):
            raise ValueError(f"the parameters must satisfy {', '.join(f'{e} = 0' for e in self.implicit)}")
        return Family(self.ansatz.at(exact), self.order, self.conditions, implicit)

    def find(self, tableau: Tableau) -> dict[Symbol, Expr] | None:
        """Parameters for which the family is the given tableau, coefficient for coefficient; None if there
        are none.  Parameters that no coefficient depends on stay out.
        """
        if len(tableau.stages) != len(self.tableau.stages):
            return None
        own = self.ansatz.abscissae
        places = solve([a - b for a, b in zip(self.tableau.c, tableau.c, strict=True)], own)
        if not places:
            return None
        abscissae = places[0].values
        try:
            there = self.at({c: v for c, v in abscissae.items() if c in self.parameters})
        except ValueError:
            return None
        unequal = list(differences(there.tableau, tableau, self.form))
        for branch in solve([*unequal, *there.implicit], there.parameters):
            if not any(factored(e.xreplace(branch.values)) == 0 for e in there.nonzero):
                return abscissae | branch.values
        return None

    @cached_property
    def member(self) -> Family | None:
        """A generic member; None where the family does not exist at the numbers that are tried, or where its
        parameters are not free.
        """
        if self.implicit:
            return None
        for values in _numbers(self.parameters):
            try:
                return self.at(values)
            except ValueError:
                continue
        return None

    @cached_property
    def _numbers(self) -> membership.Numbers | None:
        """The coefficients of the generic member, where it is there at the first numbers that are tried."""
        values = next(_numbers(self.parameters))
        try:
            known: dict[Expr, Any] = {s: membership.value(v, {}) for s, v in values.items()}
            exists = not self.implicit and all(membership.value(e, known) for e in self.nonzero)
            return membership.numbers(self.ansatz, values) if exists else None
        except membership.Unknown:
            return None

    def holds(self, other: Family) -> bool:
        """Whether the generic member of another family is in it."""
        if not self.implicit and other._numbers is not None:
            decided = membership.holds(self.ansatz, self.nonzero, other._numbers)
            if decided is not None:
                return decided
        return other.member is not None and self.find(other.member.tableau) is not None


# --- comparison ---


def differences(first: Tableau, second: Tableau, form: FormName = "lambda") -> Iterator[Expr]:
    """What must vanish for two tableaux with as many stages at the same abscissae to have the same weights.

    In the form "rho" at z = 0, where phi-functions are numbers.
    """
    ring = Ring(Field([*expressions(first), *expressions(second)]))
    for one, other in zip((*first.a, first.b), (*second.a, second.b), strict=True):
        for key in one.keys() | other.keys():
            difference = ring(one.get(key, sympy.S.Zero)) - ring(other.get(key, sympy.S.Zero))
            values = [difference.taylor(0)] if form == "rho" else difference.terms.values()
            yield from (ring.field.expression(v) for v in values if v)


def _numbers(symbols: Sequence[Symbol]) -> Iterator[dict[Symbol, Expr]]:
    """Values that satisfy nothing that not all numbers do, as far as a few large primes show."""
    for first in range(10, 60, 10):
        yield {
            s: Rational(sympy.prime(first + i), sympy.prime(first + 20 + i)) for i, s in enumerate(symbols)
        }
