"""A space and its allocations as arrays; numpy only."""

from __future__ import annotations

from rankadaptor.features.ranks import feature_names, log_ratios, rank_features, values_array
from rankadaptor.features.responses import RESPONSES, tabulate_responses
from rankadaptor.features.score_table import ScoreTable, build_score_table
from rankadaptor.features.strengths import (
    Strengths,
    count_linears,
    describe_strengths,
    is_free,
    list_strengths,
)

__all__ = [
    "RESPONSES", "ScoreTable", "Strengths", "build_score_table", "count_linears",
    "describe_strengths", "feature_names", "is_free", "list_strengths", "log_ratios", "rank_features",
    "tabulate_responses", "values_array",
]  # fmt: skip
