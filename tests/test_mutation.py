from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import sympy
from semilinear.analysis.orders import mutation
from semilinear.analysis.orders.defects import Defects
from semilinear.analysis.orders.expansion import FORMS, Expansion
from semilinear.analysis.orders.local_order import LocalError
from semilinear.analysis.orders.mutation import Case, campaign, listed, mutants, trials
from semilinear.analysis.orders.proof import prove
from semilinear.integrators.solvers import make
from semilinear.integrators.tableaux.catalogue import CATALOGUE
from semilinear.integrators.tableaux.tableau import (
    N,
    Stage,
    Tableau,
    adams,
    interpolate,
    nested_collocation,
    phi,
    phi1,
)
from sympy import Integer, Rational

PARTS = 4


@cache
def cases(heavy: bool) -> tuple[Case, ...]:
    """Those that are listed; heavy are tableaux of which a mutant takes longer than a tenth of a second."""
    return tuple(c for c in listed() if heavy == (c.tableau.past > 2 or len(c.tableau.stages) > 7))


CLASSICAL = [
    Case(n, CATALOGUE[n].tableau) for n in ("etdrk2", "etdrk3", "etdrk4", "krogstad4", "lawson4", "exprk5s8")
]


def assert_all_is_noticed(found: mutation.Campaign) -> None:
    wrong = [
        (t.name, t.mutant.where, t.mutant.change, t.measured, t.proved, t.by_trees)
        for t in found.trials
        if not t.agreed or (t.lowering and not t.caught)
    ]
    assert wrong == []
    counts = found.counts()
    assert counts["tried"] == len(found.trials) > 0
    assert counts["caught"] == counts["lowering"]
    assert counts["lowering"] + counts["equivalent"] + counts["raising"] == counts["tried"]


@pytest.mark.parametrize("case", CLASSICAL, ids=lambda c: c.name)
def test_mutants_of_classical_tableaux_have_the_order_that_is_proved(case: Case) -> None:
    found = campaign([case], most=12)
    assert_all_is_noticed(found)
    assert found.counts()["caught"] >= 5


@pytest.mark.parametrize("part", range(PARTS))
def test_mutants_of_listed_solvers_have_the_order_that_is_proved(part: int) -> None:
    """Of every fourth one."""
    assert_all_is_noticed(campaign(cases(heavy=False)[4 * part :: 4 * PARTS], most=2))


@pytest.mark.slow
def test_every_mutant_of_every_solver_has_the_order_that_is_proved() -> None:
    found = campaign(cases(heavy=False))
    assert_all_is_noticed(found)
    assert found.counts()["tableaux"] == len(cases(heavy=False))


@pytest.mark.slow
def test_mutants_of_tableaux_with_many_coefficients_have_the_order_that_is_proved() -> None:
    assert_all_is_noticed(campaign(cases(heavy=True), most=12))


def test_rosenbrock_type_methods_are_mutated_too() -> None:
    found = campaign([case for case in cases(heavy=False) if case.linearised], most=8)
    assert_all_is_noticed(found)
    assert found.counts()["tableaux"] >= 10
    assert {t.own for t in found.trials} == {2, 3, 4, 5}


# --- the mutants ---


def test_every_coefficient_is_changed_in_every_way() -> None:
    """krogstad4: 3 + 2 entries of a that hold phi, an empty place, 4 of b; 3 abscissae."""
    found = list(mutants(CATALOGUE["krogstad4"].tableau))
    places = {m.where for m in found}
    rows = {"stage 2": 1, "stage 3": 2, "stage 4": 2, "output": 4}
    for row, count in rows.items():
        assert len({p for p in places if p.startswith(f"{row}, N")}) == count
    assert {p for p in places if p.endswith("c")} == {f"stage {i}, c" for i in (1, 2, 3)}
    for place in places:
        changes = {m.change for m in found if m.where == place}
        assert {"sign", "1e-6"} <= changes
        assert any("->" in change for change in changes)
    first = {m.change for m in found if m.where == "stage 2, N(0)"} - {"sign", "1e-6"}
    assert first == {f"phi(1, 1/2) -> {new}" for new in ("phi(2, 1/2)", "exp(z/2)", "phi(1, 1)", "1")}


def test_a_mutant_differs_in_one_place_only() -> None:
    original = CATALOGUE["hochbruck-ostermann4"].tableau
    for mutant in list(mutants(original))[::10]:
        tableau = mutant.tableau
        rows = list(zip((*tableau.a, tableau.b), (*original.a, original.b), strict=True))
        changed = sum(a[k] != b[k] for a, b in rows for k in a.keys() | b.keys())
        changed += sum(a != b for a, b in zip(tableau.c, original.c, strict=True))
        assert changed == 1


def test_moments_stay_moments() -> None:
    for mutant in mutants(adams(3), moments=True):
        weights = mutant.tableau.b.values()
        assert not any(w.has(sympy.exp) for w in weights)
        assert all(p.args[0] >= 1 and p.args[1] != 0 for w in weights for p in w.atoms(phi))


