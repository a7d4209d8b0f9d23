"""Which listed solver a sampler is: the same coefficients, in runs of several numbers of steps.

Listed solvers are compared in the frame of a subject, t = sigma, and where none is the same, on the schedule
of flow matching, where methods in t are other ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from semilinear.analysis.orders.solver_proof import SolverProof, prove_solver
from semilinear.integrators.diffusion.schedule import rectified_flow
from semilinear.integrators.forms.form import (
    data_in_inverse_rho,
    data_in_lambda,
    noise_in_lambda,
    noise_in_rho,
)
from semilinear.integrators.solver import Final, FinalPolicy
from semilinear.integrators.solvers import SOLVERS, make

from ..tracing.compare import Candidate, Difference, candidates, compare, identify, of_one_sign
from ..tracing.local import suited
from ..tracing.trace import Trace, on_grid
from .subject import WARPED, WHOLE, WHOLE_END, WHOLE_START, Subject

IDENTIFIED, CONFIRMED = 14, 20
"""Steps of the run by which a sampler is identified, short enough for every policy at the end to show, and of
another that must agree.
"""
BESIDE = (13, 15)
"""Of more that must, where both have them: odd ones, and every remainder mod 3 and 4 is among all."""
RUNS = ((CONFIRMED, WARPED), *((n, WARPED) for n in BESIDE), (CONFIRMED, WHOLE))
"""Steps and grids of the runs that must agree; the last goes over all noise levels, where the sampler can."""
SINGLE = 1e-6
"""Coefficients that differ by more are not rounded to float32 alone, relative."""
Rounded = Literal["", "float32", "noise levels in float32"]


@dataclass(frozen=True)
class Identity:
    """Which listed solver a sampler is, or is nearest to.

    solver, final: the listed name, and how its run with `IDENTIFIED` steps ends.  longer: how that with
    `CONFIRMED` ends, which a release may not lower, "" where it is not one of the name.  same: whether no
    coefficient differs.  others: other names of the same run.  difference: the largest of a coefficient,
    relative.  first_row: the first evaluation that differs, None where none does.  what: differs there.
    schedule: the kind of that on which the solver is it.  rounded: what the sampler computes in single
    precision, where it is the solver but for that.
    """

    solver: str
    final: str
    longer: str
    same: bool
    others: tuple[str, ...]
    difference: float
    first_row: int | None
    what: str
    schedule: str = "edm"
    rounded: Rounded = ""


def identity(subject: Subject) -> Identity | None:
    """The listed solver that a sampler is, or the nearest; None where none makes its evaluations.

    Raises NotLinearError where it cannot be read off, and what the sampler raises.
    """
    found = _among(subject)
    if found is None or found.same or subject.schedule.kind == rectified_flow().kind:
        return found
    try:
        names = [name for name in SOLVERS if make(name).form not in FRAMELESS]
        flow = _among(subject.on(rectified_flow()), names)
    except Exception:  # one that is bound to its own frame is none of that schedule
        return found
    return flow if flow is not None and flow.same else found


LOWERED = FinalPolicy(math.inf, source="as the sampler that it is")
ENDS = {"full": FinalPolicy(), "lower": LOWERED, "last": LOWERED}
"""Of a listed solver, in place of its release's, by how the runs of a sampler end that is it: a first-order
last step decides, whatever is before it.
"""


def proof_of(found: Identity, residue: tuple[int, int]) -> SolverProof | None:
    """The proof of the listed solver that a sampler is, in runs with n = r mod m steps that end as its do;
    None where it is none in the frame of runs, or has no such proof.
    """
    solver = make(found.solver)
    if not found.same or found.schedule == rectified_flow().kind or found.longer not in ENDS:
        return None
    try:
        return prove_solver(replace(solver, final=ENDS[found.longer]), residue=residue)
    except ValueError:  # it is stochastic, or has no formula
        return None


def is_also(subject: Subject, found: Identity, n: int) -> bool:
    """Whether a run with n steps, too, has the coefficients of the solver that a sampler is."""
    try:
        trace = suited(subject.read(n)).trace
    except Exception:  # other runs find what it raises
        return False
    return any(c.difference.same for c in identify(trace, [found.solver]))


FRAMELESS = (data_in_lambda, data_in_inverse_rho, noise_in_lambda, noise_in_rho)
"""Forms whose solvers are the same on every schedule, at the same levels."""


def _among(subject: Subject, names: Sequence[str] | None = None) -> Identity | None:
    """Among some of the listed solvers, all of them when absent."""
    trace = subject.steps(IDENTIFIED).trace
    told = subject.grid("karras", IDENTIFIED)
    rounded: Rounded = "" if trace.grid == told else "noise levels in float32"
    found = identify(trace, names)
    same = [c for c in found if c.difference.same]
    if not same and (same := [c for c in found if c.difference.value <= SINGLE and _single(trace, c)]):
        rounded = "float32"
    if not same:
        return _identity(found, subject) if found else None
    kept, finals = {c.solver for c in same}, dict[str, Final]()
    for n, grid in RUNS:
        again = _again(subject, n, sorted(kept), rounded, grid)
        if again is None:
            continue
        agreeing = {c.solver: c.final for c in again if c.difference.same}
        if (n, grid) == RUNS[0]:
            finals = agreeing
        kept = {name for name in kept if name in agreeing or (n in BESIDE and not has_run(name, n))}
        if not kept:
            return _refuted(same, again, n, subject, grid)
    same = [c for c in same if c.solver in kept]
    return _identity(same, subject, finals[same[0].solver], rounded)


def _refuted(
    same: Sequence[Candidate], again: Sequence[Candidate], n: int, subject: Subject, grid: str
) -> Identity:
    """A run with n steps is not the solver's that one with `IDENTIFIED` steps is."""
    where = f"{n} steps{levels(grid)}"
    if not again:
        what = f"the run with {IDENTIFIED} steps is one of it, that with {where} makes other evaluations"
        return replace(_identity(same, subject), same=False, others=(), first_row=0, what=what)
    difference = replace(again[0].difference, what=f"in {where}, {again[0].difference.what}")
    return _identity([replace(again[0], difference=difference)], subject)


