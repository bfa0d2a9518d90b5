"""Scores of the options of each slot; the score of an allocation is their sum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rankadaptor.errors import InputError
from rankadaptor.space.slot import Label, read_label

if TYPE_CHECKING:
    from rankadaptor.space import Space

SCHEMA = 2
OLD = 1  # has a digest of the space that is no longer in use; its options are compared instead


@dataclass(frozen=True)
class ScoreTable:
    """A score of allocations that is a sum of scores of the slots' options.

    Scores order the allocations of one space. They are not in nats, and scores of different spaces or kinds
    cannot be compared.

    Attributes:
        kind: How it was measured: `spectra`, `variance`, `reconstruction`, or a name of your own.
        space: Digest of the space it belongs to; empty in tables of schema 1.
        options: Options of every slot, as in the space.
        option_scores: Score of every option of every slot, same shape.
        tokens: Tokens that the measurement ran through the model.
    """

    kind: str
    space: str
    options: tuple[tuple[Label, ...], ...] = field(repr=False)
    option_scores: tuple[tuple[float, ...], ...] = field(repr=False)
    tokens: int = 0

    def __post_init__(self) -> None:
        if [len(row) for row in self.options] != [len(row) for row in self.option_scores]:
            raise InputError(
                "option_scores and options differ in shape. Give one score for each option of a slot."
            )
        if not all(np.isfinite(row).all() for row in self.option_scores):
            raise InputError("some scores are not finite. Measure again, on other sequences or in float32.")

    def score(self, choices: ArrayLike) -> NDArray[np.float64]:
        """Return the scores `(n,)` of choices `(n, n_slots)`; more is better.

        Raises:
            InputError: If a slot has no such option, or the number of slots is wrong.
        """
        given = np.asarray(choices)
        if given.ndim != 2 or given.shape[1] != len(self.options):
            raise InputError(f"choices of shape {given.shape}; allowed is (n, {len(self.options)}).")
        total = np.zeros(len(given))
        for column, scores in enumerate(self.option_scores):
            if ((given[:, column] < 0) | (given[:, column] >= len(scores))).any():
                raise InputError(f"slot {column}: it has {len(scores)} options, counted from 0.")
            total += np.asarray(scores)[given[:, column]]
        return total

    def check_space(self, space: Space) -> None:
        """Check that this table was measured for `space`.

        Raises:
            InputError: If it was not.
        """
        same_options = self.options == tuple(slot.options for slot in space.slots)
        if not same_options or self.space not in ("", space.digest):
            raise InputError(
                f"these scores belong to space {self.space or 'of other options'}, given is {space.digest}. "
                "Measure them again for this space."
            )

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-like dict."""
        return {
            "schema": SCHEMA,
            "kind": self.kind,
            "space": self.space,
            "tokens": self.tokens,
            "options": [list(row) for row in self.options],
            "worths": [list(row) for row in self.option_scores],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Rebuild a table from `to_json`.

        Raises:
            InputError: If it is of another schema, or a field is missing or wrong.
        """
        try:
            if data["schema"] not in (OLD, SCHEMA):
                raise InputError(
                    f"scores of schema {data['schema']!r}, this version reads {OLD} and {SCHEMA}."
                )
            return cls(
                kind=str(data["kind"]),
                space=str(data["space"]) if data["schema"] == SCHEMA else "",
                options=tuple(tuple(read_label(value) for value in row) for row in data["options"]),
                option_scores=tuple(tuple(float(value) for value in row) for row in data["worths"]),
                tokens=int(data["tokens"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"not a table of scores: {error!r}. Write it with to_json().") from error
