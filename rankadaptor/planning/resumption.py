"""What a plan finds in the output folder of its run: steps that are done, or another run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from rankadaptor.config import JobConfig
from rankadaptor.errors import ConfigError
from rankadaptor.planning.folder_state import is_done, read_folder
from rankadaptor.planning.plan import PlanStep


def mark_done(steps: Iterable[PlanStep], config: JobConfig) -> tuple[tuple[PlanStep, ...], list[str]]:
    """Mark the steps whose results the run's output folder holds.

    Returns:
        The steps, and a sentence if the run cannot continue in that folder.
    """
    folder = Path(config.output)
    try:
        state = read_folder(folder, config)
    except ConfigError:
        state = None
    if state is None or state.refused:
        note = f"{folder} holds another run: choose another output, or delete it with --fresh."
        return tuple(steps), [note]
    return tuple(replace(step, done=is_done(folder, state, step.name)) for step in steps), []
