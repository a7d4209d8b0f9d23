"""What DEIS (Zhang & Chen 2023) claims."""

from __future__ import annotations

import sympy
from semilinear.integrators.solvers.deis import PAPER

from ..claim import Claim, Decision, proof, statistic
from ..comparison import PROBLEMS, EqualNfe, Side, chain, pairs
from ..freezing import eps_is_steadier, first_ingredient, grows_to_the_end, later_ingredients
from ..identity_rows import same
from ..orders import orders

GRIDS = ("t-quadratic", "t", "lambda")
"""The first is that of the release's demonstrations."""
TAB = tuple(f"deis-tab{degree}" for degree in range(4))
RHO = tuple(f"deis-rhoab{degree}" for degree in range(4))
NARROW = ("narrow-mixture",)
AT_ENDS = "exact scores along exact solutions, at the end of a step, in the mean of samples and components"


def semilinear() -> Decision:
    """(x/alpha)' = eps rho' from x' = f x + g^2/(2 sigma) eps, for every schedule."""
    t = sympy.Symbol("t")
    alpha, sigma, eps, x = (sympy.Function(n)(t) for n in ("alpha", "sigma", "eps", "x"))
    rho = sigma / alpha
    drift = alpha.diff(t) / alpha * x + alpha**2 * (rho**2).diff(t) / (2 * sigma) * eps
    left = (x / alpha).diff(t).subs(x.diff(t), drift)
    zero = sympy.simplify(left - eps * rho.diff(t)) == 0
    return Decision("proved" if zero else "refuted", "d(x/alpha)/dt - eps d(rho)/dt is 0 identically")


