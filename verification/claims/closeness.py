"""Claims on samples, decided in distribution: cells that hold, fail or cannot be told apart.

A cell is a contest of two runs at equal evaluations (`distribution/contests.py`); which of them lies closer to
the exact law is told beyond three standard errors, or exactly where the laws are known.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from ..distribution.records import comparison_json
from ..distribution.results import Comparison, Order
from .claim import Decision


@dataclass(frozen=True)
class Cell:
    """A contest, and where it was held.  inside: it meets the condition that the claim may need."""

    where: str
    contest: Comparison
    inside: bool = False

    def row(self, holds: str) -> dict[str, Any]:
        """As JSON data."""
        return {"where": self.where, **comparison_json(self.contest), "holds": holds}

    def __str__(self) -> str:
        return f"{self.where}, {self.contest}"


def judged(cells: Iterable[Cell], good: Collection[Order], bad: Collection[Order]) -> Decision:
    """The verdict on a claim whose cells hold where the order is a good one and fail where it is a bad one.

    As of comparisons at equal evaluations: confirmed by all; without one that fails inconclusive; conditional
    where all that meet the condition hold, or no more fail than hold; else refuted.
    """
    found = list(cells)
    table = tuple(
        cell.row("yes" if cell.contest.order in good else "no" if cell.contest.order in bad else "open")
        for cell in found
    )
    holds, fails = ([c for c in found if c.contest.order in orders] for orders in (good, bad))
    count = f"{len(holds)} of {len(found)} contests hold, {len(fails)} fail"
    if len(holds) == len(found):
        return Decision("confirmed", f"{count}, such as {found[0]}", table)
    if not fails:
        unclear = next(c for c in found if c not in holds)
        return Decision("inconclusive", f"{count}; open: {unclear}", table)
    inside = [c for c in found if c.inside]
    if inside and all(c in holds for c in inside):
        text = f"under the condition all {len(inside)} hold, such as {inside[0]}"
        return Decision("conditional", f"{count}; {text}; without it: {fails[0]}", table)
    text = f"{count}; holds: {holds[0]}; counterexample: {fails[0]}" if holds else f"{count}: {fails[0]}"
    return Decision("refuted" if len(fails) > len(holds) else "conditional", text, table)
