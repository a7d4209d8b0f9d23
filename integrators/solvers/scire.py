"""SciRE-Solver (arXiv:2308.07896): quadrature of the score integrand with recursive derivative estimates.

Version v1 solves d(x/alpha) = eps d rho, version v2 d(x/sigma) = x_0 d(1/rho): in either variable a classical
Runge-Kutta or multistep method whose derivatives of N are estimated by a "recursive difference".  Across an
interval of length theta h, with D = (N_theta - N_0)/theta,

    h N'_0 = D/phi_1(m) - (1/phi_1(m) - 1) h N'_theta + O(h^2),   phi_1(m) = sum_{k=1}^m (-1)^(k-1)/k!.

Every release drops the second term.  It does not vanish with h, so every released method of order 2 or 3 is
first order unless phi_1 = 1, and second order with it: two weights of the third-order methods are wrong too
(`third`, `multistep_third`).  Where the term is kept, N'_theta must itself be estimated.  By D, the only
difference of a two-stage step, phi_1 cancels and the explicit midpoint rule is left; by the difference before
it, a multistep method of order 2 for every phi_1 (`multistep_kept`).

What each snapshot released, phi_1 step by step, stands in `scire_snapshots.py`.  The corrected methods are
DPM-Solver's Taylor tableaux and Adams-Bashforth, in these variables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Literal

from ..common import checks
from ..common.messages import shown
from ..common.ranges import Range
from ..forms.form import FormOf, data_in_inverse_rho, noise_in_lambda, noise_in_rho
from ..solver import Budgeted, Ramp, Repeat, Sequence, Solver
from ..tableaux.tableau import N, P, Stage, Tableau, adams, omega, phi, phi1, phi2, phi3
from . import dpm_solver
from .dpm_solver import FIRST, TWO_THIRDS, Abscissa, Abscissae, fast_orders, stage_abscissae
from .scire_snapshots import (
    FINAL,
    NEWER,
    OLDER,
    PHI,
    SNAPSHOTS,
    Name,
    PhiOf,
    Snapshot,
    parameters,
    phi_as_released,
)

PAPER = "SciRE-Solver (Li et al. 2023), arXiv:2308.07896"
Version = Literal["v1", "v2", "ei"]
Phi = Annotated[Any, Range(above=0)]
"""phi_1."""
VERSIONS: dict[str, FormOf] = {"v1": noise_in_rho, "v2": data_in_inverse_rho, "ei": noise_in_lambda}
"""The form by the release's algorithm_type: "scire_v1", "scire_v2", and the exponential integrator "ei"."""


def recursive(difference: Any, phi_m: Any, slope: Any = 0) -> Any:
    """h N' at one end of an interval from the divided difference across it.

    phi_m: phi_1(m).  slope: an estimate of h N' at the other end, dropped by the paper and the releases.
    """
    return difference / phi_m - (1 / phi_m - 1) * slope


def second(r1: Any, phi_m: Any) -> Tableau:
    """SciRE-2 with its stage at r1; in lambda, the release's exponential integrator."""
    slope = recursive((N(1) - N(0)) / r1, phi_m)
    return Tableau((Stage(r1, r1 * phi(1, r1) * N(0)),), phi1 * N(0) + phi2 * slope)


def third(r1: Any, r2: Any, phi_m: Any) -> Tableau:
    """SciRE-3 with stages at r1 and r2.  The second has r2 phi_2 where the Taylor series has r2^2 phi_2."""
    stage_2 = r2 * phi(1, r2) * N(0) + r2 * phi(2, r2) * recursive((N(1) - N(0)) / r1, phi_m)
    output = phi1 * N(0) + phi2 * recursive((N(2) - N(0)) / r2, phi_m)
    return Tableau((Stage(r1, r1 * phi(1, r1) * N(0)), Stage(r2, stage_2)), output)


def multistep_second(ratio: Any, phi_m: Any) -> Tableau:
    """2m; ratio: what a snapshot takes for the length of the last step over this one."""
    return Tableau((), phi1 * N(0) + phi2 * recursive((N(0) - P(1)) / ratio, phi_m))


def multistep_third(phi_m: Any) -> Tableau:
    """3m: on equal steps the weight of the second difference is (1 + phi_1)/(6 phi_1^4), 1/3 for phi_1 = 1,
    where Adams-Bashforth has 5/12.  Ratios are those of rho, in version v2 too.
    """
    r0, r1 = phi_m * NEWER, phi_m / (1 + phi_m) * OLDER
    first, second_difference = N(0) - P(1), N(0) - 2 * P(1) + P(2)
    output = phi1 * N(0) + phi2 * first / (r0 * phi_m) + phi3 * second_difference / (r0 * r1 * phi_m**2)
    return Tableau((), output)


