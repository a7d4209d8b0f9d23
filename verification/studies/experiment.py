"""What samplers of the probability flow are measured on, and what one run of a sampler is given.

An `Experiment` fixes problem, batch and dtype besides its setup, and has their exact states, which many
samplers share.  A `Run` is its number of steps, an int, and carries what a sampler needs for it:
the initial states, the times of its grid, and a model that counts its calls.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, Self

import numpy as np
import torch
from semilinear.analysis.convergence import FLOORS
from semilinear.integrators.common import checks, limits
from semilinear.integrators.common.messages import shown
from semilinear.integrators.diffusion.grids import Grid, uniform_lambda
from semilinear.integrators.diffusion.prediction import Model
from semilinear.integrators.numerics.arithmetic import Value

from ..problems.named import Problem, marginal_samples, problem
from ..problems.reference import TIGHTEST, Solution
from ..targets import run
from ..targets.run import Sampler as Sampler
from .ladders import FLOW
from .setup import UNITS, Dtype, OrderSetup, Setup, check_problem

MAIN_PROBLEM = "rotated-product-2d"
"""Of a deterministic solver, unless another is asked for."""


class Run(run.Run):
    """A run whose exact states are known at every time.

    x: a torch tensor of the experiment's dtype, or numpy objects where it has `digits`.
    """

    _experiment: FlowSetup
    _exact: bool

    def __new__(cls, n: int, experiment: FlowSetup, x: Any) -> Self:
        """x: the initial states."""
        model = run.in_numpy(experiment.model)

        def eps(states: Any, t: Any) -> Any:
            return model(states.reshape(states.shape[0], -1), t).reshape(states.shape)

        made = super().__new__(cls, experiment.schedule, experiment.nodes(n), x, eps)
        made._experiment, made._exact = experiment, False
        return made

    def exact(self, t: Value) -> Any:
        """The reference states at a time, as starting values of a multistep method."""
        self._exact = True
        (states,) = self._experiment.states([t])
        return self._experiment.given(states)

    @property
    def start(self) -> Literal["own", "exact"]:
        """Whether the sampler asked for exact starting values."""
        return "exact" if self._exact else "own"


LOOSEST = 1e-2
"""A reference that is less exact is none."""


@dataclass(frozen=True, kw_only=True)
class FlowSetup(Setup):
    """A batch on the probability flow of a problem: what runs start from, and where they must end.

    batch: number of initial states, drawn from the exact marginal at the start.  seed: of these.  tolerance:
    of the numerical reference, where the problem has no exact flow.  dtype: of the states that samplers are
    given, and to which the initial states are rounded.  shape: of one state for samplers of your own, (d,)
    when absent.
    """

    problem: Problem = field(default_factory=lambda: problem(MAIN_PROBLEM), kw_only=False)
    batch: int = 64
    seed: int = 0
    tolerance: float = TIGHTEST
    dtype: Dtype = "float64"
    shape: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_problem(self.problem)
        checks.number("tolerance", self.tolerance, above=0, most=LOOSEST)
        object.__setattr__(self, "seed", checks.integer("seed", self.seed, 0))
        object.__setattr__(self, "batch", checks.integer("batch", self.batch, 1, limits.STATES))
        if self.digits is not None and not self.problem.exact_flow:
            raise ValueError(f"digits needs a problem with an exact flow; {self.problem.name!r} has none")
        checks.one_of("dtype", self.dtype, UNITS)
        if self.digits is not None and self.dtype != "float64":
            raise ValueError(f"dtype must be absent where digits are given, got {shown(self.dtype)}")
        if self.shape is not None:
            entries = checks.sequence("shape", self.shape)
            object.__setattr__(self, "shape", tuple(checks.integer("shape[..]", n, 1) for n in entries))
        if self.shape is not None and math.prod(self.shape) != self.problem.dimension:
            raise ValueError(f"shape must hold {self.problem.dimension} components, got {shown(self.shape)}")

    @property
    def place(self) -> str:
        """Where is measured, in words."""
        return str(self.problem.name)

    @cached_property
    def solution(self) -> Solution:
        """The initial states, and the exact ones at any time."""
        start = float(self.times[0])
        x = marginal_samples(self.problem, self.schedule, start, self.batch, self.seed)
        if self.dtype != "float64":
            x = torch.tensor(x, dtype=getattr(torch, self.dtype)).double().numpy()
        x.flags.writeable = False  # every run starts from it
        return Solution(self.problem, self.schedule, x, start, self.digits, self.tolerance)

    def on(self, grid: Grid) -> Self:
        """The same on another grid; initial states, model and exact states are shared."""
        other = replace(self, grid=grid)
        vars(other)["solution"] = self.solution  # which knows no grid
        return other

    @property
    def x(self) -> np.ndarray:
        """The initial states, (batch, d), float64."""
        return self.solution.x

    @property
    def model(self) -> Model:
        """The exact noise prediction, for states (.., d)."""
        return self.solution.model

    def given(self, states: np.ndarray) -> Any:
        """States as samplers get them: (batch, *shape), a tensor of the dtype, or mpmath numbers."""
        shaped = states.reshape(len(states), *(self.shape or states.shape[1:]))
        if self.digits is not None:
            return self.xp.number(shaped)
        return torch.tensor(np.asarray(shaped, dtype=np.float64), dtype=getattr(torch, self.dtype))

    def inputs(self, states: np.ndarray) -> Any:
        """States as runs of our own loop start from them, (batch, d): float64 in numpy, whose operations on
        a small batch cost a third of torch's; a coarser dtype as a tensor.
        """
        if self.digits is None and self.dtype == "float64":
            return np.asarray(states, dtype=np.float64)
        return self.given(states).reshape(states.shape)

    def run(self, n: int, shift: np.ndarray | float = 0.0) -> Run:
        """What a run with n steps is given; shift: a relative change of the initial states."""
        return Run(n, self, self.given(self.x * (1 + shift)))

    def states(self, times: Sequence[Value]) -> list[np.ndarray]:
        """The reference states at some times, computed once each."""
        return self.solution.states(times)

    def floor(self, n: int, dtype: Dtype | None = None) -> float:
        """The smallest meaningful RMS error after n steps in a dtype (the experiment's own when absent):
        rounding, of the model too where it is coarser, or ten times the reference's error.
        """
        known = self.solution
        unit = max(self.unit(dtype or self.dtype), known.model_unit)
        rounding = FLOORS * unit * known.size * math.sqrt(n)
        return max(rounding, 10 * known.bound * math.sqrt(self.problem.dimension))


@dataclass(frozen=True, kw_only=True)
class Experiment(FlowSetup, OrderSetup):
    """What solvers are measured on along the probability flow, the main problem unless another is given.

    Problem, batch and what it is given in are those of a `FlowSetup`; the interval, schedule, grid and ladder
    are keywords, as in every `OrderSetup`.
    Raises TypeError or ValueError, naming the argument.
    """

    grid: Grid = field(default_factory=uniform_lambda)
    ladder: tuple[int, ...] = FLOW

    @cached_property
    def times(self) -> tuple[float, float]:
        """Start and end of the runs, in float64 as the initial states are, whatever the digits."""
        start, end = (float(self.schedule.t_of_lam(v)) for v in (self.lam_start, self.lam_end))
        return start, end
