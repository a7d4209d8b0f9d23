"""What is proved of every solver of the probability flow, as data for reports."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any, ClassVar

import threadpoolctl
from semilinear.analysis.convergence import OrderEstimate
from semilinear.analysis.proof import Proof, prove
from semilinear.analysis.ring import NotInRing
from semilinear.analysis.solver_proof import GRIDS, prove_solver
from semilinear.integrators.catalogue import CATALOGUE, Entry

from .claims import EXPECTATIONS, Expectation
from .linearised import linearised_order
from .parabolic import Kind, parabolic, stiff_slopes
from .proof_report import SCHEMA
from .quadrature_effect import RULES, Rule, effect
from .results import estimate_json
from .semilinear_problems import coupled_system, measured


@dataclass(frozen=True)
class ProofTask:
    """One solver's proof."""

    expectation: Expectation
    part: ClassVar[str] = "solvers"

    def run(self) -> dict[str, Any]:
        """The proof as JSON data.

        formula: the order of the steps that recur, on any grid, on smooth ones and on equal steps.  exact,
        own: of runs from exact starting values and with the method's own start, on smooth grids.  error: the
        leading local error with exact past values, on equal steps.  as_expected: whether the orders are those
        of the claims (for an order that is measured to fall: whether it is below the claimed one).
        refused: why there is no proof.
        """
        e = self.expectation
        solver = e.build()
        row: dict[str, Any] = {"solver": e.label, "claimed": solver.claimed}
        try:
            proof = prove_solver(solver, residue=e.residue)
        except (NotInRing, ValueError) as error:
            return row | {"refused": str(error), "as_expected": None}
        exact, own = proof.exact_start(), proof.run()
        return row | {
            "refused": "",
            "equation": proof.setting.equation,
            "formula": {grid: proof.formula(grid) for grid in GRIDS},
            "exact": exact,
            "own": own,
            "error": [str(term) for term in proof.error_on_equal_steps],
            "as_expected": _fits(exact, e.exact, solver.claimed) and _fits(own, e.own, solver.claimed),
        }


def _fits(proved: int, expected: int | None, claimed: int) -> bool:
    return proved < claimed if expected is None else proved == expected


@dataclass(frozen=True)
class EffectTask:
    """What one quadrature rule costs."""

    rule: int
    points: int
    part: ClassVar[str] = "effects"

    def run(self) -> dict[str, Any]:
        """The prediction and what was measured, as JSON data; ratios: measured over predicted."""
        rule: Rule = RULES[self.rule]
        found = effect(rule, self.points, 24)
        return {
            "solver": rule.name,
            "points": self.points,
            "local_error": rule.local_error,
            "steps": [24, 48],
            "ratios": list(found.ratios),
            "limit": found.limit,
        }


def effect_tasks() -> list[EffectTask]:
    """Every rule with ten points: the effect is proportional to 1/K."""
    return [EffectTask(i, 10) for i in range(len(RULES))]


@dataclass(frozen=True)
class CatalogueTask:
    """One tableau of the catalogue: proved, and measured on problems of its own kind."""

    name: str
    part: ClassVar[str] = "catalogue"

    def run(self) -> dict[str, Any]:
        """The orders as JSON data.

        system: the observed order on a coupled system whose L does not commute with N' (for a method of
        Rosenbrock type on one with its Jacobian).  parabolic: those on the two problems of Hochbruck &
        Ostermann; None for Rosenbrock type.  as_expected: whether the proved classical order is the measured
        one and the stiff slopes are those that the proved stiff orders allow (`_agrees`).
        """
        entry = CATALOGUE[self.name]
        proof = prove(entry.tableau, linearised=entry.linearised)
        system = _system(entry)
        stiff = None if entry.linearised else {k: stiff_slopes(entry.tableau, parabolic(k))[2] for k in KINDS}
        numeric = not proof.ring.field.symbols
        return {
            "name": self.name,
            "claimed": entry.claimed,
            "paper": entry.paper,
            "source": entry.source,
            "linearised": entry.linearised,
            "classical": proof.classical,
            "scalar": proof.scalar,
            "stiff": proof.stiff,
            "weak_stiff": proof.weak_stiff,
            "zero_stiff": proof.zero_stiff,
            "quadrature_order": proof.quadrature_order,
            "stage_order": proof.stage_order if entry.tableau.stages else None,
            "principal_error_norm": proof.principal_error_norm if numeric else None,
            "error": [str(term) for term in proof.leading_error][:MOST_TERMS],
            "system": estimate_json(system),
            "parabolic": None if stiff is None else {k: estimate_json(e) for k, e in stiff.items()},
            "as_expected": system.verdict(proof.classical) == "consistent"
            and (stiff is None or _agrees(proof, list(stiff.values()))),
        }


