"""Claims about every cell of a table: which cells hold, which fail, and the verdict that follows.

As of comparisons at equal evaluations: confirmed by all; without one that fails inconclusive; conditional
where all that meet the condition hold, or no more fail than hold; else refuted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..distribution.records import comparison_json
from ..distribution.results import Comparison, Order
from ..studies.equal_nfe import Ratio
from .claim import Decision, Verdict, rounded

HOLDS = {True: "yes", False: "no", None: "open"}


@dataclass(frozen=True)
class Cell:
    """One cell.

    text: what was compared and what was found.  holds: beyond the interval; None inside it.  margin: by how
    much, the larger the better for the claim.  inside: it meets the condition that the claim may need.
    """

    text: str
    holds: bool | None
    margin: float
    inside: bool = False
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def row(self) -> dict[str, Any]:
        """As JSON data."""
        return self.data | {"holds": HOLDS[self.holds], "inside": self.inside}


def above_one(where: str, found: Ratio, inside: bool = False) -> Cell:
    """A ratio that is above 1 where the claim holds."""
    holds = True if found.low > 1 else False if found.high < 1 else None
    text = f"{where}: {found.value:.3g} times, in [{found.low:.3g}, {found.high:.3g}]"
    data = {"ratio": rounded(found.value), "low": rounded(found.low), "high": rounded(found.high)}
    return Cell(text, holds, found.value, inside, {"where": where} | data)


def contest(where: str, found: Comparison, good: Order, bad: Sequence[Order], inside: bool = False) -> Cell:
    """A contest in distribution whose order is the good one where the claim holds."""
    holds = True if found.order == good else False if found.order in bad else None
    data = {"where": where} | comparison_json(found)
    margin = -abs(found.deviations) if good == "not distinguishable" else -found.deviations
    return Cell(f"{where}, {found}", holds, margin, inside, data)


def judged(cells: Sequence[Cell]) -> Decision:
    """The verdict on a claim about all of the cells."""
    table = tuple(cell.row for cell in cells)
    holds, fails = ([c for c in cells if c.holds is kind] for kind in (True, False))
    count = f"{len(holds)} of {len(cells)} cells hold, {len(fails)} fail"
    if len(holds) == len(cells):
        return Decision("confirmed", f"{count}; the least: {_least(holds)}", table)
    if not fails:
        return Decision("inconclusive", f"{count}; open: {_least(cells)}", table)
    inside = [c for c in cells if c.inside]
    if inside and all(c.holds for c in inside):
        text = f"under the condition all {len(inside)} hold, the least: {_least(inside)}"
        return Decision("conditional", f"{count}; {text}; without it: {_least(fails)}", table)
    verdict: Verdict = "refuted" if len(fails) > len(holds) else "conditional"
    return Decision(verdict, f"{count}; counterexample: {_least(fails)}", table)


def _least(cells: Sequence[Cell]) -> str:
    return min(cells, key=lambda cell: cell.margin).text
