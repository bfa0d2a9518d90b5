"""Log messages on data that a process writes once, also if the same data are read again."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Hashable

MADE: set[Hashable] = set()
"""Keys of the messages that this process has logged."""


def notify_once(
    logger: logging.Logger, key: Hashable, message: str, *values: object, level: int = logging.WARNING
) -> None:
    """Log a message unless this process has logged it; `key` identifies the data and the message.

    A worker process uses the level DEBUG, because the process that started it logs the same message.
    """
    if key in MADE:
        return
    MADE.add(key)
    is_worker = multiprocessing.parent_process() is not None
    logger.log(logging.DEBUG if is_worker else level, message, *values)
