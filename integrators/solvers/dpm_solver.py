"""DPM-Solver (arXiv:2206.00927) and DPM-Solver++ (arXiv:2211.01095), ODE and SDE, as data.

`FAMILY` selects the form: noise prediction (DPM-Solver), data prediction (DPM-Solver++), and their reverse
SDEs.  Every formula below holds for each of them: only the form differs.  "dpmsolver" and "taylor" are the
two types of the release; the first replaces a higher phi-function by a multiple of a lower one, the second
keeps the Taylor coefficient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Literal, get_args

from sympy import Expr, Rational, Symbol

from ..common import checks
from ..common.ranges import Range
from ..forms.form import FormOf, data_in_lambda, is_sde, noise_in_lambda
from ..forms.reverse import sde_data_in_lambda, sde_noise_in_lambda
from ..numerics.arithmetic import Value
from ..solver import Budgeted, FinalPolicy, Ramp, Repeat, Solver, StepContext
from ..tableaux.tableau import N, P, Stage, Tableau, adams, omega, phi, phi1, phi2, phi3, z

Family = Literal["dpm-solver", "dpm-solver++", "sde-dpm-solver", "sde-dpm-solver++"]
OfFlow = Literal["dpm-solver", "dpm-solver++"]
Type = Literal["dpmsolver", "taylor"]
Abscissae = Literal["constant", "grid"]
Abscissa = Annotated[Any, Range(above=0, most=1)]

PLUS_PLUS = "DPM-Solver++ (Lu et al. 2022), arXiv:2211.01095"
FAMILY: dict[str, tuple[FormOf, str]] = {
    "dpm-solver": (noise_in_lambda, "DPM-Solver (Lu et al. 2022), arXiv:2206.00927"),
    "dpm-solver++": (data_in_lambda, PLUS_PLUS),
    "sde-dpm-solver": (sde_noise_in_lambda, PLUS_PLUS),
    "sde-dpm-solver++": (sde_data_in_lambda, PLUS_PLUS),
}
TYPES: tuple[Type, ...] = get_args(Type)

R1, R2 = Symbol("r1"), Symbol("r2")
HALF, THIRD, TWO_THIRDS = Rational(1, 2), Rational(1, 3), Rational(2, 3)

FIRST = Tableau((), phi1 * N(0))
"""DPM-Solver-1, which is DDIM: exponential Euler.  DPM-Solver, eq. 3.7."""


def _d1(g0: Any, g1: Any, r: Any) -> Any:
    return (g1 - g0) / r


def second(r1: Any = HALF, type: Type = "dpmsolver", low: bool = False) -> Tableau:
    """Singlestep order 2 with its stage at r1.  DPM-Solver, Alg. 1; DPM-Solver++, Alg. 1 (2S)."""
    checks.one_of("type", type, TYPES)
    return Tableau(
        (Stage(r1, r1 * phi(1, r1) * N(0)),),
        _second_output(r1, type),
        low=phi1 * N(0) if low else None,
    )


def _second_output(r1: Any, type: Type) -> Any:
    correction = phi1 / 2 if type == "dpmsolver" else phi2
    return phi1 * N(0) + correction * _d1(N(0), N(1), r1)


def third(r1: Any = THIRD, r2: Any = TWO_THIRDS, type: Type = "dpmsolver", low: bool = False) -> Tableau:
    """Singlestep order 3 with stages at r1 and r2; order 3 needs r2 = 2/3.  DPM-Solver, Alg. 2."""
    checks.one_of("type", type, TYPES)
    stage_2 = r2 * phi(1, r2) * N(0) + r2**2 * phi(2, r2) * _d1(N(0), N(1), r1)
    d1_1, d1_2 = _d1(N(0), N(1), r1), _d1(N(0), N(2), r2)
    if type == "dpmsolver":
        output = phi1 * N(0) + phi2 * d1_2
    else:
        first = (r2 * d1_1 - r1 * d1_2) / (r2 - r1)
        second_difference = 2 * (d1_2 - d1_1) / (r2 - r1)
        output = phi1 * N(0) + phi2 * first + phi3 * second_difference
    return Tableau(
        (Stage(r1, r1 * phi(1, r1) * N(0)), Stage(r2, stage_2)),
        output,
        low=_second_output(r1, type) if low else None,
    )


def third_midpoint(r1: Any = THIRD, r2: Any = TWO_THIRDS) -> Tableau:
    """Singlestep order 3 whose second stage is a step of the second-order update, with phi_1/2 for phi_2:
    diffusers, DPMSolverSinglestepScheduler, solver_type="midpoint".
    """
    given = third(r1, r2)
    first, second = given.stages
    slope = _d1(N(0), N(1), r1 / r2) / 2
    return replace(given, stages=(first, replace(second, formula=r2 * phi(1, r2) * (N(0) + slope))))


def multistep_second(type: Type = "dpmsolver") -> Tableau:
    """2M: exponential Adams-Bashforth 2 ("taylor"), or with phi_1/2 for phi_2.  DPM-Solver++, Alg. 2."""
    checks.one_of("type", type, TYPES)
    backward = (N(0) - P(1)) / omega(1)
    return Tableau((), phi1 * N(0) + (phi1 / 2 if type == "dpmsolver" else phi2) * backward)


def _differences() -> tuple[Any, Any]:
    """The release's D1, and its D2, which is half of h^2 N''."""
    r0, r1 = omega(1), omega(2) - omega(1)
    d1_0, d1_1 = (N(0) - P(1)) / r0, (P(1) - P(2)) / r1
    return d1_0 + r0 / (r0 + r1) * (d1_0 - d1_1), (d1_0 - d1_1) / (r0 + r1)


