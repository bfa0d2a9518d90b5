"""Allocations near others: offspring of two with some slots moved, and trades between a few slots."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from rankadaptor.space.space import Space
    from rankadaptor.space.tables import Ints

CROSSED_SHARE = 0.5
LARGEST_STEP = 3
MOST_TRADES = 4
NEAR_SHARE = 0.5
"""Share of trades whose first slot moves by a few options; the others take any option."""


def breed(space: Space, parents: Ints, *, count: int, seed: int) -> Ints:
    """Return choices of offspring `(count, n_slots)`: a parent, or a mix of two, with some slots moved.

    How many slots move varies from one to a third of them, so that both the next neighbours and wider
    surroundings are covered. Early parents have more offspring.

    Args:
        space: The space.
        parents: Choices, best first, `(n, n_slots)`.
        count: Number of offspring.
        seed: Seed of all draws.
    """
    generator = np.random.default_rng(seed)
    weights = 1.0 / np.arange(1, len(parents) + 1)
    first, second = generator.choice(len(parents), size=(2, count), p=weights / weights.sum())
    offspring = parents[first]
    crossed = np.flatnonzero(generator.random(count) < CROSSED_SHARE)
    taken = generator.random((len(crossed), space.n_slots), dtype=np.float32) < 0.5
    offspring[crossed] = np.where(taken, parents[second[crossed]], offspring[crossed])
    fewest = min(1.0 / space.n_slots, 1.0 / 3.0)
    rate = np.exp(generator.uniform(np.log(fewest), np.log(1.0 / 3.0), size=(count, 1))).astype(np.float32)
    moved = generator.random(offspring.shape, dtype=np.float32) < rate
    offspring = shift(space, offspring, moved, generator=generator)
    return space.repair_choices(offspring, seed=int(generator.integers(1 << 31)))


def shift(
    space: Space,
    choices: Ints,
    moved: NDArray[np.bool_],
    *,
    generator: np.random.Generator,
    signs: Ints | None = None,
) -> Ints:
    """Move slots by one to three options, up or down, inside what each slot allows; limits are not looked at.

    Args:
        space: The space.
        choices: `(n, n_slots)`.
        moved: Which slots move, `(n, n_slots)`.
        generator: Source of steps and directions.
        signs: Direction of each row, `(n,)`: −1 or 1, or 0 where every slot has its own; all have by default.

    Returns:
        A new array `(n, n_slots)`.
    """
    shifted = choices.copy()
    rows, columns = np.nonzero(moved)
    steps = np.minimum(generator.geometric(0.6, size=len(rows)), LARGEST_STEP)
    directions = np.where(generator.random(len(rows)) < 0.5, -1, 1)
    if signs is not None:
        directions = np.where(signs[rows] != 0, signs[rows], directions)
    shifted[rows, columns] += steps * directions
    return space.tables.clip(shifted)


def trade(space: Space, parents: Ints, *, count: int, seed: int) -> Ints:
    """Return choices `(count, n_slots)` that keep all limits and differ from a parent in a few slots.

    Each row makes one to four trades: a random slot takes another option, and a second one the largest option
    that then keeps the limits, so that what one slot frees another uses. Early parents have more rows. Rows
    can repeat, and equal their parent.

    Args:
        space: The space.
        parents: Choices inside the limits, best first, `(n, n_slots)`.
        count: Number of rows.
        seed: Seed of all draws.
    """
    generator = np.random.default_rng(seed)
    tables, searchable = space.tables, space.tables.searchable
    if not searchable.size:
        return np.repeat(parents[:1], count, axis=0)
    weights = 1.0 / np.arange(1, len(parents) + 1)
    rows = parents[generator.choice(len(parents), size=count, p=weights / weights.sum())]
    trades = np.minimum(generator.geometric(0.5, size=count), MOST_TRADES)
    bounds = np.asarray(space.bounds, dtype=np.int64)
    for number in range(MOST_TRADES):
        active = np.flatnonzero(trades > number)
        slots = generator.choice(searchable, size=len(active))
        low, high = tables.lowest[slots], tables.highest[slots]
        steps = np.minimum(generator.geometric(0.6, size=len(active)), LARGEST_STEP)
        near = rows[active, slots] + np.where(generator.random(len(active)) < 0.5, -steps, steps)
        anywhere = low + (generator.random(len(active)) * (high - low + 1)).astype(np.int64)
        drawn = np.where(generator.random(len(active)) < NEAR_SHARE, np.clip(near, low, high), anywhere)
        rows[active, slots] = drawn
        _balance(space, rows, active, bounds, generator=generator)
    over = np.zeros(count, dtype=np.bool_)
    for number, bound in enumerate(space.bounds):
        over |= tables.sum_costs(rows, number) > bound
    rows[over] = space.repair_choices(rows[over], seed=int(generator.integers(1 << 31)), fill=False)
    return rows


def _balance(space: Space, rows: Ints, active: Ints, bounds: Ints, *, generator: np.random.Generator) -> None:
    """Give one random slot of each active row the largest option that keeps all limits, in place.

    Where none does it takes its smallest option. Large is what costs most in the first limited resource;
    options of one cost are chosen among at random, and now and then the second largest is taken.
    """
    if not len(bounds):
        return
    tables = space.tables
    slots = generator.choice(tables.searchable, size=len(active))
    part = rows[active]
    now = part[np.arange(len(active)), slots]
    options = np.arange(tables.n_options)
    fits = (options >= tables.lowest[slots, None]) & (options <= tables.highest[slots, None])
    open_options = fits.copy()
    for number, bound in enumerate(bounds):
        costs = tables.costs[number, slots]
        without = tables.sum_costs(part, number) - costs[np.arange(len(active)), now]
        fits &= without[:, None] + costs <= bound
    costs = tables.costs[0, slots].astype(np.float64)
    noise = 1.0 - 0.3 * generator.random(costs.shape)
    largest = np.where(fits, (costs + 1.0) * noise, -1.0).argmax(axis=1)
    smallest = np.where(open_options, costs, np.inf).argmin(axis=1)
    rows[active, slots] = np.where(fits.any(axis=1), largest, smallest)
