"""One step of a solver as numbers.

The conversion from the model's output to the form's integrand is folded into the coefficients, so a plan says
the same thing in the same numbers whatever form the solver was written in: DDIM's plan in noise prediction
equals its plan in data prediction, and two plans can be compared.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import attrgetter
from typing import Any

import numpy as np
from sympy import Expr, Symbol

from ..diffusion.grids import Grid, Times
from ..diffusion.prediction import check_prediction, conversion
from ..diffusion.schedule import Schedule, remembering
from ..diffusion.sde import forward
from ..forms.form import Exponential, Form, Step
from ..numerics.arithmetic import FLOAT64, Arithmetic, NotFinite, Value, finite, nonzero, uniform
from ..numerics.germ import GERMS
from ..solver import Solver, StepContext
from ..tableaux.evaluate import evaluator
from ..tableaux.tableau import Tableau, Weights
from .edges import Edge, Near, advice, at_edge, limits
from .many import FEWEST, States, before, each, singles
from .program import Coefficient, Evaluation, Interval, Kind, PlanStep, Row
from .rounding import RoundedArrays, RoundedWeights
from .scope import Scope

WeightsOf = Callable[[Scope, Arithmetic], Callable[[Expr], Value]]
"""What finds the weights of a step's rows."""


@dataclass(frozen=True)
class _Integrand:
    """An evaluation as the form sees it: N = p x + q m + u at interpolation variable tau."""

    state: Any
    t: Value
    tau: Value
    p: Value
    q: Value
    u: Value


