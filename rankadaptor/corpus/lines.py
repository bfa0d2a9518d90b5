"""JSON Lines that survive a crash: an incomplete last line is dropped; other faults name their line."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rankadaptor.errors import CorpusError
from rankadaptor.files import append_line, dump_json, name_storage_fault

if sys.platform != "win32":
    import fcntl

logger = logging.getLogger(__name__)


def read_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield number and value of each line, counted from 1; blank lines are skipped.

    A last line without a newline that is not JSON was cut off by a crash while it was written. It is skipped
    with a warning, and its measurement counts as missing. `remove_incomplete_line` removes it.

    Raises:
        CorpusError: If another line is not JSON, or the file is not UTF-8; the message names file and line.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read ({error.strerror or error}). Check the path.") from error
    lines = content.split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line.decode("utf-8"))
        except ValueError as error:
            if number == len(lines):
                logger.warning(
                    "%s:%d: the last line was cut off while it was written and is skipped", path, number
                )
                return
            raise CorpusError(
                f"{path}:{number}: not valid JSON ({error}). Correct this line or delete it; the lines "
                "before it are valid."
            ) from error
        yield number, value


def append_json(path: Path, value: dict[str, Any]) -> None:
    """Append one object as one line, after removing an incomplete last line.

    Raises:
        StorageError: If the folder cannot be written or the disk is full; the file is then as it was.
    """
    with lock_file(path):
        append_locked(path, value)


def append_locked(path: Path, value: dict[str, Any]) -> None:
    """Append one object as `append_json` does, in a block of `lock_file`."""
    line = dump_json(value, name=str(path), separators=(",", ":"))
    remove_incomplete_line(path)
    append_line(path, line)


@contextlib.contextmanager
def lock_file(path: Path) -> Iterator[None]:
    """Lock a file against appends of other processes, whose unfinished lines would look cut off.

    The file is created if it does not exist. A process must not lock it twice.

    Raises:
        StorageError: If the file cannot be written.
    """
    if sys.platform == "win32":  # not supported there: only one process may write a file
        yield
        return
    with contextlib.ExitStack() as stack:
        with name_storage_fault(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            stream = stack.enter_context(path.open("ab"))
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def remove_incomplete_line(path: Path) -> None:
    """Remove an incomplete last line; a complete one that only lacks its newline stays."""
    if not path.exists():
        return
    with name_storage_fault(path), path.open("rb+") as stream:
        size = stream.seek(0, os.SEEK_END)
        if not size:
            return
        stream.seek(size - 1)
        if stream.read(1) == b"\n":
            return
        stream.seek(0)
        content = stream.read()
        start = content.rfind(b"\n") + 1
        try:
            json.loads(content[start:].decode("utf-8"))
        except ValueError:
            logger.warning("%s: removed an incomplete last line of %d bytes", path, size - start)
            stream.truncate(start)
