"""The folder of one run: its run file, its finished steps and its lock."""

from __future__ import annotations

import contextlib
import logging
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rankadaptor.config import JobConfig, describe_difference, dump_run, write_template
from rankadaptor.corpus import RecordFile
from rankadaptor.errors import InputError
from rankadaptor.files import name_storage_fault, write_bytes, write_json, write_text
from rankadaptor.pipeline.step_files import read_step
from rankadaptor.planning.folder_state import (
    EARLIER,
    LOCK,
    RUN_FILE,
    STEPS,
    FolderState,
    lock_run,
    read_folder,
    refuse_other_run,
)
from rankadaptor.progress import find_outlook, format_seconds

logger = logging.getLogger(__name__)

RESULT = "result.json"
HALF_WRITTEN = re.compile(
    r"\.(pruned|.+\.(json|jsonl|yaml|html|md|png|safetensors|adapter))\.[a-z0-9_]{8}(\.old)?"
)
"""Names of files and folders that are still being written."""
OWN = re.compile(
    r"run(-[0-9a-f]+)?\.yaml|\.lock|steps|earlier|pruned|tuning|study|scores|adapters|predictor.*|elastic.*|scores\.json|widened|rates|"
    r"importance\.safetensors|finalists|ranks|recovered|stock|stock_recovered|references|choosing|\.reference-.*|model|"
    r"model\.gguf|front\.png|adapter|super_network|super_network_training|"
    r"identity\.json|records.*\.jsonl|starts\.jsonl|result(-[0-9a-f]+)?\.json|evaluation-.*\.json|report\.html"
)
"""Names of the files that runs write into their folders."""
IDENTITY = "identity.json"
"""Digests of the model and the rows that the measurements in the folder belong to."""


