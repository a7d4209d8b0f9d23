"""Forms that give up what a semilinear form has: the ablations that papers compare themselves with.

| form               | tau    | Phi   | w              | N          | what is given up                    |
|--------------------|--------|-------|----------------|------------|-------------------------------------|
| velocity_in_time   | t      | 1     | 1              | dx/dt      | the linear part is not solved       |
| velocity_in_lambda | lambda | 1     | 1              | dx/dlambda | the same                            |
| score_in_time      | t      | alpha | -sigma drho/dt | score      | the integrand grows like 1/sigma    |

dx/dt at fixed x_0 and eps is the model value "flow", the velocity that flow matching learns, so that
`velocity_in_time` on `rectified_flow` is what its samplers integrate.  On every schedule it is the right-hand
side of the probability flow, f x - g^2 score/2.
"""

from __future__ import annotations

from ..diffusion.schedule import Schedule
from ..numerics.arithmetic import Value, of
from ..numerics.quadrature import GAUSS
from .form import Exponential, Form, Measured, Variable, in_time


def _same(t: Value) -> Value:
    return t


def _one(t: Value) -> Value:
    return of(t).number(1)


def velocity_in_time(schedule: Schedule) -> Form:
    """dx = (alpha' x_0 + sigma' eps) dt.  Lipman et al. 2023 (flow matching); Lu et al. 2022 (DPM-Solver),
    Tab. 1: Runge-Kutta methods in t.
    """
    weight = Exponential(_one, 0)
    equation = "dx = (alpha' x_0 + sigma' eps) dt"
    return Form("velocity_in_time", schedule, _same, _same, _one, weight, "flow", equation=equation)


def velocity_in_lambda(schedule: Schedule) -> Form:
    """dx = (dx/dlambda) dlambda.  Lu et al. 2022 (DPM-Solver), Tab. 1: Runge-Kutta methods in lambda."""
    f = schedule.formulas

    def integrand(t: Value) -> tuple[Value, Value, Value]:
        return 0, -f.rho(t) / f.rho_dot(t), 0

    weight = Exponential(_one, 0)
    equation = "dx = (alpha' x_0 + sigma' eps) dlambda, ' = d/dlambda"
    return Form(
        "velocity_in_lambda",
        schedule,
        f.lam,
        f.t_of_lam,
        _one,
        weight,
        "flow",
        affine=integrand,
        equation=equation,
    )


def score_in_time(schedule: Schedule) -> Form:
    """d(x/alpha) = -sigma (d rho/dt) score dt: the form of DEIS's exponential integrator before its integrand
    is changed to eps = -sigma score.  Zhang & Chen 2023, Sec. 3.
    """
    f = schedule.formulas
    of_eps = in_time(schedule)

    def variable(t0: Value, t1: Value) -> Variable:
        v = of_eps(t0, t1)
        return Variable(v.node, v.offset, lambda s: -f.sigma(t0 + v.offset(s)) * v.density(s))

    equation = "d(x/alpha) = -sigma (d rho/dt) score dt"
    weight = Measured(variable, GAUSS, schedule.breakpoints)
    return Form("score_in_time", schedule, _same, _same, f.alpha, weight, "score", equation=equation)
