"""Trials measured side by side in worker processes, each record on disk as soon as it is there."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rankadaptor.corpus import Record, RecordFile
from rankadaptor.pipeline.data_split import DataSplit
from rankadaptor.progress import Progress
from rankadaptor.recipe import Recipe
from rankadaptor.runtime import Compute
from rankadaptor.space import Allocation, Space
from rankadaptor.workers import await_worker, open_pool

if TYPE_CHECKING:
    from rankadaptor.measure import ShortFineTune

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrialSource:
    """What a process needs to measure trials of one setting by itself.

    Attributes:
        model: Folder of the pruned model.
        space: The space that allocations belong to.
        recipe: Fine-tuning recipe.
        split: Training and held-out rows.
        steps: Optimiser steps of a trial unless a job says otherwise.
        setting: Name that records carry.
        records: The run's record file.
        compute: Device, precision and threads of each process.
    """

    model: Path
    space: Space
    recipe: Recipe
    split: DataSplit
    steps: int
    setting: str
    records: Path
    compute: Compute


@dataclass(frozen=True)
class Job:
    """One allocation to measure under one seed."""

    allocation: Allocation
    seed: int
    steps: int


def build_measure(source: TrialSource) -> ShortFineTune:
    """Load the pruned model and its data and return the callable that measures allocations."""
    from rankadaptor.measure import ShortFineTune
    from rankadaptor.models import load

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
    )


class TrialPool:
    """Measures jobs that the record file does not hold yet; a context manager that owns its worker processes.

    Records are appended by this process alone, so the file needs no lock and every line is whole.
    """

    def __init__(self, source: TrialSource, *, workers: int) -> None:
        self.source = source
        self.workers = workers
        self.records = RecordFile(source.records)
        self._pool: ProcessPoolExecutor | None = None
        self._measure: ShortFineTune | None = None

    def __enter__(self) -> TrialPool:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def measure(self, allocation: Allocation, *, seed: int | None = None, steps: int | None = None) -> Record:
        """Return the record of one allocation, measured now or read from the file."""
        job = Job(allocation, 0 if seed is None else seed, steps or self.source.steps)
        return self.measure_all([job], label="trial")[0]

    def measure_all(
        self, jobs: Sequence[Job], *, label: str, on_record: Callable[[Record], object] | None = None
    ) -> list[Record]:
        """Measure all jobs, uniform first under each seed, and return their records in order.

        Args:
            jobs: What to measure; jobs that the record file holds are not measured again.
            label: Shown with the progress.
            on_record: Called with each new record once it is on disk.

        Raises:
            StorageError: If a worker process is killed, for example for want of memory; finished records
                are kept.
        """
        wanted = dict.fromkeys(jobs)
        references = dict.fromkeys(self._pair(job) for job in wanted)
        missing = [job for job in (references | wanted) if self.find(job) is None]
        if missing:
            with Progress(label, len(missing), unit="trials", interval=5.0) as progress:
                for record in self._run(missing):
                    self.records.append(record)
                    if on_record is not None:
                        on_record(record)
                    progress.advance(note=_describe(record))
        found = [self.find(job) for job in jobs]
        return [record for record in found if record is not None]

    def find(self, job: Job) -> Record | None:
        """Return the stored record of a job, if there is one."""
        return self.records.find(job.allocation.values, seed=job.seed, steps=job.steps)

    def _pair(self, job: Job) -> Job:
        return Job(self.source.space.uniform(), job.seed, job.steps)

    def _run(self, jobs: Sequence[Job]) -> Iterator[Record]:
        """Yield records as they finish; the caller stores each, so that later jobs find their reference."""
        if self.workers == 1:
            if self._measure is None:
                self._measure = build_measure(self.source)
            for job in jobs:
                yield self._measure.run_trial(
                    job.allocation, seed=job.seed, steps=job.steps, loss_uniform=self._reference(job)
                )
            return
        if self._pool is None:
            self._pool = open_pool(self.workers, initializer=_load_worker, arguments=(self.source,))
        waiting, running = list(jobs), set[Future[Record]]()
        while waiting or running:
            # A trial starts once its reference is measured; uniform is its own.
            ready = [job for job in waiting if job == self._pair(job) or self.find(self._pair(job))]
            for job in ready[: self.workers - len(running)]:
                waiting.remove(job)
                arguments = (job.allocation.values, job.seed, job.steps, self._reference(job))
                running.add(self._pool.submit(_run_job, *arguments))
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                yield await_worker(future.result)

    def _reference(self, job: Job) -> float | None:
        record = self.find(self._pair(job))
        return None if record is None else record.loss


def _describe(record: Record) -> str:
    if record.status != "ok":
        return f"failed: {record.error}"
    return f"loss {record.loss:.4f}" + (f", gain {record.gain:+.4f}" if record.gain else "")


_worker: list[tuple[ShortFineTune, Space]] = []  # in a worker process: what its initializer loaded


def _load_worker(source: TrialSource) -> None:
    """Load the model once in a new process."""
    _worker.append((build_measure(source), source.space))


def _run_job(values: tuple[int, ...], seed: int, steps: int, loss_uniform: float | None) -> Record:
    measure, space = _worker[0]
    return measure.run_trial(space.allocation(values), seed=seed, steps=steps, loss_uniform=loss_uniform)
