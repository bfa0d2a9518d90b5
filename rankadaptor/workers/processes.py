"""Workers on this machine: processes connected by pipes, which end with their driver."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Any

from rankadaptor.workers.answers import Fault, call_safely
from rankadaptor.workers.pool import Message, Pool

Build = Callable[..., Callable[..., Any]]

PRELOADED = "rankadaptor.measure.fine_tune"
CPU_ONLY = "+cpu"  # ends the version of a CPU build of torch
ENDING = ("SIGINT", "SIGTERM", "SIGHUP")
EXPENDABLE = 500  # of 1000: when memory runs out, Linux ends a worker rather than the driver


@dataclass(eq=False)
class Worker:
    """A process and this end of its pipe."""

    process: BaseProcess
    pipe: Connection


class ProcessBackend:
    """Processes that build a function once and call it for every job.

    No thread or lock of the driver is inherited: processes are forked from a server that has only imported
    packages, or spawned where forking is not possible (see `open_context`). Each watches its driver, since a
    driver ended by SIGKILL cannot end its workers.

    Args:
        build: Called in each new process with `arguments`; returns the function that does jobs.
        arguments: Arguments of `build`.
    """

    def __init__(self, build: Build, arguments: tuple[Any, ...]) -> None:
        self.build, self.arguments = build, arguments
        self._context = open_context()

    def start(self) -> Worker:
        """Start a process; see `Backend`."""
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_serve, args=(theirs, self.build, self.arguments, dict(os.environ)), daemon=True
        )
        with _signals_deferred():
            process.start()
        theirs.close()  # the pipe then ends with the process
        return Worker(process, ours)

    def send(self, worker: Worker, arguments: tuple[Any, ...]) -> bool:
        """Hand over a job; see `Backend`."""
        try:
            worker.pipe.send(arguments)
        except OSError:
            return False
        return True

    def listen(self, workers: Sequence[Worker], *, timeout: float) -> list[tuple[Worker, Message]]:
        """Collect messages; see `Backend`."""
        owners = {id(worker.pipe): worker for worker in workers}
        heard = []
        for pipe in wait([worker.pipe for worker in workers], timeout):
            worker = owners[id(pipe)]
            try:
                kind, value, fault = worker.pipe.recv()
                message = Message(kind, value, fault)
            except (EOFError, OSError):
                worker.process.join(5.0)
                message = Message("gone", fault=Fault(_describe_end(worker.process.exitcode)))
            heard.append((worker, message))
        return heard

    def end(self, worker: Worker) -> None:
        """Kill the process; see `Backend`."""
        worker.process.kill()
        worker.pipe.close()
        worker.process.join(5.0)

    def close(self) -> None:
        """Nothing is held beside the processes."""


def open_context() -> ForkServerContext | SpawnContext:
    """Return how workers start: forked from a server if torch cannot have used a GPU, else spawned.

    Importing torch takes seconds, once for a server but in each spawned process. A CUDA context does not
    survive a fork, and imports may open one.
    """
    if sys.platform != "linux" or not version("torch").endswith(CPU_ONLY):
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([PRELOADED])
    return context


def open_local_pool(build: Build, arguments: tuple[Any, ...] = (), *, workers: int) -> Pool[Worker]:
    """Return a pool of processes on this machine; see `ProcessBackend`."""
    return Pool(ProcessBackend(build, arguments), workers=workers)


def _describe_end(code: int | None) -> str:
    if code == -signal.SIGKILL:
        return "a worker process was killed, most often for lack of memory"
    if code is not None and code < 0:
        return f"a worker process was ended by {signal.Signals(-code).name}"
    return f"a worker process ended by itself (exit code {code})"


def _serve(
    pipe: Connection, build: Build, arguments: tuple[Any, ...], environment: Mapping[str, str]
) -> None:
    os.environ.clear()  # the server's variables are outdated
    os.environ.update(environment)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver handles keyboard interrupts
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(str(EXPENDABLE))
    _do_without_shared_locks()
    # The driver writes the log; workers log warnings and errors only.
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S"
    )
    function, fault = call_safely(build, arguments)
    if fault is not None:
        pipe.send(("gone", None, fault))
        return
    pipe.send(("ready", None, None))
    with contextlib.suppress(EOFError, OSError):  # the driver has ended or closed the pipe
        while True:
            pipe.send(("answer", *call_safely(function, pipe.recv())))


@contextlib.contextmanager
def _signals_deferred() -> Iterator[None]:
    """Handle signals that ask to end after the block: a process started by halves reports a broken pipe."""
    received: list[int] = []
    before: dict[int, Callable[[int, FrameType | None], Any]] = {}
    if threading.current_thread() is threading.main_thread():
        for name in ENDING:
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            handler = signal.getsignal(number) if number is not None else None
            if number is not None and callable(handler):
                before[number] = handler
                signal.signal(number, lambda number, _: received.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in received[:1]:
            before[number](number, None)


def _do_without_shared_locks() -> None:
    """Give progress bars a lock of this process alone.

    With the first progress bar (transformers opens a hidden one for each model it loads) tqdm takes a system
    semaphore. A killed worker leaves it behind, and Python warns of it when the driver ends.
    """
    from tqdm import tqdm  # type: ignore[import-untyped]

    tqdm.set_lock(threading.RLock())


def _end_with(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)
