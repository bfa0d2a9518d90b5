"""Ask for allocations, tell what they gained; nothing here imports torch."""

from __future__ import annotations

from rankadaptor.search.baselines import check_choice, draw_random
from rankadaptor.search.front import Front, find_front
from rankadaptor.search.greedy import allocate_by_scores
from rankadaptor.search.halving import Halving, Rung, halve
from rankadaptor.search.loop import Search
from rankadaptor.search.proposals import PROPOSALS
from rankadaptor.search.result import SearchResult, Step

__all__ = [
    "PROPOSALS", "Front", "Halving", "Rung", "Search", "SearchResult", "Step", "allocate_by_scores",
    "check_choice", "draw_random", "find_front", "halve",
]  # fmt: skip
