"""What the successors claim, and packages of them: DPM-Solver++, UniPC, SA-Solver, SEEDS, RES, EDM, FireFlow
and Restart.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial

from semilinear.analysis.orders.solver_proof import prove_solver
from semilinear.analysis.orders.stiff import stiff_conditions
from semilinear.integrators.diffusion.grids import uniform_t
from semilinear.integrators.diffusion.schedule import vp_linear
from semilinear.integrators.plans.compile import compile_plan
from semilinear.integrators.plans.program import Row
from semilinear.integrators.solvers import (
    analytic_dpm,
    deis,
    edm,
    interfaces,
    make,
    res,
    runge_kutta,
    stochastic,
)
from semilinear.integrators.solvers.dpm_solver import PLUS_PLUS
from semilinear.integrators.solvers.unipc import PAPER as UNIPC
from semilinear.integrators.statistics import second_moment

from ...distribution.contests import first_against_second, restart_against
from ..cells import closer
from ..claim import Claim, Decision, proof, statistic
from ..comparison import EqualNfe, pairs
from ..identity_rows import same
from ..orders import WEAK, orders

DIFFUSERS = "huggingface/diffusers, documentation"
SINGLESTEP_3 = ("dpm-solver-3-on-grid", "dpm-solver++-3s-on-grid")
THIRD_ON_GRID = tuple(f"{name}, NFE 0 mod 3" for name in SINGLESTEP_3)
GRIDS = ("lambda", "t-quadratic", "t")
SECOND_INTEGRAL = (
    "one increment of noise a step does not reproduce the variance of the integral of the model along the "
    "path: weak order 2 is the most"
)


def degenerate() -> Decision:
    """The conditions of order 2 that the single-step methods of two stages violate, for every z."""
    lacking, whole = (
        stiff_conditions(make(name).sequence.tableaux[-1]).violated(2)
        for name in ("dpm-solver++-2s", "res-2s")
    )
    own = prove_solver(make("dpm-solver++-2s")).run()
    text = f"dpm-solver++-2s: {', '.join(lacking) or 'none'} not 0 for all z, order {own} as it is run"
    text += f"; res-2s: {', '.join(whole) or 'none'}"
    return Decision("proved" if lacking and not whole else "refuted", text)


def any_b() -> Decision:
    """The proved orders of UniPC with either B(h): of the formula, and as it is run."""
    found = {}
    for p in (1, 2, 3):
        proofs = [prove_solver(make(f"unipc-{p}-{b}")) for b in ("bh1", "bh2")]
        found[p] = [(q.exact_start(), q.run()) for q in proofs]
    text = "; ".join(f"p = {p}: formula {of[0][0]}, as it is run {of[0][1]}" for p, of in found.items())
    alike = all(a == b for a, b in found.values())
    return Decision("proved" if alike else "refuted", f"B_1 and B_2 alike: {text}")


RESTART = "Restart (Xu et al. 2023), arXiv:2306.14878"
"""Not a solver of its own: a plan (`integrators.plans.restart`)."""


def restarts_are_closer(other: str) -> Callable[[], Decision]:
    """Restart's plans as released, made of EDM's Heun steps, against another solver at equal evaluations."""
    return lambda: closer(partial(restart_against, other))


_PLUS_PLUS = (
    Claim(
        "dpm-solver++-second-order",
        PLUS_PLUS,
        "Theorems for 2S and 2M (as reported)",
        "DPM-Solver++(2S) and (2M) are of order 2",
        orders("dpm-solver++-2s", "dpm-solver++-2m"),
        "proved",
    ),
    Claim(
        "dpm-solver++-2m-is-unip-2",
        PLUS_PLUS,
        "Algorithm 2; UniPC, Sec. 3.4 (as reported)",
        "DPM-Solver++(2M) is the predictor of UniPC with B_2, order 2",
        same("dpm-solver++-2m = UniP-2 (B2)"),
        "proved",
    ),
    Claim(
        "dpm-solver++-multistep-beats-singlestep",
        PLUS_PLUS,
        "Sec. 4 (as reported)",
        "At equal evaluations multistep (2M) is more accurate than singlestep (2S)",
        EqualNfe(
            pairs("dpm-solver++-2m", "dpm-solver++-2s", *GRIDS),
            (6, 8, 10, 12, 20, 50),
        ),
        "conditional",
        "uniform in t the last step in lambda is many times the one before, and from 10 evaluations "
        "on the release extrapolates over it; on the digits half of the cells are open",
        quick=False,
        condition="on golden-mixture and rotated-product-2d, on the grid lambda and t-quadratic",
    ),
    Claim(
        "dpm-solver++-beats-dpm-solver",
        PLUS_PLUS,
        "Sec. 5 (as reported)",
        "Without guidance, too, data prediction (2S) is more accurate than noise prediction at equal "
        "evaluations",
        EqualNfe(pairs("dpm-solver++-2s", "dpm-solver-2", *GRIDS), (6, 8, 10, 12, 20)),
        "inconclusive",
        "it holds at 6 evaluations in every cell; later some are open, on the digits most",
        quick=False,
    ),
    Claim(
        "dpm-solver++-sde-order",
        PLUS_PLUS,
        "SDE-DPM-Solver++(2M) (as reported)",
        "SDE-DPM-Solver++(2M) is of second order",
        orders("sde-dpm-solver++-2m"),
        "confirmed",
        assumes=WEAK,
        quick=False,
    ),
    Claim(
        "dpm-solver++-guided-sampling",
        PLUS_PLUS,
        "Abstract",
        "With large guidance good samples take 15 to 20 steps",
        None,
        "untestable",
        "needs guidance of a trained network, and an eye",
    ),
    Claim(
        "diffusers-third-order-multistep",
        PLUS_PLUS,
        f"{DIFFUSERS}, DPMSolverMultistepScheduler, solver_order=3",
        "The multistep scheduler with solver_order=3 is third-order DPM-Solver++",
        orders("dpm-solver++-3m-released"),
        "refuted",
        "its second difference is half of h^2 N'': order 2 from exact starting values too",
    ),
    Claim(
        "diffusers-third-order-multistep-mended",
        PLUS_PLUS,
        f"{DIFFUSERS}, DPMSolverMultistepScheduler, solver_order=3",
        "With that factor put right it is third order",
        orders("dpm-solver++-3m-corrected"),
        "conditional",
        "as it is run the DDIM start caps it at order 2",
        condition="from exact starting values and at full order to the end",
    ),
    Claim(
        "diffusers-third-order-singlestep",
        PLUS_PLUS,
        f"{DIFFUSERS}, DPMSolverSinglestepScheduler, solver_order=3",
        "The singlestep scheduler with solver_order=3 is third order",
        orders(*THIRD_ON_GRID, *(f"{name}, NFE 1 mod 3" for name in SINGLESTEP_3), where=THIRD_ON_GRID),
        "conditional",
        "with 1 mod 3 intervals (with lower_order_final, of 3, too) the last step is DDIM's, and its local "
        "error O(h^2), made once, caps the run",
        "a smooth grid: where steps over three intervals are no thirds in the limit, two orders are proved",
        condition=f"for {' and '.join(THIRD_ON_GRID)}",
    ),
    Claim(
        "diffusers-third-order-sde",
        PLUS_PLUS,
        f"{DIFFUSERS}, algorithm_type='sde-dpmsolver++', solver_order=3",
        "The stochastic scheduler with solver_order=3 is third order",
        orders("sde-dpm-solver++-3m-released"),
        "refuted",
        "a part of phi_2 has the wrong sign, so that the second difference has a weight that does not vanish",
        WEAK,
        quick=False,
    ),
    Claim(
        "diffusers-deis-orders",
        deis.PAPER,
        f"{DIFFUSERS}, DEISMultistepScheduler, solver_order=1, 2, 3",
        "Its orders are 1, 2 and 3",
        orders("deis-lambdaab0", "deis-lambdaab1", "deis-lambdaab2"),
        "conditional",
        "as it is run the DDIM start caps order 3 at 2",
        condition="from exact starting values and at full order to the end",
    ),
    Claim(
        "k-diffusion-3m-sde",
        PLUS_PLUS,
        "crowsonkb/k-diffusion, sample_dpmpp_3m_sde (by its name)",
        "DPM-Solver++(3M) SDE is third order",
        orders("k-diffusion-3m-sde-released"),
        "refuted",
        f"half the second difference makes the formula second order; and {SECOND_INTEGRAL}",
        WEAK,
        quick=False,
    ),
)

_UNIPC = (
    Claim(
        "unipc-predictor-order",
        UNIPC,
        "Corollary 3.2 (as reported)",
        "UniP-p is of order p, as it is run",
        orders("unip-2-bh1", "unip-3-bh2"),
        "conditional",
        "p = 2 needs neither; as it is run p = 3 is of order 2",
        condition="from exact starting values and at full order to the end",
    ),
    Claim(
        "unipc-corrector-order",
        UNIPC,
        "Theorem 3.1 (as reported)",
        "UniPC-p is of order p + 1, as it is run, for p = 1, 2, 3",
        orders("unipc-1-bh2", "unipc-2-bh2", "unipc-3-bh2"),
        "conditional",
        "p = 1 needs neither; the release ends with a first-order step at any number of steps, which "
        "caps p = 2 and 3 at order 2",
        condition="from exact starting values and at full order to the end",
    ),
    Claim(
        "unipc-any-b",
        UNIPC,
        "Sec. 3 (as reported)",
        "The orders do not depend on B(h): they are the same with B_1 and B_2",
        proof(any_b),
        "proved",
    ),
    Claim(
        "unipc-varying-coefficients",
        UNIPC,
        "UniPC_v, wl-zhao/UniPC variant='vary_coeff'",
        "UniPC with varying coefficients is of order p + 1",
        orders("unipc-2-vary-released", "unipc-3-vary-released"),
        "refuted",
        "the released corrector takes the weight of another row: order 1",
    ),
    Claim(
        "unipc-corrector-helps-ddim",
        UNIPC,
        "Table 2 (as reported)",
        "UniC raises the accuracy of DDIM at no further evaluation (UniPC-1 against DDIM)",
        EqualNfe(pairs("unipc-1-bh2", "ddim", *GRIDS)),
        "confirmed",
        quick=False,
    ),
    Claim(
        "unipc-beats-dpm-solver++",
        UNIPC,
        "Tables 1, 4 (as reported)",
        "At 5 to 10 evaluations UniPC (p = 2) is more accurate than DPM-Solver++(2M)",
        EqualNfe(
            pairs("unipc-2-bh2", "dpm-solver++-2m", *GRIDS),
            (5, 6, 8, 10),
        ),
        "conditional",
        "on the rotated product UniPC is behind at 8 evaluations uniform in lambda and quadratic in "
        "t, and at 6 quadratic in t",
        quick=False,
        condition="on the grid t, up to 6 evaluations",
    ),
    Claim(
        "unipc-beats-dpm-solver++-from-12",
        UNIPC,
        "Tables 1, 4 (as reported)",
        "From 12 evaluations on UniPC (p = 2) is more accurate than DPM-Solver++(2M)",
        EqualNfe(pairs("unipc-2-bh2", "dpm-solver++-2m", *GRIDS), (12, 15, 20, 50, 100)),
        "inconclusive",
        "it holds but for cells on the golden mixture and the digits where a few paths decide",
        quick=False,
    ),
    Claim(
        "unipc-bh1-for-few-steps",
        UNIPC,
        "Sec. 3 and README (B_1 for unconditional sampling)",
        "At 5 to 10 evaluations B_1 is more accurate than B_2 (p = 3)",
        EqualNfe(pairs("unipc-3-bh1", "unipc-3-bh2", *GRIDS), (5, 6, 8, 10)),
        "refuted",
        "on grids uniform in lambda and quadratic in t B_2 is ahead in nearly all cells; uniform in t B_1 is "
        "at 5 evaluations, and on the rotated product up to 8",
        quick=False,
    ),
    Claim(
        "unipc-fid",
        UNIPC,
        "Abstract",
        "FID 3.87 in 10 evaluations on CIFAR-10",
        None,
        "untestable",
        "needs the network and its data set: kept in the table of reported figures",
    ),
)

_OTHERS = (
    Claim(
        "res-order-conditions",
        res.PAPER,
        "Abstract",
        "Single-step DPM-Solver++ lacks order conditions, which RES satisfies",
        proof(degenerate),
        "proved",
        "sum b_i c_i = phi_2 holds at h = 0 alone; the linear part is a number, +-1, so that this costs a "
        "constant, and not the order",
        "two stages; with three at 1/3 and 2/3 the two are one method",
    ),
    Claim(
        "res-2s-beats-2s",
        res.PAPER,
        "Abstract",
        "At equal evaluations RES-2S is more accurate than DPM-Solver++(2S)",
        EqualNfe(pairs("res-2s", "dpm-solver++-2s", *GRIDS), (6, 8, 10, 12, 20)),
        "inconclusive",
        "it holds in all cells but two: the digits at 8 and 10 evaluations uniform in lambda",
        quick=False,
    ),
    Claim(
        "res-2m-is-2m-taylor",
        res.PAPER,
        "RES-2M (as reported)",
        "RES-2M is exponential Adams-Bashforth 2",
        same("res-2m = dpm-solver++-2m-taylor"),
        "proved",
    ),
    Claim(
        "res4lyf-res-3m",
        res.PAPER,
        "ClownsharkBatwing/RES4LYF, calculate_gamma",
        "RES-3M as ported to RES4LYF is third order",
        orders("res-3m-released"),
        "refuted",
        "gamma holds c_3^3 where c_3^2 is due: order 2",
    ),
    Claim(
        "edm-heun-is-second-order",
        edm.PAPER,
        "Algorithm 1",
        "EDM's deterministic sampler is of order 2",
        orders("edm-heun"),
        "proved",
    ),
    Claim(
        "edm-churn-keeps-marginals",
        edm.PAPER,
        "Algorithm 2 and S_noise = 1.003 (no order is stated)",
        "Churn with the released S_noise keeps the order 2 of the step",
        orders("edm-heun-churn"),
        "refuted",
        "more noise is added than the step takes away: the marginals converge to another law",
        "order of the marginals, on Gaussian data",
        quick=False,
    ),
    Claim(
        "seeds-1-is-sde-dpm-solver-1",
        stochastic.SEEDS,
        "SEEDS-1",
        "SEEDS-1 is SDE-DPM-Solver-1",
        same("seeds-1 = sde-dpm-solver-1"),
        "proved",
    ),
)

FLOWS = (6, 8, 10, 20)
"""Evaluations that a method of two a step makes, too."""

_FIREFLOW = (
    Claim(
        "fireflow-beats-euler",
        runge_kutta.FIREFLOW,
        "Abstract (as reported)",
        "At equal evaluations FireFlow is more accurate than Euler's method on the velocity",
        EqualNfe(pairs("fireflow", "euler-in-t", "t"), FLOWS, schedule="rectified-flow"),
        "confirmed",
        quick=False,
    ),
    Claim(
        "fireflow-beats-midpoint",
        runge_kutta.FIREFLOW,
        "Abstract (as reported)",
        "At equal evaluations FireFlow is more accurate than the midpoint rule (RF-Solver of second order)",
        EqualNfe(pairs("fireflow", "rk2-in-t", "t"), FLOWS, schedule="rectified-flow"),
        "inconclusive",
        "with steps half as long its N' D N has 3/4 and its D^2 N 1/4 of the midpoint rule's: ahead, by less "
        "than most batches show",
        quick=False,
    ),
)


def exact_marginals() -> Decision:
    """Variances of Analytic-DPM's runs on N(0, s^2), from the exact one at the start; of either kernel."""
    schedule, std, counts = vp_linear(), 0.5, (1, 2, 5, 20)
    f, plans = schedule.formulas, []
    for name, n in itertools.product(("analytic-ddpm", "analytic-ddim"), counts):
        solver = make(name, moment=second_moment.gaussian(std))
        plans.append(compile_plan(solver, schedule, steps=n, t_start=1.0, t_end=1e-3, grid=uniform_t()))
    off = 0.0
    for plan in plans:
        found = (f.alpha(1.0) * std) ** 2 + f.sigma(1.0) ** 2
        for step in plan.steps:
            (row,) = (op for op in step.operations if isinstance(op, Row))
            t = step.t0
            slope = {"x": 1.0, "m": f.sigma(t) / ((f.alpha(t) * std) ** 2 + f.sigma(t) ** 2)}
            on_x = sum(v * slope[kind] for kind, _, v in row.terms)
            found = on_x**2 * found + sum(w**2 for _, w in row.noise)
        end = plan.times[-1]
        off = max(off, abs(float(found / ((f.alpha(end) * std) ** 2 + f.sigma(end) ** 2)) - 1))
    text = f"variances off by {off:.0e} in {', '.join(map(str, counts))} steps"
    return Decision("confirmed" if off < 1e-12 else "refuted", text)


