"""A cheap score of each option of each slot; the score of an allocation is the sum."""

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
OLD = 1  # named its space by a digest that spaces no longer have; its options say whether it fits


@dataclass(frozen=True)
class ScoreTable:
    """A score of allocations that is a sum over slots of a score of the slot's option.

    Scores order the allocations of one space. They are not nats, and those of two spaces or two kinds cannot
    be compared.

    Attributes:
        kind: How it was measured: `spectra`, `variance`, `reconstruction`, or a name of your own.
        space: Digest of the space it belongs to; empty where only the options tell.
        options: Options of every slot, as in the space.
        worths: Score of every option of every slot, same shape.
        tokens: Tokens that measuring it ran through the model.
    """

    kind: str
    space: str
    options: tuple[tuple[Label, ...], ...] = field(repr=False)
    worths: tuple[tuple[float, ...], ...] = field(repr=False)
    tokens: int = 0

    def __post_init__(self) -> None:
        if [len(row) for row in self.options] != [len(row) for row in self.worths]:
            raise InputError("worths and options differ in shape. Give one worth for each option of a slot.")
        if not all(np.isfinite(row).all() for row in self.worths):
            raise InputError("some worths are not finite. Measure again, on other sequences or in float32.")

    def score(self, choices: ArrayLike) -> NDArray[np.float64]:
        """Return the scores `(n,)` of choices `(n, n_slots)`; more is better.

        Raises:
            InputError: If a slot has no such option, or the number of slots is wrong.
        """
        given = np.asarray(choices)
        if given.ndim != 2 or given.shape[1] != len(self.options):
            raise InputError(f"choices of shape {given.shape}; allowed is (n, {len(self.options)}).")
        total = np.zeros(len(given))
        for column, worths in enumerate(self.worths):
            if ((given[:, column] < 0) | (given[:, column] >= len(worths))).any():
                raise InputError(f"slot {column}: it has {len(worths)} options, counted from 0.")
            total += np.asarray(worths)[given[:, column]]
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
            "worths": [list(row) for row in self.worths],
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
                worths=tuple(tuple(float(value) for value in row) for row in data["worths"]),
                tokens=int(data["tokens"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"not a table of scores: {error!r}. Write it with to_json().") from error
