"""The ledger: every claim by its id, and what deciding them again gives."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from semilinear.integrators.common import checks
from semilinear.integrators.common.files import Written, read_json

from ..studies.progress import Progress
from . import identity_rows, orders
from .claim import Claim, Decision
from .ids import matching
from .papers import deis, dpm_solver, dpm_solver_v3, er_sde, scire, score_sde, spanning, successors
from .reported import REPORTED

SCHEMA = "semilinear-claims/2"
ROW = ("id", "paper", "statement", "assumes", "by", "found", "found_condition", "evidence", "table", "error")
"""What a decided row holds besides what the ledger says again."""
PAPERS = (dpm_solver, deis, scire, er_sde, dpm_solver_v3, score_sde, spanning, successors)


@cache
def ledger() -> dict[str, Claim]:
    """Every claim: those written by hand, paper by paper, then those made from lists.

    Raises ValueError for an id that occurs twice.
    """
    written = [claim for paper in PAPERS for claim in paper.CLAIMS]
    found: dict[str, Claim] = {}
    for claim in (*written, *orders.rows(), *identity_rows.rows()):
        if claim.id in found:
            raise ValueError(f"two claims have the id {claim.id!r}")
        found[claim.id] = claim
    return found


def chosen(patterns: Iterable[str] = (), quick: bool = False) -> tuple[Claim, ...]:
    """The claims whose ids match one of the patterns (all, where there are none), in the ledger's order.

    patterns: ids, or globs such as "scire-*".  quick: of these only the quick ones.
    Raises ValueError for a pattern that matches none.
    """
    patterns = tuple(patterns)
    for pattern in patterns:
        checks.instance("pattern", pattern, str)
    found = [ledger()[name] for name in matching(patterns, ledger())]
    return tuple(claim for claim in found if claim.quick or not quick)


@dataclass(frozen=True)
class Decided(Written):
    """A claim and what deciding it gave; error: what was raised instead of a decision."""

    claim: Claim
    decision: Decision | None
    error: str = ""

    @property
    def agrees(self) -> bool:
        """Whether the verdict and its condition are those that are recorded."""
        found = self.decision
        return found is not None and _agree(self.claim, found.verdict, found.condition)

    def __str__(self) -> str:
        found = self.error or f"{self.verdict}: {self.evidence}"
        differs = "" if self.agrees else f" (recorded: {self.claim.verdict}{_under(self.claim.condition)})"
        return f"{self.claim.id}: {found}{differs}"

    @property
    def verdict(self) -> str:
        """The verdict that was found; "failed" where none was."""
        return "failed" if self.decision is None else self.decision.verdict

    @property
    def evidence(self) -> str:
        """What it rests on."""
        return self.error if self.decision is None else self.decision.evidence

    @property
    def data(self) -> dict[str, Any]:
        """As JSON data: the row of a report."""
        return self.row()

    def row(self) -> dict[str, Any]:
        """As JSON data."""
        return record(self.claim) | {
            "found": self.verdict,
            "found_condition": "" if self.decision is None else self.decision.condition,
            "agrees": self.agrees,
            "evidence": self.evidence,
            "table": [] if self.decision is None else list(self.decision.table),
            "error": self.error,
        }


def _agree(claim: Claim, verdict: str, condition: str) -> bool:
    return (verdict, condition) == (claim.verdict, claim.condition)


def _under(condition: str) -> str:
    return f", {condition}" if condition else ""


def decide(claim: Claim) -> Decided:
    """Decide a claim; whatever is raised meanwhile is a failed check with its message."""
    try:
        return Decided(claim, claim.decide())
    except Exception as error:
        return Decided(claim, None, f"{type(error).__name__}: {error}")


def record(claim: Claim) -> dict[str, Any]:
    """What is recorded of a claim, as JSON data."""
    return {
        "id": claim.id,
        "paper": claim.paper,
        "place": claim.place,
        "statement": claim.statement,
        "assumes": claim.assumes,
        "by": claim.kind,
        "verdict": claim.verdict,
        "condition": claim.condition,
        "why": claim.why,
        "quick": claim.quick,
        "listed": claim.listed,
    }


def claims(*patterns: str, quick: bool = False, progress: Progress | None = None) -> tuple[Decided, ...]:
    """Decide claims of the ledger anew: each with its verdict, its evidence, and whether it `agrees`.

    patterns: ids, or globs such as "deis-*"; all claims where there are none.  quick: only those that take
    no more than seconds.  progress: called with (claims decided, claims in all).
    Raises ValueError for a pattern that matches none.
    """
    selected, found = chosen(patterns, quick), []
    for claim in selected:
        found.append(decide(claim))
        if progress is not None:
            progress(len(found), len(selected))
    return tuple(found)


class ReportError(ValueError):
    """A report of claims that cannot be gone on with; the message says why."""


def earlier(path: str | os.PathLike[str], ids: Collection[str]) -> list[dict[str, Any]]:
    """The rows of an earlier report of all claims but those that are decided anew, as they are recorded now.

    ids: of those that are.  Raises ReportError where the file is no report, lacks another claim of the ledger
    or states it otherwise; OSError where it cannot be read.
    """
    known = {row["id"]: row for row in read_json(path, ReportError, _rows)}
    found, missing = [], []
    for claim in ledger().values():
        if claim.id in ids:
            continue
        told, row = record(claim), known.get(claim.id)
        if row is None or any(row[key] != told[key] for key in ("statement", "assumes", "by", "paper")):
            missing.append(claim.id)
        else:
            found.append(row | told | {"agrees": _agree(claim, row["found"], row["found_condition"])})
    if missing:
        raise ReportError(f"claims must be decided that {path} does not hold: {' '.join(missing)}")
    return found


def _rows(data: Any) -> list[dict[str, Any]]:
    """The rows in a report's data."""
    rows = data.get("claims") if isinstance(data, dict) else None
    keys = set(ROW)
    if not isinstance(rows, list) or not all(isinstance(row, dict) and keys <= row.keys() for row in rows):
        raise ReportError(f"not a report of `semilinear claims`: claims must be rows of {', '.join(ROW)}")
    return rows


def whole(rows: Iterable[dict[str, Any]], before: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows that were decided now and those of an `earlier` report, in the ledger's order."""
    known = {row["id"]: row for row in (*before, *rows)}
    return [known[name] for name in ledger() if name in known]


def claims_json(rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """A report of decided rows, with the figures that are not reproduced."""
    reported = [r._asdict() | {"figures": {str(k): v for k, v in r.figures.items()}} for r in REPORTED]
    return {"schema": SCHEMA, "claims": list(rows), "not_reproduced": reported}
