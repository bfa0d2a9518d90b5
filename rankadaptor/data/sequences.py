"""Rows as token sequences with labels, and the order of batches in a fine-tune."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rankadaptor.data.chats import encode_chat
from rankadaptor.data.model_limits import check_length, check_tokens, find_positions
from rankadaptor.data.notices import notify_once
from rankadaptor.data.row import IGNORED, Row
from rankadaptor.data.rows import digest_rows
from rankadaptor.errors import InputError

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

CHUNK = 1024


@dataclass(frozen=True)
class TokenSequence:
    """One sequence of at most `max_length` tokens.

    Attributes:
        input_ids: Token ids.
        labels: The same ids where a loss is taken, -100 elsewhere; not shifted.
    """

    input_ids: tuple[int, ...]
    labels: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def targets(self) -> int:
        """Number of tokens that are predicted and scored; the first token never is."""
        return sum(label != IGNORED for label in self.labels[1:])


def tokenise_rows(
    rows: Sequence[Row],
    tokenizer: Any,
    *,
    max_length: int,
    pack: bool | None = None,
    model: Any | None = None,
    source: str | None = None,
) -> list[TokenSequence]:
    """Turn rows into token sequences.

    Prompt and response are tokenised separately, so that their border is exact. A row begins with the
    tokenizer's start token where the tokenizer itself puts one before a text (Llama 2 and Mistral; benchmarks
    and `generate` see it too), and ends with its end token. No other special token is added. Chats are
    written with the tokenizer's chat template instead, and only the assistant's turns are learned; see
    `rankadaptor.data.chats.encode_chat`.

    A warning counts the rows that are longer than `max_length` and the lost tokens.

    Args:
        rows: Instructions, plain texts, chats, or all of them.
        tokenizer: A Hugging Face tokenizer with an end token.
        max_length: Maximum number of tokens in a sequence. Longer instructions and chats are cut at the end.
        pack: Join rows and cut them into pieces of exactly `max_length` tokens; the rest at the end is
            dropped unless it is all there is. None packs plain texts only; False packs nothing.
        model: The model that reads the sequences. If given, its embedding must have a row for every
            token and its positions must suffice.
        source: Name of the rows in messages.

    Returns:
        Sequences in the order of the rows; the packed ones last.

    Raises:
        InputError: If the tokenizer has no end token, or no chat template where there are chats; if no row
            has a token to learn within `max_length`; or if the model cannot read the sequences.
    """
    if max_length < 2:
        raise InputError(f"max_length={max_length}: must be at least 2, a token and the one it predicts.")
    if tokenizer.eos_token_id is None:
        raise InputError("This tokenizer has no end token. Set tokenizer.eos_token to one of its tokens.")
    if model is not None:
        check_length(max_length, find_positions(model.config.to_dict()))
    alone, stream, cuts = [], _Stream(), _Cuts()
    for row, ids, labels in _tokenise(rows, tokenizer):
        if model is not None:
            check_tokens(ids, tokenizer, model)
        if pack or (pack is None and row.is_text):
            stream.extend(ids, labels)
        else:
            alone.append(TokenSequence(tuple(ids[:max_length]), tuple(labels[:max_length])))
            cuts.count(labels, alone[-1])
    sequences = alone + stream.cut(max_length)
    kept = [sequence for sequence in sequences if sequence.targets]
    if not kept:
        raise InputError(
            f"None of {len(rows)} rows has a token to learn within max_length={max_length}. "
            "Give more rows, or a max_length longer than the prompts."
        )
    cuts.report(source or f"{len(rows)} rows", key=digest_rows(rows), max_length=max_length)
    return kept


class _Cuts:
    """Counts the tokens that are lost because sequences are cut."""

    def __init__(self) -> None:
        self.rows = self.cut = self.dropped = self.learned = self.lost = 0

    def count(self, labels: Sequence[int], kept: TokenSequence) -> None:
        whole = sum(label != IGNORED for label in labels[1:])
        self.rows += 1
        self.cut += len(labels) > len(kept)
        self.dropped += not kept.targets
        self.learned += whole
        self.lost += whole - kept.targets

    def report(self, source: str, *, key: str, max_length: int) -> None:
        if not (self.lost or self.dropped):
            return
        share = 100 * self.lost / self.learned if self.learned else 0.0
        left_out = f"; {self.dropped} have nothing left to learn and are left out" if self.dropped else ""
        notify_once(
            logger,
            ("cut", key, max_length),
            "%s: %d of %d sequences are longer than %d tokens and lose their end, with %.1f %% of the "
            "tokens to learn%s. A greater sequence_length keeps more.",
            source, self.cut, self.rows, max_length, share, left_out,
        )  # fmt: skip


class _Stream:
    """Tokens of many rows in a line."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.labels: list[int] = []

    def extend(self, ids: list[int], labels: list[int]) -> None:
        self.ids += ids
        self.labels += labels

    def cut(self, length: int) -> list[TokenSequence]:
        starts = range(0, len(self.ids) - length + 1, length)
        if self.ids and not starts:
            starts = range(1)  # less than one full piece is kept
        return [
            TokenSequence(tuple(self.ids[start : start + length]), tuple(self.labels[start : start + length]))
            for start in starts
        ]


