"""Sweeps: solvers x problems x schedules x grids x budgets x seeds, as tasks for any executor.

A cell is one run from noise to data, measured against the exact flow.  A task is the budgets and seeds of one
solver on one problem, schedule and grid: its plans are compiled once for all seeds, and its references are
those of every other solver there, which are `remembered`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from semilinear.analysis.text.named_parts import grid_of, schedule_of
from semilinear.integrators.common import checks

from ..equal_nfe.entrants import entrants
from ..equal_nfe.experiment import NoiseToData
from ..equal_nfe.study import work_precision
from ..problems.named import PROBLEMS, problem
from ..studies.own_statistics import takes_statistics
from .runner import Row


@dataclass(frozen=True)
class SweepTask:
    """The cells of one solver on one problem, schedule and grid: every budget with every seed.

    solver, problem, schedule, grid: as they are named.  budgets: evaluations.  seeds: of the initial states,
    `batch` of them each.
    """

    solver: str
    problem: str
    schedule: str
    grid: str
    budgets: tuple[int, ...]
    seeds: tuple[int, ...]
    batch: int
    part: ClassVar[str] = "sweep"

    @property
    def key(self) -> str:
        """Solver, problem, schedule and grid."""
        return f"{self.solver} on {self.problem}, {self.schedule}, {self.grid}"

    @property
    def names(self) -> frozenset[str]:
        """The solver."""
        return frozenset({self.solver})

    @property
    def cells(self) -> int:
        """How many there are."""
        return len(self.budgets) * len(self.seeds)

    def run(self) -> Row:
        """The cells as JSON data: rows of `work_precision`, each with its seed."""
        experiments = {
            seed: NoiseToData(
                problem(self.problem), schedule=schedule_of(self.schedule), batch=self.batch, seed=seed
            )
            for seed in self.seeds
        }
        runner: Any = self.solver
        if not takes_statistics(self.solver):
            (runner,) = entrants(self.solver, experiments[self.seeds[0]])  # its plans serve every seed
        cells = [
            asdict(row) | {"seed": seed}
            for seed, experiment in experiments.items()
            for row in work_precision(runner, experiment, nfe=self.budgets, grids=[self.grid]).rows
        ]
        return {**asdict(self), "cells": cells}


def tasks(
    solvers: Sequence[str],
    *,
    problems: Sequence[str] = ("golden-mixture",),
    schedules: Sequence[str] = ("vp-linear",),
    grids: Sequence[str] = ("t",),
    budgets: Sequence[int] = (5, 10, 20),
    seeds: Sequence[int] = (0,),
    batch: int = 256,
) -> list[SweepTask]:
    """A task for every solver on every problem, schedule and grid, in this order.

    All are names: of deterministic solvers and problems that are listed, of schedules and grids with
    parameters as on the command line.  `runner.decide` runs them over an executor (`executors.opened`).
    Raises ValueError or TypeError, naming the argument, for names that name nothing, axes that hold nothing
    or something twice, and solvers whose runs follow no path of the flow.
    """
    axes = {"solvers": solvers, "problems": problems, "schedules": schedules, "grids": grids}
    for name, values in (axes | {"budgets": budgets, "seeds": seeds}).items():
        if isinstance(values, str) or not values or len(set(values)) < len(values):
            raise ValueError(f"{name} must hold some values, each once, got {values!r}")
    for name in problems:
        checks.one_of("problems", name, PROBLEMS)
    for text in schedules:
        schedule_of(text, "schedules")
    for text in grids:
        grid_of(text)
    allowed = tuple(checks.integer("budgets", n, 1) for n in budgets)
    drawn = tuple(checks.integer("seeds", n, 0) for n in seeds)
    states = checks.integer("batch", batch, 2)
    for name in solvers:
        entrants(name, NoiseToData(batch=2))
    return [
        SweepTask(*named, allowed, drawn, states)
        for named in itertools.product(solvers, problems, schedules, grids)
    ]
