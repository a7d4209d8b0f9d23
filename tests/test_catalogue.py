"""The catalogue: what every entry must be, which are known methods at z = 0, and the orders they show."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from semilinear.analysis.convergence import ENOUGH_FROM
from semilinear.analysis.orders.proof import prove
from semilinear.integrators.numerics.arithmetic import FLOAT64, SYMBOLIC
from semilinear.integrators.numerics.phi import phi as phi_number
from semilinear.integrators.solvers import classical, make
from semilinear.integrators.tableaux import catalogue
from semilinear.integrators.tableaux.catalogue import CATALOGUE, etd, lawson, multistep, rosenbrock, stiff
from semilinear.integrators.tableaux.catalogue.butcher import BUTCHER
from semilinear.integrators.tableaux.catalogue.lawson import at_rest
from semilinear.integrators.tableaux.evaluate import AtZ, evaluator
from semilinear.integrators.tableaux.tableau import (
    N,
    Stage,
    Tableau,
    formula_of,
    nested,
    omega,
    phi,
    phi1,
    phi2,
    phi3,
    phi4,
    z,
)
from semilinear.verification.systems.linearised import gradient_system, integrate_linearised, linearised_order
from semilinear.verification.systems.orders import measure_entry
from semilinear.verification.systems.semilinear import LADDER, coupled_system, measured
from sympy import Expr, Integer, Rational, Symbol, exp

from tests.roundings import AMPLIFIED, MANY_ULP
from tests.slow import slow

FAMILIES = (lawson, etd, stiff, multistep, rosenbrock)
NAMES = tuple(CATALOGUE)
LINEARISED = tuple(name for name, entry in CATALOGUE.items() if entry.linearised)
RATIOS = tuple(Rational(7 * j, 5) + Rational(j % 2, 3) for j in range(1, 8))
"""Step ratios of no particular kind."""


# --- every entry ---


def test_the_catalogue_holds_every_entry_of_every_module_under_a_name_of_its_own() -> None:
    modules = [import_module(f"{catalogue.__name__}.{m.name}") for m in iter_modules(catalogue.__path__)]
    assert {m for m in modules if hasattr(m, "ENTRIES")} == {*FAMILIES}
    entries = [entry.name for family in FAMILIES for entry in family.ENTRIES]
    assert sorted(CATALOGUE) == sorted(entries)  # of two with one name, a mapping would keep one
    assert {"lawson4", "etdrk4", "exprk5s8", "ab-norsett4", "exprb32"} <= {*entries}  # one of each


@pytest.mark.parametrize("name", NAMES)
def test_every_entry_says_whose_it_is_and_where_it_stands(name: str) -> None:
    entry = CATALOGUE[name]
    assert entry.name == name
    assert entry.paper
    assert entry.source
    assert entry.claimed >= 1


@pytest.mark.parametrize("name", NAMES)
def test_at_rest_every_row_integrates_a_constant(name: str) -> None:
    at = AtZ(Integer(0), RATIOS)
    for _, c, weights in CATALOGUE[name].tableau.rows():
        assert sum(evaluator(w, SYMBOLIC)(at) for w in weights.values()) == c


@pytest.mark.parametrize("name", [n for n in NAMES if CATALOGUE[n].tableau.low is not None])
def test_an_embedded_row_integrates_a_constant(name: str) -> None:
    low = CATALOGUE[name].tableau.b_low
    assert low is not None
    assert sympy.expand(sum(low.values()) - phi1) == 0


# --- reductions ---

AT_REST = {
    "lawson-euler": "euler",
    "exponential-euler": "euler",
    "lawson2a": "midpoint",
    "hochbruck-ostermann2": "midpoint",
    "lawson2b": "trapezoid",
    "etdrk2": "trapezoid",
    "rkmk2e": "trapezoid",
    "lawson3-kutta": "kutta3",
    "etdrk3": "kutta3",
    "lawson3-heun": "heun3",
    "hochbruck-ostermann3": "heun3",
    "etd2cf3": "heun3",
    "lawson3-ralston": "ralston3",
    "lawson3-ssp": "ssp3",
    "lawson4": "kutta4",
    "genlawson41": "kutta4",
    "etdrk4": "kutta4",
    "krogstad4": "kutta4",
    "cfree4": "kutta4",
    "rkmk4t": "kutta4",
    "lawson4-three-eighths": "three-eighths4",
    "lawson5-fehlberg": "fehlberg5",
    "etd5rkf": "fehlberg5",
    "lawson6-butcher": "butcher6",
}


@pytest.mark.parametrize(("name", "butcher"), AT_REST.items())
def test_at_rest_an_exponential_method_is_a_named_runge_kutta_method(name: str, butcher: str) -> None:
    resting, wanted = at_rest(CATALOGUE[name].tableau), BUTCHER[butcher]
    assert resting.c == wanted.c
    assert (resting.a, resting.b) == (wanted.a, wanted.b)


@pytest.mark.parametrize("order", [2, 3, 4])
def test_at_rest_adams_bashforth_lawson_is_adams_bashforth(order: int) -> None:
    ours, theirs = (at_rest(CATALOGUE[f"{family}{order}"].tableau) for family in ("ab-lawson", "ab-norsett"))
    assert all(sympy.simplify(ours.b[j] - theirs.b[j]) == 0 for j in theirs.b)


def test_an_integrating_factor_multiplies_each_weight_by_its_flow() -> None:
    a21, a31 = Symbol("a21"), Symbol("a31")
    butcher = Tableau((Stage(Rational(1, 3), a21 * N(0)), Stage(Integer(1), a31 * N(1))), N(2))
    under = lawson.lawson(butcher)
    assert under.a == ({0: a21 * exp(z / 3)}, {1: a31 * exp(2 * z / 3)})
    assert under.b == {2: Integer(1)}


HALF = Rational(1, 2)
EQUAL_STEPS: dict[str, dict[int, Expr]] = {
    "ab-lawson4": {
        0: Rational(55, 24) * exp(z),
        -1: -Rational(59, 24) * exp(2 * z),
        -2: Rational(37, 24) * exp(3 * z),
        -3: -Rational(3, 8) * exp(4 * z),
    },
    "ab-norsett4": {
        0: phi1 + Rational(11, 6) * phi2 + 2 * phi3 + phi4,
        -1: -3 * phi2 - 5 * phi3 - 3 * phi4,
        -2: Rational(3, 2) * phi2 + 4 * phi3 + 3 * phi4,
        -3: -phi2 / 3 - phi3 - phi4,
    },
    "pec423": {
        1: phi2 / 3 + phi3 + phi4,
        0: phi1 + phi2 / 2 - 2 * phi3 - 3 * phi4,
        -1: -phi2 + phi3 + 3 * phi4,
        -2: phi2 / 6 - phi4,
    },
    "pecec332": {2: phi2 / 2 + phi3, 0: phi1 - 2 * phi3, -1: -phi2 / 2 + phi3},
    "eglm332": {
        0: phi1 - 2 * phi2 - 2 * phi3 + 12 * phi4,
        1: Rational(8, 3) * phi2 - 16 * phi4,
        2: -phi2 / 2 + phi3 + 6 * phi4,
        -1: -phi2 / 6 + phi3 - 2 * phi4,
    },
    "genlawson42": {
        0: phi1 + phi2 - exp(z / 2) - Rational(1, 3),
        1: exp(z / 2) / 3,
        2: exp(z / 2) / 3,
        3: Rational(1, 6),
        -1: -phi2 + exp(z / 2) / 3 + Rational(1, 6),
    },
    "modgenlawson42": {
        0: phi1 - 2 * phi3 - exp(z / 2) / 2,
        1: exp(z / 2) / 3,
        2: exp(z / 2) / 3,
        3: phi2 / 2 + phi3 - exp(z / 2) / 4,
        -1: -phi2 / 2 + phi3 + exp(z / 2) / 12,
    },
}


@pytest.mark.parametrize("name", EQUAL_STEPS)
def test_on_equal_steps_a_multistep_method_has_the_weights_of_expint(name: str) -> None:
    b = CATALOGUE[name].tableau.b
    equal = {omega(j): Integer(j) for j in range(1, 8)}
    wanted = EQUAL_STEPS[name]
    assert b.keys() == wanted.keys()
    assert all(sympy.expand(b[j].subs(equal) - wanted[j]) == 0 for j in b)


def test_an_interpolatory_method_without_past_or_stages_is_exponential_euler() -> None:
    assert multistep.interpolatory((), 1) == etd.EULER


def test_predictor_and_corrector_without_a_past_are_etdrk2() -> None:
    one_step = multistep.interpolatory((Integer(1),), 1)
    assert sympy.expand(one_step.output - etd.etdrk2().output) == 0


@pytest.mark.parametrize(("c2", "c3"), [(HALF, Rational(3, 4)), (Rational(1, 3), Integer(1))])
def test_eq_5_8_integrates_a_parabola_at_rest(c2: Expr, c3: Expr) -> None:
    b = stiff.third_by_ratio(c2, c3).b
    assert sympy.simplify(b[1] * c2 + b[2] * c3 - phi2) == 0
    assert sympy.simplify(b[1] * c2**2 + b[2] * c3**2 - Rational(2, 3) * phi2) == 0


# --- what a family's rule promises ---

INTERPOLATORY = tuple(entry.name for entry in multistep.ENTRIES)
COLLOCATION = ("exprk4s6", "exprk5s10", "exprk6s15", "exprk6s16", "collocation-3", "collocation-5")


def moment_defect(tableau: Tableau, at: AtZ, output_only: bool, degree: int) -> float:
    """The largest relative error of the rows for N(s) = s^m, m <= degree."""
    nodes: dict[int, Any] = {0: 0.0} | {i: float(c) for i, c in enumerate(tableau.c, 1)}
    nodes |= {-j: -at.ratios[j - 1] for j in range(1, tableau.past + 1)}
    worst = 0.0
    for _, c, weights in tableau.rows()[-1:] if output_only else tableau.rows():
        own = float(c)
        for m in range(degree + 1):
            terms = [evaluator(w, FLOAT64)(at) * nodes[j] ** m for j, w in weights.items()]
            wanted = float(sympy.factorial(m)) * own ** (m + 1) * phi_number(m + 1, own * at.z)
            worst = max(worst, abs(sum(terms) - wanted) / max(abs(wanted), *map(abs, terms)))
    return worst


@pytest.mark.parametrize("name", INTERPOLATORY)
@settings(max_examples=10, deadline=None)
@given(st.lists(st.floats(0.4, 2.5), min_size=6, max_size=6), st.floats(-20, 2))
def test_every_row_of_a_multistep_method_integrates_its_polynomials_on_any_steps(
    name: str, steps: list[float], value: float
) -> None:
    tableau = CATALOGUE[name].tableau
    ratios = [sum(steps[:j]) for j in range(1, 7)]
    assert moment_defect(tableau, AtZ(value, ratios), False, tableau.past) < MANY_ULP


@pytest.mark.parametrize("name", COLLOCATION)
def test_the_output_of_nested_collocation_integrates_its_polynomials(name: str) -> None:
    tableau = CATALOGUE[name].tableau
    assert moment_defect(tableau, AtZ(-3.0, ()), True, len(tableau.b) - 1) < AMPLIFIED


@pytest.mark.parametrize("name", ["exprk4s6", "exprk5s10", "exprk6s15"])
def test_luans_last_nodes_gain_an_order_at_rest(name: str) -> None:
    """int_0^1 s prod (s - c_i) ds = 0: one order more than the number of nodes."""
    tableau, s = CATALOGUE[name].tableau, Symbol("s")
    last = [tableau.c[j - 1] for j in tableau.b if j > 0]
    assert sympy.integrate(sympy.expand(s * sympy.prod([s - c for c in last])), (s, 0, 1)) == 0


@pytest.mark.parametrize("order", [2, 3, 4, 5])
def test_one_group_more_is_one_order_more(order: int) -> None:
    groups = [[Rational(i, size + 1) for i in range(1, size + 1)] for size in range(1, order)]
    assert len(nested(groups).stages) == order * (order - 1) // 2


FOURTH_ORDER = [n for n in LINEARISED if CATALOGUE[n].claimed >= 4]


@pytest.mark.parametrize(("degree", "wanted"), [(2, 2 * phi3), (3, 6 * phi4)])
@pytest.mark.parametrize("name", FOURTH_ORDER)
def test_rosenbrock_weights_integrate_cubics(name: str, degree: int, wanted: Expr) -> None:
    tableau = CATALOGUE[name].tableau
    total = sum(w * tableau.c[j - 1] ** degree for j, w in tableau.b.items() if j)
    if name == "exprb42":  # one stage: the cubic at z = 0 only
        total, wanted = (e.xreplace({phi3: Rational(1, 6), phi4: Rational(1, 24)}) for e in (total, wanted))
    assert sympy.expand(total - wanted) == 0


# --- measured orders ---

FIXED = tuple(n for n in NAMES if n not in LINEARISED)
RELEASED = {"ab-lawson2-released": 1}
"""The classical orders that are not the claimed ones."""


def expected(name: str) -> int:
    return RELEASED.get(name, CATALOGUE[name].claimed)


SETTLE_LATE = ("genlawson43", "genlawson44", "modgenlawson43")
"""Float64 leaves too few errors between the step at which the slope settles and rounding."""


@pytest.mark.parametrize("name", [n for n in FIXED if CATALOGUE[n].claimed <= 4 and n not in SETTLE_LATE])
def test_the_claimed_order_shows_on_a_coupled_system(name: str) -> None:
    _, estimate = measured(CATALOGUE[name].tableau, coupled_system(None))
    assert estimate.verdict(expected(name)) == "consistent"


@pytest.mark.parametrize(("proved", "last"), [(4, ENOUGH_FROM), (3, LADDER[-1]), (None, LADDER[-1])])
def test_runs_on_a_coupled_system_end_where_they_show_what_is_proved(proved: int | None, last: int) -> None:
    errors, estimate = measured(CATALOGUE["krogstad4"].tableau, coupled_system(None), proved=proved)
    assert LADDER[len(errors) - 1] == last
    assert estimate.verdict(4) == "consistent"


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_in_40_digits_the_claimed_order_shows_on_a_coupled_system(name: str) -> None:
    orders = measure_entry(CATALOGUE[name])
    classical = orders.classical
    if name == "genlawson44":  # its slope is 3.94 and still rises at the ladder's end
        assert classical.verdict(4) == "inconclusive"
        _, classical = measured(CATALOGUE[name].tableau, coupled_system(), [4 * n for n in LADDER])
    assert classical.verdict(expected(name)) == "consistent"
    assert orders.stiff.keys() == {"local", "nonlocal"}


@pytest.mark.parametrize("name", slow(LINEARISED, lambda name: name.startswith(("pexprb", "epirk4s3a"))))
def test_a_rosenbrock_method_shows_its_order(name: str) -> None:
    assert linearised_order(CATALOGUE[name].tableau).verdict(CATALOGUE[name].claimed) == "consistent"


@pytest.mark.parametrize(
    ("name", "order"), {"exprb32": 2, "exprb43": 3, "pexprb43": 3, "exprb54s4": 4}.items()
)
def test_an_embedded_row_shows_its_order(name: str, order: int) -> None:
    embedded = prove(CATALOGUE[name].tableau, linearised=True).embedded
    assert embedded is not None
    assert embedded.classical == order
    assert linearised_order(CATALOGUE[name].tableau, low=True).verdict(order) == "consistent"


def test_on_a_fixed_linear_part_a_rosenbrock_method_has_a_lower_order() -> None:
    _, estimate = measured(CATALOGUE["exprb32"].tableau, coupled_system(None))
    assert estimate.verdict(3) == "lower"


# --- mutation: the test that tests the tests ---


def perturbed(tableau: Tableau, j: int) -> Tableau:
    """One output weight changed by a hundredth of itself."""
    return replace(tableau, output=formula_of(dict(tableau.b) | {j: tableau.b[j] * Rational(101, 100)}))


PERTURBED = [
    (name, j)
    for name in ("krogstad4", "rkmk4t", "eglm433", "exprk4s6", "pec423", "lawson3-heun")
    for j in CATALOGUE[name].tableau.b
]


@pytest.mark.parametrize(("name", "j"), PERTURBED)
def test_perturbing_an_output_weight_is_seen(name: str, j: int) -> None:
    """By the interval: a claim is refuted only where slopes cannot climb back, which takes finer runs."""
    _, estimate = measured(perturbed(CATALOGUE[name].tableau, j), coupled_system(None))
    claimed = CATALOGUE[name].claimed
    assert estimate.high < claimed - 0.5
    assert estimate.verdict(claimed) in ("lower", "inconclusive")


def test_moving_an_abscissa_is_seen() -> None:
    tableau = CATALOGUE["hochbruck-ostermann4"].tableau
    moved = replace(tableau, stages=(*tableau.stages[:-1], replace(tableau.stages[-1], c=Rational(51, 100))))
    assert measured(moved, coupled_system(None))[1].verdict(4) == "lower"


def test_swapping_a_phi_index_in_a_stage_is_seen() -> None:
    tableau = CATALOGUE["krogstad4"].tableau
    swapped = tuple(
        replace(stage, formula=stage.formula.xreplace({phi(2, HALF): phi(3, HALF)}))
        for stage in tableau.stages
    )
    assert measured(replace(tableau, stages=swapped), coupled_system(None))[1].verdict(4) == "lower"


@pytest.mark.parametrize("j", [1, 2])
def test_perturbing_a_rosenbrock_weight_is_seen(j: int) -> None:
    changed = perturbed(CATALOGUE["exprb43"].tableau, j)
    changed = replace(changed, output=changed.output - CATALOGUE["exprb43"].tableau.b[j] * N(0) / 100)
    assert linearised_order(changed).verdict(4) == "lower"


# --- as solvers, and bad input ---


@pytest.mark.parametrize("name", classical.LISTED)
def test_an_entry_with_a_fixed_linear_part_is_a_listed_solver(name: str) -> None:
    solver, entry = make(name), CATALOGUE[name]
    assert (solver.name, solver.claimed, solver.paper) == (name, entry.claimed, entry.paper)
    assert solver.sequence.tableaux[-1] == entry.tableau


def test_every_entry_is_a_solver_but_those_of_rosenbrock_type() -> None:
    assert set(classical.NAMES) == set(NAMES) - set(LINEARISED)
    assert set(classical.LISTED) == set(classical.NAMES) - set(classical.CANCELLING)


@pytest.mark.parametrize("name", classical.CANCELLING)
def test_what_is_not_listed_is_made_all_the_same(name: str) -> None:
    assert classical.exponential_rk(name).name == name


def test_a_rosenbrock_method_is_no_solver_of_a_fixed_linear_part() -> None:
    with pytest.raises(ValueError, match=r"name must be one of .*, got 'exprb43'"):
        classical.exponential_rk("exprb43")


def test_row_sums_other_than_phi_1_are_not_linearised() -> None:
    with pytest.raises(ValueError, match=r"the weights of the row at c = 1/2 must sum to c phi_1"):
        integrate_linearised(CATALOGUE["lawson4"].tableau, gradient_system(), 4)


@pytest.mark.parametrize(("name", "low"), [("ab-norsett2", False), ("exprb42", True)])
def test_a_past_or_a_missing_embedded_row_is_rejected(name: str, low: bool) -> None:
    with pytest.raises(ValueError, match="tableau must be a one-step method, and have an embedded row"):
        integrate_linearised(CATALOGUE[name].tableau, gradient_system(), 4, low=low)


@pytest.mark.parametrize("steps", [0, -1, 2.5, True])
def test_a_bad_number_of_linearised_steps_is_rejected(steps: Any) -> None:
    with pytest.raises(ValueError, match="steps must be an integer >= 1"):
        integrate_linearised(CATALOGUE["exprb32"].tableau, gradient_system(), steps)
