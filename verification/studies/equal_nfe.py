"""Final errors at a number of evaluations: from a schedule's own start to the data, against the exact flow.

The runs begin where the schedule does, at its noisiest time, with states of the exact marginal there, and end
at `T_END`.  Two samplers run from the same states, so that what their errors are to each other is resolved
far better than each of them: `ratio` resamples the batch in pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from semilinear.analysis.text.named_parts import grid_of, schedule_of
from semilinear.integrators.numerics import checks
from semilinear.integrators.run.sampler import NonFiniteError, sample
from semilinear.integrators.solver import FinalChoice, Solver

from ..problems.named import problem
from .experiment import Experiment, Sampler
from .findings import run_once

T_END = 1e-3
BATCH, LARGE = 256, 64
"""States of a batch, fewer where they have many components."""
TOLERANCE = 1e-10
"""Of a numerical reference: errors at so few evaluations are above 1e-6."""
RESAMPLED, LEVEL = 4000, 0.999
"""Bootstrap samples, and what an interval holds: a claim is looked at on dozens of problems and budgets."""


@lru_cache(maxsize=32)
def setting(name: str, schedule: str, grid: str) -> Experiment:
    """A named problem from a schedule's own start to `T_END`; schedule, grid: texts for `named_parts`."""
    s, law = schedule_of(schedule), problem(name)
    return Experiment(
        law,
        schedule=s,
        grid=grid_of(grid),
        lam_start=float(s.lam(s.t_max)),
        lam_end=float(s.lam(T_END)),
        batch=BATCH if law.dimension < LARGE else LARGE,
        tolerance=TOLERANCE,
    )


def final_errors(
    target: Solver | Sampler, experiment: Experiment, nfe: int, final: FinalChoice = "released"
) -> tuple[np.ndarray, int]:
    """The error of every sample's final state, (batch,), and the evaluations made: at most `nfe` of them.

    target: a solver, or a function of a run.  A run that leaves the numbers has infinite errors.
    Raises ValueError where one step takes more evaluations than that.
    """
    n = nfe = checks.integer("nfe", nfe, 1)
    while n:
        states, made = _run(target, experiment, n, final)
        if made <= nfe:
            (exact,) = experiment.states([experiment.times[1]])
            with np.errstate(invalid="ignore", over="ignore"):
                errors = np.sqrt(np.sum((states - exact) ** 2, axis=1))
            return np.where(np.isfinite(errors), errors, np.inf), made
        n = min(n - 1, n * nfe // made)
    raise ValueError(f"nfe must be at least what one step takes, got {nfe}")


def _run(
    target: Solver | Sampler, experiment: Experiment, n: int, final: FinalChoice
) -> tuple[np.ndarray, int]:
    if not isinstance(target, Solver):
        outcome = run_once(target, experiment.run(n), experiment.x.shape, keep=False)
        assert outcome.states is not None
        return outcome.states, outcome.nfe
    plan = experiment.plan(target, n, final)
    try:
        result = sample(plan, experiment.model, experiment.given(experiment.x))
    except NonFiniteError:
        return np.full(experiment.x.shape, np.inf), plan.nfe
    return result.x.numpy(), result.nfe


def rms(errors: np.ndarray) -> float:
    """The root of the mean square."""
    return float(np.sqrt(np.mean(errors**2)))


@dataclass(frozen=True)
class Ratio:
    """How many times larger one RMS error is than another on the same batch, and the interval of `LEVEL`."""

    value: float
    low: float
    high: float


def ratio(a: np.ndarray, b: np.ndarray, seed: int = 0) -> Ratio:
    """rms(a)/rms(b), errors of the same samples, (batch,) each, by resampling these."""
    if not (np.all(np.isfinite(a)) and np.all(np.isfinite(b))):
        value = np.inf if not np.all(np.isfinite(a)) else 0.0
        return Ratio(value, value, value)
    weights = np.random.default_rng(seed).multinomial(len(a), np.full(len(a), 1 / len(a)), RESAMPLED)
    ratios = np.sqrt((weights @ a**2) / (weights @ b**2))
    low, high = np.quantile(ratios, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Ratio(rms(a) / rms(b), float(low), float(high))
