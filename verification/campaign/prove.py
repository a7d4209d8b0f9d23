"""What is proved of every solver of the probability flow, as data for reports."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

from semilinear.analysis.convergence import OrderEstimate
from semilinear.analysis.lookup import equation_of, usual_z
from semilinear.analysis.orders.exact import open_schedule
from semilinear.analysis.orders.mutation import Case, campaign, listed
from semilinear.analysis.orders.proof import Proof, prove
from semilinear.analysis.orders.solver_proof import prove_solver
from semilinear.analysis.stability.amplification import Amplification
from semilinear.analysis.stability.region import Region, region, sections_json
from semilinear.integrators.solver import Solver
from semilinear.integrators.tableaux.catalogue import CATALOGUE

from ..audit.released_tables import audit_tasks, releases_json
from ..claims.expectations import EXPECTATIONS
from ..claims.flow import Expectation
from ..predictions.error_constants import Constant, error_constant
from ..predictions.quadrature_effect import RULES, Rule, effect
from ..studies.own_statistics import generic
from ..studies.records import estimate_json
from ..systems.orders import MeasuredOrders, measure_entry
from ..systems.parabolic import POINTS
from ..systems.parabolic import STEPS as STIFF_STEPS
from .runner import Expected, Named, Row, Task
from .selection import CONSTANTS, DRAWN, SCHEMA, STABILITY


def solver_proof(solver: Solver, residue: tuple[int, int] | None = None) -> dict[str, Any]:
    """What is proved of a solver, as JSON data: that of the proof, without the solver's name and claim, which
    stand beside it.  refused: why there is no proof; then the other keys are absent.
    """
    try:
        data = prove_solver(solver, residue=residue).data
        return {"refused": "", **{key: data[key] for key in data if key not in ("solver", "claimed")}}
    except ValueError as error:
        return {"refused": str(error)}


@dataclass(frozen=True)
class ProofTask(Expected):
    """One solver's proof."""

    expectation: Expectation
    part: ClassVar[str] = "solvers"

    @property
    def key(self) -> str:
        """The solver."""
        return self.expectation.label

    def run(self) -> dict[str, Any]:
        """The proof as JSON data (`solver_proof`), and whether its orders are those of the claims (for an
        order that is measured to fall: whether it is below the claimed one); None for a discretised kernel,
        the only kind that may be refused.
        """
        e = self.expectation
        solver = e.build()
        row: dict[str, Any] = {"solver": e.label, "claimed": solver.claimed}
        proof = solver_proof(solver, e.residue)
        if proof["refused"]:
            kernel = solver.form(open_schedule()).linear is not None
            return row | proof | {"as_expected": None if kernel else False}
        fits = (
            _fits(proof[key], order, solver.claimed)
            for key, order in (("exact_start", e.exact), ("run", e.own))
        )
        return row | proof | {"as_expected": all(fits)}


def _fits(proved: int, expected: int | None, claimed: int) -> bool:
    return proved < claimed if expected is None else proved == expected


@dataclass(frozen=True)
class EffectTask:
    """What one quadrature rule costs."""

    rule: int
    points: int
    part: ClassVar[str] = "effects"

    @property
    def key(self) -> str:
        """The rule."""
        return f"{RULES[self.rule].name}, {self.points} points"

    @property
    def names(self) -> frozenset[str]:
        """The solver by exact integrals and by the rule."""
        return frozenset({RULES[self.rule].name, f"{RULES[self.rule].name}-released"})

    def run(self) -> dict[str, Any]:
        """The prediction and what was measured, as JSON data; ratios: measured over predicted."""
        rule: Rule = RULES[self.rule]
        found = effect(rule, self.points, STEPS[0])
        return {
            "solver": rule.name,
            "points": self.points,
            "local_error": rule.local_error,
            **_constant_json(found),
        }


def effect_tasks() -> list[EffectTask]:
    """Every rule with ten points: the effect is proportional to 1/K."""
    return [EffectTask(i, 10) for i in range(len(RULES))]