@dataclass(frozen=True)
class RunFolder:
    """An output folder that holds the steps of one run.

    Attributes:
        path: The folder.
        digest: Digest of the run's configuration.
        continued: Whether the folder already held this run, with the same settings.
        setting: Setting name in the records of its trials: the digest of the run as it was begun.
        config: The run with the device and precision of the folder; None if the folder is only read.
    """

    path: Path
    digest: str
    continued: bool = False
    setting: str = ""
    config: JobConfig | None = None

    @property
    def pruned(self) -> Path:
        """The pruned model's checkpoint."""
        return self.path / "pruned"

    @property
    def records(self) -> Path:
        """The record file: one JSON object per trial and line."""
        return self.path / "records.jsonl"

    def adapter(self, name: str) -> Path:
        """The folder of a recovered adapter."""
        return self.path / "adapters" / name

    def finished(self, step: str) -> bool:
        """Tell whether a step's result is already on disk."""
        return (self.path / STEPS / f"{step}.json").exists()

    def complete(self, step: str, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return a step's result, computing it only if it is not yet on disk.

        The result gets `seconds`, the wall time of the step.
        """
        path = self.path / STEPS / f"{step}.json"
        outlook = find_outlook()
        if self.finished(step):
            logger.info("%s: already done, read from %s", step, path)
            if outlook is not None:
                outlook.skip(step)
        else:
            logger.info("%s: started", step)
            started = time.monotonic()
            with contextlib.nullcontext() if outlook is None else outlook.follow(step):
                result = compute()
            seconds = round(time.monotonic() - started, 2)
            write_json(path, {**result, "seconds": seconds})
            logger.info("%s: done in %s", step, format_seconds(seconds))
        job = "rank_search" if self.config is None else self.config.kind.name
        return read_step(path, step, job=job)  # with the same types as in a continued run


@contextlib.contextmanager
def open_run(
    path: Path, config: JobConfig, *, fresh: bool = False, adapt: bool = False
) -> Iterator[RunFolder]:
    """Open or continue the output folder of a run, for one writer at a time.

    Args:
        path: The output folder; made if absent.
        config: The run; the folder's must have the same digest.
        fresh: Delete the files of an earlier run there.
        adapt: Also continue a run with other settings of its later steps (confirm, recover, evaluate). Their
            earlier results are moved to `earlier/`, and used again if the settings are restored.

    Raises:
        InputError: If the folder holds another run (the differences are listed) or is in use, or if `fresh`
            would delete files that do not belong to a run.
        StorageError: If the folder cannot be written.
    """
    with name_storage_fault(path):
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / LOCK).open("a")
    with lock:
        with name_storage_fault(path / LOCK):
            lock_run(lock.fileno(), path)
        if fresh:
            with name_storage_fault(path):
                _clear(path)
        _sweep(path)
        state = read_folder(path, config)
        digest, continued = state.asked.digest(), False
        if state.begun is None:
            write_text(path / RUN_FILE, _write_run(config))
        elif state.begun.digest() == digest:
            continued = True
            logger.info("continuing the run in %s", path)
        else:
            if state.refused or not adapt:
                refuse_other_run(path, state)
            continued = _change(path, state)
        _bring_back(path, state)
        yield RunFolder(path, digest, continued, setting=name_setting(path, digest), config=state.asked)


def _write_run(config: JobConfig) -> str:
    """Write a run for its folder: with comments where no other file of it is there for people to edit."""
    return write_template(config) if config.kind.name == "compress" else dump_run(config)


def name_setting(path: Path, digest: str) -> str:
    """Return the setting name in the records of a run's folder; `digest` if there are none yet."""
    for file in (path / "records.jsonl", *sorted((path / "tuning").glob("rate-*.jsonl"))):
        if records := RecordFile(file).records:
            return records[0].setting
    return digest


def _change(path: Path, state: FolderState) -> bool:
    """Change the folder to the changed run; return whether it held that run before.

    If interrupted at any point, the folder belongs to the old or to the new run and no measurement is lost:
    files at their usual places always belong to `run.yaml`.
    """
    assert state.begun is not None
    old = state.begun.digest()
    for line in describe_difference(state.begun, state.asked):
        logger.info("the run in %s is continued with %s", path, line)
    for name in state.changed:
        for place in state.asked.kind.places[name]:
            _move(path / place, path / EARLIER / state.earlier[name] / place)
    for name in (RUN_FILE, RESULT):
        if (path / name).exists():
            kept = path / name.replace(".", f"-{old}.")
            with name_storage_fault(kept):
                write_bytes(kept, (path / name).read_bytes())
    before = path / RUN_FILE.replace(".", f"-{state.asked.digest()}.")
    known = before.exists()
    write_text(path / RUN_FILE, _write_run(state.asked))
    return known


def _bring_back(path: Path, state: FolderState) -> None:
    """Restore results from `earlier/` that the run needs again."""
    for name, places in state.asked.kind.places.items():
        for place in places:
            if not (path / place).exists():
                _move(path / EARLIER / state.digests[name] / place, path / place)


def _move(source: Path, target: Path) -> None:
    if not source.exists():
        return
    with name_storage_fault(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)
    logger.debug("%s is now %s", source, target)


def _clear(path: Path) -> None:
    """Empty a run's folder; if interrupted, it is still that run's folder or empty.

    Finished steps are deleted first, so that none counts as done without its files. The files that identify
    the run are deleted last, so that no other run uses the rest.
    """
    names = sorted(entry.name for entry in path.iterdir())
    foreign = [name for name in names if not (OWN.fullmatch(name) or HALF_WRITTEN.fullmatch(name))]
    if foreign:
        raise InputError(
            f"{path}: --fresh would delete {', '.join(foreign[:5])}{' …' if foreign[5:] else ''}, which "
            "is no file of a run. Choose a folder of the run's own with --set output=FOLDER, or move them."
        )
    last = {STEPS: 0, RUN_FILE: 2}
    for entry in sorted(path.iterdir(), key=lambda entry: last.get(entry.name, 1)):
        if entry.name == LOCK:
            continue
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _sweep(path: Path) -> None:
    """Remove incomplete files of a killed process; only this process writes to the folder now."""
    for entry in sorted(path.rglob(".*")):
        if not HALF_WRITTEN.fullmatch(entry.name):
            continue
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):  # a read-only file system fails at the first write
                entry.unlink(missing_ok=True)
