"""How far from the posterior are samplers that are told a part of the data?

`study` runs them on a Gaussian mixture, where the posterior is known in closed form (`posterior.py`), and
compares the moments of the unknown coordinate, with standard errors.  `report.py` writes it down.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from semilinear.integrators.common import checks
from semilinear.integrators.diffusion import sde
from semilinear.integrators.diffusion.grids import uniform_t
from semilinear.integrators.diffusion.schedule import Schedule
from semilinear.integrators.plans.compile import Plan, compile_plan
from semilinear.integrators.run.boundary import Noise
from semilinear.integrators.run.conditioning import Known, Replacement, ReplacementReleased
from semilinear.integrators.run.correctors import (
    InTurn,
    Langevin,
    annealed_step,
    batch_mean_norm,
    langevin_step,
    per_sample_norm,
    released_factor,
)
from semilinear.integrators.run.models import classifier
from semilinear.integrators.run.sampler import Interlude, sample
from semilinear.integrators.solvers import score_sde

from ..problems.mixtures import GaussianMixture
from ..problems.named import golden_mixture
from .posterior import Observation, Posterior, log_likelihood_given, posterior

EPS, SNR = 1e-3, 0.16
"""Where sampling ends, and the corrector's signal-to-noise ratio, as in the release."""
STEPS = (50, 200)
SAMPLES = 2000
BIASED = 4.0
"""Standard errors beyond which a difference is no accident, although dozens are looked at."""


@dataclass(frozen=True)
class Problem:
    """One coordinate of a mixture in the plane is known: axis . x = value, axis a unit vector."""

    name: str
    law: GaussianMixture
    axis: tuple[float, float]
    value: float
    split: float
    """Between the two modes of the other coordinate."""

    @property
    def other(self) -> np.ndarray:
        """The unknown coordinate's direction."""
        return np.array([-self.axis[1], self.axis[0]])

    @property
    def observation(self) -> Observation:
        """axis . x = value."""
        return Observation(np.array([self.axis]), np.array([self.value]))

    @property
    def exact(self) -> Posterior:
        """The law of x given the known coordinate."""
        return posterior(self.law, self.observation)


DIAGONAL = math.sqrt(0.5)
PROBLEMS = (
    Problem("inpainting: x_1 = 1.5", golden_mixture(), (1.0, 0.0), 1.5, 0.4),
    Problem("grey axis: (x_1 + x_2)/sqrt 2 = 1.2", golden_mixture(), (DIAGONAL, DIAGONAL), 1.2, -1.0),
)


@dataclass(frozen=True)
class Row:
    """One sampler at one number of steps: differences from the posterior's moments, and standard errors."""

    problem: str
    sampler: str
    steps: int
    nfe: int
    samples: int
    mean: float
    mean_error: float
    variance: float
    variance_error: float
    mode: float
    mode_error: float

    @property
    def pairs(self) -> tuple[tuple[float, float], ...]:
        """(difference, standard error) of the mean, the variance and the mode."""
        return (
            (self.mean, self.mean_error),
            (self.variance, self.variance_error),
            (self.mode, self.mode_error),
        )

    @property
    def biased(self) -> bool:
        """Whether any moment is further off than chance allows."""
        return any(abs(bias) > BIASED * error for bias, error in self.pairs)


# --- samplers ---

Run = Callable[[Problem, int, int, int], tuple[torch.Tensor, int]]
"""(problem, steps, samples, seed) -> the samples and the evaluations made."""


def _noise(seed: int, stream: int) -> Noise:
    """Draws for a whole batch, each a function of (seed, stream, use)."""

    def noise(use: int, like: torch.Tensor) -> torch.Tensor:
        generator = np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, stream, use]))
        draws: torch.Tensor = torch.from_numpy(generator.standard_normal(tuple(like.shape)))
        return draws

    return noise


def _known(problem: Problem, samples: int) -> Known:
    basis = torch.tensor(np.array([problem.axis, tuple(problem.other)]).T)
    data = torch.tensor(problem.axis, dtype=torch.float64).expand(samples, 2) * problem.value
    return Known(data, torch.tensor([1.0, 0.0], dtype=torch.float64), basis)


def _prior(samples: int, seed: int) -> torch.Tensor:
    draws: torch.Tensor = _noise(seed, 0)(0, torch.empty(samples, 2))
    return draws


def _consistent(steps: int) -> Plan:
    schedule = sde.vp().schedule
    return compile_plan(
        score_sde.ancestral("small"), schedule, steps=steps, grid=uniform_t(2.0), t_start=1.0, t_end=EPS
    )


