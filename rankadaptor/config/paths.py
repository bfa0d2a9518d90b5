"""Resolving the paths of a run file: `~` is the home folder, and inputs may be beside the run file.

Inputs (model, rows, task files, a predictor) are searched beside the run file first, then in the working
folder. Outputs (results, corpus, tracking store) are relative to the working folder. The run keeps the paths
as they were written, so its digest does not depend on the machine.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SQLITE = "sqlite:///"

Found = dict[str, tuple[Any, Any]]
"""For each key whose path was changed what it leads to, and what was written."""


@dataclass(frozen=True)
class PathKeys:
    """Dotted keys of a run file that hold paths; a key may hold a list of them.

    Attributes:
        read: Models and rows.
        written: Folders that the run writes to.
        tasks: Names of benchmarks or task files.
    """

    read: tuple[str, ...]
    written: tuple[str, ...]
    tasks: tuple[str, ...] = ()


def follow_paths(
    values: dict[str, Any], *, folder: Path | None, keys: PathKeys
) -> tuple[dict[str, Any], Found]:
    """Return the values with their paths followed, and what was changed.

    Args:
        values: A whole run as nested values.
        folder: Where the run file lies; None if there is no file.
        keys: Which of them are paths.
    """
    followed, found = copy.deepcopy(values), Found()

    def keep(key: str, section: dict[str, Any], leaf: str, follow: Callable[[str], str]) -> None:
        given = section[leaf]
        value = [follow(each) for each in given] if isinstance(given, list) else follow(given)
        if value != given:
            section[leaf] = value
            found[key] = (value, given)

    for key, section, leaf in _list_given(followed, (*keys.read, *keys.tasks, *keys.written)):
        if key in keys.written:
            keep(key, section, leaf, expand_home)
        elif key in keys.tasks:
            keep(key, section, leaf, lambda text: find_task(text, folder=folder))
        else:
            keep(key, section, leaf, lambda text: find_input(text, folder=folder))
    return followed, found


def expand_home(text: str) -> str:
    """Replace a leading `~`; a name that is no user's is left as it is."""
    scheme, path = (SQLITE, text.removeprefix(SQLITE)) if text.startswith(SQLITE) else ("", text)
    if not path.startswith("~"):
        return text
    try:
        return f"{scheme}{Path(path).expanduser()}"
    except RuntimeError:  # no such user
        return text


def find_input(text: str, *, folder: Path | None) -> str:
    """Return the path of something that is read, as written where it is found from the working folder.

    Names that are no paths (`kit:`, `hub:`, a hub's model) come back unchanged, unless a file beside the run
    file has that name.
    """
    path = expand_home(text)
    if folder is None or path != text or text.startswith(("kit:", "hub:")) or Path(text).is_absolute():
        return path
    beside = folder / text
    if not beside.exists() or beside.resolve() == Path(text).resolve():
        return text
    return str(beside.absolute())


def find_task(text: str, *, folder: Path | None) -> str:
    """Return the path of a task file; names of benchmarks come back unchanged."""
    return find_input(text, folder=folder) if text.endswith((".yaml", ".yml")) else text


def _list_given(values: dict[str, Any], keys: tuple[str, ...]) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield each key that has a value, the section it stands in, and its name there."""
    for key in keys:
        *sections, leaf = key.split(".")
        section: Any = values
        for name in sections:
            section = section.get(name) if isinstance(section, dict) else None
        if isinstance(section, dict) and section.get(leaf) is not None:
            yield key, section, leaf
