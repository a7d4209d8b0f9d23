"""Mutations of tableaux, the test of the prover: what lowers the order must be noticed, with a reason.

Each coefficient is changed in exact arithmetic: its sign, by one part in a million, the index of a phi in it,
the argument of a phi in it; and each abscissa likewise.  Which mutants have a lower order is measured
(`local_order.py`), not proved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property

import sympy
from semilinear.integrators.common import checks
from semilinear.integrators.diffusion.schedule import vp_linear
from semilinear.integrators.solvers import SOLVERS, make
from semilinear.integrators.tableaux.catalogue import CATALOGUE
from semilinear.integrators.tableaux.tableau import Stage, Tableau, Weights, formula_of, phi, z
from sympy import Expr, Integer, Rational

from ..algebra.ring import NotInRing
from ..algebra.trees import differential
from .expansion import Expansion, FormName, expand, form_name
from .local_order import LocalError
from .proof import key_name, local_order

CHANGE = 1 + Rational(1, 10**6)


@dataclass(frozen=True, eq=False)
class Mutant:
    """A tableau with one change: where, and which.

    c: abscissae of the stages.  weights: the rows of the stages, then the output row.
    """

    c: tuple[Expr, ...]
    weights: tuple[Weights, ...]
    where: str
    change: str

    @cached_property
    def tableau(self) -> Tableau:
        """The mutant itself."""
        formulas = [formula_of(row) for row in self.weights]
        stages = tuple(Stage(*pair) for pair in zip(self.c, formulas[:-1], strict=True))
        return Tableau(stages, formulas[-1])


@dataclass(frozen=True)
class Case:
    """A tableau to be mutated, with the equation that it is for."""

    name: str
    tableau: Tableau
    form: FormName = "lambda"
    linearised: bool = False

    def expansion(self, tableau: Tableau, through: int) -> Expansion:
        """The proof's expansion of the tableau or a mutant of it."""
        return expand(tableau, through, self.form, linearised=self.linearised)


@dataclass(frozen=True)
class Trial:
    """What became of one mutant.

    own: the order of the tableau that was mutated.  measured, proved, by_trees: that of the mutant, at most
    own + 1, as measured, as the prover says, and as its trees say (the prover counts defects along the
    solution instead where it can).  condition: one that is named as violated, of order proved + 1; empty
    where there is none.
    """

    name: str
    mutant: Mutant
    own: int
    measured: int
    proved: int
    by_trees: int
    condition: str

    @property
    def lowering(self) -> bool:
        """Whether the mutation lowers the order, by measurement."""
        return self.measured < self.own

    @property
    def caught(self) -> bool:
        """Whether the prover noticed that, and says why."""
        return self.lowering and self.proved < self.own and bool(self.condition)

    @property
    def agreed(self) -> bool:
        """Whether both proofs and the measurement have the same order."""
        return self.measured == self.proved == self.by_trees


@dataclass(frozen=True)
class Campaign:
    """The trials of all mutants."""

    trials: tuple[Trial, ...]

    def counts(self) -> dict[str, int]:
        """How many tableaux and mutants; how many lower the order, of these caught; how many keep the order
        (equivalent) or raise it; and where proof and measurement disagree.
        """
        trials = self.trials
        return {
            "tableaux": len({t.name for t in trials}),
            "tried": len(trials),
            "lowering": sum(t.lowering for t in trials),
            "caught": sum(t.caught for t in trials),
            "equivalent": sum(t.measured == t.own for t in trials),
            "raising": sum(t.measured > t.own for t in trials),
            "disagreeing": sum(not t.agreed for t in trials),
        }


