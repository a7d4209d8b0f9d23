"""deepinv's convention: solver.sample(sde, x, timesteps=..), the SDE with drift, diffusion, score and scales.

A solver alone is measured on the SDE of the run's schedule,

    dx = (f x - (1 + a)/2 g^2 score) dt + sqrt(a) g dW,   f = alpha'/alpha,  g^2 = 2 alpha^2 rho rho',

in its own precision, where deepinv's calls denoisers in float32.  deepinv's own SDEs are driven by one of its
solvers in their own time, at which their noise levels are the run's.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import torch
from semilinear.integrators.common import checks
from semilinear.integrators.common.constructors import refuse_unknown

from .arithmetic import widened
from .frames import Frame
from .listed import DEEPINV_SDES as SDES
from .listed import DEEPINV_SOLVERS as SOLVERS
from .listed import POSTERIOR
from .loading import alone
from .run import Run, Sampler

GIVEN = ("self", "timesteps", "t_start", "t_end", "num_steps", "rng")
TIMES = ("alpha", "T", "sigma_min", "sigma_max", "beta_min", "beta_max", "scaled_linear")
"""Parameters of SDEs that are settings."""
HALVINGS = 64
"""Of the interval in which a time is looked for, to rounding."""


def sampler(
    made: Any,
    settings: Mapping[str, Any] | None = None,
    *,
    alpha: float | None = None,
    solver: str = "EulerSolver",
    sde: str = "VariancePreservingDiffusion",
    exact: bool = True,
) -> Sampler:
    """A solver class of this convention, or one of deepinv's SDE classes, as a sampler of runs.

    settings: of its constructor (`eta`, `variance`; `sigma_min`, `beta_max`, ..).  alpha: a, the weight of
    the noise; 0 is the probability flow, which a solver is given where it is absent, and an SDE its own.
    solver: of deepinv, which drives an SDE.  sde: of deepinv, which PosteriorDiffusion samples, without data
    and without the denoising after its end.  exact: times, and what deepinv casts to float32, are float64.
    Raises ValueError for settings that it does not take, other solvers and SDEs, and a negative alpha.
    """
    if alpha is not None:
        checks.number("alpha", alpha, least=0)
    checks.one_of("solver", solver, SOLVERS)
    checks.one_of("sde", sde, SDES)
    given = dict(settings or {})
    if not hasattr(made, "step"):
        weight = {} if alpha is None else {"alpha": float(alpha)}
        return _of_sde(made, given | weight, solver, sde, exact)
    own = {k: p for k, p in inspect.signature(made.__init__).parameters.items() if k not in GIVEN}
    refuse_unknown(made.__name__, given, own)

    def sample(run: Run) -> Any:
        times = torch.tensor([float(t) for t in run.times], dtype=torch.float64 if exact else run.x.dtype)
        driven = _driven(made(timesteps=times, **given), run.increment)
        found = driven.sample(SDE(run, float(alpha or 0), times), run.x)
        return found.sample, getattr(found, "nfe", None)

    return sample


def _driven(solver: Any, increment: Callable[..., Any]) -> Any:
    """A solver whose noise is the increment between the times of its steps."""
    step = solver.step

    def stepped(sde: Any, t0: Any, t1: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
        solver.randn_like = lambda like, *_: increment(float(t0), float(t1), like)
        return step(sde, t0, t1, x, *args, **kwargs)

    solver.step = stepped
    return solver


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


def _of_sde(made: Any, settings: Mapping[str, Any], solver: str, sde: str, exact: bool) -> Sampler:
    """States of an SDE are scale_t(t) (x_0 + sigma_t(t) eps)."""
    release = sdes()
    posterior = made.__name__ == POSTERIOR
    chosen = getattr(release, sde) if posterior else made
    taken = inspect.signature(chosen.__init__).parameters
    refuse_unknown(chosen.__name__, settings, {key: p for key, p in taken.items() if key in TIMES})

    def sample(run: Run) -> Any:
        frame = Frame(run, "ve")

        def denoiser(y: Any, sigma: Any, **_: Any) -> Any:
            return frame.predict("x0", y, sigma)

        with widened((release,), exact):
            process = chosen(denoiser=denoiser, minus_one_one=False, **settings)
            times = times_of(process, frame.levels.grid)
            known = dict(zip(times.tolist(), frame.levels.grid, strict=True))
            driven = _driven(
                getattr(solvers(), solver)(timesteps=times),
                lambda t0, t1, like: frame.increment(known[t0], known[t1], like),
            )
            x = frame.enter() * process.scale_t(times[0])
            if posterior:
                whole = made(sde=process, solver=driven, minus_one_one=False)
                final = whole(None, None, x_init=x, timesteps=times, denoise_output=False)
            else:
                process.solver = driven
                final = process.sample(x, timesteps=times)
        return frame.leave(final / process.scale_t(times[-1]))

    return sample


def times_of(process: Any, levels: tuple[float, ...]) -> torch.Tensor:
    """The times of noise levels, float64; those beyond its last level are of its end at t = 0."""
    wanted = torch.tensor(levels, dtype=torch.float64)
    low, high = torch.zeros_like(wanted), torch.full_like(wanted, float(process.T))
    if float(process.sigma_t(high[0])) < levels[0] * (1 - 1e-9):
        raise ValueError(
            f"sigma must be at most {float(process.sigma_t(high[0])):g} in {type(process).__name__}, where "
            f"its forward process ends, got {levels[0]:g}"
        )
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        beyond = process.sigma_t(middle) > wanted
        low, high = torch.where(beyond, low, middle), torch.where(beyond, middle, high)
    return torch.where(process.sigma_t(torch.zeros_like(low)) >= wanted, 0.0, high)


def solvers() -> ModuleType:
    """`deepinv.sampling.sde_solver` alone.  Raises ModuleNotFoundError where it is not there."""
    return alone("deepinv.sampling.sde_solver")


class _Reconstructor(torch.nn.Module):
    """What PosteriorDiffusion is derived from, without its training."""

    def __init__(self, device: Any = None) -> None:
        super().__init__()


def sdes() -> ModuleType:
    """`deepinv.sampling.diffusion_sde` alone, without what data and networks need.  Raises as `solvers`."""
    solvers()
    utils = alone("deepinv.sampling.utils")
    absent = {
        "deepinv.physics": ("Physics",),
        "deepinv.models.base": ("Denoiser",),
        "deepinv.models.wrapper": ("MinusOneOneDenoiserWrapper",),
        "deepinv.optim.data_fidelity": ("ZeroFidelity",),
        "deepinv.sampling.noisy_datafidelity": (
            *("NoisyDataFidelity", "DPSDataFidelity", "PiGDMDataFidelity"),
            "MomentMatchingDataFidelity",
        ),
    }
    stubs: dict[str, ModuleType] = {}
    for name, held in absent.items():
        stubs[name] = ModuleType(name)
        for each in held:
            setattr(stubs[name], each, type(each, (), {}))
    stubs["deepinv.models.base"].Reconstructor = _Reconstructor  # type: ignore[attr-defined]
    return alone("deepinv.sampling.diffusion_sde", stubs | {utils.__name__: utils})


def find(name: str) -> Any:
    """A solver or SDE class by its name.  Raises AttributeError for another, and as `solvers`."""
    return getattr(solvers() if name in SOLVERS else sdes(), name)
