"""Documents as windows of equal length: no padding, and no document in two sets of windows."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np

from rankadaptor.data.chats import encode_whole_chat
from rankadaptor.data.model_limits import check_tokens
from rankadaptor.data.row import Row
from rankadaptor.data.sequences import TokenSequence, find_start


def encode_document(row: Row, tokenizer: Any, *, place: str) -> list[int]:
    """Return the token ids of a whole row, prompt and response alike, without special tokens."""
    if row.is_chat:
        return encode_whole_chat(row.turns, tokenizer, place=place)
    text = row.prompt + row.response
    return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def digest_document(row: Row) -> str:
    """Name a document by its words, whatever lies between them."""
    turns = [turn.content for turn in row.turns]
    words = " ".join([row.prompt, row.response, *turns]).split()
    return hashlib.sha256(" ".join(words).encode()).hexdigest()


class Documents:
    """The documents of one source in a shuffled order, each of which is taken once.

    Args:
        rows: The documents.
        name: What messages call the source.
        seed: Of the order.
    """

    def __init__(self, rows: Sequence[Row], *, name: str, seed: int) -> None:
        self.name = name
        order = np.random.default_rng(seed).permutation(len(rows))
        self._left = [rows[index] for index in reversed(order)]

    def cut(
        self, tokenizer: Any, *, length: int, taken: set[str], used: list[Row], model: Any | None = None
    ) -> Iterator[TokenSequence]:
        """Yield windows of `length` tokens, taking documents as they are needed.

        A document that is long enough gives windows of its own, and its rest is left out. Shorter ones are
        joined with the tokenizer's end token until they fill a window. Every token of a window is predicted,
        its first excepted.

        Args:
            tokenizer: The model's tokenizer.
            length: Tokens of a window.
            taken: Digests of documents that may not be used again; those taken are added.
            used: Documents that were taken are appended.
            model: If given, it is checked that its embedding has a row for every token.
        """
        end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
        start, joined = find_start(tokenizer), list[int]()
        while self._left:
            row = self._left.pop()
            digest = digest_document(row)
            if digest in taken:
                continue
            taken.add(digest)
            used.append(row)
            ids = start + encode_document(row, tokenizer, place=f"{self.name}: a row")
            if model is not None:
                check_tokens(ids, tokenizer, model)
            if len(ids) < length:
                joined += [*ids, *end]
                ids, joined = (joined, []) if len(joined) >= length else ([], joined)
            for first in range(0, len(ids) - length + 1, length):
                window = tuple(ids[first : first + length])
                yield TokenSequence(window, window)


def mix_windows(
    sources: Sequence[Documents],
    tokenizer: Any,
    *,
    count: int,
    length: int,
    taken: set[str],
    model: Any | None = None,
) -> tuple[list[TokenSequence], list[Row]]:
    """Return at most `count` windows, from the sources in turn, and the documents that they were cut from.

    Any leading part of the windows holds as much of each source as the others, until one runs out.
    """
    used: list[Row] = []
    running: Collection[Iterator[TokenSequence]] = [
        source.cut(tokenizer, length=length, taken=taken, used=used, model=model) for source in sources
    ]
    windows: list[TokenSequence] = []
    while running:
        still = []
        for each in running:
            if len(windows) == count:
                return windows, used
            if (window := next(each, None)) is not None:
                windows.append(window)
                still.append(each)
        running = still
    return windows, used
