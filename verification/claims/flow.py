"""What is claimed of each solver, and what it is expected to do: data, checked by measurement.

A claim is what the paper or the release says.  An expectation is what follows from the mathematics: the
order of the formula (exact starting values) and the order of the method with its own start.  `semilinear
verify` measures both; it fails when a measurement contradicts an expectation, not when a claim is refuted.
"""

from __future__ import annotations

from dataclasses import dataclass

from semilinear.integrators.solver import Solver
from semilinear.integrators.solvers import classical, make
from semilinear.integrators.tableaux.catalogue import CATALOGUE


@dataclass(frozen=True)
class Expectation:
    """The orders that a solver must show, and why they are not the claimed one.

    solver: name.  exact: with exact starting values.  own: with its own start.  None: the order
    falls along the ladder without reaching its limit, so the verdict on the claim must be "lower" and no
    order is asserted. residue: (m, r): measured at budgets n = r mod m.  long: measured to 4096 steps, in the
    main setting alone, where an error that decides is small at first (of a release's quadrature, of a start).
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
        """The solver: its formula, on no problem's statistics."""
        return make(self.solver)


START = "the first step is first order: a local error O(h^2), made once, caps the whole run at order 2"
HALF_D2 = "the second difference D2 is half of h^2 N'' but multiplies phi_3 once"
RIEMANN = (
    "the left Riemann sum with 10,000 points leaves a relative error in every Adams weight that does not "
    "vanish with h: first order in the limit"
)
EQUAL_STEPS = (
    "the weights are those of equal steps in rho: a local error O(h^3) on any other smooth grid, O(h^2) on "
    "one that is not smooth"
)
FOREIGN_NODES = (
    "stages lie at the nodes of one stabilised method and have the weights of another: the first moment of "
    "their quadrature is 0.4896, not 1/2, for 50 stages: a local error O(h^2)"
)
OF_THE_RUN = "the weights are sigma/(3 sigma_0) of the whole run, which is no quadrature's"
MEAN_STEP = (
    "the mean of this step and the last stands in the integral of e^lambda, the step in the transfer of the "
    "state: second order on equal steps in lambda alone"
)
IN_THE_MIDDLE = (
    "more than is claimed: with the springboard in the middle the formula is Adams-Bashforth 2 on equal "
    "steps in rho, and off by O(h^3) on other smooth grids"
)
EQUAL_DIFFERENCES = (
    "the stages are one quadrature of a polynomial from three velocities, whose slope is the difference of "
    "equal steps: a local error O(h^3) on other smooth grids, O(h^4) on equal steps"
)
CORRECTED_START = (
    "the first step is first order, corrected: a local error O(h^3), made once, caps the whole run at order 3"
)
MISREAD = (
    "the corrector takes the new difference with a weight of another row: sum b_i c_i is not phi_2, a local "
    "error O(h^2)"
)
GAMMA = "gamma holds c_3^3 where c_3^2 is due: sum b_i c_i^2 is not 1/3 at z = 0, a local error O(h^3)"
PSEUDO = (
    "divided differences stand for derivatives: a one-sided N' leaves a local error O(h^3) (the paper itself "
    "does not guarantee this order, which is the number of nodes)"
)
ENDS_LOW = "the last step is first order: a local error O(h^2), made once"
LOWERED = "the last step is first order at any number of steps, as released: a local error O(h^2), made once"
LOW_ENDS = "the first step and, as released, the last are first order: local errors O(h^2), made once each"
LOWERED_AND_STARTED = f"{LOWERED}; without that (final='full'), {CORRECTED_START}"
RECURSIVE = (
    "the recursive difference drops (1/phi_1 - 1) N', at least half of the N' it estimates: a local error "
    "O(h^2) in every step unless phi_1 = 1"
)
SUMS = (
    "the left Riemann sum with 100 points leaves 1/100 of the second moment at every step, however small: a "
    "local error O(h^2), first order in the limit"
)
WRONG_FACTOR = "the past evaluation is carried by e^(z/2) in place of e^((1 + omega) z): a local error O(h^2)"
SLOPE = "the slope is a backward difference, off by h D''/2: a local error O(h^3)"


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
    for name in (f"{family}-{single[k]}-on-grid" for k in (1, 2)):
        rows.append(Expectation(name, 2, 2))
    for name in (f"{family}-{single[k]}-on-grid" for k in (3, 4)):
        rows.append(Expectation(name, 3, 3, residue=(3, 0)))
        rows.append(Expectation(name, 2, 2, ENDS_LOW, residue=(3, 1)))
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


def _scire() -> list[Expectation]:
    released = [f"scire-{v}-{k}-released" for v in ("v1", "v2") for k in ("2", "3", "2m", "3m")]
    released += ["scire-v1-agile-3-released", "scire-v1-2m-released-d30", "scire-v1-2m-released-sd"]
    released += ["scire-ei-2-released-disc", "scire-v1-3-released-edm"]
    return [
        *(Expectation(name, 1, 1, RECURSIVE) for name in released),
        *(Expectation(f"scire-v1-{k}", 2, 2) for k in ("2-corrected", "2m-corrected", "2m-kept")),
        *(Expectation(f"scire-{v}-3-corrected", 3, 3) for v in ("v1", "v2")),
        *(Expectation(f"scire-{v}-3m-corrected", 3, 2, LOW_ENDS) for v in ("v1", "v2")),
    ]


