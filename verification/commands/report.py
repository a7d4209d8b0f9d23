"""`semilinear report`: the studies that stand in the repository as reports of their own.

JSON: what the report's own JSON file holds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from semilinear.integrators.common import limits

from .terminal import (
    FAILED,
    OK,
    UsageError,
    add_workers,
    count,
    out_folder,
    print_json,
    progress_bar,
)

if TYPE_CHECKING:
    from ..studies.progress import Progress


def add(commands: Any) -> argparse.ArgumentParser:
    """Add the command's parser."""
    report: argparse.ArgumentParser = commands.add_parser(
        "report",
        help="make one of the larger studies, and write its report",
        description="inverse-problems: Score-SDE's samplers against exact posteriors.  learned: solvers on "
        "the score of a network, which the first run trains.  distances: how far samples lie from an exact "
        "law, of the solvers that papers are known for.  Minutes each.  Exit code 1 if a run gives no finite "
        "samples.",
    )
    report.add_argument("study", choices=tuple(STUDIES))
    report.add_argument("--out", type=Path, metavar="DIR", help="write Markdown, JSON and pictures there")
    report.add_argument(
        "--samples",
        type=count(2, limits.STATES),
        metavar="N",
        help="of inverse-problems (default: those of its report)",
    )
    add_workers(report, None)
    report.set_defaults(run=run)
    return report


class Made(NamedTuple):
    """A report: its data, its text, what writes it into a folder, and whether a run failed."""

    data: Any
    text: Callable[[], str]
    write: Callable[[Path], list[Path]]
    failed: bool = False


def run(options: argparse.Namespace) -> int:
    """Study, write, print."""
    for name, study in (("samples", "inverse-problems"), ("workers", "distances")):
        if getattr(options, name) is not None and options.study != study:
            raise UsageError(f"--{name} is for {study}, got {options.study}")
    if options.out is not None:
        out_folder(options.out)
    with progress_bar(options.study) as progress:
        made = STUDIES[options.study](options, progress)
    written = [] if options.out is None else made.write(options.out)
    if options.json:
        print_json(made.data)
    else:
        print("\n".join(map(str, written)) if written else made.text())
    return FAILED if made.failed else OK


def _inverse_problems(options: argparse.Namespace, progress: Progress) -> Made:
    from ..inverse import report, study

    kept: dict[tuple[str, str], Any] = {}
    given = {} if options.samples is None else {"samples": options.samples}
    rows = study.study(steps=study.STEPS, keep=kept, progress=progress, **given)
    return Made(
        report.records(rows), partial(report.report, rows), partial(report.write, rows=rows, kept=kept)
    )


def _learned(options: argparse.Namespace, progress: Progress) -> Made:
    from ..learned.report import write
    from ..learned.study import Size, study
    from ..problems.digits_network import Recipe
    from ..problems.weights import NoWeights, made
    from ..reporting.learned import markdown

    recipe = Recipe()
    try:
        made(recipe, progress)
    except NoWeights as error:
        raise UsageError(str(error)) from error
    data = study(recipe, Size(), progress)
    return Made(data, partial(markdown, data), partial(write, data=data))


def _distances(options: argparse.Namespace, progress: Progress) -> Made:
    import os

    from ..distribution.report import distances, write
    from ..reporting.distribution import markdown

    data = distances(workers=options.workers or os.cpu_count() or 1, progress=progress)
    failed = any(row["failed"] for row in data["rows"])
    return Made(data, partial(markdown, data), partial(write, data=data), failed)


STUDIES: dict[str, Callable[[argparse.Namespace, Progress], Made]] = {
    "inverse-problems": _inverse_problems,
    "learned": _learned,
    "distances": _distances,
}
