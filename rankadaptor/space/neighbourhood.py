"""Allocations one move away: a step of rank taken from one slot and given to another."""

from __future__ import annotations

import numpy as np

from rankadaptor.space.filling import fit_budget
from rankadaptor.space.tables import Ints, Tables


def move_one_step(
    tables: Tables, choices: Ints, *, budget: int, limit: int, generator: np.random.Generator
) -> Ints:
    """List allocations that raise one slot by one step and pay for it in one other slot.

    The paying slot gives one step, or more where one does not pay for the step up; what is then left over is
    filled in.

    Args:
        tables: The space as arrays.
        choices: `(n_slots,)`, inside the budget.
        budget: Largest cost allowed.
        limit: Number of neighbours at most.
        generator: Chooses among the moves and fills up.

    Returns:
        Distinct rows `(≤ limit, n_slots)`, none of them `choices`, in random order.
    """
    columns, free = tables.columns, tables.free
    cost = tables.costs[columns, choices]
    step = tables.step[columns, choices]
    left = budget - int(cost.sum())
    # How far down each slot must go to pay for a step up of each other slot, by the table of its costs.
    paid = cost[:, None] - tables.costs
    paid = np.where(np.arange(tables.costs.shape[1]) >= tables.lowest[:, None], paid, 0)
    givers, takers = np.repeat(free, free.size), np.tile(free, free.size)
    possible = (
        (givers != takers)
        & (choices[givers] > tables.lowest[givers])
        & (choices[takers] < tables.highest[takers])
        & (paid[givers].max(axis=1) + left >= step[takers])
    )
    givers, takers = givers[possible], takers[possible]
    picked = generator.permutation(givers.size)[:limit]
    givers, takers = givers[picked], takers[picked]
    enough = paid[givers] + left >= step[takers, None]
    enough &= np.arange(tables.costs.shape[1]) < choices[givers, None]
    given = enough.shape[1] - 1 - np.argmax(enough[:, ::-1], axis=1)
    moved = np.tile(choices, (givers.size, 1))
    rows = np.arange(givers.size)
    moved[rows, givers] = given
    moved[rows, takers] += 1
    filled = fit_budget(tables, moved, budget=budget, generator=generator)
    filled = filled[(filled != choices).any(axis=1)]
    _, first = np.unique(filled, axis=0, return_index=True)
    neighbours: Ints = filled[np.sort(first)]
    return neighbours
