"""Derivation: known methods are found without being told, families have their order, mutants do not."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import sympy
from semilinear.analysis.derivation.ansatz import ansatz
from semilinear.analysis.derivation.derive import collocation, derive, derive_embedded
from semilinear.analysis.derivation.elimination import solve
from semilinear.analysis.derivation.error_norm import NoMinimum
from semilinear.analysis.derivation.family import Family, differences
from semilinear.analysis.derivation.minimise import minimise_error, minimise_norm
from semilinear.analysis.derivation.pairs import estimator_ratio, pair
from semilinear.analysis.derivation.text import data, latex, python
from semilinear.analysis.orders.expansion import expand
from semilinear.analysis.orders.plan_check import check_against_plan, worst
from semilinear.analysis.orders.proof import local_order, prove
from semilinear.analysis.text.tableau_file import parse_tableau
from semilinear.integrators.diffusion.schedule import vp_linear
from semilinear.integrators.plans.compiler import StepCompiler
from semilinear.integrators.plans.program import PlanStep, Row
from semilinear.integrators.solvers import deis, dpm_solver, unipc
from semilinear.integrators.tableaux.catalogue import CATALOGUE
from semilinear.integrators.tableaux.catalogue.entry import from_columns
from semilinear.integrators.tableaux.tableau import (
    N,
    Stage,
    Tableau,
    adams,
    nested_collocation,
    omega,
    phi,
    phi2,
    phi3,
)
from sympy import Rational, Symbol

from tests.roundings import SOME_ULP

C2, C3 = Symbol("c2"), Symbol("c3")
HALF, THIRD = Rational(1, 2), Rational(1, 3)


def known(name: str) -> Tableau:
    return CATALOGUE[name].tableau


@cache
def two_stage() -> list[Family]:
    return derive([C2], order=2)


@cache
def two_stage_stiff() -> list[Family]:
    return derive([C2], order=2, conditions="stiff")


@cache
def three_stage() -> list[Family]:
    return derive([C2, C3], order=3)


@cache
def three_stage_weak() -> list[Family]:
    return derive([C2, C3], order=3, conditions="weak")


@cache
def equation_5_8() -> list[Family]:
    """b_2 and b_3 multiples of phi_2."""
    return derive([C2, C3], order=3, conditions="weak", indices=[2])


@cache
def equation_5_9() -> list[Family]:
    """Stages at their own arguments only."""
    return derive([C2, C3], order=3, conditions="weak", indices=[2], arguments="own")


@cache
def four_stage() -> list[Family]:
    return derive([HALF, HALF, 1], order=4)


@cache
def embedded() -> list[Family]:
    return derive_embedded(known("hochbruck-ostermann4"), order=3, conditions="stiff")


@cache
def _adams(k: int) -> list[Family]:
    return derive(past=k - 1, order=k, conditions="stiff")


def adams_stiff(k: int) -> Callable[[], list[Family]]:
    return lambda: _adams(k)


def unic(p: int) -> Callable[[], list[Family]]:
    """Its predictor is derived too: the stage at 1 is unknown."""
    indices = range(1, p + 1)
    return lambda: derive([1], past=p - 1, order=p + 1, conditions="stiff", stage_indices=indices)


KNOWN: list[tuple[str, Callable[[], list[Family]], Tableau]] = [
    ("DPM-Solver-2", two_stage, dpm_solver.second()),
    ("DPM-Solver-2 Taylor", two_stage, dpm_solver.second(Rational(2, 5), "taylor")),
    ("ETDRK2", two_stage, known("etdrk2")),
    ("ETDRK2 by stiff conditions", two_stage_stiff, known("etdrk2")),
    ("DPM-Solver-3", three_stage, dpm_solver.third()),
    ("DPM-Solver-3 Taylor", three_stage, dpm_solver.third(type="taylor")),
    ("ETDRK3", three_stage, known("etdrk3")),
    ("Hochbruck-Ostermann 5.9", equation_5_9, known("hochbruck-ostermann3")),
    ("5.9 in the whole weak family", three_stage_weak, known("hochbruck-ostermann3")),
    ("DPM-Solver-3 by stiff conditions", three_stage_weak, dpm_solver.third(HALF)),
    ("Hochbruck-Ostermann 5.8", equation_5_8, known("hochbruck-ostermann3-gamma")),
    ("Friedli", four_stage, known("friedli4")),
    ("Strehmel-Weiner", four_stage, known("strehmel-weiner4")),
    ("Krogstad", four_stage, known("krogstad4")),
    ("Norsett 4", adams_stiff(4), known("ab-norsett4")),
    ("PEC322", unic(2), known("pec322")),
    ("2M", lambda: derive(past=1, order=2), dpm_solver.multistep_second()),
    ("3M corrected", adams_stiff(3), adams(3)),
    ("Adams 2", adams_stiff(2), adams(2)),
    ("Adams 4", adams_stiff(4), adams(4)),
    ("UniC-1", unic(1), unipc.tableau(1, "vary-corrected", 1)),
    ("UniC-2", unic(2), unipc.tableau(2, "vary-corrected", 1)),
    ("classical Adams 4", lambda: derive(past=3, order=4, form="rho"), adams(4)),
    ("tAB3", lambda: derive(past=2, order=3, form="t"), deis.tab(2).sequence.tableaux[-1]),
]


@pytest.mark.parametrize(("family", "method"), [k[1:] for k in KNOWN], ids=[k[0] for k in KNOWN])
def test_a_known_method_is_in_the_derived_family(family: Callable[[], list[Family]], method: Tableau) -> None:
    found = [(f, values) for f in family() if (values := f.find(method)) is not None]
    assert found
    member = found[0][0].at({s: v for s, v in found[0][1].items() if s in found[0][0].parameters})
    assert member.find(method) is not None
    assert member.tableau.c == method.c


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "method"),
    [
        (unic(3), unipc.tableau(3, "vary-corrected", 1)),
        (unic(4), unipc.tableau(4, "vary-corrected", 1)),
        (adams_stiff(6), adams(6)),
    ],
)
def test_long_methods_are_derived_too(family: Callable[[], list[Family]], method: Tableau) -> None:
    (found,) = family()
    assert found.find(method) == {}


def hochbruck_ostermann_5_8(c2: Any, c3: Any) -> Tableau:
    """Hochbruck & Ostermann 2005, eq. 5.8, as printed: 2 (gamma c2 + c3) = 3 (gamma c2^2 + c3^2)."""
    gamma = (3 * c3**2 - 2 * c3) / (2 * c2 - 3 * c2**2)
    a32 = gamma * c2 * phi(2, c2) + c3**2 / c2 * phi(2, c3)
    b3 = phi2 / (gamma * c2 + c3)
    return from_columns([0, c2, c3], {(3, 2): a32}, {2: gamma * b3, 3: b3})


def test_equation_5_8_is_derived_for_all_abscissae() -> None:
    (family,) = equation_5_8()
    assert not list(differences(family.tableau, hochbruck_ostermann_5_8(C2, C3)))
    for places in ((Rational(1, 4), HALF), (HALF, Rational(3, 4))):
        assert family.find(hochbruck_ostermann_5_8(*places)) is not None
    assert set(family.nonzero) == {C2, C3, C2 - C3, 3 * C2 - 2}


@pytest.mark.slow
def test_the_five_stages_of_hochbruck_and_ostermann_are_derived_from_their_abscissae() -> None:
    """Eq. 5.19 is a point of a family of eight parameters of stiff order 4 in the weak sense."""
    (family,) = derive(
        [HALF, HALF, 1, HALF], order=4, conditions="weak", indices=[2, 3], stage_indices=[2, 3]
    )
    assert len(family.parameters) == 8
    assert prove(family.tableau).weak_stiff == 4
    assert family.find(known("hochbruck-ostermann4")) is not None
    assert family.find(known("krogstad4")) is None


def test_an_abscissa_that_the_conditions_force_is_found() -> None:
    (family,) = equation_5_9()
    assert family.tableau.c == (C2, Rational(2, 3))
    assert family.parameters == (C2,)


def test_the_strong_embedded_family_on_the_five_stages_of_hochbruck_and_ostermann() -> None:
    """Three parameters, b_5 any combination of phi_1, phi_2, phi_3."""
    (family,) = embedded()
    assert len(family.parameters) == 3
    b5 = family.tableau.b[4]
    expected = {1: (4 * phi2 - 8 * phi3 - b5) / 2, 2: (4 * phi2 - 8 * phi3 - b5) / 2, 3: -phi2 + 4 * phi3}
    for key, weight in expected.items():
        assert sympy.expand(family.tableau.b[key] - weight) == 0
    assert sympy.expand(family.tableau.b[0] - (phi(1, 1) - 3 * phi2 + 4 * phi3)) == 0
    assert family.find(known("hochbruck-ostermann4")) is not None
    krogstad_type = family.at(dict.fromkeys(family.parameters, 0))
    assert prove(krogstad_type.tableau).stiff == 3


def test_a_pair_has_both_orders_and_its_estimate_is_judged() -> None:
    method = known("hochbruck-ostermann4")
    (family,) = embedded()
    member = family.at(dict.fromkeys(family.parameters, 0))
    made = pair(method, member)
    assert made.low is not None
    low = prove(Tableau(made.stages, made.low))
    assert (low.classical, low.stiff) == (3, 3)
    assert prove(made).classical == 4
    assert estimator_ratio(method, member) == pytest.approx(7**0.5 / 2, rel=SOME_ULP, abs=0)
    itself = family.find(method)
    assert itself is not None
    assert estimator_ratio(method, family.at(itself)) == float("inf")
    with pytest.raises(ValueError, match="must have the tableau's stages"):
        pair(known("krogstad4"), member)


@pytest.mark.parametrize(
    ("family", "orders"),
    [
        (two_stage, {"classical": 2, "stiff": 1, "weak_stiff": 2}),
        (two_stage_stiff, {"classical": 2, "stiff": 2}),
        (three_stage, {"classical": 3, "scalar": 3}),
        (three_stage_weak, {"classical": 3, "stiff": 2, "weak_stiff": 3}),
        (equation_5_8, {"classical": 3, "stiff": 2, "weak_stiff": 3}),
        (four_stage, {"classical": 4}),
        (embedded, {"classical": 3, "stiff": 3}),
        (adams_stiff(3), {"classical": 3, "stiff": 3}),
        (lambda: derive([C2], order=2, conditions="scalar"), {"scalar": 2}),
        (lambda: derive([C2, C2, C3], order=3, conditions="stiff"), {"classical": 3, "stiff": 3}),
    ],
)
def test_a_derived_family_has_its_order_for_all_parameters(
    family: Callable[[], list[Family]], orders: dict[str, int]
) -> None:
    for found in family():
        proof = prove(found.tableau)
        assert {name: getattr(proof, name) for name in orders} == orders


@pytest.mark.parametrize("row", [0, 1, 2])
def test_a_changed_coefficient_of_a_family_lowers_its_order(row: int) -> None:
    """Any row, by one part in a million: the order is proved, not set."""
    (family,) = three_stage_weak()
    tableau = family.tableau
    change = Rational(10**6 + 1, 10**6)
    stages = [Stage(s.c, s.formula * change if i == row else s.formula) for i, s in enumerate(tableau.stages)]
    output = tableau.output * change if row == 2 else tableau.output
    assert prove(Tableau(tuple(stages), output)).classical < 3


@pytest.mark.parametrize(("form", "order"), [("rho", 3), ("t", 3)])
def test_families_of_other_forms_have_their_order(form: Any, order: int) -> None:
    for family in (*derive([C2, C3], order=order, form=form), *derive(past=2, order=order, form=form)):
        assert local_order(expand(family.tableau, order + 2, form), order + 1) == order


def test_two_evaluations_have_no_order_3() -> None:
    assert derive([C2], order=3) == []


def test_strong_stiff_order_3_needs_four_evaluations() -> None:
    """Hochbruck & Ostermann 2005, Sec. 5.2: three stages are enough in the weak sense only."""
    assert derive([C2, C3], order=3, conditions="stiff") == []
    assert derive([C2, C2, C3], order=3, conditions="stiff")


def test_all_kutta_methods_with_nodes_half_half_one() -> None:
    (family,) = derive([HALF, HALF, 1], order=4, form="rho")
    classical_rk4 = Tableau(
        (Stage(HALF, N(0) / 2), Stage(HALF, N(1) / 2), Stage(1, N(2))),
        (N(0) + 2 * N(1) + 2 * N(2) + N(3)) / 6,
    )
    assert family.find(classical_rk4) == {Symbol("b_3"): THIRD}


def test_a_tableau_outside_a_family_is_not_found() -> None:
    (family,) = two_stage_stiff()
    assert family.find(dpm_solver.second()) is None
    assert family.find(known("etdrk3")) is None


@pytest.mark.parametrize("order", [2, 3, 4])
def test_nested_collocation_has_its_stiff_order(order: int) -> None:
    family = collocation(order)
    assert family.tableau == nested_collocation(order)
    assert prove(family.tableau).stiff == order


# --- elimination ---

X, Y, T = sympy.symbols("x y t")


def test_every_branch_is_found() -> None:
    values = [branch.values for branch in solve([X * (X - 1), X * Y - X, Y * (Y - 2)], [X, Y])]
    assert {(v[X], v[Y]) for v in values} == {(0, 0), (0, 2)}


def test_a_divisor_is_another_branch_and_is_recorded() -> None:
    branches = solve([X * Y - 1 + X], [X, Y])
    assert [({k: sympy.cancel(v) for k, v in b.values.items()}, b.nonzero) for b in branches] == [
        ({Y: sympy.cancel((1 - X) / X)}, (X,))
    ]
    first, second = solve([X * Y], [X, Y])
    assert {*first.values, *second.values} == {X, Y}
    assert set(second.nonzero) == set(first.values)


def test_parameters_are_generic_unless_they_are_flexible() -> None:
    assert [b.values for b in solve([T * X - 1], [X])] == [{X: 1 / T}]
    assert solve([T - 2], [X]) == []
    assert [b.values for b in solve([T - 2], [X], [T])] == [{T: 2}]


def test_what_has_no_rational_solution_stays_implicit() -> None:
    (branch,) = solve([X**2 - 2, Y - X], [X, Y])
    assert branch.values
    assert len(branch.implicit) == 1


# --- choosing ---


def test_the_best_two_stage_method_is_ralstons() -> None:
    found = minimise_norm(two_stage_stiff()[0])
    assert found.exact
    assert found.values == {C2: Rational(2, 3)}
    assert found.error == pytest.approx(
        float(prove(from_columns([0, Rational(2, 3)], {}, {2: Rational(3, 2) * phi2})).principal_error),
        rel=SOME_ULP,
        abs=0,
    )


def test_a_minimum_is_no_larger_than_its_neighbours() -> None:
    (family,) = equation_5_8()
    found = minimise_norm(family)
    assert found.gradient is not None
    assert found.gradient < 1e-20  # Newton in 30 digits
    assert found.error <= found.rational_error <= 1.011 * found.error
    for symbol in family.parameters:
        for step in (-0.01, 0.01):
            values = {s: Rational(v) for s, v in found.values.items()}
            values[symbol] += Rational(step)
            norm = float(sympy.N(prove(family.at(values).tableau).principal_error))
            assert norm > found.error


def test_affine_errors_are_minimised_exactly() -> None:
    found = minimise_norm(embedded()[0])
    assert found.exact
    assert found.error == 0  # the method of order 4 itself is in the family of order 3


def test_any_error_can_be_minimised() -> None:
    found = minimise_error(two_stage_stiff()[0], lambda f: (float(f.tableau.c[0]) - 0.3) ** 2 + 1)
    # a parabola's minimum is known to the root of ulp, at best
    assert float(found.values[C2]) == pytest.approx(0.3, abs=1e-6)
    assert found.error == pytest.approx(1, rel=SOME_ULP, abs=0)


def test_what_has_no_minimum_is_refused() -> None:
    with pytest.raises(ValueError, match="must have a parameter"):
        minimise_norm(collocation(2))
    with pytest.raises(ValueError, match="must be of one step"):
        minimise_error(derive(past=1, order=2)[0], lambda f: 0.0)
    with pytest.raises(NoMinimum, match="infinite at the start"):
        minimise_error(two_stage_stiff()[0], lambda f: float("nan"))


# --- output ---


@pytest.mark.parametrize(
    "family", [two_stage, three_stage_weak, embedded, adams_stiff(3), four_stage, unic(2)]
)
def test_the_python_text_builds_the_same_tableau(family: Callable[[], list[Family]]) -> None:
    (found,) = family()
    names: dict[str, Any] = {}
    exec(python(found, "method"), names)  # our own text, of no file
    assert names["method"]().c == found.tableau.c
    assert not list(differences(names["method"](), found.tableau))
    values = {s.name: Rational(i, 7) for i, s in enumerate(found.parameters, 2)}
    if values:
        at = found.at({Symbol(n): v for n, v in values.items()})
        assert at.find(names["method"](**values)) is not None


def test_the_json_of_numbers_is_a_tableau_file() -> None:
    import json

    (family,) = equation_5_9()
    member = family.at({C2: THIRD})
    written = data(member)
    assert (written.pop("form"), written.pop("claimed")) == ("lambda", 3)
    assert member.find(parse_tableau(json.dumps(written)).tableau) == {}
    assert member.find(known("hochbruck-ostermann3")) == {}


def test_the_json_of_a_family_names_its_parameters_and_past_weights() -> None:
    found = data(derive(past=1, order=2)[0])
    assert found["parameters"] == ["b_P1_2"]
    assert found["past"] == 1
    assert len(found["b_past"]) == 1
    assert "omega1" in found["b_past"][0]


def test_latex_has_a_row_for_each_stage_and_the_output() -> None:
    written = latex(two_stage_stiff()[0])
    assert written.count(r"\varphi_") == 4
    assert r"c_{2}" in written
    assert r"\omega_{1}" in latex(derive(past=1, order=2)[0])


# --- plans ---


@pytest.mark.parametrize(("t0", "t1"), [(0.9, 0.7), (0.7, 0.65), (0.5, 0.499), (0.2, 0.01)])
def test_derived_coefficients_are_those_of_a_plan(t0: float, t1: float) -> None:
    members = [
        two_stage()[0].at({C2: HALF, Symbol("b_2_2"): 0}),
        two_stage_stiff()[0].at({C2: HALF}),
        equation_5_9()[0].at({C2: THIRD}),
        embedded()[0].at({Symbol("b_5_1"): 0, Symbol("b_5_2"): 0, Symbol("b_5_3"): 0}),
        adams_stiff(3)()[0],
        collocation(4),
    ]
    for member in members:
        past = [t0 + 0.03, t0 + 0.05]
        found = worst(check_against_plan(member.tableau, vp_linear(), t0, t1, past=past))
        assert found.ulp <= 2, found


def test_a_wrong_plan_coefficient_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def off(row: Row) -> Row:
        return dataclasses.replace(
            row, terms=tuple((kind, i, v * (1 + 2.0**-50)) for kind, i, v in row.terms)
        )

    def wrong(self: StepCompiler, *arguments: Any) -> PlanStep:
        made = step(self, *arguments)
        operations = tuple(off(op) if isinstance(op, Row) else op for op in made.operations)
        return dataclasses.replace(made, operations=operations)

    step = StepCompiler.step
    monkeypatch.setattr(StepCompiler, "step", wrong)
    assert worst(check_against_plan(known("etdrk2"), vp_linear(), 0.7, 0.65)).ulp > 3


# --- bad input ---


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"order": 0}, "order must be an integer from 1 to 12, got 0"),
        ({"order": 2, "conditions": "strong"}, "conditions must be one of classical, scalar, stiff, weak"),
        ({"order": 2, "form": "x"}, "form must be one of lambda, rho, t"),
        ({"order": 2, "form": "rho", "conditions": "stiff"}, "must be classical or scalar in the form rho"),
        ({"order": 2, "past": -1}, "past must be an integer from 0 to 63, got -1"),
        ({"order": 2, "indices": [0]}, "indices must be integers from 1 to 16"),
        ({"order": 2, "arguments": "all"}, "arguments must be one of own, earlier"),
        (
            {"order": 2, "abscissae": [0]},
            "abscissa 1 must be a rational number other than 0, one with square",
        ),
        ({"order": 2, "abscissae": [omega(1)]}, "abscissa 1 must be a rational number"),
        ({"order": 2, "abscissae": [0.5]}, "abscissa 1 must be an exact number or expression, got 0.5"),
        ({"order": 2, "abscissae": ["z"]}, "abscissa 1 must be an exact number or expression, got 'z'"),
        ({"order": 2, "abscissae": ["1/0"]}, "abscissa 1 must be an exact number or expression, got '1/0'"),
        ({"order": 2, "abscissae": ["f(2)"]}, "abscissa 1 must be an exact number or expression"),
    ],
)
def test_bad_requests_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        derive(**arguments)


def test_values_must_be_of_parameters_for_which_the_family_exists() -> None:
    (family,) = equation_5_8()
    with pytest.raises(ValueError, match="values must be of the parameters c2, c3, got r"):
        family.at({Symbol("r"): 1})
    with pytest.raises(ValueError, match="c2 must be an exact number or expression, got '1/2'"):
        family.at({C2: "1/2"})
    with pytest.raises(ValueError, match="does not exist where 3\\*c2 - 2 = 0"):
        family.at({C2: Rational(2, 3)})


def test_an_ansatz_integrates_constants_whatever_its_unknowns() -> None:
    unknown = ansatz([C2, 1], past=1, indices=[1, 2])
    assert dataclasses.replace(unknown, unknowns=()).tableau.consistency_defects() == []
