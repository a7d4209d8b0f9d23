"""What every listed solver is expected to do: as it is said (`flow.py`, `stochastic.py`), and of a solver
that nothing is said of yet, what is proved.
"""

from __future__ import annotations

from semilinear.analysis.orders.solver_proof import prove_solver
from semilinear.integrators.solver import Solver
from semilinear.integrators.solvers import SOLVERS, make

from . import flow, stochastic
from .flow import Expectation
from .stochastic import StochasticExpectation

_SAID = {*(e.solver for e in flow.STATED), *(e.solver for e in stochastic.STATED)}
_UNSAID = [make(name) for name in SOLVERS if name not in _SAID]
_OTHERS = [solver for solver in _UNSAID if not solver.own_grid]


def proved(solver: Solver) -> Expectation:
    """The orders that are proved of a solver, or those claimed where there is no proof."""
    try:
        proof = prove_solver(solver)
        exact, own = proof.exact_start(), proof.run()
    except ValueError:
        exact = own = solver.claimed
    reason = "" if own >= solver.claimed else f"proved: order {own} as it is run, {exact} from an exact start"
    return Expectation(solver.name, exact, own, reason)


def claimed(solver: Solver) -> StochasticExpectation:
    """The weak order that is claimed of a solver; no strong one."""
    return StochasticExpectation(solver.name, solver.claimed, None)


EXPECTATIONS = (*flow.STATED, *(proved(solver) for solver in _OTHERS if not solver.stochastic))
STOCHASTIC_EXPECTATIONS = (*stochastic.STATED, *(claimed(s) for s in _OTHERS if s.stochastic))


def unmeasured() -> dict[str, str]:
    """Listed solvers without an expectation of any kind, and why: they run on their own grid alone."""
    return {solver.name: solver.own_grid for solver in _UNSAID if solver.own_grid}
