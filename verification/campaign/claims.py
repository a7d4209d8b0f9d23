"""Claims as tasks: what is sent to a worker, and the row that comes back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..claims.ledger import decide, ledger
from .runner import Row


@dataclass(frozen=True)
class ClaimTask:
    """One claim of the ledger, by its id."""

    key: str
    part: ClassVar[str] = "claims"

    @property
    def names(self) -> frozenset[str]:
        """The claim."""
        return frozenset({self.key})

    def run(self) -> Row:
        """The decided claim, as JSON data; an exception while deciding is in it."""
        return decide(ledger()[self.key]).row()
