"""The runner: tasks over any executor, each decided row at once, and kept where an interruption cannot take
it.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from concurrent.futures import Executor, Future, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from ..problems.cache import Cache, Memory, digest, fingerprint, folder, keeping

Row = dict[str, Any]
_MEMORY = Memory()


class Task(Protocol):
    """Something to decide, small enough to be sent to a worker.

    part: which table its row belongs to.  key: what tells it from the others of that part.  names: of the
    solvers and tableaux that it is about.
    """

    part: ClassVar[str]

    @property
    def key(self) -> str:
        """What tells the task from the others of its part."""

    @property
    def names(self) -> frozenset[str]:
        """The solvers and tableaux that the task is about, as far as they are known before it is run."""

    def run(self) -> Row:
        """The row, as JSON data."""


@dataclass(frozen=True)
class Named:
    """A task about one solver, tableau or claim, by its name."""

    name: str

    @property
    def key(self) -> str:
        """The name."""
        return self.name

    @property
    def names(self) -> frozenset[str]:
        """The name."""
        return frozenset({self.name})


class Expectation(Protocol):
    """What is expected of a solver."""

    @property
    def solver(self) -> str:
        """Its name."""


class Expected:
    """A task about the solver of an expectation."""

    expectation: Expectation

    @property
    def names(self) -> frozenset[str]:
        """The solver."""
        return frozenset({self.expectation.solver})


def run(task: Task, keep: bool = False, code: str | None = None) -> Row:
    """Run one task, on one thread: processes that share cores must not wait for each other.

    keep: whether reference solutions are kept in the user's cache folder and taken from there, or in this
    process alone.  code: the fingerprint that the row is to be decided by.
    Raises RuntimeError where this process holds other code.
    """
    from ..studies.threads import one_thread  # imports torch

    if code not in (None, fingerprint()):
        raise RuntimeError(f"{task.key}: this worker holds other code or other packages than what sent it")
    with one_thread(), keeping(Cache(folder() / "references") if keep else _MEMORY):
        return task.run()


def decide(
    tasks: Sequence[Task], executor: Executor, rows: Rows | None = None
) -> Generator[tuple[Task, Row], None, None]:
    """Every task with its row: first those that are known, then each as it is decided.

    What is not begun is given up where the caller stops, or a task raises.
    """
    waiting: dict[Future[Row], Task] = {}
    try:
        for task in tasks:
            row = None if rows is None else rows.get(task)
            if row is None:
                waiting[executor.submit(run, task, rows is not None, fingerprint())] = task
            else:
                yield task, row
        for future in as_completed(list(waiting)):
            task, row = waiting.pop(future), future.result()  # a row that is done is the caller's to keep
            if rows is not None:
                rows.add(task, row)
            yield task, row
    finally:
        for future in waiting:
            future.cancel()


class Rows:
    """Rows that are decided, by the hash of the task and of the code that decided them.

    root: the folder, `folder()/rows` where absent.  A row that is not of the task's part and key is none.
    """

    def __init__(self, root: Path | None = None) -> None:
        self._cache = Cache(folder() / "rows" if root is None else root)

    @property
    def path(self) -> Path:
        """Where they are."""
        return self._cache.path

    def get(self, task: Task) -> Row | None:
        """The row of a task; None where it is not decided."""
        match self._cache.get(digest(task)):
            case {"part": task.part, "key": task.key, "row": dict(row)}:
                return row
        return None

    def add(self, task: Task, row: Row) -> None:
        """Keep a row."""
        self._cache.put(digest(task), {"part": task.part, "key": task.key, "row": row})
