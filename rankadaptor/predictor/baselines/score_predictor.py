"""A score without training as a predictor: gains are linear in the score, with a slope learned online."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from rankadaptor.features import read_coordinates
from rankadaptor.predictor.observations import gather_observations, read_choices
from rankadaptor.predictor.prediction import Choices, Floats, Prediction

if TYPE_CHECKING:
    from rankadaptor.corpus import Record
    from rankadaptor.space import Space

SIZE = 0.005
"""Prior SD of the gains in a space, nats per token."""
PRIOR_RECORDS = 2.0
SAMPLE = 256


class Score(Protocol):
    """A score of the allocations of one space, for example a `rankadaptor.features.ScoreTable`."""

    def score(self, choices: NDArray[np.int64]) -> Floats:
        """Return `(n,)` scores of choices `(n, n_slots)`; more is better."""


@dataclass(frozen=True)
class _Line:
    """gain = slope · standardised score + residual: SD of the slope, of the residual and of the noise."""

    slope: float
    slope_std: float
    unexplained: float
    noise: float


@dataclass(frozen=True)
class ScorePredictor:
    """Predicts gains from a score that is measured without training.

    Before the first record the slope is `SIZE` per standard deviation of the score. The records then
    determine the slope, which can be 0 or negative, and the residual variance.

    Attributes:
        table: Scores allocations of one space.
        name: Name in results, for example `score:spectra`.
    """

    table: Score
    name: str = "score"
    line: _Line = _Line(SIZE, SIZE, SIZE, 0.0)
    pretrained: bool = dataclasses.field(default=True, init=False)

    def predict(self, space: Space, allocations: Choices) -> Prediction:
        """Predict gains; see `Predictor`."""
        array = read_choices(space, allocations)
        scores, distances = self._standardise(space, array)
        variance = (self.line.slope_std * scores) ** 2 + (self.line.unexplained * distances) ** 2
        return Prediction(mean=self.line.slope * scores, std=np.sqrt(variance), noise=self.line.noise)

    def update(self, space: Space, records: Sequence[Record]) -> ScorePredictor:
        """Fit the slope to all records; see `Predictor`."""
        observations = gather_observations(space, records)
        if not len(observations):
            return dataclasses.replace(self, line=_Line(SIZE, SIZE, SIZE, 0.0))
        scores, _ = self._standardise(space, observations.choices)
        spread = observations.spread
        gains = observations.scale_gains(spread) * spread
        # The prior slope is half the spread, with the weight of `PRIOR_RECORDS` records.
        weight = PRIOR_RECORDS + float(scores @ scores)
        slope = (PRIOR_RECORDS * 0.5 * spread + float(scores @ gains)) / weight
        count = len(gains)
        rest = (float(((gains - slope * scores) ** 2).sum()) + PRIOR_RECORDS * spread**2) / (
            count + PRIOR_RECORDS
        )
        noise = observations.noise if observations.noise is not None else float(np.sqrt(rest / 2.0))
        line = _Line(
            slope=slope,
            slope_std=float(np.sqrt(rest / weight)),
            unexplained=float(np.sqrt(max(rest - noise**2, rest / 4.0))),
            noise=noise,
        )
        return dataclasses.replace(self, line=line)

    def _standardise(self, space: Space, choices: NDArray[np.int64]) -> tuple[Floats, Floats]:
        """Return scores minus the origin's, and distances from it; of unit mean square over the space."""
        origin = np.asarray(space.origin)[None]
        sample = space.sample_choices(SAMPLE, 0)
        scores = self.table.score(np.concatenate([origin, sample, choices]))
        scores = scores - scores[0]
        size = float(np.sqrt(np.mean(scores[1 : 1 + SAMPLE] ** 2))) or 1.0
        far = np.sqrt(
            (read_coordinates(space, np.concatenate([sample, choices])) ** 2).sum(axis=1) / space.n_slots
        )
        usual = float(np.sqrt(np.mean(far[:SAMPLE] ** 2))) or 1.0
        return scores[1 + SAMPLE :] / size, far[SAMPLE:] / usual
