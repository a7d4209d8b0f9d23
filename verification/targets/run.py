"""What a sampler is given for one run, and what it gives back.

Studies and traces drive samplers through the same face: states, times, a model that speaks any prediction,
and the noise.  A run is its number of steps, an int.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from semilinear.integrators.diffusion.prediction import Model
from semilinear.integrators.diffusion.schedule import Schedule
from semilinear.integrators.numerics.arithmetic import Value


class Run(Protocol):
    """One run of a sampler.

    x: initial states, (batch, *shape), in the frame of `schedule`: x = alpha x_0 + sigma eps.  times: of the
    grid, n + 1 of them.
    """

    x: Any
    schedule: Schedule

    def __int__(self) -> int: ...

    @property
    def times(self) -> tuple[Value, ...]:
        """Of the grid, from the start to the end."""

    def model(self, x: Any, t: Any) -> Any:
        """The noise prediction at states of the shape of `x` and time t."""

    def predict(self, prediction: str) -> Model:
        """The model in another prediction ("eps", "x0", "v", "score", "flow"): the one that a sampler asks
        for is the one in which its coefficients are read off.
        """

    def increment(self, t0: Value, t1: Value, like: Any) -> Any:
        """A standard normal: the increment of one Brownian motion in rho between two times, divided by its
        standard deviation, of the shape and dtype of `like`.
        """


Sampler = Callable[[Any], Any]
"""run -> final states (batch, *shape), or (final states, evaluations made)."""
