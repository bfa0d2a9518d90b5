"""An ensemble of gradient-boosted trees."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rankadaptor.features import mean_features, read_coordinates
from rankadaptor.predictor.calibration import Calibration, assign_folds, calibrate
from rankadaptor.predictor.observations import gather_observations, read_choices
from rankadaptor.predictor.prediction import Choices, Floats, Prediction, predict_without_records
from rankadaptor.requirements import XGBOOST, load_package

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rankadaptor.corpus import Record
    from rankadaptor.space import Space

FOLDS = 5


@dataclass(frozen=True)
class BoostedTreesFit:
    """Fitted boosters, the unit of their outputs in nats per token, and their calibration."""

    boosters: tuple[Any, ...]
    spread: float
    calibration: Calibration


@dataclass(frozen=True)
class BoostedTrees:
    """Shallow boosted trees (xgboost) on log-ratios of the options and their means over kinds and blocks.

    Each member is fitted to a bootstrap of the records, and each tree to a third of the columns; the
    disagreement of the members is the standard deviation. Trees need more records than the other predictors.

    Attributes:
        members: Boosters.
        trees: Trees per booster.
        depth: Largest depth of a tree.
        learning_rate: Shrinkage of each tree.
        seed: Bootstrap, columns and folds.
    """

    members: int = 5
    trees: int = 60
    depth: int = 2
    learning_rate: float = 0.1
    seed: int = 0
    fitted: BoostedTreesFit | None = dataclasses.field(default=None, repr=False, compare=False)
    name: str = dataclasses.field(default="boosted_trees", init=False)
    pretrained: bool = dataclasses.field(default=False, init=False)

    def predict(self, space: Space, allocations: Choices) -> Prediction:
        """Predict gains; see `Predictor`."""
        array = read_choices(space, allocations)
        if self.fitted is None or not len(array):
            return predict_without_records(space, array)
        outputs = self._predict(self.fitted.boosters, _join(space, array)) * self.fitted.spread
        return self.fitted.calibration.apply(outputs.mean(axis=0), _measure_disagreement(outputs), outputs)

    def update(self, space: Space, records: Sequence[Record]) -> BoostedTrees:
        """Fit all records; see `Predictor`."""
        observations = gather_observations(space, records)
        count = len(observations)
        if not count:
            return dataclasses.replace(self, fitted=None)
        spread = observations.spread
        rows, targets = _join(space, observations.choices), observations.scale_gains(spread)
        fold = assign_folds(count, folds=FOLDS, seed=self.seed)
        unseen = np.zeros((self.members, count))
        for left_out in range(int(fold.max()) + 1 if count > 1 else 0):
            kept = fold != left_out
            boosters = self._boost(rows[kept], targets[kept], observations.counts[kept])
            unseen[:, ~kept] = self._predict(boosters, rows[~kept]) * spread
        calibration = calibrate(
            observations.gains if count > 1 else np.zeros(0),
            unseen.mean(axis=0) if count > 1 else np.zeros(0),
            left_out_std=_measure_disagreement(unseen),
            noise=observations.noise,
        )
        boosters = self._boost(rows, targets, observations.counts)
        return dataclasses.replace(self, fitted=BoostedTreesFit(boosters, spread, calibration))

    def _boost(self, rows: Floats, targets: Floats, counts: NDArray[np.int64]) -> tuple[Any, ...]:
        xgboost = load_package(XGBOOST)
        # The reference, a zero row with gain 0, is an observation too.
        data = np.concatenate([np.zeros((1, rows.shape[1])), rows])
        labels = np.concatenate([[0.0], targets])
        boosters = []
        for member in range(self.members):
            generator = np.random.default_rng([self.seed, member])
            weights = (0.5 + 0.5 * generator.exponential(size=len(labels))) * np.sqrt(
                np.concatenate([[1], counts])
            )
            parameters = {
                "max_depth": self.depth,
                "eta": self.learning_rate,
                "colsample_bytree": 1 / 3,
                "min_child_weight": 1.0,
                "lambda": 1.0,
                "base_score": 0.0,
                "tree_method": "exact",
                "nthread": 1,
                "seed": int(generator.integers(1 << 31)),
            }
            matrix = xgboost.DMatrix(data, labels, weight=weights, nthread=1)
            boosters.append(xgboost.train(parameters, matrix, num_boost_round=self.trees))
        return tuple(boosters)

    @staticmethod
    def _predict(boosters: Sequence[Any], rows: Floats) -> Floats:
        """Return outputs minus those for the reference, `(members, n)`."""
        xgboost = load_package(XGBOOST)
        matrix = xgboost.DMatrix(np.concatenate([np.zeros((1, rows.shape[1])), rows]), nthread=1)
        outputs = np.stack([booster.predict(matrix) for booster in boosters]).astype(np.float64)
        return outputs[:, 1:] - outputs[:, :1]


def _join(space: Space, choices: NDArray[np.int64]) -> Floats:
    return np.concatenate([read_coordinates(space, choices), mean_features(space, choices)], axis=1)


def _measure_disagreement(outputs: Floats) -> Floats:
    return outputs.std(axis=0, ddof=1) if len(outputs) > 1 else np.zeros(outputs.shape[1])