def _released(steps: int) -> Plan:
    solver, grid = score_sde.reverse_diffusion_released(), score_sde.release_grid(EPS)
    return compile_plan(solver, sde.vp().schedule, steps=steps, grid=grid, t_start=1.0, t_end=0.0)


Corrector = Callable[[Schedule, int, int], Langevin]
"""(schedule, steps, seed) -> the corrector of a run."""


def _langevin_released(schedule: Schedule, steps: int, seed: int) -> Langevin:
    step, factor = langevin_step(SNR, batch_mean_norm), released_factor(schedule, steps)
    return Langevin(schedule, step, _noise(seed, 2), 1, factor)


def _langevin(schedule: Schedule, steps: int, seed: int) -> Langevin:
    return Langevin(schedule, langevin_step(SNR, per_sample_norm), _noise(seed, 2))


def _annealed(schedule: Schedule, steps: int, seed: int) -> Langevin:
    return Langevin(schedule, annealed_step(SNR), _noise(seed, 2), 8)


def replacement(released: bool, corrector: Corrector | None = None) -> Run:
    """The known coordinate is drawn anew before and after every step, behind a corrector if there is one."""

    def run(problem: Problem, steps: int, samples: int, seed: int) -> tuple[torch.Tensor, int]:
        schedule, known = sde.vp().schedule, _known(problem, samples)
        plan = (_released if released else _consistent)(steps)
        parts: list[Interlude] = [] if corrector is None else [corrector(schedule, steps, seed)]
        if released:
            parts.append(ReplacementReleased(schedule, known, _noise(seed, 3), plan.times))
        else:
            parts.append(Replacement(schedule, known, _noise(seed, 3)))
        start, model = known.start(_prior(samples, seed)), problem.law.model(schedule)
        result = sample(plan, model, start, noise=_noise(seed, 1), between=InTurn(tuple(parts)))
        return result.x, result.nfe

    return run


def guided(problem: Problem, steps: int, samples: int, seed: int) -> tuple[torch.Tensor, int]:
    """The exact conditional score s + grad log p_t(y|x): the control, right up to discretisation."""
    schedule = sde.vp().schedule
    likelihood = log_likelihood_given(problem.law, schedule, problem.observation)
    model = classifier(problem.law.model(schedule), schedule, likelihood)
    result = sample(_consistent(steps), model, _prior(samples, seed), noise=_noise(seed, 1))
    return result.x, result.nfe


SAMPLERS: dict[str, Run] = {
    "replacement, as released": replacement(True),
    "replacement and Langevin, as released": replacement(True, _langevin_released),
    "replacement": replacement(False),
    "replacement and Langevin per sample": replacement(False, _langevin),
    "replacement and 8 annealed Langevin steps": replacement(False, _annealed),
    "exact likelihood (control)": guided,
}


# --- the study ---


def moments(u: np.ndarray, exact: Posterior, direction: np.ndarray, split: float) -> dict[str, float]:
    """Mean, variance and P(u > split) of the sample less the exact ones, and their standard errors."""
    w, m, v = exact.along(direction)
    mean = float(w @ m)
    variance = float(w @ (v + (m - mean) ** 2))
    mode = exact.probability_above(direction, split)
    n, centred, above = len(u), u - u.mean(), float(np.mean(u > split))
    fourth, second = float(np.mean(centred**4)), float(np.mean(centred**2))
    return {
        "mean": float(u.mean()) - mean,
        "mean_error": math.sqrt(second / n),
        "variance": float(u.var(ddof=1)) - variance,
        "variance_error": math.sqrt(max(fourth - second**2, 0.0) / n),
        "mode": above - mode,
        "mode_error": math.sqrt(mode * (1 - mode) / n),
    }


def study(
    problems: Sequence[Problem] = PROBLEMS,
    steps: Sequence[int] = STEPS,
    samples: int = SAMPLES,
    seed: int = 0,
    keep: dict[tuple[str, str], np.ndarray] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Row]:
    """Run every sampler on every problem; `keep` receives the finest runs' unknown coordinates.

    progress: called with (runs done, of all).  Raises ValueError for fewer than 2 samples or no steps.
    """
    samples = checks.integer("samples", samples, 2)
    if not steps:
        raise ValueError("steps must hold at least one number of steps")
    rows = []
    for problem in problems:
        exact = problem.exact
        for name, run in SAMPLERS.items():
            for n in steps:
                x, nfe = run(problem, n, samples, seed)
                u = x.numpy() @ problem.other
                values = moments(u, exact, problem.other, problem.split)
                rows.append(Row(problem.name, name, n, nfe, samples, **values))
                if progress is not None:
                    progress(len(rows), len(problems) * len(SAMPLERS) * len(steps))
                if keep is not None:
                    keep[problem.name, name] = u
    return rows
