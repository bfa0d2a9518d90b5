"""Change one allocation at random, or mix two: moves of an evolutionary search, always inside the budget."""

from __future__ import annotations

import numpy as np

from rankadaptor.errors import InputError
from rankadaptor.space.allocation import Allocation
from rankadaptor.space.filling import fit_budget
from rankadaptor.space.space import Space
from rankadaptor.space.tables import Ints

TRIES = 8
"""How often to draw again when filling up leads back to the parent."""


def mutate(space: Space, allocation: Allocation, *, seed: int, rate: float = 0.1) -> Allocation:
    """Move each free slot with probability `rate` by one to three options, at least one slot, and repair.

    Returns:
        An allocation inside the budget and filled up; it differs from the parent wherever the space allows
        it.

    Raises:
        InputError: If `rate` is not in (0, 1].
        BudgetError: If the allocation is not of this space.
    """
    if not 0.0 < rate <= 1.0:
        raise InputError(
            f"rate={rate}: allowed is 0 < rate ≤ 1. It is the share of slots that move, 0.1 for a tenth."
        )
    generator = np.random.default_rng(seed)
    tables, parent = space.tables, _read_choices(space, allocation)
    child = parent
    for _ in range(TRIES if tables.free.size else 0):
        moved = generator.random(tables.free.size) < rate
        moved[generator.integers(tables.free.size)] = True
        steps = np.minimum(generator.geometric(0.6, size=tables.free.size), 3)
        change = np.zeros_like(parent)
        change[tables.free] = moved * steps * generator.choice((-1, 1), size=tables.free.size)
        child = _fit(space, np.clip(parent + change, tables.lowest, tables.highest), generator)
        if (child != parent).any():
            break
    return _wrap(space, child)


def cross(space: Space, first: Allocation, second: Allocation, *, seed: int) -> Allocation:
    """Take each slot from one of two parents, by slot or by whole block with equal chance, and repair.

    Returns:
        An allocation inside the budget and filled up.

    Raises:
        BudgetError: If a parent is not of this space.
    """
    generator = np.random.default_rng(seed)
    tables = space.tables
    one, other = _read_choices(space, first), _read_choices(space, second)
    if generator.random() < 0.5:
        taken = generator.random(len(one)) < 0.5
    else:
        taken = (generator.random(int(tables.blocks.max()) + 1) < 0.5)[tables.blocks]
    return _wrap(space, _fit(space, np.where(taken, one, other), generator))


def _read_choices(space: Space, allocation: Allocation) -> Ints:
    values = space.allocation(allocation.values).values
    choices, _ = space.tables.find_choices(np.asarray([values], dtype=np.int64))
    row: Ints = choices[0]
    return row


def _fit(space: Space, choices: Ints, generator: np.random.Generator) -> Ints:
    row: Ints = fit_budget(space.tables, choices[None], budget=space.budget, generator=generator)[0]
    return row


def _wrap(space: Space, choices: Ints) -> Allocation:
    values = space.tables.read_values(choices[None])[0]
    return Allocation(values=tuple(values.tolist()), space=space)
