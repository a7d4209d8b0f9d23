"""What ER-SDE-Solver (Cui et al. 2025) claims."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import mpmath
import numpy as np
import sympy
from semilinear.analysis.text.named_parts import grid_of, schedule_of
from semilinear.integrators.forms import noise_scale
from semilinear.integrators.forms.noise_scale import NOISE_SCALES, SDE_4, NoiseScale, Path, x
from semilinear.integrators.solver import Solver
from semilinear.integrators.solvers.er_sde import PAPER, Scale, er_sde, released

from ...distribution.contests import PAIRS, first_against_second, vp_against_ve
from ..cells import Cell, closer, contest, judged
from ..claim import Claim, Decision, proof, rounded, statistic
from ..comparison import EqualNfe, pairs
from ..identity_rows import same
from ..marginals import distance
from ..orders import WEAK, orders

SETTINGS = (("edm:sigma_max=80", "karras", 0.002), ("vp-linear", "lambda", 1e-3), ("vp-linear", "t", 1e-3))
"""Schedule, grid and end: the release's two examples, and steps uniform in t."""
BUDGETS = (10, 20, 50)
BUILDS: dict[str, Callable[[Scale], Solver]] = {
    "order 1": partial(er_sde, 1),
    "order 2": partial(er_sde, 2),
    "order 3": partial(er_sde, 3),
    "order 3 as released": partial(released, 3),
}


@cache
def _errors(build: str) -> tuple[dict[str, Any], ...]:
    found = []
    for schedule, grid, t_end in SETTINGS:
        for n in BUDGETS:
            at = schedule_of(schedule), grid_of(grid), n, t_end
            row = {s.name: rounded(distance(BUILDS[build](s), *at)) for s in NOISE_SCALES}
            found.append(
                {"solver": build, "schedule": schedule, "grid": grid, "t_end": t_end, "nfe": n, "errors": row}
            )
    return tuple(found)


def fei(scale: NoiseScale, rho0: Any, rho1: Any) -> Any:
    """1 - phi(rho_1)/phi(rho_0), the FEI coefficient of a step: what D counts in the first-order solution."""
    path = Path(rho0, rho1)
    return -path.xp.expm1(-(path.length + scale.log_ratio(path)))


def flow_has_least() -> Decision:
    """FEI of phi = x q less that of the flow, of a step from rho_0 to rho_1 < rho_0 with q_0 - q_1 >= 0."""
    rho0, rho1, end = sympy.symbols("rho_0 rho_1 q_1", positive=True)
    fall = sympy.Symbol("d", nonnegative=True)  # q does not decrease in rho, which falls
    start = end + fall
    apart = (1 - rho1 * end / (rho0 * start)) - (1 - rho1 / rho0)
    bound = rho1 * fall / (rho0 * start)
    good = sympy.simplify(apart - bound) == 0 and bound.is_nonnegative
    text = "with q = phi/rho the coefficient exceeds the flow's by (rho_1/rho_0)(q_0 - q_1)/q_0 >= 0"
    return Decision("proved" if good else "refuted", text)


def _steps(row: dict[str, Any]) -> list[tuple[float, float]]:
    """The steps in rho of a row of `_errors`."""
    schedule, t_end = schedule_of(row["schedule"]), row["t_end"]
    times = grid_of(row["grid"])(schedule, schedule.t_max, t_end, row["nfe"])
    return list(itertools.pairwise(float(schedule.rho(t)) for t in times))


def _say(row: dict[str, Any], *names: str) -> str:
    errors = ", ".join(f"{name} {row['errors'][name]:.2g}" for name in names)
    return f"{row['solver']}, {row['schedule']}, grid {row['grid']}, {row['nfe']} evaluations: {errors}"


def _cell(row: dict[str, Any], margin: float, text: str) -> Cell:
    """Of exact laws; margin: the least ratio of two errors that the claim puts in order."""
    at = {"better": row["solver"], "setting": f"{row['schedule']} on {row['grid']}", "nfe": row["nfe"]}
    return Cell(text, "yes" if margin > 1 else "no", margin, row, at)


