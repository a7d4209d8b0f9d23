"""`semilinear order`: measure the order of one solver."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from .interval import LAMBDA_END, LAMBDA_START
from .terminal import (
    FAILED,
    OK,
    UsageError,
    console,
    finite,
    known,
    positive,
    print_json,
    progress_bar,
    writable_file,
)

MOST_STATES = 10**6
MOST_DIGITS = 1000
PROBLEM = "rotated-product-2d"
"""Of a deterministic solver, unless another is asked for."""


def add(commands: Any) -> argparse.ArgumentParser:
    """Add the command's parser."""
    order: argparse.ArgumentParser = commands.add_parser(
        "order",
        help="measure the order of one solver",
        description="Measure the order of one solver.  Exit code 0 if the claim holds.",
    )
    order.add_argument("solver", help="a name of `semilinear list`")
    order.add_argument(
        "--problem",
        help="(default: rotated-product-2d; for stochastic solvers Gaussian data, without Monte Carlo)",
    )
    order.add_argument("--paths", type=int, help="Brownian paths of a stochastic solver on a problem")
    order.add_argument("--seed", type=int, help="of the starts and the paths (default: 0)")
    order.add_argument("--schedule", default="vp-linear", help="(default: %(default)s)")
    order.add_argument("--grid", default="lambda", help="(default: %(default)s)")
    order.add_argument(
        "--start", default="own", choices=("own", "exact", "high-order"), help="(default: %(default)s)"
    )
    order.add_argument(
        "--claimed", type=positive, help="the order to judge against (default: the solver's claim)"
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
    order.add_argument(
        "--max-steps",
        type=int,
        help="finest run (default: 512, 128 in multiprecision; of stochastic solvers 256, 64, over paths 48)",
    )
    order.add_argument(
        "--lam-start", type=finite, default=LAMBDA_START, help="lambda at the start (default: %(default)s)"
    )
    order.add_argument(
        "--lam-end", type=finite, default=LAMBDA_END, help="lambda at the end (default: %(default)s)"
    )
    order.add_argument(
        "--param", action="append", default=[], metavar="NAME=VALUE", help="a parameter of the solver"
    )
    order.add_argument("--plot", type=Path, metavar="FILE", help="write a convergence plot (PNG or SVG)")
    order.set_defaults(run=run)
    return order


def run(options: argparse.Namespace) -> int:
    """Measure, print, and judge the claim."""
    solver = _solver(options)
    if options.plot is not None:
        writable_file(options.plot, (".png", ".svg"))
    found = (_stochastic if solver.stochastic else _deterministic)(options, solver)
    if options.plot is not None:
        from .plots import plot_studies

        plot_studies(found.studies, found.title, options.plot)
    if options.json:
        print_json(found.data)
    else:
        for label, study in found.studies:
            several = f": {label}" if len(found.studies) > 1 else ""
            console().print(_points(study, found.title + several))
        print(found.sentence)
    return OK if found.data["verdict"] in ("consistent", "higher") else FAILED


@dataclass(frozen=True)
class _Found:
    """What was measured: JSON data with the verdict, labelled ladders of errors, and words."""

    title: str
    data: dict[str, Any]
    studies: list[tuple[str, Any]]
    sentence: str


def _deterministic(options: argparse.Namespace, solver: Any) -> _Found:
    from .own_statistics import on_experiment
    from .results import study_json
    from .study import run as measure

    _refuse(options, solver, "is deterministic", {"paths": None, "seed": None})
    experiment = _experiment(options)
    try:
        solver = on_experiment(options.solver, experiment, **_parameters(options.param))
        with progress_bar(f"running {solver.name}") as progress:
            study = measure(
                solver,
                experiment,
                start=options.start,
                residue=None if options.residue is None else tuple(options.residue),
                progress=progress,
            )
    except ValueError as error:
        raise UsageError(str(error)) from error
    data = study_json(study) | _judged(options, solver, study.against, study.reason)
    text = f"claimed {data['claimed']:g}, observed {_interval(data)}: {_verdict(data)}"
    title = f"{solver.name} on {options.problem or PROBLEM}, {options.start} start"
    return _Found(title, data, [(solver.name, data)], text)


def _stochastic(options: argparse.Namespace, solver: Any) -> _Found:
    from .results import stochastic_json
    from .stochastic import LONG_LADDER, StochasticExperiment, study
    from .stochastic_claims import UNMEASURED, sde_of

    if solver.name in UNMEASURED:
        raise UsageError(f"{solver.name} is not measured: {UNMEASURED[solver.name]}")
    _refuse(options, solver, "is stochastic", {"start": "own", "batch": None, "residue": None})
    if options.problem is not None:
        return _on_paths(options, solver)
    _refuse(options, solver, "is measured on Gaussian data without --problem", {"paths": None, "seed": None})
    schedule, grid, top = _setting(options, 256 if options.digits is None else 64, LONG_LADDER[-1])
    ladder = tuple(n for n in LONG_LADDER if n <= top)
    limits = options.lam_start, options.lam_end
    try:
        experiment = StochasticExperiment(schedule, grid, *limits, ladder=ladder, digits=options.digits)
        with progress_bar(f"running {solver.name}") as progress:
            measured = study(solver, experiment, form=sde_of(solver.name), progress=progress)
    except ValueError as error:
        raise UsageError(str(error)) from error
    data = stochastic_json(measured) | _judged(options, solver, measured.weak_verdict, measured.weak_doubt)
    studies = [
        (name, part | {"start": "own", "claimed": data["claimed"]})
        for name, part in data["studies"].items()
        if name not in measured.exact and not (measured.marginal and name == "strong")
    ]
    kind = "marginals of" if measured.marginal else "weak"
    strong = "strong order: none" if measured.marginal else f"strong {_interval(data['strong'])}"
    text = f"claimed {data['claimed']:g}, observed {kind} {_interval(data)}: {_verdict(data)}; {strong}"
    return _Found(f"{solver.name} on Gaussian data", data, studies, text)


def _on_paths(options: argparse.Namespace, solver: Any) -> _Found:
    """A stochastic solver on a problem that is not Gaussian: coupled paths."""
    from .coupled import LADDER, LONG_LADDER, CoupledExperiment, study
    from .problems import problem
    from .results import coupled_json
    from .stochastic_claims import sde_of

    _refuse(options, solver, "is measured over paths", {"digits": None})
    schedule, grid, top = _setting(options, LADDER[-1], LONG_LADDER[-1])
    given = {key: getattr(options, key) for key in ("paths", "seed") if getattr(options, key) is not None}
    given["ladder"] = tuple(n for n in LONG_LADDER if n <= top)
    try:
        experiment = CoupledExperiment(
            problem(options.problem), schedule, grid, options.lam_start, options.lam_end, **given
        )
        with progress_bar(f"running {solver.name}") as progress:
            measured = study(solver, experiment, form=sde_of(solver.name), progress=progress)
    except ValueError as error:
        raise UsageError(str(error)) from error
    data = coupled_json(measured) | _judged(options, solver, measured.weak_verdict, measured.weak_doubt)
    studies = [
        (name, part | {"start": "own", "claimed": data["claimed"]})
        for name, part in data["studies"].items()
        if name in ("weak", "strong", "median")
    ]
    text = (
        f"claimed {data['claimed']:g}, observed weak {_interval(data)}: {_verdict(data)}; "
        f"strong {_interval(data['studies']['strong'])}, median {_interval(data['studies']['median'])}; "
        f"the largest hundredth of the errors makes {100 * measured.share[-1]:.0f} % of the mean square"
    )
    title = f"{solver.name} on {options.problem}, {measured.paths} coupled paths"
    return _Found(title, data, studies, text)


def _refuse(options: argparse.Namespace, solver: Any, why: str, defaults: dict[str, Any]) -> None:
    """Refuse options that mean nothing here, unless they have their default."""
    for name, default in defaults.items():
        if getattr(options, name) != default:
            raise UsageError(f"--{name} does not apply to {solver.name}: it {why}")


def _judged(options: argparse.Namespace, solver: Any, verdict: Any, reason: Any) -> dict[str, Any]:
    """What a study says of the claim; verdict, reason: functions of an order."""
    claimed = solver.claimed if options.claimed is None else options.claimed
    return {"claimed": claimed, "verdict": verdict(claimed), "reason": reason(claimed)}


def _verdict(data: Any) -> str:
    return f"{data['verdict']} ({data['reason']})" if data["reason"] else str(data["verdict"])


def _interval(data: Any) -> str:
    if data["observed"] is None:
        return "no order"
    return f"order {data['observed']:.3f}, 95% interval [{data['low']:.3f}, {data['high']:.3f}]"


def _points(study: Any, title: str) -> Table:
    table = Table("N", "NFE", "error", "floor", "used", title=title)
    for row in study["points"]:
        used = "fit" if row["N"] in study["window"] else "yes" if row["usable"] else "no"
        error = "diverged" if row["error"] is None else f"{row['error']:.3e}"
        table.add_row(str(row["N"]), str(row["NFE"]), error, f"{row['floor']:.0e}", used)
    return table


def _solver(options: argparse.Namespace) -> Any:
    from semilinear.integrators.solvers import make

    try:
        return make(options.solver, **_parameters(options.param))
    except (
        ValueError,
        TypeError,
        OverflowError,
        OSError,
    ) as error:  # what the text stands for is no argument
        raise UsageError(str(error)) from error


def _setting(options: argparse.Namespace, default_top: int, most: int) -> tuple[Any, Any, int]:
    """Schedule, grid and finest run, checked."""
    from .campaign import GRIDS, SCHEDULES

    known("schedule", options.schedule, SCHEDULES)
    known("grid", options.grid, GRIDS)
    if options.digits is not None and not 1 <= options.digits <= MOST_DIGITS:
        raise UsageError(f"--digits must be from 1 to {MOST_DIGITS}, got {options.digits}")
    top = options.max_steps if options.max_steps is not None else default_top
    if not 8 <= top <= most:
        raise UsageError(f"--max-steps must be from 8 to {most} for {options.solver}, got {top}")
    if not options.lam_end > options.lam_start:
        raise UsageError(
            f"--lam-end must exceed --lam-start = {options.lam_start:g}, got {options.lam_end:g}"
        )
    return SCHEDULES[options.schedule](), GRIDS[options.grid](), top


def _experiment(options: argparse.Namespace) -> Any:
    """The experiment that the options describe."""
    from .campaign import Setting
    from .problems import problem
    from .study import LADDER, LONG_LADDER

    multiprecise = options.digits is not None
    _, _, top = _setting(options, 128 if multiprecise else 512, LONG_LADDER[-1])
    batch = options.batch if options.batch is not None else 4 if multiprecise else 64
    if not 1 <= batch <= MOST_STATES:
        raise UsageError(f"--batch must be from 1 to {MOST_STATES}, got {batch}")
    if options.residue is not None and not 0 <= options.residue[1] < options.residue[0]:
        raise UsageError(f"--residue M R needs 0 <= R < M, got {options.residue[0]} {options.residue[1]}")
    ladder = tuple(n for n in LONG_LADDER if n <= top)
    try:
        problem(options.problem or PROBLEM)
        setting = Setting(
            "order",
            options.problem or PROBLEM,
            options.schedule,
            options.grid,
            batch,
            options.digits,
            ladder or LADDER,
            options.lam_start,
            options.lam_end,
        )
        return setting.build()
    except ValueError as error:
        raise UsageError(str(error)) from error


def _parameters(pairs: Sequence[str]) -> dict[str, Any]:
    """NAME=VALUE options: integers, exact rationals, true/false, or words."""
    from sympy import Rational

    number = re.compile(r"[+-]?\d{1,50}(\.\d{1,50})?([eE][+-]?\d{1,3})?(/0*[1-9]\d{0,49})?", re.ASCII)
    parameters: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(f"--param must be NAME=VALUE, got {pair!r}")
        if name in parameters:
            raise UsageError(f"--param must set a parameter once, got {name} again")
        if text.lower() in ("true", "false"):
            parameters[name] = text.lower() == "true"
            continue
        if not number.fullmatch(text):
            parameters[name] = text
            continue
        value = Rational(text)
        parameters[name] = int(value) if value.is_Integer and "." not in text else value
    return parameters
