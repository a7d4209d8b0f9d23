"""Analytic-DPM (arXiv:2201.06503): DDPM's and DDIM's kernels with the variance that is best for the data, as
data.

In y = x/alpha the kernel of DDPM is  y_1 = q y_0 + (1 - q) x_0 + rho_1 (1 - q)^(1/2) z,  q = rho_1^2/rho_0^2,
with the mean of x_0 in place of x_0.  What x_0 varies about that mean is added to the noise,

    variance = rho_1^2 (1 - q) + (1 - q)^2 rho_0^2 (1 - E|eps|^2/d),

with which a step from the exact law makes the exact mean and the exact sum of variances, whatever the data
(the law of total variance), and all of the law where the data are Gaussian with one variance.  The second
part is O(h^2): it changes no weak order.

DDIM's kernel,  y_1 = y_0 + (rho_1 - rho_0) eps,  has no noise of its own, and gets

    variance = (rho_0 - rho_1)^2 (1 - E|eps|^2/d).

That is O(h^2), over a run O(h): the noise vanishes with the step, and runs converge to the probability flow,
path by path with order 1/2.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ..common import checks
from ..diffusion import sde
from ..diffusion.schedule import Schedule
from ..forms.form import Form, FormOf, noise_in_lambda
from ..forms.reverse import sde_data_in_lambda
from ..numerics.arithmetic import Value
from ..solver import Repeat, Solver
from ..statistics.second_moment import ABSENT, SecondMoment
from .score_sde import FULL, Update, ancestral_small, kernel

PAPER = "Analytic-DPM (Bao et al. 2022), arXiv:2201.06503"


def _ddpm(moment: SecondMoment, schedule: Schedule) -> Form:
    f = schedule.formulas

    def update(t0: Value, t1: Value) -> Update:
        transition = sde.exact(schedule, t0, t1)
        known = ancestral_small(transition)
        spread = known.on_score / f.sigma(t0)  # alpha_1 (1 - q) rho_0, without cancellation
        variance = known.variance + spread * spread * (1 - moment.at(f.lam(t0)))
        return Update(known.on_x, known.on_score, variance)

    return kernel("ancestral_analytic", schedule, update)


def _ddim(moment: SecondMoment, schedule: Schedule) -> Form:
    f = schedule.formulas

    def update(t0: Value, t1: Value) -> Update:
        alpha, sigma, way = f.alpha(t1), f.sigma(t0), f.rho(t0) - f.rho(t1)
        spread = alpha * way
        return Update(alpha / f.alpha(t0), sigma * spread, spread * spread * (1 - moment.at(f.lam(t0))))

    return kernel("ddim_analytic", schedule, update)


def _solver(
    name: str,
    form: Callable[[SecondMoment, Schedule], Form],
    moment: SecondMoment | None,
    source: str,
    limit: FormOf,
) -> Solver:
    """limit: the SDE, or the flow, that runs converge to."""
    if moment is not None:
        checks.instance("moment", moment, SecondMoment)
    return Solver(
        name=name,
        form=partial(form, ABSENT if moment is None else moment),
        sequence=Repeat(FULL, FULL),
        claimed=1,
        source=source,
        paper=PAPER,
        sde=limit,
    )


def analytic_ddpm(*, moment: SecondMoment | None = None) -> Solver:
    """DDPM's ancestral sampling with the optimal variance of its kernel.

    moment: E|eps|^2/d of the model, from `statistics.second_moment`.  Without it the solver has its name and
    claim, and no plan.  Raises TypeError for another kind of object.
    """
    source = "Theorem 1, eq. 7; baofff/Analytic-DPM, reverse_ddpm.py"
    return _solver("analytic-ddpm", _ddpm, moment, source, sde_data_in_lambda)


def analytic_ddim(*, moment: SecondMoment | None = None) -> Solver:
    """DDIM with the optimal variance of its kernel; moment, and what is raised: as in `analytic_ddpm`."""
    source = "Theorem 1, eq. 7 with lambda_n = 0"
    return _solver("analytic-ddim", _ddim, moment, source, noise_in_lambda)


LISTED: tuple[Callable[..., Solver], ...] = (analytic_ddpm, analytic_ddim)
"""Constructors of the solvers that have a name of their own."""
