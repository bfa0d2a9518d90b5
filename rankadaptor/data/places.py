"""Sources of rows by name: kit, hub, files, folders and patterns."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rankadaptor.data.columns import iterate_memory
from rankadaptor.data.row_files import SUFFIXES, find_kind, iterate_file
from rankadaptor.errors import InputError, StorageError
from rankadaptor.kit import load_kit_rows

Items = Iterator[tuple[str, Any]]
KIT, HUB = "kit", "hub"
LONGEST_NAME = 4096
ARROW_FILE, PARTS_FILE = "state.json", "dataset_dict.json"  # what save_to_disk writes


def label_source(source: Any) -> str:
    """Name a source in messages."""
    if isinstance(source, str | Path):
        return str(source)
    kind = "sequence" if isinstance(source, list | tuple) else type(source).__name__
    return f"a {kind} of {len(source)} rows" if hasattr(source, "__len__") else f"a {kind}"


def iterate_source(source: Any) -> Items:
    """Yield `(place, item)` of any source; see `rankadaptor.data.rows.load_rows`.

    Raises:
        InputError: If the source is not one, or a file is malformed.
        StorageError: If it cannot be fetched.
    """
    if not isinstance(source, str | Path):
        for number, item in enumerate(iterate_memory(source, label=label_source(source))):
            yield f"row {number}", item
        return
    scheme, _, name = str(source).partition(":")
    if scheme == KIT:
        for number, item in enumerate(load_kit_rows(name)):
            yield f"{source} row {number}", item
    elif scheme == HUB:
        yield from _iterate_hub(name)
    else:
        for path in find_files(source):
            yield from _iterate_saved(path) if path.is_dir() else iterate_file(path)


def find_files(source: str | Path) -> list[Path]:
    """Return the files of a path, a folder of files or a pattern, in the order of their names.

    A folder that `save_to_disk` of `datasets` wrote is returned itself.

    Raises:
        InputError: If there are none, or a folder holds files of several kinds.
    """
    text = str(source)
    if isinstance(source, str) and ("\n" in text or len(text) > LONGEST_NAME):
        raise _not_a_path(text)
    path = Path(source).expanduser()
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except (OSError, ValueError) as error:  # a name that is too long, or has a zero byte
        raise _not_a_path(text) from error
    if is_folder or is_file:
        return _list_folder(path) if is_folder else [path]
    if glob.has_magic(text):
        names = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207  # from any folder
        found = [Path(name) for name in names if Path(name).is_file()]
        if not found:
            raise InputError(f"{source}: no file matches this pattern.")
        return found
    if path.suffix and not any(letter.isspace() for letter in path.suffix):
        return [path]  # checked when it is read
    if isinstance(source, str) and len(text.split()) > 2 and "/" not in text:
        raise _not_a_path(text)
    raise InputError(
        f"{source}: no such file. Give kit:NAME, hub:NAME or a file named {', '.join(SUFFIXES)}."
    )


def _not_a_path(text: str) -> InputError:
    start = text if len(text) <= 40 else f"{text[:37]}..."
    return InputError(
        f"{start!r} is read as a path, and no such file exists. If it is a training text, give it in "
        "a list: [text]."
    )


def _list_folder(folder: Path) -> list[Path]:
    if (folder / PARTS_FILE).is_file():
        parts = sorted(each.name for each in folder.iterdir() if each.is_dir())
        raise InputError(
            f"{folder}: a data set of the parts {', '.join(parts)}. Give one of them, {folder / parts[0]}."
            if parts
            else f"{folder}: a data set without parts."
        )
    if (folder / ARROW_FILE).is_file():
        return [folder]
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and find_kind(path) is not None]
    kinds = sorted({str(find_kind(path)) for path in files})
    if len(kinds) == 1:
        return files
    what = f"files of several kinds ({', '.join(kinds)})" if kinds else "no file of rows"
    raise InputError(
        f"{folder}: a folder with {what}. Give a file, a pattern such as {folder / '*.jsonl'}, or a folder "
        f"whose files of rows are of one kind: {', '.join(SUFFIXES)}."
    )


def _iterate_saved(folder: Path) -> Items:
    from datasets import load_from_disk

    try:
        rows = load_from_disk(str(folder))
    except (
        Exception
    ) as error:  # pyarrow, json and datasets raise unrelated classes, all meaning: not readable
        raise InputError(
            f"{folder}: not a data set that save_to_disk wrote ({error}). Save it again."
        ) from error
    for number, item in enumerate(rows):
        yield f"{folder} row {number}", item


def _iterate_hub(name: str) -> Items:
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    path, config, split, *rest = [*name.split(":"), "", ""]
    if not path or any(rest):
        raise InputError(f"hub:{name}: write hub:NAME, hub:NAME:CONFIG or hub:NAME:CONFIG:SPLIT.")
    try:
        rows = load_dataset(path, config or None, split=split or "train")
    except (OSError, ValueError, RuntimeError, DatasetsError) as error:
        raise StorageError(
            f"hub:{name}: cannot be loaded ({error}). Check the name and the network; kit:NAME needs no hub."
        ) from error
    for number, item in enumerate(rows):
        yield f"hub:{name} row {number}", item
