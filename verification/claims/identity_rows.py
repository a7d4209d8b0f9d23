"""Claims that methods are one: the identities, each a claim, and what points at them by their statements."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

from .claim import Claim, Decision, Kind
from .identities import IDENTITIES, Identity

ASSUMES = "every grid and every model; every schedule unless one is named"


@cache
def by_statement() -> dict[str, Identity]:
    """The identities."""
    return {i.statement: i for i in IDENTITIES}


@dataclass(frozen=True)
class Same:
    """Identities, by their statements, all of which must hold."""

    statements: tuple[str, ...]
    kind: ClassVar[Kind] = "identity"

    def decide(self) -> Decision:
        """Proved by equality of exact coefficients, or refuted by the first that differs."""
        for statement in self.statements:
            if defects := by_statement()[statement].defects():
                return Decision("refuted", f"{statement}: {defects[0]}")
        return Decision("proved", f"exact coefficients are equal: {'; '.join(self.statements)}")


def same(*statements: str) -> Same:
    """Decided by identities."""
    return Same(statements)


def _id(statement: str) -> str:
    words = re.sub(r"[^a-z0-9+]+", "-", statement.lower().replace("=", "is")).strip("-")
    return f"{words}-identity"


def rows() -> tuple[Claim, ...]:
    """A claim for every identity, under the paper of its second solver."""
    found = []
    for statement, identity in by_statement().items():
        solver = identity.b()
        found.append(
            Claim(
                _id(statement),
                solver.paper,
                solver.source,
                statement,
                same(statement),
                "proved",
                assumes=ASSUMES,
                quick=not statement.startswith(SLOW),
                listed=True,
            )
        )
    return tuple(found)


SLOW = ("dpm-solver-v3-3",)
"""Identities that take several seconds."""
