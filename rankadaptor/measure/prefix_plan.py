"""In which order allocations are scored, so that those that begin alike compute their common blocks once."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass

Choices = tuple[int, ...]


@dataclass(frozen=True)
class PlannedPass:
    """One forward pass of the blocks.

    Attributes:
        place: Index of the allocation among those given.
        start: Blocks whose result is there already, counted from the first.
        from_origin: Whether that result is the origin's, and not one that an earlier pass kept.
        drops: Depths whose kept hidden states no later pass can use.
        saves: Depths at which this pass keeps the hidden states, ascending.
    """

    place: int
    start: int
    from_origin: bool
    drops: tuple[int, ...]
    saves: tuple[int, ...]


def find_shared(one: Choices, other: Choices, depths: Sequence[int], *, blocks: int) -> int:
    """Return how many leading blocks two allocations have in common.

    Args:
        one: Choices of the first allocation.
        other: Choices of the second.
        depths: Per slot, how many leading blocks do not depend on it.
        blocks: Number of blocks.
    """
    return min((d for a, b, d in zip(one, other, depths, strict=True) if a != b), default=blocks)


def plan_passes(
    choices: Sequence[Choices],
    *,
    depths: Sequence[int],
    blocks: int,
    origin: Choices,
    kept: Collection[int] = (),
    room: int,
) -> list[PlannedPass]:
    """Order passes so that each block's result is computed once for all allocations that share it.

    Sorted by the choices of the earliest slots first, allocations with a common beginning follow each other.
    A pass keeps its hidden states where later ones leave its path, as long as there is room, and starts from
    the deepest states that are its own: an earlier pass's or the origin's.

    Args:
        choices: The allocations, all different.
        depths: Per slot, how many leading blocks do not depend on it.
        blocks: Number of blocks.
        origin: Choices of the allocation whose hidden states are kept for all passes.
        kept: Depths at which the origin's states are there.
        room: How many further sets of hidden states may be kept at a time.
    """
    slots = sorted(range(len(depths)), key=lambda slot: (depths[slot], slot))
    order = sorted(
        range(len(choices)),
        key=lambda place: [(choices[place][s] != origin[s], choices[place][s]) for s in slots],
    )
    path = [choices[place] for place in order]
    shared = [find_shared(a, b, depths, blocks=blocks) for a, b in itertools.pairwise(path)]
    offered = [
        max((depth for depth in kept if depth <= find_shared(origin, each, depths, blocks=blocks)), default=0)
        for each in path
    ]
    saved: list[int] = []
    passes = []
    for index, place in enumerate(order):
        reach = shared[index - 1] if index else 0
        drops = tuple(depth for depth in saved if depth > reach)
        saved = [depth for depth in saved if depth <= reach]
        start = max([offered[index], *saved])
        from_origin = start == offered[index]
        saves = _choose_saves(shared[index:], offered[index + 1 :], start=start, saved=saved, room=room)
        saved = sorted([*saved, *saves])
        passes.append(PlannedPass(place, start, from_origin, drops, saves))
    return passes


def _choose_saves(
    shared: Sequence[int], offered: Sequence[int], *, start: int, saved: Sequence[int], room: int
) -> tuple[int, ...]:
    """Return the depths at which later passes leave this one's path and have nothing better to start from."""
    chosen: list[int] = []
    reach: int | None = None
    for depth, other in zip(shared, offered, strict=True):
        reach = depth if reach is None else min(reach, depth)
        if reach <= start or len(saved) + len(chosen) >= room:
            break
        if reach > other and reach not in chosen:
            chosen.append(reach)
    return tuple(sorted(chosen))


def spread_depths(blocks: int, *, room: int) -> tuple[int, ...]:
    """Return the depths at which to keep the origin's states: all, or as many as there is room for."""
    if room >= blocks:
        return tuple(range(1, blocks + 1))
    return tuple(sorted({round(index * blocks / (room + 1)) for index in range(1, room + 1)}))
