"""Solver coefficients from order conditions, exactly: all methods with given stages and past values.

The conditions are the residuals that `proof.py` judges a method by, here of a tableau whose weights are
unknown (`ansatz.py`).  They are solved order by order, since those of one order are linear in most of what
the orders before have left (`elimination.py`).  What a family says is proved again by `prove`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, Literal

import sympy
from semilinear.integrators.tableau import Tableau, nested_collocation
from sympy import Expr, Symbol

from .ansatz import Ansatz, Arguments, ansatz, check_choice, embedded_ansatz, exactly, given_ansatz
from .defects import Defects
from .elimination import Branch, factors, solve, solve_polynomials
from .expansion import FormName, check_order, expand, expressions
from .ring import EULER, Field, Ring, Scalar
from .stiff import StiffConditions, Vector

Conditions = Literal["classical", "scalar", "stiff", "weak"]
"""For bounded L, for L a multiple of the identity, uniform in L, uniform with b_i(0) in the last order."""
CONDITIONS: tuple[Conditions, ...] = ("classical", "scalar", "stiff", "weak")


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
    def parameters(self) -> tuple[Symbol, ...]:
        """What is free: weights, then abscissae."""
        return tuple(sorted(self.tableau.parameters, key=lambda s: (s in self.ansatz.abscissae, s.name)))

    def at(self, values: Mapping[Symbol, Any]) -> Family:
        """The family with some parameters set.

        Raises ValueError for an unknown parameter, or values for which the family does not exist.
        """
        unknown = [s.name for s in values if s not in self.parameters]
        if unknown:
            names = ", ".join(s.name for s in self.parameters) or "none"
            raise ValueError(f"values must be of the parameters {names}, got {', '.join(unknown)}")
        exact = {s: exactly(s.name, v) for s, v in values.items()}
        gone = [e for e in self.nonzero if sympy.cancel(e.xreplace(exact)) == 0]
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
            if not any(sympy.cancel(e.xreplace(branch.values)) == 0 for e in there.nonzero):
                return abscissae | branch.values
        return None


def derive(
    abscissae: Sequence[Any] = (),
    *,
    order: int,
    past: int = 0,
    conditions: Conditions = "classical",
    form: FormName = "lambda",
    indices: Sequence[int] | None = None,
    stage_indices: Sequence[int] | None = None,
    arguments: Arguments | None = None,
) -> list[Family]:
    """All methods of an order with stages at the given abscissae and so many past values.

    abscissae: numbers, or symbols for free ones; `past`, `form`, `indices`, `arguments`: see `ansatz`.  By
    default weights are made of phi_1 .. phi_order, those of stages of phi_1 .. phi_(order - 1), at the
    arguments of earlier stages too where conditions are stiff.
    Free abscissae are generic: where a condition needs a relation between them, the families with that
    relation are found; values for which a divisor vanishes are listed in `nonzero`, and not looked at.  Where
    there are no generic families, those with one free abscissa at 1 or at another abscissa are looked for.
    Raises ValueError.
    """
    check_order("order", order)
    check_choice("conditions", conditions, CONDITIONS)
    stiff = conditions in ("stiff", "weak")
    top = range(1, order + 1)
    unknown = ansatz(
        abscissae,
        past=past,
        indices=top if indices is None else indices,
        stage_indices=(top[:-1] or top) if stage_indices is None else stage_indices,
        arguments=("earlier" if stiff else "own") if arguments is None else arguments,
        form=form,
    )
    return families(unknown, order, conditions) or _coincident(unknown, order, conditions)


def _coincident(unknown: Ansatz, order: int, conditions: Conditions) -> list[Family]:
    """The families with one free abscissa at 1 or at another abscissa."""
    others = [row.c for row in unknown.rows]
    pairs = {frozenset((c, x)): (c, x) for c in unknown.abscissae for x in others if x != c}
    return _distinct(f for c, x in pairs.values() for f in families(unknown.at({c: x}), order, conditions))


def derive_embedded(
    tableau: Tableau,
    *,
    order: int,
    conditions: Conditions = "classical",
    form: FormName = "lambda",
    indices: Sequence[int] | None = None,
) -> list[Family]:
    """All output rows of an order on the stages of a tableau but its own: of phi_1(z) .. phi_order(z) by
    default.

    Raises ValueError.
    """
    check_order("order", order)
    check_choice("conditions", conditions, CONDITIONS)
    top = range(1, order + 1) if indices is None else indices
    found = families(embedded_ansatz(tableau, indices=top, form=form), order, conditions)
    return [f for f in found if f.parameters or any(differences(f.tableau, tableau, form))]


def collocation(order: int) -> Family:
    """Nested collocation of any order: groups of 1, 2, .., order - 1 stages, each row the integral of the
    polynomial through the group before it; stiff order `order`.

    Raises ValueError.
    """
    check_order("order", order)
    return Family(given_ansatz(nested_collocation(order)), order, "stiff")


def families(unknown: Ansatz, order: int, conditions: Conditions) -> list[Family]:
    """The families of an order within an ansatz.

    Raises ValueError for stiff conditions in a form without linear operator.
    """
    if conditions in ("stiff", "weak") and unknown.form != "lambda":
        raise ValueError(
            f"conditions must be classical or scalar in the form {unknown.form}, got {conditions}"
        )
    states = [Family(unknown, 0, conditions)]
    finished: list[Family] = []
    for q in range(1, order + 1):
        found = []
        for state in states:
            for branch in _branches(state, q, order):
                fixed = {c: branch.values[c] for c in unknown.abscissae if c in branch.values}
                if fixed:
                    # Other abscissae are another problem: functions that were independent may be so no more.
                    finished += families(unknown.at(fixed), order, conditions)
                else:
                    found.append(Family(state.ansatz.at(branch.values), q, conditions, branch.implicit))
        states = found
    return _distinct([*states, *finished])


def _branches(state: Family, q: int, order: int) -> list[Branch]:
    field, scalars = residuals(state, q, order)
    equations = [field.domain.numer(value) for value in scalars]
    if not equations:
        return [Branch({}, implicit=state.implicit)]
    if not field.symbols:
        return []
    ring = field.domain.field.ring
    nonzero, implicit = (
        [ring.from_expr(e.xreplace({sympy.E: EULER})) for e in found]
        for found in (state.nonzero, state.implicit)
    )
    unknowns, flexible = state.ansatz.unknowns, state.ansatz.abscissae
    return [
        replace(branch, values={x: v.xreplace({EULER: sympy.E}) for x, v in branch.values.items()})
        for branch in solve_polynomials([*equations, *implicit], unknowns, flexible, nonzero)
    ]


def residuals(state: Family, q: int, order: int) -> tuple[Field, list[Scalar]]:
    """What must vanish for the conditions of order q of a method that is to have `order`, and its field."""
    tableau = state.tableau
    if state.conditions in ("stiff", "weak"):
        field = Field(expressions(tableau))
        reduce = partial(_reduced, set(state.ansatz.unknowns))
        stiff = StiffConditions(tableau, Ring(field), reduce=reduce)
        weak = state.conditions == "weak" and q == order
        return field, list(stiff.equations(q, "weak" if weak else "strong"))
    expansion = expand(tableau, q, state.form)
    errors = Defects(expansion).errors(q, scalar=state.conditions == "scalar")
    return expansion.field, [value for value, _ in errors]


def _reduced(unknown: set[Symbol], vectors: Iterable[Vector], base: Field) -> list[Vector]:
    """Vectors of the same span for all values of the unknowns: pivots hold none of them."""
    basis: list[tuple[int, Vector]] = []
    others: dict[Vector, None] = {}
    for vector in vectors:
        rest = vector
        for pivot, known in basis:
            if factor := rest[pivot]:
                rest = tuple(a - factor * b if b else a for a, b in zip(rest, known, strict=True))
        pivot = next((i for i, v in enumerate(rest) if v and _generic(v, unknown, base)), -1)
        if pivot >= 0:
            scale = base.one / rest[pivot]
            basis.append((pivot, tuple(v * scale if v else v for v in rest)))
        elif any(rest):
            others.setdefault(rest)
    return [*(vector for _, vector in basis), *others]


def _generic(value: Scalar, unknown: set[Symbol], base: Field) -> bool:
    """Whether an element holds no unknowns, so that it is zero for special parameters only."""
    if not base.symbols:
        return True
    return not unknown.intersection(value.as_expr().free_symbols)


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


def _distinct(found: Iterable[Family]) -> list[Family]:
    """Families without those that are another one for special parameters."""
    unique: list[Family] = []
    for family in sorted(found, key=lambda f: -len(f.parameters)):
        if family.implicit or all(known.find(family.tableau) is None for known in unique):
            unique.append(family)
    return unique
