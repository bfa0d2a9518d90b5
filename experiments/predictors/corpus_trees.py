"""Gradient-boosted trees over all settings at once: the baseline that uses a corpus without meta-learning."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rankadaptor.predictor.evidence import Evidence
from rankadaptor.predictor.observations import Observations, gather_observations, read_choices
from rankadaptor.predictor.prediction import Choices, Floats, Prediction
from rankadaptor.predictor.prior.layout import build_layout

if TYPE_CHECKING:
    from rankadaptor.corpus import Record
    from rankadaptor.space import Space

OWN_WEIGHT = 4.0
"""Weight of a record of the running search, relative to one of the corpus."""
DRAWS_OF_UNIFORM = 8


@dataclass(frozen=True)
class CorpusTrees:
    """Boosted trees (xgboost) on features shared by all spaces, fitted to corpus and search.

    Attributes:
        rows: Features of the corpus's allocations, `(n, d)`.
        targets: Their gains in units of their setting's spread, `(n,)`.
        spread: Typical spread of a setting, nats per token.
        own: Features, targets and spread of the running search.
        members: Boosters; they see different bootstraps, and their disagreement is the standard deviation.
        trees: Trees per booster.
        seed: Seed of bootstraps and column samples.
    """

    rows: Floats
    targets: Floats
    spread: float
    own: tuple[Floats, Floats, float] | None = None
    members: int = 5
    trees: int = 80
    seed: int = 0
    boosters: tuple[Any, ...] = dataclasses.field(default=(), repr=False, compare=False)
    name: str = dataclasses.field(default="boosted_trees_corpus", init=False)
    pretrained: bool = dataclasses.field(default=True, init=False)

    def predict(self, space: Space, allocations: Choices) -> Prediction:
        """Predict gains; see `Predictor`."""
        import xgboost

        array = read_choices(space, allocations)
        origin = np.asarray(space.origin)[None]
        rows = describe(space, np.concatenate([origin, array]))
        matrix = xgboost.DMatrix(rows, nthread=1)
        outputs = np.stack([booster.predict(matrix) for booster in self.boosters]).astype(np.float64)
        outputs = (outputs[:, 1:] - outputs[:, :1]) * (self.own[2] if self.own else self.spread)
        return Prediction(mean=outputs.mean(axis=0), std=outputs.std(axis=0, ddof=1), draws=outputs)

    def update(self, space: Space, records: Sequence[Record]) -> CorpusTrees:
        """Fit corpus and records together; see `Predictor`."""
        observations = gather_observations(space, records)
        if not len(observations):
            return self.fit(None)
        spread = float(
            np.exp(
                (2.0 * np.log(self.spread) + len(observations) * np.log(observations.spread))
                / (2.0 + len(observations))
            )
        )
        rows = describe(space, observations.choices)
        return self.fit((rows, observations.scale_gains(spread), spread))

    def fit(self, own: tuple[Floats, Floats, float] | None) -> CorpusTrees:
        """Fit the boosters to the corpus and, if there are any, the search's records."""
        import xgboost

        rows, targets, weights = self.rows, self.targets, np.ones(len(self.targets))
        if own is not None:
            rows, targets = np.concatenate([rows, own[0]]), np.concatenate([targets, own[1]])
            weights = np.concatenate([weights, np.full(len(own[1]), OWN_WEIGHT)])
        zeros = np.zeros((DRAWS_OF_UNIFORM, rows.shape[1]))
        rows, targets = np.concatenate([zeros, rows]), np.concatenate([np.zeros(len(zeros)), targets])
        weights = np.concatenate([np.ones(len(zeros)), weights])
        boosters = []
        for member in range(self.members):
            generator = np.random.default_rng([self.seed, member])
            given = weights * (0.5 + 0.5 * generator.exponential(size=len(weights)))
            parameters = {
                "max_depth": 3, "eta": 0.1, "colsample_bytree": 0.5, "min_child_weight": 3.0, "lambda": 1.0,
                "base_score": 0.0, "tree_method": "hist", "nthread": 1,
                "seed": int(generator.integers(1 << 31)),
            }  # fmt: skip
            matrix = xgboost.DMatrix(rows, targets, weight=given, nthread=1)
            boosters.append(xgboost.train(parameters, matrix, num_boost_round=self.trees))
        return dataclasses.replace(self, own=own, boosters=tuple(boosters))


def train_trees(seen: Sequence[Evidence], *, seed: int = 0) -> CorpusTrees:
    """Fit the trees to the settings of a corpus, each in units of its own spread."""
    data: list[tuple[Space, Observations]] = [(each.space, each.observations) for each in seen]
    rows = np.concatenate([describe(space, observations.choices) for space, observations in data])
    targets = np.concatenate([observations.scale_gains(observations.spread) for _, observations in data])
    spread = float(np.exp(np.mean([np.log(observations.spread) for _, observations in data])))
    return CorpusTrees(rows, targets, spread, seed=seed).fit(None)


def describe(space: Space, choices: Any) -> Floats:
    """Return the shared features of the hierarchical model, `(n, d)`."""
    return build_layout(space).build_rows(choices)[0]
