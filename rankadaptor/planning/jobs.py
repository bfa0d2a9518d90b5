"""Check and plan of a job of any kind."""

from __future__ import annotations

from pathlib import Path

from rankadaptor.config import CompressConfig, ElasticConfig, RunConfig
from rankadaptor.planning.compression import check_compression
from rankadaptor.planning.compression_plan import estimate_compression
from rankadaptor.planning.elastic import check_elastic, estimate_elastic
from rankadaptor.planning.estimation import estimate
from rankadaptor.planning.plan import Plan
from rankadaptor.planning.preconditions import check_run
from rankadaptor.planning.text_jobs import TextJobPlan

Job = RunConfig | CompressConfig | ElasticConfig


def check_job(config: Job, *, output: Path | None = None, fresh: bool = False) -> None:
    """Check everything about a job that needs no weights, before anything is written.

    Args:
        config: The run.
        output: Its folder, `config.output` by default.
        fresh: Whether existing files in the folder will be deleted.

    Raises:
        InputError: With the fault, or all faults of the inputs at once.
        StorageError: If the folder cannot be written.
    """
    if isinstance(config, CompressConfig):
        check_compression(config, output=output, fresh=fresh)
    elif isinstance(config, ElasticConfig):
        check_elastic(config, output=output, fresh=fresh)
    else:
        check_run(config, output=output, fresh=fresh, adapt=True)


def estimate_job(config: Job, *, measure: bool = False) -> Plan | TextJobPlan:
    """Estimate what `rankadaptor run` will do with a run file of any kind; see `estimate`.

    Raises:
        InputError: If the model is unknown, or inputs are missing or malformed.
        BudgetError: If a limit cannot be kept.
    """
    if isinstance(config, CompressConfig):
        return estimate_compression(config, measure=measure)
    if isinstance(config, ElasticConfig):
        return estimate_elastic(config, measure=measure)
    return estimate(config, measure=measure)
