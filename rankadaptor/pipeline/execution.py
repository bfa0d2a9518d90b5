"""Where a run's trials are executed, and how long one may take."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from rankadaptor.config import RunConfig
from rankadaptor.runtime import Compute, fit_workers

logger = logging.getLogger(__name__)

LOCAL, RAY = "local", "ray"


@dataclass(frozen=True)
class Execution:
    """Where trials run. Changes no result.

    Attributes:
        executor: `local` for processes of this machine, `ray` for a cluster.
        trial_timeout: Seconds that a trial may take; None derives a generous limit from finished trials.
        device: Device of a trial on the cluster; may differ from the driver's.
        gpus_per_trial: Share of a GPU per trial on the cluster.
    """

    executor: str = LOCAL
    trial_timeout: float | None = None
    device: str = "cpu"
    gpus_per_trial: float = 0.0


def pick_execution(config: RunConfig, compute: Compute) -> Execution:
    """Read where a run's trials are executed; `compute` is that of the driver."""
    given = config.compute
    gpus = given.gpus_per_trial
    if gpus is None:
        gpus = 1.0 if compute.device == "cuda" else 0.0
    return Execution(
        executor=given.executor,
        trial_timeout=given.trial_timeout,
        device="cuda" if gpus > 0 and given.device != "cpu" else "cpu",
        gpus_per_trial=gpus,
    )


def count_trial_workers(config: RunConfig) -> int:
    """Return how many trials run at the same time; on this machine no more threads than cores."""
    given = config.compute
    if given.executor == RAY:
        return given.workers
    fitting = fit_workers(given.workers, threads=given.threads)
    if fitting < given.workers:
        logger.warning(
            "compute.workers %d x compute.threads %d are more than the cores of this machine: %d at a time. "
            "This changes no result.",
            given.workers, given.threads, fitting,
        )  # fmt: skip
    return fitting


def count_local_workers(config: RunConfig) -> int:
    """Return the number of local processes for full fine-tunes and benchmarks.

    With a cluster `compute.workers` counts the trials on all its nodes; the full fine-tunes and the
    benchmarks then run one after the other.
    """
    return 1 if config.compute.executor == RAY else count_trial_workers(config)