def campaign(
    cases: Iterable[Case], most: int | None = None, progress: Callable[[str, int], None] | None = None
) -> Campaign:
    """Try the mutants of all cases; of each at most `most`, evenly spread over them.

    progress: called with each case's name and number of mutants before they are tried.
    Raises ValueError for most < 1, ArithmeticError for a mutant whose measured order is no integer.
    """
    if most is not None:
        most = checks.integer("most", most, 1)
    found: list[Trial] = []
    for case in cases:
        every = list(mutants(case.tableau, moments=case.form != "lambda"))
        stride = 1 if most is None else max(1, -(-len(every) // most))
        chosen = every[::stride]
        if progress is not None:
            progress(case.name, len(chosen))
        found += trials(case, chosen)
    return Campaign(tuple(found))


def trials(case: Case, chosen: Iterable[Mutant]) -> Iterator[Trial]:
    """Measure and prove the order of each mutant.

    Raises ArithmeticError unless the case itself has the same order by both.
    """
    local = _local_error(case.form, case.linearised)
    own = local.order(case.tableau)
    if local_order(case.expansion(case.tableau, own + 1), own + 1) != own:
        raise ArithmeticError(f"{case.name}: order {own} is measured, and another is proved")
    for mutant in chosen:
        expansion = case.expansion(mutant.tableau, own + 1)
        proved = local_order(expansion, own + 1)
        failing = expansion.errors(proved + 1) if proved <= own else {}
        condition = differential(next(iter(failing))) if failing else ""
        measured = min(local.order(mutant.tableau), own + 1)
        yield Trial(case.name, mutant, own, measured, proved, expansion.order(own + 1), condition)


@cache
def _local_error(form: FormName, linearised: bool) -> LocalError:
    return LocalError(form, linearised=linearised)


@cache
def listed() -> tuple[Case, ...]:
    """The full-order tableaux of the listed solvers of ODEs and of the catalogue's Rosenbrock-type methods,
    each tableau once for each equation, under the first name that has it.

    The moments are exact: the quadrature of releases is no part of a tableau.  Left out are discretised
    kernels, and formulas outside the ring of exact proofs.
    """
    schedule = vp_linear()
    cases = [Case(e.name, e.tableau, linearised=True) for e in CATALOGUE.values() if e.linearised]
    for name in SOLVERS:
        solver = make(name)
        form = solver.form(schedule)
        if solver.stochastic or form.linear is not None:
            continue
        cases.append(Case(name, solver.sequence.tableaux[-1], form_name(form)))
    found: dict[tuple[Tableau, FormName, bool], Case] = {}
    for case in cases:
        key = (case.tableau, case.form, case.linearised)
        if key not in found:
            with suppress(NotInRing):
                case.expansion(case.tableau, 1)
                found[key] = case
    return tuple(found.values())


# --- mutants ---


def mutants(tableau: Tableau, *, moments: bool = False) -> Iterator[Mutant]:
    """All mutants of a tableau, row by row, then abscissa by abscissa.

    moments: every phi(k, c) stays a moment of a weight, with k >= 1 and c not 0.
    """
    nodes = list(dict.fromkeys((Integer(0), *tableau.c, Integer(1))))
    weights = (*tableau.a, tableau.b)
    for i, (name, _, row) in enumerate(tableau.rows()):
        for key, weight in row.items():
            for change, new in _changes(weight, nodes, moments):
                changed = (*weights[:i], {**row, key: new}, *weights[i + 1 :])
                yield Mutant(tableau.c, changed, f"{name}, {key_name(key)}", change)
    for i, c in enumerate(tableau.c):
        others = [("sign", -c), ("1e-6", c * CHANGE), *((f"{c} -> {n}", n) for n in nodes if n != c)]
        for change, new in others:
            yield Mutant((*tableau.c[:i], new, *tableau.c[i + 1 :]), weights, f"stage {i + 1}, c", change)


def _changes(weight: Expr, nodes: Iterable[Expr], moments: bool) -> Iterator[tuple[str, Expr]]:
    yield "sign", -weight
    yield "1e-6", weight * CHANGE
    for function in sorted(weight.atoms(phi, sympy.exp), key=str):
        k, c = _indices(function)
        pairs = [(k + 1, c), (k - 1, c), *((k, n) for n in nodes if n != c)]
        swaps = [phi(m, n) for m, n in pairs if m >= 0 and not (moments and (m == 0 or n == 0))]
        for new in swaps:
            yield f"{function} -> {new}", weight.xreplace({function: new})


def _indices(function: Expr) -> tuple[int, Expr]:
    """k and c of phi(k, c), or of exp(c z)."""
    if isinstance(function, phi):
        return int(function.args[0]), function.args[1]
    return 0, sympy.expand(function.args[0] / z)
