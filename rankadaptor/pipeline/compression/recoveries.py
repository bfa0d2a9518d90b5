"""The long work after the choice, all at once: its recovery, the references and the stock files.

The steps that follow only read what this leaves in files. A run with one worker does not need it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rankadaptor.pipeline.compression.candidates import Candidate
from rankadaptor.pipeline.compression.delivery import keep_chosen, name_recovered
from rankadaptor.pipeline.compression.jobs import Job, do_jobs
from rankadaptor.pipeline.compression.references import list_reference_jobs
from rankadaptor.pipeline.compression.setting import Setting
from rankadaptor.pipeline.compression.stock_files import list_stock_jobs, list_stock_recoveries


def recover_all(
    setting: Setting,
    chosen: Candidate,
    baselines: Sequence[Candidate],
    *,
    rate: float | None,
    ranks: Sequence[int] | None,
) -> dict[str, Any]:
    """Recover the chosen configuration and all references, and score the stock files.

    Args:
        setting: The run's inputs.
        chosen: The chosen configuration.
        baselines: The references that are recovered.
        rate: Learning rate; None without a recovery.
        ranks: Ranks of the chosen one's recovery; see `recover_merged`.

    Returns:
        `jobs`, the names of all.
    """
    jobs = [
        *list_stock_recoveries(setting, rate=rate),  # the longest first
        Job(chosen.name, keep_chosen, (chosen, rate, ranks), (name_recovered(setting),)),
        *list_reference_jobs(setting, baselines, rate=rate),
        *list_stock_jobs(setting),
    ]
    do_jobs(setting, jobs, what="recoveries")
    return {"jobs": [job.name for job in jobs]}
