"""Replace a model's files in a folder that may hold other files too."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path

_AT_FDCWD = -100
_EXCHANGE = 2  # RENAME_EXCHANGE


def make_beside(folder: Path) -> Path:
    """Make a temporary folder for the replacement of a folder: beside it, or inside if it cannot be renamed.

    A mount point, the working folder and a folder in a read-only parent cannot be renamed.
    """
    stays = folder.is_dir() and (
        folder.is_mount()
        or folder in (Path.cwd(), *Path.cwd().parents)
        or not os.access(folder.parent, os.W_OK)
    )
    return Path(tempfile.mkdtemp(dir=folder if stays else folder.parent, prefix=f".{folder.name}."))


def replace_folder(fresh: Path, folder: Path, *, is_stale: Callable[[str], bool]) -> None:
    """Replace a folder by a complete new one, and keep the other files of the old one.

    Files to keep are linked into the new folder first. Then the two folders are exchanged: atomically where
    the system can (Linux), so that a crash leaves either the old or the new one, and with two renames
    elsewhere. In a folder that cannot be renamed, files are moved one by one, and the old ones are restored
    if that fails.

    Args:
        fresh: The new folder, made by `make_beside`; it no longer exists afterwards.
        folder: The folder to replace; it may not exist yet.
        is_stale: Whether an old entry of this name is deleted even if the new folder has none.

    Raises:
        OSError: If something cannot be written; `folder` is unchanged.
    """
    if not folder.exists():
        fresh.chmod(0o755)  # a temporary folder is private at first
        fresh.rename(folder)
        return
    made = {entry.name for entry in fresh.iterdir()}
    if fresh.parent == folder:
        _move_files(fresh, folder, made=made, is_stale=is_stale)
        return
    fresh.chmod(stat.S_IMODE(folder.stat().st_mode))
    for entry in folder.iterdir():
        if entry.name not in made and not is_stale(entry.name):
            _link(entry, fresh / entry.name)
    if not _exchange(fresh, folder):
        old = fresh.with_name(fresh.name + ".old")
        folder.rename(old)
        try:
            fresh.rename(folder)
        except OSError:
            old.rename(folder)
            raise
        fresh = old
    shutil.rmtree(fresh, ignore_errors=True)


def _link(source: Path, target: Path) -> None:
    """Link an entry into another folder, or copy it where links are not possible."""
    if source.is_dir() and not source.is_symlink():
        shutil.copytree(source, target, symlinks=True, copy_function=_link_file)
    else:
        _link_file(source, target)


def _link_file(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise
        shutil.copy2(source, target, follow_symlinks=False)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two folders atomically; return whether the system can."""
    if not sys.platform.startswith("linux"):
        return False
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)  # glibc since 2.28, musl since 1.2
    if rename is None:
        return False
    return bool(rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _EXCHANGE) == 0)


def _move_files(fresh: Path, folder: Path, *, made: Collection[str], is_stale: Callable[[str], bool]) -> None:
    aside = fresh.with_name(fresh.name + ".old")
    aside.mkdir()
    with contextlib.ExitStack() as back:
        back.callback(aside.rmdir)
        for entry in sorted(folder.iterdir()):
            if entry not in (aside, fresh) and (entry.name in made or is_stale(entry.name)):
                entry.rename(aside / entry.name)
                back.callback((aside / entry.name).rename, entry)
        for name in sorted(made):
            (fresh / name).rename(folder / name)
            back.callback((folder / name).rename, fresh / name)
        back.pop_all()
    shutil.rmtree(aside, ignore_errors=True)
