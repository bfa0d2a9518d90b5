"""The quickstart and the short rank search: their run files, and the parts of documents that show them."""

from __future__ import annotations

from pathlib import Path

RANK_SEARCH = Path("experiments/results/rank-search.json")
"""The kept result of `rank_search.yaml`."""
