"""Trials measured in parallel by worker processes; each record is written to disk at once."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rankadaptor.components.adapter import count_parameters
from rankadaptor.corpus import Record, RecordFile
from rankadaptor.pipeline.cluster import SharedSource, build_shared_measure, share_source
from rankadaptor.pipeline.execution import RAY
from rankadaptor.pipeline.trial_source import TrialSource
from rankadaptor.progress import Progress
from rankadaptor.recipe import Recipe
from rankadaptor.runtime import find_commit
from rankadaptor.space import Allocation, Space, Values
from rankadaptor.workers import (
    Fault,
    InlinePool,
    JobPool,
    TimeLimit,
    open_cluster_pool,
    open_local_pool,
    raise_fault,
    run_jobs,
)

if TYPE_CHECKING:
    from rankadaptor.measure.fine_tune import ShortFineTune

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """One allocation to measure under one seed."""

    allocation: Allocation
    seed: int
    steps: int


def build_measure(source: TrialSource) -> ShortFineTune:
    """Load the pruned model and its data and return the callable that measures allocations."""
    from rankadaptor.measure.fine_tune import ShortFineTune
    from rankadaptor.named_models import load

    source.compute.apply()
    model, tokenizer = load(source.model, compute=source.compute)
    train, held_out = source.split.load()
    return ShortFineTune(
        model,
        tokenizer,
        data=train,
        held_out=held_out,
        recipe=source.recipe,
        steps=source.steps,
        records=RecordFile(source.records),
        setting=source.setting,
        compute=source.compute,
        teacher=source.teacher,
    )


def open_trials(source: TrialSource, *, workers: int) -> JobPool:
    """Return the pool that runs trials of a source, given `(values, seed, steps, loss_uniform, recipe)`.

    A single local worker without a time limit is this process; all others are separate processes, on this
    machine or on a cluster.

    Raises:
        InputError: If the executor is Ray and Ray is not installed.
        StorageError: If the cluster does not answer.
    """
    given = source.execution
    if given.executor == RAY:
        return open_cluster_pool(
            build_trials,
            (share_source(source),),
            workers=workers,
            cpus=source.compute.threads,
            gpus=given.gpus_per_trial,
        )
    if workers == 1 and given.trial_timeout is None:
        return InlinePool(build_trials, (source,))
    return open_local_pool(build_trials, (source,), workers=workers)


def build_trials(source: TrialSource | SharedSource) -> Callable[..., Record]:
    """Load a source's model in a worker and return the function that runs its trials."""
    measure = build_measure(source) if isinstance(source, TrialSource) else build_shared_measure(source)
    teacher = measure.teacher

    def run_trial(
        values: Values, seed: int, steps: int, loss_uniform: float | None, recipe: Recipe
    ) -> Record:
        measure.recipe = recipe  # all recipes of a source use the same tokenised rows
        measure.teacher = teacher if recipe.needs_teacher else None
        allocation = source.space.allocation(values)
        return measure.run_trial(allocation, seed=seed, steps=steps, loss_uniform=loss_uniform)

    return run_trial