def analytic_is_closer() -> Decision:
    """Analytic-DPM against DDPM's kernel with either of its variances."""
    pairs = [("analytic-ddpm", other) for other in ("ddpm", "score-sde-ancestral-large")]
    return closer(partial(first_against_second, pairs), lambda row: f"against {row.second}")


_ANALYTIC = (
    Claim(
        "analytic-dpm-optimal-variance",
        analytic_dpm.PAPER,
        "Theorem 1",
        "With the optimal mean and variance the reverse kernel is exact where the data are Gaussian",
        statistic(exact_marginals),
        "confirmed",
        assumes="one variance for all components, an exact model; DDPM's and DDIM's kernels",
    ),
    Claim(
        "analytic-dpm-beats-ddpm",
        analytic_dpm.PAPER,
        "Abstract (as reported)",
        "At equal steps the analytic variance gives better samples than either of DDPM's",
        statistic(analytic_is_closer),
        "confirmed",
        assumes="exact second moments; 5 to 20 steps",
        quick=False,
    ),
)

_INTERFACES = (
    Claim(
        "heunpp2-is-second-order",
        interfaces.HEUN_PP,
        "its name; ComfyUI lists it beside Heun's (no order is stated)",
        "Heun++ 2 is second order, as the method that it extends",
        orders("heun++-2"),
        "refuted",
        "the weights are sigma/(3 sigma_0) of the whole run, and no quadrature's",
    ),
    Claim(
        "2m-v2-is-second-order",
        interfaces.TWO_M_V2,
        "its name",
        "DPM++ 2M v2 keeps the order 2 of 2M",
        orders("dpm++-2m-v2"),
        "refuted",
        "the mean of two steps stands in the integral, one step in the transfer: order 2 on equal steps in "
        "lambda alone",
    ),
)

_RESTART = (
    Claim(
        "restart-beats-its-ode-sampler",
        RESTART,
        "Abstract; Sec. 4.1 (as reported)",
        "Within as many evaluations Restart is closer to the law than the sampler of the flow it is made of "
        "(Heun)",
        statistic(restarts_are_closer("edm-heun")),
        "refuted",
        "an exact score leaves no error of the model for the way up to contract: what is left are errors of "
        "steps, and evaluations that repeat a part of the way are missing on all of it",
        "the score is exact; energy distance",
        quick=False,
    ),
    Claim(
        "restart-beats-churn",
        RESTART,
        "Abstract; Sec. 4.1 (as reported)",
        "Within as many evaluations Restart is closer to the law than EDM's stochastic sampler",
        statistic(restarts_are_closer("edm-heun-churn")),
        "inconclusive",
        "closer wherever the law is computed; 10,000 samples of a mixture do not show it in most cells",
        "the score is exact; energy distance; churn as released for ImageNet-64",
        quick=False,
    ),
)

CLAIMS = (*_PLUS_PLUS, *_UNIPC, *_OTHERS, *_FIREFLOW, *_ANALYTIC, *_INTERFACES, *_RESTART)