def levels(grid: str) -> str:
    """Of a whole run, between which noise levels it goes; with a space before."""
    return f" from sigma = {WHOLE_START:g} to {WHOLE_END:g}" if grid == WHOLE else ""


def _again(
    subject: Subject, n: int, names: Sequence[str], rounded: Rounded, grid: str
) -> list[Candidate] | None:
    """The listed solvers beside another run; None where it is none of theirs, or the sampler has none: all
    but the first of `RUNS` are asked only of runs that there are.
    """
    if n in BESIDE and not any(has_run(name, n) for name in names):
        return None
    try:
        trace = subject.steps(n, grid).trace
    except Exception:
        if (n, grid) != RUNS[0]:  # it refuses the number, or `finite` finds what it raises
            return None
        raise
    found = identify(trace, names)
    if grid == WHOLE:
        found = [replace(c, difference=passed(c.difference)) for c in found]
    if rounded == "float32":
        return [replace(c, difference=_none(c.difference)) if _single(trace, c) else c for c in found]
    return found


def has_run(name: str, n: int) -> bool:
    """Whether a budget of n is a run of a listed solver over n intervals of the grid."""
    return make(name).sequence.intervals(n) == n


def passed(difference: Difference) -> Difference:
    """What a whole run may differ by: between noise levels that far apart digits cancel, formulas do not."""
    return _none(difference) if difference.value <= SINGLE else difference


def _none(difference: Difference) -> Difference:
    return Difference(difference.value, difference.bound)


def _single(trace: Trace, candidate: Candidate) -> bool:
    """Whether a trace is a listed solver's but for what float32 rounds off."""
    if candidate.difference.same:
        return True
    if candidate.difference.value > SINGLE:
        return False
    return any(
        compare(trace, other).same or not of_one_sign(trace, other)
        for _, _, other in candidates(trace, [candidate.solver], [candidate.final])
    )


def _identity(
    found: Sequence[Candidate], subject: Subject, longer: str = "", rounded: Rounded = ""
) -> Identity:
    best = found[0]  # the others are farther
    d = best.difference
    same = d.same or bool(rounded)
    alike = [c.solver for c in found if rounded or c.difference.same] if same else []
    others = tuple(name for name in dict.fromkeys(alike) if name != best.solver)
    first, what = (None, "") if same else (d.first, d.what)
    schedule = subject.schedule.kind
    return Identity(best.solver, best.final, longer, same, others, d.value, first, what, schedule, rounded)


def strides(subject: Subject) -> bool:
    """Whether steps go over several intervals of the grid, whose inner points are their stages: a listed
    solver puts its own stages between two points.
    """
    steps = subject.steps(CONFIRMED)
    own = bool(on_grid(steps.trace.times, steps.trace.grid).all())
    return own and 2 < len(steps.ends) <= 2 * len(steps.trace.grid) / 3


def on_equal_steps(subject: Subject) -> tuple[str, ...]:
    """Names of the listed solver that a sampler with such steps is on a grid that is uniform in lambda, where
    inner points are at the abscissae of listed stages, half-way or at the thirds; of the nearest none.
    """
    steps = subject.steps(EQUAL, "lambda")
    found = identify(replace(steps.trace, grid=tuple(steps.times[end] for end in steps.ends)))
    return tuple(c.solver for c in found if c.difference.same)


EQUAL = 18
"""Intervals of that grid, in twos and threes."""
