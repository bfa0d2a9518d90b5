"""Where proposals are looked for: all over the space, and around what has been good so far."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from rankadaptor.space import Space

LOCAL_SHARE = 0.4
CROSSED_SHARE = 0.5
LARGEST_STEP = 3


def draw_candidates(
    space: Space, *, count: int, parents: NDArray[np.int64], seen: Collection[tuple[int, ...]], seed: int
) -> NDArray[np.int64]:
    """Draw distinct allocations that have not been measured.

    Args:
        space: The space.
        count: Number of draws; fewer rows come back where draws repeat.
        parents: Good allocations, best first, shape `(n, n_slots)`; a part of the draws are their offspring.
        seen: Values to leave out.
        seed: Seed of all draws.

    Returns:
        Options, shape `(m, n_slots)` with m ≤ count.
    """
    local = int(count * LOCAL_SHARE) if len(parents) else 0
    parts = [space.sample_array(count - local, seed)]
    if local:
        parts.append(breed(space, parents, count=local, seed=seed + 1))
    return drop_seen(np.concatenate(parts), seen)


def breed(space: Space, parents: NDArray[np.int64], *, count: int, seed: int) -> NDArray[np.int64]:
    """Return offspring `(count, n_slots)`: a parent, or a mix of two, with some slots moved a few options.

    How many slots move varies from one to a third of them, so that both the next neighbours and wider
    surroundings are covered. Early parents have more offspring.
    """
    generator = np.random.default_rng(seed)
    tables = space.tables
    choices, _ = tables.find_choices(parents)
    weights = 1.0 / np.arange(1, len(parents) + 1)
    first, second = generator.choice(len(parents), size=(2, count), p=weights / weights.sum())
    crossed = generator.random((count, 1)) < CROSSED_SHARE
    taken = crossed & (generator.random((count, space.n_slots)) < 0.5)
    offspring = np.where(taken, choices[second], choices[first])
    fewest = min(1.0 / space.n_slots, 1.0 / 3.0)
    rate = np.exp(generator.uniform(np.log(fewest), np.log(1.0 / 3.0), size=(count, 1)))
    steps = np.minimum(generator.geometric(0.6, size=offspring.shape), LARGEST_STEP)
    steps *= generator.choice((-1, 1), size=offspring.shape)
    steps *= generator.random(offspring.shape) < rate
    moved = np.clip(offspring + steps, tables.lowest, tables.highest)
    return space.repair_array(tables.read_values(moved), seed=int(generator.integers(1 << 31)))


def drop_seen(values: NDArray[np.int64], seen: Collection[tuple[int, ...]]) -> NDArray[np.int64]:
    """Return the distinct rows of `values` that are not in `seen`, in their order."""
    kept = dict.fromkeys(map(tuple, values.tolist()))
    rows = [row for row in kept if row not in seen]
    return np.asarray(rows, dtype=np.int64).reshape(len(rows), values.shape[1])
