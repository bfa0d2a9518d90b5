"""Allocations to compare a search with; they use the budget up as the search's own do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rankadaptor.errors import InputError

if TYPE_CHECKING:
    from rankadaptor.corpus import Record
    from rankadaptor.space import Allocation, Space

ONLY_UNIFORM = (
    "this space holds no allocation but uniform inside its budget, so there is nothing to search. Use "
    "uniform, or give it finer slots (`slots: linear`) or a larger menu of ranks, some above uniform's."
)


def uniform(space: Space) -> Allocation:
    """Return the same rank everywhere: the field's default, and what every gain is counted from."""
    return space.uniform()


def record_uniform(space: Space) -> Record:
    """Return uniform as a record of gain 0, for a search to take its imagined records after."""
    from rankadaptor.corpus import Record

    return Record(
        setting="imagined",
        values=tuple(space.reference),
        seed=0,
        steps=1,
        fidelity=1.0,
        loss=0.0,
        loss_uniform=0.0,
        parameters=0,
        tokens=0,
        seconds=0.0,
    )


def draw_random(space: Space, count: int, *, seed: int) -> list[Allocation]:
    """Draw distinct allocations other than uniform; fewer than `count` only if the space hardly has more."""
    drawn = space.sample(count + 1, seed=seed)
    return [allocation for allocation in drawn if not allocation.is_uniform][:count]


def check_choice(space: Space) -> None:
    """Check that there is something to choose.

    Raises:
        InputError: If the space seems to hold no allocation but uniform.
    """
    if not draw_random(space, 16, seed=0):
        raise InputError(ONLY_UNIFORM)


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
