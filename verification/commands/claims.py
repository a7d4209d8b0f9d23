"""`semilinear claims`: the ledger of what papers claim, decided anew.

JSON: schema; claims, a list of {id, paper, place, statement, assumes, by, verdict and condition (recorded),
why, quick, listed, found and found_condition (now), agrees, evidence, table, error}; not_reproduced,
figures of trained networks.  With --list: claims without the last six.
"""

from __future__ import annotations

import argparse
import os
from contextlib import closing
from pathlib import Path
from typing import Any

from . import names
from .terminal import (
    FAILED,
    OK,
    UsageError,
    add_named,
    add_workers,
    console,
    out_folder,
    print_json,
    progress_bar,
)


def add(commands: Any) -> argparse.ArgumentParser:
    """Add the command's parser."""
    claims: argparse.ArgumentParser = commands.add_parser(
        "claims",
        help="what papers claim of their solvers, each claim decided anew",
        description="Decide the ledger's claims: proofs, orders, identities, comparisons at equal "
        "evaluations, "
        "statistics.  Exit code 1 if a verdict or its condition is not the recorded one.  Claims that take "
        "longer are marked in --list; all of them take about ten minutes of one core.",
    )
    add_named(
        claims,
        names.CLAIMS,
        "ids",
        nargs="*",
        metavar="ID",
        help="ids or globs such as 'scire-*' (default: all)",
    )
    claims.add_argument("--quick", action="store_true", help="only claims that take seconds")
    claims.add_argument("--list", action="store_true", help="print the claims, and decide nothing")
    claims.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="write claims.json and claims.md there; of some claims, into the report that is there",
    )
    add_workers(claims)
    claims.set_defaults(run=run)
    return claims


def run(options: argparse.Namespace) -> int:
    """Decide, print, write."""
    if options.out is not None:
        if options.list:
            raise UsageError("--list decides nothing, so there is nothing to write to --out")
        out_folder(options.out)

    from ..claims.ledger import SCHEMA, chosen, claims_json, record, whole

    try:
        selected = chosen(options.ids, options.quick)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if options.list:
        if options.json:
            print_json({"schema": SCHEMA, "claims": [record(claim) for claim in selected]})
        else:
            _show(selected)
        return OK
    before = _before(options, selected)
    found = _decided(options, [claim.id for claim in selected])
    data = claims_json([found[claim.id] for claim in selected])
    if options.json:
        print_json(data)
    if options.out is not None:
        from ..reporting.claims import write

        paths = write(options.out, claims_json(whole(data["claims"], before)))
        console(stderr=options.json).print(f"wrote {', '.join(map(str, paths))}", highlight=False)
    differing = [row["id"] for row in data["claims"] if not row["agrees"]]
    if not options.json:
        print(f"{len(selected) - len(differing)} of {len(selected)} verdicts are as recorded")
    return FAILED if differing else OK


def _before(options: argparse.Namespace, selected: Any) -> list[dict[str, Any]]:
    """What an earlier report in --out holds of the other claims; refused before any is decided."""
    from ..claims.ledger import earlier

    path = None if options.out is None else options.out / "claims.json"
    if path is None or not path.is_file() or not (options.ids or options.quick):
        return []
    try:
        return earlier(path, [claim.id for claim in selected])
    except (OSError, ValueError) as error:
        raise UsageError(f"--out: {error}") from error


def _show(selected: Any) -> None:
    screen = console()
    for claim in selected:
        long = "" if claim.quick else ", long"
        text = f"{claim.id} ({claim.kind}{long}): {claim.statement}: {claim.verdict}"
        screen.print(text, highlight=False, markup=False, soft_wrap=True)


def _decided(options: argparse.Namespace, ids: list[str]) -> dict[str, dict[str, Any]]:
    """Rows by id; a line for each as it is decided."""
    from ..campaign.claims import ClaimTask
    from ..campaign.runner import decide
    from ..reporting.claims import line

    screen, rows = console(stderr=options.json), dict[str, dict[str, Any]]()
    with (
        progress_bar("claims") as progress,
        _executor(options.workers) as pool,
        closing(decide([ClaimTask(name) for name in ids], pool)) as found,
    ):
        for task, row in found:
            rows[task.key] = row
            progress(len(rows), len(ids))
            if not options.json:
                screen.print(line(row), highlight=False, markup=False, soft_wrap=True)
    return rows


def _executor(workers: int) -> Any:
    """Processes, or this one: a single claim should not wait for another interpreter."""
    from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

    if workers == 1:
        return ThreadPoolExecutor(1)
    return ProcessPoolExecutor(min(workers, os.cpu_count() or 1))
