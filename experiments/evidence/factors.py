"""Variance in gains explained by depth, linear type, damage, total rank and unevenness.

Each factor is a few columns of numbers per allocation, computed from log-ratios of ranks to uniform. Least
squares on all columns gives an adjusted R², which is zero on average if nothing is explained. Shapley values
divide it: a factor's share is its increase of the adjusted R², averaged over all orders in which factors can
be added, so overlapping factors share their common part. Cross-validated predictions of ridge regression on
the same columns show whether the fit generalises to other allocations.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rankadaptor.components.adapter import read_sizes
from rankadaptor.features import feature_names, mean_features, read_coordinates
from rankadaptor.space import Space

Floats = NDArray[np.float64]

FACTORS = ("depth", "linear type", "damage", "total rank", "unevenness")
ALLOCATIONS_PER_COLUMN = 3
SMALLEST_SAMPLE = 12
FOLDS, REPEATS = 10, 5
RIDGE = 1.0
SMALLEST_SPREAD = 1e-9


@dataclass(frozen=True)
class Factors:
    """Explained variance of the gains of one setting under one seed.

    Attributes:
        allocations: Number of allocations.
        columns: Number of columns of the fit with all factors.
        shares: Adjusted R² by factor, slightly negative if a factor explains nothing; None if there are too
            few allocations for the columns. Factors that do not vary are left out.
        explained: Adjusted R² of all factors, the sum of the shares; None likewise.
        p_value: Of the F-test that nothing is explained; None likewise.
        left_out: R² of ridge predictions on left-out allocations, against the mean of the others; None with
            fewer than `SMALLEST_SAMPLE` allocations.
        rank_correlation: Spearman's ρ of the same predictions with the gains; None likewise.
    """

    allocations: int
    columns: int
    shares: Mapping[str, float] | None
    explained: float | None
    p_value: float | None
    left_out: float | None
    rank_correlation: float | None


def explain_gains(space: Space, values: NDArray[np.int64], gains: Floats, *, seed: int = 0) -> Factors:
    """Explain gains `(n,)` in nats per token by the allocations `(n, n_slots)`.

    Args:
        space: The setting's space.
        values: Allocations.
        gains: Gains under one seed.
        seed: Of the folds of the left-out predictions.
    """
    groups = build_factors(space, values)
    count = len(gains)
    columns = np.hstack([np.empty((count, 0)), *groups.values()])
    width = _rank(columns)
    shares = explained = p_value = None
    varied = count > 2 and float(np.ptp(gains)) > 0
    if varied and width and count >= ALLOCATIONS_PER_COLUMN * (width + 1):
        worth = {
            frozenset(chosen): _adjusted_r2([groups[name] for name in chosen], gains)
            for size in range(len(groups) + 1)
            for chosen in itertools.combinations(groups, size)
        }
        shares = {name: _divide(name, list(groups), worth) for name in groups}
        explained = worth[frozenset(groups)]
        p_value = _test_fit(columns, gains, width=width)
    left_out = correlation = None
    if varied and width and count >= SMALLEST_SAMPLE:
        left_out, correlation = _predict_left_out(columns, gains, seed=seed)
    return Factors(count, width, shares, explained, p_value, left_out, correlation)


def build_factors(space: Space, values: NDArray[np.int64]) -> dict[str, Floats]:
    """Return the columns of each factor, `(n, d)`, those that do not vary left out.

    - *depth*: mean of the log-ratio times Legendre polynomials of depth, first to third degree;
    - *linear type*: mean log-ratio of the slots of each kind, minus the mean over all slots;
    - *damage*: covariance over slots of the log-ratio with the share of parameters that pruning removed from
      the block, and with the share of importance that it lost;
    - *total rank*: part of the budget used, and the logarithm of the summed ranks;
    - *unevenness*: mean log-ratio over all slots, lower the more unequal the ranks are, and the share of
      slots with the lowest option.
    """
    choices = np.asarray([space.find_choices(row) for row in values.tolist()], dtype=np.int64)
    choices = choices.reshape(len(values), space.n_slots)
    features = dict(zip(feature_names(space, depth="polynomial"), _transpose(space, choices), strict=True))
    ratios = read_coordinates(space, choices)
    mean = features["total:mean"]
    damage = [
        np.array([slot.attribute(name) for slot in space.slots])
        for name in ("removed_share", "lost_importance")
    ]
    reference = max(sum(read_sizes(space.reference())), 1)
    groups = {
        "depth": [column for name, column in features.items() if name.startswith("depth:")],
        "linear type": [column - mean for name, column in features.items() if name.startswith("kind:")],
        "damage": [ratios @ (each - each.mean()) / len(each) for each in damage],
        "total rank": [features["total:cost"], np.log(np.maximum(values.sum(axis=1), 1) / reference)],
        "unevenness": [mean, features["total:lowest"]],
    }
    kept = {
        name: [column for column in columns if float(np.std(column)) > SMALLEST_SPREAD]
        for name, columns in groups.items()
    }
    return {name: np.column_stack(columns) for name, columns in kept.items() if columns}


def _transpose(space: Space, choices: NDArray[np.int64]) -> Iterable[Floats]:
    return mean_features(space, choices, depth="polynomial").T


def _standardise(columns: Floats) -> Floats:
    scale = columns.std(axis=0)
    standard: Floats = (columns - columns.mean(axis=0)) / np.where(scale > 0, scale, 1.0)
    return standard


def _rank(columns: Floats) -> int:
    return int(np.linalg.matrix_rank(_standardise(columns))) if columns.size else 0


def _residual(columns: Floats, gains: Floats) -> float:
    centred = gains - gains.mean()
    if columns.shape[1]:
        standard = _standardise(columns)
        centred = centred - standard @ np.linalg.lstsq(standard, centred, rcond=None)[0]
    return float(centred @ centred)


def _adjusted_r2(groups: list[Floats], gains: Floats) -> float:
    count = len(gains)
    columns = np.hstack([np.empty((count, 0)), *groups])
    spare = count - 1 - _rank(columns)
    total = float(((gains - gains.mean()) ** 2).sum()) / (count - 1)
    return 1.0 - _residual(columns, gains) / spare / total


def _test_fit(columns: Floats, gains: Floats, *, width: int) -> float:
    from scipy import stats

    spare = len(gains) - 1 - width
    residual = _residual(columns, gains)
    explained = float(((gains - gains.mean()) ** 2).sum()) - residual
    return float(stats.f.sf(explained / width / (residual / spare), width, spare)) if residual > 0 else 0.0


def _divide(name: str, names: list[str], worth: Mapping[frozenset[str], float]) -> float:
    """Return Shapley's value of a factor: what it adds, averaged over all orders."""
    others = [other for other in names if other != name]
    share = 0.0
    for size in range(len(others) + 1):
        weight = 1.0 / (len(names) * math.comb(len(others), size))
        for chosen in itertools.combinations(others, size):
            share += weight * (worth[frozenset({*chosen, name})] - worth[frozenset(chosen)])
    return share


def _predict_left_out(columns: Floats, gains: Floats, *, seed: int) -> tuple[float, float]:
    from scipy import stats

    standard, count = _standardise(columns), len(gains)
    generator = np.random.default_rng(seed)
    predicted, baseline = np.zeros(count), np.zeros(count)
    for _ in range(REPEATS):
        fold = generator.permutation(count) % FOLDS
        for left_out in range(FOLDS):
            asked, known = fold == left_out, fold != left_out
            centre = float(gains[known].mean())
            given = standard[known]
            slopes = np.linalg.solve(
                given.T @ given + RIDGE * np.eye(given.shape[1]), given.T @ (gains[known] - centre)
            )
            predicted[asked] += (centre + standard[asked] @ slopes) / REPEATS
            baseline[asked] += centre / REPEATS
    error, scale = float(((gains - predicted) ** 2).sum()), float(((gains - baseline) ** 2).sum())
    correlation = float(stats.spearmanr(predicted, gains).statistic) if np.ptp(predicted) > 0 else 0.0
    return 1.0 - error / scale, correlation