def multistep_third_released() -> Tableau:
    """3M as released: D2 lacks a factor 2, so the phi_3 term has half its weight.  LuChengTHU/dpm-solver,
    torch and JAX.
    """
    d1, d2 = _differences()
    return Tableau((), phi1 * N(0) + phi2 * d1 + phi3 * d2)


def sde_multistep_third_released() -> Tableau:
    """Third-order SDE update of diffusers: -phi_2 - 1/2 stands where 1/2 - phi_2 is due (and D2 lacks its
    factor 2).
    """
    d1, d2 = _differences()
    return Tableau((), phi1 * N(0) + phi2 * d1 + (phi2 + HALF) / z * d2)


def fast_orders(order: int, nfe: int) -> tuple[int, ...]:
    """The orders of DPM-Solver-fast for a number of evaluations.  DPM-Solver (Lu et al. 2022), "fast";
    LuChengTHU/dpm-solver, get_orders_and_timesteps_for_singlestep_solver.
    """
    k, remainder = divmod(nfe, order)
    if order == 1:
        return (1,) * nfe
    if order == 2:
        return (2,) * k + (1,) * remainder
    tail = {0: (2, 1), 1: (1,), 2: (2,)}[remainder]
    return (3,) * (k - 1 if remainder == 0 else k) + tail


# --- solvers ---

FINAL = FinalPolicy(
    below=10, source="LuChengTHU/dpm-solver, dpm_solver_pytorch.py, sample: lower_order_final and steps < 10"
)
"""Of multistep; the release's docstring says < 15.  Singlestep ends as its list of orders does."""
SDE_FINAL = FinalPolicy(
    below=15,
    at_zero="last",
    source="huggingface/diffusers, DPMSolverMultistepScheduler: lower_order_final=True, < 15 timesteps; "
    "final_sigmas_type='zero'",
)
FINALS = {
    "dpm-solver": FINAL,
    "dpm-solver++": FINAL,
    "sde-dpm-solver": replace(SDE_FINAL, at_zero="full"),  # diffusers refuses to run it to sigma = 0
    "sde-dpm-solver++": SDE_FINAL,
}
"""How multistep ends, by family."""

