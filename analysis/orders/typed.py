"""Which coefficients of a table are rounded, and within how much: read off the table.

    decimals     of at least `DECIMALS` places: half a unit of the last; and 2^-53 of the number besides,
                 where it has at most 17 significant digits: it may have been a double
    fractions    p/q with q >= `DENOMINATOR`, a best approximation among fractions of its size: 2/q^2
    floats       2^-53 of the number

Every other number is exact: no short fraction and no short decimal is ever excused, and a number that is the
only fraction of its size within its rounding, as 0.0009765625 is 1/1024, is that fraction.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import sympy
from semilinear.integrators.tableaux.tableau import Stage, Tableau
from sympy import Expr, Rational, Symbol

DECIMALS = 10
DENOMINATOR = 10**8
DOUBLE = Fraction(1, 2**53)
DOUBLE_DIGITS = 17
COARSEST = Fraction(1, 10**4)
"""The largest rounding that may be stated of a table."""
FINEST = Fraction(1, 10**250)
"""Fractions that are known to within less are exact: of integers of more than 125 digits."""


@dataclass(frozen=True)
class Decimal:
    """A decimal as it was typed: its value, and how many places stand behind the point."""

    value: Rational
    places: int


@dataclass(frozen=True)
class Typed:
    """A tableau with a symbol for each decimal in it, as it was typed."""

    tableau: Tableau
    decimals: Mapping[Symbol, Decimal] = field(default_factory=dict)

    @property
    def exact(self) -> Tableau:
        """The tableau, decimals taken for the fractions that they are."""
        return with_values(self.tableau, {s: d.value for s, d in self.decimals.items()})

    @property
    def embedded(self) -> Typed:
        """The same with the second output row for the first."""
        return replace(self, tableau=replace(self.tableau, output=self.tableau.low, low=None))


@dataclass(frozen=True)
class Rounding:
    """Which numbers are rounded.

    symbols: what stands for each of them, number or symbol of a decimal.  values, halves: by symbol, what it
    was rounded to, and within how much.
    """

    symbols: Mapping[Expr, Expr]
    values: Mapping[Symbol, Rational]
    halves: Mapping[Symbol, Fraction]

    @property
    def largest(self) -> float:
        """The largest of the `halves`."""
        return float(max(self.halves.values()))


def half_unit(number: Expr, stated: Fraction | None = None, places: int | None = None) -> Fraction:
    """Within how much a number is known; 0 for one that is exact.

    stated: of every number that is no short fraction.  places: behind the point of a decimal, as typed; by
    default as many as the number needs.
    """
    value = Rational(number)
    p, q = abs(value.p), value.q
    own = Fraction(p, q) * DOUBLE if isinstance(number, sympy.Float) else _own_half(p, q, places)
    found = stated or own
    return found if found > FINEST and 2 * found * q * q >= 1 else Fraction(0)


def _own_half(p: int, q: int, places: int | None) -> Fraction:
    if places is None:
        if q & (q - 1) == 0 and q > 2**30 and p < 2**53:
            return Fraction(p, q) * DOUBLE
        places = _places(q)
    if places is None:
        return Fraction(2, q * q) if q >= DENOMINATOR else Fraction(0)
    if places < DECIMALS:
        return Fraction(0)
    half = Fraction(1, 2 * 10**places)
    double = p * 10**places // q < 10**DOUBLE_DIGITS
    return half + Fraction(p, q) * DOUBLE if double else half


def _places(q: int) -> int | None:
    """How many decimal places a denominator needs; None if no number of them is enough."""
    twos = (q & -q).bit_length() - 1
    rest, fives = q >> twos, 0
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    return max(twos, fives) if rest == 1 else None


def rounding_of(table: Tableau | Typed, stated: Fraction | None = None) -> Rounding | None:
    """Which coefficients of a tableau are rounded; None where all are exact.

    stated: the rounding of every coefficient that is no short fraction, in place of what the table shows.
    Raises ValueError for a stated rounding that is not positive, or larger than `COARSEST`.
    """
    if stated is not None and not 0 < stated <= COARSEST:
        raise ValueError(f"rounding must be positive and at most {float(COARSEST)}, got {float(stated)}")
    typed = table if isinstance(table, Typed) else Typed(table)
    numbers = {n for e in _expressions(typed.tableau) for n in e.atoms(Rational, sympy.Float)}
    return rounding_of_numbers(numbers, typed.decimals, stated)


def rounding_of_numbers(
    numbers: Collection[Expr],
    decimals: Mapping[Symbol, Decimal] | None = None,
    stated: Fraction | None = None,
) -> Rounding | None:
    """Which of some numbers and decimals are rounded (`half_unit`); None where all are exact."""
    values: dict[Symbol, Rational] = {}
    halves: dict[Symbol, Fraction] = {}
    symbols: dict[Expr, Expr] = {}

    def add(number: Expr, half: Fraction) -> Expr:
        symbol = Symbol(f"r{len(values)}~", real=True)
        values[symbol], halves[symbol] = Rational(number), half
        return symbol

    for symbol, decimal in (decimals or {}).items():
        half = half_unit(decimal.value, stated, decimal.places)
        symbols[symbol] = add(decimal.value, half) if half else decimal.value
    for number in sorted(numbers, key=str):
        if half := half_unit(number, stated):
            symbols[number] = add(number, half)
    return Rounding(symbols, values, halves) if values else None


def _expressions(tableau: Tableau) -> Iterator[Expr]:
    for stage in tableau.stages:
        yield from (stage.c, stage.formula)
    yield from (row for row in (tableau.output, tableau.low) if row is not None)


def with_values(tableau: Tableau, values: Mapping[Any, Any]) -> Tableau:
    """A tableau with something else in place of some of its symbols and numbers."""
    if not values:
        return tableau
    low = None if tableau.low is None else tableau.low.xreplace(values)
    stages = tuple(Stage(s.c.xreplace(values), s.formula.xreplace(values)) for s in tableau.stages)
    return Tableau(stages, tableau.output.xreplace(values), low, tableau.carry, tableau.stage_noise)


def is_number(tableau: Tableau, at: Mapping[Symbol, Expr]) -> bool:
    """Whether a tableau has no parameters but those with values."""
    return not (tableau.parameters | set(tableau.ratios)) - set(at)