def test_a_mutation_that_keeps_the_order_is_called_equivalent() -> None:
    """The abscissa in phi_1 of the first stage of a method of order 2 is met at order 3 only."""
    case = Case("dpm-solver-2", make("dpm-solver-2").sequence.tableaux[-1])
    kept = {(t.mutant.where, t.mutant.change) for t in campaign([case]).trials if t.measured == t.own}
    assert ("stage 2, N(0)", "phi(1, 1/2) -> phi(1, 1)") in kept
    assert ("stage 2, N(0)", "sign") not in kept


def test_a_mutation_may_repair_a_release() -> None:
    found = campaign([Case("ab-lawson2-released", CATALOGUE["ab-lawson2-released"].tableau)])
    assert_all_is_noticed(found)
    raised = [(t.mutant.where, t.mutant.change, t.proved) for t in found.trials if t.measured > t.own]
    assert raised == [("output, N(0)", "exp(z) -> phi(1, 1)", 2)]


# --- the test of the test ---


HIDDEN: dict[str, Any] = {
    "stems": lambda tree, value: tree.stem,
    "leaves": lambda tree, value: tree.leaves,
    "children": lambda tree, value: tree.children,
    "small": lambda tree, value: abs(value) < 1e-5,
}


@pytest.mark.parametrize("hidden", HIDDEN)
def test_trees_that_are_overlooked_are_found_out(hidden: str, monkeypatch: Any) -> None:
    see = Expansion.errors

    def overlook(self: Expansion, q: int) -> Any:
        value = self.field.expression
        return {t: v for t, v in see(self, q).items() if not HIDDEN[hidden](t, float(value(v)))}

    monkeypatch.setattr(Expansion, "errors", overlook)
    found = campaign([Case("etdrk3", CATALOGUE["etdrk3"].tableau)])
    assert found.counts()["disagreeing"] > 0
    assert any(t.measured < t.by_trees for t in found.trials)


@pytest.mark.parametrize("overlooked", ["small", "L"])
def test_defects_that_are_overlooked_are_found_out(overlooked: str, monkeypatch: Any) -> None:
    see = Defects.terms

    def overlook(self: Defects, q: int) -> Any:
        value = self.expansion.field.expression
        small = [d for d in see(self, q) if abs(float(value(d.value))) > 1e-5]
        return small if overlooked == "small" else [d for d in see(self, q) if "L" not in self.words(d)]

    monkeypatch.setattr(Defects, "terms", overlook)
    found = campaign([Case("etdrk3", CATALOGUE["etdrk3"].tableau)])
    assert any(t.by_trees == t.measured < t.proved for t in found.trials)
    assert found.counts()["caught"] < found.counts()["lowering"]


def test_a_case_whose_own_orders_disagree_is_refused(monkeypatch: Any) -> None:
    monkeypatch.setattr(mutation, "local_order", lambda expansion, through: through)
    with pytest.raises(ArithmeticError, match="etdrk2: order 2 is measured, and another is proved"):
        list(trials(CLASSICAL[0], []))


@pytest.mark.parametrize("most", [0, -1, True, 1.5])
def test_the_number_of_mutants_is_checked(most: Any) -> None:
    with pytest.raises(ValueError, match="most must be an integer >= 1"):
        campaign([], most=most)


# --- the measurement ---


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
def test_the_measured_order_is_that_of_collocation_and_adams(order: int) -> None:
    for form in FORMS:
        local = LocalError(form)
        assert local.order(nested_collocation(order)) == order
        assert local.order(adams(order)) == order


def test_the_series_solves_the_equation() -> None:
    """The implicit rule of order 8 on the solution's own values has a local error beyond them all."""
    nodes = [Rational(i, 7) for i in range(1, 8)]
    for form in FORMS:
        local = LocalError(form)
        values = {Integer(0): N(0)} | {node: N(i) for i, node in enumerate(nodes, 1)}
        row = Tableau(tuple(Stage(c, c * phi(1, c) * N(0)) for c in nodes), interpolate(values)).b
        h = local.number(2) ** -60
        at = {
            i: local.integrand(c * h, local.solution(c * h))
            for i, c in enumerate([0, *map(local.number, nodes)])
        }
        found = local.row(row, local.number(1), at, h, 60)
        exact = local.solution(h)
        assert max(abs(a - b) for a, b in zip(found, exact, strict=True)) < h**9 * 1000
        assert max(abs(a - b) for a, b in zip(found, exact, strict=True)) > h**9 / 10**12


def test_a_typo_in_a_table_is_measured_and_proved_alike() -> None:
    tableau = CATALOGUE["krogstad4"].tableau
    wrong = dict(tableau.b) | {3: tableau.b[3] - phi(3, 1)}
    stages = tuple(
        Stage(c, sum(w * N(k) for k, w in row.items())) for c, row in zip(tableau.c, tableau.a, strict=True)
    )
    typo = Tableau(stages, sum(w * N(k) for k, w in wrong.items()))
    assert LocalError().order(typo) == prove(typo).classical == 0


def test_unknown_equations_are_refused() -> None:
    with pytest.raises(ValueError, match="form must be one of lambda, rho, t"):
        LocalError("nonsense")  # type: ignore[arg-type]


def test_an_order_that_is_no_integer_is_refused() -> None:
    """A wrong coefficient as small as the step: two powers of h are met at once."""
    euler = Tableau((), phi1 * N(0) * (1 + Rational(1, 2**61)))
    with pytest.raises(ArithmeticError, match="not one integer"):
        LocalError().order(euler)
