"""`semilinear verify`: the main job."""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ..studies.progress import Progress, counted
from .terminal import FAILED, OK, UsageError, console, print_json, progress_bar, writable_folder


def add(commands: Any) -> argparse.ArgumentParser:
    """Add the command's parser."""
    verify: argparse.ArgumentParser = commands.add_parser(
        "verify", help="the main job: measure every solver, replay every golden file"
    )
    verify.add_argument("--quick", action="store_true", help="main problem only, up to 512 steps")
    verify.add_argument(
        "--out", type=Path, default=Path("reports"), metavar="DIR", help="(default: %(default)s)"
    )
    verify.add_argument("--workers", type=int, help="processes (default: one per core)")
    verify.set_defaults(run=run)
    return verify


def run(options: argparse.Namespace) -> int:
    """Replay, measure, prove, report."""
    from ..campaign import prove as proofs
    from ..campaign.measure import measure_all, stochastic_tasks, tasks
    from ..campaign.records import orders_json
    from ..replay.golden import DATA, replay_file
    from ..reporting import orders as report
    from ..reporting import proofs as proof_report
    from ..reporting.stability_plot import plot_panels

    if options.workers is not None and options.workers < 1:
        raise UsageError(f"--workers must be at least 1, got {options.workers}")
    if options.out.exists() and not options.out.is_dir():
        raise UsageError(f"--out must be a folder, got the file {options.out}")
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out: {options.out} cannot be made: {error.strerror}") from error
    writable_folder(options.out, "--out")
    began = time.perf_counter()
    screen = console(stderr=options.json)
    files = sorted(DATA.glob("*.json"))
    with progress_bar("replaying released code") as progress:
        cases = [case for path in counted(files, progress) for case in replay_file(path)]
    count = len(tasks(options.quick)) + len(stochastic_tasks(options.quick))
    with progress_bar("measuring orders") as progress:
        measured, stochastic = measure_all(options.quick, _ticks(progress, count), options.workers)
    planned = proofs.tasks(options.quick)
    with progress_bar("proving orders") as progress:
        proved = proofs.prove_all(planned, _ticks(progress, len(planned)), options.workers)
    data = orders_json(measured, stochastic, cases, proved["solvers"], options.quick)
    paths = report.write(options.out, data)
    if not options.quick:
        paths += proof_report.write(options.out, proved)
        paths.append(options.out / "stability.png")
        plot_panels(proofs.drawn_regions(), paths[-1])
    if options.json:
        print_json(data)
    else:
        _print_orders(screen, data)
        screen.print(f"wrote {', '.join(str(p) for p in paths)} in {time.perf_counter() - began:.0f} s")
    unexpected = [row for row in (*data["rows"], *data["stochastic"]) if row["as_expected"] is False]
    unproved = [identity for identity in data["identities"] if identity["defects"]]
    failed = [case for case in data["replay"] if not case["ok"]]
    contradicted = proofs.failures(proved)
    for failure in contradicted:
        screen.print(f"[red]not as proved:[/] {failure}")
    for row in unexpected:
        screen.print(f"[red]not as expected:[/] {row['solver']} ({row.get('setting', 'stochastic')})")
    for identity in unproved:
        screen.print(f"[red]not proved:[/] {identity['statement']}: {identity['defects'][0]}")
    for case in failed:
        screen.print(
            f"[red]not as released:[/] {case['file']} {case['index']} {case['solver']} {case['error']}"
        )
    return FAILED if unexpected or unproved or failed or contradicted else OK


def _ticks(progress: Progress, total: int) -> Callable[[Any], None]:
    """Called with each task that is done."""
    done = itertools.count(1)
    return lambda task: progress(next(done), total)


def _print_orders(screen: Console, data: Any) -> None:
    from rich import box

    from ..reporting.orders import interval, released_code, verdicts

    for setting in data["settings"]:
        title = f"{setting['name']}: {setting['problem']}, {setting['schedule']}, {setting['grid']}"
        table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        for column in ("solver", "claimed", "own start", "exact start", "verdict", "expected", "vs release"):
            table.add_column(column, no_wrap=True)
        for row in (row for row in data["rows"] if row["setting"] == setting["name"]):
            table.add_row(
                row["solver"],
                str(row["claimed"]),
                interval(row["own"]),
                "" if row["exact"] is None else interval(row["exact"]),
                verdicts(row),
                {True: "yes", False: "NO", None: "-"}[row["as_expected"]],
                released_code(row["agreement"]).replace("*", ""),
            )
        screen.print(table)
    table = Table(
        title="stochastic solvers, on Gaussian data",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for column in ("solver", "claimed", "weak", "strong", "verdict", "expected", "vs release"):
        table.add_column(column, no_wrap=True)
    for row in data["stochastic"]:
        table.add_row(
            row["solver"],
            str(row["claimed"]),
            interval(row["weak"]),
            interval(row["strong"]),
            f"{row['weak']['verdict']} / {row['strong']['verdict']}",
            {True: "yes", False: "NO", None: "-"}[row["as_expected"]],
            released_code(row["agreement"]).replace("*", ""),
        )
    screen.print(table)
    proved = sum(not identity["defects"] for identity in data["identities"])
    screen.print(f"{proved} of {len(data['identities'])} identities between solvers proved")
    agree = sum(case["ok"] for case in data["replay"])
    screen.print(f"{agree} of {len(data['replay'])} golden cases agree with the released code")
