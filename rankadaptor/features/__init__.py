"""Features of spaces and allocations as arrays, with numpy only."""

from __future__ import annotations

from rankadaptor.features.basis import BASIS, tabulate_basis
from rankadaptor.features.linears import (
    LinearFeatures,
    count_linears,
    describe_linear_features,
    find_uncounted,
    list_linear_features,
)
from rankadaptor.features.means import choices_array, feature_names, mean_features, read_coordinates
from rankadaptor.features.score_table import ScoreTable
from rankadaptor.features.slot_values import SlotValues

__all__ = [
    "BASIS", "LinearFeatures", "ScoreTable", "SlotValues", "choices_array", "count_linears",
    "describe_linear_features", "feature_names", "find_uncounted", "list_linear_features", "mean_features",
    "read_coordinates", "tabulate_basis",
]  # fmt: skip
