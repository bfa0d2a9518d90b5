"""What a run will do and cost, from the run file and the model's `config.json`; nothing is loaded."""

from rankadaptor.planning.estimation import estimate
from rankadaptor.planning.plan import Plan, PlanStep

__all__ = ["Plan", "PlanStep", "estimate"]
