"""Plans, the numbers of a run: `sl.plans.save(plan, "plan.json")`, `sl.plans.restart(down, again, ..)`."""

from semilinear.integrators.plans.files import PlanError, difference, load, save
from semilinear.integrators.plans.program import Plan
from semilinear.integrators.plans.restart import chain, restart

__all__ = ["Plan", "PlanError", "chain", "difference", "load", "restart", "save"]
