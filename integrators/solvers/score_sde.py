"""Score-SDE's predictors (arXiv:2011.13456), as data: kernels x_{n+1} = a x_n + e eps + c z.

Each is made from a `sde.Transition` x_0 = a x_1 + sqrt(b2) z of the forward chain, and undoes it:

    reverse diffusion   (2 - a) x + b2 s + sqrt(b2) z          probability flow: (2 - a) x + b2 s/2
    ancestral           (x + b2 s)/a + sqrt(b2 or b2 sigma_1^2/sigma_0^2) z

with the score s at the noisier end.  Euler-Maruyama is reverse diffusion of Euler's transition.  (x + b2 s)/a
is the exact mean of x_1 given x_0, for every transition (Tweedie's formula).

The consistent solvers take the transition between the times of the plan.  The released ones do not look at
the plan's steps: they make N updates with the tables of a chain of N steps (or with steps T/N), whatever the
times at which the model is evaluated.  The release's times, T to eps in N - 1 equal steps and one more update
after eps, are `release_grid(eps)` from T to 0.  Its x_mean ("denoise") is `noise_at_end=False`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Literal

from ..common import checks
from ..common.ranges import Range
from ..common.remaking import remade
from ..diffusion import sde
from ..diffusion.grids import Grid
from ..diffusion.schedule import Schedule
from ..diffusion.sde import Discretisation, Transition
from ..forms.form import Form, FormOf, Step
from ..forms.reverse import sde_data_in_lambda
from ..numerics.arithmetic import Fn, Value, of
from ..solver import Repeat, Solver
from ..tableaux.tableau import N, Tableau, phi1

PAPER = "Score-SDE (Song et al. 2021), arXiv:2011.13456"
RELEASE = "yang-song/score_sde_pytorch, sampling.py"
FULL = Tableau((), phi1 * N(0))
Spread = Literal["large", "small"]


@dataclass(frozen=True)
class Update:
    """The kernel as its paper writes it: x_1 = on_x x_0 + on_score s(x_0) + sqrt(variance) z."""

    on_x: Value
    on_score: Value
    variance: Value


Rule = Callable[[Transition], Update]


def undo(t: Transition) -> Update:
    """Reverse diffusion: the forward step's increment subtracted.  sampling.ReverseDiffusionPredictor."""
    return Update(2 - t.a, t.b2, t.b2)


def undo_flow(t: Transition) -> Update:
    """The same for the probability flow: half of the score, no noise."""
    return Update(2 - t.a, t.b2 / 2, 0 * t.b2)


def ancestral_large(t: Transition) -> Update:
    """E[x_1 | x_0] with the forward step's variance.  sampling.AncestralSamplingPredictor, VP."""
    return Update(1 / t.a, t.b2 / t.a, t.b2)


def ancestral_small(t: Transition) -> Update:
    """E[x_1 | x_0] with the variance of x_1 given x_0 and the data.  AncestralSamplingPredictor, VE."""
    return Update(1 / t.a, t.b2 / t.a, t.b2 * t.keep)


@dataclass(frozen=True)
class Kernel:
    """The weight of a one-step kernel: `on_eps(t_0, t_1)` times the noise prediction at t_0."""

    on_eps: Callable[[Value, Value], Value]
    rate: None = None

    def weight(self, step: Step, c: Value) -> Value:
        """The coefficient of eps up to abscissa c."""
        return self.on_eps(step.t0, step.time(c))

    def phi(self, step: Step, k: int, c: Value) -> Value:
        """1: a kernel has no moments but the first.  Raises ValueError for others."""
        if k != 1:
            raise ValueError(f"form {step.form.name!r} is a kernel: it has phi_1 only, got phi_{k}")
        return step.xp.number(1)


def kernel(
    name: str, schedule: Schedule, update: Callable[[Value, Value], Update], *, noisy: bool = True
) -> Form:
    """The form of a kernel: x_1 = on_x x_0 - (on_score/sigma_0) eps + sqrt(variance) z."""
    identity: Fn = lambda t: t  # noqa: E731
    return Form(
        name,
        schedule,
        tau=identity,
        time=identity,
        factor=lambda t: 1 + 0 * t,
        weight=Kernel(lambda t0, t1: -update(t0, t1).on_score / schedule.formulas.sigma(t0)),
        target="eps",
        std=(lambda t0, t1: of(t0).sqrt(update(t0, t1).variance)) if noisy else None,
        linear=lambda t0, t1: update(t0, t1).on_x,
        equation="x_{n+1} = a x_n - (b/sigma_n) eps + v^(1/2) z_n",
    )


ONE_GRID = (
    "its step is 1/N whatever the grid and its tables hold N entries, so that it runs on its own grid alone, "
    "where the gap at the end leaves an error of the size of eps"
)
"""Of the released predictors."""


def _predictor(
    method: str,
    form: FormOf,
    source: str,
    *,
    ode: bool = False,
    released: bool = False,
) -> Solver:
    name = f"score-sde-{'pf-' if ode else ''}{method}{'-released' if released else ''}"
    sde = None if ode else sde_data_in_lambda
    return Solver(
        name=name,
        form=form,
        sequence=Repeat(FULL, FULL),
        claimed=1,
        source=source,
        paper=PAPER,
        sde=sde,
        own_grid=ONE_GRID if released else "",
    )


# --- consistent with the plan's times ---


def _consistent(method: str, transition: Discretisation, rule: Rule, schedule: Schedule) -> Form:
    def update(t0: Value, t1: Value) -> Update:
        return rule(transition(schedule, t0, t1))

    return kernel(method, schedule, update, noisy=rule is not undo_flow)


