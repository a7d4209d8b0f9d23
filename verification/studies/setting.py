"""Experiments by name: what a command line asks for, and what a worker process is sent."""

from __future__ import annotations

from dataclasses import dataclass

from semilinear.analysis.convergence import Statistic
from semilinear.analysis.text.named_parts import grid_of, schedule_of

from ..problems.interval import LAMBDA_END, LAMBDA_START
from ..problems.named import problem
from ..problems.reference import TIGHTEST
from .experiment import Experiment
from .ladders import FLOW
from .setup import Dtype


@dataclass(frozen=True)
class Setting:
    """The name of an experiment and how to build it; small, so that it can be sent to a worker.

    schedule, grid: texts as `named_parts` reads them, such as "vp-linear:beta_1=12".
    """

    name: str
    problem: str
    schedule: str
    grid: str
    batch: int = 64
    digits: int | None = None
    ladder: tuple[int, ...] = FLOW
    lam_start: float = LAMBDA_START
    lam_end: float = LAMBDA_END
    statistics: tuple[Statistic, ...] = ("rms",)
    tolerance: float = TIGHTEST
    dtype: Dtype = "float64"
    asserted: bool = True
    """Whether the expectations must hold here; the hard cases only show what happens."""

    def build(self) -> Experiment:
        """The experiment.  Raises ValueError for a schedule or grid that is none."""
        return Experiment(
            problem(self.problem),
            schedule=schedule_of(self.schedule),
            grid=grid_of(self.grid),
            lam_start=self.lam_start,
            lam_end=self.lam_end,
            ladder=self.ladder,
            digits=self.digits,
            batch=self.batch,
            tolerance=self.tolerance,
            dtype=self.dtype,
        )
