"""Claims as tasks: what is sent to a worker, and the row that comes back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..claims.ledger import decide, ledger
from .runner import Named, Row


@dataclass(frozen=True)
class ClaimTask(Named):
    """One claim of the ledger, by its id."""

    part: ClassVar[str] = "claims"

    def run(self) -> Row:
        """The decided claim, as JSON data; an exception while deciding is in it."""
        return decide(ledger()[self.key]).row()
