"""Polynomial systems whose equations are mostly linear, solved exactly, with every branch.

Order conditions are linear in the weights of one row while the others are known.  So: solve an equation
for an unknown that it holds linearly, put the solution into the others, and go on.

    A x + B = 0,  A != 0 known     x = -B/A
    A x + B = 0,  A with unknowns  two branches: A != 0 and x = -B/A, or A = B = 0
    A B = 0                        one branch for each factor

Parameters (step ratios, free abscissae) are generic: a polynomial in them alone is not zero, and is recorded
where it was divided by; one that has to vanish is solved for `flexible` parameters, or ends the branch.
Flexible parameters may be special instead: then both cases are followed for polynomials in them too, so that
no branches means no solutions, for all their values.
A branch that none of this solves keeps its polynomials as `implicit`, a Groebner basis over Q.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import sympy
from sympy import Expr, Symbol

from ..algebra.factoring import quotient, written
from ..algebra.fractions import Quotient, fractions, inner
from ..algebra.polynomials import Poly, degrees, factor_list, linear, normal, without
from ..algebra.ring import Field
from .watch import Watch

MAX_BRANCHES = 1000


class TooManyBranches(ValueError):
    """A system with more branches than are followed."""


@dataclass(frozen=True)
class Branch:
    """One family of solutions.

    values: of the unknowns that are determined, in those that are not.  divisors: gives polynomials that must
    not vanish.  implicit: those that must vanish, left unsolved.
    """

    values: dict[Symbol, Expr]
    divisors: Callable[[], Iterable[Poly]] = tuple
    implicit: tuple[Expr, ...] = ()

    @cached_property
    def nonzero(self) -> tuple[Expr, ...]:
        """The irreducible factors of the divisors."""
        return factors(divisor.as_expr() for divisor in self.divisors())

    @property
    def key(self) -> object:
        """The same for branches of the same values."""
        return tuple(sorted((s.name, v) for s, v in self.values.items())), self.implicit


def solve(
    equations: Iterable[Expr], unknowns: Sequence[Symbol], flexible: Sequence[Symbol] = ()
) -> list[Branch]:
    """All solutions of  equation = 0  (rational functions of the unknowns and of parameters).

    unknowns: those to be solved for, first first.  flexible: parameters that are solved for where an equation
    holds nothing else.  Raises TooManyBranches.
    """
    field = Field(equations := list(equations))
    numerators = [field.numerator(e) for e in map(field, equations) if e]
    if not field.symbols:
        return [] if numerators else [Branch({})]
    return list(branches(numerators, unknowns, flexible))


def branches(
    equations: Sequence[Poly],
    unknowns: Sequence[Symbol],
    flexible: Sequence[Symbol] = (),
    nonzero: Sequence[Poly] = (),
    *,
    special: bool = False,
    watch: Watch | None = None,
) -> Iterator[Branch]:
    """The same for elements of one polynomial ring, one after another.

    nonzero: what is known not to vanish, irreducible.  special: flexible parameters need not be generic.
    watch: is asked between eliminations; raises OutOfTime.
    """
    if not equations:
        yield Branch({})
        return
    equations, nonzero = [_integral(e) for e in equations], [_integral(e) for e in nonzero]
    ring = equations[0].ring
    at = {symbol: i for i, symbol in enumerate(ring.symbols)}
    own, others = ([at[x] for x in names if x in at] for names in (unknowns, flexible))
    system = _System(ring, own, others, special, watch or Watch())
    seen = set()
    for state in system.run(_clean(equations), (), tuple(nonzero)):
        if (branch := system.branch(*state)) is not None and branch.key not in seen:
            seen.add(branch.key)
            yield branch


def factors(expressions: Iterable[Expr]) -> tuple[Expr, ...]:
    """The irreducible factors, without repetitions and numbers, of polynomials; 0 where one vanishes: what
    must not vanish for none of them to do so.
    """
    unique: dict[Expr, None] = {}
    parts = {base for e in expressions for base, _ in map(sympy.Expr.as_base_exp, sympy.Mul.make_args(e))}
    for part in parts:
        unique |= dict.fromkeys(_irreducible(part))
    return tuple(sorted(unique, key=sympy.default_sort_key))


@lru_cache(maxsize=2048)
def _irreducible(part: Expr) -> tuple[Expr, ...]:
    """The same of one polynomial; families share most of what they divide by."""
    polynomial = sympy.expand(part)
    if polynomial == 0:
        return (sympy.S.Zero,)
    if polynomial.is_number:
        return ()
    return tuple(f for f, _ in sympy.factor_list(polynomial)[1] if not f.is_number)


Solved = tuple[int, Poly, Poly]
"""(index of x, B, A): x = -B/A."""


class _System:
    """The ring's generators by index: unknowns in order of preference, flexible ones after them."""

    def __init__(
        self, ring: Any, unknowns: Sequence[int], flexible: Sequence[int], special: bool, watch: Watch
    ) -> None:
        self.ring, self.unknowns, self.flexible = ring, tuple(unknowns), tuple(flexible)
        self.special, self.watch = special, watch
        self.branches = 0

    def run(
        self, equations: list[Poly], solved: tuple[Solved, ...], nonzero: tuple[Poly, ...]
    ) -> Iterator[tuple[list[Poly], tuple[Solved, ...], tuple[Poly, ...]]]:
        """The branches below a state."""
        while True:
            self.watch.check()
            equations = self._stripped(equations, nonzero)
            if any(self._constant(e) for e in equations):
                return
            if not equations:
                self._count()
                yield equations, solved, nonzero
                return
            if numbers := self._numbers(equations):
                solved = (*solved, *((x, b, a) for x, (b, a) in numbers.items()))
                equations = _clean(_at_numbers(e, numbers) for e in equations)
                continue
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
        names = self.unknowns + (self.flexible if self.special else ())
        choice = min(
            (
                (i >= len(self.unknowns), len(linear(e, x)[0]), len(e), i, n)
                for n, e in enumerate(equations)
                for i, x in enumerate(names)
                if degrees(e)[x] == 1 and (i < len(self.unknowns) or self._parameters(e))
            ),
            default=None,
        )
        if choice is None:
            yield from self._implicit(equations, solved, nonzero)
            return
        x, equation = names[choice[-2]], equations[choice[-1]]
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
        polynomials = _clean(_of(e, self.ring) for e in basis)
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
        field = fractions(self.ring.symbols) if self.ring.domain.is_ZZ else self.ring.to_field()
        values: dict[int, Any] = {}
        for x, b, a in reversed(solved):
            divisor = _value(a, values, field)
            if not divisor:
                return None
            values[x] = -_value(b, values, field) / divisor

        def divisors() -> list[Poly]:
            return [_value(polynomial, values, field).numer for polynomial in nonzero]

        if not _nonzero_somewhere(nonzero, values, self.ring) and not all(divisors()):
            return None
        return Branch(
            {
                self.ring.symbols[x]: written(v) if isinstance(v, Quotient) else quotient(v.numer, v.denom)
                for x, v in values.items()
            },
            divisors,
            tuple(_monic(p) for p in left),
        )

    def _numbers(self, equations: list[Poly]) -> dict[int, tuple[Poly, Poly]]:
        """The unknowns that an equation says the number of, -B/A: all at once, since they are many where a
        method is looked for in a family.
        """
        found: dict[int, tuple[Poly, Poly]] = {}
        for equation in equations:
            if len(equation) <= 2:
                at = [x for x, degree in enumerate(degrees(equation)) if degree]
                if len(at) == 1 and at[0] in self.unknowns and degrees(equation)[at[0]] == 1:
                    a, b = linear(equation, at[0])
                    found.setdefault(at[0], (b, a))
        return found

    def _pivot(self, equations: list[Poly]) -> tuple[int, Poly] | None:
        """An unknown and an equation that holds it linearly, times what is known not to vanish."""
        best: tuple[Any, int, Poly] | None = None
        for equation in equations:
            alone = self._parameters(equation)
            for rank, x in enumerate(self.flexible if alone else self.unknowns):
                if degrees(equation)[x] != 1:
                    continue
                coefficient = linear(equation, x)[0]
                if self._free(coefficient, alone or self.special):
                    key = (alone, not coefficient.is_ground, len(equation), rank)
                    if best is None or key < best[0]:
                        best = key, x, equation
        return None if best is None else best[1:]

    def _free(self, polynomial: Poly, alone: bool) -> bool:
        """Whether a polynomial holds parameters only, so that it is no zero."""
        excluded = (*self.unknowns, *self.flexible) if alone else self.unknowns
        found = degrees(polynomial)
        return not any(found[x] > 0 for x in excluded)

    def _parameters(self, polynomial: Poly) -> bool:
        """Whether a polynomial holds no unknowns."""
        return self._free(polynomial, alone=False)

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
    """Each as it is among its multiples, without repetitions and zeros, the short ones first."""
    unique = dict.fromkeys(normal(e) for e in equations if e)
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


