"""Training and held-out data from what the user gave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rankadaptor.data.rows import Row, load_rows
from rankadaptor.data.sequences import TokenSequence, tokenise_rows

Source = str | Path | Sequence[Row | Mapping[str, Any] | str]
"""Rows, a path, or a kit name; see `rankadaptor.data.rows.load_rows`."""


def load_pair(
    data: Source, held_out: Source | None, tokenizer: Any, *, max_length: int
) -> tuple[list[TokenSequence], list[TokenSequence]]:
    """Load training and held-out sequences; a training row that is also a held-out row is dropped.

    Returns:
        Training sequences and held-out sequences; the latter are empty if `held_out` is None.

    Raises:
        InputError: If rows are malformed or nothing can be learned from them.
    """
    scored = load_rows(held_out) if held_out is not None else []
    taken = set(scored)
    trained = [row for row in load_rows(data) if row not in taken]
    return tokenise(trained, tokenizer, max_length=max_length), tokenise(
        scored, tokenizer, max_length=max_length
    )


def tokenise(rows: Sequence[Row], tokenizer: Any, *, max_length: int) -> list[TokenSequence]:
    """Tokenise rows, or return nothing for nothing."""
    return tokenise_rows(rows, tokenizer, max_length=max_length) if rows else []
