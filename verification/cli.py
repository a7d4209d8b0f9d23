"""The command line: `semilinear list | order | replay | verify`.

Exit codes: 0 everything asked for holds, 1 a check failed, 2 bad usage, 130 interrupted.  Every command
takes --json.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
COLUMNS = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
"""Of a progress bar."""


class UsageError(Exception):
    """Arguments that cannot be used; the message says which and why."""


class _Parser(argparse.ArgumentParser):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    as_json = "--json" in arguments
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without the letters is no failure
    try:
        options = _parser().parse_args(arguments)
        return int(options.run(options))
    except UsageError as error:
        print(json.dumps({"error": str(error)}) if as_json else f"semilinear: {error}", file=sys.stderr)
        return USAGE
    except MemoryError:
        print("semilinear: not enough memory for what was asked", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        print("semilinear: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # `semilinear list | head`: nobody reads on, which is no failure
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except OSError as error:
        print(f"semilinear: {error}", file=sys.stderr)
        return USAGE


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="semilinear",
        description="Verify what diffusion samplers really do.",
        epilog="Exit codes: 0 ok, 1 a check failed, 2 bad usage, 130 interrupted.",
    )
    commands = parser.add_subparsers(dest="command", required=True, parser_class=_Parser)

    listing = commands.add_parser("list", help="the solvers: paper, form, claimed order, source")
    listing.set_defaults(run=_list)

    order = commands.add_parser(
        "order",
        help="measure the order of one solver",
        description="Measure the order of one solver.  Exit code 0 if the claim holds.",
    )
    order.add_argument("solver", help="a name of `semilinear list`")
    order.add_argument("--problem", default="rotated-product-2d", help="(default: %(default)s)")
    order.add_argument("--schedule", default="vp-linear", help="(default: %(default)s)")
    order.add_argument("--grid", default="lambda", help="(default: %(default)s)")
    order.add_argument(
        "--start", default="own", choices=("own", "exact", "high-order"), help="(default: %(default)s)"
    )
    order.add_argument(
        "--claimed", type=_positive, help="the order to judge against (default: the solver's claim)"
    )
    order.add_argument("--digits", type=int, help="run in multiprecision with that many digits")
    order.add_argument(
        "--residue",
        type=int,
        nargs=2,
        metavar=("M", "R"),
        help="only budgets n = R mod M (default: multiples of the order for solvers made to a budget)",
    )
    order.add_argument("--batch", type=int, help="initial states (default: 64, 4 in multiprecision)")
    order.add_argument("--max-steps", type=int, help="finest run (default: 512, 128 in multiprecision)")
    order.add_argument(
        "--lam-start", type=_finite, default=-0.7, help="lambda at the start (default: %(default)s)"
    )
    order.add_argument(
        "--lam-end", type=_finite, default=1.75, help="lambda at the end (default: %(default)s)"
    )
    order.add_argument(
        "--param", action="append", default=[], metavar="NAME=VALUE", help="a parameter of the solver"
    )
    order.add_argument("--plot", type=Path, metavar="FILE", help="write a convergence plot (PNG or SVG)")
    order.set_defaults(run=_order)

    replay = commands.add_parser("replay", help="replay golden files of released code")
    replay.add_argument("files", nargs="+", type=Path, metavar="FILE")
    replay.set_defaults(run=_replay)

    verify = commands.add_parser(
        "verify", help="the main job: measure every solver, replay every golden file"
    )
    verify.add_argument("--quick", action="store_true", help="main problem only, up to 512 steps")
    verify.add_argument(
        "--out", type=Path, default=Path("reports"), metavar="DIR", help="(default: %(default)s)"
    )
    verify.add_argument("--workers", type=int, help="processes (default: one per core)")
    verify.set_defaults(run=_verify)

    for command in (listing, order, replay, verify):
        command.add_argument("--json", action="store_true", help="print JSON on standard output")
    return parser


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"must be a finite number, got {text!r}")
    return value


def _positive(text: str) -> float:
    value = _finite(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"must be positive, got {text!r}")
    return value


def _writable_file(path: Path, suffixes: tuple[str, ...]) -> None:
    """Refuse a path that could not be written once the work is done."""
    if path.suffix.lower() not in suffixes:
        raise UsageError(f"--plot must end in {' or '.join(suffixes)}, got {str(path)!r}")
    if path.is_dir():
        raise UsageError(f"--plot must be a file, got the folder {path}")
    _writable_folder(path.parent, "--plot")


def _writable_folder(path: Path, option: str) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise UsageError(f"{option}: {path} cannot be written to: {error.strerror}") from error


def _console(stderr: bool = False) -> Console:
    """A console; wide where nobody's terminal limits it."""
    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=160)


