"""A space as arrays: what the vectorised parts read.

Inside, an allocation is an array of *choices*, the index of each slot's option, so that "one step up" is
plus one.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rankadaptor.space.slot import Slot

Ints = NDArray[np.int64]

LONGEST_LOOKUP = 1 << 20
"""Entries of a table from values to choices; above that, values are compared with every option."""

NEVER = 1 << 52
"""Cost of a step that does not exist: above every budget, yet a thousand of them do not overflow."""


@dataclass(frozen=True, eq=False)
class Tables:
    """Options and costs of all slots as arrays.

    Attributes:
        options: `(n_slots, n_options)`, short menus padded with their last option.
        costs: `(n_slots, n_options)`, padded likewise.
        step: `(n_slots, n_options)`, cost of going one option up; `NEVER` at the top, in pinned slots, and
            where options cost nothing.
        lowest: `(n_slots,)` first choice allowed.
        highest: `(n_slots,)` last choice allowed; equal to `lowest` where pinned.
        free: Indices of slots that are not pinned and have more than one option.
        blocks: `(n_slots,)` index into the sorted blocks.
        kinds: `(n_slots,)` index into the sorted kinds.
        depth: `(n_slots,)` position of the block from −1 to 1.
    """

    options: Ints
    costs: Ints
    step: Ints
    lowest: Ints
    highest: Ints
    free: Ints
    blocks: Ints
    kinds: Ints
    depth: NDArray[np.float32]

    @functools.cached_property
    def gratis(self) -> Ints:
        """Indices of free slots whose options cost nothing."""
        gratis: Ints = self.free[self.costs[self.free, -1] == 0]
        return gratis

    @property
    def columns(self) -> Ints:
        """`(n_slots,)` slot indices, for looking tables up."""
        return np.arange(len(self.options))

    def sum_costs(self, choices: Ints) -> Ints:
        """Return the cost of each row of choices, `(n,)`."""
        total: Ints = self.costs.ravel().take(choices + self._base).sum(axis=1)
        return total

    def read_values(self, choices: Ints) -> Ints:
        """Turn choices into option values, both `(n, n_slots)`."""
        return self.options.ravel().take(choices + self._base)

    def find_choices(self, values: Ints) -> tuple[Ints, NDArray[np.bool_]]:
        """Find the largest option not above each value.

        Returns:
            Choices `(n, n_slots)`, kept within what each slot allows, and where they are exactly the values
            given.
        """
        below = self._below
        if below is None:
            above = np.zeros(values.shape, dtype=np.int64)
            for position in range(1, self.options.shape[1]):
                above += values >= self.options[:, position]
            choices = np.clip(above, self.lowest, self.highest)
        else:
            largest = len(below) // len(self.options) - 1
            choices = below.take(np.minimum(values, largest) + self.columns * (largest + 1))
        return choices, self.read_values(choices) == values

    @functools.cached_property
    def _base(self) -> Ints:
        """`(n_slots,)` where each slot starts in a flattened table."""
        base: Ints = self.columns * self.options.shape[1]
        return base

    @functools.cached_property
    def _below(self) -> Ints | None:
        """The choice for every value up to the largest option, flat; None where that would be too long."""
        values = np.arange(int(self.options.max()) + 1)
        if len(values) * len(self.options) > LONGEST_LOOKUP:
            return None
        rows = [
            np.searchsorted(row[:top], values, side="right") - 1
            for row, top in zip(self.options, self._counts, strict=True)
        ]
        return np.clip(rows, self.lowest[:, None], self.highest[:, None]).astype(np.int64).ravel()

    @functools.cached_property
    def _counts(self) -> Ints:
        """`(n_slots,)` number of options of each slot; short menus are padded with their last option."""
        counts: Ints = (self.options[:, 1:] > self.options[:, :-1]).sum(axis=1) + 1
        return counts


def build_tables(slots: Sequence[Slot]) -> Tables:
    """Lay the slots' menus out as arrays."""
    width = max(len(slot.options) for slot in slots)
    shape = (len(slots), width)
    options, costs = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    step = np.full(shape, NEVER, dtype=np.int64)
    lowest, highest = np.zeros(len(slots), dtype=np.int64), np.zeros(len(slots), dtype=np.int64)
    for row, slot in enumerate(slots):
        count = len(slot.options)
        options[row, :count], options[row, count:] = slot.options, slot.options[-1]
        costs[row, :count], costs[row, count:] = slot.costs, slot.costs[-1]
        if slot.pinned is None:
            highest[row] = count - 1
            if slot.costs[-1] > 0:  # what is free is never raised to use the budget up
                step[row, : count - 1] = np.diff(costs[row, :count])
        else:
            lowest[row] = highest[row] = slot.options.index(slot.pinned)
    blocks = np.unique([slot.block for slot in slots], return_inverse=True)[1].astype(np.int64)
    kinds = np.unique([slot.kind for slot in slots], return_inverse=True)[1].astype(np.int64)
    depth = (2 * blocks / max(int(blocks.max()), 1) - 1).astype(np.float32)
    return Tables(
        options=options,
        costs=costs,
        step=step,
        lowest=lowest,
        highest=highest,
        free=np.flatnonzero(lowest < highest),
        blocks=blocks,
        kinds=kinds,
        depth=depth,
    )
