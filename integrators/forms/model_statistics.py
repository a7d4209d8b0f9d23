"""The form of DPM-Solver-v3: linear part and integrand from model statistics l, s, b.

With y = x/alpha and f = (sigma eps - l x)/alpha the ODE is y' = -l y - f in lambda, whatever l.  The
integrand is transformed once more, so that its derivative is e^-S (f' - s f - b), which s and b make small:

    x = alpha e^-L y,   dy = -e^(L + S) (N + B) dlambda,   N = e^-S f - B.

Zheng et al. 2023, arXiv:2310.13268, eqs 7-9; their g of a step from lambda_s is e^(S_s) (N + B_s), an affine
function of N with constants of the step, so every formula that interpolates g interpolates N.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial

from ..common.messages import shown
from ..diffusion.schedule import Schedule
from ..numerics.arithmetic import Arithmetic, Value, of
from ..statistics.smooth import Potentials, Statistics
from .form import Form, Step


@dataclass(frozen=True)
class StatisticsWeight:
    """w = -e^(L + S): the moments are the statistics' own."""

    statistics: Statistics
    rate: None = None

    def weight(self, step: Step, c: Value) -> Value:
        """-alpha_c h e^(S_0): what the moments of e^(L - L_c + S - S_0) are multiplied by."""
        return -step.form.schedule.formulas.alpha(step.time(c)) * step.h * self._base(step).growth

    def phi(self, step: Step, k: int, c: Value) -> Value:
        """The k-th moment on [0, c], over its interval's length."""
        return self._moments(step, c)[k - 1] / (step.h * c)

    def forcing(self, step: Step, c: Value) -> Value:
        """-alpha_c int e^(L - L_c + S) B dlambda over [0, c h]."""
        base, moments = self._base(step), self._moments(step, c)
        known = moments[-1] + base.growth * base.B * moments[0]
        return -step.form.schedule.formulas.alpha(step.time(c)) * known

    def _base(self, step: Step) -> Potentials:
        return step.once("potentials", 0, lambda: self.statistics.at(step.tau0))

    def _moments(self, step: Step, c: Value) -> Value:
        end = step.tau1 if c == 1 else step.tau0 + c * step.h
        return step.once("moments", c, lambda: self.statistics.moments(step.tau0, end, step.moments))


def model_statistics(statistics: Statistics) -> Callable[[Schedule], Form]:
    """The form of the given statistics, for any schedule.  Raises TypeError for what holds no potentials."""
    if not callable(getattr(statistics, "moments", None)):
        raise TypeError(f"statistics must be model statistics, as statistics.smooth, got {shown(statistics)}")
    return partial(_of_statistics, statistics)


def _of_statistics(statistics: Statistics, schedule: Schedule) -> Form:
    f, weight = schedule.formulas, StatisticsWeight(statistics)

    @lru_cache(maxsize=4)  # of one step; the arithmetic is in the key, since equal numbers hash alike
    def potentials(t: Value, _: Arithmetic) -> Potentials:
        return statistics.at(f.lam(t))

    @lru_cache(maxsize=4, typed=True)
    def factor(t: Value) -> Value:
        return f.alpha(t) * potentials(t, of(t)).decay

    def integrand(t: Value) -> tuple[Value, Value, Value]:
        at = potentials(t, of(t))
        return -at.damping * at.l / f.alpha(t), at.damping * f.rho(t), -at.B

    return Form(
        "model_statistics",
        schedule,
        f.lam,
        f.t_of_lam,
        factor,
        weight,
        "eps",
        affine=integrand,
        forcing=weight.forcing,
        equation="d(x e^L/alpha) = -e^(L + S) (N + B) dlambda",
    )
