"""Allocations as descriptors for predictors that learn one setting from scratch; zero at uniform."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rankadaptor.features import feature_names, log_ratios, rank_features
from rankadaptor.predictor.prediction import Floats

if TYPE_CHECKING:
    from rankadaptor.space import Space

REFERENCE_SAMPLE = 256


def describe_values(space: Space, values: NDArray[np.int64]) -> Floats:
    """Return descriptors `(n, d)` of options `(n, n_slots)`: log-ratios of slots and of groups of them.

    Each family of descriptors (slots, kinds, halves, blocks, totals) has about unit mean square as a whole
    over random allocations. A ridge or a kernel on them then believes, before any record, that each family
    explains equally much: with few records the means over kinds and blocks carry most, with many the single
    slots speak.
    """
    return _join(space, values) * _measure_scales(space)


def _join(space: Space, values: NDArray[np.int64]) -> Floats:
    ratios = log_ratios(space, values)
    return np.concatenate([ratios, rank_features(space, values, ratios=ratios)], axis=1)


@functools.lru_cache(maxsize=8)
def _measure_scales(space: Space) -> Floats:
    size = np.sqrt(np.mean(_join(space, space.sample_array(REFERENCE_SAMPLE, 0)) ** 2, axis=0))
    families = ["slot"] * space.n_slots + [name.partition(":")[0] for name in feature_names(space)]
    members = np.array([families.count(family) for family in families], dtype=np.float64)
    scales: Floats = np.where(size > 1e-9, 1.0 / np.maximum(size, 1e-9), 0.0) / np.sqrt(members)
    return scales
