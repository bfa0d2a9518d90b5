"""Bring allocations inside the budget and use it up.

An allocation over the budget is lowered step by step at random slots; one under it is raised at random slots
until no single step fits. What is left over is then smaller than the cheapest step still open, so
allocations of one space differ in what they do with the budget and hardly in how much of it they use.
"""

from __future__ import annotations

import numpy as np

from rankadaptor.space.tables import Ints, Tables

CHUNK = 512
"""Rows at most that share one random order of slots per round: a sort per row would cost more than that."""
SMALLEST_CHUNKS = 64
"""Number of chunks below which every row gets an order of its own."""


def fit_budget(tables: Tables, choices: Ints, *, budget: int, generator: np.random.Generator) -> Ints:
    """Return choices that fit the budget and are filled up; rows that already are come back unchanged.

    Args:
        tables: The space as arrays.
        choices: `(n, n_slots)`, each within its slot's menu.
        budget: Largest cost allowed.
        generator: Source of the random orders.

    Returns:
        A new array `(n, n_slots)`.
    """
    fitted = choices.copy()
    chunk = min(CHUNK, max(1, len(fitted) // SMALLEST_CHUNKS))
    if tables.free.size:
        for start in range(0, len(fitted), chunk):
            part = fitted[start : start + chunk]
            lower_to_budget(tables, part, budget=budget, generator=generator)
            raise_to_budget(tables, part, budget=budget, generator=generator)
    return fitted


def lower_to_budget(tables: Tables, choices: Ints, *, budget: int, generator: np.random.Generator) -> None:
    """Lower random slots by one step, in place, round after round, until every row fits the budget."""
    free = tables.free
    over = tables.sum_costs(choices) - budget
    active = np.flatnonzero(over > 0)
    while active.size:
        order = free[generator.permutation(free.size)]
        part = choices[np.ix_(active, order)]
        saved = np.where(
            part > tables.lowest[order],
            tables.costs[order, part] - tables.costs[order, np.maximum(part - 1, 0)],
            0,
        )
        before = np.cumsum(saved, axis=1) - saved
        lowered = (saved > 0) & (before < over[active, None])
        choices[np.ix_(active, order)] = part - lowered
        over[active] -= (saved * lowered).sum(axis=1)
        active = active[over[active] > 0]


def raise_to_budget(tables: Tables, choices: Ints, *, budget: int, generator: np.random.Generator) -> None:
    """Raise random slots by one step, in place, round after round, until no single step fits any row."""
    free = tables.free
    left = budget - tables.sum_costs(choices)
    active = np.arange(len(choices))
    while active.size:
        order = free[generator.permutation(free.size)]
        part = choices[np.ix_(active, order)]
        step = tables.step[order, part]
        fits = step <= left[active, None]
        open_rows = fits.any(axis=1)
        if not open_rows.all():
            active, part, step, fits = active[open_rows], part[open_rows], step[open_rows], fits[open_rows]
            if not active.size:
                return
        wanted = np.where(fits, step, 0)
        raised = fits & (np.cumsum(wanted, axis=1) <= left[active, None])
        choices[np.ix_(active, order)] = part + raised
        left[active] -= (wanted * raised).sum(axis=1)


def is_filled(tables: Tables, choices: Ints, *, budget: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Tell for each row whether no single step up fits the budget any more, `(n,)`."""
    left = budget - tables.sum_costs(choices)
    filled: np.ndarray[tuple[int], np.dtype[np.bool_]] = (
        tables.step[tables.columns, choices].min(axis=1) > left
    )
    return filled
