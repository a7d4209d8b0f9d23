"""Proofs of whole solvers: what is expected of every solver follows from its coefficients alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import pytest
import sympy
from semilinear.analysis.orders.expansion import weighted
from semilinear.analysis.orders.moments import POINTS, by_parts, left_mean, left_riemann
from semilinear.analysis.orders.solver_proof import GRIDS, on_smooth_grid, prove_solver
from semilinear.integrators.forms.form import data_in_lambda
from semilinear.integrators.solver import Final, Ramp, Solver
from semilinear.integrators.solvers import make
from semilinear.integrators.solvers.scire_snapshots import PHI
from semilinear.integrators.tableaux.catalogue import CATALOGUE
from semilinear.integrators.tableaux.tableau import (
    N,
    P,
    Stage,
    StepRatio,
    Tableau,
    adams,
    interpolate,
    omega,
    phi1,
)
from semilinear.verification.claims.expectations import EXPECTATIONS
from semilinear.verification.claims.flow import Expectation
from semilinear.verification.studies.flow import run
from semilinear.verification.studies.ladders import half_octaves
from semilinear.verification.studies.setting import Setting
from sympy import Expr, Integer, Rational, Symbol, symbols

UNPROVED = ("score-sde-pf-em", "score-sde-pf-reverse-diffusion")
SLOW = {"unipc-4-bh2", "unipc-5-bh2"} | {
    name for name, entry in CATALOGUE.items() if not entry.linearised and entry.tableau.past >= 3
}
"""Many step ratios: proofs of seconds, which `semilinear verify` makes too."""
PROVABLE = [
    pytest.param(e, id=e.label, marks=pytest.mark.slow if e.solver in SLOW else ())
    for e in EXPECTATIONS
    if e.solver not in UNPROVED
]


def corrected(order: int, predictor: Any) -> Tableau:
    """Predict by a row, correct through `order` nodes, the predicted one among them; carry its evaluation."""
    nodes = {Integer(0): N(0), Integer(1): N(1)} | {-omega(j): P(j) for j in range(1, order - 1)}
    return Tableau((Stage(Integer(1), predictor),), interpolate(nodes), carry=1)


@pytest.mark.parametrize("expectation", PROVABLE)
def test_the_expected_orders_are_the_proved_ones(expectation: Expectation) -> None:
    proof = prove_solver(expectation.build(), residue=expectation.residue)
    for expected, proved in ((expectation.exact, proof.exact_start()), (expectation.own, proof.run())):
        if expected is None:  # the measured order falls; its limit is below what is claimed
            assert proved < proof.solver.claimed
        else:
            assert proved == expected


@pytest.mark.parametrize("name", UNPROVED)
def test_a_discretised_kernel_has_no_formula(name: str) -> None:
    with pytest.raises(ValueError, match="discretised kernel"):
        prove_solver(make(name))


def test_ipndm_has_three_orders() -> None:
    proof = prove_solver(make("deis-ipndm"))
    assert [proof.formula(grid) for grid in GRIDS] == [1, 2, 4]
    assert (proof.run("any"), proof.across_kinks(), proof.run()) == (1, 2, 2)  # one bad step costs h^2


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_adams_methods_have_their_order_on_every_grid(k: int) -> None:
    proof = prove_solver(make(f"deis-lambdaab{k - 1}"))
    assert [proof.formula(grid) for grid in GRIDS] == [k, k, k]
    assert proof.across_kinks() == proof.run()


FIRST = (1 - PHI) / (2 * PHI)
SECOND = (1 - PHI**2) / (2 * PHI**2)


@pytest.mark.parametrize(
    ("name", "constant"),
    [
        *((f"scire-{v}-{k}-released", FIRST) for v in ("v1", "v2") for k in ("2", "3", "2m")),
        ("scire-v1-agile-3-released", FIRST),
        ("scire-v1-2m-released-d30", FIRST),
        ("scire-v1-2m-released-sd", SECOND),
        ("scire-ei-2-released-disc", FIRST),
        ("scire-v1-3-released-edm", FIRST),
        *((f"scire-{v}-3m-released", SECOND) for v in ("v1", "v2")),
    ],
)
def test_the_local_error_of_scire_is_its_constant_times_the_slope(name: str, constant: Any) -> None:
    (term,) = prove_solver(make(name)).error_on_equal_steps
    assert (term.differential, term.order) == ("D N", 2)
    assert sympy.simplify(term.coefficient - constant) == 0


@pytest.mark.parametrize("p", [1, 2])
def test_a_predictor_two_orders_below_costs_one_order(p: int) -> None:
    """PEC lemma: min(p, q + 1)."""
    predictor = adams(p).output
    good, poor = (
        Solver(
            name="pec", form=data_in_lambda, sequence=Ramp((corrected(n, predictor),)), claimed=n, source=""
        )
        for n in (p + 1, p + 3)
    )
    assert prove_solver(good).formula() == p + 1
    assert prove_solver(poor).formula() == p + 1


def test_a_first_order_step_at_either_end_leaves_second_order() -> None:
    start = make("dpm-solver-3m-corrected")
    proof = prove_solver(start)
    assert (proof.formula(), proof.exact_start(), proof.run()) == (3, 3, 2)
    end = replace(start, sequence=Ramp((adams(3),), last=(adams(1),)))
    proof = prove_solver(end)
    assert (proof.formula(), proof.exact_start(), proof.run()) == (3, 2, 2)


def test_a_wrong_step_ratio_costs_an_order_on_grids_that_are_not_equal() -> None:
    proof = prove_solver(_with_ratio(omega(1) ** 2))
    assert [proof.formula(grid) for grid in GRIDS] == [1, 2, 2]


def _with_ratio(ratio: Expr) -> Solver:
    """Adams-Bashforth 2 in rho with another step ratio."""
    wrong = Tableau((), adams(2).output.subs(omega(1), ratio))
    return replace(make("deis-rhoab1"), sequence=Ramp((adams(1), wrong)))


def test_what_a_parameter_multiplies_does_not_telescope() -> None:
    """The same slip times a parameter, which may be 1 in every other step alone."""
    right, inverted = (_with_ratio(r).sequence.tableaux[-1].output for r in (omega(1), 1 / omega(1)))
    sometimes = Tableau((), right + Symbol("a") * (inverted - right))
    proof = prove_solver(replace(make("deis-rhoab1"), sequence=Ramp((adams(1), sometimes))))
    assert [proof.formula(grid) for grid in GRIDS] == [1, 2, 2]


def test_an_inverted_step_ratio_telescopes() -> None:
    """It leaves h^2 (omega_1^2 - 1) N'/2 = (h_0^2 - h^2) N'/2: large in a step, not in their sum, so that the
    method is second order on any grid. Steps that alternate in length 1 : 2 show it.
    """
    inverted = _with_ratio(1 / omega(1))
    proof = prove_solver(inverted)
    assert [proof.formula(grid) for grid in GRIDS] == [2, 2, 2]
    (recurring,) = (part for part in proof.parts if part.place == "recurring")
    assert (recurring.order("any"), recurring.order("any", summed=False)) == (2, 1)
    assert proof.across_kinks() == 2  # where one such error is made, nothing cancels it, and it is made once
    rough = Setting(
        "", "golden-mixture", "vp-linear", "alternating:base=t-quadratic", ladder=half_octaves(16, 256)
    )
    found = [run(solver, rough.build()).estimate for solver in (inverted, _with_ratio(omega(1) ** 2))]
    assert found[0].low < 2 < found[0].high
    assert found[1].low < 1 < found[1].high


RATIO = StepRatio("q")


@pytest.mark.parametrize(
    ("slip", "orders"),
    [
        (RATIO - 1, [1, 2, 3]),
        (RATIO ** Rational(1, 4) - 1, [1, 2, 3]),
        ((sympy.sqrt(RATIO) - 1) ** 2, [1, 3, 3]),
        pytest.param(sympy.sqrt(omega(1)) - 1, [1, 2, 3], marks=pytest.mark.slow),
        (sympy.sqrt(omega(2)) - sympy.sqrt(2), [1, 2, 3]),
        (omega(2) - 2 * omega(1), [1, 2, 3]),
        (omega(2) - 2 * omega(1) + 1, [1, 1, 1]),
    ],
    ids=str,
)
def test_a_slip_costs_as_many_powers_of_h_as_it_vanishes_by(slip: Any, orders: list[int]) -> None:
    """Adams of order 3 and slip times the first difference, roots of step ratios included."""
    row = adams(3).output + slip * phi1 * (N(0) - P(1))
    solver = replace(make("deis-rhoab2"), sequence=Ramp((adams(1), adams(2), Tableau((), row))))
    proof = prove_solver(solver)
    assert [proof.formula(grid) for grid in GRIDS] == orders


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_the_left_riemann_sum_of_deis_makes_one_error(degree: int) -> None:
    proof = prove_solver(make(f"deis-tab{degree}-released"), points=POINTS)
    found = {t.differential: t.coefficient for t in proof.error_on_equal_steps}
    assert found == {"w' N": -1 / (2 * POINTS), "w D N": -1 / (2 * POINTS)}


def test_the_same_sum_in_rho_errs_in_the_slope_alone() -> None:
    """There w = 1, which has no derivative."""
    proof = prove_solver(make("deis-rhoab1-released"), points=POINTS)
    assert {t.differential: t.coefficient for t in proof.error_on_equal_steps} == {"D N": -1 / (2 * POINTS)}


@pytest.mark.parametrize("p", [0, 1, 2, 5])
@pytest.mark.parametrize("points", [1, 2, 7])
def test_the_mean_of_powers_is_the_sum(p: int, points: int) -> None:
    total = sum((Fraction(i**p, points**p) for i in range(points)), Fraction(0)) / points
    assert left_mean(p, points) == Rational(total.numerator, total.denominator)
    assert left_mean(p, POINTS).subs(POINTS, points) == left_mean(p, points)


def test_infinitely_many_points_are_exact() -> None:
    for k in (1, 2, 3):
        for m in (0, 1, 2):
            for rule in (left_riemann(), by_parts()):
                assert sympy.limit(rule.moment(k, m), POINTS, sympy.oo) == Rational(1, k + m)
        assert sympy.limit(by_parts().free(k), POINTS, sympy.oo) == 0


def test_a_smooth_grid_has_the_ratios_of_its_map() -> None:
    """tau = xi + g_1 xi^2/2 at equal steps: omega_1 = 1 - g_1 delta + O(delta^2)."""
    delta, g = sympy.Symbol("delta", positive=True), sympy.Symbol("g_1")
    series = sympy.series(on_smooth_grid(omega(1), 1), delta, 0, 2).removeO()
    assert sympy.expand(series - (1 - g * delta)) == 0


def test_rows_that_are_not_moments_are_refused_where_the_weight_is_open() -> None:
    with pytest.raises(ValueError, match="has no moment"):
        weighted(Tableau((), N(0)), 2)
    with pytest.raises(ValueError, match="not a constant times one moment"):
        weighted(Tableau((), phi1**2 * N(0)), 2)


def test_other_things_than_solvers_of_the_flow_are_refused() -> None:
    with pytest.raises(ValueError, match="is stochastic"):
        prove_solver(make("sde-dpm-solver++-2m"))
    with pytest.raises(TypeError, match="solver must be a Solver"):
        prove_solver(symbols("x"))


def test_of_two_tableaux_that_recur_the_worse_one_has_the_leading_error() -> None:
    @dataclass(frozen=True)
    class Alternating(Ramp):
        """The ramp's tableaux in turn."""

        def at(self, budget: int, final: Final) -> tuple[Tableau, ...]:
            return tuple(self.ramp[-1 - i % 2] for i in range(budget))

    proof = prove_solver(
        Solver(
            name="two", form=data_in_lambda, sequence=Alternating((adams(1), adams(2))), claimed=1, source=""
        )
    )
    assert proof.formula() == proof.run() == 1
    assert [str(term) for term in proof.error_on_equal_steps] == ["(-1/2) h^2 D N"]


def test_the_leading_error_on_a_smooth_grid_holds_terms_that_vanish_on_equal_steps() -> None:
    """iPNDM: h^2 D N with a coefficient of size h, and h^3 D^2 N; on equal steps it is Adams-Bashforth 4."""
    proof = prove_solver(make("deis-ipndm"))
    first, second = proof.leading_error
    assert [(t.differential, t.order) for t in (first, second)] == [("D N", 2), ("D^2 N", 3)]
    w = [omega(j) for j in (1, 2, 3)]
    expected = (59 * w[0] - 37 * w[1] + 9 * w[2] - 12) / 24
    assert sympy.expand(first.coefficient - expected) == 0
    assert [str(term) for term in proof.error_on_equal_steps] == ["(-251/720) h^5 D^4 N"]
