"""Scores measured beforehand, one table a space, as one predictor that finds the table by itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from rankadaptor.errors import InputError
from rankadaptor.features import ScoreTable
from rankadaptor.predictor.prediction import Prediction, Predictor, Values
from rankadaptor.predictor.score_predictor import ScorePredictor

if TYPE_CHECKING:
    from rankadaptor.corpus import Record
    from rankadaptor.space import Space

Tables: TypeAlias = Mapping[str, ScoreTable]
"""Tables of one kind of score by the digest of their space."""


@dataclass(frozen=True)
class TabledScore:
    """`ScorePredictor` over whichever of the tables belongs to the space at hand.

    Attributes:
        tables: By the space's digest.
        name: For results.
    """

    tables: Tables = dataclasses.field(repr=False, compare=False)
    name: str = "score"
    pretrained: bool = dataclasses.field(default=True, init=False)

    def predict(self, space: Space, values: Values) -> Prediction:
        """Predict gains; see `Predictor`.

        Raises:
            InputError: If the score was not measured for this space.
        """
        return self._find(space).predict(space, values)

    def update(self, space: Space, records: Sequence[Record]) -> Predictor:
        """Fit the size to all records; see `Predictor`.

        Raises:
            InputError: If the score was not measured for this space.
        """
        return self._find(space).update(space, records)

    def _find(self, space: Space) -> ScorePredictor:
        table = self.tables.get(space.digest)
        if table is None:
            raise InputError(
                f"{self.name} was not measured for space {space.digest}, only for {', '.join(self.tables)}. "
                "Measure it there first."
            )
        return ScorePredictor(table, name=self.name)
