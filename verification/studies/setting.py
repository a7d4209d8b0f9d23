"""Experiments by name: what a command line asks for, and what a worker process is sent."""

from __future__ import annotations

from dataclasses import dataclass

from semilinear.analysis.convergence import Statistic
from semilinear.analysis.text.named_parts import grid_of, schedule_of

from ..problems.interval import LAMBDA_END, LAMBDA_START
from ..problems.named import problem
from ..problems.reference import TIGHTEST
from .experiment import Dtype
from .flow import LADDER, Experiment

MAIN_PROBLEM = "rotated-product-2d"
"""Of a deterministic solver, unless another is asked for."""


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
    ladder: tuple[int, ...] = LADDER
    lam_start: float = LAMBDA_START
    lam_end: float = LAMBDA_END
    statistics: tuple[Statistic, ...] = ("rms",)
    tolerance: float = TIGHTEST
    dtype: Dtype = "float64"
    asserted: bool = True
    """Whether the expectations must hold here; the hard cases only show what happens."""

    def build(self) -> Experiment:
        """The experiment; times follow from the interval in lambda.

        Raises ValueError for a schedule or grid that is none.
        """
        noise = schedule_of(self.schedule)
        start, end = (float(noise.t_of_lam(v)) for v in (self.lam_start, self.lam_end))
        return Experiment(
            problem(self.problem),
            noise,
            start,
            end,
            grid_of(self.grid),
            self.batch,
            ladder=self.ladder,
            digits=self.digits,
            tolerance=self.tolerance,
            dtype=self.dtype,
        )
