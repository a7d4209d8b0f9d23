"""Solvers by name on the model statistics of the problem they are run on: exact, or estimated where they
cannot be.

A listed solver that takes statistics has none of its own: those of another law run, and can be several
times worse.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from semilinear.analysis.text.named_parts import solver_parameters
from semilinear.analysis.text.spelling import split
from semilinear.integrators.diffusion.schedule import Schedule, edm
from semilinear.integrators.solver import Solver
from semilinear.integrators.solvers import SOLVERS, make, parameters_of
from semilinear.integrators.statistics import second_moment
from semilinear.integrators.statistics.estimation import Draw, estimate, noised
from semilinear.integrators.statistics.second_moment import SecondMoment
from semilinear.integrators.statistics.smooth import Smooth, gaussian
from semilinear.integrators.statistics.table import smooth

from ..problems.mixture_statistics import exact_statistics, quadrature
from ..problems.mixtures import GaussianMixture
from ..problems.products import RotatedProduct
from ..targets.listed import OURS
from ..targets.named import Target
from .experiment import FlowSetup

MOST_DIMENSIONS = 2
"""Of an exact quadrature that takes a second or two; above it the statistics are estimated."""
DEGREE, SPACING = 10, 0.3
"""Of the series per unit of lambda, and of the quadrature: l to 1e-6, s to 1e-3 where studies are made."""
FINE = 0.1
"""Spacing where no derivative is asked for: of moments, to 1e-10."""
SAMPLES, INTERVALS, SEED = 512, 24, 0
GENERIC, GENERIC_MOMENT = gaussian(), second_moment.gaussian()
"""Of N(0, 1): smooth, closed in form, and of no problem here.  For proofs' constants on Gaussian data, where
every step on their own statistics is exact.
"""


def _taken(name: str) -> str | None:
    """The parameter by which a listed solver takes statistics of a model: a key of `OF_PROBLEM`."""
    return next((key for key in OF_PROBLEM if key in parameters_of(name)), None)


def takes_statistics(text: str) -> bool:
    """Whether a listed solver, with parameters or without, needs the statistics of a model."""
    name, _ = split(text)
    return name in SOLVERS and _taken(name) is not None


def generic(name: str, **parameters: Any) -> Solver:
    """A listed solver, on statistics that fit no problem where it takes some: for what holds for any."""
    return _with(name, lambda key: {"statistics": GENERIC, "moment": GENERIC_MOMENT}[key], parameters)


def on_experiment(name: str, experiment: FlowSetup, **parameters: Any) -> Solver:
    """`for_problem`, on the interval of an experiment."""
    low, high = (float(experiment.schedule.lam(t)) for t in experiment.times)
    return for_problem(name, experiment.problem, low, high, **parameters)


def suited(found: Target, experiment: Any) -> Solver:
    """What a solver or a tableau runs as on an experiment (`Setup`, or what has problem, schedule and times):
    a listed one that takes statistics on those of the problem, unless its name says some; on generic ones
    where the data are of several laws (`StochasticExperiment`).
    """
    if found.kind == "solver" and found.package == OURS and takes_statistics(found.name):
        name, parameters = solver_parameters(found.name)
        one_law = hasattr(experiment, "problem")
        return on_experiment(name, experiment, **parameters) if one_law else generic(name, **parameters)
    return found.solver


def for_problem(name: str, problem: Any, low: float, high: float, **parameters: Any) -> Solver:
    """A listed solver on the problem's own statistics, for lambda in [low, high], unless some are given."""
    return _with(name, lambda key: OF_PROBLEM[key](problem, low, high), parameters)


def _with(name: str, statistics: Callable[[str], Any], parameters: dict[str, Any]) -> Solver:
    key = _taken(name)
    given = {} if key is None or key in parameters else {key: statistics(key)}
    return make(name, **(given | parameters))


@lru_cache(maxsize=16)
def statistics_of(problem: Any, low: float, high: float) -> Smooth:
    """Of a problem on [low, high], which is widened a little, so that rounded ends lie inside.

    Exact for mixtures and products of at most `MOST_DIMENSIONS`; else estimated from samples.
    """
    low, high, mixture, schedule = _asked(problem, low, high)
    if mixture is not None:
        return exact_statistics(mixture, low, high, math.ceil(DEGREE * (high - low)), SPACING)
    draws = noised(torch.tensor(problem.data(SAMPLES, SEED)), schedule, SEED)
    return smooth(estimate(problem.model(schedule), schedule, draws, low, high, INTERVALS))


@lru_cache(maxsize=16)
def moment_of(problem: Any, low: float, high: float) -> SecondMoment:
    """The second moment of a problem's noise predictions, where and how as of `statistics_of`."""
    low, high, mixture, schedule = _asked(problem, low, high)
    draws = noised(torch.tensor(problem.data(SAMPLES, SEED)), schedule, SEED)
    if mixture is not None:

        def draws(_: int, t: float) -> Draw:
            return quadrature(mixture, float(schedule.lam(t)), FINE)

    degree = math.ceil(2 * DEGREE * (high - low))
    return second_moment.estimate(problem.model(schedule), schedule, draws, low, high, degree=degree)


def _asked(problem: Any, low: float, high: float) -> tuple[float, float, GaussianMixture | None, Schedule]:
    """An interval that is wider, the mixture where expectations are exact, and a schedule with alpha = 1:
    statistics are functions of lambda alone.
    """
    margin = 1e-3 * (high - low)
    low, high = low - margin, high + margin
    mixture = problem.mixture() if isinstance(problem, RotatedProduct) else problem
    exact = isinstance(mixture, GaussianMixture) and mixture.dimension <= MOST_DIMENSIONS
    return low, high, mixture if exact else None, edm(math.exp(-low) * 1.1)


OF_PROBLEM: dict[str, Callable[[Any, float, float], Any]] = {"statistics": statistics_of, "moment": moment_of}
"""Statistics of a problem on an interval of lambda, by the parameter that takes them."""
