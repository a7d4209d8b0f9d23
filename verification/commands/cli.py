"""The command line: `semilinear audit | bench | claims | completion | derive | distance | gpu | likelihood |
list | order | prove | replay | report | same | sample | stability | train | verify | work-precision`.

Exit codes: 0 everything asked for holds, 1 a check failed, 2 bad usage, 130 interrupted.  Every command
takes --json.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NoReturn

from semilinear.analysis.text.spelling import refuse_unlisted
from semilinear.integrators.common.names import UnknownTableau

from . import audit as audit_command
from . import bench as bench_command
from . import claims as claims_command
from . import completion as completion_command
from . import derive as derive_command
from . import distance as distance_command
from . import gpu as gpu_command
from . import listing as listing_command
from . import order as order_command
from . import prove as prove_command
from . import report as report_command
from . import same as same_command
from . import sampling
from . import stability as stability_command
from . import train as train_command
from . import verify as verify_command
from . import work_precision as work_precision_command
from .terminal import (
    FAILED,
    INTERRUPTED,
    OK,
    USAGE,
    UsageError,
    check_names,
    json_alone,
    print_json,
    readable_file,
    refusing,
)


class _Parser(argparse.ArgumentParser):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options, allow_abbrev=False)
        self._negative_number_matcher = re.compile(
            r"-(\.?\d|[ij]$)"
        )  # as in Python 3.14: -1e-3, -1+2j are values

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """As argparse does, in the words of every other refusal, and with the nearest."""
        if action.choices is not None and value not in action.choices:
            name = action.option_strings[0] if action.option_strings else action.metavar or action.dest
            try:
                refuse_unlisted(str(name), value, map(str, action.choices))
            except ValueError as error:
                raise UsageError(str(error)) from error

    def error(self, message: str) -> NoReturn:
        raise UsageError(re.sub(r"^argument (\S+): (?=must )", r"\1 ", message))


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    as_json = "--json" in arguments
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without the letters is no failure
    try:
        options = _parser().parse_args(arguments)
        with json_alone() if as_json else nullcontext():
            code = _run(options)
        sys.stdout.flush()  # a broken pipe shows here, not after the end
        return code
    except MemoryError:
        return _refused("not enough memory for what was asked", as_json)
    except KeyboardInterrupt:
        return _refused("interrupted", as_json, INTERRUPTED)
    except BrokenPipeError:  # `semilinear list | head`: nobody reads on, which is no failure
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except (UsageError, UnknownTableau, OSError) as error:
        return _refused(str(error), as_json)


def _run(options: argparse.Namespace) -> int:
    """The command's own exit code, whatever a user's file or a package does that it runs.

    Rooms below name an argument as Python has it; where it is an option here, a refusal says the option.
    """
    try:
        check_names(options, options.naming)
        return int(options.run(options))
    except SystemExit as end:
        raise UsageError(f"what was run ended the program: sys.exit({end.code!r})") from end
    except (UsageError, UnknownTableau) as refusal:
        name = re.match(r"[a-z_]+(?= must | \S+: )", str(refusal))
        if name is None or name[0] not in options.named:
            raise
        raise UsageError(options.named[name[0]] + str(refusal)[name.end() :]) from refusal


def _refused(message: str, as_json: bool, code: int = USAGE) -> int:
    print(json.dumps({"error": message}) if as_json else f"semilinear: {message}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="semilinear",
        description="Verify what diffusion samplers really do.",
        epilog="Exit codes: 0 ok, 1 a check failed, 2 bad usage, 130 interrupted.",
    )
    commands = parser.add_subparsers(dest="command", required=True, parser_class=_Parser)

    replay = commands.add_parser("replay", help="replay golden files of released code")
    replay.add_argument("files", nargs="+", type=Path, metavar="FILE")
    replay.set_defaults(run=_replay)

    for command in (
        listing_command.add(commands),
        audit_command.add(commands),
        bench_command.add(commands),
        claims_command.add(commands),
        same_command.add(commands),
        derive_command.add(commands),
        distance_command.add(commands),
        gpu_command.add(commands),
        order_command.add(commands),
        prove_command.add(commands),
        replay,
        report_command.add(commands),
        sampling.add_sample(commands),
        sampling.add_likelihood(commands),
        stability_command.add(commands),
        train_command.add(commands),
        verify_command.add(commands),
        work_precision_command.add(commands),
        completion_command.add(commands, parser),
    ):
        command.add_argument("--json", action="store_true", help="print JSON on standard output")
        command.set_defaults(
            named={a.dest: a.option_strings[0] for a in command._actions if a.option_strings},
            naming=[action for action in command._actions if hasattr(action, "takes")],
        )
    return parser


def _replay(options: argparse.Namespace) -> int:
    for path in options.files:
        readable_file(path)

    from ..replay.golden import read, replay_file

    with refusing():
        for path in options.files:
            read(path)  # every file is looked at before any is replayed
    cases, failed = [], 0
    for path in options.files:
        for result in replay_file(path):
            cases.append(result)
            failed += not result.ok
            if not options.json:
                print(result)
    if options.json:
        print_json({"cases": [case.data for case in cases], "failed": failed})
    else:
        print(f"{len(cases) - failed} of {len(cases)} cases agree with the released code")
    return FAILED if failed else OK


if __name__ == "__main__":
    sys.exit(main())
