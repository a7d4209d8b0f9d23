"""`semilinear work-precision`: errors of samplers from noise to data over their model evaluations."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table
from semilinear.integrators.common import limits
from semilinear.integrators.common.kinds import ALL

from ..problems.interval import BATCH, BUDGETS, END
from .terminal import (
    FAILED,
    OK,
    UsageError,
    add_convention,
    add_final,
    add_law,
    add_nfe,
    add_part,
    add_target,
    check_convention,
    console,
    count,
    finite,
    print_json,
    progress_bar,
    refusing,
    writable_file,
)


def add(commands: Any) -> argparse.ArgumentParser:
    """Add the command's parser."""
    command: argparse.ArgumentParser = commands.add_parser(
        "work-precision",
        help="errors of samplers from noise to data at equal numbers of evaluations",
        description="Errors against the exact flow from a schedule's own start to almost data, at budgets of "
        "model evaluations; a sampler takes the most steps that a budget affords. Beside an error stands the "
        "spread of the batch, by resampling it. Exit code 1 where nothing could be measured.",
    )
    add_target(command, "solvers", ALL, "+")
    add_nfe(command, BUDGETS, "budgets of evaluations")
    add_law(command)
    add_part(command, "grid", None, told="t; may be given again", action="append")
    add_final(
        command,
        action="append",
        help="how runs of our solvers end; may be given again (default: released)",
    )
    command.add_argument(
        "--as-released", action="store_true", help="on the grid that each solver's release has by default"
    )
    command.add_argument(
        "--best-grid", action="store_true", help="on every grid by name; the best one of each is shown"
    )
    add_convention(command)
    command.add_argument("--t-start", type=finite, help="(default: the schedule's last time)")
    command.add_argument("--t-end", type=finite, default=END, help="(default: %(default)s)")
    command.add_argument(
        "--batch", type=count(2, limits.STATES), default=BATCH, help="initial states (default: %(default)s)"
    )
    command.add_argument(
        "--seed", type=count(0, limits.SEED), default=0, help="of the initial states (default: %(default)s)"
    )
    command.add_argument("--plot", type=Path, metavar="FILE", help="write a plot (PNG or SVG)")
    command.set_defaults(run=run)
    return command


def run(options: argparse.Namespace) -> int:
    """Measure and print."""
    if options.best_grid and options.grid:
        raise UsageError("--best-grid tries every grid, got --grid")
    if options.plot is not None:
        writable_file(options.plot, (".png", ".svg"))
    if len(set(options.solvers)) < len(options.solvers):
        raise UsageError(f"solvers must be given once each, got {' '.join(options.solvers)}")
    check_convention(options.convention, options.solvers)

    from semilinear.analysis.text.named_parts import schedule_of

    from ..equal_nfe.experiment import NoiseToData
    from ..equal_nfe.study import SEARCHED, work_precision
    from ..problems.named import problem

    with refusing():
        experiment = NoiseToData(
            problem(options.problem),
            schedule=schedule_of(options.schedule, "--schedule"),
            batch=options.batch,
            seed=options.seed,
            t_start=options.t_start,
            t_end=options.t_end,
        )
        with progress_bar("running") as progress:
            study = work_precision(
                options.solvers,
                experiment,
                nfe=options.nfe,
                grids=SEARCHED if options.best_grid else options.grid,
                finals=options.final or ("released",),
                as_released=options.as_released,
                convention=options.convention,
                progress=progress,
            )
    if options.plot is not None:
        study.plot(options.plot, best=options.best_grid)
    if options.json:
        print_json(study.data)
    else:
        shown = study.best if options.best_grid else study.rows
        title = f"{study.place}{', best of all grids' if options.best_grid else ''}"
        console().print(_table(shown, title))
        print(f"error: RMS over {options.batch} states; beside it {study.interval}")
        if options.best_grid:
            print("the best grid is chosen on the states that its error is measured on")
    return OK if any(row.error is not None for row in study.rows) else FAILED


def _table(rows: Iterable[Any], title: str) -> Table:
    table = Table(
        "solver", "grid", "final", "budget", "NFE", "steps", "error", "spread", "", title=escape(title)
    )
    for r in rows:
        counts = ["" if n is None else str(n) for n in (r.nfe, r.steps)]
        error = ["", ""] if r.error is None else [f"{r.error:.3g}", f"{r.low:.3g} to {r.high:.3g}"]
        table.add_row(*map(escape, (r.solver, r.grid, r.final, str(r.budget), *counts, *error, r.note)))
    return table
