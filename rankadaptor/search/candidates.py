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
    offspring = choices[first]
    crossed = np.flatnonzero(generator.random(count) < CROSSED_SHARE)
    taken = generator.random((len(crossed), space.n_slots), dtype=np.float32) < 0.5
    offspring[crossed] = np.where(taken, choices[second[crossed]], offspring[crossed])
    fewest = min(1.0 / space.n_slots, 1.0 / 3.0)
    rate = np.exp(generator.uniform(np.log(fewest), np.log(1.0 / 3.0), size=(count, 1))).astype(np.float32)
    rows, columns = np.nonzero(generator.random(offspring.shape, dtype=np.float32) < rate)
    steps = np.minimum(generator.geometric(0.6, size=len(rows)), LARGEST_STEP)
    offspring[rows, columns] += np.where(generator.random(len(rows)) < 0.5, -steps, steps)
    np.clip(offspring, tables.lowest, tables.highest, out=offspring)
    return space.repair_array(tables.read_values(offspring), seed=int(generator.integers(1 << 31)))


def drop_seen(values: NDArray[np.int64], seen: Collection[tuple[int, ...]]) -> NDArray[np.int64]:
    """Return the distinct rows of `values` that are not in `seen`, in their order."""
    keys = compute_keys(values)
    _, kept = np.unique(keys, return_index=True)
    if seen:
        measured = compute_keys(np.asarray(list(seen), dtype=np.int64).reshape(-1, values.shape[1]))
        kept = kept[~np.isin(keys[kept], measured)]
    rows: NDArray[np.int64] = values[np.sort(kept)]
    return rows


def compute_keys(values: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return a number for each row of `(n, n_slots)`, equal for equal rows.

    Different rows share one with a probability of about 2⁻⁶⁰; a candidate that is lost to it is no loss.
    """
    multipliers = np.random.default_rng(values.shape[1]).integers(
        1 << 63, size=values.shape[1], dtype=np.uint64
    ) * np.uint64(2) + np.uint64(1)
    keys: NDArray[np.uint64] = values.astype(np.uint64) @ multipliers
    return keys
