"""Whole families of samplers held against each other in distribution: rows with numbers.

The claims that they decide stand in the ledger (`claims/papers/er_sde.py`).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple, get_args

from semilinear.integrators.common import checks
from semilinear.integrators.diffusion.grids import karras
from semilinear.integrators.diffusion.schedule import edm, ve, vp_linear
from semilinear.integrators.plans.compile import compile_plan
from semilinear.integrators.plans.program import Plan
from semilinear.integrators.plans.restart import chain, restart
from semilinear.integrators.solver import Solver
from semilinear.integrators.solvers import make

from ..studies.progress import Progress
from .experiment import SampledExperiment
from .results import Comparison
from .study import MAIN_METRIC, studies

FEW = (5, 10, 20)
"""Evaluations."""
PAIRS = (
    ("ddim", "ddim-eta:eta=1"),
    ("dpm-solver++-2m", "sde-dpm-solver++-2m"),
    ("dpm-solver++-3m-corrected", "sde-dpm-solver++-3m-corrected"),
    ("er-sde-ode-2-corrected", "er-sde-2-corrected"),
    ("er-sde-ode-3-corrected", "er-sde-3-corrected"),
)
"""Solvers of the probability flow, and those of the same formula with noise."""
BOTH = ("er-sde-1", "er-sde-2-corrected", "er-sde-3-corrected", "er-sde-ode-3-corrected", "ddim")
"""Solvers that are run under a schedule that preserves the variance and under one that explodes it."""
SHARED = (40.0, 0.0105)
"""An interval in rho that both have."""

Range = Literal["own", "same"]
RANGES: tuple[Range, ...] = get_args(Range)


class Interval(NamedTuple):
    """A part of a run that is repeated: from the time `high` in `nodes` - 1 steps down to the node of the run
    that is nearest to `low`, `repeats` times.
    """

    nodes: int
    repeats: int
    low: float
    high: float


RESTARTS: tuple[tuple[int, tuple[Interval, ...]], ...] = (
    (18, (Interval(3, 2, 0.14, 0.30),)),
    (14, (Interval(3, 1, 19.35, 40.79), Interval(3, 1, 1.09, 1.92), Interval(3, 1, 0.06, 0.30))),
    (
        18,
        (
            Interval(5, 1, 19.35, 40.79),
            Interval(5, 1, 1.09, 1.92),
            Interval(5, 1, 0.59, 1.09),
            Interval(5, 1, 0.06, 0.30),
        ),
    ),
    (
        18,
        (
            Interval(3, 1, 19.35, 40.79),
            Interval(4, 1, 1.09, 1.92),
            Interval(4, 4, 0.59, 1.09),
            Interval(4, 1, 0.30, 0.59),
            Interval(4, 4, 0.06, 0.30),
        ),
    ),
)
"""(steps, intervals) as Newbeeer/diffusion_restart_sampling has them for CIFAR-10 and, of the fewest
evaluations, for ImageNet-64 (benchmarks/params_cifar10_edm.txt, params_imagenet_edm.txt).
"""


def restarted(
    solver: Solver, experiment: SampledExperiment, steps: int, intervals: Sequence[Interval]
) -> Plan:
    """A solver on the grid of an experiment, which at its nodes nearest to the intervals' ends goes back.

    steps: of the way down.  intervals: from noise to data.
    Raises ValueError where two intervals end at one node, or one at the start.
    """
    e = experiment

    def down(times: Sequence[Any]) -> Plan:
        return compile_plan(solver, e.schedule, times=times)

    times = e.grid(e.schedule, *e.times, steps)
    ends = [min(range(len(times)), key=lambda i: abs(times[i] - part.low)) for part in intervals]
    if any(b <= a for a, b in itertools.pairwise((0, *ends))):
        raise ValueError(f"intervals must end at nodes of their own, from noise to data, got nodes {ends}")
    made = down(times[: ends[0] + 1])
    for part, end, after in zip(intervals, ends, (*ends[1:], len(times) - 1), strict=True):
        again = down(e.grid(e.schedule, part.high, times[end], part.nodes - 1))
        made = restart(made, again, e.schedule, repeats=part.repeats)
        made = chain(made, down(times[end : after + 1])) if after > end else made
    return made


def restart_against(
    other: str,
    experiment: SampledExperiment | None = None,
    *,
    solver: str = "edm-heun",
    restarts: Sequence[tuple[int, Sequence[Interval]]] = RESTARTS,
    metric: str = MAIN_METRIC,
    workers: int = 1,
    progress: Progress | None = None,
) -> tuple[Comparison, ...]:
    """Does Restart beat another solver within as many evaluations: each way of restarting a solver, on EDM's
    schedule and grid.

    experiment: its problem, samples and seed count.  The rest as in `study.studies`; raises what it and
    `restarted` do.
    """
    e = replace(experiment or SampledExperiment(), schedule=edm(), grid=karras())
    rows: list[Comparison] = []
    for steps, intervals in restarts:
        plan = restarted(make(solver), e, steps, intervals)
        name = f"{solver}, {steps} steps, restarted {sum(part.repeats for part in intervals)} times"
        ours, theirs = studies(
            [plan, other], e, nfe=[plan.nfe], names=[name, other], workers=workers, progress=progress
        )
        rows += ours.against(theirs, metric)
    return tuple(rows)


def first_against_second(
    pairs: Sequence[tuple[str, str]] = PAIRS,
    experiment: SampledExperiment | None = None,
    *,
    nfe: Sequence[int] = FEW,
    metric: str = MAIN_METRIC,
    workers: int = 1,
    progress: Progress | None = None,
) -> tuple[Comparison, ...]:
    """Is the first of each pair closer at few evaluations, at each number of them; by default, do ODE solvers
    beat SDE solvers.

    pairs: of solvers.  The rest as in `study.studies`; raises what it does.
    """
    names = list(dict.fromkeys(name for pair in pairs for name in pair))
    found = studies(names, experiment, nfe=nfe, workers=workers, progress=progress)
    by_name = dict(zip(names, found, strict=True))
    return tuple(row for one, other in pairs for row in by_name[one].against(by_name[other], metric))


def vp_against_ve(
    solvers: Sequence[str] = BOTH,
    experiment: SampledExperiment | None = None,
    *,
    nfe: Sequence[int] = FEW,
    metric: str = MAIN_METRIC,
    interval: Range = "own",
    workers: int = 1,
    progress: Progress | None = None,
) -> tuple[Comparison, ...]:
    """Does VP stand on par with VE: each solver under both schedules, each from its own pure noise.

    experiment: its problem, grid, samples and seed count; both runs start from the same normal numbers.
    interval: "own", each schedule from its own start; "same", both over `SHARED` in rho, where a formula in
    x/alpha makes the same numbers of a grid in rho or lambda.  The rest as in `study.studies`; raises what it
    does.
    """
    checks.one_of("interval", interval, RANGES)
    e = SampledExperiment() if experiment is None else experiment
    both = []
    for schedule in (vp_linear(), ve()):
        start, end = (schedule.t_of_rho(rho) if interval == "same" else None for rho in SHARED)
        where = replace(e, schedule=schedule, t_start=start, t_end=end)
        names = [f"{name} ({schedule.kind})" for name in solvers]
        both.append(studies(solvers, where, nfe=nfe, names=names, workers=workers, progress=progress))
    pairs = zip(*both, strict=True)
    return tuple(row for vp, exploding in pairs for row in vp.against(exploding, metric, across=True))
