"""deepinv's convention: solver.sample(sde, x, timesteps=..), the SDE with drift, diffusion, score and scales.

What is measured is the solver: the SDE here is that of the run's schedule,

    dx = (f x - (1 + a)/2 g^2 score) dt + sqrt(a) g dW,   f = alpha'/alpha,  g^2 = 2 alpha^2 rho rho',

in its own precision, where deepinv's calls denoisers in float32.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import torch
from semilinear.integrators.numerics import checks
from semilinear.integrators.numerics.constructors import refuse_unknown

from .loading import alone
from .run import Run, Sampler

GIVEN = ("self", "timesteps", "t_start", "t_end", "num_steps", "rng")


def sampler(
    made: Any, settings: Mapping[str, Any] | None = None, *, alpha: float = 0.0, exact: bool = True
) -> Sampler:
    """A solver class of this convention as a sampler of runs.

    settings: of its constructor (`eta`, `variance`).  alpha: a, the weight of the noise; 0 is the
    probability flow.  exact: times are float64.  Raises ValueError for settings that it does not take and a
    negative alpha.
    """
    own = {k: p for k, p in inspect.signature(made.__init__).parameters.items() if k not in GIVEN}
    refuse_unknown(made.__name__, settings or {}, own)
    checks.number("alpha", alpha, least=0)

    def sample(run: Run) -> Any:
        times = torch.tensor([float(t) for t in run.times], dtype=torch.float64 if exact else run.x.dtype)
        solver = made(timesteps=times, **dict(settings or {}))
        step = solver.step

        def stepped(sde: Any, t0: Any, t1: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
            solver.randn_like = lambda like, *_: run.increment(float(t0), float(t1), like)
            return step(sde, t0, t1, x, *args, **kwargs)

        solver.step = stepped
        found = solver.sample(SDE(run, float(alpha), times), run.x)
        return found.sample, getattr(found, "nfe", None)

    return sample


class SDE:
    """The reverse SDE of a run, as solvers of deepinv ask for it; t are tensors without dimensions."""

    def __init__(self, run: Run, alpha: float, times: torch.Tensor) -> None:
        self.run, self.dtype, self.device = run, times.dtype, times.device
        self.alpha: Callable[[Any], float] = lambda t: alpha

    def sigma_t(self, t: Any) -> Any:
        """rho."""
        return self.run.schedule.rho(t)

    def scale_t(self, t: Any) -> Any:
        """alpha of the schedule."""
        return self.run.schedule.alpha(t)

    def score(self, x: Any, t: Any, *_: Any, **__: Any) -> Any:
        """The score at states of the schedule; NaN at sigma = 0, as 0/0 is there."""
        if float(self.run.schedule.sigma(t)) == 0:
            return torch.full_like(x, torch.nan)
        return self.run.predict("score")(x, float(t))

    def discretize(self, x: Any, t: Any, *_: Any, **__: Any) -> tuple[Any, Any]:
        """Drift and diffusion against -dt."""
        f, a = self.run.schedule.formulas, self.alpha(t)
        square = 2 * f.alpha(t) ** 2 * f.rho(t) * f.rho_dot(t)
        drift = -f.alpha_dot(t) / f.alpha(t) * x + (1 + a) / 2 * square * self.score(x, t)
        return drift, a**0.5 * square**0.5


def release() -> ModuleType:
    """`deepinv.sampling.sde_solver` alone.  Raises ModuleNotFoundError where it is not there."""
    return alone("deepinv.sampling.sde_solver")
