"""Worker processes, local or on a cluster, that are replaced when they die and end with their driver."""

from rankadaptor.workers.answers import Answer, Fault, raise_fault
from rankadaptor.workers.cluster import join_cluster, open_cluster_pool
from rankadaptor.workers.inline import InlinePool
from rankadaptor.workers.limits import TimeLimit
from rankadaptor.workers.pool import JobPool, Pool
from rankadaptor.workers.processes import open_local_pool
from rankadaptor.workers.scheduling import run_jobs, run_side_by_side

__all__ = [
    "Answer",
    "Fault",
    "InlinePool",
    "JobPool",
    "Pool",
    "TimeLimit",
    "join_cluster",
    "open_cluster_pool",
    "open_local_pool",
    "raise_fault",
    "run_jobs",
    "run_side_by_side",
]
