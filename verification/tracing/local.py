"""Rows over a whole run taken apart into steps, and the plan that these are.

A row of a `Trace` reaches back to the start.  Written from an earlier state of the same run, the part that
both share drops out, and what is left is the formula of a step: a multiple of that state, the few outputs
that the formula uses, and the noise in between.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from semilinear.integrators.plans.program import Coefficient, Evaluation, Kind, Plan, PlanStep, Row

from .trace import Trace, near, on_grid

REACH = 16
"""How many states back the base of a row is looked for."""
SLACK = 64
"""Rounding units below which a coefficient is none, of those that it is the difference of."""
FAINT = 1e-8
"""Below this multiple of a state's largest coefficient the start's own no longer tells the ratio."""


class NoExactStart(ValueError):
    """A sampler whose formula cannot be told from its start."""


@dataclass(frozen=True)
class Local:
    """state = ratio * base + sum of coefficients * outputs + noise.

    state, base: numbers in `Steps.times`.  outputs, noise: (call, coefficient), (increment, coefficient).
    error: of a coefficient, as rounding of the run explains.
    """

    state: int
    base: int
    ratio: float
    outputs: tuple[tuple[int, float], ...]
    noise: tuple[tuple[int, float], ...]
    error: float

    @property
    def width(self) -> int:
        """How many outputs and increments it takes."""
        return len(self.outputs) + len(self.noise)


@dataclass(frozen=True, eq=False)
class Steps:
    """A trace as local rows.

    times: of the start, of every state evaluated elsewhere than there, and of the end.  evaluated: the state
    of each call.  locals: of every state but the start.
    """

    trace: Trace
    times: tuple[float, ...]
    evaluated: tuple[int, ...]
    locals: tuple[Local, ...]

    @cached_property
    def width(self) -> int:
        """Of all rows together: the smaller, the better the prediction suits the sampler."""
        return sum(local.width for local in self.locals)

    @cached_property
    def cuts(self) -> tuple[int, ...]:
        """States that every later one is made from: where steps begin and end."""
        lowest = len(self.times) - 1
        found = [lowest]
        for local in reversed(self.locals):
            if local.state <= lowest and local.state not in found:
                found.append(local.state)
            lowest = min(lowest, local.base)
        return tuple(sorted({0, *found}))

    @cached_property
    def ends(self) -> tuple[int, ...]:
        """Where steps begin and end, one state a time: of cuts at one time, as a predicted state and what a
        correction makes of it at the end of a run, the last.  Where every step reaches back over the one
        before, so that there are no cuts, the last state at each time of the grid.
        """
        cuts = self._last(self.cuts)
        if len(cuts) > 2 or not _monotone([self.times[c] for c in cuts]):
            return cuts
        marks = self._last(np.flatnonzero(on_grid(self.times, self.trace.grid)).tolist())
        return marks if _monotone([self.times[c] for c in marks]) else cuts

    def _last(self, states: Iterable[int]) -> tuple[int, ...]:
        """Of states at one time in succession the last."""
        times = itertools.groupby(states, key=lambda s: self.times[s])
        return tuple(list(group)[-1] for _, group in times)

    def plan(self, solver: str = "traced") -> Plan:
        """The plan that these rows are: a step from cut to cut, or one step where times go back between."""
        times = [self.times[c] for c in self.cuts]
        return self._plan(solver, self.cuts if _monotone(times) else (0, len(self.times) - 1), 0)

    @cached_property
    def start(self) -> int:
        """The first step that runs the formula that most steps run: how many the start takes."""
        kinds = [self._kind(a, b) for a, b in itertools.pairwise(self.ends)]
        usual = max(kinds, key=kinds.count)
        return kinds.index(usual)

    def formula(self, solver: str = "traced", until: float | None = None) -> Plan:
        """The same from exact values: the states before the first step of the usual formula are inputs.

        until: a time of a step at which to end, before steps that a release lowers.
        Raises NoExactStart (a ValueError) where steps are not separate, where none ends at that time, or
        where the formula uses states inside of the start's steps that are at no other time of the grid.
        """
        times = [self.times[c] for c in self.ends]
        if not _monotone(times):
            raise NoExactStart("no exact start: times go back between the steps")
        last = len(times) - 1 if until is None else _place(times, until)
        if last <= self.start:
            raise NoExactStart(f"no exact start: the start takes {self.start} steps of {last}")
        return self._from(self.start, solver, last)

    def after(self, count: int, solver: str = "traced") -> Plan:
        """The plan whose first `count` steps are made exactly: the states at their ends are inputs.

        Raises NoExactStart (a ValueError) where steps are not separate, or where a later one uses states
        inside of the first ones that are at no other time of the grid.
        """
        if not _monotone([self.times[c] for c in self.ends]):
            raise NoExactStart("no exact start: times go back between the steps")
        return self._from(count, solver, len(self.ends) - 1)

    def _from(self, given: int, solver: str, last: int) -> Plan:
        """The plan from exact states to the end of a step: those at the ends of the first steps, and at other
        times of the grid inside of them, where later steps use such.
        """
        first = self.ends[given]
        later = [local for local in self.locals if local.state > first]
        read = {self.evaluated[call] for local in later for call, _ in local.outputs} | {
            local.base for local in later
        }
        inner = {state for state in read - set(self.ends) if state < first}
        inputs = sorted({*self.ends[: given + 1], *inner})
        times = [self.times[state] for state in inputs]
        if not (_monotone(times) and on_grid([self.times[state] for state in inner], self.trace.grid).all()):
            places = ", ".join(f"{self.times[state]:.6g}" for state in sorted(inner))
            raise NoExactStart(
                f"no exact start: later steps use states at t = {places} that are made inside of the first "
                f"step{'s' if given > 1 else ''}, and no exact one stands for them"
            )
        return self._plan(solver, [*inputs, *self.ends[given + 1 : last + 1]], len(inputs) - 1)

    def tail(self, count: int = 4) -> tuple[object, ...]:
        """Which formulas the last steps run: the end of a run, whatever went before."""
        return tuple(self._kind(a, b) for a, b in itertools.pairwise(self.cuts[-1 - count :]))

    def _kind(self, a: int, b: int) -> tuple[object, ...]:
        """Which formula the step between two states runs."""
        rows = self.locals[a:b]
        place = {call: state - a for call, state in enumerate(self.evaluated)}
        return tuple(
            (local.base - a, tuple(place[call] for call, _ in local.outputs), len(local.noise))
            for local in rows
        )

    def _plan(self, solver: str, cuts: Sequence[int], given: int) -> Plan:
        """The plan whose first `given` steps are replaced by inputs."""
        first = {state: call for call, state in reversed(tuple(enumerate(self.evaluated)))}
        origin = cuts[given]
        number = {c: i for i, c in enumerate(cuts[: given + 1])}
        number |= {s: s - origin + given for s in range(origin, len(self.times))}
        read = {call for local in self.locals if local.state > origin for call, _ in local.outputs}
        before = [c for c in cuts[:given] if first.get(c) in read]
        steps = []
        for a, b in itertools.pairwise(cuts[given:]):
            operations: list[Evaluation | Row] = []
            for state in (*(before if a == origin else ()), *range(a, b)):
                if state in first:
                    operations.append(Evaluation(number[state], self.trace.times[first[state]]))
                if state >= a:
                    operations.append(self._row(self.locals[state], number))
            steps.append(PlanStep(self.times[a], self.times[b], tuple(operations), number[b]))
        schedule = self.trace.schedule
        return Plan(
            solver=solver,
            form="traced",
            schedule=(schedule.kind, schedule.parameters),
            prediction=self.trace.prediction,
            start="exact" if given else "own",
            final="full",
            digits=None,
            inputs=tuple(self.times[c] for c in cuts[: given + 1]),
            steps=tuple(steps),
            increments=self.trace.increments,
        )

    def _row(self, local: Local, number: Mapping[int, int]) -> Row:
        terms: list[tuple[Kind, int, Coefficient]] = []
        if local.ratio or not local.outputs:
            terms.append(("x", number[local.base], local.ratio))
        terms += [("m", number[self.evaluated[call]], c) for call, c in local.outputs]
        return Row(number[local.state], tuple(terms), local.noise)


def _place(times: Sequence[float], t: float) -> int:
    """Where a time stands among those of the steps."""
    for index, time in enumerate(times):
        if near(time, t):
            return index
    raise NoExactStart(f"no exact start: no step ends at t = {t:.6g}")


def _monotone(times: Sequence[float]) -> bool:
    pairs = list(itertools.pairwise(times))
    return all(b < a for a, b in pairs) or all(b > a for a, b in pairs)


def steps_of(trace: Trace) -> Steps:
    """The local rows of a trace: each from the base that leaves the fewest outputs.

    Of bases that leave as many, one at another time than the state's own, then at a time of the grid is
    taken.  What is then still open is a matter of view (two steps of two stages, or one of four): the latest
    base where other rows use outputs from before their base, as multistep methods do, else the earliest.
    """
    calls, rows = trace.nfe, trace.rows
    start = np.eye(1, rows.shape[1])[0]
    own = not np.allclose(rows[0], start, rtol=0, atol=SLACK * trace.unit)
    states = np.vstack([start, rows]) if own else rows
    evaluated = tuple(k + own for k in range(calls))
    times = (trace.grid[0], *trace.times) if own else trace.times
    grid = {t for t, on in zip(times, on_grid(times, trace.grid), strict=True) if on}
    found = [_views(trace, states, times, grid, evaluated, state) for state in range(1, len(states))]
    multistep = any(_looks_back(views[0], evaluated) for views in found if len(views) == 1)
    return Steps(trace, times, evaluated, tuple(views[-1 if multistep else 0] for views in found))


def _looks_back(local: Local, evaluated: Sequence[int]) -> bool:
    """Whether a row uses outputs from before its base."""
    return any(evaluated[call] < local.base for call, _ in local.outputs)


def _views(
    trace: Trace,
    states: np.ndarray,
    times: Sequence[float],
    grid: set[float],
    evaluated: Sequence[int],
    state: int,
) -> list[Local]:
    """A state written from each of the bases that suit it equally well, the earliest first."""
    bases = np.arange(max(state - REACH, 0), state)
    row, others = states[state], states[bases]
    largest = np.max(np.abs(others), axis=1)
    plain = np.abs(others[:, 0]) > FAINT * largest
    ratios = np.divide(row[0], others[:, 0], out=np.zeros(len(bases)), where=plain)
    for index in np.flatnonzero(~plain).tolist():
        shared = bisect.bisect_left(evaluated, int(bases[index]))
        ratios[index] = _ratio(row, others[index], shared)
    moved = ratios[:, None] * others
    rest = row - moved
    depth = SLACK * trace.unit * (1 + state) ** 0.5
    errors = depth * np.maximum(np.max(np.abs(row)), np.abs(ratios) * largest)
    kept = np.abs(rest) > depth * (np.abs(row) + np.abs(moved)) + 0.01 * errors[:, None]
    kept[:, 0] = False
    calls = trace.nfe
    counts = np.sum(kept[:, 1 : 1 + calls], axis=1)
    ranks = [
        (int(count), times[base] == times[state], times[base] not in grid)
        for count, base in zip(counts, bases.tolist(), strict=True)
    ]
    best = min(ranks)
    views = []
    for index, base in enumerate(range(max(state - REACH, 0), state)):
        if ranks[index] == best:
            used = np.flatnonzero(kept[index])
            outputs = tuple((int(j) - 1, float(rest[index, j])) for j in used if j <= calls)
            noise = tuple((int(j) - 1 - calls, float(rest[index, j])) for j in used if j > calls)
            local = Local(state, base, float(ratios[index]), outputs, noise, float(errors[index]))
            views.append(local)
    return views


def _ratio(row: np.ndarray, other: np.ndarray, shared: int) -> float:
    """The median over the columns that the base has, where the start's own has died away."""
    columns = np.flatnonzero(other[: 1 + shared])
    columns = columns[: max(len(columns) // 2, 1)]
    return float(np.median(row[columns] / other[columns])) if len(columns) else 0.0


def suited(trace: Trace, predictions: Sequence[str] = ("x0", "eps")) -> Steps:
    """The steps in the prediction that takes the fewest outputs, the trace's own where that is among them."""
    found: list[tuple[int, int, Steps]] = []
    for index, prediction in enumerate(dict.fromkeys([trace.prediction, *predictions])):
        try:
            steps = steps_of(trace.predicting(prediction))
        except ValueError:  # it does not determine the outputs at some time
            continue
        found.append((steps.width, index, steps))
    return min(found, key=lambda each: each[:2])[2]
