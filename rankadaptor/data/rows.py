"""Rows of text from the kit, a file, a hub or a list, checked one by one."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rankadaptor.data.row_files import SUFFIXES, iterate_file
from rankadaptor.errors import InputError, StorageError
from rankadaptor.kit import format_alpaca, load_kit_rows

logger = logging.getLogger(__name__)

FORMS = '{"prompt", "response"}, {"instruction", "input" (optional), "output"} or {"text"}'


@dataclass(frozen=True)
class Row:
    """One piece of training text.

    Attributes:
        prompt: What is given and not learned; empty for plain text.
        response: What is learned.
    """

    prompt: str
    response: str

    @property
    def is_text(self) -> bool:
        """Whether this is plain text, learned whole."""
        return not self.prompt


def load_rows(
    source: str | Path | Sequence[Row | Mapping[str, Any] | str],
    *,
    limit: int | None = None,
    seed: int = 0,
    skip: int = 0,
) -> list[Row]:
    """Load rows, and optionally draw some of them.

    With `limit` or `skip` the rows are shuffled once with `seed`, then cut: `load_rows(source, limit=500)`
    and `load_rows(source, skip=500)` are disjoint, as two splits must be. Without either, the source's order
    is kept.

    Args:
        source: `kit:NAME`; a `.jsonl`, `.json`, `.txt` (one text a line) or `.parquet` file; `hub:NAME`,
            `hub:NAME:CONFIG` or `hub:NAME:CONFIG:SPLIT` of a data-set hub; or a sequence of rows, dicts or
            strings. A dict has the keys prompt and response, or instruction, input and output (Alpaca), or
            text.
        limit: Rows to return at most.
        seed: Of the shuffle.
        skip: Rows to leave out first.

    Raises:
        InputError: If a row is malformed (the message names file and line), if there are no rows, or if a
            number makes no sense.
        StorageError: If the source cannot be fetched.
    """
    if limit is not None and limit < 1:
        raise InputError(f"limit={limit}: must be at least 1, or None for all rows.")
    if skip < 0:
        raise InputError(f"skip={skip}: must be 0 or more.")
    label = str(source) if isinstance(source, str | Path) else f"a sequence of {len(source)} rows"
    rows, empty = [], 0
    for place, item in _iterate_source(source):
        row = read_row(item, place=place)
        if row.response.strip():
            rows.append(row)
        else:
            empty += 1
    if empty:
        logger.warning(
            "%s: %d of %d rows have nothing to learn and are left out", label, empty, empty + len(rows)
        )
    if not rows:
        raise InputError(
            f"{label}: no rows with text. Each row is {FORMS}, with a response that is not empty."
        )
    if limit is None and skip == 0:
        return rows
    if skip >= len(rows):
        raise InputError(f"{label}: skip={skip} leaves none of its {len(rows)} rows. Choose a smaller skip.")
    if limit is not None and skip + limit > len(rows):
        logger.warning("%s: only %d rows for limit=%d after skip=%d", label, len(rows) - skip, limit, skip)
    order = np.random.default_rng(seed).permutation(len(rows))
    chosen = order[skip:] if limit is None else order[skip : skip + limit]
    return [rows[index] for index in chosen]


def read_row(item: Row | Mapping[str, Any] | str, *, place: str) -> Row:
    """Turn one item into a row.

    Args:
        item: A row, a dict in one of the three forms, or plain text.
        place: Where it stands, for the message.

    Raises:
        InputError: If it has none of the forms.
    """
    if isinstance(item, Row):
        return item
    if isinstance(item, str):
        return Row(prompt="", response=_check_text(item, place=place))
    if not isinstance(item, Mapping):
        raise InputError(f"{place}: {type(item).__name__} is not a row. Each row is {FORMS}.")
    if "response" in item:
        return Row(_take(item, "prompt", place=place, default=""), _take(item, "response", place=place))
    if "instruction" in item:
        instruction = _take(item, "instruction", place=place)
        prompt = format_alpaca(instruction, _take(item, "input", place=place, default=""))
        return Row(prompt, _take(item, "output", place=place))
    if "text" in item:
        return Row("", _take(item, "text", place=place))
    raise InputError(f"{place}: keys are {', '.join(map(str, item)) or 'none'}. Each row is {FORMS}.")


def _take(item: Mapping[str, Any], key: str, *, place: str, default: str | None = None) -> str:
    value = item.get(key)
    if value is None:
        value = default
    if isinstance(value, str):
        return _check_text(value, place=f"{place}: {key}")
    fault = "is missing" if value is None else f"is {type(value).__name__} instead of text"
    raise InputError(f"{place}: {key} {fault}. Each row is {FORMS}.")


def _check_text(text: str, *, place: str) -> str:
    """Refuse halves of characters, which JSON can hold and no tokenizer takes."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{place} has half a character ({text[error.start]!a}, number {error.start + 1}), as text "
            "that was cut off inside an emoji has. Remove it."
        ) from error
    return text


def _iterate_source(source: str | Path | Iterable[Any]) -> Iterator[tuple[str, Any]]:
    """Yield `(place, item)`."""
    if not isinstance(source, str | Path):
        for number, item in enumerate(source):
            yield f"row {number}", item
        return
    scheme, _, name = str(source).partition(":")
    if scheme == "kit":
        for number, item in enumerate(load_kit_rows(name)):
            yield f"{source} row {number}", item
    elif scheme == "hub":
        yield from _iterate_hub(name)
    else:
        path = Path(source).expanduser()
        if not path.exists() and not path.suffix:
            raise InputError(
                f"{source}: no such file. Give kit:NAME, hub:NAME or a file named {', '.join(SUFFIXES)}."
            )
        yield from iterate_file(path)


def _iterate_hub(name: str) -> Iterator[tuple[str, Any]]:
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


def digest_rows(rows: Iterable[Row]) -> str:
    """Name rows, in their order, by the start of a SHA-256."""
    digest = hashlib.sha256()
    for row in rows:
        for part in (row.prompt.encode(), row.response.encode()):
            digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()[:16]
