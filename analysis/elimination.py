"""Polynomial systems whose equations are mostly linear, solved exactly, with every branch.

Order conditions are linear in the weights of one row while the others are known.  So: solve an equation
for an unknown that it holds linearly, put the solution into the others, and go on.

    A x + B = 0,  A != 0 known     x = -B/A
    A x + B = 0,  A with unknowns  two branches: A != 0 and x = -B/A, or A = B = 0
    A B = 0                        one branch for each factor

Parameters (step ratios, free abscissae) are generic: a polynomial in them alone is not zero, and is recorded
where it was divided by; one that has to vanish is solved for `flexible` parameters, or ends the branch.
A branch that none of this solves keeps its polynomials as `implicit`, a Groebner basis over Q.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sympy
from sympy import Expr, Symbol

from .factoring import Poly, factor_list, linear, without

MAX_BRANCHES = 1000


class TooManyBranches(ValueError):
    """A system with more branches than are followed."""


@dataclass(frozen=True)
class Branch:
    """One family of solutions.

    values: of the unknowns that are determined, in those that are not.  nonzero: what must not vanish.
    implicit: polynomials that must vanish, left unsolved.
    """

    values: dict[Symbol, Expr]
    nonzero: tuple[Expr, ...] = ()
    implicit: tuple[Expr, ...] = ()


def solve(
    equations: Iterable[Expr], unknowns: Sequence[Symbol], flexible: Sequence[Symbol] = ()
) -> list[Branch]:
    """All solutions of  equation = 0  (rational functions of the unknowns and of parameters).

    unknowns: those to be solved for, first first.  flexible: parameters that are solved for where an equation
    holds nothing else.  Raises TooManyBranches.
    """
    numerators = [e for e in (sympy.numer(sympy.together(e)) for e in equations) if e != 0]
    symbols = sorted(set().union(*(e.free_symbols for e in numerators)), key=lambda s: s.name)
    if not symbols:
        return [] if numerators else [Branch({})]
    ring = sympy.ring(symbols, sympy.QQ)[0]
    return solve_polynomials([ring.from_expr(e) for e in numerators], unknowns, flexible)


def solve_polynomials(
    equations: Sequence[Poly],
    unknowns: Sequence[Symbol],
    flexible: Sequence[Symbol] = (),
    nonzero: Sequence[Poly] = (),
) -> list[Branch]:
    """The same for elements of one polynomial ring; nonzero: what is known not to vanish, irreducible."""
    if not equations:
        return [Branch({})]
    ring = equations[0].ring
    at = {symbol: i for i, symbol in enumerate(ring.symbols)}
    system = _System(ring, [at[x] for x in unknowns if x in at], [at[x] for x in flexible if x in at])
    states = system.run(_clean(equations), (), tuple(nonzero))
    return _distinct(branch for state in states if (branch := system.branch(*state)) is not None)


def factors(expressions: Iterable[Expr]) -> tuple[Expr, ...]:
    """The irreducible factors, without repetitions and numbers, of the numerators of expressions; 0 where one
    vanishes: what must not vanish for none of them to do so.
    """
    unique: dict[Expr, None] = {}
    for expression in expressions:
        numerator = sympy.numer(sympy.cancel(expression))
        if numerator == 0:
            unique.setdefault(sympy.S.Zero)
        elif not numerator.is_number:
            unique |= dict.fromkeys(f for f, _ in sympy.factor_list(numerator)[1])
    return tuple(sorted(unique, key=sympy.default_sort_key))


Solved = tuple[int, Poly, Poly]
"""(index of x, B, A): x = -B/A."""


class _System:
    """The ring's generators by index: unknowns in order of preference, flexible ones after them."""

    def __init__(self, ring: Any, unknowns: Sequence[int], flexible: Sequence[int]) -> None:
        self.ring, self.unknowns, self.flexible = ring, tuple(unknowns), tuple(flexible)
        self.branches = 0

    def run(
        self, equations: list[Poly], solved: tuple[Solved, ...], nonzero: tuple[Poly, ...]
    ) -> Iterator[tuple[list[Poly], tuple[Solved, ...], tuple[Poly, ...]]]:
        """The branches below a state."""
        while True:
            equations = self._stripped(equations, nonzero)
            if any(self._constant(e) for e in equations):
                return
            if not equations:
                self._count()
                yield equations, solved, nonzero
                return
            pivot = self._pivot(equations)
            if pivot is None:
                break
            x, equation = pivot
            a, b = linear(equation, x)
            solved, nonzero = (*solved, (x, b, a)), self._with(nonzero, a)
            equations = _clean(_substituted(e, x, a, b) for e in equations if e is not equation)
        yield from self._split(equations, solved, nonzero)

    def _split(
        self, equations: list[Poly], solved: tuple[Solved, ...], nonzero: tuple[Poly, ...]
    ) -> Iterator[Any]:
        for equation in equations:
            powers = factor_list(equation)
            if sum(n for _, n in powers) > 1:
                factors = [f for f, _ in powers]
                rest = [e for e in equations if e is not equation]
                for i, factor in enumerate(factors):
                    others = nonzero
                    for earlier in factors[:i]:
                        others = self._with(others, earlier)
                    yield from self.run(_clean([factor, *rest]), solved, others)
                return
        choice = min(
            (
                (len(linear(e, x)[0]), len(e), i, n)
                for n, e in enumerate(equations)
                for i, x in enumerate(self.unknowns)
                if e.degree(x) == 1
            ),
            default=None,
        )
        if choice is None:
            yield from self._implicit(equations, solved, nonzero)
            return
        x, equation = self.unknowns[choice[2]], equations[choice[3]]
        a, b = linear(equation, x)
        rest = [e for e in equations if e is not equation]
        generic = _clean(_substituted(e, x, a, b) for e in rest)
        yield from self.run(generic, (*solved, (x, b, a)), self._with(nonzero, a))
        yield from self.run(_clean([a, b, *rest]), solved, nonzero)

    def _implicit(
        self, equations: list[Poly], solved: tuple[Solved, ...], nonzero: tuple[Poly, ...]
    ) -> Iterator[Any]:
        """A Groebner basis shows whether anything is left, and may hold what can be solved."""
        names = [self.ring.symbols[i] for i in (*self.unknowns, *self.flexible)]
        names += [s for s in self.ring.symbols if s not in names]
        basis = sympy.groebner([e.as_expr() for e in equations], *names, order="lex").exprs
        polynomials = _clean(self.ring.from_expr(e) for e in basis)
        if set(polynomials) == set(equations):
            self._count()
            yield polynomials, solved, nonzero
        else:
            yield from self.run(polynomials, solved, nonzero)

    def branch(
        self, left: list[Poly], solved: tuple[Solved, ...], nonzero: tuple[Poly, ...]
    ) -> Branch | None:
        """A final state in sympy, unknowns put into each other from the last solved to the first; None where
        something vanishes that must not.
        """
        field = self.ring.to_field()
        values: dict[int, Any] = {}
        for x, b, a in reversed(solved):
            divisor = _value(a, values, field)
            if not divisor:
                return None
            values[x] = -_value(b, values, field) / divisor
        known = factors(_value(polynomial, values, field).numer.as_expr() for polynomial in nonzero)
        if 0 in known:
            return None
        return Branch(
            {self.ring.symbols[x]: v.as_expr() for x, v in values.items()},
            known,
            tuple(p.as_expr() for p in left),
        )

    def _pivot(self, equations: list[Poly]) -> tuple[int, Poly] | None:
        """An unknown and an equation that holds it linearly, times what is known not to vanish."""
        best: tuple[Any, int, Poly] | None = None
        for equation in equations:
            alone = not any(equation.degree(x) > 0 for x in self.unknowns)
            for rank, x in enumerate(self.flexible if alone else self.unknowns):
                if equation.degree(x) != 1:
                    continue
                coefficient = linear(equation, x)[0]
                if self._free(coefficient, alone):
                    key = (alone, not coefficient.is_ground, len(equation), rank)
                    if best is None or key < best[0]:
                        best = key, x, equation
        return None if best is None else best[1:]

    def _free(self, polynomial: Poly, alone: bool) -> bool:
        """Whether a polynomial holds parameters only, so that it is no zero."""
        excluded = (*self.unknowns, *self.flexible) if alone else self.unknowns
        return not any(polynomial.degree(x) > 0 for x in excluded)

    def _constant(self, polynomial: Poly) -> bool:
        return self._free(polynomial, alone=True)

    def _stripped(self, equations: list[Poly], nonzero: tuple[Poly, ...]) -> list[Poly]:
        """Equations without factors that are known not to vanish."""
        return _clean(without(equation, nonzero) for equation in equations)

    def _with(self, nonzero: tuple[Poly, ...], polynomial: Poly) -> tuple[Poly, ...]:
        known = dict.fromkeys(nonzero)
        if not polynomial.is_ground:
            known |= dict.fromkeys(f for f, _ in factor_list(polynomial))
        return tuple(known)

    def _count(self) -> None:
        self.branches += 1
        if self.branches > MAX_BRANCHES:
            raise TooManyBranches(f"the conditions have more than {MAX_BRANCHES} families of solutions")


