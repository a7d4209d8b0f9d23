"""What a verification run decides: everything, or what bears on some names, beside rows that are there."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from semilinear.integrators.common.files import read_json

from ..claims.identities import IDENTITIES, Identity
from ..problems.cache import environment
from ..replay.golden import DATA, replay_file
from . import measure, prove, work
from .runner import Row, Task


@dataclass(frozen=True)
class ReplayTask:
    """The cases of one golden file."""

    key: str
    part: ClassVar[str] = "replay"
    names: ClassVar[frozenset[str]] = frozenset()  # a file's cases tell, once they are replayed

    def run(self) -> Row:
        """The cases, as JSON data."""
        return {"cases": [case.data | {"file": self.key} for case in replay_file(DATA / self.key)]}


@dataclass(frozen=True)
class IdentityTask:
    """One identity of two solvers, by its statement."""

    key: str
    part: ClassVar[str] = "identities"

    @property
    def names(self) -> frozenset[str]:
        """The two solvers."""
        identity = _identities()[self.key]
        return frozenset({identity.a().name, identity.b().name})

    def run(self) -> Row:
        """The identity with its verdict, as JSON data."""
        return _identities()[self.key].row()


@cache
def _identities() -> dict[str, Identity]:
    return {identity.statement: identity for identity in IDENTITIES}


def tasks(quick: bool) -> list[Task]:
    """Everything that a run decides, in the order in which it is begun."""
    files = [ReplayTask(path.name) for path in sorted(DATA.glob("*.json"))]
    identities = map(IdentityTask, _identities())
    return [*measure.tasks(quick), *files, *identities, *prove.tasks(quick), *work.tasks(quick)]


def about(planned: Sequence[Task], names: Collection[str], reports: Reports) -> list[Task]:
    """The tasks about some names, and the files in which reports hold a case of theirs.

    Raises ValueError for a name that none is about.
    """
    bears_on = {task: task.names | reports.replayed(task) for task in planned}
    chosen = [task for task in planned if bears_on[task] & set(names)]
    if missing := sorted(set(names).difference(*(bears_on[task] for task in chosen))):
        raise ValueError(f"nothing is measured or proved of {', '.join(missing)}")
    return chosen


class ReportError(ValueError):
    """Files that are no full reports, or were decided elsewhere."""


class Reports:
    """The full reports that stand in a folder.

    Raises ReportError (a ValueError) for files that are none.
    """

    def __init__(self, folder: Path) -> None:
        self.orders, self.proofs, self.work = (
            read_json(path, ReportError, _report) if path.exists() else {}
            for path in (folder / f"{name}.json" for name in ("orders", "proofs", "work-precision"))
        )
        if self.orders.get("quick"):
            raise ReportError(f"{folder}/orders.json is of a quick run: full reports are needed")
        try:
            self._rows = dict(self._found())
        except (KeyError, TypeError, AttributeError) as error:
            raise ReportError(f"the reports in {folder} are not of this kind: {error!r}") from error

    def check_environment(self) -> None:
        """Raise ReportError where other packages, or another Python, decided the rows."""
        here = environment()
        there = {key: self.orders.get(key) for key in here}
        if self.orders and here != there:
            differs = {key: there[key] for key in here if here[key] != there[key]}
            raise ReportError(
                f"the rows were decided with {differs}: run `semilinear verify` for all of them"
            )

    def rows(self, planned: Sequence[Task]) -> Iterator[tuple[Task, Row]]:
        """The tasks that the reports hold rows of, with these."""
        for task in planned:
            if (row := self._rows.get((task.part, task.key))) is not None:
                yield task, row

    def replayed(self, task: Task) -> frozenset[str]:
        """The solvers of which a task's row holds replayed cases."""
        cases = self._rows.get((task.part, task.key), {}).get("cases", [])
        return frozenset(case["ours"].partition(" ")[0] for case in cases)

    def _found(self) -> Iterator[tuple[tuple[str, str], Row]]:
        for row in self.orders.get("rows", ()):
            yield ("rows", f"{row['setting']}: {row['solver']}"), row
        for row in self.orders.get("identities", ()):
            yield ("identities", row["statement"]), row
        for part in ("stochastic", "grids"):
            for row in self.orders.get(part, ()):
                yield (part, row["solver"]), row
        files: dict[str, list[Any]] = {}
        for case in self.orders.get("replay", ()):
            files.setdefault(case["file"], []).append(case)
        for name, cases in files.items():
            yield ("replay", name), {"cases": cases}
        for part, key in prove.KEYS.items():
            for row in self.proofs.get(part, ()):
                yield (part, key(row)), row
        for row in self.work.get("rows", ()):
            yield (work.PART, row["solver"]), row


def _report(data: Any) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise ReportError(f"a report is an object, got {type(data).__name__}")
    return data