class StepCompiler:
    """Compiles one step at a time, so that a step-size controller may ask for steps as it goes.

    nodes: the times of all steps, where they are known: a released table of coefficients is made for their
    number, and parameters may look ahead.  times: those of the grid, of which a step may span several
    intervals.  base: the state that the first step starts from; those before it are given, and the next to be
    made is base + 1.
    """

    def __init__(
        self,
        solver: Solver,
        schedule: Schedule,
        prediction: str,
        xp: Arithmetic,
        grid: Grid | None = None,
        budget: int | None = None,
        *,
        nodes: Times | None = None,
        times: Times | None = None,
        base: int = 0,
    ) -> None:
        check_prediction(prediction)
        schedule = remembering(schedule)
        form = solver.form(schedule)
        self.form: Form = form if nodes is None else form.for_steps(len(nodes) - 1)
        self._tabled = form.table is not None
        self._solver, self._schedule, self._prediction, self._xp, self._grid = (
            solver,
            schedule,
            prediction,
            xp,
            grid,
        )
        self._budget, self._nodes, self._times = budget, nodes, times
        self._noise_scale = xp.number(solver.noise_scale)
        self._history: list[_Integrand] = []
        self._carried: _Integrand | None = None
        self._weights: WeightsOf = RoundedWeights
        self._stacked: dict[Symbol, Value] | None = None  # the parameters of many steps, where it makes many
        self.base: Any = base
        self.next_state: Any = base + 1
        self.increments: list[Interval | None] = []
        """What each noise increment is: see `Plan.increments`."""

    def remember(self, state: int, t: Value) -> Evaluation:
        """An evaluation at a given state, kept as history."""
        self._history.insert(0, self._integrand(state, t))
        return Evaluation(state, t)

    def reject(self, base: int) -> None:
        """Start the next step of a one-step method from `base` again: the last one is not taken."""
        self.base = base

    def step(
        self, tableau: Tableau, t0: Value, t1: Value, index: int, count: int, quiet: bool = False
    ) -> PlanStep:
        """The operations of one step of `tableau` from the current base state; quiet: without its last noise.

        Raises ValueError for coefficients that are not finite, naming the step.
        """
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # `_freeze` refuses infinities
            try:
                made = self._limit_step(tableau, t0, t1, index, count, quiet)
                if made is not None:
                    return made
                return self._step(tableau, t0, t1, index, count, quiet)
            except (ValueError, ArithmeticError) as error:
                reason = "division by zero" if isinstance(error, ZeroDivisionError) else str(error)
                if isinstance(error, (NotFinite, ZeroDivisionError)):
                    reason += advice(self._schedule, t0, t1)
                raise ValueError(
                    f"step {index} of {count} (t = {t0} to {t1}) of {self._solver.name}: {reason}"
                ) from error

    def steps(
        self, tableau: Tableau, nodes: Times, index: int, count: int, quiet: bool = False
    ) -> list[PlanStep]:
        """The steps of one tableau between consecutive nodes, the first of them step `index` of `count`;
        quiet: the last without its last noise.  Raises ValueError as `step` does.
        """
        first, end = self._alike(tableau, nodes[: len(nodes) - quiet])
        made = self._singles(tableau, nodes[: first + 1], index, count)
        made += self._many(tableau, nodes[first : end + 1], index + first, count)
        rest = nodes[end:-1] if quiet else nodes[end:]
        made += self._singles(tableau, rest, index + end, count)
        if quiet:
            made.append(self.step(tableau, nodes[-2], nodes[-1], index + len(made), count, quiet))
        return made

    def _singles(self, tableau: Tableau, nodes: Times, index: int, count: int) -> list[PlanStep]:
        ends = enumerate(pairwise(nodes), index)
        return [self.step(tableau, t0, t1, i, count) for i, (t0, t1) in ends]

    def _alike(self, tableau: Tableau, nodes: Times) -> tuple[int, int]:
        """Between which nodes the steps differ in their numbers only: from the first that reads no evaluation
        at an edge, to the next edge.  An empty range where they have to be made one by one, as under a
        schedule of your own that takes no arrays.
        """
        if len(nodes) <= FEWEST or not self._by_formulas(tableau):
            return 0, 0
        f, times = self._schedule.formulas, np.array(nodes, dtype=np.float64)
        try:
            with np.errstate(all="ignore"):
                regular = np.broadcast_to((f.alpha(times) != 0) & (f.sigma(times) != 0), times.shape)
        except (TypeError, ValueError, ArithmeticError):
            return 0, 0
        far = [tableau.past - k for k, p in enumerate(self._history[: tableau.past]) if not finite(p.tau)]
        begun = tableau.carry is None or self._carried is not None
        first = max([0 if begun else 1, *far, 0 if regular[0] else 1 + tableau.past])
        edges = np.flatnonzero(~regular[first:])
        return first, first + int(edges[0]) - 1 if len(edges) else len(nodes) - 1

    def _by_formulas(self, tableau: Tableau) -> bool:
        """Whether a step's numbers are functions of its times and parameters, in float64: without tables and
        forcing, with stages at the same abscissae in every step.
        """
        if self._xp is not FLOAT64 or self._tabled:
            return False
        if tableau.lag:  # what is carried over lies between the nodes
            return False
        if any(stage.c.free_symbols for stage in tableau.stages):
            return False
        return self.form.forcing is None

    def _many(self, tableau: Tableau, nodes: Times, index: int, count: int) -> list[PlanStep]:
        """The steps between consecutive nodes by arrays, as far as they agree on what is decided by
        comparison: where some do not, in halves.  One by one where formulas do not take arrays, or
        coefficients are elementwise operators.
        """
        if len(nodes) <= FEWEST:
            return self._singles(tableau, nodes, index, count)
        try:
            with np.errstate(all="ignore"):
                if not self._operators(nodes[0], nodes[1]):
                    return self._at_once(tableau, np.array(nodes, dtype=np.float64), index, count)
        except (ValueError, ArithmeticError):
            half = len(nodes) // 2
            made = self._many(tableau, nodes[: half + 1], index, count)
            return made + self._many(tableau, nodes[half:], index + half, count)
        except TypeError:
            pass
        return self._singles(tableau, nodes, index, count)

    def _at_once(self, tableau: Tableau, times: Any, index: int, count: int) -> list[PlanStep]:
        """The steps between consecutive times; nothing is changed where one of the errors of `_many` is
        raised.
        """
        n, (twin, known) = len(times) - 1, self._over_many(tableau, times, index, count)
        arrays = twin._step(tableau, times[:-1], times[1:], index + np.arange(n), count, False)
        made = list(singles(arrays, n, len(twin.increments), len(self.increments)))
        history = self._singly(known, n)
        carried = None if twin._carried is None else self._singly(twin._carried, n)[-1]
        ends = [i and (each(i[0], n), each(i[1], n)) for i in twin.increments]
        self._history[:0] = reversed(history)
        self._carried = carried
        self.increments += [e and (e[0][i], e[1][i]) for i in range(n) for e in ends]
        self.base, self.next_state = made[-1].output, made[-1].output + 1
        return made

    def _operators(self, t0: Value, t1: Value) -> bool:
        """Whether coefficients are elementwise operators: arrays over the state, not over steps."""
        first, weight = self._integrand(self.base, t0), self.form.weight
        scale = weight.scale(t0) if isinstance(weight, Exponential) else self.form.factor(t0)
        return any(np.ndim(v) for v in (first.p, first.q, first.u, self.form.ratio(t0, t1), scale))

    def _over_many(
        self, tableau: Tableau, times: Any, index: int, count: int
    ) -> tuple[StepCompiler, _Integrand]:
        """The same compiler over arrays, with the history that the formula reads and the parameters of every
        step; the first evaluation of every step.
        """
        twin, n = copy.copy(self), len(times) - 1
        start, stop = self._between(times[:-1], times[1:], index + np.arange(n), count)
        up, down = (not uniform(a == b) for a, b in ((start, times[:-1]), (stop, times[1:])))
        rows = len(tableau.a) + 1 + (tableau.b_low is not None) + up + down
        twin.next_state = States(tuple(range(self.next_state, self.next_state + n * rows, rows)))
        twin.base = States((self.base, *(made - 1 for made in twin.next_state.numbers[1:])))
        twin._weights, twin.increments, states = RoundedArrays, [], twin.base + up
        if self._carried is not None and tableau.carry is not None:
            states = (twin.next_state + (tableau.carry - 1)).before([self._carried.state], 1)
        known = twin._integrand(states, start)
        past, names = self._history[: tableau.past], ("t", "tau", "p", "q", "u")
        all_known = {name: np.broadcast_to(getattr(known, name), n) for name in names}
        twin._history = [
            _Integrand(
                states.before([h.state for h in past], j),
                *(before(all_known[name], [getattr(h, name) for h in past], j) for name in names),
            )
            for j in range(1, tableau.past + 1)
        ]
        twin._carried = None if self._carried is None else known
        twin._stacked = self._parameters_of_each(tableau, start.tolist(), stop.tolist(), index, count)
        return twin, known

    def _parameters_of_each(
        self, tableau: Tableau, starts: list[float], stops: list[float], index: int, count: int
    ) -> dict[Symbol, Value]:
        """The parameters of many steps, found one by one: a rule of one's own may look at all that its step
        knows.
        """
        if not tableau.parameters:
            return {}
        past, n = (*reversed(starts), *(p.t for p in self._history)), len(starts)
        found = [
            self._parameters(
                tableau, self.form.step(t0, t1, tableau.moments), past[n - i :], index + i, count
            )
            for i, (t0, t1) in enumerate(zip(starts, stops, strict=True))
        ]
        return {s: np.array([values[s] for values in found]) for s in tableau.parameters}

    @staticmethod
    def _singly(known: _Integrand, count: int) -> list[_Integrand]:
        columns = (each(v, count) for v in (known.t, known.tau, known.p, known.q, known.u))
        return [_Integrand(*row) for row in zip(known.state.numbers, *columns, strict=True)]

    def _limit_step(
        self, tableau: Tableau, t0: Value, t1: Value, index: int, count: int, quiet: bool
    ) -> PlanStep | None:
        """A step with one end where alpha or sigma is 0, as the limit of its coefficients; None for any other
        step, and for a form that has no formulas over germs (`edges.py`).
        """
        ends = [t for t in (t0, t1) if at_edge(self._schedule, t)]
        if len(ends) != 1 or self._solver.noising is not None:
            return None
        first = self._carried or self._integrand(self.base, t0)
        edge = Edge(self._schedule, ends[0], t1 if ends[0] == t0 else t0)
        try:
            twin = self._over(edge, tableau)
            germs = twin._step(tableau, edge.near(t0), edge.near(t1), index, count, quiet)
        except TypeError:
            return None
        made = limits(germs, tableau, self._xp)
        for op in made.operations:
            if isinstance(op, Evaluation):  # the model's output must say there what the form asks for
                conversion(self._schedule, self._prediction, self.form.target, op.t)
        self._history.insert(0, first)
        carried = twin._carried
        self._carried = None if carried is None else self._integrand(carried.state, _time(carried.t))
        self.base, self.next_state = twin.base, twin.next_state
        self.increments = [i and (_time(i[0]), _time(i[1])) for i in twin.increments]
        return made

    def _over(self, edge: Edge, tableau: Tableau) -> StepCompiler:
        """The same compiler over the times near an edge, with the history that the formula reads."""
        twin = copy.copy(self)
        twin._schedule, twin._xp = edge.schedule, GERMS
        twin.form = self._solver.form(edge.schedule)
        if twin.form.table is not None:
            raise TypeError("a table of coefficients has none near its ends")
        read = self._history if tableau.parameters else self._history[: tableau.past]
        twin._history = [twin._integrand(p.state, edge.near(p.t)) for p in read]
        if self._carried is not None:
            twin._carried = twin._integrand(self._carried.state, edge.near(self._carried.t))
        twin.increments = list(self.increments)
        return twin

    def _step(self, tableau: Tableau, t0: Value, t1: Value, index: Any, count: int, quiet: bool) -> PlanStep:
        start, stop = self._between(t0, t1, index, count)
        before = self._noise_up(t0, start)
        step = self.form.step(start, stop, tableau.moments)
        if tableau.past > len(self._history):
            raise ValueError(
                f"the formula uses {tableau.past} earlier evaluations, {len(self._history)} exist"
            )
        past, given = self._history[: tableau.past], self._given(tableau, step, index, count)
        scope = Scope(step, tuple(p.tau for p in past), given)
        value_of = self._weights(scope, self._xp)
        operations: list[Evaluation | Row] = []
        if self._carried is None:
            known = {0: self._integrand(self.base, start)}
            operations.append(Evaluation(self.base, start))
        else:
            known = {0: self._carried}
        known |= {-j: p for j, p in enumerate(past, 1)}
        at = [evaluator(stage.c, self._xp)(scope) for stage in tableau.stages]
        one = self._xp.number(1)
        apart = [self._own_noise(step, c) for c in at] if tableau.stage_noise == "independent" else None
        noise = self._path(step, [*(at if tableau.stage_noise is True else ()), one])
        for i, (c, weights) in enumerate(zip(at, tableau.a, strict=True), 1):
            self._schedule.check_time(step.time(c), f"the time of stage {i}")
            drawn = apart[i - 1] if apart else noise[c] if tableau.stage_noise else ()
            row = self._row(step, value_of, weights, c, known, drawn)
            known[i] = self._integrand(row.state, step.time(c))
            operations += [row, Evaluation(row.state, step.time(c))]
        low = None
        if tableau.b_low is not None:
            operations.append(self._row(step, value_of, tableau.b_low, one, known))
            low = self.next_state - 1
        operations.append(self._row(step, value_of, tableau.b, one, known, () if quiet else noise[one]))
        self._history.insert(0, known[0])
        self._carried = None if tableau.carry is None else known[tableau.carry]
        self.base = self.next_state - 1
        operations += self._noise_up(stop, t1, quiet)
        return PlanStep(t0, t1, (*before, *operations), self.base, low)

    def _between(self, t0: Value, t1: Value, index: Any, count: int) -> tuple[Value, Value]:
        """The times between which the step's formula runs."""
        noising = self._solver.noising
        return (t0, t1) if noising is None else noising(self._schedule, t0, t1, index, count)

    def _noise_up(self, t: Value, noisier: Value, quiet: bool = False) -> tuple[Row, ...]:
        """The row that adds noise up to the law of time `noisier`.  Karras et al. 2022, Alg. 2."""
        if noisier is t or uniform(noisier == t):
            return ()
        weight, std = forward(self._schedule, t, noisier)
        if self._carried is not None:
            raise ValueError("a solver that carries an evaluation to the next step cannot add noise between")
        self.increments.append(None)
        row = self._make_row([("x", self.base, weight)], () if quiet else ((len(self.increments) - 1, std),))
        self.base = row.state
        return (row,)

    def _path(self, step: Step, at: Sequence[Value]) -> dict[Value, tuple[tuple[int, Value], ...]]:
        """For each abscissa, the noise of the form's SDE on [0, c]: one increment for each interval between
        neighbouring abscissae, so that a stage and the step share what they have in common.
        """
        form = self.form
        if form.std is None:
            return dict.fromkeys(at, ())
        ends = sorted(set(at))
        if not (ends[0] > 0 and ends[-1] <= 1):
            bad = ends[0] if not ends[0] > 0 else ends[-1]
            raise ValueError(f"a stage with noise must lie at an abscissa in (0, 1], got {bad}")
        parts: list[tuple[int, Value, Value]] = []
        start = step.t0
        for c in ends:
            end = step.time(c)
            self.increments.append((start, end))
            parts.append((len(self.increments) - 1, end, form.std(start, end)))
            start = end
        noise = {}
        for n, c in enumerate(ends, 1):
            weights = [
                (i, s if end is parts[n - 1][1] else s * form.ratio(end, step.time(c)))
                for i, end, s in parts[:n]
            ]
            noise[c] = tuple((i, w) for i, w in weights if nonzero(w))
        return noise

    def _own_noise(self, step: Step, c: Value) -> tuple[tuple[int, Value], ...]:
        """Noise of the size of the SDE's on [0, c], drawn for one stage alone."""
        if self.form.std is None:
            return ()
        self.increments.append(None)
        std = self.form.std(step.t0, step.time(c))
        return ((len(self.increments) - 1, std),) if nonzero(std) else ()

    def denoise(self, t: Value) -> PlanStep:
        """The final step to lambda = +infinity: one evaluation, x = x_0 prediction (alpha = 1, sigma = 0)."""
        p, q = conversion(self._schedule, self._prediction, "x0", t)
        operations = (
            Evaluation(self.base, t),
            self._make_row([("x", self.base, p), ("m", self.base, q)], ()),
        )
        self.base = self.next_state - 1
        return PlanStep(t, None, operations, self.base)

    def _given(self, tableau: Tableau, step: Step, index: int, count: int) -> dict[Symbol, Value]:
        """The parameters of the next step."""
        if self._stacked is not None or not tableau.parameters:
            return self._stacked or {}
        return self._parameters(tableau, step, tuple(map(_at, self._history)), index, count)

    def _parameters(
        self, tableau: Tableau, step: Step, past: Times, index: int, count: int
    ) -> dict[Symbol, Value]:
        context = StepContext(
            index,
            count,
            tableau,
            step,
            self._grid,
            self._schedule,
            past,
            self._budget,
            self._nodes,
            self._times,
        )
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
        return _Integrand(state, t, self.form.tau(t), p, q, u)

    def _row(
        self,
        step: Step,
        value_of: Callable[[Expr], Value],
        weights: Weights,
        c: Value,
        known: dict[int, _Integrand],
        noise: tuple[tuple[int, Value], ...] = (),
    ) -> Row:
        factor = step.weight(c)
        terms: list[tuple[Kind, int, Coefficient]] = [("x", self.base, step.linear(c))]
        constant: Value = 0 if self.form.forcing is None else self.form.forcing(step, c)
        for j, expression in weights.items():
            source, value = known[j], factor * value_of(expression)
            terms += [("x", source.state, value * source.p), ("m", source.state, value * source.q)]
            constant = constant + value * source.u
        return self._make_row(terms, noise, constant)

    def _make_row(
        self,
        terms: list[tuple[Kind, int, Coefficient]],
        noise: Iterable[tuple[int, Coefficient]],
        constant: Value = 0,
    ) -> Row:
        total: dict[tuple[Kind, int], Value] = {}
        for kind, state, value in terms:
            total[kind, state] = total[kind, state] + value if (kind, state) in total else value
        kept = tuple((kind, state, self._freeze(v)) for (kind, state), v in total.items() if nonzero(v))
        offset = self._freeze(constant) if nonzero(constant) else None
        scaled = ((i, s * self._noise_scale) for i, s in noise)
        drawn = tuple((i, self._freeze(s)) for i, s in scaled if nonzero(s))
        row = Row(self.next_state, kept, drawn, offset)
        self.next_state = self.next_state + 1
        return row

    def _freeze(self, value: Value) -> Coefficient:
        if not finite(value) or np.iscomplexobj(value) or hasattr(value, "_mpc_"):
            raise NotFinite("a coefficient is not a finite real number")
        if isinstance(value, np.ndarray) and value.ndim:
            frozen: Coefficient = value if value.base is None else value.copy()  # nothing else than a view
            frozen.flags.writeable = False
            return frozen
        return float(value) if self._xp is FLOAT64 else value


_at = attrgetter("t")


def _time(t: Value) -> Value:
    return t.t if isinstance(t, Near) else t
