"""Many targets, audited one by one or by several processes, in their order."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from ..studies.threads import one_thread
from . import versions
from .audit import audit
from .finding import Finding, named

Row = dict[str, Any]


def rows(
    names: Sequence[str],
    claimed: float | None = None,
    *,
    workers: int = 1,
    plans: Path | None = None,
    against: Path | None = None,
    **how: Any,
) -> Iterator[Row]:
    """The audits of targets by name, as JSON data.

    claimed, how: as `audit` takes them.  workers: processes, each with one thread.  plans: a folder for the
    runs with 20 steps, of what can be read off.  against: a folder that `versions` compares with.
    """
    work = partial(_row, claimed=claimed, plans=plans, against=against, how=how)
    if workers <= 1 or len(names) == 1:
        yield from map(work, names)
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(work, names)


def _row(
    name: str, claimed: float | None, plans: Path | None, against: Path | None, how: dict[str, Any]
) -> Row:
    with _quiet(), one_thread():
        made = audit(name, claimed, **how)
        row = made.json()
        read_off = made.nfe is not None
        if plans is not None and read_off:
            versions.save(made.subject, plans / versions.file_of(name))
        if against is not None:
            try:
                row["changed"] = versions.changed(made.subject, against) if read_off else None
            except Exception as error:  # the audits of the others go on
                row["changed"] = None
                message = f"not compared with the other version: {named(error)}"
                row["findings"].append(asdict(Finding("versions", "noted", message, "")))
        return row


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what packages log and warn of, run after run; what an audit finds is in its findings."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
