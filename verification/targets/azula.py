"""azula's convention: sampler classes with a denoiser (x, t) -> posterior, which has a schedule.

Its samplers step uniformly in t; here they are given the run's times.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch
from semilinear.integrators.numerics.constructors import refuse_unknown

from .arithmetic import Proxy, modules_of, replaced
from .run import Run, Sampler

GIVEN = ("self", "denoiser", "start", "stop", "steps", "silent", "dtype", "device", "kwargs")


def sampler(made: Any, settings: Mapping[str, Any] | None = None, *, exact: bool = True) -> Sampler:
    """A sampler class of this convention as a sampler of runs.

    settings: of its constructor (`order`, `eta`, ..).  exact: times are float64.  Raises ValueError for
    settings that it does not take.
    """
    own = {k: p for k, p in inspect.signature(made.__init__).parameters.items() if k not in GIVEN}
    refuse_unknown(made.__name__, settings or {}, own)

    def sample(run: Run) -> Any:
        times = torch.tensor([float(t) for t in run.times], dtype=torch.float64 if exact else run.x.dtype)
        given = type(
            made.__name__, (made,), {"timesteps": property(lambda _: times), "step": _step(made, run)}
        )
        return given(_Denoiser(run), silent=True, steps=int(run), **dict(settings or {}))(run.x)

    return sample


def _step(made: Any, run: Run) -> Any:
    """A step whose noise is the increment between its times; that of a corrector is drawn for itself."""

    def step(self: Any, x: Any, t: Any, s: Any, **kwargs: Any) -> Any:
        drawn = {"randn_like": lambda like: run.increment(float(t), float(s), like)}
        names = {} if hasattr(self, "corrections") else {"torch": Proxy(torch, drawn)}
        with replaced(modules_of(made), names):
            return made.step(self, x, t, s, **kwargs)

    return step


class _Denoiser:
    """What such a sampler asks: denoiser(x, t).mean, denoiser.schedule(t)."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def schedule(self, t: Any) -> tuple[Any, Any]:
        """alpha_t, sigma_t as tensors like t."""
        return self.run.schedule.alpha(t), self.run.schedule.sigma(t)

    def __call__(self, x: Any, t: Any, **_: Any) -> Any:
        return SimpleNamespace(mean=self.run.predict("x0")(x, float(t)))
