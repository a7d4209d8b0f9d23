"""Stiff order conditions: counts (docs/mathematics.md, 4), and spans against tensors in free symbols."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from semilinear.analysis.algebra.ring import Field, Ring
from semilinear.analysis.algebra.trees import Tree, trees
from semilinear.analysis.orders.expansion import expressions
from semilinear.analysis.orders.proof import prove
from semilinear.analysis.orders.stiff import (
    LEAF,
    ROOTED,
    Sense,
    StiffConditions,
    bushy,
    describe,
    independent,
    stiff_conditions,
)
from semilinear.integrators.tableaux.catalogue import CATALOGUE
from semilinear.integrators.tableaux.catalogue.entry import from_columns
from semilinear.integrators.tableaux.tableau import (
    N,
    Stage,
    Tableau,
    adams,
    nested_collocation,
    phi,
    phi1,
    phi2,
    phi3,
    phi4,
    z,
)
from sympy import Expr, Integer, Rational, Symbol, exp

H = Rational(1, 2)
SENSES: tuple[Sense, ...] = ("strong", "weak", "zero")


def orders(tableau: Tableau, through: int = 6) -> tuple[int, ...]:
    conditions = stiff_conditions(tableau)
    return tuple(conditions.order(through, sense) for sense in SENSES)


def test_the_conditions_are_as_many_as_in_the_literature() -> None:
    """16 through order 5 (Luan & Ostermann 2014), 36 through order 6 (Luan & Alhsmy), psi_1 left out."""
    counts = [len(trees(q, ROOTED)) for q in range(1, 7)]
    assert (sum(counts[1:5]), sum(counts[1:6])) == (16, 36)
    assert len({describe(tree) for q in range(1, 8) for tree in trees(q, ROOTED)}) == sum(counts) + 48


def test_the_conditions_of_order_4_in_words() -> None:
    assert sorted(map(describe, trees(4, ROOTED))) == [
        "psi_4",
        "sum_i b_i J (sum_j a_ij J psi_2,j)",
        "sum_i b_i J psi_3,i",
        "sum_i b_i c_i J psi_2,i",
    ]


KNOWN = {
    "etdrk2": (2, 2, 2),
    "etdrk3": (2, 2, 3),
    "etdrk4": (2, 2, 3),
    "krogstad4": (3, 3, 4),
    "hochbruck-ostermann3": (2, 3, 3),
    "hochbruck-ostermann4": (3, 4, 4),
    "lawson4": (0, 1, 1),
    "exprk5s8": (4, 5, 5),
}


@pytest.mark.parametrize("name", KNOWN)
def test_the_known_strong_weak_and_zero_orders(name: str) -> None:
    assert orders(CATALOGUE[name].tableau) == KNOWN[name]


@pytest.mark.parametrize("p", [1, 2, 3, 4, 5])
def test_nested_collocation_has_its_strong_order(p: int) -> None:
    assert orders(nested_collocation(p), p + 1)[0] == p


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_adams_has_its_strong_order_for_all_step_ratios(k: int) -> None:
    assert orders(adams(k), k + 2) == (k, k, k)


C2, C3 = Symbol("c2", positive=True), Symbol("c3", positive=True)


def family_5_8(c2: Any, c3: Any) -> Tableau:
    """Hochbruck & Ostermann 2005, eq. 5.8, gamma from 2 (gamma c2 + c3) = 3 (gamma c2^2 + c3^2)."""
    gamma = (3 * c3**2 - 2 * c3) / (2 * c2 - 3 * c2**2)
    a32 = gamma * c2 * phi(2, c2) + c3**2 / c2 * phi(2, c3)
    share = phi2 / (gamma * c2 + c3)
    return from_columns([Integer(0), c2, c3], {(3, 2): a32}, {2: gamma * share, 3: share})


def test_the_family_5_8_holds_for_all_abscissae() -> None:
    assert orders(family_5_8(C2, C3), 4) == (2, 3, 3)


@given(st.fractions("1/5", 1, max_denominator=7), st.fractions("1/5", 1, max_denominator=7))
@settings(max_examples=10)
def test_values_of_parameters_never_lower_an_order(c2: Any, c3: Any) -> None:
    a, b = (Rational(c.numerator, c.denominator) for c in (c2, c3))
    if Rational(2, 3) not in (a, b) and a != b:
        special = orders(family_5_8(a, b), 4)
        assert all(s >= g for s, g in zip(special, (2, 3, 3), strict=True))


def test_a_special_value_can_meet_a_condition_that_fails_in_general() -> None:
    """b_2 = phi_2/c_2: psi_3(0) = c_2/4 - 1/6 vanishes at c_2 = 2/3."""
    generic, special = (
        stiff_conditions(from_columns([Integer(0), c], {}, {2: phi2 / c})) for c in (C2, Rational(2, 3))
    )
    assert generic.order(4) == special.order(4) == 2
    assert generic.psi(3).taylor(0)
    assert not special.psi(3).taylor(0)


def rosenbrock(name: str) -> Tableau:
    """Hochbruck, Ostermann & Schweitzer 2009: D_i = N(U_i) - N(u_n)."""
    if name == "exprb32":
        return from_columns([Integer(0), Integer(1)], {}, {2: 2 * phi3})
    b = {2: 16 * phi3 - 48 * phi4, 3: -2 * phi3 + 12 * phi4}
    return from_columns([Integer(0), H, Integer(1)], {(3, 2): phi1}, b)


@pytest.mark.parametrize(("name", "linearised", "general"), [("exprb32", 3, 1), ("exprb43", 4, 1)])
def test_rosenbrock_methods_have_their_order_where_l_is_the_jacobian(
    name: str, linearised: int, general: int
) -> None:
    tableau = rosenbrock(name)
    assert stiff_conditions(tableau, linearised=True).order(5) == linearised
    assert stiff_conditions(tableau).order(5) == general


def test_the_conditions_of_rosenbrock_methods_are_those_of_the_literature() -> None:
    """Luan & Ostermann, exponential Rosenbrock methods of order 5: psi_1, psi_3, psi_4 and two more."""
    conditions = stiff_conditions(rosenbrock("exprb43"), linearised=True)
    names = [[describe(tree) for tree in conditions.trees(q)] for q in range(1, 6)]
    assert names[:4] == [["psi_1"], [], ["psi_3"], ["psi_4"]]
    assert sorted(names[4]) == ["psi_5", "sum_i b_i c_i J psi_3,i"]


# --- spans against tensors ---

FUNCTIONS = [Integer(1), phi1, phi2, phi(1, H), exp(z / 2), z * phi2]


def tensor(tableau: Tableau, tree: Tree) -> Expr:
    """A condition with a symbol of its own for each coefficient function, by sympy alone."""
    fresh = (Symbol(f"x{i}") for i in itertools.count())
    c = [Integer(0), *tableau.c]

    def at(e: Any, x: Symbol) -> Expr:
        """phi by its definition with exponentials."""

        def definition(k: Any, d: Any) -> Expr:
            head = sum(((d * z) ** j / math.factorial(int(j)) for j in range(int(k))), Integer(0))
            return (exp(d * z) - head) / (d * z) ** k

        return sympy.sympify(e).replace(phi, definition).subs(z, x)

    def psi(row: Any, m: int, end: Any, x: Symbol) -> Expr:
        total = sum((w * c[j] ** (m - 1) for j, w in row.items()), Integer(0)) / math.factorial(m - 1)
        return at(total - end**m * phi(m, end), x)

    def product(node: Tree) -> list[Expr]:
        vector = [ci ** node.children.count(LEAF) for ci in c]
        for child in node.children:
            if child != LEAF:
                vector = [a * b for a, b in zip(vector, below(child), strict=True)]
        return vector

    def below(node: Tree) -> list[Expr]:
        x = next(fresh)
        if bushy(node):
            m = len(node.children) + 1
            return [Integer(0), *(psi(row, m, end, x) for row, end in zip(tableau.a, tableau.c, strict=True))]
        vector = product(node)
        return [Integer(0), *(sum(at(w, x) * vector[j] for j, w in row.items()) for row in tableau.a)]

    x = next(fresh)
    if bushy(tree):
        return psi(tableau.b, len(tree.children) + 1, Integer(1), x)
    vector = product(tree)
    return sum((at(w, x) * vector[j] for j, w in tableau.b.items()), Integer(0))


def vanishes(expression: Expr) -> bool:
    """By exact expansion: exponentials of rational multiples of independent symbols are independent."""
    return sympy.expand(sympy.expand(expression), power_exp=True) == 0


@st.composite
def tableaux(draw: Any) -> Tableau:
    """Random rows, some of which meet conditions by construction."""

    def row(c: Any, known: int) -> Expr:
        weights = [
            draw(st.sampled_from([Integer(0), Integer(0), *FUNCTIONS])) * draw(st.sampled_from([1, -1, H]))
            for _ in range(known)
        ]
        form = draw(st.integers(0, 2))
        if form == 1:  # psi_1 = 0
            weights[0] += c * phi(1, c) - sum(weights)
        total = sum((w * N(j) for j, w in enumerate(weights)), Integer(0))
        if form == 2 and known > 1:  # psi_1 = psi_2 = 0
            total = (c * phi(1, c) - 2 * c**2 * phi(2, c)) * N(0) + 2 * c**2 * phi(2, c) * N(1)
        return sympy.expand(total)

    count = draw(st.integers(1, 2))
    c = [H, draw(st.sampled_from([H, Integer(1), Integer(0)]))][:count]
    stages = tuple(Stage(ci, row(ci, i)) for i, ci in enumerate(c, 1))
    return Tableau(stages, row(Integer(1), count + 1))


@given(tableaux())
@settings(max_examples=25)
def test_spans_decide_as_tensors_do(tableau: Tableau) -> None:
    conditions = stiff_conditions(tableau)
    for q in range(1, 5):
        failing = {name for name in conditions.violated(q) if not name.startswith("psi_1,")}
        assert failing == {describe(t) for t in trees(q, ROOTED) if not vanishes(tensor(tableau, t))}


@pytest.mark.parametrize("name", ["krogstad4", "hochbruck-ostermann3", "etdrk4", "hochbruck-ostermann4"])
def test_spans_decide_as_tensors_do_on_known_methods(name: str) -> None:
    tableau = CATALOGUE[name].tableau
    conditions = stiff_conditions(tableau)
    for q in range(1, 5):
        assert conditions.violated(q) == [
            describe(t) for t in trees(q, ROOTED) if not vanishes(tensor(tableau, t))
        ]


def test_equal_children_are_a_square_of_one_span_not_of_one_vector() -> None:
    """sum_i b_i B(psi_2,i, psi_2,i): with psi_2,i(x) psi_2,i(y), mixed products count."""
    tree = next(t for t in trees(5, ROOTED) if describe(t) == "sum_i b_i J psi_2,i J psi_2,i")
    tableau = CATALOGUE["krogstad4"].tableau
    assert ("sum_i b_i J psi_2,i J psi_2,i" in stiff_conditions(tableau).violated(5)) == (
        not vanishes(tensor(tableau, tree))
    )


@given(st.lists(st.lists(st.integers(-3, 3), min_size=4, max_size=4), min_size=1, max_size=6))
def test_independent_is_a_basis_of_the_span(rows: list[list[int]]) -> None:
    field = Field()
    vectors = [tuple(map(field, row)) for row in rows]
    basis = independent(vectors, field)
    matrix = sympy.Matrix(rows)
    assert len(basis) == matrix.rank()
    both = sympy.Matrix(
        [*rows, *([int(x.numerator) / sympy.Integer(int(x.denominator)) for x in v] for v in basis)]
    )
    assert both.rank() == matrix.rank()


def test_what_is_violated_is_named() -> None:
    lawson = stiff_conditions(CATALOGUE["lawson4"].tableau)
    assert lawson.violated(1) == ["psi_1"]
    assert lawson.violated(2, "zero") == []
    assert lawson.violated(2) == ["psi_2", "psi_1,2", "psi_1,3", "psi_1,4"]
    assert stiff_conditions(adams(2)).violated(3) == ["psi_3"]


def test_past_values_have_no_defects() -> None:
    """A stage from past values: psi_2,i of the stage only, none of P(1)."""
    conditions = stiff_conditions(Tableau((Stage(Integer(1), adams(2).output),), adams(2).output))
    assert conditions.order(4) == 2
    assert not any(conditions.psi_stages(2))
    assert all(conditions.psi_stages(3))


@pytest.mark.parametrize(("linearised", "order"), [(False, 1), (True, 2)])
def test_an_inconsistent_stage_costs_an_order_more_where_the_remainder_has_a_slope(
    linearised: bool, order: int
) -> None:
    """c_2 in place of c_2 phi_1(c_2 z): of Rosenbrock type N' = 0 at u_n, and the error acts through N''."""
    tableau = Tableau((Stage(Integer(1), N(0)),), (phi1 - phi3) * N(0) + phi3 * N(1))
    conditions = StiffConditions(tableau, Ring(Field(expressions(tableau))), linearised)
    assert conditions.order(4) == order
    assert "psi_1,2" in conditions.violated(order + 1)
    proof = prove(tableau, linearised=linearised)
    listed = [v.order for v in proof.violated(order + 1) if v.condition == "psi_1,2"]
    assert listed == [order + 1]


