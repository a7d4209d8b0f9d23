"""Explicit Runge-Kutta methods on the whole right-hand side of the probability flow, in t and in lambda.

In t they are what flow matching runs: the form integrates the velocity dx/dt, whatever the model predicts, so
that on `rectified_flow` each is a row of this table, and on any other schedule the baseline that papers
compare semilinear methods with.

| here                         | as others name it                                                          |
|------------------------------|----------------------------------------------------------------------------|
| euler-in-t                   | FlowMatchEulerDiscreteScheduler; on rectified flow it is DDIM              |
| heun-in-t                    | FlowMatchHeunDiscreteScheduler but for its Euler step to 0; "heun2"        |
| rk2-in-t                     | the explicit midpoint rule; "midpoint"; RF-Solver of second order          |
| rk3-in-t                     | Heun's third-order method; "heun3"                                         |
| rk4-in-t                     | Kutta's method                                                             |
| three-eighths-in-t           | Kutta's 3/8 rule; "rk4"                                                    |
| dormand-prince-in-t          | "dopri5" with the steps of the grid                                        |
| fireflow                     | the midpoint rule from the last step's middle: FireFlow's denoise_fireflow |
| rk2-in-lambda, rk3-in-lambda | the same in lambda                                                         |

Names in quotation marks are methods of facebookresearch/flow_matching, ODESolver, and of torchdiffeq.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from ..common import checks
from ..forms.form import FormOf
from ..forms.whole import velocity_in_lambda, velocity_in_time
from ..solver import Repeat, Solver
from ..tableaux.catalogue.butcher import BUTCHER
from .deis import EULER

VARIABLES: dict[str, FormOf] = {"t": velocity_in_time, "lambda": velocity_in_lambda}
FLOW = "Flow matching (Lipman et al. 2023), arXiv:2210.02747"
FIREFLOW = "FireFlow (Deng et al. 2024), arXiv:2412.07517"
BASELINE = "DPM-Solver (Lu et al. 2022), arXiv:2206.00927"
ODE_SOLVER = "facebookresearch/flow_matching, solver/ode_solver.py"
METHODS: dict[str, tuple[str, int, str]] = {
    "euler": ("euler", 1, f"{ODE_SOLVER}, method euler"),
    "heun": ("trapezoid", 2, f"{ODE_SOLVER}, method heun2"),
    "rk2": ("midpoint", 2, f"{ODE_SOLVER}, method midpoint"),
    "rk3": ("heun3", 3, f"{ODE_SOLVER}, method heun3"),
    "rk4": ("kutta4", 4, "Kutta 1901"),
    "three-eighths": ("three-eighths4", 4, f"{ODE_SOLVER}, method rk4"),
    "dormand-prince": ("dormand-prince5", 5, f"{ODE_SOLVER}, method dopri5, with fixed steps"),
}
"""The tableau, its order, and who runs it on the velocity."""


def whole(method: str, variable: str = "t") -> Solver:
    """An explicit Runge-Kutta method for dx/dt, or dx/dlambda: no part of the equation is solved exactly.

    method: one of `METHODS`.  variable: "t" or "lambda".  Raises ValueError for others.
    """
    checks.one_of("method", method, METHODS)
    checks.one_of("variable", variable, VARIABLES)
    tableau, order, source = METHODS[method]
    in_time = variable == "t"
    return Solver(
        name=f"{method}-in-{variable}",
        form=VARIABLES[variable],
        sequence=Repeat(BUTCHER[tableau], EULER),
        claimed=order,
        source=source if in_time else f"Tab. 1: {method.upper()} in lambda",
        paper=FLOW if in_time else BASELINE,
    )


def fireflow() -> Solver:
    """FireFlow: the midpoint rule, whose half step takes the velocity of the last step's middle for that of
    its own start.  One evaluation a step, and one more in the first, which evaluates its start.

    The half step is then off by O(h^2), as that of the midpoint rule is: second order.  No step is lowered,
    none evaluates its end.
    """
    step = replace(BUTCHER["midpoint"], carry=1)
    return Solver(
        name="fireflow",
        form=velocity_in_time,
        sequence=Repeat(step, step),
        claimed=2,
        source="Alg. 1; HolmesShuan/FireFlow, src/flux/sampling.py, denoise_fireflow",
        paper=FIREFLOW,
    )


LISTED = (
    *(partial(whole, method, "t") for method in METHODS),
    *(partial(whole, method, "lambda") for method in ("rk2", "rk3")),
    fireflow,
)
"""Constructors of the solvers that have a name of their own."""
