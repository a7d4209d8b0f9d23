"""Runs that read a sampler off: the model's outputs and the noise are unit vectors.

A linear sampler adds multiples of its start, of the model's outputs and of its noise.  Let the state live in
a space with an axis for the start, one for every model call and one for every increment; start from the first
unit vector, let the k-th call return its own and so with the noise: every state is then the row of its exact
coefficients.  A rehearsal counts calls and increments before.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import torch
from semilinear.integrators.diffusion.prediction import Model, convert
from semilinear.integrators.diffusion.schedule import Schedule

from ..targets.draws import taken_over
from ..targets.run import Run, Sampler, batches, states_like, unstacked

Pair = tuple[float, float]
Outputs = Callable[[torch.Tensor, float, int], torch.Tensor]
Draws = Callable[[int, tuple[int, ...]], torch.Tensor]


class NotLinearError(ValueError):
    """A sampler that no rows describe.

    kind: "evaluations", "values", or "noise" where it is drawn in ways that cannot be followed.  evaluation:
    where it shows, or None.
    """

    def __init__(self, kind: str, message: str, evaluation: int | None = None) -> None:
        super().__init__(message)
        self.kind, self.evaluation = kind, evaluation


@dataclass
class Script:
    """What a run was asked, in order.

    asked: the prediction and time of every evaluation.  seen: its state.  calls: of the model, each of which
    evaluates the states that are stacked in it.  evaluations: for each sample.  requests: of noise, the times
    of an increment or None for a draw that says none.  claimed: evaluations that the sampler says it made,
    None where it says nothing.  parts: whether calls held other numbers of samples than the batch, so that it
    is unknown whose they are.  strange: shapes of draws from torch whose place in the states is unknown.
    lost: those among them that are no whole number of states.  others: torch's functions that drew other than
    normal numbers.  numbers: how many normal ones were drawn.
    """

    asked: list[tuple[str, float]] = field(default_factory=list)
    seen: list[torch.Tensor] = field(default_factory=list)
    requests: list[Pair | None] = field(default_factory=list)
    calls: int = 0
    evaluations: int = 0
    claimed: int | None = None
    parts: bool = False
    strange: list[tuple[int, ...]] = field(default_factory=list)
    lost: list[tuple[int, ...]] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    numbers: int = 0

    @property
    def draws(self) -> bool:
        """Whether any noise was drawn."""
        return bool(self.requests or self.strange or self.others)

    @property
    def prediction(self) -> str:
        """The one that every call asked for, "eps" where they asked for several."""
        asked = {prediction for prediction, _ in self.asked}
        return asked.pop() if len(asked) == 1 else "eps"


@dataclass(frozen=True)
class Increments:
    """Independent increments of which all requests are made.

    intervals: the times of each, None for a draw that says none.  parts: of every request, index and weight;
    the squares of the weights add up to 1.  The increments between times are those of one Brownian motion in
    rho: where requests overlap, they are split at each other's ends.
    """

    intervals: tuple[Pair | None, ...]
    parts: tuple[tuple[tuple[int, float], ...], ...]

    @property
    def separate(self) -> bool:
        """Whether every request is an increment of its own, as in a run that is given none."""
        return all(parts == ((k, 1.0),) for k, parts in enumerate(self.parts))

    @property
    def weights(self) -> np.ndarray:
        """Of every increment in every request, (requests, increments)."""
        found = np.zeros((len(self.parts), len(self.intervals)))
        for row, terms in zip(found, self.parts, strict=True):
            for index, weight in terms:
                row[index] = weight
        return found

    @staticmethod
    def of(requests: Sequence[Pair | None], rho: Callable[[float], float]) -> Increments:
        """The increments for requests; a draw that says no times is one of its own."""
        nodes = sorted({rho(t) for pair in requests if pair is not None for t in pair})
        time = {rho(t): t for pair in requests if pair is not None for t in pair}
        intervals: list[Pair | None] = []
        place: dict[Pair, int] = {}
        parts: list[tuple[tuple[int, float], ...]] = []
        for pair in requests:
            if pair is None or pair[0] == pair[1]:
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


def _unasked(x: Any, t: Any) -> Any:
    raise AssertionError("a probe answers by itself")


SAME = 0.5
"""Of noise that cannot be told apart, every number."""


def _stacked_along(shape: tuple[int, ...], states: tuple[int, ...]) -> int | None:
    """The axis along which states are stacked in a shape, None where none is."""
    return next((k for k in range(len(shape)) if (*shape[:k], *shape[k + 1 :]) == states), None)


class Probe(Run):
    """A run that writes down what it is asked.

    outputs: (state, time, number of the call) -> the model's output in `prediction`.  draws: (number of the
    request, shape) -> normal numbers.
    """

    script: Script
    _outputs: Outputs
    _draws: Draws
    _prediction: str
    _number: int

    def __new__(
        cls,
        schedule: Schedule,
        times: tuple[float, ...],
        x: torch.Tensor,
        outputs: Outputs,
        draws: Draws,
        prediction: str = "eps",
    ) -> Self:
        """x: the initial states."""
        run = super().__new__(cls, schedule, times, x, _unasked)
        run._outputs, run._draws, run._prediction, run.script = outputs, draws, prediction, Script()
        run._number = 0
        return run

    def model(self, x: Any, t: Any) -> Any:
        """The noise prediction."""
        return self.predict("eps")(x, t)

    def predict(self, prediction: str) -> Model:
        """The model in another prediction."""

        def asked(x: torch.Tensor, t: Any) -> torch.Tensor:
            self.script.calls += 1
            self.script.parts |= len(self.x) > 1 and len(x) != len(self.x)
            self._asked += batches(x, self.x)
            self.script.evaluations = self.calls
            outputs = [self._evaluated(prediction, states, float(t)) for states in unstacked(x, self.x)]
            return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

        return asked

    def _evaluated(self, prediction: str, x: torch.Tensor, time: float) -> torch.Tensor:
        number = self._number
        self._number += 1
        self.script.asked.append((prediction, time))
        self.script.seen.append(x.detach().clone())
        answer = convert(
            self.schedule, lambda y, _: self._outputs(y, time, number), self._prediction, prediction
        )
        output: torch.Tensor = answer(x, time)
        return output.to(x.dtype)

    def noise(self, like: Any) -> Any:
        """Normal numbers that say no times."""
        return self._drawn(None, like)

    def increment(self, t0: Any, t1: Any, like: Any) -> Any:
        """The increment between two times, divided by its standard deviation."""
        return self._drawn((float(t0), float(t1)), like)

    def _drawn(self, pair: Pair | None, like: torch.Tensor) -> torch.Tensor:
        number = len(self.script.requests)
        self.script.requests.append(pair)
        self.script.numbers += like.numel()
        return self._draws(number, tuple(like.shape)).to(like.dtype)

    def _taken(self, like: torch.Tensor) -> torch.Tensor:
        """What stands for numbers that are drawn from torch, several states' at once, or in another shape."""
        shape, states = tuple(like.shape), tuple(self.x.shape)
        if shape == states:
            return self._drawn(None, like)
        axis = _stacked_along(shape, states)
        if axis is not None:
            parts = [self._drawn(None, self.x) for _ in range(shape[axis])]
            return torch.stack(parts, axis).to(like.dtype) if parts else torch.empty_like(like)
        self.script.strange.append(shape)
        count, rest = divmod(like.numel(), self.x.numel())
        if rest or not count:
            self.script.numbers += like.numel()
            if len(self.x) == 1:
                self.script.lost.append(shape)
            return torch.full_like(like, SAME)
        parts = [self._drawn(None, self.x).reshape(-1) for _ in range(count)]
        return torch.cat(parts).reshape(shape).to(like.dtype)

    def end(self, sampler: Sampler, seed: int = 0) -> torch.Tensor:
        """The final states of a sampler; what it draws from torch itself is taken over.

        seed: of torch's own generator, which is left as it was.
        """
        over = taken_over(self._taken, sampler, self.script.others.append)
        with torch.no_grad(), torch.random.fork_rng(devices=()), over:
            torch.manual_seed(seed)
            given = sampler(self)
        final, self.script.claimed = states_like(given, self.x)
        return final
