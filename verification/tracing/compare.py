"""Whether two traces are one method, and which listed solver a trace is.

Runs are compared as what they compute: the same evaluations at the same times, from the same coefficients of
start and outputs, and noise of the same covariance between all states (how a run splits its noise into draws
is its own affair).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from semilinear.integrators.diffusion.schedule import Schedule
from semilinear.integrators.plans.compile import compile_plan
from semilinear.integrators.solver import FINALS, Final, Solver
from semilinear.integrators.solvers import SOLVERS, make
from semilinear.integrators.tableaux.tableau import Tableau

from .local import steps_of, suited
from .trace import Trace, near, of_plan

SAME = 1e-9
"""Largest relative difference of two methods that are one, in float64."""
ROUNDED = 1e-4
"""The same where one of them computes in float32."""


@dataclass(frozen=True)
class Difference:
    """How far apart two traces are.

    value: the largest difference of a coefficient, relative to the largest of its row; infinite where they
    make other evaluations.  first: the first evaluation (or the end, numbered as one more) above `bound`,
    None where there is none.  what: differs there, in words.
    """

    value: float
    bound: float
    first: int | None = None
    what: str = ""

    @property
    def same(self) -> bool:
        """Whether no row differs."""
        return self.first is None


def compare(a: Trace, b: Trace, bound: float | None = None) -> Difference:
    """Compare two traces on one grid.

    bound: what counts as no difference; 1e-9 for float64 traces, 1e-4 where one is in float32.
    Raises ValueError for traces in frames of other schedules or on other grids, and where the outputs of one
    do not give the prediction of the other.
    """
    if a.schedule != b.schedule or len(a.grid) != len(b.grid) or not all(map(near, a.grid, b.grid)):
        raise ValueError("traces must be of one schedule and grid to be compared")
    bound = bound or (SAME if max(a.unit, b.unit) < 1e-10 else ROUNDED)
    if a.nfe != b.nfe:
        pairs = enumerate(zip(a.times[:-1], b.times[:-1], strict=False))
        where = next((k for k, (s, t) in pairs if _apart(s, t) > bound), min(a.nfe, b.nfe))
        return Difference(float("inf"), bound, where, f"{a.nfe} evaluations against {b.nfe}")
    for k, (s, t) in enumerate(zip(a.times, b.times, strict=True)):
        if _apart(s, t) > bound:
            return Difference(float("inf"), bound, k, f"evaluation {k} at t = {s:.9g} against {t:.9g}")
    b = b.predicting(a.prediction)
    calls, worst, what = a.nfe, 0.0, ""
    first: int | None = None
    for k in range(calls + 1):
        own, other = a.rows[k, : 1 + calls], b.rows[k, : 1 + calls]
        size = max(float(np.max(np.abs(own))), float(np.max(np.abs(other))))
        column = int(np.argmax(np.abs(own - other)))
        value = float(np.abs(own - other)[column]) / size
        noise = _covariance(a, k), _covariance(b, k)
        spread = float(np.max(np.abs(noise[0] - noise[1]))) / max(float(np.max(np.abs(noise[0]))), size**2)
        if first is None and max(value, spread) > bound:
            first = k
            name = "the start" if column == 0 else f"output {column - 1}"
            what = f"{name}: {own[column]:.9g} against {other[column]:.9g}"
            if not value > bound:
                beside = int(np.argmax(np.abs(noise[0] - noise[1])))
                of = (
                    "variance of the noise"
                    if beside == k
                    else f"covariance of the noise with that of evaluation {beside}"
                )
                what = f"{of}: {noise[0][beside]:.9g} against {noise[1][beside]:.9g}"
        worst = max(worst, value, spread, _apart(a.times[k], b.times[k]))
    return Difference(worst, bound, first, what)


def of_one_sign(a: Trace, b: Trace) -> bool:
    """Whether the coefficients of two traces' steps differ by more than float32 rounds, or by amounts that
    have a sign in common, as those of another formula; also where there are too few to tell.
    """
    own = suited(a)
    other = steps_of(b.predicting(own.trace.prediction))
    rows: dict[tuple[int, ...], list[list[float]]] = {}
    for p, q in zip(own.locals, other.locals, strict=True):
        calls = [call for call, _ in p.outputs]
        if (p.base, calls) != (q.base, [call for call, _ in q.outputs]) or len(p.noise) != len(q.noise):
            return True
        numbers = [[local.ratio, *(w for _, w in (*local.outputs, *local.noise))] for local in (p, q)]
        size = max(map(abs, numbers[0]))
        kind = (p.state - p.base, *(calls[-1] - call for call in calls))
        rows.setdefault(kind, []).append([(x - y) / size for x, y in zip(*numbers, strict=True)])
    usual = np.array(max(rows.values(), key=len))
    largest = np.max(np.abs(usual), axis=0)
    if len(usual) < SIGNS or any(np.max(np.abs(row)) > SINGLE for found in rows.values() for row in found):
        return True
    told = largest > SAME
    return bool(np.any(np.abs(np.mean(usual, axis=0))[told] > largest[told] / 2))


SIGNS = 8
"""Steps by which rounding is told from another formula: means of as many random signs are rarely above half
of the largest.
"""
SINGLE = 4 * 2.0**-24
"""How far a factor of a step may be, of its largest coefficient, where it is computed in float32."""


def _apart(s: float, t: float) -> float:
    return abs(s - t) / max(abs(s), abs(t)) if s != t else 0.0


def _covariance(trace: Trace, k: int) -> np.ndarray:
    """Of the noise in state k with that in the states before it and its own."""
    noise = trace.rows[: k + 1, 1 + trace.nfe :]
    found: np.ndarray = noise @ noise[-1]
    return found


@dataclass(frozen=True)
class Candidate:
    """A listed solver on the same grid.  final: how its run ends; its start is its own."""

    solver: str
    final: Final
    difference: Difference


def candidates(
    trace: Trace, names: Sequence[str] | None = None, finals: Sequence[Final] = FINALS
) -> Iterator[tuple[str, Final, Trace]]:
    """Traces of listed solvers that make as many evaluations on the same grid, and draw noise if it does.

    finals: how runs may end; of several that are one, the first.
    """
    for name in names or SOLVERS:
        if make(name).stochastic != trace.noisy:
            continue
        seen: list[tuple[Tableau, ...]] = []
        for final in finals:
            budget = _budget(make(name), trace, final)
            if budget is None or (run := make(name).sequence.at(budget, final)) in seen:
                continue
            seen.append(run)
            found = _listed(name, final, trace.schedule, trace.grid, budget)
            if found is not None:
                yield name, final, found


@lru_cache(maxsize=4096)
def _listed(
    name: str, final: Final, schedule: Schedule, grid: tuple[float, ...], budget: int
) -> Trace | None:
    """A listed solver's trace; None where it does not run on the schedule or grid, or ends otherwise at
    sigma = 0.
    """
    try:
        plan = compile_plan(make(name), schedule, times=grid, steps=budget, final=final)
        return replace(of_plan(plan, schedule), grid=grid)  # of which its steps may span several intervals
    except ValueError:
        return None


def _budget(solver: Solver, trace: Trace, final: Final) -> int | None:
    """Steps (or evaluations) for which the run has the grid's intervals and the trace's evaluations."""
    for budget in dict.fromkeys((len(trace.grid) - 1, trace.nfe or 1)):
        if solver.sequence.intervals(budget) != len(trace.grid) - 1:
            continue
        made = sum(tableau.evaluations for tableau in solver.sequence.at(budget, final))
        if made <= trace.nfe <= made + 1:  # an evaluation that is carried over was made once before
            return budget
    return None


def identify(
    trace: Trace, names: Sequence[str] | None = None, finals: Sequence[Final] = FINALS
) -> list[Candidate]:
    """Listed solvers: those that are the same as they are listed, then the others, the nearest first: by the
    first row that differs, then by how much.

    names: among which; all of them when absent.  finals: as of `candidates`.  A start of lower order, a last
    step that is lowered and a correction are told apart by the rows alone.
    """
    found = [
        Candidate(name, final, compare(trace, other))
        for name, final, other in candidates(trace, names, finals)
    ]
    same = [c for c in found if c.difference.same]
    others = [c for c in found if not c.difference.same]
    return [*same, *sorted(others, key=_distance)]


def _distance(candidate: Candidate) -> tuple[bool, int, float]:
    """Farthest are those of other evaluations, then by the first row that differs, then by how much."""
    d = candidate.difference
    return math.isinf(d.value), -(d.first or 0), d.value
