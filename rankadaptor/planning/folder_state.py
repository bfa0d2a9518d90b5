"""State of a run's output folder: its run, its finished steps, and the steps that a change would repeat."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from rankadaptor.config import JobConfig, describe_difference, digest_steps, load_job
from rankadaptor.config.steps import is_fixed
from rankadaptor.errors import ConfigError, InputError
from rankadaptor.files import name_storage_fault, read_json

RUN_FILE = "run.yaml"
STEPS = "steps"
LOCK = ".lock"
EARLIER = "earlier"
"""Folder for results of steps with earlier settings, each under the digest of its inputs."""


@dataclass(frozen=True)
class FolderState:
    """A run's folder, compared with a requested run.

    Attributes:
        begun: The run that the folder holds, or None.
        asked: The requested run, written as in the folder: a run with automatic precision or device equals
            one that names the chosen value.
        refused: Differences that need a new folder, one per line.
        changed: Steps, or parts of them, whose inputs differ from those in the folder.
        digests: Digest of the inputs of each step of `asked`.
        earlier: The same of `begun`.
    """

    begun: JobConfig | None
    asked: JobConfig
    refused: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    digests: Mapping[str, str] = field(default_factory=dict)
    earlier: Mapping[str, str] = field(default_factory=dict)


def read_folder(folder: Path, config: JobConfig) -> FolderState:
    """Compare a folder with a run.

    Raises:
        ConfigError: If the folder's own run file cannot be read.
    """
    digests = digest_steps(config)
    file = folder / RUN_FILE
    if not file.exists():
        return FolderState(None, config, digests=digests)
    try:
        begun = load_job(file)
    except ConfigError as error:
        raise ConfigError(
            f"{file}, the run file of this folder",
            [*error.faults, "Repair it, start over with --fresh, or choose another output."],
        ) from error
    if begun.kind is not config.kind:
        other = (f"job {begun.kind.name} → {config.kind.name}",)
        return FolderState(begun, config, other, (), digests, digests)
    asked = _adopt_choices(folder, begun, config)
    digests, earlier = digest_steps(asked), digest_steps(begun)
    refused: tuple[str, ...] = ()
    if any(digests[step] != earlier[step] for step in asked.kind.fixed):
        refused = tuple(
            describe_difference(begun, asked, only=lambda key: is_fixed(begun, key) or is_fixed(asked, key))
            or describe_difference(begun, asked)
        )
    changed = tuple(name for name in asked.kind.places if digests[name] != earlier[name])
    return FolderState(begun, asked, refused, changed, digests, earlier)


def refuse_other_run(folder: Path, state: FolderState) -> NoReturn:
    """Refuse to continue a run in a folder, with the reason.

    Raises:
        InputError: Always.
    """
    assert state.begun is not None
    differences = state.refused or describe_difference(state.begun, state.asked)
    lines = "\n".join(f"  {line}" for line in differences)
    raise InputError(
        f"{folder} holds another run. It differs in:\n{lines}\n"
        "Pass --fresh to delete that run, or choose another output with --set output=FOLDER."
    )


def lock_run(handle: int, folder: Path) -> None:
    """Lock a run's folder for as long as the file of `handle` is open.

    Raises:
        InputError: If another process has it.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise InputError(
            f"{folder}: another process is running in this folder. Wait for it, or choose another output."
        ) from error


def check_output(folder: Path, config: JobConfig, *, fresh: bool = False, adapt: bool = False) -> None:
    """Check whether a run could begin or continue in a folder, without changing it.

    Args:
        folder: The output folder.
        config: The run.
        fresh: Whether existing files will be deleted.
        adapt: Whether later steps may have other settings.

    Raises:
        InputError: If the folder is in use or holds another run.
        StorageError: If it cannot be written.
    """
    with name_storage_fault(folder):
        there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        if not there.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{there} is a file")
        if not os.access(there, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, f"no permission to write into {there}")
        if (folder / LOCK).exists():
            with (folder / LOCK).open("a") as lock:
                lock_run(lock.fileno(), folder)
    if not fresh:
        state = read_folder(folder, config)
        if state.refused or (state.begun and not adapt and state.begun.digest() != state.asked.digest()):
            refuse_other_run(folder, state)


def is_done(folder: Path, state: FolderState, step: str) -> bool:
    """Tell whether the folder holds the result of a step with its present settings."""
    if state.begun is None or state.refused:
        return False
    place = f"{STEPS}/{step}.json"
    if (folder / EARLIER / state.digests.get(step, "-") / place).exists():
        return True
    return step not in state.changed and (folder / place).exists()


def _adopt_choices(folder: Path, begun: Any, config: Any) -> Any:
    """Write `auto`, or the value that it chose, as the folder's run file does."""
    chosen = _read_choices(folder)
    same: dict[str, str] = {}
    for key in ("dtype", "device"):
        there, here = getattr(begun.compute, key), getattr(config.compute, key)
        # When the run continues, the choice of `auto` on this machine is compared with the stored one.
        if there != here and (here == "auto" or (there == "auto" and chosen.get(key, here) == here)):
            same[key] = there
    if not same:
        return config
    return config.model_copy(update={"compute": config.compute.model_copy(update=same)})


def _read_choices(folder: Path) -> dict[str, str]:
    """Return the device and the precision that the folder's run began with, if they are stored."""
    try:
        prepared = read_json(folder / STEPS / "prepare.json")
    except InputError:
        return {}
    chosen = prepared.get("compute") if isinstance(prepared, dict) else None
    return dict(chosen) if isinstance(chosen, dict) else {}
