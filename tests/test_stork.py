"""STORK, whose stages are one quadrature: against its recurrence run stage by stage."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from semilinear.analysis.orders.solver_proof import prove_solver
from semilinear.integrators.diffusion.prediction import convert
from semilinear.integrators.diffusion.schedule import rectified_flow
from semilinear.integrators.plans.compile import compile_plan
from semilinear.integrators.run.sampler import sample
from semilinear.integrators.solver import Solver
from semilinear.integrators.solvers import make, stork
from semilinear.integrators.tableaux.tableau import omega
from semilinear.verification.claims.flow import FOREIGN_NODES
from semilinear.verification.problems.named import problem
from sympy import Rational

from tests.roundings import AMPLIFIED, SOME_ULP

FLOW = rectified_flow()
VELOCITY = convert(FLOW, problem("golden-mixture").model(FLOW), "eps", "flow")
X = torch.tensor([[0.3, -1.2], [1.5, 0.4], [-0.7, 0.9]], dtype=torch.float64)
TIMES = (0.9, 0.75, 0.62, 0.5, 0.31, 0.2, 0.0)


def run(solver: Solver) -> Any:
    return sample(compile_plan(solver, FLOW, times=TIMES, prediction="flow"), VELOCITY, X).x


def gegenbauer(j: int) -> float:
    return [1, 1 / 3][j] if j < 2 else 4 * (j - 1) * (j + 4) / (3 * j * (j + 1) * (j + 2) * (j + 3))


def stages(x: Any, h: float, v: Any, slope: Any, bend: Any, s: int, own_nodes: bool) -> Any:
    """The recurrence of s stages; each velocity is a Taylor polynomial in the fraction of the step."""
    w = 6 / ((s + 4) * (s - 1))
    before, last, nodes = x, x + h * w * v, [0.0, w]
    for j in range(2, s + 1):
        b = [gegenbauer(i) for i in (j, j - 1, j - 2)]
        mu, nu = (2 * j + 1) * b[0] / (j * b[1]), -(j + 1) * b[0] / (j * b[2])
        first = -mu * w * (1 - j * (j + 1) * b[1] / 2)
        of_legendre = 4 / 3 if j == 2 else (j - 1) ** 2 + (j - 1) - 2
        c = nodes[-1] if own_nodes else of_legendre / (s * s + s - 2)
        value = v + c * h * slope + (c * h) ** 2 / 2 * bend
        nodes.append(mu * nodes[-1] + nu * nodes[-2] + mu * w + first)
        before, last = last, mu * last + nu * before + (1 - mu - nu) * x + h * (mu * w * value + first * v)
    return last


@pytest.mark.parametrize("released", [True, False])
@pytest.mark.parametrize("s", [2, 5, 50])
def test_many_stages_are_one_row(s: int, released: bool) -> None:
    x = X
    past: list[Any] = []
    for i, (t, end) in enumerate(itertools.pairwise(TIMES)):
        h, v = end - t, VELOCITY(x, t)
        if i == 0:
            middle = x + h / 2 * v
            x = middle + h / 2 * (1.5 * VELOCITY(middle, t + h / 2) - 0.5 * v)
        elif i == 1:
            x = x + h * v + h**2 / 2 * (v - past[-1]) / (t - TIMES[0])
        else:
            h1, h2 = t - TIMES[i - 1], TIMES[i - 1] - TIMES[i - 2]
            slope = (3 * v - 4 * past[-1] + past[-2]) / (2 * h1)
            bend = 2 * ((v - past[-1]) / h1 - (past[-1] - past[-2]) / h2) / (h1 + h2)
            x = stages(x, h, v, slope, bend, s, not released)
        past.append(v)
    # a recurrence of s stages amplifies its roundings
    torch.testing.assert_close(run(stork.stork_2(s, released=released)), x, rtol=AMPLIFIED, atol=AMPLIFIED)


@pytest.mark.parametrize("s", [2, 3, 10, 50])
def test_only_nodes_of_its_own_give_a_stabilised_method_its_order(s: int) -> None:
    assert stork.gegenbauer_moments(s)[:2] == (1, Rational(1, 2))
    whole, first, _ = stork.gegenbauer_moments(s, stork.legendre_node)
    assert whole == 1
    assert first < Rational(1, 2)


def test_the_moment_that_reports_name_is_that_of_fifty_stages() -> None:
    assert f"{float(stork.gegenbauer_moments(50, stork.legendre_node)[1]):.4f}" in FOREIGN_NODES


def test_a_stage_fewer_or_more_is_refused() -> None:
    for given in (1, stork.MAX_SUBSTEPS + 1):
        with pytest.raises(ValueError, match="substeps must be"):
            stork.stork_2(given)


@pytest.mark.parametrize(
    ("name", "order"), [("stork-2-released", 1), ("stork-2-corrected", 2), ("stork-4-corrected", 2)]
)
def test_proved_order(name: str, order: int) -> None:
    proof = prove_solver(make(name))
    assert (proof.formula(), proof.run()) == (order, order)


def test_stork_4_is_third_order_on_equal_steps_alone() -> None:
    """There its leading error vanishes: it is Adams-Bashforth of order 3, not 4."""
    equal = {omega(1): 1, omega(2): 2}
    assert all(t.coefficient.subs(equal) == 0 for t in prove_solver(make("stork-4-corrected")).leading_error)
    step = make("stork-4-corrected").sequence.tableaux[-1]
    assert step.quadrature_order == 3
    assert [w.subs(equal) for w in step.b.values()] == [Rational(n, 12) for n in (23, -16, 5)]


def test_the_velocity_of_a_point_is_followed_exactly() -> None:
    """x' = x/t is constant along a trajectory: every row sums to 1, to t = 0."""
    for name in ("stork-2-released", "stork-2-corrected", "stork-4-corrected"):
        plan = compile_plan(make(name), FLOW, times=TIMES, prediction="flow")
        assert plan.nfe == len(TIMES)
        assert float(sample(plan, lambda x, t: x / t, X).x.abs().max()) < SOME_ULP
