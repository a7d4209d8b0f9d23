"""The error constants of solvers, predicted from their proofs and measured: more than an order.

A proof gives the leading local error of every step; on Gaussian data it is a number, and so is what becomes
of it at the end (`gaussian_path.py`).  Their sum predicts the final error of a run from exact starting values
up to a factor 1 + O(h): a wrong coefficient anywhere in the leading terms shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from semilinear.analysis.orders.solver_proof import (
    FormulaProof,
    Part,
    Place,
    SolverProof,
    as_run,
    prove_solver,
)
from semilinear.integrators.diffusion.grids import Grid, uniform_t
from semilinear.integrators.diffusion.schedule import Schedule, remembering, vp_linear
from semilinear.integrators.forms.form import Step
from semilinear.integrators.plans.compile import compile_plan
from semilinear.integrators.plans.scope import Scope
from semilinear.integrators.run.sampler import sample
from semilinear.integrators.solver import Solver, StepContext
from semilinear.integrators.tableaux.evaluate import evaluator
from semilinear.integrators.tableaux.tableau import at_zero

from ..problems.interval import LAMBDA_END, LAMBDA_START
from ..problems.linear_law import Gaussians
from ..studies.gaussian import CASES
from .gaussian_path import XP, GaussianPath

Pair = tuple[Any, Any]
"""A final error as measured and as predicted, (d,) each."""


@dataclass(frozen=True)
class Constant:
    """Final errors of runs from exact starting values: measured over predicted, with n and with 2 n steps.

    order: the proved one.  ratios tend to 1 as 1 + O(h); they see what is measured along the prediction
    only.  distances: the norm of what is measured less what is predicted, over that of the prediction: they
    tend to 0 as O(h), so no part of the error is left unexplained.
    """

    solver: str
    order: int
    steps: int
    ratios: tuple[float, float]
    distances: tuple[float, float]

    @staticmethod
    def of(solver: str, order: int, steps: int, coarse: Pair, fine: Pair) -> Constant:
        """From what is measured and predicted with n and with 2 n steps."""
        ratios = projected(*coarse), projected(*fine)
        return Constant(solver, order, steps, ratios, (distance(*coarse), distance(*fine)))

    @property
    def limit(self) -> float:
        """The ratio extrapolated to h = 0."""
        return 2 * self.ratios[1] - self.ratios[0]


@dataclass(frozen=True)
class Setting:
    """Schedule, grid and data of the runs."""

    schedule: Schedule
    grid: Grid
    data: Gaussians

    @staticmethod
    def default() -> Setting:
        """VP-linear, quadratic in t, six Gaussian laws."""
        return Setting(vp_linear(), uniform_t(2.0), CASES)


def error_constant(
    solver: Solver, steps: int, *, proof: SolverProof | None = None, setting: Setting | None = None
) -> Constant:
    """Predict and measure the final error of a solver with `steps` and twice as many steps (or evaluations,
    for a solver made to a budget), in 40 digits.

    Raises ValueError for a solver with a stage that does not integrate constants: its terms are elementary
    differentials.
    """
    proof = prove_solver(solver) if proof is None else proof
    if not all(part.formula.defects.applicable for part in proof.parts):
        raise ValueError(f"{solver.name} has a stage that does not integrate a constant N")
    setting = Setting.default() if setting is None else setting
    runs = (Run(solver, proof, setting, n) for n in (steps, 2 * steps))
    coarse, fine = ((run.measured(), run.predicted()) for run in runs)
    return Constant.of(solver.name, proof.exact_start(), steps, coarse, fine)


def projected(measured: Any, predicted: Any) -> float:
    """The multiple of the prediction that is nearest to what was measured."""
    return float(np.sum(predicted * measured) / np.sum(predicted * predicted))


def distance(measured: Any, predicted: Any) -> float:
    """The norm of the difference over that of the prediction."""
    return float(np.linalg.norm(measured - predicted) / np.linalg.norm(predicted))


class Run:
    """One run: its plan, its steps in the form's variable, the exact solution."""

    def __init__(self, solver: Solver, proof: SolverProof, setting: Setting, steps: int) -> None:
        self.solver, self.proof, self.setting, self.budget = solver, proof, setting, steps
        start, end = (float(setting.schedule.t_of_lam(v)) for v in (LAMBDA_START, LAMBDA_END))
        exact = solver.history > 0
        self.plan = compile_plan(
            solver,
            setting.schedule,
            steps=steps,
            grid=setting.grid,
            t_start=start,
            t_end=end,
            prediction="eps",
            digits=XP.digits,
            start="exact" if exact else "own",
            final="full",
        )
        self.form = solver.form(remembering(setting.schedule))
        self.path = GaussianPath(self.form, setting.data, start)
        self._order = proof.exact_start()
        self.times = [*self.plan.inputs[:-1], *(s.t0 for s in self.plan.steps), self.plan.steps[-1].t1]

    def final(self) -> Any:
        """x_n, (d,), in 40 digits."""
        inputs = [self.path.state(t).reshape(1, -1) for t in self.plan.inputs]
        return sample(self.plan, self.path.model, inputs).x[0]

    def measured(self) -> Any:
        """x_n - x(t_end), (d,)."""
        return (self.final() - self.path.state(self.times[-1])).astype(float)

    def predicted(self) -> Any:
        """The sum of what becomes of the leading local errors."""
        total = 0 * self.path.xi
        end = self.path.spread(self.times[-1])
        for i, part in self._parts():
            t0 = self.times[i]
            local = self._local(i, part)
            total = total + local * self.path.scale(t0) * end / self.path.spread(t0)
        return total.astype(float)

    def _parts(self) -> Iterator[tuple[int, Part]]:
        """The tableau's part of every step that is run."""
        tableaux = as_run(self.solver.sequence.at(self.budget, "full"))
        places: tuple[Place, ...] = ("start", "recurring", "end")
        run = [part for place in places for part in self.proof.parts if part.place == place]
        by_tableau = {part.formula.tableau: part for part in run}
        for i in range(len(self.plan.inputs) - 1, len(tableaux)):
            yield i, by_tableau[tableaux[i]]

    def _local(self, i: int, part: Part) -> Any:
        """The local error of a step as far as it decides the final error, in the form's variable."""
        target = self._order - (part.place != "recurring")
        scope, step = self._scope(i, part.formula.tableau)
        local = 0 * self.path.xi
        if part.formula.order("smooth") == target:
            for q in range(part.formula.order("any"), target + 1):
                local = local + self._terms(part.formula, q + 1, scope, step)
        if part.predictor is not None and part.predictor.order("smooth") + 1 == target:
            tableau = part.formula.tableau
            past = (evaluator(at_zero(w), XP)(scope) for key, w in tableau.b.items() if key != tableau.carry)
            front = self.path.derivative("weight", step.tau0, 0) if self.form.weight.rate is None else 1
            slope = front * self.path.derivative("slope", step.tau0, 0)
            terms = self._terms(part.predictor, target, scope, step)
            local = local + step.h * sum(past) * slope * terms * float(1 - tableau.lag) ** target
        return local

    def _terms(self, formula: FormulaProof, q: int, scope: Scope, step: Step) -> Any:
        """The terms of order q of a formula's local error."""
        value = formula.expansion.field.expression
        total = 0 * self.path.xi
        for defect in formula.defects.found(q, formula.setting.scalar):
            total = total + self.path.term(defect, step.tau0, evaluator(value(defect.value), XP)(scope))
        return step.h**q * total

    def _scope(self, i: int, tableau: Any) -> tuple[Scope, Step]:
        """What the symbols of a step's coefficients mean."""
        step = self.form.step(self.times[i], self.times[i + 1], tableau.moments)
        past = tuple(self.times[i - 1 :: -1]) if i else ()
        values: Any = {}
        if tableau.parameters and self.solver.parameters is not None:
            count = len(self.times) - 1
            grid, schedule, times = self.setting.grid, self.setting.schedule, tuple(self.times)
            every = self.solver.sequence.times(grid, schedule, times[0], times[-1], self.budget)
            context = StepContext(i, count, tableau, step, grid, schedule, past, self.budget, times, every)
            values = {s: XP.number(v) for s, v in self.solver.parameters(context).items()}
        return Scope(step, tuple(self.form.tau(t) for t in past), values), step
