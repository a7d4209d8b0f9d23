"""The audit of released tables: what is proved of each and what is measured, beside its claim."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import Any, ClassVar

import numpy as np
from semilinear.analysis.algebra.trees import differential
from semilinear.analysis.convergence import OrderEstimate
from semilinear.analysis.orders.expansion import Expansion, duhamel
from semilinear.analysis.orders.proof import CAP
from semilinear.analysis.orders.runge_kutta import plain
from semilinear.analysis.orders.solver_proof import at_equal_steps
from semilinear.analysis.orders.typed import Rounding, rounding_of_numbers
from semilinear.integrators.tableaux.catalogue.released import RELEASES, Butcher, Released
from semilinear.integrators.tableaux.tableau import Stage, Tableau
from sympy import Expr

from ..studies.records import estimate_json
from ..systems import semilinear
from ..systems.semilinear import SemilinearProblem, coupled_system, measured

LADDER = semilinear.LADDER[:-2]
SHORT = (6, 8, 12, 16)
"""In many digits, which no rounding bends."""
FLOAT_ORDER = 5
DIGITS = 30


@dataclass(frozen=True)
class Failing:
    """The first condition that fails: its order, the elementary differential, and the error coefficient."""

    order: int
    condition: str
    residual: Expr


@dataclass(frozen=True)
class TableProof:
    """The order of a table on equal steps: of a plain one for y' = N(tau, y), of a tableau with z for
    u' = L u + N(u), any L where it has no memory and a multiple of the identity where it has.

    digits: of its decimals, None where it is exact, as every tableau with z is.  through: the highest order
    that is looked for, at most `CAP`.  Raises ValueError for digits of a tableau with z.
    """

    table: Tableau | Butcher
    digits: int | None = None
    through: int = CAP

    def __post_init__(self) -> None:
        if self.digits is not None and not isinstance(self.table, Butcher):
            raise ValueError(f"digits must be None for a tableau with z, got {self.digits}")

    @cached_property
    def rounding(self) -> Rounding | None:
        """Half a unit of the last digit of every number that is no short fraction; None for exact tables."""
        if self.digits is None or not isinstance(self.table, Butcher):
            return None
        decimals = {n for n in self.table.numbers if n.is_Rational}
        return rounding_of_numbers(decimals, stated=Fraction(1, 2 * 10**self.digits))

    @cached_property
    def expansion(self) -> Expansion:
        """The Taylor coefficients, exactly; of the trees that there are within the rounding."""
        if not isinstance(self.table, Butcher):
            return equal_steps(self.table, self.through)
        exact = plain(self.table)
        return exact if self.rounding is None else dataclasses.replace(exact, kind=self.rounded.kind)

    @cached_property
    def rounded(self) -> Expansion:
        """The Taylor coefficients within the rounding of the table's decimals."""
        if self.rounding is None or not isinstance(self.table, Butcher):
            return self.expansion
        return plain(self.table, self.rounding)

    def residuals(self, q: int) -> list[Failing]:
        """The conditions of order q that fail, exactly; those without L and with the largest
        residual first.
        """
        e = self.expansion
        past = isinstance(self.table, Tableau) and self.table.past
        found = e.classes(q).values() if past else e.errors(q).items()
        symbol = "L" if e.integral == "duhamel" else ""
        failing = [Failing(q, differential(tree, symbol), e.field.expression(value)) for tree, value in found]
        return sorted(failing, key=lambda f: ("L" in f.condition, -abs(float(f.residual))))

    @cached_property
    def orders(self) -> list[list[Failing]]:
        """The failing conditions of the orders 1, 2, .. up to the first that fails beyond rounding, or to
        `through`.
        """
        found = []
        for q in range(1, self.through + 1):
            found.append(self.residuals(q))
            if self._beyond_rounding(found[-1]):
                break
        return found

    @property
    def exact(self) -> int:
        """The order of the table as it is written."""
        if self.rounding is None or not isinstance(self.table, Butcher):
            return self.order
        return plain(self.table).order(self.through)

    @property
    def order(self) -> int:
        """The order within the rounding of the table's decimals."""
        return len(self.orders) - bool(self._beyond_rounding(self.orders[-1]))

    @property
    def first(self) -> Failing | None:
        """The condition that keeps the table from a higher order; None where none is found."""
        return next(iter(self._beyond_rounding(self.orders[-1])), None)

    @property
    def residual(self) -> float:
        """The largest residual of the conditions that hold within rounding."""
        held = [f for failing in self.orders[: self.order] for f in failing]
        return max((abs(float(f.residual)) for f in held), default=0.0)

    def _beyond_rounding(self, failing: Sequence[Failing]) -> list[Failing]:
        """Those of the exact failing conditions of an order that no table within the rounding satisfies."""
        if self.rounding is None or not failing:
            return list(failing)
        stand = {differential(tree, "") for tree in self.rounded.errors(failing[0].order)}
        return [f for f in failing if f.condition in stand]


