"""Long work of a run in several processes of one thread each, which leaves all it finds in files."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rankadaptor.pipeline.compression.setting import Setting
from rankadaptor.progress import Progress
from rankadaptor.workers import open_local_pool, raise_fault, run_jobs

logger = logging.getLogger(__name__)

Function = Callable[..., Any]


@dataclass(frozen=True)
class Job:
    """One piece of work.

    Attributes:
        name: What the log calls it.
        function: A function at the top of a module; it takes the run's inputs first.
        arguments: Its further arguments, which travel to another process.
        results: Files that are there once the work is done; empty if the function itself finds what is done.
    """

    name: str
    function: Function
    arguments: tuple[Any, ...]
    results: tuple[Path, ...]

    def do(self, setting: Setting) -> Any:
        """Do it in this process."""
        return self.function(setting, *self.arguments)


def do_jobs(setting: Setting, jobs: Sequence[Job], *, what: str) -> None:
    """Do the jobs whose results are not there yet, `setting.workers` at a time.

    Each process has one thread, as a run with one worker has, so that results do not depend on the number of
    workers. A job whose process dies is done once more.

    Args:
        setting: The run's inputs.
        jobs: In the order in which they begin; the longest first ends soonest.
        what: What they are called together.

    Raises:
        RankAdaptorError: What a job raised; what others have finished is kept.
        StorageError: If a job's process is lost twice, most often for lack of memory.
    """
    open_jobs = [job for job in jobs if not job.results or not all(path.exists() for path in job.results)]
    workers = min(setting.workers, len(open_jobs))
    with Progress(what, len(open_jobs), unit="done", interval=0.0) as progress:
        if workers < 2:
            for job in open_jobs:
                job.do(setting)
                progress.advance(1, note=job.name)
            return
        setting.read_texts()  # once, and sent to all
        with open_local_pool(_serve, (setting,), workers=workers) as pool:
            places = range(len(open_jobs))
            for place, _, fault in run_jobs(pool, places, arguments=lambda index: (open_jobs[index],)):
                if fault is not None:
                    raise_fault(fault)
                progress.advance(1, note=open_jobs[place].name)


def _serve(setting: Setting) -> Callable[[Job], None]:
    def do(job: Job) -> None:
        job.do(setting)

    return do
