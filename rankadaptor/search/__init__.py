"""Ask for allocations, tell what they gained; nothing here imports torch."""

from __future__ import annotations

from rankadaptor.search.account import Account
from rankadaptor.search.alternatives import (
    allow_part,
    search_blindly,
    search_randomly,
)
from rankadaptor.search.baselines import check_choice, draw_random
from rankadaptor.search.early_elimination import EarlyElimination
from rankadaptor.search.exact import solve_exact
from rankadaptor.search.front import Front, find_front
from rankadaptor.search.greedy import allocate_by_scores
from rankadaptor.search.halving import Halving, Rung, halve
from rankadaptor.search.interpolation import estimate_slot_values
from rankadaptor.search.loop import Search
from rankadaptor.search.proposals import PROPOSALS
from rankadaptor.search.refinement import Refinement
from rankadaptor.search.result import SearchResult, Step
from rankadaptor.search.sweep import plan_sweep

__all__ = [
    "PROPOSALS", "Account", "EarlyElimination", "Front", "Halving", "Refinement", "Rung", "Search",
    "SearchResult", "Step", "allocate_by_scores", "allow_part",
    "check_choice", "draw_random", "estimate_slot_values", "find_front", "halve",
    "plan_sweep", "search_blindly", "search_randomly", "solve_exact",
]  # fmt: skip