_UPDATES = {
    ("singlestep", 1): "dpm_solver_first_update",
    ("singlestep", 2): "singlestep_dpm_solver_second_update",
    ("singlestep", 3): "singlestep_dpm_solver_third_update",
    ("multistep", 1): "dpm_solver_first_update",
    ("multistep", 2): "multistep_dpm_solver_second_update",
    ("multistep", 3): "multistep_dpm_solver_third_update",
}
"""The release's functions, in which each formula was read."""


def inner_grid(context: StepContext) -> Mapping[Symbol, Value]:
    """r1 (and r2) as the release sets them: where the grid's own rule, applied to the step, puts its inner
    points.
    """
    if context.grid is None:
        raise ValueError("abscissae='grid' needs the grid's rule: pass grid= beside times=")
    step, intervals = context.step, len(context.tableau.stages) + 1
    inner = context.grid.divide(context.schedule, step.t0, step.t1, intervals)[1:-1]
    return {r: (step.form.tau(t) - step.tau0) / step.h for r, t in zip((R1, R2), inner, strict=False)}


def _singlestep_tableau(
    order: int, type: Type, r1: Any, r2: Any, abscissae: str, low: bool = False
) -> Tableau:
    checks.one_of("type", type, TYPES)
    r1, r2 = stage_abscissae(order, r1, r2, abscissae)
    if order == 3 and r1 == r2:
        raise ValueError(f"r1 and r2 must differ, got {r1} twice")
    if order == 1:
        return FIRST
    return second(r1, type, low) if order == 2 else third(r1, r2, type, low)


def stage_abscissae(order: int, r1: Any, r2: Any, abscissae: str) -> tuple[Expr, Expr]:
    """r1 and r2 of a singlestep method: as given, 1/2 or 1/3 and 2/3 if absent, or symbols for `inner_grid`.

    Raises ValueError for other values of abscissae, or r1, r2 outside (0, 1] or beside abscissae="grid".
    """
    checks.one_of("abscissae", abscissae, get_args(Abscissae))
    if abscissae == "constant":
        return _abscissa("r1", r1, HALF if order == 2 else THIRD), _abscissa("r2", r2, TWO_THIRDS)
    if r1 is not None or r2 is not None:
        raise ValueError("r1 and r2 cannot be given with abscissae='grid'")
    return R1, R2


def _abscissa(name: str, r: Any, default: Rational) -> Expr:
    return default if r is None else checks.exact(name, r, above=0, most=1)


def singlestep(
    order: int,
    family: Family = "dpm-solver",
    type: Type = "dpmsolver",
    *,
    r1: Abscissa = None,
    r2: Abscissa = None,
    abscissae: Abscissae = "constant",
    low: bool = False,
) -> Solver:
    """DPM-Solver-1/2/3 and DPM-Solver++ 1, 2S, 3S: the same tableau at every step.

    r1, r2: abscissae in lambda, exact numbers in (0, 1]; 1/2, and 1/3 and 2/3, when absent (order 3
    requires r2 = 2/3).  abscissae="grid": from the grid's rule at each step, as the release's sampling loop
    does.  low: add the row of the order below, for step-size control. Stages of the reverse SDEs carry the
    noise of the step's own path: with stages of drift alone, or noise of their own, the variance loses its
    second order (docs/mathematics.md, 7). Raises ValueError for another order,
    family, type or abscissa.
    """
    form, paper = _family(family)
    order = checks.integer("order", order, 1, 3)
    checks.flag("low", low)
    tableau = _singlestep_tableau(order, type, r1, r2, abscissae, low)
    tableau = replace(tableau, stage_noise=is_sde(form))
    return Solver(
        name=_name(family, f"{order}" if order == 1 or family == "dpm-solver" else f"{order}s", order, type),
        form=form,
        sequence=Repeat(tableau, FIRST),
        claimed=order,
        source=f"LuChengTHU/dpm-solver, {_UPDATES['singlestep', order]}",
        paper=paper,
        parameters=inner_grid if abscissae == "grid" else None,
    )