def ranking() -> Decision:
    """Of every two noise scales, one of which has the smaller FEI coefficient on every step: is it ahead?"""
    cells = []
    for row in (row for build in BUILDS for row in _errors(build)):
        steps, errors = _steps(row), row["errors"]
        sizes = {s.name: np.array([fei(s, *step) for step in steps]) for s in NOISE_SCALES}
        ranked = [(a, b) for a, b in itertools.permutations(sizes, 2) if np.all(sizes[a] < sizes[b])]
        ratios = {pair: errors[pair[1]] / errors[pair[0]] for pair in ranked}
        wrong = [list(pair) for pair, value in ratios.items() if value <= 1]
        mean = {name: rounded(float(np.mean(size))) for name, size in sizes.items()}
        least = min(ratios, key=ratios.__getitem__)
        coefficients = ", ".join(f"{name} {mean[name]:.2g}" for name in least)
        found = row | {"fei": mean, "ranked": len(ranked), "wrong": wrong}
        text = f"{_say(row, *least)}; mean coefficients {coefficients}"
        cells.append(_cell(found, ratios[least], text))
    return judged(cells)


def flow_is_best() -> Decision:
    """Whether no noise scale is more accurate than the probability flow at 20 evaluations."""
    cells = []
    for row in (row for build in BUILDS for row in _errors(build) if row["nfe"] == 20):
        noisy = {name: error for name, error in row["errors"].items() if name != "ode"}
        best = min(noisy, key=noisy.__getitem__)
        cells.append(_cell(row, noisy[best] / row["errors"]["ode"], _say(row, "ode", best)))
    return judged(cells)


def flow_is_closer() -> Decision:
    """Pairs of one formula with and without noise, where laws are drawn and where they are known."""
    against = partial(first_against_second, PAIRS)
    return closer(against, lambda row: f"{row.first} against {row.second}")


def processes_are_even() -> Decision:
    """Solvers under VP and under VE, each over its own noise levels: over the same ones the two are one map
    (`er-sde-vp-is-ve`), which decides nothing.  That two laws are not told apart does not show them even.
    """
    return judged(
        [
            contest(
                "golden-mixture", row, None, ["closer", "further"], at={"better": row.first, "nfe": row.nfe}
            )
            for row in vp_against_ve()
        ]
    )


def marginals_kept() -> Decision:
    """The drift (phi'/phi)(y - D) is the flow's and -h^2/2 times the score, for every phi."""
    rho, score = sympy.symbols("rho s")
    phi = sympy.Function("phi")(rho)
    growth = phi.diff(rho) / phi
    h2 = 2 * rho**2 * (growth - 1 / rho)
    drift = growth * (-(rho**2) * score)  # y - D = -rho^2 s, by Tweedie's formula
    zero = sympy.simplify(drift - (-rho * score - h2 / 2 * score)) == 0
    text = "(phi'/phi)(y - D) = -rho s - (h^2/2) s with h^2 = 2 rho^2 (phi'/phi - 1/rho), identically"
    return Decision("proved" if zero else "refuted", text)


RANGE = (0.002, 80.0)


def admissible() -> Decision:
    """Whether phi(x)/x grows on EDM's range of noise levels, for every released scale."""
    at = np.geomspace(*RANGE, 4001)
    found = {s.name: float(np.min(_growth(s)(at) + 0 * at)) for s in NOISE_SCALES}
    text = ", ".join(f"{name} {value:.2g}" for name, value in found.items())
    good = all(value >= 0 for value in found.values())
    return Decision("confirmed" if good else "refuted", f"smallest dln(phi/x)/dln x on [0.002, 80]: {text}")


def _growth(scale: noise_scale.NoiseScale) -> Any:
    return sympy.lambdify(x, scale.growth, ["numpy", {"log1p": np.log1p}])


