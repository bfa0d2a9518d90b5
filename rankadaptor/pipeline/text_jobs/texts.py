"""The texts of a run: calibration, search, training, judging, and one text of another domain."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rankadaptor.config import CompressConfig, ElasticConfig
from rankadaptor.data import Row, digest_rows, load_rows
from rankadaptor.data.text_sets import CALIBRATION, JUDGING, OTHER, SEARCH, TRAINING, build_text_sets
from rankadaptor.errors import InputError

if TYPE_CHECKING:
    from rankadaptor.data import TokenSequence

__all__ = ["CALIBRATION", "JUDGING", "OTHER", "SEARCH", "TRAINING", "Texts", "load_texts"]

logger = logging.getLogger(__name__)

SHARES: Mapping[str, float] = {JUDGING: 0.2, SEARCH: 0.2, CALIBRATION: 0.1, TRAINING: 0.5}
"""Shares of a short text that the sets take at most."""
CHARACTERS = 5.0
"""Characters of a token, when the length of a document is guessed."""
USED = 0.7
"""Share of the guessed windows that is counted on."""


@dataclass(frozen=True)
class Texts:
    """The windows of each part; no two parts share a document.

    Attributes:
        parts: Name of the part → its windows.
        digest: Names the documents of all parts but the training text, and how they are divided.
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
        """Return the number of windows and tokens of each part."""
        return {
            name: {"sequences": len(each), "tokens": sum(map(len, each))} for name, each in self.parts.items()
        }


def load_texts(config: CompressConfig | ElasticConfig, tokenizer: Any, *, model: Any, training: int) -> Texts:
    """Load the text of a run and divide it by document into windows of `data.length` tokens.

    Each part gets as many windows as the run asks for. Where the text is short, each takes its share of it,
    and training reads its part more than once.

    Args:
        config: The run.
        tokenizer: The model's tokenizer.
        model: The model, for the longest window that it reads.
        training: Windows to train on.

    Raises:
        InputError: If a source cannot be read, or a part has less than one window.
    """
    given = config.data
    wanted = {
        JUDGING: given.judge_sequences,
        SEARCH: given.search_sequences,
        CALIBRATION: config.choices.importance_rows,
        TRAINING: training,
    }
    rows = [row for source in given.text for row in load_rows(source)]
    counts = _fit(wanted, rows, length=given.length)
    if given.other is not None:
        other = {JUDGING: given.judge_sequences}
        counts[OTHER] = _fit(other, load_rows(given.other), length=given.length, shares={JUDGING: 1.0})[
            JUDGING
        ]
    try:
        sets = build_text_sets(
            tokenizer,
            sources=given.text,
            other=given.other,
            length=given.length,
            tokens={name: count * given.length for name, count in counts.items()},
            seed=config.seed,
            model=model,
        )
    except InputError as error:
        raise InputError(f"data: {error} The length is data.length.") from error
    found = {
        CALIBRATION: sets.calibration,
        SEARCH: sets.search,
        TRAINING: sets.training,
        JUDGING: sets.judging,
        OTHER: sets.other,
    }
    parts = {name: each for name, each in found.items() if each is not None}
    return Texts(
        {name: each.sequences for name, each in parts.items()},
        # Training text is cut last: a longer recovery takes more of it and leaves the others as they are.
        digest_rows([row for name in sorted(set(parts) - {TRAINING}) for row in parts[name].rows]),
    )


def _fit(
    wanted: Mapping[str, int], rows: Sequence[Row], *, length: int, shares: Mapping[str, float] = SHARES
) -> dict[str, int]:
    """Lower the windows of each part to its share of a text, where the text has too few for all."""
    available = USED * _guess_windows(rows, length=length)
    if sum(wanted.values()) <= available:
        return dict(wanted)
    fitted = {name: min(count, max(int(shares[name] * available), 1)) for name, count in wanted.items()}
    fewer = [f"{name} {fitted[name]} of {count}" for name, count in wanted.items() if fitted[name] < count]
    if fewer:
        logger.warning(
            "the text has about %d windows of %d tokens: %s. More text gives steadier figures",
            available, length, ", ".join(fewer),
        )  # fmt: skip
    return fitted


def _guess_windows(rows: Sequence[Row], *, length: int) -> int:
    """Guess how many windows a text gives: long documents their own, short ones together."""
    windows, joined = 0, 0.0
    for row in rows:
        characters = len(row.prompt) + len(row.response) + sum(len(turn.content) for turn in row.turns)
        tokens = characters / CHARACTERS
        if tokens < length:
            joined += tokens
        else:
            windows += int(tokens // length)
    return windows + int(joined // length)
