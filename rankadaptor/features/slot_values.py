"""Values of single options of slots; the value of an allocation is approximated by their sum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from rankadaptor.errors import InputError
from rankadaptor.features.score_table import ScoreTable
from rankadaptor.space.slot import Label, read_label

if TYPE_CHECKING:
    from rankadaptor.space import Space

Floats = NDArray[np.float64]
SCHEMA = 1


@dataclass(frozen=True)
class SlotValues:
    """One value per option of each slot; the value of an allocation is the sum, and less is better.

    Values of a sweep are increases of the KL divergence to the first reference, in nats per token. Values
    made from scores (`of_scores`) have no unit: they only order allocations. They belong to the options of a
    space and not to its limits, so one sweep serves spaces of several sizes.

    Attributes:
        options: Labels of the options of every slot, as in the space.
        values: One row per slot, one number per option.
        measured: Number of measurements behind them; 0 where nothing was measured.
    """

    options: tuple[tuple[Label, ...], ...] = field(repr=False)
    values: tuple[tuple[float, ...], ...] = field(repr=False)
    measured: int = 0

    def __post_init__(self) -> None:
        if [len(row) for row in self.options] != [len(row) for row in self.values]:
            raise InputError("values and options differ in shape. Give one value for each option of a slot.")
        if not all(np.isfinite(row).all() for row in self.values):
            raise InputError("some slot values are not finite. Measure again, or leave out what failed.")

    @classmethod
    def of_rows(cls, space: Space, rows: Sequence[Sequence[float]], *, measured: int = 0) -> Self:
        """Make slot values from one row per slot; entries beyond a slot's options are ignored."""
        options = tuple(slot.options for slot in space.slots)
        values = tuple(
            tuple(float(value) for value in row[: len(own)]) for row, own in zip(rows, options, strict=True)
        )
        return cls(options, values, measured)

    @classmethod
    def of_scores(cls, space: Space, scores: ScoreTable | Sequence[Sequence[float]]) -> Self:
        """Make slot values from scores of options, where **more** score is better.

        Args:
            space: The space.
            scores: A score table, or one row per slot with one number per option.

        Raises:
            InputError: If the scores do not fit the space's options.
        """
        rows = scores.option_scores if isinstance(scores, ScoreTable) else scores
        if len(rows) != space.n_slots:
            raise InputError(
                f"scores of {len(rows)} slots for a space of {space.n_slots}. Give one row per slot."
            )
        return cls.of_rows(space, [[-float(score) for score in row] for row in rows])

    def as_array(self, space: Space) -> Floats:
        """Return the values as an array `(n_slots, n_options)`; rows of short slots repeat their last value.

        Raises:
            InputError: If the space has other options.
        """
        if self.options != tuple(slot.options for slot in space.slots):
            raise InputError(
                f"these slot values belong to other options than those of {space}. Run the sweep on this "
                "space, or build the space with the options that were measured."
            )
        padded = np.zeros((space.n_slots, space.tables.n_options))
        for row, values in enumerate(self.values):
            padded[row, : len(values)], padded[row, len(values) :] = values, values[-1]
        return padded

    def sum_values(self, space: Space, choices: NDArray[np.int64]) -> Floats:
        """Return the sum over slots for each row of choices `(n, n_slots)`, shape `(n,)`."""
        total: Floats = self.as_array(space)[space.tables.columns, choices].sum(axis=1)
        return total

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-like dict."""
        return {
            "schema": SCHEMA,
            "measured": self.measured,
            "options": [
                [list(label) if isinstance(label, tuple) else label for label in row] for row in self.options
            ],
            "values": [list(row) for row in self.values],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Rebuild slot values from `to_json`.

        Raises:
            InputError: If a field is missing or wrong.
        """
        try:
            if data["schema"] != SCHEMA:
                raise InputError(f"slot values of schema {data['schema']!r}, this version reads {SCHEMA}.")
            return cls(
                options=tuple(tuple(read_label(label) for label in row) for row in data["options"]),
                values=tuple(tuple(float(value) for value in row) for row in data["values"]),
                measured=int(data["measured"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"not slot values: {error!r}. Write them with to_json().") from error
