"""Which solvers are one method under several names: proved by exact coefficients, not by sampling.

Every identity holds for every schedule, every grid and every model: see `analysis/exact.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from semilinear.analysis.exact import ALPHA, equal_steps, exact_steps
from semilinear.integrators.solver import Solver
from semilinear.integrators.solvers import make


@dataclass(frozen=True)
class Identity:
    """Two solvers that are the same map.

    statement: in words.  steps: how many steps of a run are compared, from `first` on (after the start, where
    only the formulas agree).  in_signal_units: equality of x/alpha, the second solver under alpha = 1.
    """

    statement: str
    a: Callable[[], Solver]
    b: Callable[[], Solver]
    steps: int = 2
    first: int = 0
    in_signal_units: bool = False

    def defects(self) -> list[str]:
        """Where the two differ: empty when the identity is proved."""
        prediction = "x0" if self.in_signal_units else "eps"
        a = exact_steps(self.a(), self.steps, prediction=prediction)
        b = exact_steps(self.b(), self.steps, prediction=prediction, unit_alpha=self.in_signal_units)
        return equal_steps(a, b, scale_a=ALPHA if self.in_signal_units else None, first=self.first)


def _listed(name: str, **parameters: Any) -> Callable[[], Solver]:
    return lambda: make(name, **parameters)


def _same(a: str, b: str, statement: str = "", **options: Any) -> Identity:
    return Identity(statement or f"{a} = {b}", _listed(a), _listed(b), **options)


IDENTITIES: tuple[Identity, ...] = (
    *(
        _same("ddim", name)
        for name in (
            "dpm-solver-1",
            "dpm-solver++-1",
            "deis-rhoab0",
            "deis-lambdaab0",
            "deis-rhork-1euler",
        )
    ),
    _same("dpm-solver-2m-taylor", "deis-lambdaab1", "DPM-Solver 2M (taylor) = DEIS in lambda of degree 1"),
    _same(
        "dpm-solver-3m-corrected",
        "deis-lambdaab2",
        "corrected DPM-Solver 3M = exponential Adams-Bashforth 3, after the start",
        steps=3,
        first=2,
    ),
    _same("edm-heun", "deis-rhork-2heun", "EDM Heun = DEIS rho2Heun"),
    Identity(
        "DPM-Solver++ 2S (taylor) with r1 = 1 = ETDRK2",
        _listed("dpm-solver++-2s-taylor", r1=1),
        _listed("etdrk2"),
    ),
    _same(
        "dpm-solver-2m",
        "dpm-solver-2m",
        "a method in noise prediction = itself in x/alpha",
        in_signal_units=True,
    ),
)


def proofs() -> list[dict[str, Any]]:
    """Every identity with its verdict, as JSON data."""
    return [
        {"statement": i.statement, "a": i.a().name, "b": i.b().name, "defects": i.defects()}
        for i in IDENTITIES
    ]