def euler_maruyama(*, ode: bool = False) -> Solver:
    """Euler-Maruyama for the reverse SDE with the steps of the grid; ode: Euler for the probability flow."""
    form = partial(_consistent, "euler_maruyama", sde.euler, undo_flow if ode else undo)
    source = f"{RELEASE}, EulerMaruyamaPredictor, with the step of the grid"
    return _predictor("em", form, source, ode=ode)


def reverse_diffusion(*, ode: bool = False) -> Solver:
    """Reverse diffusion of the SDE's exact transitions; ode: of the probability flow."""
    form = partial(_consistent, "reverse_diffusion", sde.exact, undo_flow if ode else undo)
    source = f"{RELEASE}, ReverseDiffusionPredictor, with exact transitions"
    return _predictor("reverse-diffusion", form, source, ode=ode)


SPREADS: Mapping[Spread, Rule] = {"large": ancestral_large, "small": ancestral_small}


def ancestral(variance: Spread = "large") -> Solver:
    """Ancestral sampling of the SDE's exact transitions, with DDPM's larger or smaller variance.

    Raises ValueError for another variance.
    """
    checks.one_of("variance", variance, SPREADS)
    form = partial(_consistent, f"ancestral_{variance}", sde.exact, SPREADS[variance])
    source = f"{RELEASE}, AncestralSamplingPredictor, with exact transitions"
    return _predictor(f"ancestral-{variance}", form, source)


# --- as released ---

Table = Callable[[Schedule, Value, int], Transition]
TABLES: Mapping[str, Table] = {"vp-linear": sde.ddpm_table, "ve": sde.smld_table}
"""The chains of `sde_lib` by kind of schedule; Euler's transitions for every other one."""
ANCESTRAL: Mapping[str, tuple[Table, Rule]] = {
    "vp-linear": (sde.ddpm_table, ancestral_large),
    "ve": (sde.smld_table, ancestral_small),
}
DEFAULT_STEPS = 1000
"""N of the release, for a form that is asked for before the number of steps is known."""


Chosen = Callable[[Schedule], tuple[Table, Rule]]
"""The table that a schedule has, and what is made of its transitions."""


def _released(method: str, chosen: Chosen, n: int | None) -> FormOf:
    return partial(_tabulated, method, chosen, None if n is None else checks.integer("n", n, 1))


def _tabulated(method: str, chosen: Chosen, n: int | None, schedule: Schedule) -> Form:
    table, rule = chosen(schedule)

    def of_length(count: int) -> Form:
        def update(t0: Value, t1: Value) -> Update:
            return rule(table(schedule, t0, count))

        return kernel(f"{method}_table", schedule, update, noisy=rule is not undo_flow)

    return replace(of_length(DEFAULT_STEPS), table=of_length) if n is None else of_length(n)


def _euler_table(rule: Rule, schedule: Schedule) -> tuple[Table, Rule]:
    return sde.euler_table, rule


def _own_table(rule: Rule, schedule: Schedule) -> tuple[Table, Rule]:
    return TABLES.get(schedule.kind, sde.euler_table), rule


def _ancestral_table(schedule: Schedule) -> tuple[Table, Rule]:
    checks.one_of("schedule of ancestral_released", schedule.kind, ANCESTRAL)
    return ANCESTRAL[schedule.kind]


def euler_maruyama_released(*, n: Annotated[int, Range(least=1)] | None = None, ode: bool = False) -> Solver:
    """Euler-Maruyama with step T/N.  n: N, the number of steps of the run when absent.

    ode: Euler for the probability flow, where the release raises TypeError.  Raises ValueError for n < 1.
    """
    form = _released("euler_maruyama", partial(_euler_table, undo_flow if ode else undo), n)
    return _predictor("em", form, f"{RELEASE}, EulerMaruyamaPredictor", ode=ode, released=True)


def reverse_diffusion_released(
    *, n: Annotated[int, Range(least=1)] | None = None, ode: bool = False
) -> Solver:
    """Reverse diffusion of the release's tables of length N.  n: N, the number of steps when absent.

    ode: of the probability flow.  Raises ValueError for n < 1.
    """
    form = _released("reverse_diffusion", partial(_own_table, undo_flow if ode else undo), n)
    return _predictor(
        "reverse-diffusion", form, f"{RELEASE}, ReverseDiffusionPredictor", ode=ode, released=True
    )


def ancestral_released(*, n: Annotated[int, Range(least=1)] | None = None) -> Solver:
    """Ancestral sampling of the release's tables of length N: larger variance for VP, smaller for VE.

    n: N, the number of steps when absent.  Raises ValueError for n < 1; when compiled, for a schedule without
    a table (the release raises NotImplementedError).
    """
    form = _released("ancestral", _ancestral_table, n)
    return _predictor("ancestral", form, f"{RELEASE}, AncestralSamplingPredictor", released=True)


@remade
def release_grid(eps: float = 1e-3) -> Grid:
    """The release's N times, T to eps in N - 1 equal steps, and 0 after them: from T to t_end = 0.

    Raises ValueError unless 0 < eps < 1; eps is in units of T, which is 1 in the release.
    """
    checks.number("eps", eps, above=0, below=1)

    def fractions(n: int, number: Fn) -> list[Value]:
        return [(1 - number(eps)) * i / max(n - 1, 1) for i in range(1, n)]

    return Grid("score-sde", (("eps", float(eps)),), fractions=fractions)


LISTED = (
    *(partial(build, ode=flow) for build in (euler_maruyama, reverse_diffusion) for flow in (False, True)),
    *(partial(ancestral, variance) for variance in SPREADS),
    partial(euler_maruyama_released, ode=False),
    partial(reverse_diffusion_released, ode=False),
    ancestral_released,
)
"""Constructors of the solvers that have a name of their own."""
