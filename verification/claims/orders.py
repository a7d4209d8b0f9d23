"""Claims of order: every listed solver's, made from what it claims and what is expected of it.

A solver of the probability flow is decided by the proof of its order, as it is run and from exact starting
values; one that has no formula to prove is measured, and a stochastic one by its weak order on Gaussian data,
without Monte Carlo.  `semilinear verify` measures all of them (reports/orders.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import numpy as np
from semilinear.analysis.orders.solver_proof import SolverProof, prove_solver
from semilinear.integrators.forms.form import example
from semilinear.integrators.plans.compile import compile_plan
from semilinear.integrators.plans.program import Row
from semilinear.integrators.solver import Solver

from ..studies import flow, gaussian
from ..studies.experiment import Experiment
from ..studies.gaussian import StochasticExperiment
from ..studies.ladders import GAUSSIAN, GAUSSIAN_LONG
from ..studies.own_statistics import generic
from .claim import Claim, Decision, Kind, Verdict, weakest
from .expectations import EXPECTATIONS, STOCHASTIC_EXPECTATIONS, unmeasured
from .flow import Expectation
from .stochastic import StochasticExpectation

AnyExpectation = Expectation | StochasticExpectation
WEAK = "weak order, on Gaussian data, which see the linear part of an order condition only"
"""What the order of a stochastic solver is, and how far it is seen."""
ASSUMES = {
    False: "an exact score, smooth along the solution; steps that are a smooth image of equal ones",
    True: WEAK,
}
"""By whether the solver is stochastic."""
EXACT_START = "from exact starting values and at full order to the end"
"""The condition of an order that a formula has and its run has not."""
PAPERS = ("DDIM", "DPM-Solver", "DEIS", "SciRE", "ER-SDE", "UniPC", "Score-SDE", "EDM", "RES", "SA-Solver")
"""Whose proofs are made again among the quick claims; the exponential integrators before them are not."""
SLOW = ("unipc-4-bh2", "unipc-5-bh2")
"""Proofs that take several seconds."""


@cache
def expectations() -> dict[str, AnyExpectation]:
    """What is expected of every listed solver, by its label."""
    return {e.label: e for e in EXPECTATIONS} | {e.solver: e for e in STOCHASTIC_EXPECTATIONS}


@dataclass(frozen=True)
class Orders:
    """The claimed orders of solvers, by the labels of their expectations, all of which must hold.

    where: those to which the claim is confined if it does not hold of all: it is then conditional.
    """

    labels: tuple[str, ...]
    where: tuple[str, ...] = ()
    kind: ClassVar[Kind] = "order"

    def decide(self) -> Decision:
        """The weakest of the verdicts on each, or the condition."""
        found = {label: _decide(expectations()[label], label) for label in self.labels}
        verdict = weakest(d.verdict for d in found.values())
        condition = EXACT_START if verdict == "conditional" else ""
        if verdict == "refuted" and self.where:
            inside = weakest(found[label].verdict for label in self.where)
            if inside in ("proved", "confirmed"):
                verdict, condition = "conditional", f"for {' and '.join(self.where)}"
        return Decision(verdict, "; ".join(d.evidence for d in found.values()), condition=condition)


def orders(*labels: str, where: tuple[str, ...] = ()) -> Orders:
    """Decided by what is proved or measured of these solvers."""
    return Orders(labels, where)


def judged(claimed: float, own: float | None, exact: float | None, holds: Verdict) -> Verdict:
    """The verdict on a claimed order from that of the method as it is run and from exact starting values."""
    if own is not None and own >= claimed:
        return holds
    return "conditional" if exact is not None and exact >= claimed else "refuted"


def _decide(expectation: AnyExpectation, label: str) -> Decision:
    if isinstance(expectation, StochasticExpectation):
        return _weak(expectation)
    solver = generic(expectation.solver)
    try:
        proof = prove_solver(solver, residue=expectation.residue)
        own, exact = proof.run(), proof.exact_start()
    except ValueError:  # a discretised kernel: no formula
        return _measured(solver, label)
    text = f"{label}: claimed {solver.claimed}, proved {own} as it is run, {exact} from an exact start"
    leading = proof.leading_error
    if exact < solver.claimed and leading:
        capped = proof.formula() > exact
        text += f"; {_end(proof, exact)}" if capped else f"; leading local error {leading[0]}"
    verdict = judged(solver.claimed, own, exact, "proved")
    return Decision(verdict, text, condition=EXACT_START if verdict == "conditional" else "")


def _end(proof: SolverProof, order: int) -> str:
    """What caps a method whose recurring steps are of a higher order."""
    (end, *_) = (part for part in proof.parts if part.place == "end" and part.order("smooth") == order)
    leading = end.formula.leading_error()[0]
    return f"most steps {proof.formula()}, capped by the last: its leading local error {leading}, made once"


def _measured(solver: Solver, label: str) -> Decision:
    study = flow.run(solver, Experiment())
    verdict = study.against(solver.claimed)
    text = f"{label}: claimed {solver.claimed}, measured {study.estimate.order:.2f}"
    if verdict == "inconclusive":
        return Decision("inconclusive", text)
    return Decision("refuted" if verdict == "lower" else "confirmed", text)


SHORT, PLACES = 2.0**-24, 9
"""A step, in intervals of the studies, and at how many of its times it is made: no ladder comes near it."""


def silent(solver: Solver) -> bool:
    """Whether steps that are short enough draw no noise: without it runs tend to another law than the SDE's,
    whatever order they show before.
    """
    e = StochasticExperiment()
    start, end = e.times
    for t in np.linspace(start, end, PLACES, endpoint=False):
        plan = compile_plan(solver, e.schedule, times=[float(t), float(t + (end - start) * SHORT)])
        rows = (op for step in plan.steps for op in step.operations if isinstance(op, Row))
        if any(weight != 0 for row in rows for _, weight in row.noise):
            return False
    return True


def _weak(expectation: StochasticExpectation) -> Decision:
    solver = expectation.build()
    for ladder in (GAUSSIAN, GAUSSIAN_LONG):
        study = gaussian.study(solver, StochasticExperiment(ladder=ladder))
        verdict = study.against(solver.claimed)
        if verdict != "inconclusive" or not expectation.long:
            break
    kind = "of the marginals" if study.marginal else "weak"
    text = f"{solver.name}: claimed {solver.claimed}, measured {study.weak.order:.2f} ({kind})"
    if silent(solver):
        step = f"a step of 2^{math.log2(SHORT):.0f} of the interval"
        return Decision("refuted", f"{text}; no order in the limit: {step} draws no noise")
    if verdict == "inconclusive":
        return Decision("inconclusive", text)
    return Decision("refuted" if verdict == "lower" else "confirmed", text)


def recorded(expectation: AnyExpectation, claimed: int) -> Verdict:
    """The verdict that follows from an expectation, of the order in the limit."""
    if isinstance(expectation, StochasticExpectation):
        if expectation.silent:
            return "refuted"
        if expectation.weak is None:
            return "inconclusive"
        return "confirmed" if expectation.weak >= claimed else "refuted"
    kernel = example(expectation.build().form).linear is not None  # discretised: it has no formula to prove
    return judged(claimed, expectation.own, expectation.exact, "confirmed" if kernel else "proved")


def _claim(label: str, expectation: AnyExpectation) -> Claim:
    solver = expectation.build()
    stochastic = isinstance(expectation, StochasticExpectation)
    verdict = recorded(expectation, solver.claimed)
    why = expectation.reason
    quick = (
        verdict != "confirmed" and not stochastic and label not in SLOW and solver.paper.startswith(PAPERS)
    )
    words = label.replace(", NFE ", "-nfe-").replace(" ", "-")
    return Claim(
        f"{words}-order",
        solver.paper,
        solver.source,
        f"{label} is of order {solver.claimed}",
        orders(label),
        verdict,
        why,
        ASSUMES[stochastic],
        quick,
        listed=True,
        condition=EXACT_START if verdict == "conditional" else "",
    )


def rows() -> tuple[Claim, ...]:
    """A claim of order for every listed solver; of those that cannot be measured, why."""
    found = [_claim(label, e) for label, e in expectations().items()]
    for name, reason in unmeasured().items():
        solver = generic(name)
        found.append(
            Claim(
                f"{name}-order",
                solver.paper,
                solver.source,
                f"{name} is of order {solver.claimed}",
                None,
                "untestable",
                reason,
                ASSUMES[True],
                listed=True,
            )
        )
    return tuple(found)
