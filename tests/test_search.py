"""The search for methods: each case is met, what was not looked at is said, the time ends it anywhere."""

from __future__ import annotations

import time

import pytest
import sympy
from semilinear.analysis.derivation import watch as watches
from semilinear.analysis.derivation.ansatz import Ansatz, AnsatzRow
from semilinear.analysis.derivation.derive import derive, unknown_method
from semilinear.analysis.derivation.elimination import branches
from semilinear.analysis.derivation.family import Conditions
from semilinear.analysis.derivation.membership import Numbers, holds, numbers
from semilinear.analysis.derivation.search import Search
from semilinear.analysis.derivation.watch import OutOfTime, Watch
from semilinear.analysis.orders.expansion import FormName, expand
from semilinear.analysis.orders.proof import local_order, prove
from semilinear.integrators.tableaux.tableau import phi
from sympy import Expr, Integer, Rational, Symbol, sqrt

from tests.slow import slow

C2, C3, C4 = (Symbol(f"c{i}") for i in (2, 3, 4))
X, T = Symbol("x"), Symbol("t")


def two_coincidences() -> Ansatz:
    """b_2 is a multiple of phi_2(c2 z) - phi_2(c3 z) + phi_2(c4 z), which is phi_2(z) where two of the
    abscissae are equal and the third is 1, and so stiff order 2 exists there alone.
    """
    function = phi(2, C2) - phi(2, C3) + phi(2, C4)
    output = AnsatzRow(Integer(1), {(1, function): Symbol("b_2")})
    return Ansatz((*(AnsatzRow(c, {}) for c in (C2, C3, C4)), output), (Symbol("b_2"),))


def test_a_method_that_needs_two_coincidences_is_found() -> None:
    found = Search(two_coincidences(), 2, "stiff").run()
    places = {family.tableau.c for family in found.families}
    assert places == {(C2, C2, 1), (1, C3, C3)}
    for family in found.families:
        assert prove(family.tableau).stiff == 2
    assert found.complete


def test_what_is_not_looked_at_is_no_claim() -> None:
    """Generic abscissae and one coincidence have no such method."""
    found = Search(two_coincidences(), 2, "stiff").run(everywhere=False)
    assert not found.families
    assert not found.complete
    assert found.left


@pytest.mark.parametrize(
    ("abscissae", "order", "form", "conditions"),
    [
        ([C2], 3, "rho", "classical"),
        ([C2], 3, "t", "classical"),
        ([C2], 3, "lambda", "scalar"),
        ([C2], 3, "lambda", "weak"),
        ([C2, C3], 4, "rho", "classical"),
    ],
)
def test_fewer_evaluations_than_the_order_are_too_few(
    abscissae: list[Symbol], order: int, form: str, conditions: Conditions
) -> None:
    """Butcher's barrier for s <= 4, a theorem: found anew, over all abscissae."""
    unknown = unknown_method(abscissae, order=order, form=form, conditions=conditions)  # type: ignore[arg-type]
    found = Search(unknown, order, conditions).run()
    assert found.complete
    assert not found.families


@pytest.mark.slow
def test_all_five_families_of_kutta_are_found() -> None:
    """Four evaluations of order 4 (Butcher 2016, Sec. 322): c2 and c3 free; c2 = c3 = 1/2; c2 = 1/2, c3 = 0;
    c2 = 1, c3 = 1/2; c3 = 1/2 with b_3 and c2 free, a point of the first.
    """
    found = Search(unknown_method([C2, C3, C4], order=4, form="rho"), 4, "classical").run(further=True)
    half = Rational(1, 2)
    special = {f.tableau.c for f in found.families}
    assert {(half, half, 1), (half, 0, 1), (1, half, 1), (C2, C3, 1)} <= special
    for family in found.families:
        assert local_order(expand(family.tableau, 5, "rho"), 5) == 4


def test_a_value_that_other_weights_depend_on_is_a_parameter() -> None:
    """b_3(0) of methods with c2 = c3 = 1/2; a weight on which nothing depends keeps its coefficients."""
    (family,) = derive([Rational(1, 2), Rational(1, 2), 1], order=4)
    names = {s.name for s in family.parameters}
    assert "b_3_0" in names
    assert "b_3_1" not in names
    assert local_order(expand(family.tableau, 5, "lambda"), 5) == 4
    (first,) = derive([C2], order=1, indices=[1, 2])
    assert [s.name for s in first.parameters] == ["b_2_1", "b_2_2", "c2"]


