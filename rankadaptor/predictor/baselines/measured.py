"""No prediction: measured allocations have their measured gain, all others are alike. For blind searches."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rankadaptor.predictor.observations import gather_observations, read_choices
from rankadaptor.predictor.prediction import Choices, Prediction

if TYPE_CHECKING:
    from rankadaptor.corpus import Record
    from rankadaptor.space import Space


@dataclass(frozen=True)
class Measured:
    """Knows what was measured and predicts nothing.

    All other allocations have the smallest measured gain, so a search that ranks candidates by it takes them
    in the order in which they were drawn.
    """

    gains: dict[tuple[int, ...], float] = dataclasses.field(default_factory=dict, repr=False, compare=False)
    name: str = dataclasses.field(default="measured", init=False)
    pretrained: bool = dataclasses.field(default=True, init=False)

    def predict(self, space: Space, allocations: Choices) -> Prediction:
        """Return measured gains; see `Predictor`."""
        array = read_choices(space, allocations)
        least = min(self.gains.values(), default=0.0)
        mean = np.full(len(array), least)
        std = np.ones(len(array))
        for row, choices in enumerate(map(tuple, array.tolist())):
            if choices == space.origin:
                mean[row], std[row] = 0.0, 0.0
            elif choices in self.gains:
                mean[row], std[row] = self.gains[choices], 0.0
        return Prediction(mean=mean, std=std)

    def update(self, space: Space, records: Sequence[Record]) -> Measured:
        """Remember all records; see `Predictor`."""
        seen = gather_observations(space, records)
        gains = zip(map(tuple, seen.choices.tolist()), seen.gains.tolist(), strict=True)
        return Measured(dict(gains))
