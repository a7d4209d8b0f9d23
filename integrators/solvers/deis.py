"""DEIS (arXiv:2204.13902): Adams-Bashforth in t, rho or lambda, Runge-Kutta in rho, and iPNDM, as data.

All of them solve d(x/alpha) = eps d rho; they differ in the variable in which eps is interpolated.  The
released code computes the Adams coefficients by a left Riemann sum with 10,000 points, which makes every
variant of degree >= 1 first order in the limit; `released=True` reproduces it, the default integrates
exactly.
"""

from __future__ import annotations

from functools import partial

from sympy import Rational

from ..common import checks
from ..forms.form import FormOf, noise_in_lambda, noise_in_rho, noise_in_time
from ..forms.whole import score_in_time
from ..numerics.quadrature import LeftRiemann
from ..solver import FinalPolicy, Ramp, Repeat, Solver
from ..tableaux.catalogue.butcher import BUTCHER
from ..tableaux.tableau import N, P, Tableau, adams, phi1

PAPER = "DEIS (Zhang & Chen 2023), arXiv:2204.13902"
RELEASED = LeftRiemann(10_000)
LAMBDA_FINAL = FinalPolicy(
    below=15,
    source="huggingface/diffusers, DEISMultistepScheduler: lower_order_final=True, < 15 timesteps",
)
"""Of diffusers' version alone: qsh-zh/deis runs every last step at full order."""


def _adams_ramp(degree: int) -> Ramp:
    return Ramp(tuple(adams(k) for k in range(1, degree + 2)))


def tab(degree: int, *, released: bool = False) -> Solver:
    """tAB-DEIS: exponential Adams-Bashforth, eps interpolated in t by a polynomial of the given degree.

    released: with the release's quadrature.
    """
    degree = checks.integer("degree", degree, 0, 8)

    form: FormOf = partial(noise_in_time, rule=RELEASED) if released else noise_in_time
    suffix = "-released" if released else ""
    source = "tAB-DEIS; qsh-zh/deis, get_sampler_t_ab"
    return Solver(
        name=f"deis-tab{degree}{suffix}",
        form=form,
        sequence=_adams_ramp(degree),
        claimed=degree + 1,
        source=source,
        paper=PAPER,
    )


def rho_ab(degree: int, *, released: bool = False) -> Solver:
    """rhoAB-DEIS: Adams-Bashforth with variable steps in rho.

    released: with the release's quadrature.
    """
    degree = checks.integer("degree", degree, 0, 8)

    form: FormOf = partial(noise_in_rho, rule=RELEASED) if released else noise_in_rho
    suffix = "-released" if released else ""
    source = "rhoAB-DEIS; qsh-zh/deis, get_sampler_rho_ab"
    return Solver(
        name=f"deis-rhoab{degree}{suffix}",
        form=form,
        sequence=_adams_ramp(degree),
        claimed=degree + 1,
        source=source,
        paper=PAPER,
    )


def lambda_ab(degree: int) -> Solver:
    """Exponential Adams-Bashforth with eps interpolated in lambda: the DEIS of huggingface/diffusers
    ("logrho").
    """
    degree = checks.integer("degree", degree, 0, 8)
    source = "huggingface/diffusers, DEISMultistepScheduler"
    name = f"deis-lambdaab{degree}"
    ramp = _adams_ramp(degree)
    return Solver(
        name=name,
        form=noise_in_lambda,
        sequence=ramp,
        claimed=degree + 1,
        source=source,
        paper=PAPER,
        final=LAMBDA_FINAL,
    )


def score_ab(degree: int) -> Solver:
    """tAB with the score interpolated in place of eps: for degree 0 the exponential integrator that the paper
    starts from, x_1 = Psi x_0 + (Psi - 1) s_0 on VP schedules, Psi = alpha_1/alpha_0.
    """
    degree = checks.integer("degree", degree, 0, 8)
    return Solver(
        name=f"deis-score-tab{degree}",
        form=score_in_time,
        sequence=_adams_ramp(degree),
        claimed=degree + 1,
        source="Sec. 3, the exponential integrator with the score held constant" if not degree else "Sec. 3",
        paper=PAPER,
    )


EULER = Tableau((), phi1 * N(0))
RUNGE_KUTTA: dict[str, tuple[int, Tableau]] = {
    "1euler": (1, BUTCHER["euler"]),
    "2heun": (2, BUTCHER["trapezoid"]),
    "2midpoint": (2, BUTCHER["midpoint"]),
    "3kutta": (3, BUTCHER["kutta3"]),
    "3ral": (3, BUTCHER["ralston3"]),
    "3heun": (3, BUTCHER["heun3"]),
    "3vdh": (3, BUTCHER["houwen3"]),
    "3ssprk": (3, BUTCHER["ssp3"]),
    "4rk": (4, BUTCHER["kutta4"]),
}
"""Order and tableau by the release's names (th_deis/rk.py), and the midpoint rule, which it lacks."""


def rho_rk(method: str) -> Solver:
    """rhoRK-DEIS: an explicit Runge-Kutta method for d(x/alpha) = eps d rho."""
    checks.one_of("method", method, RUNGE_KUTTA)
    order, tableau = RUNGE_KUTTA[method]
    source = "rhoRK-DEIS; " + ("the midpoint rule" if method == "2midpoint" else "qsh-zh/deis, th_deis/rk.py")
    return Solver(
        name=f"deis-rhork-{method}",
        form=noise_in_rho,
        sequence=Repeat(tableau, EULER),
        claimed=order,
        source=source,
        paper=PAPER,
    )


ADAMS_BASHFORTH = (
    ("1",),
    ("3/2", "-1/2"),
    ("23/12", "-4/3", "5/12"),
    ("55/24", "-59/24", "37/24", "-3/8"),
)
"""Of equal steps, by order."""


def equal_steps(order: int) -> Tableau:
    """The Adams-Bashforth weights of equal steps times the DDIM increment, on any grid; order: 1 .. 4."""
    order = checks.integer("order", order, 1, 4)
    weights = ADAMS_BASHFORTH[order - 1]
    evaluations = [N(0), *(P(j) for j in range(1, order))]
    return Tableau((), phi1 * sum(Rational(w) * v for w, v in zip(weights, evaluations, strict=True)))


def ipndm() -> Solver:
    """iPNDM: the Adams-Bashforth weights of equal steps times the DDIM increment, on any grid; claimed
    order 4.

    The weights are exact only where the grid is uniform in rho; elsewhere the method is second order.
    """
    ramp = tuple(equal_steps(k) for k in (1, 2, 3, 4))
    return Solver(
        name="deis-ipndm",
        form=noise_in_rho,
        sequence=Ramp(ramp),
        claimed=4,
        source="iPNDM; qsh-zh/deis, get_sampler_ipndm",
        paper=PAPER,
    )


LISTED = (
    *(partial(tab, degree, released=released) for degree in range(4) for released in (False, True)),
    *(partial(rho_ab, degree, released=released) for degree in range(4) for released in (False, True)),
    *(partial(lambda_ab, degree) for degree in range(4)),
    *(partial(rho_rk, method) for method in RUNGE_KUTTA),
    ipndm,
    partial(score_ab, 0),
)
"""Constructors of the solvers that have a name of their own."""
