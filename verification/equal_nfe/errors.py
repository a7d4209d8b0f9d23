"""Errors of final states at a number of evaluations, sample by sample, and what resampling the batch says.

Samplers run from the same states, so that what their errors are to each other is resolved far better than
each of them: `ratio` resamples the batch in pairs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from semilinear.integrators.numerics import checks
from semilinear.integrators.solver import FinalChoice

from ..studies.flow import norms
from .entrants import Entrant, Ran
from .experiment import NoiseToData

RESAMPLES, LEVEL = 4000, 0.999
"""Of a ratio, and what its interval holds: a claim is looked at on dozens of problems and budgets."""


def distances(ran: Ran, experiment: NoiseToData) -> np.ndarray:
    """Of a run's final states from the exact ones, (batch,); infinite where a state is not finite."""
    if ran.states is None:
        return np.full(experiment.batch, np.inf)
    (exact,) = experiment.states([experiment.times[1]])
    found = norms(ran.states, exact)
    return np.where(np.isfinite(found), found, np.inf)


def final_errors(
    entrant: Entrant, experiment: NoiseToData, nfe: int, final: FinalChoice = "released"
) -> tuple[np.ndarray, int]:
    """`distances` of the longest run that makes at most `nfe` evaluations, and how many it makes.

    Raises ValueError where one step takes more evaluations than that.
    """
    steps = entrant.most(experiment, checks.integer("nfe", nfe, 1), final)
    if not steps:
        raise ValueError(f"nfe must be at least what one step of {entrant.name} takes, got {nfe}")
    ran = entrant.run(experiment, steps, final)
    return distances(ran, experiment), ran.nfe


def rms(errors: np.ndarray) -> float:
    """The root of the mean square."""
    return math.sqrt(float(np.mean(errors**2)))


def resampled(batch: int, samples: int, seed: int | list[int]) -> np.ndarray:
    """The weights of a batch in each resample of a bootstrap, (samples, batch); rows add up to 1."""
    counts = np.random.default_rng(seed).multinomial(batch, np.full(batch, 1 / batch), size=samples)
    weights: np.ndarray = counts / batch
    return weights


@dataclass(frozen=True)
class Ratio:
    """How many times larger one RMS error is than another on the same batch, and the interval of `LEVEL`.

    NaN between 0 and infinity where neither run is finite: nothing is known of them.
    """

    value: float
    low: float
    high: float


def ratio(a: np.ndarray, b: np.ndarray, seed: int = 0) -> Ratio:
    """rms(a)/rms(b), errors of the same samples, (batch,) each, by resampling these."""
    lost = [not np.all(np.isfinite(errors)) for errors in (a, b)]
    if all(lost):
        return Ratio(math.nan, 0.0, math.inf)
    if any(lost):
        value = math.inf if lost[0] else 0.0
        return Ratio(value, value, value)
    weights = resampled(len(a), RESAMPLES, seed)
    ratios = np.sqrt((weights @ a**2) / (weights @ b**2))
    low, high = np.quantile(ratios, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Ratio(rms(a) / rms(b), float(low), float(high))
