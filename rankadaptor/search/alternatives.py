"""Allocations and searches to compare a refined search with, in the same space under the same limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rankadaptor.errors import BudgetError, InputError
from rankadaptor.features import ScoreTable, SlotValues
from rankadaptor.predictor.baselines.measured import Measured
from rankadaptor.search.exact import solve_exact
from rankadaptor.search.loop import Search
from rankadaptor.search.refinement import Refinement

if TYPE_CHECKING:
    from rankadaptor.space import Allocation, Slot, Space

Flags = NDArray[np.bool_]

DRAWN = 16
"""Allocations drawn for each one that a random search measures: enough to find a new one."""
STEPS = 400
"""Shares of cost that are tried for a uniform allocation."""


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


def allocate_uniformly(space: Space, *, allowed: Flags | None = None) -> Allocation:
    """Return the allocation in which every slot takes the same share of its largest cost, as large as fits.

    A slot takes its dearest allowed option, in the first limited resource, that costs no more than the share
    of its dearest one.

    Args:
        space: A space with at least one limit.
        allowed: Options that may be taken, `(n_slots, n_options)`; all by default. See `allow_part`.

    Raises:
        InputError: If the space has no limit.
        BudgetError: If even the smallest allowed options exceed a limit.
    """
    if not space.limits:
        raise InputError(f"{space}: uniform is the largest common share under a limit. Give the space one.")
    tables = space.tables
    options = np.arange(tables.n_options)
    open_options = (options >= tables.lowest[:, None]) & (options <= tables.highest[:, None])
    open_options &= True if allowed is None else allowed
    costs = np.where(open_options, tables.costs[0].astype(np.float64), np.inf)
    dearest = np.where(open_options, costs, -1.0).max(axis=1, keepdims=True)
    smallest = costs.argmin(axis=1)
    for share in np.linspace(1.0, 0.0, STEPS + 1):
        fitting = np.where(costs <= share * dearest + 1e-9, costs, -1.0)
        # Of options of one cost the last; where none is small enough the smallest.
        last = tables.n_options - 1 - fitting[:, ::-1].argmax(axis=1)
        choices = np.where(fitting.max(axis=1) >= 0.0, last, smallest)
        if all(tables.sum_costs(choices[None], n)[0] <= bound for n, bound in enumerate(space.bounds)):
            return space.from_choices(choices.tolist())
    raise BudgetError(
        f"{space}: the smallest allowed options exceed a limit. Allow smaller ones, or raise the limit."
    )


def allocate_by_sums(
    space: Space, scores: ScoreTable | Sequence[Sequence[float]], *, allowed: Flags | None = None
) -> Allocation:
    """Return the allocation with the largest sum of scores of its options, under all limits.

    With scores such as the importance that an option keeps this is global Taylor, FLAP or Block Influence.

    Args:
        space: The space.
        scores: One number per option of each slot; more is better.
        allowed: See `allocate_uniformly`.

    Raises:
        InputError: If the scores do not fit the space.
        BudgetError: If no allocation of allowed options keeps the limits.
    """
    return space.from_choices(solve_exact(space, SlotValues.of_scores(space, scores), allowed=allowed))


def list_alternatives(
    space: Space,
    *,
    values: SlotValues | None = None,
    scores: Mapping[str, ScoreTable | Sequence[Sequence[float]]] | None = None,
    parts: Sequence[str] = (),
    also: Sequence[str | int] = (),
) -> dict[str, Allocation]:
    """Return named allocations that cost no measurement beyond a sweep: `uniform`, each score, `exact`.

    Args:
        space: The space.
        values: Slot values of a sweep, for `exact`.
        scores: Scores by name, such as `taylor`.
        parts: Parts of labels, such as types, each of which is demanded everywhere in turn; the name of an
            allocation then ends in it: `taylor_Q4_0`. Parts under which nothing fits are left out.
        also: See `allow_part`.
    """
    masks: dict[str, Flags | None] = {f"_{part}": allow_part(space, part, also=also) for part in parts}
    masks = masks or {"": None}
    found: dict[str, Allocation] = {}
    for ending, allowed in masks.items():
        try:
            found[f"uniform{ending}"] = allocate_uniformly(space, allowed=allowed)
            for name, table in (scores or {}).items():
                found[f"{name}{ending}"] = allocate_by_sums(space, table, allowed=allowed)
        except BudgetError:
            continue
    if values is not None:
        found["exact"] = space.from_choices(solve_exact(space, values))
    return found


def search_blindly(space: Space, *, start: Allocation, seed: int = 0) -> Search:
    """Return an evolutionary search without a predictor: random trades of the best measured allocation."""
    return Search(space, Measured(), refinement=Refinement(starts=(start,), blind=True), seed=seed)


def search_randomly(space: Space, *, seed: int = 0) -> Search:
    """Return a search that draws allocations at random."""
    return Search(space, Measured(), proposal="random", candidates=DRAWN, seed=seed)
