"""Which solvers are one method under several names: proved by exact coefficients, not by sampling.

Every identity holds for every grid and every model, and for every schedule unless it names one: see
`analysis/orders/exact.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from semilinear.analysis.orders.exact import (
    ALPHA,
    equal_steps,
    exact_steps,
    open_schedule,
    sigma_is_time,
    straight,
)
from semilinear.integrators.diffusion.schedule import Schedule
from semilinear.integrators.forms.form import noise_in_lambda
from semilinear.integrators.solver import Solver
from semilinear.integrators.solvers import classical, dpm_solver_v3, make, scire, unipc
from semilinear.integrators.statistics.smooth import constant


@dataclass(frozen=True)
class Identity:
    """Two solvers that are the same map.

    statement: in words.  steps: how many steps of a run are compared, from `first` on (after the start, where
    only the formulas agree).  schedule: on which it holds; absent, on every one.  in_signal_units: equality
    of x/alpha, the second solver under alpha = 1.
    """

    statement: str
    a: Callable[[], Solver]
    b: Callable[[], Solver]
    steps: int = 2
    first: int = 0
    schedule: Callable[[], Schedule] = open_schedule
    in_signal_units: bool = False

    def defects(self) -> list[str]:
        """Where the two differ: empty when the identity is proved."""
        if not self.in_signal_units:
            a, b = (exact_steps(s(), self.steps, schedule=self.schedule()) for s in (self.a, self.b))
            return equal_steps(a, b, first=self.first)
        a = exact_steps(self.a(), self.steps, prediction="x0")
        b = exact_steps(self.b(), self.steps, prediction="x0", schedule=open_schedule(unit_alpha=True))
        return equal_steps(a, b, scale_a=ALPHA, first=self.first)

    def row(self) -> dict[str, Any]:
        """The identity with its verdict, as JSON data."""
        names = {"a": self.a().name, "b": self.b().name}
        return {"statement": self.statement, **names, "defects": self.defects()}


def _listed(name: str, **parameters: Any) -> Callable[[], Solver]:
    return lambda: make(name, **parameters)


def _same(a: str, b: str, statement: str = "", **options: Any) -> Identity:
    return Identity(statement or f"{a} = {b}", _listed(a), _listed(b), **options)


def _v3(l_value: int, s_value: int, order: int) -> Callable[[], Solver]:
    return lambda: dpm_solver_v3.multistep(order, statistics=constant(l_value, s_value, 0))


def _ddim() -> list[Identity]:
    names = (
        "dpm-solver-1",
        "dpm-solver++-1",
        "deis-tab0",
        "deis-rhoab0",
        "deis-lambdaab0",
        "deis-rhork-1euler",
        "er-sde-ode-1",
    )
    return [
        *(_same("ddim", name) for name in names),
        Identity("ddim = SciRE-1 (V1)", _listed("ddim"), lambda: scire.singlestep(1, "v1")),
        Identity("ddim = SciRE-1 (V2)", _listed("ddim"), lambda: scire.singlestep(1, "v2")),
        Identity("ddim = UniP-1", _listed("ddim"), lambda: unipc.unipc(1, "bh1", corrections=0)),
        Identity("ddim = DPM-Solver-v3-1 with (l, s, b) = (1, 0, 0)", _listed("ddim"), _v3(1, 0, 1)),
        Identity("ddim = DPM-Solver-v3-1 with (l, s, b) = (0, -1, 0)", _listed("ddim"), _v3(0, -1, 1)),
    ]


def _adams() -> list[Identity]:
    after_start: dict[str, Any] = {"steps": 3, "first": 2}
    return [
        _same("dpm-solver-2m-taylor", "deis-lambdaab1", steps=3),
        _same("dpm-solver-3m-corrected", "deis-lambdaab2", **after_start),
        _same("dpm-solver++-3m-corrected", "unip-3-bh2", "dpm-solver++-3m-corrected = UniP-3", **after_start),
        Identity("dpm-solver++-2m = UniP-2 (B2)", _listed("dpm-solver++-2m"), lambda: _unip(2, "bh2"), 3),
        Identity(
            "dpm-solver++-2m-taylor = UniP-2 (varying coefficients)",
            _listed("dpm-solver++-2m-taylor"),
            lambda: _unip(2, "vary-corrected"),
            3,
        ),
        _same("res-2m", "dpm-solver++-2m-taylor", steps=3),
        _same("lms-4", "deis-rhoab3", steps=4),
        _same("scire-v1-2m-corrected", "deis-rhoab1", steps=3),
        _same("scire-v1-3m-corrected", "deis-rhoab2", **after_start),
        *(
            Identity(
                f"dpm-solver-v3-{k} with (1, 0, 0) = exponential Adams-{k} in data prediction",
                _v3(1, 0, k),
                _listed(b),
                k,
                k - 1,
            )
            for k, b in ((2, "dpm-solver++-2m-taylor"), (3, "dpm-solver++-3m-corrected"))
        ),
        *(
            Identity(
                f"dpm-solver-v3-{k} with (0, -1, 0) = exponential Adams-{k} in noise prediction",
                _v3(0, -1, k),
                _listed(f"deis-lambdaab{k - 1}"),
                k,
                k - 1,
            )
            for k in (2, 3)
        ),
        *(
            _same(
                f"deis-tab{k}",
                f"deis-rhoab{k}",
                f"deis-tab{k} = deis-rhoab{k} where sigma = t",
                steps=k + 1,
                schedule=sigma_is_time,
            )
            for k in (1, 2, 3)
        ),
    ]


def _unip(order: int, variant: Any) -> Solver:
    return unipc.unipc(order, variant, corrections=0)


def _one_step() -> list[Identity]:
    return [
        Identity(
            "dpm-solver-3 = Hochbruck-Ostermann (5.9) in noise prediction",
            _listed("dpm-solver-3"),
            lambda: classical.exponential_rk("hochbruck-ostermann3", noise_in_lambda),
        ),
        _same("edm-heun", "deis-rhork-2heun"),
        Identity(
            "dpm-solver++-2s-taylor with r1 = 1 = ETDRK2",
            _listed("dpm-solver++-2s-taylor", r1=1),
            _listed("etdrk2"),
        ),
        _same("res-2s", "dpm-solver++-2s-taylor"),
        *(
            Identity(f"{name} with eta = 0 = {flow}", _listed(name, eta=0), _listed(flow))
            for name, flow in (("exp-heun-2-x0-sde", "etdrk2"), ("res-2s-sde", "res-2s"))
        ),
        _same("scire-v1-2-corrected", "deis-rhork-2midpoint"),
        _same("scire-v1-3-corrected", "deis-rhork-3heun"),
    ]


def _whole() -> list[Identity]:
    """Runge-Kutta on the velocity."""
    flow: dict[str, Any] = {"schedule": straight}
    sigma: dict[str, Any] = {"schedule": sigma_is_time}
    return [
        _same("euler-in-t", "score-sde-pf-em"),
        _same("euler-in-t", "ddim", "euler-in-t = ddim on rectified flow", **flow),
        *(
            _same(a, b, f"{a} = {b} where sigma = t", **sigma)
            for a, b in (
                ("euler-in-t", "ddim"),
                ("heun-in-t", "edm-heun"),
                ("rk2-in-t", "deis-rhork-2midpoint"),
                ("rk4-in-t", "deis-rhork-4rk"),
            )
        ),
    ]


def _stochastic() -> list[Identity]:
    return [
        _same("er-sde-reverse-sde-1", "sde-dpm-solver++-1"),
        _same(
            "er-sde-reverse-sde-1",
            "score-sde-ancestral-small",
            "er-sde-reverse-sde-1 = ancestral DDPM (posterior variance)",
        ),
        _same("seeds-1", "sde-dpm-solver-1"),
        _same("k-diffusion-2m-sde", "sde-dpm-solver++-2m", steps=3),
    ]


def _without_alpha() -> list[Identity]:
    names = (
        "er-sde-ode-1",
        "er-sde-reverse-sde-1",
        "er-sde-reverse-sde-2-corrected",
        "dpm-solver-3",
        "unipc-2-bh2",
        "res-3s",
    )
    statement = "{} in x/alpha does not depend on alpha: VP = VE"
    return [Identity(statement.format(n), _listed(n), _listed(n), in_signal_units=True) for n in names]


IDENTITIES: tuple[Identity, ...] = (
    *_ddim(),
    *_adams(),
    *_one_step(),
    *_whole(),
    *_stochastic(),
    *_without_alpha(),
)


def proofs() -> list[dict[str, Any]]:
    """Every identity with its verdict, as JSON data."""
    return [identity.row() for identity in IDENTITIES]
