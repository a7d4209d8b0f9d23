"""Polynomials in many variables, most of which occur linearly: quotients and factors.

A polynomial A x + B, linear in x, is gcd(A, B) times an irreducible one.  So variables that occur linearly,
as the weights of a method do in its order conditions, are split off by a greatest common divisor each, and
what is left over, in the few others, is factored by sympy.  Most of these divisors are numbers, which values
at one point show (`coprime`).
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Iterable
from functools import cache, lru_cache
from typing import Any

Poly = Any
"""An element of a sympy polynomial ring over Z, Q or an algebraic field: a table {exponents: coefficient}."""

_PRIME = 2**61 - 1


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

    Term by term from the smallest: its quotient by the divisor's smallest is one of the quotient's, and all
    are where none has a higher power than the quotient can have.
    """
    ring = polynomial.ring
    domain, width = ring.domain, range(ring.ngens)
    terms = sorted(divisor.items())
    (low, unit), others = terms[0], terms[1:]
    bounds = [
        (i, low[i], a - b)
        for i, a, b in zip(width, polynomial.degrees(), divisor.degrees(), strict=True)
        if a or b
    ]
    if any(most < 0 for _, _, most in bounds):
        return None
    rest = dict(polynomial)
    waiting = list(rest)
    heapq.heapify(waiting)
    found: dict[Any, Any] = {}
    while waiting:
        powers = heapq.heappop(waiting)
        value = rest.pop(powers, None)
        if not value:
            continue
        for i, own, most in bounds:
            if not 0 <= powers[i] - own <= most:
                return None
        if domain.is_ZZ:
            value, remainder = divmod(value, unit)
            if remainder:
                return None
        else:
            value = domain.quo(value, unit)
        at = ring.monomial_div(powers, low) if any(low) else powers
        found[at] = value
        for shift, factor in others:
            key = ring.monomial_mul(at, shift)
            if key in rest:
                rest[key] -= value * factor
            else:
                rest[key] = -value * factor
                heapq.heappush(waiting, key)
    return _of(ring, found)


def without(polynomial: Poly, factors: Iterable[Poly]) -> Poly:
    """The polynomial, which is not 0, divided by the given factors as often as each divides it."""
    for factor in factors:
        while (quotient := divided(polynomial, factor)) is not None:
            polynomial = quotient
    return polynomial


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
        x = next((i for i, degree in enumerate(rest.degrees()) if degree == 1), None)
        if x is None:
            found = rest.factor_list()[1]
            rest = polynomial.ring.one
        else:
            a, b = linear(rest, x)
            common = polynomial.ring.one if coprime(a, b) else normal(a.gcd(b))
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


def coprime(a: Poly, b: Poly) -> bool:
    """Whether one point shows that a and b have no common divisor but numbers; over Z.

    With all variables but y at numbers modulo a prime, where the leading coefficient of a in y is not zero,
    the divisor keeps its degree in y: it has none where the two polynomials in y have no common root.
    """
    ring = a.ring
    if not a or not b or not ring.domain.is_ZZ:
        return False
    shared = [i for i, (m, n) in enumerate(zip(a.degrees(), b.degrees(), strict=True)) if m and n]
    images = [_images(p, shared) for p in (a, b)]
    return all(
        len(one) == degree + 1 and _coprime(one, other)
        for one, other, degree in zip(*images, [a.degree(i) for i in shared], strict=True)
    )


def _images(polynomial: Poly, variables: list[int]) -> list[list[int]]:
    """Modulo a prime, the coefficients in each of the variables with the others at numbers, lowest first,
    without zeros at the end.
    """
    points, inverses = _point(polynomial.ring.ngens)
    found: list[dict[int, int]] = [{} for _ in variables]
    for powers, value in polynomial.items():
        at = int(value)
        for i, power in enumerate(powers):
            if power:
                at = at * pow(points[i], power, _PRIME) % _PRIME
        for image, i in zip(found, variables, strict=True):
            n = powers[i]
            image[n] = image.get(n, 0) + (at * pow(inverses[i], n, _PRIME) if n else at)
    return [_trimmed([image.get(n, 0) % _PRIME for n in range(max(image) + 1)]) for image in found]


@cache
def _point(size: int) -> tuple[list[int], list[int]]:
    """Some numbers, and their inverses, modulo the prime."""
    numbers = random.Random(1).choices(range(2, _PRIME), k=size)
    return numbers, [pow(n, -1, _PRIME) for n in numbers]


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
