"""The predictors that the benchmark compares, each trained on the settings it may see."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from typing import Any

from rankadaptor.errors import TrainingError
from rankadaptor.predictor.contest import Train
from experiments.predictors.distance import Distance
from rankadaptor.predictor.evidence import Evidence
from rankadaptor.predictor.prediction import Predictor

logger = logging.getLogger(__name__)

EPOCHS = 60
LEARNING_RATE = 3e-3
RATES = (0.02, 0.005, 0.001)
"""Inner rates; the next is tried where the steps of one run away."""
NETWORKS = {
    "slots_maml": ("slots", "maml"),
    "slots_first_order": ("slots", "first_order"),
    "slots_anil": ("slots", "anil"),
    "slots_meta_sgd": ("slots", "meta_sgd"),
    "meta_perceptron": ("perceptron", "maml"),
}
"""Meta-trained networks: name → network and algorithm. The last is the paper's."""
FROM_SCRATCH = ("gaussian_process", "ridge", "boosted_trees", "perceptron")


def list_contestants(*, epochs: int = EPOCHS, seed: int = 0) -> dict[str, Train]:
    """Return all contestants by name, the default predictor first."""
    trained: dict[tuple[str, ...], Predictor] = {}  # by settings: the ensemble takes the same one

    def train_meta(seen: Sequence[Evidence]) -> Predictor:
        key = tuple(each.name for each in seen)
        if key not in trained:
            trained[key] = _train_meta(seen, seed=seed)
        return trained[key]

    contestants: dict[str, Train] = {"meta": train_meta}
    contestants["ensemble"] = lambda seen: _join(train_meta(seen), seed=seed)
    for name in FROM_SCRATCH:
        contestants[name] = _start_from_scratch(name, seed=seed)
    contestants["distance"] = lambda _: Distance()
    contestants["boosted_trees_corpus"] = lambda seen: _train_trees(seen, seed=seed)
    for name, (network, algorithm) in NETWORKS.items():
        contestants[name] = _train_network(name, network, algorithm, epochs=epochs, seed=seed)
    return contestants


def _pair(seen: Sequence[Evidence]) -> list[Any]:
    return [(each.space, each.records) for each in seen]


def _train_meta(seen: Sequence[Evidence], *, seed: int) -> Predictor:
    from rankadaptor.predictor.meta_training import meta_train

    return meta_train(_pair(seen), seed=seed)


def _join(meta: Predictor, *, seed: int) -> Predictor:
    from rankadaptor.predictor.ensemble import Ensemble
    from rankadaptor.predictor.gaussian_process import GaussianProcess
    from rankadaptor.predictor.ridge import Ridge

    return Ensemble((meta, GaussianProcess(seed=seed), Ridge(seed=seed)), seed=seed)


def _train_trees(seen: Sequence[Evidence], *, seed: int) -> Predictor:
    from experiments.predictors.corpus_trees import train_trees

    return train_trees(seen, seed=seed)


def _start_from_scratch(name: str, *, seed: int) -> Train:
    from rankadaptor.predictor.choice import make_predictor

    return lambda _: make_predictor(name, seed=seed)


def _train_network(name: str, network: str, algorithm: str, *, epochs: int, seed: int) -> Train:
    def train(seen: Sequence[Evidence]) -> Predictor:
        from rankadaptor.predictor.network_training import train_network

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
