"""A space as arrays: what the vectorised parts read.

Inside, an allocation is an array of *choices*, the index of each slot's option.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rankadaptor.space.slot import Slot

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Tables:
    """Costs and coordinates of all slots as arrays; slots with few options are padded with their last one.

    Attributes:
        resources: Names of the resources, in the order of `costs`: those with a limit first.
        costs: `(n_resources, n_slots, n_options)`.
        coordinates: `(n_coordinates, n_slots, n_options)`; vectors of shorter slots are padded with zeros.
        lowest: `(n_slots,)` first choice allowed.
        highest: `(n_slots,)` last choice allowed; equal to `lowest` where pinned.
        searchable: Indices of slots that are not pinned and have more than one option.
        costless: Indices of searchable slots that use no resource with a limit.
        blocks: `(n_slots,)` index into the sorted blocks.
        kinds: `(n_slots,)` index into the sorted kinds.
        depth: `(n_slots,)` position of the block from −1 to 1.
    """

    resources: tuple[str, ...]
    costs: Ints
    coordinates: NDArray[np.float64]
    lowest: Ints
    highest: Ints
    searchable: Ints
    costless: Ints
    blocks: Ints
    kinds: Ints
    depth: NDArray[np.float32]

    @property
    def columns(self) -> Ints:
        """`(n_slots,)` slot indices, for looking tables up."""
        return np.arange(self.costs.shape[1])

    @property
    def n_options(self) -> int:
        """Options of the slot that has most."""
        return int(self.costs.shape[2])

    def sum_costs(self, choices: Ints, resource: int = 0) -> Ints:
        """Return the cost of each row of choices in a resource, by its number, `(n,)`."""
        total: Ints = self.costs[resource].ravel().take(choices + self._base).sum(axis=1)
        return total

    def clip(self, choices: Ints) -> Ints:
        """Bring choices `(n, n_slots)` into what each slot allows."""
        clipped: Ints = np.clip(choices, self.lowest, self.highest)
        return clipped

    @functools.cached_property
    def _base(self) -> Ints:
        """`(n_slots,)` where each slot starts in a flattened table."""
        base: Ints = self.columns * self.n_options
        return base


def build_tables(slots: Sequence[Slot], *, limited: Sequence[str]) -> Tables:
    """Lay the slots' options out as arrays.

    Args:
        slots: The slots.
        limited: Resources with a limit, in the order of the limits.
    """
    named = dict.fromkeys(limited) | dict.fromkeys(name for slot in slots for name in slot.resources)
    width = max(len(slot.options) for slot in slots)
    longest = max(len(slot.coordinates[0]) for slot in slots)
    costs = np.zeros((len(named), len(slots), width), dtype=np.int64)
    coordinates = np.zeros((longest, len(slots), width))
    lowest, highest = np.zeros(len(slots), dtype=np.int64), np.zeros(len(slots), dtype=np.int64)
    for row, slot in enumerate(slots):
        count = len(slot.options)
        for number, resource in enumerate(named):
            costs[number, row, :count] = slot.costs_in(resource)
        costs[:, row, count:] = costs[:, row, count - 1 : count]
        vectors = np.asarray(slot.coordinates, dtype=np.float64).T
        coordinates[: len(vectors), row, :count] = vectors
        coordinates[:, row, count:] = coordinates[:, row, count - 1 : count]
        if slot.pinned is None:
            highest[row] = count - 1
        else:
            lowest[row] = highest[row] = slot.pinned
    blocks = np.unique([slot.block for slot in slots], return_inverse=True)[1].astype(np.int64)
    kinds = np.unique([slot.kind for slot in slots], return_inverse=True)[1].astype(np.int64)
    depth = (2 * blocks / max(int(blocks.max()), 1) - 1).astype(np.float32)
    searchable = np.flatnonzero(lowest < highest)
    uses = costs[: len(limited)].max(axis=(0, 2), initial=0) > 0
    return Tables(
        resources=tuple(named),
        costs=costs,
        coordinates=coordinates,
        lowest=lowest,
        highest=highest,
        searchable=searchable,
        costless=searchable[~uses[searchable]],
        blocks=blocks,
        kinds=kinds,
        depth=depth,
    )


def compute_keys(choices: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return a number for each row of `(n, n_slots)`, equal for equal rows.

    Different rows share one with a probability of about 2⁻⁶⁰; what is lost to it is one candidate among many.
    """
    multipliers = np.random.default_rng(choices.shape[1]).integers(
        1 << 63, size=choices.shape[1], dtype=np.uint64
    ) * np.uint64(2) + np.uint64(1)
    keys: NDArray[np.uint64] = choices.astype(np.uint64) @ multipliers
    return keys
