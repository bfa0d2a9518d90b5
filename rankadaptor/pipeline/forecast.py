"""Estimates of a run's time, logged at its start and used by its progress."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from rankadaptor.errors import RankAdaptorError
from rankadaptor.planning import estimate
from rankadaptor.progress import Outlook, format_seconds

if TYPE_CHECKING:
    from rankadaptor.config import RunConfig
    from rankadaptor.pipeline.run_folder import RunFolder

logger = logging.getLogger(__name__)

TRAINED = ("tune", "search", "confirm", "choose", "recover")
"""Steps made of fine-tunes: the ratio of measured to estimated time corrects the estimates of the others."""


def foresee(config: RunConfig, folder: RunFolder) -> Outlook | None:
    """Return the plan's estimates of the steps that are left; None where there is no plan."""
    try:
        plan = estimate(config)
    except RankAdaptorError as error:
        logger.debug("no estimate of the run's time: %s", error)
        return None
    left = {step.name: step.seconds for step in plan.steps if not folder.finished(step.name)}
    if left:
        logger.info(
            "planned: %s, about %s in all; corrected after the first trials",
            ", ".join(f"{name} {format_seconds(seconds)}" for name, seconds in left.items()),
            format_seconds(sum(left.values())),
        )
    return Outlook(left, measured=TRAINED)