def admissible_everywhere() -> Decision:
    """Where phi(x)/x of SDE_4 begins to fall."""
    growth = sympy.lambdify(x, SDE_4.growth, ["mpmath", {"log1p": mpmath.log1p}])
    at = float(mpmath.findroot(growth, 1000))
    beyond = float(growth(2 * at))
    text = f"{SDE_4.phi}: dln(phi/x)/dln x changes sign at x = {at:.2f} and is {beyond:.2g} at twice that"
    if beyond < 0 and at > RANGE[1]:
        return Decision("conditional", text, condition=f"sigma/alpha up to {at:.0f}")
    return Decision("inconclusive", text)


CLAIMS = (
    Claim(
        "er-sde-marginals",
        PAPER,
        "extended reverse SDE",
        "Every noise scale phi gives a reverse SDE with the marginals of the forward one",
        proof(marginals_kept),
        "proved",
        assumes="phi(rho)/rho does not decrease, so that h^2 >= 0",
    ),
    Claim(
        "er-sde-order-k",
        PAPER,
        "Algorithms 1-3 (as reported)",
        "ER-SDE-Solver-k, as released with SDE_5, is of order k",
        orders("er-sde-1-released", "er-sde-2-released", "er-sde-3-released"),
        "refuted",
        "the left Riemann sums with 100 points leave a second moment of O(h^2)/100 in every step: weak "
        "order 1",
        WEAK,
        quick=False,
    ),
    Claim(
        "er-sde-order-k-on-the-flow",
        PAPER,
        "Algorithms 1-3 (as reported)",
        "With phi(x) = x, ER-SDE-Solver-k as released is of order k",
        orders("er-sde-ode-1", "er-sde-ode-2-released", "er-sde-ode-3-released"),
        "refuted",
        "the same sums: order 1; with exact integrals -2 is of order 2, and -3 too, whose slope is a "
        "backward "
        "difference",
    ),
    Claim(
        "er-sde-arbitrary-order",
        PAPER,
        "Abstract of v1; Propositions 3 and 5 (as reported)",
        "Arbitrarily high orders are reached by more terms of the Taylor formula",
        orders("er-sde-1", "er-sde-2-corrected", "er-sde-3-corrected"),
        "refuted",
        "along a path of an SDE the integrand has no derivatives: the variance of its integral is not "
        "reproduced, and weak order 2 is the most, with exact integrals and slope",
        f"{WEAK}; the abstract does not say of what the order is",
        quick=False,
    ),
    Claim(
        "er-sde-ode-is-ddim",
        PAPER,
        "Sec. 3 (as reported)",
        "Of order 1 with phi(x) = x it is DDIM, with phi(x) = x^2 ancestral sampling of DDPM",
        same(
            "ddim = er-sde-ode-1",
            "er-sde-reverse-sde-1 = ancestral DDPM (posterior variance)",
            "er-sde-reverse-sde-1 = sde-dpm-solver++-1",
        ),
        "proved",
        assumes="the posterior variance of DDPM",
    ),
    Claim(
        "er-sde-vp-is-ve",
        PAPER,
        "Sec. 3 (as reported)",
        "The solvers for VP are those for VE applied to x/alpha",
        same(
            *(
                f"{name} in x/alpha does not depend on alpha: VP = VE"
                for name in ("er-sde-ode-1", "er-sde-reverse-sde-1", "er-sde-reverse-sde-2-corrected")
            )
        ),
        "proved",
        assumes="shown of phi(x) = x and x^2, to order 2",
    ),
    Claim(
        "er-sde-vp-on-par-with-ve",
        PAPER,
        "Tables (as reported)",
        "VP and VE models of one data set are sampled equally well at equal evaluations",
        statistic(processes_are_even),
        "refuted",
        "each from its own pure noise VE lies closer: at 5 and 10 evaluations with every solver, as its "
        "noise levels span less; over the same ones the two are one map (er-sde-vp-is-ve), which tells "
        "nothing of either",
        "exact scores, steps uniform in lambda, energy distance, 10,000 samples; what two trained networks "
        "do is not seen",
        quick=False,
    ),
    Claim(
        "er-sde-ode-beats-sde-at-few",
        PAPER,
        "Abstract of v1",
        "At few evaluations ODE solvers sample better than SDE solvers",
        statistic(flow_is_closer),
        "conditional",
        "on Gaussian data, of known laws, noise takes a part of the error away in two cells; on "
        "separate modes it holds with the noise of the plain reverse SDE at 5 and 10 evaluations, and "
        "the small noise of SDE_5 is not told from none",
        "one formula with and without noise, 5 to 20 evaluations, exact scores, energy distance",
        quick=False,
        condition=(
            "on gaussian, for ddim against ddim-eta:eta=1 and dpm-solver++-3m-corrected against "
            "sde-dpm-solver++-3m-corrected and er-sde-ode-2-corrected against er-sde-2-corrected"
        ),
    ),
    Claim(
        "er-sde-fei-least-for-the-flow",
        PAPER,
        "FEI coefficients (as reported)",
        "No noise scale has a smaller FEI coefficient than the probability flow, on any step",
        proof(flow_has_least),
        "proved",
        assumes="phi(rho)/rho does not decrease; the coefficient of a step is 1 - phi(rho_1)/phi(rho_0)",
    ),
    Claim(
        "er-sde-noise-scales-ranked",
        PAPER,
        "FEI coefficients (as reported)",
        "At equal evaluations a noise scale with smaller FEI coefficients on every step is more accurate",
        statistic(ranking),
        "conditional",
        "of orders 2 and 3 the leading errors of mean and spread change sign, and noisier scales can "
        "be ahead",
        "Gaussian data, exact laws; scales whose coefficients cross are not compared",
        condition="for order 1",
    ),
    Claim(
        "er-sde-ode-best-at-20",
        PAPER,
        "FEI coefficients, Tables (as reported)",
        "At 20 evaluations the probability flow is the most accurate of the noise scales",
        statistic(flow_is_best),
        "conditional",
        "of order 1 it holds in all settings; of orders 2 and 3 some noise can take a part of the "
        "error away on Gaussian data",
        "Gaussian data, exact laws, Wasserstein distance",
        condition=(
            "with vp-linear on lambda and vp-linear on t, for order 1 and order 2 and order 3 as released"
        ),
    ),
    Claim(
        "er-sde-admissible",
        PAPER,
        "condition on phi",
        "The released noise scales have h^2 >= 0 on EDM's noise levels",
        statistic(admissible),
        "confirmed",
    ),
    Claim(
        "er-sde-admissible-everywhere",
        PAPER,
        "condition on phi",
        "The released noise scales have h^2 >= 0 at every noise level",
        proof(admissible_everywhere),
        "conditional",
        "far above the levels of EDM; phi(x)/x of SDE_4 falls from there on, and the release takes "
        "the root of a negative number",
        condition="sigma/alpha up to 1022",
    ),
    Claim(
        "er-sde-higher-order-helps",
        PAPER,
        "ablation of the order (as reported)",
        "At equal evaluations -2 is more accurate than -1 and -3 more than -2, as released, on the flow",
        EqualNfe(
            pairs("er-sde-ode-2-released", "er-sde-ode-1", "lambda", "t-quadratic")
            + pairs("er-sde-ode-3-released", "er-sde-ode-2-released", "lambda", "t-quadratic"),
        ),
        "conditional",
        "on the golden mixture quadratic in t -3 and -2 are alike at 5 and 6 evaluations; on the digits a "
        "few paths leave cells open",
        quick=False,
        condition="on rotated-product-2d",
    ),
    Claim(
        "er-sde-fid",
        PAPER,
        "Abstract",
        "FID 3.45 in 20 and 2.24 in 50 evaluations on ImageNet 64",
        None,
        "untestable",
        "needs the network and its data set: kept in the table of reported figures",
    ),
)
