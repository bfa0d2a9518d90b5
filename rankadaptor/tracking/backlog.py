"""A queue of entries for a store that may be unavailable for a while."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable

from rankadaptor.errors import StorageError
from rankadaptor.tracking.address import Store
from rankadaptor.tracking.store import hush, is_tracking_fault, knock, may_pass, shorten

logger = logging.getLogger(__name__)

PAUSE = 60.0
"""Seconds between two attempts at an unavailable store."""
TOLERATED = 3
"""Consecutive entries that a store may reject before tracking stops."""


class Backlog:
    """Writes entries in order; faults of the store give a warning and never stop the run.

    After a failure (no answer, locked, full, read-only) the next attempt is made a minute later. Entries wait
    here and are written once the store works again, at the latest when the run ends. An entry that the store
    rejects as invalid is dropped.

    Args:
        store: The store.
        pause: Seconds between two attempts at an unavailable store.
    """

    def __init__(self, store: Store, *, pause: float = PAUSE) -> None:
        self.store, self.pause = store, pause
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
        """Write the waiting entries, or log that they are missing and how to add them."""
        lost = self._flush(last=True)
        if lost:
            logger.warning(
                "tracking: %s did not take %d entries, which are missing there. The run's folder holds all "
                "that was measured; once the store works, the same command adds what is missing.",
                self.store.shown,
                lost,
            )

    def _flush(self, *, last: bool = False) -> int:
        """Write the waiting entries, and return the number of those that the store does not take."""
        failures = 0
        while self._waiting:
            try:
                if self._silent_until is not None:
                    knock(self.store)  # seconds, where the client would try for long
                with hush(), self.store.log_in():
                    self._waiting[0]()
            except Exception as error:
                if not is_tracking_fault(error):
                    self._waiting.popleft()
                    raise
                if not (may_pass(error) or not self._answers()):
                    self._refuse(error)
                    continue
                self._fall_silent(error)
                self._waiting.rotate(-1)  # another entry may be taken, such as one without a file
                failures += 1
                if not last or failures >= TOLERATED:
                    break
            else:
                failures = 0
                self._waiting.popleft()
                self._refused = 0
                if self._silent_until is not None:
                    logger.info("tracking: %s works again", self.store.shown)
                self._silent_until = None
        return len(self._waiting)

    def _answers(self) -> bool:
        try:
            knock(self.store)
        except StorageError:
            return False
        return True

    def _fall_silent(self, error: Exception) -> None:
        if self._silent_until is None:
            logger.warning(
                "tracking: %s takes nothing just now (%s); the run goes on, and what is meant for it waits",
                self.store.shown,
                shorten(error),
            )
        self._silent_until = time.monotonic() + self.pause

    def _refuse(self, error: Exception) -> None:
        self._waiting.popleft()
        self._refused += 1
        ending = ""
        if self._refused >= TOLERATED:
            self._waiting.clear()
            ending = "; tracking stops here, the run goes on"
        logger.warning("tracking: %s did not take an entry (%s)%s", self.store.shown, shorten(error), ending)
