"""What samplers are measured on in distribution: a problem, from pure noise to data, and how many samples."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import numpy as np
import torch
from semilinear.integrators.common import checks, limits
from semilinear.integrators.diffusion.grids import Grid, uniform_lambda
from semilinear.integrators.diffusion.prediction import Model, convert
from semilinear.integrators.plans.program import Plan
from semilinear.integrators.run.boundary import Noise
from semilinear.integrators.run.noise import LARGEST_SEED, per_sample
from semilinear.integrators.run.sampler import sample

from ..problems.interval import END, SAMPLES
from ..problems.law import MixtureLaw, law_of
from ..problems.linear_law import Gaussians
from ..problems.mixtures import GaussianMixture
from ..problems.named import Problem, problem
from ..studies.gaussian import respond
from ..studies.sampler import NoisyRun
from ..studies.setup import Setup, check_problem
from ..studies.threads import one_thread
from ..targets.draws import TakenOver
from ..targets.run import Sampler, returned
from .floor import REPLICATES, Floor, floor_of, squares
from .metrics import Metric, metrics

BLOCK = 1000
"""Samples that run together: their number of threads and workers changes nothing."""
LEAST = 100
"""Samples of which a distance is estimated."""


@dataclass(frozen=True, kw_only=True)
class SampledExperiment(Setup):
    """What samplers are measured on in distribution.

    problem: a mixture of Gaussians in closed form.  schedule, grid: as for a plan.  t_start, t_end: the
    schedule's own start, and 1e-3 (or the schedule's end), where absent.  Runs start from pure noise,
    sigma N(0, I), and are compared with the exact law at t_end.  samples: how many.  seed: of starts, noise
    and exact samples.  exact: on a Gaussian problem compute the law that a plan gives, in place of samples.
    Raises TypeError or ValueError, naming the argument.
    """

    problem: Problem = field(default_factory=lambda: problem("golden-mixture"), kw_only=False)
    grid: Grid = field(default_factory=uniform_lambda)
    t_start: float | None = None
    t_end: float | None = None
    samples: int = SAMPLES
    seed: int = 0
    exact: bool = True
    _floors: dict[str, Floor] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_problem(self.problem)
        checks.flag("exact", self.exact)
        samples = checks.integer("samples", self.samples, LEAST, limits.STATES)
        object.__setattr__(self, "samples", samples)
        object.__setattr__(self, "seed", checks.integer("seed", self.seed, 0, LARGEST_SEED))
        for name in ("t_start", "t_end"):
            if (t := getattr(self, name)) is not None:
                self.schedule.check_time(checks.number(name, t), name)
        start, end = self.times
        if not end < start:
            raise ValueError(f"t_end must be below t_start = {start:g}, got {end:g}")
        if not np.linalg.eigvalsh(self._law.covariances).min() > 0:  # refuses a law that is not known, too
            raise ValueError(f"t_end must leave the law of {self.problem.name!r} a density, got {end:g}")

    @cached_property
    def times(self) -> tuple[float, float]:
        """Start and end of the runs."""
        start = self.schedule.t_max if self.t_start is None else self.t_start
        end = max(self.schedule.t_min, END) if self.t_end is None else self.t_end
        return float(start), float(end)

    @property
    def place(self) -> str:
        """Where solvers are measured, in words."""
        return self.described(self.gaussian is not None)

    def described(self, exact: bool) -> str:
        """Where is measured, in words; exact: the law is computed."""
        start, end = self.times
        drawn = "exactly" if exact else f"{self.samples} samples, seed {self.seed}"
        where = f"{self.problem.name}, {self.schedule.kind} from t = {start:g} to {end:g}"
        return f"{where}, grid {self.grid.name}; {drawn}"

    @cached_property
    def model(self) -> Model:
        """The exact noise prediction."""
        return self.problem.model(self.schedule)

    # --- the exact law, and distances from it ---

    @cached_property
    def _law(self) -> MixtureLaw:
        return law_of(self.problem, self.schedule, self.times[1])

    @cached_property
    def _units(self) -> tuple[float, np.ndarray]:
        """(scale, shift) that turn states into the law's own units: x -> scale x + shift."""
        scale = math.sqrt(self._law.dimension / float(np.trace(self._law.covariance)))
        return scale, -scale * self._law.mean

    @cached_property
    def law(self) -> MixtureLaw:
        """At the end of the runs, in its own units: mean 0, mean variance 1."""
        return self._law.moved(*self._units)

    def has_law_of(self, other: SampledExperiment) -> bool:
        """Whether runs of both end at one law, in the same units."""
        return _equal(self._law, other._law)

    def has_problem_of(self, other: SampledExperiment) -> bool:
        """Whether the problems of both are one law."""
        return _equal(self._law, law_of(other.problem, self.schedule, self.times[1]))

    @cached_property
    def metrics(self) -> Mapping[str, Metric]:
        """Distances from the law, by name."""
        return metrics(self.law)

    def floors(self, drawn: Callable[[], Iterable[dict[str, float]]] | None = None) -> Mapping[str, Floor]:
        """What exact samples show, by metric; computed once.

        drawn: gives `exact_squares` of every replicate, where other processes make them.
        """
        if not self._floors:
            squared = list(map(self.exact_squares, range(REPLICATES)) if drawn is None else drawn())
            found = {
                name: floor_of(
                    metric, np.array([one[name] for one in squared]), self.law, self.samples, self.seed
                )
                for name, metric in self.metrics.items()
            }
            self._floors.update(found)
        return self._floors

    def exact_squares(self, replicate: int) -> dict[str, float]:
        """The squared distances of exact samples, by metric."""
        with one_thread():
            return squares(self.metrics, self.law, self.samples, self.seed, replicate)

    def __getstate__(self) -> dict[str, Any]:
        """What it was made of; the rest is computed again where it is needed."""
        return {one.name: getattr(self, one.name) for one in fields(self) if one.init} | {"_floors": {}}

    # --- runs ---

    def states(self, plan: Plan) -> tuple[np.ndarray, int]:
        """What a plan makes of pure noise, in the law's units, (samples, d), and its evaluations.

        Raises NonFiniteError where a state is not finite.
        """
        model = convert(self.schedule, self.model, "eps", plan.prediction)

        def run(x: torch.Tensor, noise: Noise) -> tuple[torch.Tensor, int]:
            result = sample(plan, model, x, noise=noise if plan.stochastic else None)
            return result.x, result.nfe

        return self._in_blocks(run)

    def states_of(self, sampler: Sampler, steps: int, samples: int | None = None) -> tuple[np.ndarray, int]:
        """What a function of a run makes of pure noise, and its evaluations, as `states`.

        samples: how many, of those that the experiment has.  The sampler's draws from torch and from
        `run.noise` are the experiment's.
        Raises ValueError for states of another size, and NonFiniteError.
        """

        def run(x: torch.Tensor, noise: Noise) -> tuple[torch.Tensor, int]:
            made = itertools.count()

            def draw(like: torch.Tensor) -> torch.Tensor:
                return torch.as_tensor(noise(next(made), like))

            run = NoisyRun(steps, self, x, draw)
            with TakenOver(draw):
                result = sampler(run)
            found = returned(result, tuple(x.shape), steps)
            return torch.as_tensor(found.x.astype(float)), run.calls or found.claimed or 0

        return self._in_blocks(run, samples)

    def _in_blocks(
        self, run: Callable[[torch.Tensor, Noise], tuple[torch.Tensor, int]], samples: int | None = None
    ) -> tuple[np.ndarray, int]:
        sigma = float(self.schedule.sigma(self.times[0]))
        count = self.samples if samples is None else samples
        parts, nfe = [], 0
        with one_thread():
            for first in range(0, count, BLOCK):
                like = torch.empty(min(BLOCK, count - first), self.problem.dimension, dtype=torch.float64)
                start, noise = (per_sample(self.seed, first_sample=first, stream=stream) for stream in (1, 0))
                x, nfe = run(sigma * torch.as_tensor(start(0, like)), noise)
                parts.append(x.numpy())
        scale, shift = self._units
        return scale * np.concatenate(parts) + shift, nfe

    # --- Gaussian data ---

    @cached_property
    def gaussian(self) -> GaussianMixture | None:
        """The problem, where the law that a plan gives is computed."""
        law = self.problem
        return law if self.exact and isinstance(law, GaussianMixture) and law.exact_flow else None

    def output(self, plan: Plan) -> MixtureLaw:
        """The law of what a plan makes of pure noise on a Gaussian problem, in the exact law's units.

        Rows add multiples of whole states, so that a run acts on each principal axis by itself.
        Raises ValueError for a problem that is not Gaussian, and a plan with coefficients for each component.
        """
        if self.gaussian is None:
            raise ValueError(f"problem must be Gaussian, got {self.problem.name!r}")
        if plan.arrays:
            raise ValueError(f"plan of {plan.solver} has coefficients for each component: it has no one axis")
        values, axes = np.linalg.eigh(self.gaussian.covariances[0])
        centre = self.gaussian.means[0] @ axes
        data = Gaussians(centre, values, np.zeros_like(centre))
        model = convert(self.schedule, data.model(self.schedule), "eps", plan.prediction)
        response = respond(plan, model, data.start)
        variance = response.variance(float(self.schedule.sigma(self.times[0])) ** 2)
        made = MixtureLaw(
            np.ones(1), (axes @ response.mean)[None], ((axes * np.asarray(variance)) @ axes.T)[None]
        )
        return made.moved(*self._units)


def _equal(a: MixtureLaw, b: MixtureLaw) -> bool:
    return all(np.array_equal(getattr(a, part.name), getattr(b, part.name)) for part in fields(MixtureLaw))
