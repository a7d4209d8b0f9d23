"""Whether the error depends on the number of steps N, beside that it falls: one order is that of all N.

A ladder holds the counts 2^k and 3 2^k, from 8 on multiples of 4: a sampler whose last step is another where
N is odd, or that makes its steps in threes, shows one of its orders there.  Of runs that are dear a few
counts beside one of the ladder are looked at (`beside`); where errors are known at all counts of a range,
those are held against each other (`even`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

from .findings import Finding
from .judged import Judged
from .ladders import half_octaves, restricted

Residue = tuple[int, int]
"""(m, r): of the numbers of steps n = r mod m."""
S = TypeVar("S", bound=Judged)

MODULUS = 12
"""Of counts that are alike: in twos, threes and fours.  Beside a multiple of it stand all other residues of
these within three counts.
"""
BESIDE = (1, 2, 3)
OFF = 1.25
"""Times the error that the ladder leads to expect: from there on a count is looked at by a ladder of its own,
which decides.
"""
LEAST_LONG = 96
"""Up to where a ladder of one residue goes at least."""
JUMP = 2.0
"""By how much an error at one of all counts may be off the geometric mean of its neighbours: runs are as
short as 4 steps there, where errors of samplers that are alike at all N are on no line yet.
"""
ROUNDED = 1e-10
"""Relative errors below that are rounding."""


def even(errors: Mapping[int, float], period: int) -> bool:
    """Whether errors, by number of steps, lie between those of runs with `period` steps less and more."""
    for n, error in errors.items():
        if n - period in errors and n + period in errors:
            middle = math.sqrt(errors[n - period] * errors[n + period])
            if max(error, middle) > ROUNDED and not middle / JUMP < error < middle * JUMP:
                return False
    return True


@dataclass(frozen=True)
class Beside:
    """A count of a ladder and the slope of the errors there."""

    n: int
    error: float
    slope: float

    @property
    def counts(self) -> tuple[int, ...]:
        """The counts beside it."""
        return tuple(self.n + d for d in BESIDE)

    def factors(self, errors: Mapping[int, float]) -> dict[int, float]:
        """Of errors at counts beside it, how many times larger than expected those are that are off."""
        expected = {n: self.error * (self.n / n) ** self.slope for n in errors}
        found = {n: errors[n] / expected[n] for n in errors if expected[n] > 0}
        return {n: f for n, f in found.items() if not 1 / OFF <= f <= OFF}

    def residues(self, factors: Mapping[int, float], settled: bool) -> tuple[Residue, ...]:
        """Which counts get a ladder of their own: those whose errors are the largest, and those of the ladder
        where its own are, or where it shows no order (not settled).
        """
        worst = max(factors, key=lambda n: factors[n], default=None)
        found = [] if worst is None or factors[worst] < 1 else [worst]
        if not settled or any(f < 1 for f in factors.values()):
            found.append(self.n)
        return tuple((MODULUS, n % MODULUS) for n in found)

    def told(self, factors: Mapping[int, float], residue: Residue) -> str:
        """In words: which counts are off, by how much, and which are judged."""
        worst = max(factors.values(), key=lambda f: abs(math.log(f)))
        off = f"{worst:.3g} times larger" if worst > 1 else f"{1 / worst:.3g} times smaller"
        at = ", ".join(map(str, sorted(factors)))
        return (
            f"errors at n = {at} are up to {off} than at n = {self.n} and its like: the order is told of "
            f"n = {residue[1]} mod {residue[0]}"
        )


def beside(counts: Sequence[int], errors: Sequence[float]) -> Beside | None:
    """Where to look: the count nearest to the middle of those that tell something, a multiple of 12 where
    there is one; None where there are too few, or errors grow.
    """
    told = [(n, e) for n, e in zip(counts, errors, strict=True) if math.isfinite(e) and e > 0]
    if len(told) < 2:
        return None
    (first, before), (last, after) = told[0], told[-1]
    if after > before:
        return None
    middle = math.sqrt(first * last)
    n, error = min(told, key=lambda pair: (pair[0] % MODULUS > 0, abs(math.log(pair[0] / middle))))
    return Beside(n, error, math.log(before / after) / math.log(last / first))


def lowest(
    study: S,
    place: Beside,
    factors: Mapping[int, float],
    ladder: tuple[int, int],
    climbed: Callable[[tuple[int, ...], Residue], S],
    rank: Callable[[S], float],
) -> S:
    """Of the studies of counts that are off and of the ladder the one of the lowest order, which says
    what it is told of.

    study: of the whole ladder, which takes part where it shows an order.  ladder: from where to where those
    of one residue go.  climbed: their studies.  rank: of a study, the lowest first.
    """
    least, most = ladder
    counts, known = half_octaves(least, max(most, LEAST_LONG)), math.isfinite(study.headline.order)
    others = [(climbed(restricted(counts, of, 1), of), of) for of in place.residues(factors, known)]
    whole: list[tuple[S, Residue | None]] = [(study, None)] if known else []
    found, of = min([*whole, *others], key=lambda pair: rank(pair[0]))
    if of is None:
        return study
    told = Finding("residue", (), place.told(factors, of))
    several = cast(Any, found)
    return cast(S, replace(several, findings=(*several.findings, told)))
