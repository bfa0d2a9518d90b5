"""Which allocations each optimiser step of a super-network trains."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rankadaptor.components.depth import is_dropped
from rankadaptor.errors import InputError
from rankadaptor.space import Allocation

if TYPE_CHECKING:
    from rankadaptor.space import Space

Ints = NDArray[np.int64]

RANDOM, SANDWICH, ALTERNATING = "random", "sandwich", "alternating"
RULES = (SANDWICH, RANDOM, ALTERNATING)
"""`random`: one random allocation a step [LoNAS]_. `sandwich`: the largest, the smallest and two random ones
[AmoebaLLM]_. `alternating`: the largest and a random one in turn [InstaTune]_."""
RANDOM_SLICES = 2


def find_widest(space: Space) -> Allocation:
    """Return the allocation with the last option of every slot, without regard to limits."""
    return Allocation(choices=tuple(len(slot.options) - 1 for slot in space.slots), space=space)


def find_smallest(space: Space) -> Allocation:
    """Return the allocation with the smallest options that leave no half out, without regard to limits."""
    choices = tuple(
        next(number for number, option in enumerate(slot.options) if not is_dropped(option))
        for slot in space.slots
    )
    return Allocation(choices=choices, space=space)


def draw_plan(space: Space, steps: int, *, seed: int, rule: str = SANDWICH) -> tuple[Ints, ...]:
    """Draw the choices that every step trains, `(slices, n_slots)` each; limits are not looked at.

    Options of a random allocation are drawn evenly and independently for every slot. All is drawn in advance
    from the seed, so that a resumed run trains what an uninterrupted one trains.

    Args:
        space: The space of the super-network.
        steps: Optimiser steps.
        seed: Seed of the draws.
        rule: One of `RULES`.

    Raises:
        InputError: If `steps` is less than 1 or the rule is unknown.
    """
    if steps < 1:
        raise InputError(f"steps={steps}: must be at least 1.")
    if rule not in RULES:
        raise InputError(f"rule={rule!r}: allowed are {', '.join(RULES)}.")
    generator = np.random.default_rng([seed, len(space.slots)])
    counts = np.array([len(slot.options) for slot in space.slots])
    drawn = (generator.random((steps, RANDOM_SLICES, len(counts))) * counts).astype(np.int64)
    widest, smallest = (np.array([find(space).choices]) for find in (find_widest, find_smallest))
    if rule == SANDWICH:
        return tuple(np.concatenate([widest, smallest, rows]) for rows in drawn)
    if rule == ALTERNATING:
        return tuple(widest if step % 2 == 0 else rows[:1] for step, rows in enumerate(drawn))
    return tuple(rows[:1] for rows in drawn)
