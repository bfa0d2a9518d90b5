"""Remarks on data that a process makes once, however often the same data are read."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Hashable

_made: set[Hashable] = set()


def notify_once(
    logger: logging.Logger, key: Hashable, message: str, *values: object, level: int = logging.WARNING
) -> None:
    """Log a remark unless this process has made it; `key` names the data and the remark.

    A worker process logs it at level DEBUG: the process that started it reads the same data and says so.
    """
    if key in _made:
        return
    _made.add(key)
    is_worker = multiprocessing.parent_process() is not None
    logger.log(logging.DEBUG if is_worker else level, message, *values)


def forget_notices() -> None:
    """Forget which remarks were made, so that they are made again."""
    _made.clear()