def _tokenise(rows: Sequence[Row], tokenizer: Any) -> Iterator[tuple[Row, list[int], list[int]]]:
    """Yield each row with its ids and labels, uncut; a chat may come as several."""
    start = find_start(tokenizer)
    for first in range(0, len(rows), CHUNK):
        chunk = rows[first : first + CHUNK]
        prompts = _encode([row.prompt for row in chunk], tokenizer)
        responses = _encode([row.response for row in chunk], tokenizer)
        for place, (row, prompt, response) in enumerate(zip(chunk, prompts, responses, strict=True), first):
            if row.is_chat:
                for ids, labels in encode_chat(row.turns, tokenizer, place=f"row {place}"):
                    yield row, ids, labels
                continue
            learned = [*response, tokenizer.eos_token_id]
            yield row, start + prompt + learned, [IGNORED] * (len(start) + len(prompt)) + learned


def find_start(tokenizer: Any) -> list[int]:
    """Return the tokens that a tokenizer puts before every text: its start token, or none."""
    before = list(tokenizer("")["input_ids"])
    return before[:1] if before and before[0] == tokenizer.bos_token_id else []


def _encode(texts: list[str], tokenizer: Any) -> list[list[int]]:
    # verbose=False: rows longer than the model's context are cut later and need no warning
    encoded: list[list[int]] = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
    return encoded


def make_batch(sequences: Sequence[TokenSequence], *, pad_id: int) -> dict[str, torch.Tensor]:
    """Pad sequences on the right to the longest of them.

    Returns:
        `input_ids`, `attention_mask` and `labels`, each `(len(sequences), longest)` and int64; padding has
        mask 0 and label -100.
    """
    import torch

    if not sequences:
        raise InputError("A batch needs at least one sequence.")
    shape = (len(sequences), max(map(len, sequences)))
    input_ids = torch.full(shape, pad_id, dtype=torch.long)
    attention_mask = torch.zeros(shape, dtype=torch.long)
    labels = torch.full(shape, IGNORED, dtype=torch.long)
    for line, sequence in enumerate(sequences):
        input_ids[line, : len(sequence)] = torch.tensor(sequence.input_ids)
        attention_mask[line, : len(sequence)] = 1
        labels[line, : len(sequence)] = torch.tensor(sequence.labels)
    return {"input_ids": input_ids, "attention_mask": attention_mask, "labels": labels}


def draw_batches(count: int, *, batch_size: int, steps: int, seed: int) -> Iterator[list[int]]:
    """Yield the indices of each step's batch.

    All indices are visited once in a shuffled order, then again in another order, and so on; a batch may
    span two such rounds. The order depends only on `count`, `batch_size` and `seed`: a shorter run sees the
    first batches of a longer one, which short and full fine-tunes rely on.

    Raises:
        InputError: If there is nothing to draw from or a number is not positive.
    """
    if count < 1 or batch_size < 1 or steps < 0:
        raise InputError(
            f"count={count}, batch_size={batch_size}, steps={steps}: "
            "count and batch_size must be at least 1, and steps not negative."
        )
    return _draw(count, batch_size=batch_size, steps=steps, seed=seed)


def _draw(count: int, *, batch_size: int, steps: int, seed: int) -> Iterator[list[int]]:
    generator = np.random.default_rng(seed)
    waiting: list[int] = []
    for _ in range(steps):
        while len(waiting) < batch_size:
            waiting += generator.permutation(count).tolist()
        yield waiting[:batch_size]
        waiting = waiting[batch_size:]
