"""Files of rows: JSON Lines, JSON, plain text, tables. A fault is named with its file and line."""

from __future__ import annotations

import bz2
import contextlib
import csv
import gzip
import io
import itertools
import json
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from rankadaptor.data.columns import looks_like_columns, read_columns
from rankadaptor.errors import InputError
from rankadaptor.files import describe_encoding_fault, find_encoding, parse_json

Items = Iterator[tuple[str, Any]]

COMPRESSED: dict[str, Callable[[Path], Any]] = {
    ".gz": gzip.GzipFile,
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
}
POINTER = b"version https://git-lfs"
STARTS = {
    b"\x1f\x8b": ".gz", b"BZh": ".bz2", b"\xfd7zXZ\x00": ".xz", b"PK\x03\x04": ".zip",
    b"\x28\xb5\x2f\xfd": ".zst", b"PAR1": ".parquet",
}  # fmt: skip
"""First bytes of files that are no text."""
WRAPPERS = ("data", "rows", "examples", "train")  # keys under which a JSON object may hold the rows


def find_kind(path: Path) -> str | None:
    """Return the suffix that says what a file of rows is, in lower case and without `.gz` and the like."""
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    if len(suffixes) == 2 and suffixes[1] in COMPRESSED:
        suffixes.pop()
    return suffixes[-1] if suffixes and suffixes[-1] in READERS else None


def iterate_file(path: Path) -> Items:
    """Yield `(place, item)` for every row of a file; `place` is the file and the line or row, for messages.

    Text may be UTF-8, with or without a byte order mark, or UTF-16.

    Raises:
        InputError: If the file is missing, of another kind, or malformed.
    """
    kind = find_kind(path)
    if kind is None:
        raise InputError(f"{path}: files of rows end with {', '.join(SUFFIXES)}, or one of these and .gz.")
    if not path.is_file():
        raise InputError(f"{path}: no such file.")
    _refuse_other_content(path, kind)
    try:
        yield from READERS[kind](path)
    except UnicodeError as error:
        with open_bytes(path) as lines:
            raise InputError(describe_encoding_fault(path, lines)) from error
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise InputError(
            f"{path}: not a whole compressed file ({error}). Copy or compress it again."
        ) from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}).") from error


def _refuse_other_content(path: Path, kind: str) -> None:
    """Refuse files whose content does not fit their name: compressed data, a Git LFS pointer.

    Raises:
        InputError: If it is one of these.
    """
    try:
        with path.open("rb") as stream:
            start = stream.read(len(POINTER))
    except OSError:
        return  # reported when it is read
    if start == POINTER:
        raise InputError(
            f"{path}: a Git LFS pointer, not the file itself: the repository was cloned without its large "
            "files. Run `git lfs pull` in it, or download the file."
        )
    if path.suffix.lower() in COMPRESSED or kind == ".parquet":
        return
    for begin, suffix in STARTS.items():
        if start.startswith(begin):
            what = (
                f"name it {path.name}{suffix}"
                if suffix in (*COMPRESSED, *READERS)
                else f"unpack it, or save it as {kind}"
            )
            raise InputError(f"{path}: holds {suffix} data, not text: {what}.")


def open_bytes(path: Path) -> IO[bytes]:
    """Open a file for reading, decompressed."""
    opener = COMPRESSED.get(path.suffix.lower())
    stream: IO[bytes] = opener(path) if opener else path.open("rb")
    return stream


@contextlib.contextmanager
def _open_text(path: Path, *, newline: str | None = None) -> Iterator[io.TextIOWrapper]:
    with open_bytes(path) as stream:
        start = stream.read(4)
        stream.seek(0)
        yield io.TextIOWrapper(stream, encoding=find_encoding(start), newline=newline)


