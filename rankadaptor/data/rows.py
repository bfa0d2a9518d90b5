"""Rows of text from the kit, files, a hub or memory, each checked."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rankadaptor.data.forms import FORMS, read_item
from rankadaptor.data.notices import notify_once
from rankadaptor.data.places import iterate_source, label_source
from rankadaptor.data.row import Row
from rankadaptor.errors import InputError

logger = logging.getLogger(__name__)

Source = str | Path | Iterable[Row | Mapping[str, Any] | str] | Mapping[str, Any]
"""Rows, columns, a table, a path, or a name of the kit or the hub; see `load_rows`."""


def load_rows(source: Source, *, limit: int | None = None, seed: int = 0, skip: int = 0) -> list[Row]:
    """Load rows, and optionally draw some of them.

    With `limit` or `skip` the rows are shuffled once with `seed`, then cut: `load_rows(source, limit=500)`
    and `load_rows(source, skip=500)` are disjoint, as two splits must be. Without either, the source's order
    is kept. An iterator can be read only once: make a list of it before splitting it this way.

    Args:
        source: One of
            `kit:NAME`;
            `hub:NAME`, `hub:NAME:CONFIG` or `hub:NAME:CONFIG:SPLIT` of a data-set hub;
            a `.jsonl`, `.json`, `.txt` (one text a line), `.csv`, `.tsv` or `.parquet` file, also compressed
            (`.gz`, `.bz2`, `.xz`); a folder of such files of one kind, or one that `save_to_disk` of
            `datasets` wrote; a pattern such as `data/*.jsonl`;
            a list or iterator of rows, dicts or strings; a dict of columns; a DataFrame; a Dataset.
            The forms of a row are those of `rankadaptor.data.forms.FORMS`.
        limit: Rows to return at most.
        seed: Seed of the shuffle.
        skip: Rows to leave out first.

    Raises:
        InputError: If a row is malformed (the message names file and line), if there are no rows, or if a
            number is out of range.
        StorageError: If the source cannot be fetched.
    """
    if limit is not None and limit < 1:
        raise InputError(f"limit={limit}: must be at least 1, or None for all rows.")
    if skip < 0:
        raise InputError(f"skip={skip}: must be 0 or more.")
    label = label_source(source)
    rows, empty = [], 0
    ignored: set[str] = set()
    for place, item in iterate_source(source):
        row, left_out = read_item(item, place=place)
        ignored |= left_out
        if row.is_empty:
            empty += 1
        else:
            rows.append(row)
    key = label if isinstance(source, str | Path) else digest_rows(rows)
    if ignored:
        notify_once(
            logger,
            ("ignored", key),
            "%s: not read: %s",
            label,
            ", ".join(sorted(ignored)),
            level=logging.INFO,
        )
    if empty:
        notify_once(
            logger, ("empty", key, empty), "%s: %d of %d rows have nothing to learn and are left out",
            label, empty, empty + len(rows),
        )  # fmt: skip
    if not rows:
        raise InputError(
            f"{label}: no rows with text. Each row is {FORMS}, with something to learn that is not empty."
        )
    if limit is None and skip == 0:
        return rows
    if skip >= len(rows):
        raise InputError(f"{label}: skip={skip} leaves none of its {len(rows)} rows. Choose a smaller skip.")
    if limit is not None and skip + limit > len(rows):
        notify_once(
            logger, ("few", key, limit, skip), "%s: only %d rows for limit=%d after skip=%d",
            label, len(rows) - skip, limit, skip,
        )  # fmt: skip
    order = np.random.default_rng(seed).permutation(len(rows))
    chosen = order[skip:] if limit is None else order[skip : skip + limit]
    return [rows[index] for index in chosen]


def digest_rows(rows: Iterable[Row]) -> str:
    """Return the digest of rows in their order, the start of a SHA-256."""
    digest = hashlib.sha256()
    for row in rows:
        turns = [text for turn in row.turns for text in (turn.role, turn.content)]
        for text in (row.prompt, row.response, *turns):
            part = text.encode()
            digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()[:16]
