"""The learning rate over the steps of a fine-tune."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rankadaptor.recipe import Recipe

FINAL_RATE_SHARE = 0.1


def compute_learning_rate(step: int, *, steps: int, recipe: Recipe) -> float:
    """Return the learning rate of one step, counted from 1: linear warm-up, then the schedule to a tenth."""
    warmup = math.ceil(recipe.warmup_share * steps)
    if step <= warmup:
        return recipe.learning_rate * step / warmup
    if recipe.schedule == "constant":
        return recipe.learning_rate
    share = (step - warmup) / max(1, steps - warmup)
    falling = 0.5 * (1 + math.cos(math.pi * share)) if recipe.schedule == "cosine" else 1 - share
    return recipe.learning_rate * (FINAL_RATE_SHARE + (1 - FINAL_RATE_SHARE) * falling)
