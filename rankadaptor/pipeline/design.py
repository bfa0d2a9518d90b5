"""Allocations of a collection: shapes that give some slots more than others, then random ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from rankadaptor.components.adapter import read_sizes
from rankadaptor.components.adapter.shapes import round_to_options
from rankadaptor.search import draw_random
from rankadaptor.space import Allocation, Label, Space

Floats = NDArray[np.float64]

LITTLE, MUCH = 0.25, 2.0
"""Weights of the favoured and the other slots of a shape."""
SHARPEN = 30
"""Bisection steps for the scale of a shape."""


def design_allocations(space: Space, count: int, *, seed: int) -> list[Allocation]:
    """Return uniform and `count` distinct others.

    The shapes give more to some slots (front or back, middle or ends, one kind of linear or all others, more
    or less damaged ones), mildly and strongly, because effects are largest there. The rest are random
    allocations. If `count` is less than the number of shapes, half are shapes, evenly chosen from the list.
    """
    shapes = list(dict.fromkeys(_draw_shapes(space)) - {space.reference(): None}.keys())
    if len(shapes) > count // 2:
        shapes = [shapes[int(i)] for i in np.linspace(0, len(shapes) - 1, num=max(count // 2, 1))]
    chosen = dict.fromkeys([space.reference(), *shapes])
    chosen.update(dict.fromkeys(draw_random(space, count=2 * count, seed=seed)))
    return list(chosen)[: count + 1]


def allocate_by_weights(space: Space, weights: Floats) -> Allocation:
    """Return the allocation whose ranks are proportional to the weights and use the whole budget.

    Args:
        space: The space, with options, budget and uniform.
        weights: `(n_slots,)`, times the uniform option; only their proportions count.

    Returns:
        The nearest options under the largest common scale within the budget; what is left is filled.
    """
    wanted = np.maximum(np.asarray(read_sizes(space.reference()), dtype=np.float64), 1.0) * weights
    low, high = 0.0, 64.0
    nearest = _round_to_options(space, wanted * low)
    for _ in range(SHARPEN):
        middle = (low + high) / 2
        values = _round_to_options(space, wanted * middle)
        if space.sum_costs([space.find_choices(values)], space.limits[0].resource)[0] <= space.bounds[0]:
            low, nearest = middle, values
        else:
            high = middle
    return space.repair(nearest, seed=0)


def choose_evenly(designed: Sequence[Allocation], count: int) -> list[Allocation]:
    """Choose `count` of the designed allocations, uniform not counted, evenly over the list."""
    others = designed[1:]
    places = np.linspace(0, len(others) - 1, num=min(count, len(others)))
    return [others[int(place)] for place in places]


def _draw_shapes(space: Space) -> Iterator[Allocation]:
    slots = space.slots
    block = np.array([slot.block for slot in slots], dtype=np.float64)
    depth = 2 * (block - block.min()) / max(float(np.ptp(block)), 1.0) - 1
    ends = 2 * np.abs(depth) - 1
    sides: list[Floats] = [depth, -depth, ends, -ends]
    kinds = sorted({slot.kind for slot in slots})
    if len(kinds) > 1:
        for kind in kinds:
            own = np.array([slot.kind == kind for slot in slots])
            sides += [np.where(own, 1.0, -1.0), np.where(own, -1.0, 1.0)]
    for name in ("removed_share", "lost_importance"):
        damage = np.array([dict(slot.attributes).get(name, 0.0) for slot in slots])
        if np.ptp(damage) > 0:
            centred = 2 * (damage - damage.min()) / np.ptp(damage) - 1
            sides += [centred, -centred]
    for side in sides:  # gentle slopes
        yield allocate_by_weights(space, 1 + 0.6 * side)
    for side in sides:  # extremes
        yield allocate_by_weights(space, np.where(side > 0, MUCH, LITTLE))


def _round_to_options(space: Space, wanted: Floats) -> list[Label]:
    rounded = round_to_options(space, wanted.tolist())
    return [
        slot.options[slot.pinned] if slot.pinned is not None else option
        for slot, option in zip(space.slots, rounded, strict=True)
    ]
