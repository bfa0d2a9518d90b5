"""The predictors that `search.predictor` can name, each with a function that trains it."""

from __future__ import annotations

from collections.abc import Sequence

from rankadaptor.predictor.contest import Train
from rankadaptor.predictor.evidence import Evidence
from rankadaptor.predictor.prediction import Predictor

FROM_SCRATCH = ("gaussian_process", "ridge", "boosted_trees", "perceptron")
"""Predictors that learn only from the records of the search."""


def list_contestants(*, seed: int = 0) -> dict[str, Train]:
    """Return a training function for each value of `search.predictor`, the default first."""
    trained: dict[tuple[str, ...], Predictor] = {}  # by settings; the ensemble uses the same predictor

    def train_meta(seen: Sequence[Evidence]) -> Predictor:
        key = tuple(each.name for each in seen)
        if key not in trained:
            trained[key] = _train_meta(seen, seed=seed)
        return trained[key]

    contestants: dict[str, Train] = {"meta": train_meta}
    contestants["ensemble"] = lambda seen: _join(train_meta(seen), seed=seed)
    for name in FROM_SCRATCH:
        contestants[name] = _start_from_scratch(name, seed=seed)
    return contestants


def _train_meta(seen: Sequence[Evidence], *, seed: int) -> Predictor:
    from rankadaptor.predictor.meta_training import meta_train

    return meta_train([(each.space, each.records) for each in seen], seed=seed)


def _join(meta: Predictor, *, seed: int) -> Predictor:
    from rankadaptor.predictor.baselines.gaussian_process import GaussianProcess
    from rankadaptor.predictor.baselines.ridge import Ridge
    from rankadaptor.predictor.ensemble import Ensemble

    return Ensemble((meta, GaussianProcess(seed=seed), Ridge(seed=seed)), seed=seed)


def _start_from_scratch(name: str, *, seed: int) -> Train:
    from rankadaptor.predictor.choice import make_predictor

    return lambda _: make_predictor(name, seed=seed)
