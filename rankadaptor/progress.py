"""Progress with an estimate of the time left, on a terminal or in a log."""

from __future__ import annotations

import logging
import time
from types import TracebackType

logger = logging.getLogger(__name__)


def format_seconds(seconds: float) -> str:
    """Write a duration for people: `42 s`, `3 min 20 s`, `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class Progress:
    """Report `done/total`, a note and the time left, at most every `interval` seconds.

    It writes log lines rather than a moving bar: they survive in a file, in CI and in a notebook alike.

    Attributes:
        label: What is being done.
        total: Number of units.
        unit: Name of one unit.
    """

    def __init__(self, label: str, total: int, *, unit: str = "", interval: float = 10.0) -> None:
        self.label, self.total, self.unit, self.interval = label, total, unit, interval
        self.done = 0
        self._started = self._reported = time.monotonic()

    def __enter__(self) -> Progress:
        self._started = self._reported = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            logger.info("%s: %d done in %s", self.label, self.done, format_seconds(self.elapsed))

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    def advance(self, count: int = 1, *, note: str = "") -> None:
        """Count `count` more units done and report if the interval has passed."""
        self.done += count
        now = time.monotonic()
        if now - self._reported < self.interval and self.done < self.total:
            return
        self._reported = now
        left = self.elapsed / max(self.done, 1) * max(self.total - self.done, 0)
        parts = [f"{self.label} {self.done}/{self.total}{' ' + self.unit if self.unit else ''}"]
        parts += [note] if note else []
        parts.append(f"ETA {format_seconds(left)}")
        logger.info(" · ".join(parts))
