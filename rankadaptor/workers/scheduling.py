"""Running jobs on a pool: each is tried at most twice, and lost jobs do not block others."""

from __future__ import annotations

import functools
import itertools
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from rankadaptor.workers.answers import Fault, raise_fault
from rankadaptor.workers.limits import TimeLimit
from rankadaptor.workers.pool import JobPool
from rankadaptor.workers.processes import open_local_pool

logger = logging.getLogger(__name__)

Job = TypeVar("Job")
Result = TypeVar("Result")

ATTEMPTS = 2
TICKETS = itertools.count()
"""Numbers of jobs, never used twice in a process: a pool may still be busy with those of an earlier call."""


def run_jobs(
    pool: JobPool,
    jobs: Sequence[Job],
    *,
    arguments: Callable[[Job], tuple[Any, ...]],
    ready: Callable[[Job], bool] = lambda _: True,
    work: Callable[[Job], float] = lambda _: 1.0,
    limit: TimeLimit | None = None,
    tells: Callable[[Any], bool] = lambda _: True,
) -> Iterator[tuple[Job, Any, Fault | None]]:
    """Yield `(job, result, fault)` as jobs end; exactly one of the two is None.

    A job that is lost with its worker is tried once more, before jobs that have not begun.

    Args:
        pool: Does the jobs.
        jobs: Hashable, in the order in which they should begin.
        arguments: Returns the arguments of a job, when it begins.
        ready: Whether a job may begin; asked again after each finished job.
        work: Units of work of a job, for the time limit.
        limit: Time limit, derived from finished jobs; without one a job may take any time.
        tells: Whether a result is used for the time limit; an early failure is not.
    """

    def allow(job: Job) -> float | None:
        return None if limit is None else limit.allow(work(job))

    waiting, running = list(jobs), dict[int, Job]()
    attempts: Counter[Job] = Counter()
    while waiting or running:
        free = pool.count_free()
        for job in list(itertools.islice(filter(ready, waiting), free)):
            waiting.remove(job)
            ticket = next(TICKETS)
            running[ticket] = job
            pool.submit(ticket, arguments(job), limit=functools.partial(allow, job))
        if free and not running:
            raise RuntimeError(f"none of {len(waiting)} waiting jobs can ever begin")
        for answer in pool.wait():
            if answer.ticket not in running:
                continue  # of an earlier call that ended with an error; its worker is free again
            job = running.pop(answer.ticket)
            attempts[job] += 1
            if answer.fault is None:
                if limit is not None and tells(answer.value):
                    limit.observe(answer.seconds, work(job))
            elif answer.fault.lost and attempts[job] < ATTEMPTS:
                logger.warning("a job is lost and tried once more: %s", answer.fault.reason)
                waiting.insert(0, job)
                continue
            yield job, answer.value, answer.fault


def run_side_by_side(
    function: Callable[..., Result],
    jobs: Sequence[Mapping[str, Any]],
    *,
    workers: int,
) -> Iterator[tuple[int, Result]]:
    """Call `function(**job)` for every job and yield `(index, result)` as each finishes.

    With one worker, or one job, everything runs in this process. Otherwise a job whose worker dies is done
    once more by another. There is no time limit, since resumed jobs differ in length.

    Args:
        function: A function at the top of a module.
        jobs: Its keyword arguments.
        workers: Processes at a time.

    Raises:
        RankAdaptorError: What a job raised.
        StorageError: If a job's worker is lost twice, most often for lack of memory.
    """
    if workers == 1 or len(jobs) <= 1:
        for index, job in enumerate(jobs):
            yield index, function(**job)
        return
    with open_local_pool(_take_keywords, (function,), workers=min(workers, len(jobs))) as pool:
        places = range(len(jobs))
        for index, result, fault in run_jobs(pool, places, arguments=lambda i: (jobs[i],)):
            if fault is not None:
                raise_fault(fault)
            yield index, result


def _take_keywords(function: Callable[..., Any]) -> Callable[[Mapping[str, Any]], Any]:
    return lambda job: function(**job)
