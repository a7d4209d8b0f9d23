"""What a verification run decides: everything, or what bears on some names, beside rows that are there."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ..replay.golden import DATA, case_json, replay_file
from . import measure, prove
from .runner import Row, Task


@dataclass(frozen=True)
class ReplayTask:
    """The cases of one golden file."""

    key: str
    part: ClassVar[str] = "replay"

    def run(self) -> Row:
        """The cases, as JSON data."""
        return {"cases": [case_json(case) for case in replay_file(DATA / self.key)]}


def tasks(quick: bool) -> list[Task]:
    """Everything that a run decides, in the order in which it is begun."""
    files = [ReplayTask(path.name) for path in sorted(DATA.glob("*.json"))]
    return [*measure.tasks(quick), *files, *prove.tasks(quick)]


def names_of(task: Task) -> set[str]:
    """The solvers and tableaux that a task is about."""
    named = getattr(task, "expectation", None)
    found = {getattr(named, "solver", None), getattr(task, "name", None)}
    return {name for name in found if name is not None}


def about(planned: Sequence[Task], names: Collection[str]) -> list[Task]:
    """The tasks about some names.

    Raises ValueError for a name that none is about.
    """
    chosen = [task for task in planned if names_of(task) & set(names)]
    known = {name for task in chosen for name in names_of(task)}
    if missing := sorted(set(names) - known):
        raise ValueError(f"nothing is measured or proved of {', '.join(missing)}")
    return chosen


def committed(folder: Path, planned: Sequence[Task]) -> Iterator[tuple[Task, Row]]:
    """The tasks that reports in a folder hold rows of, with these."""
    rows = dict(_rows(folder))
    for task in planned:
        if (row := rows.get((task.part, task.key))) is not None:
            yield task, row


def _rows(folder: Path) -> Iterator[tuple[tuple[str, str], Row]]:
    orders, proofs = (_json(folder / name) for name in ("orders.json", "proofs.json"))
    for row in orders.get("rows", ()):
        yield ("rows", f"{row['setting']}: {row['solver']}"), row
    for row in orders.get("stochastic", ()):
        yield ("stochastic", row["solver"]), row
    files: dict[str, list[Any]] = {}
    for case in orders.get("replay", ()):
        files.setdefault(Path(case["file"]).name, []).append(case)
    for name, cases in files.items():
        yield ("replay", name), {"cases": cases}
    for part, key in prove.KEYS.items():
        for row in proofs.get(part, ()):
            yield (part, key(row)), row


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
