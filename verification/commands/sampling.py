"""`semilinear sample` and `semilinear likelihood`: one run of a problem's exact score, either way."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from semilinear.integrators.common import limits
from semilinear.integrators.common.kinds import STEPPING

from ..problems.interval import BATCH, END
from .terminal import (
    FAILED,
    OK,
    UsageError,
    add_convention,
    add_final,
    add_law,
    add_part,
    add_target,
    check_convention,
    console,
    count,
    finite,
    positive,
    print_json,
    refusing,
    writable_file,
)


def _add_place(command: argparse.ArgumentParser, batch: int) -> None:
    """Problem, schedule, number of samples and seed."""
    add_law(command)
    command.add_argument(
        "--batch", type=count(1, limits.STATES), default=batch, help="samples (default: %(default)s)"
    )
    command.add_argument(
        "--seed", type=count(0, limits.SEED), default=0, help="of states and noise (default: %(default)s)"
    )


def add_sample(commands: Any) -> argparse.ArgumentParser:
    """Add the command that samples."""
    command: argparse.ArgumentParser = commands.add_parser(
        "sample",
        help="one run from noise to data: its samples, or what they are like",
        description="Run a solver from a schedule's own start to almost data on a problem's exact score. "
        "Prints mean and deviation of the samples and, of a deterministic run, the RMS error against the "
        "exact flow. Exit code 1 where the run leaves the numbers.",
    )
    add_target(command, "solver", STEPPING)
    command.add_argument(
        "--steps",
        type=count(1, limits.STEPS),
        default=20,
        help="(or evaluations, of a solver made to a number of them; default: %(default)s)",
    )
    _add_place(command, BATCH)
    add_part(command, "grid", "lambda")
    add_final(command, default="released", help="how the run ends (default: as the release does)")
    add_convention(command)
    command.add_argument("--denoise", action="store_true", help="end with the data prediction at --t-end")
    command.add_argument("--t-start", type=finite, help="(default: the schedule's last time)")
    command.add_argument("--t-end", type=finite, default=END, help="(default: %(default)s)")
    command.add_argument(
        "--rtol",
        type=positive,
        help="let the embedded error choose the steps, to this relative tolerance; the solver needs a row of "
        "lower order, such as dpm-solver-2:low=true",
    )
    command.add_argument("--atol", type=positive, help="of these steps (default: 0.0078)")
    command.add_argument("--out", type=Path, metavar="FILE.npz", help="write states and times")
    command.set_defaults(run=_sample)
    return command


def _sample(options: argparse.Namespace) -> int:
    if options.atol is not None and options.rtol is None:
        raise UsageError("--atol is for steps that --rtol chooses")
    check_convention(options.convention, [options.solver])
    if options.out is not None:
        writable_file(options.out, (".npz",), "--out")

    from semilinear.analysis.text.named_parts import grid_of, schedule_of
    from semilinear.integrators.run.adaptive import Controller
    from semilinear.integrators.run.sampler import NonFiniteError

    from ..equal_nfe.experiment import NoiseToData
    from ..equal_nfe.single import draw
    from ..problems.named import problem

    try:
        with refusing():
            experiment = NoiseToData(
                problem(options.problem),
                schedule=schedule_of(options.schedule, "--schedule"),
                grid=grid_of(options.grid, "--grid"),
                batch=options.batch,
                seed=options.seed,
                t_start=options.t_start,
                t_end=options.t_end,
            )
            tolerances = {name: getattr(options, name) for name in ("rtol", "atol") if getattr(options, name)}
            found = draw(
                options.solver,
                experiment,
                steps=options.steps,
                final=options.final,
                denoise=options.denoise,
                controller=Controller(**tolerances) if tolerances else None,
                convention=options.convention,
            )
    except NonFiniteError as error:
        return _failed(str(error), options.json)
    if options.out is not None:
        found.save(options.out)
    if options.json:
        print_json(found.data)
    else:
        told = found.data
        console().print(str(found), markup=False)
        for name in ("mean", "deviation"):
            shown = " ".join(f"{value:.4g}" for value in told[name][:8])
            console().print(f"{name}: {shown}{' ..' if len(told[name]) > 8 else ''}", markup=False)
    return OK


def _failed(message: str, as_json: bool) -> int:
    if as_json:
        print_json({"finite": False, "error": None, "note": message})
    else:
        console().print(message, markup=False)
    return FAILED


def add_likelihood(commands: Any) -> argparse.ArgumentParser:
    """Add the command of likelihoods."""
    command: argparse.ArgumentParser = commands.add_parser(
        "likelihood",
        help="log-likelihoods of a problem's samples by the probability flow",
        description="Integrate the probability flow with its divergence from samples at --t-start to the "
        "prior: log-likelihood and bits per dimension, beside the exact ones where the density is known. "
        "Exit code 1 where the integration fails.",
    )
    _add_place(command, 64)
    command.add_argument("--t-start", type=finite, default=END, help="(default: %(default)s)")
    command.add_argument("--t-end", type=finite, help="(default: the schedule's last time)")
    command.add_argument("--rtol", type=positive, default=1e-5, help="(default: %(default)s)")
    command.add_argument("--atol", type=positive, default=1e-5, help="(default: %(default)s)")
    command.add_argument(
        "--probes", type=count(1, limits.STEPS), help="estimate the divergence with so many (default: exact)"
    )
    command.set_defaults(run=_likelihood)
    return command


def _likelihood(options: argparse.Namespace) -> int:
    from semilinear.analysis.text.named_parts import schedule_of
    from semilinear.integrators.run.black_box import Solve

    from ..problems.named import problem
    from ..studies.likelihood import likelihoods

    try:
        with refusing():
            found = likelihoods(
                problem(options.problem),
                schedule_of(options.schedule, "--schedule"),
                batch=options.batch,
                seed=options.seed,
                t_start=options.t_start,
                t_end=options.t_end,
                probes=options.probes,
                solve=Solve(options.rtol, options.atol),
            )
    except ArithmeticError as error:
        return _failed(str(error), options.json)
    if options.json:
        print_json(found.data)
    else:
        console().print(str(found), markup=False)
    return OK
