"""`semilinear gpu`: everything that is to be measured on a GPU, in one run of at most four minutes.

JSON: schema, rehearsal, device, date, versions; parts, name -> found (what the part measured), or skipped or
error with the reason, and seconds.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from .terminal import FAILED, OK, UsageError, add_device, print_json, writable_file


def add(commands: Any) -> argparse.ArgumentParser:
    """Add the command's parser."""
    gpu: argparse.ArgumentParser = commands.add_parser(
        "gpu",
        help="everything that is to be measured on a GPU, in one run",
        description="Correctness, loop, graphs, noise, a network, other libraries, scores and orders on a "
        "GPU, in at most four minutes; each part stands alone.  Exit code 1 if a part raises.",
    )
    add_device(gpu, "cuda")
    gpu.add_argument("--rehearse", action="store_true", help="everything small, in seconds")
    gpu.add_argument("--out", type=Path, metavar="FILE.json", help="written after every part")
    gpu.set_defaults(run=run)
    return gpu


def run(options: argparse.Namespace) -> int:
    """Measure, and tell of every part as it is over."""
    if options.out is not None:
        writable_file(options.out, (".json",), "--out")
    from semilinear.integrators.common.files import write_json

    from ..throughput.gpu import Setting, measure

    def tell(name: str, record: dict[str, Any]) -> None:
        if options.out is not None:
            write_json(options.out, record)
        if not options.json:
            print(_line(name, record["parts"][name]), flush=True)

    try:
        record = measure(Setting(options.device, options.rehearse), tell)
    except ValueError as error:
        raise UsageError(f"--{error}") from error
    if options.json:
        print_json(record)
    return FAILED if any("error" in part for part in record["parts"].values()) else OK


def _line(name: str, part: dict[str, Any]) -> str:
    word = next((word for word in ("skipped", "error") if word in part), None)
    told = json.dumps(part["found"]) if word is None else f"{word}: {part[word]}"
    return f"{name}: {told} ({part['seconds']} s)"
