"""What is claimed of each solver, and what it is expected to do: data, checked by measurement.

A claim is what the paper or the release says.  An expectation is what follows from the mathematics: the
order of the formula (exact starting values) and the order of the method with its own start.  `semilinear
verify` measures both; it fails when a measurement contradicts an expectation, not when a claim is refuted.
"""

from __future__ import annotations

from dataclasses import dataclass

from semilinear.integrators.solver import Solver
from semilinear.integrators.solvers import SOLVERS, make


@dataclass(frozen=True)
class Expectation:
    """The orders that a solver must show, and why they are not the claimed one.

    solver: name.  exact: with exact starting values.  own: with its own start.  None: the order
    falls along the ladder without reaching its limit, so the verdict on the claim must be "lower" and no
    order is asserted. residue: (m, r): measured at budgets n = r mod m.  long: measured to 4096 steps,
    where the quadrature error of a release is not hidden behind the method's own.
    """

    solver: str
    exact: int | None
    own: int | None
    reason: str = ""
    residue: tuple[int, int] | None = None
    long: bool = False

    @property
    def label(self) -> str:
        """The solver's name, with the budgets where they matter."""
        return (
            self.solver
            if self.residue is None
            else f"{self.solver}, NFE {self.residue[1]} mod {self.residue[0]}"
        )

    def build(self) -> Solver:
        """The solver."""
        return make(self.solver)


START = "the first step is DDIM: a local error O(h^2), made once, caps the whole run at order 2"
HALF_D2 = "the second difference D2 is half of h^2 N'' but multiplies phi_3 once"
RIEMANN = (
    "the left Riemann sum with 10,000 points leaves a relative error in every Adams weight that does not "
    "vanish with h: first order in the limit"
)
EQUAL_STEPS = "the weights are those of equal steps in rho: a local error O(h^3) on any other grid"
ENDS_LOW = "the last step is first order: a local error O(h^2), made once"


def _adams(prefix: str, released_rule: bool) -> list[Expectation]:
    rows = []
    for degree in range(4):
        rows.append(
            Expectation(f"{prefix}{degree}", degree + 1, min(degree + 1, 2), START if degree > 1 else "")
        )
        if released_rule:
            # Degree 0 is first order anyway; at degree 1 the O(h^2) of the method still shows at 4096 steps.
            name, falls = f"{prefix}{degree}-released", degree > 0
            rows.append(
                Expectation(
                    name,
                    None if degree == 1 else 1,
                    None if falls else 1,
                    RIEMANN if falls else "",
                    long=falls,
                )
            )
    return rows


def _dpm(family: str) -> list[Expectation]:
    single = (
        ("1", "2", "2-taylor", "3", "3-taylor")
        if family == "dpm-solver"
        else ("1", "2s", "2s-taylor", "3s", "3s-taylor")
    )
    rows = [Expectation(f"{family}-{v}", int(v[0]), int(v[0])) for v in single]
    rows += [Expectation(f"{family}-{v}", 2, 2) for v in ("2m", "2m-taylor")]
    rows += [
        Expectation(f"{family}-3m-released", 2, 2, HALF_D2),
        Expectation(f"{family}-3m-corrected", 3, 2, START),
        Expectation(f"{family}-fast-2", 2, 2, residue=(2, 0)),
        Expectation(f"{family}-fast-2", 2, 2, residue=(2, 1)),
        Expectation(f"{family}-fast-3", 2, 2, ENDS_LOW, residue=(3, 0)),
        Expectation(f"{family}-fast-3", 2, 2, ENDS_LOW, residue=(3, 1)),
        Expectation(f"{family}-fast-3", 3, 3, residue=(3, 2)),
    ]
    return rows


def _one_step(names: dict[str, int]) -> list[Expectation]:
    return [Expectation(name, order, order) for name, order in names.items()]


EXPECTATIONS: tuple[Expectation, ...] = (
    Expectation("ddim", 1, 1),
    *_dpm("dpm-solver"),
    *_dpm("dpm-solver++"),
    *_adams("deis-tab", released_rule=True),
    *_adams("deis-rhoab", released_rule=True),
    *_adams("deis-lambdaab", released_rule=False),
    *_one_step(
        {
            "deis-rhork-1euler": 1,
            "deis-rhork-2heun": 2,
            "deis-rhork-2midpoint": 2,
            "deis-rhork-3kutta": 3,
            "deis-rhork-3ral": 3,
            "deis-rhork-3heun": 3,
            "deis-rhork-3vdh": 3,
            "deis-rhork-3ssprk": 3,
            "deis-rhork-4rk": 4,
        }
    ),
    Expectation("deis-ipndm", 2, 2, EQUAL_STEPS),
    *_one_step({"edm-heun": 2, "etdrk2": 2, "etdrk3": 3, "etdrk4": 4, "krogstad4": 4}),
    *_one_step({"score-sde-pf-em": 1, "score-sde-pf-reverse-diffusion": 1}),
    *_one_step({"hochbruck-ostermann4": 4, "lawson4": 4, "exprk5s8": 5}),
)


def unmeasured() -> list[str]:
    """Listed solvers without an expectation: the stochastic ones, whose orders are weak and strong ones."""
    covered = {e.solver for e in EXPECTATIONS}
    return [name for name in SOLVERS if name not in covered]
