"""Files of rows: JSON Lines, JSON, plain text, Parquet. A fault is named with its file and line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rankadaptor.errors import InputError
from rankadaptor.files import read_json

Items = Iterator[tuple[str, Any]]


def iterate_file(path: Path) -> Items:
    """Yield `(place, item)` for every row of a file; `place` is the file and the line or row, for messages.

    Raises:
        InputError: If the file is missing, of another kind, or malformed.
    """
    if path.suffix not in READERS:
        raise InputError(f"{path}: files of rows end with {', '.join(SUFFIXES)}.")
    if not path.is_file():
        raise InputError(f"{path}: no such file.")
    try:
        yield from READERS[path.suffix](path)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text (byte {error.start}). Save it as UTF-8.") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}).") from error


def _iterate_json_lines(path: Path) -> Items:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            place = f"{path}:{number}"
            try:
                yield place, json.loads(line)
            except json.JSONDecodeError as error:
                raise InputError(
                    f"{place}: not valid JSON ({error.msg}, column {error.colno}). A line is one JSON object."
                ) from error


def _iterate_json(path: Path) -> Items:
    value = read_json(path)
    if not isinstance(value, list):
        raise InputError(f"{path}: holds {type(value).__name__} instead of a list of rows.")
    for number, item in enumerate(value):
        yield f"{path} row {number}", item


def _iterate_lines(path: Path) -> Items:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if text := line.strip():
                yield f"{path}:{number}", text


def _iterate_parquet(path: Path) -> Items:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{path}: not a readable Parquet file ({error}).") from error
    for number, item in enumerate(table.to_pylist()):
        yield f"{path} row {number}", item


READERS: dict[str, Callable[[Path], Items]] = {
    ".jsonl": _iterate_json_lines,
    ".json": _iterate_json,
    ".txt": _iterate_lines,
    ".parquet": _iterate_parquet,
}
SUFFIXES = tuple(READERS)
