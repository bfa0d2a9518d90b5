"""Which allocations each optimiser step of a super-network trains."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rankadaptor.components.depth import is_dropped
from rankadaptor.defaults import ELASTIC
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
DROPPED = ELASTIC.dropped
"""Largest share of the halves that are left out; a quarter, as in 24 of 32 blocks [LLaMANAS]_."""


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


def count_left_out(space: Space, share: float) -> int:
    """Return how many halves an allocation may leave out: a share of those that have the option."""
    return int(share * len(_list_droppable(space)))


def draw_plan(
    space: Space, steps: int, *, seed: int, rule: str = SANDWICH, dropped: float = DROPPED
) -> tuple[Ints, ...]:
    """Draw the choices that every step trains, `(slices, n_slots)` each; limits are not looked at.

    Options of a random allocation are drawn evenly and independently for every slot. Where halves may be
    left out, the number of those that are is drawn evenly up to the largest share, and which ones they are;
    drawn independently, half of all attentions would be missing. All is drawn in advance from the seed, so
    that a resumed run trains what an uninterrupted one trains.

    Args:
        space: The space of the super-network.
        steps: Optimiser steps.
        seed: Seed of the draws.
        rule: One of `RULES`.
        dropped: Largest share of the halves that a random allocation leaves out, 0 to 1.

    Raises:
        InputError: If `steps` is less than 1, the rule is unknown or the share is not one.
    """
    if steps < 1:
        raise InputError(f"steps={steps}: must be at least 1.")
    if rule not in RULES:
        raise InputError(f"rule={rule!r}: allowed are {', '.join(RULES)}.")
    if not 0 <= dropped <= 1:
        raise InputError(f"dropped={dropped}: give a share of the halves, from 0 to 1.")
    generator = np.random.default_rng([seed, len(space.slots)])
    counts = np.array([len(slot.options) for slot in space.slots])
    drawn = (generator.random((steps, RANDOM_SLICES, len(counts))) * counts).astype(np.int64)
    _limit_dropped(space, drawn.reshape(-1, len(counts)), share=dropped, seed=seed)
    widest, smallest = (np.array([find(space).choices]) for find in (find_widest, find_smallest))
    if rule == SANDWICH:
        return tuple(np.concatenate([widest, smallest, rows]) for rows in drawn)
    if rule == ALTERNATING:
        return tuple(widest if step % 2 == 0 else rows[:1] for step, rows in enumerate(drawn))
    return tuple(rows[:1] for rows in drawn)


def _limit_dropped(space: Space, rows: Ints, *, share: float, seed: int) -> None:
    """Draw again, in place, which halves a row leaves out, and the options of those that it keeps."""
    left_out = _list_droppable(space)
    if not left_out:
        return
    generator = np.random.default_rng([seed, len(space.slots), 1])  # row by row: a longer plan begins alike
    most = count_left_out(space, share)
    for row in rows:
        for number, option in left_out.items():
            present = [each for each in range(len(space.slots[number].options)) if each != option]
            row[number] = present[int(generator.integers(len(present)))]
        chosen = generator.permutation(list(left_out))[: int(generator.integers(most + 1))]
        for number in chosen.tolist():
            row[number] = left_out[number]


def _list_droppable(space: Space) -> dict[int, int]:
    """Return the slots with an option that leaves their half out, and that option."""
    return {
        number: option
        for number, slot in enumerate(space.slots)
        for option, label in enumerate(slot.options)
        if is_dropped(label)
    }
