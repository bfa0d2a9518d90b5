"""All predictors that are compared, each with its training on the visible settings."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from typing import Any

from experiments.predictors.distance import Distance
from rankadaptor.errors import TrainingError
from rankadaptor.predictor import contestants as package
from rankadaptor.predictor.contest import Train
from rankadaptor.predictor.evidence import Evidence
from rankadaptor.predictor.prediction import Predictor

logger = logging.getLogger(__name__)

EPOCHS = 60
LEARNING_RATE = 3e-3
RATES = (0.02, 0.005, 0.001)
"""Inner learning rates; the next one is used if training diverges."""
NETWORKS = {
    "slots_maml": ("slots", "maml"),
    "slots_first_order": ("slots", "first_order"),
    "slots_anil": ("slots", "anil"),
    "slots_meta_sgd": ("slots", "meta_sgd"),
    "meta_perceptron": ("perceptron", "maml"),
}
"""Meta-trained networks: name → network and algorithm. The last is the paper's."""


def list_contestants(*, epochs: int = EPOCHS, seed: int = 0) -> dict[str, Train]:
    """Return all contestants by name, the default predictor first.

    Args:
        epochs: Passes over the corpus when a network is meta-trained.
        seed: Random seed.
    """
    contestants = package.list_contestants(seed=seed)
    contestants["distance"] = lambda _: Distance()
    contestants["boosted_trees_corpus"] = lambda seen: _train_trees(seen, seed=seed)
    for name, (network, algorithm) in NETWORKS.items():
        contestants[name] = _train_network(name, network, algorithm, epochs=epochs, seed=seed)
    return contestants


def _pair(seen: Sequence[Evidence]) -> list[Any]:
    return [(each.space, each.records) for each in seen]


def _train_trees(seen: Sequence[Evidence], *, seed: int) -> Predictor:
    from experiments.predictors.corpus_trees import train_trees

    return train_trees(seen, seed=seed)


def _train_network(name: str, network: str, algorithm: str, *, epochs: int, seed: int) -> Train:
    def train(seen: Sequence[Evidence]) -> Predictor:
        from rankadaptor.predictor.networks.training import train_network

        given: dict[str, Any] = {"network": network, "algorithm": algorithm, "epochs": epochs, "seed": seed}
        for rate in RATES[:-1]:
            try:
                trained = train_network(
                    _pair(seen), inner_learning_rate=rate, learning_rate=LEARNING_RATE, **given
                )
                return dataclasses.replace(trained, name=name)
            except TrainingError as error:
                logger.warning("%s: %s", name, error)
        trained = train_network(
            _pair(seen), inner_learning_rate=RATES[-1], learning_rate=LEARNING_RATE, **given
        )
        return dataclasses.replace(trained, name=name)

    return train
