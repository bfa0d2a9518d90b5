"""How well a predictor orders the records of one band, after some of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.performance_model.cases import Case
from rankadaptor.corpus import Record
from rankadaptor.predictor.prediction import Floats, Predictor
from rankadaptor.predictor.rank_agreement import compute_kendall, compute_spearman

Row = dict[str, Any]
Ints = NDArray[np.int64]

COUNTS = (0, 16, 64, 128)
RANDOM, FRONT = "random", "front"
JUDGED = 40
"""Random records that predictors are judged on; the others are there to learn from."""
FOLDS = 6
BEST = 0.2
"""Share of a search's records, the best ones, over which the order is judged near the optimum."""
DRAWS = 3
SHUFFLES = 199
WIDTH = 1.645
"""Standard deviations of an interval of 90 %."""


def judge_band(case: Case, band: str, predictor: Predictor, *, name: str) -> Iterator[Row]:
    """Yield one row per region and number of records."""
    bounds = case.bands[band]
    for region, places, judge in (
        (RANDOM, bounds.random, _predict_random),
        (FRONT, bounds.search, _predict_front),
    ):
        records = [record for record in case.pick(places) if record.gain is not None]
        for count in COUNTS:
            found = [judge(case, band, predictor, records, count=count, seed=seed) for seed in range(DRAWS)]
            sound = [each for each in found if each is not None][: 1 if count == 0 else DRAWS]
            if not sound:
                continue
            figures = [_judge(*each, optimum=bounds.optimum.kl) for each in sound]
            mean = {key: float(np.mean([each[key] for each in figures])) for key in figures[0]}
            yield {
                "predictor": name, "setting": case.name, "family": case.family, "band": band,
                "region": region, "records": count, **{key: round(value, 4) for key, value in mean.items()},
            }  # fmt: skip


def _predict_random(
    case: Case, band: str, predictor: Predictor, records: Sequence[Record], *, count: int, seed: int
) -> tuple[Floats, Floats, Floats] | None:
    """Return predicted means, their SD and measured gains of records that were not learned from."""
    order = np.random.default_rng(seed).permutation(len(records))
    judged, others = order[:JUDGED], order[JUDGED:]
    if count > len(others):
        return None
    seen = [records[i] for i in others[:count]]
    return _predict(case, band, predictor, seen, [records[i] for i in judged])


def _predict_front(
    case: Case, band: str, predictor: Predictor, records: Sequence[Record], *, count: int, seed: int
) -> tuple[Floats, Floats, Floats] | None:
    """Predict the best fifth of a search's records by what learned from other records of the search."""
    gains = np.array([record.gain for record in records], dtype=np.float64)
    best = np.argsort(-gains, kind="stable")[: round(BEST * len(gains))]
    generator = np.random.default_rng(seed)
    fold = generator.permutation(len(records)) % FOLDS
    if count > len(records) - np.bincount(fold).max():
        return None
    parts: list[tuple[Floats, Floats, Floats]] = []
    for number in range(FOLDS):
        judged = [records[i] for i in best if fold[i] == number]
        if judged:
            others = generator.permutation(np.flatnonzero(fold != number))[:count]
            parts.append(_predict(case, band, predictor, [records[i] for i in others], judged))
    mean, std, measured = (np.concatenate(each) for each in zip(*parts, strict=True))
    return mean, std, measured


def _predict(
    case: Case, band: str, predictor: Predictor, seen: Sequence[Record], judged: Sequence[Record]
) -> tuple[Floats, Floats, Floats]:
    space = case.limit(band)
    choices = np.array([space.find_choices(record.values) for record in judged], dtype=np.int64)
    found = (predictor.update(space, seen) if seen else predictor).predict(space, choices)
    return found.mean, found.std, np.array([record.gain for record in judged], dtype=np.float64)


def _judge(mean: Floats, std: Floats, measured: Floats, *, optimum: float) -> dict[str, float]:
    kendall = compute_kendall(mean, measured)
    generator = np.random.default_rng(0)
    null = [compute_kendall(mean, generator.permutation(measured)) for _ in range(SHUFFLES)]
    chosen = -float(measured[int(np.argmax(mean))])
    return {
        "kendall": kendall,
        "spearman": compute_spearman(mean, measured),
        "regret": 100.0 * (chosen / optimum - 1.0),
        "coverage90": float((np.abs(measured - mean) <= WIDTH * std).mean()),
        "p_null": (1 + sum(each >= kendall for each in null)) / (1 + SHUFFLES),
    }
