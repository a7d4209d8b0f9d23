"""What the options of `semilinear order` fix for every run: schedule, grid, ladder, problem."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from .terminal import UsageError

if TYPE_CHECKING:
    from semilinear.integrators.diffusion.grids import Grid
    from semilinear.integrators.diffusion.schedule import Schedule

MOST_STATES = 10**6
MOST_DIGITS = 1000


def setting_of(options: argparse.Namespace, default_top: int, most: int) -> tuple[Any, Any, int]:
    """Schedule, grid and finest run, checked."""
    schedule, grid = parts_of(options)
    check_digits(options)
    top = finest(options, default_top, most)
    if not options.lam_end > options.lam_start:
        raise UsageError(
            f"--lam-end must exceed --lam-start = {options.lam_start:g}, got {options.lam_end:g}"
        )
    return schedule, grid, top


def parts_of(options: argparse.Namespace) -> tuple[Schedule, Grid]:
    """Schedule and grid.  Raises UsageError for a text that names none."""
    from semilinear.analysis.text.named_parts import grid_of, schedule_of

    try:
        return schedule_of(options.schedule, "--schedule"), grid_of(options.grid, "--grid")
    except ValueError as error:
        raise UsageError(str(error)) from error


def check_digits(options: argparse.Namespace) -> None:
    """Refuse digits that no run has."""
    if options.digits is not None and not 1 <= options.digits <= MOST_DIGITS:
        raise UsageError(f"--digits must be from 1 to {MOST_DIGITS}, got {options.digits}")


def finest(options: argparse.Namespace, default: int, most: int) -> int:
    """The finest run."""
    top: int = options.max_steps if options.max_steps is not None else default
    if not 8 <= top <= most:
        raise UsageError(f"--max-steps must be from 8 to {most} for {options.solver}, got {top}")
    return top


def experiment_of(options: argparse.Namespace) -> Any:
    """The experiment that the options describe."""
    from ..problems.named import problem
    from ..studies.flow import LADDER, LONG_LADDER
    from ..studies.setting import MAIN_PROBLEM, Setting

    multiprecise = options.digits is not None
    if multiprecise and options.dtype != "float64":
        raise UsageError(f"--dtype {options.dtype} does not go with --digits")
    _, _, top = setting_of(options, 128 if multiprecise else 512, LONG_LADDER[-1])
    batch = options.batch if options.batch is not None else 4 if multiprecise else 64
    if not 1 <= batch <= MOST_STATES:
        raise UsageError(f"--batch must be from 1 to {MOST_STATES}, got {batch}")
    if options.residue is not None and not 0 <= options.residue[1] < options.residue[0]:
        raise UsageError(f"--residue M R needs 0 <= R < M, got {options.residue[0]} {options.residue[1]}")
    ladder = tuple(n for n in LONG_LADDER if n <= top)
    try:
        problem(options.problem or MAIN_PROBLEM)
        setting = Setting(
            "order",
            options.problem or MAIN_PROBLEM,
            options.schedule,
            options.grid,
            batch,
            options.digits,
            ladder or LADDER,
            options.lam_start,
            options.lam_end,
            dtype=options.dtype,
        )
        return setting.build()
    except ValueError as error:
        raise UsageError(str(error)) from error
