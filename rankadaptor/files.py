"""Files that are either whole or absent, and digests that name content."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import shlex
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rankadaptor.errors import CheckpointError, InputError, NonFiniteError, StorageError

if sys.platform != "win32":
    import fcntl


def compute_digest(value: Any, *, length: int = 16) -> str:
    """Name a JSON-like value by the start of the SHA-256 of its canonical form."""
    canonical = dump_json(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:length]


def compute_file_sha256(path: Path) -> str:
    """Return the full SHA-256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while chunk := handle.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def compare_sha256(folder: Path, stored: Mapping[str, str], *, remedy: str) -> None:
    """Check that files of a folder are what was written, by their stored SHA-256.

    Args:
        folder: Where they lie.
        stored: Path below the folder → SHA-256.
        remedy: What to do about a difference; the end of the message.

    Raises:
        CheckpointError: If a file is missing or has another content; the message names it.
    """
    for name, wanted in stored.items():
        path = folder / name
        if not path.is_file():
            raise CheckpointError(f"{path}: missing. {remedy}")
        if (found := compute_file_sha256(path)) != wanted:
            raise CheckpointError(
                f"{path}: not what was written (SHA-256 stored {wanted[:16]}…, found {found[:16]}…). {remedy}"
            )


@contextlib.contextmanager
def name_storage_fault(path: Path) -> Iterator[None]:
    """Turn an operating-system error while writing into a `StorageError` that names `path` and the remedy."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(
            f"{path}: cannot be written ({error.strerror or error}). Nothing already measured is lost. "
            "Free space or choose a writable folder, then run the same command again."
        ) from error
    except Exception as error:
        # Libraries in Rust (tokenizers, safetensors) raise classes of their own around the same faults.
        if "(os error " not in str(error):
            raise
        raise StorageError(
            f"{path}: cannot be written ({error}). Nothing already measured is lost. "
            "Free space or choose a writable folder, then run the same command again."
        ) from error


@contextlib.contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Keep other processes that ask for the same folder waiting; the lock ends with the process, however.

    For files that are read, changed and written again by whoever is done first.

    Raises:
        StorageError: If the folder cannot be made.
    """
    if sys.platform == "win32":  # folders cannot be locked there: one process at a time
        yield
        return
    with name_storage_fault(folder):
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside a file; what is written there takes the file's place if no error occurs.

    A reader sees the old content or the new, never a part.

    Raises:
        StorageError: If the folder cannot be written or the disk is full.
    """
    with name_storage_fault(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            with temporary.open("r+b") as stream:
                os.fsync(stream.fileno())
            temporary.chmod(0o644)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part.

    Raises:
        StorageError: If the folder cannot be written or the disk is full.
    """
    with replace_file(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically; see `write_bytes`."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically, keys in the order given; see `write_bytes`.

    Raises:
        NonFiniteError: If a number is NaN or infinite; the message names its place.
        StorageError: If the folder cannot be written or the disk is full.
    """
    write_text(path, dump_json(value, name=str(path), indent=2) + "\n")


def dump_json(value: Any, *, name: str = "JSON", **options: Any) -> str:
    """Return a value as JSON, which knows no NaN and no infinity.

    Args:
        value: What is to be written.
        name: What an error calls the place it was meant for.
        **options: For `json.dumps`.

    Raises:
        NonFiniteError: If a number is NaN or infinite; the message names its place.
    """
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, **options)
    except ValueError as error:
        place = _find_nonfinite(value)
        if place is None:
            raise
        raise NonFiniteError(
            f"{name}: not written, because {place[0] or 'the value'} is {place[1]} and only finite numbers "
            "can be stored. What was there before is untouched. Find out why it is not finite: broken "
            "weights, a learning rate that is too high, or a precision that overflows (compute.dtype: "
            "float32)."
        ) from error


def _find_nonfinite(value: Any, place: str = "") -> tuple[str, float] | None:
    if isinstance(value, float):
        return None if math.isfinite(value) else (place, value)
    if isinstance(value, Mapping):
        entries = [(f"{place}.{key}" if place else str(key), entry) for key, entry in value.items()]
    elif isinstance(value, list | tuple):
        entries = [(f"{place}[{index}]", entry) for index, entry in enumerate(value)]
    else:
        return None
    found = (_find_nonfinite(entry, name) for name, entry in entries)
    return next((each for each in found if each is not None), None)


def read_json(path: Path) -> Any:
    """Read JSON in UTF-8, with or without a byte order mark, or in UTF-16 or UTF-32.

    Raises:
        InputError: If the file is missing or malformed; the message names the line.
    """
    return parse_json(read_text(path), path=path)


def parse_json(text: str, *, path: Path, **options: Any) -> Any:
    """Parse the JSON text of a file; `options` are those of `json.loads`.

    Raises:
        InputError: If it is malformed; the message names the file and the line.
    """
    try:
        return json.loads(text, **options)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}: not valid JSON ({error.msg}).") from error
    except (RecursionError, ValueError) as error:  # nested without end; a number of thousands of digits
        raise InputError(f"{path}: not usable JSON ({error}).") from error


def read_text(path: Path) -> str:
    """Read a text file in UTF-8, with or without a byte order mark, or in UTF-16 or UTF-32.

    Raises:
        InputError: If the file is missing, cannot be read, or has another encoding.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file.") from error
    except IsADirectoryError as error:
        raise InputError(f"{path}: a folder, not a file. Give a file in it.") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}).") from error
    try:
        return content.decode(find_encoding(content))
    except UnicodeDecodeError as error:
        raise InputError(describe_encoding_fault(path, content.split(b"\n"))) from error


