"""The experiment that the options of `semilinear order` describe, and which of them mean nothing there."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from .terminal import UsageError

if TYPE_CHECKING:
    from semilinear.integrators.diffusion.grids import Grid
    from semilinear.integrators.diffusion.schedule import Schedule

    from ..studies.measure import AnyExperiment
    from ..targets.named import Target


def parts_of(options: argparse.Namespace) -> tuple[Schedule, Grid]:
    """Schedule and grid.  Raises UsageError for a text that names none."""
    from semilinear.analysis.text.named_parts import grid_of, schedule_of

    try:
        return schedule_of(options.schedule, "--schedule"), grid_of(options.grid, "--grid")
    except ValueError as error:
        raise UsageError(str(error)) from error


def check(options: argparse.Namespace) -> None:
    """Refuse options that say nothing together, whatever is measured."""
    if options.digits is not None and options.dtype != "float64":
        raise UsageError(f"--dtype {options.dtype} does not go with --digits")
    if options.residue is not None and not 0 <= options.residue[1] < options.residue[0]:
        raise UsageError(f"--residue M R needs 0 <= R < M, got {options.residue[0]} {options.residue[1]}")
    if not options.lam_end > options.lam_start:
        raise UsageError(
            f"--lam-end must exceed --lam-start = {options.lam_start:g}, got {options.lam_end:g}"
        )


def finest(options: argparse.Namespace, default: int, most: int) -> int:
    """The finest run."""
    top: int = options.max_steps if options.max_steps is not None else default
    if not 8 <= top <= most:
        raise UsageError(f"--max-steps must be from 8 to {most} for {options.solver}, got {top}")
    return top


def refuse(options: argparse.Namespace, name: str, why: str, defaults: dict[str, Any]) -> None:
    """Refuse options that mean nothing for what is measured, unless they have their default."""
    for option, default in defaults.items():
        if getattr(options, option) != default:
            raise UsageError(f"--{option.replace('_', '-')} does not apply to {name}: it {why}")


def experiment_of(options: argparse.Namespace, target: Target) -> AnyExperiment:
    """The experiment that the options describe, for a target of its kind.

    Raises UsageError for options that mean nothing there, and ValueError for what the experiment refuses.
    """
    if not target.stochastic:
        return _on_flow(options, target)
    only = {"start": "own", "batch": None, "residue": None, "dtype": "float64"}
    refuse(options, target.name, "is stochastic", only)
    return _on_gaussian_data(options, target) if options.problem is None else _on_paths(options, target)


def _on_flow(options: argparse.Namespace, target: Target) -> AnyExperiment:
    from ..problems.named import problem
    from ..studies.experiment import MAIN_PROBLEM, Experiment
    from ..studies.ladders import FLOW, FLOW_LONG

    refuse(options, target.name, "is deterministic", {"paths": None, "seed": None})
    multiprecise = options.digits is not None
    setup = _setup(options, 128 if multiprecise else FLOW[-1], FLOW_LONG)
    batch = options.batch if options.batch is not None else 4 if multiprecise else 64
    return Experiment(problem(options.problem or MAIN_PROBLEM), batch=batch, dtype=options.dtype, **setup)


def _on_gaussian_data(options: argparse.Namespace, target: Target) -> AnyExperiment:
    from ..studies.gaussian import StochasticExperiment
    from ..studies.ladders import GAUSSIAN, GAUSSIAN_LONG

    why = "is measured on Gaussian data without --problem"
    refuse(options, target.name, why, {"paths": None, "seed": None})
    return StochasticExperiment(
        **_setup(options, GAUSSIAN[-1] if options.digits is None else 64, GAUSSIAN_LONG)
    )


def _on_paths(options: argparse.Namespace, target: Target) -> AnyExperiment:
    from ..problems.named import problem
    from ..studies.coupled import CoupledExperiment
    from ..studies.ladders import PATHS, PATHS_LONG

    refuse(options, target.name, "is measured over paths", {"digits": None})
    given = {key: getattr(options, key) for key in ("paths", "seed") if getattr(options, key) is not None}
    setup = _setup(options, PATHS[-1], PATHS_LONG)
    return CoupledExperiment(problem(options.problem), **given, **setup)


def _setup(options: argparse.Namespace, finest_by_default: int, all_steps: tuple[int, ...]) -> dict[str, Any]:
    """What every experiment is given."""
    schedule, grid = parts_of(options)
    top = finest(options, finest_by_default, all_steps[-1])
    return {
        "schedule": schedule,
        "grid": grid,
        "lam_start": options.lam_start,
        "lam_end": options.lam_end,
        "ladder": tuple(n for n in all_steps if n <= top),
        "digits": options.digits,
    }
