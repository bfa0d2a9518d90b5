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
    """Make a temporary folder for what is to take a folder's place: beside it, or inside if it has to stay.

    A mount point, the working folder and a folder in a parent that cannot be written have to stay.
    """
    stays = folder.is_dir() and (
        folder.is_mount()
        or folder in (Path.cwd(), *Path.cwd().parents)
        or not os.access(folder.parent, os.W_OK)
    )
    return Path(tempfile.mkdtemp(dir=folder if stays else folder.parent, prefix=f".{folder.name}."))


def replace_folder(fresh: Path, folder: Path, *, is_stale: Callable[[str], bool]) -> None:
    """Put a complete new folder where an old one is, and keep what it does not replace.

    What is kept is linked into the new folder first. Then the two change places in one step where the system
    can do that (Linux), so that `folder` is the old one or the new one whenever a process dies; elsewhere in
    two renames. A folder that has to stay gets the files one by one, and the old ones back if that fails.

    Args:
        fresh: The new folder, made by `make_beside`; gone afterwards.
        folder: The old one, or where none is yet.
        is_stale: Whether an entry of this name belongs to what is replaced, so that it goes even if the new
            folder has none of its name.

    Raises:
        OSError: If something cannot be written; `folder` is as it was.
    """
    if not folder.exists():
        fresh.chmod(0o755)  # a temporary folder starts out private
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
    """Make an entry appear in another folder too, without copying its content where links are possible."""
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
    """Let two folders change places in one step; say whether the system can."""
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
