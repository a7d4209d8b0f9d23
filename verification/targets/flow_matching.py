"""flow_matching's convention: ODESolver(velocity).sample(x_init, time_grid=..), from noise at 0 to data at 1.

The velocity is x_0 - eps at states x/(alpha + sigma) and time alpha/(alpha + sigma).
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from semilinear.integrators.common.constructors import refuse_unknown

from .frames import Frame
from .run import Run, Sampler

FIXED = ("euler", "midpoint", "heun2", "heun3", "rk4", "explicit_adams", "implicit_adams")
"""Methods whose steps follow no tolerance."""

GIVEN = ("self", "x_init", "time_grid", "return_intermediates", "enable_grad", "model_extras")


def sampler(solver: Any, settings: Mapping[str, Any] | None = None, *, exact: bool = True) -> Sampler:
    """A solver class of this convention (`ODESolver`) as a sampler of runs.

    settings: of its `sample` (`method`, `step_size`, `rtol`, ..); steps are those of the grid where no
    step_size is given.  exact: times are float64.  Raises ValueError for settings that it does not take.
    """
    own = {k: p for k, p in inspect.signature(solver.sample).parameters.items() if k not in GIVEN}
    refuse_unknown(solver.__name__, settings or {}, own)

    def sample(run: Run) -> Any:
        frame = Frame(run, "flow")
        times = [1 / (1 + r) for r in frame.levels.grid]

        def velocity(x: Any, t: Any, **_: Any) -> Any:
            return -frame.predict("velocity", x, (1 - t) / t)

        given = {"step_size": None} | dict(settings or {})
        grid = torch.tensor(times, dtype=torch.float64 if exact else run.x.dtype)
        return frame.leave(solver(velocity).sample(x_init=frame.enter(), time_grid=grid, **given))

    return sample
