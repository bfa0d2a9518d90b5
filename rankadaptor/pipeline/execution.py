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
        trial_timeout: Seconds that a trial may take; None learns a generous limit.
        device: What a trial of the cluster computes on, which need not be the driver's device.
        gpus_per_trial: Share of a GPU that a trial of the cluster takes.
    """

    executor: str = LOCAL
    trial_timeout: float | None = None
    device: str = "cpu"
    gpus_per_trial: float = 0.0


def pick_execution(config: RunConfig, compute: Compute) -> Execution:
    """Read a run's execution; `compute` is what the driver itself computes on."""
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
    """Return how many trials run side by side; on this machine no more than have a core for each thread."""
    given = config.compute
    if given.executor == RAY:
        return given.workers
    fitting = fit_workers(given.workers, threads=given.threads)
    if fitting < given.workers:
        logger.warning(
            "compute.workers %d x compute.threads %d are more than the cores here: %d at a time. No result "
            "depends on it.",
            given.workers, given.threads, fitting,
        )  # fmt: skip
    return fitting


def count_local_workers(config: RunConfig) -> int:
    """Return how many processes the steps share that run beside the driver, whatever the executor.

    With a cluster `compute.workers` counts the trials on all its nodes; the full fine-tunes and the
    benchmarks then run one after the other.
    """
    return 1 if config.compute.executor == RAY else count_trial_workers(config)
