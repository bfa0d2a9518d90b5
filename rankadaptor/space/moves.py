"""Offspring of allocations: mixtures of two, with some slots moved a few options."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from rankadaptor.space.space import Space
    from rankadaptor.space.tables import Ints

CROSSED_SHARE = 0.5
LARGEST_STEP = 3


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
    tables = space.tables
    weights = 1.0 / np.arange(1, len(parents) + 1)
    first, second = generator.choice(len(parents), size=(2, count), p=weights / weights.sum())
    offspring = parents[first]
    crossed = np.flatnonzero(generator.random(count) < CROSSED_SHARE)
    taken = generator.random((len(crossed), space.n_slots), dtype=np.float32) < 0.5
    offspring[crossed] = np.where(taken, parents[second[crossed]], offspring[crossed])
    fewest = min(1.0 / space.n_slots, 1.0 / 3.0)
    rate = np.exp(generator.uniform(np.log(fewest), np.log(1.0 / 3.0), size=(count, 1))).astype(np.float32)
    rows, columns = np.nonzero(generator.random(offspring.shape, dtype=np.float32) < rate)
    steps = np.minimum(generator.geometric(0.6, size=len(rows)), LARGEST_STEP)
    offspring[rows, columns] += np.where(generator.random(len(rows)) < 0.5, -steps, steps)
    np.clip(offspring, tables.lowest, tables.highest, out=offspring)
    return space.repair_choices(offspring, seed=int(generator.integers(1 << 31)))
