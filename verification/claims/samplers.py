"""What solvers are compared with: the papers' baselines, as functions of a run, and listed solvers by name.

The baselines integrate the probability flow as a general ODE, the whole drift at once:

    in t:        x' = (alpha'/alpha) x + alpha rho' eps,
    in lambda:   the same over lambda' = -rho'/rho,

or, in DEIS's first ingredient, the linear part exactly with the score frozen over a step: on a
variance-preserving schedule  x_1 = psi x_0 + (psi - 1) s_0,  psi = alpha_1/alpha_0.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from semilinear.integrators.solver import Solver
from semilinear.integrators.solvers import SOLVERS

from ..studies.experiment import Experiment, Sampler
from ..studies.own_statistics import on_experiment

Rule = tuple[tuple[float, ...], ...]
"""Of an explicit method: a row of a for every stage but the first, then b."""
EULER: Rule = ((1.0,),)
MIDPOINT: Rule = ((0.5,), (0.0, 1.0))
HEUN3: Rule = ((1 / 3,), (0.0, 2 / 3), (0.25, 0.0, 0.75))


def runge_kutta(rule: Rule, in_lambda: bool, run: Any) -> Any:
    """An explicit Runge-Kutta method on the whole drift, in t or in lambda."""
    f, x = run.schedule.formulas, run.x

    def slope(state: Any, t: Any) -> Any:
        drift = state * (f.alpha_dot(t) / f.alpha(t)) + run.model(state, t) * (f.alpha(t) * f.rho_dot(t))
        return drift * float(-f.rho(t) / f.rho_dot(t)) if in_lambda else drift

    for t0, t1 in zip(run.times, run.times[1:]):
        start, end = (f.lam(t0), f.lam(t1)) if in_lambda else (t0, t1)
        slopes = [slope(x, t0)]
        for row in rule[:-1]:
            u = start + sum(row) * (end - start)
            t = f.t_of_lam(u) if in_lambda else u
            state = x + sum(k * (w * float(end - start)) for w, k in zip(row, slopes) if w)
            slopes.append(slope(state, t))
        x = x + sum(k * (w * float(end - start)) for w, k in zip(rule[-1], slopes) if w)
    return x


def frozen_score(run: Any) -> Any:
    """Exponential Euler with the score held over each step.  Zhang & Chen 2023 (DEIS), ingredient 1."""
    f, x = run.schedule.formulas, run.x
    for t0, t1 in zip(run.times, run.times[1:]):
        psi = float(f.alpha(t1) / f.alpha(t0))
        x = x * psi - run.model(x, t0) * ((psi - 1) / float(f.sigma(t0)))
    return x


BASELINES: dict[str, Callable[[Any], Any]] = {
    "euler-in-t": partial(runge_kutta, EULER, False),
    "rk2-in-t": partial(runge_kutta, MIDPOINT, False),
    "rk3-in-t": partial(runge_kutta, HEUN3, False),
    "rk2-in-lambda": partial(runge_kutta, MIDPOINT, True),
    "rk3-in-lambda": partial(runge_kutta, HEUN3, True),
    "frozen-score": frozen_score,
}
"""By name; for a variance-preserving schedule, "frozen-score"."""


def sampler(name: str, experiment: Experiment) -> Solver | Sampler:
    """A listed solver, on the statistics of the experiment's problem where it takes some, or a baseline."""
    return on_experiment(name, experiment) if name in SOLVERS else BASELINES[name]
