"""From a schedule's own noise to almost data: where samplers are compared at equal evaluations."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from semilinear.analysis.text.named_parts import grid_of
from semilinear.integrators.common import checks
from semilinear.integrators.diffusion.grids import Grid

from ..problems.interval import BATCH, END
from ..problems.named import problem
from ..studies.experiment import FlowSetup

PROBLEM = "golden-mixture"
GRID = "t"
"""Uniform in time, on which most released pipelines run."""
INSIDE = 1e-3
"""Of the interval of times: where a run starts on a schedule that has no signal at all at its end."""


RESAMPLES = 1000
"""Of the batch, for its spread."""


def resampled(batch: int, samples: int, seed: int | list[int]) -> np.ndarray:
    """The weights of a batch in each resample of a bootstrap, (samples, batch); rows add up to 1."""
    counts = np.random.default_rng(seed).multinomial(batch, np.full(batch, 1 / batch), size=samples)
    weights: np.ndarray = counts / batch
    return weights


@dataclass(frozen=True, kw_only=True)
class NoiseToData(FlowSetup):
    """A batch from a schedule's own start, or the times given, to almost data.

    t_start: the last time of the schedule where absent; where alpha is 0 there, a thousandth of the interval
    before.  t_end: 1e-3, the first index of a thousand training steps.  The reference is integrated to 1e-10
    where there is no exact flow.
    Raises TypeError or ValueError, naming the argument.
    """

    problem: Any = field(default_factory=lambda: problem(PROBLEM), kw_only=False)
    grid: Grid = field(default_factory=lambda: grid_of(GRID))
    batch: int = BATCH
    tolerance: float = 1e-10
    t_start: float | None = None
    t_end: float = END

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, t in (("t_start", self.t_start), ("t_end", self.t_end)):
            if t is not None or name == "t_end":
                self.schedule.check_time(checks.number(name, t), name)
        start, end = self.times
        if not start > end:
            raise ValueError(f"t_start must be above t_end = {end:g}, got {start:g}")
        for name, t in (("t_start", start), ("t_end", end)):
            if not (float(self.schedule.alpha(t)) > 0 and float(self.schedule.sigma(t)) > 0):
                raise ValueError(f"{name} must have alpha > 0 and sigma > 0, got {t:g}")

    @cached_property
    def times(self) -> tuple[float, float]:
        """Start and end of the runs."""
        if self.t_start is not None:
            return float(self.t_start), float(self.t_end)
        s = self.schedule
        silent = not float(s.alpha(s.t_max)) > 0
        return float(s.t_max - (INSIDE * (s.t_max - s.t_min) if silent else 0.0)), float(self.t_end)

    @cached_property
    def resamples(self) -> np.ndarray:
        """The weights of the batch in each resample of it, (RESAMPLES, batch): the same for all runs."""
        made = resampled(self.batch, RESAMPLES, [self.seed, 2])
        made.flags.writeable = False
        return made
