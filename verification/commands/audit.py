"""`semilinear audit`: any sampler's order as run and of its formula, what it is, and what else is to be said.

JSON: audits, a list of {target, package, version, claimed, as_run, not_smooth, formula, weak, strong,
identified, diagnosis, nfe, findings, checks, holds}; orders (not_smooth: as run on steps that alternate) are
null or {observed, low, high, verdict, reason, where}, identified is null or {solver, final, longer, same,
others, difference, first_row, what, schedule, rounded}, diagnosis is null or {form, formulas, text}, formulas
are {first, steps, of, rows, outputs, moments} (of: the number of the run's steps), findings are {check,
verdict, message, repeat}, checks are {name: "holds", or the gravest verdict of its findings, or "not asked: "
and why}, also of orders, identity and diagnosis that are null; failed, how many do not hold.  With --against
also changed, null or {from, same, difference, first_row, what}.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table
from semilinear.analysis.text.spelling import pairs
from semilinear.integrators.common.kinds import ALL

from . import names
from .terminal import (
    FAILED,
    OK,
    UsageError,
    add_convention,
    add_named,
    add_target,
    add_workers,
    check_convention,
    console,
    out_folder,
    positive,
    print_json,
    progress_bar,
    refusing,
    writable_folder,
)


def add(commands: Any) -> argparse.ArgumentParser:
    """Add the command's parser."""
    audit: argparse.ArgumentParser = commands.add_parser(
        "audit",
        help="any sampler, of a package or your own: order, formula, identity, findings",
        description="Reads a sampler off as a plan where it is linear, and judges it.  Exit code 1 if a "
        "claimed order does not hold, or a check fails.",
    )
    add_target(audit, "targets", ALL, "+")
    audit.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        dest="settings",
        metavar="KEY=VALUE",
        help="settings of the sampler",
    )
    add_convention(audit)
    audit.add_argument("--claimed", type=positive, metavar="P", help="the order to judge against")
    add_named(
        audit,
        names.alone("checks"),
        "--only",
        nargs="+",
        action="extend",
        metavar="CHECK",
        help="orders, identity, diagnosis, linear, noise, batch, repeat, times, nfe, finite, dtype, float32, "
        "half, ends, shipped",
    )
    audit.add_argument(
        "--save", type=Path, metavar="FILE", help="the run with 20 steps as a plan file; of several, a folder"
    )
    audit.add_argument(
        "--against",
        type=Path,
        metavar="DIR",
        help="what `--out DIR --save DIR/plans` left of another version: what changed, in coefficients",
    )
    audit.add_argument("--out", type=Path, metavar="DIR", help="write audit.json and audit.md there")
    add_workers(audit, None)
    audit.set_defaults(run=run)
    return audit


def run(options: argparse.Namespace) -> int:
    """Audit, print, save."""
    several = len(options.targets) > 1 or options.targets[0].endswith(":*")
    _check(options, several)
    targets = _targets(options)
    before = [] if options.against is None else _before(options.against)
    found = []
    with progress_bar("audit") as progress:
        for row in _rows(targets, options, several):
            found.append(row)
            progress(len(found), len(targets))
            if not options.json:
                _print(row)
    if options.save is not None and not several:
        _save(targets[0], options)
    if options.out is not None:
        same = {row["target"] for row in found if (row.get("changed") or {}).get("same")}
        _write([*found, *(row for row in before if row["target"] not in same)], options.out)
    failed = sum(not row["holds"] for row in found)
    if options.json:
        print_json({"audits": found, "failed": failed})
    elif len(found) > 1:
        print(f"{len(found) - failed} of {len(found)} hold")
    return FAILED if failed else OK


def _check(options: argparse.Namespace, several: bool) -> None:
    """Refuse what can be told without a target."""
    check_convention(options.convention, options.targets)
    with refusing():
        pairs("--set", options.settings)
    if len(set(options.targets)) < len(options.targets):
        raise UsageError(f"targets must be given once each, got {' '.join(options.targets)}")
    if options.against is not None and not (options.against / "audit.json").is_file():
        raise UsageError(
            f"--against: {options.against} must hold audit.json as `semilinear audit --out` writes it"
        )
    if options.out is not None:
        out_folder(options.out)
    if options.save is not None:
        if not several and options.save.is_dir():
            raise UsageError(f"--save must be a file for one target, got the folder {options.save}")
        writable_folder(options.save if several else options.save.parent, "--save")


def _targets(options: argparse.Namespace) -> list[str]:
    """The targets by name, `*` written out; each is made once, so that what is none is refused at once."""
    from ..audit.audit import audit
    from ..targets.named import targets

    listed: list[str] = []
    with refusing(AttributeError):
        for text in options.targets:
            found = (
                [target.name for target in targets(text, **_how(options))] if text.endswith(":*") else [text]
            )
            audit(found[0], options.claimed, only=options.only, **_how(options))
            listed += found
    return listed


def _how(options: argparse.Namespace) -> dict[str, Any]:
    from ..targets.named import value

    given = {key: value(text) for key, text in pairs("--set", options.settings).items()}
    return {"convention": options.convention, "settings": given}


def _rows(targets: list[str], options: argparse.Namespace, several: bool) -> Iterable[dict[str, Any]]:
    from ..audit.field import rows

    return rows(
        targets,
        options.claimed,
        only=options.only,
        workers=options.workers or os.cpu_count() or 1,
        plans=options.save if several else None,
        against=options.against,
        **_how(options),
    )


def _before(folder: Path) -> list[dict[str, Any]]:
    from ..audit.versions import audits

    try:
        return audits(folder)
    except ValueError as error:
        raise UsageError(f"--against: {error}") from error


def _save(name: str, options: argparse.Namespace) -> None:
    from ..audit.audit import audit
    from ..audit.versions import save

    try:
        save(audit(name, **_how(options)).subject, options.save)
    except Exception as error:  # it is no plan, whatever else it is
        raise UsageError(f"--save: {name} cannot be read off: {error}") from error


def _write(found: list[dict[str, Any]], folder: Path) -> None:
    from semilinear.integrators.common.files import write_atomically, write_json

    from ..reporting.audit import markdown

    data = {"audits": found}
    write_json(folder / "audit.json", data)
    write_atomically(folder / "audit.md", markdown(data))


def _print(row: dict[str, Any]) -> None:
    from ..reporting.audit import lines

    screen = console()
    version = f" ({row['package']} {row['version']})" if row["package"] else ""
    screen.print(f"[bold]{escape(row['target'])}[/bold]{escape(version)}")
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 2))
    for name, text in lines(row):
        table.add_row(name, escape(text))
    screen.print(table)
