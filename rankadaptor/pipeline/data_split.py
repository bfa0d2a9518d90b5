"""Training and held-out rows of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rankadaptor.config import RunConfig
from rankadaptor.data import Row, TokenSequence, load_rows, tokenise_rows
from rankadaptor.errors import InputError


@dataclass(frozen=True)
class DataSplit:
    """Training and held-out rows as arguments of `load_rows`, so that every process loads the same.

    Attributes:
        train: Arguments that load the training rows.
        held_out: Arguments that load the held-out rows.
    """

    train: dict[str, Any]
    held_out: dict[str, Any]

    def load(self) -> tuple[list[Row], list[Row]]:
        """Load training and held-out rows; a training row that is also held out is dropped.

        Raises:
            InputError: If a source cannot be read or nothing is left to train on.
        """
        held_out = load_rows(**self.held_out)
        taken = set(held_out)
        train = [row for row in load_rows(**self.train) if row not in taken]
        if not train:
            raise InputError(
                f"{self.train['source']}: no row is left to train on after {len(held_out)} were held out. "
                "Give more rows, or lower data.held_out_rows."
            )
        return train, held_out


def split_data(config: RunConfig) -> DataSplit:
    """Divide the rows into training and held-out ones, by one seeded shuffle so that they are disjoint."""
    data = config.data
    own = data.held_out is not None
    return DataSplit(
        train={
            "source": data.train,
            "limit": data.train_rows,
            "skip": 0 if own else data.held_out_rows,
            "seed": config.seed,
        },
        held_out={
            "source": data.held_out if own else data.train,
            "limit": data.held_out_rows,
            "skip": 0,
            "seed": config.seed,
        },
    )


def tokenise_split(
    config: RunConfig, train: Sequence[Row], held_out: Sequence[Row], tokenizer: Any, *, model: Any
) -> tuple[list[TokenSequence], list[TokenSequence]]:
    """Tokenise the training and the held-out rows of a run.

    Raises:
        InputError: If there is nothing to learn in one of them, or the model cannot read them.
    """
    data, length = config.data, config.recipe.sequence_length
    parts = ((train, data.train), (held_out, data.held_out or f"{data.train} (held out)"))
    trained, scored = (
        tokenise_rows(rows, tokenizer, max_length=length, model=model, source=source)
        for rows, source in parts
    )
    return trained, scored
