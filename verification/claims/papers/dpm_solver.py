"""What DPM-Solver (Lu et al. 2022) claims."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import sympy
import torch
from semilinear.analysis.orders.solver_proof import FormulaProof, prove_solver
from semilinear.integrators.diffusion.schedule import vp_linear
from semilinear.integrators.numerics.arrays import rms
from semilinear.integrators.plans.compile import compile_plan
from semilinear.integrators.run.adaptive import Controller, sample_adaptive
from semilinear.integrators.run.sampler import sample
from semilinear.integrators.solver import Repeat
from semilinear.integrators.solvers import dpm_solver
from semilinear.integrators.tableaux.tableau import Tableau
from sympy import Rational

from ...equal_nfe.errors import ratio
from ..cells import above, judged
from ..claim import Claim, Decision, Verdict, proof, rounded, statistic
from ..comparison import PROBLEMS, EqualNfe, Side, errors_of, experiment_of, pairs
from ..identity_rows import same
from ..orders import orders

PAPER = dpm_solver.FAMILY["dpm-solver"][1]
NARROW = ("narrow-mixture",)
FAST = "dpm-solver-fast-3"
SPREAD = (
    "near one point the noise prediction hardly changes along a path, which the split off linear part "
    "exploits; where the second moment is near 1, the whole drift of a variance-preserving flow nearly "
    "vanishes, and a method that splits it can lose to one that does not"
)


def abscissae() -> Decision:
    """The orders of DPM-Solver-3 with r2 = 2/3 and any r1, and what is left with any r2."""
    found, good = [], True
    for kind in dpm_solver.TYPES:
        setting = prove_solver(dpm_solver.singlestep(3, type=kind)).setting
        free = FormulaProof(dpm_solver.third(dpm_solver.R1, dpm_solver.R2, kind), setting, 3)
        kept = FormulaProof(dpm_solver.third(dpm_solver.R1, Rational(2, 3), kind), setting, 3)
        left = free.leading_error()
        zeros = {root for term in left for root in sympy.solve(term.coefficient, dpm_solver.R2)}
        good = good and kept.order() == 3 and free.order() == 2 and zeros == {Rational(2, 3)}
        found.append({"type": kind, "order": kept.order(), "left": "; ".join(map(str, left))})
    text = "; ".join(f"type {r['type']}: order {r['order']} with r2 = 2/3, else {r['left']}" for r in found)
    return Decision("proved" if good else "refuted", f"r1 and r2 as symbols, {text}", tuple(found))


def fast_budget() -> Decision:
    """Whether DPM-Solver-fast makes exactly the evaluations that it is given."""
    wrong = [(k, n) for k in (2, 3) for n in range(1, 1001) if sum(dpm_solver.fast_orders(k, n)) != n]
    verdict: Verdict = "refuted" if wrong else "confirmed"
    return Decision(verdict, f"budgets 1 to 1000, orders 2 and 3: {len(wrong)} of 2000 are not met")


def pairs_of_orders() -> Decision:
    """The orders of the embedded rows that control the step."""
    found = []
    for order in (2, 3):
        solver = dpm_solver.singlestep(order, low=True)
        assert isinstance(solver.sequence, Repeat)
        tableau, full = solver.sequence.tableau, prove_solver(solver)
        assert tableau.low is not None
        used = Tableau(tableau.stages[: order - 2], tableau.low)
        low = FormulaProof(used, full.setting, order).order("smooth")
        found.append({"pair": f"{order - 1}{order}", "high": full.run(), "low": low})
    good = all((r["low"], r["high"]) == (i + 1, i + 2) for i, r in enumerate(found))
    text = "; ".join(f"DPM-Solver-{r['pair']}: {r['low']} and {r['high']}" for r in found)
    return Decision("proved" if good else "refuted", text, tuple(found))


TOLERANCES = (5e-2, 1e-2, 1e-3, 1e-4)


def tolerance() -> Decision:
    """Whether smaller tolerances of the adaptive solvers give smaller errors, for more evaluations."""
    found: list[dict[str, Any]] = []
    for name in PROBLEMS:
        e = experiment_of(name, "vp-linear", "lambda")
        (exact,) = e.states([e.times[1]])
        for order in (2, 3):
            solver = dpm_solver.singlestep(order, r1=None if order == 2 else Rational(1, 3), low=True)
            for rtol in TOLERANCES:
                result = sample_adaptive(
                    solver,
                    e.schedule,
                    e.model,
                    torch.tensor(e.x),
                    t_start=float(e.times[0]),
                    t_end=float(e.times[1]),
                    controller=Controller(rtol=rtol, atol=0.156 * rtol),
                )
                errors = np.linalg.norm(result.x.numpy() - exact, axis=1)
                row = {"problem": name, "pair": f"{order - 1}{order}", "rtol": rtol, "nfe": result.nfe}
                found.append(row | {"error": rounded(rms(errors))})
    runs = [found[i : i + len(TOLERANCES)] for i in range(0, len(found), len(TOLERANCES))]
    good = all(
        a["error"] > b["error"] and a["nfe"] < b["nfe"] for run in runs for a, b in itertools.pairwise(run)
    )
    text = "; ".join(
        f"{run[0]['problem']} {run[0]['pair']}: " + ", ".join(f"{r['error']:.1e} ({r['nfe']})" for r in run)
        for run in runs
    )
    return Decision(
        "confirmed" if good else "refuted", f"errors (evaluations) by tolerance: {text}", tuple(found)
    )


FEWER = 4
"""Times as many evaluations, which DDIM is given."""
SPEED_BUDGETS = (10, 12, 15, 20)


def speed_up() -> Decision:
    """DDIM's errors at four times the evaluations of DPM-Solver-fast-3 over its errors, from the same states,
    each on the grid of two on which its root mean square is the smaller.
    """
    cells = []
    for name, nfe in itertools.product(PROBLEMS, SPEED_BUDGETS):
        grids = [experiment_of(name, "vp-linear", g) for g in ("lambda", "t-quadratic")]
        ddim, fast = (
            min((errors_of(solver, e, n)[0] for e in grids), key=rms)
            for solver, n in (("ddim", FEWER * nfe), (FAST, nfe))
        )
        where = f"{name}, {nfe} evaluations: {FAST} {rms(fast):.3g}, ddim in {FEWER * nfe} {rms(ddim):.3g}"
        cells.append(above(where, ratio(ddim, fast), at={"problem": name, "nfe": nfe}))
    return judged(cells)


def point_mass() -> Decision:
    """One DDIM step on data at one point, whose noise prediction is constant along the flow."""
    schedule, where = vp_linear(), torch.tensor([0.7, -1.1], dtype=torch.float64)
    plan = compile_plan(dpm_solver.singlestep(1), schedule, steps=1, t_start=1.0, t_end=1e-3)

    def eps(x: torch.Tensor, t: float) -> torch.Tensor:
        return (x - float(schedule.alpha(t)) * where) / float(schedule.sigma(t))

    x = torch.tensor([[1.5, -0.3], [-2.0, 0.4]], dtype=torch.float64)
    noise = eps(x, 1.0)
    exact = float(schedule.alpha(1e-3)) * where + float(schedule.sigma(1e-3)) * noise
    error = float((sample(plan, eps, x).x - exact).abs().max())
    return Decision("confirmed" if error < 1e-12 else "refuted", f"error {error:.0e} after one step")


SECOND = (6, 10, 12, 18, 24, 48)
"""Evaluations that methods with two stages can make."""
ALL = (*PROBLEMS, *NARROW)

CLAIMS = (
    Claim(
        "dpm-solver-theorem-3.2",
        PAPER,
        "Theorem 3.2 (as reported)",
        "DPM-Solver-k converges with order k, k = 1, 2, 3",
        orders("dpm-solver-1", "dpm-solver-2", "dpm-solver-3"),
        "proved",
        assumes="total derivatives of eps in lambda up to order k + 1, Lipschitz in x, steps O(1/n)",
    ),
    Claim(
        "dpm-solver-first-is-ddim",
        PAPER,
        "Sec. 4.1 (as reported)",
        "DPM-Solver-1 is DDIM with eta = 0",
        same("ddim = dpm-solver-1"),
        "proved",
    ),
    Claim(
        "dpm-solver-r2-is-two-thirds",
        PAPER,
        "Algorithm 2",
        "The third order rests on r2 = 2/3; r1 is free",
        proof(abscissae),
        "proved",
        "the release takes any r2 and says nothing: with another one the method is of order 2",
    ),
    Claim(
        "dpm-solver-linear-part-exact",
        PAPER,
        "Sec. 3.1",
        "The linear part is solved exactly: where eps is constant along a path, one step has no error",
        statistic(point_mass),
        "confirmed",
        assumes="data at one point, the law for which eps is constant",
    ),
    Claim(
        "dpm-solver-fast-budget",
        PAPER,
        "DPM-Solver-fast",
        "DPM-Solver-fast makes exactly as many evaluations as it is given, whatever the number",
        statistic(fast_budget),
        "confirmed",
    ),
    Claim(
        "dpm-solver-fast-third-order",
        PAPER,
        "DPM-Solver-fast (no order is stated)",
        "DPM-Solver-fast is third order at any budget, as most of its steps are",
        orders(*(f"{FAST}, NFE {k} mod 3" for k in range(3)), where=(f"{FAST}, NFE 2 mod 3",)),
        "conditional",
        "a first-order last step caps budgets of 3 k and 3 k + 1 at order 2",
        condition="for dpm-solver-fast-3, NFE 2 mod 3",
    ),
    Claim(
        "dpm-solver-2-beats-rk2-in-t",
        PAPER,
        "Table 1 (as reported)",
        "At equal evaluations DPM-Solver-2 is more accurate than Runge-Kutta of order 2 in t on the "
        "whole drift",
        EqualNfe(
            ((Side("dpm-solver-2", "lambda"), Side("rk2-in-t", "t")),),
            SECOND,
            ALL,
        ),
        "refuted",
        "on the golden mixture and the rotated product it loses at every budget, on data near one "
        "point it is ahead at every one: near one point the noise prediction hardly changes along a "
        "path, which the split off linear part exploits; where the second moment is near 1, the whole "
        "drift of a variance-preserving flow nearly vanishes, and a method that splits it can lose to "
        "one that does not",
        "each on the grid of its table: uniform in lambda, uniform in t",
        quick=False,
    ),
    Claim(
        "dpm-solver-3-beats-rk3-in-t",
        PAPER,
        "Table 1 (as reported)",
        "At equal evaluations DPM-Solver-3 is more accurate than Runge-Kutta of order 3 in t on the "
        "whole drift",
        EqualNfe(
            ((Side("dpm-solver-3", "lambda"), Side("rk3-in-t", "t")),),
            (6, 12, 18, 24, 48),
            ALL,
        ),
        "refuted",
        "from 12 evaluations on it loses on the golden mixture and the rotated product, and is ahead "
        "on data near one point: near one point the noise prediction hardly changes along a path, "
        "which the split off linear part exploits; where the second moment is near 1, the whole drift "
        "of a variance-preserving flow nearly vanishes, and a method that splits it can lose to one "
        "that does not",
        "each on the grid of its table",
        quick=False,
    ),
    Claim(
        "dpm-solver-2-beats-rk2-in-lambda",
        PAPER,
        "Table 1 (as reported)",
        "At equal evaluations DPM-Solver-2 is more accurate than Runge-Kutta of order 2 in lambda",
        EqualNfe(
            pairs("dpm-solver-2", "rk2-in-lambda", "lambda"),
            SECOND,
            ALL,
        ),
        "refuted",
        "a method that splits off the linear part loses where the second moment is near 1 and the whole "
        "drift nearly vanishes; on data near one point it is ahead at 6 and 10 evaluations, else neither is",
        quick=False,
    ),
    Claim(
        "dpm-solver-3-beats-rk3-in-lambda",
        PAPER,
        "Table 1 (as reported)",
        "At equal evaluations DPM-Solver-3 is more accurate than Runge-Kutta of order 3 in lambda",
        EqualNfe(
            pairs("dpm-solver-3", "rk3-in-lambda", "lambda"),
            (6, 9, 12, 18, 24, 48),
            ALL,
        ),
        "conditional",
        "near one point the noise prediction hardly changes along a path, which the split off linear "
        "part exploits; where the second moment is near 1, the whole drift of a variance-preserving "
        "flow nearly vanishes, and a method that splits it can lose to one that does not",
        quick=False,
        condition="on narrow-mixture, from 9 evaluations",
    ),
    Claim(
        "dpm-solver-beats-ddim",
        PAPER,
        "Sec. 5 (as reported)",
        "DPM-Solver-fast-3 is more accurate than DDIM at equal evaluations",
        EqualNfe(pairs("dpm-solver-fast-3", "ddim", "lambda", "t-quadratic")),
        "conditional",
        "at 5 and 6 evaluations it loses everywhere; uniform in lambda a step of order 2 or 3 then "
        "spans half of the range, and e^h is above 20",
        quick=False,
        condition="from 15 evaluations",
    ),
    Claim(
        "dpm-solver-speed-up",
        PAPER,
        "Abstract",
        "At equal quality DPM-Solver needs a fourth of the evaluations of DDIM, or fewer",
        statistic(speed_up),
        "conditional",
        "DDIM with four times as many is ahead of 10 and 12 evaluations on the golden mixture, and of 12 "
        "on the digits",
        "quality is the error against the exact flow; each solver on the better of two grids; that it be no "
        "more than 16 times fewer is not asked",
        quick=False,
        condition="on rotated-product-2d",
    ),
    Claim(
        "dpm-solver-grid-lambda",
        PAPER,
        "Sec. 3 (as reported)",
        "Steps uniform in lambda suit DPM-Solver better than steps uniform in t",
        EqualNfe(
            tuple((Side(s, "lambda"), Side(s, "t")) for s in ("dpm-solver-2", "dpm-solver-3")),
            (6, 12, 18, 24, 48),
        ),
        "conditional",
        "at 6 evaluations DPM-Solver-2 is further off in lambda, but on the digits, where it gains up to 24; "
        "from 12 to 24 nothing else is decided of it, nor of -3 on the golden mixture and the digits",
        quick=False,
        condition="on rotated-product-2d, for dpm-solver-3",
    ),
    Claim(
        "dpm-solver-adaptive-pairs",
        PAPER,
        "Appendix C (as reported)",
        "The adaptive solvers DPM-Solver-12 and -23 compare orders 1 with 2 and 2 with 3",
        proof(pairs_of_orders),
        "proved",
    ),
    Claim(
        "dpm-solver-adaptive-tolerance",
        PAPER,
        "Appendix C (as reported)",
        "A smaller tolerance of the adaptive solvers gives a smaller error",
        statistic(tolerance),
        "confirmed",
        quick=False,
    ),
    Claim(
        "dpm-solver-fid",
        PAPER,
        "Abstract",
        "FID 4.70 in 10 and 2.87 in 20 evaluations on CIFAR-10",
        None,
        "untestable",
        "needs the network and its data set: kept in the table of reported figures",
    ),
)
