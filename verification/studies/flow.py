"""Order studies: one solver, or any sampler, on one experiment over a ladder of step counts.

`run` measures one of our solvers with its own start or with exact starting values: the order of the method as
released, and the order of its formula.  `measure` measures any function that samples.  Its rounding is
measured too, and it is never refuted by that: errors that stop falling are a floor, unless the runs
themselves converge to another limit, further from the solution than single precision explains.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from semilinear.analysis.convergence import (
    ENOUGH_FROM,
    FLOORS,
    GROWN,
    POINTS,
    OrderEstimate,
    Point,
    Richardson,
    Statistic,
    Verdict,
    estimate_order,
    richardson,
)
from semilinear.integrators.common import checks
from semilinear.integrators.common.files import json_number
from semilinear.integrators.common.messages import shown
from semilinear.integrators.numerics.arrays import rms
from semilinear.integrators.plans.program import Start
from semilinear.integrators.run.sampler import NonFiniteError, sample
from semilinear.integrators.solver import FinalChoice, Solver

from .experiment import Experiment, Run, Sampler
from .findings import FAR, Finding, Outcome, of_runs, repeated, rounding, run_once
from .judged import Judged
from .ladders import FLOW, checked, restricted, settled, shortest
from .neighbours import Beside, beside, lowest
from .progress import Progress, counted
from .records import estimate_json, points_json
from .setup import Dtype

__all__ = ["Experiment", "Finding", "Run", "Study", "measure", "run"]

DENSE = 8
"""Usable points below which a ladder that met its floor gets the step counts between its own."""
ROUNDS = 2
"""How often the counts between are added to a ladder of another's sampler."""
SPARSE = 8
"""Rounding is measured again after this many times more steps."""
RANKED: tuple[Verdict, ...] = ("lower", "inconclusive", "consistent", "higher")
"""Of orders that depend on the number of steps the lowest is the sampler's."""
STEEP = 3.0
"""The slope of runs by which their limit is told, at most: a steeper one may not have settled."""


Enough = Callable[["Study"], bool]
"""Whether a study needs no longer runs."""


