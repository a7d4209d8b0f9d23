"""What every command shares: exit codes, refusals, output on terminals and as JSON."""

from __future__ import annotations

import argparse
import cmath
import gc
import json
import math
import re
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from semilinear.integrators.common import limits
from semilinear.integrators.common.choices import FINAL_CHOICES
from semilinear.integrators.common.kinds import Kind, spelled

from ..studies.progress import Progress
from . import names

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
SECONDS = 20.0
"""Between the lines that tell of progress where there is no terminal."""


class UsageError(Exception):
    """Arguments that cannot be used; the message says which and why."""


def missing(error: ModuleNotFoundError) -> str:
    """What is not installed, said once."""
    said, text = f"{error.name} is not installed", str(error)
    return text if text.startswith(said) else f"{said}: {text}"


def finite(text: str) -> float:
    """A finite number, for argparse."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"must be a finite number, got {text!r}")
    return value


def positive(text: str) -> float:
    """A positive number, for argparse."""
    value = finite(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"must be positive, got {text!r}")
    return value


def count(least: int, most: int | None = None) -> Callable[[str], int]:
    """An integer from `least` to `most`, for argparse."""

    def parse(text: str) -> int:
        value = int(text) if re.fullmatch(r"[+-]?\d{1,30}", text, re.ASCII) else least - 1
        if value < least or (most is not None and value > most):
            wanted = f">= {least}" if most is None else f"from {least} to {most}"
            raise argparse.ArgumentTypeError(f"must be an integer {wanted}, got {text!r}")
        return value

    return parse


def counts(most: int) -> Callable[[str], tuple[int, ...]]:
    """Integers from 1 to `most` by commas, each once, increasing; for argparse."""

    def parse(text: str) -> tuple[int, ...]:
        return tuple(sorted({count(1, most)(part.strip()) for part in text.split(",")}))

    return parse


def complex_number(text: str) -> complex:
    """A finite complex number, for argparse; i and j both stand for the imaginary unit."""
    try:
        value = complex(text[:-1] + "j" if text[-1:] in ("i", "I") else text)
    except ValueError:
        value = complex(math.nan)
    if not cmath.isfinite(value):
        raise argparse.ArgumentTypeError(f"must be a finite number such as -1, 1j or -1+2j, got {text!r}")
    return complex(value.real + 0.0, value.imag + 0.0)  # no -0, which would print and compare as another


def readable_file(path: Path, option: str = "") -> None:
    """Refuse a file that cannot be read."""
    try:
        path.stat()
        if path.is_file() or path.is_dir():  # to open a pipe would wait for a writer
            path.open("rb").close()
    except OSError as error:
        raise UsageError(f"{option}{path} cannot be read: {error.strerror}") from error


def writable_file(path: Path, suffixes: tuple[str, ...], option: str = "--plot") -> None:
    """Refuse a path that could not be written once the work is done."""
    if path.suffix.lower() not in suffixes:
        raise UsageError(f"{option} must end in {' or '.join(suffixes)}, got {str(path)!r}")
    if path.is_dir():
        raise UsageError(f"{option} must be a file, got the folder {path}")
    writable_folder(path.parent, option)


def writable_folder(path: Path, option: str) -> None:
    """Refuse a folder that could not be written to once the work is done, or that is not there."""
    try:
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise UsageError(f"{option}: {path} cannot be written to: {error.strerror}") from error


def out_folder(path: Path) -> None:
    """Refuse what cannot be the folder of --out, which is made with the first file that is written to it."""
    there = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    if not there.is_dir():
        raise UsageError(f"--out must be a folder, got the file {there}")
    writable_folder(there, "--out")


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave what it means to `cli.main`; rich would exit with code 1."""
        raise BrokenPipeError


def console(stderr: bool = False) -> Console:
    """A console; wide where nobody's terminal limits it."""
    console = _Console(stderr=stderr)
    return console if console.is_terminal else _Console(stderr=stderr, width=160)


