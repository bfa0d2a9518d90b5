"""Allocations to compare a search with; they use the budget up as the search's own do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rankadaptor.errors import InputError

if TYPE_CHECKING:
    from rankadaptor.space import Allocation, Space


def uniform(space: Space) -> Allocation:
    """Return the same rank everywhere: the field's default, and what every gain is counted from."""
    return space.uniform()


def draw_random(space: Space, count: int, *, seed: int) -> list[Allocation]:
    """Draw distinct allocations other than uniform; fewer than `count` only if the space hardly has more."""
    drawn = space.sample(count + 1, seed=seed)
    return [allocation for allocation in drawn if not allocation.is_uniform][:count]


def linear_in_depth(space: Space, *, slope: float = 0.5) -> Allocation:
    """Return ranks that grow (or fall) linearly with depth [PRILoRA]_.

    The first block gets (1 − slope) times its uniform option, the last (1 + slope) times, before rounding
    into the menu and filling up the budget.

    Raises:
        InputError: If `slope` is not within −1 … 1.
    """
    if not -1.0 <= slope <= 1.0:
        raise InputError(
            f"slope={slope}: allowed is -1 to 1. 0.5 goes from half to one and a half times uniform."
        )
    depth = np.array([slot.block for slot in space.slots], dtype=np.float64)
    position = 2.0 * (depth - depth.min()) / max(float(np.ptp(depth)), 1.0) - 1.0
    wanted = np.asarray(space.reference) * (1.0 + slope * position)
    nearest = [
        min(slot.options, key=lambda option: abs(option - target))
        for slot, target in zip(space.slots, wanted, strict=True)
    ]
    return space.repair(nearest, seed=0)
