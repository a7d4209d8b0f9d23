"""`semilinear distance`: how far samples lie from the exact law, at few evaluations."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table
from semilinear.integrators.common import limits
from semilinear.integrators.common.kinds import ALL

from ..problems.interval import NFE, SAMPLES
from .order_setting import parts_of
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
    add_workers,
    check_convention,
    console,
    count,
    print_json,
    progress_bar,
    refusing,
    writable_file,
)

if TYPE_CHECKING:
    from ..distribution.study import SampledStudy


def add(commands: Any) -> argparse.ArgumentParser:
    """Add the command's parser."""
    distance: argparse.ArgumentParser = commands.add_parser(
        "distance",
        help="how far samples lie from the exact law, at few evaluations",
        description="Draw samples from pure noise to data, and measure how far they lie from the exact law: "
        "sliced Wasserstein and energy distance, a Frechet distance on fixed features, moments, weights of "
        "modes; each beside what exact samples show.  On a Gaussian problem the law is computed, without "
        "samples.  Exit code 1 if a run gives no finite samples.",
    )
    add_target(distance, "solver", ALL, "+")
    add_nfe(distance, NFE, "evaluations of each run")
    add_law(distance)
    add_part(distance, "grid", "lambda")
    add_final(distance, default="released", help="how runs end (default: as the release does)")
    distance.add_argument(
        "--samples", type=count(1, limits.STATES), default=SAMPLES, metavar="N", help="(default: %(default)s)"
    )
    distance.add_argument(
        "--seed",
        type=count(0, limits.SEED),
        default=0,
        help="of starts, noise and exact samples (default: 0)",
    )
    distance.add_argument(
        "--metric",
        default="energy",
        choices=("sliced-wasserstein", "energy", "frechet", "mean", "covariance", "modes"),
        help="by which solvers are put in order, and which is drawn (default: %(default)s)",
    )
    add_convention(distance)
    add_workers(distance)
    distance.add_argument(
        "--plot", type=Path, metavar="FILE", help="draw distance over evaluations (PNG or SVG)"
    )
    distance.set_defaults(run=run)
    return distance


def run(options: argparse.Namespace) -> int:
    """Measure, print, put in order."""
    check_convention(options.convention, options.solver)
    if options.plot is not None:
        writable_file(options.plot, (".png", ".svg"))
    if len(set(options.solver)) < len(options.solver):
        raise UsageError(f"solvers must be given once each, got {' '.join(options.solver)}")
    schedule, grid = parts_of(options)

    from ..distribution.experiment import SampledExperiment
    from ..distribution.records import comparison_json
    from ..distribution.study import studies, studies_json
    from ..problems.named import problem

    with refusing():
        experiment = SampledExperiment(
            problem(options.problem),
            schedule=schedule,
            grid=grid,
            samples=options.samples,
            seed=options.seed,
        )
        if options.metric not in experiment.metrics:
            raise UsageError(
                f"--metric {options.metric} does not apply to {options.problem}: it has no such modes"
            )
        with progress_bar("drawing samples") as progress:
            found = studies(
                options.solver,
                experiment,
                nfe=options.nfe,
                final=options.final,
                convention=options.convention,
                workers=options.workers,
                progress=progress,
            )
    data = studies_json(found)
    compared = [
        row
        for i, study in enumerate(found)
        for other in found[i + 1 :]
        for row in study.against(other, options.metric)
    ]
    data["comparisons"] = [comparison_json(row) for row in compared]
    data["asked"] = {
        name: getattr(options, name) for name in ("problem", "schedule", "grid", "final", "samples", "seed")
    }
    if options.plot is not None:
        from ..reporting.distance_plot import plot_distances

        plot_distances(data, options.metric, options.plot)
    if options.json:
        print_json(data)
    else:
        _print(found, options.metric)
    return FAILED if any(study.failed for study in found) else OK


def _print(found: tuple[SampledStudy, ...], metric: str) -> None:
    """A table of all runs, how it is to be read, and the order at each number of evaluations."""
    from ..distribution.tables import cells, explanation, header, least

    drawn = next((study for study in found if not study.exact), found[0])
    table = Table("solver", *header(drawn.floors), title=escape(drawn.place))
    for study in found:
        for row in study.rows:
            table.add_row(escape(study.solver), *map(escape, cells(row, metric)))
        table.add_section()
    for line in least(drawn.floors):
        table.add_row(line[0], "", *line[1:])
    console().print(table)
    exact, sampled = ([study.solver for study in found if study.exact is which] for which in (True, False))
    print(explanation(exact, sampled, metric))
    if len(found) > 1:
        for sentence in _orders(found, metric):
            print(sentence)


def _orders(found: tuple[SampledStudy, ...], metric: str) -> list[str]:
    """The closest within each number of evaluations, what cannot be told from it, and who makes fewer."""
    sentences = []
    for i, nfe in enumerate(row.nfe for row in found[0].rows):
        whole = [study for study in found if not study.rows[i].failed]
        if not whole:
            continue
        best = min(whole, key=lambda study: study.rows[i].distances[metric].excess)
        rest = [study for study in whole if study is not best]
        like = [s.solver for s in rest if best.against(s, metric)[i].order == "not distinguishable"]
        also = f", not distinguishable from {', '.join(like)}" if like else ""
        fewer = ", ".join(f"{s.solver} {s.rows[i].made}" for s in whole if s.rows[i].made < nfe)
        where = f"within {nfe} evaluations ({fewer})" if fewer else f"{nfe} evaluations"
        sentences.append(f"{where}, {metric}: closest {best.solver}{also}")
    return sentences
