"""The orders of a table that was printed in decimals: of some table that rounds to it.

The proof runs over numbers known within the rounding of the coefficients (`rounded.py`): a condition holds
where its residual is no larger than what the rounding of the coefficients moves it by, to first order.  So
"order 8 within rounding" says that every condition up to order 8 holds to within `bound`: errors behave as
those of order 8 down to about that size, the table's own rounding error, and no further.

A row that misses its sum c_i by little, and still by more than its rounding, has a wrong digit: such a table
is not excused at all.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from .proof import CAP, Proof
from .rounded import Rounded, RoundedField, TooCoarse
from .typed import Typed, is_number, rounding_of, with_values

NEAR = 1e-6
"""A row that misses its sum by more than this misses it by design, or by a blunder that conditions name."""


@dataclass(frozen=True)
class WithinRounding:
    """The orders of a table within its rounding.

    classical, stiff, weak_stiff: the orders; None where they are not known, which `reason` explains, and
    stiff ones for a form without L.  residual, bound: the largest residual of the classical conditions up to
    that order, and the largest that the rounding allows one.  next_residual, next_bound: of the condition
    beyond it that fails worst, and principal_error_norm of all of them.  coefficients: how many are rounded.
    rounding: within how much, at most.  at_least: nothing fails as far as was looked (`proof.CAP`).
    """

    coefficients: int
    rounding: float
    classical: int | None = None
    stiff: int | None = None
    weak_stiff: int | None = None
    residual: float | None = None
    bound: float | None = None
    next_residual: float | None = None
    next_bound: float | None = None
    principal_error_norm: float | None = None
    at_least: bool = False
    reason: str = ""


def within_rounding(
    proof: Proof, typed: Typed | None = None, stated: Fraction | None = None
) -> WithinRounding | None:
    """The orders of a proof's tableau within its rounding; None where all of its coefficients are exact.

    typed: the table as it was typed, from a file, where trailing zeros count.  stated: the rounding of every
    coefficient that is no short fraction, in place of what the table shows (`typed.half_unit`).
    Raises ValueError for a stated rounding that is none.
    """
    table = typed or Typed(proof.tableau)
    rounding = rounding_of(table, stated)
    if rounding is None:
        return None
    known = WithinRounding(len(rounding.values), rounding.largest)
    if not is_number(proof.tableau, proof.at):
        return replace(known, reason="rounding is not followed through parameters")
    base = RoundedField(rounding, proof.at)
    rounded = replace(proof, tableau=with_values(table.tableau, rounding.symbols), base=base)
    try:
        if reason := _misprint(rounded):
            return replace(known, reason=reason)
        found = _classical(known, rounded)
    except TooCoarse as error:
        return replace(known, reason=str(error))
    return _stiff(found, rounded)


def _classical(known: WithinRounding, proof: Proof) -> WithinRounding:
    order = proof.expansion.order(CAP)
    held = [e for q in range(1, order + 1) for e in _coefficients(proof, q)]
    found = replace(
        known,
        classical=order,
        residual=max(map(_size, held), default=0.0),
        bound=max((e.bound for e in held), default=0.0),
    )
    failing = [e for e in _coefficients(proof, order + 1) if e]
    if not failing:
        return replace(found, at_least=True)
    worst = max(failing, key=_size)
    norm = math.hypot(*map(_size, failing))
    return replace(found, next_residual=_size(worst), next_bound=worst.bound, principal_error_norm=norm)


def _coefficients(proof: Proof, q: int) -> Iterator[Rounded]:
    return (proof.expansion.coefficient(tree) for tree in proof.expansion.trees(q))


def _stiff(found: WithinRounding, proof: Proof) -> WithinRounding:
    if proof.form != "lambda":
        return found
    try:
        return replace(found, stiff=proof.stiff, weak_stiff=proof.weak_stiff)
    except TooCoarse as error:
        return replace(found, reason=f"stiff: {error}")


def _size(element: Any) -> float:
    return float(abs(element.value))


def _misprint(proof: Proof) -> str:
    """What is wrong with a row that nearly sums to its abscissa; empty where none does."""
    e = proof.expansion
    rows = zip(e.stages, e.abscissae[e.known :], strict=True)
    sums = [(i, sum((w for _, w in row[0]), -c)) for i, (row, c) in enumerate(rows, 1)]
    sums.append((0, sum((w for _, w in e.output[0]), -e.field.one)))
    for i, rest in sums:
        if i not in proof.unread and rest and _size(rest) < NEAR:
            row = f"the row of stage {i + 1}" if i else "the output row"
            return (
                f"{row} misses its sum by {_size(rest):.1e}, its rounding allows {rest.bound:.1e}: "
                "a digit is wrong"
            )
    return ""
