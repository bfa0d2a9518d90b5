"""Ask for allocations, tell what they gained; nothing here imports torch."""

from __future__ import annotations

from rankadaptor.search.baselines import draw_random, linear_in_depth, uniform
from rankadaptor.search.loop import Search
from rankadaptor.search.proposals import PROPOSALS
from rankadaptor.search.result import SearchResult, Step

__all__ = ["PROPOSALS", "Search", "SearchResult", "Step", "draw_random", "linear_in_depth", "uniform"]
