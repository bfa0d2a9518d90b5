"""The allocation with the smallest sum of slot values under all limits, as a mixed-integer program.

One binary variable per slot and option, one of each slot's is 1; the sums of costs stay below the limits. The
relaxation of this program has at most as many fractional slots as there are limits, so HiGHS
(`scipy.optimize.milp`) solves it in a fraction of a second.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rankadaptor.errors import BudgetError, InputError
from rankadaptor.features import SlotValues
from rankadaptor.space.integer_program import solve_binary

if TYPE_CHECKING:
    from rankadaptor.space import Limit, Space

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

GAP = 1e-4
"""Relative gap between the value found and the bound on the optimum at which the solver stops."""
SCALE = 1e4
"""What every bound is scaled to: the solver keeps limits to 1e-6 of its own numbers."""
SECONDS = 20.0
"""Time after which the solver returns the best allocation found so far."""


def solve_exact(
    space: Space,
    values: SlotValues | Floats,
    *,
    limits: Sequence[Limit] | None = None,
    excluded: Iterable[Sequence[int]] = (),
    around: Sequence[int] | None = None,
    changes: int | None = None,
    allowed: Flags | None = None,
    gap: float = GAP,
) -> tuple[int, ...]:
    """Return the choices with the smallest sum of slot values that keep all limits.

    Args:
        space: The space; pinned slots keep their option.
        values: Slot values, or an array `(n_slots, n_options)` of them; any sign.
        limits: Limits to keep instead of the space's.
        excluded: Choices that must not be returned, for example those measured before.
        around: Choices from which at most `changes` slots may differ.
        changes: See `around`; without it, no bound.
        allowed: Options that may be taken, `(n_slots, n_options)`; all by default.
        gap: Relative gap at which the solver stops.

    Raises:
        InputError: If `changes` is given without `around`, or no allocation is left that is not excluded and
            near enough.
        BudgetError: If no allocation keeps the limits; the message names the nearest bounds that can be kept.
    """
    if changes is not None and (around is None or changes < 1):
        raise InputError(f"changes={changes}: at least 1, and around must say which choices they count from.")
    table = values.as_array(space) if isinstance(values, SlotValues) else np.asarray(values, dtype=np.float64)
    if table.shape != space.tables.costs[0].shape:
        raise InputError(f"values of shape {table.shape}; allowed is {space.tables.costs[0].shape}.")
    bounds = space.limits if limits is None else tuple(limits)
    cut = [tuple(row) for row in excluded]
    open_options = _find_open(space) & (True if allowed is None else allowed)
    useful = open_options
    if not cut:
        useful = open_options & ~_find_dominated(space, table, bounds, allowed=open_options, kept=around)
    program = _Program(space, useful, bounds)
    if around is not None and changes is not None:
        program.add_row(program.mark(around), at_least=space.n_slots - changes)
    for row in cut:
        program.add_row(program.mark(row), at_most=space.n_slots - 1)
    found = program.solve(table, gap=gap)
    if found is not None:
        return found
    if nearest := find_nearest_bounds(space, bounds, allowed=open_options):
        raise BudgetError(f"no allocation keeps {_name_limits(bounds)} at once. {nearest}")
    raise InputError(
        f"no allocation is left: {len(cut)} are excluded"
        + (f" and at most {changes} slots may change" if changes is not None else "")
        + ". Allow more changes, or take the best that was measured."
    )


def find_nearest_bounds(space: Space, limits: Sequence[Limit], *, allowed: Flags | None = None) -> str:
    """Say which bound of each limit could be kept beside the others; empty if all can be kept."""
    allowed = _find_open(space) if allowed is None else allowed
    if _Program(space, allowed, limits).solve(np.zeros(allowed.shape), gap=1.0) is not None:
        return ""
    parts = []
    for number, limit in enumerate(limits):
        others = [each for index, each in enumerate(limits) if index != number]
        cost = _read_costs(space, limit.resource).astype(np.float64)
        found = _Program(space, allowed, others).solve(cost, gap=0.0)
        if found is not None:
            least = int(_read_costs(space, limit.resource)[space.tables.columns, found].sum())
            parts.append(f"{limit.name} from {least:,} on (given {limit.bound:,})")
    beside = " with the other limits as they are" if len(limits) > 1 else ""
    return (
        f"Possible is{beside}: {'; or '.join(parts)}. Raise one of the limits, or allow smaller options."
        if parts
        else "No single limit that is raised makes it possible. Raise several, or allow smaller options."
    )


def _name_limits(limits: Sequence[Limit]) -> str:
    return " and ".join(f"{limit.name} up to {limit.bound:,}" for limit in limits)


def _read_costs(space: Space, resource: str) -> Ints:
    tables = space.tables
    if resource not in tables.resources:
        return np.zeros_like(tables.costs[0])
    costs: Ints = tables.costs[tables.resources.index(resource)]
    return costs


def _find_open(space: Space) -> Flags:
    tables = space.tables
    options = np.arange(tables.n_options)
    return (options >= tables.lowest[:, None]) & (options <= tables.highest[:, None])


def _find_dominated(
    space: Space,
    table: Floats,
    limits: Sequence[Limit],
    *,
    allowed: Flags,
    kept: Sequence[int] | None,
) -> Flags:
    """Mark options beside which another of the slot costs no more anywhere and has no larger value."""
    measures = np.stack([*(_read_costs(space, limit.resource).astype(np.float64) for limit in limits), table])
    measures = np.where(allowed, measures, np.inf)
    no_worse = (measures[:, :, :, None] <= measures[:, :, None, :]).all(axis=0)
    better = no_worse & (measures[:, :, :, None] < measures[:, :, None, :]).any(axis=0)
    earlier = np.arange(table.shape[1])[:, None] < np.arange(table.shape[1])
    dominated: Flags = (better | (no_worse & earlier)).any(axis=1) & allowed
    if kept is not None:
        dominated[space.tables.columns, np.asarray(kept)] = False
    return dominated


class _Program:
    """The mixed-integer program over the allowed options of a space."""

    def __init__(self, space: Space, allowed: Flags, limits: Sequence[Limit]) -> None:
        self._space = space
        self._slots, self._options = np.nonzero(allowed)
        one_each = np.zeros((space.n_slots, len(self._slots)))
        one_each[self._slots, np.arange(len(self._slots))] = 1.0
        self._one_each = one_each
        self._rows: list[tuple[Floats, float, float]] = []
        for limit in limits:
            costs = _read_costs(space, limit.resource)[self._slots, self._options].astype(np.float64)
            unit = max(limit.bound, 1) / SCALE
            self._rows.append((costs / unit, -np.inf, limit.bound / unit))
        self._limits = tuple(limits)

    def mark(self, choices: Sequence[int]) -> Floats:
        """Return the row whose product with the variables counts the slots that take these choices."""
        marked: Floats = (np.asarray(choices)[self._slots] == self._options).astype(np.float64)
        return marked

    def add_row(self, row: Floats, *, at_least: float = -np.inf, at_most: float = np.inf) -> None:
        """Bound the product of a row with the variables."""
        self._rows.append((row, at_least, at_most))

    def solve(self, table: Floats, *, gap: float) -> tuple[int, ...] | None:
        """Return the choices with the smallest sum, or None if there are none."""
        from scipy.optimize import LinearConstraint
        from scipy.sparse import csr_matrix

        objective = table[self._slots, self._options]
        scale = float(np.abs(objective).max(initial=0.0)) or 1.0
        constraints: list[Any] = [LinearConstraint(csr_matrix(self._one_each), 1.0, 1.0)]
        if self._rows:
            rows, lower, upper = zip(*self._rows, strict=True)
            constraints.append(LinearConstraint(csr_matrix(np.stack(rows)), list(lower), list(upper)))
        slack = 0.0
        for _ in range(3):
            found = solve_binary(objective / scale, constraints, gap=gap, seconds=SECONDS)
            if found.x is None:
                return None
            choices = np.zeros(self._space.n_slots, dtype=np.int64)
            chosen = np.flatnonzero(np.asarray(found.x) > 0.5)
            choices[self._slots[chosen]] = self._options[chosen]
            over = self._measure_excess(choices)
            if over <= 0.0:
                return tuple(int(choice) for choice in choices)
            # Kept to the solver's tolerance and no closer: solve again below the bounds by what it overran.
            slack += 2.0 * over
            rows, lower, upper = zip(*self._rows, strict=True)
            tighter = [
                high - slack * SCALE if number < len(self._limits) else high
                for number, high in enumerate(upper)
            ]
            constraints[-1] = LinearConstraint(csr_matrix(np.stack(rows)), list(lower), tighter)
        return None

    def _measure_excess(self, choices: Ints) -> float:
        """Return by which share of its bound a limit is exceeded at most; exact sums of whole numbers."""
        shares = [
            (
                int(_read_costs(self._space, limit.resource)[self._space.tables.columns, choices].sum())
                - limit.bound
            )
            / max(limit.bound, 1)
            for limit in self._limits
        ]
        return max(shares, default=0.0)
