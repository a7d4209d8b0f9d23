"""`semilinear bench`: what a step of the loop costs, beside a lower bound and other libraries.

JSON: ratios, size -> candidate -> multiple of the in-place chain of the same run; microseconds per step
likewise; skipped, candidate -> reason; device, date, versions; with --compare also worse, the ratios that
grew.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from semilinear.integrators.common import limits

from .terminal import (
    FAILED,
    OK,
    UsageError,
    add_device,
    count,
    out_folder,
    positive,
    print_json,
    progress_bar,
    readable_file,
)

FACTOR = 1.3


def add(commands: Any) -> argparse.ArgumentParser:
    """Add the command's parser."""
    bench: argparse.ArgumentParser = commands.add_parser(
        "bench",
        help="what a step of the loop costs, beside a lower bound and other libraries",
        description="Times candidates side by side.  Exit code 1 if, with --compare, a ratio has got worse.",
    )
    add_device(bench, "cpu")
    bench.add_argument(
        "--rounds", type=count(1, limits.ROUNDS), default=40, metavar="N", help="(default: %(default)s)"
    )
    bench.add_argument("--compare", type=Path, metavar="FILE", help="an earlier record (--json, or --out's)")
    bench.add_argument(
        "--factor",
        type=positive,
        default=FACTOR,
        metavar="X",
        help="by which a ratio may grow (default: %(default)s)",
    )
    bench.add_argument("--out", type=Path, metavar="DIR", help="writes throughput.json, .md and .png there")
    bench.set_defaults(run=run)
    return bench


def run(options: argparse.Namespace) -> int:
    """Time, compare, print."""
    if options.out is not None:
        out_folder(options.out)
    if options.compare is not None:
        readable_file(options.compare, "--compare: ")

    from semilinear.integrators.common.files import read_json, write_atomically, write_json

    from ..reporting.throughput import markdown, plot
    from ..throughput.bench import SHAPES, RecordError, bench, record_of, worse

    before = None
    if options.compare is not None:
        try:
            before = read_json(options.compare, RecordError, record_of)
        except RecordError as error:
            raise UsageError(f"--compare: {error}") from error
    try:
        with progress_bar("bench") as progress:
            record = bench(SHAPES, options.device, options.rounds, progress)
        grown = [] if before is None else worse(record, before, options.factor)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if options.out is not None:
        write_json(options.out / "throughput.json", record)
        write_atomically(options.out / "throughput.md", markdown(record))
        plot(record, options.out / "throughput.png")
    if options.json:
        keys = ("size", "candidate", "before", "now")
        compared = {} if before is None else {"worse": [dict(zip(keys, row, strict=True)) for row in grown]}
        print_json(record | compared)
    else:
        print(markdown(record), end="")
        for size, name, old, now in grown:
            print(f"{name} at {size}: {now:.2f} times the chain, {old:.2f} before: WORSE")
        if before is not None and not grown:
            print(f"no ratio is more than {options.factor:g} times what it was")
    return FAILED if grown else OK
