"""What is expected of each stochastic solver: weak and strong orders, as data, checked by `stochastic.study`.

The integral of the model along the path holds J int int g dW, J the model's slope: a part of size h^(3/2)
that the increments of the nodes do not determine, so that strong order 1 is the ceiling; and of variance
J^2 g^2 h^3/3, of which a quadrature rule through the nodes makes another multiple of h^3.  So the formulas of
order 3 and 4 are of weak order 2, and nothing in the table exceeds (2, 1).
"""

from __future__ import annotations

from dataclasses import dataclass

from semilinear.integrators.solver import Solver

from ..studies.own_statistics import generic


@dataclass(frozen=True)
class StochasticExpectation:
    """The orders that a solver must show, with its own start, and why they are not the claimed one.

    weak: None where the ladder ends before an order shows, or there is none, so that none is asserted.
    strong: None likewise, or where the noise is no SDE's path (weak is then the order of the marginals).
    long: measured to 1536 steps.  silent: short steps draw no noise, so that there is no order in the limit
    whatever the ladder shows.
    """

    solver: str
    weak: float | None
    strong: float | None
    reason: str = ""
    long: bool = False
    silent: bool = False

    def build(self) -> Solver:
        """The solver; one that takes statistics of a model, on those that fit no problem."""
        return generic(self.solver)


SECOND_INTEGRAL = (
    "the variance of int int J g dW is J^2 g^2 h^3/3, which one increment per interval does not reproduce: "
    "weak order 2 whatever the formula's order"
)
NO_DECAY = (
    "the third-order term has the sign of a part of phi_2 wrong, so the second difference, of size h^(1/2) "
    "along a path, has a weight that does not vanish with h: its sum telescopes to an error of that size"
)
OWN_NOISE = (
    "the stage draws noise of its own, so that the model's answer to it is not correlated with the step's: "
    "the mean keeps order 2, the variance has order 1"
)
LEFT_SUMS = (
    "the left Riemann sum with 100 points leaves 1/100 of the second moment at every step, however small: "
    "weak order 1 as far as it is measured; and the clip of variances below 1e-6 takes the noise of short "
    "steps away, from some thousand steps on, so that in the limit it does not converge at all"
)
HALF_ORDER = (
    LEFT_SUMS + "; and the third moment keeps h^2/200 where h^3 is due, which the second difference, of "
    "size h^(1/2) along a path, does not make up for: strong order 1/2 in the limit, which 1536 steps begin "
    "to show"
)
SUMS_OF_200 = (
    "the left Riemann sum with 200 points leaves 1/200 of the second moment at every step, however small: "
    "weak order 1; and the third moment keeps h^2/400 where h^3 is due, which the second difference, of size "
    "h^(1/2) along a path, does not make up for: strong order 1/2 in the limit, which 1536 steps do not show"
)
CLIPPED = (
    "weak order 1 as far as it is measured; the clip of variances below 1e-6 takes the noise of short steps "
    "away, from some thousand steps on, so that in the limit it does not converge"
)
HALF_D2 = "half the second difference makes the formula itself second order; and "
BIASED = "S_noise = 1.003 adds more noise than the step takes away: the marginals converge to another law"


def _er_sde() -> list[StochasticExpectation]:
    rows = [StochasticExpectation("er-sde-1-released", 1, 1, CLIPPED, silent=True)]
    rows += [
        StochasticExpectation("er-sde-2-released", 1, 1, LEFT_SUMS, long=True, silent=True),
        StochasticExpectation("er-sde-3-released", 1, None, HALF_ORDER, long=True, silent=True),
    ]
    rows += [StochasticExpectation(f"er-sde-{v}", 1, 1) for v in ("1", "reverse-sde-1")]
    rows += [StochasticExpectation(f"er-sde-{v}", 2, 1) for v in ("2-corrected", "reverse-sde-2-corrected")]
    third = ("3-exact-integrals", "3-corrected")
    return [*rows, *(StochasticExpectation(f"er-sde-{v}", 2, 1, SECOND_INTEGRAL) for v in third)]


