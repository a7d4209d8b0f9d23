"""`semilinear order`: measure the order of one solver."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table
from semilinear.integrators.common import limits
from semilinear.integrators.common.choices import STARTS
from semilinear.integrators.common.kinds import STEPPING

from ..problems.interval import LAMBDA_END, LAMBDA_START
from . import names
from .order_setting import check, experiment_of, finest, refuse
from .terminal import (
    FAILED,
    OK,
    UsageError,
    add_convention,
    add_final,
    add_named,
    add_part,
    add_target,
    check_convention,
    console,
    count,
    finite,
    known,
    positive,
    print_json,
    progress_bar,
    refusing,
    writable_file,
)


def add(commands: Any) -> argparse.ArgumentParser:
    """Add the command's parser."""
    order: argparse.ArgumentParser = commands.add_parser(
        "order",
        help="measure the order of one solver or tableau",
        description="Measure the order of one solver on a problem of diffusion, or of a tableau on a system "
        "u' = L u + N(t, u) with a full matrix L.  Exit code 0 if the claim holds; of a file, which claims "
        "nothing, what is proved of it.",
    )
    add_target(order, "solver", STEPPING)
    add_named(
        order,
        names.alone("problems", "systems"),
        "--problem",
        help="(default: rotated-product-2d; for stochastic solvers Gaussian data, without Monte Carlo; for "
        "entries of the catalogue that are no solvers and for files coupled-3d, of Rosenbrock type "
        "gradient-3d)",
    )
    order.add_argument(
        "--form",
        choices=("lambda", "rho", "t"),
        help="measure a tableau as a solver of the diffusion ODE in data prediction in lambda, or noise "
        "prediction in rho or t",
    )
    order.add_argument("--paths", type=count(1), help="Brownian paths of a stochastic solver on a problem")
    order.add_argument("--seed", type=count(0, limits.SEED), help="of the starts and the paths (default: 0)")
    add_part(order, "schedule", "vp-linear")
    add_part(order, "grid", "lambda")
    order.add_argument("--start", default="own", choices=STARTS, help="(default: %(default)s)")
    add_final(
        order,
        help="how runs end: as the release does, at full order, with a first-order last step, or down the "
        "orders (default: released, with another start than the solver's own full)",
    )
    order.add_argument(
        "--claimed", type=positive, help="the order to judge against (default: the solver's claim)"
    )
    order.add_argument(
        "--digits", type=count(1, limits.DIGITS), help="run in multiprecision with that many digits"
    )
    order.add_argument(
        "--dtype",
        default="float64",
        choices=("float64", "float32", "float16", "bfloat16"),
        help="of the states; errors at its rounding are not used (default: %(default)s)",
    )
    order.add_argument(
        "--residue",
        type=count(0),
        nargs=2,
        metavar=("M", "R"),
        help="only budgets n = R mod M (default: multiples of the order for solvers made to a budget)",
    )
    order.add_argument(
        "--batch", type=count(1, limits.STATES), help="initial states (default: 64, 4 in multiprecision)"
    )
    order.add_argument(
        "--max-steps",
        type=count(8),
        help="finest run (default: 512, 128 in multiprecision; of stochastic solvers 256, 64, over paths 48)",
    )
    order.add_argument(
        "--lam-start", type=finite, default=LAMBDA_START, help="lambda at the start (default: %(default)s)"
    )
    order.add_argument(
        "--lam-end", type=finite, default=LAMBDA_END, help="lambda at the end (default: %(default)s)"
    )
    order.add_argument(
        "--param", action="append", default=[], metavar="KEY=VALUE", help="a parameter of the solver"
    )
    add_convention(order)
    order.add_argument("--plot", type=Path, metavar="FILE", help="write a convergence plot (PNG or SVG)")
    order.set_defaults(run=run)
    return order


