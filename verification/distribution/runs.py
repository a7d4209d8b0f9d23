"""The runs of a study in distribution: each a task that any process can do, with the same numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from semilinear.integrators.plans.program import Plan
from semilinear.integrators.run.sampler import NonFiniteError
from semilinear.integrators.solver import FinalChoice, Solver

from ..equal_nfe.entrants import most
from ..studies.threads import one_thread
from ..targets.named import Target
from .experiment import SampledExperiment
from .metrics import Squared, Weights, has_modes
from .slices import Samples

FAR = 1e12
"""Deviations of the law: a run that ends beyond has diverged."""


@dataclass(frozen=True)
class Task:
    """A solver, a plan or a target that is neither, at most so many evaluations, and how a solver's runs
    end.
    """

    made: Solver | Plan | Target
    nfe: int
    final: FinalChoice


@dataclass(frozen=True)
class Outcome:
    """A run, before it is known what chance does.  exact: the law was computed."""

    nfe: int
    made: int
    steps: int
    exact: bool
    squares: Mapping[str, Squared]
    weights: tuple[float, ...] = ()
    failed: str = ""


def run(e: SampledExperiment, task: Task) -> Outcome:
    """Make the run of a task, and measure it.

    Raises ValueError where one step, or a plan, makes more evaluations than are asked for.
    """
    if isinstance(task.made, Solver):
        return _run_solver(e, task.made, task)
    if isinstance(task.made, Plan):
        return _run_plan(e, task.made, task.nfe)
    return _run_sampler(e, task.made, task.nfe)


def _run_solver(e: SampledExperiment, solver: Solver, task: Task) -> Outcome:
    steps = most_steps(lambda n: e.plan(solver, n, task.final).nfe, task.nfe, solver.name)
    return _run_plan(e, e.plan(solver, steps, task.final), task.nfe, steps)


def _run_plan(e: SampledExperiment, plan: Plan, nfe: int, steps: int | None = None) -> Outcome:
    """steps: as its solver counts them, where that is not how many the plan has."""
    steps = len(plan.steps) if steps is None else steps
    if plan.nfe > nfe:
        raise ValueError(f"nfe must be at least {plan.nfe}, what the plan of {plan.solver} makes, got {nfe}")
    if e.gaussian is not None and not plan.arrays:
        law = e.output(plan)
        if failed := _lost(np.concatenate([law.means.ravel(), np.sqrt(abs(law.covariances)).ravel()])):
            return Outcome(nfe, plan.nfe, steps, True, {}, failed=failed)
        squares = {name: Squared(m.gaussian(law)) for name, m in e.metrics.items()}
        return Outcome(nfe, plan.nfe, steps, True, squares)
    try:
        x, made = e.states(plan)
    except NonFiniteError as error:
        return Outcome(nfe, plan.nfe, steps, False, {}, failed=str(error))
    return _measured(e, x, nfe, made, steps)


def _run_sampler(e: SampledExperiment, target: Target, nfe: int) -> Outcome:
    steps = most_steps(lambda n: e.states_of(target.sampler, n, samples=1)[1], nfe, target.name)
    x, made = e.states_of(target.sampler, steps)
    return _measured(e, x, nfe, made, steps)


def _measured(e: SampledExperiment, x: np.ndarray, nfe: int, made: int, steps: int) -> Outcome:
    if failed := _lost(x):
        return Outcome(nfe, made, steps, False, {}, failed=failed)
    samples = Samples(x)
    with one_thread():
        squares = {name: metric.sample(samples) for name, metric in e.metrics.items()}
        weights = tuple(map(float, Weights(e.law)(x).mean(0))) if has_modes(e.law) else ()
    return Outcome(nfe, made, steps, False, squares, weights)


def _lost(x: np.ndarray) -> str:
    """Why states are no samples: fourth powers of what is further off overflow, and tell nothing."""
    if not np.all(np.isfinite(x)):
        return "a state is not finite"
    far = float(np.max(np.abs(x)))
    return f"a state lies {far:.0e} deviations off" if far > FAR else ""


def most_steps(evaluations: Callable[[int], int], nfe: int, name: str) -> int:
    """The most steps whose run makes at most nfe evaluations.

    evaluations: of a run with n steps; they grow with n, and are at least n.
    Raises ValueError where one step makes more.
    """
    if not (steps := most(evaluations, nfe)):
        raise ValueError(f"nfe must be at least {evaluations(1)}, what one step of {name} makes, got {nfe}")
    return steps


# --- processes ---

Mapped = Callable[[Callable[[SampledExperiment, Any], Any], Sequence[Any]], Iterator[Any]]

_experiment: list[SampledExperiment] = []
"""Of a worker: sent once."""


@contextmanager
def mapping(e: SampledExperiment, workers: int) -> Iterator[Mapped]:
    """What maps a function of the experiment and an item over items, here or in other processes."""
    if workers == 1:
        yield lambda function, items: map(partial(function, e), items)
        return
    with ProcessPoolExecutor(workers, initializer=_experiment.append, initargs=(e,)) as pool:
        yield lambda function, items: pool.map(partial(_there, function), items)


def _there(function: Callable[[SampledExperiment, Any], Any], item: Any) -> Any:
    return function(_experiment[-1], item)
