"""Plans: a solver, a schedule and a grid compiled, once and on the host, to numbers.

The conversion from the model's output to the form's integrand is folded into the coefficients, so a plan says
the same thing in the same numbers whatever form the solver was written in: DDIM's plan in noise prediction
equals its plan in data prediction, and two plans can be compared.  What a plan holds stands in `program.py`.
"""

from __future__ import annotations

import numbers
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .arithmetic import Arithmetic, Value, choose
from .evaluate import Scope, evaluator
from .form import INFINITY, Form, Step
from .grids import Grid, uniform_lambda, user
from .prediction import check_prediction, conversion
from .program import FINALS, STARTS, Coefficient, Evaluation, Final, Kind, Plan, PlanStep, Row, Start
from .schedule import Schedule
from .solver import Solver, StepContext
from .tableau import Tableau, Weights, nested_collocation

__all__ = ["Plan", "StepCompiler", "compile_plan"]


@dataclass(frozen=True)
class _Integrand:
    """An evaluation as the form sees it: N = p x + q m + u at interpolation variable tau."""

    state: int
    tau: Value
    p: Value
    q: Value
    u: Value


class NotFinite(ValueError):
    """A coefficient that is infinite, NaN or complex."""


class StepCompiler:
    """Compiles one step at a time, so that a step-size controller may ask for steps as it goes.

    States are numbered from `first_state`; the base state of the first step is `base`.
    """

    def __init__(
        self, solver: Solver, schedule: Schedule, prediction: str, xp: Arithmetic, grid: Grid | None = None
    ) -> None:
        check_prediction(prediction)
        self.form: Form = solver.form(schedule)
        self._solver, self._schedule, self._prediction, self._xp, self._grid = (
            solver,
            schedule,
            prediction,
            xp,
            grid,
        )
        self._history: list[_Integrand] = []
        self._carried: _Integrand | None = None
        self.base = 0
        self.next_state = 1

    def remember(self, state: int, t: Value) -> Evaluation:
        """An evaluation at a given state, kept as history."""
        self._history.insert(0, self._integrand(state, t))
        return Evaluation(state, t)

    def step(self, tableau: Tableau, t0: Value, t1: Value, index: int, count: int) -> PlanStep:
        """The operations of one step of `tableau` from the current base state.

        Raises ValueError for coefficients that are not finite, naming the step.
        """
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # `_freeze` refuses infinities
            try:
                return self._step(tableau, t0, t1, index, count)
            except (ValueError, ArithmeticError) as error:
                reason = "division by zero" if isinstance(error, ZeroDivisionError) else str(error)
                if isinstance(error, (NotFinite, ZeroDivisionError)):
                    reason += _advice(self.form, t0, t1)
                raise ValueError(
                    f"step {index} of {count} (t = {t0} to {t1}) of {self._solver.name}: {reason}"
                ) from error

    def _step(self, tableau: Tableau, t0: Value, t1: Value, index: int, count: int) -> PlanStep:
        step = self.form.step(t0, t1, tableau.moments)
        if tableau.past > len(self._history):
            raise ValueError(
                f"the formula uses {tableau.past} earlier evaluations, {len(self._history)} exist"
            )
        past = self._history[: tableau.past]
        scope = Scope(step, tuple(p.tau for p in past), self._parameters(tableau, step, index, count))
        operations: list[Evaluation | Row] = []
        if self._carried is None:
            known = {0: self._integrand(self.base, t0)}
            operations.append(Evaluation(self.base, t0))
        else:
            known = {0: self._carried}
        known |= {-j: p for j, p in enumerate(past, 1)}
        for i, (stage, weights) in enumerate(zip(tableau.stages, tableau.a, strict=True), 1):
            c = evaluator(stage.c, self._xp)(scope)
            self._schedule.check_time(step.time(c), f"the time of stage {i}")
            row = self._row(step, scope, weights, c, known)
            known[i] = self._integrand(row.state, step.time(c))
            operations += [row, Evaluation(row.state, step.time(c))]
        one = self._xp.number(1)
        low = None
        if tableau.b_low is not None:
            operations.append(self._row(step, scope, tableau.b_low, one, known))
            low = self.next_state - 1
        operations.append(self._row(step, scope, tableau.b, one, known, noise=index))
        self._history.insert(0, known[0])
        self._carried = None if tableau.carry is None else known[tableau.carry]
        self.base = self.next_state - 1
        return PlanStep(t0, t1, tuple(operations), self.base, low)

    def denoise(self, t: Value) -> PlanStep:
        """The final step to lambda = +infinity: one evaluation, x = x_0 prediction (alpha = 1, sigma = 0)."""
        p, q = conversion(self._schedule, self._prediction, "x0", t)
        operations = (
            Evaluation(self.base, t),
            self._make_row([("x", self.base, p), ("m", self.base, q)], ()),
        )
        self.base = self.next_state - 1
        return PlanStep(t, None, operations, self.base)

    def _parameters(self, tableau: Tableau, step: Step, index: int, count: int) -> Any:
        if not tableau.parameters:
            return {}
        context = StepContext(index, count, tableau, step, self._grid, self._schedule)
        given = {} if self._solver.parameters is None else dict(self._solver.parameters(context))
        missing = sorted(s.name for s in tableau.parameters - given.keys())
        if missing:
            raise ValueError(
                f"the formula has no value for {', '.join(missing)}: set it in the solver's parameters"
            )
        return {s: self._xp.number(v) for s, v in given.items()}

    def _integrand(self, state: int, t: Value) -> _Integrand:
        p, q = conversion(self._schedule, self._prediction, self.form.target, t)
        u: Value = 0
        if self.form.affine is not None:
            own, scale, u = self.form.affine(t)
            p, q = own + scale * p, scale * q
        return _Integrand(state, self.form.tau(t), p, q, u)

    def _row(
        self,
        step: Step,
        scope: Scope,
        weights: Weights,
        c: Value,
        known: dict[int, _Integrand],
        noise: int | None = None,
    ) -> Row:
        factor = step.weight(c)
        terms: list[tuple[Kind, int, Coefficient]] = [("x", self.base, step.linear(c))]
        constant: Value = 0
        for j, expression in weights.items():
            source, value = known[j], factor * evaluator(expression, self._xp)(scope)
            terms += [("x", source.state, value * source.p), ("m", source.state, value * source.q)]
            constant = constant + value * source.u
        increments: tuple[tuple[int, Value], ...] = ()
        if noise is not None and self.form.std is not None:
            std = self.form.std(step.t0, step.t1)
            increments = ((noise, std),) if np.any(std != 0) else ()
        return self._make_row(terms, increments, constant)

    def _make_row(
        self,
        terms: list[tuple[Kind, int, Coefficient]],
        noise: Iterable[tuple[int, Coefficient]],
        constant: Value = 0,
    ) -> Row:
        total: dict[tuple[Kind, int], Value] = {}
        for kind, state, value in terms:
            total[kind, state] = total[kind, state] + value if (kind, state) in total else value
        kept = tuple((kind, state, self._freeze(v)) for (kind, state), v in total.items() if np.any(v != 0))
        offset = self._freeze(constant) if np.any(constant != 0) else None
        row = Row(self.next_state, kept, tuple((i, self._freeze(s)) for i, s in noise), offset)
        self.next_state += 1
        return row

    def _freeze(self, value: Value) -> Coefficient:
        if not np.all(abs(value) < INFINITY) or np.iscomplexobj(value) or hasattr(value, "_mpc_"):
            raise NotFinite("a coefficient is not a finite real number")
        if isinstance(value, np.ndarray) and value.ndim:
            frozen = value.copy()
            frozen.flags.writeable = False
            return frozen
        return value if self._xp.context is not None else float(value)