def _at_numbers(equation: Poly, numbers: Mapping[int, tuple[Poly, Poly]]) -> Poly:
    """The equation at x = -b/a for some x, a and b numbers, times a number."""
    degree = degrees(equation)
    here = [
        (x, degree[x], -b.LC if b else equation.ring.domain.zero, a.LC)
        for x, (b, a) in numbers.items()
        if degree[x] > 0
    ]
    if not here:
        return equation
    table: dict[Any, Any] = {}
    for powers, value in equation.items():
        rest = list(powers)
        for x, most, over, under in here:
            value = value * over ** powers[x] * under ** (most - powers[x])
            rest[x] = 0
        key = tuple(rest)
        table[key] = table.get(key, equation.ring.domain.zero) + value
    return equation.ring.from_dict({key: value for key, value in table.items() if value})


def _integral(polynomial: Poly) -> Poly:
    """A multiple of a polynomial over Q with integers; over another field as it stands."""
    if not polynomial.ring.domain.is_QQ:
        return polynomial
    return polynomial.clear_denoms()[1].set_ring(polynomial.ring.clone(domain=sympy.ZZ))


def _of(expression: Expr, ring: Any) -> Poly:
    """A multiple of a polynomial, an expression, in a ring."""
    if not ring.domain.is_ZZ:
        return ring.from_expr(expression)
    return _integral(ring.clone(domain=sympy.QQ).from_expr(expression))


