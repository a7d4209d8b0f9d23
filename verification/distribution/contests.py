"""Whole families of samplers held against each other in distribution: rows with numbers.

The claims that they decide stand in the ledger (`claims/papers/er_sde.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, get_args

from semilinear.integrators.diffusion.schedule import ve, vp_linear
from semilinear.integrators.numerics import checks

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

Interval = Literal["own", "same"]
INTERVALS: tuple[Interval, ...] = get_args(Interval)


def ode_against_sde(
    pairs: Sequence[tuple[str, str]] = PAIRS,
    experiment: SampledExperiment | None = None,
    *,
    nfe: Sequence[int] = FEW,
    metric: str = MAIN_METRIC,
    workers: int = 1,
    progress: Progress | None = None,
) -> tuple[Comparison, ...]:
    """Do ODE solvers beat SDE solvers at few evaluations: each pair at each number of them.

    pairs: (of the flow, stochastic).  The rest as in `study.studies`; raises what it does.
    """
    names = list(dict.fromkeys(name for pair in pairs for name in pair))
    found = studies(names, experiment, nfe=nfe, workers=workers, progress=progress)
    by_name = dict(zip(names, found, strict=True))
    return tuple(row for ode, sde in pairs for row in by_name[ode].against(by_name[sde], metric))


def vp_against_ve(
    solvers: Sequence[str] = BOTH,
    experiment: SampledExperiment | None = None,
    *,
    nfe: Sequence[int] = FEW,
    metric: str = MAIN_METRIC,
    interval: Interval = "own",
    workers: int = 1,
    progress: Progress | None = None,
) -> tuple[Comparison, ...]:
    """Does VP stand on par with VE: each solver under both schedules, each from its own pure noise.

    experiment: its problem, grid, samples and seed count; both runs start from the same normal numbers.
    interval: "own", each schedule from its own start; "same", both over `SHARED` in rho, where a formula in
    x/alpha makes the same numbers of a grid in rho or lambda.  The rest as in `study.studies`; raises what it
    does.
    """
    checks.one_of("interval", interval, INTERVALS)
    e = SampledExperiment() if experiment is None else experiment
    both = []
    for schedule in (vp_linear(), ve()):
        start, end = (schedule.t_of_rho(rho) if interval == "same" else None for rho in SHARED)
        where = replace(e, schedule=schedule, t_start=start, t_end=end)
        names = [f"{name} ({schedule.kind})" for name in solvers]
        both.append(studies(solvers, where, nfe=nfe, names=names, workers=workers, progress=progress))
    pairs = zip(*both, strict=True)
    return tuple(row for vp, exploding in pairs for row in vp.against(exploding, metric, across=True))