def _advice(form: Form, t0: Value, t1: Value) -> str:
    f = form.schedule.formulas
    if f.alpha(t0) == 0:
        return (
            f": alpha is 0 at t = {t0}, where only a solver in data prediction can start, "
            "with a model that predicts x0, v or flow"
        )
    if f.sigma(t1) == 0:
        return f": sigma is 0 at t = {t1}; final='lower' ends there with a first-order step"
    return ""


def compile_plan(
    solver: Solver,
    schedule: Schedule,
    *,
    steps: int | None = None,
    grid: Grid | None = None,
    t_start: Value = None,
    t_end: Value = None,
    times: Any = None,
    prediction: str = "eps",
    start: Start = "own",
    final: Final = "full",
    denoise: bool = False,
    digits: int | None = None,
) -> Plan:
    """Compile a solver on a schedule to a plan.

    Give either `times` (strictly monotone, used as they are; increasing times encode data) or `steps` with
    `t_start`, `t_end` and a `grid` (uniform in lambda when absent).  steps: the number of steps, or of
    evaluations for a budgeted solver.  With both `times` and `grid`, the grid only places stages that follow
    the grid's rule.  prediction: what the model returns: "eps", "x0", "v", "score" or "flow".
    start: "own" (the ramp of low orders), "exact" (`history` + 1 states are inputs: the first steps are
    given), or "high-order" (the first steps by a one-step method of the full order).
    final: "full", or "lower" for lower order at the last steps (needed where the grid ends at sigma = 0).
    denoise: add the step to lambda = +infinity, one evaluation more.
    digits: None for float64, else mpmath with that many digits.
    Raises ValueError or TypeError, naming the argument, for anything that cannot be compiled; nothing is
    replaced silently.
    """
    for name, value, kind in (("solver", solver, Solver), ("schedule", schedule, Schedule)):
        if not isinstance(value, kind):
            raise TypeError(f"{name} must be a {kind.__name__}, got {value!r}")
    if grid is not None and not isinstance(grid, Grid):
        raise TypeError(f"grid must be a Grid or None, got {grid!r}")
    if not isinstance(denoise, bool):
        raise TypeError(f"denoise must be True or False, got {denoise!r}")
    for name, value in (("t_start", t_start), ("t_end", t_end)):
        if not (value is None or isinstance(value, numbers.Real) or hasattr(value, "context")):
            raise TypeError(f"{name} must be a number, got {value!r}")
    steps = int(steps) if isinstance(steps, np.integer) else steps
    _choice("start", start, STARTS)
    _choice("final", final, FINALS)
    check_prediction(prediction)
    xp = choose(digits)
    if times is not None:
        if t_start is not None or t_end is not None:
            raise ValueError("times cannot be combined with t_start or t_end")
        nodes = user(schedule, times, digits=digits)
        budget = len(nodes) - 1 if steps is None else steps
        if solver.sequence.steps(budget) != len(nodes) - 1:
            needed = solver.sequence.steps(budget)
            raise ValueError(f"times must hold {needed + 1} values for steps = {budget}, got {len(nodes)}")
    else:
        if steps is None or t_start is None or t_end is None:
            raise ValueError("give times, or all of steps, t_start and t_end")
        grid = uniform_lambda() if grid is None else grid
        schedule.check_time(t_start, "t_start")
        schedule.check_time(t_end, "t_end")
        budget = steps
        nodes = solver.sequence.times(grid, schedule, xp.number(t_start), xp.number(t_end), steps)
    if nodes[-1] > nodes[0] and (solver.stochastic or denoise):
        what = f"{solver.name} is stochastic" if solver.stochastic else "denoise=True"
        raise ValueError(f"times must decrease where {what}, got {nodes[0]} to {nodes[-1]}")
    tableaux = list(solver.sequence.at(budget, final == "lower"))
    count, history = len(tableaux), solver.history
    given = history if start == "exact" else 0
    if given >= count:
        raise ValueError(f"start='exact' of {solver.name} needs at least {given + 1} steps, got {count}")
    if start == "high-order":
        for i in range(min(history, count)):
            if final == "full" or i < count - history:  # a step that final='lower' lowers stays low
                tableaux[i] = nested_collocation(history + 1)

    compiler = StepCompiler(solver, schedule, prediction, xp, grid)
    compiler.base, compiler.next_state = given, given + 1
    before = tuple(compiler.remember(i, nodes[i]) for i in range(given))
    made = [compiler.step(tableaux[i], nodes[i], nodes[i + 1], i, count) for i in range(given, count)]
    if before:
        first = made[0]
        made[0] = PlanStep(first.t0, first.t1, (*before, *first.operations), first.output, first.low)
    if denoise:
        made.append(compiler.denoise(nodes[-1]))
    return Plan(
        solver=solver.name,
        form=compiler.form.name,
        schedule=(schedule.kind, schedule.parameters),
        prediction=prediction,
        start=start,
        final=final,
        digits=digits,
        inputs=nodes[: given + 1],
        steps=tuple(made),
    )


def _choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