def _er_sde() -> list[Expectation]:
    return [
        Expectation("er-sde-ode-1", 1, 1),
        Expectation("er-sde-ode-2-released", 1, 1, SUMS, long=True),
        Expectation("er-sde-ode-2-corrected", 2, 2),
        Expectation("er-sde-ode-3-released", 1, 1, SUMS, long=True),
        Expectation("er-sde-ode-3-exact-integrals", 2, 2, SLOPE),
        Expectation("er-sde-ode-3-corrected", 3, 2, START),
        Expectation("er-sde-ode-4", 4, 2, START),
    ]


def _unipc() -> list[Expectation]:
    """Order p + 1 of the formula; as it is run, no more than its first and last steps allow."""
    rows = [Expectation(f"unipc-1-{v}", 2, 2) for v in ("bh1", "bh2", "vary", "bh2-noise")]
    rows += [
        Expectation(f"unipc-2-{v}", 3, 2, LOWERED) for v in ("bh1", "bh2", "vary-corrected", "bh2-noise")
    ]
    third = ("bh1", "bh2", "bh2-noise", "vary-corrected")
    rows += [Expectation(f"unipc-3-{v}", 4, 2, LOWERED_AND_STARTED) for v in third]
    rows += [Expectation("unipc-4-bh2", 5, 2, LOWERED_AND_STARTED)]
    # Order 6 leaves the floor of the general mixture's reference too few errors: the main setting alone.
    rows += [Expectation("unipc-5-bh2", 6, 2, LOWERED_AND_STARTED, long=True)]
    rows += [Expectation(f"unipc-{p}-vary-released", 1, 1, MISREAD) for p in (2, 3)]
    return [*rows, Expectation("unip-2-bh1", 2, 2), Expectation("unip-3-bh2", 3, 2, LOW_ENDS)]


def _res() -> list[Expectation]:
    rows = _one_step({"res-2s": 2, "res-3s": 3, "res-2m": 2})
    for name in ("res-3s-non-monotonic", "res-3m"):
        rows += [Expectation(f"{name}-released", 2, 2, GAMMA), Expectation(f"{name}-corrected", 3, 3)]
    return rows


def _v3() -> list[Expectation]:
    """On the default statistics: any smooth ones give the same orders.

    Where the h^3 term is much smaller than the next, it shows only on the long ladder.
    """
    return [
        Expectation("dpm-solver-v3-1", 1, 1),
        Expectation("dpm-solver-v3-2m", 2, 2),
        Expectation("dpm-solver-v3-3m", 3, 2, LOW_ENDS),
        Expectation("dpm-solver-v3-3m-pseudo", 2, 2, PSEUDO),
        Expectation("dpm-solver-v3-2m-c2", 2, 2),
        Expectation("dpm-solver-v3-2m-pc3", 2, 2),
        Expectation("dpm-solver-v3-2m-c3", 3, 2, LOWERED),
        Expectation("dpm-solver-v3-2m-pc3-half", 2, 2),
        Expectation("dpm-solver-v3-2m-pc3-half-released", 2, 2),
        Expectation("dpm-solver-v3-3m-c3", 3, 2, LOW_ENDS, long=True),
        Expectation("dpm-solver-v3-3m-pc4", 2, 2, PSEUDO),
        Expectation("dpm-solver-v3-3m-c4", 4, 2, LOWERED_AND_STARTED, long=True),
        Expectation("dpm-solver-v3-2s", 2, 2),
        Expectation("dpm-solver-v3-3s", 3, 3),
    ]


def _one_step(names: dict[str, int]) -> list[Expectation]:
    return [Expectation(name, order, order) for name, order in names.items()]


def _catalogue() -> list[Expectation]:
    """The claimed orders, with either start, but for a defect of released code.

    Where errors of high order oscillate on the general mixture before they settle, the main setting alone.
    """
    settles_late = {"lawson5-fehlberg", "ab-norsett6", "pec625", "pecec635"}
    settles_late |= {"genlawson43", "genlawson44", "genlawson45", "modgenlawson43", "modgenlawson45"}
    defect = "ab-lawson2-released"
    rows = [Expectation(defect, 1, 1, WRONG_FACTOR)]
    for name in classical.LISTED:
        if name != defect:
            order = CATALOGUE[name].claimed
            rows.append(Expectation(name, order, order, long=name in settles_late))
    return rows


STATED: tuple[Expectation, ...] = (
    Expectation("ddim", 1, 1),
    *_dpm("dpm-solver"),
    *_dpm("dpm-solver++"),
    *_adams("deis-tab", released_rule=True),
    *_adams("deis-rhoab", released_rule=True),
    *_adams("deis-lambdaab", released_rule=False),
    *_v3(),
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
    # On the general mixture its errors oscillate before they settle: the main setting alone.
    Expectation("dormand-prince-in-t", 5, 5, long=True),
    Expectation("stork-2-released", 1, 1, FOREIGN_NODES, long=True),
    Expectation("stork-2-corrected", 2, 2),
    Expectation("stork-4-corrected", 2, 2, EQUAL_DIFFERENCES),
    Expectation("heun++-2", 1, 1, OF_THE_RUN),
    Expectation("dpm++-2m-v2", 1, 1, MEAN_STEP),
    *(Expectation(f"pfdiff-{v}", 2, 2, IN_THE_MIDDLE) for v in ("1", "3-2")),
    *(Expectation(f"pfdiff-{v}", 1, 1) for v in ("2-1", "2-2", "3-1", "3-3")),
    *(Expectation(f"rx-euler-{k}", 2, 2) for k in (2, 3)),
    *_scire(),
    *_er_sde(),
    *_unipc(),
    *_res(),
    Expectation("lms-4", 4, 2, START),
    *_one_step({"edm-heun": 2, "score-sde-pf-em": 1, "score-sde-pf-reverse-diffusion": 1}),
    *_catalogue(),
)
