"""smalldiffusion's convention: a generator of states x/alpha over sigmas, the model `predict_eps`."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Mapping
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from semilinear.integrators.common.constructors import refuse_unknown

from .frames import Frame
from .loading import alone
from .run import Run, Sampler

GIVEN = ("model", "sigmas", "batchsize", "xt", "cond", "accelerator", "cfg_scale")


def sampler(
    function: Callable[..., Any], settings: Mapping[str, Any] | None = None, *, exact: bool = True
) -> Sampler:
    """A function of this convention (`samples`) as a sampler of runs.

    settings: its further parameters (`gam`, `mu`).  exact: sigmas are float64.  Raises ValueError for
    settings that it does not take.
    """
    own = {k: p for k, p in inspect.signature(function).parameters.items() if k not in GIVEN}
    refuse_unknown(f"function {function.__name__}", settings or {}, own)

    def sample(run: Run) -> Any:
        frame = Frame(run, "ve")
        sigmas = torch.tensor(frame.levels.grid, dtype=torch.float64 if exact else run.x.dtype)
        device = SimpleNamespace(device=run.x.device)
        given = function(_Model(frame), sigmas, xt=frame.enter(), accelerator=device, **dict(settings or {}))
        *_, final = given
        return frame.leave(final)

    return sample


class _Model:
    def __init__(self, frame: Frame) -> None:
        self.frame, self.steps = frame, itertools.pairwise(frame.levels.grid)

    def eval(self) -> None:
        """As modules have it."""

    def predict_eps(self, y: Any, sigma: Any, cond: Any = None) -> Any:
        """The noise prediction at a level."""
        return self.frame.predict("eps", y, sigma)

    def predict_eps_cfg(self, y: Any, sigma: Any, cond: Any = None, scale: Any = None) -> Any:
        """The same, without guidance."""
        return self.predict_eps(y, sigma)

    def rand_input(self, batch: int) -> Any:
        """The noise of the next step: it is drawn once in every step."""
        return self.frame.increment(*next(self.steps), self.frame.run.x)


def release() -> ModuleType:
    """`smalldiffusion.diffusion` alone.  Raises ModuleNotFoundError where it is not there."""
    accelerate = ModuleType("accelerate")
    accelerate.Accelerator = None  # type: ignore[attr-defined]  # of training, and of a default never made
    return alone("smalldiffusion.diffusion", {"accelerate": accelerate})