def run(options: argparse.Namespace) -> int:
    """Measure, print, and judge the claim."""
    check(options)
    check_convention(options.convention, [options.solver])
    if options.plot is not None:
        writable_file(options.plot, (".png", ".svg"))
    if options.param and options.form is None and options.problem not in names.named("systems"):
        with refusing():
            names.target(STEPPING).check("", names.with_settings(options.solver, options.param))

    from semilinear.analysis.lookup import Found

    from .order_target import target_of  # imports torch

    target = target_of(options)
    measured: Any = target.measured
    found = (_on_system if isinstance(measured, Found) else _on_problem)(options, measured)
    found.data["claim"] = target.claim
    found.data["asked"] = {name: getattr(options, name) for name in ("solver", "schedule", "grid")}
    if options.plot is not None:
        from ..reporting.plots import plot_studies

        plot_studies(found.studies, found.title, options.plot)
    if options.json:
        print_json(found.data)
    else:
        for label, study in found.studies:
            several = f": {label}" if len(found.studies) > 1 else ""
            console().print(_points(study, found.title + several))
        if target.claim == "proved":
            print("a file claims nothing: its order is judged against the one that is proved of it")
        print(found.sentence)
        for finding in found.data.get("findings", ()):
            where = f" (n = {', '.join(map(str, finding['n']))})" if finding["n"] else ""
            print(f"{finding['kind']}: {finding['text']}{where}")
    return OK if found.data["verdict"] in ("consistent", "higher") else FAILED


@dataclass(frozen=True)
class _Found:
    """What was measured: JSON data with the verdict, labelled ladders of errors, and words."""

    title: str
    data: dict[str, Any]
    studies: list[tuple[str, Any]]
    sentence: str


def _on_system(options: argparse.Namespace, tableau: Any) -> _Found:
    """A tableau by itself, on a semilinear system."""
    from ..studies.judged import observed
    from ..studies.ladders import FLOW_LONG
    from .system_orders import SYSTEMS, measure_tableau

    defaults: dict[str, Any] = {"schedule": "vp-linear", "grid": "lambda", "start": "own"}
    defaults |= {"lam_start": LAMBDA_START, "lam_end": LAMBDA_END}
    defaults["dtype"] = "float64"
    defaults |= dict.fromkeys(("paths", "seed", "residue", "batch", "final"))
    refuse(options, tableau.name, "is measured on a semilinear system without --form", defaults)
    system = options.problem or SYSTEMS[tableau.linearised]
    known("problem", system, SYSTEMS)
    top = finest(options, 128, FLOW_LONG[-1])
    ladder = tuple(n for n in FLOW_LONG if 8 <= n <= top)
    try:
        with progress_bar(f"running {tableau.name}"):
            data, estimate = measure_tableau(tableau, system, options.digits, ladder)
    except ValueError as error:
        raise UsageError(str(error)) from error
    claimed = tableau.claimed if options.claimed is None else options.claimed
    verdict, reason = estimate.verdict(claimed), estimate.doubt(claimed)
    data |= {"claimed": claimed, "verdict": verdict, "reason": reason}
    text = f"claimed {claimed:g}, observed {observed(estimate)}: {verdict}" + (reason and f" ({reason})")
    return _Found(f"{tableau.name} on {system}, exact start", data, [(tableau.name, data)], text)


def _on_problem(options: argparse.Namespace, target: Any) -> _Found:
    """A solver or a sampler, on a problem of diffusion."""
    from ..studies.measure import measure
    from ..studies.records import ladder_json

    name = target.name if target.made is None else target.solver.name
    if target.made is not None and target.solver.own_grid:
        raise UsageError(f"{name} is not measured: {target.solver.own_grid}")
    try:
        experiment = experiment_of(options, target)
        with progress_bar(f"running {name}") as progress:
            study = measure(
                target,
                experiment,
                claimed=options.claimed,
                start=options.start,
                final=options.final,
                residue=None if options.residue is None else tuple(options.residue),
                progress=progress,
            )
    except ValueError as error:
        raise UsageError(str(error)) from error
    data = study.data
    shared = {"start": options.start, "claimed": data["claimed"]}
    ladders = [(name, ladder_json(e, study.nfe) | shared) for name, e in study.ladders.items()]
    start = "" if target.stochastic else f", {options.start} start"
    end = "" if options.final is None else f", {options.final} end"
    return _Found(f"{name} on {experiment.place}{start}{end}", data, ladders, study.sentence)


def _points(study: Any, title: str) -> Table:
    table = Table("N", "NFE", "error", "floor", "used", title=escape(title))
    for row in study["points"]:
        used = "fit" if row["N"] in study["window"] else "yes" if row["usable"] else "no"
        error = "diverged" if row["error"] is None else f"{row['error']:.3e}"
        table.add_row(str(row["N"]), str(row["NFE"]), error, f"{row['floor']:.0e}", used)
    return table