@contextlib.contextmanager
def plain_texts(folder: Path) -> Iterator[Path]:
    """Yield a folder whose JSON and text files are UTF-8 without a byte order mark.

    That is the folder itself, or where a file is not, a temporary folder with converted copies of such files
    and links to all others: transformers refuses marks, or takes them for a part of a chat template.

    Raises:
        InputError: If a file has neither UTF-8 nor UTF-16 nor UTF-32.
    """
    texts = [
        path for path in folder.iterdir() if path.suffix in (".json", ".jinja", ".txt") and path.is_file()
    ]
    marked = [path for path in texts if _read_encoding(path) != "utf-8"]
    with contextlib.ExitStack() as stack:
        readable = folder
        if marked:
            readable = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            for path in folder.iterdir():
                if path in marked:
                    (readable / path.name).write_text(read_text(path), encoding="utf-8")
                else:
                    (readable / path.name).symlink_to(path.resolve())
        try:
            yield readable
        except UnicodeDecodeError:
            for path in texts:  # the one that cannot be read is named
                read_text(path)
            raise


def _read_encoding(path: Path) -> str:
    with path.open("rb") as stream:
        return find_encoding(stream.read(4))


def find_encoding(start: bytes) -> str:
    """Return the encoding of a text file by its first bytes: a byte order mark or zeros, else UTF-8."""
    return json.detect_encoding(start[:4])


def describe_encoding_fault(path: Path, lines: Iterable[bytes]) -> str:
    """Say which line of a file is not UTF-8, which encoding it looks like, and how to convert the file."""
    number, byte, guess = 0, b"", "LATIN1"
    for number, line in enumerate(lines, start=1):
        if number == 1 and (marked := find_encoding(line)) not in ("utf-8", "utf-8-sig"):
            return f"{path}: begins like {marked.upper()}, but is not. Save it as UTF-8."
        try:
            line.decode()
        except UnicodeDecodeError as error:
            byte = line[error.start : error.start + 1]
            if any(
                0x80 <= value < 0xA0 for value in line
            ):  # control characters in Latin-1, quotes in the other
                guess = "CP1252"
            break
    target = path.with_name(f"{path.stem}-utf8{path.suffix}")
    name = {"LATIN1": "Latin-1 (ISO 8859-1)", "CP1252": "Windows-1252"}[guess]
    return (
        f"{path}:{number}: not UTF-8 text (byte 0x{byte.hex()}); it looks like {name}. Convert it: "
        f"iconv -f {guess} -t UTF-8 {shlex.quote(str(path))} > {shlex.quote(str(target))}"
    )


def append_line(path: Path, line: str) -> None:
    """Append one line and force it to disk before returning.

    A line torn by a crash before is closed first, so that it spoils only itself.

    Raises:
        StorageError: If the folder cannot be written or the disk is full.
    """
    with name_storage_fault(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Unbuffered: closing a buffer would write the rest of a line that failed.
        with path.open("ab+", buffering=0) as stream:
            torn = False
            if stream.seek(0, os.SEEK_END):
                stream.seek(-1, os.SEEK_END)
                torn = stream.read(1) != b"\n"
            start = stream.seek(0, os.SEEK_END)
            try:
                rest = memoryview((b"\n" if torn else b"") + line.encode() + b"\n")
                while rest:
                    rest = rest[stream.write(rest) :]
                os.fsync(stream.fileno())
            except OSError:
                os.ftruncate(stream.fileno(), start)
                raise
