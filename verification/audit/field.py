"""Many targets, audited one by one or by several processes, in their order; one alone is shared out."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager, redirect_stdout
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any

from ..studies.threads import one_thread
from . import versions
from .audit import ONLY, audit
from .checks import CHECKS
from .finding import Finding, merged, named

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

    claimed, how: as `audit` takes them.  workers: processes, each with one thread; of a single target one
    measures orders while another makes the checks.  plans: a folder for the runs with 20 steps, of what can
    be read off.  against: a folder that `versions` compares with.
    """
    only = how.pop("only", None)
    wanted = ONLY if only is None else tuple(only)
    rest = [name for name in wanted if name != ORDERS]
    work = partial(_row, claimed=claimed, plans=plans, against=against, how=how)
    if workers <= 1 or (len(names) == 1 and len(rest) in (0, len(wanted))):
        yield from (work(name, wanted) for name in names)
        return
    with ProcessPoolExecutor(workers) as pool:
        if len(names) > 1:
            yield from pool.map(work, names, repeat(wanted))
        else:
            orders = pool.submit(_row, names[0], [ORDERS], claimed, None, None, how, wanted)
            yield _joined(orders, pool.submit(work, names[0], rest, asked=wanted))


ORDERS = "orders"


def _joined(orders: Future[Row], others: Future[Row]) -> Row:
    """The row of one target, of which one process asked for orders, another for all else."""
    first, second = orders.result(), others.result()
    kept = {key: value for key, value in second.items() if value is not None or key not in first}
    made = [f for f in second["findings"] if f.check in CHECKS]
    later = [f for f in second["findings"] if f.check not in CHECKS]
    found = merged([*made, *first["findings"], *later])
    return (
        first
        | kept
        | {"findings": [f.json() for f in found], "checks": second["checks"] | first["checks"]}
        | {"holds": first["holds"] and second["holds"]}
    )


def _row(
    name: str,
    wanted: Sequence[str],
    claimed: float | None,
    plans: Path | None,
    against: Path | None,
    how: dict[str, Any],
    asked: Sequence[str] | None = None,
) -> Row:
    """asked: for all that is asked of the target where that is more; the findings are not merged then."""
    with _quiet(), one_thread():
        made = audit(name, claimed, only=wanted, **how)
        made.asked = made.asked if asked is None else tuple(asked)
        row, found = made.json(), list(made.each)
        read_off = made.nfe is not None
        if plans is not None and read_off:
            versions.save(made.subject, plans / versions.file_of(name))
        if against is not None:
            try:
                row["changed"] = versions.changed(made.subject, against) if read_off else None
            except Exception as error:  # the audits of the others go on
                row["changed"] = None
                message = f"not compared with the other version: {named(error)}"
                found.append(Finding("versions", "noted", message, ""))
        row["findings"] = [f.json() for f in merged(found)] if asked is None else found
        return row


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what packages log and warn of, run after run; what an audit finds is in its findings.  What
    they print is not mixed with it.
    """
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(sys.stderr):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
