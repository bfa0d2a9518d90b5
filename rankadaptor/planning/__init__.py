"""The plan and cost of a run, from the run file and the model's `config.json`; nothing is loaded."""

from rankadaptor.planning.estimation import estimate
from rankadaptor.planning.plan import Plan, PlanStep
from rankadaptor.planning.preconditions import check_run

__all__ = ["Plan", "PlanStep", "check_run", "estimate"]