class TrialPool:
    """Measures jobs that are not in the record file yet; a context manager that owns its worker processes.

    Only this process appends records, each before the next job is given to a worker. A trial whose worker is
    lost (killed, hung, out of memory) is tried once more and then recorded as failed, with the reason; the
    others continue. A failed trial of uniform is not recorded, because every other trial is paired with it.
    """

    def __init__(self, source: TrialSource, *, workers: int) -> None:
        self.source = source
        self.workers = workers
        self.records = RecordFile(source.records)
        self.limit = TimeLimit(source.execution.trial_timeout)
        for record in self.records.records:
            self._learn(record)
        self._pool: JobPool | None = None

    def __enter__(self) -> TrialPool:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.close()

    def measure(self, allocation: Allocation, *, seed: int | None = None, steps: int | None = None) -> Record:
        """Return the record of one allocation, measured now or read from the file."""
        job = Job(allocation, 0 if seed is None else seed, steps or self.source.steps)
        return self.measure_all([job], label="trial")[0]

    def measure_all(
        self,
        jobs: Sequence[Job],
        *,
        label: str,
        on_record: Callable[[Record], object] | None = None,
        progress: Progress | None = None,
    ) -> list[Record]:
        """Measure all jobs, uniform first under each seed, and return their records in order.

        Args:
            jobs: The jobs; those in the record file are not measured again.
            label: Label of the progress.
            on_record: Called with each new record once it is on disk.
            progress: Progress of a larger task that counts these jobs and shows the best gain so far, in
                place of a separate one.

        Raises:
            StorageError: If a record cannot be written, or uniform's worker is lost twice, for example for
                lack of memory; finished records are kept.
        """
        wanted = dict.fromkeys(jobs)
        references = dict.fromkeys(self._pair(job) for job in wanted)
        missing = [job for job in (references | wanted) if self.find(job) is None]
        if progress is not None:
            progress.skip(sum(job not in missing for job in wanted))
        if missing:
            own = progress is None and Progress(label, len(missing), unit="trials", interval=0.0)
            with own or contextlib.nullcontext(progress) as shown:
                assert shown is not None
                for record in self._run(missing):
                    self.records.append(record)
                    if on_record is not None:
                        on_record(record)
                    counted = own or any(job.allocation.values == record.values for job in wanted)
                    best = "" if own else self._describe_best(record)
                    shown.advance(int(bool(counted)), note=_describe(record, self.source.space) + best)
        found = [self.find(job) for job in jobs]
        return [record for record in found if record is not None]

    def find(self, job: Job) -> Record | None:
        """Return the stored record of a job, if there is one."""
        return self.records.find(job.allocation.values, seed=job.seed, steps=job.steps)

    def _describe_best(self, record: Record) -> str:
        """Return the largest gain so far of trials with the same seed and steps, as text."""
        like = [
            each for each in self.records.records if (each.seed, each.steps) == (record.seed, record.steps)
        ]
        uniform = self.source.space.reference().values
        gains = [each.gain for each in like if each.gain is not None and each.values != uniform]
        return f", best {max(gains):+.4f}" if gains else ""

    def _pair(self, job: Job) -> Job:
        return Job(self.source.space.reference(), job.seed, job.steps)

    def _run(self, jobs: Sequence[Job]) -> Iterator[Record]:
        """Yield records as they finish; the caller stores each, so that later jobs find their reference."""
        if self._pool is None:
            self._pool = open_trials(self.source, workers=self.workers)
        done = run_jobs(
            self._pool,
            jobs,
            # A trial starts when its reference is measured; uniform has none.
            ready=lambda job: job == self._pair(job) or self.find(self._pair(job)) is not None,
            arguments=lambda job: (
                job.allocation.values, job.seed, job.steps, self._reference(job), self.source.recipe,
            ),
            work=lambda job: float(job.steps),
            limit=self.limit,
            tells=lambda record: record.status == "ok",
        )  # fmt: skip
        for job, record, fault in done:
            yield self._give_up(job, fault) if fault is not None else record

    def _reference(self, job: Job) -> float | None:
        record = self.find(self._pair(job))
        return None if record is None else record.loss

    def _learn(self, record: Record) -> None:
        if record.status == "ok":
            self.limit.observe(record.seconds, record.steps)

    def _give_up(self, job: Job, fault: Fault) -> Record:
        """Return the failed record of a trial that was lost twice."""
        if not fault.lost or job == self._pair(job):
            raise_fault(fault)
        logger.error("a trial was lost twice and is recorded as failed: %s\n%s", fault.reason, fault.trace)
        return Record.of_fine_tune(
            setting=self.source.setting,
            values=job.allocation.values,
            seed=job.seed,
            steps=job.steps,
            fidelity=job.steps / self.source.recipe.steps,
            loss=None,
            loss_reference=self._reference(job),
            parameters=count_parameters(self.source.space, job.allocation.values),
            tokens=0,
            seconds=0.0,
            status="failed",
            error=f"lost twice: {fault.reason}",
            commit=find_commit(),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )


def _describe(record: Record, space: Space) -> str:
    if record.status != "ok":
        return f"failed: {record.error}"
    if record.values == space.reference().values:
        return f"uniform's loss {record.loss:.4f}"
    return f"loss {record.loss:.4f}" + ("" if record.gain is None else f", gain {record.gain:+.4f}")
