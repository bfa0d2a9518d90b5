"""Progress with an estimate of the time left, as log lines for terminals, files and CI."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from types import TracebackType

from rankadaptor.credentials import mask_credentials

logger = logging.getLogger(__name__)

INNER_INTERVAL = 60.0
"""Seconds between two lines of a progress inside another one, such as the steps of a trial."""


class StderrHandler(logging.Handler):
    """Write to the current `sys.stderr`, also if it is replaced while the program runs.

    Passwords in addresses are masked, also those in other packages' messages and in tracebacks.
    """

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S"))

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        sys.stderr.write(mask_credentials(self.format(record)) + "\n")
        sys.stderr.flush()


def show_progress() -> None:
    """Show progress on stderr: a line for each step, trial and measurement, with the time left.

    The command line calls this. In Python the package shows only warnings unless this is called or the
    program sets up logging itself; its handlers then receive the same lines.
    """
    own = logging.getLogger("rankadaptor")
    own.setLevel(logging.INFO)
    if not own.hasHandlers():
        own.addHandler(StderrHandler())


def format_seconds(seconds: float) -> str:
    """Write a duration as text: `42 s`, `3 min 20 s`, `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class Outlook:
    """Estimated time of the remaining steps of a run.

    The plan's estimates are multiplied by the ratio of measured to estimated time of the finished work, which
    is 1 before anything was measured.

    Args:
        estimates: Estimated seconds of each step, in order.
        measured: Steps whose duration enters the ratio.
    """

    def __init__(self, estimates: Mapping[str, float], *, measured: tuple[str, ...]) -> None:
        self._left, self._measured = dict(estimates), measured
        self._taken = self._estimated = 0.0
        self._step, self._begun = "", 0.0

    @contextlib.contextmanager
    def follow(self, step: str) -> Iterator[None]:
        """Time a step; progress inside it includes the later steps."""
        self._step, self._begun = step, time.monotonic()
        yield
        estimate = self._left.pop(step, 0.0)
        if step in self._measured and estimate:
            self._taken += time.monotonic() - self._begun
            self._estimated += estimate

    def skip(self, step: str) -> None:
        """Skip a step that was done before."""
        self._left.pop(step, None)

    def count_later(self, share: float) -> float:
        """Return the seconds of the steps after the current one, of which a share is done."""
        taken, estimated = self._taken, self._estimated
        if self._step in self._measured and share:
            taken += time.monotonic() - self._begun
            estimated += share * self._left.get(self._step, 0.0)
        factor = taken / estimated if estimated else 1.0
        return factor * sum(seconds for step, seconds in self._left.items() if step != self._step)


_outlook: ContextVar[Outlook | None] = ContextVar("outlook", default=None)
_open: ContextVar[tuple[Progress, ...]] = ContextVar("open", default=())


@contextlib.contextmanager
def look_ahead(outlook: Outlook | None) -> Iterator[None]:
    """Make the progress inside also show the time left of the whole run."""
    token = _outlook.set(outlook)
    try:
        yield
    finally:
        _outlook.reset(token)


def find_outlook() -> Outlook | None:
    """Return the outlook of the current run, if there is one."""
    return _outlook.get()


class Progress:
    """Report `done/total`, a note and the time left, at most every `interval` seconds.

    Inside another progress it reports once a minute, and the other one reports its end. The time left of the
    whole run is added inside `look_ahead`.

    Attributes:
        label: Name of the work.
        total: Number of units.
        unit: Name of one unit.
    """

    def __init__(self, label: str, total: int, *, unit: str = "", interval: float = 10.0) -> None:
        self.label, self.total, self.unit, self.interval = label, total, unit, interval
        self.done = self._skipped = 0
        self._started = self._reported = time.monotonic()
        self._told = False

    def __enter__(self) -> Progress:
        self._started = self._reported = time.monotonic()
        self._outer = _open.get()
        self._token = _open.set((*self._outer, self))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _open.reset(self._token)
        if kind is None and not self._outer and not self._told and self.done > self._skipped:
            logger.info("%s: %d done in %s", self.label, self.done, format_seconds(self.elapsed))

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    @property
    def left(self) -> float | None:
        """Seconds left at the pace so far; None before the first unit."""
        fresh = self.done - self._skipped
        return self.elapsed / fresh * max(self.total - self.done, 0) if fresh > 0 else None

    def skip(self, count: int) -> None:
        """Count units that were done before; they do not enter the pace."""
        self.done += count
        self._skipped += count

    def advance(self, count: int = 1, *, note: str = "") -> None:
        """Count `count` more units done and report if the interval has passed."""
        self.done += count
        now = time.monotonic()
        inner = bool(_open.get()[:-1]) and self in _open.get()
        finished = self.done >= self.total
        if now - self._reported < (max(self.interval, INNER_INTERVAL) if inner else self.interval) and (
            inner or not finished
        ):
            return
        self._reported, self._told = now, finished
        parts = [f"{self.label} {self.done}/{self.total}{' ' + self.unit if self.unit else ''}"]
        parts += [note] if note else []
        if finished and not inner and find_outlook() is None:  # the step's own line reports it
            parts.append(f"done in {format_seconds(self.elapsed)}")
        parts += [foreseen] if (foreseen := self._foresee()) else []
        logger.info(" · ".join(parts))

    def _foresee(self) -> str:
        """Return the time left of this work and of the whole run, as text."""
        left = self.left
        if left is None:
            return ""
        whole, share, unit = left, self._share(0.0), self.elapsed + left
        for outer in reversed(getattr(self, "_outer", ())):
            # The current unit ends with the inner progress; the others take as long as the earlier ones.
            fresh = outer.done - outer._skipped
            unit = outer.elapsed / fresh if fresh > 0 else unit
            whole += max(outer.total - outer.done - 1, 0) * unit
            share, unit = outer._share(share), outer.elapsed + whole
        outlook = _outlook.get()
        if outlook is None:
            return f"ETA {format_seconds(left)}" if self.done < self.total else ""
        end = format_seconds(whole + outlook.count_later(share))
        return f"ETA {format_seconds(left)}, of the run {end}" if left else f"ETA of the run {end}"

    def _share(self, inner: float) -> float:
        """Return the finished share, with the current unit's own share."""
        return min((self.done + inner) / self.total, 1.0) if self.total else 1.0
