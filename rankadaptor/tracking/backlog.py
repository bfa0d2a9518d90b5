"""Entries on their way to a store: what a server does not take now it is given again later."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable

from rankadaptor.errors import StorageError
from rankadaptor.tracking.store import hush, is_tracking_fault, knock

logger = logging.getLogger(__name__)

PAUSE = 60.0
"""Seconds until a server that did not answer is asked again."""
TOLERATED = 3
"""Entries in a row that a store which answers may refuse before it gets no more."""


class Backlog:
    """Writes entries in order, and never costs the run more than a warning.

    A tracking server that does not answer is left in peace for a minute; what was meant for it waits here and
    is written once it answers again, at the latest when the run ends. An entry that a store refuses although
    it answers is given up.

    Args:
        uri: The store's address.
        pause: Seconds between two attempts at a server that does not answer.
    """

    def __init__(self, uri: str, *, pause: float = PAUSE) -> None:
        self.uri, self.pause = uri, pause
        self._waiting: deque[Callable[[], object]] = deque()
        self._silent_until: float | None = None
        self._refused = 0

    def put(self, write: Callable[[], object]) -> None:
        """Write an entry now, or keep it for later."""
        if self._refused >= TOLERATED:
            return
        self._waiting.append(write)
        if self._silent_until is None or time.monotonic() >= self._silent_until:
            self._flush()

    def close(self) -> None:
        """Write what still waits, or say that it is lost to the store."""
        if self._waiting:
            self._flush()
        if self._waiting:
            logger.warning(
                "tracking: %s never answered again, so %d entries are missing there. The run's folder holds "
                "all that was measured.",
                self.uri,
                len(self._waiting),
            )
            self._waiting.clear()

    def _flush(self) -> None:
        while self._waiting:
            try:
                if self._silent_until is not None:
                    knock(self.uri)  # a second, where the client would try for long
                with hush():
                    self._waiting[0]()
            except Exception as error:
                if not is_tracking_fault(error):
                    self._waiting.popleft()
                    raise
                if not self._answers():
                    self._fall_silent(error)
                    return
                self._refuse(error)
            else:
                self._waiting.popleft()
                self._refused = 0
                if self._silent_until is not None:
                    logger.info("tracking: %s answers again", self.uri)
                self._silent_until = None

    def _answers(self) -> bool:
        try:
            knock(self.uri)
        except StorageError:
            return False
        return True

    def _fall_silent(self, error: Exception) -> None:
        if self._silent_until is None:
            logger.warning(
                "tracking: %s does not answer (%s); the run goes on, and what is meant for it waits",
                self.uri,
                _shorten(error),
            )
        self._silent_until = time.monotonic() + self.pause

    def _refuse(self, error: Exception) -> None:
        self._waiting.popleft()
        self._refused += 1
        ending = ""
        if self._refused >= TOLERATED:
            self._waiting.clear()
            ending = "; tracking stops here, the run goes on"
        logger.warning("tracking: %s did not take an entry (%s)%s", self.uri, _shorten(error), ending)


def _shorten(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
