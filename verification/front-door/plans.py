"""Plans, the numbers of a run: `sl.plans.save(plan, "plan.json")`."""

from semilinear.integrators.plans.files import PlanError, difference, load, save
from semilinear.integrators.plans.program import Plan

__all__ = ["Plan", "PlanError", "difference", "load", "save"]
