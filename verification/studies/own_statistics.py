"""Solvers by name on the model statistics of the problem they are run on: exact, or estimated where they
cannot be.

A listed solver that takes statistics has none of its own: those of another law run, and can be several
times worse.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import torch
from semilinear.analysis.text.named_parts import solver_parameters
from semilinear.analysis.text.spelling import split
from semilinear.integrators.diffusion.schedule import edm
from semilinear.integrators.solver import Solver
from semilinear.integrators.solvers import SOLVERS, make, parameters_of
from semilinear.integrators.statistics.estimation import estimate, noised
from semilinear.integrators.statistics.smooth import Smooth, Statistics, gaussian
from semilinear.integrators.statistics.table import smooth

from ..problems.mixture_statistics import exact_statistics
from ..problems.mixtures import GaussianMixture
from ..problems.products import RotatedProduct
from ..targets.listed import OURS
from ..targets.named import Target
from .experiment import FlowSetup

MOST_DIMENSIONS = 2
"""Of an exact quadrature that takes a second or two; above it the statistics are estimated."""
DEGREE, SPACING = 10, 0.3
"""Of the series per unit of lambda, and of the quadrature: l to 1e-6, s to 1e-3 where studies are made."""
SAMPLES, INTERVALS, SEED = 512, 24, 0
GENERIC = gaussian()
"""Of N(0, 1): smooth, closed in form, and of no problem here.  For proofs' constants on Gaussian data, where
every step on their own statistics is exact.
"""


def takes_statistics(text: str) -> bool:
    """Whether a listed solver, with parameters or without, needs the statistics of a model."""
    name, _ = split(text)
    return name in SOLVERS and "statistics" in parameters_of(name)


def generic(name: str, **parameters: Any) -> Solver:
    """A listed solver, on statistics that fit no problem where it takes some: for what holds for any."""
    return _with(name, GENERIC, parameters)


def on_experiment(name: str, experiment: FlowSetup, **parameters: Any) -> Solver:
    """`for_problem`, on the interval of an experiment."""
    low, high = (float(experiment.schedule.lam(t)) for t in experiment.times)
    return for_problem(name, experiment.problem, low, high, **parameters)


def suited(found: Target, experiment: Any) -> Solver:
    """What a solver or a tableau runs as on an experiment (`Setup`, or what has problem, schedule and times):
    a listed one that takes statistics on those of the problem, unless its name says some.
    """
    if found.kind == "solver" and found.package == OURS and takes_statistics(found.name):
        name, parameters = solver_parameters(found.name)
        return on_experiment(name, experiment, **parameters)
    return found.solver


def for_problem(name: str, problem: Any, low: float, high: float, **parameters: Any) -> Solver:
    """A listed solver on the problem's own statistics, for lambda in [low, high], unless some are given."""
    if not takes_statistics(name) or "statistics" in parameters:
        return make(name, **parameters)
    return _with(name, statistics_of(problem, low, high), parameters)


def _with(name: str, statistics: Statistics, parameters: dict[str, Any]) -> Solver:
    given = {"statistics": statistics} if takes_statistics(name) else {}
    return make(name, **(given | parameters))


@lru_cache(maxsize=16)
def statistics_of(problem: Any, low: float, high: float) -> Smooth:
    """Of a problem on [low, high], which is widened a little, so that rounded ends lie inside.

    Exact for mixtures and products of at most `MOST_DIMENSIONS`; else estimated from samples.
    """
    margin = 1e-3 * (high - low)
    low, high = low - margin, high + margin
    if isinstance(problem, RotatedProduct):
        mixture = problem.mixture() if problem.dimension <= MOST_DIMENSIONS else None
    else:
        mixture = problem if isinstance(problem, GaussianMixture) else None
    if mixture is not None and mixture.dimension <= MOST_DIMENSIONS:
        return exact_statistics(mixture, low, high, math.ceil(DEGREE * (high - low)), SPACING)
    schedule = edm(math.exp(-low) * 1.1)  # statistics are functions of lambda alone
    draws = noised(torch.tensor(problem.data(SAMPLES, SEED)), schedule, SEED)
    return smooth(estimate(problem.model(schedule), schedule, draws, low, high, INTERVALS))
