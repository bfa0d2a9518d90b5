"""Mean lengths of rows: measured for the kit's sources, assumed for others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rankadaptor.planning.costs import Work

# Mean tokens and mean predicted tokens of rows cut at so many tokens, without rows that have nothing left to
# predict; the kit's first 1000 to 1500 rows, counted by SmolLM2's tokenizer.
INSTRUCTIONS: Mapping[str, tuple[tuple[int, float, float], ...]] = {
    "kit:alpaca": ((64, 63.3, 17.9), (128, 110.0, 56.3), (256, 167.1, 112.3), (512, 203.7, 149.0)),
    "kit:commonsense": ((64, 46.5, 4.0), (128, 58.6, 6.1), (256, 93.1, 9.6), (512, 103.3, 12.9)),
}

# Mean tokens of a text with its end token: 200 rows (wiki: all 30), counted by SmolLM2's tokenizer.
TEXTS: Mapping[str, float] = {
    "kit:boolq-passages": 138, "kit:boolq-passages-heldout": 125, "kit:c4": 596, "kit:coqa": 344,
    "kit:lambada": 80, "kit:squad": 184, "kit:wiki": 7675,
}  # fmt: skip


@dataclass(frozen=True)
class RowLength:
    """The mean sequence of a source.

    Attributes:
        tokens: Tokens read.
        targets: Tokens predicted.
        known: Whether the length was measured; otherwise a full sequence is assumed.
    """

    tokens: float
    targets: float
    known: bool

    def repeat(self, count: float) -> Work:
        """Return the work of so many sequences."""
        return Work(count * self.tokens, count * self.targets, self.tokens)


def guess_row(source: str, *, length: int) -> RowLength:
    """Return the mean sequence of a source when its rows are cut at `length` tokens.

    Plain text is packed, so its sequences are full; so are, as an upper bound, those of unknown sources.
    """
    table = INSTRUCTIONS.get(source)
    if table is None:
        return RowLength(length, length - 1, known=False)
    if length >= table[-1][0]:
        return RowLength(*table[-1][1:], known=True)
    if length <= table[0][0]:
        share = length / table[0][0]
        return RowLength(share * table[0][1], share * table[0][2], known=True)
    place = next(index for index, entry in enumerate(table) if entry[0] > length)
    below, above = table[place - 1], table[place]
    share = (length - below[0]) / (above[0] - below[0])
    tokens, targets = ((1 - share) * a + share * b for a, b in zip(below[1:], above[1:], strict=True))
    return RowLength(tokens, targets, known=True)


def count_sequences(source: str, *, rows: int, length: int) -> float:
    """Return how many sequences the rows of a source make: texts are joined and cut, others are one each."""
    return rows * TEXTS[source] / length if source in TEXTS else float(rows)
