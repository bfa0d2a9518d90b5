"""Training and held-out sequences from the user's data."""

from __future__ import annotations

import functools
from typing import Any

from rankadaptor.data.places import label_source
from rankadaptor.data.rows import Source, load_rows
from rankadaptor.data.sequences import TokenSequence, tokenise_rows


def load_pair(
    data: Source, held_out: Source | None, tokenizer: Any, *, max_length: int, model: Any
) -> tuple[list[TokenSequence], list[TokenSequence]]:
    """Load training and held-out sequences; a training row that is also a held-out row is dropped.

    Args:
        data: Training rows.
        held_out: Rows to score on.
        tokenizer: The model's tokenizer.
        max_length: Maximum number of tokens in a sequence.
        model: The model that reads them.

    Returns:
        Training sequences and held-out sequences; the latter are empty if `held_out` is None.

    Raises:
        InputError: If rows are malformed, nothing can be learned from them, or the model cannot read them.
    """
    scored = load_rows(held_out) if held_out is not None else []
    taken = set(scored)
    trained = [row for row in load_rows(data) if row not in taken]
    tokenise = functools.partial(tokenise_rows, tokenizer=tokenizer, max_length=max_length, model=model)
    return (
        tokenise(trained, source=label_source(data)) if trained else [],
        tokenise(scored, source=label_source(held_out)) if scored else [],
    )
