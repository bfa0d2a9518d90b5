"""What each rank of each slot is worth by some cheap score; the score of an allocation is the sum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rankadaptor.errors import InputError
from rankadaptor.space.slot import RANK

if TYPE_CHECKING:
    from rankadaptor.space import Space

SCHEMA = 1


@dataclass(frozen=True)
class ScoreTable:
    """A score that is a sum over slots of a concave function of the slot's option.

    Scores order the allocations of one space. They are not nats, and those of two spaces or two kinds cannot
    be compared.

    Attributes:
        kind: How it was measured: `spectra`, `variance`, `reconstruction`, or a name of your own.
        space: Digest of the space it belongs to.
        options: Options of every slot, as in the space.
        worths: Worth of every option of every slot, same shape.
        tokens: Tokens that measuring it ran through the model.
    """

    kind: str
    space: str
    options: tuple[tuple[int, ...], ...] = field(repr=False)
    worths: tuple[tuple[float, ...], ...] = field(repr=False)
    tokens: int = 0

    def __post_init__(self) -> None:
        if [len(row) for row in self.options] != [len(row) for row in self.worths]:
            raise InputError("worths and options differ in shape. Give one worth for each option of a slot.")
        if not all(np.isfinite(row).all() for row in self.worths):
            raise InputError("some worths are not finite. Measure again, on other sequences or in float32.")

    def score(self, values: ArrayLike) -> NDArray[np.float64]:
        """Return the scores `(n,)` of allocations `(n, n_slots)`; more is better.

        Raises:
            InputError: If a value is not an option of its slot, or their number is wrong.
        """
        given = np.asarray(values)
        if given.ndim != 2 or given.shape[1] != len(self.options):
            raise InputError(f"values of shape {given.shape}; allowed is (n, {len(self.options)}).")
        total = np.zeros(len(given))
        for column, (options, worths) in enumerate(zip(self.options, self.worths, strict=True)):
            place = np.searchsorted(options, given[:, column]).clip(max=len(options) - 1)
            if (np.asarray(options)[place] != given[:, column]).any():
                raise InputError(f"slot {column}: a value is not one of its options {options}.")
            total += np.asarray(worths)[place]
        return total

    def check_space(self, space: Space) -> None:
        """Check that this table was measured for `space`.

        Raises:
            InputError: If it was not.
        """
        if space.digest != self.space:
            raise InputError(
                f"these scores belong to space {self.space}, given is {space.digest}. Measure them again for "
                "this space."
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
            if data["schema"] != SCHEMA:
                raise InputError(f"scores of schema {data['schema']!r}, this version reads {SCHEMA}.")
            return cls(
                kind=str(data["kind"]),
                space=str(data["space"]),
                options=tuple(tuple(int(value) for value in row) for row in data["options"]),
                worths=tuple(tuple(float(value) for value in row) for row in data["worths"]),
                tokens=int(data["tokens"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"not a table of scores: {error!r}. Write it with to_json().") from error


def build_score_table(
    kind: str, space: Space, worth_by_module: Mapping[str, Sequence[float]], *, tokens: int = 0
) -> ScoreTable:
    """Add the modules of each slot up.

    Args:
        kind: Name of the score.
        space: Its slots share one rank among their modules.
        worth_by_module: For each module the worth of each of its rank-one terms, the best first; a rank's
            worth is the sum of the first ones. Ranks beyond the end add nothing.
        tokens: Tokens run through the model.

    Raises:
        InputError: If a module is missing.
    """
    if missing := [name for name in space.uniform().by_module() if name not in worth_by_module]:
        raise InputError(f"no scores for {missing[0]} ({len(missing)} missing). Measure this very model.")
    worths = []
    for slot in space.slots:
        if slot.role != RANK:  # a score of ranks has no opinion on scales
            worths.append((0.0,) * len(slot.options))
            continue
        total = np.zeros(slot.options[-1] + 1)
        for name in slot.modules:
            terms = np.asarray(worth_by_module[name], dtype=float)[: slot.options[-1]]
            grown = np.concatenate([[0.0], np.cumsum(terms)])
            total += np.pad(grown, (0, len(total) - len(grown)), mode="edge")
        worths.append(tuple(float(total[option]) for option in slot.options))
    return ScoreTable(
        kind=kind,
        space=space.digest,
        options=tuple(slot.options for slot in space.slots),
        worths=tuple(worths),
        tokens=tokens,
    )
