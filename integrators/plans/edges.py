"""Steps at an edge, where alpha or sigma is 0: the compiler's own formulas over germs, and their limits.

Near an edge a schedule is known by two numbers: what alpha or sigma tends to, whichever does not vanish, and
lambda, which tends to infinity.  A schedule of such times is a `Schedule` like any other: a form over it and
a tableau on that form are evaluated as they stand, their coefficients are functions of the distance to the
edge, and a plan holds the limits.  Infinities that cancel between a state and the model's output of it (DDIM
in noise prediction from alpha = 0) do so exactly.

What alpha and sigma do beyond their leading term is left out: it changes every coefficient by a factor that
tends to 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ..common.messages import shown
from ..diffusion.schedule import Formulas, Schedule
from ..numerics.arithmetic import Arithmetic, Fn, NotFinite, Value, finite
from ..numerics.germ import GERMS, Diverges, Germ, X, germ
from ..tableaux.tableau import Tableau
from .program import Evaluation, Kind, PlanStep, Row


@dataclass(frozen=True, eq=False)
class Near:
    """A time: alpha and sigma there, and how far from the reference time in lambda; one of them a germ where
    the time tends to an edge.
    """

    t: Value
    alpha: Any
    sigma: Any
    lam: Any
    arithmetic: Arithmetic = GERMS

    def __sub__(self, other: Near) -> Any:
        return _exactly(self.t) - _exactly(other.t)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Near) and bool(self.t == other.t)

    def __hash__(self) -> int:
        return hash(self.t)


class Edge:
    """What a schedule is at one time with alpha = 0 or sigma = 0, seen from a regular time.

    schedule: the same schedule over `Near` times; `near(t)` makes one.
    """

    def __init__(self, schedule: Schedule, edge: Value, reference: Value) -> None:
        self._f, self._edge = schedule.formulas, edge
        self._reference = self._regular(reference)
        alpha, sigma = self._f.alpha(edge), self._f.sigma(edge)
        self._noise = alpha == 0
        self._kept = _exactly(sigma if self._noise else alpha)
        self.schedule = replace(schedule, formulas=self._formulas(), breakpoints=())
        object.__setattr__(self.schedule, "check_time", lambda t, name: schedule.check_time(t.t, name))

    def near(self, t: Value) -> Near:
        """The time t as the formulas of `schedule` take it."""
        if t == self._edge:
            return self._approaching(-X if self._noise else X)
        return self._regular(t)

    def _regular(self, t: Value) -> Near:
        alpha, sigma = _exactly(self._f.alpha(t)), _exactly(self._f.sigma(t))
        return Near(t, alpha, sigma, _exactly(self._f.lam(t)))

    def _approaching(self, lam: Germ) -> Near:
        """The time at lambda = that of the reference + lam, which tends to the edge."""
        reference = self._reference
        ratio = reference.sigma / reference.alpha * GERMS.exp(-lam)
        alpha = self._kept / ratio if self._noise else self._kept
        sigma = self._kept if self._noise else self._kept * ratio
        return Near(self._edge, alpha, sigma, lam + reference.lam)

    def _formulas(self) -> Formulas:
        f = self._f

        def t_of_lam(lam: Any) -> Near:
            distance = lam - self._reference.lam
            if not (isinstance(distance, Germ) and (distance * (-1 if self._noise else 1)).rises):
                raise TypeError("a time beyond the step's ends")
            return self._approaching(distance)

        def t_of_rho(rho: Any) -> Near:
            if not (isinstance(rho, Germ) and (rho if self._noise else 1 / rho).rises):
                raise TypeError("a time beyond the step's ends")
            alpha = self._kept / rho if self._noise else self._kept
            sigma = self._kept if self._noise else self._kept * rho
            return Near(self._edge, alpha, sigma, None)

        def known(of: Fn) -> Fn:
            return lambda t: _exactly(of(_near(t).t))

        return Formulas(
            log_alpha=known(f.log_alpha),
            alpha=lambda t: _near(t).alpha,
            sigma=lambda t: _near(t).sigma,
            rho=lambda t: _near(t).sigma / _near(t).alpha,
            lam=lambda t: _near(t).lam,
            rho_dot=known(f.rho_dot),
            alpha_dot=known(f.alpha_dot),
            sigma_dot=known(f.sigma_dot),
            t_of_lam=t_of_lam,
            t_of_rho=t_of_rho,
        )


def _near(t: Any) -> Near:
    if not isinstance(t, Near):
        raise TypeError(f"the schedule near an edge is not known at {shown(t)}")
    return t


def _exactly(value: Value) -> Any:
    if not finite(value):
        raise TypeError("the schedule is not known there")
    return GERMS.number(value)


def at_edge(schedule: Schedule, t: Value) -> bool:
    """Whether alpha or sigma is 0 at time t."""
    return bool(schedule.formulas.alpha(t) == 0 or schedule.formulas.sigma(t) == 0)


def advice(schedule: Schedule, t0: Value, t1: Value) -> str:
    """Which end of a step without a limit is an edge, and what to do; empty where neither is."""
    f = schedule.formulas
    if f.alpha(t0) == 0:
        return (
            f": alpha is 0 at t = {t0}: begin with another solver in data prediction and a model that "
            "predicts x0, v or flow, or begin later"
        )
    if f.sigma(t1) == 0:
        return f": sigma is 0 at t = {t1}: use final='lower', or end earlier with denoise=True"
    if f.sigma(t0) == 0 or f.alpha(t1) == 0:
        what = f"sigma is 0 at t = {t0}" if f.sigma(t0) == 0 else f"alpha is 0 at t = {t1}"
        return f": {what}: keep the grid away from it, or use a first-order solver"
    return ""


def limits(step: PlanStep, tableau: Tableau, xp: Arithmetic) -> PlanStep:
    """A step over `Near` times as numbers: the limits of its coefficients, without what they leave unused.

    Raises Diverges for a coefficient that has none, and NotFinite for a stage inside the step that tends to
    its end but still counts (the model would be asked for what the step has yet to find) and for a formula
    of which nothing is left.
    """
    assert step.t1 is not None
    calls = [op for op in step.operations if isinstance(op, Evaluation)]
    stages = dict(zip((op.state for op in calls[len(calls) - len(tableau.c) :]), tableau.c, strict=True))
    used: set[tuple[str, int | None]] = {("x", step.output), ("x", step.low)}
    if tableau.carry is not None:
        used.add(("m", list(stages)[tableau.carry - 1]))
    times = {op.state: op.t.t for op in calls}
    kept: list[Evaluation | Row] = []
    for op in reversed(step.operations):
        if isinstance(op, Row):
            if ("x", op.state) in used:
                row = _row(op, times, xp)
                if not row.terms:
                    raise NotFinite("every weight tends to 0, nothing is left of the formula")
                kept.append(row)
                used |= {(kind, state) for kind, state, _ in row.terms}
        elif ("m", op.state) in used or op.state not in stages:
            c = stages.get(op.state, 1)
            if c != 1 and op.t == step.t1:
                raise NotFinite(f"the stage at abscissa {c} tends to the end of the step, t = {op.t.t}")
            kept.append(Evaluation(op.state, op.t.t))
            used.add(("x", op.state))
    return PlanStep(step.t0.t, step.t1.t, tuple(kept[::-1]), step.output, step.low)


def _row(row: Row, times: dict[int, Value], xp: Arithmetic) -> Row:
    def limit(value: Any, what: str) -> Value:
        try:
            return xp.number(germ(value).limit)
        except Diverges as error:
            raise Diverges(f"the weight of {what} {error}") from None

    def named(kind: Kind, state: int) -> str:
        at = f" at t = {times[state]}" if state in times else " at an earlier time"
        return ("the state" if kind == "x" else "the model's output") + at

    terms = ((kind, state, limit(value, named(kind, state))) for kind, state, value in row.terms)
    noise = ((i, limit(value, "the noise")) for i, value in row.noise)
    return Row(
        row.state,
        tuple(t for t in terms if t[2] != 0),
        tuple(n for n in noise if n[1] != 0),
        None if row.constant is None else limit(row.constant, "the known part"),
    )
