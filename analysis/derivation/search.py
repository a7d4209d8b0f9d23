"""The search for families within an ansatz: case by case of the free abscissae, and each order by order.

    1. generic abscissae: no polynomial in them vanishes, unless a condition asks for it
    2. where there are none, one abscissa at 1, at a given one, or at another
    3. where there are none, all that is left.  Classical and scalar conditions are polynomials in the
       abscissae: these are unknowns like the others.  Stiff conditions are those of each way in which
       abscissae can coincide with 0, 1, given ones and one another, since e^(c z) are independent for
       different c

What was looked at, and what was not, is said (`looked`, `left`): where nothing is left and nothing was found,
there is no such method.  The time may end a search at any point; what it has until then stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

import sympy
from sympy import Expr, Integer, Symbol

from ..algebra.polynomials import Poly
from ..algebra.ring import EULER, Field, Ring, Scalar
from ..orders.defects import Defects
from ..orders.expansion import expressions
from ..orders.stiff import StiffConditions, Vector
from .ansatz import Ansatz
from .elimination import Branch, TooManyBranches, branches
from .family import Conditions, Family
from .watch import OutOfTime, Watch

GIVEN = "the given abscissae"
GENERIC = "generic abscissae"
ONE = "one abscissa at 1, at a given one or at another"
ALL = "all abscissae, several that coincide and those at which a divisor vanishes included"
TIME_OVER = "the time was over"
STIFF: tuple[Conditions, ...] = ("stiff", "weak")


class Case(NamedTuple):
    """Some abscissae, in words and as what is solved for; special: free ones need not be generic."""

    words: str
    unknown: Ansatz
    special: bool = False


class Unfinished(NamedTuple):
    """What was being solved when a search ended early: a state of an order, and the equations of the next
    (none while these are set up).
    """

    case: str
    state: Family
    equations: tuple[Poly, ...]


def check_form(unknown: Ansatz, conditions: Conditions) -> None:
    """Raise ValueError for stiff conditions in a form without linear operator."""
    if conditions in STIFF and unknown.form != "lambda":
        raise ValueError(
            f"conditions must be classical or scalar in the form {unknown.form}, got {conditions}"
        )


@dataclass
class Search:
    """A search, and what it has found.

    unknown, order, conditions: what is asked for.  watch: its time, and who is told how far it is.  families:
    of the order.  looked, left: the cases that were looked at to their end, and those that were not, in
    words.  ended: why the search ended early.  unfinished: where it did.
    """

    unknown: Ansatz
    order: int
    conditions: Conditions
    watch: Watch = field(default_factory=Watch)
    families: list[Family] = field(default_factory=list)
    unfinished: Unfinished | None = None
    looked: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    ended: str = ""
    _seen: set[tuple[Expr, ...]] = field(default_factory=set)

    @property
    def complete(self) -> bool:
        """Whether every case was looked at: nothing found means that there is nothing."""
        return not self.left

    def run(self, *, everywhere: bool = True, further: bool = False) -> Search:
        """Search until something is found, or, `everywhere`, until nothing is left; further: everywhere, even
        where something was found.  Raises ValueError.
        """
        check_form(self.unknown, self.conditions)
        steps = dict(_steps(self.unknown, self.conditions))
        self.left = list(steps)
        for name, cases in steps.items():
            if not further and (self.families or (name == ALL and not everywhere)):
                break
            if not self._through(cases):
                self.left[0] = f"the rest of {name}"
                break
            self.looked.append(self.left.pop(0))
        self.families.sort(key=lambda f: -len(f.parameters))
        return self

    def _through(self, cases: Iterable[Case]) -> bool:
        """Whether all cases came to their end."""
        try:
            for case in cases:
                self._seen.clear()
                for family in self._solutions(case):
                    self._add(family)
        except OutOfTime:
            self.ended = TIME_OVER
            return False
        except TooManyBranches as error:
            self.ended = str(error)
            return False
        self.unfinished = None
        return True

    def _add(self, family: Family) -> None:
        """Keep a family, unless its generic member is in another; and none whose generic member it has."""
        if not family.implicit:
            # Parameters are coefficients, so that none of fewer holds one of more.
            size = len(family.parameters)
            if any(len(f.parameters) >= size and f.holds(family) for f in self.families):
                return
            self.families = [f for f in self.families if len(f.parameters) > size or not family.holds(f)]
        self.families.append(family)

    def _solutions(self, case: Case) -> Iterator[Family]:
        key = tuple(row.c for row in case.unknown.rows)
        if key not in self._seen:
            self._seen.add(key)
            unknown = case.unknown
            names: dict[Symbol, Symbol] = {}
            if self.conditions not in STIFF and unknown.form != "rho":
                unknown, names = unknown.by_values()
            for found in self._followed(Family(unknown, 0, self.conditions), case):
                yield replace(found, ansatz=found.ansatz.by_coefficients(names))

    def _followed(self, state: Family, case: Case) -> Iterator[Family]:
        if state.order == self.order:
            yield state
            return
        q = state.order + 1
        for branch in self._branches(state, q, case):
            fixed = {c: branch.values[c] for c in case.unknown.abscissae if c in branch.values}
            if fixed and not case.special:
                # Other abscissae are another problem: functions that were independent may be so no more.
                yield from self._solutions(case._replace(unknown=case.unknown.at(fixed)))
            else:
                ansatz = state.ansatz.at(branch.values)
                yield from self._followed(Family(ansatz, q, self.conditions, branch.implicit), case)

    def _branches(self, state: Family, q: int, case: Case) -> Iterator[Branch]:
        self.unfinished = Unfinished(case.words, state, ())
        self.watch.note(f"{case.words}: setting up the conditions of order {q}")
        field, scalars = residuals(state, q, self.order, case.special)
        equations = [field.numerator(value) for value in scalars]
        if not equations:
            yield Branch({}, implicit=state.implicit)
            return
        if not field.symbols:
            return
        unknowns, flexible = state.ansatz.unknowns, state.ansatz.abscissae
        self.unfinished = Unfinished(case.words, state, tuple(equations))
        self.watch.note(
            f"{case.words}: {len(equations)} equations of order {q} in {len(unknowns)} unknowns, "
            f"{len(flexible)} free abscissae"
        )
        nonzero, implicit = (
            [field.numerator(field(e)) for e in found] for found in (state.nonzero, state.implicit)
        )
        for branch in branches(
            [*equations, *implicit], unknowns, flexible, nonzero, special=case.special, watch=self.watch
        ):
            values = {x: v.xreplace({EULER: sympy.E}) for x, v in branch.values.items()}
            yield Branch(values, branch.divisors, branch.implicit)


# --- cases ---


def _steps(unknown: Ansatz, conditions: Conditions) -> Iterator[tuple[str, Iterable[Case]]]:
    if not unknown.abscissae:
        yield GIVEN, [Case(GIVEN, unknown)]
        return
    yield GENERIC, [Case(GENERIC, unknown)]
    yield ONE, _coincidences(unknown)
    if conditions in STIFF:
        yield ALL, _strata(unknown)
    else:
        yield ALL, [Case("all abscissae", unknown, special=True)]


def _coincidences(unknown: Ansatz) -> Iterator[Case]:
    """One free abscissa at 1, at a given one or at another."""
    others = [row.c for row in unknown.rows]
    for c, x in {frozenset((c, x)): (c, x) for c in unknown.abscissae for x in others if x != c}.values():
        yield Case(f"{c} = {x}", unknown.at({c: x}))


def _strata(unknown: Ansatz) -> Iterator[Case]:
    """Every way in which free abscissae coincide with 0, 1, given ones and one another."""
    places = dict.fromkeys([*(row.c for row in unknown.rows if not row.c.is_Symbol), Integer(0)])
    for values in _placed(tuple(reversed(unknown.abscissae)), tuple(places)):
        moved = {c: x for c, x in values.items() if c != x}
        words = ", ".join(f"{c} = {x}" for c, x in moved.items()) or "different abscissae"
        yield Case(words, unknown.at(moved), special=True)


def _placed(free: Sequence[Symbol], places: tuple[Expr, ...]) -> Iterator[dict[Symbol, Expr]]:
    """Each abscissa at a place of its own, or at one that is taken."""
    if not free:
        yield {}
        return
    first, *rest = free
    for place in (first, *places):
        taken = (*places, first) if place is first else places
        yield from ({first: place} | others for others in _placed(rest, taken))


# --- conditions ---


def residuals(state: Family, q: int, order: int, special: bool) -> tuple[Field, list[Scalar]]:
    """What must vanish for the conditions of order q of a method that is to have `order`, and its field.

    special: for all values of the abscissae, not for generic ones alone.
    """
    tableau = state.tableau
    if state.conditions in STIFF:
        field = Field(expressions(tableau))
        unknown = {*state.ansatz.unknowns, *(state.ansatz.abscissae if special else ())}
        stiff = StiffConditions(tableau, Ring(field), state.linearised, partial(_reduced, unknown))
        weak = state.conditions == "weak" and q == order
        return field, list(stiff.equations(q, "weak" if weak else "strong"))
    expansion = state.expansion(q)
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
    return not unknown.intersection(base.expression(value).free_symbols)
