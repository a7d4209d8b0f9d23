"""What samplers are measured on, and what one run of a sampler is given.

An `Experiment` fixes problem, schedule, interval, grid, batch and dtype, and holds its reference solutions,
so that many samplers share them.  A `Run` is its number of steps, an int, and carries what a sampler needs
for it: the initial states, the times of its grid, and a model that counts its calls.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from semilinear.analysis.convergence import FLOORS
from semilinear.integrators.diffusion.grids import Grid, uniform_lambda
from semilinear.integrators.diffusion.prediction import Model
from semilinear.integrators.diffusion.schedule import Schedule
from semilinear.integrators.numerics import checks
from semilinear.integrators.numerics.arithmetic import Value, choose
from semilinear.integrators.numerics.messages import shown

from ..problems.named import marginal_samples
from ..problems.reference import TIGHTEST, reference

LADDER = (4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)

LONG_LADDER = (*LADDER, 768, 1024, 1536, 2048, 3072, 4096)

Dtype = Literal["float64", "float32", "bfloat16", "float16"]
UNITS: dict[Dtype, float] = {
    "float64": 2.0**-53,
    "float32": 2.0**-24,
    "float16": 2.0**-11,
    "bfloat16": 2.0**-8,
}
"""Units of rounding, the finest first."""


class Run(int):
    """One run: the number of steps, and what a sampler needs for them.

    x: initial states, (batch, *shape), of the experiment's dtype: a torch tensor, or numpy objects where it
    has `digits`.  calls: how often `model` was asked.
    """

    x: Any
    calls: int
    _experiment: Experiment
    _exact: bool

    def __new__(cls, n: int, experiment: Experiment, x: Any) -> Run:
        """x: the initial states."""
        run = super().__new__(cls, n)
        run.x, run._experiment, run.calls, run._exact = x, experiment, 0, False
        return run

    @property
    def times(self) -> tuple[Value, ...]:
        """Of the grid, n + 1 of them from the start to the end."""
        e = self._experiment
        number = choose(e.digits).number
        return tuple(e.grid(e.schedule, number(e.t_start), number(e.t_end), int(self), digits=e.digits))

    def model(self, x: Any, t: Any) -> Any:
        """The exact noise prediction at states of the shape of `x` and time t."""
        self.calls += 1
        flat = x.reshape(x.shape[0], -1)
        return self._experiment.model(flat, t).reshape(x.shape)

    def exact(self, t: Value) -> Any:
        """The reference states at a time, as starting values of a multistep method."""
        self._exact = True
        (states,) = self._experiment.states([t])
        return self._experiment.given(states)

    @property
    def start(self) -> Literal["own", "exact"]:
        """Whether the sampler asked for exact starting values."""
        return "exact" if self._exact else "own"


@dataclass(eq=False)
class Experiment:
    """What solvers are measured on.

    t_start, t_end: the interval; a start where the state is informative (lambda about -0.7) shows what a
    low-order first step costs, which the usual start at pure noise hides.  batch: number of initial states,
    drawn from the exact marginal at t_start.  digits: None for floating point in torch, else mpmath.
    dtype: of the states that samplers are given, and to which the initial states are rounded.  shape: of one
    state for samplers of your own, (d,) when absent.
    Raises TypeError or ValueError, naming the argument.
    """

    problem: Any
    schedule: Schedule
    t_start: float
    t_end: float
    grid: Grid = field(default_factory=uniform_lambda)
    batch: int = 64
    seed: int = 0
    ladder: tuple[int, ...] = LADDER
    digits: int | None = None
    tolerance: float = TIGHTEST
    """Of the numerical reference, where the problem has no exact flow."""
    dtype: Dtype = "float64"
    shape: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        checks.instance("schedule", self.schedule, Schedule)
        checks.instance("grid", self.grid, Grid)
        if not all(hasattr(self.problem, part) for part in ("model", "data", "exact_flow", "dimension")):
            raise TypeError(
                f"problem must be a Problem (see `problems.named.problem`), got {shown(self.problem)}"
            )
        check_ladder(self.ladder)
        checks.number("tolerance", self.tolerance, above=0)
        self.seed = checks.integer("seed", self.seed, 0)
        self.batch = checks.integer("batch", self.batch, 1)
        if self.digits is not None and not self.problem.exact_flow:
            raise ValueError(f"digits needs a problem with an exact flow; {self.problem.name!r} has none")
        checks.one_of("dtype", self.dtype, UNITS)
        if self.digits is not None and self.dtype != "float64":
            raise ValueError(f"dtype must be absent where digits are given, got {shown(self.dtype)}")
        if self.shape is not None and math.prod(self.shape) != self.problem.dimension:
            raise ValueError(f"shape must hold {self.problem.dimension} components, got {shown(self.shape)}")
        self._references: dict[Value, np.ndarray] = {}
        self._bound = 0.0

    @cached_property
    def x(self) -> np.ndarray:
        """The initial states, (batch, d), float64."""
        x = marginal_samples(self.problem, self.schedule, self.t_start, self.batch, self.seed)
        if self.dtype != "float64":
            x = self.given(x).double().numpy().reshape(x.shape)
        x.flags.writeable = False  # every run starts from it
        return x

    @cached_property
    def model(self) -> Model:
        """The exact noise prediction, for states (.., d)."""
        return self.problem.model(self.schedule)  # type: ignore[no-any-return]

    def given(self, states: np.ndarray) -> Any:
        """States as samplers get them: (batch, *shape), a tensor of the dtype, or mpmath numbers."""
        shaped = states.reshape(len(states), *(self.shape or states.shape[1:]))
        if self.digits is not None:
            return choose(self.digits).number(shaped)
        return torch.tensor(np.asarray(shaped, dtype=np.float64), dtype=getattr(torch, self.dtype))

    def run(self, n: int, shift: np.ndarray | float = 0.0) -> Run:
        """What a run with n steps is given; shift: a relative change of the initial states."""
        return Run(n, self, self.given(self.x * (1 + shift)))

    def states(self, times: list[Value]) -> list[np.ndarray]:
        """The reference states at some times, computed once each."""
        missing = [t for t in times if t not in self._references]
        if missing:
            found = reference(
                self.problem, self.schedule, self.x, self.t_start, missing, self.digits, self.tolerance
            )
            self._references |= found.states
            self._bound = max(self._bound, found.bound)
        return [self._references[t] for t in times]

    @cached_property
    def size(self) -> float:
        """The RMS norm of the initial states."""
        return math.sqrt(float(np.mean(np.sum(self.x**2, axis=1))))

    def floor(self, n: int, dtype: Dtype | None = None) -> float:
        """The smallest meaningful RMS error after n steps in a dtype (the experiment's own when absent):
        rounding, or ten times the reference's error.
        """
        unit = UNITS[dtype or self.dtype] if self.digits is None else 10.0 ** (1 - self.digits)
        rounding = FLOORS * unit * self.size * math.sqrt(n)
        return max(rounding, 10 * self._bound * math.sqrt(self.problem.dimension))


def check_ladder(ladder: tuple[int, ...]) -> None:
    """Raise ValueError for step counts that are not increasing positive integers."""
    whole = all(isinstance(n, int | np.integer) and checks.is_number(n) for n in ladder)
    if not (whole and all(b > a for a, b in itertools.pairwise((0, *ladder)))):
        raise ValueError(f"ladder must be increasing positive integers, got {ladder}")


Sampler = Callable[[Run], Any]
"""run -> final states (batch, *shape), or (final states, evaluations made)."""
