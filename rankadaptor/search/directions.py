"""Directions of a slot: the independent ways in which its options differ from the first reference.

The coordinates in which an option differs from the reference are its *support*. A support that is no union of
smaller ones is a direction; options that differ along one direction alone are its levels. With coordinates
(width, dropped, bits, rounding) a slot has the directions {width}, {width, dropped} and {bits, rounding}, and
an option that is narrower and has fewer bits combines the first and the third.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from rankadaptor.space import Slot

Support = tuple[int, ...]
"""Indices of the coordinates in which an option differs from the first reference."""


@dataclass(frozen=True)
class SlotDirections:
    """The directions of one slot.

    Attributes:
        levels: By direction, its levels as (size, option), the nearest to the reference first. The size is
            that of the last coordinate that no smaller direction has.
        bases: By direction, the largest direction inside it, if there is one: {width} of {width, dropped}.
        parts: Per option the directions it combines; none at the reference.
        sizes: Per option the size along each of its directions, and along their bases.
    """

    levels: dict[Support, list[tuple[float, int]]]
    bases: dict[Support, Support]
    parts: list[tuple[Support, ...]]
    sizes: list[dict[Support, float]]


def find_support(slot: Slot, option: int) -> Support:
    """Return the indices of the coordinates in which an option differs from the first reference."""
    return tuple(index for index, value in enumerate(slot.coordinates[option]) if value)


def find_directions(slot: Slot) -> SlotDirections:
    """Find the directions of a slot from the coordinates of its options."""
    supports = [find_support(slot, option) for option in range(len(slot.options))]
    distinct = sorted(set(supports) - {()}, key=lambda each: (len(each), each))
    directions = [each for each in distinct if not _is_union(each, distinct)]
    bases, axes = {}, {}
    for direction in directions:
        inside = [each for each in directions if set(each) < set(direction)]
        if inside:
            bases[direction] = inside[-1]
        own = set(direction).difference(*inside)
        axes[direction] = max(own) if own else direction[-1]
    parts = [_cover(support, directions) for support in supports]
    sizes = []
    for option, used in enumerate(parts):
        wanted = {*used, *(bases[each] for each in used if each in bases)}
        sizes.append({each: abs(slot.coordinates[option][axes[each]]) for each in wanted})
    levels: dict[Support, list[tuple[float, int]]] = {each: [] for each in directions}
    for option, used in enumerate(parts):
        if len(used) == 1:
            levels[used[0]].append((sizes[option][used[0]], option))
    return SlotDirections({each: sorted(found) for each, found in levels.items()}, bases, parts, sizes)


def _is_union(support: Support, supports: list[Support]) -> bool:
    smaller = [set(each) for each in supports if set(each) < set(support)]
    return bool(smaller) and set().union(*smaller) == set(support)


def _cover(support: Support, directions: list[Support]) -> tuple[Support, ...]:
    """Return the directions that make up a support, the largest first."""
    if support in directions:
        return (support,)
    left, used = set(support), []
    inside = [each for each in directions if set(each) <= set(support)]
    for direction in sorted(inside, key=lambda each: (-len(each), each)):
        if left & set(direction):
            used.append(direction)
            left -= set(direction)
    return tuple(sorted(used))


def order_levels(sizes: list[float], *, middle: float) -> list[int]:
    """Return an order of levels in which every beginning is spread over the range.

    The level nearest to `middle` of the largest comes first, then the largest, then always the one farthest
    from all before in ln size.
    """
    distinct = np.array(sizes)
    first = int(np.argmin(np.abs(distinct - middle * distinct[-1])))
    order, points = list(dict.fromkeys([first, len(sizes) - 1])), np.log(np.maximum(distinct, 1e-12))
    while len(order) < len(sizes):
        gap = np.abs(points[:, None] - points[order][None]).min(axis=1)
        gap[order] = -1.0
        order.append(int(np.argmax(gap)))
    return order


def take_turns(count: int) -> list[int]:
    """Return each member's turn, such that the first k of them are spread over the whole for every k."""
    order = list(dict.fromkeys([(count - 1) // 2, 0, count - 1]))
    for _ in itertools.repeat(None, count - len(order)):
        left = np.setdiff1d(np.arange(count), order)
        gap = np.abs(left[:, None] - np.asarray(order)[None]).min(axis=1)
        order.append(int(left[np.argmax(gap)]))
    return [order.index(member) for member in range(count)]
