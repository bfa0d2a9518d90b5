"""Descriptors of allocations for predictors that learn one setting from scratch; zero at the origin."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rankadaptor.features import feature_names, mean_features, read_coordinates
from rankadaptor.predictor.prediction import Floats

if TYPE_CHECKING:
    from rankadaptor.space import Space

REFERENCE_SAMPLE = 256


def describe_choices(space: Space, choices: NDArray[np.int64]) -> Floats:
    """Return descriptors `(n, d)` of choices `(n, n_slots)`: coordinates of slots and of groups of them.

    Each family of descriptors (slots, kinds, halves, blocks, totals) has about unit mean square in total over
    random allocations. A ridge or a kernel on them gives each family the same prior variance: with few
    records the means over kinds and blocks dominate, with many records the single slots.
    """
    return _join(space, choices) * _measure_scales(space)


def _join(space: Space, choices: NDArray[np.int64]) -> Floats:
    own = read_coordinates(space, choices)
    return np.concatenate([own, mean_features(space, choices, coordinates=own)], axis=1)


@functools.lru_cache(maxsize=8)
def _measure_scales(space: Space) -> Floats:
    size = np.sqrt(np.mean(_join(space, space.sample_choices(REFERENCE_SAMPLE, 0)) ** 2, axis=0))
    families = ["slot"] * (len(space.tables.coordinates) * space.n_slots) + [
        name.partition(":")[0] for name in feature_names(space)
    ]
    members = np.array([families.count(family) for family in families], dtype=np.float64)
    scales: Floats = np.where(size > 1e-9, 1.0 / np.maximum(size, 1e-9), 0.0) / np.sqrt(members)
    return scales