def multistep_kept(phi_m: Any) -> Tableau:
    """2m with the dropped term kept, N' at the earlier end by the difference before it: order 2 for every
    phi_1, order 3 on equal steps for phi_1 = 6/11 (Adams-Bashforth 3).
    """
    newer, older = (N(0) - P(1)) / omega(1), (P(1) - P(2)) / (omega(2) - omega(1))
    return Tableau((), phi1 * N(0) + phi2 * recursive(newer, phi_m, older))


# --- solvers as released ---

_SINGLESTEP = ("scire_solver_first", "singlestep_scire_solver_second", "singlestep_scire_solver_third")
_MULTISTEP = ("scire_solver_first", "multistep_scire_solver_second", "multistep_scire_solver_third")
"""The release's functions `.._update`, by order, in which each formula was read."""


def singlestep(
    order: int,
    version: Version = "v1",
    *,
    snapshot: Name = "head",
    phi: Phi = None,
    r1: Abscissa = None,
    r2: Abscissa = None,
    abscissae: Abscissae | None = None,
) -> Solver:
    """SciRE-Solver-1, -2, -3 as released, the same tableau at every step ("singlestep_fixed").

    version: one of `VERSIONS`.  snapshot: one of `SNAPSHOTS`.  phi: phi_1 as an exact or real number > 0,
    such as `scire_snapshots.phi_1(m)` or `LIMIT`; by default what the snapshot takes at each step.  r1, r2:
    abscissae in (0, 1], by default 1/2, or 1/3 and 2/3.  abscissae: "constant", or "grid" for the fractions
    in rho of the grid's own inner points, which the releases take on discrete schedules ("sd" and "edm" on
    every one; the default there).
    Raises ValueError, naming the argument, for another value, or for what was never released.
    """
    released = _snapshot(snapshot, version)
    sequence = Repeat(_tableau(order, version, released, _phi(phi), r1, r2, abscissae), FIRST)
    varying = phi_as_released(released.singlestep, order)
    return _released(f"{order}", order, version, released, sequence, phi, varying, _SINGLESTEP[order - 1])


def agile(
    order: int,
    version: Version = "v1",
    *,
    snapshot: Name = "head",
    phi: Phi = None,
    abscissae: Abscissae | None = None,
) -> Solver:
    """SciRE-Solver "singlestep_agile": orders mixed so that the evaluations are exactly the budget.

    Arguments and errors as in `singlestep`.
    """
    released, phi_m = _snapshot(snapshot, version), _phi(phi)
    order = checks.integer("order", order, 1, 3)
    tableaux = tuple(
        _tableau(k, version, released, phi_m, None, None, abscissae) for k in range(1, order + 1)
    )
    sequence = Budgeted(tableaux, partial(fast_orders, order), released.always_spans)
    varying, function = phi_as_released(released.singlestep, order, per_entry=order), _SINGLESTEP[order - 1]
    return _released(f"agile-{order}", order, version, released, sequence, phi, varying, function)


def multistep(order: int, version: Version = "v1", *, snapshot: Name = "head", phi: Phi = None) -> Solver:
    """SciRE-Solver 2m and 3m as released (1m is DDIM).

    Arguments and errors as in `singlestep`.  Every run of "head" descends the orders at its end, runs below
    10 steps of the other snapshots do (`Snapshot.final`).
    """
    released, phi_m = _snapshot(snapshot, version), _phi(phi)
    order = checks.integer("order", order, 1, 3)
    if released.multistep is None:
        raise ValueError(f"snapshot must be one that released multistep, got {shown(snapshot)}")
    rule, ratio = released.multistep
    ramp = (FIRST, multistep_second(ratio.subs(PHI, phi_m), phi_m), multistep_third(phi_m))[:order]
    varying, function = phi_as_released(rule, order), _MULTISTEP[order - 1]
    made = _released(f"{order}m", order, version, released, Ramp(ramp), phi, varying, function)
    return replace(made, final=released.final)


