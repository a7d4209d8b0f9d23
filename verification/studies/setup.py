"""What every experiment fixes, however its errors are got."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from semilinear.integrators.common import checks
from semilinear.integrators.common.messages import shown
from semilinear.integrators.diffusion.grids import Grid
from semilinear.integrators.diffusion.prediction import Model
from semilinear.integrators.diffusion.schedule import Schedule, vp_linear
from semilinear.integrators.numerics.arithmetic import Arithmetic, Value, choose
from semilinear.integrators.plans.compile import compile_plan
from semilinear.integrators.plans.program import Plan, Start
from semilinear.integrators.solver import FinalChoice, Solver

from ..problems.interval import LAMBDA_END, LAMBDA_START
from .ladders import checked

Dtype = Literal["float64", "float32", "bfloat16", "float16"]
UNITS: dict[Dtype, float] = {
    "float64": 2.0**-53,
    "float32": 2.0**-24,
    "float16": 2.0**-11,
    "bfloat16": 2.0**-8,
}
"""Units of rounding, the finest first."""


@dataclass(frozen=True, kw_only=True)
class Setup(ABC):
    """Schedule and grid: what every experiment makes plans on, between two times of its own.

    An experiment is a value: it is checked when it is made, what follows from it is computed once, and
    `dataclasses.replace` makes another.
    Raises TypeError or ValueError, naming the argument.
    """

    schedule: Schedule = field(default_factory=vp_linear)
    grid: Grid

    def __post_init__(self) -> None:
        checks.instance("schedule", self.schedule, Schedule)
        checks.instance("grid", self.grid, Grid)

    @property
    @abstractmethod
    def times(self) -> tuple[Value, Value]:
        """Start and end of the runs."""

    @property
    @abstractmethod
    def model(self) -> Model:
        """The exact noise prediction."""

    @property
    def digits(self) -> int | None:
        """None for floating point, else mpmath with that many."""
        return None

    @property
    def xp(self) -> Arithmetic:
        """What is computed in."""
        return choose(self.digits)

    def nodes(self, n: int) -> tuple[Value, ...]:
        """The times of the grid, n + 1 of them from the start to the end."""
        start, end = (self.xp.number(t) for t in self.times)
        return tuple(self.grid(self.schedule, start, end, n, digits=self.digits))

    def plan(
        self,
        solver: Solver,
        n: int,
        final: FinalChoice = "released",
        start: Start = "own",
        *,
        denoise: bool = False,
    ) -> Plan:
        """A solver's plan with n steps, ending and starting so."""
        t_start, t_end = self.times
        return compile_plan(
            solver,
            self.schedule,
            steps=n,
            grid=self.grid,
            t_start=t_start,
            t_end=t_end,
            start=start,
            final=final,
            denoise=denoise,
            digits=self.digits,
        )

    def unit(self, dtype: Dtype = "float64") -> float:
        """Of rounding: of the digits, or else of a dtype."""
        return UNITS[dtype] if self.digits is None else 10.0 ** (1 - self.digits)


@dataclass(frozen=True, kw_only=True)
class OrderSetup(Setup):
    """Where an order is measured: on an interval in lambda, at step counts, in a precision.

    lam_start, lam_end: the interval.  A start where the state is informative (lambda about -0.7)
    shows what a low-order first step costs, which the usual start at pure noise hides.  ladder: step counts.
    digits: None for floating point, else mpmath with that many.
    Raises TypeError or ValueError, naming the argument.
    """

    lam_start: float = LAMBDA_START
    lam_end: float = LAMBDA_END
    ladder: tuple[int, ...]
    digits: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("lam_start", "lam_end"):
            checks.number(name, getattr(self, name))
        if not self.lam_start < self.lam_end:
            given = f"{shown(self.lam_start)} and {shown(self.lam_end)}"
            raise ValueError(f"lam_start must be below lam_end, got {given}")
        object.__setattr__(self, "ladder", checked(self.ladder))
        _ = self.xp, self.times  # refuses digits that there are not, and lambda outside of the schedule's

    @cached_property
    def times(self) -> tuple[Value, Value]:
        """Start and end of the runs."""
        number = self.xp.number
        start, end = (number(self.schedule.t_of_lam(number(v))) for v in (self.lam_start, self.lam_end))
        return start, end


def check_problem(problem: Any) -> None:
    """Raise TypeError for what is no problem with an exact score."""
    if not all(hasattr(problem, part) for part in ("model", "data", "exact_flow", "dimension")):
        hint = "; a model alone has no states to start from: sl.problem(model, samples)"
        more = hint if callable(problem) else ""
        raise TypeError(f"problem must be a Problem (see `sl.problem`), got {shown(problem)}{more}")