def _monic(polynomial: Poly) -> Expr:
    """A polynomial as an expression, with leading coefficient 1."""
    ring = polynomial.ring
    if ring.domain.is_ZZ:
        polynomial = polynomial.set_ring(ring.clone(domain=sympy.QQ))
    return polynomial.monic().as_expr()


def _nonzero_somewhere(polynomials: Iterable[Poly], values: dict[int, Any], ring: Any) -> bool:
    """Whether polynomials, solved unknowns replaced, are all different from 0 at one point, which is enough;
    at another they may be so too.
    """
    numbers = ring.domain.get_field()
    point = [numbers.convert(sympy.prime(20 + i)) / sympy.prime(10 + i) for i in range(ring.ngens)]
    at = list(point)
    for x, v in values.items():
        under = _at(v.denom, point)
        if not under:
            return False
        at[x] = _at(v.numer, point) / under
    return all(_at(p, at) for p in polynomials)


def _at(polynomial: Poly, point: Sequence[Any]) -> Any:
    """A polynomial's value."""
    total = polynomial.ring.domain.get_field().zero
    for powers, coefficient in polynomial.terms():
        term = coefficient
        for value, power in zip(point, powers, strict=True):
            if power:
                term = value**power * term
        total += term
    return total


def _value(polynomial: Poly, values: dict[int, Any], field: Any) -> Any:
    """A polynomial as an element of the field of fractions, solved unknowns replaced."""
    degree = degrees(polynomial)
    replaced = [x for x in values if degree[x] > 0]
    parts: dict[tuple[int, ...], dict[Any, Any]] = {}
    for powers, coefficient in polynomial.terms():
        rest = tuple(0 if x in replaced else p for x, p in enumerate(powers))
        parts.setdefault(tuple(powers[x] for x in replaced), {})[rest] = coefficient
    pairs = []
    for powers, part in parts.items():
        product = field.one
        for x, power in zip(replaced, powers, strict=True):
            if power:
                product = product * values[x] ** power
        pairs.append((field(polynomial.ring.from_dict(part)), product))
    return inner(pairs, field.zero)
