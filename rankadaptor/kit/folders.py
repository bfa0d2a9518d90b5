"""Cache folders that are either whole or absent, built once, by one process at a time."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rankadaptor.errors import InputError, StorageError
from rankadaptor.files import compute_file_sha256, name_storage_fault, read_json, write_json

logger = logging.getLogger(__name__)

MARKER = "complete.json"
SPARE_MEGABYTES = 200


def find_fault(folder: Path, *, digest: str, thorough: bool = False) -> str | None:
    """Say what is wrong with a built folder, or None if it is whole.

    Args:
        folder: A folder that `ensure_folder` built, or not yet.
        digest: Names the content that it must hold.
        thorough: Compare every file's SHA-256 too, not only its size.
    """
    if not folder.is_dir():
        return "absent"
    try:
        marker: Any = read_json(folder / MARKER)
        expected = marker["files"]
        if marker["digest"] != digest:
            return "built from another version"
        for name, facts in expected.items():
            path = folder / name
            if not path.is_file():
                return f"{name} is missing"
            if path.stat().st_size != facts["bytes"]:
                return f"{name} has {path.stat().st_size} bytes instead of {facts['bytes']}"
            if thorough and compute_file_sha256(path) != facts["sha256"]:
                return f"{name} has changed"
    except (InputError, KeyError, TypeError, AttributeError):
        return "unfinished"
    return None


def ensure_folder(folder: Path, *, digest: str, megabytes: float, fill: Callable[[Path], None]) -> Path:
    """Return `folder`, building it first if it is absent, unfinished or damaged.

    `fill` writes into a temporary folder beside it, which is renamed once it is whole: a killed process
    leaves nothing that looks finished, and what it left is removed the next time.

    Args:
        folder: Where the content belongs.
        digest: Names the content; a folder built under another digest is built again.
        megabytes: Disk space that `fill` needs at most, checked beforehand.
        fill: Writes all files into the folder that it is given.

    Raises:
        StorageError: If the disk is too full or cannot be written.
    """
    if find_fault(folder, digest=digest) is None:
        return folder
    with name_storage_fault(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with lock(folder.parent / f".{folder.name}.lock"):
            fault = find_fault(folder, digest=digest)
            if fault is None:  # another process built it while this one waited
                return folder
            if fault != "absent":
                logger.warning("%s: %s; building it again", folder.name, fault)
            remove_leftovers(folder)
            check_space(folder.parent, megabytes)
            with tempfile.TemporaryDirectory(
                dir=folder.parent, prefix=f".{folder.name}.partial-"
            ) as temporary:
                content = Path(temporary) / "content"
                content.mkdir()
                fill(content)
                files = sorted(path for path in content.rglob("*") if path.is_file())
                for path in files:
                    path.chmod(0o644)
                facts = {
                    path.relative_to(content).as_posix(): {
                        "bytes": path.stat().st_size,
                        "sha256": compute_file_sha256(path),
                    }
                    for path in files
                }
                write_json(content / MARKER, {"digest": digest, "files": facts})
                if folder.exists():
                    shutil.rmtree(folder)
                content.rename(folder)
    return folder


def remove_leftovers(folder: Path) -> None:
    """Remove what a killed process left beside `folder`; only while holding its lock."""
    for leftover in folder.parent.glob(f".{folder.name}.partial-*"):
        shutil.rmtree(leftover, ignore_errors=True)


def check_space(folder: Path, megabytes: float) -> None:
    """Check that the disk of `folder` has room.

    Raises:
        StorageError: If less than `megabytes` and a reserve are free; the message names the remedy.
    """
    free = shutil.disk_usage(folder).free / 1e6
    if free < megabytes + SPARE_MEGABYTES:
        raise StorageError(
            f"{folder}: {free:.0f} MB free, {megabytes + SPARE_MEGABYTES:.0f} MB needed. "
            "Free space, or set RANKADAPTOR_HOME to a folder on another disk."
        )


@contextlib.contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold an exclusive lock between processes; it ends with the process, however that ends."""
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info(
                "waiting for another process that is preparing %s", path.name.strip(".").removesuffix(".lock")
            )
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
