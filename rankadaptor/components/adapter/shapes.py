"""Allocations of ranks with a given shape; they use the limit up as the search's own do."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rankadaptor.components.adapter.coordinates import RANK
from rankadaptor.errors import InputError
from rankadaptor.space import Allocation, Label, Slot, Space


def linear_in_depth(space: Space, *, slope: float = 0.5) -> Allocation:
    """Return ranks that grow (or fall) linearly with depth [PRILoRA]_.

    The first block gets (1 − slope) times its uniform rank, the last (1 + slope) times, before rounding to
    the options and filling up the limit.

    Raises:
        InputError: If `slope` is not within −1 … 1.
    """
    if not -1.0 <= slope <= 1.0:
        raise InputError(
            f"slope={slope}: allowed is -1 to 1. 0.5 goes from half to one and a half times uniform."
        )
    depth = np.array([slot.block for slot in space.slots], dtype=np.float64)
    position = 2.0 * (depth - depth.min()) / max(float(np.ptp(depth)), 1.0) - 1.0
    factors = (1.0 + slope * position).tolist()
    wanted = [slot.attribute("reference") * factor for slot, factor in zip(space.slots, factors, strict=True)]
    return space.repair(round_to_options(space, wanted), seed=0)


def round_to_options(space: Space, wanted: Sequence[float]) -> list[Label]:
    """Return the rank of each slot that is nearest to a number; other slots keep the origin's option."""
    return [
        _find_nearest(slot, target) if slot.component == RANK else slot.options[usual]
        for slot, target, usual in zip(space.slots, wanted, space.origin, strict=True)
    ]


def _find_nearest(slot: Slot, target: float) -> Label:
    ranks = [option for option in slot.options if isinstance(option, int)]
    return min(ranks, key=lambda rank: abs(rank - target))
