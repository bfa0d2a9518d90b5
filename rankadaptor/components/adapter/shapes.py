"""Allocations of ranks as a function of depth that use up the limit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rankadaptor.components.adapter.coordinates import RANK
from rankadaptor.errors import InputError
from rankadaptor.space import Allocation, Label, Slot, Space


def linear_in_depth(space: Space, *, slope: float = 0.5) -> Allocation:
    """Return ranks that grow (or fall) linearly with depth [PRILoRA]_.

    The first block gets (1 − slope) times its uniform rank, the last (1 + slope) times, before the ranks are
    rounded to options and changed to use up the limit.

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
    """Return the option of each slot nearest to a wanted rank; slots without ranks keep the origin's."""
    return [
        _find_nearest(slot, target) if slot.component == RANK else slot.options[usual]
        for slot, target, usual in zip(space.slots, wanted, space.origin, strict=True)
    ]


def _find_nearest(slot: Slot, target: float) -> Label:
    ranks = [option for option in slot.options if isinstance(option, int)]
    return min(ranks, key=lambda rank: abs(rank - target))
