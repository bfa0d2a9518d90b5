"""Slice scores by several processes that share the allocations of a sweep or of a round of a search."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rankadaptor.corpus import Record, RecordFile
from rankadaptor.errors import InputError
from rankadaptor.measure.slice_score import SliceScore
from rankadaptor.progress import Progress
from rankadaptor.space import Allocation
from rankadaptor.space.allocation import SlotSpace
from rankadaptor.workers import (
    InlinePool,
    JobPool,
    TimeLimit,
    open_local_pool,
    raise_fault,
    run_jobs,
)

Build = Callable[..., SliceScore]

LARGEST_JOB = 8
"""Allocations of one job: what an interrupted run repeats at most, for each worker."""
JOBS_PER_WORKER = 3  # of one call, so that workers end at about the same time


class SlicePool:
    """Scores allocations in worker processes that stay for as long as it is open; a context manager.

    Each worker builds a `SliceScore` of its own. Allocations that begin alike go to one worker, so that they
    share their blocks there. Records are appended by this process alone, each job's when it ends. Scores are
    the same on any number of workers; what they cost is not, because each worker passes the dense model once
    over the text.

    Args:
        build: A function at the top of a module that returns the score, without a record file of its own.
        arguments: Its arguments; they travel to the workers.
        workers: Processes. One is this very process.
        records: File that every record is written to, and from which nothing is measured again.
        own: The same score in this process. It names the setting, so that no worker starts where every
            record is known, and its file is `records`.
        timeout: Seconds that a job may take; learned from those that ended by default.
        open_pool: What opens the pool of workers, such as `open_cluster_pool`; given `build`, `arguments` and
            `workers`.
    """

    def __init__(
        self,
        build: Build,
        arguments: tuple[Any, ...] = (),
        *,
        workers: int = 1,
        records: RecordFile | None = None,
        own: SliceScore | None = None,
        timeout: float | None = None,
        open_pool: Callable[..., JobPool] = open_local_pool,
    ) -> None:
        if workers < 1:
            raise InputError(f"workers={workers}: must be at least 1.")
        self.workers, self.own = workers, own
        self.records = records if own is None else own.records
        self.limit = TimeLimit(timeout)
        given = (build, arguments)
        inline = workers == 1 and timeout is None and open_pool is open_local_pool
        self._pool: JobPool = (
            InlinePool(build_scorer, given) if inline else open_pool(build_scorer, given, workers=workers)
        )
        self._settings: dict[tuple[str, int | None], tuple[str, float]] = {}

    def __enter__(self) -> SlicePool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the workers."""
        self._pool.close()

    def __call__(self, allocation: Allocation, *, tokens: int | None = None) -> Record:
        """Score one allocation; see `SliceScore`."""
        return self.measure([allocation], tokens=tokens)[0]

    def measure(
        self,
        allocations: Sequence[Allocation],
        *,
        tokens: int | None = None,
        on_record: Callable[[Record], object] | None = None,
    ) -> list[Record]:
        """Score allocations and return their records in order; see `SliceScore.measure`.

        Args:
            allocations: Of one space; they may exceed its limits.
            tokens: Score on a leading part of the text alone.
            on_record: Called with each new record once it is on disk.

        Raises:
            InputError: As `SliceScore.measure` does.
            StorageError: If a record cannot be written or a job's worker is lost twice; finished records are
                kept.
        """
        if len({allocation.space.digest for allocation in allocations}) > 1:
            raise InputError("allocations of different spaces. Measure those of each space by themselves.")
        wanted = {allocation.choices: allocation for allocation in allocations}
        found: dict[tuple[int, ...], Record] = {}
        if self.records is not None and wanted:
            setting, fidelity = self._ask_setting(next(iter(wanted.values())).space, tokens)
            for choices, allocation in wanted.items():
                known = self.records.find(allocation.values, 0, 0, setting=setting, fidelity=fidelity)
                if known is not None:
                    found[choices] = known
        pending = sorted(choices for choices in wanted if choices not in found)
        if pending:
            space = wanted[pending[0]].space
            jobs = split_evenly(pending, workers=self.workers)
            with Progress("slice scores", len(pending), unit="allocations") as progress:
                done = run_jobs(
                    self._pool,
                    jobs,
                    arguments=lambda job: ("measure", space, job, tokens),
                    work=lambda job: float(len(job)),
                    limit=self.limit,
                )
                for job, records, fault in done:
                    if fault is not None:
                        raise_fault(fault)
                    for choices, record in zip(job, records, strict=True):
                        found[choices] = record
                        if self.records is not None:
                            self.records.append(record)
                        if on_record is not None:
                            on_record(record)
                    progress.advance(len(job), note=_describe_best(records))
        return [found[allocation.choices] for allocation in allocations]

    def _ask_setting(self, space: SlotSpace, tokens: int | None) -> tuple[str, float]:
        """Return the name of the setting and the fidelity, which a worker knows too."""
        if self.own is not None:
            return self.own.name_setting(space), self.own.compute_fidelity(tokens)
        key = (space.digest, tokens)
        if key not in self._settings:
            asked = run_jobs(self._pool, [key], arguments=lambda _: ("describe", space, (), tokens))
            for _, answer, fault in asked:
                if fault is not None:
                    raise_fault(fault)
                self._settings[key] = answer
        return self._settings[key]


def build_scorer(build: Build, arguments: tuple[Any, ...]) -> Callable[..., Any]:
    """Build a score in a worker and return the function that does its jobs."""
    score = build(*arguments)

    def run(
        what: str, space: SlotSpace, job: Sequence[tuple[int, ...]], tokens: int | None
    ) -> tuple[str, float] | list[Record]:
        if what == "describe":
            return score.name_setting(space), score.compute_fidelity(tokens)
        return score.measure([Allocation(choices, space) for choices in job], tokens=tokens)

    return run


def split_evenly(pending: Sequence[tuple[int, ...]], *, workers: int) -> list[tuple[tuple[int, ...], ...]]:
    """Cut sorted allocations into jobs of neighbours, which have most blocks in common."""
    size = min(-(-len(pending) // (workers * JOBS_PER_WORKER)), LARGEST_JOB)
    return [tuple(pending[start : start + size]) for start in range(0, len(pending), size)]


def _describe_best(records: Sequence[Record]) -> str:
    scores = [record.kl for record in records if record.kl is not None]
    return f"kl {min(scores):.4f} at best of these" if scores else "all failed"