@dataclass(frozen=True)
class ConstantTask(Named):
    """One solver's error constant."""

    part: ClassVar[str] = "constants"

    def run(self) -> dict[str, Any]:
        """The final error predicted from the proof and measured, as JSON data."""
        found = error_constant(generic(self.name), STEPS[0])
        return {"solver": self.name, "order": found.order, **_constant_json(found)}


def _constant_json(found: Constant) -> dict[str, Any]:
    """ratios: measured over predicted, at each number of steps; limit: at h = 0."""
    return {
        "steps": list(STEPS),
        "ratios": list(found.ratios),
        "distances": list(found.distances),
        "limit": found.limit,
    }


STEPS = (24, 48)
"""Of the runs from which error constants and effects of quadrature are taken."""


@dataclass(frozen=True)
class CatalogueTask(Named):
    """One tableau of the catalogue: proved, and measured on problems of its own kind."""

    part: ClassVar[str] = "catalogue"

    def run(self) -> dict[str, Any]:
        """The orders as JSON data.

        system: the observed order on a coupled system whose L does not commute with N' (for a method of
        Rosenbrock type on one with its Jacobian).  parabolic: those on the two problems of Hochbruck &
        Ostermann.  as_expected: whether the proved classical order is the measured one and the stiff slopes
        are those that the proved stiff orders allow (`agrees`); None where the first is not decided.
        """
        entry = CATALOGUE[self.name]
        proof = prove(entry.tableau, linearised=entry.linearised)
        found = measure_entry(entry, proved=proof.classical)
        numeric = not proof.ring.field.symbols
        return {
            "name": self.name,
            "claimed": entry.claimed,
            "paper": entry.paper,
            "source": entry.source,
            "linearised": entry.linearised,
            **proof.orders,
            "quadrature_order": proof.quadrature_order,
            "stage_order": proof.stage_order if entry.tableau.stages else None,
            "principal_error_norm": proof.principal_error_norm if numeric else None,
            "error": [str(term) for term in proof.leading_error][:MOST_TERMS],
            "system": estimate_json(found.classical),
            "parabolic": {kind: estimate_json(e) for kind, e in found.stiff.items()},
            "as_expected": self._as_expected(proof, found),
        }

    def _as_expected(self, proof: Proof, found: MeasuredOrders) -> bool | None:
        verdict = found.classical.verdict(proof.classical)
        if verdict in ("lower", "higher"):
            return False
        if not agrees(proof.classical, proof.weak_stiff, found.stiff.values()):
            return False
        return True if verdict == "consistent" else None


MOST_TERMS = 6
"""Of a leading error that is kept."""

RESOLVED = 0.5
SLACK = 0.3
"""Slopes of high order end at rounding, before their limit; two orders are further apart."""


def agrees(classical: int, weak_stiff: int, slopes: Iterable[OrderEstimate]) -> bool:
    """Whether slopes on stiff problems are what the proved orders allow: none below the weak stiff order, and
    where that is below the classical order, one clearly below the classical order.

    A method that diverges there (Lawson's with decreasing abscissae), or whose errors drown in rounding
    (exprk6s16), has no slope, and one with an interval wider than `RESOLVED` says nothing.
    """
    known = [s for s in slopes if math.isfinite(s.order) and s.half_width <= RESOLVED]
    reach = [max(s.high, s.order + SLACK) for s in known]
    none_below = all(order >= weak_stiff for order in reach)
    reduced = not known or any(order < classical for order in reach)
    return none_below and (reduced or weak_stiff == classical)


@dataclass(frozen=True)
class MutationTask(Named):
    """Mutants of one tableau, evenly spread over all that it has."""

    most: int
    part: ClassVar[str] = "mutations"

    @property
    def key(self) -> str:
        """The tableau, and how many mutants of it."""
        return f"{self.name}, {self.most} mutants"

    def run(self) -> dict[str, Any]:
        """The counts (`analysis.orders.mutation.Campaign.counts`) with the tableau's name."""
        return {"name": self.name, **campaign([_cases()[self.name]], self.most).counts()}


