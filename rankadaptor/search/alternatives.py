"""Searches to compare a refined search with, in the same space under the same limits, and parts of spaces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rankadaptor.predictor.baselines.measured import Measured
from rankadaptor.search.loop import Search
from rankadaptor.search.refinement import Refinement

if TYPE_CHECKING:
    from rankadaptor.space import Allocation, Slot, Space

Flags = NDArray[np.bool_]

DRAWN = 16
"""Allocations drawn for each one that a random search measures: enough to find a new one."""


def allow_part(space: Space, part: str | int, *, also: Sequence[str | int] = ()) -> Flags:
    """Mark the options whose label is `part` or has it as a part, `(n_slots, n_options)`.

    Slots without such an option keep all of theirs. With the type `"Q4_0"` these are the allocations that
    have one type everywhere.

    Args:
        space: The space.
        part: A label, or a part of labels of coupled options.
        also: Further parts to allow, such as `"none"` of dropped layers.
    """
    allowed = np.zeros(space.tables.costs[0].shape, dtype=np.bool_)
    for row, slot in enumerate(space.slots):
        own = [_has_part(slot, option, (part,)) for option in range(len(slot.options))]
        more = [_has_part(slot, option, also) for option in range(len(slot.options))]
        allowed[row, : len(own)] = np.logical_or(own, more) if any(own) else True
    return allowed


def _has_part(slot: Slot, option: int, parts: Sequence[str | int]) -> bool:
    label = slot.options[option]
    return any(part in label if isinstance(label, tuple) else part == label for part in parts)


def search_blindly(space: Space, *, start: Allocation, seed: int = 0) -> Search:
    """Return an evolutionary search without a predictor: random trades of the best measured allocation."""
    return Search(space, Measured(), refinement=Refinement(starts=(start,), blind=True), seed=seed)


def search_randomly(space: Space, *, seed: int = 0) -> Search:
    """Return a search that draws allocations at random."""
    return Search(space, Measured(), proposal="random", candidates=DRAWN, seed=seed)
