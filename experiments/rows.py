"""Result files that are a list of rows, as `benchmark` and `compare` write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rankadaptor.errors import InputError
from rankadaptor.files import read_json


def read_rows(path: Path, *, command: str) -> list[dict[str, Any]]:
    """Read the rows of a result file.

    Args:
        path: The file.
        command: What writes such a file, for the error.

    Raises:
        InputError: If there is no such file, or it holds no list of rows.
    """
    rows = read_json(path)
    if not isinstance(rows, list) or not rows:
        raise InputError(f"{path}: not a list of rows. Write it with `{command}`.")
    return rows
