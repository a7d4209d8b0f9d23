"""The runner: tasks over any executor, each decided row at once, and kept where an interruption cannot take
it.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Generator, Sequence
from concurrent.futures import Executor, Future, as_completed
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Protocol, TextIO

Row = dict[str, Any]
PACKAGES = ("semilinear", "torch", "numpy", "scipy", "sympy", "mpmath")


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


def run(task: Task) -> Row:
    """Run one task, on one thread: processes that share cores must not wait for each other."""
    from ..studies.threads import one_thread  # imports torch

    with one_thread():
        return task.run()


def decide(
    tasks: Sequence[Task], executor: Executor, store: Store | None = None
) -> Generator[tuple[Task, Row], None, None]:
    """Every task with its row: first those that are in the store, then each as it is decided.

    What is not begun is given up where the caller stops, or a task raises.
    """
    waiting: dict[Future[Row], Task] = {}
    for task in tasks:
        row = None if store is None else store.get(task)
        if row is None:
            waiting[executor.submit(run, task)] = task
        else:
            yield task, row
    try:
        for future in as_completed(waiting):
            task, row = waiting[future], future.result()
            if store is not None:
                store.add(task, row)
            yield task, row
    finally:
        for future in waiting:
            future.cancel()


class Store:
    """Rows that are decided, a line of JSON each, for the source and the packages that decided them.

    path: of the file; one that other source or other packages wrote is begun anew.  Lines that an
    interruption cut are left out.  Raises ValueError while another run writes into the same file.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._rows = path, dict[tuple[str, str], Row]()
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
        mark = json.dumps({"fingerprint": fingerprint()})
        if lines[:1] == [mark]:
            for line in lines[1:]:
                match _read(line):
                    case {"part": str(part), "key": str(key), "row": dict(row)}:
                        self._rows[part, key] = row
        self._stream = path.open("a", encoding="utf-8")
        if not _locked(self._stream):
            self._stream.close()
            raise ValueError(f"another run is writing into {path}")
        self._stream.truncate(0)
        self._write(mark)
        for (part, key), row in self._rows.items():
            self._write(_line(part, key, row))

    def __len__(self) -> int:
        return len(self._rows)

    def get(self, task: Task) -> Row | None:
        """The row of a task; None where it is not decided."""
        return self._rows.get((task.part, task.key))

    def add(self, task: Task, row: Row) -> None:
        """Keep a row."""
        self._rows[task.part, task.key] = row
        self._write(_line(task.part, task.key, row))

    def close(self) -> None:
        """Let another run go on with the rows."""
        self._stream.close()

    def remove(self) -> None:
        """Delete the file, once its rows stand in a report."""
        self._stream.close()
        self.path.unlink(missing_ok=True)

    def _write(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()


def _locked(stream: TextIO) -> bool:
    """Whether nobody else holds the file; the lock ends with the stream."""
    if sys.platform == "win32":  # no such lock there: two runs are the user's to keep apart
        return True
    import fcntl

    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _line(part: str, key: str, row: Row) -> str:
    return json.dumps({"part": part, "key": key, "row": row}, allow_nan=False)


def _read(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def fingerprint() -> str:
    """Of the source of every layer and of the packages beneath: what decides a row."""
    import semilinear.analysis
    import semilinear.integrators
    import semilinear.verification

    found = hashlib.sha256(repr([(name, version(name)) for name in PACKAGES]).encode())
    for layer in (semilinear.integrators, semilinear.analysis, semilinear.verification):
        root = Path(layer.__path__[0])
        for path in sorted(p for p in root.rglob("*") if p.suffix in (".py", ".txt", ".json")):
            found.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    return found.hexdigest()