# --- stages that nothing reads ---


def with_unread(tableau: Tableau, at: int, formula: Expr) -> Tableau:
    """The tableau with one more stage before stage `at`, which nothing reads."""

    def moved(e: Expr) -> Expr:
        later = range(len(tableau.stages), at - 1, -1)
        return e.xreplace({N(i): N(i + 1) for i in later})

    stages = [Stage(s.c, moved(s.formula)) for s in tableau.stages]
    stages.insert(at - 1, Stage(Rational(1, 5), formula))
    return Tableau(tuple(stages), moved(tableau.output))


@pytest.mark.parametrize("name", ["krogstad4", "hochbruck-ostermann4", "strehmel-weiner4"])
@pytest.mark.parametrize("at", [1, 2])
def test_a_stage_that_nothing_reads_counts_in_no_condition(name: str, at: int) -> None:
    tableau = CATALOGUE[name].tableau
    extended = with_unread(tableau, at, 7 * N(0))
    own, other = prove(tableau), prove(extended)
    assert (own.unread, other.unread) == ([], [at])
    assert other.orders == own.orders
    assert other.stage_order == own.stage_order
    assert [v.residual for v in other.violated()] == [v.residual for v in own.violated()]
    assert prove(extended, form="rho").classical == prove(tableau, form="rho").classical


def test_stages_that_only_unread_ones_read_are_unread() -> None:
    tableau = Tableau(
        (Stage(Rational(1, 2), 7 * N(0)), Stage(1, N(1)), Stage(1, phi(1, 1) * N(0))), N(0) * phi(1, 1)
    )
    assert prove(tableau).unread == [1, 2, 3]
    assert prove(tableau).stiff == 1
    carried = Tableau(tableau.stages, tableau.output, carry=2)
    assert prove(carried).unread == [3]
    used = Tableau(tableau.stages, tableau.output + N(2) - N(0))
    assert prove(used).unread == [3]
    rows = [v.condition for v in prove(used).violated(2) if v.condition.startswith("psi_1,")]
    assert rows == ["psi_1,2", "psi_1,3"]
