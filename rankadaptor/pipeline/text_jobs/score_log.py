"""Logging of scores while a search goes on: a child run each, and curves of the last and the best."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rankadaptor.corpus import Record
from rankadaptor.tracking import Tracker

Follow = Callable[[Sequence[Record]], None]
"""What a search tells its new records."""


def follow_scores(
    tracker: Tracker, step: str, *, read: Callable[[Record], float | None], curve: str, best: str
) -> Follow:
    """Return a function that logs new records of a step.

    Args:
        tracker: Where they are logged.
        step: Name of the step, and of its records.
        read: Returns the score of a record, lower is better; None if it has none.
        curve: Name of the metric that holds every score.
        best: Name of the metric that holds the best so far.
    """
    count, lowest = 0, float("inf")

    def follow(records: Sequence[Record]) -> None:
        nonlocal count, lowest
        for record in records:
            count += 1
            tracker.log_record(record, name=f"{step}-{count:03d}")
            if (score := read(record)) is not None:
                lowest = min(lowest, score)
                tracker.log_metrics({curve: score, best: lowest}, step=count)

    return follow
