"""Result documents: one JSON file per run, from which every table, figure and card is generated."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rankadaptor.errors import InputError
from rankadaptor.files import read_json

SCHEMA = 1
FILE_NAME = "result.json"

Document = Mapping[str, Any]
"""A whole result document: keys `schema`, `run`, `result`, `environment`."""


def find_result_file(path: str | Path) -> Path:
    """Return the result file of `path`, which is the file itself or a run's output folder.

    Raises:
        InputError: If there is no such file or the folder holds none.
    """
    place = Path(path)
    if place.is_file():
        return place
    if (place / FILE_NAME).is_file():
        return place / FILE_NAME
    if not place.exists():
        raise InputError(
            f"{place}: no such file or folder. Give a run's output folder or a result file; "
            "`rankadaptor run RUN.yaml` writes both."
        )
    others = sorted(found.name for found in place.glob("*.json"))
    hint = f" It holds {', '.join(others[:5])}: name one of them." if others else ""
    raise InputError(
        f"{place}: the folder holds no {FILE_NAME}.{hint} `rankadaptor run RUN.yaml` writes one."
    )


def read_result(path: str | Path) -> Document:
    """Read a result document from its file or from a run's output folder.

    Raises:
        InputError: If it is missing, malformed, or of another schema.
    """
    file = find_result_file(path)
    document = read_json(file)
    if not isinstance(document, dict) or "result" not in document:
        raise InputError(f"{file}: not a result document; it has no key 'result'.")
    check_schema(document, source=str(file))
    return document


def check_schema(document: Document, *, source: str = "result document") -> None:
    """Refuse a document with another schema.

    Raises:
        InputError: If the schema number differs, or the inner part `result` was given instead of the whole.
    """
    found = document.get("schema")
    if found == SCHEMA:
        return
    if found is None:
        raise InputError(
            f"{source}: no schema number. Give the whole document with the keys schema, run, result and "
            "environment."
        )
    raise InputError(
        f"{source}: schema {found}, this version reads {SCHEMA}. "
        "Use the version of rankadaptor that wrote it, or repeat the run."
    )


def find_job(document: Document) -> str:
    """Return the kind of job that a document is the result of."""
    config = (document.get("run") or {}).get("config") or {}
    return str(config.get("job") or "rank_search")


def get_part(document: Document, *keys: str, sentence: str) -> Any:
    """Return `document["result"][key]...`; the error says in one sentence why it is missing.

    A run may have been stopped early or configured without a stage, so any part may be missing. Tables and
    figures pass the error on, and the report prints its sentence in their place.

    Args:
        document: The whole result document.
        keys: Path inside `result`.
        sentence: Message if the part is missing or empty.

    Raises:
        InputError: With `sentence`, if the part is missing, null or empty.
    """
    check_schema(document)
    part: Any = document.get("result", {})
    for key in keys:
        part = part.get(key) if isinstance(part, Mapping) else None
    if part is None or (isinstance(part, Mapping | list | tuple | str) and not part):
        raise InputError(sentence)
    return part
