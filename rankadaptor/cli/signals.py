"""Signals that ask a command to end: those of Slurm, Kubernetes and a closed terminal act like Ctrl-C."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

ENDING = ("SIGTERM", "SIGHUP")


class Ended(KeyboardInterrupt):
    """A signal asked this process to end; whatever acts on Ctrl-C acts on it."""


@contextlib.contextmanager
def end_in_order() -> Iterator[list[signal.Signals]]:
    """Let signals that would kill the process interrupt it instead, so that it ends what it has begun.

    The first one raises `Ended` in the main thread, where a step may finish its record, end its workers and
    mark the tracker's run; later ones change nothing. Signals that whoever started the process has set to be
    ignored (`nohup`) stay ignored. Nothing is changed outside the main thread.

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