def _print_json(data: Any) -> None:
    sys.stdout.write(json.dumps(data, indent=1, allow_nan=False) + "\n")


def _list(options: argparse.Namespace) -> int:
    from semilinear.integrators.schedule import vp_linear
    from semilinear.integrators.solvers import SOLVERS, make

    schedule = vp_linear()
    rows: list[dict[str, Any]] = []
    for name in SOLVERS:
        solver = make(name)
        rows.append(
            {
                "solver": name,
                "paper": solver.paper,
                "form": solver.form(schedule).name,
                "claimed": solver.claimed,
                "stochastic": solver.stochastic,
                "source": solver.source,
            }
        )
    if options.json:
        _print_json({"solvers": rows})
        return OK
    table = Table(title=f"{len(rows)} solvers")
    table.add_column("solver", no_wrap=True, min_width=max(len(row["solver"]) for row in rows))
    for column in ("paper", "form", "claimed", "source"):
        table.add_column(column)
    for row in rows:
        table.add_row(row["solver"], row["paper"], row["form"], str(row["claimed"]), row["source"])
    _console().print(table)
    return OK


def _order(options: argparse.Namespace) -> int:
    from .plots import plot_studies
    from .results import number, study_json
    from .study import run

    solver, experiment = _study_arguments(options)
    if options.plot is not None:
        _writable_file(options.plot, (".png", ".svg"))
    try:
        screen = Console(stderr=True)
        hidden = not screen.is_terminal
        with Progress(*COLUMNS, console=screen, transient=True, disable=hidden) as progress:
            task = progress.add_task(f"running {solver.name}", total=None)
            study = run(
                solver,
                experiment,
                start=options.start,
                residue=None if options.residue is None else tuple(options.residue),
                progress=lambda done, total: progress.update(task, completed=done, total=total),
            )
    except ValueError as error:
        raise UsageError(str(error)) from error
    claimed = solver.claimed if options.claimed is None else options.claimed
    verdict = study.against(claimed)
    data = study_json(study) | {"claimed": claimed, "verdict": verdict, "reason": study.reason(claimed)}
    if options.plot is not None:
        plot_studies([(solver.name, data)], f"{solver.name} on {options.problem}", options.plot)
    if options.json:
        _print_json(data)
    else:
        table = Table(
            "N",
            "NFE",
            "error",
            "floor",
            "used",
            title=f"{solver.name} on {options.problem}, {options.start} start",
        )
        for row in data["points"]:
            used = "fit" if row["N"] in study.estimate.window else "yes" if row["usable"] else "no"
            error_text = "diverged" if row["error"] is None else f"{row['error']:.3e}"
            table.add_row(str(row["N"]), str(row["NFE"]), error_text, f"{row['floor']:.0e}", used)
        _console().print(table)
        e = study.estimate
        seen = (
            "no order"
            if number(e.order) is None
            else f"order {e.order:.3f}, 95% interval [{e.low:.3f}, {e.high:.3f}]"
        )
        print(
            f"claimed {claimed:g}, observed {seen}: {verdict}"
            + (f" ({data['reason']})" if data["reason"] else "")
        )
    return OK if verdict in ("consistent", "higher") else FAILED


def _study_arguments(options: argparse.Namespace) -> tuple[Any, Any]:
    """The solver and the experiment that the options describe."""
    from semilinear.integrators.solvers import make

    from .campaign import GRIDS, SCHEDULES, Setting
    from .problems import problem
    from .study import LADDER, LONG_LADDER

    _known("schedule", options.schedule, SCHEDULES)
    _known("grid", options.grid, GRIDS)
    multiprecise = options.digits is not None
    top = options.max_steps if options.max_steps is not None else 128 if multiprecise else 512
    batch = options.batch if options.batch is not None else 4 if multiprecise else 64
    if not 8 <= top <= LONG_LADDER[-1]:
        raise UsageError(f"--max-steps must be from 8 to {LONG_LADDER[-1]}, got {top}")
    if batch < 1:
        raise UsageError(f"--batch must be at least 1, got {batch}")
    if options.residue is not None and not 0 <= options.residue[1] < options.residue[0]:
        raise UsageError(f"--residue M R needs 0 <= R < M, got {options.residue[0]} {options.residue[1]}")
    if not options.lam_end > options.lam_start:
        raise UsageError(
            f"--lam-end must exceed --lam-start = {options.lam_start:g}, got {options.lam_end:g}"
        )
    ladder = tuple(n for n in LONG_LADDER if n <= top)
    try:
        solver = make(options.solver, **_parameters(options.param))
        problem(options.problem)
        setting = Setting(
            "order",
            options.problem,
            options.schedule,
            options.grid,
            batch,
            options.digits,
            ladder or LADDER,
            options.lam_start,
            options.lam_end,
        )
        return solver, setting.build()
    except ValueError as error:
        raise UsageError(str(error)) from error


