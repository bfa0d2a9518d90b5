"""A campaign of quick trials in a process of its own: `python -m tests.soak.campaign FOLDER TRIALS`."""

from __future__ import annotations

import sys
from pathlib import Path

from rankadaptor.config import build_run
from rankadaptor.pipeline import trials
from rankadaptor.pipeline.run_folder import open_run
from rankadaptor.pipeline.trials import TrialPool
from rankadaptor.workers import processes
from tests.quick_trials import build_quick_trials, make_jobs, make_source


def main(folder: Path, count: int) -> None:
    trials.build_trials = build_quick_trials
    processes.PRELOADED = (
        build_quick_trials.__module__
    )  # these trials need no torch, whose import takes seconds
    with (
        open_run(folder, build_run({})) as run,
        TrialPool(make_source(run.path), workers=2) as pool,
    ):
        pool.measure_all(make_jobs(20, seeds=tuple(range(count // 20))), label="campaign")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
