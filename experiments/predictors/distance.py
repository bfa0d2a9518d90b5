"""Baseline predictor: gains decrease with distance from uniform."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rankadaptor.features import ScoreTable
from rankadaptor.predictor.baselines.score_predictor import ScorePredictor
from rankadaptor.predictor.prediction import Choices, Prediction

if TYPE_CHECKING:
    from rankadaptor.corpus import Record
    from rankadaptor.space import Space


@dataclass(frozen=True)
class Distance:
    """Negative mean absolute coordinate, with a scale learned online.

    It only proposes neighbours of uniform, so it is useless for a search. But random allocations are far from
    uniform and most perform worse, so a high τ may reflect nothing else.
    """

    seen: tuple[Space, tuple[Record, ...]] | None = dataclasses.field(default=None, repr=False, compare=False)
    name: str = dataclasses.field(default="distance", init=False)
    pretrained: bool = dataclasses.field(default=True, init=False)

    def predict(self, space: Space, allocations: Choices) -> Prediction:
        """Predict gains; see `Predictor`."""
        predictor = ScorePredictor(_tabulate(space), name=self.name)
        if self.seen is not None and self.seen[0] == space:
            predictor = predictor.update(space, self.seen[1])
        return predictor.predict(space, allocations)

    def update(self, space: Space, records: Sequence[Record]) -> Distance:
        """Keep the records, to fit the scale; see `Predictor`."""
        return dataclasses.replace(self, seen=(space, tuple(records)))


def _tabulate(space: Space) -> ScoreTable:
    ratios = [tuple(-sum(map(abs, vector)) for vector in slot.coordinates) for slot in space.slots]
    return ScoreTable("distance", space.digest, tuple(slot.options for slot in space.slots), tuple(ratios))