def fast(
    order: int, family: Family = "dpm-solver", type: Type = "dpmsolver", *, abscissae: Abscissae = "constant"
) -> Solver:
    """DPM-Solver-fast: singlestep orders mixed so that the evaluations are exactly the budget.

    Its order is that of the last steps: 3 only for budgets of 3 k + 2, else 2.
    """
    form, paper = _family(family)
    order = checks.integer("order", order, 1, 3)
    tableaux = tuple(_singlestep_tableau(k, type, None, None, abscissae) for k in range(1, order + 1))
    tableaux = tuple(replace(tableau, stage_noise=is_sde(form)) for tableau in tableaux)
    return Solver(
        name=_name(family, f"fast-{order}", order, type),
        form=form,
        sequence=Budgeted(tableaux, partial(fast_orders, order)),
        claimed=order,
        source="LuChengTHU/dpm-solver, get_orders_and_timesteps_for_singlestep_solver",
        paper=paper,
        parameters=inner_grid if abscissae == "grid" else None,
    )


def multistep(
    order: int, family: Family = "dpm-solver", type: Type = "dpmsolver", *, released: bool = True
) -> Solver:
    """DPM-Solver multistep 1, 2, 3 and DPM-Solver++ 2M, 3M, and their reverse-SDE versions.

    released: the third order as released (see `multistep_third_released`); False gives exponential
    Adams-Bashforth 3.
    """
    form, paper = _family(family)
    order = checks.integer("order", order, 1, 3)
    checks.flag("released", released)
    if not released:
        top = adams(3)
    else:
        top = sde_multistep_third_released() if family == "sde-dpm-solver++" else multistep_third_released()
    if order == 3 and released and family == "sde-dpm-solver":
        raise ValueError("order 3 of sde-dpm-solver was never released (diffusers has no branch for it)")
    suffix = "" if order < 3 else "-released" if released else "-corrected"
    return Solver(
        name=_name(family, "1" if order == 1 else f"{order}m", order, type) + suffix,
        form=form,
        sequence=Ramp((FIRST, multistep_second(type), top)[:order]),
        claimed=order,
        source=_multistep_source(order, is_sde(form), released),
        paper=paper,
        final=FINALS[family],
    )


def _multistep_source(order: int, stochastic: bool, released: bool) -> str:
    if order == 3 and not released:
        return "exponential Adams-Bashforth 3: the release with its second difference doubled"
    if stochastic:
        return f"huggingface/diffusers, DPMSolverMultistepScheduler, solver_order {order}"
    return f"LuChengTHU/dpm-solver, {_UPDATES['multistep', order]}"


def _name(family: str, variant: str, order: int, type: Type) -> str:
    return f"{family}-{variant}" + ("-taylor" if type == "taylor" and order > 1 else "")


def _family(family: str) -> tuple[FormOf, str]:
    checks.one_of("family", family, FAMILY)
    return FAMILY[family]


def _listed() -> Iterable[Callable[..., Solver]]:
    for family in get_args(OfFlow):
        yield partial(singlestep, 1, family)
        for order in (2, 3):
            for type in TYPES:
                yield partial(singlestep, order, family, type)
        for type in TYPES:
            yield partial(multistep, 2, family, type)
        for released in (True, False):
            yield partial(multistep, 3, family, released=released)
        for order in (2, 3):
            yield partial(fast, order, family)
    sde: tuple[Family, ...] = ("sde-dpm-solver", "sde-dpm-solver++")
    for family in sde:
        yield partial(multistep, 1, family)
        for type in TYPES:
            yield partial(multistep, 2, family, type)
        yield partial(multistep, 3, family, released=False)
    yield partial(multistep, 3, "sde-dpm-solver++")
    for order in (2, 3):
        yield partial(singlestep, order, "sde-dpm-solver++")


LISTED = tuple(_listed())
"""Constructors of the solvers that have a name of their own."""