CLAIMS = (
    Claim(
        "deis-semilinear",
        PAPER,
        "Proposition 3 (as reported)",
        "In v = x/alpha the probability flow is dv = eps drho: no linear part is left",
        proof(semilinear),
        "proved",
        assumes="f = d log alpha/dt, g^2 = alpha^2 d(rho^2)/dt",
    ),
    Claim(
        "deis-ddim-is-degree-0",
        PAPER,
        "Sec. 3 (as reported)",
        "Degree 0 of every variant is DDIM, whatever the variable of interpolation",
        same("ddim = deis-tab0", "ddim = deis-rhoab0", "ddim = deis-lambdaab0", "ddim = deis-rhork-1euler"),
        "proved",
    ),
    Claim(
        "deis-tab-is-rhoab-where-sigma-is-t",
        PAPER,
        "Sec. 4 (as reported)",
        "Where sigma = t, as in EDM, tAB and rhoAB are one method",
        same(*(f"deis-tab{k} = deis-rhoab{k} where sigma = t" for k in (1, 2, 3))),
        "proved",
    ),
    Claim(
        "deis-heun-is-edm",
        PAPER,
        "project page",
        "rho2Heun is EDM's deterministic sampler",
        same("edm-heun = deis-rhork-2heun"),
        "proved",
        assumes="up to EDM's last step, Euler's to sigma = 0",
    ),
    Claim(
        "deis-degree-gives-order",
        PAPER,
        "Sec. 3 (as reported)",
        "A polynomial of degree r gives order r + 1, as the method is run",
        orders(*TAB, *RHO),
        "conditional",
        "as it is run the first step is DDIM's, whose local error caps degrees 2 and 3 at order 2",
        condition="from exact starting values and at full order to the end",
    ),
    Claim(
        "deis-released-order",
        PAPER,
        "qsh-zh/deis",
        "The released coefficients keep the order r + 1",
        orders(*(f"{name}-released" for name in (*TAB[1:], *RHO[1:]))),
        "refuted",
        "the left Riemann sum with 10,000 points leaves a relative error in every weight that does not "
        "vanish "
        "with h: order 1 in the limit, which a few hundred steps do not show",
    ),
    Claim(
        "deis-degree-helps",
        PAPER,
        "Tables 2-4 and project page",
        "At equal evaluations a higher degree of tAB is more accurate",
        EqualNfe(chain(TAB, *GRIDS)),
        "conditional",
        "uniform in t degree 3 is worse than 2 at 5 and 6 evaluations on all three problems, and up "
        "to 12 on two of them, because rho starts like sqrt t",
        quick=False,
        condition="on the grid t-quadratic and lambda, for deis-tab1",
    ),
    Claim(
        "deis-first-degree-helps",
        PAPER,
        "Tables 2-4 and project page",
        "At equal evaluations tAB of degree 1 is more accurate than DDIM",
        EqualNfe(pairs(TAB[1], TAB[0], *GRIDS)),
        "inconclusive",
        "it holds in all cells but one: the digits at 8 evaluations uniform in t, which a few paths decide",
        quick=False,
    ),
    Claim(
        "deis-rho-degree-helps",
        PAPER,
        "project page",
        "At equal evaluations a higher degree of rhoAB is more accurate",
        EqualNfe(chain(RHO, *GRIDS)),
        "conditional",
        "uniform in t degree 3 is behind degree 2 at 6 evaluations on the golden mixture and the "
        "digits, slightly",
        quick=False,
        condition="on the grid t-quadratic and lambda, for deis-rhoab1 and deis-rhoab2, from 8 evaluations",
    ),
    Claim(
        "deis-tab-beats-rhoab",
        PAPER,
        "project page",
        "At few evaluations tAB is more accurate than rhoAB",
        EqualNfe(pairs(TAB[3], RHO[3], *GRIDS)),
        "conditional",
        "on the grid quadratic in t it holds at every budget; uniform in t the polynomial in t is "
        "behind at 5 and 6 evaluations on the golden mixture",
        quick=False,
        condition="on the grid t-quadratic and lambda, up to 10 evaluations",
    ),
    Claim(
        "deis-eps-beats-score",
        PAPER,
        "Ingredient 2, Fig. 3",
        "With the linear part integrated exactly, a frozen noise prediction is more accurate than a "
        "frozen score",
        EqualNfe(
            pairs("ddim", "deis-score-tab0", *GRIDS),
            (5, 10, 20, 50),
            (*PROBLEMS, *NARROW),
        ),
        "conditional",
        "near one point the noise prediction is nearly constant; of standard normal data the score is "
        "-x, and freezing it is exact: on the rotated product, of unit variance, the score wins in "
        "every cell",
        quick=False,
        condition="on narrow-mixture",
    ),
    Claim(
        "deis-frozen-score-loses-to-euler",
        PAPER,
        "Ingredient 1, Fig. 3",
        "The exponential integrator with a frozen score is worse than Euler's method",
        EqualNfe(pairs("euler-in-t", "deis-score-tab0", "t"), (10, 20, 50, 100)),
        "inconclusive",
        "it holds on the rotated product; on the golden mixture and the digits a few paths that change mode "
        "decide the error",
        quick=False,
    ),
    Claim(
        "deis-frozen-eps-beats-euler",
        PAPER,
        "Ingredient 2, Fig. 3",
        "The exponential integrator with a frozen noise prediction (DDIM) is more accurate than Euler's "
        "method",
        EqualNfe(pairs("ddim", "euler-in-t", *GRIDS), (5, 10, 20, 50), (*PROBLEMS, *NARROW)),
        "refuted",
        "it holds in no cell; Euler's method sees the whole drift, which nearly vanishes where the "
        "second moment of the data is 1",
        quick=False,
    ),
    Claim(
        "deis-delta-s-grows-to-the-data",
        PAPER,
        "Ingredient 2, Delta_s (as reported)",
        "A held score is off most, by Delta_s, in the last step before the data",
        statistic(grows_to_the_end),
        "refuted",
        "the score of smooth data settles below their own width, so that with small last steps "
        "Delta_s falls again: in lambda it does so in every cell, uniform in t and near one point in "
        "none",
        AT_ENDS,
        quick=False,
    ),
    Claim(
        "deis-delta-s-smaller-for-eps",
        PAPER,
        "Ingredient 2, Delta_s (as reported)",
        "In every step a held noise prediction is nearer to the score than a held score is",
        statistic(eps_is_steadier),
        "refuted",
        "it holds near points, where sigma/alpha is 0.5 or more; below their own width the score is "
        "the steadier of the two, and of the rotated product at every noise level",
        AT_ENDS,
        quick=False,
    ),
    Claim(
        "deis-delta-p-of-the-first-ingredient",
        PAPER,
        "Ingredient 1, Delta_p (as reported)",
        "By Delta_p the exponential integrator with a held score is worse than Euler's method",
        statistic(first_ingredient),
        "confirmed",
        assumes="exact scores, steps uniform in t",
        quick=False,
    ),
    Claim(
        "deis-delta-p-of-the-others",
        PAPER,
        "Ingredients 2 to 4, Delta_p (as reported)",
        "From the held score on every ingredient lowers Delta_p: noise prediction, degree 3, steps "
        "quadratic in t",
        statistic(later_ingredients),
        "conditional",
        "near one point every ingredient helps; of data of unit variance a held score is better than "
        "a held noise prediction at every budget",
        "exact scores, steps uniform in t but for the last ingredient",
        quick=False,
        condition=(
            "on rotated-product-2d and narrow-mixture, of the polynomial of degree 3 and steps quadratic in t"
        ),
    ),
    Claim(
        "deis-ipndm-is-fourth-order",
        PAPER,
        "Appendix (iPNDM; no order is stated)",
        "On its own grid, uniform in t, iPNDM is of the order of its weights, Adams-Bashforth 4",
        orders("deis-ipndm"),
        "refuted",
        "the weights are those of equal steps in rho, and the grid is uniform in t: order 2, from an exact "
        "start too",
    ),
    Claim(
        "deis-ipndm-beats-ddim",
        PAPER,
        "Appendix (iPNDM)",
        "At equal evaluations iPNDM is more accurate than DDIM, on its own grid and on others",
        EqualNfe(pairs("deis-ipndm", "ddim", *GRIDS)),
        "conditional",
        "uniform in t, its own grid, DDIM is ahead at 5 evaluations on the golden mixture, and on the digits "
        "nothing is decided up to 15",
        quick=False,
        condition="on the grid t-quadratic and lambda, from 6 evaluations",
    ),
    Claim(
        "deis-heun-loses-at-few-evaluations",
        PAPER,
        "project page",
        "At 6 to 10 evaluations rho2Heun is less accurate than rhoAB of degree 1",
        EqualNfe(pairs(RHO[1], "deis-rhork-2heun", *GRIDS), (6, 8, 10)),
        "inconclusive",
        "it holds in every cell but one of the digits, which a few paths decide",
        quick=False,
    ),
    Claim(
        "deis-quadratic-grid",
        PAPER,
        "Sec. 5 (as reported)",
        "Steps quadratic in t suit tAB better than steps uniform in t",
        EqualNfe(tuple((Side(name, "t-quadratic"), Side(name, "t")) for name in TAB[1:])),
        "conditional",
        "of degree 1 the two measures disagree on the rotated product at 8 and 10 evaluations: the "
        "root mean square is smaller quadratic in t, the error of a typical state uniform in t",
        quick=False,
        condition="for deis-tab2 and deis-tab3, from 8 up to 12 evaluations",
    ),
    Claim(
        "deis-fid",
        PAPER,
        "Abstract",
        "FID 4.17 in 10 and 2.86 in 20 evaluations on CIFAR-10",
        None,
        "untestable",
        "needs the network and its data set: kept in the table of reported figures",
    ),
)
