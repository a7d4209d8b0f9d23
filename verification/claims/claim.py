"""A claim of a paper as a record: what is said, what decides it, and the verdict that stands.

proved        follows from exact coefficients or exact mathematics
confirmed     holds wherever it was looked at, beyond the intervals
conditional   holds under a condition that the claim does not name, and not without it
refuted       fails where the claim says that it holds: the evidence names the counterexample
inconclusive  nothing is against it, and it is not known to hold everywhere
untestable    needs what is not here; the record says what
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

Verdict = Literal["proved", "confirmed", "conditional", "refuted", "inconclusive", "untestable"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
"""The best first."""
Kind = Literal["proof", "order", "identity", "equal NFE", "statistic", "nothing"]


@dataclass(frozen=True)
class Decision:
    """What deciding a claim gave.

    evidence: in a line, with its numbers.  table: the numbers behind it, rows of JSON data.  condition: under
    which the claim holds, of a conditional verdict alone.
    """

    verdict: Verdict
    evidence: str
    table: tuple[dict[str, Any], ...] = ()
    condition: str = ""

    def __post_init__(self) -> None:
        _one_condition(self.verdict, self.condition)


def _one_condition(verdict: Verdict, condition: str) -> None:
    if (verdict == "conditional") != bool(condition):
        raise ValueError(f"condition must be given with a conditional verdict and no other, got {verdict!r}")


class Decider(Protocol):
    """What decides a claim."""

    @property
    def kind(self) -> Kind:
        """What sort of evidence it gives."""

    def decide(self) -> Decision:
        """Decide, from nothing that is recorded."""


@dataclass(frozen=True)
class Claim:
    """One checkable statement.

    id: unique, begins with the paper's prefix.  paper: as `Solver.paper` has it.  place: where it stands.
    statement: in our words.  by: what decides it; None for the untestable.  verdict: as it is recorded.
    condition: under which it holds, as what decides it says it, of a conditional verdict alone.  why: the
    reason, or what is missing.  assumes: what the claim takes for granted, and what
    the decision adds to it.  quick: within a few seconds of CPU.  listed: made from a list of solvers or
    identities, not written by hand.
    """

    id: str
    paper: str
    place: str
    statement: str
    by: Decider | None
    verdict: Verdict
    why: str = ""
    assumes: str = ""
    quick: bool = True
    listed: bool = False
    condition: str = ""

    def __post_init__(self) -> None:
        if (self.by is None) != (self.verdict == "untestable"):
            raise ValueError(f"{self.id}: what is untestable has nothing that decides it, all else has")
        _one_condition(self.verdict, self.condition)
        if self.verdict in ("refuted", "untestable") and not self.why:
            raise ValueError(f"{self.id}: why must say what a verdict {self.verdict!r} rests on")

    @property
    def kind(self) -> Kind:
        """What sort of evidence decides it."""
        return "nothing" if self.by is None else self.by.kind

    def decide(self) -> Decision:
        """Decide it anew; the untestable stays so."""
        return Decision("untestable", self.why) if self.by is None else self.by.decide()


@dataclass(frozen=True)
class Computed:
    """A claim that a function of its own decides."""

    kind: Kind
    function: Callable[[], Decision]

    def decide(self) -> Decision:
        """What the function returns."""
        return self.function()


def proof(function: Callable[[], Decision]) -> Computed:
    """Decided by exact mathematics."""
    return Computed("proof", function)


def statistic(function: Callable[[], Decision]) -> Computed:
    """Decided by numbers with their uncertainty."""
    return Computed("statistic", function)


def weakest(verdicts: Iterable[Verdict]) -> Verdict:
    """The verdict on a claim that several findings must bear out: one that refutes it suffices."""
    found = list(verdicts)
    return "refuted" if "refuted" in found else max(found, key=VERDICTS.index)


def rounded(value: float, digits: int = 4) -> float:
    """A number for a report, to so many significant digits."""
    return float(f"{value:.{digits}g}")
