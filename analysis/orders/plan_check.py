"""The coefficients of a plan against the exact expressions that they are made of, in ulp.

A plan's coefficient is a row's factor times a weight.  The weight's expression is evaluated here in
multiprecision at the same z and step ratios, the float64 numbers of the plan's own step, so that what is left
is the rounding of the coefficient itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sympy
from semilinear.integrators.diffusion.schedule import Schedule
from semilinear.integrators.forms.form import Exponential, FormOf, Step, data_in_lambda
from semilinear.integrators.numerics.arithmetic import FLOAT64, Value, multiprecision
from semilinear.integrators.plans.compiler import StepCompiler
from semilinear.integrators.plans.program import Row
from semilinear.integrators.solver import Repeat, Solver
from semilinear.integrators.tableaux.evaluate import AtZ, evaluator
from semilinear.integrators.tableaux.tableau import Tableau, Weights
from sympy import Expr

from .proof import key_name

DIGITS = 50


@dataclass(frozen=True)
class Deviation:
    """One coefficient: where it stands, how many ulp it is off, and how many ulp its largest term has in it.

    cancellation: the largest of the terms that the weight is a sum of, divided by the weight.
    """

    row: str
    evaluation: str
    ulp: float
    cancellation: float


def check_against_plan(
    tableau: Tableau,
    schedule: Schedule,
    t0: float,
    t1: float,
    *,
    past: Sequence[float] = (),
    form: FormOf = data_in_lambda,
) -> list[Deviation]:
    """Compile one step of a tableau without parameters from t0 to t1, and compare each coefficient.

    past: the times of P(1), P(2), ..  Raises ValueError for a form without a constant linear operator, a
    tableau with parameters, or too few past times.
    """
    if tableau.parameters:
        raise ValueError(f"tableau must have no parameters, got {sorted(map(str, tableau.parameters))}")
    if len(past) < tableau.past:
        raise ValueError(f"past must hold {tableau.past} times, got {len(past)}")
    if not isinstance(form(schedule).weight, Exponential):
        raise ValueError(f"form must have a constant linear operator, got {form(schedule).name}")
    solver = Solver(name="derived", form=form, sequence=Repeat(tableau, tableau), claimed=1, source="derived")
    compiler = StepCompiler(solver, schedule, form(schedule).target, FLOAT64)
    for state, t in reversed(list(enumerate(past[: tableau.past], 1))):
        compiler.remember(-state, t)
    step = compiler.form.step(t0, t1, tableau.moments)
    made = compiler.step(tableau, t0, t1, 0, 1)
    plan_rows = [operation for operation in made.operations if isinstance(operation, Row)]
    states = {0: 0, **{-j: -j for j in range(1, tableau.past + 1)}}
    states |= {i: row.state for i, row in enumerate(plan_rows[: len(tableau.stages)], 1)}
    exact = _Exact(step, [compiler.form.tau(t) for t in past])
    named = list(tableau.rows())
    if tableau.b_low is not None:
        named.insert(-1, ("low", sympy.Integer(1), tableau.b_low))
    found: list[Deviation] = []
    for (name, c, weights), row in zip(named, plan_rows, strict=True):
        factor = exact.number(step.weight(FLOAT64.number(c)))
        numbers = {state: value for kind, state, value in row.terms if kind == "m"}
        found += _deviations(
            name, weights, factor, {k: numbers.get(s, 0.0) for k, s in states.items()}, exact
        )
    return found


def worst(deviations: Sequence[Deviation]) -> Deviation:
    """The coefficient that is off by most ulp."""
    return max(deviations, key=lambda d: d.ulp)


def _deviations(
    name: str, weights: Weights, factor: Value, numbers: dict[int, Any], exact: _Exact
) -> Iterator[Deviation]:
    for key, weight in weights.items():
        value = factor * exact(weight)
        if not value:
            continue
        largest = max(abs(factor * exact(term)) for term in sympy.Add.make_args(sympy.expand(weight)))
        off = abs(exact.number(numbers[key]) - value) / math.ulp(float(value))
        yield Deviation(name, key_name(key), float(off), float(largest / abs(value)))


class _Exact:
    """Weights in multiprecision, from the float64 numbers of a step."""

    def __init__(self, step: Step, past_tau: Sequence[float]) -> None:
        self._xp = multiprecision(DIGITS)
        self.number = self._xp.number
        # The ratio is rounded as the plan rounds it.
        ratios = [self.number((step.tau0 - tau) / step.h) for tau in past_tau]
        self._at = AtZ(self.number(step.z), ratios)

    def __call__(self, weight: Expr) -> Value:
        return evaluator(weight, self._xp)(self._at)
