"""The plan and cost of a run, from the run file and the model's `config.json`; nothing is loaded."""

from rankadaptor.planning.compression import check_compression
from rankadaptor.planning.compression_plan import estimate_compression
from rankadaptor.planning.elastic import check_elastic, estimate_elastic
from rankadaptor.planning.estimation import estimate
from rankadaptor.planning.jobs import check_job, estimate_job
from rankadaptor.planning.plan import Plan, PlanStep
from rankadaptor.planning.preconditions import check_run
from rankadaptor.planning.text_jobs import TextJobPlan

__all__ = [
    "Plan",
    "PlanStep",
    "TextJobPlan",
    "check_compression",
    "check_elastic",
    "check_job",
    "check_run",
    "estimate",
    "estimate_compression",
    "estimate_elastic",
    "estimate_job",
]
