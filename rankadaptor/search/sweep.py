"""A sweep: allocations that differ from the first reference in one slot, as many as may be measured.

Options of a slot are told apart by their coordinates. An option in which a single coordinate differs from the
reference is *pure*: it shows the effect of this coordinate alone. The sweep prefers pure options in the
middle of each coordinate's range, then options that are no sum of pure ones (a dropped layer), then further
levels, and at last combinations. Slots of one kind take turns in depth where there is not enough for all of
them; `rankadaptor.search.interpolation` fills in the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rankadaptor.errors import InputError
from rankadaptor.space import Allocation

if TYPE_CHECKING:
    from rankadaptor.space import Slot, Space

PER_SLOT = 2
"""Measurements per searchable slot by default."""
AT_LEAST = 3
"""Slots of a kind in which each coordinate and each special option is measured at least."""
MIDDLE = 0.6
"""Share of a coordinate's range at which it is measured first."""
FINE, MIXED = 2.0, 3.0  # order of further levels and of combinations

Support = tuple[int, ...]
"""Indices of the coordinates in which an option differs from the first reference."""


@dataclass(frozen=True)
class _Request:
    """One possible measurement of a sweep, the smallest `order` first."""

    order: tuple[float, int]
    slot: int
    option: int


def plan_sweep(space: Space, *, evaluations: int | None = None) -> list[Allocation]:
    """Choose the allocations of a sweep; they may exceed the limits.

    The list is a prefix of the one for more evaluations, so a sweep can be extended later.

    Args:
        space: The space; allocations differ from its first reference in one slot that is not pinned.
        evaluations: Number of measurements; by default two per searchable slot.

    Returns:
        Distinct allocations, fewer than `evaluations` only if the slots have no more options.

    Raises:
        InputError: If there are fewer measurements than kinds of slots and coordinates.
    """
    requests = sorted(_list_requests(space), key=lambda each: each.order)
    count = PER_SLOT * len(space.tables.searchable) if evaluations is None else evaluations
    needed = len({(space.slots[each.slot].kind, find_support(space, each.slot, each.option))
                  for each in requests if each.order[0] < 0})  # fmt: skip
    if count < needed:
        raise InputError(
            f"a sweep of {count} evaluations: {needed} are needed to see every kind of slot and option once. "
            f"Allow at least {needed}; {PER_SLOT * len(space.tables.searchable)} is the default."
        )
    planned = []
    for request in requests[:count]:
        choices = list(space.origin)
        choices[request.slot] = request.option
        planned.append(Allocation(tuple(choices), space))
    return planned


def find_support(space: Space, slot: int, option: int) -> Support:
    """Return the indices of the coordinates in which an option differs from the first reference."""
    return tuple(np.flatnonzero(space.slots[slot].coordinates[option]).tolist())


def group_by_support(slot: Slot) -> dict[Support, list[int]]:
    """Return a slot's options by the coordinates in which they differ, those nearest to the reference first.

    Distance is the sum of the coordinates' sizes, each as a share of its largest size in the slot.
    """
    vectors = np.abs(np.asarray(slot.coordinates))
    sizes = (vectors / np.maximum(vectors.max(axis=0), 1e-12)).sum(axis=1)
    groups: dict[Support, list[int]] = {}
    for option in np.argsort(sizes, kind="stable").tolist():
        groups.setdefault(tuple(np.flatnonzero(vectors[option]).tolist()), []).append(option)
    groups.pop((), None)
    return groups


def _list_requests(space: Space) -> list[_Request]:
    by_kind: dict[str, list[int]] = {}
    for index in space.tables.searchable.tolist():
        by_kind.setdefault(space.slots[index].kind, []).append(index)
    requests = []
    for kind_number, members in enumerate(by_kind.values()):
        for turn, index in zip(_take_turns(len(members)), members, strict=True):
            for place, (tier, option) in enumerate(_rank_options(space.slots[index])):
                # The first few slots of a kind see everything that interpolation cannot do without.
                needed = turn < AT_LEAST and tier < FINE
                within = turn / len(members) if tier > 0 else 0.0
                order = -1.0 - (turn == 0) if needed else tier + within
                requests.append(_Request((order, kind_number + place), index, option))
    return requests


def _rank_options(slot: Slot) -> list[tuple[float, int]]:
    """Return (tier, option) of everything worth measuring in a slot."""
    groups = group_by_support(slot)
    pure = {support[0]: options for support, options in groups.items() if len(support) == 1}
    ranked: list[tuple[float, int]] = []
    for number, (axis, options) in enumerate(pure.items()):
        sizes = np.abs([slot.coordinates[option][axis] for option in options])
        levels = [options[int(np.flatnonzero(sizes == size)[0])] for size in np.unique(sizes)]
        for place, level in enumerate(_spread_levels(np.unique(sizes))):
            # The first coordinate is measured in every slot, the others as far as the budget goes.
            tier = float(min(number, 1)) if place == 0 else FINE + 0.2 * (place - 1) + 0.1 * number
            ranked.append((tier, levels[level]))
    for support, options in groups.items():
        if len(support) == 1:
            continue
        combined = all(axis in pure for axis in support)
        if not combined:  # a dropped layer, say: no sum of pure options tells what it does
            ranked.append((1.0 if pure else 0.0, options[0]))
            ranked += [(FINE, option) for option in options[1:]]
        else:
            middle = options[len(options) // 2]
            ranked.append((MIXED, middle))
    return ranked


def _spread_levels(sizes: np.ndarray) -> list[int]:
    """Return the order of levels: the one in the middle, the largest, then the farthest from all before."""
    first = int(np.argmin(np.abs(sizes - MIDDLE * sizes[-1])))
    order, points = [first], np.log(np.maximum(sizes, 1e-12))
    if first != len(sizes) - 1:
        order.append(len(sizes) - 1)
    while len(order) < len(sizes):
        gap = np.abs(points[:, None] - points[order][None]).min(axis=1)
        order.append(int(np.argmax(gap)))
    return order


def _take_turns(count: int) -> list[int]:
    """Return each member's turn, such that the first k turns are spread evenly over the range for every k."""
    points = [(count - 1) // 2] if count > 2 else []
    order = list(dict.fromkeys([0, count - 1, *points]))
    while len(order) < count:
        left = np.setdiff1d(np.arange(count), order)
        gap = np.abs(left[:, None] - np.asarray(order)[None]).min(axis=1)
        order.append(int(left[np.argmax(gap)]))
    turns = [0] * count
    for turn, member in enumerate(order):
        turns[member] = turn
    return turns