@cache
def _cases() -> dict[str, Case]:
    return {case.name: case for case in listed()}


@dataclass(frozen=True)
class StabilityTask(Named):
    """One method's stability at several z."""

    part: ClassVar[str] = "stability"

    def run(self) -> dict[str, Any]:
        """The sections (`analysis.stability.region.sections_json`) at z = 0, L and 5 L, as JSON data."""
        tableau, form, rate = equation_of(self.name)
        method = Amplification(tableau)
        regions = [region(method, z) for z in usual_z(rate)]
        return {
            "name": self.name,
            "form": form,
            "zero_stable": method.zero_stable,
            "z": [sections_json(method, r) for r in regions],
        }


MUTANTS = 4
"""Of each tableau, in `semilinear verify`; the slow tests try more."""

KEYS: dict[str, Callable[[Row], str]] = {
    "solvers": lambda row: str(row["solver"]),
    "constants": lambda row: str(row["solver"]),
    "catalogue": lambda row: str(row["name"]),
    "released": lambda row: f"{row['release']}/{row['name']}",
    "effects": lambda row: f"{row['solver']}, {row['points']} points",
    "mutations": lambda row: f"{row['name']}, {MUTANTS} mutants",
    "stability": lambda row: str(row["name"]),
}
"""The parts of a report, and whose task's key a row has."""


def tasks(quick: bool) -> list[Task]:
    """Everything that is proved and checked; quick: the solvers' proofs alone."""
    planned: list[Task] = [ProofTask(e) for e in EXPECTATIONS]
    if not quick:
        planned += [*map(CatalogueTask, CATALOGUE), *audit_tasks(), *effect_tasks()]
        planned += [MutationTask(name, MUTANTS) for name in _cases()]
        planned += map(StabilityTask, STABILITY)
        planned += map(ConstantTask, CONSTANTS)
    return planned


def proofs_json(decided: Sequence[tuple[Task, Row]]) -> dict[str, Any]:
    """What was proved and checked; decided: tasks with their rows, in the order of the report."""
    found: dict[str, list[Row]] = {part: [] for part in KEYS}
    for task, row in decided:
        if task.part in found:
            found[task.part].append(row)
    grid = {"points": POINTS, "steps": [STIFF_STEPS[0], STIFF_STEPS[-1]]}
    return {"schema": SCHEMA, "parabolic": grid, "releases": releases_json(), **found}


def failures(data: dict[str, Any]) -> list[str]:
    """What is not as it must be: a proof that contradicts a claim's expectation or a measurement."""
    named = (*data["catalogue"], *data.get("released", ()))
    rows = [*((r["solver"], r) for r in data["solvers"]), *((r["name"], r) for r in named)]
    found = [f"{name}: proved or measured otherwise" for name, row in rows if row["as_expected"] is False]
    found += [
        f"{row['solver']}: final error {row['limit']:.3f} times the prediction"
        for row in (*data["constants"], *data["effects"])
        if abs(row["limit"] - 1) > CONSTANT_TOLERANCE or row["distances"][1] > 0.7 * row["distances"][0]
    ]
    found += [
        f"{row['name']}: {row['lowering'] - row['caught']} mutants not caught, "
        f"{row['disagreeing']} of another order"
        for row in data["mutations"]
        if row["caught"] < row["lowering"] or row["disagreeing"]
    ]
    return found


CONSTANT_TOLERANCE = 0.05
"""Of the extrapolated ratio, whose error is O(h^2); the distances fall like h."""


def drawn_regions() -> dict[str, list[Region]]:
    """The regions of the methods that the report draws."""
    panels = {}
    for name in DRAWN:
        tableau, _, rate = equation_of(name)
        panels[name] = [region(Amplification(tableau), z) for z in usual_z(rate)]
    return panels