def equal_steps(tableau: Tableau, through: int) -> Expansion:
    """The expansion of a tableau for u' = L u + N(u), to order `through`, on equal steps: the evaluation of
    j steps ago stands at -j.
    """
    stages = tuple(Stage(at_equal_steps(s.c), at_equal_steps(s.formula)) for s in tableau.stages)
    expansion = duhamel(Tableau(stages, at_equal_steps(tableau.output)), through)
    value = expansion.field.expression
    at = tuple(expansion.field(at_equal_steps(value(c))) for c in expansion.abscissae)
    return dataclasses.replace(expansion, abscissae=at)


@lru_cache(maxsize=2)
def bare_system(digits: int | None) -> SemilinearProblem:
    """The system of `coupled_system` with all of the right-hand side in N, for tables without z."""
    whole = coupled_system(digits)
    linear = whole.basis @ (whole.eigenvalues[:, None] * whole.basis.T)
    return dataclasses.replace(
        whole,
        name="coupled-3d, L = 0",
        eigenvalues=0 * whole.eigenvalues,
        nonlinear=lambda t, u: np.asarray(linear @ u + whole.nonlinear(t, u)),
    )


def measure(table: Tableau | Butcher, order: int, known: float = 0.0) -> OrderEstimate | None:
    """The observed order from exact starting values, in float64 up to order `FLOAT_ORDER`, else in `DIGITS`
    digits; None for an implicit table.  known: within how much its coefficients are.
    """
    if isinstance(table, Butcher) and not table.explicit:
        return None
    digits, ladder = (None, LADDER) if order <= FLOAT_ORDER else (DIGITS, SHORT)
    if isinstance(table, Butcher):
        return measured(table.tableau, bare_system(digits), ladder, known)[1]
    return measured(table, coupled_system(digits), ladder, known)[1]


@dataclass(frozen=True)
class Audit:
    """A released table, proved up to the order claimed and one more (two where none is)."""

    released: Released

    @cached_property
    def proof(self) -> TableProof:
        """Of the table."""
        return TableProof(self.released.table, self.released.digits, self._through(1))

    @cached_property
    def repaired(self) -> TableProof | None:
        """Of the table that has the claimed order."""
        repair = self.released.repair
        return None if repair is None else TableProof(repair.build(), repair.digits, self._through(0))

    @property
    def holds(self) -> bool | None:
        """Whether the table has the order claimed (as far as `CAP`); None where nothing is claimed."""
        claimed = self.released.claimed
        return None if claimed is None else self.proof.order >= min(claimed, CAP)

    def _through(self, more: int) -> int:
        return min((self.released.claimed or CAP) + more, CAP)

    def row(self, *, with_measurement: bool = True) -> dict[str, Any]:
        """The audit as JSON data; as_expected: the measured order does not contradict the proved one, a table
        that falls short has a reason, and its repair has the claimed order.
        """
        r, proof, first = self.released, self.proof, self.proof.first
        known = 0.0 if proof.rounding is None else proof.rounding.largest
        estimate = measure(r.table, proof.order, known) if with_measurement else None
        repaired = None if self.repaired is None else self.repaired.order
        verdict = "consistent" if estimate is None else estimate.verdict(proof.order)
        measured_alike = verdict != "lower" and (verdict != "higher" or first is None or bool(r.hidden))
        complete = self.holds is not False or bool(r.defect)
        mended = repaired is None or r.claimed is None or repaired >= min(r.claimed, CAP)
        return {
            "name": r.name,
            "claimed": r.claimed,
            "claim": r.claim,
            "exact": proof.exact,
            "order": proof.order,
            "through": proof.through,
            "residual": proof.residual,
            "holds": self.holds,
            "measured": None if estimate is None else estimate_json(estimate),
            "condition": None if first is None else first.condition,
            "condition_order": None if first is None else first.order,
            "condition_residual": None if first is None else _short(first.residual),
            "condition_value": None if first is None else float(first.residual),
            "defect": r.defect,
            "hidden": r.hidden,
            "repaired": repaired,
            "repair_source": None if r.repair is None else r.repair.source,
            "as_expected": measured_alike and complete and mended,
        }


def _short(value: Expr) -> str | None:
    """An exact number as text, None where it is long."""
    text = str(value)
    return text if len(text) <= READABLE else None


READABLE = 24


@dataclass(frozen=True)
class AuditTask:
    """One table of a release."""

    release: str
    name: str
    part: ClassVar[str] = "released"

    @property
    def key(self) -> str:
        """The release and the table."""
        return f"{self.release}/{self.name}"

    @property
    def names(self) -> frozenset[str]:
        """The table."""
        return frozenset({self.name})

    def run(self) -> dict[str, Any]:
        """The audit (`Audit.row`) with the release's name, as JSON data."""
        return {"release": self.release, **Audit(RELEASES[self.release].tables[self.name]).row()}


def audit_tasks() -> list[AuditTask]:
    """Every table of every release."""
    return [AuditTask(name, table) for name, release in RELEASES.items() for table in release.tables]


def releases_json() -> dict[str, Any]:
    """Where the tables come from, and what is not covered, as JSON data."""
    return {
        name: {"repository": r.repository, "commit": r.commit, "file": r.file, "absent": dict(r.absent)}
        for name, r in RELEASES.items()
    }
