"""Analytic-DPM (arXiv:2201.06503): DDPM's kernel with the variance that is best for the data, as data.

In y = x/alpha the kernel of DDPM is  y_1 = q y_0 + (1 - q) x_0 + rho_1 (1 - q)^(1/2) z,  q = rho_1^2/rho_0^2,
with the mean of x_0 in place of x_0.  What x_0 varies about that mean is added to the noise,

    variance = rho_1^2 (1 - q) + (1 - q)^2 rho_0^2 (1 - E|eps|^2/d),

with which a step from the exact law makes the exact mean and the exact sum of variances, whatever the data
(the law of total variance), and all of the law where the data are Gaussian with one variance.  The second
part is O(h^2): it changes no weak order.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ..common import checks
from ..diffusion import sde
from ..diffusion.schedule import Schedule
from ..forms.form import Form
from ..forms.reverse import sde_data_in_lambda
from ..numerics.arithmetic import Value
from ..solver import Repeat, Solver
from ..statistics.second_moment import ABSENT, SecondMoment
from .score_sde import FULL, Update, ancestral_small, kernel

PAPER = "Analytic-DPM (Bao et al. 2022), arXiv:2201.06503"


def _form(moment: SecondMoment, schedule: Schedule) -> Form:
    f = schedule.formulas

    def update(t0: Value, t1: Value) -> Update:
        transition = sde.exact(schedule, t0, t1)
        known = ancestral_small(transition)
        spread = known.on_score / f.sigma(t0)  # alpha_1 (1 - q) rho_0, without cancellation
        variance = known.variance + spread * spread * (1 - moment.at(f.lam(t0)))
        return Update(known.on_x, known.on_score, variance)

    return kernel("ancestral_analytic", schedule, update)


def analytic_ddpm(*, moment: SecondMoment | None = None) -> Solver:
    """DDPM's ancestral sampling with the optimal variance of its kernel.

    moment: E|eps|^2/d of the model, from `statistics.second_moment`.  Without it the solver has its name and
    claim, and no plan.  Raises TypeError for another kind of object.
    """
    if moment is not None:
        checks.instance("moment", moment, SecondMoment)
    return Solver(
        name="analytic-ddpm",
        form=partial(_form, ABSENT if moment is None else moment),
        sequence=Repeat(FULL, FULL),
        claimed=1,
        source="Theorem 1, eq. 7; baofff/Analytic-DPM, reverse_ddpm.py",
        paper=PAPER,
        sde=sde_data_in_lambda,
    )


LISTED: tuple[Callable[..., Solver], ...] = (analytic_ddpm,)
"""Constructors of the solvers that have a name of their own."""
