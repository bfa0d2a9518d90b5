"""Worker processes that run one function over several jobs and never outlive the process that drives them."""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from rankadaptor.errors import StorageError

Result = TypeVar("Result")


def open_pool(
    workers: int, *, initializer: Callable[..., None] | None = None, arguments: tuple[Any, ...] = ()
) -> ProcessPoolExecutor:
    """Start a pool of fresh processes (spawned, so that no thread or lock is inherited).

    Args:
        workers: Number of processes.
        initializer: Called once in each process with `arguments`.
        arguments: Arguments of `initializer`.
    """
    return ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start,
        initargs=(initializer, arguments),
    )


def run_side_by_side(
    function: Callable[..., Result], jobs: Sequence[Mapping[str, Any]], *, workers: int
) -> Iterator[tuple[int, Result]]:
    """Call `function(**job)` for every job and yield `(index, result)` as each finishes.

    With one worker, or one job, everything runs in this process.

    Raises:
        StorageError: If a worker is killed, most often for want of memory.
    """
    if workers == 1 or len(jobs) <= 1:
        for index, job in enumerate(jobs):
            yield index, function(**job)
        return
    with open_pool(min(workers, len(jobs))) as pool:
        futures = {pool.submit(function, **job): index for index, job in enumerate(jobs)}
        for future in as_completed(futures):
            yield futures[future], await_worker(future.result)


def await_worker(wait: Callable[[], Result]) -> Result:
    """Return what `wait` returns, naming a killed worker process for what it is."""
    try:
        return wait()
    except BrokenProcessPool as error:
        raise StorageError(
            "a worker process was killed, most often for want of memory. What was finished is kept: run the "
            "same command again, with fewer workers (--set compute.workers=1) if memory was short."
        ) from error


def _start(initializer: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:  # a driver ended by SIGKILL cannot tell its workers; they watch it instead
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    # The driver tells the story; a worker speaks up only when something is wrong.
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S"
    )
    if initializer is not None:
        initializer(*arguments)


def _end_with(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)
