"""From a schedule's own noise to almost data: where samplers are compared at equal evaluations."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

from semilinear.analysis.text.named_parts import grid_of
from semilinear.integrators.diffusion.grids import Grid
from semilinear.integrators.diffusion.schedule import Schedule
from semilinear.integrators.numerics import checks

from ..problems.interval import BATCH, BUDGETS, END
from ..problems.named import problem
from ..studies.experiment import Experiment

PROBLEM = "golden-mixture"
GRID = "t"
"""Uniform in time, on which most released pipelines run."""
INSIDE = 1e-3
"""Of the interval of times: where a run starts on a schedule that has no signal at all at its end."""


@dataclass(eq=False, kw_only=True)
class NoiseToData(Experiment):
    """An experiment from a schedule's own start, or the times given, to almost data.

    t_start: the last time of the schedule; where alpha is 0 there, a thousandth of the interval before.
    t_end: 1e-3, the first index of a thousand training steps.  `lam_start` and `lam_end` follow from these,
    and no ladder is run.  The reference is integrated to 1e-10 where there is no exact flow.
    Raises TypeError or ValueError, naming the argument.
    """

    grid: Grid = field(default_factory=lambda: grid_of(GRID))
    problem: Any = field(default_factory=lambda: problem(PROBLEM), kw_only=False)
    ladder: tuple[int, ...] = field(default=BUDGETS, init=False)
    lam_start: float = field(default=math.nan, init=False)
    lam_end: float = field(default=math.nan, init=False)
    digits: None = field(default=None, init=False)
    batch: int = BATCH
    tolerance: float = 1e-10
    t_start: float | None = None
    t_end: float = END

    def __post_init__(self) -> None:
        s = self.schedule
        checks.instance("schedule", s, Schedule)
        if self.t_start is None:
            silent = not float(s.alpha(s.t_max)) > 0
            self.t_start = s.t_max - (INSIDE * (s.t_max - s.t_min) if silent else 0.0)
        for name in ("t_start", "t_end"):
            checks.number(name, getattr(self, name))
            s.check_time(getattr(self, name), name)
        if not self.t_start > self.t_end:
            raise ValueError(f"t_start must be above t_end = {self.t_end:g}, got {self.t_start:g}")
        self.lam_start, self.lam_end = float(s.lam(self.t_start)), float(s.lam(self.t_end))
        super().__post_init__()

    @cached_property
    def times(self) -> tuple[float, float]:
        """Start and end of the runs, as they are given."""
        assert self.t_start is not None
        return float(self.t_start), float(self.t_end)

    def on(self, grid: Grid) -> Self:
        """The same on another grid; initial states, model and reference are shared."""
        _ = self.x, self.model
        other = copy.copy(self)
        other.grid = grid
        return other
