"""What a released quadrature rule with K points costs, predicted from its local error and measured.

With K left open the proof of a solver gives its leading local error: for DEIS -h^2/(2K) D(w N), for ER-SDE-2
-h^2/(2K) w D N: first order in h whatever the order of the formula, as soon as h^(p-1) < 1/K, roughly.  The
sum of what becomes of these errors is compared with the difference between the run by that rule and the run
by exact integrals.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from semilinear.analysis.orders.moments import POINTS
from semilinear.analysis.orders.solver_proof import prove_solver
from semilinear.integrators.forms.form import Form, noise_in_rho, noise_in_time
from semilinear.integrators.forms.noise_scale import ODE
from semilinear.integrators.numerics.quadrature import LeftRiemann
from semilinear.integrators.solver import Solver
from semilinear.integrators.solvers import deis, er_sde

from .error_constants import Constant, Run, Setting


@dataclass(frozen=True)
class Rule:
    """A solver by a rule with K points, and by exact integrals."""

    name: str
    released: Callable[[int], Solver]
    exact: Solver

    @property
    def local_error(self) -> str:
        """The leading local error for any K, on equal steps."""
        return " + ".join(map(str, prove_solver(self.released(10), points=POINTS).error_on_equal_steps))


def _deis(exact: Solver, form: Callable[..., Form]) -> Rule:
    def released(points: int) -> Solver:
        return replace(exact, form=lambda schedule: form(schedule, LeftRiemann(points)))

    return Rule(exact.name, released, exact)


def _er_sde(order: int) -> Rule:
    exact = er_sde.er_sde(2, ODE) if order == 2 else er_sde.uncorrected(order, ODE)
    return Rule(
        f"er-sde-ode-{order}", lambda points: er_sde.released(order, ODE, points=points, clip=0), exact
    )


RULES = (
    *(_deis(deis.tab(k), noise_in_time) for k in (1, 2, 3)),
    *(_deis(deis.rho_ab(k), noise_in_rho) for k in (1, 2, 3)),
    *(_er_sde(k) for k in (2, 3)),
)


def effect(rule: Rule, points: int, steps: int, setting: Setting | None = None) -> Constant:
    """The error that `points` points make at the end, measured over predicted, with n and 2 n steps."""
    setting = Setting.default() if setting is None else setting
    solver, pairs = rule.released(points), []
    for n in (steps, 2 * steps):
        run = Run(solver, prove_solver(solver), setting, n)
        exact = Run(rule.exact, prove_solver(rule.exact), setting, n)
        pairs.append(((run.final() - exact.final()).astype(float), run.predicted()))
    return Constant.of(f"{rule.name}, K = {points}", 1, steps, *pairs)