def _parameters(pairs: Sequence[str]) -> dict[str, Any]:
    """NAME=VALUE options: integers, exact rationals, true/false, or words."""
    from sympy import Rational

    parameters: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(f"--param must be NAME=VALUE, got {pair!r}")
        if text.lower() in ("true", "false"):
            parameters[name] = text.lower() == "true"
            continue
        try:
            value = Rational(text)
            parameters[name] = int(value) if value.is_Integer and "." not in text else value
        except (TypeError, ValueError, ZeroDivisionError):
            parameters[name] = text
    return parameters


def _known(name: str, value: str, table: dict[str, Any]) -> None:
    import difflib

    if value not in table:
        near = difflib.get_close_matches(value, table, n=3, cutoff=0.3) or list(table)
        raise UsageError(f"--{name} must be a listed name, got {value!r}; the nearest are {', '.join(near)}")


def _replay(options: argparse.Namespace) -> int:
    from .golden import read, replay_file
    from .releases.rebuild import GoldenError
    from .results import case_json

    try:
        for path in options.files:
            read(path)  # every file is looked at before any is replayed
    except (GoldenError, OSError) as error:
        raise UsageError(str(error)) from error
    cases, failed = [], 0
    for path in options.files:
        for result in replay_file(path):
            cases.append(result)
            failed += not result.ok
            if not options.json:
                _print_case(result)
    if options.json:
        _print_json({"cases": [case_json(c) for c in cases], "failed": failed})
    else:
        print(f"{len(cases) - failed} of {len(cases)} cases agree with the released code")
    return FAILED if failed else OK


def _print_case(result: Any) -> None:
    solver, error = (
        " ".join(text.split()) for text in (result.solver, result.error)
    )  # one line, whatever they hold
    if result.error:
        print(f"{result.file}  {result.index:4d}  {solver}: FAILED: {error}")
        return
    mark = "" if result.ok else "  FAILED"
    nfe = "ok" if result.nfe_ok else f"WRONG ({result.nfe})"
    note = f"  ({result.note})" if result.note else ""
    print(f"{result.file}  {result.index:4d}  {solver}: {result.difference:.1e}  NFE {nfe}{mark}{note}")


def _verify(options: argparse.Namespace) -> int:
    from . import report
    from .campaign import measure_all, tasks
    from .golden import DATA, replay_file
    from .results import orders_json

    if options.workers is not None and options.workers < 1:
        raise UsageError(f"--workers must be at least 1, got {options.workers}")
    if options.out.exists() and not options.out.is_dir():
        raise UsageError(f"--out must be a folder, got the file {options.out}")
    _writable_folder(options.out, "--out")
    began = time.perf_counter()
    console = _console(stderr=options.json)
    files = sorted(DATA.glob("*.json"))
    with Progress(*COLUMNS, console=console) as progress:
        replaying = progress.add_task("replaying released code", total=len(files))
        cases = []
        for path in files:
            cases += list(replay_file(path))
            progress.advance(replaying)
        measuring = progress.add_task("measuring orders", total=len(tasks(options.quick)))
        measured = measure_all(options.quick, lambda task: progress.advance(measuring), options.workers)
    data = orders_json(measured, cases, options.quick)
    paths = report.write(options.out, data)
    if options.json:
        _print_json(data)
    else:
        _print_orders(console, data)
        console.print(f"wrote {', '.join(str(p) for p in paths)} in {time.perf_counter() - began:.0f} s")
    unexpected = [row for row in data["rows"] if row["as_expected"] is False]
    failed = [case for case in data["replay"] if not case["ok"]]
    for row in unexpected:
        console.print(f"[red]not as expected:[/] {row['solver']} ({row['setting']})")
    for case in failed:
        console.print(
            f"[red]not as released:[/] {case['file']} {case['index']} {case['solver']} {case['error']}"
        )
    return FAILED if unexpected or failed else OK


def _print_orders(console: Console, data: Any) -> None:
    from rich import box

    from .report import interval, released_code, verdicts

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
        console.print(table)
    agree = sum(case["ok"] for case in data["replay"])
    console.print(f"{agree} of {len(data['replay'])} golden cases agree with the released code")


if __name__ == "__main__":
    sys.exit(main())
