"""Slots, options, costs and a budget; nothing here imports torch."""

from __future__ import annotations

from rankadaptor.space.allocation import Allocation
from rankadaptor.space.ranks import DEFAULT_RANKS, RankSpace, count_parameters
from rankadaptor.space.slot import Slot
from rankadaptor.space.space import Space
from rankadaptor.space.widening import widen_space

__all__ = [
    "DEFAULT_RANKS", "Allocation", "RankSpace", "Slot", "Space", "count_parameters",
    "widen_space",
]  # fmt: skip
