"""What is expected of each stochastic solver: weak and strong orders, as data, checked by `stochastic.study`.

The integral of the model along the path holds J int int g dW, J the model's slope: a part of size h^(3/2)
that the increments of the nodes do not determine, so that strong order 1 is the ceiling; and of variance
J^2 g^2 h^3/3, of which a quadrature rule through the nodes makes another multiple of h^3.  So the formulas of
order 3 and 4 are of weak order 2, and nothing in the table exceeds (2, 1).
"""

from __future__ import annotations

from dataclasses import dataclass

from semilinear.integrators.solver import Solver
from semilinear.integrators.solvers import SOLVERS, make


@dataclass(frozen=True)
class StochasticExpectation:
    """The orders that a solver must show, at tau = 1 and with its own start, and why they are not the claimed
    one.

    weak: None where the ladder ends before the order shows, so that none is asserted.  long: measured to
    1536 steps.
    """

    solver: str
    weak: float | None
    strong: float
    reason: str = ""
    long: bool = False

    def build(self) -> Solver:
        """The solver."""
        return make(self.solver)


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
SMALL = (
    "the two defects of the variance nearly cancel: it falls like h^3 to about 200 steps, then like h^2, and "
    "the ladder ends in between"
)

STOCHASTIC_EXPECTATIONS: tuple[StochasticExpectation, ...] = (
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
    StochasticExpectation("k-diffusion-3m-sde-released", 2, 1, SECOND_INTEGRAL),
    StochasticExpectation("sa-solver-3", 2, 1, SECOND_INTEGRAL),
    StochasticExpectation("sa-solver-2-2", None, 1, SMALL),
    StochasticExpectation("sa-solver-2-2-released", 2, 1),
    StochasticExpectation("sa-solver-3-4", 2, 1, SECOND_INTEGRAL),
)


def unexpected() -> list[str]:
    """Listed stochastic solvers without an expectation."""
    covered = {e.solver for e in STOCHASTIC_EXPECTATIONS}
    return [name for name in SOLVERS if name not in covered and make(name).stochastic]
