"""Polynomials in many variables, most of which occur linearly: quotients and factors.

A polynomial A x + B, linear in x, is gcd(A, B) times an irreducible one.  So variables that occur linearly,
as the weights of a method do in its order conditions, are split off one after another, those of the shortest
A first, whose factors are looked for in B; what is left over, in the few others, is factored by sympy.  Most
of these divisors are numbers, which values at one point show (`coprime`).
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from functools import cache, lru_cache
from operator import add, itemgetter, mul, sub
from typing import Any, NamedTuple

import numpy as np

Poly = Any
"""An element of a sympy polynomial ring over Z, Q or an algebraic field: a table {exponents: coefficient}."""

_PRIME = 2**31 - 1
"""Products of two numbers modulo it are 64-bit integers."""
_MANY = 24
"""Terms from which on it pays to look at a polynomial at one point before it is divided."""


def linear(polynomial: Poly, x: int) -> tuple[Poly, Poly]:
    """A and B of a polynomial A x + B, x the generator of that index."""
    ring = polynomial.ring
    a, b = {}, {}
    for powers, value in polynomial.items():
        if powers[x]:
            a[(*powers[:x], 0, *powers[x + 1 :])] = value
        else:
            b[powers] = value
    return _of(ring, a), _of(ring, b)


@lru_cache(maxsize=2048)
def degrees(polynomial: Poly) -> tuple[Any, ...]:
    """The degree in every variable, which is asked for one after another."""
    return tuple(polynomial.degrees())


def normal(polynomial: Poly) -> Poly:
    """What a polynomial is among its multiples: primitive over the integers with a positive leading
    coefficient, or monic over an algebraic field.
    """
    domain = polynomial.ring.domain
    if not polynomial or not (domain.is_ZZ or domain.is_QQ):
        return _of(polynomial.ring, polynomial.monic())
    if domain.is_QQ:
        polynomial = polynomial.clear_denoms()[1]
    content = math.gcd(*(int(value) for value in polynomial.values()))
    if polynomial.LC < 0:
        content = -content
    ring, unit = polynomial.ring, domain(content)
    if content == 1:
        return _of(ring, polynomial)
    return _of(ring, {powers: domain.quo(value, unit) for powers, value in polynomial.items()})


def divided(polynomial: Poly, divisor: Poly) -> Poly | None:
    """The quotient, or None where there is a remainder; over Z the divisor is primitive.

    A divisor in few of the variables divides a polynomial where it divides the coefficient of every product
    of the others.  That of one product shows most remainders, and is found without the rest.
    """
    if not polynomial:
        return polynomial
    by = _divisor(divisor)
    most = [max(map(itemgetter(i), polynomial)) for i in by.places]
    if any(n < degree for n, degree in zip(most, by.degrees, strict=True)):
        return None
    if not by.terms:
        return _by_monomial(polynomial, divisor)
    if math.prod(n + 1 for n in most) < len(polynomial):
        others = by.others(next(iter(polynomial)))
        powers = itertools.product(*(range(n + 1) for n in most))
        one = {own: polynomial[key] for own in powers if (key := by.joined(own + others)) in polynomial}
        if _quotient(one, by) is None:
            return None
    coefficients: dict[Any, dict[Any, Any]] = {}
    for key, value in polynomial.items():
        coefficients.setdefault(by.others(key), {})[by.own(key)] = value
    found: dict[Any, Any] = {}
    for others, coefficient in coefficients.items():
        quotient = _quotient(coefficient, by)
        if quotient is None:
            return None
        for own, value in quotient.items():
            found[by.joined(own + others)] = value
    return _of(polynomial.ring, found)


def _by_monomial(polynomial: Poly, divisor: Poly) -> Poly | None:
    domain = polynomial.ring.domain
    ((powers, unit),) = divisor.items()
    if any(min(map(itemgetter(i), polynomial)) < n for i, n in enumerate(powers) if n):
        return None
    if domain.is_ZZ and any(value % unit for value in polynomial.values()):
        return None
    found = {tuple(map(sub, key, powers)): domain.quo(value, unit) for key, value in polynomial.items()}
    return _of(polynomial.ring, found)


class _Divisor(NamedTuple):
    """A divisor in its own variables, at `places` among all.

    own, others, joined: exponents of all variables as those of its own and of the others, and back.  low,
    unit: its smallest term; terms: what stands above that.  degrees: in its variables.
    """

    domain: Any
    places: list[int]
    own: Callable[[Any], Any]
    others: Callable[[Any], Any]
    joined: Callable[[Any], Any]
    low: tuple[int, ...]
    unit: Any
    terms: list[tuple[tuple[int, ...], Any]]
    degrees: list[int]


@lru_cache(maxsize=2048)
def _divisor(divisor: Poly) -> _Divisor:
    degree = divisor.degrees()
    own, others = ([i for i, n in enumerate(degree) if (n > 0) is there] for there in (True, False))
    pick, order = _picked(own), own + others
    (low, unit), *terms = sorted((pick(powers), value) for powers, value in divisor.items())
    return _Divisor(
        divisor.ring.domain,
        own,
        pick,
        _picked(others),
        _picked(sorted(range(len(order)), key=order.__getitem__)),
        low,
        unit,
        [(tuple(map(sub, powers, low)), value) for powers, value in terms],
        [degree[i] for i in own],
    )


def _picked(places: Sequence[int]) -> Callable[[Any], Any]:
    """What takes the entries at some places out of a tuple."""
    if len(places) > 1:
        return itemgetter(*places)
    return (lambda powers: (powers[places[0]],)) if places else (lambda powers: ())


def _quotient(terms: dict[Any, Any], by: _Divisor) -> dict[Any, Any] | None:
    """A table divided by a divisor, or None where there is a remainder; the table is used up.

    Term by term from the smallest: its quotient by the divisor's smallest is one of the quotient's, and all
    are where none has a higher power than the quotient can have.
    """
    if len(terms) == 1:  # no multiple of a sum is one term
        return None
    bounds = [max(powers) - n for n, powers in zip(by.degrees, zip(*terms, strict=True), strict=True)]
    if any(most < 0 for most in bounds):
        return None
    exact = not by.domain.is_ZZ
    waiting = list(terms)
    heapq.heapify(waiting)
    found: dict[Any, Any] = {}
    while waiting:
        powers = heapq.heappop(waiting)
        value = terms.pop(powers, None)
        if not value:
            continue
        at = tuple(map(sub, powers, by.low))
        if not all(0 <= n <= most for n, most in zip(at, bounds, strict=True)):
            return None
        if exact:
            value = by.domain.quo(value, by.unit)
        else:
            value, remainder = divmod(value, by.unit)
            if remainder:
                return None
        found[at] = value
        for shift, factor in by.terms:
            key = tuple(map(add, powers, shift))
            if key in terms:
                terms[key] -= value * factor
            else:
                terms[key] = -value * factor
                heapq.heappush(waiting, key)
    return found


def without(polynomial: Poly, factors: Iterable[Poly]) -> Poly:
    """The polynomial, which is not 0, divided by the given factors as often as each divides it."""
    return divided_out(polynomial, [(factor, math.inf) for factor in factors])[0]


def divided_out(polynomial: Poly, factors: Sequence[tuple[Poly, float]]) -> tuple[Poly, list[int]]:
    """The polynomial, which is not 0, divided by each factor as often as that divides it and no more often
    than is given; and how often it was.

    Most factors divide nothing, which the polynomial's value where one of them vanishes shows.
    """
    counts = []
    values: _Values | None = None
    for factor, most in factors:
        n = 0
        while n < most:
            if len(polynomial) >= _MANY and polynomial.ring.domain.is_ZZ:
                values = _Values(polynomial) if values is None else values
                if values.away_from(factor):
                    break
            if (quotient := divided(polynomial, factor)) is None:
                break
            polynomial, values = quotient, None
            n += 1
        counts.append(n)
    return polynomial, counts


@lru_cache(maxsize=2048)
def factor_list(polynomial: Poly) -> tuple[tuple[Poly, int], ...]:
    """The irreducible factors with their multiplicities; constants are left out.

    Over Z and Q, factors are primitive over the integers, with a positive leading coefficient; else they are
    monic.  The last are kept: branches of a system share most of its equations.
    """
    counts: dict[Poly, int] = {}
    rest = polynomial
    while not rest.is_ground:
        rest = normal(rest)
        x = _shortest(rest)
        if x is None:
            found = rest.factor_list()[1]
            rest = polynomial.ring.one
        else:
            a, b = linear(rest, x)
            common = polynomial.ring.one if a.is_ground or coprime(a, b) else _common(a, b)
            found = [(rest if common.is_ground else divided(rest, common), 1)]
            rest = common
        for factor, n in found:
            unit = normal(factor)
            counts[unit] = counts.get(unit, 0) + n
    if len(counts) < 2:
        return tuple(counts.items())
    return tuple(
        sorted(counts.items(), key=lambda item: (len(item[0]), item[0].leading_expv(), str(item[0])))
    )


def _shortest(polynomial: Poly) -> int | None:
    """A variable that the polynomial holds linearly in the fewest terms; None without one."""
    own = [i for i, degree in enumerate(polynomial.degrees()) if degree == 1]
    return min(own, key=lambda i: (sum(map(itemgetter(i), polynomial)), i), default=None)


def _common(a: Poly, b: Poly) -> Poly:
    """The greatest common divisor of a short polynomial, which is factored, and another, up to a number."""
    if not b:
        return normal(a)
    factors = factor_list(a)
    _, counts = divided_out(b, factors)
    return math.prod((f**n for (f, _), n in zip(factors, counts, strict=True)), start=a.ring.one)


def coprime(a: Poly, b: Poly) -> bool:
    """Whether one point shows that a and b have no common divisor but numbers; over Z.

    With all variables but y at numbers modulo a prime, where the leading coefficient of a in y is not zero,
    the divisor keeps its degree in y: it has none where the two polynomials in y have no common root.
    """
    ring = a.ring
    if not a or not b or not ring.domain.is_ZZ:
        return False
    shared = [i for i, (m, n) in enumerate(zip(a.degrees(), b.degrees(), strict=True)) if m and n]
    first, second = _Values(a), _Values(b)
    return all(
        len(one := first.image(i)) == a.degree(i) + 1 and _coprime(one, second.image(i)) for i in shared
    )


def at(polynomial: Poly, point: Sequence[Fraction]) -> Fraction:
    """The value at a point of a polynomial over Z."""
    terms, under = [int(value) for value in polynomial.values()], 1
    for i, x in enumerate(point):
        powers = list(map(itemgetter(i), polynomial))
        if most := max(powers, default=0):
            table = {n: x.numerator**n * x.denominator ** (most - n) for n in set(powers)}
            terms = list(map(mul, terms, map(table.__getitem__, powers)))
            under *= x.denominator**most
    return Fraction(sum(terms), under)


class _Values:
    """The terms of a polynomial over Z at one point, modulo a prime."""

    def __init__(self, polynomial: Poly) -> None:
        size = polynomial.ring.ngens
        table = itertools.chain.from_iterable(polynomial)
        self.powers = np.fromiter(table, np.int64, len(polynomial) * size).reshape(-1, size).T
        self.terms = np.array([int(value) % _PRIME for value in polynomial.values()], np.int64)
        for x, powers in zip(_point(size), self.powers, strict=True):
            if most := int(powers.max(initial=0)):
                self.terms = self.terms * _powers(x, most)[powers] % _PRIME

    def image(self, i: int) -> list[int]:
        """The coefficients in one variable, the others at the point, lowest first, none that is zero last."""
        powers = self.powers[i]
        most = int(powers.max(initial=0))
        back = _powers(pow(_point(len(self.powers))[i], -1, _PRIME), most)
        found = np.zeros(most + 1, np.int64)
        np.add.at(found, powers, self.terms * back[powers] % _PRIME)
        return _trimmed([int(value) % _PRIME for value in found])

    def away_from(self, factor: Poly) -> bool:
        """Whether the polynomial does not vanish where a factor does, which then does not divide it."""
        root = _root(factor)
        if root is None:
            return False
        i, ratio = root
        powers = self.powers[i]
        values = self.terms * _powers(ratio, int(powers.max(initial=0)))[powers] % _PRIME
        return bool(int(values.sum()) % _PRIME)


@lru_cache(maxsize=2048)
def _root(factor: Poly) -> tuple[int, int] | None:
    """A variable that a polynomial holds linearly, and where it vanishes by it, in units of the point's
    coordinate; None without such a variable.
    """
    i = next((i for i, degree in enumerate(factor.degrees()) if degree == 1), None)
    image = [] if i is None else _Values(factor).image(i)
    if i is None or len(image) < 2:
        return None
    unit = image[1] * _point(factor.ring.ngens)[i]
    return i, -image[0] * pow(unit, -1, _PRIME) % _PRIME


@lru_cache(maxsize=1024)
def _powers(x: int, most: int) -> Any:
    """x^n modulo the prime, n = 0 .. most."""
    found = [1]
    while len(found) <= most:
        found.append(found[-1] * x % _PRIME)
    return np.array(found, np.int64)


@cache
def _point(size: int) -> list[int]:
    """Some numbers modulo the prime."""
    return random.Random(1).choices(range(2, _PRIME), k=size)


def _trimmed(image: list[int]) -> list[int]:
    while image and not image[-1]:
        image.pop()
    return image


def _coprime(a: list[int], b: list[int]) -> bool:
    """Euclid's algorithm modulo the prime."""
    while b:
        inverse = pow(b[-1], -1, _PRIME)
        a = list(a)
        while len(a) >= len(b):
            factor, shift = a[-1] * inverse % _PRIME, len(a) - len(b)
            for i, value in enumerate(b, shift):
                a[i] = (a[i] - factor * value) % _PRIME
            a = _trimmed(a)
        a, b = b, a
    return len(a) == 1


def _of(ring: Any, terms: dict[Any, Any]) -> Poly:
    """A polynomial of a table without zeros, which is not checked again.

    A new one: what sympy's division leaves may remember the hash of what it was before its last term.
    """
    polynomial = ring.zero
    polynomial.update(terms)
    return polynomial
