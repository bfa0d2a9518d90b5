"""Texts for calibration, search, training and judging that share no document."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from rankadaptor.data.model_limits import check_length, find_positions
from rankadaptor.data.places import label_source
from rankadaptor.data.row import Row
from rankadaptor.data.rows import Source, load_rows
from rankadaptor.data.sequences import TokenSequence
from rankadaptor.data.windows import Documents, mix_windows
from rankadaptor.errors import InputError

logger = logging.getLogger(__name__)

CALIBRATION, SEARCH, TRAINING, JUDGING, OTHER = "calibration", "search", "training", "judging", "other"
MIXED = (CALIBRATION, SEARCH, TRAINING)
TOKENS: Mapping[str, int] = MappingProxyType(
    {CALIBRATION: 16_384, SEARCH: 8_192, TRAINING: 65_536, JUDGING: 32_768, OTHER: 32_768}
)
"""Tokens of each set by default."""


@dataclass(frozen=True)
class TextSet:
    """One set of texts.

    Attributes:
        sequences: Windows of equal length, none padded; any leading part mixes the sources evenly.
        rows: The documents they were cut from, as `load_rows` returns rows.
    """

    sequences: tuple[TokenSequence, ...]
    rows: tuple[Row, ...]

    @property
    def tokens(self) -> int:
        """Number of tokens in the windows."""
        return sum(map(len, self.sequences))


@dataclass(frozen=True)
class TextSets:
    """Texts that share no document.

    Attributes:
        calibration: For importances and importance weights of quantisation.
        search: What scores are measured on.
        training: For recovery.
        judging: Seen by nothing that was chosen or trained.
        other: The same, of another domain; None where no source was given.
    """

    calibration: TextSet
    search: TextSet
    training: TextSet
    judging: TextSet
    other: TextSet | None


def build_text_sets(
    tokenizer: Any,
    *,
    sources: Sequence[Source],
    judging: Source | None = None,
    other: Source | None = None,
    length: int = 256,
    tokens: Mapping[str, int] | None = None,
    seed: int = 0,
    model: Any | None = None,
) -> TextSets:
    """Cut texts into windows for calibration, search, training and judging, disjoint by document.

    A document belongs to the set that took its first window; one that occurs in several sources counts as
    one, whatever its spacing. Judging sets take theirs first, so more training text does not change them.
    Calibration, search and training draw from all sources in turn, because a search on text of one domain
    overfits it.

    Args:
        tokenizer: The model's tokenizer.
        sources: Sources of calibration, search and training, each whatever `load_rows` takes; one source is
            a list of one.
        judging: Source of the judging set; documents of `sources` by default.
        other: Source of another domain.
        length: Tokens of a window.
        tokens: Set → tokens wanted, in place of `TOKENS`; rounded up to whole windows.
        seed: Of the order of documents.
        model: The model that is to read the windows; if given, it is checked that it can.

    Raises:
        InputError: If a name or number makes no sense, a source has too little text, or the model cannot
            read it.
    """
    wanted = {**TOKENS, **(tokens or {})}
    if unknown := sorted(set(wanted) - set(TOKENS)):
        raise InputError(f"tokens names {', '.join(unknown)}. The sets are {', '.join(TOKENS)}.")
    if length < 2 or min(wanted.values()) < 1:
        raise InputError(f"length={length}, tokens={wanted}: at least 2 and 1. Give greater numbers.")
    if model is not None:
        check_length(length, find_positions(model.config.to_dict()), what="length")
    if isinstance(sources, str | bytes) or not len(sources):
        raise InputError(f"sources={sources!r}: must be a list of sources. Give at least one, [source].")
    mixed = [_open(source, seed=seed) for source in sources]
    own = {
        JUDGING: mixed if judging is None else [_open(judging, seed=seed)],
        OTHER: None if other is None else [_open(other, seed=seed)],
    }
    taken: set[str] = set()
    sets: dict[str, TextSet | None] = {}
    for name in (JUDGING, OTHER, *MIXED):
        documents = own.get(name, mixed)
        if documents is None:
            sets[name] = None
            continue
        count = -(-wanted[name] // length)
        windows, rows = mix_windows(
            documents, tokenizer, count=count, length=length, taken=taken, model=model
        )
        if len(windows) < count:
            _refuse_short(name, documents, windows=len(windows), count=count, length=length)
        sets[name] = TextSet(tuple(windows), tuple(rows))
    made = {name: found for name, found in sets.items() if found is not None}
    sizes = ", ".join(f"{name} {made[name].tokens:,} tokens" for name in TOKENS if name in made)
    logger.info("texts: %s", sizes)
    return TextSets(**{name: made[name] for name in (*MIXED, JUDGING)}, other=sets[OTHER])


def _open(source: Any, *, seed: int) -> Documents:
    return Documents(load_rows(source), name=label_source(source), seed=seed)


def _refuse_short(
    name: str, documents: Sequence[Documents], *, windows: int, count: int, length: int
) -> None:
    fewer = f"tokens={{{name!r}: {windows * length}}} or fewer" if windows else "other numbers of tokens"
    raise InputError(
        f"{', '.join(each.name for each in documents)}: too little text for the {name} set: it gives "
        f"{windows} windows of {length} tokens, {count} are wanted. Give more text, {fewer}, or a length "
        f"below {length}."
    )
