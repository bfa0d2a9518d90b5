"""JSON Lines that survive a crash: a torn last line is dropped, any other fault is named with its line."""

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

    A last line without its end of line that is not JSON was torn by a crash while it was written: it is
    skipped with a warning, because what it would have recorded counts as not measured. `mend_tail` removes
    it.

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
                logger.warning("%s:%d: the last line is torn and not counted", path, number)
                return
            raise CorpusError(
                f"{path}:{number}: not valid JSON ({error}). Correct this line or delete it; the others are "
                "sound."
            ) from error
        yield number, value


def append_json(path: Path, value: dict[str, Any]) -> None:
    """Append one object as one line, after removing what a crash left half written.

    Raises:
        StorageError: If the folder cannot be written or the disk is full; the file is then as it was.
    """
    with hold(path):
        append_held(path, value)


def append_held(path: Path, value: dict[str, Any]) -> None:
    """Append one object as `append_json` does, inside `hold`."""
    line = dump_json(value, name=str(path), separators=(",", ":"))
    mend_tail(path)
    append_line(path, line)


@contextlib.contextmanager
def hold(path: Path) -> Iterator[None]:
    """Keep other processes from appending meanwhile: what looks torn could be a line they are writing.

    The file is made if it is not there. It must not be held twice.

    Raises:
        StorageError: If the file cannot be written.
    """
    if sys.platform == "win32":  # one process at a time writes a file there
        yield
        return
    with contextlib.ExitStack() as stack:
        with name_storage_fault(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            stream = stack.enter_context(path.open("ab"))
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def mend_tail(path: Path) -> None:
    """Cut a torn last line off; a last line that only lacks its end of line stays."""
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
            logger.warning("%s: removed a torn last line of %d bytes", path, size - start)
            stream.truncate(start)
