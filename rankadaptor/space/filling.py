"""Bring allocations inside the budget and use it up.

An allocation over the budget is lowered step by step at random slots; one under it is raised at random slots
until no single step fits. What is left over is then smaller than the cheapest step still open, so
allocations of one space differ in what they do with the budget and hardly in how much of it they use.

Every row walks the slots in an order of its own: the rows of a chunk share one random order of the slots, and
each starts at a random place in it and goes round. A sort per row would cost more than all the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankadaptor.space.tables import NEVER, Ints, Tables

ENTRIES = 1 << 17
"""Entries of a chunk of rows: its arrays then stay in the processor's cache."""
NARROW = 1 << 30
"""Sums of costs below this are counted in 32 bits, which is twice as fast."""


def fit_budget(
    tables: Tables, choices: Ints, *, budget: int, generator: np.random.Generator, fill: bool = True
) -> Ints:
    """Return choices that fit the budget and are filled up; rows that already are come back unchanged.

    Args:
        tables: The space as arrays.
        choices: `(n, n_slots)`, each within its slot's menu.
        budget: Largest cost allowed.
        generator: Source of the random orders.
        fill: Use the budget up; without it, rows inside the budget stay as they are.

    Returns:
        A new array `(n, n_slots)`.
    """
    fitted = choices.copy()
    free = tables.free
    if not free.size:
        return fitted
    held = int(
        tables.costs[tables.columns, tables.lowest].sum() - tables.costs[free, tables.lowest[free]].sum()
    )
    rows = max(1, ENTRIES // free.size)
    for start in range(0, len(fitted), rows):
        order = generator.permutation(free)
        ladder = _build_ladder(tables, order, limit=max(budget, 1))
        whole = fitted[start : start + rows]
        part = whole.take(order, axis=1).astype(np.int32)
        begin = generator.integers(free.size, size=(len(part), 1), dtype=np.int32)
        left = ladder.number(budget - held) - ladder.sum_costs(part)
        _lower(ladder, part, left, begin)
        if fill:
            _raise(ladder, part, left, begin)
        if order.size == whole.shape[1]:
            whole[:] = part.take(np.argsort(order), axis=1)
        else:
            whole[:, order] = part
    return fitted


@dataclass(frozen=True, eq=False)
class _Ladder:
    """The free slots' costs in the order of one chunk, flat, so that looking up is one `take`.

    Attributes:
        costs: Cost of each choice, `(n_free · n_options,)`.
        step: Cost of the step up from each choice, likewise; more than any budget where there is none.
        base: `(n_free,)` where each slot's choices start.
        lowest: `(n_free,)` first choice allowed.
    """

    costs: NDArray[Any]
    step: NDArray[Any]
    base: NDArray[np.int32]
    lowest: NDArray[np.int32]

    def number(self, value: int) -> Any:
        """Return a number in the width that costs are counted in."""
        return self.costs.dtype.type(value)

    def sum_costs(self, part: NDArray[np.int32]) -> NDArray[Any]:
        """Return the cost of each row, `(n,)`."""
        total: NDArray[Any] = self.costs.take(part + self.base).sum(axis=1, dtype=self.costs.dtype)
        return total


def _build_ladder(tables: Tables, order: Ints, *, limit: int) -> _Ladder:
    costs, step = tables.costs[order], tables.step[order]
    narrow = int(costs[:, -1].sum()) + limit < NARROW
    kind: type[np.signedinteger[Any]] = np.int32 if narrow else np.int64
    width = costs.shape[1]
    return _Ladder(
        costs=costs.ravel().astype(kind),
        step=np.where(step < NEVER, step, np.iinfo(kind).max).ravel().astype(kind),
        base=(np.arange(len(order)) * width).astype(np.int32),
        lowest=tables.lowest[order].astype(np.int32),
    )


def _sum_before(amounts: NDArray[Any], begin: NDArray[np.int32]) -> NDArray[Any]:
    """Return for each entry the sum of those up to it, going round from `begin`."""
    total = np.cumsum(amounts, axis=1, dtype=amounts.dtype)
    rows = np.arange(len(total))
    whole = total[:, -1:].copy()
    total -= (total[rows, begin[:, 0]] - amounts[rows, begin[:, 0]])[:, None]
    total += (np.arange(total.shape[1], dtype=np.int32) < begin) * whole
    return total


def _lower(ladder: _Ladder, part: NDArray[np.int32], left: NDArray[Any], begin: NDArray[np.int32]) -> None:
    """Lower slots by one step, in place, round after round, until every row fits; `left` follows."""
    active = np.flatnonzero(left < 0)
    while active.size:
        rows, start = part[active], begin[active]
        down = rows > ladder.lowest
        place = rows + ladder.base
        saved = ladder.costs.take(place)
        saved -= ladder.costs.take(place - down)
        lowered = (saved > 0) & (_sum_before(saved, start) - saved < -left[active, None])
        part[active] = rows - lowered
        left[active] += (saved * lowered).sum(axis=1, dtype=saved.dtype)
        active = active[left[active] < 0]


def _raise(ladder: _Ladder, part: NDArray[np.int32], left: NDArray[Any], begin: NDArray[np.int32]) -> None:
    """Raise slots by one step, in place, round after round, until no single step fits any row."""
    smallest = ladder.step.min()
    active = np.arange(len(part))
    while (active := active[left[active] >= smallest]).size:
        rows = part[active]
        step = ladder.step.take(rows + ladder.base)
        fits = step <= left[active, None]
        open_rows = fits.any(axis=1)
        if not open_rows.all():
            active, rows, step, fits = active[open_rows], rows[open_rows], step[open_rows], fits[open_rows]
            if not active.size:
                return
        step *= fits
        raised = fits & (_sum_before(step, begin[active]) <= left[active, None])
        part[active] = rows + raised
        left[active] -= (step * raised).sum(axis=1, dtype=step.dtype)


def is_filled(tables: Tables, choices: Ints, *, budget: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Tell for each row whether no single step up fits the budget any more, `(n,)`."""
    left = budget - tables.sum_costs(choices)
    filled: np.ndarray[tuple[int], np.dtype[np.bool_]] = (
        tables.step[tables.columns, choices].min(axis=1) > left
    )
    return filled