def _comfyui() -> list[StochasticExpectation]:
    """ComfyUI's versions, and its extension's 4M."""
    return [
        *(StochasticExpectation(v, 2, 1) for v in ("res-2s-sde", "exp-heun-2-x0-sde")),
        StochasticExpectation("dpm++-4m-sde", 2, 1, HALF_D2 + SECOND_INTEGRAL),
        StochasticExpectation("sa-solver-3-4-comfyui", 2, 1, SECOND_INTEGRAL, long=True),
        StochasticExpectation("er-sde-3-comfyui", 1, None, SUMS_OF_200, long=True),
    ]


def _renoised() -> list[StochasticExpectation]:
    """Samplers that go back to a noisier time: the order of their marginals."""
    euler = ("euler-ancestral", "ddim-eta", "ddpm")
    second = ("dpm-2-ancestral", "dpm-2-ancestral-rf", "dpm++-2s-ancestral")
    churned = ("edm-heun-churn", "dpm-2-churn")
    return [
        *(StochasticExpectation(v, 1, None) for v in euler),
        *(StochasticExpectation(v, 2, None) for v in second),
        StochasticExpectation("dpm++-2m-ancestral", 1, None),
        StochasticExpectation("res-2m-ancestral", 2, None),
        StochasticExpectation("euler-churn", None, None, BIASED + ", which shows beyond 1536 steps only"),
        *(StochasticExpectation(v, 0, None, BIASED, long=True) for v in churned),
    ]


def _score_sde() -> list[StochasticExpectation]:
    """The kernels of Score-SDE on any grid, and DDPM's with the best variance: discretisations of the plain
    reverse SDE; DDIM's with the best variance, whose noise is an error of size h^(1/2) to its flow.
    """
    names = ("em", "reverse-diffusion", "ancestral-large", "ancestral-small")
    rows = [StochasticExpectation(f"score-sde-{v}", 1, 1) for v in names]
    rows += [StochasticExpectation("analytic-ddpm", 1, 1)]
    return [*rows, StochasticExpectation("analytic-ddim", 1, 0.5)]


STATED: tuple[StochasticExpectation, ...] = (
    *(StochasticExpectation(f"sde-dpm-solver{v}", 1, 1) for v in ("-1", "++-1")),
    *(
        StochasticExpectation(f"sde-dpm-solver{v}", 2, 1)
        for v in ("-2m", "++-2m", "-2m-taylor", "++-2m-taylor")
    ),
    StochasticExpectation("sde-dpm-solver++-2s", 2, 1),
    StochasticExpectation("sde-dpm-solver++-2s-released", 1, 1, OWN_NOISE),
    StochasticExpectation("sde-dpm-solver++-3s", 2, 1, SECOND_INTEGRAL),
    StochasticExpectation("sde-dpm-solver-3m-corrected", 2, 1, SECOND_INTEGRAL),
    StochasticExpectation("sde-dpm-solver++-3m-corrected", 2, 1, SECOND_INTEGRAL),
    StochasticExpectation("sde-dpm-solver++-3m-released", 1, 0.5, NO_DECAY, long=True),
    StochasticExpectation("seeds-1", 1, 1),
    StochasticExpectation("seeds-2", 2, 1),
    StochasticExpectation("seeds-3", 2, 1, SECOND_INTEGRAL),
    StochasticExpectation("k-diffusion-2m-sde", 2, 1),
    StochasticExpectation("k-diffusion-3m-sde-released", 2, 1, HALF_D2 + SECOND_INTEGRAL),
    StochasticExpectation("sa-solver-3", 2, 1, SECOND_INTEGRAL),
    StochasticExpectation("sa-solver-2-2", 2, 1),
    StochasticExpectation("sa-solver-2-2-released", 2, 1),
    StochasticExpectation("sa-solver-3-4", 2, 1, SECOND_INTEGRAL),
    *_er_sde(),
    *_comfyui(),
    *_renoised(),
    *_score_sde(),
)
