"""A pool without workers: jobs run in this process, one after the other."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from rankadaptor.errors import StorageError
from rankadaptor.workers.answers import Answer, is_out_of_memory
from rankadaptor.workers.pool import Limit


class InlinePool:
    """A `JobPool` without workers: errors are raised unchanged, and time limits have no effect.

    Args:
        build: Called once, with the first job, with `arguments`; returns the function that does jobs.
        arguments: Arguments of `build`.
    """

    def __init__(self, build: Callable[..., Callable[..., Any]], arguments: tuple[Any, ...] = ()) -> None:
        self.build, self.arguments = build, arguments
        self._function: Callable[..., Any] | None = None
        self._queue: deque[tuple[int, tuple[Any, ...]]] = deque()

    def count_free(self) -> int:
        """Return 1 if no job waits; see `JobPool`."""
        return 0 if self._queue else 1

    def submit(self, ticket: int, arguments: tuple[Any, ...], *, limit: Limit | None = None) -> None:  # noqa: ARG002
        """Take a job; see `JobPool`."""
        self._queue.append((ticket, arguments))

    def wait(self) -> list[Answer]:
        """Do the next job; see `JobPool`."""
        if not self._queue:
            return []
        if self._function is None:
            self._function = self.build(*self.arguments)
        ticket, arguments = self._queue.popleft()
        started = time.monotonic()
        try:
            value = self._function(*arguments)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise StorageError(
                f"memory ran out ({first}). What was finished is kept: lower recipe.micro_batch_size or "
                "set recipe.gradient_checkpointing in another output folder, or run the same command where "
                "there is more."
            ) from error
        return [Answer(ticket, value, seconds=time.monotonic() - started)]

    def close(self) -> None:
        """Release the function that was built."""
        self._function = None
