"""azula's convention: sampler classes with a denoiser (x, t) -> posterior, which has a schedule.

Its samplers step uniformly in t; here they are given the run's times, but for `on_schedule`.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch
from semilinear.integrators.common.constructors import refuse_unknown

from .arithmetic import Proxy, modules_of, replaced
from .frames import Frame
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


def on_schedule(made: Any, schedule: Any, settings: Mapping[str, Any] | None = None) -> Sampler:
    """The same in its own times, on a schedule of azula's, in its own precision.

    The run's are those of the levels that it has at these times (`times_of`).
    """

    def sample(run: Run) -> Any:
        frame = Frame(run, "ve")

        def denoiser(x: Any, t: Any, **_: Any) -> Any:
            alpha, sigma = schedule(t)
            return SimpleNamespace(mean=frame.predict("x0", x / alpha, sigma / alpha))

        denoiser.schedule = schedule  # type: ignore[attr-defined]
        times = times_of(made, int(run), settings)
        (first, _), (last, _) = schedule(times[0]), schedule(times[-1])
        final = made(denoiser, silent=True, steps=int(run), **dict(settings or {}))(first * frame.enter())
        return frame.leave(final / last)

    return sample


def times_of(made: Any, n: int, settings: Mapping[str, Any] | None = None) -> torch.Tensor:
    """The times at which a sampler class stops where it is left to itself, n + 1 of them."""
    times: torch.Tensor = made(None, steps=n, **dict(settings or {})).timesteps
    return times


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
