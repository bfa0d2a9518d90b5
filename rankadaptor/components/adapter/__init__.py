"""LoRA adapters: spaces of ranks, and optionally scales, and the meaning of their allocations."""

from __future__ import annotations

from rankadaptor.components.adapter.coordinates import RANK, SCALE
from rankadaptor.components.adapter.ranks import ADAPTER_PARAMETERS, DEFAULT_RANKS, RANKS, RankSpace
from rankadaptor.components.adapter.reading import (
    count_parameters,
    describe_budget,
    read_ranks,
    read_scales,
    read_sizes,
)
from rankadaptor.components.adapter.scales import add_scales
from rankadaptor.components.adapter.shapes import linear_in_depth
from rankadaptor.components.adapter.stored import compute_first_digest, read_space

__all__ = [
    "ADAPTER_PARAMETERS",
    "DEFAULT_RANKS",
    "RANK",
    "RANKS",
    "SCALE",
    "RankSpace",
    "add_scales",
    "compute_first_digest",
    "count_parameters",
    "describe_budget",
    "linear_in_depth",
    "read_ranks",
    "read_scales",
    "read_sizes",
    "read_space",
]  # fmt: skip
