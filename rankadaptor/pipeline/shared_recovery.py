"""The run's full fine-tunes on several devices: the step `recover` under `accelerate launch`."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from typing import Any

from rankadaptor.config import RunConfig
from rankadaptor.errors import InputError
from rankadaptor.pipeline.choosing import choose_for_recovery
from rankadaptor.pipeline.experiment import name_allocations
from rankadaptor.pipeline.finals import recover_all
from rankadaptor.pipeline.preparation import load_space, pick_compute
from rankadaptor.pipeline.run_folder import RunFolder, name_setting, open_run
from rankadaptor.pipeline.tuning import tune_setting
from rankadaptor.training.process_group import ProcessGroup, join_process_group

EARLIER = ("prepare", "space", "tune", "search", "confirm")


def recover_shared(config: RunConfig, *, output: Path | None = None) -> dict[str, Any] | None:
    """Fine-tune the run's allocations in full, each shared by all processes that were launched together.

    Every process calls this with the same run; the first one writes. Finished and interrupted fine-tunes are
    continued as in a single process, and `run_experiment` continues from the result.

    Args:
        config: The run, whose steps up to the verdict are done.
        output: Folder of the run, `config.output` by default; all processes see it.

    Returns:
        The step `recover` in the first process, None in the others.

    Raises:
        InputError: If earlier steps are missing, or a batch cannot be shared by so many processes.
        CheckpointError: If the processes see different checkpoints.
    """
    compute = pick_compute(config)
    path = output or Path(config.output)
    with contextlib.ExitStack() as stack:
        group = stack.enter_context(join_process_group(device=compute.device))
        folder = RunFolder(path, config.digest(), setting=name_setting(path, config.digest()))
        if group.leads:
            _check_steps(folder)
            folder = stack.enter_context(open_run(path, config, adapt=True))
        else:  # the first process writes the log
            logging.getLogger("rankadaptor").setLevel(logging.WARNING)
        group.wait()
        finished = folder.finished("recover")
        group.wait()
        if not finished:
            _recover(folder, config, group)
        return folder.complete("recover", dict) if group.leads else None


def _recover(folder: RunFolder, config: RunConfig, group: ProcessGroup) -> None:
    compute = pick_compute(config)
    space = load_space(folder, config)
    source, _ = tune_setting(folder, config, space, setting=folder.setting, compute=compute)
    allocations = name_allocations(config, space, folder.complete("search", dict))
    if group.leads:
        choose_for_recovery(folder, config, source)
    group.wait()
    source, _ = choose_for_recovery(folder, config, source)  # reads what the first process chose

    def recover() -> dict[str, Any]:
        return recover_all(folder, config, source, allocations, group=group)

    if group.leads:
        folder.complete("recover", recover)
    else:
        recover()


def _check_steps(folder: RunFolder) -> None:
    missing = [step for step in EARLIER if not folder.finished(step)]
    if missing:
        raise InputError(
            f"{folder.path}: the steps {', '.join(missing)} are not done, and the full fine-tunes need them. "
            "Run `rankadaptor run RUN.yaml --until verdict` first, in one process."
        )