@contextmanager
def progress_bar(label: str) -> Iterator[Progress]:
    """How far work is, on standard error: a bar where that is a terminal, else a line every `SECONDS`."""
    screen = Console(stderr=True)
    if not screen.is_terminal:
        yield _lines(label)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    shared = sys.stdout.isatty()  # what is printed goes above the bar, unless a file takes it
    with Bars(*columns, console=screen, transient=True, redirect_stdout=shared) as bars:
        task = bars.add_task(label, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


@contextmanager
def refusing(*also: type[Exception]) -> Iterator[None]:
    """What options and texts stand for is no argument of a user's: what is raised of it is bad usage.

    also: besides ValueError and TypeError.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise UsageError(missing(error)) from error
    except Exception as error:
        if not isinstance(error, (ValueError, TypeError, *also)):
            raise
        raise UsageError(str(error)) from error


@contextmanager
def uncollected() -> Iterator[None]:
    """No search for garbage in work that leaves little: a tenth of the time in which sympy is imported, and
    solvers are built and printed.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _lines(label: str) -> Progress:
    began = told = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told >= SECONDS:
            told = now
            print(f"{label}: {done} of {total} after {now - began:.0f} s", file=sys.stderr, flush=True)

    return tell


_out: TextIO | None = None
"""Standard output, while nobody else writes there."""


@contextmanager
def json_alone() -> Iterator[None]:
    """What anything prints but `print_json`, as a user's sampler may, goes to standard error."""
    global _out
    before, _out = _out, sys.stdout
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _out = before


def print_json(data: Any) -> None:
    """Data as JSON on standard output."""
    (_out or sys.stdout).write(json.dumps(data, indent=1, allow_nan=False) + "\n")


def known(name: str, value: str, table: Iterable[str]) -> None:
    """Refuse a name that is not listed."""
    if value not in table:
        raise UsageError(f"--{name} must be one of {', '.join(table)}, got {value!r}")


def add_named(
    command: argparse._ActionsContainer, takes: names.Names, *flags: str, **how: Any
) -> argparse.Action:
    """Add an argument that takes names: it is refused by them (`check_names`), and completed."""
    action = command.add_argument(*flags, **how)
    action.takes = takes  # type: ignore[attr-defined]
    return action


def check_names(options: argparse.Namespace, arguments: Iterable[argparse.Action]) -> None:
    """Refuse names that there are not, before anything is imported that one could stand for.

    arguments: of the command, those that take names.
    """
    for action in arguments:
        given = getattr(options, action.dest)
        if given is None or given == action.default:
            continue
        what = action.option_strings[0] if action.option_strings else action.dest
        for text in given if isinstance(given, list) else [given]:
            try:
                action.takes.check(what, text)  # type: ignore[attr-defined]
            except ValueError as error:
                raise UsageError(str(error)) from error


def add_law(command: argparse.ArgumentParser) -> None:
    """Add --problem and --schedule."""
    add_named(
        command, names.alone("problems"), "--problem", default="golden-mixture", help="(default: %(default)s)"
    )
    add_part(command, "schedule", "vp-linear")


def add_part(command: argparse.ArgumentParser, kind: str, default: str | None, **how: Any) -> None:
    """Add --schedule or --grid; default: None is told by `told`."""
    told = how.pop("told", default)
    add_named(
        command,
        names.part(kind),
        f"--{kind}",
        default=default,
        metavar="NAME[:KEY=VALUE,..]",
        help=f"one of `semilinear list --of {kind}s` with parameters (default: {told})",
        **how,
    )


def add_final(command: argparse.ArgumentParser, **how: Any) -> None:
    """Add --final."""
    command.add_argument("--final", choices=FINAL_CHOICES, **how)


def add_workers(command: argparse.ArgumentParser, default: int | None = 1) -> None:
    """Add --workers; default: None is one per core."""
    told = "one per core" if default is None else str(default)
    command.add_argument(
        "--workers",
        type=count(1, limits.WORKERS),
        default=default,
        metavar="N",
        help=f"processes, which change no number (default: {told})",
    )


def add_device(command: argparse.ArgumentParser, default: str) -> None:
    """Add --device."""
    command.add_argument("--device", choices=("cpu", "cuda"), default=default, help="(default: %(default)s)")


def add_nfe(command: argparse.ArgumentParser, default: Sequence[int], what: str) -> None:
    """Add --nfe."""
    command.add_argument(
        "--nfe",
        type=counts(limits.EVALUATIONS),
        default=tuple(default),
        metavar="N,..",
        help=f"{what} (default: {','.join(map(str, default))})",
    )


def add_target(
    command: argparse.ArgumentParser, name: str, takes: Collection[Kind], nargs: str | None = None
) -> None:
    """Add what the command is about, and say which kinds it takes."""
    more = "; PACKAGE:* is all of a package" if "plan" in takes and nargs else ""
    add_named(command, names.target(takes), name, nargs=nargs, metavar="TARGET", help=spelled(takes) + more)


def add_convention(command: argparse.ArgumentParser) -> None:
    """Add --as."""
    add_named(
        command,
        names.alone("conventions"),
        "--as",
        dest="convention",
        metavar="CONVENTION",
        help="of a file's function: k-diffusion, plain, .. (default: one that needs one argument takes a "
        "run, one that needs none makes what runs)",
    )


def check_convention(convention: str | None, targets: Iterable[str]) -> None:
    """Refuse a convention where no target is a file's function."""
    if convention is not None and not any(names.is_function(text) for text in targets):
        raise UsageError(f"--as is for FILE.py:function, got {' '.join(targets)}")
