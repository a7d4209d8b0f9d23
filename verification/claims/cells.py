"""Claims about every cell of a table: which cells hold, which fail, and the verdict that follows.

One cell that fails is a counterexample to "always": the claim is then conditional on the cells named with it,
or on the widest range of them in which it always holds, and refuted where there is none.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..distribution.records import comparison_json
from ..distribution.results import Comparison, Order
from ..equal_nfe.errors import Ratio
from .claim import Decision, rounded

HOLDS = {True: "yes", False: "no", None: "open"}
FEWEST = 3
"""Cells of a condition that was looked for."""
WORDS = {"problem": "on {}", "grid": "on the grid {}", "better": "for {}", "nfe": "{} evaluations"}
"""How a condition says what it asks of a cell."""


@dataclass(frozen=True)
class Cell:
    """One cell.

    text: what was compared and what was found.  holds: beyond the interval; None inside it.  margin: by how
    much, the larger the better for the claim.  inside: it meets the condition that the claim may need.  at:
    its coordinates, words or numbers, by which a condition is looked for (`WORDS`).
    """

    text: str
    holds: bool | None
    margin: float
    inside: bool = False
    data: dict[str, Any] = field(default_factory=dict)
    at: Mapping[str, str | float] = field(default_factory=dict)

    @property
    def row(self) -> dict[str, Any]:
        """As JSON data."""
        return self.data | {"holds": HOLDS[self.holds], "inside": self.inside}


def above(where: str, found: Ratio, factor: float = 1.0, **more: Any) -> Cell:
    """A ratio that lies above a factor where the claim holds; more: inside, data, at of the cell."""
    data = more.pop("data", {"where": where})
    if math.isnan(found.value):
        return Cell(f"{where}: there is no ratio", None, factor, data=data | ratio_json(found), **more)
    text = (
        f"{where}: ratio {found.value:.3g} in [{found.low:.3g}, {found.high:.3g}], of a typical state "
        f"{found.typical:.3g} in [{found.typical_low:.3g}, {found.typical_high:.3g}]"
    )
    holds = {word: kind for kind, word in HOLDS.items()}[found.against(factor)]
    return Cell(text, holds, found.value, data=data | ratio_json(found), **more)


def ratio_json(found: Ratio) -> dict[str, Any]:
    """A ratio as JSON data."""
    typical = (found.typical, found.typical_low, found.typical_high)
    named = {"ratio": found.value, "low": found.low, "high": found.high}
    return {key: finite(v) for key, v in named.items()} | {"typical": [finite(v) for v in typical]}


HUGE = 1e300
"""For an error that left the numbers, which JSON has no word for."""


def finite(value: float) -> float | None:
    """A number for a report."""
    if math.isnan(value):
        return None
    return rounded(value) if math.isfinite(value) else math.copysign(HUGE, value)


def contest(where: str, found: Comparison, good: Order, bad: Sequence[Order], **more: Any) -> Cell:
    """A contest in distribution whose order is the good one where the claim holds; more: inside, at."""
    holds = True if found.order == good else False if found.order in bad else None
    data = {"where": where} | comparison_json(found)
    margin = -abs(found.deviations) if good == "not distinguishable" else -found.deviations
    return Cell(f"{where}, {found}", holds, margin, data=data, **more)


def judged(cells: Sequence[Cell], condition: str = "") -> Decision:
    """The verdict on a claim about all of the cells; condition: what those inside have in common."""
    table = tuple(cell.row for cell in cells)
    holds, fails = ([c for c in cells if c.holds is kind] for kind in (True, False))
    count = f"{len(holds)} of {len(cells)} cells hold, {len(fails)} fail"
    if len(holds) == len(cells):
        return Decision("confirmed", f"{count}; the least: {_least(holds)}", table)
    if not fails:
        return Decision(
            "inconclusive", f"{count}; open: {_least([c for c in cells if c.holds is None])}", table
        )
    named = Condition(condition or "under the condition", tuple(c for c in cells if c.inside))
    for found in (named, widest(cells)):
        if found is not None and found.cells and all(c.holds for c in found.cells):
            text = f"{found.text}: all {len(found.cells)} hold, the least: {_least(found.cells)}"
            return Decision("conditional", f"{count}; {text}; without it: {_least(fails)}", table)
    return Decision("refuted", f"{count}; counterexample: {_least(fails)}", table)


def _least(cells: Sequence[Cell]) -> str:
    return min(cells, key=lambda cell: cell.margin).text


@dataclass(frozen=True)
class Condition:
    """What some of the cells have in common, in words."""

    text: str
    cells: tuple[Cell, ...]


def widest(cells: Sequence[Cell]) -> Condition | None:
    """The condition of one word, or one range of numbers, in each coordinate under which a claim holds in all
    cells, and in the most of them.

    None where a claim fails in more cells than it holds in, or no condition has `FEWEST` of them: then it
    would say less for the claim than the others say against it.
    """
    held, failed = (sum(cell.holds is kind for cell in cells) for kind in (True, False))
    if held < failed:
        return None
    keys = [key for key in WORDS if all(key in cell.at for cell in cells)]
    best: Condition | None = None
    for chosen in itertools.product(*(list(_choices(key, cells)) for key in keys)):
        inside = tuple(c for c in cells if all(v in values for v, values in zip(_at(c, keys), chosen)))
        more = len(inside) >= FEWEST and (best is None or len(inside) > len(best.cells))
        if more and all(cell.holds for cell in inside):
            best = Condition(", ".join(_words(keys, chosen, cells)), inside)
    return best


def _at(cell: Cell, keys: Sequence[str]) -> list[str | float]:
    return [cell.at[key] for key in keys]


def _values(key: str, cells: Sequence[Cell]) -> tuple[Any, ...]:
    found: dict[Any, None] = dict.fromkeys(cell.at[key] for cell in cells)
    return tuple(found) if any(isinstance(value, str) for value in found) else tuple(sorted(found))


def _choices(key: str, cells: Sequence[Cell]) -> Iterator[tuple[Any, ...]]:
    """All values first, then one word each, or every shorter range of numbers."""
    values = _values(key, cells)
    yield values
    if any(isinstance(value, str) for value in values):
        yield from ((value,) for value in values)
        return
    for low, high in itertools.combinations(range(len(values) + 1), 2):
        if high - low < len(values):
            yield values[low:high]


def _words(keys: Sequence[str], chosen: Sequence[tuple[Any, ...]], cells: Sequence[Cell]) -> Iterator[str]:
    """What a condition asks for."""
    for key, values in zip(keys, chosen):
        every = _values(key, cells)
        if values == every:
            continue
        if isinstance(values[0], str):
            yield WORDS[key].format(values[0])
            continue
        bounds = [f"from {values[0]:g}"] if values[0] != every[0] else []
        bounds += [f"up to {values[-1]:g}"] if values[-1] != every[-1] else []
        yield WORDS[key].format(" ".join(bounds))
