"""Several predictors as one, each weighted by how well it foresaw records that it had not seen."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rankadaptor.predictor.calibration import assign_folds
from rankadaptor.predictor.observations import gather_observations, read_choices
from rankadaptor.predictor.prediction import Choices, Floats, Prediction, Predictor

if TYPE_CHECKING:
    from rankadaptor.corpus import Record
    from rankadaptor.space import Space

FOLDS = 3
ENOUGH = 4  # usable allocations before members are judged
CAUTION = 0.5  # power of the likelihood: left-out predictions of one setting are not independent


@dataclass(frozen=True)
class Ensemble:
    """A mixture of predictors.

    Before the first records only members that are `pretrained` speak. From four allocations on each member
    is conditioned on parts of the records and judged on the rest; its weight is the likelihood it gave them.

    Attributes:
        members: At least one.
        weights: One per member, summing to 1.
        seed: Folds.
    """

    members: tuple[Predictor, ...]
    weights: tuple[float, ...] = ()
    seed: int = 0
    name: str = dataclasses.field(default="ensemble", init=False)

    @property
    def pretrained(self) -> bool:
        """Whether it says something useful before the first record."""
        return any(member.pretrained for member in self.members)

    def predict(self, space: Space, allocations: Choices) -> Prediction:
        """Predict gains; see `Predictor`."""
        array = read_choices(space, allocations)
        weights = self.weights or self._weigh_blindly()
        parts = [
            (weight, member.predict(space, array))
            for weight, member in zip(weights, self.members, strict=True)
            if weight > 0.0
        ]
        mean = np.sum([weight * part.mean for weight, part in parts], axis=0)
        second = np.sum([weight * (part.std**2 + part.mean**2) for weight, part in parts], axis=0)
        noise = float(np.sqrt(sum(weight * part.noise**2 for weight, part in parts)))
        return Prediction(mean=mean, std=np.sqrt(np.maximum(second - mean**2, 0.0)), noise=noise)

    def update(self, space: Space, records: Sequence[Record]) -> Ensemble:
        """Condition every member on all records and judge it; see `Predictor`."""
        observations = gather_observations(space, records)
        members = tuple(member.update(space, records) for member in self.members)
        count = len(observations)
        if count < ENOUGH:
            return dataclasses.replace(self, members=members, weights=())
        fold = assign_folds(count, folds=FOLDS, seed=self.seed)
        logs = np.zeros(len(members))
        for left_out in range(int(fold.max()) + 1):
            rows = fold == left_out
            kept = {observations.labels[row] for row in np.flatnonzero(~rows)}
            seen = [record for record in records if record.values in kept]
            for index, member in enumerate(self.members):
                prediction = member.update(space, seen).predict(space, observations.choices[rows])
                logs[index] += _score(prediction, observations.gains[rows], observations.spread)
        weights = np.exp(CAUTION * (logs - logs.max())) + 1e-3
        return dataclasses.replace(self, members=members, weights=tuple((weights / weights.sum()).tolist()))

    def _weigh_blindly(self) -> tuple[float, ...]:
        speak = [float(member.pretrained or not self.pretrained) for member in self.members]
        return tuple(each / sum(speak) for each in speak)


def _score(prediction: Prediction, gains: Floats, spread: float) -> float:
    """Return the log likelihood of measured gains."""
    variance = prediction.std**2 + prediction.noise**2 + 1e-4 * spread**2
    return float(-0.5 * ((gains - prediction.mean) ** 2 / variance + np.log(variance)).sum())
