"""torchdiffeq's convention: odeint(f, y, taus, method=..), for dy/dtau = f(tau, y) in one of these variables.

| variable | y                       | dy/dtau   |
|----------|-------------------------|-----------|
| "rho"    | x/alpha                 | eps       |
| "lambda" | x/alpha                 | -rho eps  |
| "flow"   | x/(alpha + sigma)       | eps - x_0 |
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from semilinear.integrators.common import checks

from .arithmetic import widened
from .frames import Frame
from .run import Run, Sampler

VARIABLES = ("rho", "lambda", "flow")


def sampler(
    odeint: Callable[..., Any],
    method: str,
    settings: Mapping[str, Any] | None = None,
    *,
    variable: str = "rho",
    exact: bool = True,
) -> Sampler:
    """An integrator of this convention as a sampler of runs.

    settings: passed on to it (`rtol`, `atol`, `options`).  exact: times are float64.  Raises ValueError for a
    variable that is none.
    """
    checks.one_of("variable", variable, VARIABLES)

    def sample(run: Run) -> Any:
        frame = Frame(run, "flow" if variable == "flow" else "ve")
        there, back, slope = _variable(frame, variable)
        taus = torch.tensor(
            [there(r) for r in frame.levels.grid], dtype=torch.float64 if exact else run.x.dtype
        )
        with widened((), exact):
            states = odeint(
                lambda tau, y: slope(y, back(tau)), frame.enter(), taus, method=method, **dict(settings or {})
            )
        return frame.leave(states[-1])

    return sample


def _variable(frame: Frame, name: str) -> tuple[Any, Any, Any]:
    """rho -> tau, tau -> rho, and the slope at a state and rho."""
    if name == "flow":
        return lambda r: r / (1 + r), lambda s: s / (1 - s), lambda y, r: frame.predict("velocity", y, r)
    if name == "lambda":
        return (
            lambda r: -math.log(r) if r > 0 else math.inf,
            lambda tau: (-tau).exp(),
            lambda y, r: -r * frame.predict("eps", y, r),
        )
    return float, lambda r: r, lambda y, r: frame.predict("eps", y, r)
