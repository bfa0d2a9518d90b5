"""Signals that ask a command to end: those of Slurm, Kubernetes and a closed terminal act like Ctrl-C."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

ENDING = ("SIGTERM", "SIGHUP")


class Ended(KeyboardInterrupt):
    """A signal asked this process to end; it is handled like Ctrl-C."""


@contextlib.contextmanager
def end_in_order() -> Iterator[list[signal.Signals]]:
    """Turn signals that would kill the process into an exception, so that it can clean up.

    The first one raises `Ended` in the main thread, where a step may finish its record, end its workers and
    mark the tracker's run; later ones are ignored. Ignored signals (`nohup`) stay ignored.
    Outside the main thread nothing changes.

    Yields:
        The signals received so far.
    """
    received: list[signal.Signals] = []

    def interrupt(number: int, _: FrameType | None) -> None:
        received.append(signal.Signals(number))
        for other in before:
            signal.signal(other, signal.SIG_IGN)
        raise Ended(signal.Signals(number).name)

    before: dict[signal.Signals, object] = {}
    if threading.current_thread() is threading.main_thread():
        for name in ENDING:
            each = getattr(signal, name, None)  # Windows has no SIGHUP
            if each is not None and signal.getsignal(each) == signal.SIG_DFL:
                before[each] = signal.signal(each, interrupt)
    try:
        yield received
    finally:
        for each in before:
            signal.signal(each, signal.SIG_DFL)
