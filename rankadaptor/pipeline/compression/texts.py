"""Text divided by document: calibration, search, training, judging, and one text of another domain."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rankadaptor.config import CompressConfig
from rankadaptor.data import Row, digest_rows, load_rows, tokenise_rows
from rankadaptor.errors import InputError

if TYPE_CHECKING:
    from rankadaptor.data import TokenSequence

logger = logging.getLogger(__name__)

CALIBRATION, SEARCH, TRAINING, JUDGING, OTHER = "calibration", "search", "training", "judging", "other"
LARGEST_SHARES = {JUDGING: 0.2, SEARCH: 0.2, CALIBRATION: 0.15}
"""Shares of a short text that a part may take at most, so that something is left to train on."""
ROW_TOKENS = 4
"""Characters that a token has at least on average, when the length of a document is guessed."""


@dataclass(frozen=True)
class Texts:
    """The token sequences of each part; no two parts share a document.

    Attributes:
        parts: Name of the part → its sequences.
        digest: Names the documents and how they are divided.
    """

    parts: Mapping[str, tuple[TokenSequence, ...]]
    digest: str

    def __getitem__(self, part: str) -> tuple[TokenSequence, ...]:
        return self.parts[part]

    @property
    def judging(self) -> tuple[str, ...]:
        """The parts that judge."""
        return (JUDGING, OTHER) if OTHER in self.parts else (JUDGING,)

    def describe(self) -> dict[str, dict[str, int]]:
        """Return the number of sequences and tokens of each part."""
        return {
            name: {"sequences": len(each), "tokens": sum(map(len, each))} for name, each in self.parts.items()
        }


def load_texts(config: CompressConfig, tokenizer: Any, *, model: Any) -> Texts:
    """Load, divide and tokenise the text of a run.

    Raises:
        InputError: If a source cannot be read, or a part has less than one sequence.
    """
    given = config.data
    documents = mix_documents([load_rows(source) for source in given.text], seed=config.seed)
    wanted = {
        JUDGING: given.judge_sequences,
        SEARCH: given.search_sequences,
        CALIBRATION: config.choices.importance_rows,
    }
    divided = divide_documents(documents, {name: count * given.length for name, count in wanted.items()})
    if given.train_rows is not None:
        divided[TRAINING] = divided[TRAINING][: given.train_rows]
    if given.other is not None:
        known = set(documents)
        rows = [row for row in load_rows(given.other) if row not in known]
        order = np.random.default_rng(config.seed).permutation(len(rows))
        divided[OTHER] = _take([rows[index] for index in order], given.judge_sequences * given.length)
        wanted[OTHER] = given.judge_sequences
    sources = {OTHER: given.other or ""}
    parts = {
        name: _tokenise(
            name,
            rows,
            tokenizer,
            model=model,
            length=given.length,
            count=wanted.get(name),
            source=sources.get(name) or ", ".join(given.text),
        )
        for name, rows in divided.items()
    }
    digest = digest_rows([row for name in sorted(divided) for row in divided[name]])
    return Texts(parts, digest)


def mix_documents(sources: Sequence[Sequence[Row]], *, seed: int) -> list[Row]:
    """Return the documents of all sources, shuffled and taken in turn, each document once."""
    generator = np.random.default_rng(seed)
    shuffled = [[rows[index] for index in generator.permutation(len(rows))] for rows in sources]
    longest = max(map(len, shuffled))
    turns = (rows[place] for place in range(longest) for rows in shuffled if place < len(rows))
    return list(dict.fromkeys(turns))


def divide_documents(documents: Sequence[Row], wanted: Mapping[str, int]) -> dict[str, list[Row]]:
    """Give each part whole documents until it has about the tokens it wants; the rest is for training.

    Args:
        documents: In the order in which they are given out.
        wanted: Tokens of each part, in the order in which the parts are served.

    Raises:
        InputError: If there are fewer documents than parts.
    """
    parts = (*wanted, TRAINING)
    if len(documents) < len(parts):
        raise InputError(
            f"data.text has {len(documents)} documents, and {len(parts)} parts are needed that share "
            f"none ({', '.join(parts)}). Give more rows; a text file gives one document a line."
        )
    total = sum(_guess_tokens(row) for row in documents)
    divided: dict[str, list[Row]] = {}
    place = 0
    for number, (name, tokens) in enumerate(wanted.items()):
        goal, found = min(tokens, int(LARGEST_SHARES.get(name, 0.2) * total)), 0
        rows: list[Row] = []
        left_for_others = len(wanted) - number
        while place < len(documents) - left_for_others and (not rows or found < goal):
            rows.append(documents[place])
            found += _guess_tokens(documents[place])
            place += 1
        divided[name] = rows
    divided[TRAINING] = list(documents[place:])
    return divided


def _guess_tokens(row: Row) -> int:
    text = len(row.prompt) + len(row.response) + sum(len(turn.content) for turn in row.turns)
    return 1 + text // (ROW_TOKENS + 1)


def _take(rows: Sequence[Row], tokens: int) -> list[Row]:
    taken: list[Row] = []
    found = 0
    for row in rows:
        if taken and found >= tokens:
            break
        taken.append(row)
        found += _guess_tokens(row)
    return taken


def _tokenise(
    name: str, rows: Sequence[Row], tokenizer: Any, *, model: Any, length: int, count: int | None, source: str
) -> tuple[TokenSequence, ...]:
    found = tokenise_rows(rows, tokenizer, max_length=length, model=model, source=f"{source} ({name})")
    tokens = sum(map(len, found))
    if all(row.is_text for row in rows) and tokens < length:
        raise InputError(
            f"data.text: the {name} text has {tokens} tokens from {len(rows)} documents, less than "
            f"one sequence of data.length={length}. Give more text, or set data.length to at most "
            f"{max(tokens, 8)}."
        )
    if count is not None and len(found) < count:
        logger.warning(
            "%s text: %d sequences of %d tokens where %d were asked for: give more text for steadier figures",
            name, len(found), length, count,
        )  # fmt: skip
    return tuple(found[:count] if count is not None else found)
