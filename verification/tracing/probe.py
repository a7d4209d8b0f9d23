"""Runs that read a sampler off: the model's outputs and the noise are unit vectors.

A linear sampler adds multiples of its start, of the model's outputs and of its noise.  Let the state live in
a space with an axis for the start, one for every model call and one for every increment; start from the first
unit vector, let the k-th call return its own and so with the noise: every state is then the row of its exact
coefficients.  A rehearsal counts calls and increments before.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from semilinear.integrators.diffusion.prediction import Model, convert
from semilinear.integrators.diffusion.schedule import Schedule

from ..targets.draws import TakenOver
from ..targets.run import Sampler

Pair = tuple[float, float]


@dataclass
class Script:
    """What a run was asked, in order.

    asked: the prediction and time of every call.  seen: its state.  requests: of noise, the times of an
    increment or None for a draw that says none.  shapes: of every request.
    """

    asked: list[tuple[str, float]] = field(default_factory=list)
    seen: list[torch.Tensor] = field(default_factory=list)
    requests: list[Pair | None] = field(default_factory=list)


@dataclass(frozen=True)
class Increments:
    """Independent increments of which all requests are made.

    intervals: the times of each, None for a draw that says none.  parts: of every request, index and weight;
    the squares of the weights add up to 1.  The increments between times are those of one Brownian motion in
    rho: where requests overlap, they are split at each other's ends.
    """

    intervals: tuple[Pair | None, ...]
    parts: tuple[tuple[tuple[int, float], ...], ...]

    @staticmethod
    def of(requests: list[Pair | None], rho: Callable[[float], float]) -> Increments:
        """The increments for requests; a draw that says no times is one of its own."""
        nodes = sorted({rho(t) for pair in requests if pair is not None for t in pair})
        time = {rho(t): t for pair in requests if pair is not None for t in pair}
        intervals: list[Pair | None] = []
        place: dict[Pair, int] = {}
        parts: list[tuple[tuple[int, float], ...]] = []
        for pair in requests:
            if pair is None:
                parts.append(((len(intervals), 1.0),))
                intervals.append(None)
                continue
            low, high = sorted(rho(t) for t in pair)
            first, last = bisect.bisect_left(nodes, low), bisect.bisect_left(nodes, high)
            terms = []
            for a, b in itertools.pairwise(nodes[first : last + 1]):
                if (a, b) not in place:
                    place[a, b] = len(intervals)
                    intervals.append((time[b], time[a]))
                terms.append((place[a, b], ((b - a) / (high - low)) ** 0.5))
            parts.append(tuple(terms))
        return Increments(tuple(intervals), tuple(parts))


class Probe(int):
    """A run (`targets.run.Run`) that writes down what it is asked.

    outputs: (state, time, number of the call) -> noise prediction, or the model's output in `prediction`
    where that is given.  noise: (number of the request, shape) -> normal numbers.
    """

    x: torch.Tensor
    schedule: Schedule
    times: tuple[float, ...]
    script: Script

    def __new__(
        cls,
        schedule: Schedule,
        times: tuple[float, ...],
        x: torch.Tensor,
        outputs: Callable[[torch.Tensor, float, int], torch.Tensor],
        noise: Callable[[int, tuple[int, ...]], torch.Tensor],
        prediction: str = "eps",
    ) -> Probe:
        """times: of the grid.  x: the initial states."""
        run = super().__new__(cls, len(times) - 1)
        run.schedule, run.times, run.x, run.script = schedule, times, x, Script()
        run._outputs, run._noise, run._prediction = outputs, noise, prediction
        return run

    _outputs: Callable[[torch.Tensor, float, int], torch.Tensor]
    _noise: Callable[[int, tuple[int, ...]], torch.Tensor]
    _prediction: str

    @property
    def model(self) -> Model:
        """The noise prediction."""
        return self.predict("eps")

    def predict(self, prediction: str) -> Model:
        """The model in another prediction."""

        def asked(x: torch.Tensor, t: Any) -> torch.Tensor:
            time = float(t)
            number = len(self.script.asked)
            self.script.asked.append((prediction, time))
            self.script.seen.append(x.detach().clone())
            answer = convert(
                self.schedule, lambda y, s: self._outputs(y, time, number), self._prediction, prediction
            )
            output: torch.Tensor = answer(x, time)
            return output.to(x.dtype)

        return asked

    def increment(self, t0: Any, t1: Any, like: torch.Tensor) -> torch.Tensor:
        """The increment between two times, divided by its standard deviation."""
        return self._drawn((float(t0), float(t1)), tuple(like.shape), like.dtype)

    def _drawn(self, pair: Pair | None, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        number = len(self.script.requests)
        self.script.requests.append(pair)
        return self._noise(number, shape).to(dtype)

    def end(self, sampler: Sampler) -> torch.Tensor:
        """The final states of a sampler; what it draws from torch itself is taken over."""
        with torch.no_grad(), TakenOver(lambda like: self._drawn(None, tuple(like.shape), like.dtype)):
            given = sampler(self)
        final: torch.Tensor = given[0] if isinstance(given, tuple) else given
        return final
