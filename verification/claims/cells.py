"""Claims about every cell of a table: which cells hold, which do not, and the verdict that follows.

One rule decides, and no cell is named by hand.  A claim that holds in all cells is confirmed.  Where none is
against it and some are open, it is inconclusive.  Else it is conditional on the `widest` range of cells in
which it holds throughout, and refuted where there is none, or where it holds in fewer cells than are against.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..distribution.experiment import SampledExperiment
from ..distribution.records import comparison_json
from ..distribution.results import Comparison, Order
from ..equal_nfe.errors import Held, Ratio
from ..problems.named import problem
from .claim import Decision, rounded

AGAINST: dict[Held, str] = {
    "no": "{} fail",
    "apart": "in {} the two measures disagree",
    "alike": "in {} the two are alike",
}
"""Cells in which a claim is seen not to hold, by both measures or by one; the clearest first."""
FEWEST = 3
"""Cells of a condition."""
WORDS = {
    "problem": "on {}",
    "grid": "on the grid {}",
    "setting": "with {}",
    "better": "for {}",
    "sde": "for {}",
    "predictor": "with {}",
    "ingredient": "of the {}",
    "level": "where {}",
    "lambda": "lambda {}",
    "component": "component {}",
    "nfe": "{} evaluations",
}
"""How a condition says what it asks of a cell."""


@dataclass(frozen=True)
class Cell:
    """One cell.

    text: what was compared and what was found.  holds: beyond the intervals, or why not.  margin: by how
    much, the larger the better for the claim.  at: its coordinates, words or numbers (`WORDS`), by which a
    condition is looked for.
    """

    text: str
    holds: Held
    margin: float
    data: dict[str, Any] = field(default_factory=dict)
    at: Mapping[str, str | float] = field(default_factory=dict)


def above(where: str, found: Ratio, factor: float = 1.0, **more: Any) -> Cell:
    """A ratio that lies above a factor where the claim holds; more: data, at of the cell."""
    data = more.pop("data", {"where": where})
    if math.isnan(found.value):
        return Cell(f"{where}: there is no ratio", "open", factor, data=data | ratio_json(found), **more)
    text = (
        f"{where}: ratio {found.value:.3g} in [{found.low:.3g}, {found.high:.3g}], of a typical state "
        f"{found.typical:.3g} in [{found.typical_low:.3g}, {found.typical_high:.3g}]"
    )
    return Cell(text, found.against(factor), found.value, data=data | ratio_json(found), **more)


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


def contest(where: str, found: Comparison, good: Order | None, bad: Sequence[Order], **more: Any) -> Cell:
    """A contest in distribution whose order is the good one where the claim holds, open where it is neither
    good nor bad; more: at.

    good: None where no order bears the claim out: two laws that are not told apart are not shown to be one.
    """
    holds: Held = "yes" if found.order == good else "no" if found.order in bad else "open"
    data = {"where": where} | comparison_json(found)
    margin = -abs(found.deviations) if good is None else -found.deviations
    return Cell(f"{where}, {found}", holds, margin, data=data, **more)


def closer(
    against: Callable[[SampledExperiment], Iterable[Comparison]],
    better: Callable[[Comparison], str] | None = None,
) -> Decision:
    """Whether the first of each comparison is closer in distribution, where laws are drawn and where they are
    known.

    against: the comparisons on an experiment.  better: what a condition calls one, where there are several.
    """
    cells = []
    for name in ("golden-mixture", "gaussian"):
        for row in against(SampledExperiment(problem(name))):
            told = {} if better is None else {"better": better(row)}
            at = {"problem": name} | told | {"nfe": row.nfe}
            cells.append(contest(name, row, "closer", ["further"], at=at))
    return judged(cells)


def judged(cells: Sequence[Cell]) -> Decision:
    """The verdict on a claim about all of the cells, and the condition where it is conditional."""
    holds, open_cells = ([c for c in cells if c.holds == kind] for kind in ("yes", "open"))
    against = [c for kind in AGAINST for c in cells if c.holds == kind]
    counts = ((kind, sum(c.holds == kind for c in cells)) for kind in AGAINST)
    parts = [f"{len(holds)} of {len(cells)} cells hold"]
    count = ", ".join(parts + [AGAINST[kind].format(n) for kind, n in counts if n or kind == "no"])
    if len(holds) == len(cells):
        return Decision("confirmed", f"{count}; the least: {_least(holds)}", _table(cells))
    found = widest(cells)
    throughout = (
        f"{found.text}: all {len(found.cells)} hold, the least: {_least(found.cells)}" if found else ""
    )
    inside = found.cells if found else ()
    if not against:
        text = "; ".join(filter(None, [count, throughout, f"open: {_least(open_cells)}"]))
        return Decision("inconclusive", text, _table(cells, inside))
    if found is None or len(holds) < len(against):
        text = "; ".join(filter(None, [count, f"counterexample: {_clearest(against)}", throughout]))
        return Decision("refuted", text, _table(cells, inside))
    text = f"{count}; {throughout}; without it: {_clearest(against)}"
    return Decision("conditional", text, _table(cells, inside), found.text)


def _table(cells: Iterable[Cell], inside: Sequence[Cell] = ()) -> tuple[dict[str, Any], ...]:
    """As JSON data; inside: in the widest range in which the claim holds throughout."""
    return tuple(c.data | {"holds": c.holds, "inside": any(c is i for i in inside)} for c in cells)


def _least(cells: Iterable[Cell]) -> str:
    return min(cells, key=lambda cell: cell.margin).text


def _clearest(against: Sequence[Cell]) -> str:
    """Of the cells against a claim, sorted as in `AGAINST`."""
    return _least(c for c in against if c.holds == against[0].holds)


@dataclass(frozen=True)
class Condition:
    """What some of the cells have in common, in words."""

    text: str
    cells: tuple[Cell, ...]


def widest(cells: Sequence[Cell]) -> Condition | None:
    """The condition of some words, or one range of numbers, in each coordinate under which a claim holds in
    all cells, and in the most of them: `FEWEST` at least.  Of several the one that asks for the least, and
    of what one chooses (grid, sampler, budget) rather than of the problem.
    """
    keys = [key for key in WORDS if all(key in cell.at for cell in cells)]
    every = [_values(key, cells) for key in keys]
    holds = _mask(cell.holds == "yes" for cell in cells)
    options = [
        [(values, _mask(cell.at[key] in values for cell in cells)) for values in _choices(known)]
        for key, known in zip(keys, every)
    ]
    best: tuple[tuple[int, ...], Sequence[tuple[Any, ...]], int] | None = None
    for chosen in itertools.product(*options):
        inside = (1 << len(cells)) - 1
        for _, mask in chosen:
            inside &= mask
        if inside & ~holds or inside.bit_count() < FEWEST:
            continue
        left = {k: len(known) - len(values) for k, known, (values, _) in zip(keys, every, chosen)}
        rank = (
            inside.bit_count(),
            -sum(map(bool, left.values())),
            -left.get("problem", 0),
            -sum(left.values()),
        )
        if best is None or rank > best[0]:
            best = rank, [values for values, _ in chosen], inside
    if best is None:
        return None
    text = ", ".join(_words(keys, best[1], every))
    return Condition(text, tuple(c for i, c in enumerate(cells) if best[2] >> i & 1))


def _mask(flags: Iterable[bool]) -> int:
    return sum(1 << i for i, flag in enumerate(flags) if flag)


def _values(key: str, cells: Sequence[Cell]) -> tuple[Any, ...]:
    found: dict[Any, None] = dict.fromkeys(cell.at[key] for cell in cells)
    return tuple(found) if any(isinstance(value, str) for value in found) else tuple(sorted(found))


def _choices(values: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """Every choice of words, or every range of numbers."""
    if any(isinstance(value, str) for value in values):
        for count in range(1, len(values) + 1):
            yield from itertools.combinations(values, count)
        return
    for low, high in itertools.combinations(range(len(values) + 1), 2):
        yield values[low:high]


def _words(
    keys: Sequence[str], chosen: Sequence[tuple[Any, ...]], every: Sequence[tuple[Any, ...]]
) -> Iterator[str]:
    """What a condition asks for."""
    for key, values, known in zip(keys, chosen, every):
        if values == known:
            continue
        if isinstance(values[0], str):
            yield WORDS[key].format(" and ".join(values))
            continue
        bounds = [f"from {values[0]:g}"] if values[0] != known[0] else []
        bounds += [f"up to {values[-1]:g}"] if values[-1] != known[-1] else []
        yield WORDS[key].format(f"at {values[0]:g}" if len(values) == 1 else " ".join(bounds))
