"""A space and its allocations as arrays; numpy only."""

from __future__ import annotations

from rankadaptor.features.ranks import feature_names, log_ratios, rank_features, values_array
from rankadaptor.features.slots import SLOT_FEATURES, slot_features

__all__ = [
    "SLOT_FEATURES", "feature_names", "log_ratios", "rank_features", "slot_features", "values_array",
]  # fmt: skip
