"""A sweep: allocations that differ from the first reference in one slot, as many as may be measured.

Slots of a kind share the shape of their curves (`rankadaptor.search.interpolation`), so a few of them are
measured at many levels and all others at one: the one in the middle of the first direction. What measurements
are left is spread over the depth of the model: first the other directions, then further levels and combined
options.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rankadaptor.errors import InputError
from rankadaptor.search.directions import find_directions, order_levels, take_turns
from rankadaptor.space import Allocation

if TYPE_CHECKING:
    from rankadaptor.space import Slot, Space

PER_SLOT = 2
"""Measurements per searchable slot by default."""
DETAILED, COVERED = 2, 3
"""Slots of a kind measured at many levels, and along every direction, before all others."""
MANY = 5
"""Levels of a direction that a detailed slot is measured at."""
MIDDLE = 0.6
"""Share of the largest level at which a direction is measured first."""
NEEDED, MAIN, OTHER, FINE = -1.0, 0.0, 1.0, 2.0
"""Order of what interpolation needs, the first direction, the others, further levels and combinations."""


@dataclass(frozen=True)
class _Request:
    """One possible measurement; the smallest order comes first."""

    order: tuple[float, int, int]
    slot: int
    option: int


def plan_sweep(space: Space, *, evaluations: int | None = None) -> list[Allocation]:
    """Choose the allocations of a sweep; they may exceed the limits.

    The list is the beginning of the one for more evaluations, so a sweep can be extended later.

    Args:
        space: The space; allocations differ from its first reference in one slot that is not pinned.
        evaluations: Number of measurements; by default two per searchable slot.

    Returns:
        Distinct allocations, fewer than `evaluations` only if the slots have no more to tell.

    Raises:
        InputError: If there are too few measurements to see every kind of slot along every direction.
    """
    requests = sorted(_list_requests(space), key=lambda each: each.order)
    usual = PER_SLOT * len(space.tables.searchable)
    count = usual if evaluations is None else evaluations
    needed = sum(request.order[0] < NEEDED for request in requests)
    if count < needed:
        raise InputError(
            f"a sweep of {count} evaluations: {needed} are needed to see every kind of slot along every "
            f"direction once. Allow at least {needed}; {max(usual, needed)} is usual."
        )
    planned = []
    for request in requests[:count]:
        choices = list(space.origin)
        choices[request.slot] = request.option
        planned.append(Allocation(tuple(choices), space))
    return planned


def _list_requests(space: Space) -> list[_Request]:
    by_kind: dict[str, list[int]] = {}
    for index in space.tables.searchable.tolist():
        by_kind.setdefault(space.slots[index].kind, []).append(index)
    requests = []
    for number, members in enumerate(by_kind.values()):
        for turn, index in zip(take_turns(len(members)), members, strict=True):
            for place, (tier, level, option) in enumerate(_rank_options(space.slots[index])):
                order = tier + (turn / len(members) if tier > MAIN else 0.0)
                if level == 0 and turn < COVERED:
                    order = NEEDED - (turn == 0)
                elif 0 < level < MANY and turn < DETAILED:
                    order = NEEDED
                requests.append(_Request((order, turn, number + len(by_kind) * place), index, option))
    return requests


def _rank_options(slot: Slot) -> list[tuple[float, int, int]]:
    """Return (tier, number of the level, option) of what is worth measuring in a slot.

    Combined options, of which one for each set of directions is worth it, have the level −1.
    """
    found = find_directions(slot)
    ranked: list[tuple[float, int, int]] = []
    for number, levels in enumerate(found.levels.values()):
        options = dict(reversed(levels))  # one option a level
        sizes = sorted(options)
        for level, place in enumerate(order_levels(sizes, middle=MIDDLE) if sizes else []):
            tier = (OTHER if number else MAIN) if level == 0 else FINE + 0.2 * (level - 1) + 0.1 * number
            ranked.append((tier, level, options[sizes[place]]))
    combined: dict[tuple[tuple[int, ...], ...], list[int]] = {}
    for option, parts in enumerate(found.parts):
        if len(parts) > 1:
            combined.setdefault(parts, []).append(option)
    ranked += [(FINE + 0.5, -1, options[len(options) // 2]) for options in combined.values()]
    return ranked
