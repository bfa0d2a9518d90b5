"""What to expect of recovery, in three figures from kept results: a part of README.md."""

from __future__ import annotations

from pathlib import Path

PAGE = Path("docs/what-to-expect.md")
"""The page that several studies fill with their summaries."""
FIGURES = Path("../experiments/results/figures")
"""Where the figures lie, as that page links them."""
