"""Weak orders of any sampler that draws noise, exactly: its noise is taken over, one draw a sample.

On Gaussian data a sampler that is linear in its model is affine in its start and in what it draws.  One batch
reads all of it off: the first sample sees no noise, the next see a unit of one draw each, one starts a unit
further, and the last sees random draws and must be what the others say.  Mean and variance then stand
against the exact law (`stochastic.py`); no Monte Carlo.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Self

import numpy as np
import torch
from semilinear.analysis.convergence import OrderEstimate
from semilinear.integrators.forms.form import FormOf
from semilinear.integrators.forms.reverse import sde_data_in_lambda
from semilinear.integrators.numerics.messages import shown

from ..targets.draws import TakenOver
from ..targets.run import Returned, Run, returned
from .findings import precision
from .gaussian import Response, StochasticExperiment, StochasticStudy, estimates
from .progress import Progress, counted
from .setup import UNITS, Setup

AGREES = 1e-6
"""Relative difference of a sample with random draws from the sum of its parts; more below float32."""


class NoisyRun(Run):
    """A run whose noise is given.

    x: a tensor (batch, d).  noise: `noise(like)`, standard normal draws for states of the shape of `like`;
    torch's own draws are taken over too.
    """

    _draw: Callable[[torch.Tensor], torch.Tensor]

    def __new__(cls, n: int, experiment: Setup, x: torch.Tensor, draw: Any) -> Self:
        """x: (batch, d); draw: a function of a tensor."""
        run = super().__new__(cls, experiment.schedule, experiment.nodes(n), x, experiment.model)
        run._draw = draw
        return run

    def noise(self, like: Any) -> Any:
        """The next draw."""
        return self._draw(like)


def measure_stochastic(
    name: str,
    sampler: Callable[[NoisyRun], Any],
    experiment: StochasticExperiment | None = None,
    *,
    form: FormOf = sde_data_in_lambda,
    marginal: bool = False,
    progress: Progress | None = None,
) -> StochasticStudy:
    """The weak orders of any sampler, of mean and variance, on Gaussian data.

    sampler: run -> final states (batch, d) at the experiment's end, from `run.x` at its start, with the draws
    of `run.noise` or of torch (`NoisyRun`).  form: whose SDE it solves.  marginal: compare the marginals that
    it makes of the exact one at the start, for a sampler that solves no SDE of its own.  There is no strong
    order: which interval a draw belongs to is not known.
    Raises ValueError for an experiment in multiprecision, states of another shape, and a sampler that is not
    affine in its noise: one that is adaptive, thresholds, draws elsewhere, or mixes samples.
    """
    if not callable(sampler):
        raise TypeError(f"sampler must be a function of a run, got {shown(sampler)}")
    e = StochasticExperiment() if experiment is None else experiment
    if e.digits is not None:
        raise ValueError(f"experiment must be in float64, got digits = {e.digits}")
    exact = e.exact(e.law(form), marginal)
    errors, floors, nfe = [], [], []
    for n in counted(e.ladder, progress):
        response, calls, unit = respond_sampler(sampler, e, n, np.asarray(exact.start[0], dtype=float))
        errors.append(exact.errors(response))
        floors.append(e.floor(n, exact) * unit / UNITS["float64"])
        nfe.append(calls)
    found, none = estimates(e.ladder, errors, floors)
    no_path = "which interval a draw belongs to is not known"
    strong = OrderEstimate(math.nan, math.nan, math.nan, (), (), no_path)
    mean, variance = found["mean"], found["variance"]
    return StochasticStudy(name, mean, variance, strong, none, exact.bound, tuple(nfe), marginal)


def respond_sampler(
    sampler: Callable[[NoisyRun], Any], experiment: StochasticExperiment, n: int, start: np.ndarray
) -> tuple[Response, int, float]:
    """A sampler's response to its draws with n steps, from `start` (d,); evaluations; unit of rounding."""
    shapes: list[int] = []

    def silent(like: torch.Tensor) -> torch.Tensor:
        shapes.append(like.shape[-1])
        return torch.zeros_like(like)

    _final(sampler, experiment, n, torch.tensor(start)[None], silent)
    draws = len(shapes)
    chance = torch.randn(draws, len(start), generator=torch.Generator().manual_seed(n), dtype=torch.float64)
    given = torch.cat([torch.zeros(1, draws), torch.eye(draws), torch.zeros(1, draws)]).double()
    drawn: list[int] = []

    def one_each(like: torch.Tensor) -> torch.Tensor:
        k = len(drawn)
        drawn.append(k)
        if k >= draws or like.shape != (draws + 3, len(start)):
            raise ValueError(f"sampler must draw alike at every call, got draw {k} of {tuple(like.shape)}")
        units = given[:, k, None].expand(-1, len(start))
        return torch.cat([units, chance[k][None]]).to(like)

    x = torch.tensor(start).repeat(draws + 3, 1)
    x[draws + 1] += 1
    found, calls = _final(sampler, experiment, n, x, one_each)
    unit = UNITS[precision(found.states)]
    final = found.x.astype(float)
    mean, impulses, slope = final[0], final[1 : draws + 1] - final[0], final[draws + 1] - final[0]
    told = mean + np.sum(chance.numpy() * impulses, axis=0)
    size = np.max(np.abs(final)) if np.all(np.isfinite(final)) else math.nan
    if not np.max(np.abs(told - final[-1])) <= AGREES * size * max(1.0, unit / UNITS["float32"]):
        raise ValueError(
            f"sampler must be affine in its start and its draws, got {final[-1]} where its parts give {told} "
            f"at n = {n}"
        )
    return Response(mean, impulses, slope), calls, unit


def _final(
    sampler: Callable[[NoisyRun], Any], experiment: StochasticExperiment, n: int, x: torch.Tensor, draw: Any
) -> tuple[Returned, int]:
    """What a run gives back, and its evaluations."""
    run = NoisyRun(n, experiment, x, draw)
    with TakenOver(draw):
        result = sampler(run)
    found = returned(result, tuple(x.shape), n)
    return found, run.calls or found.claimed or 0