@dataclass(frozen=True)
class Study(Judged):
    """One solver measured: the estimate, the verdict on the claim, and the cross-check without a reference.

    nfe: evaluations of each run.  exact: the reference is an exact flow.  When the cross-check disagrees,
    `verdict` is "inconclusive" whatever the fit says; only against an exact flow does a "lower" stand: the
    runs converge, elsewhere.  dtype: the coarsest that holds the final states.  rounding: what it leaves in
    them, RMS, where that was measured.  findings: what was seen besides an order.  final: how runs end.
    """

    solver: str
    claimed: float
    start: Start
    estimate: OrderEstimate
    check: Richardson | None
    nfe: tuple[int, ...]
    exact: bool
    statistics: Mapping[Statistic, OrderEstimate]
    dtype: Dtype = "float64"
    rounding: float | None = None
    findings: tuple[Finding, ...] = ()
    final: FinalChoice = "full"

    @property
    def told(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """How it was run; what was found."""
        e = self.estimate
        before = {
            "claimed": self.claimed,
            "start": self.start,
            "final": self.final,
            "dtype": self.dtype,
            "rounding": self.rounding,
        }
        return before, {
            **self.judgement,
            "reach": None if e.reach is None else [json_number(e.reach.low), json_number(e.reach.high)],
            "steps_needed": (
                e.steps_needed(self.claimed)
                if self.claimed is not None and self.verdict == "inconclusive"
                else None
            ),
            "findings": [{"kind": f.kind, "n": list(f.n), "text": f.text} for f in self.findings],
            "window": list(e.window),
            "richardson": None if self.check is None else self.check.reference_free,
            "points": points_json(e, self.nfe),
            "statistics": {
                name: estimate_json(s) | {"finest_error": json_number(s.points[-1].error)}
                for name, s in self.statistics.items()
            },
        }

    @property
    def headline(self) -> OrderEstimate:
        """The estimate."""
        return self.estimate

    def against(self, order: float) -> Verdict:
        """The verdict on any order."""
        verdict = self.estimate.verdict(order)
        if self._noise or (verdict != "lower" and self._failures):
            return "inconclusive"
        if self.check is None or self.check.supports(verdict, order) or (verdict == "lower" and self.exact):
            return verdict
        return "inconclusive"

    def shows(self, order: float) -> bool:
        """Whether the runs show an order so well that longer ones are not needed where it is proved."""
        return self.estimate.shows(order) and self.against(order) == "consistent"

    def agrees(self, proved: int, *, falls: bool = False) -> bool:
        """Whether the runs decide on the claim, and show what is proved: this order, or where orders fall on
        the way there, that the claim is too high.
        """
        if falls:
            return proved < self.claimed and self.verdict == "lower"
        return self.shows(proved) and self.verdict != "inconclusive"

    @property
    def besides(self) -> str:
        """Which counts the order is told of, where it depends on them."""
        return "".join(f"; {f}" for f in self.findings if f.kind == "residue")

    @property
    def _noise(self) -> str:
        return next((str(f) for f in self.findings if f.kind == "noise"), "")

    @property
    def _failures(self) -> str:
        """Runs that failed although a coarser one did not."""
        finite = [p.n for p in self.estimate.points if math.isfinite(p.error)]
        failed = (f for f in self.findings if f.kind in ("raised", "not finite"))
        return "; ".join(str(f) for f in failed if finite and max(f.n) > min(finite))

    def reason(self, order: float) -> str:
        """Why the verdict on an order is inconclusive, or that the runs converge elsewhere; else empty."""
        verdict = self.against(order)
        if verdict == "lower" and self.check is not None and not self.check.supports(verdict, order):
            return f"the runs converge with slope {self.check.reference_free:.2f}, but not to the solution"
        if verdict != "inconclusive":
            return ""
        if doubt := self._noise or self.estimate.doubt(order) or self._failures:
            return doubt
        assert self.check is not None
        return (
            f"runs with {self.check.n}, {2 * self.check.n}, {4 * self.check.n} steps converge with slope "
            f"{self.check.reference_free:.2f}, their errors fall with {self.check.measured:.2f}"
        )


def run(
    solver: Solver,
    experiment: Experiment,
    *,
    start: Start = "own",
    final: FinalChoice | None = None,
    residue: tuple[int, int] | None = None,
    statistics: tuple[Statistic, ...] = ("rms",),
    enough: Enough | None = None,
    progress: Progress | None = None,
) -> Study:
    """Measure the order of a solver.

    start: "own", "exact" or "high-order" as in `compile_plan`.  final: how runs end, as there; absent, as
    released where the start is the solver's own, at full order where the formula is measured.  Step counts
    below which the release ends at lower order are left out.  residue: (m, r) restricts the ladder to
    n = r mod m; absent, solvers whose last steps depend on the budget run at multiples of their period.
    statistics: ways to sum up the batch; the first is reported.  enough: asked of the study so far after each
    run of `ENOUGH_FROM` steps or more; the ladder ends where it says so.  progress: called with (runs done,
    runs at most) on the way.
    Raises ValueError for a stochastic solver, or a ladder that leaves too few runs.
    """
    if solver.stochastic:
        raise ValueError(
            f"solver {solver.name!r} is stochastic: its order is not that of a path of the probability flow"
        )
    if final is None:
        final = "released" if start == "own" else "full"
    if residue is None:
        residue = solver.sequence.period, 0
    least = max(shortest(solver, final), 1 + (solver.history if start == "exact" else 0))
    ladder = restricted(settled(experiment.ladder, solver, final), residue, least)
    runs = _Runs(
        lambda run: _final_state(solver, experiment, int(run), start, final), experiment, solver.rounding
    )

    def found() -> Study:
        study = runs.study(solver.name, solver.claimed, statistics, known_floors=True)
        return replace(study, start=start, final=final)

    runs.climb(ladder, progress, None if enough is None else lambda: enough(found()))
    runs.fill(residue, least)
    return found()


def measure(
    name: str,
    claimed: float,
    sampler: Sampler,
    experiment: Experiment,
    *,
    ladder: Sequence[int] | None = None,
    residue: tuple[int, int] | None = None,
    statistics: tuple[Statistic, ...] = ("rms",),
    rounding: float = 0.0,
    enough: Enough | None = None,
    progress: Progress | None = None,
) -> Study:
    """Measure the order of any sampler, yours or a library's, on an experiment.

    sampler: run -> final states at the end, (batch, *shape), or (final states, evaluations made).  `run` is
    the number of steps, an int; it holds the initial states `run.x`, the times of the experiment's grid
    `run.times`, the exact noise prediction `run.model(x, t)`, which counts its calls, and the reference
    states `run.exact(t)` for a start from exact values (`Run`).
    ladder: step counts, the experiment's when absent, restricted by residue = (m, r) to n = r mod m.  Without
    a residue runs with one, two and three steps more are looked at beside one of the ladder; where they are
    not on its line, the order is the lowest of these counts' own.
    rounding: within how much the sampler's coefficients are known, as those of a table printed in decimals:
    errors below 30 times that decide nothing.
    The ladder stops at the first run below the floor: rounding in the dtype of the states or as measured, or
    the reference's error; where that leaves few points, the counts between are run too.  A run that raises,
    or is not finite, is a finding of the study, and so is a second call that differs from the first.
    enough: as in `run`; without a residue not asked, as counts beside the ladder's are looked at then.
    progress: called with (runs done, runs at most) on the way.
    Raises ValueError for a ladder of too few runs and a rounding that is negative or not finite, before any
    of them, and for states of another size.
    """
    if not callable(sampler):
        raise TypeError(f"sampler must be a function of a run, got {shown(sampler)}")
    checks.number("rounding", rounding, least=0)
    steps = experiment.ladder if ladder is None else checked(ladder)
    chosen = (1, 0) if residue is None else residue
    planned = restricted(steps, chosen, 1)

    def climbed(counts: Sequence[int], on: tuple[int, int], shown: Progress | None) -> tuple[_Runs, Study]:
        runs = _Runs(sampler, experiment, rounding, foreign=True)

        def found() -> Study:
            return runs.study(name, claimed, statistics, known_floors=False)

        asked = None if enough is None or residue is None else lambda: enough(found())
        runs.climb(counts, shown, asked)
        runs.fill(on, 1)
        return runs, found()

    runs, study = climbed(planned, chosen, progress)
    if residue is not None or not (factors := runs.off_the_line()):
        return study
    place = runs.beside
    assert place is not None
    return lowest(
        study,
        place,
        factors,
        (FLOW[0], planned[-1]),
        lambda counts, of: climbed(counts, of, None)[1],
        lambda s: RANKED.index(s.verdict),
    )


class _Runs:
    """The runs of one sampler, and what they are worth."""

    def __init__(
        self, sampler: Sampler, experiment: Experiment, coefficients: float, foreign: bool = False
    ) -> None:
        self.sampler, self.experiment, self.foreign = sampler, experiment, foreign
        self.coefficients = coefficients
        (self.final,) = experiment.states([experiment.times[1]])
        self.outcomes: list[Outcome] = []
        self.rounding: dict[int, float] = {}
        self.findings: list[Finding] = []
        self.inspected = self.stopped = False

    def climb(
        self, ladder: Sequence[int], progress: Progress | None, enough: Callable[[], bool] | None = None
    ) -> None:
        """Runs up the ladder, to the first that is below its floor, or after which they are enough."""
        for n in counted(ladder, progress):
            outcome = self._run(n)
            if outcome.states is None or not np.isfinite(self._errors(outcome)).any():
                continue
            if self.foreign:
                self._inspect(outcome)
            if self._below(outcome):
                self.stopped = True
                break
            if enough is not None and ENOUGH_FROM <= n < ladder[-1] and enough():
                break

    def fill(self, residue: tuple[int, int], least: int) -> None:
        """The counts between those above the floor, and a few below, where these are few."""
        m, r = residue
        for _ in range(ROUNDS if self.foreign else 1):
            counts = [o.n for o in self.outcomes]
            usable = [o.n for o in self.outcomes if o.states is not None and not self._below(o)]
            if not self.stopped or not POINTS // 2 <= len(usable) < DENSE:
                return
            between = {round(math.sqrt(a * b)) for a, b in itertools.pairwise(counts[: len(usable) + 1])}
            coarser = range(max(1, counts[0] // 2), counts[0]) if counts[0] > 2 else ()
            for n in sorted({n - (n - r) % m for n in between.union(coarser)}):
                if n >= least and n not in counts:
                    self._run(n)
            self.outcomes.sort(key=lambda o: o.n)

    @property
    def beside(self) -> Beside | None:
        """The count whose neighbours are looked at."""
        told = [o for o in self.outcomes if o.states is not None and not self._below(o)]
        return beside([o.n for o in told], [_rms_of_finite(self._errors(o)) for o in told])

    def off_the_line(self) -> dict[int, float]:
        """Counts beside one of the ladder whose errors are not on its line, by how many times."""
        place = self.beside
        if place is None or any(f.kind == "noise" for f in self.findings):
            return {}
        shape = self.final.shape
        made = [run_once(self.sampler, self.experiment.run(n), shape) for n in place.counts]
        return place.factors({o.n: _rms_of_finite(self._errors(o)) for o in made})

    def _run(self, n: int) -> Outcome:
        outcome = run_once(self.sampler, self.experiment.run(n), self.final.shape, keep=self.foreign)
        self.outcomes.append(outcome)
        return outcome

    def _inspect(self, outcome: Outcome) -> None:
        """Whether the first run can be repeated, and what rounding leaves in it and in later ones."""
        if not self.inspected:
            noise = repeated(self.sampler, self.experiment, outcome)
            self.findings += [] if noise is None else [noise]
        self.inspected = True
        if any(f.kind == "noise" for f in self.findings) or self.experiment.digits is not None:
            return
        if not self.rounding or outcome.n >= SPARSE * max(self.rounding):
            left = rounding(self.sampler, self.experiment, outcome)
            self.rounding[outcome.n] = math.nan if left is None else left

    def _errors(self, outcome: Outcome) -> np.ndarray:
        return (
            np.full(len(self.final), np.inf) if outcome.states is None else norms(outcome.states, self.final)
        )

    def _below(self, outcome: Outcome) -> bool:
        return _rms_of_finite(self._errors(outcome)) <= self._floor(outcome)

    def _floor(self, outcome: Outcome) -> float:
        measured = (  # an unstable run's rounding says nothing of shorter ones
            FLOORS * r * math.sqrt(outcome.n / n)
            for n, r in self.rounding.items()
            if n <= outcome.n and math.isfinite(r)
        )
        return max(self.experiment.floor(outcome.n, self.dtype), *measured, self._table)

    @property
    def _table(self) -> float:
        """The floor that rounded coefficients leave, the same whatever the step is."""
        return FLOORS * self.coefficients * self.experiment.solution.size

    @property
    def dtype(self) -> Dtype:
        """The coarsest that holds all final states."""
        if not self.foreign:
            return self.experiment.dtype
        seen = [o.dtype for o in self.outcomes if o.states is not None]
        return max(set(seen), key=seen.count) if seen else "float64"

    def study(self, name: str, claimed: float, statistics: Sequence[Statistic], known_floors: bool) -> Study:
        """The study of all runs so far."""
        errors = np.array([self._errors(o) for o in self.outcomes])
        good = np.isfinite(errors)
        whole = good.mean(axis=1) > 0.5
        kept = good[whole].all(axis=0) if whole.any() else good.any(axis=0)
        whole &= good[:, kept].all(axis=1) if kept.any() else False
        used = [o for o, ok in zip(self.outcomes, whole, strict=True) if ok]
        floors = [self._floor(o) for o in used]
        values = errors[whole][:, kept] if used else np.zeros((0, 1))
        states = {o.n: o.states[kept] for o in used if o.states is not None}
        counts = [o.n for o in used]
        findings = [*self.findings, *of_runs(self.outcomes, good)]
        known = known_floors or self._elsewhere(counts, values, states, floors, findings)

        def estimated(statistic: Statistic) -> OrderEstimate:
            found = estimate_order(counts, values, floors, statistic=statistic, known_floors=known)
            return replace(found, points=_with_failures(found.points, self.outcomes))

        estimates = {s: estimated(s) for s in statistics}
        main = estimates[statistics[0]]
        if main.note:
            findings.append(Finding("floor", (), main.note))
        measured = [r for r in self.rounding.values() if math.isfinite(r)]
        return Study(
            name,
            claimed,
            next((o.start for o in self.outcomes if o.start == "exact"), "own"),
            main,
            richardson(main, states),
            tuple(o.nfe for o in self.outcomes),
            self.experiment.problem.exact_flow,
            estimates,
            self.dtype,
            max(measured, default=None),
            tuple(findings),
        )

    def _elsewhere(
        self,
        counts: Sequence[int],
        errors: np.ndarray,
        states: Mapping[int, np.ndarray],
        floors: Sequence[float],
        findings: list[Finding],
    ) -> bool:
        """Whether the runs converge by themselves, or stay where they are, at a distance from the solution
        that rounding does not explain.
        """
        if not counts:
            return False
        near = max(FAR * self.experiment.solution.size, self._table)
        points = tuple(
            Point(n, _rms_of_finite(e), floor, True)
            for n, e, floor in zip(counts, errors, floors, strict=True)
        )
        check = richardson(OrderEstimate(math.nan, math.nan, math.nan, (), points), states)
        left = points[-1].error
        if check is not None and check.reference_free >= 0.5:
            last = float(np.linalg.norm(states[4 * check.n] - states[2 * check.n]))
            last /= math.sqrt(len(states[check.n])) * (2 ** min(check.reference_free, STEEP) - 1)
            if left > max(near, 10 * last):
                slope = f"the runs converge with slope {check.reference_free:.2f}"
                text = f"{slope} to a limit that is {left:.1e} from the solution"
                findings.append(Finding("limit", (), text))
                return True
        if left > max(near, GROWN * points[0].error):
            text = f"errors grow with the number of steps, from {points[0].error:.1e} to {left:.1e}"
            findings.append(Finding("limit", (), text))
            return True
        if left > near and _stays(counts, left, states):
            findings.append(Finding("limit", (), f"the runs stay {left:.1e} from the solution"))
            return True
        return False


def _stays(counts: Sequence[int], left: float, states: Mapping[int, np.ndarray]) -> bool:
    """Whether runs, from the first to the last, are within a tenth of a distance of one state, whatever their
    number of steps.
    """
    if len(counts) < POINTS or counts[-1] < 4 * counts[0]:
        return False
    last = states[counts[-1]]
    return max(rms(norms(states[n], last)) for n in counts) <= left / 10


def _rms_of_finite(errors: np.ndarray) -> float:
    """Of the finite errors of a batch; infinite where none is."""
    finite = errors[np.isfinite(errors)]
    return rms(finite) if len(finite) else math.inf


def _with_failures(points: tuple[Point, ...], outcomes: Iterable[Outcome]) -> tuple[Point, ...]:
    """The points, and one of infinite error for each run that failed."""
    known = {p.n: p for p in points}
    return tuple(known.get(o.n, Point(o.n, math.inf, 0.0, False)) for o in outcomes)


def _final_state(
    solver: Solver, experiment: Experiment, n: int, start: Start, final: FinalChoice
) -> tuple[Any, int]:
    e = experiment
    plan = e.plan(solver, n, final, start)
    exact = e.states(list(plan.inputs[1:])) if len(plan.inputs) > 1 else []
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # a run that diverges is told as such
            result = sample(plan, e.model, [e.inputs(states) for states in (e.x, *exact)])
    except NonFiniteError:
        return np.full(e.x.shape, np.inf), plan.nfe
    return result.x, result.nfe


def norms(x: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """Euclidean error of every sample, as floats (mpmath differences are taken before rounding)."""
    with np.errstate(invalid="ignore", over="ignore"):
        difference = (x - exact).astype(np.float64)
        found: np.ndarray = np.sqrt(np.sum(difference**2, axis=1))
    return np.where(np.isnan(found), np.inf, found)
