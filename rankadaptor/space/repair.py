"""Bring allocations inside the limits and use the first limit up.

An allocation over a limit is lowered step by step at random slots; one under all of them is raised at random
slots until no single step fits. What is left over is then smaller than the cheapest step still open, so
allocations of one space differ in what they do with the budget and hardly in how much of it they use.

A step goes to the next option that costs strictly less, or more, in one resource. With one limit every row
walks the slots in an order of its own: the rows of a chunk share one random order of the slots, and each
starts at a random place in it and goes round. A sort per row would cost more than all the rest. With several
limits, rows are lowered for one limit after the other; rows that then still break one take the allocation
that is known to keep all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankadaptor.space.integer_program import solve_binary
from rankadaptor.space.tables import Ints, Tables

ENTRIES = 1 << 17
"""Entries of a chunk of rows: its arrays then stay in the processor's cache."""
NARROW = 1 << 30
"""Sums of costs below this are counted in 32 bits, which is twice as fast."""
ROUNDS = 16
"""How often all limits are gone through before a row takes the allocation that keeps all of them."""

Flags = NDArray[np.bool_]


def fit_limits(
    tables: Tables,
    choices: Ints,
    *,
    bounds: Sequence[int],
    inside: Ints,
    generator: np.random.Generator,
    fill: bool = True,
) -> Ints:
    """Return choices that keep all limits and are filled up; rows that already are come back unchanged.

    Args:
        tables: The space as arrays.
        choices: `(n, n_slots)`, each allowed in its slot.
        bounds: Largest totals allowed, of the first resources of `tables`.
        inside: `(n_slots,)` choices that keep all limits.
        generator: Source of the random orders.
        fill: Use the first limit up; without it, rows inside the limits stay as they are.

    Returns:
        A new array `(n, n_slots)`.
    """
    fitted = choices.copy()
    if not tables.searchable.size or not bounds:
        return fitted
    rows = max(1, ENTRIES // tables.searchable.size)
    for start in range(0, len(fitted), rows):
        order = generator.permutation(tables.searchable)
        whole = fitted[start : start + rows]
        begin = generator.integers(order.size, size=(len(whole), 1), dtype=np.int32)
        if len(bounds) == 1:
            _walk(tables, whole, order=order, begin=begin, bound=bounds[0], resource=0, fill=fill)
            continue
        _lower_for_all(tables, whole, order=order, begin=begin, bounds=bounds, inside=inside)
        if fill:
            _raise_within_all(tables, whole, order=order, bounds=bounds)
    return fitted


def find_inside(tables: Tables, bounds: Sequence[int]) -> Ints | None:
    """Return choices `(n_slots,)` that keep all limits, or None if there are none.

    With one limit these are the cheapest options. With several, the options with the least sum of costs in
    units of their limits are tried first; then the mixed-integer program is solved (scipy's `milp`).
    """
    costs = tables.costs[: len(bounds)]
    allowed = np.arange(tables.n_options)
    closed = (allowed < tables.lowest[:, None]) | (allowed > tables.highest[:, None])
    weights = [1.0 / max(bound, 1) for bound in bounds]
    total = (
        np.tensordot(weights, costs.astype(np.float64), axes=1) if bounds else 1.0 * (allowed + 0 * closed)
    )
    cheapest: Ints = np.where(closed, np.inf, total).argmin(axis=1)
    if all(tables.sum_costs(cheapest[None], number)[0] <= bound for number, bound in enumerate(bounds)):
        return cheapest
    return None if len(bounds) == 1 else _solve_for_inside(costs, closed, bounds)


def sort_by_cost(tables: Tables) -> tuple[Ints | None, Ints]:
    """Return each slot's options from cheapest to dearest in the first resource, and their costs.

    Returns:
        Choices and costs, both `(n_slots, n_options)`; None in place of choices where options are in this
        order already.
    """
    ladder = _build_ladder(tables, tables.columns, resource=0, limit=1)
    shape = (len(tables.columns), tables.n_options)
    ranking = None if ladder.sorted else ladder.options.reshape(shape).astype(np.int64)
    return ranking, ladder.costs.reshape(shape).astype(np.int64)


def is_filled(tables: Tables, choices: Ints, *, bounds: Sequence[int]) -> Flags:
    """Tell for each row whether no single step up in the first limited resource keeps all limits, `(n,)`."""
    filled = np.ones(len(choices), dtype=np.bool_)
    if not bounds:
        return filled
    totals = [tables.sum_costs(choices, number) for number in range(len(bounds))]
    ladder = _build_ladder(tables, tables.searchable, resource=0, limit=max(bounds[0], 1))
    part = ladder.find_places(choices[:, tables.searchable])
    for column, slot in enumerate(tables.searchable):
        place = part[:, column] + ladder.base[column]
        higher = ladder.options.take(place + ladder.up.take(place))
        fits = ladder.up.take(place) > 0
        for number, bound in enumerate(bounds):
            costs = tables.costs[number, slot]
            fits &= totals[number] + costs[higher] - costs[choices[:, slot]] <= bound
        filled &= ~fits
    return filled


@dataclass(frozen=True, eq=False)
class _Ladder:
    """Options of the searchable slots by rising cost in one resource, flat, so that looking up is one `take`.

    Attributes:
        costs: Cost at each place, `(n_slots · n_options,)`.
        step: Cost of the next step up from each place; more than any limit where there is none.
        up: Places to the next dearer option, 0 where there is none.
        down: Places to the next cheaper option, 0 where there is none.
        options: The choice at each place.
        places: The place of each choice.
        base: `(n_slots,)` where each slot's places start.
        sorted: Whether places and choices are the same.
    """

    costs: NDArray[Any]
    step: NDArray[Any]
    up: NDArray[np.int32]
    down: NDArray[np.int32]
    options: NDArray[np.int32]
    places: NDArray[np.int32]
    base: NDArray[np.int32]
    sorted: bool

    def number(self, value: int) -> Any:
        """Return a number in the width that costs are counted in."""
        return self.costs.dtype.type(value)

    def sum_costs(self, part: NDArray[np.int32]) -> NDArray[Any]:
        """Return the cost of each row of places, `(n,)`."""
        total: NDArray[Any] = self.costs.take(part + self.base).sum(axis=1, dtype=self.costs.dtype)
        return total

    def find_places(self, choices: NDArray[Any]) -> NDArray[np.int32]:
        """Return the places of choices `(n, n_slots)`."""
        given = choices.astype(np.int32)
        return given if self.sorted else self.places.take(given + self.base)

    def find_choices(self, part: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return the choices at places `(n, n_slots)`."""
        return part if self.sorted else self.options.take(part + self.base)


def _build_ladder(tables: Tables, order: Ints, *, resource: int, limit: int) -> _Ladder:
    width = tables.n_options
    counts = tables.highest[order] + 1  # padding lies behind the last option
    padding = np.arange(width) >= counts[:, None]
    costs = tables.costs[resource, order]
    ranking = np.argsort(np.where(padding, np.iinfo(np.int64).max, costs), axis=1, kind="stable")
    costs = np.take_along_axis(costs, ranking, axis=1)
    costs = np.where(padding, costs[np.arange(len(order)), counts - 1][:, None], costs)
    up, down = np.zeros_like(costs), np.zeros_like(costs)
    for place in range(1, width):
        same = costs[:, place] == costs[:, place - 1]
        down[:, place] = np.where(same, down[:, place - 1] + (down[:, place - 1] > 0), 1)
    for place in range(width - 2, -1, -1):
        same = costs[:, place] == costs[:, place + 1]
        up[:, place] = np.where(same, up[:, place + 1] + (up[:, place + 1] > 0), 1)
    narrow = int(costs[:, -1].sum()) + limit < NARROW
    kind: type[np.signedinteger[Any]] = np.int32 if narrow else np.int64
    dearer = np.take_along_axis(costs, np.arange(width) + up, axis=1) - costs
    base = np.arange(len(order)) * width
    return _Ladder(
        costs=costs.ravel().astype(kind),
        step=np.where(up > 0, dearer, np.iinfo(kind).max).ravel().astype(kind),
        up=up.ravel().astype(np.int32),
        down=down.ravel().astype(np.int32),
        options=ranking.ravel().astype(np.int32),
        places=np.argsort(ranking, axis=1, kind="stable").ravel().astype(np.int32),
        base=base.astype(np.int32),
        sorted=bool((ranking == np.arange(width)).all()),
    )


def _walk(
    tables: Tables,
    whole: Ints,
    *,
    order: Ints,
    begin: NDArray[np.int32],
    bound: int,
    resource: int,
    fill: bool,
) -> None:
    """Lower rows, in place, until they keep one limit, and with `fill` raise them to it."""
    ladder = _build_ladder(tables, order, resource=resource, limit=max(bound, 1))
    held = int(tables.costs[resource][tables.columns, tables.lowest].sum())
    held -= int(tables.costs[resource][order, tables.lowest[order]].sum())
    part = ladder.find_places(whole.take(order, axis=1))
    left = ladder.number(bound - held) - ladder.sum_costs(part)
    _lower(ladder, part, left, begin)
    if fill:
        _raise(ladder, part, left, begin)
    part = ladder.find_choices(part)
    if order.size == whole.shape[1]:
        whole[:] = part.take(np.argsort(order), axis=1)
    else:
        whole[:, order] = part


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
        place = rows + ladder.base
        down = ladder.down.take(place)
        saved = ladder.costs.take(place)
        saved -= ladder.costs.take(place - down)
        lowered = (saved > 0) & (_sum_before(saved, start) - saved < -left[active, None])
        part[active] = rows - down * lowered
        left[active] += (saved * lowered).sum(axis=1, dtype=saved.dtype)
        active = active[(left[active] < 0) & lowered.any(axis=1)]


def _raise(ladder: _Ladder, part: NDArray[np.int32], left: NDArray[Any], begin: NDArray[np.int32]) -> None:
    """Raise slots by one step, in place, round after round, until no single step fits any row."""
    smallest = ladder.step.min()
    active = np.arange(len(part))
    while (active := active[left[active] >= smallest]).size:
        rows = part[active]
        place = rows + ladder.base
        step = ladder.step.take(place)
        fits = step <= left[active, None]
        open_rows = fits.any(axis=1)
        if not open_rows.all():
            active, rows, place = active[open_rows], rows[open_rows], place[open_rows]
            step, fits = step[open_rows], fits[open_rows]
            if not active.size:
                return
        step *= fits
        raised = fits & (_sum_before(step, begin[active]) <= left[active, None])
        part[active] = rows + ladder.up.take(place) * raised
        left[active] -= (step * raised).sum(axis=1, dtype=step.dtype)


def _lower_for_all(
    tables: Tables,
    whole: Ints,
    *,
    order: Ints,
    begin: NDArray[np.int32],
    bounds: Sequence[int],
    inside: Ints,
) -> None:
    """Lower rows, in place, for one limit after the other until all are kept."""
    broken = _find_broken(tables, whole, bounds)
    for _ in range(ROUNDS):
        for number, bound in enumerate(bounds):
            rows = broken[tables.sum_costs(whole[broken], number) > bound]
            if rows.size:
                part = whole[rows]
                _walk(tables, part, order=order, begin=begin[rows], bound=bound, resource=number, fill=False)
                whole[rows] = part
        broken = broken[_find_broken(tables, whole[broken], bounds)]
        if not broken.size:
            return
    whole[broken] = inside


def _find_broken(tables: Tables, whole: Ints, bounds: Sequence[int]) -> NDArray[np.int64]:
    over = [tables.sum_costs(whole, number) > bound for number, bound in enumerate(bounds)]
    return np.flatnonzero(np.any(over, axis=0))


def _raise_within_all(tables: Tables, whole: Ints, *, order: Ints, bounds: Sequence[int]) -> None:
    """Raise slots in turn by one step in the first resource while all limits are kept, in place."""
    ladder = _build_ladder(tables, order, resource=0, limit=max(bounds[0], 1))
    totals = [tables.sum_costs(whole, number) for number in range(len(bounds))]
    moved = True
    while moved:
        moved = False
        for column, slot in enumerate(order):
            place = ladder.find_places(whole[:, order])[:, column] + ladder.base[column]
            up = ladder.up.take(place)
            higher, now = ladder.options.take(place + up), whole[:, slot]
            added = [tables.costs[number, slot][higher] - tables.costs[number, slot][now]
                     for number in range(len(bounds))]  # fmt: skip
            fits = up > 0
            for number, bound in enumerate(bounds):
                fits &= totals[number] + added[number] <= bound
            if fits.any():
                moved = True
                whole[fits, slot] = higher[fits]
                for number in range(len(bounds)):
                    totals[number][fits] += added[number][fits]


def _solve_for_inside(costs: Ints, closed: Flags, bounds: Sequence[int]) -> Ints | None:
    from scipy.optimize import LinearConstraint

    _, slots, options = costs.shape
    one_each = np.kron(np.eye(slots), np.ones(options))
    constraints = [
        LinearConstraint(one_each, 1.0, 1.0),
        LinearConstraint(costs.reshape(len(costs), -1).astype(np.float64), -np.inf, np.asarray(bounds)),
    ]
    upper = (~closed).ravel().astype(np.float64)
    found = solve_binary(costs[0].ravel().astype(np.float64), constraints, upper=upper)
    if found.x is None:
        return None
    chosen: Ints = found.x.reshape(slots, options).argmax(axis=1)
    return chosen