def _released(
    variant: str,
    order: int,
    version: Version,
    released: Snapshot,
    sequence: Sequence,
    phi: Any,
    varying: PhiOf,
    function: str,
) -> Solver:
    name = f"scire-{version}-{variant}-released" + ("" if released.name == "head" else f"-{released.name}")
    return Solver(
        name=name if phi is None else f"{name} (phi_1 = {phi})",
        form=VERSIONS[version],
        sequence=sequence,
        claimed=order,
        source=f"ShiguiLi/SciRE-Solver, {released.source}, {function}_update",
        parameters=parameters(varying),
        paper=PAPER,
    )


def _tableau(
    order: int, version: Version, released: Snapshot, phi_m: Any, r1: Any, r2: Any, abscissae: str | None
) -> Tableau:
    order = checks.integer("order", order, 1, 3)
    if order == 3 and version == "ei":
        raise ValueError(
            "order 3 of version 'ei' was released without the recursive difference: dpm-solver-3"
        )
    if abscissae is None:
        abscissae = "grid" if released.inner_grid and r1 is None and r2 is None else "constant"
    r1, r2 = stage_abscissae(order, r1, r2, abscissae)
    return (FIRST, second(r1, phi_m), third(r1, r2, phi_m))[order - 1]


# --- corrected ---


def corrected_singlestep(order: int, version: Version = "v1") -> Solver:
    """SciRE-2 with phi_1 = 1, the explicit midpoint rule, and SciRE-3 with phi_1 = 1 and the Taylor weight
    r2^2 of its second stage, Heun's third-order method.
    """
    order = checks.integer("order", order, 1, 3)
    tableau = (FIRST, dpm_solver.second(type="taylor"), dpm_solver.third())[order - 1]
    source = "the release with phi_1 = 1" + (" and the stage weight r2^2/(2 r1)" if order == 3 else "")
    return _corrected(f"{order}-corrected", order, version, Repeat(tableau, FIRST), source)


def corrected_multistep(order: int, version: Version = "v1") -> Solver:
    """2m and 3m with the weights of Adams-Bashforth on any step ratios (5/12 for the second difference of
    equal steps), ending as the release does.
    """
    order = checks.integer("order", order, 1, 3)
    sequence = Ramp(tuple(adams(k) for k in range(1, order + 1)))
    made = _corrected(f"{order}m-corrected", order, version, sequence, "Adams-Bashforth in the same variable")
    return replace(made, final=FINAL)


def kept_multistep(version: Version = "v1", *, phi: Phi = TWO_THIRDS) -> Solver:
    """2m with the term that the paper drops (`multistep_kept`), after one step of Adams-Bashforth 2.

    phi: phi_1, an exact or real number > 0; 1 gives Adams-Bashforth 2.
    """
    sequence = Ramp((FIRST, adams(2), multistep_kept(checks.exact("phi", phi, above=0))))
    variant = "2m-kept" if phi == TWO_THIRDS else f"2m-kept (phi_1 = {phi})"
    made = _corrected(variant, 2, version, sequence, "the recursive difference without truncation")
    return replace(made, final=FINAL)


def _corrected(variant: str, order: int, version: Version, sequence: Sequence, source: str) -> Solver:
    checks.one_of("version", version, VERSIONS)
    return Solver(
        name=f"scire-{version}-{variant}",
        form=VERSIONS[version],
        sequence=sequence,
        claimed=order,
        source=source,
        paper=PAPER,
    )


# --- arguments ---


def _snapshot(name: str, version: str) -> Snapshot:
    checks.one_of("snapshot", name, SNAPSHOTS)
    released = SNAPSHOTS[name]
    checks.one_of(f"version of {name!r}", version, released.versions)
    return released


def _phi(phi: Any) -> Any:
    return PHI if phi is None else checks.exact("phi", phi, above=0)


def _listed() -> Iterable[Callable[..., Solver]]:
    versions: tuple[Version, ...] = ("v1", "v2")
    for version in versions:
        for order in (2, 3):
            yield partial(singlestep, order, version)
        for order in (2, 3):
            yield partial(multistep, order, version)
    yield partial(agile, 3, "v1")
    for snapshot in ("d30", "sd"):
        yield partial(multistep, 2, "v1", snapshot=snapshot)
    yield partial(singlestep, 2, "ei", snapshot="disc")
    yield partial(singlestep, 3, "v1", snapshot="edm")
    for order in (2, 3):
        yield partial(corrected_singlestep, order, "v1")
        yield partial(corrected_multistep, order, "v1")
    yield partial(corrected_singlestep, 3, "v2")
    yield partial(corrected_multistep, 3, "v2")
    yield partial(kept_multistep, "v1")


LISTED = tuple(_listed())
"""Constructors of the solvers that have a name of their own."""
