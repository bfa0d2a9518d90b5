"""Rules that choose from the sweep's values without refinement: in two steps, and all at once."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankadaptor.components.depth import DROPPED
from rankadaptor.errors import BudgetError, InputError
from rankadaptor.features import SlotValues
from rankadaptor.search.alternatives import allow_part
from rankadaptor.search.exact import solve_exact
from rankadaptor.space import Space

logger = logging.getLogger(__name__)

Flags = NDArray[np.bool_]


def choose_widths_first(space: Space, values: SlotValues, kind: str) -> tuple[int, ...]:
    """Choose the best widths with one type everywhere, then the best types for these widths.

    Both steps are exact optima of the sum of the slot values under all limits.

    Args:
        space: The space.
        values: Slot values of a sweep.
        kind: The type of the first step.

    Raises:
        InputError: If a layer cannot have this type.
        BudgetError: If no widths keep the limits with this type everywhere.
    """
    for index in space.tables.searchable.tolist():
        if not any(kind in _list_parts(label) for label in space.slots[index].options):
            raise InputError(f"{space.slots[index].name} has no option of the type {kind}.")
    widths = solve_exact(space, values, allowed=allow_part(space, kind, also=(DROPPED[1],)))
    return solve_exact(space, values, allowed=_keep_widths(space, widths))


def list_widths_first(
    space: Space, values: SlotValues, kinds: tuple[str, ...]
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield each type with which widths can be chosen first, and the choices."""
    for kind in kinds:
        try:
            yield kind, choose_widths_first(space, values, kind)
        except (BudgetError, InputError) as error:
            logger.info("widths first with %s: %s", kind, error)


def _keep_widths(space: Space, choices: tuple[int, ...]) -> Flags:
    """Mark the options that have the width of the chosen one; all options of slots without a width."""
    allowed = np.zeros(space.tables.costs[0].shape, dtype=np.bool_)
    for row, (slot, choice) in enumerate(zip(space.slots, choices, strict=True)):
        widths = [_list_parts(label)[0] if isinstance(label, tuple) else None for label in slot.options]
        allowed[row, : len(widths)] = [width == widths[choice] for width in widths]
    return allowed


def _list_parts(label: Any) -> tuple[Any, ...]:
    return label if isinstance(label, tuple) else (label,)
