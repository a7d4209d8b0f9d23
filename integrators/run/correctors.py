"""Langevin correctors: between the steps of a plan, x <- x + e s(x, t) + sqrt(2 e) z towards the law at t.

What they do between steps is an `Interlude` of the sampling loop, whose evaluations it counts: a
predictor-corrector run (Song et al. 2021, arXiv:2011.13456, Alg. 1) is `sample(..., between=corrector)`, the
corrector first in every step, at the time from which the predictor then starts.

The released Langevin corrector takes its step e from norms averaged over the batch, so that a sample depends
on its batch mates; with `per_sample_norm` it takes them from each sample alone.  Langevin dynamics with a
finite step has a bias O(e), and the step depends on the noise it multiplies: no order is claimed.  A step
from one sample's norms is unbounded where its score vanishes (in two dimensions |s|^-2 has no mean on a
Gaussian), so it asks for samples of many components, whose norms concentrate; `annealed_step` is independent
of the batch in any dimension.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..common import checks
from ..diffusion.prediction import check_prediction, conversion
from ..diffusion.schedule import Schedule
from ..diffusion.sde import table_beta, table_index
from ..numerics.arithmetic import Value, of
from .boundary import Noise, State, given_noise
from .sampler import Evaluate, Interlude

Norm = Callable[[State], State]
"""(batch, ...) -> what a sample's size is taken to be: a scalar, or one number per sample of shape
(batch, 1, ..).
"""


def per_sample_norm(x: State) -> State:
    """The 2-norm of every sample, shape (batch, 1, ..); each from its own components, to the last bit.

    The squares are folded in halves, component by component: how a device's own sum groups them depends on
    the batch.
    """
    squares = (x * x).reshape(x.shape[0], -1)
    while (n := squares.shape[1]) > 1:
        head = _columns(squares, 0, n // 2)
        head += _columns(squares, n - n // 2, n // 2)
        squares = _columns(squares, 0, n - n // 2)
    return of(x).sqrt(squares).reshape(-1, *(1,) * (x.ndim - 1))


def _columns(x: State, start: int, count: int) -> State:
    return x.narrow(1, start, count) if isinstance(x, torch.Tensor) else x[:, start : start + count]


def batch_mean_norm(x: State) -> State:
    """The mean over the batch of the samples' 2-norms, as released."""
    squares = (x * x).reshape(x.shape[0], -1).sum(1)
    return of(x).sqrt(squares).mean()


Factor = Callable[[Value], Value]
"""t -> a factor of the step size."""


def unit_factor(t: Value) -> Value:
    """1."""
    return 1 + 0 * t


def released_factor(schedule: Schedule, n: int) -> Factor:
    """alpha_i = 1 - beta_i of the n betas, the release's factor for VP; 1 where there are none (VE).

    sub-VP has VP's betas, so it is given VP's factor; the release raises AttributeError there.
    Raises ValueError for n < 1, or an n so small that betas exceed 1.
    """
    n = checks.integer("n", n, 1)
    if "beta_0" not in dict(schedule.parameters):
        return unit_factor
    table_beta(schedule, n - 1, n)  # refuses betas above 1 before any step is made
    return lambda t: 1 - table_beta(schedule, table_index(schedule, t, n), n, of(t))


def langevin_step(snr: float, norm: Norm = per_sample_norm) -> Callable[[State, State, Value], State]:
    """e = 2 (snr |z|/|s|)^2.  sampling.LangevinCorrector, with `batch_mean_norm`."""
    checks.number("snr", snr, above=0)

    def step(score: State, z: State, sigma: Value) -> State:
        ratio = norm(z) * snr / norm(score)
        return ratio * ratio * 2

    return step


def annealed_step(snr: float) -> Callable[[State, State, Value], Value]:
    """e = 2 (snr sigma_t)^2.  sampling.AnnealedLangevinDynamics."""
    checks.number("snr", snr, above=0)
    return lambda score, z, sigma: 2 * (snr * sigma) ** 2


@dataclass(frozen=True)
class Langevin:
    """`n_steps` Langevin steps before each step of the plan.

    schedule, prediction: of the plan and its model.  step: e from the score, the noise and sigma_t (see
    `langevin_step`, `annealed_step`), times factor(t).  noise: a function of (use, like), or a sequence,
    where use = step index * n_steps + k numbers the draws: with `noise.per_sample(seed, stream=1)`
    a draw is a function of seed, sample and use alone, independent of the plan's own noise.
    Raises ValueError or TypeError, naming the argument.
    """

    schedule: Schedule
    step: Callable[[State, State, Value], Any]
    noise: Noise | Sequence[State]
    n_steps: int = 1
    factor: Factor = unit_factor
    prediction: str = "eps"

    def __post_init__(self) -> None:
        check_prediction(self.prediction)
        checks.integer("n_steps", self.n_steps, 1)
        if not (callable(self.noise) or isinstance(self.noise, Sequence)):
            kind = type(self.noise).__name__
            raise TypeError(f"noise must be a function or a sequence of increments, got {kind}")

    def update(self, x: State, t: Value, index: int, evaluate: Evaluate) -> tuple[State, State]:
        """The corrected state, and the same without the noise of its last step."""
        source = self.noise if callable(self.noise) else given_noise(self.noise)
        p, q = conversion(self.schedule, self.prediction, "eps", t)
        sigma, mean = self.schedule.formulas.sigma(t), x
        for k in range(self.n_steps):
            score = (x * p + evaluate(x, t) * q) * (-1 / sigma)
            z = source(index * self.n_steps + k, x)
            e = self.step(score, z, sigma) * self.factor(t)
            mean = x + score * e
            x = mean + z * _sqrt(e * 2)
        return x, mean

    def before(self, x: State, t: Value, index: int, evaluate: Evaluate) -> State:
        """The corrected state."""
        return self.update(x, t, index, evaluate)[0]

    def after(self, x: State, t: Value, index: int, evaluate: Evaluate) -> State:
        """The state as it is."""
        return x


def _sqrt(value: Any) -> Any:
    return math.sqrt(value) if isinstance(value, float) else of(value).sqrt(value)


@dataclass(frozen=True)
class InTurn:
    """Several interludes, each after the other: in order before a step, and in order after it."""

    parts: tuple[Interlude, ...]

    def before(self, x: State, t: Value, index: int, evaluate: Evaluate) -> State:
        """Every part's `before`."""
        for part in self.parts:
            x = part.before(x, t, index, evaluate)
        return x

    def after(self, x: State, t: Value, index: int, evaluate: Evaluate) -> State:
        """Every part's `after`."""
        for part in self.parts:
            x = part.after(x, t, index, evaluate)
        return x


def reported_nfe(steps: int, n_steps: int) -> int:
    """N (n_steps + 1): what the release reports, also where predictor or corrector is "none"."""
    return steps * (n_steps + 1)