@pytest.mark.parametrize("seconds", [0.0, 0.5])
def test_a_search_ends_with_its_time_and_says_where(seconds: float) -> None:
    unknown = unknown_method([C2, C3, C4, Symbol("c5")], order=4, form="rho")
    started = time.monotonic()
    found = Search(unknown, 4, "classical", Watch(seconds)).run()
    assert time.monotonic() - started < 60
    assert found.ended == "the time was over"
    assert not found.complete
    assert found.left[0] == "the rest of generic abscissae"
    assert found.unfinished is None or found.unfinished.state.order < 4


def test_what_is_being_done_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watches, "EVERY", 0.0)
    lines: list[str] = []
    Search(unknown_method([C2], order=2), 2, "classical", Watch(report=lines.append)).run()
    words = "generic abscissae: 1 equations of order 2 in 2 unknowns, 1 free abscissae"
    assert any(words in line for line in lines)


def test_a_watch_without_time_does_not_end() -> None:
    Watch().check()
    with pytest.raises(OutOfTime):
        Watch(0.0).note("anything")


def test_special_parameters_are_followed_where_a_divisor_vanishes() -> None:
    """(t - 1) x = 0, x^2 + t = 2: x = 0 and t = 2, or t = 1 and x = 1 or -1."""
    ring, x, t = sympy.ring([X, T], sympy.QQ)
    assert ring.symbols == (X, T)
    equations = [(t - 1) * x, x**2 + t - 2]
    found = [b.values for b in branches(equations, [X], [T], special=True)]
    assert {(b[X], b[T]) for b in found} == {(0, 2), (1, 1), (-1, 1)}
    assert [b.values for b in branches(equations, [X], [T])] == [{X: 0, T: 2}]


@pytest.mark.parametrize(
    "root", slow([(5 - sqrt(5)) / 10, sqrt(2) / 2, 1 / sqrt(3)], lambda root: not root.is_Add)
)
def test_abscissae_with_roots_have_methods(root: Expr) -> None:
    for form in ("rho", "lambda"):
        (family,) = derive([root], order=2, form=form)
        assert local_order(expand(family.tableau, 3, form), 3) == 2
    (family,) = derive([root, 2 * root], order=3, form="rho")
    assert local_order(expand(family.tableau, 4, "rho"), 4) == 3
    (member,) = derive([root], order=2, conditions="stiff")
    assert prove(member.tableau).stiff == 2


@pytest.mark.parametrize(
    ("form", "stages", "order"),
    [("rho", 3, 3), pytest.param("rho", 4, 4, marks=pytest.mark.slow), ("lambda", 3, 3)],
)
def test_arithmetic_and_algebra_tell_alike_who_is_in_a_family(
    form: FormName, stages: int, order: int
) -> None:
    unknown = unknown_method([f"c{i}" for i in range(2, stages + 1)], order=order, form=form)
    families = Search(unknown, order, "classical").run(further=True).families
    decided = 0
    for one in families:
        for other in families:
            assert other.member is not None
            found = one.find(other.member.tableau) is not None
            assert one.holds(other) == found
            told = holds(one.ansatz, one.nonzero, numbers(other.member.ansatz, {}))
            assert told in (found, None)
            decided += told is not None
    assert decided >= len(families) ** 2 / 2  # or else arithmetic is of no use


def test_a_member_with_one_wrong_weight_is_in_no_family() -> None:
    (family, *_) = derive(["c2"], order=2)
    assert family.member is not None
    member = numbers(family.member.ansatz, {})
    assert holds(family.ansatz, family.nonzero, member) is True
    for place in member.weights:
        if place[0] == 1:  # the output row's, which conditions bind; a stage's are free here
            wrong = dict(member.weights) | {place: member.weights[place] + 1}
            assert holds(family.ansatz, family.nonzero, Numbers(member.c, wrong)) is not True
    wrong_place = dict(member.weights) | {(1, 1, 7, member.c[0]): member.c[0]}
    assert holds(family.ansatz, family.nonzero, Numbers(member.c, wrong_place)) is False