def _clean(equations: Iterable[Poly]) -> list[Poly]:
    """Monic, without repetitions and zeros, the short ones first."""
    unique = dict.fromkeys(e.monic() for e in equations if e)
    return sorted(unique, key=lambda e: (len(e), e.leading_expv()))


def _substituted(equation: Poly, x: int, a: Poly, b: Poly) -> Poly:
    """The equation at x = -b/a, times a power of a; divided by a constant."""
    degree = max(equation.degree(x), 0)
    if not degree:
        return equation
    parts: list[dict[Any, Any]] = [{} for _ in range(degree + 1)]
    for powers, value in equation.terms():
        parts[powers[x]][(*powers[:x], 0, *powers[x + 1 :])] = value
    total, scale = equation.ring.zero, equation.ring.one
    for part in reversed(parts):  # Horner's scheme in -b
        total = total * -b + equation.ring.from_dict(part) * scale if part else total * -b
        scale = scale * a
    return total


def _value(polynomial: Poly, values: dict[int, Any], field: Any) -> Any:
    """A polynomial as an element of the field of fractions, solved unknowns replaced."""
    replaced = {x: v for x, v in values.items() if polynomial.degree(x) > 0}
    if not replaced:
        return field(polynomial)
    total = field.zero
    for powers, coefficient in polynomial.terms():
        rest = tuple(0 if x in replaced else p for x, p in enumerate(powers))
        term = field(polynomial.ring.from_dict({rest: coefficient}))
        for x, v in replaced.items():
            if powers[x]:
                term *= v ** powers[x]
        total += term
    return total


def _distinct(branches: Iterable[Branch]) -> list[Branch]:
    """Branches without repetitions of the same values."""
    unique: dict[Any, Branch] = {}
    for branch in branches:
        key = (tuple(sorted((s.name, v) for s, v in branch.values.items())), branch.implicit)
        unique.setdefault(key, branch)
    return list(unique.values())
