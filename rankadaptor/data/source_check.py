"""Checks of a source of rows and of its chat template, before heavy packages are loaded."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

from rankadaptor.data.chats import NO_TEMPLATE
from rankadaptor.data.forms import FORMS, read_item
from rankadaptor.data.places import HUB, KIT, iterate_source, label_source
from rankadaptor.data.rows import Source
from rankadaptor.errors import InputError
from rankadaptor.files import read_json
from rankadaptor.kit import ROW_NAMES
from rankadaptor.kit.names import check_name

TEMPLATE_FILES = ("chat_template.jinja", "chat_template.json")


@dataclass(frozen=True)
class SourceSummary:
    """Summary of a checked source.

    Attributes:
        label: Its name.
        rows: Rows read and found sound; None where nothing was read (kit and hub).
        chats: How many of them are chats.
        whole: Whether these are all rows.
    """

    label: str
    rows: int | None
    chats: int
    whole: bool


def check_source(
    source: Source, *, first: int | None = None, model_folder: Path | None = None
) -> SourceSummary:
    """Read the rows of a source and check their form, without torch, transformers or a download.

    Of the kit only the name is checked, and of a hub nothing.

    Args:
        source: As `load_rows` takes it; not an iterator, which would be used up.
        first: Rows to read at most; None reads all.
        model_folder: Folder of the model to train. If given and there are chats, its tokenizer has to have a
            chat template.

    Raises:
        InputError: If the source is missing, a row is malformed, no row has text, or chats have no template.
    """
    label = label_source(source)
    scheme, _, name = label.partition(":") if isinstance(source, str | Path) else ("", "", "")
    if scheme == KIT:
        check_name(name, ROW_NAMES, what="a set of rows")
    if scheme in (KIT, HUB):
        return SourceSummary(label, rows=None, chats=0, whole=False)
    rows = chats = 0
    items = iterate_source(source)
    for place, item in itertools.islice(items, first):
        row, _ = read_item(item, place=place)
        rows += not row.is_empty
        chats += row.is_chat
    whole = first is None or next(items, None) is None
    if not rows and whole:
        raise InputError(f"{label}: no rows with text. Each row is {FORMS}.")
    if chats and model_folder is not None and not has_chat_template(model_folder):
        raise InputError(f"{label}: has chats, but {model_folder} has no chat template. {NO_TEMPLATE}")
    return SourceSummary(label, rows=rows, chats=chats, whole=whole)


def has_chat_template(folder: Path) -> bool:
    """Whether the tokenizer files of a folder hold a chat template.

    Raises:
        InputError: If a file is malformed.
    """
    if any((folder / name).is_file() for name in TEMPLATE_FILES):
        return True
    config = folder / "tokenizer_config.json"
    return config.is_file() and bool(read_json(config).get("chat_template"))
