"""A pool of workers of any kind: each does one job at a time and is replaced when it dies or hangs."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, Protocol, TypeVar

from rankadaptor.errors import StorageError
from rankadaptor.progress import format_seconds
from rankadaptor.workers.answers import Answer, Fault, raise_fault

logger = logging.getLogger(__name__)

Handle = TypeVar("Handle")
Limit = Callable[[], float | None]

TICK = 0.5  # seconds between two looks at the clock
PAUSE = 5.0  # a later tick means that this process itself was stopped meanwhile
PATIENCE = 600.0  # seconds without an answer before a log message
FAILED_STARTS = 4  # workers in a row that may die before they are ready


class JobPool(Protocol):
    """Takes jobs and gives answers, in any order."""

    def count_free(self) -> int:
        """Return how many more jobs would start at once."""

    def submit(self, ticket: int, arguments: tuple[Any, ...], *, limit: Limit | None = None) -> None:
        """Take a job; `limit` gives the seconds it may run and is asked repeatedly while it runs."""

    def wait(self) -> list[Answer]:
        """Wait until at least one job has ended."""

    def close(self) -> None:
        """End all workers at once."""


@dataclass(frozen=True)
class Message:
    """A message from a worker, or about it.

    Attributes:
        kind: `ready` after its start, `answer` after a job, `gone` if there is no worker any more.
        value: A job's result.
        fault: Why there is no result.
    """

    kind: Literal["ready", "answer", "gone"]
    value: Any = None
    fault: Fault | None = None


class Backend(Protocol[Handle]):
    """One kind of worker: how it is started, given jobs and ended."""

    def start(self) -> Handle:
        """Start a worker, which says `ready` when it can take a job."""

    def send(self, worker: Handle, arguments: tuple[Any, ...]) -> bool:
        """Hand a job to a ready worker; False if it is gone."""

    def listen(self, workers: Sequence[Handle], *, timeout: float) -> list[tuple[Handle, Message]]:
        """Return messages of workers, waiting for the first one at most `timeout` seconds."""

    def end(self, worker: Handle) -> None:
        """End a worker at once."""

    def close(self) -> None:
        """Free the resources of the backend itself."""


@dataclass
class _Job:
    ticket: int
    arguments: tuple[Any, ...]
    limit: Limit | None
    started: float = 0.0


@dataclass(eq=False)
class _Member(Generic[Handle]):
    handle: Handle
    ready: bool = False
    job: _Job | None = field(default=None)


class Pool(Generic[Handle]):
    """Workers that each do one job at a time.

    A job whose worker dies, or that runs longer than its limit, is answered with a `Fault`; the worker is
    replaced and the others continue. A worker is started when there is a job for it, and only ready workers
    get jobs, so no job is lost with a worker that dies during its start.

    Args:
        backend: The kind of worker.
        workers: Maximum number of workers.
    """

    def __init__(self, backend: Backend[Handle], *, workers: int) -> None:
        self.backend, self.workers = backend, workers
        self._members: list[_Member[Handle]] = []
        self._queue: deque[_Job] = deque()
        self._failed_starts = 0

    def __enter__(self) -> Pool[Handle]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def count_free(self) -> int:
        """Return how many more jobs find a worker; see `JobPool`."""
        return max(self.workers - self._count_busy() - len(self._queue), 0)

    def submit(self, ticket: int, arguments: tuple[Any, ...], *, limit: Limit | None = None) -> None:
        """Take a job; see `JobPool`."""
        self._queue.append(_Job(ticket, arguments, limit))

    def wait(self) -> list[Answer]:
        """Wait until at least one job has ended; see `JobPool`.

        Raises:
            RankAdaptorError: If a worker cannot start, for the reason that it gives.
            StorageError: If several workers in a row die during their start.
        """
        begun = time.monotonic()
        patience = PATIENCE
        while self._queue or self._count_busy():
            self._hire()
            self._hand_out()
            answers = self._listen() + self._end_overdue()
            if answers:
                return answers
            if time.monotonic() - begun > patience:
                self._explain_delay(time.monotonic() - begun)
                patience += PATIENCE
        return []

    def close(self) -> None:
        """End all workers at once; jobs that they were doing are lost."""
        for member in self._members:
            self.backend.end(member.handle)
        self._members.clear()
        self._queue.clear()
        self.backend.close()

    def _count_busy(self) -> int:
        return sum(member.job is not None for member in self._members)

    def _hire(self) -> None:
        idle = sum(member.job is None for member in self._members)
        wanted = min(len(self._queue) - idle, self.workers - len(self._members))
        for _ in range(wanted):
            try:
                self._members.append(_Member(self.backend.start()))
            except OSError as error:
                if not self._members:
                    raise StorageError(
                        f"no worker process can be started ({error}). Free memory, or lower compute.workers."
                    ) from error
                self.workers = len(self._members)
                logger.warning("no further worker can be started (%s): %d go on", error, self.workers)
                return

    def _hand_out(self) -> None:
        for member in list(self._members):
            if not self._queue:
                return
            if member.ready and member.job is None:
                job = self._queue.popleft()
                if self.backend.send(member.handle, job.arguments):
                    job.started = time.monotonic()
                    member.job = job
                else:
                    self._queue.appendleft(job)
                    self._dismiss(member)

    def _listen(self) -> list[Answer]:
        before = time.monotonic()
        messages = self.backend.listen([member.handle for member in self._members], timeout=TICK)
        late = time.monotonic() - before - TICK
        if late > PAUSE:  # stopped with all its workers, for example by a terminal: does not count
            for member in self._members:
                if member.job is not None:
                    member.job.started += late
        answers = []
        for handle, message in messages:
            member = next(member for member in self._members if member.handle is handle)
            if (answer := self._take(member, message)) is not None:
                answers.append(answer)
        return answers

    def _take(self, member: _Member[Handle], message: Message) -> Answer | None:
        if message.kind == "ready":
            member.ready = True
            self._failed_starts = 0
            return None
        job, member.job = member.job, None
        if message.kind == "gone" or (message.fault is not None and message.fault.lost):
            self._dismiss(member)
        if job is not None:
            return Answer(job.ticket, message.value, message.fault, time.monotonic() - job.started)
        if message.fault is not None and not member.ready:
            self._judge_start(message.fault)
        elif message.fault is not None:
            logger.warning("an idle worker is replaced: %s", message.fault.reason)
        return None

    def _judge_start(self, fault: Fault) -> None:
        self._failed_starts += 1
        if not fault.lost or self._failed_starts > FAILED_STARTS + self.workers:
            raise_fault(fault)
        logger.warning("a worker did not start and is replaced: %s", fault.reason)

    def _end_overdue(self) -> list[Answer]:
        now = time.monotonic()
        answers = []
        for member in list(self._members):
            job = member.job
            if job is None or job.limit is None:
                continue
            limit = job.limit()
            if limit is not None and now - job.started > limit:
                self._dismiss(member)
                reason = (
                    f"no answer within its time limit of {format_seconds(limit)}, so its worker was ended"
                )
                answers.append(Answer(job.ticket, fault=Fault(reason), seconds=now - job.started))
        return answers

    def _dismiss(self, member: _Member[Handle]) -> None:
        self.backend.end(member.handle)
        self._members.remove(member)

    def _explain_delay(self, seconds: float) -> None:
        busy, ready = self._count_busy(), sum(member.ready for member in self._members)
        logger.warning(
            "no answer for %s: %d of %d workers are ready, %d at work. If one hangs, set "
            "compute.trial_timeout to the seconds that a trial may take and run the same command again.",
            format_seconds(seconds), ready, self.workers, busy,
        )  # fmt: skip
