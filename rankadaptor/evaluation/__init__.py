"""Evaluate models: held-out loss, and accuracy on benchmarks."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from rankadaptor.evaluation.benchmarks import BENCHMARKS, evaluate
from rankadaptor.evaluation.scores import Difference, Differences, Score, Scores, compare_scores

if TYPE_CHECKING:
    from rankadaptor.evaluation.heldout import HeldOutLoss, measure_loss

__all__ = [
    "BENCHMARKS",
    "Difference",
    "Differences",
    "HeldOutLoss",
    "Score",
    "Scores",
    "compare_scores",
    "evaluate",
    "measure_loss",
]


def __getattr__(name: str) -> Any:
    """Import the held-out loss on first use: it needs torch and peft, which take seconds."""
    if name not in ("HeldOutLoss", "measure_loss"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.heldout"), name)
