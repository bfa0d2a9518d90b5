"""A mixture of predictors, weighted by how well each predicts records that were left out of its fit."""

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
LEAST_ALLOCATIONS = 4  # allocations from which members are cross-validated
LIKELIHOOD_POWER = 0.5  # below 1, because left-out predictions of one setting are not independent


@dataclass(frozen=True)
class Ensemble:
    """A mixture of predictors.

    Before the first records only `pretrained` members have a weight, if there are any. From four allocations
    on, each member is cross-validated, and its weight is the likelihood of the left-out records, to the power
    of `LIKELIHOOD_POWER`.

    Attributes:
        members: At least one.
        weights: One per member, summing to 1.
        seed: Assignment to folds.
    """

    members: tuple[Predictor, ...]
    weights: tuple[float, ...] = ()
    seed: int = 0
    name: str = dataclasses.field(default="ensemble", init=False)

    @property
    def pretrained(self) -> bool:
        """Whether any member predicts gains before the first record."""
        return any(member.pretrained for member in self.members)

    def predict(self, space: Space, allocations: Choices) -> Prediction:
        """Predict gains; see `Predictor`."""
        array = read_choices(space, allocations)
        weights = self.weights or self._weigh_without_records()
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
        """Condition every member on all records and weight it by cross-validation; see `Predictor`."""
        observations = gather_observations(space, records)
        members = tuple(member.update(space, records) for member in self.members)
        count = len(observations)
        if count < LEAST_ALLOCATIONS:
            return dataclasses.replace(self, members=members, weights=())
        fold = assign_folds(count, folds=FOLDS, seed=self.seed)
        log_likelihoods = np.zeros(len(members))
        for left_out in range(int(fold.max()) + 1):
            rows = fold == left_out
            kept = {observations.labels[row] for row in np.flatnonzero(~rows)}
            seen = [record for record in records if record.values in kept]
            for index, member in enumerate(self.members):
                prediction = member.update(space, seen).predict(space, observations.choices[rows])
                log_likelihoods[index] += _compute_log_likelihood(
                    prediction, observations.gains[rows], observations.spread
                )
        weights = np.exp(LIKELIHOOD_POWER * (log_likelihoods - log_likelihoods.max())) + 1e-3
        return dataclasses.replace(self, members=members, weights=tuple((weights / weights.sum()).tolist()))

    def _weigh_without_records(self) -> tuple[float, ...]:
        used = [float(member.pretrained or not self.pretrained) for member in self.members]
        return tuple(each / sum(used) for each in used)


def _compute_log_likelihood(prediction: Prediction, gains: Floats, spread: float) -> float:
    """Return the log likelihood of measured gains."""
    variance = prediction.std**2 + prediction.noise**2 + 1e-4 * spread**2
    return float(-0.5 * ((gains - prediction.mean) ** 2 / variance + np.log(variance)).sum())