KINDS: tuple[Kind, ...] = ("local", "nonlocal")
MOST_TERMS = 6
"""Of a leading error that a table shows."""


def _system(entry: Entry) -> OrderEstimate:
    if entry.linearised:
        return linearised_order(entry.tableau)
    return measured(entry.tableau, coupled_system(), SYSTEM_STEPS)[1]


SYSTEM_STEPS = (8, 12, 16, 24, 32, 48, 64, 96, 128)
SLACK = 0.3
"""Slopes of high order end at rounding, before their limit; two orders are further apart."""


def _agrees(proof: Proof, slopes: Sequence[OrderEstimate]) -> bool:
    """Whether slopes on stiff problems are what the proved orders allow: none below the weak stiff order, and
    where that is below the classical order, a reduction on one problem at least.

    A method that diverges there (Lawson's with decreasing abscissae) has no slope.
    """
    known = [s for s in slopes if math.isfinite(s.order)]
    none_below = all(max(s.high, s.order + SLACK) >= proof.weak_stiff for s in known)
    reduced = not known or any(s.low < proof.classical for s in known)
    return none_below and (reduced or proof.weak_stiff == proof.classical)


Task = ProofTask | EffectTask | CatalogueTask


def tasks(quick: bool) -> list[Task]:
    """Everything that is proved and checked, the longest tasks first; quick: the solvers' proofs alone."""
    solvers: list[Task] = [ProofTask(e) for e in EXPECTATIONS]
    others: list[Task] = [] if quick else [*map(CatalogueTask, CATALOGUE), *effect_tasks()]
    return [*reversed(others), *reversed(solvers)]


def run(task: Task) -> dict[str, Any]:
    """Run one task, on one thread: processes that share cores must not wait for each other."""
    with threadpoolctl.threadpool_limits(1):
        return task.run()


def prove_all(
    planned: Sequence[Task], done: Callable[[Task], None] | None = None, workers: int | None = None
) -> dict[str, Any]:
    """Tasks as JSON data, over processes; `done` is called after each."""
    found: dict[str, list[dict[str, Any]]] = {"solvers": [], "catalogue": [], "effects": []}
    with ProcessPoolExecutor(workers or os.cpu_count()) as pool:
        for task, row in zip(planned, pool.map(run, planned), strict=True):
            found[task.part].insert(0, row)
            if done is not None:
                done(task)
    return {"schema": SCHEMA, **found}


def failures(data: dict[str, Any]) -> list[str]:
    """What is not as it must be: a proof that contradicts a claim's expectation or a measurement."""
    rows = [*((r["solver"], r) for r in data["solvers"]), *((r["name"], r) for r in data["catalogue"])]
    found = [f"{name}: proved or measured otherwise" for name, row in rows if row["as_expected"] is False]
    found += [
        f"{row['solver']}: effect of the quadrature {row['limit']:.3f} times the prediction"
        for row in data["effects"]
        if abs(row["limit"] - 1) > EFFECT_TOLERANCE
    ]
    return found


EFFECT_TOLERANCE = 0.05
"""Of the extrapolated ratio, whose error is O(h^2)."""
