"""What is proved of every solver of the probability flow, as data for reports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from semilinear.analysis.ring import NotInRing
from semilinear.analysis.solver_proof import GRIDS, prove_solver

from .claims import EXPECTATIONS, Expectation
from .quadrature_effect import RULES, Rule, effect


@dataclass(frozen=True)
class ProofTask:
    """One solver's proof."""

    expectation: Expectation

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


def proof_tasks() -> list[ProofTask]:
    """A proof for every claim."""
    return [ProofTask(e) for e in EXPECTATIONS]


def effect_tasks() -> list[EffectTask]:
    """Every rule with ten points: the effect is proportional to 1/K."""
    return [EffectTask(i, 10) for i in range(len(RULES))]
