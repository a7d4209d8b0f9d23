"""`semilinear verify`: the main job."""

from __future__ import annotations

import argparse
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from .terminal import FAILED, OK, UsageError, add_workers, console, out_folder, print_json, progress_bar

KEPT = "$XDG_CACHE_HOME/semilinear (~/.cache/semilinear)"
"""Where rows and reference solutions are kept."""


def add(commands: Any) -> argparse.ArgumentParser:
    """Add the command's parser."""
    verify: argparse.ArgumentParser = commands.add_parser(
        "verify",
        help="the main job: measure and prove every solver, replay every golden file",
        description="Measure and prove every solver and replay every golden file; a line for each as it is "
        f"decided. Rows and reference solutions are kept in {KEPT} by the hash of the task, "
        "the code and the packages: a run that was interrupted goes on where it ended, and a second one of "
        "unchanged code ends at once.",
    )
    verify.add_argument("--quick", action="store_true", help="main problem only, up to 512 steps")
    verify.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        help="only what bears on this solver or tableau, into the full reports that stand in --out",
    )
    verify.add_argument(
        "--out", type=Path, default=Path("reports"), metavar="DIR", help="(default: %(default)s)"
    )
    add_workers(verify, None)
    verify.add_argument(
        "--executor",
        default="processes",
        metavar="WHERE",
        help="processes, dask (a cluster of this machine) or dask://HOST:PORT (default: %(default)s)",
    )
    verify.add_argument(
        "--no-cache", action="store_true", help=f"decide all anew; neither read nor write {KEPT}"
    )
    verify.set_defaults(run=run)
    return verify


def run(options: argparse.Namespace) -> int:
    """Decide, report, judge."""
    if options.only and options.quick:
        raise UsageError("--only goes into full reports, got --quick")
    out_folder(options.out)
    began = time.perf_counter()

    from concurrent.futures import BrokenExecutor

    from ..campaign import executors

    try:
        executors.check(options.executor, options.workers)
    except ValueError as error:
        raise UsageError(f"--{error}") from error

    from ..campaign import plan
    from ..campaign import prove as proofs
    from ..campaign.records import orders_json, unexpected
    from ..campaign.work import work_json

    planned = plan.tasks(options.quick)
    try:
        reports = plan.Reports(options.out) if options.only else None
        if reports is not None:
            reports.check_environment()
        chosen = planned if reports is None else plan.about(planned, options.only, reports)
        options.out.mkdir(parents=True, exist_ok=True)
    except ValueError as error:
        raise UsageError(f"--only: {error}" if options.only else str(error)) from error
    screen = console(stderr=options.json)
    try:
        rows = _decided(options, chosen, screen)
    except BrokenExecutor as error:
        raise UsageError(
            f"a worker died, for want of memory perhaps: {error}; the same command goes on where it ended"
            f"{' (not with --no-cache)' if options.no_cache else ''}, --workers 1 needs less"
        ) from error
    if reports is not None:
        rows = dict(reports.rows(planned)) | rows
    decided = [(task, rows[task]) for task in planned if task in rows]
    data, proved = orders_json(decided, options.quick), proofs.proofs_json(decided)
    written = reports is None or bool(reports.orders)
    paths = _write(options, data, proved, work_json(decided)) if written else []
    if options.json:
        print_json(data)
    failures = [*proofs.failures(proved), *unexpected(data)]
    for failure in failures:
        screen.print(failure, style="red", markup=False, highlight=False)
    screen.print(_summary(data, proved), highlight=False)
    wrote = (
        f"wrote {', '.join(map(str, paths))}" if paths else f"no reports stand in {options.out}: none written"
    )
    screen.print(f"{wrote}; {time.perf_counter() - began:.0f} s", highlight=False)
    if paths and len(decided) < len(planned):
        missing = next(task for task in planned if task not in rows)
        screen.print(
            f"{len(planned) - len(decided)} rows are still missing, the first of {missing.key}",
            highlight=False,
        )
    return FAILED if failures else OK


def _decided(options: argparse.Namespace, chosen: Any, screen: Any) -> dict[Any, Any]:
    """Tasks with their rows; a line for each on the way."""
    from contextlib import ExitStack

    from ..campaign.executors import opened
    from ..campaign.runner import Rows, decide
    from ..reporting.lines import line

    rows: dict[Any, Any] = {}
    with ExitStack() as stack:
        progress = stack.enter_context(progress_bar("verifying"))
        try:
            pool = stack.enter_context(opened(options.executor, options.workers))
        except ValueError as error:
            raise UsageError(f"--{error}") from error
        kept = None if options.no_cache else Rows()
        found = decide(chosen, pool, kept)
        stack.enter_context(closing(found))  # what is not begun is given up before the pool ends
        for task, row in found:
            rows[task] = row
            progress(len(rows), len(chosen))
            if text := line(task.part, row):
                screen.print(text, highlight=False, markup=False, soft_wrap=True)
    return rows


def _write(options: argparse.Namespace, data: Any, proved: Any, work: Any) -> list[Path]:
    from ..campaign import prove as proofs
    from ..campaign.selection import DRAWN
    from ..reporting import orders as report
    from ..reporting import proofs as proof_report
    from ..reporting import work_precision as work_report
    from ..reporting.stability_plot import plot_panels

    paths = report.write(options.out, data)
    if options.quick:
        return paths
    paths += proof_report.write(options.out, proved)
    if work["rows"]:
        paths += work_report.write(options.out, work)
    if not options.only or set(options.only) & set(DRAWN):
        paths.append(options.out / "stability.png")
        plot_panels(proofs.drawn_regions(), paths[-1])
    return paths


def _summary(data: Any, proved: Any) -> str:
    from ..reporting.orders import told

    identities = sum(not identity["defects"] for identity in data["identities"])
    agree = sum(case["ok"] for case in data["replay"])
    return (
        f"{told(data)} {len(proved['solvers'])} solvers proved; {identities} of {len(data['identities'])} "
        f"identities proved; {agree} of {len(data['replay'])} cases agree with the released code"
    )
