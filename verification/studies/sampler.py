"""Weak orders of any sampler that draws noise, exactly: its noise is taken over, one draw a sample.

On Gaussian data a sampler that is linear in its model is affine in its start and in what it draws.  One batch
reads all of it off: the first sample sees no noise, the next see a unit of one draw each, one starts a unit
further, and the last sees random draws and must be what the others say.  Mean and variance then stand
against the exact law (`stochastic.py`); no Monte Carlo.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self, cast

import numpy as np
import torch
from semilinear.analysis.convergence import QUARTER, OrderEstimate
from semilinear.integrators.common.messages import shown
from semilinear.integrators.forms.form import FormOf
from semilinear.integrators.forms.reverse import sde_data_in_lambda

from ..targets.draws import TakenOver
from ..targets.run import Returned, Run, returned
from .findings import FAR, Finding, precision
from .gaussian import Exact, Response, StochasticExperiment, StochasticStudy, estimates
from .ladders import GAUSSIAN
from .neighbours import beside, lowest
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
    exact = [e.exact(e.law(form), False)] * (not marginal) + [e.exact(None, True)]
    start = np.asarray(exact[0].start[0], dtype=float)

    def responses(counts: Iterable[int]) -> dict[int, Responded]:
        return {n: respond_sampler(sampler, e, n, start) for n in counts}

    made = responses(counted(e.ladder, progress))
    study = _judged(name, made, e, exact)
    place = beside(list(made), [exact[0].distance(r) for r, *_ in made.values()])
    if place is None:
        return study
    factors = place.factors({n: exact[0].distance(r) for n, (r, *_) in responses(place.counts).items()})
    if not factors:
        return study
    return lowest(
        study,
        place,
        factors,
        (GAUSSIAN[0], e.ladder[-1]),
        lambda counts, _: _judged(name, responses(counts), e, exact),
        lowest_first,
    )


Responded = tuple[Response, int, float]
"""A response, evaluations, and the unit of rounding of the states."""


def lowest_first(study: StochasticStudy) -> float:
    """For comparison: that of errors which show none may be any."""
    order = study.weak.order
    return order if math.isfinite(order) else -math.inf


def _judged(
    name: str, made: Mapping[int, Responded], e: StochasticExperiment, exact: Sequence[Exact]
) -> StochasticStudy:
    """Against the first of what is exact; against the marginals, the last, where the runs tend to another
    law than that: another SDE has these in common with it.
    """
    first, last = exact[0], exact[-1]
    study = _against(name, made, e, first, first is last)
    if first is last or not any(_stops(study, kind, e, first) for kind in ("mean", "variance")):
        return study
    shift = np.asarray(last.start[0], dtype=float) - np.asarray(first.start[0], dtype=float)
    moved = {n: (replace(r, mean=r.mean + r.slope * shift), *more) for n, (r, *more) in made.items()}
    text = "the runs tend to another law than that of the form's SDE: marginals are compared"
    found = _against(name, cast(Mapping[int, Responded], moved), e, last, True)
    return replace(found, findings=(Finding("limit", (), text),))


def _stops(study: StochasticStudy, kind: str, e: StochasticExperiment, exact: Exact) -> bool:
    """Whether the errors of mean or variance stop falling where single precision does not explain it."""
    estimate: OrderEstimate = getattr(study, kind)
    falls = not estimate.note and estimate.verdict(QUARTER) != "lower"
    return not falls and estimate.points[-1].error > FAR * exact.size


def _against(
    name: str, made: Mapping[int, Responded], e: StochasticExperiment, exact: Exact, marginal: bool
) -> StochasticStudy:
    """Errors beyond what single precision explains stop at the method's own law."""
    errors = [exact.errors(response) for response, *_ in made.values()]
    floors = [e.floor(n, exact) * unit / UNITS["float64"] for n, (*_, unit) in made.items()]
    found, none = estimates(list(made), errors, floors, small=FAR * exact.size)
    no_path = "which interval a draw belongs to is not known"
    strong = OrderEstimate(math.nan, math.nan, math.nan, (), (), no_path)
    nfe = tuple(calls for _, calls, _ in made.values())
    return StochasticStudy(name, found["mean"], found["variance"], strong, none, exact.bound, nfe, marginal)


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
