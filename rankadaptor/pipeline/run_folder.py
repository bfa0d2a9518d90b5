"""The folder of one run: which run it belongs to, which steps are done, and who is writing to it."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rankadaptor.config import RunConfig, describe_difference, dump_run, load_run
from rankadaptor.errors import InputError
from rankadaptor.files import name_storage_fault, read_json, write_json, write_text
from rankadaptor.progress import format_seconds

logger = logging.getLogger(__name__)

RUN_FILE = "run.yaml"
STEPS = "steps"
LOCK = ".lock"
HALF_WRITTEN = re.compile(r"\.(pruned|.+\.(json|jsonl|yaml|html|md|png|safetensors))\.[a-z0-9_]{8}(\.old)?")
"""Names that the writers of whole files and folders give to what is not whole yet."""
OWN = re.compile(
    r"run\.yaml|\.lock|steps|pruned|tuning|study|scores|adapters|predictor.*|elastic.*|scores\.json|widened|rates|"
    r"records.*\.jsonl|starts\.jsonl|result\.json|evaluation-.*\.json|report\.html"
)
"""Names of what runs put into their folders."""


@dataclass(frozen=True)
class RunFolder:
    """An output folder that holds the steps of exactly one run.

    Attributes:
        path: The folder.
        digest: Digest of the run's configuration.
        continued: Whether the run was there before.
    """

    path: Path
    digest: str
    continued: bool = False

    @property
    def pruned(self) -> Path:
        """The pruned model's checkpoint."""
        return self.path / "pruned"

    @property
    def records(self) -> Path:
        """Every trial measured, one JSON object a line."""
        return self.path / "records.jsonl"

    def adapter(self, name: str) -> Path:
        """The folder of a recovered adapter."""
        return self.path / "adapters" / name

    def finished(self, step: str) -> bool:
        """Tell whether a step's result is already on disk."""
        return (self.path / STEPS / f"{step}.json").exists()

    def complete(self, step: str, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return a step's result, computing it only if it is not yet on disk.

        The result gains `seconds`, the wall time that computing it took.
        """
        path = self.path / STEPS / f"{step}.json"
        if self.finished(step):
            logger.info("%s: already done, read from %s", step, path)
        else:
            logger.info("%s: started", step)
            started = time.monotonic()
            result = compute()
            seconds = round(time.monotonic() - started, 2)
            write_json(path, {**result, "seconds": seconds})
            logger.info("%s: done in %s", step, format_seconds(seconds))
        stored: dict[str, Any] = read_json(path)  # a continued run must not see other types than this one
        return stored


@contextlib.contextmanager
def open_run(path: Path, config: RunConfig, *, fresh: bool = False) -> Iterator[RunFolder]:
    """Open or continue the output folder of a run, for one writer at a time.

    Args:
        path: The output folder; made if absent.
        config: The run; its digest must be the folder's.
        fresh: Throw away what an earlier run left there.

    Raises:
        InputError: If the folder holds another run (the difference is listed) or is in use, or if there is
            something in a folder that `fresh` would empty that no run has put there.
        StorageError: If the folder cannot be written.
    """
    with name_storage_fault(path):
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / LOCK).open("a")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"{path}: another process is running in this folder. Wait for it, or choose another output."
            ) from error
        if fresh:
            _clear(path)
        _sweep(path)
        stored = path / RUN_FILE
        continued = stored.exists()
        if continued:
            earlier = load_run(stored)
            if earlier.digest() != config.digest():
                lines = "\n".join(f"  {line}" for line in describe_difference(earlier, config))
                raise InputError(
                    f"{path} holds another run. It differs in:\n{lines}\n"
                    "Pass --fresh to throw that run away, or choose another output with --set output=FOLDER."
                )
            logger.info("continuing the run in %s", path)
        else:
            write_text(stored, dump_run(config))
        yield RunFolder(path=path, digest=config.digest(), continued=continued)


def _clear(path: Path) -> None:
    """Empty a run's folder; cut off at any point, it still is that run's folder or an empty one.

    Finished steps go first, so that none is believed whose files are gone, and what says whose folder it is
    goes last, so that no other run takes over what is left.
    """
    names = sorted(entry.name for entry in path.iterdir())
    foreign = [name for name in names if not (OWN.fullmatch(name) or HALF_WRITTEN.fullmatch(name))]
    if foreign:
        raise InputError(
            f"{path}: --fresh would throw away {', '.join(foreign[:5])}{' …' if foreign[5:] else ''}, which "
            "no run has put there. Choose a folder of the run's own with --set output=FOLDER, or move them."
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
    """Remove the half-written files of a process that was killed; this one alone writes here now."""
    for entry in sorted(path.rglob(".*")):
        if not HALF_WRITTEN.fullmatch(entry.name):
            continue
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