def _iterate_json_lines(path: Path) -> Items:
    with _open_text(path) as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            place = f"{path}:{number}"
            try:
                yield place, json.loads(line, object_pairs_hook=_take_each_once)
            except json.JSONDecodeError as error:
                remedy = (
                    "If the file is one JSON list, name it .json."
                    if line.lstrip().startswith("[")
                    else "A line is one JSON object."
                )
                raise InputError(
                    f"{place}: not valid JSON ({error.msg}, column {error.colno}). {remedy}"
                ) from error
            except (RecursionError, ValueError) as error:
                raise InputError(f"{place}: not usable JSON ({error}).") from error


def _take_each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object and refuse duplicate keys, of which JSON would keep only the last."""
    made = dict(pairs)
    if len(made) != len(pairs) and (repeated := _find_repeated(name for name, _ in pairs)):
        raise ValueError(f"the key {repeated!r} is given twice: keep one")
    return made


def _find_repeated(names: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen and name:  # columns without a name are not read
            return name
        seen.add(name)
    return None


def _iterate_json(path: Path) -> Items:
    """Read a list of rows, an object that holds one, an object of columns, or lines as in JSON Lines."""
    with _open_text(path) as stream:
        text = stream.read()
    if _is_lines(text):
        yield from _iterate_json_lines(path)
        return
    value = parse_json(text, path=path, object_pairs_hook=_take_each_once)
    if isinstance(value, dict):
        held = [key for key in WRAPPERS if isinstance(value.get(key), list)]
        if len(held) == 1 and all(isinstance(item, dict) for item in value[held[0]]):
            value = value[held[0]]
        elif looks_like_columns(value):
            value = list(read_columns(value, label=str(path)))
        else:
            value = [value]  # one row
    if not isinstance(value, list):
        raise InputError(f"{path}: holds {type(value).__name__} instead of a list of rows.")
    for number, item in enumerate(value):
        yield f"{path} row {number}", item


def _is_lines(text: str) -> bool:
    """Whether the first line is a whole JSON object and more follows."""
    first, _, rest = text.lstrip().partition("\n")
    if not first.startswith("{") or not rest.strip():
        return False
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        return False
    return True


def _iterate_lines(path: Path) -> Items:
    with _open_text(path) as lines:
        for number, line in enumerate(lines, start=1):
            if text := line.strip():
                yield f"{path}:{number}", text


def _iterate_table(path: Path) -> Items:
    """Read values separated by commas, semicolons (usual in Europe) or tabs; the first line has names."""
    csv.field_size_limit(2**31 - 1)  # some texts are longer than the default
    with _open_text(path, newline="") as stream:
        header = stream.readline()
        marks = "\t" if find_kind(path) == ".tsv" else ",;\t"
        reader = csv.reader(
            itertools.chain([header], stream), delimiter=max(marks, key=header.count), strict=True
        )
        try:
            names = next(reader, [])
            if (repeated := _find_repeated(names)) is not None:
                raise InputError(
                    f"{path}:1: two columns are named {repeated!r}, and only one would be read. Rename one."
                )
            for cells in reader:
                if not cells:
                    continue
                place = f"{path}:{reader.line_num}"
                if len(cells) != len(names):
                    raise InputError(
                        f"{place}: {len(cells)} values, but the first line names {len(names)} columns "
                        f"({', '.join(names)}). Put quotes around texts with {reader.dialect.delimiter!r}."
                    )
                yield place, dict(zip(names, cells, strict=True))
        except csv.Error as error:
            raise InputError(f"{path}:{reader.line_num}: not a table ({error}). Save it again.") from error


def _iterate_parquet(path: Path) -> Items:
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches():
                for item in batch.to_pylist():
                    yield f"{path} row {number}", item
                    number += 1
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{path}: not a readable Parquet file ({error}).") from error


READERS: dict[str, Callable[[Path], Items]] = {
    ".jsonl": _iterate_json_lines,
    ".ndjson": _iterate_json_lines,
    ".json": _iterate_json,
    ".txt": _iterate_lines,
    ".csv": _iterate_table,
    ".tsv": _iterate_table,
    ".parquet": _iterate_parquet,
}
SUFFIXES = tuple(READERS)
